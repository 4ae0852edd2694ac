/*
 * core/io_uring.c: core/io.h on io_uring: operations, and what their completions mean.
 *
 * Each operation has a request, which keeps what a short write, a dry buffer ring or a full descriptor table makes us
 * ask for again. The kernel's user_data is the request's number + 1; 0 is a doorbell that rang, or a cancellation,
 * which nobody waits for; DOORBELL_BIT tells that one of ours did not reach its ring.
 *
 *     FREE ──io_…──► IN_KERNEL ──last completion──► FREE (on_done has OP_MORE cleared)
 *                      │    ▲
 *      multishot ended ▼    │ end of the turn, or a pause later; io_cancel in between: -ECANCELED
 *                      PARKED
 *
 * Keeps:   on_done never runs inside the call that started the operation, and for the last time when the kernel holds
 *          nothing of it any more. A cancelled operation is never asked for again. Cancellations are carried out in the
 *          order of submission, so they cannot hit a later operation with the same number.
 * Owns:    the ring and the requests; borrows each op and its memory until the last on_done.
 * Runs on: the shard's thread, but for io_wake_from_any_thread.
 */
#include "core/io.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/bytes.h"
#include "core/diag.h"
#include "core/uring.h"

#define DOORBELL_BIT (UINT64_C(1) << 63)
#define SEND_BYTES_MAX (UINT64_C(1) << 30) /* of one entry; its length has 32 bits */

enum {
    SLAB_REQUESTS = 256,
    SEND_FLAGS = MSG_WAITALL | MSG_NOSIGNAL,
    VECTOR_COUNT_MAX = 1024, /* the kernel's UIO_MAXIOV */
};
static const uint64_t pause_ns = 50 * 1000 * 1000;            /* an accept without descriptors */
static const uint64_t pause_told_ns = UINT64_C(10000000000);  /* between two lines about it */
static const uint64_t destroy_wait_ns = UINT64_C(5000000000); /* for what cannot be cancelled */

enum request_kind {
    REQUEST_WRITE,
    REQUEST_WRITE_DURABLE,
    REQUEST_READ,
    REQUEST_SYNC,
    REQUEST_ACCEPT,
    REQUEST_RECV,
    REQUEST_SEND,
    REQUEST_SENDV,
    REQUEST_WAKER,
};

enum request_state { REQUEST_FREE, REQUEST_IN_KERNEL, REQUEST_PARKED };

struct io_request {
    struct op *op;           /* borrows; NULL for the waker */
    const void *data;        /* borrows: bytes, or the vector of a sendv */
    struct msghdr *message;  /* borrows; sendv only */
    struct io_request *next; /* in the free list or in a list of parked ones */
    uint64_t offset;         /* in the file; of a sendv the elements of the vector */
    uint64_t bytes;
    uint64_t done; /* of bytes */
    int32_t fd;
    uint32_t index : 24;
    uint32_t kind : 5;
    uint32_t state : 2;
    uint32_t is_cancelled : 1;
};
static_assert(sizeof(struct io_request) == 64, "a cache line");

struct request_list {
    struct io_request *first, **end;
};

struct io {
    struct uring uring; /* owns */
    uint64_t now_ns, wall_ns;
    uint64_t random[4];
    struct io_request **slabs; /* owns */
    uint32_t slab_count;
    uint32_t in_kernel_count;
    struct io_request *free_list;
    struct request_list again;  /* parked until the end of this turn */
    struct request_list paused; /* parked until paused_until_ns */
    uint64_t paused_until_ns, pause_told_ns;
    uint64_t wake_count; /* the kernel writes it */
    int wake_fd;         /* owns */
    bool is_dispatching;
};

static void io_read_clocks(struct io *io);
static void io_wait_until_idle(struct io *io);
static void io_dispatch(struct io *io);
static void io_resume(struct io *io, struct request_list *list);
static void io_ring_doorbell(struct io *io, uint64_t user_data);
static bool doorbell_is_lost(int negative_errno);
static struct io_request *request_new(struct io *io, struct op *op, enum request_kind kind,
                                      int32_t fd);
