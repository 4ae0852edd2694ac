/*
 * kv/stream.c: streams of one shard, and the table that finds them.
 */
#include "kv/stream.h"

#include "core/hash.h"
#include "core/subject.h"
#include "kv/feed.h"
#include "kv/room.h"
#include "kv/source_state.h"
#include "kv/stream_source_config.h"
#include "kv/stripe.h"
#include "kv/subject_map.h"

/* ---- the table ---- */

void stream_table_fini(struct stream_table *table)
{
    for (uint32_t i = 0; i < table->by_id_capacity; i++) {
        if (table->by_id[i] != NULL)
            stream_destroy(table->by_id[i]);
    }
    heap_free(table->by_id);
    heap_free(table->by_name);
    heap_free(table->by_bucket);
    heap_free(table->others);
    *table = (struct stream_table){0};
}

static void table_rehash(struct stream_table *table, struct heap *heap, uint32_t chain_count)
{
    heap_free(table->by_name);
    heap_free(table->by_bucket);
    table->by_name = heap_alloc_zeroed(heap, chain_count * sizeof(struct stream *));
    table->by_bucket = heap_alloc_zeroed(heap, chain_count * sizeof(struct stream *));
    table->chain_count = chain_count;
    for (uint32_t i = 0; i < table->by_id_capacity; i++) {
        struct stream *stream = table->by_id[i];
        if (stream == NULL)
            continue;
        struct stream **chain = &table->by_name[stream->name_hash & (chain_count - 1)];
        stream->name_next = *chain;
        *chain = stream;
        chain = &table->by_bucket[stream->bucket_hash & (chain_count - 1)];
        if (stream->prefix.count > 0) {
            stream->bucket_next = *chain;
            *chain = stream;
        }
    }
}

static void table_grow_ids(struct stream_table *table, struct heap *heap, uint32_t id)
{
    if (id < table->by_id_capacity)
        return;
    uint32_t capacity = table->by_id_capacity == 0 ? 64 : table->by_id_capacity;
    while (capacity <= id)
        capacity *= 2;
    table->by_id = heap_resize(heap, table->by_id, capacity * sizeof(struct stream *));
    memset(table->by_id + table->by_id_capacity, 0,
           (capacity - table->by_id_capacity) * sizeof(struct stream *));
    table->by_id_capacity = capacity;
}

static void table_add_other(struct stream_table *table, struct heap *heap, struct stream *stream)
{
    if (table->other_count == table->other_capacity) {
        table->other_capacity = table->other_capacity == 0 ? 16 : 2 * table->other_capacity;
        table->others =
            heap_resize(heap, table->others, table->other_capacity * sizeof(struct stream *));
    }
    table->others[table->other_count++] = stream;
}

static void table_remove_other(struct stream_table *table, const struct stream *stream)
{
    for (uint32_t i = 0; i < table->other_count; i++) {
        if (table->others[i] == stream) {
            table->others[i] = table->others[--table->other_count];
            return;
        }
    }
}

static void table_add(struct stream_table *table, struct heap *heap, struct stream *stream)
{
    table_grow_ids(table, heap, stream->id);
    ASSERT(table->by_id[stream->id] == NULL);
    table->by_id[stream->id] = stream;
    table->count++;
    if (stream->prefix.count == 0)
        table_add_other(table, heap, stream);
    uint32_t wanted = table->chain_count == 0 ? 64 : table->chain_count;
    if (table->count > wanted)
        wanted *= 2;
    table_rehash(table, heap, wanted);
}

static void table_remove(struct stream_table *table, struct heap *heap, struct stream *stream)
{
    table->by_id[stream->id] = NULL;
    table->count--;
    table_remove_other(table, stream);
    table_rehash(table, heap, table->chain_count);
}

struct stream *stream_by_id(const struct stream_table *table, uint32_t id)
{
    return id < table->by_id_capacity ? table->by_id[id] : NULL;
}

/* Names and subjects of two accounts have nothing to do with each other. */
static uint64_t hash_in_account(uint32_t account, struct bytes bytes)
{
    return hash_bytes(bytes.data, bytes.count) ^ (account * UINT64_C(0x9E3779B97F4A7C15));
}

struct stream *stream_by_name(const struct stream_table *table, uint32_t account, struct bytes name)
{
    if (table->chain_count == 0)
        return NULL;
    uint64_t hash = hash_in_account(account, name);
    struct stream *stream = table->by_name[hash & (table->chain_count - 1)];
    while (stream != NULL
           && (stream->name_hash != hash || stream->account != account
               || !bytes_equal(text_bytes(&stream->config.name), name)))
        stream = stream->name_next;
    return stream;
}

