/*
 * kv/put.c: a published message on its way from the connection's shard to its stripe, into the log, and back as an ack.
 *
 *  connection's shard                         the stripe's shard
 *    put_publish: rules, space                  put_arrive
 *    plain: take seq ── put_request ─────────►    room in the log? else queue, first come first served
 *    other: no seq, connection waits ────────►    put_decide: CAS, limits; take seq ── fence ─► put_apply
 *                                                 put_apply: log, index; then, when durable, put_on_durable:
 *                                                   space of what it replaced, watchers' shards, result
 *    put_on_result: floor, ack, resume ◄──────
 *
 * A stream with one stripe takes no sequences at the connection's shard: its owner does, in the order of arrival, without
 * fence and without making the connection wait. With several stripes, plain puts are sequenced where their connection is,
 * which keeps the order of one connection over all keys; a CAS is sequenced at its stripe, behind the fence of order.h.
 *
 * Keeps:   no ack, no refusal that names a sequence, before the batch that carries that state is durable.
 *          A floor rises only after the watchers' shards were told (put_report runs after publishing).
 * Owns:    the puts in flight; each holds its stripe (pending_count).
 * Runs on: as drawn.
 */
#include "kv/put.h"

#include "core/hash.h"
#include "core/subject.h"
#include "kv/gathering.h"
#include "kv/message_ttl.h"
#include "kv/put_parts.h"
#include "kv/stripe_total.h"

