/*
 * core/uring.c: one io_uring, bare.
 *
 * Keeps:   every enter asks for events: with DEFER_TASKRUN a completion appears only while we ask, and a plain submit
 *          could leave it lying. Completions are copied out and the queue is freed before a callback runs, so that
 *          callbacks may queue without end and stacks stay short.
 * Notes:   liburing 2.3 cannot pass newer flags to io_uring_enter nor set up buffer rings; both are done here by hand.
 *          No SQPOLL (costs a CPU), no IOPOLL (refuses sockets), no second ring: one place to wait.
 */
#include "core/uring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>

#include "core/assert.h"
#include "core/diag.h"

static enum status uring_open_ring(struct uring *uring, char *why, size_t why_bytes);
static enum status uring_open_buffers(struct uring *uring, char *why, size_t why_bytes);
static void *map_memory(size_t bytes);
static void uring_close_buffers(struct uring *uring);
static void uring_explain(int negative_errno, const char *step, char *why, size_t why_bytes);
static bool uring_must_enter(const struct uring *uring);
static int uring_enter(struct uring *uring, uint64_t deadline_ns);
static unsigned uring_flush(struct uring *uring);
static void uring_gather(struct uring *uring);
static void uring_ready_grow(struct uring *uring, size_t count);

static const size_t buffer_ring_bytes = URING_BUFFER_COUNT * sizeof(struct io_uring_buf);
static const size_t buffers_bytes = (size_t)URING_BUFFER_COUNT * URING_BUFFER_BYTES;

enum status uring_open(struct uring *uring, char *why, size_t why_bytes)
{
    *uring = (struct uring){.ready = NULL};
    enum status status = uring_open_ring(uring, why, why_bytes);
    if (status != STATUS_OK)
        return status;
    status = uring_open_buffers(uring, why, why_bytes);
    if (status != STATUS_OK) {
        io_uring_queue_exit(&uring->ring);
        return status;
    }
    uring_ready_grow(uring, URING_COMPLETIONS);
    return STATUS_OK;
}

void uring_close(struct uring *uring)
{
    io_uring_queue_exit(&uring->ring);
    uring_close_buffers(uring);
    free(uring->ready);
}

static enum status uring_open_ring(struct uring *uring, char *why, size_t why_bytes)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG
                 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        .cq_entries = URING_COMPLETIONS,
    };
    int result = io_uring_queue_init_params(URING_ENTRIES, &uring->ring, &params);
    if (result < 0) {
        uring_explain(result, "io_uring_setup", why, why_bytes);
        return result == -EINVAL ? STATUS_UNSUPPORTED : status_from_errno(result);
    }
    uring->enter_flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    if (params.features & IORING_FEAT_NO_IOWAIT)
        uring->enter_flags |= IORING_ENTER_NO_IOWAIT;
    if (io_uring_register_ring_fd(&uring->ring) == 1) /* else the plain descriptor does */
        uring->enter_flags |= IORING_ENTER_REGISTERED_RING;
    return STATUS_OK;
}

static enum status uring_open_buffers(struct uring *uring, char *why, size_t why_bytes)
{
    uring->buffer_ring = map_memory(buffer_ring_bytes);
    uring->buffers = map_memory(buffers_bytes);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)uring->buffer_ring,
        .ring_entries = URING_BUFFER_COUNT,
        .bgid = URING_BUFFER_GROUP,
    };
    int result = -ENOMEM;
    if (uring->buffer_ring != NULL && uring->buffers != NULL)
        result = io_uring_register_buf_ring(&uring->ring, &registration, 0);
    if (result < 0) {
        uring_explain(result, "io_uring_register_buf_ring", why, why_bytes);
        uring_close_buffers(uring);
        return status_from_errno(result);
    }
    for (uint32_t index = 0; index < URING_BUFFER_COUNT; index++)
        uring_buffer_return(uring, index << IORING_CQE_BUFFER_SHIFT);
    uring_buffers_publish(uring);
    return STATUS_OK;
}

static void *map_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory != MAP_FAILED ? memory : NULL;
}

static void uring_close_buffers(struct uring *uring)
{
    if (uring->buffer_ring != NULL)
        (void)munmap(uring->buffer_ring, buffer_ring_bytes); /* cannot fail on our own mapping */
    if (uring->buffers != NULL)
        (void)munmap(uring->buffers, buffers_bytes);
}

/* Names the remedy: whoever reads this has a server that does not start. */
static void uring_explain(int negative_errno, const char *step, char *why, size_t why_bytes)
{
    struct utsname system;
    const char *release = uname(&system) == 0 ? system.release : "unknown";
    const char *error = strerror(-negative_errno);
    switch (negative_errno) {
    case -EPERM:
    case -ENOSYS:
    case -EACCES:
        (void)snprintf(why, why_bytes,
                       "%s: %s: io_uring is forbidden here; allow it with `sysctl "
                       "kernel.io_uring_disabled=0`, in a container also with a seccomp profile "
                       "that permits it (`--security-opt seccomp=...`)",
                       step, error);
        break;
    case -EINVAL:
        (void)snprintf(why, why_bytes, "%s: %s: kernel 6.1 or newer is needed, this is %s", step,
                       error, release);
        break;
    case -ENOMEM:
        (void)snprintf(why, why_bytes,
                       "%s: %s: raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK=)",
                       step, error);
        break;
    default:
        (void)snprintf(why, why_bytes, "%s: %s", step, error);
    }
}

