/*
 * net/input.c: what a connection receives, from the kernel's buffer to the operations.
 *
 *     recv ──► [WebSocket frames] ──► [stash, while held] ──► parser ──► dispatch
 *
 * Keeps:   operations of one connection take effect in the order received. Whoever must wait (kv, a PONG, an unread output)
 *          holds the connection's input: what comes meanwhile is stashed, and above STASH_BYTES_SOFT nothing more is received,
 *          so that TCP stops the peer.
 * Owns:    the stash; an idle connection has none.
 * Runs on: the connection's shard.
 */
#include <errno.h>

#include "core/assert.h"
#include "net/authority.h"
#include "net/conn.h"
#include "net/dispatch.h"
#include "net/websocket.h"

enum { STASH_BYTES_SOFT = 65536, STALL_BYTES = 65536 };

static void on_stall_timer(struct timer *timer);
static void on_recv_done(struct op *op);
static void on_recv_end(struct conn *conn, int32_t result);
static struct bytes consume(struct conn *conn, struct bytes input);
static void end_if_all_consumed(struct conn *conn);
static void stash_append(struct conn *conn, struct bytes bytes);
static void stash_free(struct conn *conn);
static void fail(struct conn *conn, enum parser_failure failure);

void conn_start_input(struct conn *conn)
{
    ASSERT(conn->state == CONN_OPEN);
    ASSERT(!conn->is_receiving);
    conn->is_receiving = true;
    conn->is_cancelling = false;
    io_recv(conn->net->shard->io, &conn->recv, conn->socket, on_recv_done);
}

void conn_pause(struct conn *conn, enum conn_pause why)
{
    conn->pauses |= (uint8_t)why;
}

/* The rest goes on in the next input phase: whoever calls may stand deep inside kv. */
void conn_unpause(struct conn *conn, enum conn_pause why)
{
    bool was_held = conn->pauses != 0;
    conn->pauses &= (uint8_t) ~(unsigned)why;
    if (was_held && conn->pauses == 0 && conn->state == CONN_OPEN)
        net_list_push(conn->net, conn, CONN_LIST_RESUMED);
}

void conn_stall(struct conn *conn, uint32_t ms)
{
    struct net *net = conn->net;
    if (conn->in_bytes < conn->stall_in_bytes || (conn->pauses & CONN_PAUSE_STALL) != 0)
        return;
    conn->stall_in_bytes = conn->in_bytes + STALL_BYTES;
    conn_pause(conn, CONN_PAUSE_STALL);
    net_list_push(net, conn, CONN_LIST_STALLED);
    if (!timer_is_running(&net->stall_timer))
        timer_start(net->shard->timers, &net->stall_timer,
                    shard_now_ns(net->shard) + ms * (uint64_t)1000000, on_stall_timer);
}

static void on_stall_timer(struct timer *timer)
{
    struct net *net = CONTAINER_OF(timer, struct net, stall_timer);
    struct conn *conn;
    while ((conn = net_list_pop(net, CONN_LIST_STALLED)) != NULL)
        conn_unpause(conn, CONN_PAUSE_STALL);
}

void conn_resume(struct conn *conn)
{
    if (conn->state != CONN_OPEN || conn->pauses != 0)
        return;
    struct conn_stash *stash = &conn->stash;
    struct bytes rest = {NULL, 0};
    if (stash->data != NULL)
        rest = bytes_of(stash->data + stash->begin, stash->end - stash->begin);
    rest = consume(conn, rest); /* may close the connection, but never frees the stash */
    if (conn->state != CONN_OPEN)
        return;
    stash->begin = stash->end - rest.count;
    if (stash->begin == stash->end)
        stash_free(conn);
    if (conn->pauses != 0)
        return;
    ASSERT(stash->data == NULL);
    if (conn->is_ended)
        end_if_all_consumed(conn);
    else if (!conn->is_receiving)
        conn_start_input(conn);
}

void conn_free_input(struct conn *conn)
{
    stash_free(conn);
    parser_fini(&conn->parser);
}

/* ---- receiving ---- */

static void take_received(struct conn *conn, struct bytes input)
{
    if (conn->websocket != NULL)
        websocket_take(conn, input);
    else
        conn_take(conn, input);
}

