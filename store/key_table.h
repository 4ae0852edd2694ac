/*
 * store/key_table.h: the hash table of an index: 32 bits of hash and a 32-bit handle in each 8-byte slot.
 *
 *     directory (2^depth) ──► segment: | slot | slot |   | slot | …  sorted by tag, gaps between
 *
 * Extendible hashing: the tag's high bits choose the segment, the bits below choose the slot where the search begins.
 * As slots hold all the bits, a segment grows or splits without a look at the keys, and never are more than 1024 moved.
 * As segments are sorted, the whole table is, whatever splits: a scan needs only to remember how far it has come.
 */
#ifndef STORE_KEY_TABLE_H
#define STORE_KEY_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/heap.h"

struct key_segment {
    uint64_t *slots; /* owns; tag << 32 | handle, 0 is empty; the last one is always empty */
    uint16_t
        used_count; /* kept only in the first directory entry of those that share the segment */
    uint16_t slot_count;
    uint16_t home_count; /* slots where a search may begin; the rest takes what overflows */
    uint8_t depth;       /* bits of the tag that all its keys have in common */
};

struct key_table {
    struct heap *heap;             /* borrows */
    struct key_segment *directory; /* owns */
    uint32_t depth;
    uint64_t memory_bytes;
};

/* Where a search stands. */
struct key_probe {
    const uint64_t *slot;
    uint32_t tag;
};

void key_table_init(struct key_table *table, struct heap *heap);
void key_table_fini(struct key_table *table);

void key_table_insert(struct key_table *table, uint32_t tag, uint32_t handle);
void key_table_remove(struct key_table *table, uint32_t tag,
                      uint32_t handle); /* it must be there */

/*
 * Collects up to handles_max handles in table order, beginning at *cursor (0: the first); *cursor moves behind them. False:
 * the end was reached. Exact also when the table changes between calls: what stays is collected once.
 */
bool key_table_gather(const struct key_table *table, uint64_t *cursor, uint32_t *handles,
                      uint32_t handles_max, uint32_t *count_out);

/* Mixed once more: the table needs no bits of the hash to be better than the others. */
static inline uint32_t key_table_tag(uint64_t hash)
{
    return (uint32_t)((hash * 0x9E3779B97F4A7C15u) >> 32);
}

static inline struct key_segment *key_table_segment(const struct key_table *table, uint32_t tag)
{
    return &table->directory[(uint64_t)tag >> (32 - table->depth)];
}

/* Where the search for a tag begins; grows with the tag. */
static inline uint32_t key_segment_home(const struct key_segment *segment, uint32_t tag)
{
    return (uint32_t)(((uint64_t)(uint32_t)(tag << segment->depth) * segment->home_count) >> 32);
}

static inline uint32_t key_probe_current(const struct key_probe *probe)
{
    return (uint32_t)(*probe->slot >> 32) == probe->tag ? (uint32_t)*probe->slot : 0;
}

/* The first handle with this tag, then the next; 0 when there is no more. */
static inline uint32_t key_probe_start(struct key_probe *probe, const struct key_table *table,
                                       uint32_t tag)
{
    const struct key_segment *segment = key_table_segment(table, tag);
    const uint64_t *slot = &segment->slots[key_segment_home(segment, tag)];
    while (*slot != 0 && (uint32_t)(*slot >> 32) < tag)
        slot++;
    *probe = (struct key_probe){slot, tag};
    return key_probe_current(probe);
}

static inline uint32_t key_probe_next(struct key_probe *probe)
{
    probe->slot++;
    return key_probe_current(probe);
}

#endif
