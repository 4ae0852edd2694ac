/*
 * kv/catalog_adopt.c: what the log says of streams: writing it, reading it at the start, writing it again.
 *
 * Owns:    of each file stream what its record says (catalog_entry). Runs on: the home shard, unless said otherwise.
 */
#include "kv/catalog_room.h"

#include "core/diag.h"
#include "kv/directory.h"
#include "kv/source_state.h"
#include "kv/stripe.h"

/* In the log, before the configuration's JSON. */
struct catalog_record {
    uint64_t created_ns;
    struct stream_past past;
};

void catalog_config_parse(struct stream_config *config, struct bytes json_text)
{
    const char *why;
    struct bytes rest;
    struct api_failure failure = {0};
    struct json *json = json_parse(json_text, &rest, &why);
    ASSERT(json != NULL); /* we wrote it */
    bool is_fine = stream_config_read(config, json, false, &failure);
    ASSERT(is_fine);
    json_free(json);
}

struct catalog_entry *catalog_entry_of(struct catalog *catalog, uint32_t id)
{
    if (id >= catalog->capacity) {
        uint32_t capacity = catalog->capacity == 0 ? 64 : catalog->capacity;
        while (capacity <= id)
            capacity *= 2;
        catalog->entries = heap_resize(catalog->kv->shard->heap, catalog->entries,
                                       capacity * sizeof *catalog->entries);
        memset(catalog->entries + catalog->capacity, 0,
               (capacity - catalog->capacity) * sizeof *catalog->entries);
        catalog->capacity = capacity;
    }
    return &catalog->entries[id];
}

/* A record names its account, for ids differ between runs; none means $G. */
static struct bytes record_account(const struct kv *kv, uint32_t account)
{
    return account == ACCOUNT_GLOBAL ? (struct bytes){0}
                                     : account_name(kv_world_options(kv->world)->accounts, account);
}

static uint32_t account_of_record(const struct kv *kv, struct bytes name)
{
    if (name.count == 0)
        return ACCOUNT_GLOBAL;
    return accounts_intern(kv_world_options(kv->world)->accounts, name);
}

enum status catalog_append(struct catalog *catalog, uint32_t id, struct store_wait *wait)
{
    struct catalog_entry *entry = catalog_entry_of(catalog, id);
    struct text value = {0};
    struct catalog_record head = {.created_ns = entry->created_ns, .past = entry->past};
    text_append(&value, bytes_of(&head, sizeof head));
    text_append(&value, text_bytes(&entry->config));
    struct record record = {
        .type = entry->is_there ? KV_RECORD_STREAM : KV_RECORD_STREAM_DELETED,
        .flags = entry->is_there ? RECORD_IS_STATE : RECORD_REMOVES,
        .stream_id = id,
        .time_ns = shard_wall_ns(catalog->kv->shard),
        .key = entry->is_there ? record_account(catalog->kv, entry->account) : (struct bytes){0},
        .value = entry->is_there ? text_bytes(&value) : (struct bytes){0},
    };
    location where;
    enum status status = store_append(catalog->kv->store, &record, &where, wait);
    text_free(&value);
    return status;
}

void catalog_replay(struct kv *kv, const struct record *record)
{
    struct catalog *catalog = kv->catalog;
    struct catalog_record head;
    if (catalog == NULL)
        return;
    struct catalog_entry *entry = catalog_entry_of(catalog, record->stream_id);
    catalog_reserve_ids(kv, record->stream_id);
    entry->is_there = record->type == KV_RECORD_STREAM && record->value.count > sizeof head;
    text_clear(&entry->config);
    if (!entry->is_there)
        return;
    memcpy(&head, record->value.data, sizeof head);
    entry->account = account_of_record(kv, record->key);
    entry->created_ns = head.created_ns;
    entry->past = head.past;
    text_append(&entry->config, bytes_after(record->value, sizeof head));
}

void catalog_reserve_ids(struct kv *kv, uint32_t id)
{
    if (kv->catalog->next_id <= id)
        kv->catalog->next_id = id + 1;
}

/* They stay, for the configuration may name their account again. */
static void say_hidden(const struct catalog *catalog)
{
    const struct accounts *accounts = kv_world_options(catalog->kv->world)->accounts;
    for (uint32_t account = 0; accounts != NULL && account < accounts_count(accounts); account++) {
        uint32_t count = 0;
        for (uint32_t id = 0; id < catalog->capacity; id++)
            count += catalog->entries[id].is_there && catalog->entries[id].account == account;
        if (count == 0 || account_has_jetstream(accounts, account))
            continue;
        struct bytes name = account_name(accounts, account);
        diag_warn("account \"%.*s\" has no JetStream, but %u %s on disk: kept, and not served",
                  (int)name.count, name.data, count, count == 1 ? "stream" : "streams");
    }
}

void catalog_adopt_all(struct kv *kv, uint64_t (*last_seq_of)(void *context, uint32_t stream_id),
                       void *context)
{
    struct catalog *catalog = kv->catalog;
    say_hidden(catalog);
    for (uint32_t id = 0; id < catalog->capacity; id++) {
        struct catalog_entry *entry = &catalog->entries[id];
        if (!entry->is_there)
            continue;
        struct stream_config config = {0};
        catalog_config_parse(&config, text_bytes(&entry->config));
        uint64_t next = last_seq_of(context, id) + 1;
        if (next < config.first_seq)
            next = config.first_seq;
        stream_config_free(&config);
        entry->trimmed_upto = next - 1;
        struct order *order = heap_alloc_aligned(kv->shard->heap, sizeof *order, 64);
        order_init(order, next);
        for (uint32_t i = 0; i < kv->shard->count; i++) {
            struct step_message *message = mailbox_reserve(
                kv->shard, i, catalog_on_step, (uint32_t)(sizeof *message + entry->config.count));
            *message = (struct step_message){NULL, order,          entry->created_ns, entry->past,
                                             id,   entry->account, STEP_ADOPT};
            memcpy(message + 1, entry->config.data, entry->config.count);
        }
    }
}

/* Where the log takes no more, the store asks again. */
void catalog_restate(struct kv *kv, uint32_t stream_id)
{
    struct stream *stream = stream_by_id(&kv->streams, stream_id);
    enum status status = STATUS_OK;
    if (stream == NULL)
        return;
    if (kv->catalog != NULL && catalog_entry_of(kv->catalog, stream_id)->config.count > 0)
        status = catalog_append(kv->catalog, stream_id, NULL);
    if (status == STATUS_OK && kv->catalog != NULL)
        status = directory_restate(kv, stream_id);
    if (stream->stripe == NULL || stream->is_memory)
        return;
    stream->stripe->evicted_stated = 0; /* it may be among what is to be said again */
    if (status == STATUS_OK)
        status = stripe_state_evictions(stream->stripe);
    if (status == STATUS_OK)
        status = stripe_write_state(stream->stripe, NULL);
    if (status == STATUS_OK)
        (void)!source_state_write(stream);
}