static void request_slab_add(struct io *io);
static struct io_request *request_at(const struct io *io, uint64_t user_data);
static void request_submit(struct io *io, struct io_request *request);
static void request_fill_sendv(const struct io_request *request, struct io_uring_sqe *entry);
static void request_complete(struct io *io, struct io_request *request, int32_t result,
                             uint32_t flags);
static void request_complete_transfer(struct io *io, struct io_request *request, int32_t result);
static void request_complete_recv(struct io *io, struct io_request *request, int32_t result,
                                  uint32_t flags);
static void request_complete_accept(struct io *io, struct io_request *request, int32_t result);
static void request_deliver(struct io_request *request, int32_t result, const char *buffer);
static void request_finish(struct io *io, struct io_request *request, int32_t result);
static void request_park(struct io_request *request, struct request_list *list);
static void accept_pause(struct io *io, struct io_request *request, int negative_errno);
static bool accept_goes_on(int negative_errno);

/* ---- life and time ---- */

enum status io_create(uint32_t shard_index, struct io **io_out, char *why, size_t why_bytes)
{
    (void)shard_index; /* the simulator's */
    *io_out = NULL;
    struct io *io = calloc(1, sizeof(*io));
    ASSERT(io != NULL);
    enum status status = uring_open(&io->uring, why, why_bytes);
    if (status != STATUS_OK)
        goto free_io;
    io->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (io->wake_fd < 0) {
        status = status_from_errno(-errno);
        (void)snprintf(why, why_bytes, "eventfd: %s; raise the limit of open files (`ulimit -n`)",
                       strerror(errno));
        goto close_uring;
    }
    ssize_t seeded = getrandom(io->random, sizeof(io->random), 0);
    ASSERT(seeded == sizeof(io->random));
    io->again.end = &io->again.first;
    io->paused.end = &io->paused.first;
    io_read_clocks(io);
    request_submit(io, request_new(io, NULL, REQUEST_WAKER, io->wake_fd));
    *io_out = io;
    return STATUS_OK;

close_uring:
    uring_close(&io->uring);
free_io:
    free(io);
    return status;
}

void io_destroy(struct io *io)
{
    if (io == NULL)
        return;
    ASSERT(!io->is_dispatching);
    io_wait_until_idle(io);
    uring_close(&io->uring);
    (void)close(io->wake_fd);
    for (uint32_t index = 0; index < io->slab_count; index++)
        free(io->slabs[index]);
    free(io->slabs);
    free(io);
}

