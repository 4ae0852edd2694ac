/*
 * kv/order.h: one sequence for a stream whose keys lie on many shards, without a hop that hands out numbers.
 *
 * Shared by all shards, a cache line a word: `next`, and for each shard
 *
 *     routing   lower bound of the sequences it took in this turn and has not yet put into the stripes' mailboxes
 *     floor     lower bound of the sequences it took and does not yet know durable           (infinity: there are none)
 *
 *     take         floor = routing = load(next) where infinite, then seq = fetch_add(next, 1)
 *     watermark    u = load(next) first, then W = min(u, all floors) - 1
 *     fence        a CAS that took t waits until no routing word is <= t and the mailboxes are drained
 *
 * Why W is right: take a sequence s < u, not durable when the floors are read. Its fetch_add came before the load of
 * next; its shard's floor store came before that fetch_add; the floor is raised above s only when s is durable. So the
 * floor read is <= s, and W < s. All of these are seq_cst: the store of floor must not pass the fetch_add, the load of
 * next must not pass the loads of floors. models/order.pml checks the protocol.
 *
 * Writers: `next` by all; routing and floor of shard i by shard i alone; waiters by the shard that waits (its own bit).
 * A stripe tells the watchers' shards of a record before it reports the record durable to the shard that took its
 * sequence; so whoever reads a W that covers it, and then drains its mailboxes, has it.
 */
#ifndef KV_ORDER_H
#define KV_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/heap.h"
#include "core/shard.h"
#include "core/shared.h"

#define ORDER_INFINITY UINT64_MAX
/* No sequence a client names may lead above it: kv/backlog packs a sequence into 56 bits, taken uses the top one. */
#define ORDER_SEQ_MAX (UINT64_C(1) << 55)

struct order_shard {
    struct shared_u64 routing;
    struct shared_u64 floor;
};

/* Shares: all shards of the process; freed by the world when every shard has let the stream go. */
struct order {
    struct shared_u64 next;    /* the next sequence to be given out; 1 at first */
    struct shared_u64 waiters; /* bit i: shard i wants to hear when a floor rises */
    struct shared_u64 bytes,
        messages; /* of a limited stream with several stripes (kv/stripe_total.c) */
    struct order_shard shards[SHARD_COUNT_MAX];
};

void order_init(struct order *order, uint64_t next);
uint64_t order_watermark(const struct order *order, uint32_t shard_count);
/* The last sequence given out. */
uint64_t order_last_taken(const struct order *order);
/* True when no shard but `self` has sequences <= seq on their way into mailboxes. */
bool order_is_routed(const struct order *order, uint32_t shard_count, uint32_t self, uint64_t seq);

/*
 * The sequences one shard took from one stream, in order, and which of them are durable: what its floor is made of.
 * Owns: its slots.
 */
struct taken {
    uint64_t *seqs; /* ring of `capacity`; the top bit marks one that is done */
    uint64_t first; /* index of the oldest not known durable */
    uint64_t end;   /* index after the newest */
    uint64_t capacity;
};

void taken_free(struct taken *taken);

/*
 * Takes the next sequence. is_routed: the caller puts it into a mailbox this turn, and calls order_routed after the
 * mailboxes are published.
 */
uint64_t order_take(struct order *order, struct taken *taken, struct shard *shard, bool is_routed,
                    uint64_t *index_out);
/* As order_take, but only if the stream's last sequence is exactly `expected`; else 0. */
uint64_t order_take_if(struct order *order, struct taken *taken, struct shard *shard,
                       uint64_t expected, uint64_t *index_out);
/*
 * Takes exactly this sequence; those below that were not given out are left out. False: it was given out already. For a stream whose
 * sequences only this shard takes.
 */
bool order_take_at(struct order *order, struct taken *taken, struct shard *shard, uint64_t seq,
                   uint64_t *index_out);
void order_routed(struct order *order, const struct shard *shard);
/* The sequence taken under this index is durable, or burnt. True when the floor rose. */
bool order_done(struct order *order, struct taken *taken, const struct shard *shard,
                uint64_t index);

#endif
