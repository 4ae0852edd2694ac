/*
 * kv/ack_routes.c: a table by stream and name on each shard, kept alike by messages.
 */
#include "kv/ack_routes.h"

#include "core/hash.h"

struct ack_route {
    struct ack_route *next;
    uint64_t hash;
    uint32_t stream_id, shard;
    uint32_t name_bytes;
    char name[];
};

struct ack_routes {
    struct ack_route **chains; /* owns */
    uint32_t chain_count, count;
};

struct route_message { /* then the name */
    struct gather *gather;
    uint32_t stream_id, shard;
    uint32_t name_bytes, is_end;
};

static uint64_t route_hash(uint32_t stream_id, struct bytes name)
{
    return hash_bytes(name.data, name.count) ^ (stream_id * UINT64_C(0x9E3779B97F4A7C15));
}

static struct ack_route **route_link(const struct ack_routes *routes, uint32_t stream_id,
                                     struct bytes name)
{
    uint64_t hash = route_hash(stream_id, name);
    struct ack_route **link = &routes->chains[hash & (routes->chain_count - 1)];
    while (*link != NULL
           && ((*link)->hash != hash || (*link)->stream_id != stream_id
               || !bytes_equal(bytes_of((*link)->name, (*link)->name_bytes), name)))
        link = &(*link)->next;
    return link;
}

static struct ack_routes *routes_of(struct kv *kv)
{
    struct heap *heap = kv->shard->heap;
    if (kv->ack_routes == NULL) {
        kv->ack_routes = heap_alloc_zeroed(heap, sizeof *kv->ack_routes);
        kv->ack_routes->chain_count = 64;
        kv->ack_routes->chains = heap_alloc_zeroed(heap, 64 * sizeof(struct ack_route *));
    }
    return kv->ack_routes;
}

static void routes_grow(struct ack_routes *routes, struct heap *heap)
{
    uint32_t chain_count = 2 * routes->chain_count;
    struct ack_route **chains = heap_alloc_zeroed(heap, chain_count * sizeof *chains);
    for (uint32_t i = 0; i < routes->chain_count; i++) {
        while (routes->chains[i] != NULL) {
            struct ack_route *route = routes->chains[i];
            routes->chains[i] = route->next;
            route->next = chains[route->hash & (chain_count - 1)];
            chains[route->hash & (chain_count - 1)] = route;
        }
    }
    heap_free(routes->chains);
    routes->chains = chains;
    routes->chain_count = chain_count;
}

static void route_set(struct kv *kv, const struct route_message *message, struct bytes name)
{
    struct ack_routes *routes = routes_of(kv);
    struct ack_route **link = route_link(routes, message->stream_id, name);
    if (*link == NULL) {
        if (routes->count >= routes->chain_count)
            routes_grow(routes, kv->shard->heap);
        struct ack_route *route = heap_alloc_zeroed(kv->shard->heap, sizeof *route + name.count);
        route->hash = route_hash(message->stream_id, name);
        route->stream_id = message->stream_id;
        route->name_bytes = (uint32_t)name.count;
        memcpy(route->name, name.data, name.count);
        link = route_link(routes, message->stream_id, name);
        *link = route;
        routes->count++;
    }
    (*link)->shard = message->shard;
}

/* A consumer of the same name may have begun on another shard already: its route stays. */
static void route_end(struct kv *kv, const struct route_message *message, struct bytes name)
{
    struct ack_routes *routes = routes_of(kv);
    struct ack_route **link = route_link(routes, message->stream_id, name);
    struct ack_route *route = *link;
    if (route == NULL || route->shard != message->shard)
        return;
    *link = route->next;
    routes->count--;
    heap_free(route);
}

static void routes_on_message(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct route_message *message = payload;
    struct kv *kv = kv_of(shard);
    struct bytes name = bytes_of(message + 1, message->name_bytes);
    if (message->is_end)
        route_end(kv, message, name);
    else
        route_set(kv, message, name);
    if (message->gather != NULL)
        (void)gather_answer(shard, message->gather, from, 0);
}

static void routes_send(struct kv *kv, const struct route_message *message, struct bytes name)
{
    uint32_t bytes = (uint32_t)(sizeof *message + name.count);
    for (uint32_t i = 0; i < kv->shard->count; i++) {
        struct route_message *out =
            message->gather != NULL ? gather_ask(kv, message->gather, i, routes_on_message, bytes)
                                    : mailbox_reserve(kv->shard, i, routes_on_message, bytes);
        *out = *message;
        memcpy(out + 1, name.data, name.count);
    }
}

void ack_routes_add(struct kv *kv, struct stream *stream, struct bytes name, struct gather *gather)
{
    struct route_message message = {.gather = gather,
                                    .stream_id = stream->id,
                                    .shard = kv->shard->index,
                                    .name_bytes = (uint32_t)name.count};
    routes_send(kv, &message, name);
}

void ack_routes_tell(struct kv *kv, struct stream *stream, struct bytes name, uint32_t shard)
{
    struct route_message message = {
        .stream_id = stream->id, .shard = shard, .name_bytes = (uint32_t)name.count};
    routes_send(kv, &message, name);
}

void ack_routes_remove(struct kv *kv, struct stream *stream, struct bytes name)
{
    struct route_message message = {.stream_id = stream->id,
                                    .shard = kv->shard->index,
                                    .name_bytes = (uint32_t)name.count,
                                    .is_end = 1};
    routes_send(kv, &message, name);
}

bool ack_routes_find(const struct kv *kv, uint32_t stream_id, struct bytes name,
                     uint32_t *shard_out)
{
    if (kv->ack_routes == NULL)
        return false;
    const struct ack_route *route = *route_link(kv->ack_routes, stream_id, name);
    if (route == NULL)
        return false;
    *shard_out = route->shard;
    return true;
}

void ack_routes_fini(struct kv *kv)
{
    struct ack_routes *routes = kv->ack_routes;
    if (routes == NULL)
        return;
    for (uint32_t i = 0; i < routes->chain_count; i++) {
        while (routes->chains[i] != NULL) {
            struct ack_route *route = routes->chains[i];
            routes->chains[i] = route->next;
            heap_free(route);
        }
    }
    heap_free(routes->chains);
    heap_free(routes);
    kv->ack_routes = NULL;
}
