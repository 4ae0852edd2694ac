/*
 * store/value_cache.c: records by location, thrown out by CLOCK.
 *
 *     table: location ──hash──► bucket ──► block ──► block        clock: slots [block, -, block, …], the hand goes round
 *
 * Keeps:   what is cached costs at most the budget, except while pins hold more. A pinned block stays where it is; one that
 *          died or was thrown out while pinned is freed with its last pin. The table has about one bucket a block.
 * Owns:    the blocks and the table.
 * Runs on: the shard whose heap it was given.
 */
#include "store/value_cache.h"

#include "core/assert.h"
#include "store/location.h"

enum { BUCKETS_FIRST = 1024, SHARE_MAX = 8 };

struct value_cache {
    struct heap *heap;            /* borrows */
    struct cache_block **buckets; /* owns */
    uint64_t bucket_count;        /* a power of two */
    uint64_t block_count;         /* in the table */
    struct cache_block **slots;   /* owns; the clock: a block or NULL */
    uint32_t slot_count, slot_capacity;
    uint32_t hand; /* next slot to be looked at */
    uint64_t budget_bytes, used_bytes;
    uint64_t hits, misses;
};

struct value_cache *value_cache_create(struct heap *heap, uint64_t budget_bytes)
{
    struct value_cache *cache = heap_alloc_zeroed(heap, sizeof *cache);
    cache->heap = heap;
    cache->budget_bytes = budget_bytes;
    cache->bucket_count = BUCKETS_FIRST;
    cache->buckets = heap_alloc_zeroed(heap, BUCKETS_FIRST * sizeof *cache->buckets);
    return cache;
}

void value_cache_destroy(struct value_cache *cache)
{
    if (cache == NULL)
        return;
    for (uint64_t i = 0; i < cache->bucket_count; i++) {
        struct cache_block *block = cache->buckets[i];
        while (block != NULL) {
            struct cache_block *next = block->bucket_next;
            heap_free(block);
            block = next;
        }
    }
    heap_free(cache->buckets);
    heap_free(cache->slots);
    heap_free(cache);
}

/* ---- table ---- */

static struct cache_block **bucket_of(const struct value_cache *cache, location where)
{
    /*
     * Records that lie one behind the other come into buckets one behind the other: a run of appends then fills lines of the
     * table in order. A record takes some eight units of 16 bytes; where segments begin is spread.
     */
    uint64_t place = (location_offset(where) >> 7)
                     + (location_segment(where) * UINT64_C(0x9e3779b97f4a7c15) >> 20);
    return &cache->buckets[place & (cache->bucket_count - 1)];
}

static void table_grow(struct value_cache *cache)
{
    struct cache_block **old = cache->buckets;
    uint64_t old_count = cache->bucket_count;
    cache->bucket_count = 2 * old_count;
    cache->buckets = heap_alloc_zeroed(cache->heap, cache->bucket_count * sizeof *cache->buckets);
    for (uint64_t i = 0; i < old_count; i++) {
        struct cache_block *block = old[i];
        while (block != NULL) {
            struct cache_block *next = block->bucket_next;
            struct cache_block **bucket = bucket_of(cache, block->where);
            block->bucket_next = *bucket;
            *bucket = block;
            block = next;
        }
    }
    heap_free(old);
}

static struct cache_block **find(const struct value_cache *cache, location where)
{
    struct cache_block **link = bucket_of(cache, where);
    while (*link != NULL && (*link)->where != where)
        link = &(*link)->bucket_next;
    return link;
}

/* ---- clock: slots, so that a block leaves without its neighbours being touched ---- */

static uint64_t cost_of(const struct cache_block *block)
{
    return sizeof *block + 2 * sizeof(void *) + block->bytes;
}

/* Closes the holes; the hand stays at the block it would look at next. */
static void clock_pack(struct value_cache *cache)
{
    uint32_t kept = 0, hand = 0;
    for (uint32_t i = 0; i < cache->slot_count; i++) {
        if (i == cache->hand)
            hand = kept;
        if (cache->slots[i] == NULL)
            continue;
        cache->slots[i]->slot = kept;
        cache->slots[kept++] = cache->slots[i];
    }
    cache->slot_count = kept;
    cache->hand = hand < kept ? hand : 0;
}

