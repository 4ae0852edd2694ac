/*
 * bench/loop.c: one thread's io_uring and the stream sockets on it. See loop.h.
 *
 * The wait asks for as many completions as sends were submitted plus one. Sends nearly always
 * complete while they are submitted; a wait for one completion would return with those alone, and
 * each turn would cost a second system call. Large sends are not counted, since they may have to
 * wait for the peer. Receives go on inside the wait, so two peers with full sockets make progress.
 */
#include "bench/loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    RING_ENTRIES = 1024,
    BUFFER_COUNT = 1024, /* a power of two; with fewer, thousands of busy links starve each other */
    BUFFER_BYTES = 16 * 1024,
    BUFFER_GROUP = 1,
    OUT_BYTES_MIN = 4096,
    SEND_BYTES_PROMPT = 128 * 1024, /* sends up to this are expected to complete at once */
};

/* Low bits of user_data; the rest is the link's address. */
enum { TAG_RECEIVE = 0, TAG_SEND = 1, TAG_TICK = 2, TAG_MASK = 3 };

static void loop_flush(struct loop *loop);
static void loop_complete(struct loop *loop, uint64_t user_data, int32_t result, uint32_t flags);
static void loop_arm_tick(struct loop *loop);
static void loop_return_buffer(struct loop *loop, uint32_t id);
static void link_arm_receive(struct link *link);
static void link_on_receive(struct link *link, int32_t result, uint32_t flags);
static void link_on_send(struct link *link, int32_t result);
static void link_start_send(struct link *link);
static void link_feed(struct link *link, char *data, size_t count);
static void link_keep(struct link *link, const char *data, size_t count);
static void link_fail(struct link *link, const char *reason);
static void *memory_or_exit(void *memory);

uint64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

void loop_open(struct loop *loop)
{
    *loop = (struct loop){0};
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
        .cq_entries = 4 * RING_ENTRIES,
    };
    int result = io_uring_queue_init_params(RING_ENTRIES, &loop->ring, &params);
    if (result < 0) {
        fprintf(stderr, "io_uring: %s (needs Linux 6.1 and kernel.io_uring_disabled = 0)\n",
                strerror(-result));
        exit(1);
    }
    (void)io_uring_register_ring_fd(&loop->ring); /* only makes the system call cheaper */

    size_t ring_bytes = BUFFER_COUNT * sizeof(struct io_uring_buf);
    size_t total = ring_bytes + (size_t)BUFFER_COUNT * BUFFER_BYTES;
    char *memory = mmap(NULL, total, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    loop->buffers = (struct io_uring_buf_ring *)(void *)memory;
    loop->buffer_memory = memory + ring_bytes;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)memory,
        .ring_entries = BUFFER_COUNT,
        .bgid = BUFFER_GROUP,
    };
    result = io_uring_register_buf_ring(&loop->ring, &reg, 0);
    if (result < 0) {
        fprintf(stderr, "io_uring buffer ring: %s\n", strerror(-result));
        exit(1);
    }
    io_uring_buf_ring_init(loop->buffers);
    for (uint32_t id = 0; id < BUFFER_COUNT; id++)
        loop_return_buffer(loop, id);
    loop->now_ns = clock_now_ns();
}

void loop_close(struct loop *loop)
{
    io_uring_queue_exit(&loop->ring);
    munmap(loop->buffers, BUFFER_COUNT * (sizeof(struct io_uring_buf) + (size_t)BUFFER_BYTES));
}

void loop_start_tick(struct loop *loop, uint64_t interval_ns)
{
    loop->tick = (struct __kernel_timespec){.tv_sec = (long long)(interval_ns / 1000000000U),
                                            .tv_nsec = (long long)(interval_ns % 1000000000U)};
    loop->has_tick = true;
    loop_arm_tick(loop);
}

