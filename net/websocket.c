/*
 * net/websocket.c: a client that comes by WebSocket: a byte stream under the parser.
 *
 *     recv ──► handshake, then frames ──► conn_take: as if it had come without frames
 *     output ──► one binary frame a send, behind the control frames that are due ──► send
 *
 *     HANDSHAKE ──101──► OPEN ──close of either side: conn_close──► the output, a close frame, the end
 *         └──4xx, too late──► REFUSED: the answer, the end
 *
 * Keeps:   one send in flight a connection. Memory a connection: its handshake (bounded), one pong, one close frame.
 * Owns:    struct websocket, until the connection is freed.
 * Runs on: the connection's shard; websocket_listen on shard 0.
 */
#include "net/websocket.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/assert.h"
#include "core/diag.h"
#include "net/dispatch.h"
#include "net/server.h"

enum { REQUEST_BYTES_MAX = 16384, CLOSE_TEXT_BYTES_MAX = FRAME_CONTROL_BYTES_MAX - 2 };

static void take_request(struct conn *conn, struct bytes input);
static void take_frames(struct conn *conn, struct bytes input);
static void on_handshake_timer(struct timer *timer);
static void append_control(struct text *text, enum frame_opcode opcode, struct bytes payload);
static void set_close(struct websocket *websocket, unsigned code, const char *words);
static unsigned close_code(enum conn_reason reason);

void websocket_begin(struct conn *conn, bool is_refused)
{
    struct net *net = conn->net;
    conn->websocket = heap_alloc_zeroed(net->shard->heap, sizeof(*conn->websocket));
    conn->websocket->is_refused = is_refused;
    timer_start(net->shard->timers, &conn->ping_timer,
                shard_now_ns(net->shard) + net->server->options->websocket_handshake_ns,
                on_handshake_timer);
}

void websocket_free(struct conn *conn)
{
    struct websocket *websocket = conn->websocket;
    if (websocket == NULL)
        return;
    text_free(&websocket->request);
    text_free(&websocket->pending);
    text_free(&websocket->sending);
    heap_free(websocket);
    conn->websocket = NULL;
}

static void on_handshake_timer(struct timer *timer)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, ping_timer);
    conn->websocket->state = WEBSOCKET_REFUSED;
    conn_cut(conn, CONN_REASON_READ);
}

/* ---- input ---- */

void websocket_take(struct conn *conn, struct bytes input)
{
    switch (conn->websocket->state) {
    case WEBSOCKET_HANDSHAKE:
        take_request(conn, input);
        return;
    case WEBSOCKET_OPEN:
        take_frames(conn, input);
        return;
    case WEBSOCKET_REFUSED:
        return;
    }
}

static void take_request(struct conn *conn, struct bytes input)
{
    struct websocket *websocket = conn->websocket;
    struct net *net = conn->net;
    text_append(&websocket->request, input);
    enum handshake_result result =
        handshake_read(text_bytes(&websocket->request), net->server->options, &websocket->pending,
                       &websocket->reader.is_mask_optional);
    if (result == HANDSHAKE_NEEDS_MORE && websocket->request.count <= REQUEST_BYTES_MAX)
        return;
    text_free(&websocket->request);
    timer_stop(&conn->ping_timer);
    if (result != HANDSHAKE_GOOD) {
        websocket->state = WEBSOCKET_REFUSED;
        conn_close(conn, CONN_REASON_CLIENT);
        return;
    }
    websocket->state = WEBSOCKET_OPEN;
    conn_greet(conn, websocket->is_refused);
}

