/*
 * kv/directory.c: names of consumers, on the home shard.
 */
#include "kv/directory.h"

#include "core/hash.h"
#include "kv/account.h"
#include "kv/consumer.h"

struct directory_entry {
    struct directory_entry *next;
    uint64_t hash;
    uint32_t stream_id, shard;
    bool is_kept; /* it has a record */
    struct consumer_past past;
    struct text config; /* owns; of a kept one */
    uint32_t name_bytes;
    char name[];
};

struct directory {
    struct directory_entry **chains; /* owns */
    uint32_t chain_count, count;
};

struct directory_question { /* then the name, then the configuration of one to be kept */
    struct gather *gather;
    uint32_t stream_id, name_bytes;
    uint32_t config_bytes, padding;
    uint64_t limit; /* of the stream's consumers; 0: only look */
    struct consumer_past past;
};

struct directory_answer {
    uint32_t result, shard;
};

struct directory_work {
    struct directory_answer answer;
    void (*on_done)(struct request *request, enum directory_result result, uint32_t shard);
};

static uint64_t entry_hash(uint32_t stream_id, struct bytes name)
{
    return hash_bytes(name.data, name.count) ^ (stream_id * UINT64_C(0x9E3779B97F4A7C15));
}

static struct directory_entry **directory_link(struct directory *directory, uint32_t stream_id,
                                               struct bytes name)
{
    uint64_t hash = entry_hash(stream_id, name);
    struct directory_entry **link = &directory->chains[hash & (directory->chain_count - 1)];
    while (*link != NULL
           && ((*link)->hash != hash || (*link)->stream_id != stream_id
               || !bytes_equal(bytes_of((*link)->name, (*link)->name_bytes), name)))
        link = &(*link)->next;
    return link;
}

static struct directory *directory_of(struct kv *kv)
{
    if (kv->directory == NULL) {
        kv->directory = heap_alloc_zeroed(kv->shard->heap, sizeof *kv->directory);
        kv->directory->chain_count = 1024;
        kv->directory->chains =
            heap_alloc_zeroed(kv->shard->heap, 1024 * sizeof(struct directory_entry *));
    }
    return kv->directory;
}

static void directory_grow(struct directory *directory, struct heap *heap)
{
    uint32_t chain_count = 2 * directory->chain_count;
    struct directory_entry **chains =
        heap_alloc_zeroed(heap, chain_count * sizeof(struct directory_entry *));
    for (uint32_t i = 0; i < directory->chain_count; i++) {
        while (directory->chains[i] != NULL) {
            struct directory_entry *entry = directory->chains[i];
            directory->chains[i] = entry->next;
            entry->next = chains[entry->hash & (chain_count - 1)];
            chains[entry->hash & (chain_count - 1)] = entry;
        }
    }
    heap_free(directory->chains);
    directory->chains = chains;
    directory->chain_count = chain_count;
}

static struct directory_entry *directory_add(struct kv *kv, struct stream *stream,
                                             struct bytes name, uint32_t shard)
{
    struct directory *directory = directory_of(kv);
    if (directory->count >= directory->chain_count)
        directory_grow(directory, kv->shard->heap);
    struct directory_entry *entry = heap_alloc_zeroed(kv->shard->heap, sizeof *entry + name.count);
    entry->hash = entry_hash(stream->id, name);
    entry->stream_id = stream->id;
    entry->shard = shard;
    entry->name_bytes = (uint32_t)name.count;
    memcpy(entry->name, name.data, name.count);
    *directory_link(directory, stream->id, name) = entry;
    directory->count++;
    stream->directory_count++;
    return entry;
}

/* ---- records, in the home shard's log ---- */

static enum status entry_append(struct kv *kv, const struct directory_entry *entry, uint8_t type,
                                struct store_wait *wait)
{
    struct text value = {0};
    location where;
    struct record record = {
        .type = type,
        /* A deletion too: were it RECORD_REMOVES, each watch that ends would pin a segment. At worst a consumer comes back
         * that nobody subscribes to, and goes after its threshold. */
        .flags = RECORD_IS_STATE,
        .stream_id = entry->stream_id,
        .time_ns = shard_wall_ns(kv->shard),
        .key = bytes_of(entry->name, entry->name_bytes),
    };
    if (type == KV_RECORD_CONSUMER) {
        text_append(&value, bytes_of(&entry->past, sizeof entry->past));
        text_append(&value, text_bytes(&entry->config));
        record.value = text_bytes(&value);
    }
    enum status status = store_append(kv->store, &record, &where, wait);
    text_free(&value);
    return status;
}

