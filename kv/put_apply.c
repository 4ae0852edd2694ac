/*
 * kv/put_apply.c: a sequenced message: record and index now; when it is durable, the watchers, the ack, the floor.
 *
 * Keeps:   a floor rises only after the watchers' shards were told (put_report runs after publishing).
 * Owns:    the puts in flight; each holds its stripe (pending_count).
 * Runs on: the stripe's shard; put_mark_routed and reports on the shard that took the sequence.
 */
#include "kv/feed.h"
#include "kv/message_ttl.h"
#include "kv/pin.h"
#include "kv/put_parts.h"
#include "kv/republish.h"

enum { PUT_REPLY_INLINE = 96 };

/* A message in the index and on its way to the disk. */
struct put {
    struct store_wait wait;
    struct put *next; /* in the pool */
    struct stripe *stripe;
    struct origin origin;
    struct put_sink *sink; /* borrows; or NULL */
    uint64_t seq, time_ns, taken_index, previous_seq;
    uint32_t from, flags, message_bytes, flight_home;
    struct put_flight *flight;
    location where;
    struct removed_list removed;
    uint64_t registrations; /* of the stripe's feeds, when the record became durable */
    bool is_covering;       /* its key has a message already */
    bool is_here;           /* false: superseded on arrival, nothing was stored */
    bool is_pinned;         /* fetch holds the record, for the watchers */
    struct store_fetch fetch;
    uint32_t reply_bytes;
    char *reply_long; /* owns; NULL when reply holds it */
    char reply[PUT_REPLY_INLINE];
};

/* A floor to be raised, here or elsewhere, once the offers are published. */
struct put_report {
    struct put_report *next;
    uint32_t stream_id, to;
    uint64_t taken_index;
};

static void put_on_durable(struct store_wait *wait);
static void put_after_publish(struct shard_deferred *deferred);

static struct put *put_acquire(struct kv *kv)
{
    struct put *put = kv->put_pool;
    if (put == NULL)
        return heap_alloc_zeroed(kv->shard->heap, sizeof *put);
    kv->put_pool = put->next;
    return put;
}

static void put_release(struct kv *kv, struct put *put)
{
    removed_list_free(&put->removed);
    heap_free(put->reply_long);
    put->reply_long = NULL;
    put->next = kv->put_pool;
    kv->put_pool = put;
}

static void put_set_reply(struct kv *kv, struct put *put, struct bytes reply)
{
    put->reply_bytes = (uint32_t)reply.count;
    char *out = put->reply;
    if (reply.count > sizeof put->reply)
        out = put->reply_long = heap_alloc(kv->shard->heap, reply.count);
    if (reply.count > 0)
        memcpy(out, reply.data, reply.count);
}

static struct bytes put_reply(const struct put *put)
{
    return bytes_of(put->reply_long != NULL ? put->reply_long : put->reply, put->reply_bytes);
}

/* Enters the message in the index; the put then holds what is to be done when it is durable. */
static void put_enter(struct put *put, const struct put_view *view, struct bytes key)
{
    struct stripe *stripe = put->stripe;
    uint32_t flags = view->request->flags;
    struct message message = {
        .seq = put->seq,
        .time_ns = put->time_ns,
        .where = put->where,
        .size_bytes = stripe_message_size(stripe->stream, view->subject.count, view->headers.count,
                                          view->value.count),
        .user = ((flags & PUT_ROLLUP_KEY) != 0 ? STRIPE_MESSAGE_IS_ROLLUP : 0)
                | (view->headers.count > 0 ? STRIPE_MESSAGE_HAS_HEADERS : 0)
                | (view->request->ttl == MESSAGE_TTL_NEVER ? STRIPE_MESSAGE_IS_FOREVER : 0)
                | ((flags & PUT_IS_FINAL) != 0 ? STRIPE_MESSAGE_IS_FINAL : 0)
                | (put->is_covering ? STRIPE_MESSAGE_COVERS : 0),
    };
    if (stripe->stream->config.allow_msg_ttl)
        stripe_time_message(stripe, &message, view->request->ttl);
    stripe_put_message(stripe, key, view->request->hash, &message, &put->previous_seq,
                       &put->removed);
    if ((flags & PUT_ROLLUP_ALL) != 0)
        stripe_rollup_all(stripe, put->seq, &put->removed);
    if (stripe->feeds != 0 || stripe->stream->republish != NULL)
        put->is_pinned = stripe_fetch(stripe, put->where, &put->fetch, NULL);
}

