/*
 * net/listener.c: the ports for clients, plain and WebSocket. Shard 0 accepts and places each connection on the shard with the fewest.
 *
 * Owns:    the listening sockets; an accepted one moves to its shard by mailbox.
 * Runs on: shard 0, but for on_placed.
 */
#include <errno.h>

#include "core/assert.h"
#include "core/diag.h"
#include "core/mailbox.h"
#include "net/conn.h"
#include "net/server.h"

static const uint64_t RETRY_NS = 100000000;

struct placed {
    uint64_t cid;
    io_socket socket;
    bool is_refused, is_websocket;
};

static void on_accept_done(struct op *op);
static void on_retry(struct timer *timer);
static void place(struct net *net, struct listener *listener, io_socket socket);
static void on_placed(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

enum status listener_open(struct listener *listener, struct net *net)
{
    const struct options *options = net->server->options;
    bool is_websocket = listener == &net->server->websocket_listener;
    int32_t wanted = is_websocket ? options->websocket_port : options->port;
    const char *host = options->host;
    if (is_websocket && options->websocket_host[0] != '\0')
        host = options->websocket_host;
    enum status status = io_listen(net->shard->io, host, wanted < 0 ? 0 : (uint16_t)wanted,
                                   &listener->socket, &listener->port);
    if (status != STATUS_OK)
        return errno == EADDRINUSE ? STATUS_BUSY : status;
    if (net->server->next_client_id == 0)
        net->server->next_client_id = SERVER_CLIENT_ID_FIRST;
    listener->is_accepting = true;
    io_accept(net->shard->io, &listener->accept, listener->socket, on_accept_done);
    if (is_websocket) {
        diag_info("Listening for websocket clients on ws://%s:%u", host, listener->port);
        diag_warn("Websocket not configured with TLS. DO NOT USE IN PRODUCTION!");
    } else {
        diag_info("Listening for client connections on %s:%u", host, listener->port);
    }
    return STATUS_OK;
}

void listener_close(struct listener *listener, struct net *net)
{
    timer_stop(&listener->retry_timer);
    listener->is_closing = true;
    if (listener->socket == IO_FILE_NONE)
        return;
    io_shutdown(net->shard->io,
                listener->socket); /* refuses at once; closed with the last completion */
    if (listener->is_accepting) {
        io_cancel(net->shard->io, &listener->accept);
        return;
    }
    io_close(net->shard->io, listener->socket);
    listener->socket = IO_FILE_NONE;
}

void listeners_close(struct net *net)
{
    listener_close(&net->server->listener, net);
    listener_close(&net->server->websocket_listener, net);
    timer_stop(&net->server->door_timer);
}

static void on_accept_done(struct op *op)
{
    struct listener *listener = CONTAINER_OF(op, struct listener, accept);
    struct net *net = net_of(shard_current());
    if (op->result >= 0)
        place(net, listener, op->result);
    if ((op->flags & OP_MORE) != 0)
        return;
    listener->is_accepting = false;
    if (listener->is_closing) {
        listener_close(listener, net);
        return;
    }
    if (op->result < 0 && op->result != -ECANCELED)
        diag_error("accept_failed cause=%d", -op->result); /* descriptors, mostly: try again */
    timer_start(net->shard->timers, &listener->retry_timer,
                shard_now_ns(net->shard) + (op->result < 0 ? RETRY_NS : 0), on_retry);
}

static void on_retry(struct timer *timer)
{
    struct listener *listener = CONTAINER_OF(timer, struct listener, retry_timer);
    listener->is_accepting = true;
    io_accept(shard_current()->io, &listener->accept, listener->socket, on_accept_done);
}

static void place(struct net *net, struct listener *listener, io_socket socket)
{
    struct server *server = net->server;
    uint64_t total = 0;
    uint64_t least = UINT64_MAX;
    uint32_t to = 0;
    for (uint32_t i = 0; i < server->shard_count; i++) {
        uint64_t count = shared_load_relaxed(&server->conn_counts[i]);
        total += count;
        if (count < least) {
            least = count;
            to = i;
        }
    }
    uint32_t count_max = server->live->conn_count_max;
    struct placed placed = {
        .cid = server->next_client_id++,
        .socket = socket,
        .is_websocket = listener == &server->websocket_listener,
        .is_refused = count_max != 0 && total >= count_max,
    };
    (void)shared_add_seq_cst(&server->conn_counts[to], 1);
    if (to == net->shard->index)
        conn_open(net, socket, placed.cid, placed.is_refused, placed.is_websocket);
    else
        mailbox_send(net->shard, to, on_placed, &placed, sizeof(placed));
}

static void on_placed(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    const struct placed *placed = payload;
    ASSERT(bytes == sizeof(*placed));
    (void)from;
    conn_open(net_of(shard), placed->socket, placed->cid, placed->is_refused, placed->is_websocket);
}