struct io_uring_sqe *uring_entry(struct uring *uring)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&uring->ring);
    while (entry == NULL) {
        if (uring_enter(uring, 0) < 0)
            uring_gather(uring); /* the kernel may want room for completions first */
        entry = io_uring_get_sqe(&uring->ring);
    }
    return entry;
}

void uring_turn(struct uring *uring, uint64_t deadline_ns)
{
    uint64_t until_ns = uring->ready_count > 0 ? 0 : deadline_ns;
    if (until_ns > 0 || uring_must_enter(uring))
        (void)uring_enter(uring, until_ns); /* what was not submitted is with the next turn */
    uring_gather(uring);
}

/* Whether an enter that does not wait would do anything. */
static bool uring_must_enter(const struct uring *uring)
{
    uint32_t flags = IO_URING_READ_ONCE(*uring->ring.sq.kflags);
    return uring_has_unsubmitted(uring)
           || (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* Gives a negative errno for what passes by itself: a signal, a time-out, want of memory or of room. */
static int uring_enter(struct uring *uring, uint64_t deadline_ns)
{
    uint64_t now_ns = deadline_ns == 0 || deadline_ns == UINT64_MAX ? 0 : uring_clock_ns();
    uint64_t wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    struct __kernel_timespec timeout = {.tv_sec = (int64_t)(wait_ns / 1000000000),
                                        .tv_nsec = (int64_t)(wait_ns % 1000000000)};
    struct io_uring_getevents_arg argument = {
        .ts = deadline_ns == UINT64_MAX ? 0 : (uint64_t)(uintptr_t)&timeout};
    bool is_registered = (uring->enter_flags & IORING_ENTER_REGISTERED_RING) != 0;
    int fd = is_registered ? uring->ring.enter_ring_fd : uring->ring.ring_fd;
    int result = io_uring_enter2((unsigned)fd, uring_flush(uring), wait_ns > 0, uring->enter_flags,
                                 (sigset_t *)&argument, sizeof(argument));
    if (result >= 0 || result == -EINTR || result == -ETIME || result == -EAGAIN || result == -EBUSY
        || result == -ENOMEM)
        return result;
    diag_error("io_uring_enter_failed error=\"%s\"", strerror(-result));
    ASSERT(result >= 0);
    return result;
}

/* Shows the kernel the entries that were filled in; gives how many it has not taken yet. */
static unsigned uring_flush(struct uring *uring)
{
    struct io_uring_sq *queue = &uring->ring.sq;
    queue->sqe_head = queue->sqe_tail;
    io_uring_smp_store_release(queue->ktail, queue->sqe_tail);
    return io_uring_sq_ready(&uring->ring);
}

static void uring_gather(struct uring *uring)
{
    struct io_uring_cq *queue = &uring->ring.cq;
    unsigned head = *queue->khead;
    unsigned tail = io_uring_smp_load_acquire(queue->ktail);
    if (head == tail)
        return;
    uring_ready_grow(uring, uring->ready_count + (tail - head));
    for (; head != tail; head++) {
        const struct io_uring_cqe *cqe = &queue->cqes[head & queue->ring_mask];
        uring->ready[uring->ready_count] = (struct uring_completion){
            .user_data = cqe->user_data, .result = cqe->res, .flags = cqe->flags};
        uring->ready_count++;
    }
    io_uring_smp_store_release(queue->khead, head);
}

static void uring_ready_grow(struct uring *uring, size_t count)
{
    if (count <= uring->ready_capacity)
        return;
    uring->ready = realloc(uring->ready, count * sizeof(*uring->ready));
    ASSERT(uring->ready != NULL);
    uring->ready_capacity = count;
}

const char *uring_buffer(const struct uring *uring, uint32_t completion_flags)
{
    size_t index = completion_flags >> IORING_CQE_BUFFER_SHIFT;
    ASSERT(index < URING_BUFFER_COUNT);
    return uring->buffers + index * URING_BUFFER_BYTES;
}

void uring_buffer_return(struct uring *uring, uint32_t completion_flags)
{
    char *buffer = uring->buffers + (uring_buffer(uring, completion_flags) - uring->buffers);
    io_uring_buf_ring_add(uring->buffer_ring, buffer, URING_BUFFER_BYTES,
                          (unsigned short)(completion_flags >> IORING_CQE_BUFFER_SHIFT),
                          io_uring_buf_ring_mask(URING_BUFFER_COUNT), (int)uring->buffers_returned);
    uring->buffers_returned++;
}

void uring_buffers_publish(struct uring *uring)
{
    io_uring_buf_ring_advance(uring->buffer_ring, (int)uring->buffers_returned);
    uring->buffers_returned = 0;
}

uint64_t uring_clock_ns(void)
{
    struct timespec time;
    int result = clock_gettime(CLOCK_MONOTONIC, &time);
    ASSERT(result == 0);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}
