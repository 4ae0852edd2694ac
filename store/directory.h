/*
 * store/directory.h: what the stores of a process share.
 *
 * The segments found at start do not change after store_directory_open. What changes is in shared cells: one word for
 * each segment id, made when it is first needed and kept until close (64 bytes for each segment ever written).
 */
#ifndef STORE_DIRECTORY_H
#define STORE_DIRECTORY_H

#include "core/shared.h"
#include "store/manifest.h"
#include "store/segment.h"
#include "store/store.h"

/* A segment that was there at start. */
struct found_segment {
    uint64_t id, epoch; /* epoch 0: no header and no batch, never used */
    uint32_t log_index;
    bool has_header; /* otherwise epoch and log were taken from a batch inside */
    uint64_t bytes;
    struct segment_previous previous; /* of the header */
};

enum { SEGMENT_CELLS_PER_CHUNK = 4096, SEGMENT_CHUNKS = (1 << 26) / SEGMENT_CELLS_PER_CHUNK };

/*
 * One word of a segment: bytes of its living records, and two flags. Written by any shard whose record lies there
 * (bytes) and by the shard that owns the segment (flags); read by all. Sequentially consistent: who brings the bytes to 0
 * must be seen by the owner that then looks for the flags of others.
 */
#define SEGMENT_IS_PRESENT (UINT64_C(1) << 62) /* its file may be there after a crash */
#define SEGMENT_IS_LISTED \
    (UINT64_C(1) << 63) /* present, and no note of its recycling is on its way */
#define SEGMENT_LIVE_MASK (SEGMENT_IS_PRESENT - 1)

struct segment_chunk {
    struct shared_u64 present_count; /* cells with SEGMENT_IS_PRESENT */
    struct shared_u64 cells[SEGMENT_CELLS_PER_CHUNK];
};

/* What one store learnt in recovery. Written before recovered_count is raised, read after. */
struct found_by_store {
    struct log_end *ends; /* owns; of the logs it owns */
    uint32_t ends_count;
    uint64_t *recycled_ids; /* owns; noted in batches */
    uint32_t recycled_count;
};

struct store_directory {
    char *path; /* owns */
    io_file lock;
    uint32_t shard_count;
    uint32_t segment_bytes;
    bool is_buffered;
    bool reads_all;           /* some epoch with segments had another number of shards */
    struct manifest manifest; /* as last written */

    struct found_segment *found; /* owns; ascending ids */
    uint32_t found_count;
    uint64_t *spare_numbers; /* owns; spare files found */
    uint32_t spare_numbers_count;
    struct segment_header *newest; /* owns; header of the highest id; NULL: none */
    uint64_t segment_first;        /* ids of this epoch begin here */

    struct found_by_store by_store[SHARD_COUNT_MAX];
    struct shared_u64 recovered_count; /* stores whose recovery ended; the last one looks at all */
    struct shared_u64
        restated_count;             /* stores whose state of former logs is durable in their own */
    struct shared_u64 segment_next; /* id of the next segment; any shard adds */
    struct shared_u64 spare_next;   /* number of the next spare file; any shard adds */
    struct shared_u64
        space[SHARD_COUNT_MAX]; /* enum store_space; written by its shard, read by all */
    struct shared_u64 chunks[SEGMENT_CHUNKS]; /* pointers; 0 until made; swapped in once */
};

/* The segment was found at start. */
void directory_segment_present(struct store_directory *directory, uint64_t segment_id);
/* A new segment id of this epoch; present, though its file may not be yet. */
uint64_t directory_segment_begin(struct store_directory *directory);
/* The file's name is durable: from now on its absence is damage. */
void directory_segment_linked(struct store_directory *directory, uint64_t segment_id);
/* A note that the segment is recycled was put into a batch. */
void directory_segment_noted(struct store_directory *directory, uint64_t segment_id);
/* The segment's file is gone for good: its new name is durable. */
void directory_segment_gone(struct store_directory *directory, uint64_t segment_id);
/* No segment with a lower id may be there after a crash. */
bool directory_segment_is_lowest(struct store_directory *directory, uint64_t segment_id);
/* Bits of all listed segments, for a header. */
void directory_list_segments(struct store_directory *directory, struct segment_header *header);

void directory_live_add(struct store_directory *directory, uint64_t segment_id, uint64_t bytes);
/* True when nothing in the segment is alive any more. */
bool directory_live_sub(struct store_directory *directory, uint64_t segment_id, uint64_t bytes);
uint64_t directory_live(struct store_directory *directory, uint64_t segment_id);

/* At close. */
void directory_cells_free(struct store_directory *directory);

/* NULL when the id is of this epoch. */
const struct found_segment *directory_found(const struct store_directory *directory,
                                            uint64_t segment_id);
/* The shard that recycles it. */
uint32_t directory_owner(const struct store_directory *directory,
                         const struct found_segment *segment);
void directory_space_set(struct store_directory *directory, uint32_t shard_index,
                         enum store_space space);

#endif
