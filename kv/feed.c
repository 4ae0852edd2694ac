/*
 * kv/feed.c: offers from stripes, merged by sequence.
 *
 * Keeps:   a consumer gets each record of the stream once, in sequence order. An offer is in the mailbox before its record
 *          is reported durable to the shard that took the sequence (kv/put.c); so when the watermark covers a sequence and
 *          the mailboxes were drained, its record is in the heap.
 * Runs on: offers on the stripe's shard, the rest on the consumers' shard.
 */
#include "kv/feed.h"

#include "kv/consumer.h"
#include "kv/follower.h"
#include "kv/room.h"

struct feed_message { /* crosses shards; then a feed_record, or removed sequences */
    uint32_t stream_id;
    uint32_t generation;
    uint64_t removed_count; /* of a message without a record */
};

/* ---- records ---- */

static size_t record_total(uint32_t removed_count, size_t text_bytes)
{
    return sizeof(struct feed_record) + removed_count * sizeof(uint64_t) + text_bytes;
}

uint64_t feed_record_bytes(const struct feed_record *record)
{
    return record_total(record->removed_count, (size_t)record->subject_bytes + record->headers_bytes
                                                   + record->value_bytes);
}

static size_t record_need(const struct record *record, const struct removed_list *removed,
                          bool is_headers_only)
{
    size_t value_bytes = is_headers_only ? 0 : record->value.count;
    return record_total(removed == NULL ? 0 : removed->count,
                        record->key.count + record->headers.count + value_bytes);
}

static void record_fill(struct feed_record *out, const struct record *record, uint64_t previous_seq,
                        const struct removed_list *removed, bool is_headers_only)
{
    *out = (struct feed_record){
        .references = 1,
        .removed_count = removed == NULL ? 0 : removed->count,
        .subject_bytes = (uint32_t)record->key.count,
        .headers_bytes = (uint32_t)record->headers.count,
        .value_bytes = is_headers_only ? 0 : (uint32_t)record->value.count,
        .value_size = (uint32_t)record->value.count,
        .seq = record->seq,
        .time_ns = record->time_ns,
        .previous_seq = previous_seq,
    };
    for (uint32_t i = 0; i < out->removed_count; i++)
        out->removed[i] = removed_list_at(removed, i)->seq;
    char *text = (char *)&out->removed[out->removed_count];
    memcpy(text, record->key.data, record->key.count);
    text += record->key.count;
    if (record->headers.count > 0)
        memcpy(text, record->headers.data, record->headers.count);
    if (out->value_bytes > 0)
        memcpy(text + record->headers.count, record->value.data, out->value_bytes);
}

struct feed_record *feed_record_create(struct heap *heap, const struct record *record,
                                       uint64_t previous_seq, const struct removed_list *removed,
                                       bool is_headers_only)
{
    struct feed_record *out = heap_alloc(heap, record_need(record, removed, is_headers_only));
    record_fill(out, record, previous_seq, removed, is_headers_only);
    return out;
}

struct feed_record *feed_record_copy(struct heap *heap, const struct feed_record *record)
{
    struct feed_record *copy = heap_alloc(heap, feed_record_bytes(record));
    memcpy(copy, record, feed_record_bytes(record));
    copy->references = 1;
    return copy;
}

void feed_record_release(struct feed_record *record)
{
    ASSERT(record->references > 0);
    if (--record->references == 0)
        heap_free(record);
}

/* ---- the feed ---- */

struct feed *feed_of(struct stream *stream)
{
    if (stream->feed == NULL) {
        struct feed *feed = heap_alloc_zeroed(stream->kv->shard->heap, sizeof *feed);
        feed->stream = stream;
        feed->generation = ++stream->kv->feed_generation;
        stream->feed = feed;
    }
    return stream->feed;
}

void feed_destroy(struct feed *feed)
{
    ASSERT(feed->consumers == NULL);
    ASSERT(feed->followers == NULL);
    for (uint32_t i = 0; i < feed->count; i++)
        feed_record_release(feed->heap[i]);
    heap_free(feed->heap);
    heap_free(feed);
}

static void feed_on_unregister(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct feed_message *message = payload;
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, message->stream_id);
    if (stream != NULL && stream->stripe != NULL)
        feed_register(stream->stripe, from, 0);
}

void feed_end_if_idle(struct stream *stream)
{
    if (stream->feed == NULL || stream->feed->consumers != NULL || stream->feed->followers != NULL)
        return;
    struct feed_message message = {.stream_id = stream->id};
    for (uint32_t i = 0; i < stream->stripe_count; i++)
        mailbox_send(stream->kv->shard, stripe_shard(stream, i), feed_on_unregister, &message,
                     sizeof message);
    feed_destroy(stream->feed);
    stream->feed = NULL;
}

static void feed_push(struct feed *feed, struct feed_record *record)
{
    if (feed->count == feed->capacity) {
        feed->capacity = feed->capacity == 0 ? 64 : 2 * feed->capacity;
        feed->heap = heap_resize(feed->stream->kv->shard->heap, feed->heap,
                                 feed->capacity * sizeof(struct feed_record *));
    }
    uint32_t at = feed->count++;
    while (at > 0 && feed->heap[(at - 1) / 2]->seq > record->seq) {
        feed->heap[at] = feed->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    feed->heap[at] = record;
}

static struct feed_record *feed_pop(struct feed *feed)
{
    struct feed_record *top = feed->heap[0];
    struct feed_record *last = feed->heap[--feed->count];
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= feed->count)
            break;
        if (child + 1 < feed->count && feed->heap[child + 1]->seq < feed->heap[child]->seq)
            child++;
        if (feed->heap[child]->seq >= last->seq)
            break;
        feed->heap[at] = feed->heap[child];
        at = child;
    }
    if (feed->count > 0)
        feed->heap[at] = last;
    return top;
}

