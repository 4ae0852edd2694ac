/*
 * kv/consumer.c: a push consumer's states, and its delivery.
 *
 * Gathering: ask every stripe for its part of the list (which also makes it offer from now on); then read what was given
 * out last, and wait until the watermark covers that and the list. What the feed brought meanwhile up to that sequence is
 * folded into the list, in order; the list is then exactly the state as of that sequence, and all above is live.
 */
#include "kv/consumer.h"

#include <stdio.h>

#include "core/hash.h"
#include "core/subject.h"
#include "kv/backlog.h"
#include "kv/directory.h"

enum {
    CONSUMER_QUEUE_MAX = 8192, /* records */
    CONSUMER_QUEUE_BYTES_MAX = 8 << 20,
    CONSUMER_GATHER_MAX = 8 * CONSUMER_QUEUE_MAX, /* the same while the list is being made */
    CONSUMER_GATHER_BYTES_MAX = 64 << 20,
    CONSUMER_BURST_MAX = 1024,   /* deliveries in one pump; then the others' turn */
    QUEUED_BYTES_EVERY = 32,     /* deliveries between two looks at the connection */
    FLOW_WINDOW_START = 2 << 20, /* jetstream-consumers.md section 7.5 */
    FLOW_WINDOW_MAX = 32 << 20,
};
#define NS_PER_SECOND UINT64_C(1000000000)

enum consumer_state { CONSUMER_GATHERING, CONSUMER_LISTING, CONSUMER_LIVE };

/* A message of the list that was asked for. */
struct window_slot {
    uint64_t index; /* in the backlog */
    uint32_t found;
    struct feed_record *record; /* owns; NULL unless FOUND */
};

struct queue_entry {
    uint64_t seq;
    struct feed_record *record; /* one reference; NULL: removed from the stream before its turn */
};

/* Records in sequence order, waiting for their turn. A ring of `capacity`, a power of two. */
struct queue {
    struct queue_entry *entries; /* owns */
    uint64_t first, end, capacity;
    uint64_t alive, bytes; /* of the entries that have a record */
};

struct consumer {
    struct consumer *feed_next, *hash_next;
    struct stream *stream; /* borrows; ends every consumer before it goes */
    struct consumer_config config;
    struct text name;
    struct text ack_prefix; /* $JS.ACK.<stream>.<consumer>.1. */
    bool wants_all;         /* no filter, or one that every subject of the stream matches */
    uint64_t created_ns;
    enum consumer_state state;
    bool is_closing; /* freed when nothing is outstanding */
    bool is_active;  /* somebody subscribes */
    bool is_pumping;
    bool is_started;  /* the create request was answered; positions are set */
    bool is_restored; /* positions are those of an earlier process */
    bool is_overrun;  /* while gathering: the feed brought more than the queue takes */

    enum listing_kind kind; /* of the gathering under way */
    uint64_t from_seq, from_time_ns;
    uint64_t *early_removed; /* owns: removals heard of while gathering */
    uint64_t early_removed_count, early_removed_capacity;
    struct gather gather;
    uint32_t outstanding; /* gathers and waits that will call back */
    struct watermark_wait watermark;
    uint64_t gathered_upto; /* the list is the state as of this sequence */
    uint64_t first_seq;     /* lowest in the stream at that time */
    struct backlog backlog;
    struct window_slot window[LISTING_FETCH_MAX];
    uint32_t window_count, window_next;
    bool is_fetching;

    struct queue queue;
    uint64_t dropped_from;  /* sequence of the first record that did not fit the queue; 0: none */
    struct backlog dropped; /* those, as long as they are there; counted, then gathered anew */

    uint64_t min_seq; /* nothing below is delivered */
    uint64_t consumer_seq,
        stream_seq; /* last delivered; stream_seq starts at the position before the first */
    uint64_t last_active_ns;

    uint64_t flow_window, flow_bytes, flow_covered;
    uint32_t flow_count;
    char flow_id[5]; /* empty: no request is out */

    struct timer heartbeat, inactive, burst, position;
    bool is_kept, was_kept; /* outlives the process; its first position was told */
    uint64_t kept_seq;      /* consumer_seq as last told to the directory */
    uint64_t last_sent_ns;
    void *context;
    void (*on_ready)(void *context, struct consumer *consumer);
};

