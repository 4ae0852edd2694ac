/*
 * kv/sweep.c: the way of a batch: one moment of the stream, read in windows, sent in order of sequence.
 *
 *     WAITING ─► HOLDING ─► SETTLING ─► [CEILING] ─► COUNTING ─► SENDING ─► ENDING
 *        (too many      all stripes     W covers      up_to_time    the answer's    windows of all     every question
 *         sweeps)       keep what goes  what was                    counts          stripes, merged    is answered
 *                       from now on     given out
 *
 * The moment: every stripe first holds (kv/hold.h), then `next` is read, and W reaches it; so whatever has a sequence up to that is
 * durable and in its stripe, or is kept by the hold, or was gone before. The answer shows exactly that, however long it takes.
 *
 * Keeps:   at most a window of each stripe in memory; no message is sent while the connection has OUTBOX_SOFT_BYTES queued. A sweep
 *          that its reader, or the holds, keep too long ends early, with an EOB that says what is left.
 * Owns:    kv->sweeps. Runs on: the shard of the connection that asked.
 */
#include "kv/sweep.h"

#include "core/subject.h"
#include "kv/found.h"
#include "kv/sweep_agent.h"

#define SWEEP_TIME_NS UINT64_C(30000000000)
enum { SWEEPS_MAX = 256, BURST_COUNT = 256, BYTES_DEFAULT = 64 << 20 };

enum sweep_state {
    SWEEP_WAITING,
    SWEEP_HOLDING,
    SWEEP_SETTLING,
    SWEEP_CEILING,
    SWEEP_COUNTING,
    SWEEP_SENDING,
    SWEEP_ENDING,
};

/* One stripe of it. */
struct sweep_part {
    struct gather gather;
    struct sweep *sweep;
    struct sweep_agent *agent; /* NULL: no stripe there */
    uint32_t shard;
    bool is_asking;
    uint64_t cursor; /* what comes next is not below this */
    char *window;    /* owns; NULL: used up */
    char *at;        /* the next message in it */
    uint32_t count;  /* messages from there on */
};

struct sweep {
    struct sweep *next, **link; /* kv->sweeps, oldest first */
    struct kv *kv;
    struct origin origin;
    struct text reply, patterns; /* own; patterns as struct sweep_hold has them */
    enum sweep_state state;
    enum sweep_kind kind;
    uint32_t stream_id, pattern_count;
    bool no_headers, is_paused, is_broken;
    bool is_again; /* it goes on in the next turn */
    int64_t batch; /* messages at most; 0: all */
    uint64_t bytes_max;
    uint64_t from_seq, from_time_ns, upto, upto_told, up_to_time_ns;
    bool has_up_to_time;
    struct gather gather;
    struct watermark_wait watermark;
    struct timer timer;
    uint64_t first_seq, found_seq; /* of SWEEP_CEILING */
    uint64_t total, pending;       /* matches; those not sent */
    uint64_t sent, sent_bytes, last_seq;
    uint32_t part_count;
    struct sweep_part parts[];
};

static void sweep_start(struct sweep *sweep);
static void sweep_step(struct sweep *sweep);
static void sweep_finish(struct sweep *sweep);

/* ---- life ---- */

static void append_pattern(struct sweep *sweep, struct bytes pattern)
{
    uint32_t bytes = (uint32_t)pattern.count;
    text_append(&sweep->patterns, bytes_of(&bytes, sizeof bytes));
    text_append(&sweep->patterns, pattern);
    sweep->pattern_count++;
}

static void read_patterns(struct sweep *sweep, const struct get_body *body)
{
    if (body->multi_last == NULL) {
        if (body->next_by_subject.count > 0)
            append_pattern(sweep, body->next_by_subject);
        return;
    }
    for (const struct json *item = json_first(body->multi_last); item != NULL;
         item = json_next(item))
        append_pattern(sweep, json_string(item));
}

