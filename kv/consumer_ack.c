/*
 * kv/consumer_ack.c: acknowledgements, and messages whose acknowledgement is late.
 *
 *     $JS.ACK.… ─► the consumer's shard (kv/ack_routes) ─► applied ─► in the log ─► answered; room for the next message
 *
 * Keeps:   an ack shows no effect before it is durable: no answer, no advisory, no place below max_ack_pending; INFO and
 *          LIST wait too (consumer_wait_flushed).
 * Source:  jetstream-consumers.md section 10.
 */
#include "kv/consumer_state.h"

#include "core/subject.h"
#include "kv/ack_routes.h"

static void consumer_on_overdue(struct timer *timer);

/* ---- what awaits its ack ---- */

bool consumer_may_take_new(const struct consumer *consumer)
{
    if (!consumer_takes_acks(consumer))
        return true;
    int64_t limit = consumer->config.max_ack_pending;
    if (limit <= 0 || limit > PROGRESS_ENTRIES_MAX)
        limit = PROGRESS_ENTRIES_MAX;
    return (int64_t)consumer->progress.pending_count + consumer->settling_count < limit;
}

static uint64_t ack_wait_of(const struct consumer *consumer, uint32_t deliveries)
{
    const struct consumer_config *config = &consumer->config;
    if (config->backoff_count == 0)
        return (uint64_t)config->ack_wait_ns;
    uint32_t index = deliveries > 0 ? deliveries - 1 : 0;
    if (index >= config->backoff_count)
        index = config->backoff_count - 1;
    return (uint64_t)config->backoff_ns[index];
}

/* At the latest then, in Unix time. */
static void overdue_at(struct consumer *consumer, uint64_t deadline_ns)
{
    struct shard *shard = kv_of_consumer(consumer)->shard;
    uint64_t wall = shard_wall_ns(shard);
    uint64_t at = shard_now_ns(shard) + (deadline_ns > wall ? deadline_ns - wall : 0);
    if (!timer_is_running(&consumer->overdue) || at < consumer->overdue.deadline_ns)
        timer_start(shard->timers, &consumer->overdue, at, consumer_on_overdue);
}

void consumer_await_ack(struct consumer *consumer, uint64_t seq, uint32_t deliveries)
{
    uint64_t now = shard_wall_ns(kv_of_consumer(consumer)->shard);
    consumer_note(consumer,
                  &(struct progress_operation){.kind = PROGRESS_DELIVERED,
                                               .seq = seq,
                                               .consumer_seq = consumer->progress.consumer_seq,
                                               .time_ns = now,
                                               .deliveries = deliveries});
    overdue_at(consumer, now + ack_wait_of(consumer, deliveries));
}

static void settle(struct consumer *consumer, uint64_t seq)
{
    consumer_note(consumer, &(struct progress_operation){.kind = PROGRESS_SETTLED, .seq = seq});
}

void consumer_settle_removed(struct consumer *consumer, uint64_t seq)
{
    const struct progress_entry *entry =
        consumer_takes_acks(consumer) ? progress_find(&consumer->progress, seq) : NULL;
    if (entry == NULL)
        return;
    if (entry->state == PROGRESS_PENDING)
        advise_terminated(consumer, seq, entry->consumer_seq, entry->deliveries,
                          BYTES_LITERAL("Unacknowledged message was deleted"));
    settle(consumer, seq);
    consumer_flush_soon(consumer);
}

void consumer_exhaust(struct consumer *consumer, uint64_t seq)
{
    const struct progress_entry *entry = progress_find(&consumer->progress, seq);
    uint32_t deliveries = entry->deliveries;
    consumer_note(consumer, &(struct progress_operation){.kind = PROGRESS_EXHAUSTED, .seq = seq});
    consumer_flush_soon(consumer);
    advise_exhausted(consumer, seq, deliveries);
}

