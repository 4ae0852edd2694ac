/*
 * kv/follower.c: the list, the queue behind it, and the way from one to the other.
 */
#include "kv/follower.h"

#include "kv/backlog.h"
#include "kv/listing.h"
#include "kv/record_queue.h"

enum {
    QUEUE_MAX = 8192, /* records */
    QUEUE_BYTES_MAX = 8 << 20,
    GATHER_MAX = 8 * QUEUE_MAX, /* the same while the list is being made */
    GATHER_BYTES_MAX = 64 << 20,
    BURST_MAX = 1024, /* records in one pump; then the others' turn */
};

enum follower_state { FOLLOWER_GATHERING, FOLLOWER_LISTING, FOLLOWER_LIVE };

/* A message of the list that was asked for. */
struct slot {
    uint64_t index; /* in the backlog */
    uint32_t found;
    struct feed_record *record; /* owns; NULL unless FOUND */
};

struct follower {
    struct follower *feed_next;
    struct stream *origin; /* borrows; whoever ends it destroys us first */
    struct follower_sink *sink;
    struct consumer_config filter; /* owns */
    enum follower_state state;
    bool is_closing; /* freed when nothing is outstanding */
    bool is_pumping, is_fetching;
    bool is_overrun;      /* while gathering: the feed brought more than the queue takes */
    uint32_t outstanding; /* gathers and waits that will call back */
    uint64_t from_seq;    /* nothing below is handed over; moves on with what is */
    uint64_t from_time_ns;
    uint64_t gathered_upto; /* the list is what there is up to this sequence */
    struct gather gather;
    struct watermark_wait watermark;
    struct backlog backlog;
    struct slot window[LISTING_FETCH_MAX];
    uint32_t window_count, window_next;
    struct record_queue queue;
    uint64_t dropped_from; /* first record that did not fit the queue; 0: none */
    uint64_t dropped_count;
    struct timer burst;
};

static void follower_gather(struct follower *follower);
static void follower_on_burst(struct timer *timer);

static struct heap *heap_of(const struct follower *follower)
{
    return follower->origin->kv->shard->heap;
}

/* ---- life ---- */

struct follower *follower_create(struct stream *origin, struct consumer_config *filter,
                                 uint64_t from_seq, uint64_t from_time_ns,
                                 struct follower_sink *sink)
{
    ASSERT_ON_SHARD(origin->kv->shard);
    struct follower *follower = heap_alloc_zeroed(origin->kv->shard->heap, sizeof *follower);
    follower->origin = origin;
    follower->sink = sink;
    follower->filter = *filter;
    *filter = (struct consumer_config){0};
    follower->from_seq = from_seq;
    follower->from_time_ns = from_time_ns;
    follower->backlog.heap = origin->kv->shard->heap;
    struct feed *feed = feed_of(origin);
    follower->feed_next = feed->followers;
    feed->followers = follower;
    follower_gather(follower);
    return follower;
}

static void window_clear(struct follower *follower)
{
    for (uint32_t i = 0; i < follower->window_count; i++) {
        if (follower->window[i].record != NULL)
            feed_record_release(follower->window[i].record);
    }
    follower->window_count = follower->window_next = 0;
}

static void follower_free(struct follower *follower)
{
    window_clear(follower);
    record_queue_clear(&follower->queue);
    backlog_clear(&follower->backlog);
    consumer_config_free(&follower->filter);
    heap_free(follower);
}

void follower_destroy(struct follower *follower)
{
    struct stream *origin = follower->origin;
    ASSERT(!follower->is_closing);
    follower->is_closing = true;
    timer_stop(&follower->burst);
    struct follower **link = &origin->feed->followers;
    while (*link != follower)
        link = &(*link)->feed_next;
    *link = follower->feed_next;
    if (follower->outstanding == 0 && !follower->is_pumping)
        follower_free(follower);
    feed_end_if_idle(origin);
}

/* What an operation owes when it calls back: true if the follower is gone. */
static bool follower_returned(struct follower *follower)
{
    ASSERT(follower->outstanding > 0);
    follower->outstanding--;
    if (!follower->is_closing)
        return false;
    if (follower->outstanding == 0)
        follower_free(follower);
    return true;
}

struct follower *follower_next(const struct follower *follower)
{
    return follower->feed_next;
}

struct follower_sink *follower_sink_of(const struct follower *follower)
{
    return follower->sink;
}

uint64_t follower_pending(const struct follower *follower)
{
    return follower->backlog.alive + follower->queue.alive + follower->dropped_count;
}

/* ---- gathering ---- */

