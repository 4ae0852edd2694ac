/*
 * core/uring.h: one io_uring, bare: set-up, the one system call of a turn, completions, receive buffers. What operations
 * mean is core/io_uring.c's; nobody else opens this header.
 *
 * Runs on: the thread that opened it (the kernel insists: SINGLE_ISSUER).
 */
#ifndef CORE_URING_H
#define CORE_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "core/uring_compat.h"

enum {
    URING_ENTRIES = 1024,
    URING_COMPLETIONS = 8 * URING_ENTRIES, /* multishot operations give many for one entry */
    URING_BUFFER_COUNT = 512,
    URING_BUFFER_BYTES = 16384,
    URING_BUFFER_GROUP = 0,
};

struct uring_completion {
    uint64_t user_data;
    int32_t result;
    uint32_t flags;
};

struct uring {
    struct io_uring ring; /* owns */
    uint32_t enter_flags;
    struct uring_completion *ready; /* owns; gathered from the kernel, callbacks not run yet */
    size_t ready_count, ready_capacity;
    struct io_uring_buf_ring *buffer_ring; /* owns; shared with the kernel */
    char *buffers;                         /* owns */
    uint32_t buffers_returned;             /* put into buffer_ring, not yet shown to the kernel */
};

/* On failure `why` holds a line for people, and nothing is left to close. */
MUST_USE enum status uring_open(struct uring *uring, char *why, size_t why_bytes);
void uring_close(struct uring *uring);

/* An empty entry; submits if there is none. Fill it in at once. */
struct io_uring_sqe *uring_entry(struct uring *uring);
static inline bool uring_has_unsubmitted(const struct uring *uring)
{
    return io_uring_sq_ready(&uring->ring) > 0;
}

/*
 * Submits, waits for a completion until deadline_ns (0: does not wait; UINT64_MAX: no deadline), and moves all
 * completions to uring->ready. Does not wait if something is there.
 */
void uring_turn(struct uring *uring, uint64_t deadline_ns);

/* The buffer a completion brought (IORING_CQE_F_BUFFER in its flags), to be given back once read. */
const char *uring_buffer(const struct uring *uring, uint32_t completion_flags);
void uring_buffer_return(struct uring *uring, uint32_t completion_flags);
void uring_buffers_publish(struct uring *uring); /* once a turn */

uint64_t uring_clock_ns(void); /* CLOCK_MONOTONIC, read now */

#endif
