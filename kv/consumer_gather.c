/*
 * kv/consumer_gather.c: how a consumer learns what there is.
 *
 * Gathering: ask every stripe for its part of the list (which also makes it offer from now on); then read what was given
 * out last, and wait until the watermark covers that and the list. What the feed brought meanwhile up to that sequence is
 * folded into the list, in order; the list is then exactly the state as of that sequence, and all above is live.
 */
#include "kv/consumer_state.h"

enum {
    CONSUMER_QUEUE_MAX = 8192, /* records */
    CONSUMER_QUEUE_BYTES_MAX = 8 << 20,
    CONSUMER_GATHER_MAX = 8 * CONSUMER_QUEUE_MAX, /* the same while the list is being made */
    CONSUMER_GATHER_BYTES_MAX = 64 << 20,
};

static void gather_on_part(struct gather *gather, const void *payload, uint32_t bytes,
                           uint32_t from)
{
    (void)bytes;
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, gather);
    if (consumer->is_closing)
        return; /* its stream may be gone */
    const struct listing_part *part = payload;
    const uint64_t *seqs = (const uint64_t *)(part + 1);
    uint32_t count = kv_of_consumer(consumer)->shard->count;
    uint32_t stripe = (from + count - consumer->stream->id % count) % count;
    for (uint64_t i = 0; i < part->count; i++)
        backlog_add(&consumer->backlog, seqs[i], stripe);
    if (part->first_seq != 0 && (consumer->first_seq == 0 || part->first_seq < consumer->first_seq))
        consumer->first_seq = part->first_seq;
    if (part->last_seq > consumer->gathered_upto)
        consumer->gathered_upto = part->last_seq;
}

static bool consumer_lists_per_key(const struct consumer *consumer)
{
    return consumer->config.deliver_policy == DELIVER_LAST_PER_SUBJECT
           && consumer->kind == LISTING_PER_KEY && consumer->list_upto == UINT64_MAX
           && consumer->stream->config.messages_per_subject_max != 1;
}

/* One record that the list may have missed, in sequence order. */
static void fold_record(struct consumer *consumer, const struct feed_record *record)
{
    struct backlog *backlog = &consumer->backlog;
    for (uint32_t i = 0; i < record->removed_count; i++) {
        (void)backlog_kill(backlog, record->removed[i]);
        consumer_settle_removed(consumer, record->removed[i]);
    }
    if (consumer->kind == LISTING_NONE || record->seq < consumer->from_seq
        || record->time_ns < consumer->from_time_ns || !consumer_wants(consumer, record))
        return;
    if (consumer_lists_per_key(consumer)) {
        if (record->previous_seq > record->seq)
            return; /* a latecomer: not the key's last */
        (void)backlog_kill(backlog, record->previous_seq);
    }
    struct bytes subject = feed_record_subject(record);
    char room[STREAM_KEY_ROOM];
    struct bytes key = stream_key_of(consumer->stream, subject, room);
    backlog_insert(backlog, record->seq, stripe_of_key(consumer->stream->stripe_count, key));
}

/* A record above the list: what it pushed out, and whether it is wanted. */
static void consumer_take_live(struct consumer *consumer, struct feed_record *record)
{
    for (uint32_t i = 0; i < record->removed_count; i++)
        consumer_on_removed(consumer, &record->removed[i], 1);
    if (record->seq < consumer->min_seq || !consumer_wants(consumer, record))
        return;
    if (consumer->dropped_from == 0
        && record_queue_is_full(&consumer->queue, CONSUMER_QUEUE_MAX, CONSUMER_QUEUE_BYTES_MAX))
        consumer->dropped_from = record->seq;
    if (consumer->dropped_from != 0)
        backlog_add(&consumer->dropped, record->seq, 0);
    else
        record_queue_push(&consumer->queue, kv_of_consumer(consumer)->shard->heap, record);
}

static void early_removed_apply(struct consumer *consumer)
{
    for (uint64_t i = 0; i < consumer->early_removed_count; i++)
        consumer_on_removed(consumer, &consumer->early_removed[i], 1);
    heap_free(consumer->early_removed);
    consumer->early_removed = NULL;
    consumer->early_removed_count = consumer->early_removed_capacity = 0;
}

static void early_removed_add(struct consumer *consumer, uint64_t seq)
{
    if (consumer->early_removed_count == consumer->early_removed_capacity) {
        uint64_t capacity =
            consumer->early_removed_capacity == 0 ? 64 : 2 * consumer->early_removed_capacity;
        consumer->early_removed = heap_resize(kv_of_consumer(consumer)->shard->heap,
                                              consumer->early_removed, capacity * sizeof seq);
        consumer->early_removed_capacity = capacity;
    }
    consumer->early_removed[consumer->early_removed_count++] = seq;
}

/* The list becomes the state as of gathered_upto; what the feed brought above that is live. */
static void consumer_settle(struct consumer *consumer)
{
    struct record_queue all = consumer->queue;
    consumer->queue = (struct record_queue){0};
    backlog_sort(&consumer->backlog);
    while (record_queue_next_seq(&all) <= consumer->gathered_upto && all.first < all.end) {
        struct feed_record *record = record_queue_pop(&all);
        fold_record(consumer, record);
        feed_record_release(record);
    }
    if (consumer->kind == LISTING_LAST)
        backlog_keep_only_last(&consumer->backlog);
    struct feed_record *record;
    while ((record = record_queue_pop(&all)) != NULL) {
        consumer_take_live(consumer, record);
        feed_record_release(record);
    }
    record_queue_clear(&all);
    early_removed_apply(consumer);
}