static void consumer_gather(struct consumer *consumer, enum listing_kind kind, uint64_t from_seq,
                            uint64_t from_time_ns);
static void consumer_on_heartbeat(struct timer *timer);
static void consumer_on_inactive(struct timer *timer);

static struct kv *kv_of_consumer(const struct consumer *consumer)
{
    return consumer->stream->kv;
}

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

static uint64_t consumer_pending(const struct consumer *consumer)
{
    return consumer->backlog.alive + consumer->queue.alive + consumer->dropped.alive;
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

/* Whether a record of the stream is for this consumer. */
static bool consumer_wants(const struct consumer *consumer, const struct feed_record *record)
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
    consumer->flow_window = FLOW_WINDOW_START;
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

static void queue_clear(struct queue *queue)
{
    for (uint64_t i = queue->first; i < queue->end; i++) {
        struct queue_entry *entry = &queue->entries[i & (queue->capacity - 1)];
        if (entry->record != NULL)
            feed_record_release(entry->record);
    }
    heap_free(queue->entries);
    *queue = (struct queue){0};
}

static void queue_grow(struct queue *queue, struct heap *heap)
{
    uint64_t capacity = queue->capacity == 0 ? 16 : 2 * queue->capacity;
    struct queue_entry *entries = heap_alloc(heap, capacity * sizeof *entries);
    for (uint64_t i = queue->first; i < queue->end; i++)
        entries[i & (capacity - 1)] = queue->entries[i & (queue->capacity - 1)];
    heap_free(queue->entries);
    queue->entries = entries;
    queue->capacity = capacity;
}

/* Takes a reference. The sequence is above all that are queued. */
static void queue_push(struct queue *queue, struct heap *heap, struct feed_record *record)
{
    if (queue->end - queue->first == queue->capacity)
        queue_grow(queue, heap);
    record->references++;
    queue->entries[queue->end++ & (queue->capacity - 1)] =
        (struct queue_entry){record->seq, record};
    queue->alive++;
    queue->bytes += feed_record_bytes(record);
}

/* The next record, whose reference is now the caller's; NULL: the queue is empty. */
static struct feed_record *queue_pop(struct queue *queue)
{
    while (queue->first < queue->end) {
        struct feed_record *record = queue->entries[queue->first++ & (queue->capacity - 1)].record;
        if (record == NULL)
            continue;
        queue->alive--;
        queue->bytes -= feed_record_bytes(record);
        return record;
    }
    return NULL;
}

static uint64_t queue_next_seq(const struct queue *queue)
{
    return queue->first == queue->end ? UINT64_MAX
                                      : queue->entries[queue->first & (queue->capacity - 1)].seq;
}

/* The message was removed from the stream; true: it was queued. */
static bool queue_kill(struct queue *queue, uint64_t seq)
{
    uint64_t low = queue->first, high = queue->end;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (queue->entries[middle & (queue->capacity - 1)].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    struct queue_entry *entry = &queue->entries[low & (queue->capacity - 1)];
    if (low == queue->end || entry->seq != seq || entry->record == NULL)
        return false;
    queue->alive--;
    queue->bytes -= feed_record_bytes(entry->record);
    feed_record_release(entry->record);
    entry->record = NULL;
    return true;
}

static bool queue_is_full(const struct queue *queue, uint64_t count_max, uint64_t bytes_max)
{
    return queue->end - queue->first >= count_max || queue->bytes >= bytes_max;
}

static void window_clear(struct consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->window_count; i++) {
        if (consumer->window[i].record != NULL)
            feed_record_release(consumer->window[i].record);
    }
    consumer->window_count = consumer->window_next = 0;
}

static void consumer_free(struct consumer *consumer)
{
    queue_clear(&consumer->queue);
    window_clear(consumer);
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

/* What an operation owes when it calls back: true if the consumer is gone. */
static bool consumer_returned(struct consumer *consumer)
{
    ASSERT(consumer->outstanding > 0);
    consumer->outstanding--;
    if (!consumer->is_closing)
        return false;
    if (consumer->outstanding == 0)
        consumer_free(consumer);
    return true;
}

/* ---- gathering ---- */

static void gather_on_part(struct gather *gather, const void *payload, uint32_t bytes,
                           uint32_t from)
{
    (void)bytes;
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, gather);
    if (consumer->is_closing)
        return; /* its stream may be gone */
    const struct listing_part *part = payload;
    const uint64_t *seqs = (const uint64_t *)(part + 1);
    uint32_t count = kv_of_consumer(consumer)->shard->count;
    uint32_t stripe = (from + count - consumer->stream->id % count) % count;
    for (uint64_t i = 0; i < part->count; i++)
        backlog_add(&consumer->backlog, seqs[i], stripe);
    if (part->first_seq != 0 && (consumer->first_seq == 0 || part->first_seq < consumer->first_seq))
        consumer->first_seq = part->first_seq;
    if (part->last_seq > consumer->gathered_upto)
        consumer->gathered_upto = part->last_seq;
}

static bool consumer_lists_per_key(const struct consumer *consumer)
{
    return consumer->config.deliver_policy == DELIVER_LAST_PER_SUBJECT
           && consumer->kind == LISTING_PER_KEY
           && consumer->stream->config.messages_per_subject_max != 1;
}

/* One record that the list may have missed, in sequence order. */
static void fold_record(struct consumer *consumer, const struct feed_record *record)
{
    struct backlog *backlog = &consumer->backlog;
    for (uint32_t i = 0; i < record->removed_count; i++)
        (void)backlog_kill(backlog, record->removed[i]);
    if (consumer->kind == LISTING_NONE || record->seq < consumer->from_seq
        || record->time_ns < consumer->from_time_ns || !consumer_wants(consumer, record))
        return;
    if (consumer_lists_per_key(consumer)) {
        if (record->previous_seq > record->seq)
            return; /* a latecomer: not the key's last */
        (void)backlog_kill(backlog, record->previous_seq);
    }
    struct bytes subject = feed_record_subject(record);
    char room[STREAM_KEY_ROOM];
    struct bytes key = stream_key_of(consumer->stream, subject, room);
    backlog_insert(backlog, record->seq, stripe_of_key(consumer->stream->stripe_count, key));
}

/* A record above the list: what it pushed out, and whether it is wanted. */
static void consumer_take_live(struct consumer *consumer, struct feed_record *record)
{
    for (uint32_t i = 0; i < record->removed_count; i++)
        consumer_on_removed(consumer, &record->removed[i], 1);
    if (record->seq < consumer->min_seq || !consumer_wants(consumer, record))
        return;
    if (consumer->dropped_from == 0
        && queue_is_full(&consumer->queue, CONSUMER_QUEUE_MAX, CONSUMER_QUEUE_BYTES_MAX))
        consumer->dropped_from = record->seq;
    if (consumer->dropped_from != 0)
        backlog_add(&consumer->dropped, record->seq, 0);
    else
        queue_push(&consumer->queue, kv_of_consumer(consumer)->shard->heap, record);
}

static void early_removed_apply(struct consumer *consumer)
{
    for (uint64_t i = 0; i < consumer->early_removed_count; i++)
        consumer_on_removed(consumer, &consumer->early_removed[i], 1);
    heap_free(consumer->early_removed);
    consumer->early_removed = NULL;
    consumer->early_removed_count = consumer->early_removed_capacity = 0;
}

static void early_removed_add(struct consumer *consumer, uint64_t seq)
{
    if (consumer->early_removed_count == consumer->early_removed_capacity) {
        uint64_t capacity =
            consumer->early_removed_capacity == 0 ? 64 : 2 * consumer->early_removed_capacity;
        consumer->early_removed = heap_resize(kv_of_consumer(consumer)->shard->heap,
                                              consumer->early_removed, capacity * sizeof seq);
        consumer->early_removed_capacity = capacity;
    }
    consumer->early_removed[consumer->early_removed_count++] = seq;
}

/* The list becomes the state as of gathered_upto; what the feed brought above that is live. */
static void consumer_settle(struct consumer *consumer)
{
    struct queue all = consumer->queue;
    consumer->queue = (struct queue){0};
    backlog_sort(&consumer->backlog);
    while (queue_next_seq(&all) <= consumer->gathered_upto && all.first < all.end) {
        struct feed_record *record = queue_pop(&all);
        fold_record(consumer, record);
        feed_record_release(record);
    }
    if (consumer->kind == LISTING_LAST)
        backlog_keep_only_last(&consumer->backlog);
    struct feed_record *record;
    while ((record = queue_pop(&all)) != NULL) {
        consumer_take_live(consumer, record);
        feed_record_release(record);
    }
    queue_clear(&all);
    early_removed_apply(consumer);
}

/* The stream position before the first delivery (jetstream-consumers.md section 5.1). */
static uint64_t consumer_position(const struct consumer *consumer)
{
    uint64_t last = consumer->gathered_upto;
    uint64_t first = consumer->first_seq != 0 ? consumer->first_seq : last + 1;
    uint64_t member = consumer->backlog.count > 0 ? backlog_seq(&consumer->backlog, 0) : UINT64_MAX;
    switch (consumer->config.deliver_policy) {
    case DELIVER_NEW:
        return last;
    case DELIVER_LAST:
        return (member != UINT64_MAX ? member : first) - 1;
    case DELIVER_BY_START_TIME:
        return member != UINT64_MAX ? member - 1 : last;
    case DELIVER_BY_START_SEQUENCE:
        return (consumer->config.start_seq > first ? consumer->config.start_seq : first) - 1;
    case DELIVER_LAST_PER_SUBJECT:
        if (consumer_lists_per_key(consumer))
            return member != UINT64_MAX ? member - 1 : last == 0 ? 0 : last - 1;
        return first - 1;
    default:
        return first - 1;
    }
}

/* Tells the directory where the consumer is, if it has moved; the next delivery starts the timer again. */
static void consumer_keep_position(struct timer *timer)
{
    struct consumer *consumer = CONTAINER_OF(timer, struct consumer, position);
    struct consumer_past past = {consumer->created_ns, consumer->consumer_seq, consumer->stream_seq,
                                 1};
    if (consumer->kept_seq != consumer->consumer_seq || !consumer->was_kept)
        directory_position(consumer->stream, consumer_name(consumer), &past);
    consumer->was_kept = true;
    consumer->kept_seq = consumer->consumer_seq;
}

static void consumer_start(struct consumer *consumer)
{
    if (!consumer->is_restored)
        consumer->stream_seq = consumer_position(consumer);
    consumer->is_started = true;
    struct kv *kv = kv_of_consumer(consumer);
    consumer->is_active =
        kv->outbox->has_subscription(kv->outbox, text_bytes(&consumer->config.deliver_subject),
                                     text_bytes(&consumer->config.deliver_group));
    uint64_t now = shard_now_ns(kv->shard);
    consumer->last_sent_ns = now;
    if (consumer->config.idle_heartbeat_ns > 0)
        timer_start(kv->shard->timers, &consumer->heartbeat,
                    now + (uint64_t)consumer->config.idle_heartbeat_ns, consumer_on_heartbeat);
    if (!consumer->is_active)
        timer_start(kv->shard->timers, &consumer->inactive,
                    now + (uint64_t)consumer->config.inactive_threshold_ns, consumer_on_inactive);
    if (consumer->is_kept)
        consumer_keep_position(&consumer->position);
    consumer->on_ready(consumer->context, consumer);
}

static void consumer_regather(struct consumer *consumer)
{
    uint64_t from = consumer->dropped_from;
    consumer->dropped_from = 0;
    backlog_clear(&consumer->dropped);
    backlog_clear(&consumer->backlog);
    consumer_gather(consumer, LISTING_ALL, from, 0);
}

static void consumer_on_watermark(struct watermark_wait *wait)
{
    struct consumer *consumer = CONTAINER_OF(wait, struct consumer, watermark);
    if (consumer_returned(consumer))
        return;
    ASSERT(consumer->state == CONSUMER_GATHERING);
    if (consumer
            ->is_overrun) { /* the feed brought more than fits while the list was made: once more */
        consumer->is_overrun = false;
        queue_clear(&consumer->queue);
        backlog_clear(&consumer->backlog);
        consumer->early_removed_count = 0;
        consumer_gather(consumer, consumer->kind, consumer->from_seq, consumer->from_time_ns);
        return;
    }
    consumer->state = CONSUMER_LISTING;
    consumer_settle(consumer);
    if (!consumer->is_started)
        consumer_start(consumer);
    consumer_pump(consumer);
}

static void gather_on_lists(struct gather *gather)
{
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, gather);
    if (consumer_returned(consumer))
        return;
    struct stream *stream = consumer->stream;
    uint64_t taken = order_last_taken(stream->order);
    if (taken > consumer->gathered_upto)
        consumer->gathered_upto = taken;
    consumer->outstanding++;
    stream_wait_watermark(stream, &consumer->watermark, consumer->gathered_upto,
                          consumer_on_watermark);
}

