/*
 * net/output.c: what waits to be sent on one connection.
 *
 *     head ──► [ sent | in flight ] ──► [ in flight | queued, room ] ◄── tail
 *
 * Keeps:   bytes leave in the order they came; the kernel reads a range of a chunk while we write behind it; an output that
 *          has nothing queued holds no chunk.
 * Owns:    the pool owns free chunks, an output the ones it queues.
 * Runs on: the connection's shard.
 */
#include "net/output.h"

#include "core/assert.h"
#include "core/heap.h"

enum { CHUNK_DATA_BYTES = OUTPUT_CHUNK_BYTES - (int)sizeof(struct output_chunk) };

static struct output_chunk *chunk_acquire(struct output_pool *pool, uint32_t bytes);
static void chunk_release(struct output_pool *pool, struct output_chunk *chunk);
static struct output_vector *vector_acquire(struct output_pool *pool);
static void vector_release(struct output_pool *pool, struct output_vector *vector);

void output_pool_init(struct output_pool *pool, struct heap *heap)
{
    *pool = (struct output_pool){.heap = heap};
}

void output_pool_fini(struct output_pool *pool)
{
    while (pool->chunks != NULL) {
        struct output_chunk *chunk = pool->chunks;
        pool->chunks = chunk->next;
        heap_free(chunk);
    }
    while (pool->vectors != NULL) {
        struct output_vector *vector = pool->vectors;
        pool->vectors = vector->next;
        heap_free(vector);
    }
}

char *output_reserve_slow(struct output *output, struct output_pool *pool, uint32_t bytes)
{
    struct output_chunk *chunk = chunk_acquire(pool, bytes);
    if (output->tail == NULL)
        output->head = chunk;
    else
        output->tail->next = chunk;
    output->tail = chunk;
    return chunk->data;
}

void output_append(struct output *output, struct output_pool *pool, struct bytes bytes)
{
    while (bytes.count > 0) {
        struct output_chunk *tail = output->tail;
        uint32_t room = tail == NULL ? 0 : tail->capacity - tail->end;
        if (room == 0) {
            ASSERT(bytes.count <= UINT32_MAX / 2);
            (void)output_reserve_slow(output, pool, (uint32_t)bytes.count);
            tail = output->tail;
            room = tail->capacity;
        }
        uint32_t count = bytes.count < room ? (uint32_t)bytes.count : room;
        memcpy(tail->data + tail->end, bytes.data, count);
        output_commit(output, count);
        bytes = bytes_after(bytes, count);
    }
}

void output_send(struct output *output, struct output_pool *pool, struct io *io, struct op *op,
                 io_socket socket, op_done_fn *on_done)
{
    struct output_chunk *head = output->head;
    ASSERT(output->sending_bytes == 0);
    ASSERT(output->queued_bytes > 0);
    if (head == output->tail) {
        output->sending_bytes = head->end - head->begin;
        io_send(io, op, socket, head->data + head->begin, output->sending_bytes, on_done);
        return;
    }
    struct output_vector *vector = vector_acquire(pool);
    uint32_t count = 0;
    for (struct output_chunk *chunk = head; chunk != NULL && count < OUTPUT_VECTOR_COUNT_MAX;
         chunk = chunk->next) {
        uint32_t bytes = chunk->end - chunk->begin;
        if (bytes == 0)
            continue;
        vector->parts[count++] = (struct iovec){chunk->data + chunk->begin, bytes};
        output->sending_bytes += bytes;
    }
    output->vector = vector;
    io_sendv(io, op, socket, vector->parts, count, &vector->message, on_done);
}

uint64_t output_next_bytes(const struct output *output)
{
    uint64_t bytes = 0;
    uint32_t count = 1; /* the head's place */
    for (const struct output_chunk *chunk = output->head;
         chunk != NULL && count < OUTPUT_VECTOR_COUNT_MAX; chunk = chunk->next) {
        bytes += chunk->end - chunk->begin;
        count += chunk->end > chunk->begin ? 1 : 0;
    }
    return bytes;
}

void output_send_behind(struct output *output, struct output_pool *pool, struct io *io,
                        struct op *op, io_socket socket, struct bytes head, op_done_fn *on_done)
{
    struct output_vector *vector = vector_acquire(pool);
    uint32_t count = 1;
    ASSERT(output->sending_bytes == 0);
    ASSERT(head.count > 0);
    vector->parts[0] = (struct iovec){(void *)(uintptr_t)head.data, head.count};
    for (struct output_chunk *chunk = output->head;
         chunk != NULL && count < OUTPUT_VECTOR_COUNT_MAX; chunk = chunk->next) {
        uint32_t bytes = chunk->end - chunk->begin;
        if (bytes == 0)
            continue;
        vector->parts[count++] = (struct iovec){chunk->data + chunk->begin, bytes};
        output->sending_bytes += bytes;
    }
    output->vector = vector;
    io_sendv(io, op, socket, vector->parts, count, &vector->message, on_done);
}

void output_sent(struct output *output, struct output_pool *pool, uint64_t bytes)
{
    ASSERT(bytes <= output->queued_bytes);
    vector_release(pool, output->vector);
    output->vector = NULL;
    output->sending_bytes = 0;
    output->queued_bytes -= bytes;
    while (output->head != NULL) {
        struct output_chunk *head = output->head;
        uint32_t count = head->end - head->begin;
        uint32_t taken = bytes < count ? (uint32_t)bytes : count;
        head->begin += taken;
        bytes -= taken;
        if (head->begin < head->end)
            return;
        output->head = head->next;
        chunk_release(pool, head);
    }
    ASSERT(output->queued_bytes == 0);
    output->tail = NULL;
}

void output_clear(struct output *output, struct output_pool *pool)
{
    while (output->head != NULL) {
        struct output_chunk *chunk = output->head;
        output->head = chunk->next;
        chunk_release(pool, chunk);
    }
    vector_release(pool, output->vector);
    *output = (struct output){.head = NULL};
}

static struct output_chunk *chunk_acquire(struct output_pool *pool, uint32_t bytes)
{
    struct output_chunk *chunk = pool->chunks;
    if (bytes > CHUNK_DATA_BYTES) {
        chunk = heap_alloc(pool->heap, sizeof(*chunk) + bytes);
        chunk->capacity = bytes;
    } else if (chunk != NULL) {
        pool->chunks = chunk->next;
        pool->chunk_count--;
    } else {
        chunk = heap_alloc(pool->heap, OUTPUT_CHUNK_BYTES);
        chunk->capacity = CHUNK_DATA_BYTES;
    }
    chunk->next = NULL;
    chunk->begin = chunk->end = 0;
    return chunk;
}

static void chunk_release(struct output_pool *pool, struct output_chunk *chunk)
{
    if (chunk->capacity != CHUNK_DATA_BYTES || pool->chunk_count == OUTPUT_POOL_CHUNKS_MAX) {
        heap_free(chunk);
        return;
    }
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    pool->chunk_count++;
}

static struct output_vector *vector_acquire(struct output_pool *pool)
{
    struct output_vector *vector = pool->vectors;
    if (vector == NULL)
        return heap_alloc_zeroed(pool->heap, sizeof(*vector));
    pool->vectors = vector->next;
    return vector;
}

static void vector_release(struct output_pool *pool, struct output_vector *vector)
{
    if (vector == NULL)
        return;
    vector->next = pool->vectors;
    pool->vectors = vector;
}
