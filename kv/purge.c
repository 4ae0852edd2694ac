/*
 * kv/purge.c: removing what matches, everywhere, up to one sequence.
 *
 *     request ─► W covers all that was given out ─► (keep: list the matches, find the bound) ─► each stripe removes what matches up
 *     to the bound, writes one record that says so, answers when that is durable ─► sum ─► answer
 *
 * A stripe whose log has no room for the record refuses before it removes anything. Other stripes may have removed theirs then:
 * the request fails, and may be repeated.
 *
 * The bound is a sequence below which nothing can arrive any more; so one record {filter, bound} in each log repeats the purge
 * at recovery, whatever else is read first.
 */
#include "kv/purge.h"

#include <stdlib.h>

#include "core/subject.h"
#include "kv/consumer_config.h"
#include "kv/gathering.h"
#include "kv/listing.h"
#include "kv/stream_state.h"
#include "kv/stripe.h"

struct purge {
    struct text filter;
    uint64_t upto, keep,
        jump_to; /* jump_to: the stream goes on with this sequence; 0: it does not */
    uint64_t purged;
    bool is_refused; /* by a stripe, for want of space */
    uint64_t *seqs;  /* owns: matches, while the bound of `keep` is looked for */
    uint64_t count;
};

/* What a stripe answers: how many it removed, or this. */
static const uint64_t NO_SPACE = UINT64_MAX;

struct purge_question { /* then the filter */
    struct gather *gather;
    uint32_t stream_id, filter_bytes;
    uint64_t upto, jump_to;
};

/* A removal at its stripe, until its record is durable. */
struct removal {
    struct store_wait wait;
    struct stripe *stripe;
    struct gather *gather;
    uint32_t to;
    struct removed_list removed;
    bool is_unwritten;      /* the log had no room for the record yet */
    struct text key, value; /* of the record */
    uint8_t type;
    uint64_t seq;
};

/* ---- at the stripe ---- */

static void removal_answer(struct shard *shard, struct gather *gather, uint32_t to, uint64_t count)
{
    *(uint64_t *)gather_answer(shard, gather, to, sizeof count) = count;
}

static void removal_on_durable(struct store_wait *wait)
{
    struct removal *removal = CONTAINER_OF(wait, struct removal, wait);
    struct stripe *stripe = removal->stripe;
    stripe_removed_durable(stripe, &removal->removed);
    removal_answer(stripe->stream->kv->shard, removal->gather, removal->to, removal->removed.count);
    removed_list_free(&removal->removed);
    text_free(&removal->key);
    text_free(&removal->value);
    stripe->pending_removals--;
    stripe->pending_count--;
    heap_free(removal);
}

/* The record, and a state record if nothing alive tells the last sequence any more. */
static void removal_write(struct store_wait *wait)
{
    struct removal *removal = CONTAINER_OF(wait, struct removal, wait);
    struct stripe *stripe = removal->stripe;
    struct store *store = stripe->stream->kv->store;
    struct record record = {
        .type = removal->type,
        .flags = RECORD_REMOVES | stripe_record_flags(stripe->stream),
        .stream_id = stripe->stream->id,
        .seq = removal->seq,
        .time_ns = shard_wall_ns(stripe->stream->kv->shard),
        .key = text_bytes(&removal->key),
        .value = text_bytes(&removal->value),
    };
    location where;
    enum status status = stripe_state_evictions(stripe);
    if (status == STATUS_OK && stripe_needs_state(stripe))
        status = stripe_write_state(stripe, NULL);
    wait->on_durable = removal_on_durable;
    if (status == STATUS_OK)
        status = store_append(store, &record, &where, wait);
    if (status == STATUS_OK) {
        stripe->unwritten_removals -= removal->is_unwritten;
        removal->is_unwritten = false;
        return;
    }
    stripe->unwritten_removals += !removal->is_unwritten;
    removal->is_unwritten = true;
    wait->on_durable = removal_write;
    store_wait_room(store, wait);
}

/* The record, and what may have to go ahead of it. */
static bool removal_has_room(const struct stripe *stripe, struct bytes key)
{
    if (stripe->stream->is_memory)
        return true;
    struct record removal = {.key = key, .value = {NULL, sizeof(uint64_t)}};
    struct record state = {
        .key = stripe->stream->prefix,
        .value = {NULL, sizeof(struct stripe_state)},
    };
    struct record evictions = {0};
    return store_has_room(stripe->stream->kv->store,
                          record_bytes(&removal) + record_bytes(&state) + record_bytes(&evictions));
}

