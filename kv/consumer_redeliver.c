/*
 * kv/consumer_redeliver.c: messages that go out again: a queue of sequences, fetched a few at a time, served before new ones.
 *
 * A sequence does not tell its stripe, so all are asked; the one that has it answers.
 */
#include "kv/consumer_state.h"

static void queue_push(struct consumer *consumer, uint64_t seq)
{
    if (consumer->redeliver_end == consumer->redeliver_capacity) {
        uint32_t count = consumer->redeliver_end - consumer->redeliver_first;
        uint32_t capacity = 2 * count + 64;
        uint64_t *all = heap_alloc(kv_of_consumer(consumer)->shard->heap, capacity * sizeof *all);
        if (count > 0)
            memcpy(all, consumer->redeliveries + consumer->redeliver_first, count * sizeof *all);
        heap_free(consumer->redeliveries);
        consumer->redeliveries = all;
        consumer->redeliver_first = 0;
        consumer->redeliver_end = count;
        consumer->redeliver_capacity = capacity;
    }
    consumer->redeliveries[consumer->redeliver_end++] = seq;
}

void consumer_redeliver(struct consumer *consumer, struct progress_entry *entry)
{
    if (entry->is_queued || entry->state != PROGRESS_PENDING)
        return;
    entry->is_queued = true;
    queue_push(consumer, entry->seq);
}

static void again_clear(struct consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->again_count; i++) {
        if (consumer->again[i].record != NULL)
            feed_record_release(consumer->again[i].record);
    }
    consumer->again_count = consumer->again_next = 0;
}

void consumer_redeliver_fini(struct consumer *consumer)
{
    again_clear(consumer);
    heap_free(consumer->redeliveries);
    consumer->redeliveries = NULL;
}

static void again_on_part(struct gather *gather, const void *payload, uint32_t bytes, uint32_t from)
{
    (void)from;
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, redeliver_gather);
    if (consumer->is_closing)
        return; /* its stream may be gone */
    struct heap *heap = kv_of_consumer(consumer)->shard->heap;
    const char *at = payload, *end = at + bytes;
    while (at < end) {
        const struct listing_message *message = (const struct listing_message *)at;
        struct window_slot *slot = &consumer->again[message->slot];
        at += sizeof *message;
        if (message->found != LISTING_GONE)
            slot->found = message->found;
        if (message->found == LISTING_FOUND)
            slot->record = feed_record_copy(heap, (const struct feed_record *)at);
        at += (message->record_bytes + 7u) & ~7u;
    }
}

static void again_on_done(struct gather *gather)
{
    struct consumer *consumer = CONTAINER_OF(gather, struct consumer, redeliver_gather);
    if (consumer_returned(consumer))
        return;
    consumer->is_fetching_again = false;
    consumer_pump(consumer);
}

static bool is_due_again(const struct consumer *consumer, uint64_t seq)
{
    const struct progress_entry *entry = progress_find(&consumer->progress, seq);
    return entry != NULL && entry->state == PROGRESS_PENDING && entry->is_queued;
}

/* False: nothing waits. */
static bool again_ask(struct consumer *consumer)
{
    struct stream *stream = consumer->stream;
    struct listing_wanted wanted[CONSUMER_REDELIVER_MAX];
    again_clear(consumer);
    while (consumer->redeliver_first < consumer->redeliver_end
           && consumer->again_count < CONSUMER_REDELIVER_MAX) {
        uint64_t seq = consumer->redeliveries[consumer->redeliver_first++];
        uint32_t slot = consumer->again_count;
        if (!is_due_again(consumer, seq))
            continue;
        consumer->again[slot] = (struct window_slot){.index = seq, .found = LISTING_GONE};
        wanted[slot] = (struct listing_wanted){seq, slot};
        consumer->again_count++;
    }
    if (consumer->again_count == 0) {
        consumer->redeliver_first = consumer->redeliver_end = 0;
        return false;
    }
    consumer->redeliver_gather =
        (struct gather){.on_part = again_on_part, .on_done = again_on_done};
    consumer->is_fetching_again = true;
    consumer->outstanding++;
    for (uint32_t stripe = 0; stripe < stream->stripe_count; stripe++)
        listing_ask_messages(stream, &consumer->redeliver_gather, stripe, wanted,
                             consumer->again_count, consumer->config.headers_only);
    return true;
}

/* The answer was full from here on: these are asked for again, first. */
static void again_put_back(struct consumer *consumer)
{
    while (consumer->again_count > consumer->again_next) {
        struct window_slot *slot = &consumer->again[--consumer->again_count];
        if (slot->record != NULL)
            feed_record_release(slot->record);
        slot->record = NULL;
        ASSERT(consumer->redeliver_first > 0); /* it was taken from there */
        consumer->redeliveries[--consumer->redeliver_first] = slot->index;
    }
}

static void again_take(struct consumer *consumer, struct window_slot *slot, uint32_t *sent)
{
    struct progress_entry *entry = progress_find(&consumer->progress, slot->index);
    int64_t deliveries_max = consumer->config.max_deliver;
    if (!is_due_again(consumer, slot->index))
        return;
    if (slot->record == NULL) { /* removed, or unreadable */
        consumer_settle_removed(consumer, slot->index);
        return;
    }
    if (deliveries_max > 0 && entry->deliveries >= deliveries_max) {
        consumer_exhaust(consumer, slot->index);
        return;
    }
    entry->is_queued = false;
    consumer_send(consumer, slot->record, entry->deliveries + 1);
    ++*sent;
}

enum redeliver_step consumer_redeliver_step(struct consumer *consumer, uint32_t *sent)
{
    if (consumer->is_fetching_again)
        return REDELIVER_WAITS;
    if (consumer->again_next == consumer->again_count) {
        if (consumer->redeliver_first == consumer->redeliver_end)
            return REDELIVER_NONE;
        return again_ask(consumer) ? REDELIVER_WAITS : REDELIVER_NONE;
    }
    struct window_slot *slot = &consumer->again[consumer->again_next];
    if (slot->found == LISTING_SKIPPED) {
        again_put_back(consumer);
        return REDELIVER_WENT_ON;
    }
    consumer->again_next++;
    again_take(consumer, slot, sent);
    return REDELIVER_WENT_ON;
}
