/*
 * store/message_ring.h: the messages of a key that has more than one, in order of sequence. Cheap at both ends.
 */
#ifndef STORE_MESSAGE_RING_H
#define STORE_MESSAGE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "core/heap.h"
#include "store/index.h"

struct message_ring {
    uint32_t first; /* slot of the oldest */
    uint32_t count;
    uint32_t capacity;
    struct message slots[];
};

struct message_ring *message_ring_create(struct heap *heap);
void message_ring_destroy(struct message_ring *ring);

/* Both may move the ring, and return it. The sequence must be new; cheapest as the newest or the oldest. */
struct message_ring *message_ring_insert(struct heap *heap, struct message_ring *ring,
                                         const struct message *message);
struct message_ring *message_ring_remove(struct heap *heap, struct message_ring *ring,
                                         uint32_t position);

/* The position of the first message with sequence >= seq, or count. */
uint32_t message_ring_search(const struct message_ring *ring, uint64_t seq);

/* 0 is the oldest. */
static inline const struct message *message_ring_at(const struct message_ring *ring,
                                                    uint32_t position)
{
    uint64_t slot = (uint64_t)ring->first + position;
    return &ring->slots[slot < ring->capacity ? slot : slot - ring->capacity];
}

static inline void message_ring_set_where(struct message_ring *ring, uint32_t position,
                                          location where)
{
    uint64_t slot = (uint64_t)ring->first + position;
    ring->slots[slot < ring->capacity ? slot : slot - ring->capacity].where = where;
}

static inline size_t message_ring_bytes(const struct message_ring *ring)
{
    return sizeof(*ring) + ring->capacity * sizeof(ring->slots[0]);
}

#endif
