/*
 * kv/snapshot.c: one snapshot, from the request to the last chunk.
 *
 *    PINNING ── all stripes keep what is removed ──► reads `next`: that is W ── watermark ──►
 *    FREEZING ── each stripe knows its state at W, durable ──► the request is answered ──►
 *    WAITING ── someone subscribes to the deliver subject, or 2 s ──►
 *    SENDING ── stripes' messages, merged by sequence ─► entries ─► S2 ─► chunks ──► ENDED
 *
 * The archive is exactly the state at W: every message that was there, with its sequence and its time, and no other, whatever is put,
 * overwritten, removed or expires while it is sent (kv/pin.h). Puts go on all the time. Two removals are not ordered by a sequence:
 * a purge that has no answer yet when the snapshot begins may be in it for some stripes and not for others.
 *
 * Memory:  about a megabyte for each stripe, one block, one chunk; and the window, which waits in the receiver's connection. Nothing
 *          is read ahead of the acknowledgements.
 * Ends:    with the last chunk; when nobody subscribes any more, when acknowledgements stop for 5 s, when the stream goes, when a
 *          record can not be read (then with a status that says so: an archive without its end is no archive).
 * Owns:    itself: it is freed when it has ended and no stripe owes it an answer.
 * Runs on: the shard of the request; acknowledgements find it by the shard in their id.
 *
 * Source:  jetstream-streams.md section 5.10
 */
#include "kv/snapshot.h"

#include "core/diag.h"
#include "core/subject.h"
#include "kv/archive.h"
#include "kv/info.h"
#include "kv/s2.h"
#include "kv/snapshot_stripe.h"

enum {
    CHUNK_BYTES_DEFAULT = 128 << 10,
    CHUNK_BYTES_MIN = 1 << 10,
    CHUNK_BYTES_MAX = 1 << 20,
    WINDOW_BYTES_DEFAULT = 8 << 20,
    WINDOW_BYTES_MIN = 1 << 10,
    WINDOW_BYTES_MAX = 32 << 20,
    TURN_BYTES_MAX = 512 << 10, /* compressed in one turn; others' turn then */
    SNAPSHOTS_MAX = 16,         /* at a time, of a shard's connections */
    ID_CHARS = 22,
};

#define INTEREST_WAIT_NS UINT64_C(2000000000)
#define ACK_WAIT_NS UINT64_C(5000000000)

enum snapshot_state {
    SNAPSHOT_PINNING,
    SNAPSHOT_FREEZING,
    SNAPSHOT_WAITING,
    SNAPSHOT_SENDING,
    SNAPSHOT_ENDED
};

struct snapshot;

/* What has come of one stripe and is not merged yet. */
struct lane {
    struct gather gather;
    struct snapshot *snapshot;
    struct snapshot_name name;
    struct text entries; /* owns */
    size_t at;           /* in it */
    bool is_asked, is_done;
};

struct snapshot {
    struct snapshot *next; /* of the shard's */
    struct kv *kv;
    enum snapshot_state state;
    uint32_t stream_id, account, lane_count;
    uint64_t upto;
    uint32_t pending; /* answers that stripes owe */
    enum snapshot_answer answer;
    struct request *request; /* owns, until it is answered */
    struct gather gather;
    struct watermark_wait watermark;
    struct pin_state sum;
    struct text stream_name, deliver; /* owns */
    char id[ID_CHARS + 1];
    uint64_t chunk_bytes;
    uint64_t window_chunks, chunks_in_flight, chunk_count;
    bool had_interest, is_posted, is_merged;
    struct timer timer;
    struct text plain, out; /* owns: the archive, before and behind the compression */
    size_t plain_at, out_at;
    struct s2_table table;
    struct lane lanes[];
};

static void snapshot_pump(struct snapshot *snapshot);

/* ---- life ---- */

static const char *answer_words(enum snapshot_answer answer)
{
    switch (answer) {
    case SNAPSHOT_GONE:
        return "stream closed";
    case SNAPSHOT_DAMAGED:
        return "a message can not be read";
    case SNAPSHOT_NO_SPACE:
        return "insufficient storage resources available";
    default:
        return "failed";
    }
}

static void make_id(struct snapshot *snapshot)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint32_t index = snapshot->kv->shard->index;
    uint64_t random = 0;
    snapshot->id[0] = letters[index / 36];
    snapshot->id[1] = letters[index % 36];
    for (unsigned i = 2; i < ID_CHARS; i++) {
        if (i % 10 == 2)
            random = io_random(snapshot->kv->shard->io);
        snapshot->id[i] = letters[random % 62];
        random /= 62;
    }
}

