/*
 * kv/consumer_deliver.c: the way out of a consumer: the list in windows, then the queue, within what the subscriber takes.
 */
#include "kv/consumer_state.h"

#include <stdio.h>

enum {
    CONSUMER_BURST_MAX = 1024, /* deliveries in one pump; then the others' turn */
    QUEUED_BYTES_EVERY = 32,   /* deliveries between two looks at the connection */
};

void consumer_window_clear(struct consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->window_count; i++) {
        if (consumer->window[i].record != NULL)
            feed_record_release(consumer->window[i].record);
    }
    consumer->window_count = consumer->window_next = 0;
}

static struct bytes headers_with_size(struct text *text, const struct feed_record *record)
{
    struct bytes headers = feed_record_headers(record);
    text_clear(text);
    if (headers.count >= 4)
        text_append(text, bytes_of(headers.data, headers.count - 2));
    else
        text_append_literal(text, "NATS/1.0\r\n");
    text_append_format(text, "Nats-Msg-Size: %u\r\n\r\n", record->value_size);
    return text_bytes(text);
}

/* $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending> */
static size_t ack_reply(const struct consumer *consumer, struct feed_record *record,
                        uint32_t deliveries, char *out)
{
    if (record->seq_digits == 0) {
        record->seq_digits = (uint8_t)text_u64(record->seq_text, record->seq);
        record->time_digits = (uint8_t)text_u64(record->time_text, record->time_ns);
    }
    char *at = out;
    memcpy(at, consumer->ack_prefix.data, consumer->ack_prefix.count);
    at += consumer->ack_prefix.count;
    at += text_u64(at, deliveries);
    *at++ = '.';
    memcpy(at, record->seq_text, sizeof record->seq_text);
    at += record->seq_digits;
    *at++ = '.';
    at += text_u64(at, consumer->progress.consumer_seq);
    *at++ = '.';
    memcpy(at, record->time_text, sizeof record->time_text);
    at += record->time_digits;
    *at++ = '.';
    at += text_u64(at, consumer_pending(consumer));
    return (size_t)(at - out);
}

void consumer_send_status(struct consumer *consumer, struct bytes reply, struct bytes headers)
{
    struct kv *kv = kv_of_consumer(consumer);
    struct bytes deliver = text_bytes(&consumer->config.deliver_subject);
    struct msg msg = {.subject = deliver, .reply = reply, .headers = headers};
    kv->outbox->deliver(kv->outbox, consumer->stream->account, deliver, &msg);
}

size_t consumer_flow_subject(const struct consumer *consumer, char *out, size_t room)
{
    return (size_t)snprintf(out, room, "$JS.FC.%.*s.%.*s.%s",
                            (int)consumer->stream->config.name.count,
                            consumer->stream->config.name.data, (int)consumer->name.count,
                            consumer->name.data, consumer->flow_id);
}

/* The id's first two characters are the shard, so that the answer finds its way from any connection. */
static void flow_request(struct consumer *consumer)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    uint32_t shard = kv_of_consumer(consumer)->shard->index;
    uint32_t count = consumer->flow_count++;
    consumer->flow_id[0] = digits[shard / 36];
    consumer->flow_id[1] = digits[shard % 36];
    consumer->flow_id[2] = digits[count / 36 % 36];
    consumer->flow_id[3] = digits[count % 36];
    consumer->flow_covered = consumer->flow_bytes;
    char subject[2 * STREAM_NAME_BYTES_MAX + 32];
    size_t bytes = consumer_flow_subject(consumer, subject, sizeof subject);
    consumer_send_status(consumer, bytes_of(subject, bytes),
                         BYTES_LITERAL("NATS/1.0 100 FlowControl Request\r\n\r\n"));
}

static void flow_account(struct consumer *consumer, uint64_t weight)
{
    if (!consumer->config.flow_control)
        return;
    consumer->flow_bytes += weight;
    if (consumer->flow_id[0] == '\0') {
        if (consumer->flow_bytes > consumer->flow_window / 2)
            flow_request(consumer);
    } else if (consumer->flow_bytes - consumer->flow_covered >= consumer->flow_window) {
        consumer->flow_covered += weight;
    }
}