static struct sweep *sweep_create(struct stream *stream, const struct get_body *body)
{
    struct kv *kv = stream->kv;
    bool is_multi = body->multi_last != NULL;
    uint32_t first = 0, count = stream->stripe_count;
    struct bytes subject = body->next_by_subject;
    if (!is_multi && subject.count > 0 && subject.count < RECORD_KEY_BYTES_MAX
        && subject_is_literal(subject)) {
        char room[STREAM_KEY_ROOM];
        first = stripe_of_key(count, stream_key_of(stream, subject, room));
        count = 1;
    }
    struct sweep *sweep =
        heap_alloc_zeroed(kv->shard->heap, sizeof *sweep + count * sizeof(struct sweep_part));
    sweep->kv = kv;
    sweep->kind = is_multi ? SWEEP_LAST : SWEEP_EVERY;
    sweep->stream_id = stream->id;
    sweep->no_headers = body->no_headers && !is_multi;
    sweep->batch = is_multi && body->batch < 0 ? 0 : body->batch;
    sweep->bytes_max = body->max_bytes == 0  ? BYTES_DEFAULT
                       : body->max_bytes < 0 ? 0
                                             : (uint64_t)body->max_bytes;
    sweep->from_seq = body->seq;
    sweep->from_time_ns = is_multi ? 0 : body->start_time_ns;
    sweep->upto_told = is_multi ? body->up_to_seq : 0;
    sweep->has_up_to_time = is_multi && body->has_up_to_time;
    sweep->up_to_time_ns = body->up_to_time_ns;
    sweep->part_count = count;
    for (uint32_t i = 0; i < count; i++) {
        sweep->parts[i].sweep = sweep;
        sweep->parts[i].shard = stripe_shard(stream, first + i);
    }
    read_patterns(sweep, body);
    return sweep;
}

void sweep_begin(struct stream *stream, const struct origin *origin, struct bytes reply,
                 const struct get_body *body)
{
    struct sweep *sweep = sweep_create(stream, body);
    struct kv *kv = stream->kv;
    sweep->origin = *origin;
    text_append(&sweep->reply, reply);
    sweep->link = kv->sweep_tail == NULL ? &kv->sweeps : kv->sweep_tail;
    *sweep->link = sweep;
    kv->sweep_tail = &sweep->next;
    if (kv->sweep_count++ < SWEEPS_MAX)
        sweep_start(sweep);
}

static void sweep_unlink(struct sweep *sweep)
{
    struct kv *kv = sweep->kv;
    *sweep->link = sweep->next;
    if (sweep->next != NULL)
        sweep->next->link = sweep->link;
    else
        kv->sweep_tail = sweep->link;
    kv->sweep_count--;
}

static void sweep_free(struct sweep *sweep)
{
    sweep_unlink(sweep);
    timer_stop(&sweep->timer);
    for (uint32_t i = 0; i < sweep->part_count; i++)
        heap_free(sweep->parts[i].window);
    text_free(&sweep->reply);
    text_free(&sweep->patterns);
    heap_free(sweep);
}

void sweeps_fini(struct kv *kv)
{
    while (kv->sweeps != NULL)
        sweep_free(kv->sweeps);
    sweep_agents_fini(kv);
}

/* Another one may begin. */
static void sweep_start_next(struct kv *kv)
{
    struct sweep *sweep = kv->sweeps;
    while (sweep != NULL && sweep->state != SWEEP_WAITING)
        sweep = sweep->next;
    if (sweep != NULL)
        sweep_start(sweep);
}

/* No question is open: the agents go, and the sweep. */
static void sweep_close(struct sweep *sweep)
{
    struct kv *kv = sweep->kv;
    for (uint32_t i = 0; i < sweep->part_count; i++) {
        struct sweep_part *part = &sweep->parts[i];
        if (part->agent != NULL)
            mailbox_send(kv->shard, part->shard, sweep_agent_on_end, &part->agent,
                         sizeof part->agent);
    }
    sweep_free(sweep);
    sweep_start_next(kv);
}

/* ---- asking the stripes ---- */

/* on_part gets what each agent answers; with no agent at all on_done is not called: the sweep ends. */
static void
sweep_ask(struct sweep *sweep, mailbox_handler_fn *handler, const void *question, uint32_t bytes,
          void (*on_part)(struct gather *gather, const void *part, uint32_t bytes, uint32_t from),
          void (*on_done)(struct gather *gather))
{
    sweep->gather = (struct gather){.on_part = on_part, .on_done = on_done};
    for (uint32_t i = 0; i < sweep->part_count; i++) {
        struct sweep_part *part = &sweep->parts[i];
        if (part->agent == NULL)
            continue;
        struct sweep_count *out =
            gather_ask(sweep->kv, &sweep->gather, part->shard, handler, bytes);
        memcpy(out, question, bytes);
        out->gather = &sweep->gather;
        out->agent = part->agent;
    }
    if (sweep->gather.waiting == 0)
        sweep_finish(sweep);
}
_Static_assert(offsetof(struct sweep_count, agent) == offsetof(struct sweep_ceiling, agent),
               "sweep_ask fills both in");

static void sweep_on_count(struct gather *gather, const void *payload, uint32_t bytes,
                           uint32_t from)
{
    (void)bytes;
    (void)from;
    struct sweep *sweep = CONTAINER_OF(gather, struct sweep, gather);
    const struct sweep_count_answer *answer = payload;
    sweep->total += answer->total;
    sweep->pending += answer->count;
}

