/*
 * net/conn.c: one client connection: its life, its output, its pings.
 *
 *     OPEN ──close──► FLUSHING ──all sent, or too late──► SHUT ──no operation in flight──► CLOSED
 *       └───────────────────────cut──────────────────────►┘
 *
 * Keeps:   one send in flight; an idle connection holds no buffer. A connection is freed only when the kernel holds none of its
 *          addresses and no list names it; its slot's generation has changed before, so that late answers miss it.
 * Owns:    the socket, the output, the input's stash and carry, its subscriptions, its WebSocket.
 * Runs on: the shard it was placed on.
 */
#include "net/conn.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "core/assert.h"
#include "core/diag.h"
#include "net/authority.h"
#include "net/dispatch.h"
#include "net/imports.h"
#include "net/server.h"
#include "net/trace.h"
#include "net/websocket.h"

static const uint64_t FIRST_PING_NS = 2000000000;
static const uint64_t RTT_INTERVAL_NS = 3600000000000;
static const uint64_t CLOSE_NS_MAX = 2000000000; /* for the last words to leave */

static const char *kind_words(const struct conn *conn);
static uint64_t ping_interval_ns(const struct conn *conn);
static void slot_acquire(struct conn *conn);
static void slot_release(struct conn *conn);
static void read_peer(struct conn *conn);
static void leave(struct conn *conn, enum conn_reason reason);
static void shut(struct conn *conn);
static void bury_if_idle(struct conn *conn);
static void on_send_done(struct op *op);
static void on_send_timer(struct timer *timer);
static void after_drain(struct conn *conn);
static void on_ping_timer(struct timer *timer);

const char *conn_reason_words(enum conn_reason reason)
{
#define CONN_REASON_WORDS(name, words) words,
    static const char *const words[] = {CONN_REASON_LIST(CONN_REASON_WORDS)};
    return (unsigned)reason < CONN_REASON_COUNT ? words[reason] : "Unknown State";
}

/* ---- life ---- */

void conn_open(struct net *net, io_socket socket, uint64_t cid, bool is_refused, bool is_websocket)
{
    struct conn *conn = heap_alloc_zeroed(net->shard->heap, sizeof(*conn));
    conn->net = net;
    conn->socket = socket;
    conn->cid = cid;
    conn->client = (struct conn_client){.is_verbose = true, .is_pedantic = true, .has_echo = true};
    conn->opened_wall_ns = conn->active_wall_ns = shard_wall_ns(net->shard);
    parser_init(&conn->parser, net->shard->heap, net->limits.control_line_bytes_max,
                net->limits.payload_bytes_max);
    slot_acquire(conn);
    read_peer(conn);
    net->conn_count++;
    net->figures.connections++;
    net->figures.total_connections++;
    if (is_websocket)
        websocket_begin(conn, is_refused);
    diag_debug("%s:%u - %s:%" PRIu64 " - %s connection created", conn->ip, conn->port,
               conn_id_word(conn), cid, kind_words(conn));
    if (!is_websocket)
        conn_greet(conn, is_refused);
    if (conn->state != CONN_OPEN)
        return;
    conn_start_input(conn);
    if (net->is_stopping)
        conn_close(conn, CONN_REASON_SHUTDOWN);
}

void conn_greet(struct conn *conn, bool is_refused)
{
    struct net *net = conn->net;
    info_send(conn, INFO_FIRST);
    timer_start(net->shard->timers, &conn->ping_timer,
                shard_now_ns(net->shard) + ping_interval_ns(conn), on_ping_timer);
    authority_open(conn);
    if (is_refused) {
        conn_say_error(conn, "maximum connections exceeded");
        conn_close(conn, CONN_REASON_CONNECTIONS);
    }
}

const char *conn_id_word(const struct conn *conn)
{
    return conn->websocket != NULL ? "wid" : "cid";
}

static const char *kind_words(const struct conn *conn)
{
    return conn->websocket != NULL ? "Websocket client" : "Client";
}

static uint64_t ping_interval_ns(const struct conn *conn)
{
    uint64_t own_ns = conn->net->server->options->websocket_ping_interval_ns;
    return conn->websocket != NULL && own_ns != 0 ? own_ns : conn->net->limits.ping_interval_ns;
}

void conn_close(struct conn *conn, enum conn_reason reason)
{
    if (conn->state != CONN_OPEN)
        return;
    leave(conn, reason);
    conn->closing_ns = shard_now_ns(conn->net->shard);
    net_list_push(conn->net, conn, CONN_LIST_DIRTY);
}

