/*
 * kv/put_ids.c: message ids: a publish that comes again gets the first one's ack, once that is durable, and is not stored.
 *
 * One stripe: its shard looks the id up when it decides on the put (put_check.c), and enters it with the sequence.
 *
 * Several stripes: the id has a home, the shard of the stripe it hashes to, which lets one publish of each id through at a time:
 *
 *     connection's shard          the id's home                        the key's stripe
 *       (waits) put ───────────────► known: with the first's sequence ──► expectations, then "duplicate"
 *                                    unknown: a flight begins ──────────► as any put
 *                                    under way: queues behind the flight
 *                                    put_on_settled: learns the sequence, or forgets the id; the queue comes again ◄── ends, durable
 *
 * Keeps:   a sequence in the table is durable, or (one stripe) is ahead of the answer in the same log. A refused put leaves no id.
 * After a restart the ids are in the messages' headers: recovery enters them where the message is (put_ids_replay); when every
 * shard has its streams, those whose home is elsewhere are sent there (put_ids_hand_over), before the port opens.
 * Limit:   KV_ID_BYTES_MAX a shard; at the bound a publish with a new id is refused (10023).
 * Owns:    the stripes' tables, the flights and what queues behind them. A flight holds its home's stripe.
 */
#include "core/hash.h"
#include "kv/put.h"
#include "kv/put_parts.h"

struct put_flight {
    uint32_t stream_id;
    struct msg_id *id;                           /* borrows: it stays while it has a flight */
    struct put_copy *behind_head, **behind_tail; /* owns */
};

struct flight_settled { /* from the put's end to the id's home */
    struct put_flight *flight;
    uint64_t seq, time_ns; /* seq 0: nothing was stored */
};

/* ---- the table of one stripe ---- */

static void ids_forget(struct stripe *stripe, bool is_all)
{
    uint64_t now = shard_wall_ns(stripe->stream->kv->shard);
    uint64_t window = (uint64_t)stripe->stream->config.duplicate_window_ns;
    if (stripe->ids != NULL && now > window)
        stripe->stream->kv->id_bytes -= msg_ids_forget(stripe->ids, now - window, is_all);
}

struct msg_id *put_ids_find(struct stripe *stripe, struct bytes id)
{
    struct kv *kv = stripe->stream->kv;
    ids_forget(stripe, false);
    struct msg_id *known = stripe->ids == NULL ? NULL : msg_ids_find(stripe->ids, id);
    if (known == NULL || known->flight != NULL)
        return known;
    uint64_t window = (uint64_t)stripe->stream->config.duplicate_window_ns;
    if (known->time_ns + window > shard_wall_ns(kv->shard))
        return known;
    kv->id_bytes -= msg_ids_remove(stripe->ids, known);
    return NULL;
}

bool put_ids_have_room(struct stripe *stripe, struct bytes id)
{
    struct kv *kv = stripe->stream->kv;
    if (kv->id_bytes + msg_id_cost(id) <= KV_ID_BYTES_MAX)
        return true;
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        struct stream *stream = kv->streams.by_id[i];
        if (stream != NULL && stream->stripe != NULL)
            ids_forget(stream->stripe, false);
    }
    return kv->id_bytes + msg_id_cost(id) <= KV_ID_BYTES_MAX;
}

static struct msg_id *ids_add(struct stripe *stripe, struct bytes id, uint64_t seq,
                              uint64_t time_ns)
{
    struct kv *kv = stripe->stream->kv;
    if (stripe->ids == NULL)
        stripe->ids = heap_alloc_zeroed(kv->shard->heap, sizeof *stripe->ids);
    kv->id_bytes += msg_id_cost(id);
    return msg_ids_add(stripe->ids, kv->shard->heap, id, seq, time_ns);
}

static void ids_set_last(struct stripe *stripe, struct bytes id, uint64_t seq)
{
    if (seq <= stripe->last_id_seq)
        return;
    text_clear(&stripe->last_id);
    text_append(&stripe->last_id, id);
    stripe->last_id_seq = seq;
}