void consumer_check_overdue(struct consumer *consumer)
{
    const struct progress *progress = &consumer->progress;
    int64_t deliveries_max = consumer->config.max_deliver;
    uint64_t now = shard_wall_ns(kv_of_consumer(consumer)->shard), next = UINT64_MAX;
    for (uint32_t i = 0; i < progress->count; i++) { /* nothing below moves an entry */
        struct progress_entry *entry = &progress->entries[i];
        if (entry->state != PROGRESS_PENDING || entry->is_queued)
            continue;
        uint64_t deadline = entry->time_ns + ack_wait_of(consumer, entry->deliveries);
        if (deadline > now)
            next = deadline < next ? deadline : next;
        else if (deliveries_max > 0 && entry->deliveries >= deliveries_max)
            consumer_exhaust(consumer, entry->seq);
        else
            consumer_redeliver(consumer, entry);
    }
    if (next != UINT64_MAX)
        overdue_at(consumer, next);
    consumer_pump(consumer);
}

static void consumer_on_overdue(struct timer *timer)
{
    consumer_check_overdue(CONTAINER_OF(timer, struct consumer, overdue));
}

/* ---- an acknowledgement ---- */

/* Crosses shards; then consumer's name, reply, payload. */
struct ack_message {
    uint64_t seq, consumer_seq, deliveries;
    uint32_t stream_id, name_bytes, reply_bytes, payload_bytes;
};

/* The answer, and what else an ack brings about once it is durable. */
struct ack_wait {
    struct flush_wait wait;
    struct kv *kv;
    struct consumer *consumer; /* borrows; not to be touched if it is gone */
    uint32_t account;
    bool is_terminated;
    uint64_t seq, consumer_seq, deliveries;
    uint64_t sample_ns; /* 0: none */
    struct text reply, reason;
};

static void ack_on_durable(struct flush_wait *wait, bool is_gone)
{
    struct ack_wait *ack = CONTAINER_OF(wait, struct ack_wait, wait);
    if (!is_gone) {
        struct msg msg = {.subject = text_bytes(&ack->reply)};
        if (msg.subject.count > 0)
            ack->kv->outbox->deliver(ack->kv->outbox, ack->account, msg.subject, &msg);
        if (ack->is_terminated)
            advise_terminated(ack->consumer, ack->seq, ack->consumer_seq, ack->deliveries,
                              text_bytes(&ack->reason));
        if (ack->sample_ns != 0)
            advise_sample(ack->consumer, ack->seq, ack->consumer_seq, ack->deliveries,
                          ack->sample_ns);
    }
    text_free(&ack->reply);
    text_free(&ack->reason);
    heap_free(ack);
}

/* Time since the delivery, if this ack is one to be told of; else 0. */
static uint64_t sample_of(const struct consumer *consumer, uint64_t seq)
{
    struct shard *shard = kv_of_consumer(consumer)->shard;
    const struct progress_entry *entry = progress_find(&consumer->progress, seq);
    struct bytes text = text_bytes(&consumer->config.sample_freq);
    uint64_t percent = 0;
    if (text.count > 0 && text.data[text.count - 1] == '%')
        text.count--;
    if (entry == NULL || text.count == 0 || !text_parse_u64(text, &percent)
        || io_random(shard->io) % 100 >= percent)
        return 0;
    uint64_t now = shard_wall_ns(shard);
    return now > entry->time_ns ? now - entry->time_ns : 1;
}

/* False: the message was never delivered, the ack is not answered. */
static bool take_settle(struct consumer *consumer, struct ack_wait *ack, bool is_ack)
{
    struct progress *progress = &consumer->progress;
    if (ack->seq > progress->stream_seq)
        return consumer->config.flow_control;
    if (is_ack)
        ack->sample_ns = sample_of(consumer, ack->seq);
    consumer->last_ack_ns = shard_wall_ns(ack->kv->shard);
    if (consumer->config.ack_policy == ACK_ALL)
        consumer_note(consumer, &(struct progress_operation){.kind = PROGRESS_SETTLED_UPTO,
                                                             .seq = ack->seq,
                                                             .consumer_seq = ack->consumer_seq});
    else if (progress_find(progress, ack->seq) != NULL)
        settle(consumer, ack->seq);
    return true;
}