void conn_cut(struct conn *conn, enum conn_reason reason)
{
    ASSERT(!conn->net->is_routing);
    if (conn->state == CONN_OPEN)
        leave(conn, reason);
    if (conn->state != CONN_SHUT && conn->state != CONN_CLOSED)
        shut(conn);
}

/* From here on it gets nothing any more, and nothing it sends counts. */
static void leave(struct conn *conn, enum conn_reason reason)
{
    ASSERT_ON_SHARD(conn->net->shard);
    conn->state = CONN_FLUSHING;
    conn->reason = reason;
    timer_stop(&conn->ping_timer);
    conn_drop_subscriptions(conn);
    authority_close(conn);
    slot_release(conn);
    conn->net->figures.connections--;
    diag_debug("%s:%u - %s:%" PRIu64 " - %s connection closed: %s", conn->ip, conn->port,
               conn_id_word(conn), conn->cid, kind_words(conn), conn_reason_words(reason));
}

static void shut(struct conn *conn)
{
    struct io *io = conn->net->shard->io;
    conn->state = CONN_SHUT;
    io_shutdown(io, conn->socket);
    if (conn->is_receiving)
        io_cancel(io, &conn->recv);
    bury_if_idle(conn);
}

static void bury_if_idle(struct conn *conn)
{
    struct net *net = conn->net;
    if (conn->state != CONN_SHUT || conn->is_receiving || conn->is_sending)
        return;
    conn->state = CONN_CLOSED;
    io_close(net->shard->io, conn->socket);
    output_clear(&conn->output, &net->pool);
    conn_free_input(conn);
    (void)shared_sub_seq_cst(&net->server->conn_counts[net->shard->index], 1);
    net_list_push(net, conn, CONN_LIST_BURIED);
}

/* Whoever hears of a removal may deliver to what is still there, and so use up another one. */
void conn_drop_subscriptions(struct conn *conn)
{
    struct sid_table *table = &conn->sids;
    while (table->count > 0) {
        for (uint32_t i = 0; i < table->capacity; i++) {
            if (table->slots[i] != NULL)
                conn_unsubscribe(conn, table->slots[i]);
        }
    }
    heap_free(table->slots);
    *table = (struct sid_table){NULL, 0, 0};
}

void conn_unsubscribe(struct conn *conn, struct subscription *subscription)
{
    ASSERT(!conn->net->is_routing);
    sid_table_remove(&conn->sids, subscription);
    conn->net->figures.subscriptions--;
    if (subscription->shadows != NULL)
        imports_unfollow(conn->net, subscription);
    subscriptions_remove(net_tree(conn->net, conn->account), subscription);
}

/* ---- slots ---- */

static void slot_acquire(struct conn *conn)
{
    struct net *net = conn->net;
    if (net->slot_free == net->slot_count) {
        uint32_t count = net->slot_count == 0 ? 64 : net->slot_count * 2;
        net->slots = heap_resize(net->shard->heap, net->slots, count * sizeof(*net->slots));
        for (uint32_t i = net->slot_count; i < count; i++)
            net->slots[i] = (struct conn_slot){NULL, 1, i + 1};
        net->slot_count = count;
    }
    uint32_t index = net->slot_free;
    struct conn_slot *slot = &net->slots[index];
    net->slot_free = slot->next_free;
    slot->conn = conn;
    conn->origin = (struct origin){index, slot->generation, conn->account};
}

/* The slot keeps the connection's name until it is buried, for the sweep; but nobody finds it any more. */
static void slot_release(struct conn *conn)
{
    conn->net->slots[conn->origin.conn_slot].generation++;
}

/* Secrets do not stay in freed memory. */
static void forget_text(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    heap_free(text);
}

void conn_free(struct conn *conn)
{
    struct net *net = conn->net;
    struct conn_slot *slot = &net->slots[conn->origin.conn_slot];
    ASSERT(conn->state == CONN_CLOSED);
    net->conn_count--;
    slot->conn = NULL;
    slot->next_free = net->slot_free;
    net->slot_free = conn->origin.conn_slot;
    websocket_free(conn);
    if (conn->is_above_soft && net->kv != NULL)
        kv_on_room(net->kv); /* who waited for room here need not */
    heap_free(conn->client.name);
    heap_free(conn->client.lang);
    heap_free(conn->client.version);
    forget_text(conn->client.user);
    forget_text(conn->client.password);
    forget_text(conn->client.token);
    heap_free(conn);
}

