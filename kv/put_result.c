/*
 * kv/put_result.c: how a put ends at its connection: acks, refusals, and room for the next ones.
 *
 * Keeps:   no ack, no refusal that names a sequence, before the batch that carries that state is durable.
 * Owns:    refusals that wait; the list of connections that wait for room.
 * Runs on: put_refuse_at_stripe on the stripe's shard, the rest on the connection's.
 */
#include "kv/put.h"
#include "kv/put_given.h"
#include "kv/put_parts.h"

/* A refusal that waits for the state it names. */
struct put_refusal {
    struct store_wait wait;
    struct watermark_wait watermark;
    struct stripe *stripe;
    struct put_result result;
    uint32_t to;
    char texts[]; /* the reply, then words */
};

/* ---- answers, on the connection's shard ---- */

static void put_send_ack(struct stream *stream, const struct origin *origin, struct bytes reply,
                         uint64_t seq, bool is_duplicate)
{
    char room[STREAM_NAME_BYTES_MAX + 80];
    ASSERT(stream->ack_prefix.count + 44 <= sizeof room);
    memcpy(room, stream->ack_prefix.data, stream->ack_prefix.count);
    size_t count = stream->ack_prefix.count;
    count += text_u64(room + count, seq);
    if (is_duplicate) {
        struct bytes words = BYTES_LITERAL(",\"duplicate\": true");
        memcpy(room + count, words.data, words.count);
        count += words.count;
    }
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

static void result_answer(struct kv *kv, const struct put_result *result, struct bytes reply,
                          struct bytes words)
{
    struct stream *stream = stream_by_id(&kv->streams, result->stream_id);
    if (reply.count == 0)
        return;
    if (result->error == API_OK && stream != NULL) {
        put_send_ack(stream, &result->origin, reply, result->seq, result->is_duplicate);
        return;
    }
    struct api_failure failure = {0};
    enum api_error error = result->error == API_OK ? API_STREAM_NOT_FOUND : result->error;
    if (words.count > 0 || error == API_WRONG_LAST_MSG_ID || error == API_ROLLUP_FAILED)
        api_fail(&failure, error, "%.*s", (int)words.count, words.data);
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

bool put_has_room(const struct kv *kv)
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

void put_resume_waiting(struct kv *kv)
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

static void result_take(struct kv *kv, const struct put_result *result, struct bytes reply,
                        struct bytes words)
{
    if (result->taken_index != PUT_NOT_TAKEN) {
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
    if (result->sink != NULL)
        result->sink->on_stored(result->sink);
    else
        result_answer(kv, result, reply, words);
}

static void put_on_result(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct put_result *result = payload;
    struct bytes reply = bytes_of(result + 1, result->reply_bytes);
    result_take(kv_of(shard), result, reply,
                bytes_of(reply.data + reply.count, result->words_bytes));
}

void put_result_send(struct kv *kv, uint32_t to, const struct put_result *result,
                     struct bytes reply, struct bytes words)
{
    ASSERT(result->reply_bytes == reply.count);
    ASSERT(result->words_bytes == words.count);
    if (result->flight != NULL && result->is_final) {
        bool is_stored = result->error == API_OK && !result->is_duplicate;
        put_ids_settle(kv, result->flight, result->flight_home, is_stored ? result->seq : 0,
                       result->time_ns);
    }
    if (to == kv->shard->index) {
        result_take(kv, result, reply, words);
        return;
    }
    struct put_result *sent = mailbox_reserve(kv->shard, to, put_on_result,
                                              (uint32_t)(sizeof *sent + reply.count + words.count));
    *sent = *result;
    char *texts = (char *)(sent + 1);
    if (reply.count > 0)
        memcpy(texts, reply.data, reply.count);
    if (words.count > 0)
        memcpy(texts + reply.count, words.data, words.count);
}

enum kv_take put_refuse(struct stream *stream, const struct origin *origin, const struct msg *msg,
                        const struct api_failure *failure)
{
    if (msg->reply.count > 0 && !stream->config.no_ack)
        put_send_failure(stream->kv, text_bytes(&stream->config.name), origin, msg->reply, failure);
    return KV_TAKEN;
}

/* ---- refusals, on the stripe's shard ---- */

struct put_result put_result_of(const struct put_view *view)
{
    return (struct put_result){
        .origin = view->request->origin,
        .sink = view->request->sink,
        .stream_id = view->request->stream_id,
        .reply_bytes = (uint32_t)view->reply.count,
        .flight = view->request->flight,
        .flight_home = view->request->flight_home,
        .taken_index = PUT_NOT_TAKEN,
        .message_bytes = put_view_bytes(view),
        .is_final = true,
    };
}

void put_resume_conn(struct stripe *stripe, const struct put_view *view)
{
    if ((view->request->flags & PUT_CONN_WAITS) == 0)
        return;
    struct put_result resume = {.origin = view->request->origin,
                                .stream_id = view->request->stream_id,
                                .taken_index = PUT_NOT_TAKEN,
                                .is_resume = true};
    put_result_send(stripe->stream->kv, view->from, &resume, (struct bytes){0}, (struct bytes){0});
}

static void refusal_finish(struct put_refusal *refusal)
{
    struct stripe *stripe = refusal->stripe;
    struct bytes reply = bytes_of(refusal->texts, refusal->result.reply_bytes);
    put_result_send(stripe->stream->kv, refusal->to, &refusal->result, reply,
                    bytes_of(refusal->texts + reply.count, refusal->result.words_bytes));
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

void put_refuse_at_stripe(struct stripe *stripe, const struct put_view *view,
                          const struct put_verdict *verdict)
{
    struct kv *kv = stripe->stream->kv;
    struct bytes words = verdict->words;
    put_resume_conn(stripe, view);
    if ((view->request->flags & PUT_IS_MARKER) != 0)
        stripe_marker_ended(stripe, view->request->expected_key, verdict->error);
    struct put_refusal *refusal =
        heap_alloc(kv->shard->heap, sizeof *refusal + view->reply.count + words.count);
    refusal->stripe = stripe;
    refusal->to = view->from;
    refusal->result = put_result_of(view);
    refusal->result.error = (uint16_t)verdict->error;
    refusal->result.seq = verdict->number;
    refusal->result.is_duplicate = verdict->is_duplicate;
    refusal->result.words_bytes = (uint32_t)words.count;
    if (view->reply.count > 0)
        memcpy(refusal->texts, view->reply.data, view->reply.count);
    if (words.count > 0)
        memcpy(refusal->texts + view->reply.count, words.data, words.count);
    refusal->wait.on_durable = refusal_on_durable;
    stripe->pending_count++;
    if (verdict->is_of_stream)
        stream_wait_watermark(stripe->stream, &refusal->watermark, verdict->number,
                              refusal_on_watermark);
    else if (stripe->stream->is_memory || !store_wait_durable(kv->store, &refusal->wait))
        refusal_on_durable(&refusal->wait);
}
