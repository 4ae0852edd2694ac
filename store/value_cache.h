/*
 * store/value_cache.h: whole records in memory, by location, within a budget. See value_cache.c.
 */
#ifndef STORE_VALUE_CACHE_H
#define STORE_VALUE_CACHE_H

#include "core/heap.h"
#include "store/record.h"

struct value_cache; /* opaque */

/* The encoded record, pinned while pin_count > 0. */
struct cache_block {
    struct cache_block *bucket_next; /* same bucket */
    location where;
    uint32_t slot;  /* the clock's */
    uint32_t bytes; /* of the image */
    uint32_t pin_count;
    bool is_cached;     /* in the table; otherwise it goes with its last pin */
    bool is_referenced; /* the clock passes it once more */
    _Alignas(16) char image[];
};

struct value_cache *value_cache_create(struct heap *heap, uint64_t budget_bytes);
void value_cache_destroy(struct value_cache *cache); /* nothing may be pinned */

/* Copies the image in, unless it would fill more than an eighth of the budget. */
void value_cache_admit(struct value_cache *cache, location where, const void *image,
                       uint32_t bytes);
/* A pinned block, or NULL. */
struct cache_block *value_cache_pin(struct value_cache *cache, location where);
/* Whether it is in the table; does not count as a use. */
bool value_cache_has(const struct value_cache *cache, location where);
/* Two steps, each needs time before the next: brings the table's line; brings the block's lines. */
void value_cache_prefetch(const struct value_cache *cache, location where);
void value_cache_prefetch_block(const struct value_cache *cache, location where);
/* A new block, pinned once, not yet in the table: fill in the image, then value_cache_insert. */
struct cache_block *value_cache_block(struct value_cache *cache, location where, uint32_t bytes);
/* Makes the block findable if it fits; pins stay. */
void value_cache_insert(struct value_cache *cache, struct cache_block *block);
void value_cache_unpin(struct value_cache *cache, struct cache_block *block);
/* The record died: what is pinned stays readable until it is unpinned. */
void value_cache_forget(struct value_cache *cache, location where);

struct value_cache_figures {
    uint64_t bytes, hits, misses, count;
};
struct value_cache_figures value_cache_figures(const struct value_cache *cache);

#endif
