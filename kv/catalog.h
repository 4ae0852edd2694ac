/*
 * kv/catalog.h: making, changing and deleting streams. One at a time, on the home shard; every step that other shards must have
 * taken is waited for, so that the answer means: from now on, on every shard.
 *
 *     create   all shards make the stream (stripes write their state) ─► home's record durable ─► all make it visible ─► answer
 *     update   home's record durable ─► all take the configuration over ─► answer
 *     delete   home's record durable ─► all close it, when nothing is in flight in it ─► answer
 *
 * A crash before home's record: the stream is not there, what its stripes wrote is dropped at recovery. After it: the change
 * stands, recovery completes it.
 */
#ifndef KV_CATALOG_H
#define KV_CATALOG_H

#include "kv/request.h"

enum {
    PAST_IS_STRIPED = 1u << 0,     /* keys over all shards */
    PAST_HAS_WHOLE_KEYS = 1u << 1, /* keys are indexed as whole subjects, also of a bucket */
};

/* What recovery must know of a stream's past configurations. */
struct stream_past {
    uint64_t dead_before_ns; /* a shorter max_age had removed everything older */
    uint32_t flags;          /* PAST_…: decided once, at creation */
    uint32_t row_count;
    struct {
        uint64_t upto; /* messages up to this sequence … */
        int64_t keep;  /* … were trimmed to this history, which was raised later */
    } rows[STREAM_HISTORY_ROWS_MAX];
};

/* From the shard of the request to the home shard; takes over the request's part of the work. */
void catalog_create_stream(struct kv *kv, uint32_t account, const struct msg *msg,
                           struct bytes stream_name);
void catalog_update_stream(struct kv *kv, uint32_t account, const struct msg *msg,
                           struct bytes stream_name);
void catalog_delete_stream(struct kv *kv, uint32_t account, const struct msg *msg,
                           struct bytes stream_name);
void catalog_restore_stream(struct kv *kv, uint32_t account, const struct msg *msg,
                            struct bytes stream_name);

/* ---- recovery and restating, on the home shard unless said otherwise ---- */

void catalog_init(struct kv *kv);
void catalog_fini(struct kv *kv);
bool catalog_is_busy(const struct kv *kv);
/* A stream record of the log: remembered until catalog_adopt_all. */
void catalog_replay(struct kv *kv, const struct record *record);
/* Sends every remembered stream to every shard; next sequences from last_seq_of. */
void catalog_adopt_all(struct kv *kv, uint64_t (*last_seq_of)(void *context, uint32_t stream_id),
                       void *context);
/* Ids up to this one were used by someone. */
void catalog_reserve_ids(struct kv *kv, uint32_t id);
/* Any shard: writes the state records of a stream again. */
void catalog_restate(struct kv *kv, uint32_t stream_id);
/* Any shard, in each phase: ends streams that were waiting for their last puts. */
void catalog_phase(struct shard *shard, void *context);

#endif
