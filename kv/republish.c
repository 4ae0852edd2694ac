/*
 * kv/republish.c: the headers of a republished message.
 *
 * Source: jetstream-streams.md section 7.9.
 */
#include "kv/republish.h"

#include "core/subject.h"
#include "kv/room.h"
#include "kv/stream_source_config.h"
#include "kv/subject_map.h"

static void append_headers(struct text *text, const struct stream *stream,
                           const struct record *record, uint64_t previous_seq)
{
    bool has_block =
        record->headers.count >= 12 && bytes_start_with(record->headers, BYTES_LITERAL("NATS/1.0"));
    if (has_block)
        text_append(text, bytes_of(record->headers.data, record->headers.count - 2));
    else
        text_append_literal(text, "NATS/1.0\r\n");
    text_append_literal(text, "Nats-Stream: ");
    text_append(text, text_bytes(&stream->config.name));
    text_append_literal(text, "\r\nNats-Subject: ");
    text_append(text, record->key);
    text_append_format(
        text, "\r\nNats-Sequence: %llu\r\nNats-Time-Stamp: ", (unsigned long long)record->seq);
    text_append_time(text, record->time_ns);
    text_append_format(text, "\r\nNats-Last-Sequence: %llu\r\n", (unsigned long long)previous_seq);
    if (stream->config.republish->headers_only)
        text_append_format(text, "Nats-Msg-Size: %zu\r\n", record->value.count);
    text_append_literal(text, "\r\n");
}

void republish_send(struct stream *stream, const struct record *record, uint64_t previous_seq)
{
    struct kv *kv = stream->kv;
    ASSERT_ON_SHARD(kv->shard);
    struct text subject = {0}, headers = {0};
    bool is_mapped =
        subject_map_apply(stream->republish, record->key, io_random(kv->shard->io), &subject);
    if (is_mapped && subject_is_publishable(text_bytes(&subject))
        && subject_is_literal(text_bytes(&subject))) {
        append_headers(&headers, stream, record, previous_seq);
        struct msg msg = {.subject = text_bytes(&subject), .headers = text_bytes(&headers)};
        if (!stream->config.republish->headers_only)
            msg.payload = record->value;
        kv->outbox->deliver(kv->outbox, stream->account, msg.subject, &msg);
    }
    text_free(&subject);
    text_free(&headers);
}
