/*
 * kv/gathering.c: five passes over a few dozen operations.
 */
#include "kv/gathering.h"

enum { GATHERED_MAX = 32, GATHERED_BYTES_MAX = 2048, ARENA_BYTES = 32768 };

struct gathered {
    struct stripe *stripe; /* held (pending_count) */
    gathered_fn *run;
    uint64_t hash;
    location where; /* of the key's newest message as of the third pass; only a hint */
    uint32_t from;
    uint32_t offset; /* of the request in the arena */
};

struct gathering {
    uint32_t count, used_bytes;
    bool is_flushing;
    struct gathered gathered[GATHERED_MAX];
    _Alignas(64) char arena[ARENA_BYTES];
};

static struct gathering *gathering_of(struct kv *kv)
{
    if (kv->gathering == NULL)
        kv->gathering = heap_alloc_aligned(kv->shard->heap, sizeof(struct gathering), 64);
    else
        return kv->gathering;
    kv->gathering->count = kv->gathering->used_bytes = 0;
    kv->gathering->is_flushing = false;
    return kv->gathering;
}

void *gathering_add(struct stripe *stripe, uint64_t hash, uint32_t from, uint32_t bytes,
                    gathered_fn *run)
{
    struct kv *kv = stripe->stream->kv;
    struct gathering *gathering = gathering_of(kv);
    uint32_t rounded = (bytes + 15u) & ~15u;
    if (gathering->count == GATHERED_MAX || rounded > GATHERED_BYTES_MAX
        || gathering->used_bytes + rounded > ARENA_BYTES)
        gathering_flush(kv);
    if (rounded > GATHERED_BYTES_MAX || gathering->is_flushing)
        return NULL;
    gathering->gathered[gathering->count++] =
        (struct gathered){stripe, run, hash, LOCATION_NONE, from, gathering->used_bytes};
    stripe->pending_count++;
    index_prefetch(stripe->index, hash);
    void *request = gathering->arena + gathering->used_bytes;
    gathering->used_bytes += rounded;
    return request;
}

static void gathering_prefetch(struct kv *kv, struct gathered *first, const struct gathered *end)
{
    for (struct gathered *one = first; one < end; one++)
        index_prefetch_key(one->stripe->index, one->hash);
    for (struct gathered *one = first; one < end; one++) {
        if (!one->stripe->stream->is_memory
            && index_hint(one->stripe->index, one->hash, &one->where))
            store_prefetch(kv->store, one->where);
    }
    for (struct gathered *one = first; one < end; one++) {
        if (one->where != LOCATION_NONE)
            store_prefetch_record(kv->store, one->where);
    }
}

void gathering_flush(struct kv *kv)
{
    struct gathering *gathering = kv->gathering;
    if (gathering == NULL || gathering->count == 0 || gathering->is_flushing)
        return;
    gathering->is_flushing = true;
    struct gathered *end = gathering->gathered + gathering->count;
    if (gathering->count > 1)
        gathering_prefetch(kv, gathering->gathered, end);
    for (struct gathered *one = gathering->gathered; one < end; one++) {
        one->run(one->stripe, gathering->arena + one->offset, one->from);
        one->stripe->pending_count--;
    }
    gathering->count = gathering->used_bytes = 0;
    gathering->is_flushing = false;
}

void gathering_phase(struct shard *shard, void *context)
{
    (void)shard;
    gathering_flush(context);
}

void gathering_fini(struct kv *kv)
{
    heap_free(kv->gathering);
    kv->gathering = NULL;
}
