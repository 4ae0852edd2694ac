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
#include "kv/feed.h"
#include "kv/gathering.h"
#include "kv/pin.h"
#include "kv/put_rules.h"
#include "kv/republish.h"
#include "kv/stripe.h"

enum { PUT_REPLY_INLINE = 96 };
#define NOT_TAKEN UINT64_MAX

/* Crosses shards; reply, subject, headers and value follow it. */
struct put_request {
    struct origin origin;
    uint32_t stream_id;
    uint32_t flags; /* PUT_… */
    uint32_t reply_bytes, subject_bytes, headers_bytes, value_bytes;
    uint64_t seq; /* 0: the stripe takes it */
    uint64_t taken_index;
    uint64_t time_ns;
    uint64_t expected;
    uint64_t hash;
};

/* A request with its texts, wherever they lie. */
struct put_view {
    const struct put_request *request;
    struct bytes reply, subject, headers, value;
    uint32_t from; /* shard of the connection */
};

/* A request that must wait; owns its bytes. */
struct put_copy {
    struct put_copy *next;
    uint32_t from;
    struct put_request request; /* texts follow */
};

/* A CAS behind the fence, and what came for its key meanwhile. */
struct parked {
    struct parked *next;
    struct stripe *stripe;
    struct put_copy *copy; /* owns */
    uint64_t seq, taken_index;
    bool is_routed; /* everything below seq has been published; decided after the next drain */
    struct put_copy *behind_head, **behind_tail; /* owns */
};

/* A message in the index and on its way to the disk. */
struct put {
    struct store_wait wait;
    struct put *next; /* in the pool */
    struct stripe *stripe;
    struct origin origin;
    uint64_t seq, time_ns, taken_index, previous_seq;
    uint32_t from, flags, message_bytes;
    location where;
    struct removed_list removed;
    uint64_t registrations; /* of the stripe's feeds, when the record became durable */
    bool is_here;           /* false: superseded on arrival, nothing was stored */
    bool is_pinned;         /* fetch holds the record, for the watchers */
    struct store_fetch fetch;
    uint32_t reply_bytes;
    char *reply_long; /* owns; NULL when reply holds it */
    char reply[PUT_REPLY_INLINE];
};

/* Back to the connection's shard; the reply follows. */
struct put_result {
    struct origin origin;
    uint32_t stream_id;
    uint32_t reply_bytes;
    uint64_t seq;           /* of an ack; or the number of a refusal */
    uint64_t taken_index;   /* to be reported done, or NOT_TAKEN */
    uint32_t message_bytes; /* to be taken off the outstanding */
    uint16_t error;         /* enum api_error; API_OK: an ack */
    bool is_resume;         /* the connection goes on */
    bool is_final;          /* false: only a resume */
    const char *words;      /* literal text of the error, or NULL: the number */
};

/* A floor to be raised, here or elsewhere, once the offers are published. */
struct put_report {
    struct put_report *next;
    uint32_t stream_id, to;
    uint64_t taken_index;
};

/* A refusal that waits for the state it names. */
struct put_refusal {
    struct store_wait wait;
    struct watermark_wait watermark;
    struct stripe *stripe;
    struct put_result result;
    uint32_t to;
    char reply[];
};

static void put_arrive(struct stripe *stripe, const struct put_view *view);
static void put_gather(struct stripe *stripe, const struct put_view *view);
static void put_apply(struct stripe *stripe, const struct put_view *view, uint64_t seq,
                      uint64_t taken_index);
static void put_on_durable(struct store_wait *wait);
static void put_after_publish(struct shard_deferred *deferred);

/* ---- answers, on the connection's shard ---- */

static void put_send_ack(struct stream *stream, const struct origin *origin, struct bytes reply,
                         uint64_t seq)
{
    char room[STREAM_NAME_BYTES_MAX + 64];
    ASSERT(stream->ack_prefix.count + 24 <= sizeof room);
    memcpy(room, stream->ack_prefix.data, stream->ack_prefix.count);
    size_t count = stream->ack_prefix.count;
    count += text_u64(room + count, seq);
    room[count++] = '}';
    struct msg msg = {.subject = reply, .payload = bytes_of(room, count)};
    stream->kv->outbox->answer(stream->kv->outbox, origin, &msg);
}