static bool follower_wants(const struct follower *follower, const struct feed_record *record)
{
    return record->seq >= follower->from_seq && record->time_ns >= follower->from_time_ns
           && consumer_config_matches(&follower->filter, feed_record_subject(record));
}

static void gather_on_part(struct gather *gather, const void *payload, uint32_t bytes,
                           uint32_t from)
{
    (void)bytes;
    struct follower *follower = CONTAINER_OF(gather, struct follower, gather);
    if (follower->is_closing)
        return; /* the origin may be gone */
    const struct listing_part *part = payload;
    const uint64_t *seqs = (const uint64_t *)(part + 1);
    uint32_t count = follower->origin->kv->shard->count;
    uint32_t stripe = (from + count - follower->origin->id % count) % count;
    for (uint64_t i = 0; i < part->count; i++)
        backlog_add(&follower->backlog, seqs[i], stripe);
    if (part->last_seq > follower->gathered_upto)
        follower->gathered_upto = part->last_seq;
}

/* A record above the list. */
static void take_live(struct follower *follower, struct feed_record *record)
{
    if (!follower_wants(follower, record))
        return;
    if (follower->dropped_from == 0
        && record_queue_is_full(&follower->queue, QUEUE_MAX, QUEUE_BYTES_MAX))
        follower->dropped_from = record->seq;
    if (follower->dropped_from == 0)
        record_queue_push(&follower->queue, heap_of(follower), record);
    else
        follower->dropped_count++;
}

/* One record that the list may have missed. */
static void fold_record(struct follower *follower, const struct feed_record *record)
{
    char room[STREAM_KEY_ROOM];
    if (!follower_wants(follower, record))
        return;
    struct stream *origin = follower->origin;
    struct bytes key = stream_key_of(origin, feed_record_subject(record), room);
    backlog_insert(&follower->backlog, record->seq, stripe_of_key(origin->stripe_count, key));
}

/* The list becomes all that there is up to gathered_upto; what the feed brought above that is live. */
static void follower_settle(struct follower *follower)
{
    struct record_queue all = follower->queue;
    struct feed_record *record;
    follower->queue = (struct record_queue){0};
    backlog_sort(&follower->backlog);
    while ((record = record_queue_pop(&all)) != NULL) {
        if (record->seq <= follower->gathered_upto)
            fold_record(follower, record);
        else
            take_live(follower, record);
        feed_record_release(record);
    }
    record_queue_clear(&all);
}

static void on_watermark(struct watermark_wait *wait)
{
    struct follower *follower = CONTAINER_OF(wait, struct follower, watermark);
    if (follower_returned(follower))
        return;
    if (follower->is_overrun) { /* more came than fits while the list was made: once more */
        record_queue_clear(&follower->queue);
        backlog_clear(&follower->backlog);
        follower_gather(follower);
        return;
    }
    follower->state = FOLLOWER_LISTING;
    follower_settle(follower);
    follower_pump(follower);
}

static void gather_on_lists(struct gather *gather)
{
    struct follower *follower = CONTAINER_OF(gather, struct follower, gather);
    if (follower_returned(follower))
        return;
    struct stream *origin = follower->origin;
    uint64_t taken = order_last_taken(origin->order);
    if (taken > follower->gathered_upto)
        follower->gathered_upto = taken;
    follower->outstanding++;
    stream_wait_watermark(origin, &follower->watermark, follower->gathered_upto, on_watermark);
}

static void follower_gather(struct follower *follower)
{
    follower->state = FOLLOWER_GATHERING;
    follower->is_overrun = false;
    follower->gathered_upto = 0;
    follower->dropped_from = follower->dropped_count = 0;
    follower->gather = (struct gather){.on_part = gather_on_part, .on_done = gather_on_lists};
    follower->outstanding++;
    listing_ask_sequences(follower->origin, &follower->gather, &follower->filter, LISTING_ALL,
                          follower->from_seq, follower->from_time_ns, UINT64_MAX);
}

void follower_on_record(struct follower *follower, struct feed_record *record)
{
    if (follower->state != FOLLOWER_GATHERING)
        take_live(follower, record);
    else if (record_queue_is_full(&follower->queue, GATHER_MAX, GATHER_BYTES_MAX))
        follower->is_overrun = true;
    else if (follower_wants(follower, record))
        record_queue_push(&follower->queue, heap_of(follower), record);
}

/* ---- the list ---- */

