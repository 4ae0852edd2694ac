/*
 * kv/directory.c: names of consumers, on the home shard.
 */
#include "kv/directory_room.h"

#include "core/hash.h"
#include "kv/account.h"
#include "kv/consumer.h"

struct directory_question { /* then the name, then the configuration of one to be kept */
    struct gather *gather;
    uint32_t stream_id, name_bytes;
    uint32_t config_bytes, intent;
    uint64_t limit, created_ns; /* of a claim */
    uint64_t is_durable;
};

struct directory_work {
    struct directory_result_part answer;
    void (*on_done)(struct request *request, enum directory_result result, uint32_t shard);
};

static uint64_t entry_hash(uint32_t stream_id, struct bytes name)
{
    return hash_bytes(name.data, name.count) ^ (stream_id * UINT64_C(0x9E3779B97F4A7C15));
}

struct directory_entry **directory_link(struct directory *directory, uint32_t stream_id,
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

struct directory *directory_of(struct kv *kv)
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

struct directory_entry *directory_add(struct kv *kv, struct stream *stream, struct bytes name,
                                      uint32_t shard)
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
    entry->progress.heap = kv->shard->heap;
    *directory_link(directory, stream->id, name) = entry;
    directory->count++;
    stream->directory_count++;
    return entry;
}

/* ---- questions ---- */

static void directory_claim(struct kv *kv, struct stream *stream,
                            const struct directory_question *question, struct bytes name,
                            uint32_t from)
{
    struct directory_result_part answer = {DIRECTORY_CLAIMED, from};
    struct directory_entry *entry = directory_add(kv, stream, name, from);
    if (question->config_bytes == 0) {
        *(struct directory_result_part *)gather_answer(kv->shard, question->gather, from,
                                                       sizeof answer) = answer;
        return;
    }
    entry->is_kept = true;
    entry->is_durable = question->is_durable != 0;
    entry->created_ns = question->created_ns;
    text_append(&entry->config, bytes_of(name.data + name.count, question->config_bytes));
    directory_write(kv, entry, question->gather, from, &answer);
}

static void directory_on_question(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct directory_question *question = payload;
    struct kv *kv = kv_of(shard);
    struct bytes name = bytes_of(question + 1, question->name_bytes);
    struct stream *stream = stream_by_id(&kv->streams, question->stream_id);
    struct directory_entry *entry = *directory_link(directory_of(kv), question->stream_id, name);
    struct directory_result_part answer = {DIRECTORY_ABSENT, from};
    if (entry != NULL) {
        bool needs_room = question->intent == DIRECTORY_REMOVE && entry->is_kept;
        answer = (struct directory_result_part){DIRECTORY_FOUND, entry->shard};
        if (needs_room && !directory_has_room(kv, name.count, 0))
            answer.result = DIRECTORY_NO_SPACE;
    } else if (question->intent == DIRECTORY_CLAIM && stream != NULL) {
        bool is_full = stream->directory_count >= question->limit;
        bool has_room = question->config_bytes == 0
                        || directory_has_room(kv, name.count, question->config_bytes);
        answer.result = is_full ? DIRECTORY_FULL : DIRECTORY_NO_SPACE;
        if (!is_full && has_room) {
            directory_claim(kv, stream, question, name, from);
            return;
        }
    }
    *(struct directory_result_part *)gather_answer(shard, question->gather, from, sizeof answer) =
        answer;
}

static void directory_on_part(struct gather *gather, const void *payload, uint32_t bytes,
                              uint32_t from)
{
    (void)bytes;
    (void)from;
    struct directory_work *work = CONTAINER_OF(gather, struct request, gather)->work;
    work->answer = *(const struct directory_result_part *)payload;
}

static void directory_on_done(struct gather *gather)
{
    struct request *request = CONTAINER_OF(gather, struct request, gather);
    struct directory_work work = *(struct directory_work *)request->work;
    heap_free(request->work);
    request->work = NULL;
    work.on_done(request, work.answer.result, work.answer.shard);
}

void directory_ask(struct request *request, struct stream *stream, enum directory_intent intent,
                   const struct directory_claim *claim,
                   void (*on_done)(struct request *request, enum directory_result result,
                                   uint32_t shard))
{
    struct directory_work *work = heap_alloc_zeroed(request->kv->shard->heap, sizeof *work);
    struct bytes config_json = claim == NULL ? (struct bytes){0} : claim->config_json;
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
    question->intent = intent;
    question->limit = (uint64_t)limit;
    question->created_ns = claim == NULL ? 0 : claim->created_ns;
    question->is_durable = claim != NULL && claim->is_durable;
    memcpy(question + 1, request->name.data, request->name.count);
    if (config_json.count > 0)
        memcpy((char *)(question + 1) + request->name.count, config_json.data, config_json.count);
}

/* ---- removal ---- */

struct directory_entry *directory_take(struct kv *kv, struct directory_entry **link)
{
    struct directory_entry *entry = *link;
    struct stream *stream = stream_by_id(&kv->streams, entry->stream_id);
    if (stream != NULL && stream->directory_count > 0)
        stream->directory_count--;
    *link = entry->next;
    kv->directory->count--;
    return entry;
}

void directory_entry_free(struct directory_entry *entry)
{
    progress_free(&entry->progress);
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
    struct directory_entry *entry = *link == NULL ? NULL : directory_take(kv, link);
    directory_write_deleted(kv, entry, question->gather, from);
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

void directory_forget_stream(struct kv *kv, uint32_t stream_id)
{
    struct directory *directory = directory_of(kv);
    for (uint32_t i = 0; i < directory->chain_count; i++) {
        struct directory_entry **link = &directory->chains[i];
        while (*link != NULL) {
            if ((*link)->stream_id == stream_id)
                directory_entry_free(directory_take(kv, link));
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
            directory_entry_free(directory_take(kv, &directory->chains[i]));
    }
    heap_free(directory->chains);
    heap_free(directory);
    kv->directory = NULL;
}