/* An answer that waits until a record is durable. */
struct entry_wait {
    struct store_wait wait;
    struct kv *kv;
    struct gather *gather;
    struct directory_entry *entry; /* of a deletion: owns, and the record says it is gone */
    struct directory_answer answer;
    uint32_t to, stream_id;
    uint8_t type;
    struct text name;
};

static void entry_wait_answer(struct store_wait *wait)
{
    struct entry_wait *waiting = CONTAINER_OF(wait, struct entry_wait, wait);
    if (waiting->gather != NULL)
        *(struct directory_answer *)gather_answer(waiting->kv->shard, waiting->gather, waiting->to,
                                                  sizeof waiting->answer) = waiting->answer;
    if (waiting->entry != NULL) {
        text_free(&waiting->entry->config);
        heap_free(waiting->entry);
    }
    text_free(&waiting->name);
    heap_free(waiting);
}

static void entry_wait_try(struct store_wait *wait)
{
    struct entry_wait *waiting = CONTAINER_OF(wait, struct entry_wait, wait);
    struct directory_entry *entry =
        waiting->entry != NULL ? waiting->entry
                               : *directory_link(waiting->kv->directory, waiting->stream_id,
                                                 text_bytes(&waiting->name));
    wait->on_durable = entry_wait_answer;
    if (entry == NULL) { /* gone again while the log had no room */
        entry_wait_answer(wait);
        return;
    }
    if (entry_append(waiting->kv, entry, waiting->type, wait) == STATUS_OK)
        return;
    wait->on_durable = entry_wait_try;
    store_wait_room(waiting->kv->store, wait);
}

static struct entry_wait *entry_wait_create(struct kv *kv, struct gather *gather, uint32_t to,
                                            uint8_t type)
{
    struct entry_wait *waiting = heap_alloc_zeroed(kv->shard->heap, sizeof *waiting);
    waiting->kv = kv;
    waiting->gather = gather;
    waiting->to = to;
    waiting->type = type;
    return waiting;
}

static bool entry_has_room(struct kv *kv, const struct directory_question *question)
{
    struct record record = {
        .key = {NULL, question->name_bytes},
        .value = {NULL, sizeof question->past + question->config_bytes},
    };
    return question->config_bytes == 0 || store_has_room(kv->store, record_bytes(&record));
}

/* True: the answer waits for the record. */
static bool directory_claim(struct kv *kv, struct stream *stream,
                            const struct directory_question *question, struct bytes name,
                            uint32_t from)
{
    struct directory_entry *entry = directory_add(kv, stream, name, from);
    if (question->config_bytes == 0)
        return false;
    entry->is_kept = true;
    entry->past = question->past;
    text_append(&entry->config, bytes_of(name.data + name.count, question->config_bytes));
    struct entry_wait *waiting = entry_wait_create(kv, question->gather, from, KV_RECORD_CONSUMER);
    waiting->answer = (struct directory_answer){DIRECTORY_CLAIMED, from};
    waiting->stream_id = stream->id;
    text_append(&waiting->name, name);
    entry_wait_try(&waiting->wait);
    return true;
}

static void directory_on_question(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct directory_question *question = payload;
    struct kv *kv = kv_of(shard);
    struct bytes name = bytes_of(question + 1, question->name_bytes);
    struct stream *stream = stream_by_id(&kv->streams, question->stream_id);
    struct directory_entry *entry = *directory_link(directory_of(kv), question->stream_id, name);
    struct directory_answer answer = {DIRECTORY_ABSENT, from};
    if (entry != NULL) {
        answer = (struct directory_answer){DIRECTORY_FOUND, entry->shard};
    } else if (question->limit > 0 && stream != NULL) {
        answer.result =
            stream->directory_count >= question->limit ? DIRECTORY_FULL : DIRECTORY_CLAIMED;
        if (answer.result == DIRECTORY_CLAIMED && !entry_has_room(kv, question))
            answer.result = DIRECTORY_NO_SPACE;
        if (answer.result == DIRECTORY_CLAIMED && directory_claim(kv, stream, question, name, from))
            return; /* answered when its record is durable */
    }
    *(struct directory_answer *)gather_answer(shard, question->gather, from, sizeof answer) =
        answer;
}

static void directory_on_part(struct gather *gather, const void *payload, uint32_t bytes,
                              uint32_t from)
{
    (void)bytes;
    (void)from;
    struct directory_work *work = CONTAINER_OF(gather, struct request, gather)->work;
    work->answer = *(const struct directory_answer *)payload;
}

static void directory_on_done(struct gather *gather)
{
    struct request *request = CONTAINER_OF(gather, struct request, gather);
    struct directory_work work = *(struct directory_work *)request->work;
    heap_free(request->work);
    request->work = NULL;
    work.on_done(request, work.answer.result, work.answer.shard);
}

