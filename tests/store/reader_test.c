/*
 * tests/store/reader_test.c: records by location: from batch, cache and disk; damage is told, never given out.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "store/location.h"
#include "tests/store/rig.h"

static struct rig rig;

static void make(void)
{
    rig_init(&rig, "/tmp", 1);
    rig.options.cache_bytes = 0; /* every read goes to the disk */
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
}

static void drop(void)
{
    rig_close(&rig);
    rig_remove(&rig);
}

Test(reader, reads_from_batch_and_disk, .init = make, .fini = drop)
{
    location where = rig_append(&rig, 0, 1, 5000, 0, NULL);
    cr_assert(eq(int, rig_fetch(&rig, 0, where, 1), STATUS_OK));
    rig_settle(&rig);
    cr_assert(eq(int, rig_fetch(&rig, 0, where, 1), STATUS_OK));
}

Test(reader, reads_any_length_at_any_place, .init = make, .fini = drop)
{
    enum { COUNT = 200 };
    location wheres[COUNT];
    for (uint64_t i = 0; i < COUNT; i++)
        wheres[i] = rig_append(&rig, 0, i + 1, (uint32_t)(i * i), 0, NULL);
    rig_settle(&rig);
    for (uint64_t i = 0; i < COUNT; i++)
        cr_assert(eq(int, rig_fetch(&rig, 0, wheres[i], i + 1), STATUS_OK));
}

static uint32_t done_count;

static void on_done(struct store_fetch *fetch, enum status status)
{
    cr_assert(eq(int, status, STATUS_OK));
    cr_assert(rig_value_is_right(&fetch->record));
    done_count++;
}

Test(reader, shares_one_read_and_never_answers_inside, .init = make, .fini = drop)
{
    enum { COUNT = 300 };
    static struct store_fetch fetches[COUNT];
    location wheres[3];
    for (uint64_t i = 0; i < 3; i++)
        wheres[i] = rig_append_durable(&rig, 0, i + 1, 1000, 0);
    struct shard *shard = shard_group_at(rig.group, 0);
    done_count = 0;
    shard_enter(shard);
    for (uint32_t i = 0; i < COUNT; i++)
        cr_assert(not(store_fetch(rig.stores[0], wheres[i % 3], &fetches[i], on_done)));
    shard_leave(shard);
    cr_assert(eq(u32, done_count, 0));
    while (done_count < COUNT)
        rig_turn(&rig);
    shard_enter(shard);
    for (uint32_t i = 0; i < COUNT; i++)
        store_fetch_release(rig.stores[0], &fetches[i]);
    shard_leave(shard);
}

Test(reader, tells_damage, .init = make, .fini = drop)
{
    location where = rig_append_durable(&rig, 0, 1, 1000, 0);
    char path[256];
    (void)snprintf(path, sizeof path, "%s/log/%016lx.segment", rig.path,
                   (unsigned long)location_segment(where));
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    cr_assert(fd >= 0);
    cr_assert(pwrite(fd, "X", 1, (off_t)location_offset(where) + 500) == 1);
    cr_assert(fsync(fd) == 0);
    (void)close(fd);
    cr_assert(eq(int, rig_fetch(&rig, 0, where, 1), STATUS_CORRUPT));
}