static struct removal *removal_create(struct stripe *stripe, struct gather *gather, uint32_t to)
{
    struct removal *removal = heap_alloc_zeroed(stripe->stream->kv->shard->heap, sizeof *removal);
    removal->stripe = stripe;
    removal->gather = gather;
    removal->to = to;
    stripe->pending_count++;
    stripe->pending_removals++;
    return removal;
}

static void removal_finish(struct removal *removal)
{
    struct stripe *stripe = removal->stripe;
    removal->wait.on_durable = removal_on_durable;
    if (!stripe->stream->is_memory && removal->removed.count > 0)
        removal_write(&removal->wait);
    else if (stripe->stream->is_memory
             || !store_wait_durable(stripe->stream->kv->store, &removal->wait))
        removal_on_durable(
            &removal->wait); /* else: it is not there only because of what is not durable yet */
}

static void purge_on_question(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct purge_question *question = payload;
    gathering_flush(kv_of(shard)); /* what came before runs before */
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, question->stream_id);
    if (stream == NULL || stream->stripe == NULL) {
        removal_answer(shard, question->gather, from, 0);
        return;
    }
    struct stripe *stripe = stream->stripe;
    struct bytes filter = bytes_of(question + 1, question->filter_bytes);
    if (!removal_has_room(stripe, filter)) {
        removal_answer(shard, question->gather, from, NO_SPACE);
        return;
    }
    struct removal *removal = removal_create(stripe, question->gather, from);
    removal->type = KV_RECORD_PURGED;
    removal->seq = question->upto;
    text_append(&removal->key, filter);
    stripe_purge(stripe, filter, question->upto, &removal->removed);
    bool jumps = question->jump_to > stripe->last_seq + 1;
    if (jumps)
        stripe->last_seq = question->jump_to - 1;
    if (jumps && !stream->is_memory && removal->removed.count == 0)
        removal_write(&removal->wait);
    else
        removal_finish(removal);
}

/* ---- the request ---- */

static void purge_free(struct purge *purge)
{
    text_free(&purge->filter);
    free(purge->seqs);
}

static void purge_on_part(struct gather *gather, const void *part, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct purge *purge = CONTAINER_OF(gather, struct request, gather)->work;
    uint64_t count = *(const uint64_t *)part;
    if (count == NO_SPACE)
        purge->is_refused = true;
    else
        purge->purged += count;
}

/* True: a stripe refused, and the request has its answer. */
static bool purge_is_refused(struct request *request)
{
    struct purge *purge = request->work;
    if (!purge->is_refused)
        return false;
    purge_free(purge);
    request_fail_with(request, API_INSUFFICIENT_RESOURCES);
    return true;
}

static void purge_on_done(struct gather *gather)
{
    struct request *request = CONTAINER_OF(gather, struct request, gather);
    struct purge *purge = request->work;
    if (purge_is_refused(request))
        return;
    struct text *text = request_begin(request);
    text_append_format(text, ",\"success\":true,\"purged\":%llu",
                       (unsigned long long)purge->purged);
    purge_free(purge);
    request_answer(request, text);
}

