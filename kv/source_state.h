/*
 * kv/source_state.h: how far a stream has taken its sources: for each source the last origin sequence that was stored.
 *
 * Every sourced message says it in its Nats-Stream-Source header, so that recovery learns it from the log, from dead messages too.
 * Because a segment of dead messages goes, a record (KV_RECORD_SOURCES, restated as all state) says it again a moment after a
 * position has moved. Recovery may meet them in any order: of one run of the origin the highest position counts, of two runs the one
 * that is told with the higher sequence of this stream, a record before a message of the same.
 *
 * Runs on: the shard of the stream's one stripe.
 */
#ifndef KV_SOURCE_STATE_H
#define KV_SOURCE_STATE_H

#include "kv/stream_source_config.h"
#include "kv/stripe.h"

struct source_state;

/* Which run of its origin a position belongs to: eight characters, made of the origin's creation time. */
struct source_run {
    char text[SOURCE_HASH_BYTES];
};
struct source_run source_run_of(const struct stream *origin);

/* The last sequence taken; 0: none ever. */
uint64_t source_state_find(const struct stream *stream, const struct source_identity *identity,
                           struct source_run *run_out);
/* A message with this origin sequence is in the log, durable or not. */
void source_state_note(struct stream *stream, const struct source_identity *identity, uint64_t seq,
                       const struct source_run *run);
/* Recovery: a message with headers, or a record. */
void source_state_replay_message(struct stream *stream, const struct record *record);
void source_state_replay_record(struct stream *stream, const struct record *record);
/* Appends the record, if there is something to say. STATUS_BUSY: the log has no room. */
MUST_USE enum status source_state_write(struct stream *stream);
void source_state_free(struct stream *stream);

#endif
