/*
 * store/key_table.c: linear probing in sorted segments that grow in steps of 128 slots, and split at 1024.
 *
 *     512 ─► 640 ─► 768 ─► 896 ─► 1024 ─► two of 640 …      each step at 7/8 full: 8 / 0.8 = 10 bytes a key
 *
 * Keeps:   between a slot's home and the slot there is no gap; slots ascend; the last slot of a segment is empty, so that
 *          a search needs no bound. Directory entries that share a segment are neighbours.
 * Owns:    the directory and the segments; borrows the heap.
 * Runs on: the shard of the index.
 */
#include "store/key_table.h"

#include "core/assert.h"

#include <string.h>

enum {
    SLOT_COUNT_MIN = 16,
    SLOT_COUNT_STEP = 128,   /* whole size classes of the heap: 5, 6, 7, 8 KiB */
    SLOT_COUNT_COARSE = 512, /* below: doubling */
    SLOT_COUNT_MAX = 1024,   /* then split */
    OVERFLOW_COUNT = 32,     /* slots behind the homes, of a segment from SLOT_COUNT_COARSE up */
    DEPTH_MAX = 24,
};

/* Slots to build a segment from: sorted, some of them empty. */
struct slots {
    const uint64_t *data; /* borrows */
    uint32_t count;
    uint32_t used_count;
};

static bool segment_put(struct key_segment *segment, uint64_t slot);
static void segment_shift_back(const struct key_segment *segment, uint32_t position);
static struct key_segment segment_build(struct key_table *table, struct slots slots, uint8_t depth,
                                        uint32_t slot_count_min);
static bool segment_place(struct key_segment *segment, struct slots slots);
static void segment_destroy(struct key_table *table, const struct key_segment *segment);
static void table_make_room(struct key_table *table, uint32_t tag);
static void table_rebuild(struct key_table *table, uint32_t first, uint32_t slot_count_min);
static void table_split(struct key_table *table, uint32_t first);
static void table_double(struct key_table *table);
static void directory_fill(struct key_table *table, uint32_t first, struct key_segment segment);
static uint32_t directory_first(const struct key_table *table, uint32_t tag);
static uint32_t slot_count_after(uint32_t slot_count);

void key_table_init(struct key_table *table, struct heap *heap)
{
    *table = (struct key_table){.heap = heap};
    table->directory = heap_alloc(heap, sizeof(*table->directory));
    table->memory_bytes = sizeof(*table->directory);
    table->directory[0] = segment_build(table, (struct slots){NULL, 0, 0}, 0, SLOT_COUNT_MIN);
}

void key_table_fini(struct key_table *table)
{
    uint32_t step;
    for (uint32_t i = 0; i < 1u << table->depth; i += step) {
        step = 1u << (table->depth - table->directory[i].depth);
        heap_free(table->directory[i].slots);
    }
    heap_free(table->directory);
}

void key_table_insert(struct key_table *table, uint32_t tag, uint32_t handle)
{
    ASSERT(handle != 0);
    uint64_t slot = (uint64_t)tag << 32 | handle;
    struct key_segment *segment = &table->directory[directory_first(table, tag)];
    while (!segment_put(segment, slot)) {
        table_make_room(table, tag);
        segment = &table->directory[directory_first(table, tag)];
    }
}

void key_table_remove(struct key_table *table, uint32_t tag, uint32_t handle)
{
    uint64_t slot = (uint64_t)tag << 32 | handle;
    uint32_t first = directory_first(table, tag);
    struct key_segment *segment = &table->directory[first];

    uint32_t position = key_segment_home(segment, tag);
    while (segment->slots[position] != slot) {
        ASSERT(segment->slots[position] != 0);
        position++;
    }
    segment_shift_back(segment, position);
    segment->used_count--;
    if (segment->slot_count > SLOT_COUNT_MIN && segment->used_count * 4 < segment->slot_count)
        table_rebuild(table, first, SLOT_COUNT_MIN);
}

bool key_table_gather(const struct key_table *table, uint64_t *cursor, uint32_t *handles,
                      uint32_t handles_max, uint32_t *count_out)
{
    uint32_t count = 0;
    bool has_more = true;
    while (has_more && count < handles_max) {
        uint32_t tag = (uint32_t)(*cursor >> 32);
        uint32_t first = directory_first(table, tag);
        const struct key_segment *segment = &table->directory[first];
        uint32_t position = key_segment_home(segment, tag);
        for (; position < segment->slot_count && count < handles_max; position++) {
            if (segment->slots[position] == 0 || segment->slots[position] < *cursor)
                continue;
            handles[count++] = (uint32_t)segment->slots[position];
            *cursor = segment->slots[position] + 1;
        }
        if (position < segment->slot_count)
            break;
        uint32_t next = first + (1u << (table->depth - segment->depth));
        has_more = next < 1u << table->depth;
        if (has_more)
            *cursor = (uint64_t)next << (64 - table->depth);
    }
    *count_out = count;
    return has_more;
}

/* False: it is full, or what overflows its end is. */
static bool segment_put(struct key_segment *segment, uint64_t slot)
{
    if (segment->used_count * 8 >= segment->slot_count * 7)
        return false;

    uint32_t position = key_segment_home(segment, (uint32_t)(slot >> 32));
    while (segment->slots[position] != 0 && segment->slots[position] < slot)
        position++;
    uint32_t gap = position;
    while (segment->slots[gap] != 0)
        gap++;
    if (gap == segment->slot_count - 1u)
        return false;

    memmove(&segment->slots[position + 1], &segment->slots[position],
            (gap - position) * sizeof(*segment->slots));
    segment->slots[position] = slot;
    segment->used_count++;
    return true;
}