static void put_send_failure(struct kv *kv, struct bytes stream_name, const struct origin *origin,
                             struct bytes reply, const struct api_failure *failure)
{
    struct text *text = &kv->scratch;
    text_clear(text);
    text_append_literal(text, "{\"error\":");
    api_error_append(text, failure);
    text_append_literal(text, ",\"stream\":");
    text_append_json_string(text, stream_name);
    text_append_literal(text, ",\"seq\":0}");
    struct msg msg = {.subject = reply, .payload = text_bytes(text)};
    kv->outbox->answer(kv->outbox, origin, &msg);
}

static void result_answer(struct kv *kv, const struct put_result *result, struct bytes reply)
{
    struct stream *stream = stream_by_id(&kv->streams, result->stream_id);
    if (reply.count == 0)
        return;
    if (result->error == API_OK && stream != NULL) {
        put_send_ack(stream, &result->origin, reply, result->seq);
        return;
    }
    struct api_failure failure = {0};
    enum api_error error = result->error == API_OK ? API_STREAM_NOT_FOUND : result->error;
    if (result->words != NULL)
        api_fail(&failure, error, "%s", result->words);
    else
        api_fail(&failure, error, "%llu", (unsigned long long)result->seq);
    put_send_failure(kv, stream == NULL ? BYTES_LITERAL("") : text_bytes(&stream->config.name),
                     &result->origin, reply, &failure);
}

/* ---- room: what this shard's connections may have in flight ---- */

/*
 * What is sequenced must be stored: all shards together keep less in flight than the reserve that a log still has when it says
 * that it is nearly full (one segment), with room for what records and batches add.
 */
static uint64_t put_bytes_max(const struct kv *kv)
{
    uint64_t reserve = kv_world_options(kv->world)->store.segment_bytes / (4 * kv->shard->count);
    return reserve < KV_PUT_BYTES_MAX ? reserve : KV_PUT_BYTES_MAX;
}

static bool put_has_room(const struct kv *kv)
{
    return kv->puts_outstanding < KV_PUTS_MAX && kv->put_bytes_outstanding < put_bytes_max(kv);
}

void put_wait_for_room(struct kv *kv, const struct origin *origin)
{
    struct waiting_conns *waiting = &kv->waiting;
    if (waiting->count == waiting->capacity) {
        waiting->capacity = waiting->capacity == 0 ? 64 : 2 * waiting->capacity;
        waiting->origins = heap_resize(kv->shard->heap, waiting->origins,
                                       waiting->capacity * sizeof *waiting->origins);
    }
    waiting->origins[waiting->count++] = *origin;
}

static void put_resume_waiting(struct kv *kv)
{
    if (kv->waiting.count == 0 || kv->puts_outstanding > KV_PUTS_MAX / 2
        || kv->put_bytes_outstanding > put_bytes_max(kv) / 2)
        return;
    struct waiting_conns waiting = kv->waiting;
    kv->waiting = (struct waiting_conns){0};
    for (uint32_t i = 0; i < waiting.count; i++)
        kv->outbox->resume(kv->outbox, &waiting.origins[i]);
    heap_free(waiting.origins);
}

static void result_take(struct kv *kv, const struct put_result *result, struct bytes reply)
{
    if (result->taken_index != NOT_TAKEN) {
        struct stream *stream = stream_by_id(&kv->streams, result->stream_id);
        if (stream != NULL
            && order_done(stream->order, &stream->taken, kv->shard, result->taken_index))
            stream_floor_rose(stream);
    }
    if (result->is_resume && kv->is_publishing)
        kv->was_resumed = true;
    else if (result->is_resume)
        kv->outbox->resume(kv->outbox, &result->origin);
    if (!result->is_final)
        return;
    ASSERT(kv->puts_outstanding > 0);
    kv->puts_outstanding--;
    kv->put_bytes_outstanding -= result->message_bytes;
    if (kv->waiting.count > 0)
        shard_stay_awake(kv->shard); /* put_phase may let them go on */
    result_answer(kv, result, reply);
}

