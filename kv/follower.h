/*
 * kv/follower.h: reads a stream from a sequence on, in order, for ever: what a mirror and a source hear of their origin.
 *
 *     GATHERING ── lists of all stripes, watermark ──► LISTING ── list taken ──► LIVE
 *         ▲                                                                       │
 *         └──────────── fell behind (queue over its limit): gather anew ──────────┘
 *
 * Works as a push consumer does (kv/consumer_gather.c), without its counts: what was removed from the origin before its turn may be
 * handed over or left out.
 *
 * Keeps:   records are handed over in strict sequence order, each once, and only durable ones. One that `take` refuses is offered
 *          again by the next follower_pump, before any other.
 * Runs on: one shard, any; the origin's stripes offer to its feed there.
 */
#ifndef KV_FOLLOWER_H
#define KV_FOLLOWER_H

#include "kv/consumer_config.h"
#include "kv/feed.h"

struct follower;

struct follower_sink {
    /* Takes the record, which stays the follower's. False: no room; the caller calls follower_pump when there is. */
    bool (*take)(struct follower_sink *sink, const struct feed_record *record);
};

/*
 * filter: whose filters select messages; taken over. The first record has sequence from_seq or more, and time from_time_ns or
 * more. `take` never runs inside.
 */
struct follower *follower_create(struct stream *origin, struct consumer_config *filter,
                                 uint64_t from_seq, uint64_t from_time_ns,
                                 struct follower_sink *sink);
/* `take` does not run any more. */
void follower_destroy(struct follower *follower);
void follower_pump(struct follower *follower);
/* Messages that wait to be taken. */
uint64_t follower_pending(const struct follower *follower);
struct follower *follower_next(const struct follower *follower);
struct follower_sink *follower_sink_of(const struct follower *follower);

/* ---- from the feed ---- */

void follower_on_record(struct follower *follower, struct feed_record *record);

#endif