static void sweep_on_counted(struct gather *gather)
{
    struct sweep *sweep = CONTAINER_OF(gather, struct sweep, gather);
    sweep->state = SWEEP_SENDING;
    sweep_step(sweep);
}

static void sweep_count(struct sweep *sweep)
{
    struct sweep_count question = {.upto = sweep->upto};
    sweep->state = SWEEP_COUNTING;
    sweep_ask(sweep, sweep_agent_on_count, &question, sizeof question, sweep_on_count,
              sweep_on_counted);
}

static void sweep_on_ceiling(struct gather *gather, const void *payload, uint32_t bytes,
                             uint32_t from)
{
    (void)bytes;
    (void)from;
    struct sweep *sweep = CONTAINER_OF(gather, struct sweep, gather);
    const struct sweep_ceiling_answer *answer = payload;
    if (answer->first_seq > 0 && (sweep->first_seq == 0 || answer->first_seq < sweep->first_seq))
        sweep->first_seq = answer->first_seq;
    if (answer->found_seq > 0 && (sweep->found_seq == 0 || answer->found_seq < sweep->found_seq))
        sweep->found_seq = answer->found_seq;
}

/* The ceiling is what came before the time: nothing, if even the first message did not. */
static void sweep_on_ceilings(struct gather *gather)
{
    struct sweep *sweep = CONTAINER_OF(gather, struct sweep, gather);
    if (sweep->first_seq == 0 || sweep->found_seq == sweep->first_seq) {
        sweep_finish(sweep);
        return;
    }
    if (sweep->found_seq > 0)
        sweep->upto = sweep->found_seq - 1;
    sweep->upto_told = sweep->upto;
    sweep_count(sweep);
}

static void sweep_on_watermark(struct watermark_wait *wait)
{
    struct sweep *sweep = CONTAINER_OF(wait, struct sweep, watermark);
    if (!sweep->has_up_to_time) {
        if (sweep->upto_told == 0)
            sweep->upto_told = sweep->upto;
        else if (sweep->upto_told < sweep->upto)
            sweep->upto = sweep->upto_told;
        sweep_count(sweep);
        return;
    }
    struct sweep_ceiling question = {.time_ns = sweep->up_to_time_ns, .upto = sweep->upto};
    sweep->state = SWEEP_CEILING;
    sweep_ask(sweep, sweep_agent_on_ceiling, &question, sizeof question, sweep_on_ceiling,
              sweep_on_ceilings);
}

static void sweep_on_hold(struct gather *gather, const void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct sweep *sweep = CONTAINER_OF(gather, struct sweep, gather);
    const struct sweep_hold_answer *answer = payload;
    for (uint32_t i = 0; i < sweep->part_count; i++)
        if (sweep->parts[i].shard == from)
            sweep->parts[i].agent = answer->agent;
}

static void sweep_on_held(struct gather *gather)
{
    struct sweep *sweep = CONTAINER_OF(gather, struct sweep, gather);
    struct stream *stream = stream_by_id(&sweep->kv->streams, sweep->stream_id);
    if (stream == NULL || stream->is_closing) {
        sweep_finish(sweep);
        return;
    }
    sweep->state = SWEEP_SETTLING;
    sweep->upto = order_last_taken(stream->order);
    stream_wait_watermark(stream, &sweep->watermark, sweep->upto, sweep_on_watermark);
}

static void sweep_on_time(struct timer *timer)
{
    struct sweep *sweep = CONTAINER_OF(timer, struct sweep, timer);
    sweep->is_broken = true;
    if (sweep->state == SWEEP_SENDING)
        sweep_step(sweep);
}

static void sweep_start(struct sweep *sweep)
{
    struct kv *kv = sweep->kv;
    uint32_t bytes = (uint32_t)(sizeof(struct sweep_hold) + sweep->patterns.count);
    sweep->state = SWEEP_HOLDING;
    sweep->gather = (struct gather){.on_part = sweep_on_hold, .on_done = sweep_on_held};
    for (uint32_t i = 0; i < sweep->part_count; i++) {
        struct sweep_hold *question =
            gather_ask(kv, &sweep->gather, sweep->parts[i].shard, sweep_agent_on_hold, bytes);
        *question = (struct sweep_hold){
            .gather = &sweep->gather,
            .stream_id = sweep->stream_id,
            .kind = sweep->kind,
            .pattern_count = sweep->pattern_count,
            .from_seq = sweep->from_seq,
            .from_time_ns = sweep->from_time_ns,
        };
        if (sweep->patterns.count > 0)
            memcpy(question + 1, sweep->patterns.data, sweep->patterns.count);
    }
    timer_start(kv->shard->timers, &sweep->timer, shard_now_ns(kv->shard) + SWEEP_TIME_NS,
                sweep_on_time);
}

