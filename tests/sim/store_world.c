/*
 * tests/sim/store_world.c: runs of stores on the simulated disk: begin, act, end; each step is drawn from the seed.
 */
#include "tests/sim/store_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/mailbox.h"
#include "store/segment.h"

/* A put or a removal that is not acknowledged yet. */
struct change {
    struct change *next;
    struct store_wait wait;
    struct world *world;
    uint32_t shard, position, number;
    uint64_t version;
    enum model_type type;
    location where, killed; /* LOCATION_NONE: there was none */
    uint32_t killed_run, killed_shard, killed_position;
    bool is_done;
};

struct fetching {
    struct fetching *next;
    struct store_fetch fetch;
    struct world *world;
    uint32_t shard;
    uint64_t version;
    bool is_done;
};

/* Which entry lies at a key's location: run, shard, position. */
static struct {
    uint32_t run, shard, position;
} key_entry[MODEL_KEYS];

static void on_fatal(void *context, const char *why)
{
    struct world *failing = context;
    if (!failing->has_faults)
        model_fail("the store failed: %s", why);
    longjmp(failing->failed, RUN_FAILED);
}

/* ---- a run begins ---- */

static void on_record(void *context, const struct record *record, location where,
                      uint32_t log_index)
{
    struct world *w = context;
    struct shard *shard = shard_current();
    uint32_t number = model_number(record);
    model_recovery_record(&w->model, shard->index, record, where, log_index);
    if (record->type != MODEL_STATE && w->model.found_keys[number].where == where) {
        key_entry[number].run = (uint32_t)record->time_ns;
        key_entry[number].shard = log_index;
        key_entry[number].position = (uint32_t)record->log_index;
    }
}

static void on_recovered(void *context, const struct store_recovery *recovery)
{
    struct world *w = context;
    w->recovery[shard_current()->index] = *recovery;
    w->recovered_count++;
}

static void end_run(struct world *w, bool is_clean);

static void maybe_crash_here(struct world *w, uint64_t per_million)
{
    if (sim_chance(per_million)) {
        w->has_faults = true; /* also for the longjmp */
        longjmp(w->failed, RUN_FAILED);
    }
}

static struct io *first_io(struct world *w)
{
    return shard_group_at(w->group, 0)->io;
}

enum status world_recover(struct world *w, uint64_t crash_per_million)
{
    enum status status = shard_group_create_unthreaded(w->shard_count, &w->group);
    if (status != STATUS_OK)
        model_fail("no shards");
    w->recovered_count = 0;
    status = store_directory_open(first_io(w), WORLD_PATH, &w->options, w->shard_count,
                                  &w->directory, w->why, sizeof w->why);
    if (status != STATUS_OK)
        return status;
    w->reads_all = w->directory->reads_all;
    for (uint32_t i = 0; i < w->shard_count; i++) {
        struct shard *shard = shard_group_at(w->group, i);
        shard_enter(shard);
        w->stores[i] = store_create(shard, w->directory, &w->options);
        store_recover(w->stores[i], w, on_record, on_recovered);
        shard_leave(shard);
    }
    while (w->recovered_count < w->shard_count) {
        maybe_crash_here(w, crash_per_million);
        if (!sim_step(w->group, w->shard_count))
            model_fail("recovery sleeps for ever");
    }
    if (world_traces()) {
        for (uint32_t i = 0; i < w->directory->found_count; i++) {
            const struct found_segment *found = &w->directory->found[i];
            fprintf(stderr, "  segment %lu epoch %lu log %u header %d\n", found->id, found->epoch,
                    found->log_index, found->has_header);
        }
        for (uint32_t i = 0; i < w->directory->manifest.ends_count; i++) {
            const struct log_end *end = &w->directory->manifest.ends[i];
            fprintf(stderr, "  end epoch %lu log %u segment %lu number %lu\n", end->epoch,
                    end->log_index, end->segment_id, end->number);
        }
    }
    for (uint32_t i = 0; i < w->shard_count; i++) {
        if (w->recovery[i].status != STATUS_OK) {
            (void)snprintf(w->why, sizeof w->why, "%s", w->recovery[i].why);
            return w->recovery[i].status;
        }
    }
    return STATUS_OK;
}

static void append_state(struct world *w, uint32_t shard, uint32_t number, bool is_new);

static void on_restate(void *context, uint32_t stream_id)
{
    struct world *w = context;
    uint32_t number = stream_id - 100;
    if (number % w->shard_count == shard_current()->index)
        append_state(w, shard_current()->index, number, false);
}