void conn_abandon(struct conn *conn)
{
    struct net *net = conn->net;
    timer_stop(&conn->ping_timer);
    if (conn->state != CONN_CLOSED) {
        io_close(net->shard->io, conn->socket);
        output_clear(&conn->output, &net->pool);
        conn_free_input(conn);
    }
    authority_close(conn);
    heap_free(conn->sids.slots); /* the subscriptions go with the tree */
    conn->state = CONN_CLOSED;
    conn_free(conn);
}

struct conn *conn_find(struct net *net, const struct origin *origin)
{
    if (origin->conn_slot >= net->slot_count)
        return NULL;
    const struct conn_slot *slot = &net->slots[origin->conn_slot];
    return slot->generation == origin->conn_generation ? slot->conn : NULL;
}

static void read_peer(struct conn *conn)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } peer = {.any.sa_family = AF_UNSPEC};
    socklen_t bytes = sizeof(peer);
    if (getpeername(conn->socket, &peer.any, &bytes) != 0)
        return; /* it has gone already: the receive will tell */
    if (peer.any.sa_family == AF_INET) {
        (void)inet_ntop(AF_INET, &peer.v4.sin_addr, conn->ip, sizeof(conn->ip));
        conn->port = ntohs(peer.v4.sin_port);
    } else if (peer.any.sa_family == AF_INET6) {
        const char *text = inet_ntop(AF_INET6, &peer.v6.sin6_addr, conn->ip, sizeof(conn->ip));
        if (text != NULL && IN6_IS_ADDR_V4MAPPED(&peer.v6.sin6_addr))
            memmove(conn->ip, conn->ip + 7, strlen(conn->ip + 7) + 1); /* without ::ffff: */
        conn->port = ntohs(peer.v6.sin6_port);
    }
}

/* ---- output ---- */

void conn_touch(struct conn *conn)
{
    struct net *net = conn->net;
    if (!conn->is_sending)
        net_list_push(net, conn, CONN_LIST_DIRTY);
    if (conn->output.queued_bytes > net->server->pending_bytes_max)
        net_list_push(net, conn, CONN_LIST_CONDEMNED);
}

void conn_condemn(struct conn *conn)
{
    struct net *net = conn->net;
    if (conn->state != CONN_OPEN)
        return;
    net->figures.slow_consumers++;
    diag_info("%s:%u - %s:%" PRIu64 " - Slow Consumer Detected: MaxPending of %" PRIu64 " Exceeded",
              conn->ip, conn->port, conn_id_word(conn), conn->cid, net->server->pending_bytes_max);
    conn_cut(conn, CONN_REASON_SLOW_BYTES);
}

void conn_say(struct conn *conn, struct bytes text)
{
    if (trace_is_on())
        trace_text(conn, text);
    output_append(&conn->output, &conn->net->pool, text);
    conn_touch(conn);
}

void conn_say_error(struct conn *conn, const char *text)
{
    struct text line = {0};
    text_append_format(&line, "-ERR '%s'\r\n", text);
    conn_say(conn, text_bytes(&line));
    text_free(&line);
}

void conn_flush(struct conn *conn)
{
    struct net *net = conn->net;
    struct output *output = &conn->output;
    if (conn->state == CONN_SHUT) {
        bury_if_idle(conn);
        return;
    }
    if (conn->state == CONN_CLOSED || conn->is_sending)
        return;
    if (output->queued_bytes == 0 && (conn->websocket == NULL || !websocket_has_pending(conn))) {
        if (conn->state == CONN_FLUSHING)
            shut(conn);
        return;
    }
    if (output->queued_bytes > OUTBOX_SOFT_BYTES)
        conn->is_above_soft = true;
    conn->is_sending = true;
    conn->send_started_ns = shard_now_ns(net->shard);
    if (conn->websocket != NULL)
        websocket_send(conn, on_send_done);
    else
        output_send(output, &net->pool, net->shard->io, &conn->send, conn->socket, on_send_done);
    net->sending_count++;
    if (!timer_is_running(&net->send_timer))
        timer_start(net->shard->timers, &net->send_timer,
                    conn->send_started_ns + net->limits.sweep_ns, on_send_timer);
}

