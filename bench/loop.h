/*
 * bench/loop.h: one thread's io_uring and the stream sockets on it.
 *
 * A link receives by a multishot receive into buffers shared by the loop, and sends with at most one
 * send in flight: what is written meanwhile gathers in a second buffer and leaves as one send.
 * So the cost of a turn is one system call, whatever the number of links.
 *
 * Keeps:   the owner of a link sees every byte once, in order; what it does not consume is kept and
 *          shown again in front of the next bytes.
 * Owns:    the ring, the receive buffers, and of each link its socket and its buffers.
 * Runs on: the thread that called loop_open().
 */
#ifndef BENCH_LOOP_H
#define BENCH_LOOP_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct link;

struct bytes_out {
    char *data;
    size_t count;
    size_t size;
};

/* Returns how many bytes it has used up: whole frames only, 0 if there is none yet. */
typedef size_t link_bytes_fn(struct link *link, char *data, size_t count);
/* The peer has gone, or the kernel refused; reason is for people. Runs once for a link. */
typedef void link_closed_fn(struct link *link, const char *reason);

struct loop {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    char *buffer_memory;
    struct link *dirty; /* links with bytes to send and no send in flight */
    struct __kernel_timespec tick;
    uint64_t now_ns; /* read after each wait */
    uint32_t waits_for_count;
    bool has_tick;
};

struct link {
    struct loop *loop;
    link_bytes_fn *on_bytes;
    link_closed_fn *on_closed;
    struct link *dirty_next;
    struct bytes_out gathering; /* what the owner writes */
    struct bytes_out leaving;   /* what the kernel holds */
    size_t sent_count;
    char *carry; /* an unfinished frame */
    size_t carry_count;
    size_t carry_size;
    int socket;
    bool is_sending;
    bool is_receiving;
    bool is_dirty;
    bool is_closed;
};

uint64_t clock_now_ns(void);

/* Exits with words on stderr where the kernel has no io_uring for us: nothing can be measured then. */
void loop_open(struct loop *loop);
void loop_close(struct loop *loop);

/* From now on the loop wakes up at least once in interval_ns; for loops that watch a deadline. */
void loop_start_tick(struct loop *loop, uint64_t interval_ns);

/* Sends what has been written, waits for something to happen, runs the callbacks. */
void loop_turn(struct loop *loop);

/* Takes over the socket. The first bytes, if any, were read before the link existed. */
void link_open(struct link *link, struct loop *loop, int socket, const char *first,
               size_t first_count, link_bytes_fn *on_bytes, link_closed_fn *on_closed);
void link_close(struct link *link);

/* Room for up to `count` bytes; valid until the next call. link_commit() says how many were used. */
char *link_reserve(struct link *link, size_t count);
void link_commit(struct link *link, size_t count);
void link_write(struct link *link, const void *data, size_t count);

#endif