static struct stream *purge_stream_of(struct request *request)
{
    struct stream *stream = stream_by_name(&request->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (stream != NULL && stream->is_visible)
        return stream;
    purge_free(request->work);
    request_fail_with(request, API_STREAM_NOT_FOUND);
    return NULL;
}

static void purge_ask(struct request *request, struct stream *stream)
{
    struct purge *purge = request->work;
    struct bytes filter = text_bytes(&purge->filter);
    uint32_t first = 0, count = stream->stripe_count;
    if (filter.count > 0 && filter.count < RECORD_KEY_BYTES_MAX && subject_is_literal(filter)) {
        char room[STREAM_KEY_ROOM];
        first = stripe_of_key(count, stream_key_of(stream, filter, room));
        count = 1;
    }
    request->gather = (struct gather){.on_part = purge_on_part, .on_done = purge_on_done};
    for (uint32_t i = 0; i < count; i++) {
        struct purge_question *question =
            gather_ask(request->kv, &request->gather, stripe_shard(stream, first + i),
                       purge_on_question, (uint32_t)(sizeof *question + filter.count));
        question->stream_id = stream->id;
        question->filter_bytes = (uint32_t)purge->filter.count;
        question->upto = purge->upto;
        question->jump_to = purge->jump_to;
        if (filter.count > 0)
            memcpy(question + 1, filter.data, filter.count);
    }
}

static void keep_on_part(struct gather *gather, const void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct purge *purge = CONTAINER_OF(gather, struct request, gather)->work;
    const struct listing_part *part = payload;
    const uint64_t *seqs = (const uint64_t *)(part + 1);
    purge->seqs = realloc(purge->seqs, (purge->count + part->count + 1) * sizeof *seqs);
    for (uint64_t i = 0; i < part->count; i++) {
        if (seqs[i] <= purge->upto)
            purge->seqs[purge->count++] = seqs[i];
    }
}

static int seq_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* All matches are known: the newest `keep` of them stay. */
static void keep_on_done(struct gather *gather)
{
    struct request *request = CONTAINER_OF(gather, struct request, gather);
    struct purge *purge = request->work;
    struct stream *stream = purge_stream_of(request);
    if (stream == NULL)
        return;
    feed_end_if_idle(stream);
    if (purge->count > 1)
        qsort(purge->seqs, purge->count, sizeof *purge->seqs, seq_compare);
    purge->upto = purge->count > purge->keep ? purge->seqs[purge->count - purge->keep] - 1 : 0;
    purge_ask(request, stream);
}

static void keep_ask(struct request *request, struct stream *stream)
{
    struct purge *purge = request->work;
    struct consumer_config filter = {0};
    text_append(&filter.filter_subject, text_bytes(&purge->filter));
    request->gather = (struct gather){.on_part = keep_on_part, .on_done = keep_on_done};
    listing_ask_sequences(stream, &request->gather, &filter, LISTING_ALL, 0, 0, UINT64_MAX);
    consumer_config_free(&filter);
}

static void purge_on_watermark(struct watermark_wait *wait)
{
    struct request *request = CONTAINER_OF(wait, struct request, watermark);
    struct purge *purge = request->work;
    struct stream *stream = purge_stream_of(request);
    if (stream == NULL)
        return;
    if (purge->keep > 0)
        keep_ask(request, stream);
    else
        purge_ask(request, stream);
}

/* A purge beyond the end makes the stream go on from there. */
static void purge_jump(struct stream *stream, struct purge *purge, uint64_t seq)
{
    uint64_t next = shared_load_seq_cst(&stream->order->next);
    while (next < seq && !shared_swap_if(&stream->order->next, next, seq))
        next = shared_load_seq_cst(&stream->order->next);
    purge->jump_to = seq;
}

static bool purge_read(struct request *request, struct purge *purge, uint64_t *seq)
{
    static const char *const known[] = {"seq", "filter", "keep", NULL};
    struct bytes filter = {0};
    if (!request_parse(request, true) || !request_members_known(request, known)
        || !request_member_u64(request, "seq", seq)
        || !request_member_u64(request, "keep", &purge->keep)
        || !request_member_text(request, "filter", &filter))
        return false;
    text_append(&purge->filter, filter);
    if (*seq == 0 || purge->keep == 0)
        return true;
    text_free(&purge->filter);
    request_fail_with(request, API_BAD_REQUEST);
    return false;
}

void purge_stream(struct request *request)
{
    struct purge read = {0};
    uint64_t seq = 0;
    if (!purge_read(request, &read, &seq))
        return;
    struct stream *stream = request_stream(request);
    bool is_beyond = seq > ORDER_SEQ_MAX;
    if (stream == NULL || stream->config.sealed || stream->config.deny_purge || is_beyond) {
        text_free(&read.filter);
        if (stream != NULL && is_beyond)
            request_fail_with(request, API_BAD_REQUEST);
        else if (stream != NULL)
            request_fail_with(request,
                              stream->config.sealed ? API_STREAM_SEALED : API_PURGE_NOT_PERMITTED);
        return;
    }
    struct purge *purge = heap_alloc_zeroed(request->kv->shard->heap, sizeof *purge);
    *purge = read;
    request->work = purge;
    purge->upto = order_last_taken(stream->order);
    bool is_everything =
        purge->filter.count == 0 || bytes_equal(text_bytes(&purge->filter), BYTES_LITERAL(">"));
    if (seq > purge->upto + 1 && is_everything)
        purge_jump(stream, purge, seq);
    else if (seq > 0 && seq - 1 < purge->upto)
        purge->upto = seq - 1;
    stream_wait_watermark(stream, &request->watermark, order_last_taken(stream->order),
                          purge_on_watermark);
}

/* ---- STREAM.MSG.DELETE ---- */

struct delete_question {
    struct gather *gather;
    uint32_t stream_id, padding;
    uint64_t seq;
};

static void delete_on_question(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct delete_question *question = payload;
    gathering_flush(kv_of(shard)); /* before the key is looked for: what runs may end it */
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, question->stream_id);
    struct index_key *key;
    struct message message;
    if (stream == NULL || stream->stripe == NULL) {
        removal_answer(shard, question->gather, from, 0);
        return;
    }
    struct stripe *stripe = stream->stripe;
    if (!index_find_seq(stripe->index, question->seq, &key, &message)) {
        removal_finish(removal_create(stripe, question->gather, from));
        return;
    }
    char *room = heap_alloc(shard->heap, STREAM_KEY_ROOM);
    struct bytes subject = stream_subject_of(stream, index_key_bytes(key), room);
    if (!removal_has_room(stripe, subject)) {
        heap_free(room);
        removal_answer(shard, question->gather, from, NO_SPACE);
        return;
    }
    struct removal *removal = removal_create(stripe, question->gather, from);
    uint64_t oldest = index_key_message(stripe->index, key, 0).seq;
    removal->type = KV_RECORD_REMOVED;
    removal->seq = question->seq;
    text_append(&removal->key, subject);
    text_append(&removal->value, bytes_of(&oldest, sizeof oldest));
    (void)stripe_remove_message(stripe, key, question->seq, &removal->removed);
    heap_free(room);
    removal_finish(removal);
}