struct bytes put_ids_last(const struct stripe *stripe)
{
    return stripe->last_id_seq != 0 && stripe->last_id_seq == stripe->last_seq
               ? text_bytes(&stripe->last_id)
               : (struct bytes){0};
}

void put_ids_learn(struct stripe *stripe, const struct put_view *view, uint64_t seq)
{
    struct bytes id;
    if (!msg_header(view->headers, BYTES_LITERAL("Nats-Msg-Id"), &id))
        return;
    ids_set_last(stripe, id, seq);
    if (stripe->stream->stripe_count == 1 && stripe->stream->config.duplicate_window_ns > 0)
        (void)ids_add(stripe, id, seq, view->request->time_ns);
}

void put_ids_free(struct stripe *stripe)
{
    text_free(&stripe->last_id);
    if (stripe->ids == NULL)
        return;
    stripe->stream->kv->id_bytes -= msg_ids_forget(stripe->ids, UINT64_MAX, true);
    ASSERT(stripe->ids->count == 0);
    msg_ids_free(stripe->ids);
    heap_free(stripe->ids);
    stripe->ids = NULL;
}

/* ---- the id's home ---- */

uint32_t put_ids_home(const struct stream *stream, struct bytes id)
{
    return stripe_shard(stream, stripe_of_key(stream->stripe_count, id));
}

static void put_identify(struct stripe *home, const struct put_view *view);

/* To the key's stripe, with what the home knows. */
static void put_forward(struct stripe *home, const struct put_view *view,
                        const struct put_request *request)
{
    struct stream *stream = home->stream;
    struct put_view forwarded = *view;
    forwarded.request = request;
    char room[STREAM_KEY_ROOM];
    struct bytes key = stream_key_of(stream, view->subject, room);
    put_pass(stream, stripe_shard(stream, stripe_of_key(stream->stripe_count, key)), &forwarded);
}

static struct put_flight *flight_begin(struct stripe *home, struct bytes id)
{
    struct put_flight *flight = heap_alloc_zeroed(home->stream->kv->shard->heap, sizeof *flight);
    flight->stream_id = home->stream->id;
    flight->id = ids_add(home, id, 0, UINT64_MAX);
    flight->id->flight = flight;
    flight->behind_tail = &flight->behind_head;
    home->pending_count++;
    return flight;
}

static void put_identify(struct stripe *home, const struct put_view *view)
{
    struct kv *kv = home->stream->kv;
    struct put_request request = *view->request;
    struct bytes id = {0};
    (void)msg_header(view->headers, BYTES_LITERAL("Nats-Msg-Id"), &id);
    struct msg_id *known = put_ids_find(home, id);
    if (known != NULL && known->flight != NULL) {
        struct put_copy *copy = put_copy_of(kv, view);
        *known->flight->behind_tail = copy;
        known->flight->behind_tail = &copy->next;
        return;
    }
    if (known != NULL) {
        request.duplicate_of = known->seq;
    } else if (!put_ids_have_room(home, id)) {
        put_refuse_at_stripe(home, view,
                             &(struct put_verdict){.error = API_INSUFFICIENT_RESOURCES});
        return;
    } else {
        request.flight = flight_begin(home, id);
        request.flight_home = kv->shard->index;
    }
    put_forward(home, view, &request);
}

void put_on_identify(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct stream *stream;
    struct put_view view;
    if (put_open(kv_of(shard), payload, &stream, &view))
        put_identify(stream->stripe, &view);
}

static void put_on_settled(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct flight_settled *settled = payload;
    struct put_flight *flight = settled->flight;
    struct kv *kv = kv_of(shard);
    struct stripe *home = stream_by_id(&kv->streams, flight->stream_id)->stripe;
    struct msg_id *id = flight->id;
    id->flight = NULL;
    id->seq = settled->seq;
    id->time_ns = settled->time_ns;
    if (settled->seq == 0)
        kv->id_bytes -= msg_ids_remove(home->ids, id);
    home->pending_count--;
    struct put_copy *copy = flight->behind_head;
    heap_free(flight);
    while (copy != NULL) {
        struct put_copy *next = copy->next;
        struct put_view view = put_view_of(&copy->request);
        put_identify(home, &view);
        heap_free(copy);
        copy = next;
    }
}

