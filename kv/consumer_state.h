/*
 * kv/consumer_state.h: a consumer from the inside; for kv/consumer*.c alone.
 *
 *     consumer.c          life, the table by deliver subject, info
 *     consumer_gather.c   the list, and what the feed brings
 *     consumer_deliver.c  the way out: list, queue, flow-control requests
 *     consumer_pulse.c    heartbeats, interest, pauses, answers to flow-control requests
 *     consumer_ack.c      acknowledgements, and when they are overdue
 *     consumer_redeliver.c  messages that go out again
 *     consumer_flush.c    progress on its way to the log
 *     consumer_advisory.c what it tells whoever watches the server
 */
#ifndef KV_CONSUMER_STATE_H
#define KV_CONSUMER_STATE_H

#include "kv/backlog.h"
#include "kv/consumer.h"
#include "kv/directory.h"
#include "kv/progress.h"
#include "kv/record_queue.h"

enum {
    CONSUMER_FLOW_WINDOW_START = 2 << 20, /* jetstream-consumers.md section 7.5 */
    CONSUMER_FLOW_WINDOW_MAX = 32 << 20,
    CONSUMER_REDELIVER_MAX = 16, /* fetched at a time */
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
    struct text ack_prefix; /* $JS.ACK.<stream>.<consumer>. */
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
    uint64_t
        list_upto; /* LISTING_PER_KEY: the newest of each key up to here, then all; see listing.h */
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

    uint64_t min_seq;         /* nothing below is delivered */
    struct progress progress; /* of one that takes no acks only the position counts */
    uint64_t last_active_ns, last_ack_ns;

    uint64_t flow_window, flow_bytes, flow_covered;
    uint32_t flow_count;
    char flow_id[5]; /* empty: no request is out */

    struct timer heartbeat, inactive, burst, position;
    bool is_kept;      /* outlives the process */
    bool is_ending;    /* the whole server is: nobody is to be told */
    uint64_t kept_seq; /* consumer_seq as last told to the directory; UINT64_MAX: never */

    /* consumer_flush.c */
    struct text operations; /* owns: applied, not yet sent home */
    uint64_t flush_number;  /* of the flush that will take them */
    uint64_t flush_durable; /* all up to this one are in the log */
    struct flush_wait *flush_waits, **flush_waits_tail;
    struct consumer *flush_next;
    bool is_flush_queued;
    uint32_t settling_count, settling_unsent; /* settled, and not durable yet; of these, not sent */

    /* consumer_ack.c, consumer_redeliver.c */
    struct timer overdue, resume; /* the next acknowledgement is late; a pause ends */
    uint64_t *redeliveries;       /* owns: sequences to go out again, first come first served */
    uint32_t redeliver_first, redeliver_end, redeliver_capacity;
    struct gather redeliver_gather;
    struct window_slot again[CONSUMER_REDELIVER_MAX]; /* index: the sequence */
    uint32_t again_count, again_next;
    bool is_fetching_again;
    struct window_slot held; /* the list's next, until what follows it is known */
    bool is_updating;        /* a new configuration is on its way to the log */
    bool is_refilter_due;    /* new filters wait for the messages that were asked for */
    uint64_t last_sent_ns;
    void *context;
    void (*on_ready)(void *context, struct consumer *consumer);
};

static inline struct kv *kv_of_consumer(const struct consumer *consumer)
{
    return consumer->stream->kv;
}

static inline bool consumer_takes_acks(const struct consumer *consumer)
{
    return consumer->config.ack_policy != ACK_NONE;
}

