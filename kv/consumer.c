/*
 * kv/consumer.c: consumers of one shard: making, ending, finding and describing them.
 *
 * Owns:    every consumer, in a table by deliver subject; feeds link them.
 */
#include "kv/consumer_state.h"

#include "core/hash.h"
#include "core/subject.h"
#include "kv/ack_routes.h"

/* ---- small things ---- */

bool consumer_is_started(const struct consumer *consumer)
{
    return consumer->is_started;
}

bool consumer_knows_counts(const struct consumer *consumer)
{
    return consumer->is_started && consumer->state != CONSUMER_GATHERING
           && !consumer->is_refilter_due;
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

static void append_last_active(struct text *text, uint64_t unix_ns)
{
    if (unix_ns == 0)
        return;
    text_append_literal(text, ",\"last_active\":\"");
    text_append_time(text, unix_ns);
    text_append_literal(text, "\"");
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
                       (unsigned long long)consumer->progress.consumer_seq,
                       (unsigned long long)consumer->progress.stream_seq);
    append_last_active(text, consumer->last_active_ns);
    bool has_acks = consumer_takes_acks(consumer);
    const struct progress *progress = &consumer->progress;
    text_append_format(
        text, "},\"ack_floor\":{\"consumer_seq\":%llu,\"stream_seq\":%llu",
        (unsigned long long)(has_acks ? progress->floor_consumer_seq : progress->consumer_seq),
        (unsigned long long)(has_acks ? progress->floor_stream_seq : progress->stream_seq));
    append_last_active(text, consumer->last_ack_ns);
    text_append_format(
        text,
        "},\"num_ack_pending\":%u,\"num_redelivered\":%u,\"num_waiting\":0,\"num_pending\":%llu",
        progress->pending_count,
        consumer->config.max_deliver == 1 ? 0 : progress->redelivered_count,
        (unsigned long long)consumer_pending(consumer));
    if (consumer->is_active)
        text_append_literal(text, ",\"push_bound\":true");
    if (consumer_is_paused(consumer))
        text_append_format(text, ",\"paused\":true,\"pause_remaining\":%llu",
                           (unsigned long long)(consumer->config.pause_until_ns
                                                - shard_wall_ns(kv_of_consumer(consumer)->shard)));
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

void consumer_table_add(struct consumer *consumer)
{
    struct kv *kv = kv_of_consumer(consumer);
    if (kv->consumer_count >= kv->consumer_capacity)
        table_grow(kv);
    kv->consumer_count++;
    struct consumer **chain = table_chain(kv, text_bytes(&consumer->config.deliver_subject));
    consumer->hash_next = *chain;
    *chain = consumer;
}

void consumer_table_remove(struct consumer *consumer)
{
    struct kv *kv = kv_of_consumer(consumer);
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
bool consumer_wants_all(const struct consumer *consumer)
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
    text_append_format(&consumer->ack_prefix, "$JS.ACK.%.*s.%.*s.", (int)stream->config.name.count,
                       stream->config.name.data, (int)name.count, name.data);
    consumer->wants_all = consumer_wants_all(consumer);
    consumer->backlog.heap = consumer->dropped.heap = consumer->progress.heap = kv->shard->heap;
    consumer->flow_window = CONSUMER_FLOW_WINDOW_START;
    consumer->context = context;
    consumer->on_ready = on_ready;
    consumer->min_seq = consumer->config.start_seq;
    consumer->is_kept = !stream->is_memory && !consumer->config.mem_storage;
    consumer->kept_seq = UINT64_MAX;
    consumer->list_upto = UINT64_MAX;
    consumer->flush_number = 1;
    consumer->flush_waits_tail = &consumer->flush_waits;
    struct feed *feed = feed_of(stream);
    consumer->feed_next = feed->consumers;
    feed->consumers = consumer;
    consumer_table_add(consumer);
    return consumer;
}

static void gather_first(struct consumer *consumer)
{
    consumer_gather(consumer, listing_kind_of(consumer), consumer->config.start_seq,
                    consumer->config.start_time_ns);
}

static void routes_on_part(struct gather *gather, const void *part, uint32_t bytes, uint32_t from)
{
    (void)gather;
    (void)part;
    (void)bytes;
    (void)from;
}

/* Every shard knows where acknowledgements go. What the feed brought meanwhile is in the list that is asked for now. */
static void routes_on_done(struct gather *gather)
{
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, gather);
    if (consumer_returned(consumer))
        return;
    consumer_gather_reset(consumer);
    gather_first(consumer);
}

struct consumer *consumer_create(struct stream *stream, struct consumer_config *config,
                                 struct bytes name, uint64_t created_ns, void *context,
                                 void (*on_ready)(void *context, struct consumer *consumer))
{
    struct consumer *consumer = consumer_new(stream, config, name, context, on_ready);
    consumer->created_ns = created_ns;
    if (consumer_takes_acks(consumer)) {
        consumer->gather = (struct gather){.on_part = routes_on_part, .on_done = routes_on_done};
        consumer->outstanding++;
        ack_routes_add(stream->kv, stream, name, &consumer->gather);
    } else {
        gather_first(consumer);
    }
    return consumer;
}

static void restored_on_ready(void *context, struct consumer *consumer)
{
    (void)context;
    (void)consumer; /* nobody asked */
}

/* Goes on where it was; of the list it started with, with what is left of that. */
static void restore_position(struct consumer *consumer, struct bytes operations)
{
    struct progress *progress = &consumer->progress;
    struct progress_operation operation;
    for (; operations.count >= sizeof operation;
         operations = bytes_after(operations, sizeof operation)) {
        memcpy(&operation, operations.data, sizeof operation);
        progress_apply(progress, &operation);
    }
    uint64_t last = order_last_taken(consumer->stream->order);
    if (progress->stream_seq > last)
        progress->stream_seq = last;
    consumer->is_restored = true;
    consumer->kept_seq = progress->consumer_seq;
    consumer->min_seq = progress->stream_seq + 1;
    consumer->list_upto = progress->list_upto;
    bool is_in_list = progress->stream_seq < progress->list_upto;
    consumer_gather(consumer, is_in_list ? LISTING_PER_KEY : LISTING_ALL, consumer->min_seq, 0);
}

void consumer_restore(struct stream *stream, const struct consumer_found *found)
{
    struct consumer_config config = {0};
    consumer_config_restore(&config, found->config_json);
    struct consumer *consumer = consumer_new(stream, &config, found->name, NULL, restored_on_ready);
    consumer->created_ns = found->created_ns;
    if (found->has_position)
        restore_position(consumer, found->operations);
    else
        gather_first(consumer);
}

void consumer_free(struct consumer *consumer)
{
    record_queue_clear(&consumer->queue);
    consumer_window_clear(consumer);
    backlog_clear(&consumer->backlog);
    backlog_clear(&consumer->dropped);
    consumer_held_clear(consumer);
    consumer_redeliver_fini(consumer);
    progress_free(&consumer->progress);
    text_free(&consumer->operations);
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
    timer_stop(&consumer->overdue);
    timer_stop(&consumer->resume);
    consumer_table_remove(consumer);
    if (!consumer->is_ending) {
        if (consumer_takes_acks(consumer))
            ack_routes_remove(stream->kv, stream, consumer_name(consumer));
        if (consumer->is_started)
            advise_action(consumer, "delete");
    }
    consumer_flush_end(consumer);
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
            consumer->is_ending = true;
            consumer_destroy(consumer);
        }
    }
    heap_free(kv->consumers);
    kv->consumers = NULL;
    kv->consumer_capacity = 0;
}
