/*
 * tests/sim/store_world.h: stores on the simulated disk, and the model that knows what they were told.
 *
 *     world_begin_run ─► world_start ─► world_act … ─► world_stop, or world_die ─┐
 *         ▲ compares with the model                                              │
 *         └──────────────────────────────────────────────────────────────────────┘
 *
 * A failed write, and a crash in the middle of recovery, leave by longjmp to world.failed: then world_die follows.
 */
#ifndef TESTS_SIM_STORE_WORLD_H
#define TESTS_SIM_STORE_WORLD_H

#include <setjmp.h>

#include "store/directory.h"
#include "tests/sim/sim.h"
#include "tests/sim/store_model.h"

#define WORLD_PATH "/data"

enum run_end { RUN_WENT_ON, RUN_FAILED };

struct change;
struct fetching;

struct world {
    struct model model;
    struct store_options options;
    uint32_t shard_count;
    struct shard_group *group;
    struct store_directory *directory;
    struct store *stores[MODEL_SHARDS_MAX];
    struct store_recovery recovery[MODEL_SHARDS_MAX];
    uint32_t recovered_count;
    uint64_t moved_count; /* records, by compaction */
    bool reads_all, has_unsynced, forgets_acks, has_faults;
    bool keeps_values;        /* world_act puts each key once, large, and removes none */
    struct change *changes;   /* owns; of this run */
    struct fetching *fetches; /* owns; of this run */
    jmp_buf failed;
    char why[512];
};

/* One recovery; the status of the first store that fails. */
enum status world_recover(struct world *w, uint64_t crash_per_million);
/* Recovers and compares; false: the run died before it could be compared. */
bool world_begin_run(struct world *w, uint64_t crash_per_million);
void world_start(struct world *w, uint64_t crash_per_million);
void world_act(struct world *w); /* one random put, removal, read, or pause */
void world_settle(struct world *w);
void world_stop(struct world *w); /* a clean end */
void world_die(struct world *w);  /* power cut, or death of the process */
void world_drop(struct world *w); /* an end that is no part of the test */
void world_options(struct world *w, uint32_t segment_bytes, uint64_t cache_bytes,
                   uint64_t sync_interval_ns, uint32_t compact_percent);
bool world_traces(void);

#endif