static void put_arrive(struct stripe *stripe, const struct put_view *view);
static void put_gather(struct stripe *stripe, const struct put_view *view);
static void put_on_request(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

/* ---- requests ---- */

struct put_view put_view_of(const struct put_request *request)
{
    const char *texts = (const char *)(request + 1);
    struct put_view view = {.request = request, .from = request->conn_shard};
    view.reply = bytes_of(texts, request->reply_bytes);
    view.subject = bytes_of(texts += request->reply_bytes, request->subject_bytes);
    view.headers = bytes_of(texts += request->subject_bytes, request->headers_bytes);
    view.value = bytes_of(texts + request->headers_bytes, request->value_bytes);
    return view;
}

uint32_t put_view_bytes(const struct put_view *view)
{
    return (uint32_t)(sizeof *view->request + view->reply.count + view->subject.count
                      + view->headers.count + view->value.count);
}

void put_view_copy(const struct put_view *view, struct put_request *out)
{
    *out = *view->request;
    char *texts = (char *)(out + 1);
    if (view->reply.count > 0)
        memcpy(texts, view->reply.data, view->reply.count);
    texts += view->reply.count;
    memcpy(texts, view->subject.data, view->subject.count);
    texts += view->subject.count;
    if (view->headers.count > 0)
        memcpy(texts, view->headers.data, view->headers.count);
    texts += view->headers.count;
    if (view->value.count > 0)
        memcpy(texts, view->value.data, view->value.count);
}

struct put_copy *put_copy_of(struct kv *kv, const struct put_view *view)
{
    struct put_copy *copy =
        heap_alloc(kv->shard->heap, sizeof *copy - sizeof copy->request + put_view_bytes(view));
    copy->next = NULL;
    put_view_copy(view, &copy->request);
    return copy;
}

struct index_key *put_view_find(const struct stripe *stripe, const struct put_view *view,
                                char *room, struct bytes *key_out)
{
    *key_out = stream_key_of(stripe->stream, view->subject, room);
    return stripe_find(stripe, *key_out, view->request->hash);
}

/* ---- publishing, on the connection's shard ---- */

static void put_send(struct stream *stream, struct put_request *request, uint32_t to,
                     const struct put_view *view)
{
    struct kv *kv = stream->kv;
    bool is_striped = stream->stripe_count > 1;
    if (is_striped && (request->flags & PUT_CONN_WAITS) == 0) {
        bool is_routed = to != kv->shard->index;
        if (is_routed)
            put_mark_routed(stream);
        request->seq =
            order_take(stream->order, &stream->taken, kv->shard, is_routed, &request->taken_index);
    }
    kv->puts_outstanding++;
    kv->put_bytes_outstanding += put_view_bytes(view);
    put_pass(stream, to, view);
}

void put_send_own(struct stream *stream, const struct put_view *view)
{
    struct kv *kv = stream->kv;
    kv->puts_outstanding++;
    kv->put_bytes_outstanding += put_view_bytes(view);
    put_pass(stream, kv->shard->index, view);
}

/* What would need several stripes at once. */
static bool put_fits_stripes(const struct stream *stream, const struct put_rules *rules,
                             struct bytes key, struct api_failure *failure)
{
    char room[STREAM_KEY_ROOM];
    struct bytes subject = rules->subject;
    if ((rules->flags & PUT_ROLLUP_ALL) != 0)
        return api_fail(failure, API_ROLLUP_FAILED,
                        "pail can not roll up all of a bucket that is spread over shards yet");
    if ((rules->flags & PUT_EXPECTS_ID) != 0)
        return api_fail(failure, API_STREAM_GENERAL,
                        "pail can not compare the last message id of a bucket that is spread over "
                        "shards yet");
    if ((rules->flags & PUT_EXPECTS_SUBJECT) == 0)
        return true;
    if (subject.count < RECORD_KEY_BYTES_MAX && subject_is_literal(subject)
        && stripe_of_key(stream->stripe_count, stream_key_of(stream, subject, room))
               == stripe_of_key(stream->stripe_count, key))
        return true;
    return api_fail(failure, API_STREAM_GENERAL,
                    "pail can not compare the last sequence of keys on other shards yet");
}

/* Its id comes first. */
static void put_send_identified(struct stream *stream, uint32_t home, const struct put_view *view)
{
    struct kv *kv = stream->kv;
    kv->puts_outstanding++;
    kv->put_bytes_outstanding += put_view_bytes(view);
    put_view_copy(view, mailbox_reserve(kv->shard, home, put_on_identify, put_view_bytes(view)));
}

/* What no state can make good. False: refused, in the order of the checks. */
static bool put_may_go(const struct stream *stream, const struct put_rules *rules, struct bytes key,
                       uint32_t to, struct api_failure *failure)
{
    uint32_t flags = rules->flags;
    bool needs_state = (flags & PUT_NEEDS_STATE) != 0; /* then the stripe finds the rest */
    bool has_fault = (flags & PUT_HAS_FAULT) != 0;
    if (!needs_state && has_fault && rules->fault_place < PUT_CHECK_SPACE)
        return false;
    if (!needs_state && !put_space_allows(stream, to, flags))
        return api_fail(failure, API_INSUFFICIENT_RESOURCES, NULL);
    if (!needs_state && has_fault)
        return false;
    return stream->stripe_count == 1 || put_fits_stripes(stream, rules, key, failure);
}

/* A TTL below the markers' is raised to it, where an older value could show before the marker's time is over. */
static struct bytes put_headers(struct stream *stream, struct put_rules *rules,
                                struct bytes headers)
{
    uint64_t least = (uint64_t)stream->config.marker_ttl_ns / UINT64_C(1000000000);
    if (rules->ttl == MESSAGE_TTL_NONE || rules->ttl >= least
        || stream->config.messages_per_subject_max == 1)
        return headers;
    rules->ttl = least;
    message_ttl_rewrite(&stream->kv->raised_headers, headers, least);
    return text_bytes(&stream->kv->raised_headers);
}

enum kv_take put_publish(struct stream *stream, const struct origin *origin, const struct msg *msg)
{
    struct kv *kv = stream->kv;
    ASSERT_ON_SHARD(kv->shard);
    if (!put_has_room(kv)) {
        put_wait_for_room(kv, origin);
        return KV_RETRY;
    }
    struct api_failure failure = {0};
    struct put_rules rules;
    if (!put_rules_read(&rules, &stream->config, msg, &failure))
        return put_refuse(stream, origin, msg, &failure);

    char room[STREAM_KEY_ROOM];
    struct bytes subject = stream_transform(stream, msg->subject, &kv->mapped);
    struct bytes key = stream_key_of(stream, subject, room);
    uint64_t hash = hash_bytes(key.data, key.count);
    uint32_t to = stripe_shard(stream, stripe_of_key(stream->stripe_count, key));
    if (!put_may_go(stream, &rules, key, to, &failure))
        return put_refuse(stream, origin, msg, &failure);
    struct bytes headers = put_headers(stream, &rules, msg->headers);
    bool is_striped = stream->stripe_count > 1;
    bool needs_stripe = (rules.flags & PUT_NEEDS_STATE) != 0
                        || stream->config.discard_new_per_subject || stream_has_totals(stream);
    if (is_striped && needs_stripe)
        rules.flags |= PUT_CONN_WAITS;
    struct bytes reply = stream->config.no_ack ? (struct bytes){0} : msg->reply;
    struct put_request request = {
        .origin = *origin,
        .stream_id = stream->id,
        .flags = rules.flags,
        .reply_bytes = (uint32_t)reply.count,
        .subject_bytes = (uint32_t)subject.count,
        .headers_bytes = (uint32_t)headers.count,
        .value_bytes = (uint32_t)msg->payload.count,
        .conn_shard = kv->shard->index,
        .taken_index = PUT_NOT_TAKEN,
        .time_ns = shard_wall_ns(kv->shard),
        .expected_key = rules.expected_key,
        .expected_last = rules.expected_last,
        .ttl = rules.ttl,
        .hash = hash,
    };
    struct put_view view = {&request, reply, subject, headers, msg->payload, kv->shard->index};
    kv->is_publishing = true;
    kv->was_resumed = false;
    if (is_striped && (rules.flags & PUT_HAS_ID) != 0)
        put_send_identified(stream, put_ids_home(stream, rules.id), &view);
    else
        put_send(stream, &request, to, &view);
    kv->is_publishing = false;
    bool is_waiting = (request.flags & PUT_CONN_WAITS) != 0 && !kv->was_resumed;
    return is_waiting ? KV_TAKEN_WAIT : KV_TAKEN;
}

/* ---- arriving, on the stripe's shard ---- */

bool put_open(struct kv *kv, const struct put_request *request, struct stream **stream_out,
              struct put_view *view_out)
{
    struct stream *stream = stream_by_id(&kv->streams, request->stream_id);
    *view_out = put_view_of(request);
    *stream_out = stream;
    if (stream != NULL && stream->stripe != NULL && !stream->is_closing)
        return true;
    struct put_result result = put_result_of(view_out);
    result.taken_index = request->taken_index; /* its shard must not wait for it */
    result.error = API_STREAM_NOT_FOUND;
    result.is_resume = (request->flags & PUT_CONN_WAITS) != 0;
    put_result_send(kv, view_out->from, &result, view_out->reply, (struct bytes){0});
    return false;
}

static void put_on_request(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct stream *stream;
    struct put_view view;
    if (put_open(kv_of(shard), payload, &stream, &view))
        put_gather(stream->stripe, &view);
}

void put_pass(struct stream *stream, uint32_t to, const struct put_view *view)
{
    struct shard *shard = stream->kv->shard;
    if (to == shard->index)
        put_gather(stream->stripe, view);
    else
        put_view_copy(view, mailbox_reserve(shard, to, put_on_request, put_view_bytes(view)));
}

void put_arrive_copy(struct kv *kv, struct put_copy *copy)
{
    struct put_view view = put_view_of(&copy->request);
    struct stream *stream = stream_by_id(&kv->streams, copy->request.stream_id);
    stream->stripe->pending_count--;
    put_arrive(stream->stripe, &view);
    heap_free(copy);
}

/* The log takes records again: those that waited go first, in order. */
static void put_on_room(struct store_wait *wait)
{
    struct kv *kv = CONTAINER_OF(wait, struct kv, room_wait);
    kv->is_room_awaited = false;
    struct put_copy *copy = kv->room_head;
    kv->room_head = NULL;
    kv->room_tail = &kv->room_head;
    while (copy != NULL) { /* if the log fills up again, put_arrive queues them anew, in order */
        struct put_copy *next = copy->next;
        put_arrive_copy(kv, copy);
        copy = next;
    }
    if (kv->parked != NULL || kv->closing != NULL)
        shard_stay_awake(kv->shard); /* they waited for these */
}

void put_queue_for_room(struct stripe *stripe, const struct put_view *view)
{
    struct kv *kv = stripe->stream->kv;
    struct put_copy *copy = put_copy_of(kv, view);
    *kv->room_tail = copy;
    kv->room_tail = &copy->next;
    stripe->pending_count++;
    if (!kv->is_room_awaited) {
        kv->is_room_awaited = true;
        kv->room_wait.on_durable = put_on_room;
        store_wait_room(kv->store, &kv->room_wait);
    }
}

/* A message without a sequence: the rules, then the next sequence. */
static void put_decide(struct stripe *stripe, const struct put_view *view)
{
    struct stream *stream = stripe->stream;
    struct kv *kv = stream->kv;
    uint32_t flags = view->request->flags;
    uint64_t taken_index = PUT_NOT_TAKEN;
    if (!put_check(stripe, view))
        return;
    uint64_t seq = (flags & PUT_EXPECTS_LAST) != 0
                       ? order_take_if(stream->order, &stream->taken, kv->shard,
                                       view->request->expected_last, &taken_index)
                       : order_take(stream->order, &stream->taken, kv->shard, false, &taken_index);
    if (seq == 0) {
        stream_floor_rose(stream); /* it was lowered for the attempt */
        put_check_undo(stripe, view);
        bool is_still = put_check_last(stripe, view);
        ASSERT(!is_still); /* sequences only rise */
        return;
    }
    if ((flags & PUT_HAS_ID) != 0)
        put_ids_learn(stripe, view, seq);
    put_resume_conn(stripe, view);
    bool is_fenced = stream->stripe_count > 1 && (flags & PUT_EXPECTS_KEY) != 0;
    if (is_fenced)
        put_park(stripe, view, seq, taken_index);
    else
        put_apply(stripe, view, seq, taken_index);
}

static void put_arrive(struct stripe *stripe, const struct put_view *view)
{
    struct kv *kv = stripe->stream->kv;
    if (kv->room_head != NULL) {
        put_queue_for_room(stripe, view);
        return;
    }
    if (kv->parked != NULL) {
        struct parked *parked = put_parked_for(stripe, view->request->hash);
        if (parked != NULL
            && (view->request->seq == 0 || view->request->seq > put_parked_seq(parked))) {
            put_queue_behind(parked, view);
            return;
        }
    }
    if (view->request->seq == 0)
        put_decide(stripe, view);
    else
        put_apply(stripe, view, view->request->seq, view->request->taken_index);
}

static void put_run_gathered(struct stripe *stripe, const void *request, uint32_t from)
{
    (void)from;
    struct put_view view = put_view_of(request);
    put_arrive(stripe, &view);
}

/* New ones are gathered; one whose connection waits runs at once, behind what came before. */
static void put_gather(struct stripe *stripe, const struct put_view *view)
{
    struct kv *kv = stripe->stream->kv;
    void *room = gathering_add(stripe, view->request->hash, view->from, put_view_bytes(view),
                               put_run_gathered);
    if (room == NULL) {
        put_arrive(stripe, view);
        return;
    }
    put_view_copy(view, room);
    if ((view->request->flags & PUT_CONN_WAITS) != 0)
        gathering_flush(kv);
}

void put_phase(struct shard *shard, void *context)
{
    (void)shard;
    struct kv *kv = context;
    if (kv->parked != NULL)
        put_run_parked(kv);
    put_resume_waiting(kv);
}

/* ---- ends ---- */

bool put_is_busy(const struct kv *kv)
{
    return kv->puts_outstanding > 0 || kv->parked != NULL || kv->room_head != NULL;
}

void put_fini(struct kv *kv)
{
    put_apply_fini(kv);
    text_free(&kv->raised_headers);
    heap_free(kv->waiting.origins);
}