/* The stream position before the first delivery (jetstream-consumers.md section 5.1). */
static uint64_t consumer_position(const struct consumer *consumer)
{
    uint64_t last = consumer->gathered_upto;
    uint64_t first = consumer->first_seq != 0 ? consumer->first_seq : last + 1;
    uint64_t member = consumer->backlog.count > 0 ? backlog_seq(&consumer->backlog, 0) : UINT64_MAX;
    switch (consumer->config.deliver_policy) {
    case DELIVER_NEW:
        return last;
    case DELIVER_LAST:
        return (member != UINT64_MAX ? member : first) - 1;
    case DELIVER_BY_START_TIME:
        return member != UINT64_MAX ? member - 1 : last;
    case DELIVER_BY_START_SEQUENCE:
        return (consumer->config.start_seq > first ? consumer->config.start_seq : first) - 1;
    case DELIVER_LAST_PER_SUBJECT:
        if (consumer_lists_per_key(consumer))
            return member != UINT64_MAX ? member - 1 : last == 0 ? 0 : last - 1;
        return first - 1;
    default:
        return first - 1;
    }
}

static void consumer_start(struct consumer *consumer)
{
    struct progress *progress = &consumer->progress;
    if (!consumer->is_restored) {
        uint64_t position = consumer_position(consumer);
        consumer_note(consumer,
                      &(struct progress_operation){.kind = PROGRESS_POSITION,
                                                   .seq = position,
                                                   .time_ns = consumer_lists_per_key(consumer)
                                                                  ? consumer->gathered_upto
                                                                  : 0});
        consumer_note(consumer,
                      &(struct progress_operation){.kind = PROGRESS_FLOOR, .seq = position});
        consumer->kept_seq = 0;
        if (consumer->context != NULL)
            advise_action(consumer, "create");
    }
    consumer->list_upto = progress->list_upto;
    consumer->is_started = true;
    consumer_flush_soon(consumer);
    consumer_start_pulse(consumer);
    if (consumer_takes_acks(consumer))
        consumer_check_overdue(consumer);
    consumer->on_ready(consumer->context, consumer);
}

void consumer_regather(struct consumer *consumer)
{
    uint64_t from = consumer->dropped_from;
    consumer->dropped_from = 0;
    backlog_clear(&consumer->dropped);
    backlog_clear(&consumer->backlog);
    consumer_gather(consumer, LISTING_ALL, from, 0);
}

static void consumer_on_watermark(struct watermark_wait *wait)
{
    struct consumer *consumer = CONTAINER_OF(wait, struct consumer, watermark);
    if (consumer_returned(consumer))
        return;
    ASSERT(consumer->state == CONSUMER_GATHERING);
    if (consumer
            ->is_overrun) { /* the feed brought more than fits while the list was made: once more */
        consumer_gather_reset(consumer);
        backlog_clear(&consumer->backlog);
        consumer_gather(consumer, consumer->kind, consumer->from_seq, consumer->from_time_ns);
        return;
    }
    consumer->state = CONSUMER_LISTING;
    consumer_settle(consumer);
    if (!consumer->is_started)
        consumer_start(consumer);
    consumer_pump(consumer);
}

static void gather_on_lists(struct gather *gather)
{
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, gather);
    if (consumer_returned(consumer))
        return;
    struct stream *stream = consumer->stream;
    uint64_t taken = order_last_taken(stream->order);
    if (taken > consumer->gathered_upto)
        consumer->gathered_upto = taken;
    consumer->outstanding++;
    stream_wait_watermark(stream, &consumer->watermark, consumer->gathered_upto,
                          consumer_on_watermark);
}

void consumer_gather(struct consumer *consumer, enum listing_kind kind, uint64_t from_seq,
                     uint64_t from_time_ns)
{
    consumer->state = CONSUMER_GATHERING;
    consumer->kind = kind;
    consumer->from_seq = from_seq;
    consumer->from_time_ns = from_time_ns;
    consumer->gathered_upto = consumer->first_seq = 0;
    consumer->gather.on_part = gather_on_part;
    consumer->gather.on_done = gather_on_lists;
    consumer->outstanding++;
    listing_ask_sequences(consumer->stream, &consumer->gather, &consumer->config, kind, from_seq,
                          from_time_ns, consumer->list_upto);
}

void consumer_gather_reset(struct consumer *consumer)
{
    consumer->is_overrun = false;
    record_queue_clear(&consumer->queue);
    consumer->early_removed_count = 0;
}

/* ---- from the feed ---- */

void consumer_on_record(struct consumer *consumer, struct feed_record *record)
{
    bool is_foreign = record->removed_count == 0 && !consumer_wants(consumer, record);
    if (is_foreign)
        return;
    if (consumer->state != CONSUMER_GATHERING)
        consumer_take_live(consumer, record);
    else if (record_queue_is_full(&consumer->queue, CONSUMER_GATHER_MAX, CONSUMER_GATHER_BYTES_MAX))
        consumer->is_overrun = true;
    else
        record_queue_push(&consumer->queue, kv_of_consumer(consumer)->shard->heap, record);
}

void consumer_on_removed(struct consumer *consumer, const uint64_t *seqs, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        consumer_settle_removed(consumer, seqs[i]);
        if (consumer->state == CONSUMER_GATHERING)
            early_removed_add(consumer, seqs[i]);
        else if (backlog_kill(&consumer->backlog, seqs[i])
                 || record_queue_kill(&consumer->queue, seqs[i]))
            continue;
        else
            (void)backlog_kill(&consumer->dropped, seqs[i]);
    }
}