static void take_frames(struct conn *conn, struct bytes input)
{
    struct websocket *websocket = conn->websocket;
    char scratch[IO_RECV_BYTES_MAX];
    while (conn->state == CONN_OPEN) {
        struct bytes out = {NULL, 0};
        switch (frame_next(&websocket->reader, &input, scratch, sizeof(scratch), &out)) {
        case FRAME_NEEDS_MORE:
            return;
        case FRAME_DATA:
            conn_take(conn, out);
            break;
        case FRAME_PING:
            memcpy(websocket->pong, out.data, out.count);
            websocket->pong_count = (uint8_t)out.count;
            websocket->is_pong_due = true;
            conn_touch(conn);
            break;
        case FRAME_PONG:
            break;
        case FRAME_CLOSE: /* answered with the same */
            memcpy(websocket->close, out.data, out.count);
            websocket->close_count = (uint8_t)out.count;
            if (out.count < 2)
                set_close(websocket, 1000, "");
            conn_close(conn, CONN_REASON_CLIENT);
            break;
        case FRAME_BAD:
            set_close(websocket, 1002, websocket->reader.why);
            conn_close(conn, CONN_REASON_PROTOCOL);
            break;
        }
    }
}

/* ---- output ---- */

static bool wants_close(const struct conn *conn)
{
    const struct websocket *websocket = conn->websocket;
    return conn->state == CONN_FLUSHING && websocket->state == WEBSOCKET_OPEN
           && !websocket->is_close_sent;
}

bool websocket_has_pending(const struct conn *conn)
{
    const struct websocket *websocket = conn->websocket;
    return websocket->pending.count > 0 || websocket->is_pong_due || wants_close(conn);
}

void websocket_send(struct conn *conn, op_done_fn *on_done)
{
    struct websocket *websocket = conn->websocket;
    struct net *net = conn->net;
    struct text *sending = &websocket->sending;
    uint64_t data_bytes = output_next_bytes(&conn->output);
    ASSERT(sending->count == 0);
    text_append(sending, text_bytes(&websocket->pending));
    text_free(&websocket->pending);
    if (websocket->is_pong_due)
        append_control(sending, FRAME_OPCODE_PONG,
                       bytes_of(websocket->pong, websocket->pong_count));
    websocket->is_pong_due = false;
    if (data_bytes > 0) {
        char head[FRAME_HEAD_BYTES_MAX];
        text_append(sending, bytes_of(head, frame_head(head, FRAME_BINARY, data_bytes)));
    } else if (wants_close(conn)) {
        if (websocket->close_count == 0)
            set_close(websocket, close_code(conn->reason), conn_reason_words(conn->reason));
        append_control(sending, FRAME_OPCODE_CLOSE,
                       bytes_of(websocket->close, websocket->close_count));
        websocket->is_close_sent = true;
    }
    output_send_behind(&conn->output, &net->pool, net->shard->io, &conn->send, conn->socket,
                       text_bytes(sending), on_done);
}

uint64_t websocket_sent(struct conn *conn)
{
    uint64_t bytes = conn->websocket->sending.count;
    text_free(&conn->websocket->sending);
    return bytes;
}

static void append_control(struct text *text, enum frame_opcode opcode, struct bytes payload)
{
    char head[FRAME_HEAD_BYTES_MAX];
    text_append(text, bytes_of(head, frame_head(head, opcode, payload.count)));
    text_append(text, payload);
}

static void set_close(struct websocket *websocket, unsigned code, const char *words)
{
    size_t count = strlen(words);
    if (count > CLOSE_TEXT_BYTES_MAX)
        count = CLOSE_TEXT_BYTES_MAX;
    websocket->close[0] = (char)(code >> 8);
    websocket->close[1] = (char)(code & 0xff);
    memcpy(websocket->close + 2, words, count);
    websocket->close_count = (uint8_t)(2 + count);
}

/* Source: core-protocol.md section 16.3. */
static unsigned close_code(enum conn_reason reason)
{
    switch (reason) {
    case CONN_REASON_CLIENT:
        return 1000;
    case CONN_REASON_SHUTDOWN:
    case CONN_REASON_STALE:
    case CONN_REASON_READ:
    case CONN_REASON_WRITE:
    case CONN_REASON_SLOW_WRITE:
        return 1001;
    case CONN_REASON_PROTOCOL:
    case CONN_REASON_PARSE:
    case CONN_REASON_PROTOCOL_VERSION:
        return 1002;
    case CONN_REASON_PAYLOAD:
        return 1009;
    case CONN_REASON_NO_RESPONDERS:
        return 1011;
    default: /* a limit, or who it is */
        return 1008;
    }
}
