/*
 * kv/query.c: the way of a get.
 *
 *     connection's shard ── question ─► stripe's shard: look up, fetch, wait until what it saw is durable ── answer ─►
 *
 * A literal subject names its stripe; everything else asks all stripes, and the best answer wins. A question carries the
 * reply subject and comes back with it, so that a plain get needs no state at the connection's shard.
 */
#include "kv/query.h"

#include "core/hash.h"
#include "core/subject.h"
#include "kv/found.h"
#include "kv/gathering.h"
#include "kv/stripe.h"

struct query_best;

struct question { /* crosses shards; reply and subject follow */
    struct origin origin;
    struct query_best *best; /* NULL: one stripe; the answer goes straight out */
    uint32_t stream_id;
    uint16_t kind;
    bool no_headers;
    bool is_key;     /* QUERY_LAST of a literal subject */
    bool is_damaged; /* what was found can not be read: the answer says so */
    uint32_t reply_bytes, subject_bytes;
    uint64_t seq, time_ns, hash;
};

struct answer { /* crosses shards; reply, subject, headers, value follow */
    struct origin origin;
    struct query_best *best;
    uint32_t stream_id;
    uint16_t kind;
    bool no_headers, is_found;
    bool is_damaged; /* it is there, but can not be read */
    uint32_t reply_bytes, subject_bytes, headers_bytes, value_bytes;
    uint64_t seq, time_ns;
};

/* Several stripes were asked, or JSON is wanted: what has come so far. On the connection's shard. */
struct query_best {
    struct request *request; /* NULL: a direct get */
    uint32_t waiting;
    bool is_damaged;       /* one that was found could not be read */
    struct answer *answer; /* owns a copy of the best; NULL: none found yet */
};

/* A question at its stripe, while a record is read or becomes durable. */
struct lookup {
    struct store_wait wait;
    struct store_fetch fetch;
    struct stripe *stripe;
    uint32_t from;
    bool is_found;
    struct question question; /* reply and subject follow */
};

static void lookup_answer(struct stripe *stripe, const struct question *question,
                          const struct record *record, uint32_t from);
static void lookup_wait(struct stripe *stripe, struct lookup *lookup);

static struct bytes question_reply(const struct question *question)
{
    return bytes_of(question + 1, question->reply_bytes);
}

static struct bytes question_subject(const struct question *question)
{
    return bytes_of((const char *)(question + 1) + question->reply_bytes, question->subject_bytes);
}

/* ---- answers, on the connection's shard ---- */

struct answer_texts {
    struct bytes reply, subject, headers, value;
};

static struct answer_texts texts_of(const struct answer *answer)
{
    const char *at = (const char *)(answer + 1);
    struct answer_texts texts;
    texts.reply = bytes_of(at, answer->reply_bytes);
    texts.subject = bytes_of(at += answer->reply_bytes, answer->subject_bytes);
    texts.headers = bytes_of(at += answer->subject_bytes, answer->headers_bytes);
    texts.value = bytes_of(at + answer->headers_bytes, answer->value_bytes);
    return texts;
}

static struct found found_of(const struct answer *answer, const struct answer_texts *texts)
{
    return (struct found){
        .subject = texts->subject,
        .headers = texts->headers,
        .value = texts->value,
        .seq = answer->seq,
        .time_ns = answer->time_ns,
    };
}

static void direct_answer(struct kv *kv, const struct answer *answer,
                          const struct answer_texts *texts)
{
    struct stream *stream = stream_by_id(&kv->streams, answer->stream_id);
    if (!answer->is_found || stream == NULL) {
        direct_status(kv, &answer->origin, texts->reply,
                      answer->is_damaged ? "NATS/1.0 500 Message Damaged\r\n\r\n"
                                         : "NATS/1.0 404 Message Not Found\r\n\r\n");
        return;
    }
    struct found found = found_of(answer, texts);
    direct_found(stream, &answer->origin, texts->reply, &found, NULL, answer->no_headers);
}

static void msg_get_answer(struct request *request, const struct answer *answer, bool is_damaged)
{
    if (is_damaged) {
        msg_get_damaged(request);
        return;
    }
    if (answer == NULL) {
        request_fail_with(request, API_NO_MESSAGE_FOUND);
        return;
    }
    struct answer_texts texts = texts_of(answer);
    struct found found = found_of(answer, &texts);
    msg_get_found(request, &found, answer->no_headers);
}