static struct record put_record(const struct put *put, const struct put_view *view)
{
    uint32_t flags = view->request->flags;
    return (struct record){
        .type = stripe_message_type(put->stripe->stream),
        .flags = (uint8_t)(stripe_record_flags(put->stripe->stream)
                           | ((flags & PUT_ROLLUP_KEY) != 0 ? KV_RECORD_IS_ROLLUP : 0)
                           | ((flags & PUT_ROLLUP_ALL) != 0 ? KV_RECORD_IS_ROLLUP_ALL : 0)),
        .stream_id = put->stripe->stream->id,
        .seq = put->seq,
        .time_ns = put->time_ns,
        .key = view->subject,
        .headers = view->headers,
        .value = view->value,
    };
}

static enum status put_store(struct put *put, const struct put_view *view)
{
    struct record record = put_record(put, view);
    return stripe_store_message(put->stripe, &record, &put->where, &put->wait);
}

/* Newer ones of its key are here; a snapshot that begins may be of the time before them. */
static enum status put_pass_over(const struct put *put, const struct put_view *view)
{
    if (put->stripe->pins != NULL) {
        struct record record = put_record(put, view);
        pins_on_superseded(put->stripe, &record);
    }
    return STATUS_OK;
}

void put_apply(struct stripe *stripe, const struct put_view *view, uint64_t seq,
               uint64_t taken_index)
{
    struct kv *kv = stripe->stream->kv;
    char room[STREAM_KEY_ROOM];
    struct bytes key;
    struct index_key *entry = put_view_find(stripe, view, room, &key);
    struct put *put = put_acquire(kv);
    put->wait.on_durable = put_on_durable;
    put->stripe = stripe;
    put->origin = view->request->origin;
    put->sink = view->request->sink;
    put->seq = seq;
    put->time_ns = view->request->time_ns;
    put->taken_index = taken_index;
    put->from = view->from;
    put->flags = view->request->flags;
    put->flight = view->request->flight;
    put->flight_home = view->request->flight_home;
    put->message_bytes = put_view_bytes(view);
    put->is_pinned = false;
    put->is_here = !stripe_is_superseded(stripe, entry, seq);
    if (!put->is_here)
        put_check_undo(stripe, view);
    put->is_covering = entry != NULL;
    if (entry != NULL && put->time_ns < index_key_newest(entry).time_ns
        && seq > index_key_newest(entry).seq)
        put->time_ns = index_key_newest(entry).time_ns; /* a key's times do not go back */
    enum status status = put->is_here ? put_store(put, view) : put_pass_over(put, view);
    if (status == STATUS_BUSY) {
        struct put_request sequenced = *view->request;
        sequenced.seq = seq;
        sequenced.taken_index = taken_index;
        sequenced.flags &= ~(uint32_t)PUT_NEEDS_STATE;
        struct put_view again = *view;
        again.request = &sequenced;
        put_release(kv, put);
        put_queue_for_room(stripe, &again);
        return;
    }
    /* A sequenced message must be stored: sequences are given out only while the log has room (store_space). */
    ASSERT(status == STATUS_OK);
    stripe->pending_count++;
    put_set_reply(kv, put, view->reply);
    if (put->is_here)
        put_enter(put, view, key);
    if ((put->flags & PUT_IS_MARKER) != 0)
        stripe_marker_ended(stripe, view->request->expected_key, API_OK);
    bool is_waiting = put->is_here
                          ? !stripe->stream->is_memory
                          : !stripe->stream->is_memory && store_wait_durable(kv->store, &put->wait);
    if (!is_waiting)
        put_on_durable(&put->wait);
}

/* ---- durable ---- */

static void put_report_later(struct kv *kv, const struct put *put, uint32_t to)
{
    struct put_report *report = heap_alloc(kv->shard->heap, sizeof *report);
    *report = (struct put_report){kv->reports, put->stripe->stream->id, to, put->taken_index};
    kv->reports = report;
    shard_defer(kv->shard, &kv->after_publish, put_after_publish);
}

static void put_on_report(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct kv *kv = kv_of(shard);
    struct put_report *report = payload;
    struct stream *stream = stream_by_id(&kv->streams, report->stream_id);
    if (stream != NULL && order_done(stream->order, &stream->taken, shard, report->taken_index))
        stream_floor_rose(stream);
}

/* Something sent lies here still, because a ring is full: it is not published. */
static bool has_backlog(const struct shard *shard)
{
    for (uint32_t i = 0; i < shard->count; i++) {
        if (mailbox_backlog_bytes(shard, i) > 0)
            return true;
    }
    return false;
}

