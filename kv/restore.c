/*
 * kv/restore.c: one restore: chunks of an archive come in, messages go to the stripes of a stream that nobody sees.
 *
 *    chunk ─► S2 ─► entries ─► a block for each stripe ─► durable          each chunk is answered when it is used up
 *    empty chunk ─► all blocks durable, the last sequence noted ─► the catalog shows the stream ─► answer
 *
 * The stages of an archive:  STATE ── state.json ──► CONSUMERS ── as many as it says ──► MESSAGES ── the end ──► COMPLETE
 *
 * Keeps:   what is shown in the end has the archive's sequences, times, gaps and last sequence, and all of it is durable. What fails,
 *          stalls for 5 s, or is cut by a crash leaves no stream: until the catalog's record is durable there is none.
 *          Nothing in an archive is trusted: lengths, names, sequences and times are checked before they are used.
 * Memory:  one chunk of each connection that sends them (which is not read before its chunk is used up), a block of S2, an entry, and two
 *          blocks a stripe: one being filled, one on its way.
 * Owns:    itself; freed when it has ended and no stripe owes it an answer.
 * Runs on: the home shard; chunks are sent there by the shards of their connections.
 *
 * Source:  jetstream-streams.md section 5.11
 */
#include "kv/restore.h"

#include "core/diag.h"
#include "core/subject.h"
#include "kv/archive.h"
#include "kv/catalog_restore.h"
#include "kv/restore_stripe.h"
#include "kv/s2.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    ID_CHARS = 22,
    BLOCK_BYTES = 1 << 20,    /* of a lane; a larger message has one of its own */
    TURN_BYTES_MAX = 1 << 20, /* of entries taken in one turn; others' turn then */
};

#define STALL_NS UINT64_C(5000000000)

enum restore_stage {
    RESTORE_STATE,
    RESTORE_CONSUMERS,
    RESTORE_MESSAGES,
    RESTORE_COMPLETE,
    RESTORE_NOTING,
    RESTORE_ENDED
};

enum restore_progress { PROGRESS_WAIT, PROGRESS_USED_UP, PROGRESS_FAILED };

struct restore;

struct chunk {
    struct chunk *next;
    uint32_t from;
    struct origin origin;
    uint32_t reply_bytes, data_bytes;
    char bytes[]; /* reply, data */
};

struct lane {
    struct gather gather;
    struct restore *restore;
    struct text block; /* owns; being filled */
    bool is_asked;
};

struct restore {
    struct restore *next;
    struct kv *kv;
    uint32_t stream_id, account, lane_count;
    enum restore_stage stage;
    char id[ID_CHARS];
    struct text stream_name;
    struct text why;            /* owns: it has failed, and nobody was told yet */
    struct chunk *head, **tail; /* owns; the first is being used up */
    bool is_fed;                /* its bytes are the S2 reader's */
    bool is_posted, has_entry;
    uint32_t pending; /* answers that stripes owe */
    struct s2_reader s2;
    struct archive_reader archive;
    struct archive_entry entry; /* that waits for room */
    uint64_t consumers_left, consumers_skipped, seq, last_seq, last_ns;
    struct gather gather;
    struct timer timer;
    struct lane *lanes; /* owns */
};

static void restore_pump(struct restore *restore);

/* ---- life ---- */

static void restore_free(struct restore *restore)
{
    timer_stop(&restore->timer);
    for (uint32_t i = 0; i < restore->lane_count; i++)
        text_free(&restore->lanes[i].block);
    while (restore->head != NULL) {
        struct chunk *chunk = restore->head;
        restore->head = chunk->next;
        heap_free(chunk);
    }
    s2_reader_free(&restore->s2);
    archive_reader_free(&restore->archive);
    text_free(&restore->stream_name);
    text_free(&restore->why);
    heap_free(restore->lanes);
    heap_free(restore);
}

static void restore_free_if_ended(struct restore *restore)
{
    if (restore->stage != RESTORE_ENDED || restore->pending > 0 || restore->is_posted)
        return;
    struct restore **link = &restore->kv->restores;
    while (*link != restore)
        link = &(*link)->next;
    *link = restore->next;
    restore->kv->restore_count--;
    restore_free(restore);
}

