/*
 * kv/stripe.h: the keys of one stream that live on one shard.
 *
 * State is changed when a message is sequenced here (stripe_put_message and the removals); what a change does to others
 * (watchers, space of dead records) waits until its record is durable, and is then reported by whoever made it.
 */
#ifndef KV_STRIPE_H
#define KV_STRIPE_H

#include "core/timer.h"
#include "kv/stream.h"
#include "store/store.h"

enum {
    STRIPE_MESSAGE_IS_ROLLUP =
        1u << 0, /* message.user: everything older of the key is gone, latecomers too */
    STRIPE_MESSAGE_HAS_HEADERS = 1u << 1,
    STRIPE_MESSAGE_IS_FOREVER = 1u << 2, /* Nats-TTL: never; max_age does not count either */
    STRIPE_MESSAGE_IS_FINAL = 1u << 3,   /* a marker or a purge: its end leaves no marker */
    STRIPE_MESSAGE_COVERS = 1u << 4,     /* its key had a message before: its end needs a record */
};

struct due_wheel;
struct msg_ids;

struct removed {
    uint64_t seq;
    location where; /* to be released when the remover is durable */
};

/* What one change removed; the first ones without an allocation. */
struct removed_list {
    struct removed few[2];
    struct removed *more; /* owns; NULL while few suffice */
    uint32_t count, capacity;
};

void removed_list_free(struct removed_list *list);
static inline const struct removed *removed_list_at(const struct removed_list *list, uint32_t i)
{
    return list->more != NULL ? &list->more[i] : &list->few[i];
}

/* What the stripe has added to the stream's totals (kv/stripe_total.c). */
struct stripe_total {
    uint64_t counted_bytes, counted_messages;   /* in the order's words */
    uint64_t reserved_bytes, reserved_messages; /* of these, for messages not entered yet */
    bool is_counted;                            /* the stream has such limits */
};

struct stripe {
    struct stream *stream;   /* borrows */
    struct index *index;     /* owns */
    uint64_t last_seq;       /* of what was put here */
    uint64_t stated_seq;     /* last_seq of the newest state record */
    uint64_t evicted_upto;   /* discard old has removed everything up to this sequence … */
    uint64_t evicted_stated; /* … and a record says so up to this one */
    uint64_t last_time_ns;
    uint64_t pending_count;      /* puts, removals and answers that hold this stripe */
    uint64_t pending_removals;   /* removals whose record is not durable yet */
    uint64_t unwritten_removals; /* of these, those the log had no room for yet */
    uint64_t feeds;              /* bit i: shard i hears of every durable change */
    uint32_t feed_generations[SHARD_COUNT_MAX];
    uint64_t
        feed_starts[SHARD_COUNT_MAX]; /* the registration each feed began with, see feed_offer */
    uint64_t registrations;
    struct pin *pins; /* owns: what snapshots keep of the past (kv/pin.h) */
    struct timer expiry;
    struct stripe_total total;

    /* kv/stripe_expiry.c */
    struct due_wheel *wheel;  /* owns; NULL while no message ends by itself but by age */
    uint64_t markers_pending; /* markers that are not sequenced or refused yet */
    uint64_t expired_ns;      /* what was due at this time … */
    uint64_t expired_upto;    /* … up to this sequence is dead, as the newest state record says */
    uint64_t aged_upto_ns;    /* the same for max_age: what was stored at this time or before */
    struct holds *holds;      /* owns; NULL unless someone reads the stripe as it was (kv/hold.c) */
    uint64_t entering_seq;    /* of the message being entered, which may push others out; 0: none */

    /* kv/put_ids.c */
    struct msg_ids *ids; /* owns; NULL while no message had one */
    struct text last_id; /* owns: of the message last_id_seq, the last one that had an id */
    uint64_t last_id_seq;
};

struct stripe *stripe_create(struct stream *stream);
void stripe_destroy(struct stripe *stripe); /* memory streams: frees the messages */

/* The subject's key and hash. room: STREAM_KEY_ROOM bytes, used only for subjects outside the prefix. */
struct index_key *stripe_find(const struct stripe *stripe, struct bytes key, uint64_t hash);

/*
 * Why the stream's limits refuse a message of this size; NULL: they do not, and its room is reserved where stripes share a limit
 * (stripe_total_unreserve). Words of nats-server (10077).
 */
const char *stripe_limit_words(struct stripe *stripe, const struct index_key *key,
                               uint64_t size_bytes);

/* Sizes as JetStream counts them (jetstream-streams.md section 8.1). */
uint32_t stripe_message_size(const struct stream *stream, size_t subject_bytes,
                             size_t headers_bytes, size_t value_bytes);

/* A message that no one will see again the moment it arrives: newer ones of its key push it out. */
bool stripe_is_superseded(const struct stripe *stripe, const struct index_key *key, uint64_t seq);

/*
 * Enters a message; what history, rollup or discard old push out goes to `removed`. *previous_out is the key's newest
 * sequence before, 0 if none. A superseded message must not be entered.
 */
