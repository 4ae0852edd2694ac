/*
 * kv/consumer_pulse.c: what keeps a consumer going or ends it: heartbeats, interest, answers to flow-control requests.
 */
#include "kv/consumer_state.h"

#include <stdio.h>

#include "core/subject.h"

static void consumer_on_heartbeat(struct timer *timer);
static void consumer_on_inactive(struct timer *timer);

static bool consumer_is_idle(const struct consumer *consumer)
{
    return consumer->state == CONSUMER_LIVE && consumer->queue.alive == 0;
}

static void send_heartbeat(struct consumer *consumer)
{
    bool is_stalled = consumer->config.flow_control && consumer->flow_bytes > consumer->flow_window
                      && consumer->flow_id[0] != '\0';
    bool is_blocked = consumer_is_paused(consumer) || !consumer_may_take_new(consumer);
    if (!consumer_is_idle(consumer) && !is_stalled && !is_blocked)
        return; /* data is on its way: a heartbeat would end a client's list too early */
    uint64_t looked = consumer->stream->feed->advanced_upto;
    if (!consumer_is_idle(consumer) || looked < consumer->progress.stream_seq)
        looked = consumer->progress.stream_seq;
    char headers[2 * STREAM_NAME_BYTES_MAX + 192];
    int bytes =
        snprintf(headers, sizeof headers,
                 "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %llu\r\n"
                 "Nats-Last-Stream: %llu\r\n",
                 (unsigned long long)consumer->progress.consumer_seq, (unsigned long long)looked);
    size_t count = (size_t)bytes;
    if (is_stalled) {
        count +=
            (size_t)snprintf(headers + count, sizeof headers - count, "Nats-Consumer-Stalled: ");
        count += consumer_flow_subject(consumer, headers + count, sizeof headers - count);
        memcpy(headers + count, "\r\n", 2);
        count += 2;
    }
    memcpy(headers + count, "\r\n", 2);
    consumer_send_status(consumer, (struct bytes){0}, bytes_of(headers, count + 2));
}

static void consumer_on_heartbeat(struct timer *timer)
{
    struct consumer *consumer = CONTAINER_OF(timer, struct consumer, heartbeat);
    struct shard *shard = kv_of_consumer(consumer)->shard;
    uint64_t interval = (uint64_t)consumer->config.idle_heartbeat_ns;
    uint64_t now = shard_now_ns(shard);
    if (consumer->last_sent_ns + interval > now) {
        timer_start(shard->timers, timer, consumer->last_sent_ns + interval, consumer_on_heartbeat);
        return;
    }
    if (consumer->is_active)
        send_heartbeat(consumer);
    consumer->last_sent_ns = now;
    timer_start(shard->timers, timer, now + interval, consumer_on_heartbeat);
}

static void consumer_on_inactive(struct timer *timer)
{
    struct consumer *consumer = CONTAINER_OF(timer, struct consumer, inactive);
    directory_forget(consumer->stream, consumer_name(consumer));
    consumer_destroy(consumer);
}

void consumer_start_pulse(struct consumer *consumer)
{
    struct kv *kv = kv_of_consumer(consumer);
    consumer->is_active = kv->outbox->has_subscription(
        kv->outbox, consumer->stream->account, text_bytes(&consumer->config.deliver_subject),
        text_bytes(&consumer->config.deliver_group));
    uint64_t now = shard_now_ns(kv->shard);
    consumer->last_sent_ns = now;
    if (consumer->config.idle_heartbeat_ns > 0)
        timer_start(kv->shard->timers, &consumer->heartbeat,
                    now + (uint64_t)consumer->config.idle_heartbeat_ns, consumer_on_heartbeat);
    consumer_restart_inactive(consumer);
    consumer_start_resume(consumer);
}

/* A durable without a threshold waits for ever. */
void consumer_restart_inactive(struct consumer *consumer)
{
    struct shard *shard = kv_of_consumer(consumer)->shard;
    int64_t threshold_ns = consumer->config.inactive_threshold_ns;
    timer_stop(&consumer->inactive);
    if (!consumer->is_active && threshold_ns > 0)
        timer_start(shard->timers, &consumer->inactive,
                    shard_now_ns(shard) + (uint64_t)threshold_ns, consumer_on_inactive);
}