static void clock_add(struct value_cache *cache, struct cache_block *block)
{
    if (cache->slot_count == cache->slot_capacity && cache->block_count < cache->slot_count / 2)
        clock_pack(cache);
    if (cache->slot_count == cache->slot_capacity) {
        cache->slot_capacity = cache->slot_capacity == 0 ? 1024 : 2 * cache->slot_capacity;
        cache->slots = heap_resize(cache->heap, cache->slots,
                                   cache->slot_capacity * sizeof(struct cache_block *));
    }
    block->slot = cache->slot_count;
    cache->slots[cache->slot_count++] = block;
}

/* Takes the block out of table and clock; frees it unless it is pinned. */
static void drop(struct value_cache *cache, struct cache_block **link)
{
    struct cache_block *block = *link;
    *link = block->bucket_next;
    cache->slots[block->slot] = NULL;
    cache->used_bytes -= cost_of(block);
    cache->block_count--;
    block->is_cached = false;
    if (block->pin_count == 0)
        heap_free(block);
}

static void make_room(struct value_cache *cache)
{
    uint64_t steps_max = 2 * (uint64_t)cache->slot_count;
    for (uint64_t step = 0; step < steps_max; step++) {
        if (cache->used_bytes <= cache->budget_bytes)
            return;
        if (cache->hand >= cache->slot_count)
            cache->hand = 0;
        struct cache_block *block = cache->slots[cache->hand++];
        if (block == NULL || block->pin_count > 0)
            continue;
        if (block->is_referenced)
            block->is_referenced = false;
        else
            drop(cache, find(cache, block->where));
    }
}

/* ---- the doors ---- */

struct cache_block *value_cache_block(struct value_cache *cache, location where, uint32_t bytes)
{
    struct cache_block *block = heap_alloc(cache->heap, sizeof *block + bytes);
    block->where = where;
    block->bytes = bytes;
    block->pin_count = 1;
    block->is_cached = false;
    block->is_referenced = false;
    return block;
}

void value_cache_insert(struct value_cache *cache, struct cache_block *block)
{
    ASSERT(!block->is_cached);
    if (cost_of(block) > cache->budget_bytes / SHARE_MAX)
        return;
    ASSERT(*find(cache, block->where) == NULL);
    if (cache->block_count >= cache->bucket_count)
        table_grow(cache);
    struct cache_block **bucket = bucket_of(cache, block->where);
    block->bucket_next = *bucket;
    *bucket = block;
    clock_add(cache, block);
    block->is_cached = true;
    cache->used_bytes += cost_of(block);
    cache->block_count++;
    make_room(cache);
}

void value_cache_admit(struct value_cache *cache, location where, const void *image, uint32_t bytes)
{
    if (sizeof(struct cache_block) + bytes > cache->budget_bytes / SHARE_MAX)
        return;
    struct cache_block *block = value_cache_block(cache, where, bytes);
    memcpy(block->image, image, bytes);
    value_cache_insert(cache, block);
    value_cache_unpin(cache, block);
}

struct cache_block *value_cache_pin(struct value_cache *cache, location where)
{
    struct cache_block *block = *find(cache, where);
    if (block == NULL) {
        cache->misses++;
        return NULL;
    }
    cache->hits++;
    block->is_referenced = true;
    block->pin_count++;
    return block;
}

bool value_cache_has(const struct value_cache *cache, location where)
{
    for (const struct cache_block *block = *bucket_of(cache, where); block != NULL;
         block = block->bucket_next) {
        if (block->where == where)
            return true;
    }
    return false;
}

void value_cache_prefetch(const struct value_cache *cache, location where)
{
    __builtin_prefetch(bucket_of(cache, where));
}

void value_cache_prefetch_block(const struct value_cache *cache, location where)
{
    const char *block = (const char *)*bucket_of(cache, where);
    if (block == NULL)
        return;
    for (unsigned i = 0; i < 5; i++)
        __builtin_prefetch(block + 64 * (size_t)i);
}

void value_cache_unpin(struct value_cache *cache, struct cache_block *block)
{
    ASSERT(block->pin_count > 0);
    block->pin_count--;
    if (block->pin_count > 0)
        return;
    if (!block->is_cached)
        heap_free(block);
    else if (cache->used_bytes > cache->budget_bytes)
        make_room(cache);
}

void value_cache_forget(struct value_cache *cache, location where)
{
    struct cache_block **link = find(cache, where);
    if (*link != NULL)
        drop(cache, link);
}

struct value_cache_figures value_cache_figures(const struct value_cache *cache)
{
    return (struct value_cache_figures){cache->used_bytes, cache->hits, cache->misses,
                                        cache->block_count};
}
