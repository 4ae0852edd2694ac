/*
 * bench/watcher.c: one ordered push consumer, from its creation to its end. See watcher.h.
 *
 * Source: nats.go 1.55, KeyValue.Watch; nats-server answers. A delivery's reply subject is
 *         $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
 */
#include "bench/watcher.h"

#include <stdio.h>

enum { SID_INBOX = 1, SID_FIRST = 2 };

static size_t watcher_on_bytes(struct link *link, char *data, size_t count);
static void watcher_on_closed(struct link *link, const char *reason);
static void on_delivery(struct watcher *watcher, const struct frame *frame);
static void on_status(struct watcher *watcher, const struct frame *frame);
static void on_answer(struct watcher *watcher, const struct frame *frame);
static void finish_replay(struct watcher *watcher);
static bool ack_fields(struct watcher *watcher, struct text reply, uint64_t fields[5]);

void watcher_open(struct watcher *watcher, struct worker *worker, watcher_msg_fn *on_msg,
                  watcher_replayed_fn *on_replayed)
{
    struct session session;
    session_open(&session, worker->options);
    *watcher = (struct watcher){
        .worker = worker, .on_msg = on_msg, .on_replayed = on_replayed, .sid = SID_FIRST - 1};
    memcpy(watcher->inbox, session.inbox, sizeof(watcher->inbox));
    link_open(&watcher->link, &worker->loop, session.socket, session.input + session.input_at,
              session.input_count - session.input_at, watcher_on_bytes, watcher_on_closed);
    session.socket = -1;
    session_close(&session);
}

void watcher_create(struct watcher *watcher, const char *deliver_policy, bool headers_only)
{
    const char *bucket = watcher->worker->options->bucket;
    watcher->sid++;
    watcher->state = WATCHER_CREATING;
    watcher->consumer_seq = watcher->stream_seq = watcher->replayed = 0;
    watcher->replay_count = UINT64_MAX;
    snprintf(watcher->name, sizeof(watcher->name), "%.8s%u", watcher->inbox + 7, watcher->sid);
    watcher->ack_head_count = (size_t)snprintf(watcher->ack_head, sizeof(watcher->ack_head),
                                               "$JS.ACK.KV_%s.%s.", bucket, watcher->name);

    char body[1024];
    int body_count =
        snprintf(body, sizeof(body),
                 "{\"stream_name\":\"KV_%s\",\"config\":{\"deliver_policy\":\"%s\","
                 "\"ack_policy\":\"none\",\"ack_wait\":79200000000000,\"max_deliver\":1,"
                 "\"filter_subject\":\"$KV.%s.\\u003e\",\"replay_policy\":\"instant\","
                 "\"flow_control\":true,\"idle_heartbeat\":5000000000,%s"
                 "\"deliver_subject\":\"_INBOX.%s\",\"num_replicas\":1,\"mem_storage\":true}}",
                 bucket, deliver_policy, bucket, headers_only ? "\"headers_only\":true," : "",
                 watcher->name);
    char line[2048];
    int count = snprintf(line, sizeof(line),
                         "SUB _INBOX.%s %u\r\n"
                         "PUB $JS.API.CONSUMER.CREATE.KV_%s.%s.$KV.%s.> %screate %d\r\n%s\r\n",
                         watcher->name, watcher->sid, bucket, watcher->name, bucket, watcher->inbox,
                         body_count, body);
    link_write(&watcher->link, line, (size_t)count);
}

void watcher_delete(struct watcher *watcher)
{
    char line[512];
    int count = snprintf(
        line, sizeof(line), "UNSUB %u\r\nPUB $JS.API.CONSUMER.DELETE.KV_%s.%s %sdelete 0\r\n\r\n",
        watcher->sid, watcher->worker->options->bucket, watcher->name, watcher->inbox);
    link_write(&watcher->link, line, (size_t)count);
    watcher->state = WATCHER_IDLE;
    watcher->is_deleting = true;
}

void watcher_close(struct watcher *watcher)
{
    link_close(&watcher->link);
}

static size_t watcher_on_bytes(struct link *link, char *data, size_t count)
{
    struct watcher *watcher = (struct watcher *)link;
    size_t used = 0;
    while (used < count) {
        struct frame frame;
        frame_cut(&frame, data + used, count - used);
        if (frame.kind == FRAME_PARTIAL)
            break;
        if (frame.kind == FRAME_MSG && frame.sid == SID_INBOX) {
            on_answer(watcher, &frame);
        } else if (frame.kind == FRAME_MSG) {
            if (frame.sid == watcher->sid && watcher->state != WATCHER_IDLE)
                on_delivery(watcher, &frame);
        } else if (frame.kind == FRAME_PING) {
            link_write(link, "PONG\r\n", 6);
        } else if (frame.kind == FRAME_ERROR || frame.kind == FRAME_BROKEN) {
            worker_error(watcher->worker, "%s: %.*s",
                         frame.kind == FRAME_ERROR ? "server error" : "not NATS",
                         (int)frame.payload.count, frame.payload.data);
            if (frame.kind == FRAME_BROKEN)
                return count;
        }
        used += frame.total_count;
    }
    return used;
}

