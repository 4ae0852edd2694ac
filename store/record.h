/*
 * store/record.h: one record of the log, and how it lies on disk.
 *
 * What types mean is kv's business; the store knows three flags (below). All integers on disk are little endian;
 * records begin at multiples of 16 bytes and are padded with zeros to one.
 */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/status.h"

enum {
    RECORD_KEY_BYTES_MAX = 65535,
    RECORD_HEADERS_BYTES_MAX = 65535,
    RECORD_VALUE_BYTES_MAX = 64 << 20,

    /*
     * The record makes older records dead (a purge, a deletion). Its segment is recycled only after every segment with a
     * lower id is gone, or what it killed could come back. It holds no value of its own: it does not count as living.
     */
    RECORD_REMOVES = 1u << 0,
    /*
     * The record is state that its owner can write anew at any time (configuration, limits, last sequence). It does not
     * keep its segment alive: before recycling, the store asks the owner to append it again (store_start).
     */
    RECORD_IS_STATE = 1u << 1,
    /*
     * The record was written before, and lived when it was written again here: what came in the log between the two did not kill
     * it. Recovery may find it at both places. Set by store_move.
     */
    RECORD_IS_MOVED = 1u << 2,
};

struct record {
    uint8_t type;  /* kv's; 0 is not a record */
    uint8_t flags; /* RECORD_… */
    uint32_t stream_id;
    uint64_t seq;
    uint64_t time_ns; /* Unix */
    uint64_t term;    /* room for replication: 0 today */
    uint64_t
        log_index; /* room for replication: 0 today; of a moved message: the oldest of its key */
    struct bytes key, headers, value; /* borrowed */
};

/* Bytes on disk, padding included. */
uint32_t record_bytes(const struct record *record);
/* Writes record_bytes() bytes at `out` (16-byte aligned), checksum included. */
void record_encode(const struct record *record, void *out);
/*
 * Reads one record from at most `available` bytes; the views borrow `data`. STATUS_CORRUPT when the checksum or a length is
 * wrong, STATUS_NOT_FOUND at the zeros behind the last record.
 */
MUST_USE enum status record_decode(const void *data, uint64_t available, struct record *record_out,
                                   uint32_t *bytes_out);

/*
 * Where a record lies, packed: segment id (26 bits), offset / 16 (22 bits), bytes / 16 (16 bits; 65535: longer, the record
 * tells). 0 is nowhere. Grows with each append to one log.
 */
typedef uint64_t location;
enum { LOCATION_NONE = 0 };

#endif
