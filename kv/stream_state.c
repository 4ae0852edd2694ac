/*
 * kv/stream_state.c: counting over the stripes, and the lists that stream info may ask for.
 *
 *     W covers what was given out ─► every stripe: slices of a walk, each a run of its own ─► counts ─► runs merged, in slices ─► W
 *     covers what was counted ─► on_done
 *
 * Keeps:   nobody waits longer than a slice, however large the stream is. A run of subjects is sorted by the stripe that sends it;
 *          who asked merges runs until the page is there and all are counted. The index may change between slices: a subject that
 *          is there throughout is counted, one that comes or goes meanwhile may be.
 * Runs on: the asking shard, and state_scan on the stripes' shards.
 */
#include "kv/stream_state.h"

#include <stdlib.h>

#include "core/subject.h"
#include "kv/consumer.h"
#include "kv/follow.h"
#include "kv/gathering.h"
#include "kv/stripe.h"

enum {
    SLICE_KEYS = 4096,
    SLICE_SEQS = 8192,
    SLICE_MERGED = 8192,
    SEQS_MAX = 1 << 22,
    SUBJECT_BYTES_MAX = 256 << 20, /* looked through for one answer … */
    PAGE_BYTES_MAX = 32 << 20,     /* … and told */
};

/* ---- messages between the shards ---- */

struct state_question { /* then the filter */
    struct gather *gather;
    uint32_t stream_id;
    uint32_t filter_bytes;
    uint64_t with_seqs;
};

enum part_kind { PART_SEQS, PART_SUBJECTS, PART_FOLLOWS, PART_COUNTS };

struct
    state_part { /* then count sequences; or for each of count subjects a subject_head and its text, in byte order */
    uint64_t kind, count;
    uint64_t messages, bytes, first_seq, first_ns, last_seq, last_ns, subject_count;
    uint64_t consumer_count;
    uint64_t is_gone; /* the stream is, here, or goes */
};

struct subject_head {
    uint32_t messages, bytes;
};

/* A run of subjects, on the asking shard. */
struct run {
    char *data; /* owns */
    const char *at;
    uint64_t left;
};

struct state_gather {
    struct gather gather;
    struct watermark_wait watermark;
    struct kv *kv;
    uint32_t stream_id;
    struct stream_state state;
    struct text filter;
    bool with_seqs, is_gone;
    uint64_t offset;
    struct run *runs; /* owns; a heap by their first subject while they are merged */
    uint32_t run_count, run_capacity;
    uint64_t run_bytes, seq_capacity;
    struct text last_text; /* the subject merged last */
    void *context;
    state_done_fn *on_done;
};

/* ---- at a stripe ---- */

struct state_scan {
    struct kv *kv;
    struct gather *gather;
    uint32_t to, stream_id;
    bool with_seqs;
    struct text filter; /* empty: no subjects */
    uint64_t cursor;
    uint64_t sent; /* sequences, or bytes of subjects */
    char *room;    /* owns */
    struct text run;
    uint32_t run_count;
    const char **order; /* owns: the run's subjects, to be sorted */
};

static struct stream *scan_stream(const struct state_scan *scan)
{
    struct stream *stream = stream_by_id(&scan->kv->streams, scan->stream_id);
    return stream == NULL || stream->is_closing || stream->stripe == NULL ? NULL : stream;
}

static void scan_send(struct state_scan *scan, enum part_kind kind, uint64_t count,
                      struct bytes list)
{
    struct state_part *part = gather_answer_piece(scan->kv->shard, scan->gather, scan->to,
                                                  (uint32_t)(sizeof *part + list.count));
    *part = (struct state_part){.kind = kind, .count = count};
    if (list.count > 0)
        memcpy(part + 1, list.data, list.count);
}

/* True: there are no more, or too many. */
static bool scan_seqs(struct state_scan *scan, const struct stripe *stripe)
{
    uint64_t seqs[512];
    uint32_t count = 0;
    struct index_key *key;
    struct message message;
    for (uint32_t i = 0; i < SLICE_SEQS; i++) {
        bool is_there = index_seek(stripe->index, scan->cursor, &key, &message);
        if (is_there) {
            seqs[count++] = message.seq;
            scan->cursor = message.seq + 1;
        }
        if (count == COUNT_OF(seqs) || (!is_there && count > 0)) {
            scan_send(scan, PART_SEQS, count, bytes_of(seqs, count * sizeof seqs[0]));
            scan->sent += count;
            count = 0;
        }
        if (!is_there || scan->sent > SEQS_MAX)
            return true;
    }
    return false;
}

