/*
 * kv/catalog_step.c: what each shard does when a stream is made, shown, changed, closed, or found by recovery.
 *
 * Owns:    kv->closing: streams that end when nothing is in flight in them.
 */
#include "kv/catalog_room.h"

#include "kv/consumer.h"
#include "kv/follow.h"
#include "kv/gathering.h"
#include "kv/pin.h"
#include "kv/stripe.h"
#include "kv/stripe_total.h"

/* An answer that waits: for a state record, or for the last puts of a closing stream. */
struct step_wait {
    struct store_wait wait;
    struct kv *kv;
    struct gather *gather;
    struct step_wait *next; /* closing streams */
    struct stream *stream;
    uint32_t to;
};

static void step_answer(struct kv *kv, struct gather *gather, uint32_t to)
{
    if (gather != NULL)
        (void)gather_answer(kv->shard, gather, to, 0);
}

static void step_on_durable(struct store_wait *wait)
{
    struct step_wait *step = CONTAINER_OF(wait, struct step_wait, wait);
    step_answer(step->kv, step->gather, step->to);
    heap_free(step);
}

static void step_on_room(struct store_wait *wait);

/* Writes the stripe's state, then answers; waits for room if the log has none. */
static void step_write_state(struct step_wait *step)
{
    step->wait.on_durable = step_on_durable;
    enum status status = stripe_state_evictions(step->stream->stripe);
    if (status == STATUS_OK)
        status = stripe_write_state(step->stream->stripe, &step->wait);
    if (status == STATUS_OK)
        return;
    step->wait.on_durable = step_on_room;
    store_wait_room(step->kv->store, &step->wait);
}

static void step_on_room(struct store_wait *wait)
{
    step_write_state(CONTAINER_OF(wait, struct step_wait, wait));
}

static struct step_wait *step_wait_create(struct stream *stream, struct gather *gather, uint32_t to)
{
    struct step_wait *step = heap_alloc_zeroed(stream->kv->shard->heap, sizeof *step);
    step->kv = stream->kv;
    step->gather = gather;
    step->stream = stream;
    step->to = to;
    return step;
}

static uint32_t stripes_of(const struct kv *kv, const struct stream_past *past)
{
    return (past->flags & PAST_IS_STRIPED) != 0 ? kv->shard->count : 1;
}

static void step_make(struct kv *kv, const struct step_message *message,
                      struct stream_config *config, uint32_t from)
{
    struct stream *stream =
        stream_create(kv, message->stream_id, message->account, config, message->created_ns,
                      stripes_of(kv, &message->past),
                      (message->past.flags & PAST_HAS_WHOLE_KEYS) != 0, message->order);
    stream->is_striped = (message->past.flags & PAST_IS_STRIPED) != 0;
    if (stream->stripe == NULL || stream->is_memory)
        step_answer(kv, message->gather, from);
    else
        step_write_state(step_wait_create(stream, message->gather, from));
}

/* Limits that were lowered, to be applied to what was there before. */
struct configure_wait {
    struct watermark_wait watermark;
    struct stream *stream;
    struct gather *gather;
    uint32_t to;
};

static void configure_on_watermark(struct watermark_wait *wait)
{
    struct configure_wait *configure = CONTAINER_OF(wait, struct configure_wait, watermark);
    struct kv *kv = configure->stream->kv;
    gathering_flush(kv);
    stripe_apply_limits(configure->stream->stripe);
    step_answer(kv, configure->gather, configure->to);
    heap_free(configure);
}

/*
 * What comes from now on meets the new limits. They apply to the rest when all of it is durable and was offered: watchers must not
 * hear that a message went before they hear of it.
 */
static void step_configure(struct stream *stream, const struct step_message *message,
                           struct stream_config *config, uint32_t from)
{
    struct kv *kv = stream->kv;
    stream_reconfigure(stream, config);
    follows_configure(stream);
    if (stream->stripe == NULL) {
        step_answer(kv, message->gather, from);
        return;
    }
    stripe_total_publish(stream->stripe);
    struct configure_wait *configure = heap_alloc_zeroed(kv->shard->heap, sizeof *configure);
    configure->stream = stream;
    configure->gather = message->gather;
    configure->to = from;
    stream_wait_watermark(stream, &configure->watermark, order_last_taken(stream->order),
                          configure_on_watermark);
}