/* Removes the slot: those behind it that are not at home move one towards it. */
static void segment_shift_back(const struct key_segment *segment, uint32_t position)
{
    uint64_t *slots = segment->slots;
    uint32_t end = position + 1;
    while (slots[end] != 0 && key_segment_home(segment, (uint32_t)(slots[end] >> 32)) < end)
        end++;
    memmove(&slots[position], &slots[position + 1], (end - position - 1) * sizeof(*slots));
    slots[end - 1] = 0;
}

/* A segment of these slots, at most 3/4 full. */
static struct key_segment segment_build(struct key_table *table, struct slots slots, uint8_t depth,
                                        uint32_t slot_count_min)
{
    struct key_segment segment = {.used_count = (uint16_t)slots.used_count, .depth = depth};
    uint32_t slot_count = slot_count_min;
    while (slots.used_count * 4 > slot_count * 3)
        slot_count = slot_count_after(slot_count);

    for (;; slot_count = slot_count_after(slot_count)) {
        ASSERT(slot_count <= UINT16_MAX);
        bool is_small = slot_count < SLOT_COUNT_COARSE;
        uint32_t overflow_count = is_small ? slot_count / 8 + 2 : OVERFLOW_COUNT;
        segment.slot_count = (uint16_t)slot_count;
        segment.home_count = (uint16_t)(slot_count - overflow_count);
        segment.slots = heap_alloc_zeroed(table->heap, slot_count * sizeof(*segment.slots));
        if (segment_place(&segment, slots))
            break;
        heap_free(segment.slots);
    }
    table->memory_bytes += slot_count * sizeof(*segment.slots);
    return segment;
}

/* Fills an empty segment. False: its end overflowed. */
static bool segment_place(struct key_segment *segment, struct slots slots)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < slots.count; i++) {
        if (slots.data[i] == 0)
            continue;
        uint32_t home = key_segment_home(segment, (uint32_t)(slots.data[i] >> 32));
        uint32_t position = home > next ? home : next;
        if (position >= segment->slot_count - 1u)
            return false;
        segment->slots[position] = slots.data[i];
        next = position + 1;
    }
    return true;
}

static void segment_destroy(struct key_table *table, const struct key_segment *segment)
{
    table->memory_bytes -= segment->slot_count * sizeof(*segment->slots);
    heap_free(segment->slots);
}

static void table_make_room(struct key_table *table, uint32_t tag)
{
    uint32_t first = directory_first(table, tag);
    if (table->directory[first].slot_count < SLOT_COUNT_MAX) {
        table_rebuild(table, first, slot_count_after(table->directory[first].slot_count));
        return;
    }
    if (table->directory[first].depth == table->depth) {
        table_double(table);
        first = directory_first(table, tag);
    }
    table_split(table, first);
}

static void table_rebuild(struct key_table *table, uint32_t first, uint32_t slot_count_min)
{
    struct key_segment old = table->directory[first];
    struct slots slots = {old.slots, old.slot_count, old.used_count};
    directory_fill(table, first, segment_build(table, slots, old.depth, slot_count_min));
    segment_destroy(table, &old);
}

/* The slots are sorted: the tags whose next bit is 0 come first. */
static void table_split(struct key_table *table, uint32_t first)
{
    struct key_segment old = table->directory[first];
    ASSERT(old.depth < table->depth);
    uint8_t depth = (uint8_t)(old.depth + 1);
    uint32_t high_first = first + (1u << (table->depth - depth));
    uint64_t high_begin = (uint64_t)high_first << (64 - table->depth);

    struct slots low = {old.slots, 0, 0};
    for (; low.count < old.slot_count && old.slots[low.count] < high_begin; low.count++)
        low.used_count += old.slots[low.count] != 0;
    struct slots high = {old.slots + low.count, old.slot_count - low.count,
                         old.used_count - low.used_count};

    directory_fill(table, first, segment_build(table, low, depth, SLOT_COUNT_MIN));
    directory_fill(table, high_first, segment_build(table, high, depth, SLOT_COUNT_MIN));
    segment_destroy(table, &old);
}

static void table_double(struct key_table *table)
{
    ASSERT(table->depth < DEPTH_MAX);
    size_t count = (size_t)1 << table->depth;
    struct key_segment *directory = heap_alloc(table->heap, 2 * count * sizeof(*directory));
    for (size_t i = 0; i < count; i++) {
        directory[2 * i] = table->directory[i];
        directory[2 * i + 1] = table->directory[i];
    }
    heap_free(table->directory);
    table->directory = directory;
    table->depth++;
    table->memory_bytes += count * sizeof(*directory);
}

/* Every directory entry that the segment's depth gives it, from its first. */
static void directory_fill(struct key_table *table, uint32_t first, struct key_segment segment)
{
    uint32_t count = 1u << (table->depth - segment.depth);
    for (uint32_t i = 0; i < count; i++)
        table->directory[first + i] = segment;
}

static uint32_t directory_first(const struct key_table *table, uint32_t tag)
{
    uint32_t entry = (uint32_t)((uint64_t)tag >> (32 - table->depth));
    uint32_t shared_bits = table->depth - table->directory[entry].depth;
    return entry >> shared_bits << shared_bits;
}

static uint32_t slot_count_after(uint32_t slot_count)
{
    return slot_count < SLOT_COUNT_COARSE ? slot_count * 2 : slot_count + SLOT_COUNT_STEP;
}