static void consumer_gather(struct consumer *consumer, enum listing_kind kind, uint64_t from_seq,
                            uint64_t from_time_ns)
{
    consumer->state = CONSUMER_GATHERING;
    consumer->kind = kind;
    consumer->from_seq = from_seq;
    consumer->from_time_ns = from_time_ns;
    consumer->gathered_upto = consumer->first_seq = 0;
    consumer->gather.on_part = gather_on_part;
    consumer->gather.on_done = gather_on_lists;
    consumer->outstanding++;
    listing_ask_sequences(consumer->stream, &consumer->gather, &consumer->config, kind, from_seq,
                          from_time_ns);
}

/* ---- from the feed ---- */

void consumer_on_record(struct consumer *consumer, struct feed_record *record)
{
    bool is_foreign = record->removed_count == 0 && !consumer_wants(consumer, record);
    if (is_foreign)
        return;
    if (consumer->state != CONSUMER_GATHERING)
        consumer_take_live(consumer, record);
    else if (queue_is_full(&consumer->queue, CONSUMER_GATHER_MAX, CONSUMER_GATHER_BYTES_MAX))
        consumer->is_overrun = true;
    else
        queue_push(&consumer->queue, kv_of_consumer(consumer)->shard->heap, record);
}

void consumer_on_removed(struct consumer *consumer, const uint64_t *seqs, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if (consumer->state == CONSUMER_GATHERING)
            early_removed_add(consumer, seqs[i]);
        else if (backlog_kill(&consumer->backlog, seqs[i]) || queue_kill(&consumer->queue, seqs[i]))
            continue;
        else
            (void)backlog_kill(&consumer->dropped, seqs[i]);
    }
}