static void on_recv_done(struct op *op)
{
    struct conn *conn = CONTAINER_OF(op, struct conn, recv);
    ASSERT(conn->is_receiving);
    if ((op->flags & OP_MORE) == 0)
        conn->is_receiving = false;
    if (op->result > 0 && conn->state == CONN_OPEN)
        take_received(conn, bytes_of(op->buffer, (size_t)op->result));
    if (!conn->is_receiving)
        on_recv_end(conn, op->result);
}

/* The operation is over: the peer has ended, or we cancelled, or it has to be started again. */
static void on_recv_end(struct conn *conn, int32_t result)
{
    if (conn->state == CONN_SHUT) {
        conn_flush(conn);
        return;
    }
    if (result == 0) {
        conn->is_ended = true;
        end_if_all_consumed(conn);
    } else if (result < 0 && result != -ECANCELED) {
        conn_cut(conn, result == -ECONNRESET ? CONN_REASON_CLIENT : CONN_REASON_READ);
    } else if (conn->state == CONN_OPEN && conn->pauses == 0) {
        conn_start_input(conn);
    }
}

/* A peer that closes its side still gets what its bytes caused. */
static void end_if_all_consumed(struct conn *conn)
{
    if (conn->state == CONN_OPEN && conn->pauses == 0 && conn->stash.data == NULL)
        conn_close(conn, CONN_REASON_CLIENT);
}

void conn_take(struct conn *conn, struct bytes input)
{
    if (conn->pauses == 0 && conn->stash.data == NULL)
        input = consume(conn, input);
    if (conn->state != CONN_OPEN || input.count == 0)
        return;
    stash_append(conn, input);
    bool is_full = conn->stash.end - conn->stash.begin > STASH_BYTES_SOFT;
    if (is_full && conn->is_receiving && !conn->is_cancelling) {
        conn->is_cancelling = true;
        io_cancel(conn->net->shard->io, &conn->recv);
    }
}

/* Runs operations until the input is used up or held; gives what is left. */
static struct bytes consume(struct conn *conn, struct bytes input)
{
    struct operation operation;
    if (!conn->is_admitted && !conn->has_begun && input.count > 0
        && !authority_begin(conn, input.data[0]))
        return input;
    while (conn->state == CONN_OPEN && conn->pauses == 0) {
        enum parser_result result = parser_next(&conn->parser, &input, &operation);
        if (result == PARSER_NEEDS_MORE)
            break;
        if (result == PARSER_FAILED) {
            fail(conn, conn->parser.failure);
            return input;
        }
        dispatch(conn, &operation);
        if (conn->is_repeated)
            parser_repeat(&conn->parser, &input);
        if (conn->output.queued_bytes > OUTBOX_SOFT_BYTES)
            conn_pause(conn, CONN_PAUSE_OUTPUT);
    }
    if (!conn->is_repeated)
        parser_rest(&conn->parser);
    return input;
}

static void fail(struct conn *conn, enum parser_failure failure)
{
    switch (failure) {
    case PARSER_FAILURE_OPERATION:
        conn_say_error(conn, "Unknown Protocol Operation");
        conn_close(conn, CONN_REASON_PROTOCOL);
        return;
    case PARSER_FAILURE_CONTROL_LINE:
        conn_say_error(conn, "maximum control line exceeded");
        conn_close(conn, CONN_REASON_CONTROL_LINE);
        return;
    case PARSER_FAILURE_PAYLOAD:
        conn_say_error(conn, "Maximum Payload Violation");
        conn_close(conn, CONN_REASON_PAYLOAD);
        return;
    case PARSER_FAILURE_SYNTAX:
    case PARSER_FAILURE_NONE:
        conn_close(conn, CONN_REASON_PROTOCOL);
        return;
    }
}

/* ---- the stash ---- */

static void stash_append(struct conn *conn, struct bytes bytes)
{
    struct conn_stash *stash = &conn->stash;
    if (stash->capacity - stash->end < bytes.count) {
        size_t count = stash->end - stash->begin;
        size_t capacity = (count + bytes.count) * 2;
        char *data = heap_alloc(conn->net->shard->heap, capacity);
        if (count > 0)
            memcpy(data, stash->data + stash->begin, count);
        heap_free(stash->data);
        *stash = (struct conn_stash){data, 0, count, capacity};
    }
    memcpy(stash->data + stash->end, bytes.data, bytes.count);
    stash->end += bytes.count;
}

static void stash_free(struct conn *conn)
{
    heap_free(conn->stash.data);
    conn->stash = (struct conn_stash){NULL, 0, 0, 0};
}
