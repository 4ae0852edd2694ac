/*
 * store/segment.h: the segment file: how it is named, its header, and the header of a batch.
 *
 *     0        4096                                                          bytes - 20 KiB      bytes
 *     | header | batch | batch | batch | …                                    | notes …  closing |
 *
 * A batch is whole blocks, written once. Batches with records stop SEGMENT_RESERVE_BYTES before the end; what is kept
 * free takes batches without records: notes that a segment is recycled (a full disk is healed by them), and the closing
 * batch, which tells recovery that the segment ended here and nothing was lost behind it.
 *
 * A file that served before still holds old batches. None passes for a new one: a batch header names its segment, its
 * offset and the epoch, and a pair of epoch and segment id is never used twice.
 */
#ifndef STORE_SEGMENT_H
#define STORE_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

enum {
    BLOCK_BYTES = 4096,
    SEGMENT_HEADER_BYTES = BLOCK_BYTES,
    SEGMENT_CLOSING_BYTES = BLOCK_BYTES,
    SEGMENT_RESERVE_BYTES = 4 * BLOCK_BYTES + SEGMENT_CLOSING_BYTES,
    SEGMENT_BYTES_MIN = 1 << 20,
    SEGMENT_BYTES_MAX = 64 << 20,
    SEGMENT_LISTED_BYTES = 3584,
    SEGMENT_LISTED_COUNT = SEGMENT_LISTED_BYTES * 8,
    SEGMENT_PATH_BYTES = 4096,
    BATCH_CLOSES = 1u << 0, /* the last batch of its segment */
};

/* The batch before the first one of a segment, in the same log and epoch; all 0: there is none. */
struct segment_previous {
    uint64_t segment_id;
    uint64_t number;
    uint32_t chain;
};

/*
 * First block of the file. `listed` has a bit for each segment of any log that existed when this one was begun and whose
 * recycling had not been noted: bit 0 is listed_first. Recovery finds by it that a file was lost.
 */
struct segment_header {
    uint64_t magic;
    uint32_t format;
    uint32_t log_index;
    uint64_t segment_id;
    uint64_t epoch;
    uint64_t bytes;
    uint64_t previous_segment_id;
    uint64_t previous_number;
    uint32_t previous_chain;
    uint32_t shard_count; /* of the epoch */
    uint64_t listed_first;
    uint8_t listed[SEGMENT_LISTED_BYTES];
    uint8_t spare[SEGMENT_HEADER_BYTES - 72 - SEGMENT_LISTED_BYTES - 8];
    uint32_t zero;
    uint32_t crc; /* of all before it */
};

struct batch_header {
    uint64_t magic;
    uint32_t format;
    uint32_t flags; /* BATCH_… */
    uint64_t segment_id;
    uint64_t offset; /* its own, in the file */
    uint64_t epoch;
    uint64_t number; /* 1, 2, … in one log and epoch, across segments */
    uint64_t
        durable_upto; /* this batch number and all before were durable when this batch was submitted */
    uint64_t body_bytes;  /* records, without this header and the zeros behind */
    uint64_t recycled_id; /* once this batch is durable, that segment may be gone; 0: none */
    uint32_t log_index;
    uint32_t record_count;
    uint32_t body_crc; /* over the records' own checksums, 4 bytes each */
    uint32_t chain;    /* crc of the batch header before; 0 for number 1 */
    uint32_t zero;
    uint32_t crc; /* of all before it */
};

static inline uint64_t block_round_up(uint64_t bytes)
{
    return (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

/* Bytes of batches with records that fit a segment file of `bytes`. */
static inline uint64_t segment_room(uint64_t bytes)
{
    return bytes - SEGMENT_HEADER_BYTES - SEGMENT_RESERVE_BYTES;
}

/* Fills in magic, format and checksum; the rest is the caller's. */
void segment_header_finish(struct segment_header *header);
bool segment_header_is_valid(const struct segment_header *header, uint64_t segment_id);
bool segment_header_lists(const struct segment_header *header, uint64_t segment_id);

void batch_header_finish(struct batch_header *header);
/* True for a whole header of that place; says nothing about the body, the log or the epoch. */
bool batch_header_is_valid(const struct batch_header *header, uint64_t segment_id, uint64_t offset);
/* Bytes of the whole batch on disk. */
uint64_t batch_header_bytes(const struct batch_header *header);

/* <directory>/log/<16 hex digits>.segment, and spare-<n>.segment, and spare-<n>.new while it is being written. */
void segment_path(char *out, const char *directory, uint64_t segment_id);
void spare_path(char *out, const char *directory, uint64_t number);
void spare_new_path(char *out, const char *directory, uint64_t number);
bool segment_name_parse(const char *name, uint64_t *segment_id_out);
bool spare_name_parse(const char *name, uint64_t *number_out);

#endif