static void step_close(struct stream *stream, struct gather *gather, uint32_t from)
{
    struct kv *kv = stream->kv;
    stream->is_visible = false;
    stream->is_closing = true;
    while (stream->feed != NULL && stream->feed->consumers != NULL)
        consumer_destroy(stream->feed->consumers);
    follows_on_closing(stream);
    if (stream->stripe != NULL)
        pins_drop(stream->stripe);
    stream_release_waits(stream);
    struct step_wait *step = step_wait_create(stream, gather, from);
    step->next = kv->closing;
    kv->closing = step;
    shard_stay_awake(kv->shard);
}

static void stream_release_records(struct stream *stream)
{
    struct index_key *key;
    struct message message;
    if (stream->stripe == NULL || stream->is_memory)
        return;
    for (uint64_t seq = 0; index_seek(stream->stripe->index, seq, &key, &message);
         seq = message.seq + 1)
        store_release(stream->kv->store, message.where);
}

void catalog_phase(struct shard *shard, void *context)
{
    (void)shard;
    struct kv *kv = context;
    struct step_wait **link = &kv->closing;
    while (*link != NULL) {
        struct step_wait *step = *link;
        struct stream *stream = step->stream;
        stream_release_waits(stream); /* what was decided since it closed need not wait */
        bool is_held = stream->stripe != NULL && stream->stripe->pending_count > 0;
        if (is_held || stream->is_routed) {
            if (stream->is_routed) /* this turn's publishing clears it */
                shard_stay_awake(kv->shard);
            link = &step->next;
            continue;
        }
        *link = step->next;
        stream_release_waits(step->stream); /* those that came since it was closed */
        stream_release_records(step->stream);
        stream_destroy(step->stream);
        step_answer(kv, step->gather, step->to);
        heap_free(step);
    }
}

static void step_adopt(struct kv *kv, const struct step_message *message,
                       struct stream_config *config)
{
    struct stream *stream = stream_by_id(&kv->streams, message->stream_id);
    bool has_whole_keys = (message->past.flags & PAST_HAS_WHOLE_KEYS) != 0;
    if (stream == NULL)
        stream =
            stream_create(kv, message->stream_id, message->account, config, message->created_ns,
                          stripes_of(kv, &message->past), has_whole_keys, message->order);
    else
        stream_adopt(stream, message->account, config, message->created_ns, has_whole_keys,
                     message->order);
    stream->is_striped = (message->past.flags & PAST_IS_STRIPED) != 0;
    stream->is_visible = true;
    if (stream->stripe == NULL)
        return;
    for (uint32_t i = 0; i < message->past.row_count; i++)
        stripe_trim_upto(stream->stripe, message->past.rows[i].upto, message->past.rows[i].keep);
    stripe_drop_before(stream->stripe, message->past.dead_before_ns);
    stripe_replayed(stream->stripe);
}

void catalog_on_step(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    gathering_flush(kv_of(shard)); /* what came before runs before */
    struct kv *kv = kv_of(shard);
    struct step_message *message = payload;
    struct stream *stream = stream_by_id(&kv->streams, message->stream_id);
    struct stream_config config = {0};
    if (bytes > sizeof *message)
        catalog_config_parse(&config, bytes_of(message + 1, bytes - sizeof *message));
    switch (message->step) {
    case STEP_MAKE:
        step_make(kv, message, &config, from);
        break;
    case STEP_SHOW:
        stream->is_visible = true;
        follows_on_shown(stream);
        step_answer(kv, message->gather, from);
        break;
    case STEP_CONFIGURE:
        step_configure(stream, message, &config, from);
        break;
    case STEP_CLOSE:
        step_close(stream, message->gather, from);
        break;
    case STEP_ADOPT:
        step_adopt(kv, message, &config);
        break;
    default:
        ASSERT(false);
    }
    stream_config_free(&config);
}
