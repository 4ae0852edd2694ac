/*
 * kv/stream.h: a stream as one shard sees it. Every shard has one for every stream; changed only by kv/catalog.
 */
#ifndef KV_STREAM_H
#define KV_STREAM_H

#include "core/shard.h"
#include "kv/order.h"
#include "kv/stream_config.h"
#include "store/index.h"

struct kv;
struct feed;
struct stripe;
struct stream;
struct subject_map;
struct follow;
struct source_state;

/* Something that goes on when the stream's watermark has reached a sequence. */
struct watermark_wait {
    struct watermark_wait *next;
    uint64_t seq;
    void (*on_reached)(struct watermark_wait *wait);
};

struct stream {
    struct kv *kv;    /* borrows */
    uint32_t id;      /* never given to another stream */
    uint32_t account; /* whose names and subjects it has (core/accounts.h) */
    uint32_t stripe_count;
    struct stream_config config; /* owns */
    uint64_t created_ns;
    struct bytes prefix; /* "$KV.<bucket>." of a bucket: keys are indexed without it; else empty */
    struct text prefix_text; /* owns what prefix borrows */
    struct text ack_prefix;  /* owns: {"stream":"KV_b","seq": */
    bool is_striped;         /* keys over all shards; decided at creation, for ever */
    bool has_whole_keys;     /* indexed by whole subjects, also if it is a bucket; as is_striped */
    bool is_closing;         /* deleted; it takes nothing more */
    bool is_visible;         /* captures publishes and answers requests */
    bool is_memory;
    struct order *order;   /* shares */
    struct taken taken;    /* owns: sequences this shard took */
    struct stripe *stripe; /* owns; NULL when this shard has no keys of the stream */
    struct subject_map *transform, *republish; /* own; NULL: there is none */
    struct feed *feed;                         /* owns; NULL while nobody here reads it */
    struct follow *follows;            /* on the stripe's shard: its origin, or its sources */
    struct source_state *source_state; /* owns; there too; NULL: nothing was sourced */

    struct watermark_wait *waits;
    uint64_t directory_count; /* on the home shard: consumers of all shards */
    bool is_routed, is_nudged;
    struct stream *routed_next, *nudged_next;
    struct stream *name_next, *bucket_next; /* stream_table's chains */
    uint64_t name_hash, bucket_hash;
};

/* Finds streams by name, id, and by the subject they capture. */
struct stream_table {
    struct stream **by_id; /* owns the array; index is the id */
    uint32_t by_id_capacity;
    struct stream **by_name, **by_bucket; /* owns the arrays; power of two chains */
    uint32_t chain_count;
    uint32_t count;         /* visible or not */
    struct stream **others; /* owns the array: streams that are no buckets, for captures */
    uint32_t other_count, other_capacity;
};

void stream_table_fini(struct stream_table *table);
struct stream *stream_by_id(const struct stream_table *table, uint32_t id);
struct stream *stream_by_name(const struct stream_table *table, uint32_t account,
                              struct bytes name);
/* The visible stream that captures a subject published in the account, or NULL. */
struct stream *stream_by_subject(const struct stream_table *table, uint32_t account,
                                 struct bytes subject);
/* The stream of the account whose subjects collide with one of config's, config's own name excepted; NULL: none. */
struct stream *stream_overlap(const struct stream_table *table, uint32_t account,
                              const struct stream_config *config);

/*
 * Makes the stream on this shard, not yet visible; takes over config's memory. The order is shared with the other shards.
 */
struct stream *stream_create(struct kv *kv, uint32_t id, uint32_t account,
                             struct stream_config *config, uint64_t created_ns,
                             uint32_t stripe_count, bool has_whole_keys, struct order *order);
/*
 * Recovery meets a stream's records before its configuration: a stream without one, which keys and stripes can be found with.
 * subject: of any of its messages (KV_RECORD_IS_BUCKET: names the bucket).
 */
struct stream *stream_create_recovering(struct kv *kv, uint32_t id, bool is_bucket, bool is_striped,
                                        struct bytes subject);
/* The configuration is known; takes over its memory. */
void stream_adopt(struct stream *stream, uint32_t account, struct stream_config *config,
                  uint64_t created_ns, bool has_whole_keys, struct order *order);
void stream_destroy(struct stream *stream);
/* Replaces the configuration; takes over its memory. The caller then applies lower limits (stripe_apply_limits). */
void stream_reconfigure(struct stream *stream, struct stream_config *config);

/*
 * The subject a message of this stream is stored under: what subject_transform makes of it, in `room`, or itself. An image that is
 * no subject changes nothing.
 */
struct bytes stream_transform(const struct stream *stream, struct bytes subject, struct text *room);

/* ---- bucket, stripe, shard: the one place that maps them ---- */

/*
 * By a checksum, not by hash_bytes: that one is seeded anew by each process, while a shard must find in its own log what it
 * put there before.
 */
uint32_t stripe_of_key(uint32_t stripe_count, struct bytes key);
uint32_t stripe_shard(const struct stream *stream, uint32_t stripe);
/* The subject without the bucket's prefix; a subject outside it (after a change of subjects) keeps a leading dot. */
struct bytes stream_key_of(const struct stream *stream, struct bytes subject, char *room);
/* The other way; `room` must take prefix + key. */
struct bytes stream_subject_of(const struct stream *stream, struct bytes key, char *room);
enum { STREAM_KEY_ROOM = 65536 + 512 };

/* ---- the watermark (kv/watermark.c) ---- */

uint64_t stream_watermark(const struct stream *stream);
/* on_reached runs in a phase when everything up to seq is durable and offered; at the earliest in this turn's phase. */
void stream_wait_watermark(struct stream *stream, struct watermark_wait *wait, uint64_t seq,
                           void (*on_reached)(struct watermark_wait *wait));
/* A floor of this shard rose: tells the shards that wait. */
void stream_floor_rose(struct stream *stream);
/* Looks at the watermark in this turn's phase. */
void stream_nudge(struct stream *stream);
/* The stream is going: everything that waits runs now. */
void stream_release_waits(struct stream *stream);
void watermark_phase(struct shard *shard, void *context);

#endif
