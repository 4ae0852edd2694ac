/*
 * tests/store/rig.c: stores on the real io in a fresh folder; see rig.h.
 */
#include "tests/store/rig.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char *value_buffer;

static char value_byte(uint64_t seq, uint32_t index)
{
    return (char)(seq * 31 + index + (index >> 8) * 7);
}

bool rig_value_is_right(const struct record *record)
{
    for (uint32_t i = 0; i < record->value.count; i++) {
        if (record->value.data[i] != value_byte(record->seq, i))
            return false;
    }
    return true;
}

static void on_fatal(void *context, const char *why)
{
    (void)context;
    fprintf(stderr, "fatal: %s\n", why);
    abort();
}

void rig_init(struct rig *rig, const char *parent, uint32_t shard_count)
{
    *rig = (struct rig){.shard_count = shard_count, .values_are_right = true, .retains = true};
    (void)snprintf(rig->path, sizeof rig->path, "%s/pail-store-XXXXXX", parent);
    cr_assert(mkdtemp(rig->path) != NULL);
    rig->options = (struct store_options){
        .segment_bytes = 1 << 20,
        .cache_bytes = 4 << 20,
        .context = rig,
        .on_fatal = on_fatal,
    };
}

static void on_record(void *context, const struct record *record, location where,
                      uint32_t log_index)
{
    struct rig *rig = context;
    rig->values_are_right &= rig_value_is_right(record);
    uint32_t shard_index = shard_current()->index;
    bool is_mine = log_index % rig->shard_count == shard_index;
    if (is_mine && rig->retains && record->flags == 0)
        store_retain(rig->stores[shard_index], where);
    if (shard_index != 0)
        return;
    if ((rig->replayed_count & (rig->replayed_count - 1)) == 0)
        rig->replayed =
            realloc(rig->replayed, (2 * (size_t)rig->replayed_count + 1) * sizeof *rig->replayed);
    rig->replayed[rig->replayed_count++] = (struct rig_record){
        record->seq, where, log_index, (uint32_t)record->value.count, record->flags};
}

static void on_recovered(void *context, const struct store_recovery *recovery)
{
    struct rig *rig = context;
    rig->recovery[rig->recovered_count++] = *recovery;
}

void rig_turn(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->shard_count; i++) {
        struct shard *shard = shard_group_at(rig->group, i);
        shard_enter(shard);
        shard_stay_awake(shard); /* the other shards need this thread too */
        shard_leave(shard);
        shard_turn(shard);
    }
}

enum status rig_open(struct rig *rig)
{
    cr_assert(shard_group_create_unthreaded(rig->shard_count, &rig->group) == STATUS_OK);
    struct io *io = shard_group_at(rig->group, 0)->io;
    free(rig->replayed);
    rig->replayed = NULL;
    rig->replayed_count = 0;
    rig->recovered_count = 0;
    enum status status = store_directory_open(io, rig->path, &rig->options, rig->shard_count,
                                              &rig->directory, rig->why, sizeof rig->why);
    if (status != STATUS_OK) {
        shard_group_destroy_unthreaded(rig->group);
        return status;
    }
    for (uint32_t i = 0; i < rig->shard_count; i++) {
        struct shard *shard = shard_group_at(rig->group, i);
        shard_enter(shard);
        rig->stores[i] = store_create(shard, rig->directory, &rig->options);
        store_recover(rig->stores[i], rig, on_record, on_recovered);
        shard_leave(shard);
    }
    while (rig->recovered_count < rig->shard_count)
        rig_turn(rig);
    for (uint32_t i = 0; i < rig->shard_count; i++) {
        if (rig->recovery[i].status != STATUS_OK) {
            memcpy(rig->why, rig->recovery[i].why, sizeof rig->why);
            return rig->recovery[i].status;
        }
    }
    return STATUS_OK;
}

static void on_restate(void *context, uint32_t stream_id)
{
    struct rig *rig = context;
    rig->restated_stream = stream_id;
    struct shard *shard = shard_current();
    struct record record = {
        .type = 1, .flags = RECORD_IS_STATE, .stream_id = stream_id, .seq = 777};
    location where;
    cr_assert(store_append(rig->stores[shard->index], &record, &where, NULL) == STATUS_OK);
}

void rig_start(struct rig *rig)
{
    struct io *io = shard_group_at(rig->group, 0)->io;
    cr_assert(store_directory_commit(rig->directory, io) == STATUS_OK);
    for (uint32_t i = 0; i < rig->shard_count; i++) {
        struct shard *shard = shard_group_at(rig->group, i);
        shard_enter(shard);
        store_start(rig->stores[i], &(struct store_owner){rig, on_restate, rig->on_move});
        shard_leave(shard);
    }
}

enum status rig_begin(struct rig *rig)
{
    enum status status = rig_open(rig);
    if (status == STATUS_OK)
        rig_start(rig);
    return status;
}

