/*
 * kv/directory.c: names of consumers, on the home shard.
 */
#include "kv/directory.h"

#include "core/hash.h"

struct directory_entry {
    struct directory_entry *next;
    uint64_t hash;
    uint32_t stream_id, shard;
    uint32_t name_bytes;
    char name[];
};

struct directory {
    struct directory_entry **chains; /* owns */
    uint32_t chain_count, count;
};

struct directory_question { /* then the name */
    struct gather *gather;
    uint32_t stream_id, name_bytes;
    uint64_t limit; /* of the stream's consumers; 0: only look */
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
    while (*link != NULL &&
           ((*link)->hash != hash || (*link)->stream_id != stream_id ||
            !bytes_equal(bytes_of((*link)->name, (*link)->name_bytes), name)))
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

static void directory_add(struct kv *kv, struct stream *stream, struct bytes name, uint32_t shard)
{
    struct directory *directory = directory_of(kv);
    if (directory->count >= directory->chain_count)
        directory_grow(directory, kv->shard->heap);
    struct directory_entry *entry =
        heap_alloc(kv->shard->heap, sizeof *entry + name.count);
    entry->next = NULL;
    entry->hash = entry_hash(stream->id, name);
    entry->stream_id = stream->id;
    entry->shard = shard;
    entry->name_bytes = (uint32_t)name.count;
    memcpy(entry->name, name.data, name.count);
    *directory_link(directory, stream->id, name) = entry;
    directory->count++;
    stream->directory_count++;
}

static void directory_on_question(struct shard *shard, void *payload, uint32_t bytes,
                                  uint32_t from)
{
    (void)bytes;
    struct directory_question *question = payload;
    struct kv *kv = kv_of(shard);
    struct bytes name = bytes_of(question + 1, question->name_bytes);
    struct stream *stream = stream_by_id(&kv->streams, question->stream_id);
    struct directory_entry *entry =
        *directory_link(directory_of(kv), question->stream_id, name);
    struct directory_answer answer = {DIRECTORY_ABSENT, from};
    if (entry != NULL) {
        answer = (struct directory_answer){DIRECTORY_FOUND, entry->shard};
    } else if (question->limit > 0 && stream != NULL) {
        answer.result = stream->directory_count >= question->limit ? DIRECTORY_FULL
                                                                   : DIRECTORY_CLAIMED;
        if (answer.result == DIRECTORY_CLAIMED)
            directory_add(kv, stream, name, from);
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
                   void (*on_done)(struct request *request, enum directory_result result,
                                   uint32_t shard))
{
    struct directory_work *work =
        heap_alloc_zeroed(request->kv->shard->heap, sizeof *work);
    ASSERT(request->work == NULL);
    work->on_done = on_done;
    request->work = work;
    request->gather =
        (struct gather){.on_part = directory_on_part, .on_done = directory_on_done};
    int64_t limit = stream->config.consumers_max > 0 ? stream->config.consumers_max
                                                     : CONSUMERS_PER_STREAM_MAX;
    struct directory_question *question =
        gather_ask(request->kv, &request->gather, KV_HOME_SHARD, directory_on_question,
                   (uint32_t)(sizeof *question + request->name.count));
    question->stream_id = stream->id;
    question->name_bytes = (uint32_t)request->name.count;
    question->limit = is_claim ? (uint64_t)limit : 0;
    memcpy(question + 1, request->name.data, request->name.count);
}

static void directory_remove(struct kv *kv, struct directory_entry **link)
{
    struct directory_entry *entry = *link;
    struct stream *stream = stream_by_id(&kv->streams, entry->stream_id);
    if (stream != NULL)
        stream->directory_count--;
    *link = entry->next;
    heap_free(entry);
    kv->directory->count--;
}

static void directory_on_forget(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct directory_question *question = payload;
    struct kv *kv = kv_of(shard);
    struct directory_entry **link =
        directory_link(directory_of(kv), question->stream_id,
                       bytes_of(question + 1, question->name_bytes));
    if (*link != NULL)
        directory_remove(kv, link);
}

void directory_forget(struct stream *stream, struct bytes name)
{
    struct directory_question *question =
        mailbox_reserve(stream->kv->shard, KV_HOME_SHARD, directory_on_forget,
                        (uint32_t)(sizeof *question + name.count));
    *question = (struct directory_question){NULL, stream->id, (uint32_t)name.count, 0};
    memcpy(question + 1, name.data, name.count);
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
