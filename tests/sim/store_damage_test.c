/*
 * tests/sim/store_damage_test.c: what was durable is damaged on the disk, and must be missed: STATUS_CORRUPT, or nothing that
 * is alive was hit. Never wrong bytes, never a silent loss. And the disk that is full.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/store_world.h"

static struct world world;

enum { DAMAGE_BYTES = 4096, DAMAGE_ROUNDS = 12 };

struct damage {
    char path[512];
    uint64_t offset, bytes;
    char before[DAMAGE_BYTES], after[DAMAGE_BYTES];
};

static void run_quietly(struct world *w, uint32_t shard_count, uint32_t act_count)
{
    cr_assert(setjmp(w->failed) == RUN_WENT_ON);
    w->shard_count = shard_count;
    world_options(w, 1 << 20, 1 << 16, 0, 0);
    (void)world_begin_run(w, 0);
    world_start(w, 0);
    for (uint32_t i = 0; i < act_count; i++) {
        world_act(w);
        (void)sim_step(w->group, w->shard_count);
    }
}

/* The quiet spell in which the last batches are sealed. */
static void stop_sealed(struct world *w)
{
    world_settle(w);
    sim_pass(w->group, w->shard_count, 1000000000);
    world_stop(w);
}

/* One bit, a block of garbage or zeros, or a block that belongs elsewhere. */
static void choose_damage(struct damage *damage)
{
    const char *path =
        sim_file_at(".segment", (uint32_t)sim_below(sim_file_count("0.segment") + 1));
    while (path == NULL || strstr(path, "spare") != NULL)
        path = sim_file_at("/log/0", (uint32_t)sim_below(sim_file_count("/log/0")));
    (void)snprintf(damage->path, sizeof damage->path, "%s", path);
    uint64_t block_count = sim_file_bytes(path) / DAMAGE_BYTES;
    uint64_t near = sim_below(sim_below(block_count) + 1); /* the beginning is in use */
    damage->offset = near * DAMAGE_BYTES;
    damage->bytes = DAMAGE_BYTES;
    sim_file_read(path, damage->offset, damage->before, DAMAGE_BYTES);
    memcpy(damage->after, damage->before, DAMAGE_BYTES);
    uint64_t kind = sim_below(10);
    if (kind < 6)
        damage->after[sim_below(DAMAGE_BYTES)] ^= (char)(1 << sim_below(8));
    else if (kind < 8)
        memset(damage->after, 0, DAMAGE_BYTES);
    else
        sim_file_read(path, sim_below(block_count) * DAMAGE_BYTES, damage->after, DAMAGE_BYTES);
}

static bool recovers(struct world *w)
{
    model_begin_run(&w->model, w->shard_count);
    enum status status = world_recover(w, 0);
    if (status != STATUS_OK && status != STATUS_CORRUPT)
        model_fail("damage gives: %s: %s", status_words(status), w->why);
    if (status == STATUS_CORRUPT && strstr(w->why, WORLD_PATH) == NULL)
        model_fail("damage is not named: %s", w->why);
    if (status == STATUS_OK)
        model_recovery_done(&w->model, w->reads_all, false);
    world_drop(w);
    return status == STATUS_OK;
}

static uint32_t damage_seed(uint64_t seed)
{
    struct world *w = &world;
    struct damage damage;
    uint32_t found_count = 0;
    model_seed = seed;
    memset(w, 0, sizeof *w);
    sim_begin(seed);
    uint32_t shard_count = 1 + (uint32_t)sim_below(2);
    run_quietly(w, shard_count, 100 + (uint32_t)sim_below(400));
    world_die(w);
    run_quietly(w, sim_chance(700000) ? shard_count : 3 - shard_count,
                100 + (uint32_t)sim_below(400));
    stop_sealed(w);
    for (uint32_t round = 0; round < DAMAGE_ROUNDS; round++) {
        choose_damage(&damage);
        sim_file_overwrite(damage.path, damage.offset, damage.after, damage.bytes);
        found_count += !recovers(w);
        sim_file_overwrite(damage.path, damage.offset, damage.before, damage.bytes);
        if (!recovers(w))
            model_fail("repaired, but %s", w->why);
    }
    model_free(&w->model);
    sim_end();
    return found_count;
}

