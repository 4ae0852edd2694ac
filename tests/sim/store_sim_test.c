/*
 * tests/sim/store_sim_test.c: stores on the simulated disk, crashed again and again, against a model.
 *
 * A seed gives some runs. Each recovers (and may be crashed while it does), is compared with the model, appends, releases,
 * removes and reads for a while, and ends by power cut, by death of the process, by a failing disk, or cleanly. The number of
 * shards, faults and limits change from run to run. TEST_SEED=n replays one seed, TEST_SEEDS=n sets how many are run.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/store_world.h"

static struct world world;
static uint64_t moved_count; /* records that compaction moved, in all seeds */

static void choose_options(struct world *w)
{
    uint32_t segment_bytes = sim_chance(200000) ? 2 << 20 : 1 << 20;
    uint64_t cache_bytes = sim_chance(300000) ? 0 : sim_below(1 << 19);
    uint64_t sync_interval_ns = sim_chance(150000) ? 1 + sim_below(20000000) : 0;
    uint32_t compact_percent = sim_chance(300000) ? 0 : 1 + (uint32_t)sim_below(60);
    world_options(w, segment_bytes, cache_bytes, sync_interval_ns, compact_percent);
    if (w->model.run == 0 || sim_chance(250000))
        w->shard_count = 1 + (uint32_t)sim_below(3);
    sim_set_sector_bytes(sim_chance(500000) ? 512 : 4096);
    sim_refuse_direct(sim_chance(100000));
    sim_set_disk_bytes(sim_chance(200000) ? (6 + sim_below(30)) << 20 : UINT64_MAX);
}

static void choose_faults(struct world *w)
{
    struct sim_faults faults = {.slow = sim_chance(200000) ? 10000 : 0};
    w->has_faults = sim_chance(300000);
    if (w->has_faults) {
        faults.write_error = (uint32_t)sim_below(3000);
        faults.sync_error = (uint32_t)sim_below(3000);
        faults.read_error = (uint32_t)sim_below(20000);
    }
    faults.write_short = (uint32_t)sim_below(30000);
    faults.read_short = (uint32_t)sim_below(30000);
    sim_set_faults(&faults);
}

static void run(struct world *w)
{
    choose_options(w);
    choose_faults(w);
    if (world_traces())
        fprintf(stderr, "run %u: shards=%u interval=%lu faults=%d segment=%u\n", w->model.run + 1,
                w->shard_count, w->options.sync_interval_ns, w->has_faults,
                w->options.segment_bytes);
    if (setjmp(w->failed) == RUN_FAILED) {
        world_die(w);
        return;
    }
    if (!world_begin_run(w, sim_chance(200000) ? 20000 : 0))
        return;
    world_start(w, 30000);
    uint64_t act_count = sim_below(sim_chance(500000) ? 60 : 700);
    for (uint64_t i = 0; i < act_count; i++) {
        world_act(w);
        for (uint64_t steps = sim_below(4); steps > 0; steps--)
            (void)sim_step(w->group, w->shard_count);
    }
    if (sim_chance(250000))
        world_stop(w);
    else
        world_die(w);
}

/* Without faults everything must come back, twice. */
static void verify(struct world *w)
{
    static const struct sim_faults none;
    sim_set_faults(&none);
    sim_set_disk_bytes(UINT64_MAX);
    w->has_faults = false;
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert(setjmp(w->failed) == RUN_WENT_ON);
        (void)world_begin_run(w, 0);
        world_drop(w);
    }
}

static void run_seed(uint64_t seed)
{
    model_seed = seed;
    struct world *w = &world;
    memset(w, 0, sizeof *w);
    sim_begin(seed);
    uint64_t run_count = 2 + sim_below(5);
    for (uint64_t i = 0; i < run_count; i++)
        run(w);
    verify(w);
    moved_count += w->moved_count;
    model_free(&w->model);
    sim_end();
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

enum { PARTS = 4 };

static void run_part(uint64_t part)
{
    uint64_t only = from_environment("TEST_SEED", 0);
    if (only != 0) {
        if (only % PARTS == part)
            run_seed(only);
        return;
    }
    uint64_t count = from_environment("TEST_SEEDS", 1000);
    for (uint64_t seed = 1; seed <= count; seed++) {
        if (seed % PARTS == part)
            run_seed(seed);
    }
    cr_assert(count < 200 || moved_count > 0, "compaction never ran");
    if (world_traces())
        fprintf(stderr, "%lu records were moved\n", moved_count);
}

Test(store_sim, keeps_what_was_acknowledged_0)
{
    run_part(0);
}
Test(store_sim, keeps_what_was_acknowledged_1)
{
    run_part(1);
}
Test(store_sim, keeps_what_was_acknowledged_2)
{
    run_part(2);
}
Test(store_sim, keeps_what_was_acknowledged_3)
{
    run_part(3);
}
