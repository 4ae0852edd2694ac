/*
 * kv/consumer.c: consumers of one shard: making, ending, finding and describing them.
 *
 * Owns:    every consumer, in a table by deliver subject; feeds link them.
 */
#include "kv/consumer_state.h"

#include "core/hash.h"
#include "core/subject.h"

/* ---- small things ---- */

bool consumer_is_started(const struct consumer *consumer)
{
    return consumer->is_started;
}

struct consumer *consumer_next(const struct consumer *consumer)
{
    return consumer->feed_next;
}

struct bytes consumer_name(const struct consumer *consumer)
{
    return text_bytes(&consumer->name);
}

const struct consumer_config *consumer_config_of(const struct consumer *consumer)
{
    return &consumer->config;
}

struct consumer *consumer_find(struct stream *stream, struct bytes name)
{
    struct consumer *consumer = stream->feed == NULL ? NULL : stream->feed->consumers;
    while (consumer != NULL && !bytes_equal(consumer_name(consumer), name))
        consumer = consumer->feed_next;
    return consumer;
}

void consumer_append_info(struct text *text, const struct consumer *consumer,
                          bool with_server_metadata)
{
    text_append_literal(text, "\"stream_name\":");
    text_append_json_string(text, text_bytes(&consumer->stream->config.name));
    text_append_literal(text, ",\"name\":");
    text_append_json_string(text, consumer_name(consumer));
    text_append_literal(text, ",\"created\":\"");
    text_append_time(text, consumer->created_ns);
    text_append_literal(text, "\",\"config\":");
    consumer_config_append(text, &consumer->config, with_server_metadata);
    text_append_format(text, ",\"delivered\":{\"consumer_seq\":%llu,\"stream_seq\":%llu",
                       (unsigned long long)consumer->consumer_seq,
                       (unsigned long long)consumer->stream_seq);
    if (consumer->last_active_ns != 0) {
        text_append_literal(text, ",\"last_active\":\"");
        text_append_time(text, consumer->last_active_ns);
        text_append_literal(text, "\"");
    }
    text_append_format(text,
                       "},\"ack_floor\":{\"consumer_seq\":%llu,\"stream_seq\":%llu},"
                       "\"num_ack_pending\":0,\"num_redelivered\":0,\"num_waiting\":0,"
                       "\"num_pending\":%llu",
                       (unsigned long long)consumer->consumer_seq,
                       (unsigned long long)consumer->stream_seq,
                       (unsigned long long)consumer_pending(consumer));
    if (consumer->is_active)
        text_append_literal(text, ",\"push_bound\":true");
    text_append_literal(text, ",\"ts\":\"");
    text_append_time(text, shard_wall_ns(kv_of_consumer(consumer)->shard));
    text_append_literal(text, "\"");
}

/* ---- the table by deliver subject ---- */

static uint64_t deliver_hash(struct bytes subject)
{
    return hash_bytes(subject.data, subject.count);
}

static void table_grow(struct kv *kv)
{
    uint32_t capacity = kv->consumer_capacity == 0 ? 64 : 2 * kv->consumer_capacity;
    struct consumer **chains = heap_alloc_zeroed(kv->shard->heap, capacity * sizeof *chains);
    for (uint32_t i = 0; i < kv->consumer_capacity; i++) {
        while (kv->consumers[i] != NULL) {
            struct consumer *consumer = kv->consumers[i];
            kv->consumers[i] = consumer->hash_next;
            uint64_t hash = deliver_hash(text_bytes(&consumer->config.deliver_subject));
            consumer->hash_next = chains[hash & (capacity - 1)];
            chains[hash & (capacity - 1)] = consumer;
        }
    }
    heap_free(kv->consumers);
    kv->consumers = chains;
    kv->consumer_capacity = capacity;
}

static struct consumer **table_chain(struct kv *kv, struct bytes subject)
{
    return &kv->consumers[deliver_hash(subject) & (kv->consumer_capacity - 1)];
}

static void table_add(struct kv *kv, struct consumer *consumer)
{
    if (kv->consumer_count >= kv->consumer_capacity)
        table_grow(kv);
    kv->consumer_count++;
    struct consumer **chain = table_chain(kv, text_bytes(&consumer->config.deliver_subject));
    consumer->hash_next = *chain;
    *chain = consumer;
}

static void table_remove(struct kv *kv, struct consumer *consumer)
{
    struct consumer **link = table_chain(kv, text_bytes(&consumer->config.deliver_subject));
    while (*link != consumer)
        link = &(*link)->hash_next;
    *link = consumer->hash_next;
    kv->consumer_count--;
}

struct consumer *consumer_first_of_subject(struct kv *kv, struct bytes subject)
{
    return kv->consumer_count == 0 ? NULL : *table_chain(kv, subject);
}

/* ---- life ---- */

static enum listing_kind listing_kind_of(const struct consumer *consumer)
{
    switch (consumer->config.deliver_policy) {
    case DELIVER_LAST:
        return LISTING_LAST;
    case DELIVER_NEW:
        return LISTING_NONE;
    case DELIVER_LAST_PER_SUBJECT:
        return LISTING_PER_KEY;
    default:
        return LISTING_ALL;
    }
}