static bool delay_read(struct bytes text, int64_t *delay_ns)
{
    while (text.count > 0 && strchr(" \t\r\n", text.data[0]) != NULL)
        text = bytes_after(text, 1);
    while (text.count > 0 && strchr(" \t\r\n", text.data[text.count - 1]) != NULL)
        text.count--;
    if (text.count == 0 || text.data[0] != '{')
        return text.count > 0 && text_parse_duration(text, delay_ns);
    struct bytes rest;
    const char *why;
    struct json *json = json_parse(text, &rest, &why);
    const struct json *delay = json == NULL ? NULL : json_member(json, "delay");
    *delay_ns = 0;
    bool is_fine = json != NULL && (delay == NULL || json_i64(delay, delay_ns));
    json_free(json);
    return is_fine;
}

static void retime(struct consumer *consumer, struct progress_entry *entry, uint64_t time_ns)
{
    consumer_note(consumer, &(struct progress_operation){
                                .kind = PROGRESS_RETIMED, .seq = entry->seq, .time_ns = time_ns});
    overdue_at(consumer, time_ns + ack_wait_of(consumer, entry->deliveries));
}

static void take_nak(struct consumer *consumer, const struct ack_wait *ack, struct bytes rest)
{
    struct progress_entry *entry = progress_find(&consumer->progress, ack->seq);
    int64_t delay_ns;
    if (entry == NULL || entry->state != PROGRESS_PENDING)
        return;
    advise_nak(consumer, ack->seq, ack->consumer_seq, ack->deliveries);
    if (delay_read(rest, &delay_ns)) {
        uint64_t now = shard_wall_ns(ack->kv->shard);
        uint64_t wait = ack_wait_of(consumer, entry->deliveries);
        entry->is_queued = false;
        retime(consumer, entry, now + (uint64_t)(delay_ns > 0 ? delay_ns : 0) - wait);
    } else {
        consumer_redeliver(consumer, entry);
    }
}

static void answer_push_based(const struct ack_wait *ack)
{
    struct msg status = {.subject = text_bytes(&ack->reply),
                         .headers = BYTES_LITERAL("NATS/1.0 409 Consumer is push based\r\n\r\n")};
    if (status.subject.count > 0)
        ack->kv->outbox->deliver(ack->kv->outbox, ack->account, status.subject, &status);
}

/* False: nothing is to be answered. */
static bool take_verb(struct consumer *consumer, struct ack_wait *ack, struct bytes verb)
{
    if (verb.count == 0 || bytes_equal(verb, BYTES_LITERAL("+ACK"))
        || bytes_equal(verb, BYTES_LITERAL("+OK")))
        return take_settle(consumer, ack, true);
    if (bytes_start_with(verb, BYTES_LITERAL("+NXT"))) {
        (void)take_settle(consumer, ack, true); /* the request that follows is answered anyway */
        answer_push_based(ack);
        text_clear(&ack->reply);
        return true;
    }
    if (bytes_start_with(verb, BYTES_LITERAL("-NAK"))) {
        take_nak(consumer, ack, bytes_after(verb, 4));
    } else if (bytes_equal(verb, BYTES_LITERAL("+WPI"))) {
        struct progress_entry *entry = progress_find(&consumer->progress, ack->seq);
        if (entry != NULL && entry->state == PROGRESS_PENDING)
            retime(consumer, entry, shard_wall_ns(ack->kv->shard));
    } else if (bytes_start_with(verb, BYTES_LITERAL("+TERM"))) {
        struct bytes reason = bytes_after(verb, 5);
        while (reason.count > 0 && reason.data[0] == ' ')
            reason = bytes_after(reason, 1);
        text_append(&ack->reason, reason);
        ack->is_terminated = true;
        return take_settle(consumer, ack, false);
    }
    return true;
}

