/*
 * kv/consumer_advisory.c: what a consumer tells whoever subscribes to $JS.EVENT.>.
 *
 * Source: jetstream-consumers.md section 13.
 */
#include "kv/consumer_state.h"

enum { ADVISORY_ID_CHARS = 22 };

static void append_id(struct text *text, struct io *io)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t random = 0;
    for (unsigned i = 0; i < ADVISORY_ID_CHARS; i++) {
        if (i % 10 == 0)
            random = io_random(io);
        text_append(text, bytes_of(&letters[random % 62], 1));
        random /= 62;
    }
}

static void append_member(struct text *text, const char *name, uint64_t number)
{
    text_append_format(text, ",\"%s\":%llu", name, (unsigned long long)number);
}

static void begin(struct text *text, const struct consumer *consumer, const char *type)
{
    struct shard *shard = kv_of_consumer(consumer)->shard;
    text_append_format(text, "{\"type\":\"io.nats.jetstream.%s\",\"id\":\"", type);
    append_id(text, shard->io);
    text_append_literal(text, "\",\"timestamp\":\"");
    text_append_time(text, shard_wall_ns(shard));
    text_append_literal(text, "\",\"stream\":");
    text_append_json_string(text, text_bytes(&consumer->stream->config.name));
    text_append_literal(text, ",\"consumer\":");
    text_append_json_string(text, consumer_name(consumer));
}

/* Ends the text, and sends it. */
static void publish(struct text *text, const struct consumer *consumer, const char *prefix)
{
    struct kv *kv = kv_of_consumer(consumer);
    struct text subject = {0};
    text_append_literal(text, "}");
    text_append_format(&subject, "$JS.EVENT.%s.%.*s.%.*s", prefix,
                       (int)consumer->stream->config.name.count, consumer->stream->config.name.data,
                       (int)consumer->name.count, consumer->name.data);
    struct msg msg = {.subject = text_bytes(&subject), .payload = text_bytes(text)};
    kv->outbox->deliver(kv->outbox, consumer->stream->account, msg.subject, &msg);
    text_free(&subject);
    text_free(text);
}

void advise_action(struct consumer *consumer, const char *action)
{
    struct text text = {0};
    bool is_create = action[0] == 'c';
    begin(&text, consumer, "advisory.v1.consumer_action");
    text_append_format(&text, ",\"action\":\"%s\"", action);
    publish(&text, consumer, is_create ? "ADVISORY.CONSUMER.CREATED" : "ADVISORY.CONSUMER.DELETED");
}

void advise_exhausted(struct consumer *consumer, uint64_t seq, uint32_t deliveries)
{
    struct text text = {0};
    begin(&text, consumer, "advisory.v1.max_deliver");
    append_member(&text, "stream_seq", seq);
    append_member(&text, "deliveries", deliveries);
    publish(&text, consumer, "ADVISORY.CONSUMER.MAX_DELIVERIES");
}

static void append_delivery(struct text *text, uint64_t seq, uint64_t consumer_seq)
{
    append_member(text, "consumer_seq", consumer_seq);
    append_member(text, "stream_seq", seq);
}

void advise_nak(struct consumer *consumer, uint64_t seq, uint64_t consumer_seq, uint64_t deliveries)
{
    struct text text = {0};
    begin(&text, consumer, "advisory.v1.nak");
    append_delivery(&text, seq, consumer_seq);
    append_member(&text, "deliveries", deliveries);
    publish(&text, consumer, "ADVISORY.CONSUMER.MSG_NAKED");
}

void advise_terminated(struct consumer *consumer, uint64_t seq, uint64_t consumer_seq,
                       uint64_t deliveries, struct bytes reason)
{
    struct text text = {0};
    begin(&text, consumer, "advisory.v1.terminated");
    append_delivery(&text, seq, consumer_seq);
    append_member(&text, "deliveries", deliveries);
    if (reason.count > 0) {
        text_append_literal(&text, ",\"reason\":");
        text_append_json_string(&text, reason);
    }
    publish(&text, consumer, "ADVISORY.CONSUMER.MSG_TERMINATED");
}

void advise_pause(struct consumer *consumer)
{
    struct text text = {0};
    begin(&text, consumer, "advisory.v1.consumer_pause");
    text_append_format(&text, ",\"paused\":%s,\"pause_until\":\"",
                       consumer_is_paused(consumer) ? "true" : "false");
    text_append_time(&text, consumer->config.pause_until_ns);
    text_append_literal(&text, "\"");
    publish(&text, consumer, "ADVISORY.CONSUMER.PAUSE");
}

void advise_sample(struct consumer *consumer, uint64_t seq, uint64_t consumer_seq,
                   uint64_t deliveries, uint64_t ack_ns)
{
    struct text text = {0};
    begin(&text, consumer, "metric.v1.consumer_ack");
    append_delivery(&text, seq, consumer_seq);
    append_member(&text, "ack_time", ack_ns);
    append_member(&text, "deliveries", deliveries);
    publish(&text, consumer, "METRIC.CONSUMER.ACK");
}