static void on_send_done(struct op *op)
{
    struct conn *conn = CONTAINER_OF(op, struct conn, send);
    struct net *net = conn->net;
    ASSERT(conn->is_sending);
    conn->is_sending = false;
    net->sending_count--;
    if (conn->state == CONN_SHUT) {
        bury_if_idle(conn);
        return;
    }
    if (op->result <= 0) {
        conn_cut(conn, CONN_REASON_WRITE);
        return;
    }
    uint64_t sent_bytes = (uint64_t)op->result;
    if (conn->websocket != NULL)
        sent_bytes -= websocket_sent(conn);
    output_sent(&conn->output, &net->pool, sent_bytes);
    if (conn->output.queued_bytes > 0 || conn->state == CONN_FLUSHING
        || (conn->websocket != NULL && websocket_has_pending(conn)))
        net_list_push(net, conn, CONN_LIST_DIRTY);
    after_drain(conn);
}

/* Less is queued than before: whoever waited for that goes on. */
static void after_drain(struct conn *conn)
{
    if (conn->output.queued_bytes >= OUTBOX_SOFT_BYTES / 2)
        return;
    if ((conn->pauses & CONN_PAUSE_OUTPUT) != 0)
        conn_unpause(conn, CONN_PAUSE_OUTPUT);
    if (conn->is_above_soft) {
        conn->is_above_soft = false;
        if (conn->net->kv != NULL)
            kv_on_room(conn->net->kv);
    }
}

/* Looks for sends that take too long, as long as there are any. */
static void on_send_timer(struct timer *timer)
{
    struct net *net = CONTAINER_OF(timer, struct net, send_timer);
    uint64_t now_ns = shard_now_ns(net->shard);
    for (uint32_t i = 0; i < net->slot_count; i++) {
        if (net->slots[i].conn != NULL)
            conn_check_deadline(net->slots[i].conn, now_ns);
    }
    if (net->sending_count > 0)
        timer_start(net->shard->timers, timer, now_ns + net->limits.sweep_ns, on_send_timer);
}

void conn_check_deadline(struct conn *conn, uint64_t now_ns)
{
    struct net *net = conn->net;
    if (!conn->is_sending || conn->state == CONN_SHUT || conn->state == CONN_CLOSED)
        return;
    if (conn->state == CONN_FLUSHING && now_ns - conn->closing_ns > CLOSE_NS_MAX) {
        conn_cut(conn, conn->reason);
        return;
    }
    if (now_ns - conn->send_started_ns <= net->limits.write_deadline_ns)
        return;
    net->figures.slow_consumers++;
    diag_info("%s:%u - %s:%" PRIu64 " - Slow Consumer Detected: WriteDeadline of %" PRIu64
              "ms exceeded with %" PRIu64 " total bytes.",
              conn->ip, conn->port, conn_id_word(conn), conn->cid,
              net->limits.write_deadline_ns / 1000000, conn->output.queued_bytes);
    conn_cut(conn, CONN_REASON_SLOW_WRITE);
}

/* ---- pings ---- */

/* The first one, which measures the round trip, comes soon after CONNECT. */
void conn_start_pings(struct conn *conn)
{
    struct net *net = conn->net;
    uint64_t wait_ns = ping_interval_ns(conn);
    if (wait_ns > FIRST_PING_NS)
        wait_ns = FIRST_PING_NS;
    wait_ns += net_random_below(net, (uint32_t)(wait_ns / 1000000 / 5 + 1)) * (uint64_t)1000000;
    timer_start(net->shard->timers, &conn->ping_timer, shard_now_ns(net->shard) + wait_ns,
                on_ping_timer);
}

static void on_ping_timer(struct timer *timer)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, ping_timer);
    struct net *net = conn->net;
    uint64_t interval_ns = ping_interval_ns(conn);
    uint64_t now_ns = shard_now_ns(net->shard);
    ASSERT(conn->state == CONN_OPEN);

    bool is_active = conn->active_ns != 0 && now_ns - conn->active_ns < interval_ns;
    bool is_measured = conn->ping_sent_ns != 0 && now_ns - conn->ping_sent_ns < RTT_INTERVAL_NS;
    if (!is_active || !is_measured) {
        if (conn->pings_out + 1 > net->limits.pings_out_max) {
            net->figures.stale_connections++;
            conn_say_error(conn, "Stale Connection");
            conn_close(conn, CONN_REASON_STALE);
            return;
        }
        conn->pings_out++;
        conn->ping_sent_ns = now_ns;
        conn_say(conn, BYTES_LITERAL("PING\r\n"));
    }
    timer_start(net->shard->timers, timer, now_ns + interval_ns, on_ping_timer);
}