static struct stream *bucket_by_subject(const struct stream_table *table, uint32_t account,
                                        struct bytes subject)
{
    struct bytes rest = bytes_after(subject, 4);
    const char *dot = rest.count == 0 ? NULL : memchr(rest.data, '.', rest.count);
    if (dot == NULL || table->chain_count == 0)
        return NULL;
    size_t bucket_bytes = (size_t)(dot - rest.data);
    if (bucket_bytes == 0 || bucket_bytes + 1 == rest.count)
        return NULL;
    uint64_t hash = hash_in_account(account, bytes_of(rest.data, bucket_bytes));
    struct stream *stream = table->by_bucket[hash & (table->chain_count - 1)];
    while (stream != NULL
           && (stream->bucket_hash != hash || stream->account != account
               || !bytes_start_with(subject, stream->prefix)))
        stream = stream->bucket_next;
    return stream;
}

static bool stream_captures(const struct stream *stream, struct bytes subject)
{
    for (uint32_t i = 0; i < stream->config.subject_count; i++) {
        if (subject_matches(text_bytes(&stream->config.subjects[i]), subject))
            return true;
    }
    return false;
}

struct stream *stream_by_subject(const struct stream_table *table, uint32_t account,
                                 struct bytes subject)
{
    if (bytes_start_with(subject, BYTES_LITERAL("$KV."))) {
        struct stream *bucket = bucket_by_subject(table, account, subject);
        if (bucket != NULL)
            return bucket->is_visible && subject_is_publishable(subject) ? bucket : NULL;
    }
    for (uint32_t i = 0; i < table->other_count; i++) {
        struct stream *stream = table->others[i];
        if (stream->is_visible && stream->account == account && stream_captures(stream, subject)
            && subject_is_publishable(subject))
            return stream;
    }
    return NULL;
}

static bool configs_collide(const struct stream_config *a, const struct stream_config *b)
{
    for (uint32_t i = 0; i < a->subject_count; i++) {
        for (uint32_t j = 0; j < b->subject_count; j++) {
            if (subjects_collide(text_bytes(&a->subjects[i]), text_bytes(&b->subjects[j])))
                return true;
        }
    }
    return false;
}

struct stream *stream_overlap(const struct stream_table *table, uint32_t account,
                              const struct stream_config *config)
{
    for (uint32_t i = 0; i < table->by_id_capacity; i++) {
        struct stream *stream = table->by_id[i];
        if (stream != NULL && stream->account == account
            && !bytes_equal(text_bytes(&stream->config.name), text_bytes(&config->name))
            && configs_collide(&stream->config, config))
            return stream;
    }
    return NULL;
}

/* ---- one stream ---- */

static void compile(struct subject_map **map, const struct transform_config *transform)
{
    subject_map_free(*map);
    *map = NULL;
    if (transform == NULL)
        return;
    struct text why = {0};
    bool is_fine = subject_map_create(map, text_bytes(&transform->source),
                                      text_bytes(&transform->destination), &why);
    ASSERT(is_fine); /* it was checked */
    text_free(&why);
}

static void stream_compile_maps(struct stream *stream)
{
    const struct stream_config *config = &stream->config;
    compile(&stream->transform, config->transform);
    compile(&stream->republish, config->republish == NULL ? NULL : &config->republish->transform);
}

static void stream_name_things(struct stream *stream)
{
    struct bytes name = text_bytes(&stream->config.name);
    struct bytes bucket =
        stream->has_whole_keys ? (struct bytes){0} : stream_config_bucket(&stream->config);
    stream_compile_maps(stream);
    stream->name_hash = hash_in_account(stream->account, name);
    stream->bucket_hash = hash_in_account(stream->account, bucket);
    text_clear(&stream->prefix_text);
    if (bucket.count > 0) {
        text_append_literal(&stream->prefix_text, "$KV.");
        text_append(&stream->prefix_text, bucket);
        text_append_literal(&stream->prefix_text, ".");
    }
    stream->prefix = text_bytes(&stream->prefix_text);
    text_clear(&stream->ack_prefix);
    text_append_literal(&stream->ack_prefix, "{\"stream\":\"");
    text_append(&stream->ack_prefix, name);
    text_append_literal(&stream->ack_prefix, "\",\"seq\":");
}

struct stream *stream_create(struct kv *kv, uint32_t id, uint32_t account,
                             struct stream_config *config, uint64_t created_ns,
                             uint32_t stripe_count, bool has_whole_keys, struct order *order)
{
    ASSERT(stripe_count >= 1);
    ASSERT(stripe_count <= kv->shard->count);
    struct stream *stream = heap_alloc_zeroed(kv->shard->heap, sizeof *stream);
    stream->kv = kv;
    stream->id = id;
    stream->account = account;
    stream->stripe_count = stripe_count;
    stream->config = *config;
    *config = (struct stream_config){0};
    stream->created_ns = created_ns;
    stream->is_memory = stream->config.storage == STREAM_STORAGE_MEMORY;
    stream->order = order;
    stream->has_whole_keys = has_whole_keys;
    stream_name_things(stream);
    for (uint32_t i = 0; i < stripe_count && stream->stripe == NULL; i++) {
        if (stripe_shard(stream, i) == kv->shard->index)
            stream->stripe = stripe_create(stream);
    }
    table_add(&kv->streams, kv->shard->heap, stream);
    return stream;
}