static struct stream *stream_of(const struct restore *restore)
{
    return stream_by_id(&restore->kv->streams, restore->stream_id);
}

/* ---- answers to chunks ---- */

static void on_resume(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct kv *kv = kv_of(shard);
    kv->outbox->resume(kv->outbox, payload);
}

static void resume_conn(struct kv *kv, const struct chunk *chunk)
{
    mailbox_send(kv->shard, chunk->from, on_resume, &chunk->origin, sizeof chunk->origin);
}

static void answer_chunk(struct kv *kv, const struct chunk *chunk, struct bytes headers,
                         struct bytes payload)
{
    struct msg msg = {
        .subject = bytes_of(chunk->bytes, chunk->reply_bytes),
        .headers = headers,
        .payload = payload,
    };
    if (msg.subject.count > 0)
        kv->outbox->deliver(kv->outbox, chunk->origin.account, msg.subject, &msg);
}

static void pop_chunk(struct restore *restore)
{
    struct chunk *chunk = restore->head;
    resume_conn(restore->kv, chunk);
    restore->head = chunk->next;
    if (restore->head == NULL)
        restore->tail = &restore->head;
    restore->is_fed = false;
    heap_free(chunk);
}

static void answer_failure(struct restore *restore)
{
    struct api_failure failure;
    struct text json = {0};
    api_fail(&failure, API_RESTORE_FAILED, "%.*s", (int)restore->why.count, restore->why.data);
    text_append_literal(&json, "{\"type\":\"io.nats.jetstream.api.v1.stream_create_response\","
                               "\"error\":");
    api_error_append(&json, &failure);
    text_append_literal(&json, "}");
    answer_chunk(restore->kv, restore->head, (struct bytes){0}, text_bytes(&json));
    text_free(&json);
}

/* The stream goes, with all that was entered. */
static void restore_abandon(struct restore *restore)
{
    if (restore->stream_id != 0)
        catalog_restore_end(restore->kv, restore->stream_id, (struct bytes){0}, false);
    restore->stage = RESTORE_ENDED;
    timer_stop(&restore->timer);
    while (restore->head != NULL)
        pop_chunk(restore);
}

/* ---- why not ---- */