static void snapshot_free(struct snapshot *snapshot)
{
    timer_stop(&snapshot->timer);
    for (uint32_t i = 0; i < snapshot->lane_count; i++)
        text_free(&snapshot->lanes[i].entries);
    text_free(&snapshot->stream_name);
    text_free(&snapshot->deliver);
    text_free(&snapshot->plain);
    text_free(&snapshot->out);
    heap_free(snapshot);
}

static void snapshot_free_if_ended(struct snapshot *snapshot)
{
    if (snapshot->state != SNAPSHOT_ENDED || snapshot->pending > 0 || snapshot->is_posted)
        return;
    struct snapshot **link = &snapshot->kv->snapshots;
    while (*link != snapshot)
        link = &(*link)->next;
    *link = snapshot->next;
    snapshot->kv->snapshot_count--;
    snapshot_free(snapshot);
}

/* The caller then lets the snapshot go (snapshot_free_if_ended) as the last thing it does. */
static void snapshot_end(struct snapshot *snapshot)
{
    snapshot->state = SNAPSHOT_ENDED;
    timer_stop(&snapshot->timer);
    for (uint32_t i = 0; i < snapshot->lane_count; i++)
        snapshot_tell_end(snapshot->kv, &snapshot->lanes[i].name);
}

/* Before the answer: the request is told. */
static void snapshot_refuse(struct snapshot *snapshot)
{
    struct api_failure failure;
    if (snapshot->answer == SNAPSHOT_GONE) {
        request_fail_with(snapshot->request, API_STREAM_NOT_FOUND);
    } else {
        api_fail(&failure, API_SNAPSHOT_FAILED, "%s", answer_words(snapshot->answer));
        request_fail(snapshot->request, &failure, NULL);
    }
    snapshot->request = NULL;
    snapshot_end(snapshot);
}

static void send_status(struct snapshot *snapshot, struct bytes status)
{
    struct outbox *outbox = snapshot->kv->outbox;
    struct msg msg = {.subject = text_bytes(&snapshot->deliver), .headers = status};
    outbox->deliver(outbox, snapshot->account, msg.subject, &msg);
}

/* Behind the answer: the receiver is told. */
static void snapshot_abort(struct snapshot *snapshot, struct bytes status)
{
    send_status(snapshot, status);
    snapshot_end(snapshot);
}

static void snapshot_abort_for(struct snapshot *snapshot, enum snapshot_answer answer)
{
    struct text status = {0};
    text_append_format(&status, "NATS/1.0 500 %s\r\n\r\n", answer_words(answer));
    diag_warn("snapshot_failed stream=%.*s why=\"%s\"", (int)snapshot->stream_name.count,
              snapshot->stream_name.data, answer_words(answer));
    snapshot_abort(snapshot, text_bytes(&status));
    text_free(&status);
}

/* ---- sending ---- */

static void on_ack_timeout(struct timer *timer)
{
    struct snapshot *snapshot = CONTAINER_OF(timer, struct snapshot, timer);
    if (snapshot->chunks_in_flight < snapshot->window_chunks) /* it is the disk that we wait for */
        return;
    snapshot_abort(snapshot, BYTES_LITERAL("NATS/1.0 408 No Flow Response\r\n\r\n"));
    snapshot_free_if_ended(snapshot);
}

static void send_chunk(struct snapshot *snapshot, uint64_t bytes, bool wants_ack)
{
    struct kv *kv = snapshot->kv;
    struct text reply = {0};
    struct msg msg = {
        .subject = text_bytes(&snapshot->deliver),
        .payload = bytes_of(snapshot->out.data + snapshot->out_at, bytes),
    };
    if (wants_ack) {
        snapshot->chunk_count++;
        snapshot->chunks_in_flight++;
        text_append_format(&reply, "$JS.SNAPSHOT.ACK.%.*s.%s.%llu.%llu",
                           (int)snapshot->stream_name.count, snapshot->stream_name.data,
                           snapshot->id, (unsigned long long)bytes,
                           (unsigned long long)snapshot->chunk_count);
        msg.reply = text_bytes(&reply);
        timer_start(kv->shard->timers, &snapshot->timer, shard_now_ns(kv->shard) + ACK_WAIT_NS,
                    on_ack_timeout);
    }
    kv->outbox->deliver(kv->outbox, snapshot->account, msg.subject, &msg);
    snapshot->out_at += bytes;
    if (snapshot->out_at == snapshot->out.count) {
        text_clear(&snapshot->out);
        snapshot->out_at = 0;
    }
    text_free(&reply);
}

