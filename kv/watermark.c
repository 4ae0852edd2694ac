/*
 * kv/watermark.c: waiting until everything up to a sequence is durable and offered to the watchers.
 *
 *     wait ──► own bit in order->waiters ──► (a floor rises on some shard) ──► nudge ──► phase: read W, drain, go on
 *
 * Keeps:   no lost wake: a waiter sets its bit before it reads W; a floor is stored before the bits are read (both
 *          seq_cst). What runs in the phase first read W and then drained the mailboxes, so it has every offer up to W.
 */
#include "kv/feed.h"
#include "kv/room.h"

struct watermark_nudge {
    uint32_t stream_id;
};

uint64_t stream_watermark(const struct stream *stream)
{
    return order_watermark(stream->order, stream->kv->shard->count);
}

void stream_nudge(struct stream *stream)
{
    if (stream->is_nudged)
        return;
    struct kv *kv = stream->kv;
    stream->is_nudged = true;
    stream->nudged_next = kv->nudged_head;
    kv->nudged_head = stream;
    shard_stay_awake(kv->shard);
}

static void watermark_on_nudge(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct watermark_nudge *nudge = payload;
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, nudge->stream_id);
    if (stream != NULL)
        stream_nudge(stream);
}

void stream_wait_watermark(struct stream *stream, struct watermark_wait *wait, uint64_t seq,
                           void (*on_reached)(struct watermark_wait *wait))
{
    ASSERT_ON_SHARD(stream->kv->shard);
    wait->seq = seq;
    wait->on_reached = on_reached;
    wait->next = stream->waits;
    stream->waits = wait;
    stream_nudge(stream);
}

void stream_floor_rose(struct stream *stream)
{
    struct kv *kv = stream->kv;
    uint64_t waiters = shared_load_seq_cst(&stream->order->waiters);
    while (waiters != 0) {
        uint32_t to = (uint32_t)__builtin_ctzll(waiters);
        waiters &= waiters - 1;
        struct watermark_nudge nudge = {stream->id};
        if (to == kv->shard->index)
            stream_nudge(stream);
        else
            mailbox_send(kv->shard, to, watermark_on_nudge, &nudge, sizeof nudge);
    }
}

/* Takes what is reached off the list first: a callback may wait again, or end the stream. */
static struct watermark_wait *waits_reached(struct stream *stream, uint64_t watermark)
{
    struct watermark_wait *reached = NULL;
    struct watermark_wait **link = &stream->waits;
    while (*link != NULL) {
        struct watermark_wait *wait = *link;
        if (wait->seq > watermark) {
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        wait->next = reached;
        reached = wait;
    }
    return reached;
}

void stream_release_waits(struct stream *stream)
{
    struct watermark_wait *reached = waits_reached(stream, UINT64_MAX);
    while (reached != NULL) {
        struct watermark_wait *next = reached->next;
        reached->on_reached(reached);
        reached = next;
    }
}

static bool stream_waits(const struct stream *stream)
{
    return stream->waits != NULL || (stream->feed != NULL && feed_is_waiting(stream->feed));
}

static uint64_t stream_await(struct stream *stream)
{
    uint64_t bit = UINT64_C(1) << stream->kv->shard->index;
    if (stream_waits(stream))
        (void)shared_or_seq_cst(&stream->order->waiters, bit);
    else if ((shared_load_relaxed(&stream->order->waiters) & bit) != 0)
        (void)shared_and_seq_cst(&stream->order->waiters, ~bit);
    return stream_watermark(stream);
}

struct watermark_step {
    struct stream *stream;
    uint64_t watermark;
};

static void step_run(struct stream *stream, uint64_t watermark)
{
    if (stream->feed != NULL)
        feed_advance(stream->feed, watermark);
    struct watermark_wait *reached = waits_reached(stream, watermark);
    while (reached != NULL) {
        struct watermark_wait *next = reached->next;
        reached->on_reached(reached);
        reached = next;
    }
}

void watermark_phase(struct shard *shard, void *context)
{
    struct kv *kv = context;
    enum { STEPS_MAX = 64 };
    struct watermark_step steps[STEPS_MAX];
    uint32_t ids[STEPS_MAX];
    uint32_t count = 0;
    while (kv->nudged_head != NULL && count < STEPS_MAX) {
        struct stream *stream = kv->nudged_head;
        kv->nudged_head = stream->nudged_next;
        stream->is_nudged = false;
        ids[count] = stream->id;
        steps[count++] = (struct watermark_step){stream, stream_await(stream)};
    }
    if (kv->nudged_head != NULL)
        shard_stay_awake(shard);
    if (count == 0)
        return;
    mailbox_drain(shard);
    for (uint32_t i = 0; i < count; i++) {
        if (stream_by_id(&kv->streams, ids[i]) == steps[i].stream)
            step_run(steps[i].stream, steps[i].watermark);
    }
}