/* ---- delivery ---- */

static struct bytes headers_with_size(struct text *text, const struct feed_record *record)
{
    struct bytes headers = feed_record_headers(record);
    text_clear(text);
    if (headers.count >= 4)
        text_append(text, bytes_of(headers.data, headers.count - 2));
    else
        text_append_literal(text, "NATS/1.0\r\n");
    text_append_format(text, "Nats-Msg-Size: %u\r\n\r\n", record->value_size);
    return text_bytes(text);
}

/* $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending> */
static size_t ack_reply(const struct consumer *consumer, struct feed_record *record, char *out)
{
    if (record->seq_digits == 0) {
        record->seq_digits = (uint8_t)text_u64(record->seq_text, record->seq);
        record->time_digits = (uint8_t)text_u64(record->time_text, record->time_ns);
    }
    char *at = out;
    memcpy(at, consumer->ack_prefix.data, consumer->ack_prefix.count);
    at += consumer->ack_prefix.count;
    memcpy(at, record->seq_text, sizeof record->seq_text);
    at += record->seq_digits;
    *at++ = '.';
    at += text_u64(at, consumer->consumer_seq);
    *at++ = '.';
    memcpy(at, record->time_text, sizeof record->time_text);
    at += record->time_digits;
    *at++ = '.';
    at += text_u64(at, consumer_pending(consumer));
    return (size_t)(at - out);
}

