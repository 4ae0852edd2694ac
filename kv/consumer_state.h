/*
 * kv/consumer_state.h: a consumer from the inside; for kv/consumer*.c alone.
 *
 *     consumer.c          life, the table by deliver subject, info
 *     consumer_gather.c   the list, and what the feed brings
 *     consumer_deliver.c  the way out: list, queue, flow-control requests
 *     consumer_pulse.c    heartbeats, interest, answers to flow-control requests
 */
#ifndef KV_CONSUMER_STATE_H
#define KV_CONSUMER_STATE_H

#include "kv/backlog.h"
#include "kv/consumer.h"
#include "kv/directory.h"
#include "kv/record_queue.h"

enum {
    CONSUMER_FLOW_WINDOW_START = 2 << 20, /* jetstream-consumers.md section 7.5 */
    CONSUMER_FLOW_WINDOW_MAX = 32 << 20,
};

enum consumer_state { CONSUMER_GATHERING, CONSUMER_LISTING, CONSUMER_LIVE };

/* A message of the list that was asked for. */
struct window_slot {
    uint64_t index; /* in the backlog */
    uint32_t found;
    struct feed_record *record; /* owns; NULL unless FOUND */
};

struct consumer {
    struct consumer *feed_next, *hash_next;
    struct stream *stream; /* borrows; ends every consumer before it goes */
    struct consumer_config config;
    struct text name;
    struct text ack_prefix; /* $JS.ACK.<stream>.<consumer>.1. */
    bool wants_all;         /* no filter, or one that every subject of the stream matches */
    uint64_t created_ns;
    enum consumer_state state;
    bool is_closing; /* freed when nothing is outstanding */
    bool is_active;  /* somebody subscribes */
    bool is_pumping;
    bool is_started;  /* the create request was answered; positions are set */
    bool is_restored; /* positions are those of an earlier process */
    bool is_overrun;  /* while gathering: the feed brought more than the queue takes */

    enum listing_kind kind; /* of the gathering under way */
    uint64_t from_seq, from_time_ns;
    uint64_t *early_removed; /* owns: removals heard of while gathering */
    uint64_t early_removed_count, early_removed_capacity;
    struct gather gather;
    uint32_t outstanding; /* gathers and waits that will call back */
    struct watermark_wait watermark;
    uint64_t gathered_upto; /* the list is the state as of this sequence */
    uint64_t first_seq;     /* lowest in the stream at that time */
    struct backlog backlog;
    struct window_slot window[LISTING_FETCH_MAX];
    uint32_t window_count, window_next;
    bool is_fetching;

    struct record_queue queue;
    uint64_t dropped_from;  /* sequence of the first record that did not fit the queue; 0: none */
    struct backlog dropped; /* those, as long as they are there; counted, then gathered anew */

    uint64_t min_seq; /* nothing below is delivered */
    uint64_t consumer_seq,
        stream_seq; /* last delivered; stream_seq starts at the position before the first */
    uint64_t last_active_ns;

    uint64_t flow_window, flow_bytes, flow_covered;
    uint32_t flow_count;
    char flow_id[5]; /* empty: no request is out */

    struct timer heartbeat, inactive, burst, position;
    bool is_kept, was_kept; /* outlives the process; its first position was told */
    uint64_t kept_seq;      /* consumer_seq as last told to the directory */
    uint64_t last_sent_ns;
    void *context;
    void (*on_ready)(void *context, struct consumer *consumer);
};

static inline struct kv *kv_of_consumer(const struct consumer *consumer)
{
    return consumer->stream->kv;
}

/* num_pending: what would still be delivered if nothing changed from now on. */
static inline uint64_t consumer_pending(const struct consumer *consumer)
{
    return consumer->backlog.alive + consumer->queue.alive + consumer->dropped.alive;
}

/* ---- consumer.c ---- */

/* What an operation owes when it calls back: true if the consumer is gone. */
bool consumer_returned(struct consumer *consumer);
/* Nothing is outstanding, and it is destroyed. */
void consumer_free(struct consumer *consumer);
/* Whether a record of the stream is for this consumer. */
bool consumer_wants(const struct consumer *consumer, const struct feed_record *record);
/* The first consumer that may have this deliver subject; the others follow by hash_next. */
struct consumer *consumer_first_of_subject(struct kv *kv, struct bytes subject);

/* ---- consumer_gather.c ---- */

/* Begins a list of what is stored from there on; the feed is registered with it. */
void consumer_gather(struct consumer *consumer, enum listing_kind kind, uint64_t from_seq,
                     uint64_t from_time_ns);
/* A new list of what the queue had no room for. */
void consumer_regather(struct consumer *consumer);

/* ---- consumer_deliver.c ---- */

void consumer_window_clear(struct consumer *consumer);
/* A message without a stored record, to the deliver subject. */
void consumer_send_status(struct consumer *consumer, struct bytes reply, struct bytes headers);
/* The subject that answers the flow-control request that is out; gives its length. */
size_t consumer_flow_subject(const struct consumer *consumer, char *out, size_t room);
/* Tells the directory where the consumer is, if it has moved; the next delivery starts the timer again. */
void consumer_keep_position(struct timer *timer);

/* ---- consumer_pulse.c ---- */

/* The consumer is known now: heartbeats begin, or the wait for a subscriber. */
void consumer_start_pulse(struct consumer *consumer);

#endif
