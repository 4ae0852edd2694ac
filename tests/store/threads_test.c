/*
 * tests/store/threads_test.c: stores on real threads, for what the simulator cannot see: two shards that count the living
 * of each other's segments and recycle side by side.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/shared.h"
#include "store/store.h"

enum { RECORDS = 3000, VALUE_BYTES = 3000 };

struct crew {
    char path[64];
    struct store_options options;
    uint32_t shard_count;
    struct store_directory *directory;
    struct worker *workers[4];
    struct shared_u64 recovered, is_committed,
        done; /* shards; any shard adds, the test's thread reads */
};

struct worker {
    struct crew *crew;
    struct store *store;
    struct store_wait wait;
    location *living; /* of what was recovered */
    uint32_t living_count, appended_count;
    location newest;
    bool is_started, is_waiting;
};

static struct crew crew;

static void on_fatal(void *context, const char *why)
{
    (void)context;
    fprintf(stderr, "fatal: %s\n", why);
    abort();
}

static void on_restate(void *context, uint32_t stream_id)
{
    (void)context, (void)stream_id;
}

static void on_record(void *context, const struct record *record, location where,
                      uint32_t log_index)
{
    struct worker *worker = context;
    struct shard *shard = shard_current();
    (void)log_index;
    if (record->seq % shard->count != shard->index)
        return;
    store_retain(worker->store, where);
    worker->living = realloc(worker->living, (worker->living_count + 1) * sizeof(location));
    worker->living[worker->living_count++] = where;
}

static void on_recovered(void *context, const struct store_recovery *recovery)
{
    struct worker *worker = context;
    cr_assert(recovery->status == STATUS_OK);
    (void)shared_add_seq_cst(&worker->crew->recovered, 1);
}

static void on_durable(struct store_wait *wait)
{
    struct worker *worker = CONTAINER_OF(wait, struct worker, wait);
    worker->is_waiting = false;
    if (worker->appended_count % 2 == 0) /* half of them live on */
        store_release(worker->store, worker->newest);
    worker->appended_count++;
    if (worker->appended_count == RECORDS)
        (void)shared_add_seq_cst(&worker->crew->done, 1);
}

/* One record at a time; what the last run left dies meanwhile, in segments of all shards. */
static void work(struct shard *shard, void *context)
{
    static const char value[VALUE_BYTES];
    struct worker *worker = context;
    if (!worker->is_started) {
        if (shared_load_seq_cst(&worker->crew->is_committed) == 0) {
            shard_stay_awake(shard);
            return;
        }
        store_start(worker->store, &(struct store_owner){worker, on_restate, NULL});
        worker->is_started = true;
    }
    if (worker->living_count > 0)
        store_release(worker->store, worker->living[--worker->living_count]);
    if (worker->is_waiting || worker->appended_count >= RECORDS)
        return;
    struct record record = {.type = 1,
                            .seq = worker->appended_count * shard->count + shard->index,
                            .value = bytes_of(value, sizeof value)};
    worker->wait.on_durable = on_durable;
    enum status status = store_append(worker->store, &record, &worker->newest, &worker->wait);
    worker->is_waiting = status == STATUS_OK;
    if (!worker->is_waiting)
        shard_stay_awake(shard);
}

static enum status on_start(struct shard *shard, void *context, char *why, size_t why_bytes)
{
    (void)why, (void)why_bytes;
    struct crew *of = context;
    struct worker *worker = calloc(1, sizeof *worker);
    of->workers[shard->index] = worker;
    worker->crew = of;
    worker->store = store_create(shard, of->directory, &of->options);
    shard_add_phase(shard, work, worker);
    store_recover(worker->store, worker, on_record, on_recovered);
    return STATUS_OK;
}

static void on_stop(struct shard *shard, void *context)
{
    struct crew *of = context;
    struct worker *worker = of->workers[shard->index];
    store_stop(worker->store);
    shard_leave(shard);
    while (store_is_busy(worker->store)) {
        shard_enter(shard);
        shard_stay_awake(shard);
        shard_leave(shard);
        shard_turn(shard);
    }
    shard_enter(shard);
    store_destroy(worker->store);
    free(worker->living);
    free(worker);
}

static void await(const struct shared_u64 *cell, uint64_t value)
{
    while (shared_load_seq_cst(cell) < value)
        (void)usleep(1000);
}

/* The directory wants an io: one that no thread uses. */
static void run(uint32_t shard_count)
{
    struct shard_group *group;
    struct shard_group *own;
    char why[256] = "";
    cr_assert(shard_group_create_unthreaded(1, &own) == STATUS_OK);
    struct io *io = shard_group_at(own, 0)->io;
    crew.shard_count = shard_count;
    shared_store_seq_cst(&crew.recovered, 0);
    shared_store_seq_cst(&crew.is_committed, 0);
    shared_store_seq_cst(&crew.done, 0);
    cr_assert(store_directory_open(io, crew.path, &crew.options, shard_count, &crew.directory, why,
                                   sizeof why)
              == STATUS_OK);
    cr_assert(shard_group_start(shard_count, on_start, on_stop, &crew, &group, why, sizeof why)
              == STATUS_OK);
    await(&crew.recovered, shard_count);
    cr_assert(store_directory_commit(crew.directory, io) == STATUS_OK);
    shared_store_seq_cst(&crew.is_committed, 1);
    await(&crew.done, shard_count);
    shard_group_stop(group);
    shard_group_join(group);
    store_directory_close(crew.directory, io);
    shard_group_destroy_unthreaded(own);
}

Test(threads, share_the_directory)
{
    (void)snprintf(crew.path, sizeof crew.path, "/tmp/pail-threads-XXXXXX");
    cr_assert(mkdtemp(crew.path) != NULL);
    crew.options = (struct store_options){
        .segment_bytes = 1 << 20, .cache_bytes = 1 << 20, .on_fatal = on_fatal};
    run(2);
    run(3);
    run(2);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r '%s'", crew.path);
    cr_assert(system(command) == 0);
}