Test(store_damage, is_found_or_hits_nothing_alive)
{
    const char *only = getenv("TEST_SEED");
    uint64_t first = only == NULL ? 1 : strtoull(only, NULL, 10);
    uint64_t count = only == NULL ? 60 : 1;
    uint32_t found_count = 0;
    for (uint64_t seed = first; seed < first + count; seed++)
        found_count += damage_seed(seed);
    cr_assert(only != NULL || found_count > 100);
}

static void begin_sim(struct world *w, uint64_t seed)
{
    model_seed = seed;
    memset(w, 0, sizeof *w);
    sim_begin(seed);
}

static void end_sim(struct world *w)
{
    model_free(&w->model);
    sim_end();
}

Test(store_damage, of_the_manifest_is_found)
{
    struct world *w = &world;
    begin_sim(w, 1);
    run_quietly(w, 1, 50);
    stop_sealed(w);
    uint64_t bytes = sim_file_bytes(WORLD_PATH "/manifest");
    for (uint64_t offset = 0; offset < bytes; offset++) {
        char byte;
        sim_file_read(WORLD_PATH "/manifest", offset, &byte, 1);
        byte ^= 4;
        sim_file_overwrite(WORLD_PATH "/manifest", offset, &byte, 1);
        cr_assert(!recovers(w));
        byte ^= 4;
        sim_file_overwrite(WORLD_PATH "/manifest", offset, &byte, 1);
    }
    sim_file_remove(WORLD_PATH "/manifest");
    cr_assert(!recovers(w));
    end_sim(w);
}

Test(store_damage, of_a_lost_file_is_found)
{
    struct world *w = &world;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin_sim(w, seed);
        run_quietly(w, 1, 900);
        stop_sealed(w);
        uint32_t count = sim_file_count("/log/0");
        if (count > 1) { /* not the newest: of that no other file tells */
            sim_file_remove(sim_file_at("/log/0", (uint32_t)sim_below(count - 1)));
            cr_assert(!recovers(w));
        }
        end_sim(w);
    }
}

static void fill(struct world *w)
{
    sim_set_disk_bytes(8 << 20);
    for (uint32_t i = 0; i < 20000 && store_directory_space(w->directory, 0) == STORE_SPACE_OK;
         i++) {
        world_act(w);
        (void)sim_step(w->group, w->shard_count);
    }
    cr_assert(store_directory_space(w->directory, 0) != STORE_SPACE_OK);
    world_settle(w); /* what was accepted has its place */
}

/* world_act refuses to believe a full disk of which nobody was told, and only removes once it was. */
Test(store_space, heals_when_the_disk_grows)
{
    struct world *w = &world;
    begin_sim(w, 1);
    run_quietly(w, 1, 0);
    w->keeps_values = true;
    fill(w);
    sim_set_disk_bytes(64 << 20);
    sim_pass(w->group, w->shard_count, 2000000000);
    cr_assert(store_directory_space(w->directory, 0) == STORE_SPACE_OK);
    stop_sealed(w);
    cr_assert(recovers(w));
    end_sim(w);
}

Test(store_space, heals_when_records_are_removed)
{
    struct world *w = &world;
    begin_sim(w, 2);
    run_quietly(w, 1, 0);
    w->keeps_values = true;
    fill(w);
    w->keeps_values = false;
    for (uint32_t i = 0; i < 3000 && store_directory_space(w->directory, 0) != STORE_SPACE_OK;
         i++) {
        world_act(w);
        sim_pass(w->group, w->shard_count, 1000000);
    }
    cr_assert(store_directory_space(w->directory, 0) == STORE_SPACE_OK);
    stop_sealed(w);
    cr_assert(recovers(w));
    end_sim(w);
}