static void send_status(struct consumer *consumer, struct bytes reply, struct bytes headers)
{
    struct kv *kv = kv_of_consumer(consumer);
    struct bytes deliver = text_bytes(&consumer->config.deliver_subject);
    struct msg msg = {.subject = deliver, .reply = reply, .headers = headers};
    kv->outbox->deliver(kv->outbox, deliver, &msg);
}

static size_t flow_subject(const struct consumer *consumer, char *out, size_t room)
{
    return (size_t)snprintf(out, room, "$JS.FC.%.*s.%.*s.%s",
                            (int)consumer->stream->config.name.count,
                            consumer->stream->config.name.data, (int)consumer->name.count,
                            consumer->name.data, consumer->flow_id);
}

/* The id's first two characters are the shard, so that the answer finds its way from any connection. */
static void flow_request(struct consumer *consumer)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    uint32_t shard = kv_of_consumer(consumer)->shard->index;
    uint32_t count = consumer->flow_count++;
    consumer->flow_id[0] = digits[shard / 36];
    consumer->flow_id[1] = digits[shard % 36];
    consumer->flow_id[2] = digits[count / 36 % 36];
    consumer->flow_id[3] = digits[count % 36];
    consumer->flow_covered = consumer->flow_bytes;
    char subject[2 * STREAM_NAME_BYTES_MAX + 32];
    size_t bytes = flow_subject(consumer, subject, sizeof subject);
    send_status(consumer, bytes_of(subject, bytes),
                BYTES_LITERAL("NATS/1.0 100 FlowControl Request\r\n\r\n"));
}