static void subjects_on_key(void *context, struct index_key *key)
{
    struct state_scan *scan = context;
    const struct stream *stream = scan_stream(scan);
    struct bytes subject = stream_subject_of(stream, index_key_bytes(key), scan->room);
    if (!subject_matches(text_bytes(&scan->filter), subject))
        return;
    struct subject_head head = {index_key_message_count(stream->stripe->index, key),
                                (uint32_t)subject.count};
    text_append(&scan->run, bytes_of(&head, sizeof head));
    text_append(&scan->run, subject);
    scan->run_count++;
}

static struct bytes subject_at(const char *at, struct subject_head *head_out)
{
    memcpy(head_out, at, sizeof *head_out);
    return bytes_of(at + sizeof *head_out, head_out->bytes);
}

static int order_compare(const void *a, const void *b)
{
    struct subject_head left, right;
    return bytes_compare(subject_at(*(const char *const *)a, &left),
                         subject_at(*(const char *const *)b, &right));
}

static void scan_send_run(struct state_scan *scan)
{
    struct subject_head head;
    const char *at = scan->run.data;
    scan->order =
        heap_resize(scan->kv->shard->heap, scan->order, scan->run_count * sizeof(const char *));
    for (uint32_t i = 0; i < scan->run_count; i++) {
        scan->order[i] = at;
        at += sizeof head + subject_at(at, &head).count;
    }
    qsort(scan->order, scan->run_count, sizeof *scan->order, order_compare);
    struct text sorted = {0};
    (void)text_reserve(&sorted, scan->run.count);
    for (uint32_t i = 0; i < scan->run_count; i++)
        text_append(&sorted, bytes_of(scan->order[i],
                                      sizeof head + subject_at(scan->order[i], &head).count));
    scan_send(scan, PART_SUBJECTS, scan->run_count, text_bytes(&sorted));
    scan->sent += sorted.count;
    text_free(&sorted);
    text_clear(&scan->run);
    scan->run_count = 0;
}

static bool scan_subjects(struct state_scan *scan, const struct stripe *stripe)
{
    bool has_more = index_scan(stripe->index, &scan->cursor, SLICE_KEYS, subjects_on_key, scan);
    if (scan->run_count > 0)
        scan_send_run(scan);
    return !has_more || scan->sent > SUBJECT_BYTES_MAX;
}

static void scan_finish(struct state_scan *scan)
{
    struct state_part part = {.kind = PART_COUNTS};
    struct stream *stream = stream_by_id(&scan->kv->streams, scan->stream_id);
    part.is_gone = stream == NULL || stream->is_closing;
    if (!part.is_gone)
        part.consumer_count = stream_consumer_count(stream);
    if (!part.is_gone && stream->follows != NULL) {
        struct text follows = {0};
        follows_append_info(&follows, stream);
        scan_send(scan, PART_FOLLOWS, 0, text_bytes(&follows));
        text_free(&follows);
    }
    if (!part.is_gone && stream->stripe != NULL) {
        const struct stripe *stripe = stream->stripe;
        struct index_key *key;
        struct message first;
        part.messages = index_message_count(stripe->index);
        part.bytes = index_size_bytes(stripe->index);
        part.subject_count = index_key_count(stripe->index);
        part.last_seq = stripe->last_seq;
        part.last_ns = stripe->last_time_ns;
        if (index_seek(stripe->index, 0, &key, &first)) {
            part.first_seq = first.seq;
            part.first_ns = first.time_ns;
        }
    }
    *(struct state_part *)gather_answer(scan->kv->shard, scan->gather, scan->to, sizeof part) =
        part;
    text_free(&scan->filter);
    text_free(&scan->run);
    heap_free(scan->order);
    heap_free(scan->room);
    heap_free(scan);
}

static void scan_run(struct state_scan *scan);

static void scan_on_again(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    gathering_flush(kv_of(shard));
    scan_run(*(struct state_scan **)payload);
}

static void scan_run(struct state_scan *scan)
{
    struct stream *stream = scan_stream(scan);
    bool is_over = stream == NULL;
    if (!is_over && scan->with_seqs) {
        scan->with_seqs = !scan_seqs(scan, stream->stripe);
        if (!scan->with_seqs)
            scan->cursor = scan->sent = 0;
    } else if (!is_over && scan->filter.count > 0) {
        is_over = scan_subjects(scan, stream->stripe);
    } else {
        is_over = true;
    }
    if (is_over)
        scan_finish(scan);
    else
        mailbox_send(scan->kv->shard, scan->kv->shard->index, scan_on_again, &scan, sizeof scan);
}

static void state_on_question(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    const struct state_question *question = payload;
    gathering_flush(kv_of(shard)); /* what came before runs before */
    struct state_scan *scan = heap_alloc_zeroed(shard->heap, sizeof *scan);
    scan->kv = kv_of(shard);
    scan->gather = question->gather;
    scan->to = from;
    scan->stream_id = question->stream_id;
    scan->with_seqs = question->with_seqs != 0;
    if (question->filter_bytes > 0) {
        text_append(&scan->filter, bytes_of(question + 1, question->filter_bytes));
        scan->room = heap_alloc(shard->heap, STREAM_KEY_ROOM);
    }
    scan_run(scan);
}

