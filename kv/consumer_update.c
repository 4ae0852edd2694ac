/*
 * kv/consumer_update.c: a consumer gets another configuration.
 *
 *     checked ─► in the log (kv/directory) ─► in force here ─► answered
 *
 * A new filter makes a new list of what is stored above the position; it does not go back. Requests for a consumer that is being
 * updated wait (kv/consumer_api).
 */
#include "kv/consumer_check.h"
#include "kv/consumer_state.h"

struct update {
    struct gather gather;
    struct consumer *consumer; /* stays: it counts this as outstanding */
    struct consumer_config next;
    enum api_error error;
    void *context;
    consumer_updated_fn *on_done;
};

static void update_end(struct update *update, struct consumer *consumer)
{
    struct api_failure failure = {.error = update->error};
    update->on_done(update->context, consumer, &failure);
    consumer_config_free(&update->next);
    heap_free(update);
}

/* ---- in force ---- */

static bool filters_are_equal(const struct consumer_config *a, const struct consumer_config *b)
{
    uint32_t count = consumer_config_filter_count(a);
    bool is_equal = count == consumer_config_filter_count(b);
    for (uint32_t i = 0; i < count && is_equal; i++)
        is_equal = bytes_equal(consumer_config_filter(a, i), consumer_config_filter(b, i));
    return is_equal;
}

void consumer_refilter(struct consumer *consumer)
{
    if (consumer->state == CONSUMER_GATHERING) {
        consumer->is_overrun = true; /* the list being made is made once more */
        return;
    }
    consumer->is_refilter_due = consumer->is_fetching;
    if (consumer->is_refilter_due)
        return; /* when the messages asked for are here */
    const struct progress *progress = &consumer->progress;
    consumer->min_seq = progress->stream_seq + 1;
    bool is_idle = consumer->state == CONSUMER_LIVE && consumer->queue.alive == 0
                   && consumer->dropped_from == 0;
    uint64_t looked = consumer->stream->feed->advanced_upto;
    if (is_idle && looked >= consumer->min_seq) /* what the old filter skipped stays behind */
        consumer->min_seq = looked + 1;
    consumer_held_clear(consumer);
    consumer_window_clear(consumer);
    backlog_clear(&consumer->backlog);
    backlog_clear(&consumer->dropped);
    consumer->dropped_from = 0;
    consumer_gather_reset(consumer);
    bool is_in_list = progress->stream_seq < progress->list_upto;
    consumer_gather(consumer, is_in_list ? LISTING_PER_KEY : LISTING_ALL, consumer->min_seq, 0);
}

/* Another subscriber: what the last one did not acknowledge goes to this one. */
static void redeliver_all(struct consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->progress.count; i++)
        consumer_redeliver(consumer, &consumer->progress.entries[i]);
}

static void update_apply(struct consumer *consumer, struct consumer_config *next)
{
    struct kv *kv = kv_of_consumer(consumer);
    struct consumer_config old = consumer->config;
    bool is_moved =
        !bytes_equal(text_bytes(&old.deliver_subject), text_bytes(&next->deliver_subject));
    bool is_paused_anew = old.pause_until_ns != next->pause_until_ns;
    consumer_table_remove(consumer);
    consumer->config = *next;
    *next = (struct consumer_config){0};
    consumer_table_add(consumer);
    consumer->wants_all = consumer_wants_all(consumer);
    bool is_active = kv->outbox->has_subscription(kv->outbox, consumer->stream->account,
                                                  text_bytes(&consumer->config.deliver_subject),
                                                  text_bytes(&consumer->config.deliver_group));
    if (is_moved)
        redeliver_all(consumer);
    if (is_active != consumer->is_active
        || old.inactive_threshold_ns != consumer->config.inactive_threshold_ns) {
        consumer->is_active = is_active;
        consumer_restart_inactive(consumer);
    }
    consumer_start_resume(consumer);
    if (is_paused_anew)
        advise_pause(consumer);
    if (!filters_are_equal(&old, &consumer->config))
        consumer_refilter(consumer);
    consumer_config_free(&old);
    if (consumer_takes_acks(consumer)) {
        timer_stop(&consumer->overdue);
        consumer_check_overdue(consumer);
    }
    consumer_pump(consumer);
}

/* ---- into the log ---- */

static void update_on_part(struct gather *gather, const void *part, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct update *update = CONTAINER_OF(gather, struct update, gather);
    const struct directory_result_part *result = part;
    if (result->result == DIRECTORY_NO_SPACE)
        update->error = API_INSUFFICIENT_RESOURCES;
    else if (result->result != DIRECTORY_FOUND)
        update->error = API_CONSUMER_NOT_FOUND;
}

static void update_on_done(struct gather *gather)
{
    struct update *update = CONTAINER_OF(gather, struct update, gather);
    struct consumer *consumer = update->consumer;
    if (consumer_returned(consumer)) {
        update->error = API_CONSUMER_NOT_FOUND;
        update_end(update, NULL);
        return;
    }
    consumer->is_updating = false;
    if (update->error == API_OK)
        update_apply(consumer, &update->next);
    update_end(update, consumer);
}

static bool deliver_subject_is_free(const struct consumer *consumer,
                                    const struct consumer_config *next)
{
    struct outbox *outbox = kv_of_consumer(consumer)->outbox;
    struct bytes old = text_bytes(&consumer->config.deliver_subject);
    if (bytes_equal(old, text_bytes(&next->deliver_subject)))
        return true;
    return !consumer->is_active
           && !outbox->has_subscription(outbox, consumer->stream->account, old, (struct bytes){0});
}

bool consumer_update(struct consumer *consumer, struct consumer_config *next, void *context,
                     consumer_updated_fn *on_done, struct api_failure *failure)
{
    struct kv *kv = kv_of_consumer(consumer);
    ASSERT(consumer_may_change(consumer));
    if (!consumer_config_check_update(&consumer->config, next, failure))
        return false;
    if (!deliver_subject_is_free(consumer, next))
        return api_fail(failure, API_CONSUMER_NAME_EXISTS, NULL);
    struct update *update = heap_alloc_zeroed(kv->shard->heap, sizeof *update);
    update->consumer = consumer;
    update->next = *next;
    *next = (struct consumer_config){0};
    update->context = context;
    update->on_done = on_done;
    if (!consumer->is_kept) {
        update_apply(consumer, &update->next);
        update_end(update, consumer);
        return true;
    }
    struct text json = {0};
    consumer_config_append(&json, &update->next, false);
    struct directory_consumer of = {consumer_name(consumer), consumer->created_ns,
                                    update->next.durable_name.count > 0};
    update->gather = (struct gather){.on_part = update_on_part, .on_done = update_on_done};
    consumer->is_updating = true;
    consumer->outstanding++;
    directory_update(consumer->stream, &of, text_bytes(&json), &update->gather);
    text_free(&json);
    return true;
}

bool consumer_may_change(const struct consumer *consumer)
{
    return consumer->is_started && !consumer->is_updating;
}