/* ---- windows ---- */

static void part_on_window(struct gather *gather, const void *payload, uint32_t bytes,
                           uint32_t from)
{
    (void)from;
    struct sweep_part *part = CONTAINER_OF(gather, struct sweep_part, gather);
    const struct sweep_next_answer *answer = payload;
    part->cursor = answer->cursor;
    part->sweep->is_broken = part->sweep->is_broken || answer->is_broken != 0;
    if (answer->count == 0)
        return;
    part->window = heap_alloc_aligned(part->sweep->kv->shard->heap, bytes - sizeof *answer, 16);
    memcpy(part->window, answer + 1, bytes - sizeof *answer);
    part->at = part->window;
    part->count = answer->count;
}

static void part_on_windows(struct gather *gather)
{
    struct sweep_part *part = CONTAINER_OF(gather, struct sweep_part, gather);
    part->is_asking = false;
    sweep_step(part->sweep);
}

static void part_ask(struct sweep_part *part)
{
    struct sweep *sweep = part->sweep;
    uint64_t wanted = SWEEP_WINDOW_MAX;
    if (sweep->batch > 0 && (uint64_t)sweep->batch - sweep->sent < wanted)
        wanted = (uint64_t)sweep->batch - sweep->sent;
    part->is_asking = true;
    part->gather = (struct gather){.on_part = part_on_window, .on_done = part_on_windows};
    struct sweep_next *question =
        gather_ask(sweep->kv, &part->gather, part->shard, sweep_agent_on_next, sizeof *question);
    question->agent = part->agent;
    question->count = wanted;
}

static const struct sweep_message *part_head(const struct sweep_part *part)
{
    return part->count == 0 ? NULL : (const struct sweep_message *)part->at;
}

static void part_advance(struct sweep_part *part)
{
    const struct sweep_message *message = part_head(part);
    part->at += sweep_padded(sizeof *message + message->subject_bytes + message->headers_bytes
                             + message->value_bytes);
    if (--part->count > 0)
        return;
    heap_free(part->window);
    part->window = NULL;
}

/* The part with the lowest message; NULL while one of them may still have a lower one, or when all are at their end. */
static struct sweep_part *sweep_lowest(struct sweep *sweep, bool *is_over_out)
{
    struct sweep_part *lowest = NULL;
    bool is_waiting = false;
    for (uint32_t i = 0; i < sweep->part_count; i++) {
        struct sweep_part *part = &sweep->parts[i];
        if (part->agent == NULL)
            continue;
        if (part->count == 0 && part->cursor != UINT64_MAX) {
            is_waiting = true;
            if (!part->is_asking)
                part_ask(part);
        }
        if (part->count > 0 && (lowest == NULL || part_head(part)->seq < part_head(lowest)->seq))
            lowest = part;
    }
    *is_over_out = !is_waiting && lowest == NULL;
    return is_waiting ? NULL : lowest;
}

/* ---- sending ---- */

static void sweep_status(struct sweep *sweep, const char *block)
{
    direct_status(sweep->kv, &sweep->origin, text_bytes(&sweep->reply), block);
}

static void sweep_send_end(struct sweep *sweep)
{
    struct text *text = &sweep->kv->scratch;
    text_clear(text);
    text_append_format(text,
                       "NATS/1.0 204 EOB\r\nNats-Num-Pending: %llu\r\nNats-Last-Sequence: %llu\r\n",
                       (unsigned long long)sweep->pending, (unsigned long long)sweep->last_seq);
    if (sweep->kind == SWEEP_LAST)
        text_append_format(text, "Nats-UpTo-Sequence: %llu\r\n",
                           (unsigned long long)sweep->upto_told);
    text_append_literal(text, "\r\n");
    struct msg msg = {.subject = text_bytes(&sweep->reply), .headers = text_bytes(text)};
    sweep->kv->outbox->answer(sweep->kv->outbox, &sweep->origin, &msg);
}

