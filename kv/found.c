/*
 * kv/found.c: headers and JSON of messages that were found.
 *
 * Source: jetstream-streams.md sections 5.8, 6.3 and 6.4.
 */
#include "kv/found.h"

void direct_status(struct kv *kv, const struct origin *origin, struct bytes reply,
                   const char *block)
{
    struct msg msg = {.subject = reply, .headers = bytes_of_text(block)};
    kv->outbox->answer(kv->outbox, origin, &msg);
}

static void append_literal_fast(struct text *text, const char *literal, size_t count)
{
    text_append(text, bytes_of(literal, count));
}
#define APPEND(text, literal) append_literal_fast(text, literal, sizeof(literal) - 1)

static struct bytes direct_headers(struct text *text, const struct stream *stream,
                                   const struct found *found, const struct found_place *place)
{
    text_clear(text);
    struct bytes headers = found->headers;
    if (headers.count >= 12 && bytes_start_with(headers, BYTES_LITERAL("NATS/1.0")))
        text_append(text, bytes_of(headers.data, headers.count - 2));
    else
        APPEND(text, "NATS/1.0\r\n");
    APPEND(text, "Nats-Stream: ");
    text_append(text, text_bytes(&stream->config.name));
    APPEND(text, "\r\nNats-Subject: ");
    text_append(text, found->subject);
    APPEND(text, "\r\nNats-Sequence: ");
    text_append_u64(text, found->seq);
    APPEND(text, "\r\nNats-Time-Stamp: ");
    text_append_time(text, found->time_ns);
    if (place != NULL) {
        APPEND(text, "\r\nNats-Num-Pending: ");
        text_append_u64(text, place->pending);
        APPEND(text, "\r\nNats-Last-Sequence: ");
        text_append_u64(text, place->last_seq);
    }
    APPEND(text, "\r\n\r\n");
    return text_bytes(text);
}

void direct_found(struct stream *stream, const struct origin *origin, struct bytes reply,
                  const struct found *found, const struct found_place *place, bool no_headers)
{
    struct kv *kv = stream->kv;
    struct msg msg = {.subject = reply, .payload = found->value};
    if (!no_headers)
        msg.headers = direct_headers(&kv->scratch, stream, found, place);
    kv->outbox->answer(kv->outbox, origin, &msg);
}

void msg_get_damaged(struct request *request)
{
    struct api_failure failure;
    api_fail(&failure, API_STREAM_GENERAL, "message is damaged");
    request_fail(request, &failure, NULL);
}

void msg_get_found(struct request *request, const struct found *found, bool no_headers)
{
    struct text *text = request_begin(request);
    text_append_literal(text, ",\"message\":{\"subject\":");
    text_append_json_string(text, found->subject);
    text_append_format(text, ",\"seq\":%llu", (unsigned long long)found->seq);
    if (found->headers.count > 0 && !no_headers) {
        text_append_literal(text, ",\"hdrs\":\"");
        text_append_base64(text, found->headers);
        text_append_literal(text, "\"");
    }
    if (found->value.count > 0) {
        text_append_literal(text, ",\"data\":\"");
        text_append_base64(text, found->value);
        text_append_literal(text, "\"");
    }
    text_append_literal(text, ",\"time\":\"");
    text_append_time(text, found->time_ns);
    text_append_literal(text, "\"}");
    request->kv->api_total--; /* nats-server does not count this one */
    request_answer(request, text);
}