void stripe_put_message(struct stripe *stripe, struct bytes key, uint64_t hash,
                        const struct message *message, uint64_t *previous_out,
                        struct removed_list *removed);
/* Removes one message; false: it is not there. */
bool stripe_remove_message(struct stripe *stripe, struct index_key *key, uint64_t seq,
                           struct removed_list *removed);
/* Removes what matches the filter (empty: all) with sequences <= upto. */
void stripe_purge(struct stripe *stripe, struct bytes filter, uint64_t upto,
                  struct removed_list *removed);
/* Everything older than the message with this sequence goes. */
void stripe_rollup_all(struct stripe *stripe, uint64_t seq, struct removed_list *removed);
/* After a change of configuration: trims histories, restarts the expiry. */
void stripe_apply_limits(struct stripe *stripe);

/*
 * As stripe_removed_durable, for removals that recovery repeats by itself (expiry): if nothing alive tells the stripe's last
 * sequence any more, a state record does so first. Takes the list over.
 */
void stripe_retire(struct stripe *stripe, struct removed_list *removed);
/* True when the newest living message is older than the last sequence, and no state record says so. */
bool stripe_needs_state(const struct stripe *stripe);
/*
 * Recovery repeats the last evictions of discard old by itself, as long as nothing else has changed since. So before anything else
 * is written about the stripe, a record says what was evicted. STATUS_BUSY: the log has no room.
 */
MUST_USE enum status stripe_state_evictions(struct stripe *stripe);
/* The type of a message's record: it tells the history in force, for recovery, which pushes out what it pushed out. */
uint8_t stripe_message_type(const struct stream *stream);
bool stripe_type_is_message(uint8_t type);
/* Flags of every record of this stream: what recovery needs to know before it has the configuration. */
uint8_t stripe_record_flags(const struct stream *stream);

/* Gives one removed message's space back; to be called once the remover is durable. */
void stripe_release(struct stripe *stripe, const struct removed *removed);
/* Gives removed messages' space back, and tells the feeds. To be called once the remover is durable. */
void stripe_removed_durable(struct stripe *stripe, const struct removed_list *removed);

/* ---- expiry (kv/stripe_expiry.c) ---- */

/* Of a message that is about to be entered: when it will end. */
void stripe_time_message(struct stripe *stripe, const struct message *message, uint64_t ttl);
/* Messages of the key that were over at this time go; needs a wheel. */
void stripe_drop_overdue(struct stripe *stripe, struct index_key *key, uint64_t time_ns,
                         struct removed_list *removed);
void stripe_schedule_expiry(struct stripe *stripe);
/* What is due goes now, as far as one turn can. */
void stripe_expire(struct stripe *stripe);
/* max_age or what allows TTLs may be others now. */
void stripe_expiry_configured(struct stripe *stripe);
void stripe_expiry_end(struct stripe *stripe);
/* API_OK: the marker has taken the place of the message; else why not. */
void stripe_marker_ended(struct stripe *stripe, uint64_t replaced_seq, enum api_error error);
/* Recovery: a state record; and, with the configuration, what max_age had removed. */
void stripe_replay_expired(struct stripe *stripe, uint64_t upto_ns, uint64_t upto_seq,
                           bool has_markers);
void stripe_drop_aged(struct stripe *stripe);

/* ---- stored bytes: the log for file streams, the heap for memory streams ---- */

MUST_USE enum status stripe_store_message(struct stripe *stripe, const struct record *record,
                                          location *where_out, struct store_wait *wait);
bool stripe_is_durable(const struct stripe *stripe, location where);
bool stripe_fetch(struct stripe *stripe, location where, struct store_fetch *fetch,
                  void (*on_done)(struct store_fetch *fetch, enum status status));
/* False where a read from the disk would be needed. */
bool stripe_fetch_at_once(struct stripe *stripe, location where, struct store_fetch *fetch);
void stripe_fetch_release(struct stripe *stripe, struct store_fetch *fetch);

/* ---- the log's state record (recovery needs it before it knows the configuration) ---- */

struct stripe_state {
    uint64_t last_seq, last_time_ns;
    uint64_t expired_ns, expired_upto, aged_upto_ns; /* see struct stripe */
    uint64_t has_markers; /* then the last message of a key was left for its marker */
};
enum { STRIPE_STATE_BYTES_V1 = 16 }; /* of earlier logs: the first two */
/* False: the log has no room; try again. wait (may be NULL) runs when durable. */
MUST_USE enum status stripe_write_state(struct stripe *stripe, struct store_wait *wait);

/* Recovery: one record of this stream as the log gives it. */
void stripe_replay(struct stripe *stripe, const struct record *record, location where);
/* Recovery: what earlier configurations had removed. keep > 0. */
void stripe_trim_upto(struct stripe *stripe, uint64_t upto, int64_t keep);
void stripe_drop_before(struct stripe *stripe, uint64_t time_ns);
/* Recovery: the configuration is known now; trims, and counts what is alive. */
void stripe_replayed(struct stripe *stripe);

#endif
