/*
 * tests/sim/store_model.c: what stores were told, and whether what they bring back after a crash agrees with it.
 */
#include "tests/sim/store_model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t model_seed;

void model_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "TEST_SEED=%" PRIu64 ": ", model_seed);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

#define CHECK(condition, ...)        \
    do {                             \
        if (!(condition))            \
            model_fail(__VA_ARGS__); \
    } while (0)

void model_free(struct model *model)
{
    for (uint32_t run = 0; run < MODEL_RUNS_MAX; run++) {
        for (uint32_t shard = 0; shard < MODEL_SHARDS_MAX; shard++)
            free(model->logs[run][shard].entries);
    }
    memset(model, 0, sizeof *model);
}

void model_begin_run(struct model *model, uint32_t shard_count)
{
    model->run++;
    CHECK(model->run < MODEL_RUNS_MAX, "too many runs");
    model->shard_count = shard_count;
    memset(model->found_keys, 0, sizeof model->found_keys);
    memset(model->found_states, 0, sizeof model->found_states);
    memset(model->position_last, 0, sizeof model->position_last);
    for (uint32_t run = 0; run < model->run; run++) {
        for (uint32_t shard = 0; shard < MODEL_SHARDS_MAX; shard++) {
            struct model_log *log = &model->logs[run][shard];
            for (uint64_t i = 0; i < log->count; i++)
                log->entries[i].seen_by = 0;
        }
    }
}

/* ---- records ---- */

static char value_byte(uint64_t seq, uint64_t index)
{
    return (char)((seq + index) * 37 + (index >> 8));
}

static const char *value_of(uint64_t seq, uint32_t bytes)
{
    static char buffer[4 << 20];
    for (uint32_t i = 0; i < bytes; i++)
        buffer[i] = value_byte(seq, i);
    return buffer;
}

static const char *key_text(uint32_t number)
{
    static char text[32];
    (void)snprintf(text, sizeof text, "key.%u", number);
    return text;
}

uint32_t model_number(const struct record *record)
{
    uint32_t number = 0;
    for (size_t i = 4; i < record->key.count; i++)
        number = 10 * number + (uint32_t)(record->key.data[i] - '0');
    CHECK(number < MODEL_KEYS, "no key of ours");
    return number;
}

static uint8_t flags_of(enum model_type type)
{
    return type == MODEL_REMOVE ? RECORD_REMOVES : type == MODEL_STATE ? RECORD_IS_STATE : 0;
}

struct record model_record(struct model *model, uint32_t shard, enum model_type type,
                           uint32_t number, uint32_t value_bytes)
{
    struct model_key *key = type == MODEL_STATE ? &model->states[number] : &model->keys[number];
    uint64_t seq = model->seq_next + 1;
    return (struct record){
        .type = (uint8_t)type,
        .flags = flags_of(type),
        .stream_id = type == MODEL_STATE ? 100 + number : 1,
        .seq = seq,
        .time_ns = model->run,
        .term = key->version_next + 1,
        .log_index = model->logs[model->run][shard].count + 1,
        .key = bytes_of_text(key_text(number)),
        .value = bytes_of(value_of(seq, value_bytes), value_bytes),
    };
}

void model_appended(struct model *model, uint32_t shard, const struct record *record,
                    location where, uint32_t *position_out)
{
    struct model_log *log = &model->logs[model->run][shard];
    if ((log->count & (log->count - 1)) == 0)
        log->entries = realloc(log->entries, (2 * log->count + 1) * sizeof *log->entries);
    uint32_t number = model_number(record);
    log->entries[log->count] = (struct model_entry){
        .seq = record->seq,
        .version = record->term,
        .number = number,
        .value_bytes = (uint32_t)record->value.count,
        .type = (enum model_type)record->type,
    };
    *position_out = (uint32_t)++log->count;
    model->seq_next = record->seq;
    struct model_key *key =
        record->type == MODEL_STATE ? &model->states[number] : &model->keys[number];
    if (record->term > key->version_next)
        key->version_next = record->term;
    key->version = record->term;
    key->is_put = record->type == MODEL_PUT;
    key->where = where;
}

struct model_entry *model_entry_at(struct model *model, uint32_t run, uint32_t shard,
                                   uint32_t position)
{
    struct model_log *log = &model->logs[run][shard];
    CHECK(position >= 1 && position <= log->count, "no such record was appended");
    return &log->entries[position - 1];
}

static bool value_is_right(const struct record *record)
{
    for (uint64_t i = 0; i < record->value.count; i++) {
        if (record->value.data[i] != value_byte(record->seq, i))
            return false;
    }
    return true;
}

void model_check_record(struct model *model, const struct record *record)
{
    (void)model;
    CHECK(value_is_right(record), "record %" PRIu64 " has wrong bytes", record->seq);
}

/* ---- recovery ---- */

