/*
 * net/stop.c: an orderly end, in under a second.
 *
 *     shard 0: no more clients ──► all: read nothing more; kv quiet? ──► shard 0, when all are
 *         ──► all: send what is queued, close; gone? ──► shard 0, when all are ──► the shards leave their loops
 *
 * Keeps:   what was acknowledged is durable, and its acknowledgement is sent, unless the disk takes longer than QUIET_NS.
 * Runs on: each shard; the counts are shard 0's.
 */
#include "core/assert.h"
#include "core/diag.h"
#include "core/mailbox.h"
#include "net/conn.h"
#include "net/server.h"
#include "store/store.h"

static const uint64_t QUIET_NS = 600000000;
static const uint64_t CLOSE_NS = 200000000;

static void tell_all(struct shard *shard, mailbox_handler_fn *handler);
static void on_read_nothing(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void on_shard_quiet(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void on_close_all(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void on_shard_closed(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void report(struct net *net, mailbox_handler_fn *handler);

static void each_conn(struct net *net, void (*run)(struct conn *conn))
{
    for (uint32_t i = 0; i < net->slot_count; i++) {
        if (net->slots[i].conn != NULL)
            run(net->slots[i].conn);
    }
}

void stop_begin(struct net *net)
{
    struct server *server = net->server;
    ASSERT(net->shard->index == 0);
    if (server->is_stopping)
        return;
    server->is_stopping = true;
    listeners_close(net);
    timer_stop(&server->lame_duck_timer);
    monitor_close(net);
    tell_all(net->shard, on_read_nothing);
}

static void tell_all(struct shard *shard, mailbox_handler_fn *handler)
{
    for (uint32_t i = 0; i < shard->count; i++)
        mailbox_send(shard, i, handler, NULL, 0);
}

static void hold(struct conn *conn)
{
    conn_pause(conn, CONN_PAUSE_STOP);
}

static void on_read_nothing(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    (void)payload;
    (void)bytes;
    (void)from;
    net->is_stopping = true;
    net->stop_deadline_ns = shard_now_ns(shard) + QUIET_NS;
    if (net->kv != NULL)
        store_stop(shard->rooms[SHARD_ROOM_STORE]);
    each_conn(net, hold);
}

void stop_turn(struct net *net)
{
    bool is_late = shard_now_ns(net->shard) > net->stop_deadline_ns;
    if (net->is_stop_reported)
        return;
    if (!net->is_closing) {
        if (net->kv == NULL || !kv_is_busy(net->kv) || is_late)
            report(net, on_shard_quiet);
        else
            shard_stay_awake(net->shard);
        return;
    }
    bool is_gone =
        net->conn_count == 0; /* their consumers have gone with them: kv may be busy again */
    if ((is_gone && (net->kv == NULL || !kv_is_busy(net->kv))) || is_late)
        report(net, on_shard_closed);
    else
        shard_stay_awake(net->shard); /* briefly: the clients' sockets take a turn or two */
}

static void report(struct net *net, mailbox_handler_fn *handler)
{
    net->is_stop_reported = true;
    mailbox_send(net->shard, 0, handler, NULL, 0);
}

static void on_shard_quiet(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct server *server = net_of(shard)->server;
    (void)payload;
    (void)bytes;
    (void)from;
    if (++server->idle_count < shard->count)
        return;
    server->idle_count = 0;
    tell_all(shard, on_close_all);
}

static void close_one(struct conn *conn)
{
    conn_close(conn, CONN_REASON_SHUTDOWN);
}

static void on_close_all(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    (void)payload;
    (void)bytes;
    (void)from;
    net->is_closing = true;
    net->is_stop_reported = false;
    net->stop_deadline_ns = shard_now_ns(shard) + CLOSE_NS;
    each_conn(net, close_one);
}

static void on_shard_closed(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)payload;
    (void)bytes;
    (void)from;
    if (++net_of(shard)->server->idle_count == shard->count)
        shard_group_stop(shard->group);
}