static void consumer_on_resume(struct timer *timer)
{
    struct consumer *consumer = CONTAINER_OF(timer, struct consumer, resume);
    if (consumer_is_paused(consumer)) { /* the clock was set, or the pause is a long one */
        consumer_start_resume(consumer);
        return;
    }
    advise_pause(consumer);
    consumer_pump(consumer);
}

void consumer_start_resume(struct consumer *consumer)
{
    enum { RESUME_SECONDS_MAX = 3600 }; /* then it looks again */
    struct shard *shard = kv_of_consumer(consumer)->shard;
    timer_stop(&consumer->resume);
    if (!consumer_is_paused(consumer))
        return;
    uint64_t wait_ns = consumer->config.pause_until_ns - shard_wall_ns(shard);
    if (wait_ns > RESUME_SECONDS_MAX * UINT64_C(1000000000))
        wait_ns = RESUME_SECONDS_MAX * UINT64_C(1000000000);
    timer_start(shard->timers, &consumer->resume, shard_now_ns(shard) + wait_ns,
                consumer_on_resume);
}

static void consumer_set_active(struct consumer *consumer, bool is_active)
{
    if (consumer->is_active == is_active || !consumer->is_started)
        return;
    consumer->is_active = is_active;
    if (!is_active) {
        consumer_restart_inactive(consumer);
        return;
    }
    timer_stop(&consumer->inactive);
    consumer_pump(consumer);
}

void consumers_on_interest(struct kv *kv, uint32_t account, struct bytes subject,
                           struct bytes queue, bool is_present)
{
    if (kv->consumer_count == 0)
        return;
    struct consumer *consumer = consumer_first_of_subject(kv, subject);
    while (consumer != NULL) {
        struct consumer *next = consumer->hash_next;
        if (consumer->stream->account == account
            && bytes_equal(text_bytes(&consumer->config.deliver_subject), subject)
            && bytes_equal(text_bytes(&consumer->config.deliver_group), queue))
            consumer_set_active(consumer, is_present);
        consumer = next;
    }
}

void consumers_on_room(struct kv *kv)
{
    for (uint32_t i = 0; i < kv->consumer_capacity; i++) {
        struct consumer *consumer = kv->consumers[i];
        while (consumer != NULL) {
            struct consumer *next = consumer->hash_next;
            consumer_pump(consumer);
            consumer = next;
        }
    }
}

static void flow_answered(struct kv *kv, uint32_t account, struct bytes subject)
{
    struct bytes stream_name, name, id;
    if (!subject_token(subject, 2, &stream_name) || !subject_token(subject, 3, &name)
        || !subject_token(subject, 4, &id))
        return;
    struct stream *stream = stream_by_name(&kv->streams, account, stream_name);
    struct consumer *consumer = stream == NULL ? NULL : consumer_find(stream, name);
    if (consumer == NULL || !bytes_equal(id, bytes_of_text(consumer->flow_id)))
        return;
    consumer->flow_window = 2 * consumer->flow_window < CONSUMER_FLOW_WINDOW_MAX
                                ? 2 * consumer->flow_window
                                : CONSUMER_FLOW_WINDOW_MAX;
    consumer->flow_bytes -= consumer->flow_covered < consumer->flow_bytes ? consumer->flow_covered
                                                                          : consumer->flow_bytes;
    consumer->flow_covered = 0;
    consumer->flow_id[0] = '\0';
    consumer_pump(consumer);
}

struct flow_answer {
    uint32_t account;
    char subject[];
};

static void consumers_on_flow_answer(struct shard *shard, void *payload, uint32_t bytes,
                                     uint32_t from)
{
    const struct flow_answer *answer = payload;
    (void)from;
    flow_answered(kv_of(shard), answer->account, bytes_of(answer->subject, bytes - sizeof *answer));
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : -1;
}

bool consumers_on_flow_control(struct kv *kv, uint32_t account, struct bytes subject)
{
    struct bytes id;
    if (!subject_token(subject, 4, &id) || id.count != 4 || digit_of(id.data[0]) < 0
        || digit_of(id.data[1]) < 0)
        return false;
    uint32_t shard = (uint32_t)(digit_of(id.data[0]) * 36 + digit_of(id.data[1]));
    if (shard >= kv->shard->count)
        return false;
    struct flow_answer *answer = mailbox_reserve(kv->shard, shard, consumers_on_flow_answer,
                                                 (uint32_t)(sizeof *answer + subject.count));
    answer->account = account;
    memcpy(answer->subject, subject.data, subject.count);
    return true;
}