static enum restore_progress fail(struct restore *restore, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static enum restore_progress fail(struct restore *restore, const char *format, ...)
{
    char why[128];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    text_clear(&restore->why);
    text_append_literal(&restore->why, why);
    return PROGRESS_FAILED;
}

static enum restore_progress fail_status(struct restore *restore, enum status status)
{
    return fail(restore, "%s",
                status == STATUS_NO_SPACE ? "insufficient storage resources available (10047)"
                                          : status_words(status));
}

/* ---- entries ---- */

static bool member_u64(const struct json *object, const char *name, uint64_t *number_out)
{
    const struct json *value = json_member(object, name);
    *number_out = 0;
    return value == NULL || json_type(value) == JSON_NULL || json_u64(value, number_out);
}

/* As nats-server checks it. */
static const char *state_wrong(uint64_t messages, uint64_t first, uint64_t last)
{
    if (last > ORDER_SEQ_MAX || first > ORDER_SEQ_MAX)
        return "pail keeps sequences up to 2^55";
    bool is_empty_range = first == 0 ? last == 0 : first - 1 == last;
    if (first == 0 || first > last)
        return is_empty_range && messages == 0
                   ? NULL
                   : "invalid stream state: inconsistent message count or sequence range";
    return messages > last - first + 1
               ? "invalid stream state: message count exceeds sequence range"
               : NULL;
}

static enum restore_progress take_state(struct restore *restore, const struct archive_entry *entry)
{
    const char *why = "invalid JSON";
    struct bytes rest;
    uint64_t messages, first;
    if (entry->seq != 0 || !bytes_equal(entry->name, BYTES_LITERAL("state.json")))
        return fail(restore, "expected state.json first");
    struct json *json = json_parse(entry->payload, &rest, &why);
    if (json == NULL || json_type(json) != JSON_OBJECT) {
        json_free(json);
        return fail(restore, "error in state.json: %s", why);
    }
    const struct json *last_ts = json_member(json, "last_ts");
    bool is_fine = member_u64(json, "messages", &messages) && member_u64(json, "first_seq", &first)
                   && member_u64(json, "last_seq", &restore->last_seq)
                   && member_u64(json, "consumer_count", &restore->consumers_left);
    if (last_ts != NULL && json_type(last_ts) == JSON_STRING)
        (void)text_parse_time(json_string(last_ts), &restore->last_ns);
    json_free(json);
    if (!is_fine)
        return fail(restore, "error in state.json: invalid number");
    why = state_wrong(messages, first, restore->last_seq);
    if (why != NULL)
        return fail(restore, "%s", why);
    restore->seq = first == 0 ? 0 : first - 1;
    restore->stage = restore->consumers_left > 0 ? RESTORE_CONSUMERS : RESTORE_MESSAGES;
    return PROGRESS_USED_UP;
}

static enum restore_progress take_consumer(struct restore *restore,
                                           const struct archive_entry *entry)
{
    if (entry->seq != 0 || !bytes_start_with(entry->name, BYTES_LITERAL("consumers/")))
        return fail(restore, "expected consumer");
    restore->consumers_skipped++;
    if (--restore->consumers_left == 0)
        restore->stage = RESTORE_MESSAGES;
    return PROGRESS_USED_UP;
}

static bool headers_are_fine(struct bytes headers)
{
    return headers.count == 0
           || (headers.count >= 12 && bytes_start_with(headers, BYTES_LITERAL("NATS/1.0"))
               && memcmp(headers.data + headers.count - 4, "\r\n\r\n", 4) == 0);
}

static const char *message_wrong(const struct restore *restore, const struct stream *stream,
                                 const struct archive_entry *entry)
{
    int64_t size_max = stream->config.message_size_max;
    if (entry->seq <= restore->seq)
        return "out of order";
    if (entry->seq > ORDER_SEQ_MAX)
        return "above 2^55";
    if (size_max >= 0 && entry->headers.count + entry->payload.count > (uint64_t)size_max)
        return "exceeds maximum message size";
    if (entry->headers.count > RECORD_HEADERS_BYTES_MAX
        || entry->name.count >= RECORD_KEY_BYTES_MAX)
        return "has more than 65534 bytes of headers or subject";
    if (!headers_are_fine(entry->headers))
        return "has headers that are none";
    if (!subject_is_valid(entry->name) || !subject_is_literal(entry->name)
        || memchr(entry->name.data, '\0', entry->name.count) != NULL)
        return "has no valid subject";
    if (stream->prefix.count > 0 && !bytes_start_with(entry->name, stream->prefix))
        return "is not of this bucket";
    return entry->time_ns < 0 ? "is from before 1970" : NULL;
}

/* ---- lanes ---- */

static void lane_on_part(struct gather *gather, const void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct restore *restore = CONTAINER_OF(gather, struct lane, gather)->restore;
    enum status status = (enum status) * (const uint64_t *)payload;
    if (status != STATUS_OK && restore->why.count == 0)
        (void)fail_status(restore, status);
}

static void lane_on_done(struct gather *gather)
{
    struct lane *lane = CONTAINER_OF(gather, struct lane, gather);
    lane->is_asked = false;
    lane->restore->pending--;
    restore_pump(lane->restore);
}

static void lane_send(struct restore *restore, uint32_t index)
{
    struct lane *lane = &restore->lanes[index];
    ASSERT(!lane->is_asked);
    if (lane->block.count == 0)
        return;
    lane->is_asked = true;
    restore->pending++;
    lane->gather = (struct gather){.on_part = lane_on_part, .on_done = lane_on_done};
    restore_ask_block(stream_of(restore), &lane->gather, index, text_bytes(&lane->block));
    text_clear(&lane->block);
}

static void lane_append(struct lane *lane, const struct archive_entry *entry)
{
    struct restore_message head = {
        .seq = entry->seq,
        .time_ns = (uint64_t)entry->time_ns,
        .subject_bytes = (uint32_t)entry->name.count,
        .headers_bytes = (uint32_t)entry->headers.count,
        .value_bytes = (uint32_t)entry->payload.count,
    };
    text_append(&lane->block, bytes_of(&head, sizeof head));
    text_append(&lane->block, entry->name);
    text_append(&lane->block, entry->headers);
    text_append(&lane->block, entry->payload);
}

/* PROGRESS_WAIT: its lane is full; the entry stays where it is until that lane's answer. */
static enum restore_progress take_message(struct restore *restore,
                                          const struct archive_entry *entry)
{
    struct stream *stream = stream_of(restore);
    if (archive_entry_is_end(entry)) {
        restore->stage = RESTORE_COMPLETE;
        return PROGRESS_USED_UP;
    }
    if (entry->seq == 0)
        return fail(restore, "expected message sequence");
    const char *why = message_wrong(restore, stream, entry);
    if (why != NULL)
        return fail(restore, "message sequence %llu %s", (unsigned long long)entry->seq, why);
    char room[STREAM_KEY_ROOM];
    uint32_t index = stripe_of_key(stream->stripe_count, stream_key_of(stream, entry->name, room));
    struct lane *lane = &restore->lanes[index];
    size_t bytes = entry->name.count + entry->headers.count + entry->payload.count;
    if (lane->block.count > 0 && lane->block.count + bytes > BLOCK_BYTES) {
        if (lane->is_asked)
            return PROGRESS_WAIT;
        lane_send(restore, index);
    }
    lane_append(lane, entry);
    restore->seq = entry->seq;
    return PROGRESS_USED_UP;
}

static enum restore_progress take_entry(struct restore *restore, const struct archive_entry *entry)
{
    switch (restore->stage) {
    case RESTORE_STATE:
        return take_state(restore, entry);
    case RESTORE_CONSUMERS:
        return take_consumer(restore, entry);
    case RESTORE_MESSAGES:
        return take_message(restore, entry);
    default:
        return PROGRESS_USED_UP;
    }
}

/* ---- using up a chunk ---- */

static void on_continue(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    (void)bytes;
    (void)from;
    struct restore *restore = *(struct restore **)payload;
    restore->is_posted = false;
    restore_pump(restore);
}

static void continue_later(struct restore *restore)
{
    struct shard *shard = restore->kv->shard;
    if (restore->is_posted)
        return;
    restore->is_posted = true;
    mailbox_send(shard, shard->index, on_continue, &restore, sizeof restore);
}

/* The next plain bytes, which may be many more than the chunk has: *worked counts them. */
static enum restore_progress feed_archive(struct restore *restore, uint64_t *worked)
{
    struct bytes plain;
    switch (s2_reader_next(&restore->s2, &plain)) {
    case S2_CORRUPT:
        return fail(restore, "%s", restore->s2.why);
    case S2_MORE:
        return PROGRESS_USED_UP;
    case S2_BLOCK:
        break;
    }
    *worked += plain.count;
    archive_reader_feed(&restore->archive, plain);
    return PROGRESS_WAIT;
}

static enum restore_progress use_chunk(struct restore *restore)
{
    uint64_t worked = 0;
    struct chunk *chunk = restore->head;
    if (!restore->is_fed) {
        restore->is_fed = true;
        s2_reader_feed(&restore->s2,
                       bytes_of(chunk->bytes + chunk->reply_bytes, chunk->data_bytes));
    }
    while (restore->stage != RESTORE_COMPLETE) { /* what follows the end is nobody's */
        if (restore->has_entry) {
            enum restore_progress progress = take_entry(restore, &restore->entry);
            if (progress != PROGRESS_USED_UP)
                return progress;
            restore->has_entry = false;
        }
        if (worked >= TURN_BYTES_MAX) {
            continue_later(restore);
            return PROGRESS_WAIT;
        }
        switch (archive_reader_next(&restore->archive, &restore->entry)) {
        case ARCHIVE_WRONG:
            return fail(restore, "%s", restore->archive.why);
        case ARCHIVE_ENTRY:
            restore->has_entry = true;
            continue;
        case ARCHIVE_MORE:
            break;
        }
        enum restore_progress progress = feed_archive(restore, &worked);
        if (progress != PROGRESS_WAIT)
            return progress;
    }
    return PROGRESS_USED_UP;
}

/* ---- the end ---- */

static void last_on_part(struct gather *gather, const void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct restore *restore = CONTAINER_OF(gather, struct restore, gather);
    enum status status = (enum status) * (const uint64_t *)payload;
    if (status != STATUS_OK)
        (void)fail_status(restore, status);
}

/* Sequences go on behind the last one. */
static void continue_order(struct stream *stream, uint64_t next)
{
    uint64_t now = shared_load_seq_cst(&stream->order->next);
    while (now < next && !shared_swap_if(&stream->order->next, now, next))
        now = shared_load_seq_cst(&stream->order->next);
}

static void restore_show(struct restore *restore)
{
    struct chunk *chunk = restore->head;
    continue_order(stream_of(restore), restore->last_seq + 1);
    if (restore->consumers_skipped > 0)
        diag_warn("restore_without_consumers stream=%.*s count=%llu",
                  (int)restore->stream_name.count, restore->stream_name.data,
                  (unsigned long long)restore->consumers_skipped);
    catalog_restore_end(restore->kv, restore->stream_id, bytes_of(chunk->bytes, chunk->reply_bytes),
                        true);
    restore->stage = RESTORE_ENDED;
    timer_stop(&restore->timer);
    while (restore->head != NULL)
        pop_chunk(restore);
}

static void last_on_done(struct gather *gather)
{
    struct restore *restore = CONTAINER_OF(gather, struct restore, gather);
    restore->pending--;
    if (restore->why.count == 0)
        restore_show(restore);
    restore_pump(restore);
}

/* The client says that it has sent all. */
static enum restore_progress finish(struct restore *restore)
{
    struct stream *stream = stream_of(restore);
    if (restore->stage == RESTORE_NOTING)
        return PROGRESS_WAIT;
    if (restore->stage != RESTORE_COMPLETE)
        return fail(restore, restore->stage == RESTORE_MESSAGES ? "EOF" : "unexpected EOF");
    for (uint32_t i = 0; i < restore->lane_count; i++) {
        if (!restore->lanes[i].is_asked)
            lane_send(restore, i);
    }
    if (restore->pending > 0)
        return PROGRESS_WAIT;
    if (restore->seq > restore->last_seq)
        restore->last_seq = restore->seq;
    restore->stage = RESTORE_NOTING;
    if (restore->last_seq == 0) {
        restore_show(restore);
        return PROGRESS_WAIT;
    }
    restore->pending++;
    restore->gather = (struct gather){.on_part = last_on_part, .on_done = last_on_done};
    restore_ask_last(stream, &restore->gather, restore->last_seq, restore->last_ns);
    return PROGRESS_WAIT;
}

/* ---- the pump ---- */

static void on_stall(struct timer *timer)
{
    struct restore *restore = CONTAINER_OF(timer, struct restore, timer);
    if (restore->head != NULL) /* it is the disk that we wait for */
        return;
    restore_abandon(restore);
    restore_free_if_ended(restore);
}

static void await_chunk(struct restore *restore)
{
    struct shard *shard = restore->kv->shard;
    timer_start(shard->timers, &restore->timer, shard_now_ns(shard) + STALL_NS, on_stall);
}

static enum restore_progress pump_chunk(struct restore *restore)
{
    if (restore->why.count > 0)
        return PROGRESS_FAILED;
    if (restore->head->reply_bytes == 0)
        return fail(restore, "a chunk needs a reply subject");
    return restore->head->data_bytes == 0 ? finish(restore) : use_chunk(restore);
}

static void restore_pump(struct restore *restore)
{
    while (restore->stage != RESTORE_ENDED && restore->head != NULL && !restore->is_posted) {
        enum restore_progress progress = pump_chunk(restore);
        if (progress == PROGRESS_WAIT)
            break;
        if (progress == PROGRESS_FAILED) {
            answer_failure(restore);
            restore_abandon(restore);
        } else {
            answer_chunk(restore->kv, restore->head, (struct bytes){0}, (struct bytes){0});
            pop_chunk(restore);
            await_chunk(restore);
        }
    }
    restore_free_if_ended(restore);
}

/* ---- chunks ---- */

struct chunk_message { /* reply, then data */
    struct origin origin;
    uint32_t reply_bytes, data_bytes;
    char id[ID_CHARS];
};

static void refuse_chunk(struct kv *kv, const struct chunk *chunk)
{
    answer_chunk(kv, chunk, BYTES_LITERAL("NATS/1.0 503\r\n\r\n"), (struct bytes){0});
    resume_conn(kv, chunk);
}

static void on_chunk(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct kv *kv = kv_of(shard);
    const struct chunk_message *message = payload;
    uint32_t text_bytes_count = message->reply_bytes + message->data_bytes;
    struct chunk *chunk = heap_alloc(shard->heap, sizeof *chunk + text_bytes_count);
    *chunk = (struct chunk){
        .from = from,
        .origin = message->origin,
        .reply_bytes = message->reply_bytes,
        .data_bytes = message->data_bytes,
    };
    if (text_bytes_count > 0)
        memcpy(chunk->bytes, message + 1, text_bytes_count);
    struct restore *restore = kv->restores;
    while (restore != NULL
           && (restore->account != message->origin.account || restore->stage == RESTORE_ENDED
               || memcmp(restore->id, message->id, ID_CHARS) != 0))
        restore = restore->next;
    if (restore == NULL) {
        refuse_chunk(kv, chunk);
        heap_free(chunk);
        return;
    }
    *restore->tail = chunk;
    restore->tail = &chunk->next;
    restore_pump(restore);
}

enum kv_take restores_on_chunk(struct kv *kv, const struct origin *origin, const struct msg *msg)
{
    struct bytes id;
    if (subject_token_count(msg->subject) != 5 || !subject_token(msg->subject, 4, &id)
        || id.count != ID_CHARS)
        return KV_NONE;
    struct chunk_message *message =
        mailbox_reserve(kv->shard, KV_HOME_SHARD, on_chunk,
                        (uint32_t)(sizeof *message + msg->reply.count + msg->payload.count));
    *message = (struct chunk_message){
        .origin = *origin,
        .reply_bytes = (uint32_t)msg->reply.count,
        .data_bytes = (uint32_t)msg->payload.count,
    };
    memcpy(message->id, id.data, ID_CHARS);
    char *at = (char *)(message + 1);
    if (msg->reply.count > 0)
        memcpy(at, msg->reply.data, msg->reply.count);
    if (msg->payload.count > 0)
        memcpy(at + msg->reply.count, msg->payload.data, msg->payload.count);
    return KV_TAKEN_WAIT;
}

/* ---- the beginning ---- */

static void make_id(struct restore *restore)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t random = 0;
    for (unsigned i = 0; i < ID_CHARS; i++) {
        if (i % 10 == 0)
            random = io_random(restore->kv->shard->io);
        restore->id[i] = letters[random % 62];
        random /= 62;
    }
}