static uint64_t out_bytes(const struct snapshot *snapshot)
{
    return snapshot->out.count - snapshot->out_at;
}

/* The lane with the smallest sequence; NULL: none has anything. *is_waiting_out: one has to be asked first, or owes its answer. */
static struct lane *first_lane(struct snapshot *snapshot, struct snapshot_entry_head *head_out,
                               bool *is_waiting_out)
{
    struct lane *first = NULL;
    *is_waiting_out = false;
    for (uint32_t i = 0; i < snapshot->lane_count; i++) {
        struct lane *lane = &snapshot->lanes[i];
        if (lane->at == lane->entries.count) {
            *is_waiting_out = *is_waiting_out || !lane->is_done;
            continue;
        }
        struct snapshot_entry_head head;
        memcpy(&head, lane->entries.data + lane->at, sizeof head);
        if (first == NULL || head.seq < head_out->seq) {
            first = lane;
            *head_out = head;
        }
    }
    return first;
}

static void lane_on_part(struct gather *gather, const void *payload, uint32_t bytes, uint32_t from)
{
    (void)from;
    struct lane *lane = CONTAINER_OF(gather, struct lane, gather);
    const struct snapshot_part *part = payload;
    if (part->answer != SNAPSHOT_FINE)
        lane->snapshot->answer = (enum snapshot_answer)part->answer;
    lane->is_done = part->count == 0;
    text_append(&lane->entries, bytes_of(part + 1, bytes - sizeof *part));
}

static void lane_on_done(struct gather *gather)
{
    struct lane *lane = CONTAINER_OF(gather, struct lane, gather);
    struct snapshot *snapshot = lane->snapshot;
    lane->is_asked = false;
    snapshot->pending--;
    snapshot_pump(snapshot);
}

static void ask_lanes(struct snapshot *snapshot)
{
    for (uint32_t i = 0; i < snapshot->lane_count; i++) {
        struct lane *lane = &snapshot->lanes[i];
        if (lane->is_asked || lane->is_done || lane->at < lane->entries.count)
            continue;
        lane->is_asked = true;
        lane->gather = (struct gather){.on_part = lane_on_part, .on_done = lane_on_done};
        snapshot->pending++;
        snapshot_ask_read(snapshot->kv, &lane->gather, &lane->name);
    }
}

/* Merges until there is a block; false: a stripe must answer first. */
static bool merge(struct snapshot *snapshot)
{
    while (!snapshot->is_merged
           && snapshot->plain.count - snapshot->plain_at < S2_WRITE_BLOCK_BYTES) {
        struct snapshot_entry_head head = {0};
        bool is_waiting;
        struct lane *lane = first_lane(snapshot, &head, &is_waiting);
        if (is_waiting) {
            ask_lanes(snapshot);
            return false;
        }
        if (lane == NULL) {
            archive_append_end(&snapshot->plain);
            snapshot->is_merged = true;
            break;
        }
        text_append(&snapshot->plain,
                    bytes_of(lane->entries.data + lane->at + sizeof head, head.bytes));
        lane->at += sizeof head + head.bytes;
        if (lane->at == lane->entries.count) {
            text_clear(&lane->entries);
            lane->at = 0;
        }
    }
    return true;
}

/* One block, or what is left behind the end. Gives its bytes. */
static uint64_t compress(struct snapshot *snapshot)
{
    struct text *plain = &snapshot->plain;
    size_t left = plain->count - snapshot->plain_at;
    size_t count = left < S2_WRITE_BLOCK_BYTES ? left : S2_WRITE_BLOCK_BYTES;
    if (count == 0)
        return 0;
    s2_append_frame(&snapshot->out, bytes_of(plain->data + snapshot->plain_at, count),
                    &snapshot->table);
    snapshot->plain_at += count;
    if (plain->count - snapshot->plain_at < S2_WRITE_BLOCK_BYTES) { /* little to move */
        plain->count -= snapshot->plain_at;
        memmove(plain->data, plain->data + snapshot->plain_at, plain->count);
        snapshot->plain_at = 0;
    }
    return count;
}

static void on_continue(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    (void)bytes;
    (void)from;
    struct snapshot *snapshot = *(struct snapshot **)payload;
    snapshot->is_posted = false;
    snapshot_pump(snapshot);
}

