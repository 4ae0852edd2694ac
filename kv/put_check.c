/*
 * kv/put_check.c: may this message be stored? The checks that need the stream's state, in nats-server's order.
 *
 *     key's sequence ─ stream's sequence ─ message id ─ last message id ─ space ─ limits      (jetstream-streams.md section 7.5)
 *
 * A fault that the headers alone have (put_rules.h) is told at its place in that order. A refusal names state that may not be
 * durable yet: put_refuse_at_stripe waits for it.
 * Runs on: the stripe's shard.
 */
#include "core/hash.h"
#include "core/subject.h"
#include "kv/limits.h"
#include "kv/put_parts.h"
#include "kv/stripe_total.h"

bool put_space_allows(const struct stream *stream, uint32_t shard_index, uint32_t flags)
{
    const struct kv *kv = stream->kv;
    if ((flags & PUT_IS_DELETE) == 0 && !limits_allow(kv, stream->is_memory))
        return false;
    if (stream->is_memory)
        return true;
    enum store_space space = store_directory_space(kv_world_directory(kv->world), shard_index);
    return space == STORE_SPACE_OK || (space == STORE_SPACE_LOW && (flags & PUT_IS_DELETE) != 0);
}

static bool refuse(struct stripe *stripe, const struct put_view *view, struct put_verdict verdict)
{
    put_refuse_at_stripe(stripe, view, &verdict);
    return false;
}

static struct index_key *find(const struct stripe *stripe, const struct put_view *view)
{
    char room[STREAM_KEY_ROOM];
    struct bytes key;
    return put_view_find(stripe, view, room, &key);
}

static struct msg msg_of(const struct put_view *view)
{
    return (struct msg){.subject = view->subject, .headers = view->headers, .payload = view->value};
}

/* ---- expected sequences ---- */

/* The newest message of any subject that matches; 0: there is none. */
static uint64_t newest_matching(const struct stripe *stripe, struct bytes filter)
{
    struct index_key *key;
    struct message message;
    char *room = heap_alloc(stripe->stream->kv->shard->heap, STREAM_KEY_ROOM);
    uint64_t seq = UINT64_MAX, found = 0;
    while (found == 0 && seq > 0 && index_seek_back(stripe->index, seq, &key, &message)) {
        struct bytes subject = stream_subject_of(stripe->stream, index_key_bytes(key), room);
        found = subject_matches(filter, subject) ? message.seq : 0;
        seq = message.seq - 1;
    }
    heap_free(room);
    return found;
}

static uint64_t newest_of_subject(const struct stripe *stripe, struct bytes subject)
{
    char room[STREAM_KEY_ROOM];
    if (subject.count >= RECORD_KEY_BYTES_MAX || !subject_is_literal(subject))
        return newest_matching(stripe, subject);
    struct bytes key = stream_key_of(stripe->stream, subject, room);
    struct index_key *entry = stripe_find(stripe, key, hash_bytes(key.data, key.count));
    return entry == NULL ? 0 : index_key_newest(entry).seq;
}

static bool check_key(struct stripe *stripe, const struct put_view *view,
                      const struct index_key *entry)
{
    uint32_t flags = view->request->flags;
    struct bytes subject;
    if ((flags & PUT_EXPECTS_KEY) == 0)
        return true;
    uint64_t newest = entry == NULL ? 0 : index_key_newest(entry).seq;
    if ((flags & PUT_EXPECTS_SUBJECT) != 0
        && msg_header(view->headers, BYTES_LITERAL("Nats-Expected-Last-Subject-Sequence-Subject"),
                      &subject))
        newest = newest_of_subject(stripe, subject);
    if (newest == view->request->expected_key)
        return true;
    return refuse(stripe, view,
                  (struct put_verdict){.error = API_WRONG_LAST_SEQUENCE, .number = newest});
}

bool put_check_last(struct stripe *stripe, const struct put_view *view)
{
    uint64_t last = order_last_taken(stripe->stream->order);
    if ((view->request->flags & PUT_EXPECTS_LAST) == 0 || last == view->request->expected_last)
        return true;
    return refuse(stripe, view,
                  (struct put_verdict){
                      .error = API_WRONG_LAST_SEQUENCE, .number = last, .is_of_stream = true});
}

/* ---- message ids ---- */

