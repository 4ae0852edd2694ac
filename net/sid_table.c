/*
 * net/sid_table.c: the subscriptions of one connection by sid. Most have one or two, some have thousands.
 *
 * Keeps:   linear probing without tombstones: a removal closes the gap.
 * Owns:    the array; borrows the subscriptions.
 * Runs on: the connection's shard.
 */
#include "core/assert.h"
#include "core/hash.h"
#include "net/conn.h"

enum { CAPACITY_FIRST = 4 };

static uint32_t home_of(const struct sid_table *table, struct bytes sid)
{
    return (uint32_t)hash_bytes(sid.data, sid.count) & (table->capacity - 1);
}

static void place(struct sid_table *table, struct subscription *subscription)
{
    uint32_t i = home_of(table, subscription_sid(subscription));
    while (table->slots[i] != NULL)
        i = (i + 1) & (table->capacity - 1);
    table->slots[i] = subscription;
}

struct subscription *sid_table_find(const struct sid_table *table, struct bytes sid)
{
    if (table->count == 0)
        return NULL;
    for (uint32_t i = home_of(table, sid);; i = (i + 1) & (table->capacity - 1)) {
        struct subscription *subscription = table->slots[i];
        if (subscription == NULL || bytes_equal(subscription_sid(subscription), sid))
            return subscription;
    }
}

void sid_table_insert(struct sid_table *table, struct heap *heap, struct subscription *subscription)
{
    if ((table->count + 1) * 4 > table->capacity * 3) {
        struct sid_table wider = {.count = table->count};
        wider.capacity = table->capacity == 0 ? CAPACITY_FIRST : table->capacity * 2;
        wider.slots = heap_alloc_zeroed(heap, wider.capacity * sizeof(struct subscription *));
        for (uint32_t i = 0; i < table->capacity; i++) {
            if (table->slots[i] != NULL)
                place(&wider, table->slots[i]);
        }
        heap_free(table->slots);
        *table = wider;
    }
    place(table, subscription);
    table->count++;
}

void sid_table_remove(struct sid_table *table, struct subscription *subscription)
{
    uint32_t mask = table->capacity - 1;
    uint32_t gap = home_of(table, subscription_sid(subscription));
    while (table->slots[gap] != subscription) {
        ASSERT(table->slots[gap] != NULL);
        gap = (gap + 1) & mask;
    }
    for (uint32_t i = (gap + 1) & mask; table->slots[i] != NULL; i = (i + 1) & mask) {
        uint32_t home = home_of(table, subscription_sid(table->slots[i]));
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            table->slots[gap] = table->slots[i];
            gap = i;
        }
    }
    table->slots[gap] = NULL;
    table->count--;
}