static void flow_account(struct consumer *consumer, uint64_t weight)
{
    if (!consumer->config.flow_control)
        return;
    consumer->flow_bytes += weight;
    if (consumer->flow_id[0] == '\0') {
        if (consumer->flow_bytes > consumer->flow_window / 2)
            flow_request(consumer);
    } else if (consumer->flow_bytes - consumer->flow_covered >= consumer->flow_window) {
        consumer->flow_covered += weight;
    }
}

static void consumer_send(struct consumer *consumer, struct feed_record *record)
{
    struct kv *kv = kv_of_consumer(consumer);
    char reply[2 * STREAM_NAME_BYTES_MAX + 128];
    consumer->consumer_seq++;
    consumer->stream_seq = record->seq;
    consumer->last_active_ns = shard_wall_ns(kv->shard);
    consumer->last_sent_ns = shard_now_ns(kv->shard);
    if (consumer->is_kept && !timer_is_running(&consumer->position))
        timer_start(kv->shard->timers, &consumer->position,
                    consumer->last_sent_ns + DIRECTORY_POSITION_NS, consumer_keep_position);
    struct msg msg = {
        .subject = feed_record_subject(record),
        .headers = feed_record_headers(record),
        .payload = feed_record_value(record),
    };
    msg.reply = bytes_of(reply, ack_reply(consumer, record, reply));
    if (consumer->config.headers_only) {
        msg.headers = headers_with_size(&kv->scratch, record);
        msg.payload = (struct bytes){0};
    }
    struct bytes deliver = text_bytes(&consumer->config.deliver_subject);
    kv->outbox->deliver(kv->outbox, deliver, &msg);
    flow_account(consumer, deliver.count + msg.reply.count + msg.headers.count + msg.payload.count);
}

static bool consumer_may_send(const struct consumer *consumer, uint32_t sent)
{
    struct outbox *outbox = kv_of_consumer(consumer)->outbox;
    if (!consumer->is_active || consumer->is_closing)
        return false;
    if (consumer->config.flow_control && consumer->flow_bytes > consumer->flow_window)
        return false;
    if (sent % QUEUED_BYTES_EVERY != 0)
        return true;
    return outbox->queued_bytes(outbox, text_bytes(&consumer->config.deliver_subject))
           < OUTBOX_SOFT_BYTES;
}

/* ---- the list ---- */

static void window_on_part(struct gather *gather, const void *payload, uint32_t bytes,
                           uint32_t from)
{
    (void)from;
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, gather);
    if (consumer->is_closing)
        return; /* its stream may be gone */
    struct heap *heap = kv_of_consumer(consumer)->shard->heap;
    const char *at = payload, *end = at + bytes;
    while (at < end) {
        const struct listing_message *message = (const struct listing_message *)at;
        struct window_slot *slot = &consumer->window[message->slot];
        slot->found = message->found;
        at += sizeof *message;
        if (message->found == LISTING_FOUND)
            slot->record = feed_record_copy(heap, (const struct feed_record *)at);
        at += (message->record_bytes + 7u) & ~7u;
    }
}

static void window_on_done(struct gather *gather)
{
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, gather);
    if (consumer_returned(consumer))
        return;
    consumer->is_fetching = false;
    consumer_pump(consumer);
}

