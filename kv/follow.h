/*
 * kv/follow.h: mirrors and sources: what a stream takes from other streams of the server.
 *
 *     origin's stripes ─► feed ─► follower (kv/follower.c) ─► follow: subject, headers ─► put_given ─► the stream's one stripe
 *
 * One follow for a mirror's origin, one for each source. It waits while its origin is not there, and takes it up when it appears.
 *
 * Keeps:   what was taken is a prefix of what the origin gave, also over a crash: appends go into one log in the origin's order, and
 *          the position is read back from there (a mirror's is its last sequence, a source's is kv/source_state.c's).
 *          At most FOLLOW_PUTS_MAX puts, or FOLLOW_BYTES_MAX bytes, wait to become durable.
 * Owns:    its follower. Lives on the stream's stripe's shard.
 */
#ifndef KV_FOLLOW_H
#define KV_FOLLOW_H

#include "kv/stream.h"

struct follow;

/* On each shard; those that are not the stripe's do nothing. */

/* Begins, changes and ends what the stream's configuration names. */
void follows_configure(struct stream *stream);
/* The same for all streams: recovery is over. */
void follows_start(struct kv *kv);
/* A stream appeared on this shard: who waits for it begins. */
void follows_on_shown(struct stream *origin);
/* A stream is going: it takes no more, and nobody reads it any more. */
void follows_on_closing(struct stream *stream);
void follows_fini(struct kv *kv);

/* Members of the stream's info with a leading comma: "mirror" or "sources"; nothing where the stream has none. */
void follows_append_info(struct text *text, const struct stream *stream);

#endif