static void ack_take(struct consumer *consumer, const struct ack_message *message,
                     struct bytes reply, struct bytes verb)
{
    struct kv *kv = kv_of_consumer(consumer);
    struct ack_wait *ack = heap_alloc_zeroed(kv->shard->heap, sizeof *ack);
    ack->wait.on_durable = ack_on_durable;
    ack->kv = kv;
    ack->consumer = consumer;
    ack->account = consumer->stream->account;
    ack->seq = message->seq;
    ack->consumer_seq = message->consumer_seq;
    ack->deliveries = message->deliveries;
    text_append(&ack->reply, reply);
    if (!take_verb(consumer, ack, verb))
        text_clear(&ack->reply);
    if (!consumer->is_active)
        consumer_restart_inactive(consumer);
    consumer_flush_soon(consumer);
    if (!consumer_wait_flushed(consumer, &ack->wait))
        ack_on_durable(&ack->wait, false);
    consumer_pump(consumer);
}

static void consumers_on_ack_message(struct shard *shard, void *payload, uint32_t bytes,
                                     uint32_t from)
{
    (void)bytes;
    (void)from;
    const struct ack_message *message = payload;
    const char *at = (const char *)(message + 1);
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, message->stream_id);
    struct bytes name = bytes_of(at, message->name_bytes);
    struct consumer *consumer = stream == NULL ? NULL : consumer_find(stream, name);
    if (consumer == NULL || !consumer->is_started || !consumer_takes_acks(consumer))
        return;
    ack_take(consumer, message, bytes_of(at + name.count, message->reply_bytes),
             bytes_of(at + name.count + message->reply_bytes, message->payload_bytes));
}

static bool token_number(struct bytes subject, unsigned index, uint64_t *number_out)
{
    struct bytes token;
    return subject_token(subject, index, &token) && text_parse_u64(token, number_out);
}

/* $JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<time>.<pending>, or two tokens more before the stream. */
bool consumers_on_ack(struct kv *kv, uint32_t account, const struct msg *msg)
{
    enum { VERB_BYTES_MAX = 4096 };
    unsigned count = subject_token_count(msg->subject);
    unsigned first = count == 9 ? 2 : 4;
    struct bytes stream_name, name;
    uint32_t to;
    if (count < 9 || count == 10 || !subject_token(msg->subject, first, &stream_name)
        || !subject_token(msg->subject, first + 1, &name))
        return false;
    struct stream *stream = stream_by_name(&kv->streams, account, stream_name);
    if (stream == NULL || !ack_routes_find(kv, stream->id, name, &to))
        return false;
    struct ack_message message = {.stream_id = stream->id,
                                  .name_bytes = (uint32_t)name.count,
                                  .reply_bytes = (uint32_t)msg->reply.count,
                                  .payload_bytes = (uint32_t)msg->payload.count};
    if (!token_number(msg->subject, first + 2, &message.deliveries)
        || !token_number(msg->subject, first + 3, &message.seq) || message.seq == 0
        || !token_number(msg->subject, first + 4, &message.consumer_seq))
        return true; /* not ours to answer */
    if (message.payload_bytes > VERB_BYTES_MAX)
        message.payload_bytes = VERB_BYTES_MAX;
    struct ack_message *out = mailbox_reserve(kv->shard, to, consumers_on_ack_message,
                                              (uint32_t)sizeof *out + message.name_bytes
                                                  + message.reply_bytes + message.payload_bytes);
    *out = message;
    char *at = (char *)(out + 1);
    memcpy(at, name.data, name.count);
    if (message.reply_bytes > 0)
        memcpy(at + name.count, msg->reply.data, message.reply_bytes);
    if (message.payload_bytes > 0)
        memcpy(at + name.count + message.reply_bytes, msg->payload.data, message.payload_bytes);
    return true;
}