struct stream *stream_create_recovering(struct kv *kv, uint32_t id, bool is_bucket, bool is_striped,
                                        struct bytes subject)
{
    struct stream *stream = heap_alloc_zeroed(kv->shard->heap, sizeof *stream);
    stream->kv = kv;
    stream->id = id;
    stream->is_striped = is_striped;
    stream->stripe_count = is_striped ? kv->shard->count : 1;
    if (is_bucket) {
        const char *dot = memchr(subject.data + 4, '.', subject.count - 4);
        ASSERT(dot != NULL); /* we wrote the flag only for such subjects */
        text_append(&stream->prefix_text, bytes_of(subject.data, (size_t)(dot + 1 - subject.data)));
        stream->prefix = text_bytes(&stream->prefix_text);
    }
    stream->stripe = stripe_create(stream);
    table_add(&kv->streams, kv->shard->heap, stream);
    return stream;
}

void stream_adopt(struct stream *stream, uint32_t account, struct stream_config *config,
                  uint64_t created_ns, bool has_whole_keys, struct order *order)
{
    struct stream_table *table = &stream->kv->streams;
    table_remove(table, stream->kv->shard->heap, stream);
    stream->account = account;
    stream_config_free(&stream->config);
    stream->config = *config;
    *config = (struct stream_config){0};
    stream->created_ns = created_ns;
    stream->order = order;
    stream->has_whole_keys = has_whole_keys;
    stream_name_things(stream);
    table_add(table, stream->kv->shard->heap, stream);
}

static void unlink_stream(struct stream **head, struct stream *stream, size_t link_offset)
{
    for (struct stream **link = head; *link != NULL;
         link = (struct stream **)((char *)*link + link_offset)) {
        if (*link == stream) {
            *link = *(struct stream **)((char *)stream + link_offset);
            return;
        }
    }
}

void stream_destroy(struct stream *stream)
{
    struct kv *kv = stream->kv;
    if (stream_by_id(&kv->streams, stream->id) == stream && kv->streams.chain_count > 0)
        table_remove(&kv->streams, kv->shard->heap, stream);
    unlink_stream(&kv->routed_head, stream, offsetof(struct stream, routed_next));
    unlink_stream(&kv->nudged_head, stream, offsetof(struct stream, nudged_next));
    if (stream->feed != NULL)
        feed_destroy(stream->feed);
    if (stream->stripe != NULL)
        stripe_destroy(stream->stripe);
    source_state_free(stream);
    taken_free(&stream->taken);
    subject_map_free(stream->transform);
    subject_map_free(stream->republish);
    text_free(&stream->prefix_text);
    text_free(&stream->ack_prefix);
    stream_config_free(&stream->config);
    heap_free(stream);
}

void stream_reconfigure(struct stream *stream, struct stream_config *config)
{
    stream_config_free(&stream->config);
    stream->config = *config;
    *config = (struct stream_config){0};
    stream_compile_maps(stream);
}

struct bytes stream_transform(const struct stream *stream, struct bytes subject, struct text *room)
{
    if (stream->transform == NULL)
        return subject;
    text_clear(room);
    bool is_mapped =
        subject_map_apply(stream->transform, subject, io_random(stream->kv->shard->io), room);
    bool is_subject =
        is_mapped && room->count < RECORD_KEY_BYTES_MAX && subject_is_publishable(text_bytes(room));
    return is_subject ? text_bytes(room) : subject;
}

uint32_t stripe_of_key(uint32_t stripe_count, struct bytes key)
{
    return stripe_count == 1 ? 0 : crc32c(0, key.data, key.count) % stripe_count;
}

uint32_t stripe_shard(const struct stream *stream, uint32_t stripe)
{
    return (stream->id + stripe) % stream->kv->shard->count;
}

struct bytes stream_key_of(const struct stream *stream, struct bytes subject, char *room)
{
    if (stream->prefix.count == 0)
        return subject;
    if (bytes_start_with(subject, stream->prefix))
        return bytes_after(subject, stream->prefix.count);
    room[0] = '.';
    memcpy(room + 1, subject.data, subject.count);
    return bytes_of(room, subject.count + 1);
}

struct bytes stream_subject_of(const struct stream *stream, struct bytes key, char *room)
{
    if (stream->prefix.count == 0)
        return key;
    if (key.count > 0 && key.data[0] == '.')
        return bytes_after(key, 1);
    memcpy(room, stream->prefix.data, stream->prefix.count);
    memcpy(room + stream->prefix.count, key.data, key.count);
    return bytes_of(room, stream->prefix.count + key.count);
}
