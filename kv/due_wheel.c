/*
 * kv/due_wheel.c: slots by the highest bit in which a tick differs from the present one.
 *
 * Keeps: an entry of level l has a tick that agrees with `now` above bits 6(l+1), and is later in bits 6l to 6l+5. So the first
 *        slot behind now's on the lowest level that has any holds the earliest.
 */
#include "kv/due_wheel.h"

#include <string.h>

#include "core/assert.h"

enum { SLOT_DUE = DUE_WHEEL_SLOTS - 1, NOWHERE = 0, ENTRIES_MIN = 64 };

struct entry {
    uint64_t seq, due_ns;
    uint32_t next, previous; /* entries; NOWHERE ends */
    uint32_t ttl;            /* UINT32_MAX: never */
    uint16_t slot;
    bool is_markerless;
};

struct due_wheel {
    struct heap *heap;     /* borrows */
    struct entry *entries; /* owns; [0] is nobody */
    uint32_t *table;       /* owns; entries by sequence, table_count of them, a power of two */
    uint32_t entry_count;  /* used at some time */
    uint32_t entry_capacity, table_count;
    uint32_t free_head;
    uint64_t count;
    uint64_t now;                        /* tick */
    uint64_t occupied[DUE_WHEEL_LEVELS]; /* bit: the slot has an entry */
    uint32_t heads[DUE_WHEEL_SLOTS];
};

struct due_wheel *due_wheel_create(struct heap *heap, uint64_t now_ns)
{
    struct due_wheel *wheel = heap_alloc_zeroed(heap, sizeof *wheel);
    wheel->heap = heap;
    wheel->now = now_ns >> DUE_WHEEL_TICK_BITS;
    wheel->entry_capacity = ENTRIES_MIN;
    wheel->entries = heap_alloc(heap, ENTRIES_MIN * sizeof(struct entry));
    wheel->entry_count = 1;
    wheel->table_count = 2 * ENTRIES_MIN;
    wheel->table = heap_alloc_zeroed(heap, wheel->table_count * sizeof(uint32_t));
    return wheel;
}

void due_wheel_destroy(struct due_wheel *wheel)
{
    if (wheel == NULL)
        return;
    heap_free(wheel->entries);
    heap_free(wheel->table);
    heap_free(wheel);
}

uint64_t due_wheel_count(const struct due_wheel *wheel)
{
    return wheel->count;
}

/* ---- by sequence ---- */

static uint32_t home_of(const struct due_wheel *wheel, uint64_t seq)
{
    return (uint32_t)(seq * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (wheel->table_count - 1);
}

/* The sequence's place in the table, or the free one where it would be. */
static uint32_t place_of(const struct due_wheel *wheel, uint64_t seq)
{
    uint32_t place = home_of(wheel, seq);
    while (wheel->table[place] != NOWHERE && wheel->entries[wheel->table[place]].seq != seq)
        place = (place + 1) & (wheel->table_count - 1);
    return place;
}

static void table_grow(struct due_wheel *wheel)
{
    uint32_t old_count = wheel->table_count;
    uint32_t *old = wheel->table;
    wheel->table_count *= 2;
    wheel->table = heap_alloc_zeroed(wheel->heap, wheel->table_count * sizeof(uint32_t));
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i] != NOWHERE)
            wheel->table[place_of(wheel, wheel->entries[old[i]].seq)] = old[i];
    }
    heap_free(old);
}

/* What stands behind the hole moves up if it may. */
static void table_remove(struct due_wheel *wheel, uint32_t hole)
{
    uint32_t mask = wheel->table_count - 1;
    uint32_t at = hole;
    for (;;) {
        at = (at + 1) & mask;
        uint32_t number = wheel->table[at];
        if (number == NOWHERE)
            break;
        uint32_t home = home_of(wheel, wheel->entries[number].seq);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            wheel->table[hole] = number;
            hole = at;
        }
    }
    wheel->table[hole] = NOWHERE;
}

/* ---- slots ---- */

static void link_entry(struct due_wheel *wheel, uint32_t number)
{
    struct entry *entry = &wheel->entries[number];
    uint64_t rest = entry->due_ns & ((UINT64_C(1) << DUE_WHEEL_TICK_BITS) - 1);
    uint64_t tick = (entry->due_ns >> DUE_WHEEL_TICK_BITS) + (rest > 0);
    uint32_t slot = SLOT_DUE;
    if (tick > wheel->now) {
        uint32_t level = (63 - (uint32_t)__builtin_clzll(tick ^ wheel->now)) / 6;
        ASSERT(level < DUE_WHEEL_LEVELS);
        uint32_t bit = (uint32_t)(tick >> 6 * level) & 63;
        wheel->occupied[level] |= UINT64_C(1) << bit;
        slot = level * 64 + bit;
    }
    entry->slot = (uint16_t)slot;
    entry->previous = NOWHERE;
    entry->next = wheel->heads[slot];
    if (entry->next != NOWHERE)
        wheel->entries[entry->next].previous = number;
    wheel->heads[slot] = number;
}

