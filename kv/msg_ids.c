/*
 * kv/msg_ids.c: a hash table whose entries also stand in the order they came.
 */
#include "kv/msg_ids.h"

#include "core/assert.h"
#include "core/hash.h"

enum { CHAINS_MIN = 64, ALLOCATION_BYTES = 24 };

uint64_t msg_id_cost(struct bytes text)
{
    return sizeof(struct msg_id) + text.count + ALLOCATION_BYTES; /* with its chain's head */
}

void msg_ids_free(struct msg_ids *ids)
{
    while (ids->oldest != NULL) {
        struct msg_id *next = ids->oldest->newer;
        heap_free(ids->oldest);
        ids->oldest = next;
    }
    heap_free(ids->chains);
    *ids = (struct msg_ids){0};
}

struct msg_id *msg_ids_find(const struct msg_ids *ids, struct bytes text)
{
    if (ids->count == 0)
        return NULL;
    uint64_t hash = hash_bytes(text.data, text.count);
    struct msg_id *id = ids->chains[hash & (ids->chain_count - 1)];
    while (id != NULL && (id->hash != hash || !bytes_equal(msg_id_text(id), text)))
        id = id->chain;
    return id;
}

static void msg_ids_grow(struct msg_ids *ids, struct heap *heap)
{
    uint32_t chain_count = ids->chain_count == 0 ? CHAINS_MIN : 2 * ids->chain_count;
    struct msg_id **chains = heap_alloc_zeroed(heap, chain_count * sizeof *chains);
    for (struct msg_id *id = ids->oldest; id != NULL; id = id->newer) {
        struct msg_id **chain = &chains[id->hash & (chain_count - 1)];
        id->chain = *chain;
        *chain = id;
    }
    heap_free(ids->chains);
    ids->chains = chains;
    ids->chain_count = chain_count;
}

struct msg_id *msg_ids_add(struct msg_ids *ids, struct heap *heap, struct bytes text, uint64_t seq,
                           uint64_t time_ns)
{
    if (ids->count >= ids->chain_count)
        msg_ids_grow(ids, heap);
    struct msg_id *id = heap_alloc(heap, sizeof *id + text.count);
    *id = (struct msg_id){.hash = hash_bytes(text.data, text.count),
                          .seq = seq,
                          .time_ns = time_ns,
                          .bytes = (uint32_t)text.count};
    memcpy(id->text, text.data, text.count);
    struct msg_id **chain = &ids->chains[id->hash & (ids->chain_count - 1)];
    id->chain = *chain;
    *chain = id;
    id->older = ids->newest;
    *(ids->newest == NULL ? &ids->oldest : &ids->newest->newer) = id;
    ids->newest = id;
    ids->count++;
    return id;
}

uint64_t msg_ids_remove(struct msg_ids *ids, struct msg_id *id)
{
    uint64_t cost = msg_id_cost(msg_id_text(id));
    struct msg_id **link = &ids->chains[id->hash & (ids->chain_count - 1)];
    while (*link != id)
        link = &(*link)->chain;
    *link = id->chain;
    *(id->older == NULL ? &ids->oldest : &id->older->newer) = id->newer;
    *(id->newer == NULL ? &ids->newest : &id->newer->older) = id->older;
    heap_free(id);
    ASSERT(ids->count > 0);
    ids->count--;
    return cost;
}

uint64_t msg_ids_forget(struct msg_ids *ids, uint64_t upto_ns, bool is_all)
{
    uint64_t cost = 0;
    struct msg_id *id = ids->oldest;
    while (id != NULL && (is_all || id->time_ns <= upto_ns)) {
        struct msg_id *next = id->newer;
        if (id->flight == NULL && id->time_ns <= upto_ns)
            cost += msg_ids_remove(ids, id);
        id = next;
    }
    return cost;
}