/* Asks for the next messages of the list; false: there are none left. */
static bool window_ask(struct consumer *consumer)
{
    struct backlog *backlog = &consumer->backlog;
    struct stream *stream = consumer->stream;
    window_clear(consumer);
    while (backlog->next < backlog->count && consumer->window_count < LISTING_FETCH_MAX) {
        uint64_t index = backlog->next++;
        if (backlog_is_wanted(backlog, index))
            consumer->window[consumer->window_count++] =
                (struct window_slot){.index = index, .found = LISTING_SKIPPED};
    }
    if (consumer->window_count == 0)
        return false;
    consumer->gather = (struct gather){.on_part = window_on_part, .on_done = window_on_done};
    consumer->is_fetching = true;
    consumer->outstanding++;
    for (uint32_t stripe = 0; stripe < stream->stripe_count; stripe++) {
        struct listing_wanted wanted[LISTING_FETCH_MAX];
        uint32_t count = 0;
        for (uint32_t i = 0; i < consumer->window_count; i++) {
            uint64_t index = consumer->window[i].index;
            if (backlog_stripe(backlog, index) == stripe)
                wanted[count++] = (struct listing_wanted){backlog_seq(backlog, index), i};
        }
        if (count > 0)
            listing_ask_messages(stream, &consumer->gather, stripe, wanted, count,
                                 consumer->config.headers_only);
    }
    return true;
}

/* Takes the window's next slot; true: something went out. */
static bool window_step(struct consumer *consumer)
{
    struct window_slot *slot = &consumer->window[consumer->window_next];
    struct backlog *backlog = &consumer->backlog;
    if (slot->found == LISTING_SKIPPED) { /* the answer was full: go back to here */
        backlog->next = slot->index;
        window_clear(consumer);
        return false;
    }
    consumer->window_next++;
    if (slot->found == LISTING_DAMAGED)
        (void)backlog_kill(backlog, backlog_seq(backlog, slot->index));
    if (slot->record == NULL || !backlog_is_wanted(backlog, slot->index))
        return false; /* gone: counted until the feed says so */
    backlog_delivered(backlog, slot->index);
    consumer_send(consumer, slot->record);
    return true;
}

/* One step of the list; false: it waits, or has ended. */
static bool list_step(struct consumer *consumer, uint32_t *sent)
{
    if (consumer->is_fetching)
        return false;
    if (consumer->window_next < consumer->window_count) {
        *sent += window_step(consumer);
        return true;
    }
    if (window_ask(consumer))
        return false;
    consumer->state = CONSUMER_LIVE;
    return true;
}

static bool live_step(struct consumer *consumer, uint32_t *sent)
{
    struct feed_record *record = queue_pop(&consumer->queue);
    if (record != NULL) {
        consumer_send(consumer, record);
        feed_record_release(record);
        ++*sent;
        return true;
    }
    if (consumer->dropped_from != 0)
        consumer_regather(consumer);
    return false;
}

static void consumer_on_burst(struct timer *timer)
{
    consumer_pump(CONTAINER_OF(timer, struct consumer, burst));
}

void consumer_pump(struct consumer *consumer)
{
    if (consumer->is_pumping || consumer->is_closing || !consumer->is_started)
        return;
    consumer->is_pumping = true;
    uint32_t sent = 0;
    bool goes_on = true;
    while (goes_on && sent < CONSUMER_BURST_MAX && consumer_may_send(consumer, sent)) {
        if (consumer->state == CONSUMER_LISTING)
            goes_on = list_step(consumer, &sent);
        else if (consumer->state == CONSUMER_LIVE)
            goes_on = live_step(consumer, &sent);
        else
            goes_on = false;
    }
    consumer->is_pumping = false;
    if (consumer->is_closing) {
        if (consumer->outstanding == 0)
            consumer_free(consumer);
        return;
    }
    struct shard *shard = kv_of_consumer(consumer)->shard;
    if (goes_on && sent >= CONSUMER_BURST_MAX)
        timer_start(shard->timers, &consumer->burst, shard_now_ns(shard), consumer_on_burst);
}

/* ---- heartbeats, interest, flow control ---- */