static void watcher_on_closed(struct link *link, const char *reason)
{
    struct watcher *watcher = (struct watcher *)link;
    worker_error(watcher->worker, "a watcher's connection was lost: %s", reason);
    watcher->worker->is_broken = true;
}

static void on_delivery(struct watcher *watcher, const struct frame *frame)
{
    uint64_t fields[5]; /* delivered, stream seq, consumer seq, time, pending */
    if (!ack_fields(watcher, frame->reply, fields)) {
        on_status(watcher, frame);
        return;
    }
    if (fields[2] != watcher->consumer_seq + 1 || fields[1] <= watcher->stream_seq)
        worker_error(watcher->worker,
                     "a delivery out of order: consumer seq %llu after %llu, stream seq %llu "
                     "after %llu",
                     (unsigned long long)fields[2], (unsigned long long)watcher->consumer_seq,
                     (unsigned long long)fields[1], (unsigned long long)watcher->stream_seq);
    watcher->consumer_seq = fields[2];
    watcher->stream_seq = fields[1];
    watcher->replayed++;
    watcher->on_msg(watcher, frame, fields[1]);
    if (watcher->state == WATCHER_REPLAYING
        && (fields[4] == 0 || watcher->replayed >= watcher->replay_count))
        finish_replay(watcher);
}

/* Heartbeats and flow control; both may ask for an empty answer. */
static void on_status(struct watcher *watcher, const struct frame *frame)
{
    struct text target = {0};
    if (header_status(frame->headers) == 100 && text_contains(frame->headers, "FlowControl")) {
        target = frame->reply;
    } else if (header_status(frame->headers) == 100) {
        uint64_t last;
        size_t digits;
        if (!read_number(header_find(frame->headers, "Nats-Last-Consumer"), &last, &digits)
            || last != watcher->consumer_seq)
            worker_error(watcher->worker, "a heartbeat at consumer seq %llu, not %.*s",
                         (unsigned long long)watcher->consumer_seq, (int)frame->headers.count,
                         frame->headers.data);
        target = header_find(frame->headers, "Nats-Consumer-Stalled");
    } else {
        worker_error(watcher->worker, "a delivery with reply \"%.*s\" and headers %.*s",
                     (int)frame->reply.count, frame->reply.data, (int)frame->headers.count,
                     frame->headers.data);
    }
    if (target.count == 0)
        return;
    char *out = link_reserve(&watcher->link, target.count + 16);
    memcpy(out, "PUB ", 4);
    memcpy(out + 4, target.data, target.count);
    memcpy(out + 4 + target.count, " 0\r\n\r\n", 6);
    link_commit(&watcher->link, target.count + 10);
}

static void on_answer(struct watcher *watcher, const struct frame *frame)
{
    struct text token = {frame->subject.data + INBOX_BYTES, frame->subject.count - INBOX_BYTES};
    if (text_equals(token, "delete", 6)) {
        watcher->is_deleting = false;
        if (!text_contains(frame->payload, "\"success\":true"))
            worker_error(watcher->worker, "consumer delete: %.*s%.*s", (int)frame->headers.count,
                         frame->headers.data, (int)frame->payload.count, frame->payload.data);
        return;
    }
    uint64_t pending;
    uint64_t delivered = 0;
    if (header_status(frame->headers) != 0 || text_contains(frame->payload, "\"error\"")
        || !json_number(frame->payload, "\"num_pending\"", &pending)) {
        worker_error(watcher->worker, "consumer create: %.*s%.*s", (int)frame->headers.count,
                     frame->headers.data, (int)frame->payload.count, frame->payload.data);
        watcher->worker->is_broken = true;
        return;
    }
    (void)json_number(frame->payload, "\"delivered\":{\"consumer_seq\"", &delivered);
    watcher->replay_count = pending + delivered;
    watcher->state = WATCHER_REPLAYING;
    if (watcher->replayed >= watcher->replay_count)
        finish_replay(watcher);
}

static void finish_replay(struct watcher *watcher)
{
    watcher->state = WATCHER_LIVE;
    watcher->on_replayed(watcher);
}

static bool ack_fields(struct watcher *watcher, struct text reply, uint64_t fields[5])
{
    if (!text_starts(reply, watcher->ack_head, watcher->ack_head_count))
        return false;
    struct text rest = {reply.data + watcher->ack_head_count,
                        reply.count - watcher->ack_head_count};
    for (int index = 0; index < 5; index++) {
        size_t digits;
        if (!read_number(rest, &fields[index], &digits))
            return false;
        bool ends_right =
            index == 4 ? digits == rest.count : digits < rest.count && rest.data[digits] == '.';
        if (!ends_right)
            return false;
        rest.data += digits + 1;
        rest.count -= index == 4 ? digits : digits + 1;
    }
    return true;
}
