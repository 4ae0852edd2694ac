/*
 * store/manifest.h: what the directory knows for certain, a small text file replaced as a whole.
 *
 *     pail-store 1
 *     epoch 7                           of the run that wrote this; raised and made durable before anything is read
 *     segment_next 42                   no segment of an earlier run has this id or a higher one
 *     shards 6 4 38                     epoch, number of its logs, its first segment; for each epoch that has segments
 *     end 6 3 41 1017 5d0a77e1          epoch, log, and its last batch: segment, number, chain (all 0: it has none)
 *     crc 1b2c3d4e                      crc32c of all lines before
 */
#ifndef STORE_MANIFEST_H
#define STORE_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "core/io.h"
#include "core/status.h"

struct log_end {
    uint64_t epoch;
    uint32_t log_index;
    uint64_t segment_id;
    uint64_t number;
    uint32_t chain;
};

/*
 * Segments that are found belong to the last epoch whose first segment is not above theirs: when it began, there was none
 * from its first one on. Ids may have been used before, by segments that are gone, and their batches be found again.
 */
struct epoch_shards {
    uint64_t epoch;
    uint32_t shard_count;
    uint64_t segment_first;
};

struct manifest {
    uint64_t epoch, segment_next;
    struct epoch_shards *shards; /* owns */
    uint32_t shards_count;
    struct log_end *ends; /* owns */
    uint32_t ends_count;
};

void manifest_free(struct manifest *manifest);
/* STATUS_NOT_FOUND: there is none. STATUS_CORRUPT: it is not what was written. */
MUST_USE enum status manifest_read(struct manifest *manifest, struct io *io, const char *path);
MUST_USE enum status manifest_write(const struct manifest *manifest, struct io *io,
                                    const char *path);
void manifest_add_shards(struct manifest *manifest, const struct epoch_shards *shards);
void manifest_add_end(struct manifest *manifest, const struct log_end *end);
/* 0 when the epoch is not known. */
uint32_t manifest_shard_count(const struct manifest *manifest, uint64_t epoch);
/* The epoch that made the segment; 0 when none can have. */
uint64_t manifest_epoch_of(const struct manifest *manifest, uint64_t segment_id);
/* NULL when the end of that log is not recorded. */
const struct log_end *manifest_end(const struct manifest *manifest, uint64_t epoch,
                                   uint32_t log_index);

#endif
