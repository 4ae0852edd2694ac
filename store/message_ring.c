/*
 * store/message_ring.c: an array whose beginning wanders; it grows by half, and shrinks when a quarter is used.
 *
 * Inserting or removing in the middle moves the shorter side.
 * Owns:    itself, one block; borrows the heap.
 * Runs on: the shard of the index.
 */
#include "store/message_ring.h"

#include "core/assert.h"

enum { CAPACITY_MIN = 2 };

static struct message_ring *ring_resize(struct heap *heap, struct message_ring *ring,
                                        uint32_t capacity);
static void ring_move(struct message_ring *ring, uint32_t to, uint32_t from);
static void ring_wander(struct message_ring *ring, bool forward);

struct message_ring *message_ring_create(struct heap *heap)
{
    struct message_ring *ring =
        heap_alloc(heap, sizeof(*ring) + CAPACITY_MIN * sizeof(ring->slots[0]));
    *ring = (struct message_ring){.capacity = CAPACITY_MIN};
    return ring;
}

void message_ring_destroy(struct message_ring *ring)
{
    heap_free(ring);
}

struct message_ring *message_ring_insert(struct heap *heap, struct message_ring *ring,
                                         const struct message *message)
{
    if (ring->count == ring->capacity) {
        ASSERT(ring->capacity <= UINT32_MAX / 2);
        ring = ring_resize(heap, ring, ring->capacity + (ring->capacity + 1) / 2);
    }
    uint32_t position = message_ring_search(ring, message->seq);
    ASSERT(position == ring->count || message_ring_at(ring, position)->seq != message->seq);

    ring->count++;
    if (position < ring->count / 2) {
        ring_wander(ring, false);
        for (uint32_t i = 0; i < position; i++)
            ring_move(ring, i, i + 1);
    } else {
        for (uint32_t i = ring->count - 1; i > position; i--)
            ring_move(ring, i, i - 1);
    }
    *(struct message *)message_ring_at(ring, position) = *message;
    return ring;
}

struct message_ring *message_ring_remove(struct heap *heap, struct message_ring *ring,
                                         uint32_t position)
{
    ASSERT(position < ring->count);
    if (position < ring->count / 2) {
        for (uint32_t i = position; i > 0; i--)
            ring_move(ring, i, i - 1);
        ring_wander(ring, true);
    } else {
        for (uint32_t i = position; i + 1 < ring->count; i++)
            ring_move(ring, i, i + 1);
    }
    ring->count--;

    if (ring->capacity > 4 * CAPACITY_MIN && ring->count < ring->capacity / 4)
        ring = ring_resize(heap, ring, ring->capacity / 2);
    return ring;
}

uint32_t message_ring_search(const struct message_ring *ring, uint64_t seq)
{
    if (ring->count == 0 || message_ring_at(ring, ring->count - 1)->seq < seq)
        return ring->count;
    if (message_ring_at(ring, 0)->seq >= seq)
        return 0;
    uint32_t begin = 1, end = ring->count - 1; /* the answer is in begin..end */
    while (begin < end) {
        uint32_t middle = begin + (end - begin) / 2;
        if (message_ring_at(ring, middle)->seq < seq)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

static struct message_ring *ring_resize(struct heap *heap, struct message_ring *ring,
                                        uint32_t capacity)
{
    ASSERT(capacity >= ring->count);
    struct message_ring *moved =
        heap_alloc(heap, sizeof(*ring) + capacity * sizeof(ring->slots[0]));
    *moved = (struct message_ring){.count = ring->count, .capacity = capacity};
    for (uint32_t i = 0; i < ring->count; i++)
        moved->slots[i] = *message_ring_at(ring, i);
    heap_free(ring);
    return moved;
}

static void ring_move(struct message_ring *ring, uint32_t to, uint32_t from)
{
    *(struct message *)message_ring_at(ring, to) = *message_ring_at(ring, from);
}

/* Every message gets the next position up (not forward) or down (forward). */
static void ring_wander(struct message_ring *ring, bool forward)
{
    if (forward)
        ring->first = ring->first + 1 == ring->capacity ? 0 : ring->first + 1;
    else
        ring->first = (ring->first == 0 ? ring->capacity : ring->first) - 1;
}
