/*
 * tests/sim/kv_sim_test.c: store and kv on the simulated machine, with fake clients, crashed again and again.
 *
 * A seed gives some runs on one disk. Each starts 1 to 4 shards, recovers (and may be crashed while it does), compares every
 * bucket with the model, lets clients work, and ends by power cut, by death of the process, by a failing disk, or cleanly; half
 * of the time all is quiet first and every bucket and watcher is compared once more. Each seed has its own process, so that a
 * crash may leave memory behind, and a failed assertion ends one seed only.
 *
 * TEST_SEED=n replays one seed, TEST_SEEDS=n sets how many are run, TEST_TRACE=1 tells what clients do, TEST_ABORT=1 leaves a
 * core where a check fails.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/hash.h"
#include "tests/sim/kv_clients.h"
#include "tests/sim/seeds.h"
#include "tests/sim/sim.h"

#define SIM_PATH "/data"

enum { STEPS_MAX = 400000, PARTS = 4 };
enum run_end { RUN_WENT_ON, RUN_FAILED };

struct world {
    struct kv_model model;
    struct clients clients;
    struct kv_options options;
    struct accounts *accounts;
    struct kv_world *kv_world;
    struct store_directory *directory;
    struct shard_group *group;
    uint32_t shard_count, ready_count;
    struct store_recovery recovery;
    bool has_faults;
    bool is_heavy;            /* large values: watchers fall behind their queues' limits */
    struct sim_faults faults; /* while clients act */
    jmp_buf failed;
};

static struct world world;

/* Records that compaction moved, in all seeds: shared by their processes. */
static uint64_t *moved_count;

static bool is_tracing(void)
{
    return getenv("TEST_TRACE") != NULL;
}

static void on_fatal(void *context, const char *why)
{
    struct world *w = context;
    if (!w->has_faults && !w->clients.may_fail_to_read)
        kv_model_fail("the store failed: %s", why);
    longjmp(w->failed, RUN_FAILED);
}

/* ---- a run begins ---- */

static void on_ready(void *context, const struct store_recovery *recovery)
{
    struct world *w = context;
    w->recovery = *recovery;
    w->ready_count++;
}

static void maybe_crash_here(struct world *w, uint64_t per_million)
{
    if (!sim_chance(per_million))
        return;
    w->has_faults = true; /* also for the longjmp */
    longjmp(w->failed, RUN_FAILED);
}

static void create_kvs(struct world *w)
{
    w->kv_world = kv_world_create(&w->options, w->directory);
    w->ready_count = 0;
    for (uint32_t i = 0; i < w->shard_count; i++) {
        struct shard *shard = shard_group_at(w->group, i);
        shard_enter(shard);
        w->clients.kvs[i] =
            kv_create(shard, w->kv_world, &w->clients.recorders[i].outbox, w, on_ready);
        shard_leave(shard);
    }
}

static enum status start(struct world *w, uint64_t crash_per_million)
{
    char why[512] = "";
    if (shard_group_create_unthreaded(w->shard_count, &w->group) != STATUS_OK)
        kv_model_fail("no shards");
    clients_begin(&w->clients, w->group, w->shard_count);
    enum status status =
        store_directory_open(shard_group_at(w->group, 0)->io, SIM_PATH, &w->options.store,
                             w->shard_count, &w->directory, why, sizeof why);
    if (status != STATUS_OK) {
        memcpy(w->recovery.why, why, sizeof w->recovery.why - 1);
        return status;
    }
    create_kvs(w);
    while (w->ready_count < w->shard_count) {
        maybe_crash_here(w, crash_per_million);
        if (!sim_step(w->group, w->shard_count))
            kv_model_fail("recovery sleeps for ever");
    }
    return w->recovery.status;
}

/* ---- waiting ---- */

static bool is_busy(struct world *w)
{
    bool busy = w->clients.open_count > 0;
    for (uint32_t i = 0; i < w->clients.conn_count; i++)
        busy |= w->clients.conns[i].is_waiting || w->clients.conns[i].again != NULL;
    for (uint32_t i = 0; i < w->shard_count; i++)
        busy |= kv_is_busy(w->clients.kvs[i]);
    return busy;
}

static void fail_busy(struct world *w)
{
    for (uint64_t i = 0; i < w->clients.call_count; i++) {
        const struct call *call = w->clients.calls[i];
        if (!call->is_done)
            fprintf(stderr, "call %" PRIu64 " of kind %d, bucket %u, is not answered\n",
                    call->number, (int)call->kind, call->bucket);
    }
    kv_model_fail("busy for ever: %" PRIu64 " calls are open", w->clients.open_count);
}