static void put_on_result(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct put_result *result = payload;
    result_take(kv_of(shard), result, bytes_of(result + 1, result->reply_bytes));
}

static void result_send(struct kv *kv, uint32_t to, const struct put_result *result,
                        struct bytes reply)
{
    ASSERT(result->reply_bytes == reply.count);
    if (to == kv->shard->index) {
        result_take(kv, result, reply);
        return;
    }
    struct put_result *sent =
        mailbox_reserve(kv->shard, to, put_on_result, (uint32_t)(sizeof *sent + reply.count));
    *sent = *result;
    if (reply.count > 0)
        memcpy(sent + 1, reply.data, reply.count);
}

/* ---- publishing, on the connection's shard ---- */

static void put_on_request(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

static struct put_view view_of(const struct put_request *request, uint32_t from)
{
    const char *texts = (const char *)(request + 1);
    struct put_view view = {.request = request, .from = from};
    view.reply = bytes_of(texts, request->reply_bytes);
    view.subject = bytes_of(texts += request->reply_bytes, request->subject_bytes);
    view.headers = bytes_of(texts += request->subject_bytes, request->headers_bytes);
    view.value = bytes_of(texts + request->headers_bytes, request->value_bytes);
    return view;
}

static uint32_t view_bytes(const struct put_view *view)
{
    return (uint32_t)(sizeof *view->request + view->reply.count + view->subject.count
                      + view->headers.count + view->value.count);
}

static void view_copy(const struct put_view *view, struct put_request *out)
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

static void put_mark_routed(struct stream *stream)
{
    struct kv *kv = stream->kv;
    if (stream->is_routed)
        return;
    stream->is_routed = true;
    stream->routed_next = kv->routed_head;
    kv->routed_head = stream;
    shard_defer(kv->shard, &kv->after_publish, put_after_publish);
}

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
    kv->put_bytes_outstanding += view_bytes(view);
    if (to == kv->shard->index)
        put_gather(stream->stripe, view);
    else
        view_copy(view, mailbox_reserve(kv->shard, to, put_on_request, view_bytes(view)));
}

static bool space_allows(const struct kv *kv, uint32_t shard_index, uint32_t flags)
{
    enum store_space space = store_directory_space(kv_world_directory(kv->world), shard_index);
    return space == STORE_SPACE_OK || (space == STORE_SPACE_LOW && (flags & PUT_IS_DELETE) != 0);
}

static enum kv_take put_refuse(struct stream *stream, const struct origin *origin,
                               const struct msg *msg, const struct api_failure *failure)
{
    if (msg->reply.count > 0 && !stream->config.no_ack)
        put_send_failure(stream->kv, text_bytes(&stream->config.name), origin, msg->reply, failure);
    return KV_TAKEN;
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
    if (!stream->is_memory && !space_allows(kv, to, rules.flags)) {
        api_fail(&failure, API_INSUFFICIENT_RESOURCES, NULL);
        return put_refuse(stream, origin, msg, &failure);
    }
    bool is_striped = stream->stripe_count > 1;
    if (is_striped && (rules.flags & PUT_ROLLUP_ALL) != 0) {
        api_fail(&failure, API_ROLLUP_FAILED,
                 "pail can not roll up all of a bucket that is spread over shards yet");
        return put_refuse(stream, origin, msg, &failure);
    }
    bool needs_stripe = (rules.flags & (PUT_EXPECTS_KEY | PUT_EXPECTS_LAST)) != 0
                        || stream->config.discard_new_per_subject;
    if (is_striped && needs_stripe)
        rules.flags |= PUT_CONN_WAITS;
    struct bytes reply = stream->config.no_ack ? (struct bytes){0} : msg->reply;
    struct put_request request = {
        .origin = *origin,
        .stream_id = stream->id,
        .flags = rules.flags,
        .reply_bytes = (uint32_t)reply.count,
        .subject_bytes = (uint32_t)subject.count,
        .headers_bytes = (uint32_t)msg->headers.count,
        .value_bytes = (uint32_t)msg->payload.count,
        .taken_index = NOT_TAKEN,
        .time_ns = shard_wall_ns(kv->shard),
        .expected = rules.expected,
        .hash = hash,
    };
    struct put_view view = {&request, reply, subject, msg->headers, msg->payload, kv->shard->index};
    kv->is_publishing = true;
    kv->was_resumed = false;
    put_send(stream, &request, to, &view);
    kv->is_publishing = false;
    bool is_waiting = (request.flags & PUT_CONN_WAITS) != 0 && !kv->was_resumed;
    return is_waiting ? KV_TAKEN_WAIT : KV_TAKEN;
}