static void continue_later(struct snapshot *snapshot)
{
    if (snapshot->is_posted)
        return;
    snapshot->is_posted = true;
    struct shard *shard = snapshot->kv->shard;
    mailbox_send(shard, shard->index, on_continue, &snapshot, sizeof snapshot);
}

/* Everything is merged and compressed: the last chunk needs no answer. */
static void send_end(struct snapshot *snapshot)
{
    if (out_bytes(snapshot) > 0)
        send_chunk(snapshot, out_bytes(snapshot), false);
    send_status(snapshot, snapshot->chunk_count > 0 ? BYTES_LITERAL("NATS/1.0 204\r\n\r\n")
                                                    : (struct bytes){0});
    snapshot_end(snapshot);
}

static void snapshot_send(struct snapshot *snapshot)
{
    uint64_t worked = 0;
    for (;;) {
        if (snapshot->chunks_in_flight >= snapshot->window_chunks)
            return; /* an acknowledgement goes on */
        if (out_bytes(snapshot) >= snapshot->chunk_bytes) {
            send_chunk(snapshot, snapshot->chunk_bytes, true);
            continue;
        }
        if (worked >= TURN_BYTES_MAX) {
            continue_later(snapshot);
            return;
        }
        if (!merge(snapshot))
            return; /* a stripe's answer goes on */
        uint64_t count = compress(snapshot);
        worked += count;
        if (count == 0) {
            send_end(snapshot);
            return;
        }
    }
}

static void snapshot_pump(struct snapshot *snapshot)
{
    if (snapshot->state == SNAPSHOT_SENDING && snapshot->answer != SNAPSHOT_FINE)
        snapshot_abort_for(snapshot, snapshot->answer);
    if (snapshot->state == SNAPSHOT_SENDING)
        snapshot_send(snapshot);
    snapshot_free_if_ended(snapshot);
}

/* ---- the receiver ---- */

static void snapshot_begin_sending(struct snapshot *snapshot)
{
    snapshot->state = SNAPSHOT_SENDING;
    timer_stop(&snapshot->timer);
    snapshot_pump(snapshot);
}

static void on_interest_timeout(struct timer *timer)
{
    snapshot_begin_sending(CONTAINER_OF(timer, struct snapshot, timer));
}

void snapshots_on_interest(struct kv *kv, uint32_t account, struct bytes subject, bool is_present)
{
    struct snapshot *next;
    for (struct snapshot *snapshot = kv->snapshots; snapshot != NULL; snapshot = next) {
        next = snapshot->next;
        if (snapshot->account != account || !bytes_equal(text_bytes(&snapshot->deliver), subject))
            continue;
        if (snapshot->state == SNAPSHOT_WAITING && is_present) {
            snapshot->had_interest = true;
            snapshot_begin_sending(snapshot);
        } else if (snapshot->state == SNAPSHOT_SENDING && snapshot->had_interest && !is_present) {
            snapshot_abort(snapshot, BYTES_LITERAL("NATS/1.0 408 No Interest\r\n\r\n"));
            snapshot_free_if_ended(snapshot);
        }
    }
}

struct ack {
    uint32_t account;
    char id[ID_CHARS];
};

static void on_ack(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    const struct ack *ack = payload;
    struct snapshot *snapshot = kv_of(shard)->snapshots;
    while (snapshot != NULL
           && (snapshot->account != ack->account || memcmp(snapshot->id, ack->id, ID_CHARS) != 0))
        snapshot = snapshot->next;
    if (snapshot == NULL || snapshot->state != SNAPSHOT_SENDING || snapshot->chunks_in_flight == 0)
        return;
    snapshot->chunks_in_flight--;
    snapshot_pump(snapshot);
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'Z' ? c - 'A' + 10 : -1;
}

bool snapshots_on_ack(struct kv *kv, uint32_t account, struct bytes subject)
{
    struct bytes id;
    if (!subject_token(subject, 4, &id) || id.count != ID_CHARS || digit_of(id.data[0]) < 0
        || digit_of(id.data[1]) < 0)
        return false;
    uint32_t shard = (uint32_t)(digit_of(id.data[0]) * 36 + digit_of(id.data[1]));
    if (shard >= kv->shard->count)
        return false;
    struct ack *ack = mailbox_reserve(kv->shard, shard, on_ack, sizeof *ack);
    ack->account = account;
    memcpy(ack->id, id.data, ID_CHARS);
    return true;
}

/* ---- pinning and freezing ---- */