static void settle(struct world *w)
{
    for (uint64_t steps = 0; is_busy(w); steps++) {
        clients_tend(&w->clients);
        if (steps == STEPS_MAX || !sim_step(w->group, w->shard_count))
            fail_busy(w);
    }
}

/* Also the watchers have all they can have. */
static void settle_watches(struct world *w)
{
    for (struct watch *watch = w->clients.watches; watch != NULL; watch = watch->next) {
        if (watch->is_full && !watch->is_over)
            clients_watch_set_full(&w->clients, watch, false);
    }
    for (uint32_t i = 0; i < 3; i++) {
        settle(w);
        sim_pass(w->group, w->shard_count, 100000000);
    }
    settle(w);
}

/* ---- comparing everything, while all is quiet ---- */

static uint32_t any_conn(struct world *w)
{
    return (uint32_t)sim_below(w->clients.conn_count);
}

/* What the stream info says decides what became of requests that a crash cut off. */
static bool decide_life(struct world *w, struct life *life, const struct call *info)
{
    if (info->is_absent) {
        if (life->state == LIFE_PRESENT)
            kv_model_fail("bucket %u is lost", life->bucket);
        life->state = LIFE_GONE;
    }
    if (life->state == LIFE_GONE) {
        w->clients.buckets[life->bucket] = NULL;
        return false;
    }
    life->state = LIFE_PRESENT;
    if (model_history_is_open(life))
        model_history_decided(&w->model, life, info->history == model_history(life));
    if (info->history != model_history(life))
        kv_model_fail("bucket %u has history %" PRId64 " instead of %" PRId64, life->bucket,
                      info->history, model_history(life));
    return true;
}

static void mark_here(struct life *life, const struct watch *list)
{
    for (uint32_t i = 0; i < life->write_count; i++)
        life->writes[i]->is_here = false;
    for (uint64_t i = 0; i < list->seq_count; i++)
        life->slots[list->seqs[i]].write->is_here = true;
}

static uint64_t size_of(const struct write *write)
{
    static const char *const operations[] = {"", "DEL", "PURGE"};
    char subject[64], headers[256] = "";
    int subject_bytes =
        snprintf(subject, sizeof subject, "$KV.b%u.%s", write->life->bucket, model_key(write->key));
    int count = 0;
    if (write->kind != WRITE_PUT)
        count += snprintf(headers, sizeof headers, "KV-Operation: %s\r\n", operations[write->kind]);
    if (write->kind == WRITE_PURGE)
        count += snprintf(headers, sizeof headers, "Nats-Rollup: sub\r\n");
    if (write->has_number_header)
        count += snprintf(headers, sizeof headers, "Test-Number: %" PRIu64 "\r\n", write->number);
    if (write->expected != NO_EXPECTATION)
        count += snprintf(headers, sizeof headers,
                          "Nats-Expected-Last-Subject-Sequence: %" PRIu64 "\r\n", write->expected);
    if (count > 0)
        count += (int)sizeof "NATS/1.0\r\n\r\n" - 1;
    uint64_t frame = write->life->is_memory ? 16 : count > 0 ? 34 : 30;
    return frame + (uint64_t)subject_bytes + (uint64_t)count + write->value_bytes;
}

static void check_info(const struct life *life, const struct call *info)
{
    uint64_t messages = 0, bytes = 0, subjects = 0;
    bool is_seen[MODEL_KEYS] = {0};
    for (uint32_t i = 0; i < life->write_count; i++) {
        const struct write *write = life->writes[i];
        if (!write->is_here)
            continue;
        messages++;
        bytes += size_of(write);
        subjects += !is_seen[write->key];
        is_seen[write->key] = true;
    }
    if (messages != info->messages || bytes != info->bytes || subjects != info->subject_count)
        kv_model_fail("bucket %u: info tells %" PRIu64 " messages, %" PRIu64 " bytes, %" PRIu64
                      " subjects; there are %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                      life->bucket, info->messages, info->bytes, info->subject_count, messages,
                      bytes, subjects);
    if (life->bytes_max > 0 && bytes > (uint64_t)life->bytes_max)
        kv_model_fail("bucket %u: %" PRIu64 " bytes", life->bucket, bytes);
}

