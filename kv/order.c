/*
 * kv/order.c: taking sequences, floors, and the watermark.
 */
#include "kv/order.h"

#define TAKEN_DONE (UINT64_C(1) << 63)

void order_init(struct order *order, uint64_t next)
{
    shared_store_seq_cst(&order->next, next);
    shared_store_seq_cst(&order->waiters, 0);
    shared_store_seq_cst(&order->bytes, 0);
    shared_store_seq_cst(&order->messages, 0);
    for (uint32_t i = 0; i < SHARD_COUNT_MAX; i++) {
        shared_store_seq_cst(&order->shards[i].routing, ORDER_INFINITY);
        shared_store_seq_cst(&order->shards[i].floor, ORDER_INFINITY);
    }
}

uint64_t order_watermark(const struct order *order, uint32_t shard_count)
{
    uint64_t lowest = shared_load_seq_cst(&order->next); /* before the floors, see order.h */
    for (uint32_t i = 0; i < shard_count; i++) {
        uint64_t floor = shared_load_seq_cst(&order->shards[i].floor);
        if (floor < lowest)
            lowest = floor;
    }
    ASSERT(lowest > 0);
    return lowest - 1;
}

uint64_t order_last_taken(const struct order *order)
{
    return shared_load_seq_cst(&order->next) - 1;
}

bool order_is_routed(const struct order *order, uint32_t shard_count, uint32_t self, uint64_t seq)
{
    for (uint32_t i = 0; i < shard_count; i++) {
        if (i != self && shared_load_seq_cst(&order->shards[i].routing) <= seq)
            return false;
    }
    return true;
}

void taken_free(struct taken *taken)
{
    heap_free(taken->seqs);
    *taken = (struct taken){0};
}

static void taken_grow(struct taken *taken, struct heap *heap)
{
    uint64_t capacity = taken->capacity == 0 ? 256 : 2 * taken->capacity;
    uint64_t *seqs = heap_alloc(heap, capacity * sizeof *seqs);
    for (uint64_t i = taken->first; i < taken->end; i++)
        seqs[i & (capacity - 1)] = taken->seqs[i & (taken->capacity - 1)];
    heap_free(taken->seqs);
    taken->seqs = seqs;
    taken->capacity = capacity;
}

static uint64_t taken_add(struct taken *taken, struct heap *heap, uint64_t seq)
{
    if (taken->end - taken->first == taken->capacity)
        taken_grow(taken, heap);
    taken->seqs[taken->end & (taken->capacity - 1)] = seq;
    return taken->end++;
}

static void order_lower_floor(struct order *order, const struct taken *taken,
                              const struct shard *shard)
{
    if (taken->first == taken->end)
        shared_store_seq_cst(&order->shards[shard->index].floor, shared_load_seq_cst(&order->next));
}

uint64_t order_take(struct order *order, struct taken *taken, struct shard *shard, bool is_routed,
                    uint64_t *index_out)
{
    struct order_shard *own = &order->shards[shard->index];
    order_lower_floor(order, taken, shard);
    if (is_routed && shared_load_relaxed(&own->routing) == ORDER_INFINITY)
        shared_store_seq_cst(&own->routing, shared_load_seq_cst(&order->next));
    uint64_t seq = shared_add_seq_cst(&order->next, 1);
    *index_out = taken_add(taken, shard->heap, seq);
    return seq;
}

uint64_t order_take_if(struct order *order, struct taken *taken, struct shard *shard,
                       uint64_t expected, uint64_t *index_out)
{
    order_lower_floor(order, taken, shard);
    if (!shared_swap_if(&order->next, expected + 1, expected + 2)) {
        if (taken->first == taken->end)
            shared_store_seq_cst(&order->shards[shard->index].floor, ORDER_INFINITY);
        return 0;
    }
    *index_out = taken_add(taken, shard->heap, expected + 1);
    return expected + 1;
}

bool order_take_at(struct order *order, struct taken *taken, struct shard *shard, uint64_t seq,
                   uint64_t *index_out)
{
    order_lower_floor(order, taken, shard);
    uint64_t next = shared_load_seq_cst(&order->next);
    while (next <= seq && !shared_swap_if(&order->next, next, seq + 1))
        next = shared_load_seq_cst(&order->next); /* a purge beyond the end */
    if (next > seq) {
        if (taken->first == taken->end)
            shared_store_seq_cst(&order->shards[shard->index].floor, ORDER_INFINITY);
        return false;
    }
    *index_out = taken_add(taken, shard->heap, seq);
    return true;
}

void order_routed(struct order *order, const struct shard *shard)
{
    shared_store_release(&order->shards[shard->index].routing, ORDER_INFINITY);
}

bool order_done(struct order *order, struct taken *taken, const struct shard *shard, uint64_t index)
{
    ASSERT(index >= taken->first);
    ASSERT(index < taken->end);
    uint64_t mask = taken->capacity - 1;
    ASSERT((taken->seqs[index & mask] & TAKEN_DONE) == 0);
    taken->seqs[index & mask] |= TAKEN_DONE;
    if (index != taken->first)
        return false;
    while (taken->first < taken->end && (taken->seqs[taken->first & mask] & TAKEN_DONE) != 0)
        taken->first++;
    uint64_t floor = taken->first < taken->end ? taken->seqs[taken->first & mask] : ORDER_INFINITY;
    shared_store_seq_cst(&order->shards[shard->index].floor, floor);
    return true;
}