static struct stream_state state_of(const struct snapshot *snapshot)
{
    const struct pin_state *sum = &snapshot->sum;
    struct stream_state state = {
        .messages = sum->messages,
        .bytes = sum->bytes,
        .first_seq = sum->first_seq,
        .first_ns = sum->first_ns,
        .last_seq = sum->last_seq,
        .last_ns = sum->last_ns,
        .subject_count = sum->subject_count,
    };
    if (state.first_seq == 0 && state.last_seq > 0)
        state.first_seq = state.last_seq + 1;
    return state;
}

static void begin_archive(struct snapshot *snapshot)
{
    struct text json = {0};
    struct stream_state state = state_of(snapshot);
    info_append_state(&json, &state);
    s2_append_start(&snapshot->out);
    archive_append_start(&snapshot->plain);
    archive_append_entry(&snapshot->plain,
                         &(struct archive_entry){
                             .name = BYTES_LITERAL("state.json"),
                             .payload = text_bytes(&json),
                             .time_ns = (int64_t)shard_wall_ns(snapshot->kv->shard),
                         });
    text_free(&json);
}

static void snapshot_answer_request(struct snapshot *snapshot, const struct stream *stream)
{
    struct request *request = snapshot->request;
    struct stream_state state = state_of(snapshot);
    struct text *text = request_begin(request);
    text_append_literal(text, ",\"config\":");
    stream_config_append(text, &stream->config, false);
    text_append_literal(text, ",\"state\":");
    info_append_state(text, &state);
    snapshot->request = NULL;
    request_answer(request, text);
}

static void snapshot_on_frozen(struct snapshot *snapshot)
{
    struct kv *kv = snapshot->kv;
    struct stream *stream = stream_by_id(&kv->streams, snapshot->stream_id);
    if (stream == NULL || !stream->is_visible)
        snapshot->answer = SNAPSHOT_GONE;
    if (snapshot->answer != SNAPSHOT_FINE) {
        snapshot_refuse(snapshot);
        snapshot_free_if_ended(snapshot);
        return;
    }
    begin_archive(snapshot);
    snapshot_answer_request(snapshot, stream);
    snapshot->state = SNAPSHOT_WAITING;
    snapshot->had_interest = kv->outbox->has_subscription(
        kv->outbox, snapshot->account, text_bytes(&snapshot->deliver), (struct bytes){0});
    if (snapshot->had_interest)
        snapshot_begin_sending(snapshot);
    else
        timer_start(kv->shard->timers, &snapshot->timer, shard_now_ns(kv->shard) + INTEREST_WAIT_NS,
                    on_interest_timeout);
}

static void on_frozen_part(struct gather *gather, const void *payload, uint32_t bytes,
                           uint32_t from)
{
    (void)bytes;
    (void)from;
    struct snapshot *snapshot = CONTAINER_OF(gather, struct snapshot, gather);
    const struct snapshot_frozen *part = payload;
    const struct pin_state *state = &part->state;
    struct pin_state *sum = &snapshot->sum;
    if (part->answer != SNAPSHOT_FINE)
        snapshot->answer = (enum snapshot_answer)part->answer;
    sum->messages += state->messages;
    sum->bytes += state->bytes;
    sum->subject_count += state->subject_count;
    if (state->first_seq != 0 && (sum->first_seq == 0 || state->first_seq < sum->first_seq)) {
        sum->first_seq = state->first_seq;
        sum->first_ns = state->first_ns;
    }
    if (state->last_seq > sum->last_seq) {
        sum->last_seq = state->last_seq;
        sum->last_ns = state->last_ns;
    }
}

static void on_frozen_done(struct gather *gather)
{
    struct snapshot *snapshot = CONTAINER_OF(gather, struct snapshot, gather);
    snapshot->pending--;
    snapshot_on_frozen(snapshot);
}

/* Everything up to W is durable, and in its stripe. */
static void on_watermark(struct watermark_wait *wait)
{
    struct snapshot *snapshot = CONTAINER_OF(wait, struct snapshot, watermark);
    snapshot->state = SNAPSHOT_FREEZING;
    snapshot->gather = (struct gather){.on_part = on_frozen_part, .on_done = on_frozen_done};
    for (uint32_t i = 0; i < snapshot->lane_count; i++)
        snapshot_ask_freeze(snapshot->kv, &snapshot->gather, &snapshot->lanes[i].name,
                            snapshot->upto);
}