/* ---- arriving, on the stripe's shard ---- */

static struct put_result result_of(const struct put_view *view)
{
    return (struct put_result){
        .origin = view->request->origin,
        .stream_id = view->request->stream_id,
        .reply_bytes = (uint32_t)view->reply.count,
        .taken_index = NOT_TAKEN,
        .message_bytes = view_bytes(view),
        .is_final = true,
    };
}

static void put_on_request(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct kv *kv = kv_of(shard);
    struct put_view view = view_of(payload, from);
    struct stream *stream = stream_by_id(&kv->streams, view.request->stream_id);
    if (stream == NULL || stream->stripe == NULL || stream->is_closing) {
        struct put_result result = result_of(&view);
        result.taken_index = view.request->taken_index; /* its shard must not wait for it */
        result.error = API_STREAM_NOT_FOUND;
        result.is_resume = (view.request->flags & PUT_CONN_WAITS) != 0;
        result_send(kv, from, &result, view.reply);
        return;
    }
    put_gather(stream->stripe, &view);
}

static struct put_copy *copy_of(struct kv *kv, const struct put_view *view)
{
    struct put_copy *copy =
        heap_alloc(kv->shard->heap, sizeof *copy - sizeof copy->request + view_bytes(view));
    copy->next = NULL;
    copy->from = view->from;
    view_copy(view, &copy->request);
    return copy;
}