static void retain_found(struct world *w)
{
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        struct model_key *key = &w->model.keys[i];
        if (!key->is_put)
            continue;
        uint32_t owner = i % w->shard_count;
        struct shard *shard = shard_group_at(w->group, owner);
        shard_enter(shard);
        store_retain(w->stores[owner], key->where);
        shard_leave(shard);
    }
}

/* What was released in the last run, and everything that is not the newest of its key, is dead now. */
static void mark_dead(struct world *w)
{
    for (uint32_t run = 1; run < w->model.run; run++) {
        for (uint32_t shard = 0; shard < MODEL_SHARDS_MAX; shard++) {
            struct model_log *log = &w->model.logs[run][shard];
            for (uint64_t i = 0; i < log->count; i++) {
                struct model_entry *entry = &log->entries[i];
                if (entry->type == MODEL_STATE)
                    continue;
                const struct model_key *key = &w->model.keys[entry->number];
                bool is_at = key_entry[entry->number].run == run
                             && key_entry[entry->number].shard == shard
                             && key_entry[entry->number].position == i + 1;
                bool is_living = key->is_put && entry->version == key->version && is_at;
                if (!is_living)
                    entry->is_released = true;
            }
        }
    }
}

static void move(struct world *w, const struct record *record, location from);

struct moving { /* then the record's value */
    struct world *world;
    struct record record;
    location from;
    char key[32];
};

static void on_foreign_move(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard, (void)bytes, (void)from;
    struct moving *moving = payload;
    moving->record.key.data = moving->key;
    moving->record.value.data = (const char *)(moving + 1);
    move(moving->world, &moving->record, moving->from);
}

static enum status on_move(void *context, const struct record *record, location where)
{
    struct world *w = context;
    struct shard *shard = shard_current();
    uint32_t owner = model_number(record) % w->shard_count;
    if (owner == shard->index) {
        move(w, record, where);
        return sim_chance(2000) ? STATUS_NO_SPACE : STATUS_OK; /* an end before the end */
    }
    uint32_t bytes = (uint32_t)(sizeof(struct moving) + record->value.count);
    struct moving *moving = mailbox_reserve(shard, owner, on_foreign_move, bytes);
    *moving = (struct moving){w, *record, where, {0}};
    memcpy(moving->key, record->key.data, record->key.count);
    if (record->value.count > 0)
        memcpy(moving + 1, record->value.data, record->value.count);
    return STATUS_OK;
}

void world_start(struct world *w, uint64_t crash_per_million)
{
    maybe_crash_here(w, crash_per_million);
    enum status status = store_directory_commit(w->directory, first_io(w));
    if (status != STATUS_OK)
        model_fail("the manifest cannot be written");
    maybe_crash_here(w, crash_per_million);
    retain_found(w);
    mark_dead(w);
    for (uint32_t i = 0; i < w->shard_count; i++) {
        struct shard *shard = shard_group_at(w->group, i);
        shard_enter(shard);
        store_start(w->stores[i], &(struct store_owner){w, on_restate, on_move});
        shard_leave(shard);
    }
}

/* ---- what a run does ---- */

static void on_durable(struct store_wait *wait)
{
    struct change *change = CONTAINER_OF(wait, struct change, wait);
    struct world *w = change->world;
    struct store *store = w->stores[change->shard];
    if (!store_is_durable(store, change->where))
        model_fail("a wait ran for what is not durable");
    struct model_entry *entry =
        model_entry_at(&w->model, w->model.run, change->shard, change->position);
    entry->is_acked = true;
    change->is_done = true;
    struct model_key *key = change->type == MODEL_STATE ? &w->model.states[change->number]
                                                        : &w->model.keys[change->number];
    if (change->type == MODEL_STATE) {
        if (change->version > key->version_acked)
            key->version_acked = change->version;
        return;
    }
    if (change->version <= key->version_acked)
        model_fail("acknowledged out of order");
    key->version_acked = change->version;
    key->is_removal_acked = change->type == MODEL_REMOVE;
    if (change->killed != LOCATION_NONE) {
        model_entry_at(&w->model, change->killed_run, change->killed_shard, change->killed_position)
            ->is_released = true;
        store_release(store, change->killed);
    }
    if (change->type == MODEL_REMOVE)
        entry->is_released = true; /* never counted as living */
}

static struct change *change_new(struct world *w)
{
    struct change *change = calloc(1, sizeof *change);
    change->world = w;
    change->wait.on_durable = on_durable;
    change->next = w->changes;
    w->changes = change;
    return change;
}

