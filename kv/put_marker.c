/*
 * kv/put_marker.c: what is left in place of a key's last message when its time is over, for watchers to see.
 *
 * A marker is a put of the stripe's own: a rollup that expects the message that ended to be the key's newest still. In a striped
 * bucket it goes through the fence, as any CAS: a put on its way with a lower sequence is not lost. It ends itself after the
 * stream's subject_delete_marker_ttl, without a marker of its own.
 * Source: jetstream-streams.md section 7.6.
 * Runs on: the stripe's shard.
 */
#include "core/hash.h"
#include "kv/put.h"
#include "kv/put_parts.h"

#define NS_PER_SECOND INT64_C(1000000000)

void put_marker(struct stripe *stripe, struct bytes key, uint64_t replaced_seq)
{
    struct stream *stream = stripe->stream;
    struct kv *kv = stream->kv;
    int64_t seconds = stream->config.marker_ttl_ns / NS_PER_SECOND;
    struct text headers = {0};
    char *room = heap_alloc(kv->shard->heap, STREAM_KEY_ROOM);
    struct bytes subject = stream_subject_of(stream, key, room);
    text_append_literal(&headers, "NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: ");
    text_append_duration(&headers, seconds * NS_PER_SECOND);
    text_append_literal(&headers, "\r\nNats-Rollup: sub\r\n\r\n");
    struct put_request request = {
        .stream_id = stream->id,
        .flags = PUT_EXPECTS_KEY | PUT_ROLLUP_KEY | PUT_IS_DELETE | PUT_HAS_TTL | PUT_IS_FINAL
                 | PUT_IS_MARKER,
        .subject_bytes = (uint32_t)subject.count,
        .headers_bytes = (uint32_t)headers.count,
        .conn_shard = kv->shard->index,
        .taken_index = PUT_NOT_TAKEN,
        .time_ns = shard_wall_ns(kv->shard),
        .expected_key = replaced_seq,
        .ttl = (uint64_t)seconds,
        .hash = hash_bytes(key.data, key.count),
    };
    struct put_view view = {
        .request = &request,
        .subject = subject,
        .headers = text_bytes(&headers),
        .from = kv->shard->index,
    };
    put_send_own(stream, &view);
    text_free(&headers);
    heap_free(room);
}
