/*
 * tests/store/value_cache_test.c: the cache stays within its budget, and pinned bytes stay in place.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "store/location.h"
#include "store/value_cache.h"

static struct heap *heap;
static struct value_cache *cache;

enum { BUDGET = 64 << 10, IMAGE_BYTES = 1024 };

static void make(void)
{
    heap = heap_create();
    cache = value_cache_create(heap, BUDGET);
}

static void drop(void)
{
    value_cache_destroy(cache);
    heap_destroy(heap);
}

static location place(uint64_t number)
{
    return location_pack(1 + number / 1000, 4096 + number % 1000 * 1024, IMAGE_BYTES);
}

static void admit(uint64_t number)
{
    char image[IMAGE_BYTES];
    memset(image, (int)number, sizeof image);
    value_cache_admit(cache, place(number), image, sizeof image);
}

Test(value_cache, finds_what_it_was_given, .init = make, .fini = drop)
{
    admit(7);
    struct cache_block *block = value_cache_pin(cache, place(7));
    cr_assert(block != NULL);
    cr_assert(eq(u32, block->bytes, IMAGE_BYTES));
    cr_assert(eq(i8, block->image[100], 7));
    value_cache_unpin(cache, block);
    cr_assert(value_cache_pin(cache, place(8)) == NULL);
}

Test(value_cache, stays_within_its_budget, .init = make, .fini = drop)
{
    for (uint64_t i = 0; i < 10000; i++) {
        admit(i);
        cr_assert(value_cache_figures(cache).bytes <= BUDGET);
    }
    cr_assert(value_cache_figures(cache).bytes > BUDGET / 2);
}

Test(value_cache, keeps_what_is_asked_for, .init = make, .fini = drop)
{
    admit(0);
    for (uint64_t i = 1; i < 1000; i++) {
        admit(i);
        struct cache_block *block = value_cache_pin(cache, place(0));
        cr_assert(block != NULL);
        value_cache_unpin(cache, block);
    }
}

Test(value_cache, keeps_pinned_bytes_in_place, .init = make, .fini = drop)
{
    admit(1);
    struct cache_block *block = value_cache_pin(cache, place(1));
    for (uint64_t i = 2; i < 1000; i++)
        admit(i);
    value_cache_forget(cache, place(1)); /* it died */
    cr_assert(value_cache_pin(cache, place(1)) == NULL);
    for (uint64_t i = 1000; i < 2000; i++)
        admit(i);
    cr_assert(eq(i8, block->image[500], 1));
    value_cache_unpin(cache, block);
}

Test(value_cache, takes_nothing_that_would_throw_out_all_else, .init = make, .fini = drop)
{
    static char large[BUDGET / 4];
    value_cache_admit(cache, location_pack(9, 4096, sizeof large), large, sizeof large);
    cr_assert(eq(u64, value_cache_figures(cache).count, 0));
}