/* It is not there: nats-server's words depend on where it would be, and on the storage. */
static void delete_on_state(void *context, const struct stream_state *state, bool is_there)
{
    struct request *request = context;
    struct purge *purge = request->work;
    struct stream *stream = is_there ? purge_stream_of(request) : NULL;
    struct api_failure failure;
    if (!is_there)
        api_fail(&failure, API_STREAM_NOT_FOUND, NULL);
    else if (stream == NULL)
        return;
    else if (!stream->is_memory && purge->upto > state->last_seq)
        api_fail(&failure, API_MESSAGE_DELETE, "stream store EOF");
    else if (!stream->is_memory && (state->messages == 0 || purge->upto < state->first_seq))
        api_fail(&failure, API_MESSAGE_DELETE, "no message found");
    else
        api_fail(&failure, API_SEQUENCE_NOT_FOUND, "%llu", (unsigned long long)purge->upto);
    request_fail(request, &failure, NULL);
}

static void delete_on_done(struct gather *gather)
{
    struct request *request = CONTAINER_OF(gather, struct request, gather);
    struct purge *purge = request->work;
    if (purge_is_refused(request))
        return;
    if (purge->purged > 0) {
        request_succeed(request);
        return;
    }
    struct stream *stream = purge_stream_of(request);
    if (stream != NULL)
        stream_state_gather(stream, NULL, request, delete_on_state);
}

static void delete_on_watermark(struct watermark_wait *wait)
{
    struct request *request = CONTAINER_OF(wait, struct request, watermark);
    struct purge *purge = request->work;
    struct stream *stream = purge_stream_of(request);
    if (stream == NULL)
        return;
    request->gather = (struct gather){.on_part = purge_on_part, .on_done = delete_on_done};
    for (uint32_t i = 0; i < stream->stripe_count; i++) {
        struct delete_question *question =
            gather_ask(request->kv, &request->gather, stripe_shard(stream, i), delete_on_question,
                       sizeof *question);
        question->stream_id = stream->id;
        question->seq = purge->upto;
    }
}

void purge_message(struct request *request)
{
    static const char *const known[] = {"seq", "no_erase", NULL};
    uint64_t seq = 0;
    bool no_erase = false;
    if (request->payload.count == 0) {
        request_fail_with(request, API_BAD_REQUEST);
        return;
    }
    if (!request_parse(request, false) || !request_members_known(request, known)
        || !request_member_u64(request, "seq", &seq)
        || !request_member_bool(request, "no_erase", &no_erase))
        return;
    struct stream *stream = request_stream(request);
    if (stream == NULL)
        return;
    struct api_failure failure = {0};
    if (stream->config.sealed)
        api_fail(&failure, API_STREAM_SEALED, NULL);
    else if (stream->config.deny_delete)
        api_fail(&failure, API_MESSAGE_DELETE, "message delete not permitted");
    if (failure.error != API_OK) {
        request_fail(request, &failure, NULL);
        return;
    }
    struct purge *purge = heap_alloc_zeroed(request->kv->shard->heap, sizeof *purge);
    purge->upto = seq;
    request->work = purge;
    stream_wait_watermark(stream, &request->watermark, order_last_taken(stream->order),
                          delete_on_watermark);
}