uint64_t stream_consumer_count(const struct stream *stream)
{
    uint64_t count = 0;
    const struct consumer *consumer = stream->feed == NULL ? NULL : stream->feed->consumers;
    for (; consumer != NULL; consumer = consumer_next(consumer))
        count++;
    return count;
}

/* ---- who asked: the parts ---- */

static void take_seqs(struct state_gather *gather, const uint64_t *seqs, uint64_t count)
{
    struct stream_state *state = &gather->state;
    if (state->seq_count + count > gather->seq_capacity) {
        gather->seq_capacity = 2 * (state->seq_count + count);
        state->seqs = realloc(state->seqs, gather->seq_capacity * sizeof *seqs);
    }
    memcpy(state->seqs + state->seq_count, seqs, count * sizeof *seqs);
    state->seq_count += count;
    state->is_too_much = state->is_too_much || state->seq_count > SEQS_MAX;
}

static void take_run(struct state_gather *gather, const char *data, uint64_t bytes, uint64_t count)
{
    struct heap *heap = gather->kv->shard->heap;
    gather->run_bytes += bytes;
    gather->state.is_too_much = gather->state.is_too_much || gather->run_bytes > SUBJECT_BYTES_MAX;
    if (gather->state.is_too_much)
        return;
    if (gather->run_count == gather->run_capacity) {
        gather->run_capacity = gather->run_capacity == 0 ? 16 : 2 * gather->run_capacity;
        gather->runs = heap_resize(heap, gather->runs, gather->run_capacity * sizeof *gather->runs);
    }
    struct run *run = &gather->runs[gather->run_count++];
    run->data = heap_alloc(heap, bytes);
    memcpy(run->data, data, bytes);
    run->at = run->data;
    run->left = count;
}

static void state_on_part(struct gather *gather, const void *payload, uint32_t bytes, uint32_t from)
{
    (void)from;
    struct state_gather *state_gather = CONTAINER_OF(gather, struct state_gather, gather);
    struct stream_state *state = &state_gather->state;
    const struct state_part *part = payload;
    if (part->kind == PART_SEQS) {
        take_seqs(state_gather, (const uint64_t *)(part + 1), part->count);
        return;
    }
    if (part->kind == PART_SUBJECTS) {
        take_run(state_gather, (const char *)(part + 1), bytes - sizeof *part, part->count);
        return;
    }
    if (part->kind == PART_FOLLOWS) {
        text_append(&state->follows, bytes_of(part + 1, bytes - sizeof *part));
        return;
    }
    state_gather->is_gone = state_gather->is_gone || part->is_gone != 0;
    state->messages += part->messages;
    state->bytes += part->bytes;
    state->subject_count += part->subject_count;
    state->consumer_count += part->consumer_count;
    if (part->first_seq != 0 && (state->first_seq == 0 || part->first_seq < state->first_seq)) {
        state->first_seq = part->first_seq;
        state->first_ns = part->first_ns;
    }
    if (part->last_seq > state->last_seq)
        state->last_seq = part->last_seq;
    if (part->last_ns > state->last_ns)
        state->last_ns = part->last_ns;
}

/* ---- who asked: merging ---- */

static struct bytes run_head(const struct run *run)
{
    struct subject_head head;
    return subject_at(run->at, &head);
}

static void heap_sink(struct state_gather *gather, uint32_t at)
{
    struct run *runs = gather->runs;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= gather->run_count)
            return;
        if (child + 1 < gather->run_count
            && bytes_compare(run_head(&runs[child + 1]), run_head(&runs[child])) < 0)
            child++;
        if (bytes_compare(run_head(&runs[at]), run_head(&runs[child])) <= 0)
            return;
        struct run moved = runs[at];
        runs[at] = runs[child];
        runs[child] = moved;
        at = child;
    }
}

/* The lowest subject of all runs: on the page it is written down. A key met twice in one scan counts once. */
static void merge_one(struct state_gather *gather)
{
    struct run *run = &gather->runs[0];
    struct stream_state *state = &gather->state;
    struct subject_head head;
    struct bytes subject = subject_at(run->at, &head);
    bool is_again =
        state->subjects_found > 0 && bytes_equal(subject, text_bytes(&gather->last_text));
    bool is_on_page = !is_again && state->subjects_found >= gather->offset
                      && state->subjects_found < gather->offset + STREAM_STATE_SUBJECTS;
    if (is_on_page) {
        if (state->subjects.count > 0)
            text_append_literal(&state->subjects, ",");
        text_append_json_string(&state->subjects, subject);
        text_append_format(&state->subjects, ":%u", head.messages);
    }
    state->subjects_found += !is_again;
    state->is_too_much = state->is_too_much || state->subjects.count > PAGE_BYTES_MAX;
    text_clear(&gather->last_text);
    text_append(&gather->last_text, subject);
    run->at += sizeof head + head.bytes;
    if (--run->left == 0) {
        heap_free(run->data);
        *run = gather->runs[--gather->run_count];
    }
    heap_sink(gather, 0);
}