static void find_newest(struct model_key *found, const struct record *record, location where)
{
    if (record->term < found->version)
        return;
    if (record->term == found->version && record->type != MODEL_STATE
        && (record->flags & RECORD_IS_MOVED) == 0)
        model_fail("version %" PRIu64 " came twice", record->term);
    found->version = record->term;
    found->is_put = record->type == MODEL_PUT;
    found->where = where;
}

void model_recovery_record(struct model *model, uint32_t store, const struct record *record,
                           location where, uint32_t log_index)
{
    uint64_t run = record->time_ns;
    CHECK(run >= 1 && run < model->run, "a record of run %" PRIu64 " in run %u", run, model->run);
    CHECK(log_index < MODEL_SHARDS_MAX, "log %u", log_index);
    uint64_t *last = &model->position_last[store][run][log_index];
    uint64_t position = record->log_index;
    CHECK(position > *last, "run %" PRIu64 " log %u: position %" PRIu64 " after %" PRIu64, run,
          log_index, position, *last);
    *last = position;
    struct model_entry *entry = model_entry_at(model, (uint32_t)run, log_index, (uint32_t)position);
    CHECK(entry->seq == record->seq && entry->version == record->term
              && entry->type == (enum model_type)record->type
              && entry->value_bytes == record->value.count,
          "run %" PRIu64 " log %u position %" PRIu64 " is another record", run, log_index,
          position);
    CHECK((record->flags & ~RECORD_IS_MOVED) == flags_of(entry->type), "other flags");
    CHECK(!entry->is_gone, "record %" PRIu64 " was gone and is back", record->seq);
    model_check_record(model, record);
    entry->seen_by |= 1u << store;

    if (entry->type == MODEL_STATE) {
        if (entry->number % model->shard_count == store)
            find_newest(&model->found_states[entry->number], record, where);
    } else if (entry->number % model->shard_count == store) {
        find_newest(&model->found_keys[entry->number], record, where);
    }
}

static void check_log(struct model *model, uint32_t run, uint32_t shard, uint32_t viewers,
                      bool forgets_acks)
{
    struct model_log *log = &model->logs[run][shard];
    uint64_t seen_last = 0;
    for (uint64_t i = 0; i < log->count; i++) {
        struct model_entry *entry = &log->entries[i];
        CHECK(entry->seen_by == 0 || entry->seen_by == viewers,
              "record %" PRIu64 " was seen by %x, not by %x", entry->seq, entry->seen_by, viewers);
        if (entry->seen_by != 0)
            seen_last = i + 1;
    }
    for (uint64_t i = 0; i < log->count; i++) {
        struct model_entry *entry = &log->entries[i];
        if (entry->seen_by != 0 || entry->is_gone)
            continue;
        bool may_be_recycled = entry->is_released || entry->type == MODEL_STATE;
        CHECK(may_be_recycled || i >= seen_last,
              "run %u log %u: record %" PRIu64 " is missing before others", run, shard, entry->seq);
        CHECK(may_be_recycled || forgets_acks || !entry->is_acked,
              "run %u log %u: acknowledged record %" PRIu64 " (type %d number %u version %" PRIu64
              ", position %" PRIu64 " of %" PRIu64 ", seen to %" PRIu64 ") is lost",
              run, shard, entry->seq, (int)entry->type, entry->number, entry->version, i + 1,
              log->count, seen_last);
        entry->is_gone = true;
    }
}

static void adopt(struct model_key *key, const struct model_key *found, bool forgets_acks,
                  const char *what, uint32_t number)
{
    if (found->version == 0 && key->is_removal_acked) {
        key->version = key->version_acked; /* the removal went with all that it removed */
        key->is_put = false;
        return;
    }
    CHECK(forgets_acks || found->version >= key->version_acked,
          "%s %u: version %" PRIu64 " came back, %" PRIu64 " was acknowledged", what, number,
          found->version, key->version_acked);
    CHECK(found->version <= key->version_next, "%s %u: unknown version", what, number);
    key->version = key->version_acked = found->version;
    key->is_removal_acked = !found->is_put && found->version != 0;
    key->is_put = found->is_put;
    key->where = found->where;
}

void model_recovery_done(struct model *model, bool reads_all, bool forgets_acks)
{
    uint32_t all = (1u << model->shard_count) - 1;
    for (uint32_t run = 1; run < model->run; run++) {
        for (uint32_t shard = 0; shard < MODEL_SHARDS_MAX; shard++)
            check_log(model, run, shard, reads_all ? all : 1u << shard, forgets_acks);
    }
    for (uint32_t i = 0; i < MODEL_KEYS; i++)
        adopt(&model->keys[i], &model->found_keys[i], forgets_acks, "key", i);
    for (uint32_t i = 0; i < MODEL_STATES; i++) {
        model->found_states[i].is_put = true;
        adopt(&model->states[i], &model->found_states[i], forgets_acks, "state", i);
    }
}