void loop_turn(struct loop *loop)
{
    loop_flush(loop);
    int result = io_uring_submit_and_wait(&loop->ring, loop->waits_for_count + 1);
    if (result < 0 && result != -EINTR && result != -EBUSY && result != -EAGAIN) {
        fprintf(stderr, "io_uring: %s\n", strerror(-result));
        exit(1);
    }
    loop->waits_for_count = 0;
    loop->now_ns = clock_now_ns();

    struct io_uring_cqe *cqe;
    uint32_t head;
    uint32_t count = 0;
    io_uring_for_each_cqe(&loop->ring, head, cqe)
    {
        loop_complete(loop, cqe->user_data, cqe->res, cqe->flags);
        count++;
    }
    io_uring_cq_advance(&loop->ring, count);
}

void link_open(struct link *link, struct loop *loop, int socket, const char *first,
               size_t first_count, link_bytes_fn *on_bytes, link_closed_fn *on_closed)
{
    *link =
        (struct link){.loop = loop, .socket = socket, .on_bytes = on_bytes, .on_closed = on_closed};
    if (first_count > 0)
        link_keep(link, first, first_count);
    link_arm_receive(link);
}

void link_close(struct link *link)
{
    if (!link->is_closed) {
        link->is_closed = true;
        shutdown(link->socket, SHUT_RDWR);
    }
    close(link->socket);
    free(link->gathering.data);
    free(link->leaving.data);
    free(link->carry);
    link->gathering = link->leaving = (struct bytes_out){0};
    link->carry = NULL;
}

char *link_reserve(struct link *link, size_t count)
{
    struct bytes_out *out = &link->gathering;
    if (out->size - out->count < count) {
        size_t size = out->size < OUT_BYTES_MIN ? OUT_BYTES_MIN : out->size;
        while (size - out->count < count)
            size *= 2;
        out->data = memory_or_exit(realloc(out->data, size));
        out->size = size;
    }
    return out->data + out->count;
}

void link_commit(struct link *link, size_t count)
{
    link->gathering.count += count;
    if (link->is_dirty || link->is_sending || link->is_closed)
        return;
    link->is_dirty = true;
    link->dirty_next = link->loop->dirty;
    link->loop->dirty = link;
}

void link_write(struct link *link, const void *data, size_t count)
{
    memcpy(link_reserve(link, count), data, count);
    link_commit(link, count);
}

static struct io_uring_sqe *loop_sqe(struct loop *loop)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    while (sqe == NULL) {
        io_uring_submit(&loop->ring);
        sqe = io_uring_get_sqe(&loop->ring);
    }
    return sqe;
}

static void loop_flush(struct loop *loop)
{
    struct link *link = loop->dirty;
    loop->dirty = NULL;
    while (link != NULL) {
        struct link *next = link->dirty_next;
        link->is_dirty = false;
        if (!link->is_closed) {
            struct bytes_out full = link->gathering;
            link->gathering = link->leaving;
            link->gathering.count = 0;
            link->leaving = full;
            link->sent_count = 0;
            link_start_send(link);
        }
        link = next;
    }
}

static void loop_complete(struct loop *loop, uint64_t user_data, int32_t result, uint32_t flags)
{
    struct link *link = (struct link *)(uintptr_t)(user_data & ~(uint64_t)TAG_MASK);
    switch (user_data & TAG_MASK) {
    case TAG_RECEIVE:
        link_on_receive(link, result, flags);
        break;
    case TAG_SEND:
        link_on_send(link, result);
        break;
    default:
        loop_arm_tick(loop);
        break;
    }
}

static void loop_arm_tick(struct loop *loop)
{
    struct io_uring_sqe *sqe = loop_sqe(loop);
    io_uring_prep_timeout(sqe, &loop->tick, 0, 0);
    sqe->user_data = TAG_TICK;
}

static void loop_return_buffer(struct loop *loop, uint32_t id)
{
    io_uring_buf_ring_add(loop->buffers, loop->buffer_memory + (size_t)id * BUFFER_BYTES,
                          BUFFER_BYTES, (unsigned short)id, io_uring_buf_ring_mask(BUFFER_COUNT),
                          0);
    io_uring_buf_ring_advance(loop->buffers, 1);
}