void feed_advance(struct feed *feed, uint64_t watermark)
{
    if (watermark > feed->advanced_upto) /* a bound read anew may be lower than the last one */
        feed->advanced_upto = watermark;
    while (feed->count > 0 && feed->heap[0]->seq <= watermark) {
        struct feed_record *record = feed_pop(feed);
        for (struct consumer *consumer = feed->consumers; consumer != NULL;
             consumer = consumer_next(consumer))
            consumer_on_record(consumer, record);
        for (struct follower *follower = feed->followers; follower != NULL;
             follower = follower_next(follower))
            follower_on_record(follower, record);
        feed_record_release(record);
    }
    struct consumer *consumer = feed->consumers;
    while (consumer != NULL) { /* a pump may end its consumer */
        struct consumer *next = consumer_next(consumer);
        consumer_pump(consumer);
        consumer = next;
    }
    struct follower *follower = feed->followers;
    while (follower != NULL) {
        struct follower *next = follower_next(follower);
        follower_pump(follower);
        follower = next;
    }
}

bool feed_is_waiting(const struct feed *feed)
{
    return feed->count > 0;
}

static void feed_take(struct feed *feed, struct feed_record *record)
{
    feed_push(feed, record);
    stream_nudge(feed->stream);
}

static void feed_take_removed(struct feed *feed, const uint64_t *seqs, uint64_t count)
{
    for (struct consumer *consumer = feed->consumers; consumer != NULL;
         consumer = consumer_next(consumer)) {
        consumer_on_removed(consumer, seqs, count);
        consumer_pump(consumer); /* it may have waited for just that */
    }
}

static struct feed *feed_for_message(struct kv *kv, const struct feed_message *message)
{
    struct stream *stream = stream_by_id(&kv->streams, message->stream_id);
    if (stream == NULL || stream->feed == NULL || stream->feed->generation != message->generation)
        return NULL;
    return stream->feed;
}

static void feed_on_offer(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct feed_message *message = payload;
    struct feed *feed = feed_for_message(kv_of(shard), message);
    if (feed != NULL)
        feed_take(feed, feed_record_copy(shard->heap, (struct feed_record *)(message + 1)));
}

static void feed_on_removed(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct feed_message *message = payload;
    struct feed *feed = feed_for_message(kv_of(shard), message);
    if (feed != NULL)
        feed_take_removed(feed, (uint64_t *)(message + 1), message->removed_count);
}

/* ---- offers, on the stripe's shard ---- */

void feed_register(struct stripe *stripe, uint32_t shard_index, uint32_t generation)
{
    uint64_t bit = UINT64_C(1) << shard_index;
    bool is_known =
        (stripe->feeds & bit) != 0 && stripe->feed_generations[shard_index] == generation;
    if (!is_known)
        stripe->feed_starts[shard_index] = ++stripe->registrations;
    stripe->feeds = generation == 0 ? stripe->feeds & ~bit : stripe->feeds | bit;
    stripe->feed_generations[shard_index] = generation;
}

static void offer_to(struct stripe *stripe, uint32_t to, const struct feed_offer *offer)
{
    struct kv *kv = stripe->stream->kv;
    uint32_t generation = stripe->feed_generations[to];
    if (to == kv->shard->index) {
        struct feed *feed = stripe->stream->feed;
        if (feed != NULL && feed->generation == generation)
            feed_take(feed, feed_record_create(kv->shard->heap, offer->record, offer->previous_seq,
                                               offer->removed, false));
        return;
    }
    size_t need = record_need(offer->record, offer->removed, false);
    struct feed_message *message =
        mailbox_reserve(kv->shard, to, feed_on_offer, (uint32_t)(sizeof *message + need));
    *message = (struct feed_message){stripe->stream->id, generation, 0};
    record_fill((struct feed_record *)(message + 1), offer->record, offer->previous_seq,
                offer->removed, false);
}

void feed_offer(struct stripe *stripe, const struct feed_offer *offer)
{
    for (uint64_t feeds = stripe->feeds; feeds != 0; feeds &= feeds - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(feeds);
        if (stripe->feed_starts[to] <= offer->registrations)
            offer_to(stripe, to, offer);
    }
}

void feed_offer_removed(struct stripe *stripe, const struct removed_list *removed)
{
    struct kv *kv = stripe->stream->kv;
    for (uint64_t feeds = stripe->feeds; feeds != 0; feeds &= feeds - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(feeds);
        size_t bytes = sizeof(struct feed_message) + removed->count * sizeof(uint64_t);
        struct feed_message *message =
            mailbox_reserve(kv->shard, to, feed_on_removed, (uint32_t)bytes);
        *message =
            (struct feed_message){stripe->stream->id, stripe->feed_generations[to], removed->count};
        for (uint32_t i = 0; i < removed->count; i++)
            ((uint64_t *)(message + 1))[i] = removed_list_at(removed, i)->seq;
    }
}