static bool is_busy(struct rig *rig)
{
    bool busy = false;
    for (uint32_t i = 0; i < rig->shard_count; i++)
        busy |= store_is_busy(rig->stores[i]);
    return busy;
}

void rig_settle(struct rig *rig)
{
    rig_turn(rig);
    while (is_busy(rig))
        rig_turn(rig);
}

void rig_close(struct rig *rig)
{
    struct io *io = shard_group_at(rig->group, 0)->io;
    for (uint32_t i = 0; i < rig->shard_count; i++)
        store_stop(rig->stores[i]);
    rig_settle(rig);
    for (uint32_t i = 0; i < rig->shard_count; i++) {
        struct shard *shard = shard_group_at(rig->group, i);
        shard_enter(shard);
        store_destroy(rig->stores[i]);
        shard_leave(shard);
    }
    store_directory_close(rig->directory, io);
    shard_group_destroy_unthreaded(rig->group);
    free(rig->replayed);
    rig->replayed = NULL;
    free(value_buffer);
    value_buffer = NULL;
}

void rig_remove(struct rig *rig)
{
    char command[256];
    (void)snprintf(command, sizeof command, "rm -r '%s'", rig->path);
    cr_assert(system(command) == 0);
}

/* ---- records ---- */

static void on_counted(struct store_wait *wait)
{
    wait->on_durable = NULL;
}

static enum status append(struct rig *rig, uint32_t shard_index, const struct record *record,
                          location *where, struct store_wait *wait)
{
    struct shard *shard = shard_group_at(rig->group, shard_index);
    shard_enter(shard);
    enum status status = store_append(rig->stores[shard_index], record, where, wait);
    shard_leave(shard);
    return status;
}

location rig_append(struct rig *rig, uint32_t shard_index, uint64_t seq, uint32_t value_bytes,
                    uint8_t flags, struct store_wait *wait)
{
    if (value_buffer == NULL)
        value_buffer = malloc(RIG_VALUE_BYTES_MAX);
    for (uint32_t i = 0; i < value_bytes; i++)
        value_buffer[i] = value_byte(seq, i);
    struct record record = {
        .type = 1,
        .flags = flags,
        .stream_id = 1,
        .seq = seq,
        .time_ns = seq,
        .key = BYTES_LITERAL("a.key"),
        .value = bytes_of(value_buffer, value_bytes),
    };
    location where;
    enum status status;
    while ((status = append(rig, shard_index, &record, &where, wait)) == STATUS_BUSY)
        rig_turn(rig);
    cr_assert(status == STATUS_OK);
    return where;
}

location rig_append_durable(struct rig *rig, uint32_t shard_index, uint64_t seq,
                            uint32_t value_bytes, uint8_t flags)
{
    struct store_wait wait = {.on_durable = on_counted};
    location where = rig_append(rig, shard_index, seq, value_bytes, flags, &wait);
    while (wait.on_durable != NULL)
        rig_turn(rig);
    return where;
}

static enum status fetched_status;
static bool is_fetched;

static void on_fetched(struct store_fetch *fetch, enum status status)
{
    (void)fetch;
    fetched_status = status;
    is_fetched = true;
}

enum status rig_fetch(struct rig *rig, uint32_t shard_index, location where, uint64_t seq)
{
    struct shard *shard = shard_group_at(rig->group, shard_index);
    struct store_fetch fetch;
    is_fetched = false;
    fetched_status = STATUS_OK;
    shard_enter(shard);
    bool is_there = store_fetch(rig->stores[shard_index], where, &fetch, on_fetched);
    shard_leave(shard);
    while (!is_there && !is_fetched)
        rig_turn(rig);
    if (fetched_status != STATUS_OK)
        return fetched_status;
    cr_assert(fetch.record.seq == seq);
    cr_assert(rig_value_is_right(&fetch.record));
    shard_enter(shard);
    store_fetch_release(rig->stores[shard_index], &fetch);
    shard_leave(shard);
    return STATUS_OK;
}

void rig_release(struct rig *rig, uint32_t shard_index, location where)
{
    struct shard *shard = shard_group_at(rig->group, shard_index);
    shard_enter(shard);
    store_release(rig->stores[shard_index], where);
    shard_leave(shard);
}

void rig_retain(struct rig *rig, uint32_t shard_index, location where)
{
    struct shard *shard = shard_group_at(rig->group, shard_index);
    shard_enter(shard);
    store_retain(rig->stores[shard_index], where);
    shard_leave(shard);
}

uint32_t rig_file_count(const struct rig *rig, const char *part)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/log", rig->path);
    DIR *directory = opendir(path);
    cr_assert(directory != NULL);
    uint32_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL)
        count += strstr(entry->d_name, part) != NULL;
    (void)closedir(directory);
    return count;
}