/* Closing a ring does not wait for the kernel to be done with our memory; so we do. No callback runs any more. */
static void io_wait_until_idle(struct io *io)
{
    uint64_t until_ns = uring_clock_ns() + destroy_wait_ns;
    struct io_uring_sqe *entry = uring_entry(&io->uring);
    io_uring_prep_cancel64(entry, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    entry->user_data = 0;
    while (io->in_kernel_count > 0 && uring_clock_ns() < until_ns) {
        uring_turn(&io->uring, until_ns);
        for (size_t index = 0; index < io->uring.ready_count; index++) {
            struct uring_completion *completion = &io->uring.ready[index];
            struct io_request *request = request_at(io, completion->user_data);
            if (request != NULL && !(completion->flags & IORING_CQE_F_MORE))
                io->in_kernel_count--;
            if (request != NULL && request->kind == REQUEST_ACCEPT && completion->result >= 0)
                (void)close(completion->result); /* nobody is left to greet it */
        }
        io->uring.ready_count = 0;
    }
}

uint64_t io_now_ns(const struct io *io)
{
    return io->now_ns;
}

uint64_t io_wall_ns(const struct io *io)
{
    return io->wall_ns;
}

static void io_read_clocks(struct io *io)
{
    io->now_ns = uring_clock_ns();
    struct timespec time;
    int result = clock_gettime(CLOCK_REALTIME, &time);
    ASSERT(result == 0);
    uint64_t wall_ns = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
    if (wall_ns > io->wall_ns) /* people may set the clock back; we do not */
        io->wall_ns = wall_ns;
}

/* xoshiro256++, seeded by the kernel. Source: Blackman and Vigna, https://prng.di.unimi.it/xoshiro256plusplus.c */
uint64_t io_random(struct io *io)
{
    uint64_t *s = io->random;
    uint64_t sum = s[0] + s[3];
    uint64_t result = ((sum << 23) | (sum >> 41)) + s[0];
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

void io_turn(struct io *io, uint64_t deadline_ns)
{
    ASSERT(!io->is_dispatching);
    bool has_paused = io->paused.first != NULL;
    bool ends_sooner = has_paused && io->paused_until_ns < deadline_ns;
    uring_turn(&io->uring, ends_sooner ? io->paused_until_ns : deadline_ns);
    io_read_clocks(io);
    io->is_dispatching = true;
    io_dispatch(io);
    uring_buffers_publish(&io->uring);
    io_resume(io, &io->again);
    if (has_paused && io->now_ns >= io->paused_until_ns)
        io_resume(io, &io->paused);
    io->is_dispatching = false;
}

/* Runs the callbacks of what is ready now; what is gathered meanwhile, for want of entries, is the next turn's. */
static void io_dispatch(struct io *io)
{
    struct uring *uring = &io->uring;
    size_t count = uring->ready_count;
    for (size_t index = 0; index < count; index++) {
        struct uring_completion completion =
            uring->ready[index]; /* a callback may move the array */
        struct io_request *request = request_at(io, completion.user_data);
        if (request != NULL)
            request_complete(io, request, completion.result, completion.flags);
        else if (completion.user_data & DOORBELL_BIT && doorbell_is_lost(completion.result))
            io_ring_doorbell(io, completion.user_data);
    }
    uring->ready_count -= count;
    memmove(uring->ready, uring->ready + count, uring->ready_count * sizeof(*uring->ready));
}

/* Asks again for what is parked, or ends it if it was cancelled. */
static void io_resume(struct io *io, struct request_list *list)
{
    struct io_request *request = list->first;
    list->first = NULL;
    list->end = &list->first;
    while (request != NULL) {
        struct io_request *next = request->next;
        ASSERT(request->state == REQUEST_PARKED);
        if (request->is_cancelled)
            request_finish(io, request, -ECANCELED);
        else
            request_submit(io, request);
        request = next;
    }
}

bool io_has_unsubmitted(const struct io *io)
{
    return uring_has_unsubmitted(&io->uring);
}

void io_doorbell(struct io *from, struct io *to)
{
    io_ring_doorbell(from, DOORBELL_BIT | (uint64_t)to->uring.ring.ring_fd);
}

/* The sender hears of it only if it fails. */
static void io_ring_doorbell(struct io *io, uint64_t user_data)
{
    struct io_uring_sqe *entry = uring_entry(&io->uring);
    io_uring_prep_msg_ring(entry, (int)(user_data & INT_MAX), 0, 0, 0);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = user_data;
}

/* A ring that overflows is awake, one that is closed needs no call. */
static bool doorbell_is_lost(int negative_errno)
{
    return negative_errno != -EOVERFLOW && negative_errno != -EBADFD && negative_errno != -EBADF;
}

void io_wake_from_any_thread(struct io *io)
{
    uint64_t one = 1;
    ssize_t count = write(io->wake_fd, &one, sizeof(one));
    (void)count; /* it fails only when the counter is full: then a wake is under way */
}

/* ---- files ---- */

void io_write(struct io *io, struct op *op, io_file file, const void *buffer, uint32_t bytes,
              uint64_t offset, enum io_durability durability, op_done_fn *on_done)
{
    enum request_kind kind = durability == IO_DURABLE ? REQUEST_WRITE_DURABLE : REQUEST_WRITE;
    op->on_done = on_done;
    struct io_request *request = request_new(io, op, kind, file);
    request->data = buffer;
    request->bytes = bytes;
    request->offset = offset;
    request_submit(io, request);
}

void io_read(struct io *io, struct op *op, io_file file, void *buffer, uint32_t bytes,
             uint64_t offset, op_done_fn *on_done)
{
    op->on_done = on_done;
    struct io_request *request = request_new(io, op, REQUEST_READ, file);
    request->data = buffer;
    request->bytes = bytes;
    request->offset = offset;
    request_submit(io, request);
}

void io_sync(struct io *io, struct op *op, io_file file, op_done_fn *on_done)
{
    op->on_done = on_done;
    request_submit(io, request_new(io, op, REQUEST_SYNC, file));
}

/* ---- sockets ---- */

void io_accept(struct io *io, struct op *op, io_socket listener, op_done_fn *on_done)
{
    op->on_done = on_done;
    request_submit(io, request_new(io, op, REQUEST_ACCEPT, listener));
}

void io_recv(struct io *io, struct op *op, io_socket socket, op_done_fn *on_done)
{
    op->on_done = on_done;
    request_submit(io, request_new(io, op, REQUEST_RECV, socket));
}

void io_send(struct io *io, struct op *op, io_socket socket, const void *buffer, size_t bytes,
             op_done_fn *on_done)
{
    op->on_done = on_done;
    struct io_request *request = request_new(io, op, REQUEST_SEND, socket);
    request->data = buffer;
    request->bytes = bytes;
    request_submit(io, request);
}

void io_sendv(struct io *io, struct op *op, io_socket socket, const struct iovec *vector,
              uint32_t vector_count, struct msghdr *message, op_done_fn *on_done)
{
    op->on_done = on_done;
    *message = (struct msghdr){.msg_name = NULL};
    struct io_request *request = request_new(io, op, REQUEST_SENDV, socket);
    request->data = vector;
    request->message = message;
    request->offset = vector_count;
    for (uint32_t index = 0; index < vector_count; index++)
        request->bytes += vector[index].iov_len;
    request_submit(io, request);
}

void io_cancel(struct io *io, struct op *op)
{
    struct io_request *request = request_at(io, op->io_private);
    ASSERT(request != NULL);
    ASSERT(request->op == op);
    request->is_cancelled = 1;
    if (request->state == REQUEST_PARKED) {
        io->paused_until_ns =
            0; /* whichever list it is in, it ends with a turn that does not wait */
        return;
    }
    struct io_uring_sqe *entry = uring_entry(&io->uring);
    io_uring_prep_cancel64(entry, request->index + 1, 0);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = 0;
}

/* ---- requests ---- */

static struct io_request *request_new(struct io *io, struct op *op, enum request_kind kind,
                                      int32_t fd)
{
    if (io->free_list == NULL)
        request_slab_add(io);
    struct io_request *request = io->free_list;
    io->free_list = request->next;
    ASSERT(request->state == REQUEST_FREE);
    uint32_t index = request->index;
    *request =
        (struct io_request){.op = op, .fd = fd, .index = index & 0xffffff, .kind = kind & 0x1f};
    if (op != NULL)
        op->io_private = index + 1;
    return request;
}

static void request_slab_add(struct io *io)
{
    struct io_request *slab = aligned_alloc(64, SLAB_REQUESTS * sizeof(*slab));
    struct io_request **slabs =
        realloc(io->slabs, (io->slab_count + 1) * sizeof(struct io_request *));
    ASSERT(slab != NULL);
    ASSERT(slabs != NULL);
    ASSERT(io->slab_count < (1 << 24) / SLAB_REQUESTS);
    uint32_t first = io->slab_count * SLAB_REQUESTS;
    for (uint32_t index = SLAB_REQUESTS; index-- > 0;) { /* so that the lowest is used first */
        slab[index] =
            (struct io_request){.index = (first + index) & 0xffffff, .next = io->free_list};
        io->free_list = &slab[index];
    }
    io->slabs = slabs;
    io->slabs[io->slab_count] = slab;
    io->slab_count++;
}

/* NULL for completions that belong to no request. */
static struct io_request *request_at(const struct io *io, uint64_t user_data)
{
    if (user_data == 0 || user_data & DOORBELL_BIT)
        return NULL;
    uint64_t index = user_data - 1;
    ASSERT(index / SLAB_REQUESTS < io->slab_count);
    struct io_request *request = &io->slabs[index / SLAB_REQUESTS][index % SLAB_REQUESTS];
    ASSERT(request->state != REQUEST_FREE);
    return request;
}

/* Fills in an entry for what is left to do. */
static void request_submit(struct io *io, struct io_request *request)
{
    struct io_uring_sqe *entry = uring_entry(&io->uring);
    const char *rest = (const char *)request->data + request->done;
    uint64_t rest_bytes = request->bytes - request->done;
    switch ((enum request_kind)request->kind) {
    case REQUEST_WRITE:
    case REQUEST_WRITE_DURABLE:
        io_uring_prep_write(entry, request->fd, rest, (unsigned)rest_bytes,
                            request->offset + request->done);
        entry->rw_flags = request->kind == REQUEST_WRITE_DURABLE ? RWF_DSYNC : 0;
        break;
    case REQUEST_READ:
        io_uring_prep_read(entry, request->fd, (void *)(uintptr_t)request->data,
                           (unsigned)request->bytes, request->offset);
        break;
    case REQUEST_SYNC:
        io_uring_prep_fsync(entry, request->fd,
                            0); /* not DATASYNC: ext4 then skips a rename in a directory */
        break;
    case REQUEST_ACCEPT:
        io_uring_prep_multishot_accept(entry, request->fd, NULL, NULL, SOCK_CLOEXEC);
        break;
    case REQUEST_RECV:
        io_uring_prep_recv_multishot(entry, request->fd, NULL, 0, 0);
        entry->flags |= IOSQE_BUFFER_SELECT;
        entry->buf_group = URING_BUFFER_GROUP;
        break;
    case REQUEST_SEND:
        io_uring_prep_send(entry, request->fd, rest,
                           rest_bytes < SEND_BYTES_MAX ? rest_bytes : SEND_BYTES_MAX, SEND_FLAGS);
        break;
    case REQUEST_SENDV:
        request_fill_sendv(request, entry);
        break;
    case REQUEST_WAKER:
        io_uring_prep_read(entry, request->fd, &io->wake_count, sizeof(io->wake_count), 0);
        break;
    }
    entry->user_data = request->index + 1;
    request->state = REQUEST_IN_KERNEL;
    io->in_kernel_count++;
}

/* The vector is the caller's and stays as it is: a begun element is finished by itself before the rest follows. */
static void request_fill_sendv(const struct io_request *request, struct io_uring_sqe *entry)
{
    const struct iovec *vector = request->data;
    uint64_t count = request->offset;
    uint64_t skip = request->done;
    for (; count > 0 && skip >= vector->iov_len; count--, vector++)
        skip -= vector->iov_len;
    if (skip > 0) {
        io_uring_prep_send(entry, request->fd, (const char *)vector->iov_base + skip,
                           vector->iov_len - skip, SEND_FLAGS);
        return;
    }
    request->message->msg_iov = (struct iovec *)(uintptr_t)vector; /* sendmsg only reads it */
    request->message->msg_iovlen = count < VECTOR_COUNT_MAX ? count : VECTOR_COUNT_MAX;
    io_uring_prep_sendmsg(entry, request->fd, request->message, SEND_FLAGS);
}

static void request_complete(struct io *io, struct io_request *request, int32_t result,
                             uint32_t flags)
{
    ASSERT(request->state == REQUEST_IN_KERNEL);
    bool is_last = !(flags & IORING_CQE_F_MORE);
    if (is_last) {
        io->in_kernel_count--;
        request->state = REQUEST_PARKED; /* in no list yet; each case below moves it on */
    }
    switch ((enum request_kind)request->kind) {
    case REQUEST_WRITE:
    case REQUEST_WRITE_DURABLE:
    case REQUEST_SEND:
    case REQUEST_SENDV:
        request_complete_transfer(io, request, result);
        break;
    case REQUEST_READ:
    case REQUEST_SYNC:
        if (result == -EINTR && !request->is_cancelled)
            request_submit(io, request);
        else
            request_finish(io, request, result);
        break;
    case REQUEST_RECV:
        request_complete_recv(io, request, result, flags);
        break;
    case REQUEST_ACCEPT:
        request_complete_accept(io, request, result);
        break;
    case REQUEST_WAKER:
        request_submit(io, request);
        break;
    }
}

/* A short write or send is progress, not an error. */
static void request_complete_transfer(struct io *io, struct io_request *request, int32_t result)
{
    bool is_interrupted = result == -EINTR && !request->is_cancelled;
    if (result > 0)
        request->done += (uint64_t)result;
    ASSERT(request->done <= request->bytes);
    if (is_interrupted
        || (result > 0 && request->done < request->bytes && !request->is_cancelled)) {
        request_submit(io, request);
        return;
    }
    if (result == 0 && request->done < request->bytes)
        result = -EIO; /* the kernel neither takes more nor says why */
    bool is_cut_short = result == -ECANCELED && request->done > 0;
    if (result >= 0 || is_cut_short)
        result = request->done < INT32_MAX ? (int32_t)request->done : INT32_MAX;
    request_finish(io, request, result);
}

/* A multishot receive ends for reasons of its own (no buffer, a full queue); the caller does not hear of that. */
static void request_complete_recv(struct io *io, struct io_request *request, int32_t result,
                                  uint32_t flags)
{
    bool has_buffer = (flags & IORING_CQE_F_BUFFER) != 0;
    bool goes_on = (flags & IORING_CQE_F_MORE) != 0;
    if (result > 0) {
        ASSERT(has_buffer);
        request_deliver(request, result, uring_buffer(&io->uring, flags));
    }
    if (has_buffer)
        uring_buffer_return(&io->uring, flags);
    if (goes_on)
        return;
    if (result > 0 || result == -ENOBUFS || result == -EINTR)
        request_park(request, &io->again);
    else
        request_finish(io, request, result);
}

static void request_complete_accept(struct io *io, struct io_request *request, int32_t result)
{
    if (result >= 0) {
        int on = 1;
        (void)setsockopt(result, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* slower without */
        request_deliver(request, result, NULL);
    }
    if (request->state == REQUEST_IN_KERNEL)
        return;
    if (result >= 0 || (accept_goes_on(result) && !request->is_cancelled))
        request_park(request, &io->again);
    else if (result == -EMFILE || result == -ENFILE || result == -ENOBUFS || result == -ENOMEM)
        accept_pause(io, request, result);
    else
        request_finish(io, request, result);
}

static void request_deliver(struct io_request *request, int32_t result, const char *buffer)
{
    struct op *op = request->op;
    op->result = result;
    op->flags = OP_MORE;
    op->buffer = buffer;
    op->on_done(op);
}

/* on_done comes last: it may start the next operation, or free the memory of this one. */
static void request_finish(struct io *io, struct io_request *request, int32_t result)
{
    ASSERT(request->state == REQUEST_PARKED);
    struct op *op = request->op;
    request->state = REQUEST_FREE;
    request->next = io->free_list;
    io->free_list = request;
    op->io_private = 0;
    op->result = result;
    op->flags = 0;
    op->on_done(op);
}

static void request_park(struct io_request *request, struct request_list *list)
{
    ASSERT(request->state == REQUEST_PARKED);
    request->next = NULL;
    *list->end = request;
    list->end = &request->next;
}

/* The connection waits in the listener's queue until descriptors are free; asking at once would only spin. */
static void accept_pause(struct io *io, struct io_request *request, int negative_errno)
{
    request_park(request, &io->paused);
    io->paused_until_ns = request->is_cancelled ? 0 : io->now_ns + pause_ns;
    if (io->pause_told_ns != 0 && io->now_ns < io->pause_told_ns + pause_told_ns)
        return;
    io->pause_told_ns = io->now_ns;
    diag_warn("accept_paused error=\"%s\"", strerror(-negative_errno));
}

/* Failures of one connection, or of a moment; the listener is well. Source: accept(2), "Error handling". */
static bool accept_goes_on(int negative_errno)
{
    switch (negative_errno) {
    case -EINTR:
    case -EAGAIN:
    case -ECONNABORTED:
    case -EPROTO:
    case -EPERM:
    case -ENETDOWN:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -ENOPROTOOPT:
        return true;
    default:
        return false;
    }
}
