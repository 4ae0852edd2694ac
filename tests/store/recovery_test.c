/*
 * tests/store/recovery_test.c: torn tails are cut, damage is told, dead segments come back as spares.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "store/location.h"
#include "tests/store/rig.h"

static struct rig rig;

static void begin(uint32_t shard_count)
{
    rig_init(&rig, "/tmp", shard_count);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
}

static void drop(void)
{
    rig_close(&rig);
    rig_remove(&rig);
}

static void overwrite(location where, int64_t offset, char byte)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/log/%016lx.segment", rig.path,
                   (unsigned long)location_segment(where));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert(fd >= 0);
    cr_assert(pwrite(fd, &byte, 1, (off_t)((int64_t)location_offset(where) + offset)) == 1);
    cr_assert(fsync(fd) == 0);
    (void)close(fd);
}

Test(recovery, of_an_empty_store_brings_nothing)
{
    begin(2);
    rig_close(&rig);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, 0));
    drop();
}

Test(recovery, cuts_a_torn_tail)
{
    begin(1);
    for (uint64_t seq = 1; seq <= 10; seq++)
        (void)rig_append_durable(&rig, 0, seq, 100, 0);
    location last = rig_append_durable(&rig, 0, 11, 100, 0);
    rig_close(&rig); /* at once: nothing says yet that the last batch was durable */
    overwrite(last, 80, 'X');
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, 10));
    cr_assert(eq(u64, rig.recovery[0].torn_batches, 1));
    rig_close(&rig);
    overwrite(last, 80, 'Y'); /* what was cut is never looked at again */
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, 10));
    drop();
}

Test(recovery, tells_damage_below_what_was_durable)
{
    begin(1);
    location wheres[10];
    for (uint64_t seq = 1; seq <= 10; seq++)
        wheres[seq - 1] = rig_append_durable(&rig, 0, seq, 100, 0);
    rig_close(&rig);
    overwrite(wheres[4], 80, 'X');
    cr_assert(eq(int, rig_open(&rig), STATUS_CORRUPT));
    cr_assert(strstr(rig.why, ".segment: offset") != NULL);
    cr_assert(eq(u32, rig.replayed_count, 4));
    drop();
}

/* After a quiet spell a batch without records says that all before it was durable. */
Test(recovery, tells_damage_to_the_last_batch_after_a_pause)
{
    begin(1);
    location last = rig_append_durable(&rig, 0, 1, 100, 0);
    struct store_figures figures;
    do {
        rig_turn(&rig);
        store_figures(rig.stores[0], &figures);
    } while (figures.batch_count < 2);
    rig_close(&rig);
    overwrite(last, 80, 'X');
    cr_assert(eq(int, rig_open(&rig), STATUS_CORRUPT));
    drop();
}

Test(recovery, reads_all_logs_when_the_number_of_shards_changed)
{
    begin(3);
    for (uint64_t seq = 1; seq <= 30; seq++)
        (void)rig_append_durable(&rig, (uint32_t)(seq % 3), seq, 100, 0);
    rig_close(&rig);
    rig.shard_count = 1;
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, 30));
    (void)rig_append_durable(&rig, 0, 31, 100, 0);
    rig_close(&rig);
    rig.shard_count = 2;
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, 31));
    cr_assert(eq(u64, rig.replayed[30].seq, 31)); /* epoch by epoch */
    drop();
}

Test(recovery, raises_the_epoch)
{
    begin(1);
    uint64_t epoch = store_directory_epoch(rig.directory);
    rig_close(&rig);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u64, store_directory_epoch(rig.directory), epoch + 1));
    drop();
}

Test(recycling, gives_dead_segments_back)
{
    begin(1);
    for (uint64_t seq = 1; seq <= 400; seq++) {
        location where = rig_append_durable(&rig, 0, seq, 20000, 0);
        rig_release(&rig, 0, where);
    }
    rig_settle(&rig);
    cr_assert(rig_file_count(&rig, ".segment") <= 8);
    rig.retains = false;
    drop();
}

Test(recycling, asks_for_state_first)
{
    begin(1);
    (void)rig_append_durable(&rig, 0, 777, 100, RECORD_IS_STATE);
    for (uint64_t seq = 1; seq <= 120; seq++) {
        location where = rig_append_durable(&rig, 0, seq, 20000, 0);
        rig_release(&rig, 0, where);
    }
    rig_settle(&rig);
    cr_assert(eq(u32, rig.restated_stream, 1));
    rig.retains = false;
    rig_close(&rig);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    bool has_state = false;
    for (uint32_t i = 0; i < rig.replayed_count; i++)
        has_state |= rig.replayed[i].seq == 777;
    cr_assert(has_state);
    drop();
}

Test(recycling, keeps_what_removes_until_all_before_is_gone)
{
    begin(1);
    location living = rig_append_durable(&rig, 0, 1, 100, 0);
    for (uint64_t seq = 2; seq <= 60; seq++)
        rig_release(&rig, 0, rig_append_durable(&rig, 0, seq, 20000, 0));
    location removal = rig_append_durable(&rig, 0, 61, 100, RECORD_REMOVES);
    for (uint64_t seq = 62; seq <= 200; seq++)
        rig_release(&rig, 0, rig_append_durable(&rig, 0, seq, 20000, 0));
    rig_settle(&rig);
    char name[32];
    (void)snprintf(name, sizeof name, "%016lx", (unsigned long)location_segment(removal));
    cr_assert(eq(u32, rig_file_count(&rig, name), 1));
    rig_release(&rig, 0, living);
    for (uint64_t seq = 201; seq <= 230; seq++)
        rig_release(&rig, 0, rig_append_durable(&rig, 0, seq, 20000, 0));
    rig_settle(&rig);
    cr_assert(eq(u32, rig_file_count(&rig, name), 0));
    rig.retains = false;
    drop();
}