void put_ids_settle(struct kv *kv, struct put_flight *flight, uint32_t home, uint64_t seq,
                    uint64_t time_ns)
{
    struct flight_settled settled = {flight, seq, time_ns};
    mailbox_send(kv->shard, home, put_on_settled, &settled, sizeof settled);
}

/* ---- recovery ---- */

void put_ids_replay(struct stripe *stripe, const struct record *record)
{
    struct kv *kv = stripe->stream->kv;
    struct bytes id;
    if (!msg_header(record->headers, BYTES_LITERAL("Nats-Msg-Id"), &id) || id.count == 0)
        return;
    ids_set_last(stripe, id, record->seq);
    struct msg_id *known = stripe->ids == NULL ? NULL : msg_ids_find(stripe->ids, id);
    if (known != NULL && known->seq >= record->seq)
        return;
    if (known != NULL)
        kv->id_bytes -= msg_ids_remove(stripe->ids, known);
    (void)ids_add(stripe, id, record->seq, record->time_ns);
    while (kv->id_bytes > KV_ID_BYTES_MAX && stripe->ids->count > 1)
        kv->id_bytes -=
            msg_ids_remove(stripe->ids, stripe->ids->oldest); /* there is no one to refuse */
}

struct handed_id { /* then the text */
    uint32_t stream_id, bytes;
    uint64_t seq, time_ns;
};

static void ids_on_received(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)payload;
    (void)bytes;
    (void)from;
    struct kv *kv = kv_of(shard);
    ASSERT(kv->ids_handed > 0);
    if (--kv->ids_handed == 0)
        kv->on_ids_handed(kv);
}

static void ids_on_handed(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct kv *kv = kv_of(shard);
    const struct handed_id *handed = payload;
    struct stripe *stripe = stream_by_id(&kv->streams, handed->stream_id)->stripe;
    struct bytes id = bytes_of(handed + 1, handed->bytes);
    struct msg_id *known = stripe->ids == NULL ? NULL : msg_ids_find(stripe->ids, id);
    if (known == NULL || known->seq < handed->seq) {
        if (known != NULL)
            kv->id_bytes -= msg_ids_remove(stripe->ids, known);
        (void)ids_add(stripe, id, handed->seq, handed->time_ns);
    }
    mailbox_send(shard, from, ids_on_received, NULL, 0);
}

static void stripe_hand_over(struct stripe *stripe)
{
    struct stream *stream = stripe->stream;
    struct kv *kv = stream->kv;
    ids_forget(stripe, true);
    if (stripe->ids == NULL || stream->stripe_count == 1)
        return;
    struct msg_id *next;
    for (struct msg_id *id = stripe->ids->oldest; id != NULL; id = next) {
        next = id->newer;
        uint32_t home = put_ids_home(stream, msg_id_text(id));
        if (home == kv->shard->index)
            continue;
        struct handed_id *handed =
            mailbox_reserve(kv->shard, home, ids_on_handed, (uint32_t)(sizeof *handed + id->bytes));
        *handed = (struct handed_id){stream->id, id->bytes, id->seq, id->time_ns};
        memcpy(handed + 1, id->text, id->bytes);
        kv->ids_handed++;
        kv->id_bytes -= msg_ids_remove(stripe->ids, id);
    }
}

void put_ids_hand_over(struct kv *kv, void (*on_done)(struct kv *kv))
{
    kv->on_ids_handed = on_done;
    kv->ids_handed = 1; /* so that the end comes once */
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        struct stream *stream = kv->streams.by_id[i];
        if (stream != NULL && stream->stripe != NULL)
            stripe_hand_over(stream->stripe);
    }
    if (--kv->ids_handed == 0)
        on_done(kv);
}