/* Every key and sequence, got one by one, is what the list has. */
static void check_gets(struct world *w, struct life *life)
{
    for (uint32_t key = 0; key < MODEL_KEYS; key++) {
        uint64_t newest = 0;
        for (uint32_t i = 0; i < life->write_count; i++) {
            const struct write *write = life->writes[i];
            if (write->is_here && write->key == key && write->seq > newest)
                newest = write->seq;
        }
        struct call *get = clients_get(&w->clients, any_conn(w), life, key, sim_chance(200000));
        settle(w);
        uint64_t found = get->found == NULL ? 0 : get->found->seq;
        if (found != newest)
            kv_model_fail("bucket %u: key %s: the list has %" PRIu64 ", a get %" PRIu64,
                          life->bucket, model_key(key), newest, found);
    }
    for (uint32_t i = 0; i < 6; i++) {
        uint64_t seq = 1 + sim_below(life->shown_last + 1);
        struct call *get = clients_get_seq(&w->clients, any_conn(w), life, seq, sim_chance(200000));
        settle(w);
        const struct write *write = seq < life->slot_count ? life->slots[seq].write : NULL;
        bool is_here = write != NULL && write->is_here;
        if (is_here != (get->found != NULL))
            kv_model_fail("bucket %u: sequence %" PRIu64 " is %s", life->bucket, seq,
                          is_here ? "not got" : "got");
    }
}

static void check_watches(struct world *w, struct life *life)
{
    for (struct watch *watch = w->clients.watches; watch != NULL; watch = watch->next) {
        if (watch->life != life || watch->is_over)
            continue;
        clients_check_watch(&w->clients, watch);
        struct call *info = clients_watch_info(&w->clients, any_conn(w), watch);
        settle(w);
        if (info->pending != 0)
            kv_model_fail("watch %" PRIu64 " has %" PRIu64 " pending", watch->number,
                          info->pending);
    }
}

/* The whole bucket, as a consumer of everything lists it. */
static struct watch *list_bucket(struct world *w, struct life *life, const struct call *info)
{
    struct watch *list = clients_watch(&w->clients, any_conn(w), life, FILTER_ALL, WATCH_ALL, true);
    for (uint64_t steps = 0; !list->is_listed || list->last_pending > 0; steps++) {
        if (steps == STEPS_MAX || !sim_step(w->group, w->shard_count))
            kv_model_fail("bucket %u: a list of %" PRIu64 " ends with %" PRIu64 " pending",
                          life->bucket, list->initial_pending, list->last_pending);
        clients_tend(&w->clients);
    }
    settle(w);
    if (list->initial_pending != info->messages || list->seq_count != info->messages)
        kv_model_fail("bucket %u: info tells %" PRIu64 " messages, a list %" PRIu64
                      ", and brings %" PRIu64,
                      life->bucket, info->messages, list->initial_pending, list->seq_count);
    return list;
}

static void check_bucket(struct world *w, uint32_t bucket, bool is_after_crash)
{
    struct life *life = w->clients.buckets[bucket];
    struct call *info = clients_info(&w->clients, any_conn(w), bucket);
    settle(w);
    if (life == NULL || !decide_life(w, life, info))
        return;
    struct watch *list = list_bucket(w, life, info);
    mark_here(life, list);
    model_check_state(&w->model, life, info->last_seq, is_after_crash);
    clients_check_snapshots(&w->clients, life);
    check_info(life, info);
    check_gets(w, life);
    clients_watch_end(&w->clients, list, true);
    check_watches(w, life);
    settle(w);
}

/* Reading is free of faults meanwhile, and space has returned: what is there must be found. */
static void check_all(struct world *w, bool is_after_crash)
{
    struct sim_faults faults = w->faults;
    faults.read_error = 0;
    sim_set_faults(&faults);
    sim_set_disk_bytes(UINT64_MAX); /* what waited for space goes on */
    settle_watches(w);
    for (uint32_t i = 0; i < CLIENT_BUCKETS; i++)
        check_bucket(w, i, is_after_crash);
    sim_set_faults(&w->faults);
}

/* ---- what clients do ---- */

static uint32_t random_value_bytes(const struct world *w, const struct life *life)
{
    uint64_t kind = sim_below(1000);
    if (w->is_heavy && kind < 400)
        return 200000 + (uint32_t)sim_below(600000);
    if (life->bytes_max > 0)
        return 40 + (uint32_t)sim_below(1000);
    if (kind < 6)
        return 1000 + (uint32_t)sim_below(400000);
    if (kind < 40)
        return 1000 + (uint32_t)sim_below(20000);
    return 40 + (uint32_t)sim_below(200);
}