static bool check_id(struct stripe *stripe, const struct put_view *view, struct bytes id)
{
    uint64_t seq = view->request->duplicate_of;
    if ((view->request->flags & PUT_HAS_ID) == 0)
        return true;
    if (stripe->stream->stripe_count == 1) {
        if (!put_ids_have_room(stripe, id))
            return refuse(stripe, view, (struct put_verdict){.error = API_INSUFFICIENT_RESOURCES});
        const struct msg_id *known = put_ids_find(stripe, id);
        seq = known == NULL ? 0 : known->seq;
    }
    if (seq == 0)
        return true;
    return refuse(stripe, view, (struct put_verdict){.number = seq, .is_duplicate = true});
}

static bool check_last_id(struct stripe *stripe, const struct put_view *view, struct bytes expected)
{
    if ((view->request->flags & PUT_EXPECTS_ID) == 0)
        return true;
    struct bytes last = put_ids_last(stripe);
    if (bytes_equal(last, expected))
        return true;
    return refuse(stripe, view,
                  (struct put_verdict){.error = API_WRONG_LAST_MSG_ID, .words = last});
}

/* ---- all of them ---- */

static bool check_state(struct stripe *stripe, const struct put_view *view,
                        const struct index_key *entry)
{
    struct put_rules rules = {0};
    struct api_failure failure = {0};
    struct msg msg = msg_of(view);
    if (!check_key(stripe, view, entry))
        return false;
    if ((view->request->flags & ~(uint32_t)PUT_EXPECTS_KEY & PUT_READ_AGAIN) == 0)
        return true;
    bool is_fine = put_rules_read(&rules, &stripe->stream->config, &msg, &failure);
    struct put_verdict fault = {.error = failure.error, .words = bytes_of_text(failure.text)};
    bool has_fault = !is_fine || (rules.flags & PUT_HAS_FAULT) != 0;
    if (!is_fine || (has_fault && rules.fault_place < PUT_CHECK_LAST))
        return refuse(stripe, view, fault);
    if (!put_check_last(stripe, view))
        return false;
    if (has_fault && rules.fault_place < PUT_CHECK_ID)
        return refuse(stripe, view, fault);
    if (!check_id(stripe, view, rules.id) || !check_last_id(stripe, view, rules.last_id))
        return false;
    bool has_space =
        put_space_allows(stripe->stream, stripe->stream->kv->shard->index, view->request->flags);
    if (has_fault && (has_space || rules.fault_place < PUT_CHECK_SPACE))
        return refuse(stripe, view, fault);
    return true;
}

static bool check_limits(struct stripe *stripe, const struct put_view *view,
                         const struct index_key *entry)
{
    uint32_t size = stripe_message_size(stripe->stream, view->subject.count, view->headers.count,
                                        view->value.count);
    const char *words = stripe_limit_words(stripe, entry, size);
    if (words == NULL)
        return true;
    return refuse(stripe, view,
                  (struct put_verdict){.error = API_STORE_FAILED, .words = bytes_of_text(words)});
}

bool put_check(struct stripe *stripe, const struct put_view *view)
{
    struct stream *stream = stripe->stream;
    struct kv *kv = stream->kv;
    uint32_t flags = view->request->flags;
    bool is_limited = stream->config.discard == STREAM_DISCARD_NEW;
    struct index_key *entry = NULL;
    if (is_limited || (flags & PUT_EXPECTS_KEY) != 0)
        entry = find(stripe, view);
    if ((flags & PUT_NEEDS_STATE) != 0 && !check_state(stripe, view, entry))
        return false;
    if (!put_space_allows(stream, kv->shard->index, flags))
        return refuse(stripe, view, (struct put_verdict){.error = API_INSUFFICIENT_RESOURCES});
    return !is_limited || check_limits(stripe, view, entry);
}

void put_check_undo(struct stripe *stripe, const struct put_view *view)
{
    if (view->request->seq == 0) /* else it was not checked here */
        stripe_total_unreserve(stripe, stripe_message_size(stripe->stream, view->subject.count,
                                                           view->headers.count, view->value.count));
}

bool put_check_again(struct stripe *stripe, const struct put_view *view)
{
    put_check_undo(stripe, view);
    struct index_key *entry = find(stripe, view);
    return check_key(stripe, view, entry) && check_limits(stripe, view, entry);
}