static void put_after_publish(struct shard_deferred *deferred)
{
    struct kv *kv = CONTAINER_OF(deferred, struct kv, after_publish);
    if (has_backlog(kv->shard)) {
        shard_defer(kv->shard, deferred, put_after_publish);
        shard_stay_awake(kv->shard);
        return;
    }
    while (kv->routed_head != NULL) {
        struct stream *stream = kv->routed_head;
        kv->routed_head = stream->routed_next;
        stream->is_routed = false;
        order_routed(stream->order, kv->shard);
    }
    struct put_report *report = kv->reports;
    kv->reports = NULL;
    while (report != NULL) {
        struct put_report *next = report->next;
        if (report->to == kv->shard->index)
            put_on_report(kv->shard, report, sizeof *report, report->to);
        else
            mailbox_send(kv->shard, report->to, put_on_report, report, sizeof *report);
        heap_free(report);
        report = next;
    }
}

/* The watchers know (their messages are in the mailboxes): the ack may leave, and the floor rise. */
static void put_finish(struct put *put)
{
    struct stripe *stripe = put->stripe;
    struct kv *kv = stripe->stream->kv;
    uint64_t others = stripe->feeds & ~(UINT64_C(1) << kv->shard->index);
    bool was_taken_here =
        (put->flags & (PUT_CONN_WAITS | PUT_IS_MARKER)) != 0 || stripe->stream->stripe_count == 1;
    uint32_t taker = was_taken_here ? kv->shard->index : put->from;
    bool is_report_later = others != 0 || taker != put->from;
    struct put_result result = {
        .origin = put->origin,
        .sink = put->sink,
        .stream_id = stripe->stream->id,
        .reply_bytes = put->reply_bytes,
        .flight = put->flight,
        .flight_home = put->flight_home,
        .time_ns = put->time_ns,
        .seq = put->seq,
        .taken_index = is_report_later ? PUT_NOT_TAKEN : put->taken_index,
        .message_bytes = put->message_bytes,
        .is_final = true,
    };
    if (is_report_later)
        put_report_later(kv, put, taker);
    put_result_send(kv, put->from, &result, put_reply(put), (struct bytes){0});
    stripe->pending_count--;
    put_release(kv, put);
}

static void put_offer(struct put *put)
{
    struct feed_offer offer = {
        .seq = put->seq,
        .previous_seq = put->previous_seq,
        .record = &put->fetch.record,
        .removed = &put->removed,
        .registrations = put->registrations,
    };
    feed_offer(put->stripe, &offer);
    stripe_fetch_release(put->stripe, &put->fetch);
    put_finish(put);
}

static void put_on_fetched(struct store_fetch *fetch, enum status status)
{
    struct put *put = CONTAINER_OF(fetch, struct put, fetch);
    if (status == STATUS_OK)
        put_offer(put);
    else /* no watcher may miss it: a disk that lost what it has just confirmed is a failed disk */
        store_fail_read(put->stripe->stream->kv->store, put->where, status);
}

static void put_on_durable(struct store_wait *wait)
{
    struct put *put = CONTAINER_OF(wait, struct put, wait);
    struct stripe *stripe = put->stripe;
    for (uint32_t i = 0; i < put->removed.count; i++)
        stripe_release(stripe, removed_list_at(&put->removed, i));
    if (put->is_pinned && stripe->stream->republish != NULL)
        republish_send(stripe->stream, &put->fetch.record, put->previous_seq);
    if (!put->is_here || stripe->feeds == 0) {
        if (put->is_pinned)
            stripe_fetch_release(stripe, &put->fetch);
        put_finish(put);
        return;
    }
    put->registrations = stripe->registrations;
    if (put->is_pinned || stripe_fetch(stripe, put->where, &put->fetch, put_on_fetched))
        put_offer(put);
}

void put_mark_routed(struct stream *stream)
{
    struct kv *kv = stream->kv;
    if (stream->is_routed)
        return;
    stream->is_routed = true;
    stream->routed_next = kv->routed_head;
    kv->routed_head = stream;
    shard_defer(kv->shard, &kv->after_publish, put_after_publish);
}

void put_apply_fini(struct kv *kv)
{
    while (kv->put_pool != NULL) {
        struct put *put = kv->put_pool;
        kv->put_pool = put->next;
        heap_free(put);
    }
    while (kv->reports != NULL) {
        struct put_report *report = kv->reports;
        kv->reports = report->next;
        heap_free(report);
    }
}