/* Few keys get most of the writes. */
static uint32_t random_key(void)
{
    uint64_t limit = sim_chance(500000) ? 3 : MODEL_KEYS;
    return (uint32_t)sim_below(limit);
}

static uint64_t random_expectation(const struct life *life, uint32_t key)
{
    uint64_t kind = sim_below(10), shown = life->shown_of_key[key];
    if (kind < 6)
        return shown;
    return kind < 8 ? 0 : sim_below(shown + 2);
}

static void act_write(struct world *w, uint32_t conn, struct life *life)
{
    uint32_t key = random_key();
    uint64_t kind = sim_below(100);
    enum write_kind write = kind < 10 ? WRITE_DELETE : kind < 16 ? WRITE_PURGE : WRITE_PUT;
    uint64_t expected = sim_chance(350000) ? random_expectation(life, key) : NO_EXPECTATION;
    (void)clients_write(&w->clients, conn, life, key, write, expected, random_value_bytes(w, life),
                        sim_chance(300000));
}

static void act_watch(struct world *w, uint32_t conn, struct life *life)
{
    struct watch *watch = w->clients.watches;
    uint64_t count = 0;
    for (const struct watch *other = watch; other != NULL; other = other->next)
        count += !other->is_over;
    if (count < 6 && sim_chance(600000)) {
        uint64_t filter = sim_chance(500000) ? FILTER_ALL : sim_below(FILTER_COUNT);
        (void)clients_watch(&w->clients, conn, life, (uint32_t)filter,
                            (enum watch_policy)sim_below(3), false);
        return;
    }
    for (uint64_t skip = sim_below(8); watch != NULL && skip > 0; skip--)
        watch = watch->next;
    if (watch == NULL || !watch->is_ready || watch->is_over
        || w->clients.conns[watch->conn].is_waiting)
        return;
    if (sim_chance(500000))
        clients_watch_set_full(&w->clients, watch, w->is_heavy || !watch->is_full);
    else
        clients_watch_end(&w->clients, watch, sim_chance(500000));
}

static void act_create(struct world *w, uint32_t conn, uint32_t bucket)
{
    struct life *life = model_life(&w->model, bucket);
    int64_t history = bucket == 0 ? 1 : bucket == 1 ? 5 : 1 + (int64_t)sim_below(5);
    life->has_deny_delete = bucket != 2 || sim_chance(500000);
    life->is_memory = bucket == 3;
    life->bytes_max = bucket == 4 ? 4000 + (int64_t)sim_below(8000) : -1;
    (void)clients_create(&w->clients, conn, life, history);
}

static void act_change(struct world *w, uint32_t conn, struct life *life)
{
    uint64_t kind = sim_below(100);
    if (kind < 15)
        (void)clients_delete(&w->clients, conn, life);
    else if (kind < 50 && life->history_count < 12 && !model_history_is_open(life))
        (void)clients_update(&w->clients, conn, life, 1 + (int64_t)sim_below(6));
    else if (kind < 75)
        (void)clients_purge(&w->clients, conn, life, (uint32_t)sim_below(FILTER_COUNT),
                            sim_chance(300000) ? sim_below(4) : 0);
    else
        (void)clients_delete_message(&w->clients, conn, life, 1 + sim_below(life->shown_last + 1));
}

static void act_on(struct world *w, uint32_t conn, struct life *life)
{
    uint64_t kind = sim_below(1000);
    if (kind < 700)
        act_write(w, conn, life);
    else if (kind < 820)
        (void)clients_get(&w->clients, conn, life, random_key(), sim_chance(200000));
    else if (kind < 870)
        (void)clients_get_seq(&w->clients, conn, life, 1 + sim_below(life->shown_last + 2),
                              sim_chance(200000));
    else if (kind < 900)
        (void)clients_info(&w->clients, conn, life->bucket);
    else if (kind < 960)
        act_watch(w, conn, life);
    else if (kind < 970)
        (void)clients_snapshot(&w->clients, conn, life);
    else if (life->state == LIFE_PRESENT)
        act_change(w, conn, life);
}

