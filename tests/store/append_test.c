/*
 * tests/store/append_test.c: what is appended is there after a restart, in order, and its waits run when it is durable.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/store/rig.h"

static struct rig rig;

static void make(void)
{
    rig_init(&rig, "/tmp", 1);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
}

static void drop(void)
{
    rig_close(&rig);
    rig_remove(&rig);
}

Test(append, replays_what_was_appended, .init = make, .fini = drop)
{
    for (uint64_t seq = 1; seq <= 1000; seq++)
        (void)rig_append(&rig, 0, seq, (uint32_t)(seq % 400), 0, NULL);
    rig_settle(&rig);
    rig_close(&rig);

    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, 1000));
    for (uint64_t seq = 1; seq <= 1000; seq++) {
        cr_assert(eq(u64, rig.replayed[seq - 1].seq, seq));
        cr_assert(eq(u32, rig.replayed[seq - 1].value_bytes, (uint32_t)(seq % 400)));
    }
    cr_assert(rig.values_are_right);
}

static uint32_t waits_run;

static void on_durable(struct store_wait *wait)
{
    (void)wait;
    waits_run++;
}

struct ordered_wait {
    struct store_wait wait;
    uint32_t position;
};

static void on_ordered(struct store_wait *wait)
{
    struct ordered_wait *ordered = CONTAINER_OF(wait, struct ordered_wait, wait);
    cr_assert(eq(u32, ordered->position, waits_run));
    waits_run++;
}

Test(append, runs_waits_in_order_and_never_inside, .init = make, .fini = drop)
{
    static struct ordered_wait waits[500];
    waits_run = 0;
    for (uint32_t i = 0; i < 500; i++) {
        waits[i] = (struct ordered_wait){.wait = {.on_durable = on_ordered}, .position = i};
        (void)rig_append(&rig, 0, i + 1, 5000, 0, &waits[i].wait);
        if (i == 0)
            cr_assert(eq(u32, waits_run, 0));
    }
    rig_settle(&rig);
    cr_assert(eq(u32, waits_run, 500));
}

Test(append, says_what_is_durable, .init = make, .fini = drop)
{
    struct store_wait wait = {.on_durable = on_durable};
    waits_run = 0;
    location where = rig_append(&rig, 0, 1, 10, 0, NULL);
    cr_assert(not(store_is_durable(rig.stores[0], where)));
    struct shard *shard = shard_group_at(rig.group, 0);
    shard_enter(shard);
    cr_assert(store_wait_durable(rig.stores[0], &wait));
    shard_leave(shard);
    while (waits_run == 0)
        rig_turn(&rig);
    cr_assert(store_is_durable(rig.stores[0], where));
    shard_enter(shard);
    cr_assert(not(store_wait_durable(rig.stores[0], &wait)));
    shard_leave(shard);
}

Test(append, fills_segment_after_segment, .init = make, .fini = drop)
{
    enum { COUNT = 300 };
    location wheres[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        wheres[i] = rig_append(&rig, 0, i + 1, 30000, 0, NULL);
        cr_assert(i == 0 || wheres[i] > wheres[i - 1]);
    }
    rig_settle(&rig);
    struct store_figures figures;
    store_figures(rig.stores[0], &figures);
    cr_assert(figures.segment_count >= 9);
    for (uint64_t i = 0; i < COUNT; i++)
        cr_assert(eq(int, rig_fetch(&rig, 0, wheres[i], i + 1), STATUS_OK));
    rig_close(&rig);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, COUNT));
    cr_assert(eq(u64, rig.replayed[COUNT - 1].where, wheres[COUNT - 1]));
}

/* Larger than a batch buffer, and larger than a segment. */
Test(append, takes_a_record_of_any_size, .init = make, .fini = drop)
{
    uint32_t sizes[] = {(1 << 20) - 200, 1 << 20, (1 << 20) + 1, 3 << 20, 10, 2 << 20};
    location wheres[COUNT_OF(sizes)];
    for (uint32_t i = 0; i < COUNT_OF(sizes); i++)
        wheres[i] = rig_append(&rig, 0, i + 1, sizes[i], 0, NULL);
    for (uint32_t i = 0; i < COUNT_OF(sizes); i++)
        cr_assert(eq(int, rig_fetch(&rig, 0, wheres[i], i + 1), STATUS_OK));
    rig_settle(&rig);
    for (uint32_t i = 0; i < COUNT_OF(sizes); i++)
        cr_assert(eq(int, rig_fetch(&rig, 0, wheres[i], i + 1), STATUS_OK));
    rig_close(&rig);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, COUNT_OF(sizes)));
    cr_assert(rig.values_are_right);
}

/* A child appends, reports through a pipe what was durable, and dies without an end. */
static uint64_t die_after_appending(uint32_t record_count)
{
    int pipes[2];
    cr_assert(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        cr_assert(rig_begin(&rig) == STATUS_OK);
        uint64_t first = rig.replayed_count + 1;
        for (uint64_t seq = first; seq < first + record_count; seq++) {
            (void)rig_append_durable(&rig, 0, seq, 2000, 0);
            (void)!write(pipes[1], &seq, sizeof seq);
        }
        for (uint64_t i = 0; i < 20; i++) /* some in flight */
            (void)rig_append(&rig, 0, first + record_count + i, 2000, 0, NULL);
        rig_turn(&rig);
        _exit(0);
    }
    (void)close(pipes[1]);
    uint64_t seq = 0;
    uint64_t durable = 0;
    while (read(pipes[0], &seq, sizeof seq) == sizeof seq)
        durable = seq;
    (void)close(pipes[0]);
    (void)waitpid(child, NULL, 0);
    return durable;
}

Test(append, survives_the_death_of_the_process)
{
    rig_init(&rig, "/tmp", 1);
    for (uint32_t round = 0; round < 5; round++) {
        uint64_t durable = die_after_appending(100);
        cr_assert(eq(int, rig_begin(&rig), STATUS_OK), "%s", rig.why);
        cr_assert(rig.replayed_count >= durable);
        for (uint32_t i = 0; i < rig.replayed_count; i++)
            cr_assert(eq(u64, rig.replayed[i].seq, i + 1));
        cr_assert(rig.values_are_right);
        rig_close(&rig);
    }
    rig_remove(&rig);
}

Test(append, works_where_memory_is_the_disk)
{
    rig_init(&rig, "/dev/shm", 1);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK), "%s", rig.why);
    location where = rig_append_durable(&rig, 0, 1, 100, 0);
    cr_assert(eq(int, rig_fetch(&rig, 0, where, 1), STATUS_OK));
    rig_close(&rig);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, 1));
    drop();
}

Test(append, works_with_syncs_at_an_interval)
{
    rig_init(&rig, "/tmp", 1);
    rig.options.sync_interval_ns = 5000000;
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    for (uint64_t seq = 1; seq <= 300; seq++)
        (void)rig_append_durable(&rig, 0, seq, 20000, 0);
    rig_close(&rig);
    cr_assert(eq(int, rig_begin(&rig), STATUS_OK));
    cr_assert(eq(u32, rig.replayed_count, 300));
    drop();
}

Test(append, refuses_a_second_server_on_the_same_store, .init = make, .fini = drop)
{
    struct shard *shard = shard_group_at(rig.group, 0);
    struct store_directory *second;
    char why[256];
    enum status status =
        store_directory_open(shard->io, rig.path, &rig.options, 1, &second, why, sizeof why);
    cr_assert(eq(int, status, STATUS_BUSY));
}
