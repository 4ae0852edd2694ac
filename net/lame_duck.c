/*
 * net/lame_duck.c: lame duck mode: no new clients; those that are there learn it by an INFO, and are closed one after another.
 *
 *     begin ──► listeners shut, INFO with ldm to all ──grace──► close one, wait a gap, close one … ──nobody left──► main: the end
 *       └─────────────────────── nobody there ──────────────────────────────────────────────────────────────────────►┘
 *
 * Clients are served until their own turn comes, streams and buckets too: nats-server stops JetStream at once, and leaves
 * requests without an answer meanwhile. What was acknowledged is durable either way.
 *
 * Keeps:   it ends within lame_duck_duration, whoever is still there. Gaps are at most a second, and random, so that clients
 *          do not all arrive elsewhere at once.
 * Runs on: shard 0, but for the mailbox handlers.
 *
 * Source: core-protocol.md section 11.
 */
#include "net/lame_duck.h"

#include "core/assert.h"
#include "core/diag.h"
#include "core/mailbox.h"
#include "net/conn.h"
#include "net/dispatch.h"

static const uint64_t GAP_NS_MAX = 1000000000;
static const uint64_t GAP_NS_MIN = 4000000; /* shorter ones close several at once */

static void on_told(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void on_grace_over(struct timer *timer);
static void on_gap_over(struct timer *timer);
static void close_some(struct net *net);
static void on_close_some(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static uint32_t fullest_shard(const struct server *server, uint64_t *total_out);
static void finish(struct net *net);
static void on_finish_told(struct op *op);

void lame_duck_begin(struct net *net)
{
    struct server *server = net->server;
    uint64_t now_ns = shard_now_ns(net->shard);
    uint64_t total;
    ASSERT(net->shard->index == 0);
    if (server->is_stopping || server->is_lame_duck)
        return;
    server->is_lame_duck = true;
    diag_info("Entering lame duck mode, stop accepting new clients");
    listeners_close(net);
    (void)fullest_shard(server, &total);
    if (total == 0) {
        finish(net);
        return;
    }
    for (uint32_t i = 0; i < net->shard->count; i++)
        mailbox_send(net->shard, i, on_told, NULL, 0);
    server->lame_duck_end_ns = now_ns + server->options->lame_duck_duration_ns;
    timer_start(net->shard->timers, &server->lame_duck_timer,
                now_ns + server->options->lame_duck_grace_ns, on_grace_over);
}

static void on_told(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    (void)payload;
    (void)bytes;
    (void)from;
    net->is_lame_duck = true;
    for (uint32_t i = 0; i < net->slot_count; i++) {
        struct conn *conn = net->slots[i].conn;
        if (conn != NULL && conn->state == CONN_OPEN && conn->is_info_sent)
            info_send(conn, INFO_UPDATE);
    }
}

static void on_grace_over(struct timer *timer)
{
    (void)timer;
    diag_info("Closing existing clients");
    close_some(net_of(shard_current()));
}

static void on_gap_over(struct timer *timer)
{
    (void)timer;
    close_some(net_of(shard_current()));
}

static void close_some(struct net *net)
{
    struct server *server = net->server;
    uint64_t now_ns = shard_now_ns(net->shard);
    uint64_t total;
    uint32_t shard_index = fullest_shard(server, &total);
    if (server->is_stopping)
        return;
    if (total == 0 || now_ns >= server->lame_duck_end_ns) {
        finish(net);
        return;
    }
    uint64_t gap_ns = (server->lame_duck_end_ns - now_ns) / total;
    uint64_t count = 1;
    if (gap_ns > GAP_NS_MAX)
        gap_ns = GAP_NS_MAX;
    if (gap_ns < GAP_NS_MIN) {
        count = GAP_NS_MIN / (gap_ns + 1) + 1;
        gap_ns = GAP_NS_MIN;
    }
    mailbox_send(net->shard, shard_index, on_close_some, &count, sizeof(count));
    gap_ns = gap_ns / 2 + net_random_below(net, (uint32_t)(gap_ns / 2));
    timer_start(net->shard->timers, &server->lame_duck_timer, now_ns + gap_ns, on_gap_over);
}

static void on_close_some(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    uint64_t count;
    ASSERT(bytes == sizeof(count));
    memcpy(&count, payload, sizeof(count));
    (void)from;
    for (uint32_t i = 0; i < net->slot_count && count > 0; i++) {
        struct conn *conn = net->slots[i].conn;
        if (conn == NULL || conn->state != CONN_OPEN)
            continue;
        conn_close(conn, CONN_REASON_SHUTDOWN);
        count--;
    }
}

static uint32_t fullest_shard(const struct server *server, uint64_t *total_out)
{
    uint64_t most = 0;
    uint32_t fullest = 0;
    *total_out = 0;
    for (uint32_t i = 0; i < server->shard_count; i++) {
        uint64_t count = shared_load_relaxed(&server->conn_counts[i]);
        *total_out += count;
        if (count > most) {
            most = count;
            fullest = i;
        }
    }
    return fullest;
}

/* The main thread ends the server, as after a signal. */
static void finish(struct net *net)
{
    static const char done = 1;
    struct server *server = net->server;
    if (server->is_lame_duck_done)
        return;
    server->is_lame_duck_done = true;
    io_send(net->shard->io, &server->lame_duck_done, server->control_sockets[0], &done, 1,
            on_finish_told);
}

static void on_finish_told(struct op *op)
{
    (void)op; /* the main thread reads it, or has ended the server meanwhile */
}
