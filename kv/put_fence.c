/*
 * kv/put_fence.c: a CAS of a striped bucket between taking its sequence and being decided.
 *
 *     put_park ──► put_phase: read the routing words, drain the mailboxes ──► parked_decide: all below it has arrived
 *
 * Keeps:   what comes for the key meanwhile, above its sequence, queues behind it.
 * Owns:    what is parked, and what queues behind.
 * Runs on: the stripe's shard.
 */
#include "kv/gathering.h"
#include "kv/put_parts.h"

/* A CAS behind the fence, and what came for its key meanwhile. */
struct parked {
    struct parked *next;
    struct stripe *stripe;
    struct put_copy *copy; /* owns */
    uint64_t seq, taken_index;
    bool is_routed; /* everything below seq has been published; decided after the next drain */
    struct put_copy *behind_head, **behind_tail; /* owns */
};

struct parked *put_parked_for(const struct stripe *stripe, uint64_t hash)
{
    struct parked *parked = stripe->stream->kv->parked;
    while (parked != NULL && (parked->stripe != stripe || parked->copy->request.hash != hash))
        parked = parked->next;
    return parked;
}

uint64_t put_parked_seq(const struct parked *parked)
{
    return parked->seq;
}

void put_park(struct stripe *stripe, const struct put_view *view, uint64_t seq,
              uint64_t taken_index)
{
    struct kv *kv = stripe->stream->kv;
    struct parked *parked = heap_alloc_zeroed(kv->shard->heap, sizeof *parked);
    parked->stripe = stripe;
    parked->copy = put_copy_of(kv, view);
    parked->seq = seq;
    parked->taken_index = taken_index;
    parked->behind_tail = &parked->behind_head;
    stripe->pending_count++;
    struct parked **link = &kv->parked; /* oldest first: a queue behind one key keeps its order */
    while (*link != NULL)
        link = &(*link)->next;
    *link = parked;
    shard_stay_awake(kv->shard);
}

void put_queue_behind(struct parked *parked, const struct put_view *view)
{
    struct put_copy *copy = put_copy_of(parked->stripe->stream->kv, view);
    *parked->behind_tail = copy;
    parked->behind_tail = &copy->next;
    parked->stripe->pending_count++;
}

static void parked_decide(struct parked *parked)
{
    struct stripe *stripe = parked->stripe;
    struct stream *stream = stripe->stream;
    struct put_view view = put_view_of(&parked->copy->request);
    uint32_t flags = parked->copy->request.flags;
    parked->copy->request.flags &=
        ~(uint32_t)PUT_CONN_WAITS; /* it went on when the sequence was taken */
    stripe->pending_count--;
    if (put_check_again(stripe, &view)) {
        parked->copy->request.flags = flags;
        put_apply(stripe, &view, parked->seq, parked->taken_index);
    } else if (order_done(stream->order, &stream->taken, stream->kv->shard, parked->taken_index)) {
        stream_floor_rose(stream); /* burnt: nobody will see this sequence */
    }
    struct put_copy *behind = parked->behind_head;
    while (behind != NULL) {
        struct put_copy *next = behind->next;
        put_arrive_copy(stream->kv, behind);
        behind = next;
    }
    heap_free(parked->copy);
    heap_free(parked);
}

static bool parked_is_routed(const struct kv *kv, const struct parked *parked)
{
    return order_is_routed(parked->stripe->stream->order, kv->shard->count, kv->shard->index,
                           parked->seq);
}

/* Decides what is behind no fence any more. The routing words are read first, then the mailboxes drained. */
void put_run_parked(struct kv *kv)
{
    for (struct parked *parked = kv->parked; parked != NULL; parked = parked->next)
        parked->is_routed = parked_is_routed(kv, parked);
    mailbox_drain(kv->shard);
    gathering_flush(kv);
    struct parked **link = &kv->parked;
    while (*link != NULL && kv->room_head == NULL) { /* what waits for room may belong below */
        struct parked *parked = *link;
        if (!parked->is_routed) {
            link = &parked->next;
            continue;
        }
        *link = parked->next;
        parked_decide(parked);
        link = &kv->parked; /* deciding may have parked what was behind */
    }
    if (kv->parked != NULL && kv->room_head == NULL)
        shard_stay_awake(kv->shard);
}