static void state_finish(struct state_gather *gather)
{
    struct stream *stream = stream_by_id(&gather->kv->streams, gather->stream_id);
    bool is_there = stream != NULL && !stream->is_closing && !gather->is_gone;
    gather->on_done(gather->context, &gather->state, is_there);
    for (uint32_t i = 0; i < gather->run_count; i++)
        heap_free(gather->runs[i].data);
    heap_free(gather->runs);
    text_free(&gather->last_text);
    text_free(&gather->filter);
    text_free(&gather->state.subjects);
    text_free(&gather->state.follows);
    free(gather->state.seqs);
    heap_free(gather);
}

static void state_on_second_watermark(struct watermark_wait *wait)
{
    state_finish(CONTAINER_OF(wait, struct state_gather, watermark));
}

static int seq_compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

/* An empty stream goes on with the sequence its configuration begins with. */
static void state_settle(struct state_gather *gather, const struct stream *stream)
{
    struct stream_state *state = &gather->state;
    uint64_t begin = stream->config.first_seq;
    if (begin > 0 && state->last_seq < begin - 1)
        state->last_seq = begin - 1;
    if (state->first_seq == 0 && state->last_seq > 0)
        state->first_seq = state->last_seq + 1;
    uint64_t gaps = state->messages == 0 ? 0 : state->last_seq + 1 - state->first_seq;
    gaps -= gaps < state->messages ? gaps : state->messages;
    state->is_too_much = state->is_too_much || (gather->with_seqs && gaps > SEQS_MAX);
    if (state->seq_count > 1)
        qsort(state->seqs, state->seq_count, sizeof(uint64_t), seq_compare);
}

static void state_merge(struct state_gather *gather);

static void state_on_again(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    (void)bytes;
    (void)from;
    state_merge(*(struct state_gather **)payload);
}

static void state_merge(struct state_gather *gather)
{
    struct shard *shard = gather->kv->shard;
    for (uint32_t i = 0; i < SLICE_MERGED && gather->run_count > 0 && !gather->state.is_too_much;
         i++)
        merge_one(gather);
    if (gather->run_count > 0 && !gather->state.is_too_much) {
        mailbox_send(shard, shard->index, state_on_again, &gather, sizeof(struct state_gather *));
        return;
    }
    struct stream *stream = stream_by_id(&gather->kv->streams, gather->stream_id);
    if (stream == NULL || stream->is_closing) {
        state_finish(gather);
        return;
    }
    uint64_t counted = gather->state.last_seq;
    state_settle(gather, stream);
    stream_wait_watermark(stream, &gather->watermark, counted, state_on_second_watermark);
}

static void state_on_parts(struct gather *gather)
{
    struct state_gather *state_gather = CONTAINER_OF(gather, struct state_gather, gather);
    for (uint32_t i = state_gather->run_count / 2; i-- > 0;)
        heap_sink(state_gather, i);
    state_merge(state_gather);
}

static void state_ask(struct watermark_wait *wait)
{
    struct state_gather *gather = CONTAINER_OF(wait, struct state_gather, watermark);
    struct kv *kv = gather->kv;
    for (uint32_t i = 0; i < kv->shard->count; i++) {
        struct state_question *question =
            gather_ask(kv, &gather->gather, i, state_on_question,
                       (uint32_t)(sizeof *question + gather->filter.count));
        question->stream_id = gather->stream_id;
        question->filter_bytes = (uint32_t)gather->filter.count;
        question->with_seqs = gather->with_seqs;
        if (gather->filter.count > 0)
            memcpy(question + 1, gather->filter.data, gather->filter.count);
    }
}

void stream_state_gather(struct stream *stream, const struct stream_state_question *question,
                         void *context, state_done_fn *on_done)
{
    struct state_gather *gather = heap_alloc_zeroed(stream->kv->shard->heap, sizeof *gather);
    gather->kv = stream->kv;
    gather->stream_id = stream->id;
    gather->context = context;
    gather->on_done = on_done;
    gather->gather.on_part = state_on_part;
    gather->gather.on_done = state_on_parts;
    if (question != NULL) {
        gather->with_seqs = question->with_seqs;
        gather->offset = question->offset;
        text_append(&gather->filter, question->subjects_filter);
    }
    stream_wait_watermark(stream, &gather->watermark, order_last_taken(stream->order), state_ask);
}