static bool consumer_is_idle(const struct consumer *consumer)
{
    return consumer->state == CONSUMER_LIVE && consumer->queue.alive == 0;
}

static void send_heartbeat(struct consumer *consumer)
{
    bool is_stalled = consumer->config.flow_control && consumer->flow_bytes > consumer->flow_window
                      && consumer->flow_id[0] != '\0';
    if (!consumer_is_idle(consumer) && !is_stalled)
        return; /* data is on its way: a heartbeat would end a client's list too early */
    uint64_t looked = consumer->stream->feed->advanced_upto;
    if (!consumer_is_idle(consumer) || looked < consumer->stream_seq)
        looked = consumer->stream_seq;
    char headers[2 * STREAM_NAME_BYTES_MAX + 192];
    int bytes = snprintf(headers, sizeof headers,
                         "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %llu\r\n"
                         "Nats-Last-Stream: %llu\r\n",
                         (unsigned long long)consumer->consumer_seq, (unsigned long long)looked);
    size_t count = (size_t)bytes;
    if (is_stalled) {
        count +=
            (size_t)snprintf(headers + count, sizeof headers - count, "Nats-Consumer-Stalled: ");
        count += flow_subject(consumer, headers + count, sizeof headers - count);
        memcpy(headers + count, "\r\n", 2);
        count += 2;
    }
    memcpy(headers + count, "\r\n", 2);
    send_status(consumer, (struct bytes){0}, bytes_of(headers, count + 2));
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

static void consumer_set_active(struct consumer *consumer, bool is_active)
{
    struct shard *shard = kv_of_consumer(consumer)->shard;
    if (consumer->is_active == is_active || !consumer->is_started)
        return;
    consumer->is_active = is_active;
    if (is_active) {
        timer_stop(&consumer->inactive);
        consumer_pump(consumer);
    } else {
        timer_start(shard->timers, &consumer->inactive,
                    shard_now_ns(shard) + (uint64_t)consumer->config.inactive_threshold_ns,
                    consumer_on_inactive);
    }
}

void consumers_on_interest(struct kv *kv, struct bytes subject, struct bytes queue, bool is_present)
{
    if (kv->consumer_count == 0)
        return;
    struct consumer *consumer = *table_chain(kv, subject);
    while (consumer != NULL) {
        struct consumer *next = consumer->hash_next;
        if (bytes_equal(text_bytes(&consumer->config.deliver_subject), subject)
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

static void flow_answered(struct kv *kv, struct bytes subject)
{
    struct bytes stream_name, name, id;
    if (!subject_token(subject, 2, &stream_name) || !subject_token(subject, 3, &name)
        || !subject_token(subject, 4, &id))
        return;
    struct stream *stream = stream_by_name(&kv->streams, stream_name);
    struct consumer *consumer = stream == NULL ? NULL : consumer_find(stream, name);
    if (consumer == NULL || !bytes_equal(id, bytes_of_text(consumer->flow_id)))
        return;
    consumer->flow_window =
        2 * consumer->flow_window < FLOW_WINDOW_MAX ? 2 * consumer->flow_window : FLOW_WINDOW_MAX;
    consumer->flow_bytes -= consumer->flow_covered < consumer->flow_bytes ? consumer->flow_covered
                                                                          : consumer->flow_bytes;
    consumer->flow_covered = 0;
    consumer->flow_id[0] = '\0';
    consumer_pump(consumer);
}

static void consumers_on_flow_answer(struct shard *shard, void *payload, uint32_t bytes,
                                     uint32_t from)
{
    (void)from;
    flow_answered(kv_of(shard), bytes_of(payload, bytes));
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : -1;
}

bool consumers_on_flow_control(struct kv *kv, struct bytes subject)
{
    struct bytes id;
    if (!subject_token(subject, 4, &id) || id.count != 4 || digit_of(id.data[0]) < 0
        || digit_of(id.data[1]) < 0)
        return false;
    uint32_t shard = (uint32_t)(digit_of(id.data[0]) * 36 + digit_of(id.data[1]));
    if (shard >= kv->shard->count)
        return false;
    mailbox_send(kv->shard, shard, consumers_on_flow_answer, subject.data, (uint32_t)subject.count);
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
