/*
 * kv/put_given.c: the short way of a put: no connection, no ack; limits, sequence, log.
 *
 * Counts among the puts of this shard's connections, so that all shards together keep within what the disk's reserve takes.
 */
#include "kv/put_given.h"

#include <strings.h>

#include "core/diag.h"
#include "core/hash.h"
#include "kv/gathering.h"
#include "kv/message_ttl.h"
#include "kv/put.h"
#include "kv/put_parts.h"

static bool word_is(struct bytes word, const char *wanted)
{
    return word.count == strlen(wanted) && strncasecmp(word.data, wanted, word.count) == 0;
}

/* What the headers ask for, as far as the stream allows it; the rest is stored without effect. */
static uint32_t given_flags(const struct stream *stream, const struct put_given *given)
{
    const struct stream_config *config = &stream->config;
    struct bytes value;
    uint32_t flags = PUT_NO_ACK;
    if (given->headers.count == 0)
        return flags;
    bool may_roll_up = config->allow_rollup && !config->deny_purge;
    if (may_roll_up && msg_header(given->headers, BYTES_LITERAL("Nats-Rollup"), &value))
        flags |= word_is(value, "sub")   ? PUT_ROLLUP_KEY
                 : word_is(value, "all") ? PUT_ROLLUP_ALL
                                         : 0u;
    if (given->value.count == 0 && msg_header(given->headers, BYTES_LITERAL("KV-Operation"), &value)
        && (bytes_equal(value, BYTES_LITERAL("DEL")) || bytes_equal(value, BYTES_LITERAL("PURGE"))))
        flags |= PUT_IS_DELETE;
    if (msg_header(given->headers, BYTES_LITERAL("Nats-Marker-Reason"), &value)
        || (msg_header(given->headers, BYTES_LITERAL("KV-Operation"), &value)
            && bytes_equal(value, BYTES_LITERAL("PURGE"))))
        flags |= PUT_IS_FINAL;
    bool has_ids = given->seq == 0 && config->duplicate_window_ns > 0;
    if (has_ids && msg_header(given->headers, BYTES_LITERAL("Nats-Msg-Id"), &value)
        && value.count > 0)
        flags |= PUT_HAS_ID;
    return flags;
}

/* False: too large for the stream, for ever. */
static bool fits(const struct stream *stream, const struct put_given *given)
{
    int64_t limit = stream->config.message_size_max;
    if (given->headers.count <= UINT16_MAX && given->subject.count < RECORD_KEY_BYTES_MAX
        && (limit <= 0 || given->headers.count + given->value.count <= (uint64_t)limit))
        return true;
    diag_warn("message_not_taken stream=%.*s seq=%llu why=\"larger than max_msg_size\"",
              (int)stream->config.name.count, stream->config.name.data,
              (unsigned long long)given->seq);
    return false;
}

static bool is_duplicate(struct stripe *stripe, const struct put_given *given, uint32_t flags)
{
    struct bytes id;
    return (flags & PUT_HAS_ID) != 0
           && msg_header(given->headers, BYTES_LITERAL("Nats-Msg-Id"), &id)
           && put_ids_find(stripe, id) != NULL;
}

enum put_given_result put_given(struct stripe *stripe, const struct put_given *given)
{
    struct stream *stream = stripe->stream;
    struct kv *kv = stream->kv;
    ASSERT_ON_SHARD(kv->shard);
    ASSERT(stream->stripe_count == 1);
    uint32_t flags = given_flags(stream, given);
    gathering_flush(kv); /* what came before runs before */
    if (!fits(stream, given))
        return PUT_GIVEN_SKIPPED;
    /* A mirror's sequences are given: it may queue for room behind others. A source's must be taken in the order of the log. */
    if (!put_has_room(kv) || (given->seq == 0 && kv->room_head != NULL))
        return PUT_GIVEN_BUSY;
    if (!put_space_allows(stream, kv->shard->index, flags))
        return PUT_GIVEN_FULL;
    if (is_duplicate(stripe, given, flags))
        return PUT_GIVEN_SKIPPED;

    char room[STREAM_KEY_ROOM];
    struct bytes key = stream_key_of(stream, given->subject, room);
    uint64_t hash = hash_bytes(key.data, key.count);
    uint32_t size =
        stripe_message_size(stream, given->subject.count, given->headers.count, given->value.count);
    if (stripe_limit_words(stripe, stripe_find(stripe, key, hash), size) != NULL)
        return PUT_GIVEN_FULL;
    struct put_request request = {
        .stream_id = stream->id,
        .flags = flags,
        .subject_bytes = (uint32_t)given->subject.count,
        .headers_bytes = (uint32_t)given->headers.count,
        .value_bytes = (uint32_t)given->value.count,
        .conn_shard = kv->shard->index,
        .sink = given->sink,
        .time_ns = given->time_ns,
        .ttl = stream->config.allow_msg_ttl ? message_ttl_of(given->headers) : MESSAGE_TTL_NONE,
        .hash = hash,
    };
    uint64_t seq = given->seq, taken_index;
    if (seq == 0)
        seq = order_take(stream->order, &stream->taken, kv->shard, false, &taken_index);
    else if (!order_take_at(stream->order, &stream->taken, kv->shard, seq, &taken_index))
        return PUT_GIVEN_SKIPPED; /* a purge beyond the end has passed it */
    struct put_view view = {&request,       {0},          given->subject,
                            given->headers, given->value, kv->shard->index};
    if ((flags & PUT_HAS_ID) != 0)
        put_ids_learn(stripe, &view, seq);
    kv->puts_outstanding++;
    kv->put_bytes_outstanding += put_view_bytes(&view);
    put_apply(stripe, &view, seq, taken_index);
    return PUT_GIVEN_TAKEN;
}
