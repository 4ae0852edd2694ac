/*
 * net/flow.c: nobody publishes faster than the subscribers, and the other shards, take it.
 *
 *     a subscriber has much queued   its publisher waits some milliseconds, though at most once for each 64 KiB, as nats-server
 *                                    does it; one that takes nothing at all still reaches max_pending and is cut off
 *     much is on its way to a shard  publishers to it wait until it says that it has taken half of that
 *
 * Keeps:   bytes on their way between two shards stay below FLOW_BYTES_MAX and what one read of each connection brings.
 * Runs on: each shard.
 */
#include "net/flow.h"

#include "core/assert.h"
#include "core/mailbox.h"
#include "net/server.h"

enum {
    STALL_MS_MIN = 2,
    STALL_MS_MAX = 10,
    FLOW_BYTES_MAX = 4 << 20,
    FLOW_BYTES_TOLD = 256 << 10, /* taken and not yet told: told at the end of the turn */
};

static void on_stalled(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void on_taken(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

void flow_hold_back(struct net *net, struct conn *from)
{
    if (net->stall_ms != 0)
        conn_stall(from, net->stall_ms);
    if (!net->is_flow_full)
        return;
    conn_pause(from, CONN_PAUSE_FLOW);
    net_list_push(net, from, CONN_LIST_FLOW);
}

/* ---- a subscriber ---- */

/* The fuller the queue, the longer the publisher waits; at most once for each 64 KiB it publishes. */
void flow_note_queued(struct net *net, const struct conn *conn)
{
    const struct server *server = net->server;
    if (conn->output.queued_bytes <= server->stall_bytes || net->limits.has_no_stall)
        return;
    uint64_t over = conn->output.queued_bytes - server->stall_bytes;
    uint64_t most = server->pending_bytes_max - server->stall_bytes;
    uint64_t ms = STALL_MS_MIN + over * (STALL_MS_MAX - STALL_MS_MIN) / (most + 1);
    if (ms > STALL_MS_MAX)
        ms = STALL_MS_MAX;
    if (ms > net->stall_ms)
        net->stall_ms = (uint32_t)ms;
}

struct stalled {
    struct origin origin;
    uint32_t ms;
};

/* Once a turn for each other shard: what else it published in this turn was on its way already. */
void flow_slow_down(struct net *net, uint32_t shard_index, const struct origin *origin)
{
    uint64_t now_ns = shard_now_ns(net->shard);
    if (net->stall_ms == 0 || net->stalled_ns[shard_index] == now_ns)
        return;
    net->stalled_ns[shard_index] = now_ns;
    struct stalled stalled = {*origin, net->stall_ms};
    mailbox_send(net->shard, shard_index, on_stalled, &stalled, sizeof(stalled));
}

static void on_stalled(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    const struct stalled *stalled = payload;
    struct conn *conn = conn_find(net_of(shard), &stalled->origin);
    ASSERT(bytes == sizeof(*stalled));
    (void)from;
    if (conn != NULL)
        conn_stall(conn, stalled->ms);
}

/* ---- another shard ---- */

void flow_note_sent(struct net *net, uint32_t shard_index, uint64_t bytes)
{
    struct flow *flow = &net->flow;
    flow->sent[shard_index] += bytes;
    if (flow->sent[shard_index] - flow->taken[shard_index] > FLOW_BYTES_MAX)
        net->is_flow_full = true;
}

void flow_tell_taken(struct net *net)
{
    struct flow *flow = &net->flow;
    for (uint32_t i = 0; i < net->shard->count; i++) {
        if (flow->got[i] - flow->told[i] < FLOW_BYTES_TOLD)
            continue;
        flow->told[i] = flow->got[i];
        mailbox_send(net->shard, i, on_taken, &flow->got[i], sizeof(uint64_t));
    }
}

/* All go on: those that find it full again are held again. */
static void on_taken(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    struct flow *flow = &net->flow;
    ASSERT(bytes == sizeof(uint64_t));
    memcpy(&flow->taken[from], payload, sizeof(uint64_t));
    ASSERT(flow->taken[from] <= flow->sent[from]);
    if (flow->sent[from] - flow->taken[from] > FLOW_BYTES_MAX / 2)
        return;
    struct conn *conn;
    while ((conn = net_list_pop(net, CONN_LIST_FLOW)) != NULL)
        conn_unpause(conn, CONN_PAUSE_FLOW);
}