static void check_refusal(struct world *w, uint32_t shard, enum status status, uint32_t bytes)
{
    if (status == STATUS_BUSY)
        return;
    if (status != STATUS_NO_SPACE)
        model_fail("append: %s", status_words(status));
    bool is_special = bytes > segment_room(w->options.segment_bytes) - 1024;
    if (!is_special && store_directory_space(w->directory, shard) == STORE_SPACE_OK)
        model_fail("no space, but nobody was told");
}

/* On the shard. */
static void append(struct world *w, uint32_t shard, enum model_type type, uint32_t number,
                   uint32_t value_bytes, bool is_new)
{
    struct record record = model_record(&w->model, shard, type, number, value_bytes);
    struct model_key *key = type == MODEL_STATE ? &w->model.states[number] : &w->model.keys[number];
    if (!is_new)
        record.term = key->version;
    struct change *change = change_new(w);
    location where;
    enum status status = store_append(w->stores[shard], &record, &where, &change->wait);
    if (status != STATUS_OK) {
        w->changes = change->next;
        free(change);
        check_refusal(w, shard, status, record_bytes(&record));
        return;
    }
    change->shard = shard;
    change->number = number;
    change->version = record.term;
    change->type = type;
    change->where = where;
    if (type != MODEL_STATE && key->is_put) {
        change->killed = key->where;
        change->killed_run = key_entry[number].run;
        change->killed_shard = key_entry[number].shard;
        change->killed_position = key_entry[number].position;
    }
    model_appended(&w->model, shard, &record, where, &change->position);
    if (type != MODEL_STATE) {
        key_entry[number].run = w->model.run;
        key_entry[number].shard = shard;
        key_entry[number].position = change->position;
    }
}

/* Compaction has met a record; one that is refused stays where it is. */
static void move(struct world *w, const struct record *record, location from)
{
    uint32_t number = model_number(record);
    uint32_t shard = shard_current()->index;
    struct model_key *key = &w->model.keys[number];
    if (!key->is_put || key->where != from)
        return;
    model_check_record(&w->model, record);
    struct record again =
        model_record(&w->model, shard, MODEL_PUT, number, (uint32_t)record->value.count);
    again.term = record->term;
    location where;
    enum status status = store_move(w->stores[shard], &again, from, &where);
    if (status != STATUS_OK) {
        check_refusal(w, shard, status, record_bytes(&again));
        return;
    }
    model_entry_at(&w->model, key_entry[number].run, key_entry[number].shard,
                   key_entry[number].position)
        ->is_released = true;
    model_appended(&w->model, shard, &again, where, &key_entry[number].position);
    key_entry[number].run = w->model.run;
    key_entry[number].shard = shard;
    w->moved_count++;
}

static void append_state(struct world *w, uint32_t shard, uint32_t number, bool is_new)
{
    append(w, shard, MODEL_STATE, number, (uint32_t)sim_below(300), is_new);
}

static uint32_t random_value_bytes(void)
{
    uint64_t kind = sim_below(1000);
    if (kind < 5)
        return 900000 + (uint32_t)sim_below(900000);
    if (kind < 40)
        return (uint32_t)sim_below(200000);
    if (kind < 300)
        return (uint32_t)sim_below(20000);
    return (uint32_t)sim_below(1000);
}

static void on_fetched(struct store_fetch *fetch, enum status status)
{
    struct fetching *fetching = CONTAINER_OF(fetch, struct fetching, fetch);
    struct world *w = fetching->world;
    fetching->is_done = true;
    if (status != STATUS_OK) {
        if (!w->has_faults)
            model_fail("a fetch ended with: %s", status_words(status));
        return;
    }
    model_check_record(&w->model, &fetch->record);
    if (fetch->record.term != fetching->version)
        model_fail("fetched version %lu instead of %lu", fetch->record.term, fetching->version);
    store_fetch_release(w->stores[fetching->shard], fetch);
}

static void fetch(struct world *w, uint32_t shard, uint32_t number)
{
    struct model_key *key = &w->model.keys[number];
    if (!key->is_put)
        return;
    struct fetching *fetching = calloc(1, sizeof *fetching);
    fetching->world = w;
    fetching->shard = shard;
    fetching->version = key->version;
    fetching->next = w->fetches;
    w->fetches = fetching;
    if (store_fetch(w->stores[shard], key->where, &fetching->fetch, on_fetched))
        on_fetched(&fetching->fetch, STATUS_OK);
}