static inline bool consumer_is_paused(const struct consumer *consumer)
{
    return consumer->config.pause_until_ns != 0
           && consumer->config.pause_until_ns > shard_wall_ns(kv_of_consumer(consumer)->shard);
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
/* No filter, or one that every subject of the stream matches. */
bool consumer_wants_all(const struct consumer *consumer);
/* The table by deliver subject: out before that changes, in again after. */
void consumer_table_add(struct consumer *consumer);
void consumer_table_remove(struct consumer *consumer);
/* The first consumer that may have this deliver subject; the others follow by hash_next. */
struct consumer *consumer_first_of_subject(struct kv *kv, struct bytes subject);

/* ---- consumer_gather.c ---- */

/* Begins a list of what is stored from there on; the feed is registered with it. */
void consumer_gather(struct consumer *consumer, enum listing_kind kind, uint64_t from_seq,
                     uint64_t from_time_ns);
/* Forgets what the feed brought so far: the list that is asked for next knows it. */
void consumer_gather_reset(struct consumer *consumer);
/* A new list of what the queue had no room for. */
void consumer_regather(struct consumer *consumer);

/* ---- consumer_deliver.c ---- */

void consumer_window_clear(struct consumer *consumer);
/* A message without a stored record, to the deliver subject. */
void consumer_send_status(struct consumer *consumer, struct bytes reply, struct bytes headers);
/* The subject that answers the flow-control request that is out; gives its length. */
size_t consumer_flow_subject(const struct consumer *consumer, char *out, size_t room);
/* Sends a record, as its deliveries-th delivery. */
void consumer_send(struct consumer *consumer, struct feed_record *record, uint32_t deliveries);
void consumer_held_clear(struct consumer *consumer);

/* ---- consumer_update.c ---- */

/* The filters are others: a new list of what is above the position. */
void consumer_refilter(struct consumer *consumer);

/* ---- consumer_flush.c ---- */

/* Applies it, and has it written. */
void consumer_note(struct consumer *consumer, const struct progress_operation *operation);
/* What was noted goes home at the end of this turn. */
void consumer_flush_soon(struct consumer *consumer);
/* A delivery was made: the position goes home before long. */
void consumer_flush_later(struct consumer *consumer);
/* It ends: who waits is told. */
void consumer_flush_end(struct consumer *consumer);

/* ---- consumer_ack.c ---- */

/* False: as many acknowledgements are awaited as may be. */
bool consumer_may_take_new(const struct consumer *consumer);
/* The record went out for the deliveries-th time. */
void consumer_await_ack(struct consumer *consumer, uint64_t seq, uint32_t deliveries);
/* A message was removed from the stream: nobody needs to acknowledge it any more. */
void consumer_settle_removed(struct consumer *consumer, uint64_t seq);
/* It was delivered as often as it may. */
void consumer_exhaust(struct consumer *consumer, uint64_t seq);
/* Looks at every message that awaits its ack, now. */
void consumer_check_overdue(struct consumer *consumer);

/* ---- consumer_redeliver.c ---- */

enum redeliver_step { REDELIVER_NONE, REDELIVER_WAITS, REDELIVER_WENT_ON };
enum redeliver_step consumer_redeliver_step(struct consumer *consumer, uint32_t *sent);
void consumer_redeliver(struct consumer *consumer, struct progress_entry *entry);
void consumer_redeliver_fini(struct consumer *consumer);

/* ---- consumer_advisory.c ---- */

void advise_action(struct consumer *consumer, const char *action); /* "create", "delete" */
void advise_exhausted(struct consumer *consumer, uint64_t seq, uint32_t deliveries);
void advise_nak(struct consumer *consumer, uint64_t seq, uint64_t consumer_seq,
                uint64_t deliveries);
void advise_terminated(struct consumer *consumer, uint64_t seq, uint64_t consumer_seq,
                       uint64_t deliveries, struct bytes reason);
void advise_pause(struct consumer *consumer);
void advise_sample(struct consumer *consumer, uint64_t seq, uint64_t consumer_seq,
                   uint64_t deliveries, uint64_t ack_ns);

/* ---- consumer_pulse.c ---- */

/* The consumer is known now: heartbeats begin, or the wait for a subscriber. */
void consumer_start_pulse(struct consumer *consumer);
/* An acknowledgement, or a new threshold: the wait for a subscriber begins anew. */
void consumer_restart_inactive(struct consumer *consumer);
/* The end of a pause, if there is one, wakes the consumer. */
void consumer_start_resume(struct consumer *consumer);

#endif