static void unlink_entry(struct due_wheel *wheel, uint32_t number)
{
    struct entry *entry = &wheel->entries[number];
    if (entry->next != NOWHERE)
        wheel->entries[entry->next].previous = entry->previous;
    if (entry->previous != NOWHERE)
        wheel->entries[entry->previous].next = entry->next;
    else
        wheel->heads[entry->slot] = entry->next;
    if (entry->slot != SLOT_DUE && wheel->heads[entry->slot] == NOWHERE)
        wheel->occupied[entry->slot / 64] &= ~(UINT64_C(1) << entry->slot % 64);
}

/* The first slot that has something, and the tick it begins with; false: all that is left is due. */
static bool first_slot(const struct due_wheel *wheel, uint32_t *slot_out, uint64_t *tick_out)
{
    for (uint32_t level = 0; level < DUE_WHEEL_LEVELS; level++) {
        if (wheel->occupied[level] == 0)
            continue;
        uint32_t bit = (uint32_t)__builtin_ctzll(wheel->occupied[level]);
        uint64_t above = wheel->now >> 6 * level >> 6 << 6;
        *slot_out = level * 64 + bit;
        *tick_out = (above | bit) << 6 * level;
        return true;
    }
    return false;
}

static void link_all_of(struct due_wheel *wheel, uint32_t slot)
{
    uint32_t number = wheel->heads[slot];
    wheel->heads[slot] = NOWHERE;
    wheel->occupied[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    while (number != NOWHERE) {
        uint32_t next = wheel->entries[number].next;
        link_entry(wheel, number);
        number = next;
    }
}

static void rewind_to(struct due_wheel *wheel, uint64_t now)
{
    memset(wheel->heads, 0, sizeof wheel->heads);
    memset(wheel->occupied, 0, sizeof wheel->occupied);
    wheel->now = now;
    for (uint32_t i = 0; i < wheel->table_count; i++) {
        if (wheel->table[i] != NOWHERE)
            link_entry(wheel, wheel->table[i]);
    }
}

/* ---- verbs ---- */

static uint32_t entry_take(struct due_wheel *wheel)
{
    uint32_t number = wheel->free_head;
    if (number != NOWHERE) {
        wheel->free_head = wheel->entries[number].next;
        return number;
    }
    if (wheel->entry_count == wheel->entry_capacity) {
        wheel->entry_capacity *= 2;
        wheel->entries =
            heap_resize(wheel->heap, wheel->entries, wheel->entry_capacity * sizeof(struct entry));
    }
    return wheel->entry_count++;
}

void due_wheel_add(struct due_wheel *wheel, const struct due *due)
{
    if (2 * (wheel->count + 1) > wheel->table_count)
        table_grow(wheel);
    uint32_t place = place_of(wheel, due->seq);
    ASSERT(wheel->table[place] == NOWHERE);
    uint32_t number = entry_take(wheel);
    wheel->entries[number] = (struct entry){
        .seq = due->seq,
        .due_ns = due->due_ns,
        .ttl = due->ttl < UINT32_MAX ? (uint32_t)due->ttl : UINT32_MAX,
        .is_markerless = due->is_markerless,
    };
    wheel->table[place] = number;
    wheel->count++;
    link_entry(wheel, number);
}

static void due_of(const struct entry *entry, struct due *due_out)
{
    *due_out =
        (struct due){entry->seq, entry->due_ns, entry->ttl == UINT32_MAX ? UINT64_MAX : entry->ttl,
                     entry->is_markerless};
}

bool due_wheel_find(const struct due_wheel *wheel, uint64_t seq, struct due *due_out)
{
    uint32_t number = wheel->table[place_of(wheel, seq)];
    if (number != NOWHERE)
        due_of(&wheel->entries[number], due_out);
    return number != NOWHERE;
}

bool due_wheel_remove(struct due_wheel *wheel, uint64_t seq)
{
    uint32_t place = place_of(wheel, seq);
    uint32_t number = wheel->table[place];
    if (number == NOWHERE)
        return false;
    unlink_entry(wheel, number);
    table_remove(wheel, place);
    wheel->entries[number].next = wheel->free_head;
    wheel->free_head = number;
    wheel->count--;
    return true;
}

bool due_wheel_pop(struct due_wheel *wheel, uint64_t upto_ns, struct due *due_out)
{
    uint64_t upto = upto_ns >> DUE_WHEEL_TICK_BITS;
    uint32_t slot;
    uint64_t tick;
    if (upto < wheel->now)
        rewind_to(wheel, upto); /* the clock went back */
    while (wheel->heads[SLOT_DUE] == NOWHERE) {
        if (!first_slot(wheel, &slot, &tick) || tick > upto) {
            /* What agreed with now above a level still does: nothing lies between. */
            if (wheel->count == 0)
                wheel->now = upto;
            return false;
        }
        wheel->now = tick;
        link_all_of(wheel, slot);
    }
    uint32_t number = wheel->heads[SLOT_DUE];
    due_of(&wheel->entries[number], due_out);
    (void)due_wheel_remove(wheel, due_out->seq);
    return true;
}

uint64_t due_wheel_next_ns(const struct due_wheel *wheel)
{
    uint32_t slot;
    uint64_t tick;
    if (wheel->heads[SLOT_DUE] != NOWHERE)
        return 0;
    return first_slot(wheel, &slot, &tick) ? tick << DUE_WHEEL_TICK_BITS : UINT64_MAX;
}