/* A bucket's subject never changes; other streams may hold messages their subjects no longer match. */
static bool consumer_wants_all(const struct consumer *consumer)
{
    const struct stream *stream = consumer->stream;
    uint32_t count = consumer_config_filter_count(&consumer->config);
    for (uint32_t i = 0; i < count && stream->prefix.count > 0; i++) {
        if (subject_is_subset(consumer_config_filter(&consumer->config, i),
                              text_bytes(&stream->config.subjects[0])))
            return true;
    }
    return count == 0;
}

bool consumer_wants(const struct consumer *consumer, const struct feed_record *record)
{
    return consumer->wants_all
           || consumer_config_matches(&consumer->config, feed_record_subject(record));
}

static struct consumer *consumer_new(struct stream *stream, struct consumer_config *config,
                                     struct bytes name, void *context,
                                     void (*on_ready)(void *context, struct consumer *consumer))
{
    struct kv *kv = stream->kv;
    struct consumer *consumer = heap_alloc_zeroed(kv->shard->heap, sizeof *consumer);
    consumer->stream = stream;
    consumer->config = *config;
    *config = (struct consumer_config){0};
    text_append(&consumer->name, name);
    text_append_format(&consumer->ack_prefix, "$JS.ACK.%.*s.%.*s.1.",
                       (int)stream->config.name.count, stream->config.name.data, (int)name.count,
                       name.data);
    consumer->wants_all = consumer_wants_all(consumer);
    consumer->created_ns = shard_wall_ns(kv->shard);
    consumer->backlog.heap = consumer->dropped.heap = kv->shard->heap;
    consumer->flow_window = CONSUMER_FLOW_WINDOW_START;
    consumer->context = context;
    consumer->on_ready = on_ready;
    consumer->min_seq = consumer->config.start_seq;
    consumer->is_kept = !stream->is_memory && !consumer->config.mem_storage;
    struct feed *feed = feed_of(stream);
    consumer->feed_next = feed->consumers;
    feed->consumers = consumer;
    table_add(kv, consumer);
    return consumer;
}

struct consumer *consumer_create(struct stream *stream, struct consumer_config *config,
                                 struct bytes name, void *context,
                                 void (*on_ready)(void *context, struct consumer *consumer))
{
    struct consumer *consumer = consumer_new(stream, config, name, context, on_ready);
    consumer_gather(consumer, listing_kind_of(consumer), consumer->config.start_seq,
                    consumer->config.start_time_ns);
    return consumer;
}

static void restored_on_ready(void *context, struct consumer *consumer)
{
    (void)context;
    (void)consumer; /* nobody asked */
}

void consumer_restore(struct stream *stream, struct bytes name, struct bytes config_json,
                      const struct consumer_past *past)
{
    struct consumer_config config = {0};
    consumer_config_restore(&config, config_json);
    struct consumer *consumer = consumer_new(stream, &config, name, NULL, restored_on_ready);
    consumer->created_ns = past->created_ns;
    if (!past->has_position) {
        consumer_gather(consumer, listing_kind_of(consumer), consumer->config.start_seq,
                        consumer->config.start_time_ns);
        return;
    }
    uint64_t last = order_last_taken(stream->order);
    consumer->is_restored = true;
    consumer->consumer_seq = consumer->kept_seq = past->consumer_seq;
    consumer->stream_seq = past->stream_seq < last ? past->stream_seq : last;
    consumer->min_seq = consumer->stream_seq + 1;
    consumer_gather(consumer, LISTING_ALL, consumer->min_seq, 0);
}

void consumer_free(struct consumer *consumer)
{
    record_queue_clear(&consumer->queue);
    consumer_window_clear(consumer);
    backlog_clear(&consumer->backlog);
    backlog_clear(&consumer->dropped);
    heap_free(consumer->early_removed);
    consumer_config_free(&consumer->config);
    text_free(&consumer->name);
    text_free(&consumer->ack_prefix);
    heap_free(consumer);
}

void consumer_destroy(struct consumer *consumer)
{
    struct stream *stream = consumer->stream;
    ASSERT(!consumer->is_closing);
    consumer->is_closing = true;
    timer_stop(&consumer->heartbeat);
    timer_stop(&consumer->inactive);
    timer_stop(&consumer->burst);
    timer_stop(&consumer->position);
    table_remove(stream->kv, consumer);
    struct consumer **link = &stream->feed->consumers;
    while (*link != consumer)
        link = &(*link)->feed_next;
    *link = consumer->feed_next;
    if (!consumer->is_started)
        consumer->on_ready(consumer->context, NULL);
    if (consumer->outstanding == 0 && !consumer->is_pumping)
        consumer_free(consumer);
    feed_end_if_idle(stream);
}

bool consumer_returned(struct consumer *consumer)
{
    ASSERT(consumer->outstanding > 0);
    consumer->outstanding--;
    if (!consumer->is_closing)
        return false;
    if (consumer->outstanding == 0)
        consumer_free(consumer);
    return true;
}

void consumers_fini(struct kv *kv)
{
    for (uint32_t i = 0; i < kv->consumer_capacity; i++) {
        while (kv->consumers[i] != NULL) {
            struct consumer *consumer = kv->consumers[i];
            consumer->outstanding = 0; /* nothing runs any more */
            consumer_destroy(consumer);
        }
    }
    heap_free(kv->consumers);
    kv->consumers = NULL;
    kv->consumer_capacity = 0;
}
