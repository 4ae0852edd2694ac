/*
 * kv/msg_ids.h: the message ids of one stream that one shard remembers, to know a publish that comes again.
 *
 *     id ──hash table──► msg_id {sequence, time} ──► the next that came     forgotten from the oldest on, when more come
 *
 * A stream with one stripe keeps them where its stripe is. In a bucket over several stripes an id belongs to the shard of the stripe
 * that the id hashes to (its home): two publishes with one id and different keys meet there, see put_ids.c.
 * Owns: its entries. Runs on: that shard.
 */
#ifndef KV_MSG_IDS_H
#define KV_MSG_IDS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/heap.h"

struct put_flight;

struct msg_id {
    struct msg_id *chain;
    struct msg_id *older, *newer;
    struct put_flight
        *flight; /* borrows: the first publish with it is under way; NULL: it is durable */
    uint64_t hash, seq, time_ns;
    uint32_t bytes;
    char text[];
};

struct msg_ids {
    struct msg_id **chains; /* owns; chain_count of them, a power of two */
    struct msg_id *oldest, *newest;
    uint64_t count;
    uint32_t chain_count;
};

static inline struct bytes msg_id_text(const struct msg_id *id)
{
    return bytes_of(id->text, id->bytes);
}
/* What an entry costs. */
uint64_t msg_id_cost(struct bytes text);

void msg_ids_free(struct msg_ids *ids);
struct msg_id *msg_ids_find(const struct msg_ids *ids, struct bytes text);
/* The id must not be there. */
struct msg_id *msg_ids_add(struct msg_ids *ids, struct heap *heap, struct bytes text, uint64_t seq,
                           uint64_t time_ns);
/* Frees it; gives its cost. */
uint64_t msg_ids_remove(struct msg_ids *ids, struct msg_id *id);
/*
 * Forgets those stored at this time or before; what is under way stays. Gives their cost. Stops at the first that is younger, unless
 * is_all: after recovery and when a clock goes back they may stand in another order, so whoever finds one looks at its time.
 */
uint64_t msg_ids_forget(struct msg_ids *ids, uint64_t upto_ns, bool is_all);

#endif