void world_act(struct world *w)
{
    uint32_t number = (uint32_t)sim_below(MODEL_KEYS);
    uint32_t owner = number % w->shard_count;
    uint64_t kind = sim_below(100);
    bool is_tight = store_directory_space(w->directory, owner) != STORE_SPACE_OK;
    if (kind >= 90 && kind < 94) {
        number = (uint32_t)sim_below(MODEL_STATES);
        owner = number % w->shard_count;
    }
    struct shard *shard = shard_group_at(w->group, owner);
    shard_enter(shard);
    shard_stay_awake(shard); /* the phase sends what we append outside of a turn */
    if (w->keeps_values && !w->model.keys[number].is_put && !is_tight)
        append(w, owner, MODEL_PUT, number, 150000, true);
    else if (w->keeps_values)
        kind = 0;
    else if (kind < 70 && !is_tight)
        append(w, owner, MODEL_PUT, number, random_value_bytes(), true);
    else if (kind < 80)
        append(w, owner, MODEL_REMOVE, number, 0, true);
    else if (kind < 90)
        fetch(w, owner, number);
    else if (kind < 94 && !is_tight)
        append_state(w, owner, number, true);
    shard_leave(shard);
    if (kind == 99)
        sim_pass(w->group, w->shard_count, sim_below(200000000));
}

/* ---- a run ends ---- */

static void free_pending(struct world *w)
{
    while (w->changes != NULL) {
        struct change *next = w->changes->next;
        free(w->changes);
        w->changes = next;
    }
    while (w->fetches != NULL) {
        struct fetching *next = w->fetches->next;
        free(w->fetches);
        w->fetches = next;
    }
}

static bool is_busy(struct world *w)
{
    bool busy = false;
    for (uint32_t i = 0; i < w->shard_count; i++)
        busy |= store_is_busy(w->stores[i]);
    return busy;
}

static void end_run(struct world *w, bool is_clean)
{
    struct io *io = first_io(w);
    for (uint32_t i = 0; i < w->shard_count; i++) {
        if (w->stores[i] == NULL)
            continue;
        struct shard *shard = shard_group_at(w->group, i);
        shard_enter(shard);
        if (is_clean)
            store_destroy(w->stores[i]);
        else
            store_abandon(w->stores[i]);
        shard_leave(shard);
        w->stores[i] = NULL;
    }
    if (w->directory != NULL)
        store_directory_close(w->directory, io);
    w->directory = NULL;
    shard_group_destroy_unthreaded(w->group);
    w->group = NULL;
    free_pending(w);
}

void world_die(struct world *w)
{
    w->has_unsynced |= w->options.sync_interval_ns != 0; /* until a recovery synced the tails */
    if (shard_current() != NULL)
        shard_leave(shard_current());
    if (world_traces())
        fprintf(stderr, "run %u dies\n", w->model.run);
    if (sim_chance(600000)) {
        if (world_traces())
            fprintf(stderr, "power\n");
        sim_crash();
        w->forgets_acks |= w->has_unsynced;
    } else {
        sim_kill();
    }
    end_run(w, false);
}

void world_stop(struct world *w)
{
    for (uint32_t i = 0; i < w->shard_count; i++)
        store_stop(w->stores[i]);
    world_settle(w);
    end_run(w, true);
}

/* ---- the rest ---- */

/* False when the run died before it could be compared. */
bool world_begin_run(struct world *w, uint64_t crash_per_million)
{
    model_begin_run(&w->model, w->shard_count);
    enum status status = world_recover(w, crash_per_million);
    if (status == STATUS_IO && w->has_faults) {
        world_die(w);
        return false;
    }
    if (status != STATUS_OK)
        model_fail("run %u does not begin: %s: %s", w->model.run, status_words(status), w->why);
    model_recovery_done(&w->model, w->reads_all, w->forgets_acks);
    w->forgets_acks = w->has_unsynced = false;
    return true;
}

void world_settle(struct world *w)
{
    while (is_busy(w)) {
        if (!sim_step(w->group, w->shard_count))
            model_fail("busy for ever");
    }
    for (const struct change *change = w->changes; change != NULL; change = change->next) {
        if (!change->is_done)
            model_fail("a wait never ran");
    }
}

void world_drop(struct world *w)
{
    sim_kill();
    end_run(w, false);
}

void world_options(struct world *w, uint32_t segment_bytes, uint64_t cache_bytes,
                   uint64_t sync_interval_ns, uint32_t compact_percent)
{
    w->options = (struct store_options){
        .segment_bytes = segment_bytes,
        .cache_bytes = cache_bytes,
        .compact_percent = compact_percent,
        .sync_interval_ns = sync_interval_ns,
        .context = w,
        .on_fatal = on_fatal,
    };
}

bool world_traces(void)
{
    return getenv("TEST_TRACE") != NULL;
}
