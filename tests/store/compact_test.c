/*
 * tests/store/compact_test.c: segments that are mostly dead are emptied and go, on the real io; what lives is where it was moved.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "store/location.h"
#include "tests/store/rig.h"

enum { COLD = 40, HOT = 900, HOT_BYTES = 20000, TURNS_MAX = 200000 };

static struct rig rig;
static location places[COLD + 1]; /* by seq, of what lives; 0: it does not */
static uint32_t moved_count;

static enum status on_move(void *context, const struct record *record, location from)
{
    struct rig *of = context;
    if (record->seq > COLD || places[record->seq] != from)
        return STATUS_OK;
    moved_count++;
    return store_move(of->stores[0], record, from, &places[record->seq]);
}

static void make(void)
{
    rig_init(&rig, "/tmp", 1);
    rig.options.segment_bytes = 1 << 20;
    rig.options.cache_bytes = 0;
    rig.options.compact_percent = 50;
    rig.on_move = on_move;
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
}

static void drop(void)
{
    rig_close(&rig);
    rig_remove(&rig);
}

/* Some records that stay, among many that die at once. */
static void write_all(void)
{
    uint64_t cold = 0;
    for (uint64_t i = 0; i < HOT; i++) {
        if (i % (HOT / COLD) == 0 && cold < COLD) {
            cold++;
            places[cold] = rig_append(&rig, 0, cold, 1000, 0, NULL);
        }
        location hot = rig_append(&rig, 0, COLD + 1 + i, HOT_BYTES, 0, NULL);
        if (i % 10 == 0)
            rig_settle(&rig);
        rig_release(&rig, 0, hot);
    }
}

static void turns_until_few_segments(void)
{
    for (uint32_t i = 0; i < TURNS_MAX && rig_file_count(&rig, ".segment") > 8; i++)
        rig_turn(&rig);
}

Test(compact, keeps_the_log_small, .init = make, .fini = drop)
{
    write_all();
    turns_until_few_segments();
    rig_settle(&rig);
    /* 18 MB were written, 40 kB live: two segments of these at most, an active one, four spares. */
    cr_assert(le(u32, rig_file_count(&rig, ".segment"), 8));
    cr_assert(gt(u32, moved_count, 0));
    for (uint64_t seq = 1; seq <= COLD; seq++)
        cr_assert(eq(int, rig_fetch(&rig, 0, places[seq], seq), STATUS_OK));
}

Test(compact, what_was_moved_is_found_after_a_restart, .init = make, .fini = drop)
{
    write_all();
    turns_until_few_segments();
    rig_settle(&rig);
    rig_close(&rig);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(rig.values_are_right);
    uint64_t found = 0;
    for (uint32_t i = 0; i < rig.replayed_count; i++) {
        const struct rig_record *record = &rig.replayed[i];
        if (record->seq > COLD)
            continue;
        found |= UINT64_C(1) << record->seq;
        if (record->where == places[record->seq])
            cr_assert(eq(int, rig_fetch(&rig, 0, record->where, record->seq), STATUS_OK));
    }
    cr_assert(eq(u64, found, ((UINT64_C(1) << COLD) - 1) << 1));
}

Test(compact, moves_nothing_while_little_is_dead, .init = make, .fini = drop)
{
    for (uint64_t seq = 1; seq <= COLD; seq++)
        places[seq] = rig_append_durable(&rig, 0, seq, 100000, 0);
    for (uint32_t i = 0; i < 1000; i++)
        rig_turn(&rig);
    cr_assert(eq(u32, moved_count, 0));
}