static void act(struct world *w)
{
    uint32_t conn = any_conn(w);
    uint32_t bucket = (uint32_t)sim_below(CLIENT_BUCKETS);
    if (sim_chance(400000))
        bucket = (uint32_t)sim_below(2);
    struct life *life = w->clients.buckets[bucket];
    clients_tend(&w->clients);
    if (w->clients.conns[conn].is_waiting || w->clients.conns[conn].again != NULL)
        return;
    if (life == NULL)
        act_create(w, conn, bucket);
    else if (life->state == LIFE_PRESENT || (life->state == LIFE_DELETING && sim_chance(300000)))
        act_on(w, conn, life);
    if (sim_chance(5000))
        sim_pass(w->group, w->shard_count, sim_below(200000000));
}

/* ---- a run ends ---- */

static void forget_memory(struct world *w)
{
    for (uint32_t i = 0; i < CLIENT_BUCKETS; i++) {
        struct life *life = w->clients.buckets[i];
        if (life == NULL || !life->is_memory)
            continue;
        life->state = LIFE_GONE;
        w->clients.buckets[i] = NULL;
    }
}

static void count_moved(const struct world *w)
{
    for (uint32_t i = 0; i < w->shard_count; i++) {
        const struct store *store = shard_group_at(w->group, i)->rooms[SHARD_ROOM_STORE];
        struct store_figures figures = {0};
        if (store != NULL)
            store_figures(store, &figures);
        *moved_count += figures.moved_records;
    }
}

static void end_run(struct world *w, bool is_clean)
{
    struct io *io = shard_group_at(w->group, 0)->io;
    count_moved(w);
    for (uint32_t i = 0; is_clean && i < w->shard_count; i++) {
        struct shard *shard = shard_group_at(w->group, i);
        shard_enter(shard);
        kv_destroy(w->clients.kvs[i]);
        shard_leave(shard);
    }
    if (w->directory != NULL)
        store_directory_close(w->directory, io);
    w->directory = NULL;
    if (w->kv_world != NULL)
        kv_world_destroy(w->kv_world);
    w->kv_world = NULL;
    shard_group_destroy_unthreaded(w->group);
    w->group = NULL;
    clients_end(&w->clients);
    forget_memory(w);
    model_crash(&w->model); /* nothing is open after a clean end */
}

static void die(struct world *w)
{
    if (shard_current() != NULL)
        shard_leave(shard_current());
    bool is_power = sim_chance(600000);
    if (is_tracing())
        fprintf(stderr, "%" PRIu64 " run %u dies%s\n", w->model.now, w->model.run,
                is_power ? ", power" : "");
    if (is_power)
        sim_crash();
    else
        sim_kill();
    end_run(w, false);
}

static void stop(struct world *w)
{
    sim_set_disk_bytes(UINT64_MAX);
    settle(w);
    if (is_tracing())
        fprintf(stderr, "%" PRIu64 " run %u stops\n", w->model.now, w->model.run);
    end_run(w, true);
}

/* ---- runs and seeds ---- */

static void choose_options(struct world *w)
{
    w->model.run++;
    if (w->model.run == 1 || sim_chance(300000))
        w->shard_count = 1 + (uint32_t)sim_below(CLIENT_SHARDS_MAX);
    /* An account's number may be another one in each run; its streams must be found by its name. */
    accounts_destroy(w->accounts);
    w->accounts = accounts_create();
    for (uint64_t i = sim_below(3); i > 0; i--)
        (void)accounts_intern(w->accounts, bytes_of("abc", (size_t)i));
    w->clients.account = accounts_intern(w->accounts, BYTES_LITERAL("other"));
    account_set_jetstream(w->accounts, w->clients.account, &account_no_limits);
    w->options = (struct kv_options){
        .server_name = "sim",
        .accounts = w->accounts,
        .shard_count = w->shard_count,
        .payload_bytes_max = 1 << 20,
        .is_strict = true,
        .store = {.segment_bytes = 1 << 20,
                  .cache_bytes = sim_chance(300000) ? 0 : sim_below(1 << 19),
                  .compact_percent = sim_chance(300000) ? 0 : 1 + (uint32_t)sim_below(60),
                  .context = w,
                  .on_fatal = on_fatal},
    };
    w->clients.conn_count = 2 + (uint32_t)sim_below(5);
    for (uint32_t i = 0; i < w->clients.conn_count; i++)
        w->clients.conns[i] =
            (struct conn){.shard = (uint32_t)sim_below(w->shard_count), .generation = w->model.run};
    w->is_heavy = sim_chance(40000);
    sim_set_sector_bytes(sim_chance(500000) ? 512 : 4096);
    sim_refuse_direct(sim_chance(100000));
}