static void link_arm_receive(struct link *link)
{
    struct io_uring_sqe *sqe = loop_sqe(link->loop);
    io_uring_prep_recv_multishot(sqe, link->socket, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    sqe->user_data = (uintptr_t)link | TAG_RECEIVE;
    link->is_receiving = true;
}

static void link_on_receive(struct link *link, int32_t result, uint32_t flags)
{
    link->is_receiving = (flags & IORING_CQE_F_MORE) != 0;
    if (result > 0) {
        uint32_t id = flags >> IORING_CQE_BUFFER_SHIFT;
        if (!link->is_closed)
            link_feed(link, link->loop->buffer_memory + (size_t)id * BUFFER_BYTES, (size_t)result);
        loop_return_buffer(link->loop, id);
    } else if (result == 0) {
        link_fail(link, "the server closed the connection");
    } else if (result != -ENOBUFS && result != -EINTR) {
        link_fail(link, strerror(-result));
    }
    if (!link->is_receiving && !link->is_closed)
        link_arm_receive(link);
}

static void link_on_send(struct link *link, int32_t result)
{
    link->is_sending = false;
    if (link->is_closed)
        return;
    if (result < 0 && result != -EINTR && result != -EAGAIN) {
        link_fail(link, strerror(-result));
        return;
    }
    link->sent_count += result > 0 ? (size_t)result : 0;
    if (link->sent_count < link->leaving.count) {
        link_start_send(link);
        return;
    }
    link->leaving.count = 0;
    if (link->gathering.count > 0)
        link_commit(link, 0); /* gathered while the send was in flight */
}

static void link_start_send(struct link *link)
{
    size_t count = link->leaving.count - link->sent_count;
    struct io_uring_sqe *sqe = loop_sqe(link->loop);
    io_uring_prep_send(sqe, link->socket, link->leaving.data + link->sent_count, count,
                       MSG_NOSIGNAL | MSG_WAITALL);
    sqe->user_data = (uintptr_t)link | TAG_SEND;
    link->is_sending = true;
    if (count <= SEND_BYTES_PROMPT)
        link->loop->waits_for_count++;
}

/*
 * Shows the bytes to the owner, in place where possible. Only a frame cut by the end of a buffer is
 * copied: it grows, by doubling steps, until the owner takes it; the rest is parsed in place again.
 */
static void link_feed(struct link *link, char *data, size_t count)
{
    while (link->carry_count > 0 && count > 0) {
        size_t before = link->carry_count;
        size_t step = before < 256 ? 256 : before;
        if (step > count)
            step = count;
        link_keep(link, data, step);
        size_t used = link->on_bytes(link, link->carry, link->carry_count);
        if (link->is_closed)
            return;
        if (used == 0) {
            data += step;
            count -= step;
        } else if (used > before) {
            data += used - before;
            count -= used - before;
            link->carry_count = 0;
        } else { /* the first bytes of a link held whole frames */
            link->carry_count -= used;
            memmove(link->carry, link->carry + used, link->carry_count);
            data += step;
            count -= step;
        }
    }
    if (count == 0)
        return;
    size_t used = link->on_bytes(link, data, count);
    if (!link->is_closed && used < count)
        link_keep(link, data + used, count - used);
}

static void link_keep(struct link *link, const char *data, size_t count)
{
    if (link->carry_size - link->carry_count < count) {
        size_t size = link->carry_size < OUT_BYTES_MIN ? OUT_BYTES_MIN : link->carry_size;
        while (size - link->carry_count < count)
            size *= 2;
        link->carry = memory_or_exit(realloc(link->carry, size));
        link->carry_size = size;
    }
    memcpy(link->carry + link->carry_count, data, count);
    link->carry_count += count;
}

static void link_fail(struct link *link, const char *reason)
{
    if (link->is_closed)
        return;
    link->is_closed = true;
    link->on_closed(link, reason);
}

static void *memory_or_exit(void *memory)
{
    if (memory == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
}
