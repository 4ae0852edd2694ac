/*
 * kv/consumer.h: a push consumer: what a watch, a list of keys, a history is made of.
 *
 *     GATHERING ── lists of all stripes, watermark ──► LISTING ── list delivered ──► LIVE
 *         ▲                                                                            │
 *         └──────────── fell behind (queue over its limit): gather anew from there ────┘
 *
 * Keeps:   messages go out in strict sequence order, each once; consumer sequences have no gaps; num_pending is exact:
 *          what the list still holds alive, plus what is queued, plus what was dropped from the queue and will be gathered.
 *          Nothing moves while nobody subscribes, the flow-control window is exhausted, or the connection is full.
 * Runs on: the shard where it was created; it is found through the home shard's directory (kv/catalog).
 */
#ifndef KV_CONSUMER_H
#define KV_CONSUMER_H

#include "kv/consumer_config.h"
#include "kv/feed.h"
#include "kv/listing.h"

struct consumer;

/* What the log says of a consumer. */
struct consumer_found {
    uint64_t created_ns;
    bool has_position; /* the operations count; else it starts as its policy says */
    struct bytes name, operations, config_json;
};

/*
 * Takes over config's memory. on_ready runs once: when the initial state is known, before the first delivery; or with NULL when
 * the consumer ends before that.
 */
struct consumer *consumer_create(struct stream *stream, struct consumer_config *config,
                                 struct bytes name, uint64_t created_ns, void *context,
                                 void (*on_ready)(void *context, struct consumer *consumer));
/* After a restart: goes on where the record says. */
void consumer_restore(struct stream *stream, const struct consumer_found *found);
/* Ends it on this shard; the caller takes care of the directory. */
void consumer_destroy(struct consumer *consumer);
struct consumer *consumer_find(struct stream *stream, struct bytes name);
struct consumer *consumer_next(const struct consumer *consumer);
/* False while its first list is being made: it knows no counts yet. */
bool consumer_is_started(const struct consumer *consumer);
/* False while it makes a list, the first or another one. */
bool consumer_knows_counts(const struct consumer *consumer);
struct bytes consumer_name(const struct consumer *consumer);
const struct consumer_config *consumer_config_of(const struct consumer *consumer);
/* The members of a consumer info object, without braces. */
void consumer_append_info(struct text *text, const struct consumer *consumer,
                          bool with_server_metadata);

typedef void consumer_updated_fn(void *context, struct consumer *consumer,
                                 const struct api_failure *failure);
/* True when consumer_update may be called: it knows its counts, and no other change is on its way. */
bool consumer_may_change(const struct consumer *consumer);
/*
 * Gives it another configuration, taken over. False: refused, failure says why, on_done does not run. Else on_done runs, perhaps
 * inside, when it is durable and in force, or with a failure (the consumer then is NULL if it ended).
 */
bool consumer_update(struct consumer *consumer, struct consumer_config *next, void *context,
                     consumer_updated_fn *on_done, struct api_failure *failure);

/* Something that waits until what a consumer has taken so far is durable. */
struct flush_wait {
    struct flush_wait *next; /* the consumer's */
    uint64_t flush;
    void (*on_durable)(struct flush_wait *wait, bool is_gone); /* is_gone: the consumer ended */
};
/* False: all is durable. Else wait runs later, never inside this call. */
bool consumer_wait_flushed(struct consumer *consumer, struct flush_wait *wait);

/* ---- from the feed ---- */

void consumer_on_record(struct consumer *consumer, struct feed_record *record);
void consumer_on_removed(struct consumer *consumer, const uint64_t *seqs, uint64_t count);
/* Delivers what can be delivered. */
void consumer_pump(struct consumer *consumer);

/* ---- from net ---- */

void consumers_on_interest(struct kv *kv, uint32_t account, struct bytes subject,
                           struct bytes queue, bool is_present);
void consumers_on_room(struct kv *kv);
/* A message published to $JS.FC.<stream>.<consumer>.<id>; false: no consumer of this server owns it. */
bool consumers_on_flow_control(struct kv *kv, uint32_t account, struct bytes subject);
/* A message published to $JS.ACK.…; false: no consumer of this server owns it. */
bool consumers_on_ack(struct kv *kv, uint32_t account, const struct msg *msg);
/* A clean end: where every consumer is goes to the log. */
void consumers_flush_all(struct kv *kv);
void consumers_fini(struct kv *kv);

#endif