void directory_ask(struct request *request, struct stream *stream, bool is_claim,
                   const struct consumer_past *past, struct bytes config_json,
                   void (*on_done)(struct request *request, enum directory_result result,
                                   uint32_t shard))
{
    struct directory_work *work = heap_alloc_zeroed(request->kv->shard->heap, sizeof *work);
    ASSERT(request->work == NULL);
    work->on_done = on_done;
    request->work = work;
    request->gather = (struct gather){.on_part = directory_on_part, .on_done = directory_on_done};
    int64_t limit =
        stream->config.consumers_max > 0 ? stream->config.consumers_max : CONSUMERS_PER_STREAM_MAX;
    int64_t most = account_limits(request->kv, stream->account).consumers_max;
    if (most > 0 && most < limit)
        limit = most;
    struct directory_question *question =
        gather_ask(request->kv, &request->gather, KV_HOME_SHARD, directory_on_question,
                   (uint32_t)(sizeof *question + request->name.count + config_json.count));
    question->stream_id = stream->id;
    question->name_bytes = (uint32_t)request->name.count;
    question->config_bytes = (uint32_t)config_json.count;
    question->limit = is_claim ? (uint64_t)limit : 0;
    question->past = past == NULL ? (struct consumer_past){0} : *past;
    memcpy(question + 1, request->name.data, request->name.count);
    if (config_json.count > 0)
        memcpy((char *)(question + 1) + request->name.count, config_json.data, config_json.count);
}

/* Takes the entry out; it is the caller's then. */
static struct directory_entry *directory_take(struct kv *kv, struct directory_entry **link)
{
    struct directory_entry *entry = *link;
    struct stream *stream = stream_by_id(&kv->streams, entry->stream_id);
    if (stream != NULL)
        stream->directory_count--;
    *link = entry->next;
    kv->directory->count--;
    return entry;
}

static void directory_remove(struct kv *kv, struct directory_entry **link)
{
    struct directory_entry *entry = directory_take(kv, link);
    text_free(&entry->config);
    heap_free(entry);
}

static void directory_on_forget(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct directory_question *question = payload;
    struct kv *kv = kv_of(shard);
    struct directory_entry **link = directory_link(directory_of(kv), question->stream_id,
                                                   bytes_of(question + 1, question->name_bytes));
    struct entry_wait *waiting =
        entry_wait_create(kv, question->gather, from, KV_RECORD_CONSUMER_DELETED);
    bool is_kept = *link != NULL && (*link)->is_kept;
    if (*link != NULL)
        waiting->entry = directory_take(kv, link);
    if (is_kept)
        entry_wait_try(&waiting->wait);
    else
        entry_wait_answer(&waiting->wait);
}

static void forget_send(struct stream *stream, struct bytes name, struct gather *gather)
{
    uint32_t bytes = (uint32_t)(sizeof(struct directory_question) + name.count);
    struct directory_question *question =
        gather != NULL
            ? gather_ask(stream->kv, gather, KV_HOME_SHARD, directory_on_forget, bytes)
            : mailbox_reserve(stream->kv->shard, KV_HOME_SHARD, directory_on_forget, bytes);
    *question = (struct directory_question){
        .gather = gather, .stream_id = stream->id, .name_bytes = (uint32_t)name.count};
    memcpy(question + 1, name.data, name.count);
}

void directory_forget(struct stream *stream, struct bytes name)
{
    forget_send(stream, name, NULL);
}

static void forget_on_part(struct gather *gather, const void *part, uint32_t bytes, uint32_t from)
{
    (void)gather;
    (void)part;
    (void)bytes;
    (void)from;
}

static void forget_on_done(struct gather *gather)
{
    request_succeed(CONTAINER_OF(gather, struct request, gather));
}

void directory_forget_and_answer(struct request *request, struct stream *stream)
{
    request->gather = (struct gather){.on_part = forget_on_part, .on_done = forget_on_done};
    forget_send(stream, text_bytes(&request->name), &request->gather);
}

static void directory_on_position(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct directory_question *question = payload;
    struct kv *kv = kv_of(shard);
    struct directory_entry *entry = *directory_link(directory_of(kv), question->stream_id,
                                                    bytes_of(question + 1, question->name_bytes));
    if (entry == NULL || !entry->is_kept)
        return;
    entry->past = question->past;
    /* Without room in the log the next position is written; an older one only costs repeats. */
    (void)!entry_append(kv, entry, KV_RECORD_CONSUMER, NULL);
}