void restore_begin(struct kv *kv, struct request *request, uint32_t stream_id, const char *why)
{
    struct restore *restore = heap_alloc_zeroed(kv->shard->heap, sizeof *restore);
    restore->kv = kv;
    restore->stream_id = stream_id;
    restore->account = request->origin.account;
    restore->tail = &restore->head;
    restore->archive.bytes_max = kv_world_options(kv->world)->payload_bytes_max;
    text_append(&restore->stream_name, text_bytes(&request->stream_name));
    if (why != NULL)
        text_append_literal(&restore->why, why);
    struct stream *stream = stream_of(restore);
    restore->lane_count = stream == NULL ? 0 : stream->stripe_count;
    restore->lanes =
        heap_alloc_zeroed(kv->shard->heap, (restore->lane_count + 1) * sizeof *restore->lanes);
    for (uint32_t i = 0; i < restore->lane_count; i++)
        restore->lanes[i].restore = restore;
    make_id(restore);
    restore->next = kv->restores;
    kv->restores = restore;
    kv->restore_count++;
    await_chunk(restore);
    struct text *text = request_begin(request);
    text_append_format(text, ",\"deliver_subject\":\"$JS.SNAPSHOT.RESTORE.%.*s.%.*s\"",
                       (int)restore->stream_name.count, restore->stream_name.data, ID_CHARS,
                       restore->id);
    request_answer(request, text);
}

void restores_fini(struct kv *kv)
{
    while (kv->restores != NULL) {
        struct restore *restore = kv->restores;
        kv->restores = restore->next;
        restore_free(restore);
    }
}
