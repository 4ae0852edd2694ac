/*
 * tests/sim/store_model.h: what stores were told, to be compared with what they say after a crash.
 *
 * Keys, each with versions that are put or removed; states, each with a version; and every record of every log, by its
 * position. A record carries run, position, key and version, so that each that comes back can be judged:
 *   - it was appended, with these bytes, at this place of this log, and comes in the order of its log;
 *   - it did not stay away in an earlier recovery;
 *   - before it, only records that were dead are missing;
 *   - the newest version of each key and state that comes back is not older than the newest acknowledged one.
 */
#ifndef TESTS_SIM_STORE_MODEL_H
#define TESTS_SIM_STORE_MODEL_H

#include "store/store.h"

enum { MODEL_KEYS = 48, MODEL_STATES = 5, MODEL_SHARDS_MAX = 4, MODEL_RUNS_MAX = 512 };
enum model_type { MODEL_PUT = 1, MODEL_REMOVE, MODEL_STATE };

struct model_entry {
    uint64_t seq, version;
    uint32_t number; /* of the key or state */
    uint32_t value_bytes;
    enum model_type type;
    bool is_acked;    /* its wait ran */
    bool is_released; /* dead: may be gone */
    bool is_gone;     /* a recovery did not bring it */
    uint32_t seen_by; /* stores, a bit each, in this recovery */
};

struct model_log {
    struct model_entry *entries; /* owns */
    uint64_t count;
};

struct model_key {
    uint64_t version_next, version_acked; /* versions count from 1; 0: never put */
    uint64_t version;                     /* of the newest that was appended, or came back */
    bool is_removal_acked;                /* version_acked removed it */
    bool is_put;                          /* it is a value, at `where` */
    location where;
    struct model_entry *entry;
};

struct model {
    uint32_t run, shard_count;
    uint64_t seq_next;
    struct model_log logs[MODEL_RUNS_MAX][MODEL_SHARDS_MAX];
    struct model_key keys[MODEL_KEYS];
    struct model_key states[MODEL_STATES];
    /* of the recovery that runs */
    struct model_key found_keys[MODEL_KEYS], found_states[MODEL_STATES];
    uint64_t position_last[MODEL_SHARDS_MAX][MODEL_RUNS_MAX][MODEL_SHARDS_MAX];
};

void model_free(struct model *model);
void model_begin_run(struct model *model, uint32_t shard_count);

/* Of the key or state that the record is about. */
uint32_t model_number(const struct record *record);
/* A record to be appended to that log; value is borrowed until the next call. */
struct record model_record(struct model *model, uint32_t shard, enum model_type type,
                           uint32_t number, uint32_t value_bytes);
/* It was appended: the entry stays in place until model_free. */
void model_appended(struct model *model, uint32_t shard, const struct record *record,
                    location where, uint32_t *position_out);
struct model_entry *model_entry_at(struct model *model, uint32_t run, uint32_t shard,
                                   uint32_t position);
/* Fails the test unless the bytes are those of the entry. */
void model_check_record(struct model *model, const struct record *record);

void model_recovery_record(struct model *model, uint32_t store, const struct record *record,
                           location where, uint32_t log_index);
/* All stores are done. forgets_acks: what was acknowledged may be lost (sync_interval and a power cut). */
void model_recovery_done(struct model *model, bool reads_all, bool forgets_acks);

extern uint64_t model_seed; /* for messages */
void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
