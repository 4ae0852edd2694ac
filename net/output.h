/*
 * net/output.h: what waits to be sent on one connection.
 *
 * A queue of chunks. While a send is in flight new bytes go behind it, so that everything one turn produced leaves with one
 * send, in order, without links.
 */
#ifndef NET_OUTPUT_H
#define NET_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "core/bytes.h"
#include "core/io.h"

enum {
    OUTPUT_CHUNK_BYTES = 16384,   /* one pooled block, header included */
    OUTPUT_POOL_CHUNKS_MAX = 256, /* more than these go back to the heap */
    OUTPUT_VECTOR_COUNT_MAX = 64, /* chunks a send takes along */
};

struct output_chunk {
    struct output_chunk *next;
    uint32_t begin, end, capacity; /* offsets into data: sent up to begin, filled up to end */
    char data[];
};

/* What the kernel looks at during a send of several chunks. */
struct output_vector {
    struct output_vector *next;
    struct msghdr message;
    struct iovec parts[OUTPUT_VECTOR_COUNT_MAX];
};

/* Chunks and vectors nobody uses; one a shard. */
struct output_pool {
    struct heap *heap;             /* borrows */
    struct output_chunk *chunks;   /* owns */
    struct output_vector *vectors; /* owns */
    uint32_t chunk_count;
};

/* Owns its chunks. Zeroed is empty. */
struct output {
    struct output_chunk *head, *tail;
    struct output_vector *vector; /* while a send of several chunks is in flight */
    uint64_t queued_bytes;        /* not yet in the kernel, in flight included */
    uint64_t sending_bytes;       /* in flight */
};

void output_pool_init(struct output_pool *pool, struct heap *heap);
void output_pool_fini(struct output_pool *pool);

/* What the next output_send_behind takes along. */
uint64_t output_next_bytes(const struct output *output);
/* One send of `head`, which stays until it is done, and then of output_next_bytes bytes of the queue, maybe none. */
void output_send_behind(struct output *output, struct output_pool *pool, struct io *io,
                        struct op *op, io_socket socket, struct bytes head, op_done_fn *on_done);

/*
 * Contiguous room for `bytes`, to be filled from the front and then taken into the queue with output_commit, which tells
 * how many of them. Nothing else may happen to the output in between.
 */
char *output_reserve_slow(struct output *output, struct output_pool *pool, uint32_t bytes);
static inline char *output_reserve(struct output *output, struct output_pool *pool, uint32_t bytes)
{
    struct output_chunk *tail = output->tail;
    if (tail != NULL && tail->capacity - tail->end >= bytes)
        return tail->data + tail->end;
    return output_reserve_slow(output, pool, bytes);
}

static inline void output_commit(struct output *output, uint32_t bytes)
{
    output->tail->end += bytes;
    output->queued_bytes += bytes;
}

/* Copies; what does not fit goes on in a new chunk. */
void output_append(struct output *output, struct output_pool *pool, struct bytes bytes);

/*
 * Sends the front of the queue; op completes with output->sending_bytes or an error, and then output_sent or
 * output_clear must be called. There must be something to send and no send in flight.
 */
void output_send(struct output *output, struct output_pool *pool, struct io *io, struct op *op,
                 io_socket socket, op_done_fn *on_done);
void output_sent(struct output *output, struct output_pool *pool, uint64_t bytes);

/* Drops everything; no send may be in flight. */
void output_clear(struct output *output, struct output_pool *pool);

#endif