static bool is_better(const struct answer *answer, const struct answer *best)
{
    if (best == NULL)
        return true;
    return answer->kind == QUERY_LAST ? answer->seq > best->seq : answer->seq < best->seq;
}

static void best_take(struct kv *kv, const struct answer *answer, uint32_t bytes)
{
    struct query_best *best = answer->best;
    best->is_damaged = best->is_damaged || answer->is_damaged;
    if (answer->is_found && is_better(answer, best->answer)) {
        heap_free(best->answer);
        best->answer = heap_alloc(kv->shard->heap, bytes);
        memcpy(best->answer, answer, bytes);
    }
    if (--best->waiting > 0)
        return;
    const struct answer *chosen = best->answer != NULL ? best->answer : answer;
    struct answer_texts texts = texts_of(chosen);
    if (best->request != NULL)
        msg_get_answer(best->request, best->answer, best->is_damaged);
    else if (best->is_damaged)
        direct_status(kv, &answer->origin, texts.reply, "NATS/1.0 500 Message Damaged\r\n\r\n");
    else
        direct_answer(kv, chosen, &texts);
    heap_free(best->answer);
    heap_free(best);
}

static void query_on_answer(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)from;
    struct answer *answer = payload;
    if (answer->best != NULL) {
        best_take(kv_of(shard), answer, bytes);
        return;
    }
    struct answer_texts texts = texts_of(answer);
    direct_answer(kv_of(shard), answer, &texts);
}

/* ---- at the stripe ---- */

static void answer_fill(struct answer *answer, const struct question *question,
                        const struct record *record)
{
    *answer = (struct answer){
        .origin = question->origin,
        .best = question->best,
        .stream_id = question->stream_id,
        .kind = question->kind,
        .no_headers = question->no_headers,
        .is_found = record != NULL,
        .is_damaged = question->is_damaged,
        .reply_bytes = question->reply_bytes,
    };
    if (record == NULL)
        return;
    answer->subject_bytes = (uint32_t)record->key.count;
    answer->headers_bytes = (uint32_t)record->headers.count;
    answer->value_bytes = (uint32_t)record->value.count;
    answer->seq = record->seq;
    answer->time_ns = record->time_ns;
}

static void append_bytes(char **at, struct bytes bytes)
{
    if (bytes.count > 0)
        memcpy(*at, bytes.data, bytes.count);
    *at += bytes.count;
}

static void lookup_answer(struct stripe *stripe, const struct question *question,
                          const struct record *record, uint32_t from)
{
    struct kv *kv = stripe->stream->kv;
    struct answer head;
    answer_fill(&head, question, record);
    if (from == kv->shard->index && question->best == NULL) {
        struct answer_texts texts = {.reply = question_reply(question)};
        if (record != NULL) {
            texts.subject = record->key;
            texts.headers = record->headers;
            texts.value = record->value;
        }
        direct_answer(kv, &head, &texts);
        return;
    }
    uint32_t bytes = (uint32_t)sizeof head + head.reply_bytes + head.subject_bytes
                     + head.headers_bytes + head.value_bytes;
    struct answer *answer = mailbox_reserve(kv->shard, from, query_on_answer, bytes);
    *answer = head;
    char *at = (char *)(answer + 1);
    append_bytes(&at, question_reply(question));
    if (record == NULL)
        return;
    append_bytes(&at, record->key);
    append_bytes(&at, record->headers);
    append_bytes(&at, record->value);
}

static struct lookup *lookup_create(struct stripe *stripe, const struct question *question,
                                    uint32_t from)
{
    size_t texts = (size_t)question->reply_bytes + question->subject_bytes;
    struct lookup *lookup = heap_alloc(stripe->stream->kv->shard->heap, sizeof *lookup + texts);
    memset(lookup, 0, sizeof *lookup);
    memcpy(&lookup->question, question, sizeof *question + texts);
    lookup->stripe = stripe;
    lookup->from = from;
    stripe->pending_count++;
    return lookup;
}

static void lookup_finish(struct lookup *lookup)
{
    struct stripe *stripe = lookup->stripe;
    lookup_answer(stripe, &lookup->question, lookup->is_found ? &lookup->fetch.record : NULL,
                  lookup->from);
    if (lookup->is_found)
        stripe_fetch_release(stripe, &lookup->fetch);
    stripe->pending_count--;
    heap_free(lookup);
}

