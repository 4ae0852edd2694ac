/*
 * kv/backlog.c: the sorted list of a consumer's first messages.
 */
#include "kv/backlog.h"

#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

enum { DELIVERED = 1, DEAD = 2, STRIPE_SHIFT = 2, SEQ_SHIFT = 8 };

void backlog_clear(struct backlog *backlog)
{
    heap_free(backlog->entries);
    *backlog = (struct backlog){.heap = backlog->heap};
}

void backlog_add(struct backlog *backlog, uint64_t seq, uint32_t stripe)
{
    if (backlog->count == backlog->capacity) {
        backlog->capacity = backlog->capacity == 0 ? 64 : 2 * backlog->capacity;
        backlog->entries = heap_resize(backlog->heap, backlog->entries,
                                       backlog->capacity * sizeof *backlog->entries);
    }
    backlog->entries[backlog->count++] = seq << SEQ_SHIFT | (uint64_t)stripe << STRIPE_SHIFT;
    backlog->alive++;
}

static int entry_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

void backlog_sort(struct backlog *backlog)
{
    if (backlog->count == 0)
        return;
    qsort(backlog->entries, backlog->count, sizeof *backlog->entries, entry_compare);
    uint64_t kept = 1;
    for (uint64_t i = 1; i < backlog->count; i++) {
        if (backlog->entries[i] >> SEQ_SHIFT != backlog->entries[kept - 1] >> SEQ_SHIFT)
            backlog->entries[kept++] = backlog->entries[i];
    }
    backlog->count = backlog->alive = kept;
}

/* The index of seq, or where it would be. */
static uint64_t backlog_search(const struct backlog *backlog, uint64_t seq)
{
    uint64_t low = 0, high = backlog->count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (backlog->entries[middle] >> SEQ_SHIFT < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool backlog_has(const struct backlog *backlog, uint64_t seq)
{
    uint64_t at = backlog_search(backlog, seq);
    return at < backlog->count && backlog->entries[at] >> SEQ_SHIFT == seq;
}

void backlog_insert(struct backlog *backlog, uint64_t seq, uint32_t stripe)
{
    uint64_t at = backlog_search(backlog, seq);
    if (at < backlog->count && backlog->entries[at] >> SEQ_SHIFT == seq)
        return;
    ASSERT(at >= backlog->next);
    backlog_add(backlog, seq, stripe);
    uint64_t added = backlog->entries[backlog->count - 1];
    memmove(&backlog->entries[at + 1], &backlog->entries[at],
            (backlog->count - 1 - at) * sizeof added);
    backlog->entries[at] = added;
}

bool backlog_kill(struct backlog *backlog, uint64_t seq)
{
    uint64_t at = backlog_search(backlog, seq);
    if (at == backlog->count || backlog->entries[at] >> SEQ_SHIFT != seq
        || (backlog->entries[at] & (DELIVERED | DEAD)) != 0)
        return false;
    backlog->entries[at] |= DEAD;
    ASSERT(backlog->alive > 0);
    backlog->alive--;
    return true;
}

void backlog_keep_only_last(struct backlog *backlog)
{
    if (backlog->count <= 1)
        return;
    backlog->entries[0] = backlog->entries[backlog->count - 1];
    backlog->count = backlog->alive = 1;
}

uint64_t backlog_seq(const struct backlog *backlog, uint64_t index)
{
    return backlog->entries[index] >> SEQ_SHIFT;
}

uint32_t backlog_stripe(const struct backlog *backlog, uint64_t index)
{
    return (uint32_t)(backlog->entries[index] >> STRIPE_SHIFT) & 63;
}

bool backlog_is_wanted(const struct backlog *backlog, uint64_t index)
{
    return (backlog->entries[index] & (DELIVERED | DEAD)) == 0;
}

void backlog_delivered(struct backlog *backlog, uint64_t index)
{
    ASSERT(backlog_is_wanted(backlog, index));
    backlog->entries[index] |= DELIVERED;
    backlog->alive--;
}