void directory_position(struct stream *stream, struct bytes name, const struct consumer_past *past)
{
    struct directory_question *question =
        mailbox_reserve(stream->kv->shard, KV_HOME_SHARD, directory_on_position,
                        (uint32_t)(sizeof *question + name.count));
    *question = (struct directory_question){
        .stream_id = stream->id, .name_bytes = (uint32_t)name.count, .past = *past};
    memcpy(question + 1, name.data, name.count);
}

/* ---- recovery ---- */

struct consumer_restore { /* home to the shard that gets it; name and configuration follow */
    struct consumer_past past;
    uint32_t stream_id, name_bytes, config_bytes, padding;
};

/*
 * Streams are not there yet when records are read: entries wait in the table under their stream's id, on no shard. A stream that is
 * not adopted takes its entries with it.
 */
void directory_replay(struct kv *kv, const struct record *record)
{
    struct directory *directory = directory_of(kv);
    struct directory_entry **link = directory_link(directory, record->stream_id, record->key);
    if (record->type == KV_RECORD_CONSUMER_DELETED) {
        if (*link != NULL)
            directory_remove(kv, link);
        return;
    }
    if (record->value.count <= sizeof(struct consumer_past))
        return;
    if (*link == NULL) {
        struct stream unknown = {.id = record->stream_id};
        (void)directory_add(kv, &unknown, record->key, KV_HOME_SHARD);
        link = directory_link(directory, record->stream_id, record->key);
    }
    struct directory_entry *entry = *link;
    entry->is_kept = true;
    memcpy(&entry->past, record->value.data, sizeof entry->past);
    text_clear(&entry->config);
    text_append(&entry->config, bytes_after(record->value, sizeof entry->past));
}

static void directory_on_restore(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct consumer_restore *restore = payload;
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, restore->stream_id);
    ASSERT(stream != NULL); /* adopted before, by the same sender */
    const char *at = (const char *)(restore + 1);
    consumer_restore(stream, bytes_of(at, restore->name_bytes),
                     bytes_of(at + restore->name_bytes, restore->config_bytes), &restore->past);
}

static void entry_restore(struct kv *kv, struct stream *stream, struct directory_entry *entry)
{
    stream->directory_count++;
    entry->shard = (uint32_t)(entry->hash % kv->shard->count);
    struct consumer_restore *restore =
        mailbox_reserve(kv->shard, entry->shard, directory_on_restore,
                        (uint32_t)(sizeof *restore + entry->name_bytes + entry->config.count));
    *restore = (struct consumer_restore){
        .past = entry->past,
        .stream_id = entry->stream_id,
        .name_bytes = entry->name_bytes,
        .config_bytes = (uint32_t)entry->config.count,
    };
    char *at = (char *)(restore + 1);
    memcpy(at, entry->name, entry->name_bytes);
    memcpy(at + entry->name_bytes, entry->config.data, entry->config.count);
}

void directory_restore_all(struct kv *kv)
{
    struct directory *directory = directory_of(kv);
    for (uint32_t i = 0; i < directory->chain_count; i++) {
        struct directory_entry **link = &directory->chains[i];
        while (*link != NULL) {
            struct stream *stream = stream_by_id(&kv->streams, (*link)->stream_id);
            if (stream == NULL || stream->order == NULL) {
                struct directory_entry *entry = *link;
                *link = entry->next;
                directory->count--;
                text_free(&entry->config);
                heap_free(entry);
                continue;
            }
            entry_restore(kv, stream, *link);
            link = &(*link)->next;
        }
    }
}

MUST_USE enum status directory_restate(struct kv *kv, uint32_t stream_id)
{
    struct directory *directory = directory_of(kv);
    for (uint32_t i = 0; i < directory->chain_count; i++) {
        for (struct directory_entry *entry = directory->chains[i]; entry != NULL;
             entry = entry->next) {
            if (entry->stream_id != stream_id || !entry->is_kept)
                continue;
            enum status status = entry_append(kv, entry, KV_RECORD_CONSUMER, NULL);
            if (status != STATUS_OK)
                return status;
        }
    }
    return STATUS_OK;
}

void directory_forget_stream(struct kv *kv, uint32_t stream_id)
{
    struct directory *directory = directory_of(kv);
    for (uint32_t i = 0; i < directory->chain_count; i++) {
        struct directory_entry **link = &directory->chains[i];
        while (*link != NULL) {
            if ((*link)->stream_id == stream_id)
                directory_remove(kv, link);
            else
                link = &(*link)->next;
        }
    }
}

void directory_fini(struct kv *kv)
{
    struct directory *directory = kv->directory;
    if (directory == NULL)
        return;
    for (uint32_t i = 0; i < directory->chain_count; i++) {
        while (directory->chains[i] != NULL)
            directory_remove(kv, &directory->chains[i]);
    }
    heap_free(directory->chains);
    heap_free(directory);
    kv->directory = NULL;
}