static void lookup_on_durable(struct store_wait *wait)
{
    lookup_finish(CONTAINER_OF(wait, struct lookup, wait));
}

static void lookup_on_fetched(struct store_fetch *fetch, enum status status)
{
    struct lookup *lookup = CONTAINER_OF(fetch, struct lookup, fetch);
    lookup->is_found = status == STATUS_OK;
    lookup->question.is_damaged = status != STATUS_OK; /* never a wrong value, nor "not found" */
    lookup_finish(lookup);
}

static void lookup_on_room(struct store_wait *wait)
{
    struct lookup *lookup = CONTAINER_OF(wait, struct lookup, wait);
    lookup_wait(lookup->stripe, lookup);
}

/* The state seen is not durable yet: answer when it is. */
static void lookup_wait(struct stripe *stripe, struct lookup *lookup)
{
    if (stripe->unwritten_removals > 0) { /* it is not even in a batch */
        lookup->wait.on_durable = lookup_on_room;
        store_wait_room(stripe->stream->kv->store, &lookup->wait);
        return;
    }
    lookup->wait.on_durable = lookup_on_durable;
    if (!store_wait_durable(stripe->stream->kv->store, &lookup->wait))
        lookup_finish(lookup);
}

static void lookup_found(struct stripe *stripe, const struct question *question,
                         const struct message *message, uint32_t from)
{
    struct store_fetch fetch;
    bool is_durable = stripe_is_durable(stripe, message->where);
    if (is_durable && stripe_fetch_at_once(stripe, message->where, &fetch)) {
        lookup_answer(stripe, question, &fetch.record, from);
        stripe_fetch_release(stripe, &fetch);
        return;
    }
    struct lookup *lookup = lookup_create(stripe, question, from);
    bool is_here = stripe_fetch(stripe, message->where, &lookup->fetch, lookup_on_fetched);
    if (!is_here)
        return;
    lookup->is_found = true;
    if (is_durable)
        lookup_finish(lookup);
    else
        lookup_wait(stripe, lookup);
}

static bool match(const struct stripe *stripe, struct bytes pattern, const struct index_key *key,
                  char *room)
{
    return pattern.count == 0
           || subject_matches(pattern,
                              stream_subject_of(stripe->stream, index_key_bytes(key), room));
}

static bool find_by_walk(const struct stripe *stripe, const struct question *question,
                         struct message *message_out)
{
    char *room = heap_alloc(stripe->stream->kv->shard->heap, STREAM_KEY_ROOM);
    struct bytes pattern = question_subject(question);
    struct index_key *key;
    bool is_last = question->kind == QUERY_LAST, is_found = false;
    uint64_t seq = is_last ? UINT64_MAX : question->seq;
    while (!is_found
           && (is_last ? index_seek_back(stripe->index, seq, &key, message_out)
                       : index_seek(stripe->index, seq, &key, message_out))) {
        is_found = message_out->time_ns >= question->time_ns && match(stripe, pattern, key, room);
        if (is_last && message_out->seq == 0)
            break;
        seq = is_last ? message_out->seq - 1 : message_out->seq + 1;
    }
    heap_free(room);
    return is_found;
}

static bool find_by_key(const struct stripe *stripe, const struct question *question,
                        struct message *message_out)
{
    char room[STREAM_KEY_ROOM];
    struct bytes key = stream_key_of(stripe->stream, question_subject(question), room);
    struct index_key *entry = stripe_find(stripe, key, question->hash);
    if (entry == NULL)
        return false;
    *message_out = index_key_newest(entry);
    if (question->kind == QUERY_LAST)
        return true;
    uint32_t count = index_key_message_count(stripe->index, entry);
    for (uint32_t i = 0; i < count; i++) {
        *message_out = index_key_message(stripe->index, entry, i);
        if (message_out->seq >= question->seq && message_out->time_ns >= question->time_ns)
            return true;
    }
    return false;
}

static bool find_message(const struct stripe *stripe, const struct question *question,
                         struct message *message_out)
{
    struct index_key *key;
    struct bytes subject = question_subject(question);
    if (question->kind == QUERY_SEQ)
        return index_find_seq(stripe->index, question->seq, &key, message_out);
    if (subject.count > 0 && subject_is_literal(subject))
        return find_by_key(stripe, question, message_out);
    return find_by_walk(stripe, question, message_out);
}