static void put_arrive_copy(struct kv *kv, struct put_copy *copy)
{
    struct put_view view = view_of(&copy->request, copy->from);
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

static void put_queue_for_room(struct stripe *stripe, const struct put_view *view)
{
    struct kv *kv = stripe->stream->kv;
    struct put_copy *copy = copy_of(kv, view);
    *kv->room_tail = copy;
    kv->room_tail = &copy->next;
    stripe->pending_count++;
    if (!kv->is_room_awaited) {
        kv->is_room_awaited = true;
        kv->room_wait.on_durable = put_on_room;
        store_wait_room(kv->store, &kv->room_wait);
    }
}

static struct parked *parked_for(const struct stripe *stripe, uint64_t hash)
{
    struct parked *parked = stripe->stream->kv->parked;
    while (parked != NULL && (parked->stripe != stripe || parked->copy->request.hash != hash))
        parked = parked->next;
    return parked;
}

static void refusal_finish(struct put_refusal *refusal)
{
    struct stripe *stripe = refusal->stripe;
    result_send(stripe->stream->kv, refusal->to, &refusal->result,
                bytes_of(refusal->reply, refusal->result.reply_bytes));
    stripe->pending_count--;
    heap_free(refusal);
}

static void refusal_on_durable(struct store_wait *wait)
{
    refusal_finish(CONTAINER_OF(wait, struct put_refusal, wait));
}

static void refusal_on_watermark(struct watermark_wait *wait)
{
    refusal_finish(CONTAINER_OF(wait, struct put_refusal, watermark));
}

/* Refuses with the state's number, once that state is durable; the connection goes on at once. */
static void put_refuse_at_stripe(struct stripe *stripe, const struct put_view *view,
                                 enum api_error error, uint64_t number, const char *words)
{
    struct kv *kv = stripe->stream->kv;
    struct put_result result = result_of(view);
    result.error = (uint16_t)error;
    result.seq = number;
    result.words = words;
    if ((view->request->flags & PUT_CONN_WAITS) != 0) {
        struct put_result resume = {.origin = result.origin,
                                    .stream_id = result.stream_id,
                                    .taken_index = NOT_TAKEN,
                                    .is_resume = true};
        result_send(kv, view->from, &resume, (struct bytes){0});
    }
    struct put_refusal *refusal = heap_alloc(kv->shard->heap, sizeof *refusal + view->reply.count);
    refusal->stripe = stripe;
    refusal->result = result;
    refusal->to = view->from;
    if (view->reply.count > 0)
        memcpy(refusal->reply, view->reply.data, view->reply.count);
    refusal->wait.on_durable = refusal_on_durable;
    stripe->pending_count++;
    if (error == API_WRONG_LAST_SEQUENCE && (view->request->flags & PUT_EXPECTS_LAST) != 0)
        stream_wait_watermark(stripe->stream, &refusal->watermark, number, refusal_on_watermark);
    else if (stripe->stream->is_memory || !store_wait_durable(kv->store, &refusal->wait))
        refusal_on_durable(&refusal->wait);
}

static struct index_key *view_find(const struct stripe *stripe, const struct put_view *view,
                                   char *room, struct bytes *key_out)
{
    *key_out = stream_key_of(stripe->stream, view->subject, room);
    return stripe_find(stripe, *key_out, view->request->hash);
}

/* True: the message may be stored. False: it was refused. */
static bool put_check_key(struct stripe *stripe, const struct put_view *view)
{
    char room[STREAM_KEY_ROOM];
    struct bytes key;
    struct index_key *entry = view_find(stripe, view, room, &key);
    uint64_t newest = entry == NULL ? 0 : index_key_newest(entry).seq;
    if ((view->request->flags & PUT_EXPECTS_KEY) != 0 && newest != view->request->expected) {
        put_refuse_at_stripe(stripe, view, API_WRONG_LAST_SEQUENCE, newest, NULL);
        return false;
    }
    uint32_t size = stripe_message_size(stripe->stream, view->subject.count, view->headers.count,
                                        view->value.count);
    const char *words = stripe_limit_words(stripe, entry, size);
    if (words != NULL) {
        put_refuse_at_stripe(stripe, view, API_STORE_FAILED, 0, words);
        return false;
    }
    return true;
}

static void put_resume_conn(struct stripe *stripe, const struct put_view *view)
{
    if ((view->request->flags & PUT_CONN_WAITS) == 0)
        return;
    struct put_result resume = {.origin = view->request->origin,
                                .stream_id = view->request->stream_id,
                                .taken_index = NOT_TAKEN,
                                .is_resume = true};
    result_send(stripe->stream->kv, view->from, &resume, (struct bytes){0});
}

static void put_park(struct stripe *stripe, const struct put_view *view, uint64_t seq,
                     uint64_t taken_index)
{
    struct kv *kv = stripe->stream->kv;
    struct parked *parked = heap_alloc_zeroed(kv->shard->heap, sizeof *parked);
    parked->stripe = stripe;
    parked->copy = copy_of(kv, view);
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

static void put_queue_behind(struct parked *parked, const struct put_view *view)
{
    struct put_copy *copy = copy_of(parked->stripe->stream->kv, view);
    *parked->behind_tail = copy;
    parked->behind_tail = &copy->next;
    parked->stripe->pending_count++;
}

/* A message without a sequence: the rules, then the next sequence. */
static void put_decide(struct stripe *stripe, const struct put_view *view)
{
    struct stream *stream = stripe->stream;
    struct kv *kv = stream->kv;
    uint32_t flags = view->request->flags;
    uint64_t taken_index = NOT_TAKEN;
    if (!stream->is_memory && !space_allows(kv, kv->shard->index, flags)) {
        put_refuse_at_stripe(stripe, view, API_INSUFFICIENT_RESOURCES, 0, "");
        return;
    }
    if ((flags & PUT_EXPECTS_LAST) != 0
        && order_last_taken(stream->order) != view->request->expected) {
        put_refuse_at_stripe(stripe, view, API_WRONG_LAST_SEQUENCE, order_last_taken(stream->order),
                             NULL);
        return;
    }
    if (!put_check_key(stripe, view))
        return;
    uint64_t seq = (flags & PUT_EXPECTS_LAST) != 0
                       ? order_take_if(stream->order, &stream->taken, kv->shard,
                                       view->request->expected, &taken_index)
                       : order_take(stream->order, &stream->taken, kv->shard, false, &taken_index);
    if (seq == 0) {
        stream_floor_rose(stream); /* it was lowered for the attempt */
        put_refuse_at_stripe(stripe, view, API_WRONG_LAST_SEQUENCE, order_last_taken(stream->order),
                             NULL);
        return;
    }
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
        struct parked *parked = parked_for(stripe, view->request->hash);
        if (parked != NULL && (view->request->seq == 0 || view->request->seq > parked->seq)) {
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
    struct put_view view = view_of(request, from);
    put_arrive(stripe, &view);
}

/* New ones are gathered; one whose connection waits runs at once, behind what came before. */
static void put_gather(struct stripe *stripe, const struct put_view *view)
{
    struct kv *kv = stripe->stream->kv;
    void *room =
        gathering_add(stripe, view->request->hash, view->from, view_bytes(view), put_run_gathered);
    if (room == NULL) {
        put_arrive(stripe, view);
        return;
    }
    view_copy(view, room);
    if ((view->request->flags & PUT_CONN_WAITS) != 0)
        gathering_flush(kv);
}

/* ---- the fence ---- */

static void parked_decide(struct parked *parked)
{
    struct stripe *stripe = parked->stripe;
    struct stream *stream = stripe->stream;
    struct put_view view = view_of(&parked->copy->request, parked->copy->from);
    uint32_t flags = parked->copy->request.flags;
    parked->copy->request.flags &=
        ~(uint32_t)PUT_CONN_WAITS; /* it went on when the sequence was taken */
    stripe->pending_count--;
    if (put_check_key(stripe, &view)) {
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
static void put_run_parked(struct kv *kv)
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

void put_phase(struct shard *shard, void *context)
{
    (void)shard;
    struct kv *kv = context;
    if (kv->parked != NULL)
        put_run_parked(kv);
    put_resume_waiting(kv);
}

/* ---- applying ---- */

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
                | (view->headers.count > 0 ? STRIPE_MESSAGE_HAS_HEADERS : 0),
    };
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

static void put_apply(struct stripe *stripe, const struct put_view *view, uint64_t seq,
                      uint64_t taken_index)
{
    struct kv *kv = stripe->stream->kv;
    char room[STREAM_KEY_ROOM];
    struct bytes key;
    struct index_key *entry = view_find(stripe, view, room, &key);
    struct put *put = put_acquire(kv);
    put->wait.on_durable = put_on_durable;
    put->stripe = stripe;
    put->origin = view->request->origin;
    put->seq = seq;
    put->time_ns = view->request->time_ns;
    put->taken_index = taken_index;
    put->from = view->from;
    put->flags = view->request->flags;
    put->message_bytes = view_bytes(view);
    put->is_pinned = false;
    put->is_here = !stripe_is_superseded(stripe, entry, seq);
    enum status status = put->is_here ? put_store(put, view) : put_pass_over(put, view);
    if (status == STATUS_BUSY) {
        struct put_request sequenced = *view->request;
        sequenced.seq = seq;
        sequenced.taken_index = taken_index;
        sequenced.flags &= ~(uint32_t)(PUT_EXPECTS_KEY | PUT_EXPECTS_LAST);
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
    bool was_taken_here = (put->flags & PUT_CONN_WAITS) != 0 || stripe->stream->stripe_count == 1;
    uint32_t taker = was_taken_here ? kv->shard->index : put->from;
    bool is_report_later = others != 0 || taker != put->from;
    struct put_result result = {
        .origin = put->origin,
        .stream_id = stripe->stream->id,
        .reply_bytes = put->reply_bytes,
        .seq = put->seq,
        .taken_index = is_report_later ? NOT_TAKEN : put->taken_index,
        .message_bytes = put->message_bytes,
        .is_final = true,
    };
    if (is_report_later)
        put_report_later(kv, put, taker);
    result_send(kv, put->from, &result, put_reply(put));
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

/* ---- ends ---- */

bool put_is_busy(const struct kv *kv)
{
    return kv->puts_outstanding > 0 || kv->parked != NULL || kv->room_head != NULL;
}

void put_fini(struct kv *kv)
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
    heap_free(kv->waiting.origins);
}
