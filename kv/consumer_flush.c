/*
 * kv/consumer_flush.c: a consumer's progress on its way to the log (kv/directory.h), and who waits for it.
 *
 *     note ─► applied here, and collected ── end of the turn, or 250 ms ──► home: applied, appended ── durable ──► waits run
 *
 * Keeps:   an answer that tells of an acknowledgement, or depends on one, waits here. Flushes are durable in the order sent:
 *          one mailbox, one log. A consumer without a record has nothing to wait for.
 */
#include "kv/consumer_state.h"

struct flush {
    struct gather gather;
    struct consumer *consumer; /* stays: it counts this as outstanding */
    struct kv *kv;
    uint64_t number;
    uint32_t settled;
};

void consumer_note(struct consumer *consumer, const struct progress_operation *operation)
{
    uint32_t before = consumer->progress.pending_count;
    progress_apply(&consumer->progress, operation);
    if (!consumer->is_kept)
        return;
    text_append(&consumer->operations, bytes_of(operation, sizeof *operation));
    if (consumer->progress.pending_count < before) {
        uint32_t settled = before - consumer->progress.pending_count;
        consumer->settling_count += settled;
        consumer->settling_unsent += settled;
    }
}

static void run_waits(struct consumer *consumer, uint64_t durable, bool is_gone)
{
    while (consumer->flush_waits != NULL && consumer->flush_waits->flush <= durable) {
        struct flush_wait *wait = consumer->flush_waits;
        consumer->flush_waits = wait->next;
        if (consumer->flush_waits == NULL)
            consumer->flush_waits_tail = &consumer->flush_waits;
        wait->on_durable(wait, is_gone);
    }
}

static void flush_on_part(struct gather *gather, const void *part, uint32_t bytes, uint32_t from)
{
    (void)gather; /* durable; or the consumer is gone, which will be told in other ways */
    (void)part;
    (void)bytes;
    (void)from;
}

static void flush_on_done(struct gather *gather)
{
    struct flush *flush = CONTAINER_OF(gather, struct flush, gather);
    struct consumer *consumer = flush->consumer;
    uint64_t number = flush->number;
    uint32_t settled = flush->settled;
    flush->kv->flushes_open--;
    heap_free(flush);
    if (consumer_returned(consumer))
        return;
    consumer->flush_durable = number;
    consumer->settling_count -= settled;
    run_waits(consumer, number, false);
    consumer_pump(consumer);
}

static void flush_send(struct consumer *consumer)
{
    struct kv *kv = kv_of_consumer(consumer);
    const struct progress *progress = &consumer->progress;
    if (!consumer_takes_acks(consumer) && consumer->kept_seq != progress->consumer_seq)
        consumer_note(consumer, &(struct progress_operation){.kind = PROGRESS_POSITION,
                                                             .seq = progress->stream_seq,
                                                             .consumer_seq = progress->consumer_seq,
                                                             .time_ns = progress->list_upto});
    consumer->kept_seq = progress->consumer_seq;
    if (consumer->operations.count == 0)
        return;
    struct flush *flush = heap_alloc_zeroed(kv->shard->heap, sizeof *flush);
    flush->gather = (struct gather){.on_part = flush_on_part, .on_done = flush_on_done};
    flush->consumer = consumer;
    flush->kv = kv;
    flush->number = consumer->flush_number++;
    flush->settled = consumer->settling_unsent;
    consumer->settling_unsent = 0;
    consumer->outstanding++;
    kv->flushes_open++;
    struct directory_consumer of = {consumer_name(consumer), consumer->created_ns,
                                    consumer->config.durable_name.count > 0};
    directory_progress(consumer->stream, &of, text_bytes(&consumer->operations), &flush->gather);
    text_clear(&consumer->operations);
}

static void flush_queued(struct shard_deferred *deferred)
{
    struct kv *kv = CONTAINER_OF(deferred, struct kv, flush_deferred);
    while (kv->flush_head != NULL) {
        struct consumer *consumer = kv->flush_head;
        kv->flush_head = consumer->flush_next;
        consumer->is_flush_queued = false;
        flush_send(consumer);
    }
}

void consumer_flush_soon(struct consumer *consumer)
{
    struct kv *kv = kv_of_consumer(consumer);
    if (!consumer->is_kept || consumer->is_flush_queued || consumer->is_closing)
        return;
    consumer->is_flush_queued = true;
    consumer->flush_next = kv->flush_head;
    kv->flush_head = consumer;
    shard_defer(kv->shard, &kv->flush_deferred, flush_queued);
}

static void consumer_on_position(struct timer *timer)
{
    consumer_flush_soon(CONTAINER_OF(timer, struct consumer, position));
}

void consumer_flush_later(struct consumer *consumer)
{
    struct shard *shard = kv_of_consumer(consumer)->shard;
    if (consumer->is_kept && !timer_is_running(&consumer->position))
        timer_start(shard->timers, &consumer->position, shard_now_ns(shard) + DIRECTORY_POSITION_NS,
                    consumer_on_position);
}

bool consumer_wait_flushed(struct consumer *consumer, struct flush_wait *wait)
{
    bool has_unsent = consumer->operations.count > 0;
    if (!consumer->is_kept || consumer->is_closing
        || (!has_unsent && consumer->flush_durable + 1 == consumer->flush_number))
        return false;
    wait->next = NULL;
    wait->flush = has_unsent ? consumer->flush_number : consumer->flush_number - 1;
    *consumer->flush_waits_tail = wait;
    consumer->flush_waits_tail = &wait->next;
    if (has_unsent)
        consumer_flush_soon(consumer);
    return true;
}

void consumer_flush_end(struct consumer *consumer)
{
    struct consumer **link = &kv_of_consumer(consumer)->flush_head;
    while (consumer->is_flush_queued && *link != consumer)
        link = &(*link)->flush_next;
    if (consumer->is_flush_queued)
        *link = consumer->flush_next;
    consumer->is_flush_queued = false;
    run_waits(consumer, UINT64_MAX, true);
}

void consumers_flush_all(struct kv *kv)
{
    for (uint32_t i = 0; i < kv->consumer_capacity; i++) {
        for (struct consumer *consumer = kv->consumers[i]; consumer != NULL;
             consumer = consumer->hash_next) {
            if (consumer->is_started)
                consumer_flush_soon(consumer);
        }
    }
}
