/*
 * kv/feed.h: what a stream's stripes report, brought into sequence order on a shard that has consumers of it.
 *
 *     stripe (durable record) ── feed_offer ─► mailbox ─► feed: heap by sequence ── feed_advance(W) ─► consumers
 *
 * Each record crosses once to a shard, however many consumers live there. What was removed travels too, so that the
 * consumers' pending counts stay exact: with the record that pushed it out, or on its own (purge, deletion, expiry).
 * A stripe offers from the moment the feed registers with it (kv/listing.c); a generation tells offers of an earlier
 * registration, which are dropped.
 */
#ifndef KV_FEED_H
#define KV_FEED_H

#include "kv/stream.h"
#include "kv/stripe.h"

struct consumer;
struct follower;

/* A record on a consumer's shard. Owned by its references (all on one shard). */
struct feed_record {
    uint32_t references;
    uint32_t removed_count;
    uint32_t subject_bytes, headers_bytes, value_bytes;
    uint32_t
        value_size; /* the value's true size; value_bytes is 0 where only headers were asked for */
    uint64_t seq, time_ns;
    uint64_t previous_seq; /* the key's newest before this one; higher than seq for a latecomer */
    uint8_t seq_digits, time_digits; /* 0: not written yet; the same for every consumer */
    char seq_text[20], time_text[20];
    uint64_t removed[]; /* sequences it pushed out; then subject, headers, value */
};

static inline struct bytes feed_record_subject(const struct feed_record *record)
{
    return bytes_of(&record->removed[record->removed_count], record->subject_bytes);
}
static inline struct bytes feed_record_headers(const struct feed_record *record)
{
    struct bytes subject = feed_record_subject(record);
    return bytes_of(subject.data + subject.count, record->headers_bytes);
}
static inline struct bytes feed_record_value(const struct feed_record *record)
{
    struct bytes headers = feed_record_headers(record);
    return bytes_of(headers.data + headers.count, record->value_bytes);
}
struct feed_record *feed_record_create(struct heap *heap, const struct record *record,
                                       uint64_t previous_seq, const struct removed_list *removed,
                                       bool is_headers_only);
uint64_t feed_record_bytes(const struct feed_record *record);
struct feed_record *feed_record_copy(struct heap *heap, const struct feed_record *record);
void feed_record_release(struct feed_record *record);

struct feed {
    struct stream *stream;      /* borrows */
    uint32_t generation;        /* of the registration with the stripes */
    struct consumer *consumers; /* list; each owned by kv's consumer table */
    struct follower *followers; /* list; each owned by its follow */
    uint64_t advanced_upto;     /* the last watermark handed out */
    struct feed_record **heap; /* owns: offered, not yet covered by the watermark; smallest first */
    uint32_t count, capacity;
};

/* The stream's feed on this shard, made if there is none. */
struct feed *feed_of(struct stream *stream);
/* Ends the feed when it has no consumers; the stripes stop offering. */
void feed_end_if_idle(struct stream *stream);
void feed_destroy(struct feed *feed);
/* Hands the records up to the watermark to the consumers, in order. */
void feed_advance(struct feed *feed, uint64_t watermark);
bool feed_is_waiting(const struct feed *feed);

/* ---- on the stripe's shard ---- */

struct feed_offer {
    uint64_t seq, previous_seq;
    const struct record *record;
    const struct removed_list *removed;
    uint64_t registrations; /* of the stripe when the record became durable */
};

/*
 * To the feeds that were there when the record became durable: a feed that came while it was being read has a list that is
 * newer than the record, and would not hear of what replaced it.
 */
void feed_offer(struct stripe *stripe, const struct feed_offer *offer);
void feed_offer_removed(struct stripe *stripe, const struct removed_list *removed);
/* A shard's feed registers with this stripe, or goes (generation 0). */
void feed_register(struct stripe *stripe, uint32_t shard_index, uint32_t generation);

#endif
