/*
 * tests/sim/kv_snapshots.h: snapshots that clients take meanwhile, and what their archives must hold.
 *
 * Each message in an archive is one that was written, with a sequence that thereby is known. When all is quiet, and all sequences are
 * known, an archive of a bucket whose rules never changed must be exactly the state at its last sequence.
 */
#ifndef TESTS_SIM_KV_SNAPSHOTS_H
#define TESTS_SIM_KV_SNAPSHOTS_H

#include "core/text.h"
#include "tests/sim/kv_model.h"

struct taken_snapshot {
    struct taken_snapshot *next;
    uint64_t number; /* of the call that asked for it */
    struct life *life;
    uint32_t conn, shard;
    char deliver[32];
    struct text data; /* owns */
    bool is_over, is_whole;
    uint64_t upto;  /* W, as the archive tells it */
    uint64_t *seqs; /* owns; of its messages, ascending */
    uint64_t seq_count;
};

/* One chunk, or the end. True: the snapshot is over now. */
bool taken_snapshot_take(struct kv_model *model, struct taken_snapshot *snapshot,
                         const struct msg *msg);
/* All is quiet. */
void taken_snapshot_check(const struct taken_snapshot *snapshot);
void taken_snapshot_free(struct taken_snapshot *snapshot);

#endif