/* The answer's end; then what is still asked is waited for. */
static void sweep_end(struct sweep *sweep)
{
    if (sweep->kind == SWEEP_LAST && sweep->total > SWEEP_RESULTS_MAX)
        sweep_status(sweep, "NATS/1.0 413 Too Many Results\r\n\r\n");
    else if (sweep->kind == SWEEP_LAST && sweep->total == 0)
        sweep_status(sweep, "NATS/1.0 404 No Results\r\n\r\n");
    else if (sweep->kind == SWEEP_EVERY && sweep->batch > 0 && sweep->sent == 0
             && !sweep->is_broken)
        sweep_status(sweep, "NATS/1.0 404 Message Not Found\r\n\r\n");
    else
        sweep_send_end(sweep);
    sweep->state = SWEEP_ENDING;
}

static bool sweep_is_done(struct sweep *sweep)
{
    return (sweep->batch != 0 && (int64_t)sweep->sent >= sweep->batch)
           || (sweep->sent > 0 && sweep->sent_bytes >= sweep->bytes_max)
           || (sweep->kind == SWEEP_LAST && sweep->total > SWEEP_RESULTS_MAX) || sweep->is_broken;
}

static void sweep_send(struct sweep *sweep, struct stream *stream, struct sweep_part *part)
{
    const struct sweep_message *message = part_head(part);
    const char *at = (const char *)(message + 1);
    struct found found = {
        .subject = bytes_of(at, message->subject_bytes),
        .headers = bytes_of(at + message->subject_bytes, message->headers_bytes),
        .value =
            bytes_of(at + message->subject_bytes + message->headers_bytes, message->value_bytes),
        .seq = message->seq,
        .time_ns = message->time_ns,
    };
    if (!sweep->no_headers && sweep->pending > 0)
        sweep->pending--;
    struct found_place place = {sweep->pending, sweep->last_seq};
    direct_found(stream, &sweep->origin, text_bytes(&sweep->reply), &found, &place,
                 sweep->no_headers);
    sweep->sent++;
    sweep->sent_bytes += found.subject.count + found.headers.count + found.value.count;
    sweep->last_seq = found.seq;
    part_advance(part);
}

static bool sweep_may_send(struct sweep *sweep)
{
    struct outbox *outbox = sweep->kv->outbox;
    uint64_t queued = outbox->backlog_bytes(outbox, &sweep->origin);
    sweep->is_broken = sweep->is_broken || queued == UINT64_MAX; /* it is gone */
    sweep->is_paused = queued > OUTBOX_SOFT_BYTES;
    return !sweep->is_paused;
}

static void sweep_on_again(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    (void)bytes;
    (void)from;
    struct sweep *sweep = *(struct sweep **)payload;
    sweep->is_again = false;
    sweep_step(sweep);
}

/* Others' turn. */
static void sweep_go_on_later(struct sweep *sweep)
{
    struct shard *shard = sweep->kv->shard;
    if (!sweep->is_again)
        mailbox_send(shard, shard->index, sweep_on_again, &sweep, sizeof(struct sweep *));
    sweep->is_again = true;
}

/* Sends what can be sent; true: the answer is complete, or can not go on. */
static bool sweep_send_burst(struct sweep *sweep, struct stream *stream)
{
    for (uint32_t i = 0; i < BURST_COUNT; i++) {
        bool is_over;
        if (sweep_is_done(sweep))
            return true;
        if (!sweep_may_send(sweep))
            return sweep->is_broken;
        struct sweep_part *part = sweep_lowest(sweep, &is_over);
        if (part == NULL)
            return is_over;
        if (part_head(part)->is_damaged) {
            sweep_status(sweep, "NATS/1.0 500 Message Damaged\r\n\r\n");
            sweep->state = SWEEP_ENDING;
            return false;
        }
        sweep_send(sweep, stream, part);
    }
    sweep_go_on_later(sweep);
    return false;
}

static bool sweep_is_asking(const struct sweep *sweep)
{
    for (uint32_t i = 0; i < sweep->part_count; i++)
        if (sweep->parts[i].is_asking)
            return true;
    return sweep->gather.waiting > 0 || sweep->is_again;
}

static void sweep_finish(struct sweep *sweep)
{
    sweep_end(sweep);
    sweep_step(sweep);
}

static void sweep_step(struct sweep *sweep)
{
    struct stream *stream = stream_by_id(&sweep->kv->streams, sweep->stream_id);
    if (sweep->state == SWEEP_SENDING) {
        if (stream == NULL || sweep_send_burst(sweep, stream))
            sweep_end(sweep);
    }
    if (sweep->state == SWEEP_ENDING && !sweep_is_asking(sweep))
        sweep_close(sweep);
}

void sweeps_on_room(struct kv *kv)
{
    for (struct sweep *sweep = kv->sweeps, *next; sweep != NULL; sweep = next) {
        next = sweep->next;
        if (sweep->is_paused && sweep->state == SWEEP_SENDING)
            sweep_step(sweep);
    }
}
