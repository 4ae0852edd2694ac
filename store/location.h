/*
 * store/location.h: how a location (store/record.h) is packed. Only the store looks inside.
 *
 *     segment id: 26 bits | offset / 16: 22 bits | bytes / 16: 16 bits, LOCATION_UNITS_LONG when longer
 *
 * A position is a location without its length: it orders all places of one log.
 */
#ifndef STORE_LOCATION_H
#define STORE_LOCATION_H

#include "core/assert.h"
#include "store/record.h"

enum {
    LOCATION_UNIT_BYTES = 16,
    LOCATION_UNITS_LONG = 65535,
    LOCATION_SEGMENT_MAX = (1 << 26) - 1,
    LOCATION_OFFSET_UNITS_MAX = (1 << 22) - 1,
};

static inline uint64_t position_pack(uint64_t segment_id, uint64_t offset)
{
    ASSERT(segment_id <= LOCATION_SEGMENT_MAX);
    ASSERT(offset % LOCATION_UNIT_BYTES == 0);
    ASSERT(offset / LOCATION_UNIT_BYTES <= LOCATION_OFFSET_UNITS_MAX);
    return segment_id << 22 | offset / LOCATION_UNIT_BYTES;
}

static inline location location_pack(uint64_t segment_id, uint64_t offset, uint64_t bytes)
{
    uint64_t units = bytes / LOCATION_UNIT_BYTES;
    if (units > LOCATION_UNITS_LONG)
        units = LOCATION_UNITS_LONG;
    return position_pack(segment_id, offset) << 16 | units;
}

static inline uint64_t location_position(location where)
{
    return where >> 16;
}

static inline uint64_t location_segment(location where)
{
    return where >> 38;
}

static inline uint64_t location_offset(location where)
{
    return (where >> 16 & LOCATION_OFFSET_UNITS_MAX) * LOCATION_UNIT_BYTES;
}

/* What the record counts for: its bytes on disk, or the most a location can tell. */
static inline uint64_t location_bytes(location where)
{
    return (where & LOCATION_UNITS_LONG) * LOCATION_UNIT_BYTES;
}

static inline bool location_is_long(location where)
{
    return (where & LOCATION_UNITS_LONG) == LOCATION_UNITS_LONG;
}

#endif
