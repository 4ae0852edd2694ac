/*
 * tests/store/rig.h: stores on the real io, several shards in one thread, in a fresh folder.
 *
 * rig_open recovers and collects what was replayed; rig_start lets it append. A value made by rig_append follows from its
 * seq, so that what comes back can be checked without remembering it.
 */
#ifndef TESTS_STORE_RIG_H
#define TESTS_STORE_RIG_H

#include "core/shard.h"
#include "store/store.h"

enum { RIG_SHARDS_MAX = 4, RIG_VALUE_BYTES_MAX = 3 << 20 };

struct rig_record {
    uint64_t seq;
    location where;
    uint32_t log_index, value_bytes;
    uint8_t flags;
};

struct rig {
    char path[128];
    uint32_t shard_count;
    struct store_options options;
    struct shard_group *group;
    struct store_directory *directory;
    struct store *stores[RIG_SHARDS_MAX];
    struct store_recovery recovery[RIG_SHARDS_MAX];
    uint32_t recovered_count;
    struct rig_record *replayed; /* owns; of store 0 */
    uint32_t replayed_count;
    bool retains;          /* what is replayed is alive */
    bool values_are_right; /* of all that was replayed */
    uint32_t restated_stream;
    enum status (*on_move)(void *context, const struct record *record,
                           location where); /* or NULL */
    char why[256];
};

/* Options for small tests, and a new folder below `parent`. */
void rig_init(struct rig *rig, const char *parent, uint32_t shard_count);
enum status rig_open(struct rig *rig);  /* up to recovery; the first bad status of the stores */
void rig_start(struct rig *rig);        /* commit, and appending begins */
enum status rig_begin(struct rig *rig); /* both */
void rig_turn(struct rig *rig);
void rig_settle(struct rig *rig); /* turns until nothing is open or in flight */
void rig_close(struct rig *rig);  /* clean end */
void rig_remove(struct rig *rig); /* the folder and what it holds */

/* One record of stream 1, with a value of that many bytes that follow from seq. */
location rig_append(struct rig *rig, uint32_t shard, uint64_t seq, uint32_t value_bytes,
                    uint8_t flags, struct store_wait *wait);
/* Appends and takes turns until it is durable. */
location rig_append_durable(struct rig *rig, uint32_t shard, uint64_t seq, uint32_t value_bytes,
                            uint8_t flags);
bool rig_value_is_right(const struct record *record);
/* Fetches, checks and releases; the status that the fetch ended with. */
enum status rig_fetch(struct rig *rig, uint32_t shard, location where, uint64_t seq);
/* On the shard, outside of turns. */
void rig_release(struct rig *rig, uint32_t shard, location where);
void rig_retain(struct rig *rig, uint32_t shard, location where);
uint32_t rig_file_count(const struct rig *rig, const char *suffix_or_part);

#endif
