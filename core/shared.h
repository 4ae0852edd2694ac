/*
 * core/shared.h: the words that several shards read and write, a cache line each. Nothing else in pail is shared.
 *
 * Every function names its memory order; who writes, who reads and why the order suffices is told where the cell is
 * declared.
 */
#ifndef CORE_SHARED_H
#define CORE_SHARED_H

#include <stdatomic.h>
#include <stdint.h>

struct shared_u64 {
    _Alignas(64) _Atomic uint64_t value;
};

static inline uint64_t shared_load_acquire(const struct shared_u64 *cell)
{
    return atomic_load_explicit(&cell->value, memory_order_acquire);
}

static inline uint64_t shared_load_relaxed(const struct shared_u64 *cell)
{
    return atomic_load_explicit(&cell->value, memory_order_relaxed);
}

static inline uint64_t shared_load_seq_cst(const struct shared_u64 *cell)
{
    return atomic_load_explicit(&cell->value, memory_order_seq_cst);
}

static inline void shared_store_release(struct shared_u64 *cell, uint64_t value)
{
    atomic_store_explicit(&cell->value, value, memory_order_release);
}

static inline void shared_store_relaxed(struct shared_u64 *cell, uint64_t value)
{
    atomic_store_explicit(&cell->value, value, memory_order_relaxed);
}

static inline void shared_store_seq_cst(struct shared_u64 *cell, uint64_t value)
{
    atomic_store_explicit(&cell->value, value, memory_order_seq_cst);
}

static inline uint64_t shared_add_seq_cst(struct shared_u64 *cell, uint64_t count)
{
    return atomic_fetch_add_explicit(&cell->value, count, memory_order_seq_cst);
}

static inline uint64_t shared_sub_seq_cst(struct shared_u64 *cell, uint64_t count)
{
    return atomic_fetch_sub_explicit(&cell->value, count, memory_order_seq_cst);
}

static inline uint64_t shared_or_seq_cst(struct shared_u64 *cell, uint64_t bits)
{
    return atomic_fetch_or_explicit(&cell->value, bits, memory_order_seq_cst);
}

static inline uint64_t shared_and_seq_cst(struct shared_u64 *cell, uint64_t bits)
{
    return atomic_fetch_and_explicit(&cell->value, bits, memory_order_seq_cst);
}

/* What it held. */
static inline uint64_t shared_swap(struct shared_u64 *cell, uint64_t value)
{
    return atomic_exchange_explicit(&cell->value, value, memory_order_seq_cst);
}

/* True when the cell held `expected` and now holds `desired`. */
static inline _Bool shared_swap_if(struct shared_u64 *cell, uint64_t expected, uint64_t desired)
{
    return atomic_compare_exchange_strong_explicit(&cell->value, &expected, desired,
                                                   memory_order_seq_cst, memory_order_seq_cst);
}

#endif