void consumer_send(struct consumer *consumer, struct feed_record *record, uint32_t deliveries)
{
    struct kv *kv = kv_of_consumer(consumer);
    char reply[2 * STREAM_NAME_BYTES_MAX + 128];
    consumer->progress.consumer_seq++;
    if (deliveries == 1)
        consumer->progress.stream_seq = record->seq;
    consumer->last_active_ns = shard_wall_ns(kv->shard);
    consumer->last_sent_ns = shard_now_ns(kv->shard);
    if (consumer_takes_acks(consumer))
        consumer_await_ack(consumer, record->seq, deliveries);
    consumer_flush_later(consumer);
    struct msg msg = {
        .subject = feed_record_subject(record),
        .headers = feed_record_headers(record),
        .payload = feed_record_value(record),
    };
    msg.reply = bytes_of(reply, ack_reply(consumer, record, deliveries, reply));
    if (consumer->config.headers_only) {
        msg.headers = headers_with_size(&kv->scratch, record);
        msg.payload = (struct bytes){0};
    }
    struct bytes deliver = text_bytes(&consumer->config.deliver_subject);
    kv->outbox->deliver(kv->outbox, consumer->stream->account, deliver, &msg);
    flow_account(consumer, deliver.count + msg.reply.count + msg.headers.count + msg.payload.count);
}

static bool consumer_may_send(const struct consumer *consumer, uint32_t sent)
{
    struct outbox *outbox = kv_of_consumer(consumer)->outbox;
    if (!consumer->is_active || consumer->is_closing || consumer_is_paused(consumer))
        return false;
    if (consumer->config.flow_control && consumer->flow_bytes > consumer->flow_window)
        return false;
    if (sent % QUEUED_BYTES_EVERY != 0)
        return true;
    return outbox->queued_bytes(outbox, consumer->stream->account,
                                text_bytes(&consumer->config.deliver_subject))
           < OUTBOX_SOFT_BYTES;
}

/* ---- the list ---- */

static void window_on_part(struct gather *gather, const void *payload, uint32_t bytes,
                           uint32_t from)
{
    (void)from;
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, gather);
    if (consumer->is_closing)
        return; /* its stream may be gone */
    struct heap *heap = kv_of_consumer(consumer)->shard->heap;
    const char *at = payload, *end = at + bytes;
    while (at < end) {
        const struct listing_message *message = (const struct listing_message *)at;
        struct window_slot *slot = &consumer->window[message->slot];
        slot->found = message->found;
        at += sizeof *message;
        if (message->found == LISTING_FOUND)
            slot->record = feed_record_copy(heap, (const struct feed_record *)at);
        at += (message->record_bytes + 7u) & ~7u;
    }
}

static void window_on_done(struct gather *gather)
{
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, gather);
    if (consumer_returned(consumer))
        return;
    consumer->is_fetching = false;
    if (consumer->is_refilter_due)
        consumer_refilter(consumer);
    consumer_pump(consumer);
}

/* Asks for the next messages of the list; false: there are none left. */
static bool window_ask(struct consumer *consumer)
{
    struct backlog *backlog = &consumer->backlog;
    struct stream *stream = consumer->stream;
    consumer_window_clear(consumer);
    while (backlog->next < backlog->count && consumer->window_count < LISTING_FETCH_MAX) {
        uint64_t index = backlog->next++;
        if (backlog_is_wanted(backlog, index))
            consumer->window[consumer->window_count++] =
                (struct window_slot){.index = index, .found = LISTING_SKIPPED};
    }
    if (consumer->window_count == 0)
        return false;
    consumer->gather = (struct gather){.on_part = window_on_part, .on_done = window_on_done};
    consumer->is_fetching = true;
    consumer->outstanding++;
    for (uint32_t stripe = 0; stripe < stream->stripe_count; stripe++) {
        struct listing_wanted wanted[LISTING_FETCH_MAX];
        uint32_t count = 0;
        for (uint32_t i = 0; i < consumer->window_count; i++) {
            uint64_t index = consumer->window[i].index;
            if (backlog_stripe(backlog, index) == stripe)
                wanted[count++] = (struct listing_wanted){backlog_seq(backlog, index), i};
        }
        if (count > 0)
            listing_ask_messages(stream, &consumer->gather, stripe, wanted, count,
                                 consumer->config.headers_only);
    }
    return true;
}