static void choose_faults(struct world *w)
{
    struct sim_faults faults = {.slow = sim_chance(200000) ? 10000 : 0};
    w->has_faults = sim_chance(300000);
    w->clients.may_fail_to_read = sim_chance(100000);
    if (w->has_faults) {
        faults.write_error = (uint32_t)sim_below(5000);
        faults.sync_error = (uint32_t)sim_below(5000);
    }
    faults.write_short = (uint32_t)sim_below(30000);
    faults.read_short = (uint32_t)sim_below(30000);
    w->faults = faults;
    if (w->clients.may_fail_to_read) {
        faults.read_error = sim_chance(200000) ? (uint32_t)sim_below(20000) : 0;
        w->faults.read_error = (uint32_t)sim_below(400000);
    }
    sim_set_faults(&faults); /* of the recovery; check_all then sets the others */
    bool is_small = sim_chance(100000);
    sim_set_disk_bytes(is_small ? (6 + sim_below(20)) << 20 : UINT64_MAX);
    /* A spare segment that can not be made is a lack of space, too. */
    w->clients.may_lack_space = is_small || w->has_faults || w->clients.may_fail_to_read;
}

static bool begin_run(struct world *w, uint64_t crash_per_million)
{
    if (is_tracing())
        fprintf(stderr, "run %u: shards=%u conns=%u faults=%d\n", w->model.run, w->shard_count,
                w->clients.conn_count, w->has_faults);
    enum status status = start(w, crash_per_million);
    if (status == STATUS_IO && (w->has_faults || w->clients.may_fail_to_read))
        return false;
    if (status == STATUS_NO_SPACE && w->clients.may_lack_space)
        return false;
    if (status != STATUS_OK)
        kv_model_fail("run %u does not begin: %s: %s", w->model.run, status_words(status),
                      w->recovery.why);
    return true;
}

static void run(struct world *w)
{
    choose_options(w);
    choose_faults(w);
    if (setjmp(w->failed) == RUN_FAILED) {
        die(w);
        return;
    }
    if (!begin_run(w, sim_chance(150000) ? 20000 : 0)) {
        die(w);
        return;
    }
    check_all(w, true);
    uint64_t pace = 1 + sim_below(6);
    for (uint64_t acts = sim_below(sim_chance(500000) ? 60 : 300); acts > 0; acts--) {
        act(w);
        for (uint64_t steps = sim_below(pace + 1); steps > 0; steps--)
            (void)sim_step(w->group, w->shard_count);
    }
    if (sim_chance(500000))
        check_all(w, false);
    if (sim_chance(250000))
        stop(w);
    else
        die(w);
}

/* Without faults everything must come back, twice. */
static void verify(struct world *w)
{
    static const struct sim_faults none;
    for (uint32_t i = 0; i < 2; i++) {
        choose_options(w);
        w->faults = none;
        sim_set_faults(&none);
        sim_set_disk_bytes(UINT64_MAX);
        w->clients.may_fail_to_read = false;
        w->has_faults = w->clients.may_lack_space = false;
        if (setjmp(w->failed) == RUN_FAILED || !begin_run(w, 0))
            kv_model_fail("it does not come back");
        check_all(w, true);
        stop(w);
    }
}

static void run_seed(uint64_t seed)
{
    struct world *w = &world;
    kv_model_seed = seed;
    sim_begin(seed);
    hash_seed_set(seed);
    w->clients.model = &w->model;
    uint64_t run_count = 2 + sim_below(4);
    for (uint64_t i = 0; i < run_count; i++)
        run(w);
    verify(w);
    kv_model_free(&w->model);
    sim_end();
}

static void run_part(uint64_t part)
{
    struct seeds seeds = seeds_from_environment();
    moved_count =
        mmap(NULL, sizeof *moved_count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(moved_count != MAP_FAILED);
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        if (seed % PARTS == part && !seed_run_apart(seed, run_seed))
            cr_expect_fail("TEST_SEED=%" PRIu64 " fails", seed);
    }
    cr_assert(seeds.is_only_one || seeds.last < 400 || *moved_count > 0, "compaction never ran");
    if (is_tracing())
        fprintf(stderr, "%" PRIu64 " records were moved\n", *moved_count);
}

Test(kv_sim, keeps_what_clients_were_told_0)
{
    run_part(0);
}
Test(kv_sim, keeps_what_clients_were_told_1)
{
    run_part(1);
}
Test(kv_sim, keeps_what_clients_were_told_2)
{
    run_part(2);
}
Test(kv_sim, keeps_what_clients_were_told_3)
{
    run_part(3);
}