static void lookup_absent(struct stripe *stripe, const struct question *question, uint32_t from)
{
    /* It may be absent because of something that is not durable yet: a removal, or a put that pushed it out. */
    bool is_settled = stripe->stream->is_memory
                      || (stripe->pending_removals == 0 && question->is_key
                          && stripe->stream->config.discard == STREAM_DISCARD_NEW);
    if (is_settled)
        lookup_answer(stripe, question, NULL, from);
    else
        lookup_wait(stripe, lookup_create(stripe, question, from));
}

static void query_run(struct stripe *stripe, const void *request, uint32_t from)
{
    const struct question *question = request;
    struct message message;
    if (question->is_key ? find_by_key(stripe, question, &message)
                         : find_message(stripe, question, &message))
        lookup_found(stripe, question, &message, from);
    else
        lookup_absent(stripe, question, from);
}

static void query_at_stripe(struct stripe *stripe, const struct question *question, uint32_t from)
{
    if (question->is_key && question->best == NULL) {
        uint32_t bytes =
            (uint32_t)sizeof *question + question->reply_bytes + question->subject_bytes;
        void *room = gathering_add(stripe, question->hash, from, bytes, query_run);
        if (room != NULL) {
            memcpy(room, question, bytes);
            return;
        }
    }
    gathering_flush(stripe->stream->kv);
    query_run(stripe, question, from);
}

static void query_on_question(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct question *question = payload;
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, question->stream_id);
    if (stream != NULL && stream->stripe != NULL) {
        query_at_stripe(stream->stripe, question, from);
        return;
    }
    struct answer *answer = mailbox_reserve(shard, from, query_on_answer,
                                            (uint32_t)sizeof *answer + question->reply_bytes);
    answer_fill(answer, question, NULL);
    memcpy(answer + 1, question + 1, question->reply_bytes);
}

/* ---- asking ---- */

struct ask {
    struct bytes reply, subject;
    struct question head;
};

static void ask_stripe(struct stream *stream, const struct ask *ask, uint32_t to)
{
    struct kv *kv = stream->kv;
    uint32_t bytes = (uint32_t)(sizeof ask->head + ask->reply.count + ask->subject.count);
    bool is_local = to == kv->shard->index && ask->head.best == NULL && bytes <= 1024;
    char room[1024] __attribute__((aligned(16)));
    struct question *question = is_local ? (struct question *)room
                                         : mailbox_reserve(kv->shard, to, query_on_question, bytes);
    *question = ask->head;
    char *at = (char *)(question + 1);
    append_bytes(&at, ask->reply);
    append_bytes(&at, ask->subject);
    if (is_local)
        query_at_stripe(stream->stripe, question, kv->shard->index);
}

void query_ask(struct stream *stream, const struct query *query, struct request *request)
{
    struct kv *kv = stream->kv;
    struct ask asked = {
        .reply = query->reply,
        .subject = query->subject,
        .head = {.origin = query->origin,
                 .kind = (uint16_t)query->kind,
                 .no_headers = query->no_headers,
                 .seq = query->seq,
                 .time_ns = query->time_ns},
    };
    struct ask *ask = &asked;
    char room[STREAM_KEY_ROOM];
    ask->head.stream_id = stream->id;
    ask->head.reply_bytes = (uint32_t)ask->reply.count;
    ask->head.subject_bytes = (uint32_t)ask->subject.count;
    bool is_literal =
        ask->head.kind != QUERY_SEQ && ask->subject.count > 0 && subject_is_literal(ask->subject);
    uint32_t first = 0, count = stream->stripe_count;
    if (is_literal) {
        struct bytes key = stream_key_of(stream, ask->subject, room);
        ask->head.hash = hash_bytes(key.data, key.count);
        ask->head.is_key = ask->head.kind == QUERY_LAST;
        first = stripe_of_key(stream->stripe_count, key);
        count = 1;
    }
    if (request != NULL || count > 1) {
        ask->head.best = heap_alloc_zeroed(kv->shard->heap, sizeof(struct query_best));
        ask->head.best->request = request;
        ask->head.best->waiting = count;
    }
    for (uint32_t i = 0; i < count; i++)
        ask_stripe(stream, ask, stripe_shard(stream, first + i));
}