/* From now on every stripe keeps what it loses: so what is the last sequence now is a state that can be had. */
static void on_pinned_done(struct gather *gather)
{
    struct snapshot *snapshot = CONTAINER_OF(gather, struct snapshot, gather);
    struct stream *stream = stream_by_id(&snapshot->kv->streams, snapshot->stream_id);
    if (stream == NULL || !stream->is_visible || snapshot->answer != SNAPSHOT_FINE) {
        snapshot->pending--;
        snapshot->answer = SNAPSHOT_GONE;
        snapshot_refuse(snapshot);
        snapshot_free_if_ended(snapshot);
        return;
    }
    snapshot->upto = order_last_taken(stream->order);
    stream_wait_watermark(stream, &snapshot->watermark, snapshot->upto, on_watermark);
}

/* ---- the request ---- */

static uint64_t clamp(int64_t wanted, uint64_t fallback, uint64_t least, uint64_t most)
{
    if (wanted == 0)
        return fallback;
    uint64_t value = wanted < 0 ? 0 : (uint64_t)wanted;
    return value < least ? least : value > most ? most : value;
}

static void snapshot_begin(struct request *request, struct stream *stream, struct bytes deliver,
                           int64_t chunk, int64_t window)
{
    struct kv *kv = request->kv;
    struct snapshot *snapshot = heap_alloc_zeroed(
        kv->shard->heap, sizeof *snapshot + stream->stripe_count * sizeof *snapshot->lanes);
    snapshot->kv = kv;
    snapshot->request = request;
    snapshot->stream_id = stream->id;
    snapshot->account = stream->account;
    snapshot->lane_count = stream->stripe_count;
    text_append(&snapshot->stream_name, text_bytes(&stream->config.name));
    text_append(&snapshot->deliver, deliver);
    snapshot->chunk_bytes = clamp(chunk, CHUNK_BYTES_DEFAULT, CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
    snapshot->window_chunks =
        clamp(window, WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
        / snapshot->chunk_bytes;
    if (snapshot->window_chunks == 0)
        snapshot->window_chunks = 1;
    make_id(snapshot);
    uint64_t number = ++kv->snapshot_number;
    kv->snapshot_count++;
    snapshot->next = kv->snapshots;
    kv->snapshots = snapshot;
    snapshot->pending = 1; /* of pinning, then of freezing: one gather after the other */
    snapshot->gather = (struct gather){.on_part = on_frozen_part, .on_done = on_pinned_done};
    for (uint32_t i = 0; i < snapshot->lane_count; i++) {
        snapshot->lanes[i].snapshot = snapshot;
        snapshot->lanes[i].name =
            (struct snapshot_name){stream->id, stripe_shard(stream, i), number};
        snapshot_ask_pin(kv, &snapshot->gather, &snapshot->lanes[i].name);
    }
}

void snapshot_stream(struct request *request)
{
    static const char *const known[] = {"deliver_subject", "no_consumers", "chunk_size",
                                        "window_size",     "jsck",         NULL};
    struct bytes deliver = {0};
    bool no_consumers = false, is_checked = false;
    int64_t chunk = 0, window = 0;
    if (request->payload.count == 0) {
        request_fail_with(request, API_BAD_REQUEST);
        return;
    }
    struct stream *stream = request_stream(request);
    if (stream == NULL || !request_parse(request, false) || !request_members_known(request, known)
        || !request_member_text(request, "deliver_subject", &deliver)
        || !request_member_bool(request, "no_consumers", &no_consumers)
        || !request_member_i64(request, "chunk_size", &chunk)
        || !request_member_i64(request, "window_size", &window)
        || !request_member_bool(request, "jsck",
                                &is_checked)) /* every record is checked as it is read */
        return;
    if (!subject_is_valid(deliver) || !subject_is_literal(deliver)) {
        request_fail_with(request, API_SNAPSHOT_DELIVER_SUBJECT);
        return;
    }
    if (request->kv->snapshot_count >= SNAPSHOTS_MAX) {
        struct api_failure failure;
        api_fail(&failure, API_SNAPSHOT_FAILED, "too many snapshots at a time");
        request_fail(request, &failure, NULL);
        return;
    }
    snapshot_begin(request, stream, deliver, chunk, window);
}

void snapshots_fini(struct kv *kv)
{
    while (kv->snapshots != NULL) {
        struct snapshot *snapshot = kv->snapshots;
        kv->snapshots = snapshot->next;
        if (snapshot->request != NULL)
            request_end(snapshot->request);
        snapshot_free(snapshot);
    }
}