static void window_on_part(struct gather *gather, const void *payload, uint32_t bytes,
                           uint32_t from)
{
    (void)from;
    struct follower *follower = CONTAINER_OF(gather, struct follower, gather);
    if (follower->is_closing)
        return; /* the origin may be gone */
    const char *at = payload, *end = at + bytes;
    while (at < end) {
        const struct listing_message *message = (const struct listing_message *)at;
        struct slot *slot = &follower->window[message->slot];
        slot->found = message->found;
        at += sizeof *message;
        if (message->found == LISTING_FOUND)
            slot->record = feed_record_copy(heap_of(follower), (const struct feed_record *)at);
        at += (message->record_bytes + 7u) & ~7u;
    }
}

static void window_on_done(struct gather *gather)
{
    struct follower *follower = CONTAINER_OF(gather, struct follower, gather);
    if (follower_returned(follower))
        return;
    follower->is_fetching = false;
    follower_pump(follower);
}

/* Asks for the next messages of the list; false: there are none left. */
static bool window_ask(struct follower *follower)
{
    struct backlog *backlog = &follower->backlog;
    window_clear(follower);
    while (backlog->next < backlog->count && follower->window_count < LISTING_FETCH_MAX) {
        uint64_t index = backlog->next++;
        if (backlog_is_wanted(backlog, index))
            follower->window[follower->window_count++] =
                (struct slot){.index = index, .found = LISTING_SKIPPED};
    }
    if (follower->window_count == 0)
        return false;
    follower->gather = (struct gather){.on_part = window_on_part, .on_done = window_on_done};
    follower->is_fetching = true;
    follower->outstanding++;
    for (uint32_t stripe = 0; stripe < follower->origin->stripe_count; stripe++) {
        struct listing_wanted wanted[LISTING_FETCH_MAX];
        uint32_t count = 0;
        for (uint32_t i = 0; i < follower->window_count; i++) {
            uint64_t index = follower->window[i].index;
            if (backlog_stripe(backlog, index) == stripe)
                wanted[count++] = (struct listing_wanted){backlog_seq(backlog, index), i};
        }
        if (count > 0)
            listing_ask_messages(follower->origin, &follower->gather, stripe, wanted, count, false);
    }
    return true;
}

/* Hands a record over; true: it was taken. */
static bool hand_over(struct follower *follower, const struct feed_record *record)
{
    uint64_t seq = record->seq;
    if (!follower->sink->take(follower->sink, record))
        return false;
    follower->from_seq = seq + 1;
    return true;
}

/* Takes the window's next slot; false: the sink has no room. */
static bool window_step(struct follower *follower)
{
    struct slot *slot = &follower->window[follower->window_next];
    struct backlog *backlog = &follower->backlog;
    if (slot->found == LISTING_SKIPPED) { /* the answer was full: go back to here */
        backlog->next = slot->index;
        window_clear(follower);
        return true;
    }
    if (slot->record != NULL && !hand_over(follower, slot->record))
        return false;
    if (slot->record != NULL)
        backlog_delivered(backlog, slot->index);
    else /* gone, or damaged, which the store has said */
        (void)backlog_kill(backlog, backlog_seq(backlog, slot->index));
    follower->window_next++;
    return true;
}

/* One step of the list; false: it waits. */
static bool list_step(struct follower *follower)
{
    if (follower->is_fetching)
        return false;
    if (follower->window_next < follower->window_count)
        return window_step(follower);
    if (window_ask(follower))
        return false;
    backlog_clear(&follower->backlog);
    follower->state = FOLLOWER_LIVE;
    return true;
}

static bool live_step(struct follower *follower)
{
    struct record_queue *queue = &follower->queue;
    if (record_queue_next_seq(queue) == UINT64_MAX) {
        if (follower->dropped_from != 0)
            follower_gather(follower);
        return false;
    }
    struct feed_record *record = queue->entries[queue->first & (queue->capacity - 1)].record;
    if (!hand_over(follower, record))
        return false;
    feed_record_release(record_queue_pop(queue));
    return true;
}

static void follower_on_burst(struct timer *timer)
{
    follower_pump(CONTAINER_OF(timer, struct follower, burst));
}

void follower_pump(struct follower *follower)
{
    if (follower->is_pumping || follower->is_closing)
        return;
    follower->is_pumping = true;
    uint32_t steps = 0;
    bool goes_on = true;
    while (goes_on && steps++ < BURST_MAX && !follower->is_closing) {
        if (follower->state == FOLLOWER_LISTING)
            goes_on = list_step(follower);
        else if (follower->state == FOLLOWER_LIVE)
            goes_on = live_step(follower);
        else
            goes_on = false;
    }
    follower->is_pumping = false;
    if (follower->is_closing) {
        if (follower->outstanding == 0)
            follower_free(follower);
        return;
    }
    struct shard *shard = follower->origin->kv->shard;
    if (goes_on)
        timer_start(shard->timers, &follower->burst, shard_now_ns(shard), follower_on_burst);
}
