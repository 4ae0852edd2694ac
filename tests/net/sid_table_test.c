/*
 * tests/net/sid_table_test.c: subscriptions by sid, against an array of flags.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "net/conn.h"

enum { SID_COUNT = 300 };

Test(sid_table, agrees_with_an_array_after_random_changes)
{
    struct heap *heap = heap_create();
    struct sid_table table = {NULL, 0, 0};
    struct subscription *all[SID_COUNT];
    bool is_in[SID_COUNT] = {false};
    unsigned chance = 5;
    for (unsigned i = 0; i < SID_COUNT; i++) {
        char sid[16];
        size_t count = (size_t)snprintf(sid, sizeof(sid), "%u", i);
        all[i] = calloc(1, sizeof(*all[i]) + count);
        all[i]->sid_count = (uint32_t)count;
        memcpy(all[i]->sid, sid, count);
    }
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = (unsigned)rand_r(&chance) % SID_COUNT;
        if (is_in[i])
            sid_table_remove(&table, all[i]);
        else
            sid_table_insert(&table, heap, all[i]);
        is_in[i] = !is_in[i];
        i = (unsigned)rand_r(&chance) % SID_COUNT;
        cr_assert(
            eq(ptr, sid_table_find(&table, subscription_sid(all[i])), is_in[i] ? all[i] : NULL));
    }
    for (unsigned i = 0; i < SID_COUNT; i++)
        free(all[i]);
    heap_free(table.slots);
    heap_destroy(heap);
}