void consumer_held_clear(struct consumer *consumer)
{
    if (consumer->held.record != NULL)
        feed_record_release(consumer->held.record);
    consumer->held.record = NULL;
}

/* The held message goes out, unless it was removed meanwhile; gives how many did. */
static uint32_t held_send(struct consumer *consumer)
{
    struct window_slot held = consumer->held;
    consumer->held.record = NULL;
    if (held.record == NULL)
        return 0;
    bool is_wanted = backlog_is_wanted(&consumer->backlog, held.index);
    if (is_wanted) {
        backlog_delivered(&consumer->backlog, held.index);
        consumer_send(consumer, held.record, 1);
    }
    feed_record_release(held.record);
    return is_wanted;
}

/*
 * Takes the window's next slot: it is held until what follows is known, for the last message of a list must be the one with a
 * pending count of 0, also if those behind it cannot be read, or are being removed. False: wait for that.
 */
static bool window_step(struct consumer *consumer, uint32_t *sent)
{
    struct window_slot *slot = &consumer->window[consumer->window_next];
    struct backlog *backlog = &consumer->backlog;
    if (slot->found == LISTING_SKIPPED) { /* the answer was full: go back to here */
        backlog->next = slot->index;
        consumer_window_clear(consumer);
        return true;
    }
    if (slot->found == LISTING_DAMAGED)
        (void)backlog_kill(backlog, backlog_seq(backlog, slot->index));
    bool is_wanted = backlog_is_wanted(backlog, slot->index);
    if (is_wanted && slot->record == NULL)
        return false; /* gone; the feed says so when that is durable */
    consumer->window_next++;
    if (!is_wanted)
        return true;
    *sent += held_send(consumer);
    consumer->held = *slot;
    slot->record = NULL; /* now held */
    return true;
}

/* One step of the list; false: it waits, or has ended. */
static bool list_step(struct consumer *consumer, uint32_t *sent)
{
    if (consumer->is_fetching)
        return false;
    if (consumer->window_next < consumer->window_count)
        return window_step(consumer, sent);
    if (window_ask(consumer))
        return false;
    *sent += held_send(consumer);
    consumer->state = CONSUMER_LIVE;
    return true;
}

static bool live_step(struct consumer *consumer, uint32_t *sent)
{
    struct feed_record *record = record_queue_pop(&consumer->queue);
    if (record != NULL) {
        consumer_send(consumer, record, 1);
        feed_record_release(record);
        ++*sent;
        return true;
    }
    if (consumer->dropped_from != 0)
        consumer_regather(consumer);
    return false;
}

static void consumer_on_burst(struct timer *timer)
{
    consumer_pump(CONTAINER_OF(timer, struct consumer, burst));
}

void consumer_pump(struct consumer *consumer)
{
    if (consumer->is_pumping || consumer->is_closing || !consumer->is_started)
        return;
    consumer->is_pumping = true;
    uint32_t sent = 0;
    bool goes_on = true;
    while (goes_on && sent < CONSUMER_BURST_MAX && consumer_may_send(consumer, sent)) {
        enum redeliver_step step = consumer_redeliver_step(consumer, &sent);
        if (step == REDELIVER_WENT_ON)
            continue;
        if (step == REDELIVER_WAITS || !consumer_may_take_new(consumer))
            goes_on = false;
        else if (consumer->state == CONSUMER_LISTING)
            goes_on = list_step(consumer, &sent);
        else if (consumer->state == CONSUMER_LIVE)
            goes_on = live_step(consumer, &sent);
        else
            goes_on = false;
    }
    consumer->is_pumping = false;
    if (consumer->is_closing) {
        if (consumer->outstanding == 0)
            consumer_free(consumer);
        return;
    }
    struct shard *shard = kv_of_consumer(consumer)->shard;
    if (goes_on && sent >= CONSUMER_BURST_MAX)
        timer_start(shard->timers, &consumer->burst, shard_now_ns(shard), consumer_on_burst);
}
