/*
 * net/net.c: the door's state of one shard, and what it does in the turn's phases.
 *
 *     input phase    connections whose input was held go on, before the store and kv have their phases
 *     output phase   after them: who is too slow is cut off, everything produced is sent, the dead are freed
 *
 * Keeps:   a connection is freed when it is in no list but that of the buried. The shard does not sleep while a resumed
 *          connection waits for its next input phase.
 * Owns:    the connections, the subscriptions, the pools.
 * Runs on: its shard.
 */
#include "net/net.h"

#include "core/assert.h"
#include "net/conn.h"
#include "net/flow.h"
#include "net/interest.h"
#include "net/kv_port.h"
#include "net/reload.h"
#include "net/server.h"

static void on_local_change(void *context, struct bytes subject, struct bytes queue,
                            uint32_t count);
static void on_presence_change(void *context, struct bytes subject, struct bytes queue,
                               bool is_present);
static void free_buried(struct net *net);
static void publish_figures(const struct net *net);

struct net *net_create(struct shard *shard, struct server *server)
{
    struct net *net = heap_alloc_zeroed(shard->heap, sizeof(*net));
    net->shard = shard;
    net->server = server;
    net->limits = net_limits_of(server->options);
    net->match.heap = shard->heap;
    net->random = io_random(shard->io) | 1;
    for (unsigned i = 0; i < CONN_LIST_COUNT; i++)
        net->queues[i].tail = &net->queues[i].head;
    output_pool_init(&net->pool, shard->heap);
    net->auth = server->auth;
    (void)net_make_tree(net, ACCOUNT_GLOBAL);
    kv_port_init(net);
    shard->rooms[SHARD_ROOM_NET] = net;
    return net;
}

struct subscriptions *net_make_tree(struct net *net, uint32_t account)
{
    struct heap *heap = net->shard->heap;
    ASSERT_ON_SHARD(net->shard);
    if (account >= net->tree_count) {
        uint32_t count = account + 1;
        net->trees = heap_resize(heap, net->trees, count * sizeof(*net->trees));
        while (net->tree_count < count)
            net->trees[net->tree_count++] = NULL;
    }
    struct account_tree *tree = heap_alloc(heap, sizeof(*tree));
    struct subscriptions_observer observer = {tree, on_local_change, on_presence_change};
    *tree = (struct account_tree){net, account,
                                  subscriptions_create(heap, net->shard->index, &observer)};
    net->trees[account] = tree;
    return tree->subscriptions;
}

/* The shard takes no more turns: what is still open is dropped where it stands. */
void net_destroy(struct net *net)
{
    if (net == NULL)
        return;
    timer_stop(&net->send_timer);
    timer_stop(&net->stall_timer);
    for (uint32_t i = 0; i < net->slot_count; i++) {
        if (net->slots[i].conn != NULL)
            conn_abandon(net->slots[i].conn);
    }
    for (uint32_t i = 0; i < net->tree_count; i++) {
        if (net->trees[i] != NULL)
            subscriptions_destroy(net->trees[i]->subscriptions);
        heap_free(net->trees[i]);
    }
    heap_free(net->trees);
    match_fini(&net->match);
    output_pool_fini(&net->pool);
    heap_free(net->slots);
    text_free(&net->info_head);
    net->shard->rooms[SHARD_ROOM_NET] = NULL;
    heap_free(net);
}

static void on_local_change(void *context, struct bytes subject, struct bytes queue, uint32_t count)
{
    const struct account_tree *tree = context;
    interest_tell(tree->net, tree->account, subject, queue, count);
}

static void on_presence_change(void *context, struct bytes subject, struct bytes queue,
                               bool is_present)
{
    const struct account_tree *tree = context;
    struct net *net = tree->net;
    if (net->kv != NULL)
        kv_on_interest(net->kv, tree->account, subject, queue, is_present);
}

/* ---- phases ---- */

void net_input_phase(struct shard *shard, void *context)
{
    struct net *net = context;
    ASSERT_ON_SHARD(shard);
    struct conn *last = net_list_last(net, CONN_LIST_RESUMED);
    while (last != NULL) { /* those that are held and resumed again wait for the next turn */
        struct conn *conn = net_list_pop(net, CONN_LIST_RESUMED);
        if (conn == last)
            last = NULL;
        conn_resume(conn);
    }
}

void net_output_phase(struct shard *shard, void *context)
{
    struct net *net = context;
    ASSERT_ON_SHARD(shard);
    struct conn *conn;
    while ((conn = net_list_pop(net, CONN_LIST_CONDEMNED)) != NULL) {
        conn_condemn(conn);
        shard_stay_awake(shard); /* kv hears of its subscriptions, and has had its phase */
    }
    if (net->is_stopping)
        stop_turn(net);
    while ((conn = net_list_pop(net, CONN_LIST_DIRTY)) != NULL)
        conn_flush(conn);
    interest_acknowledge(net);
    flow_tell_taken(net);
    for (uint32_t i = 0; i < net->tree_count; i++) {
        if (net->trees[i] != NULL)
            subscriptions_sweep(net->trees[i]->subscriptions);
    }
    free_buried(net);
    publish_figures(net);
    net->output_done_ns = shard_now_ns(shard);
    if (net->queues[CONN_LIST_RESUMED].head != NULL)
        shard_stay_awake(shard);
}

static void free_buried(struct net *net)
{
    struct conn *last = net_list_last(net, CONN_LIST_BURIED);
    while (last != NULL) {
        struct conn *conn = net_list_pop(net, CONN_LIST_BURIED);
        if (conn == last)
            last = NULL;
        if (conn->lists == 0)
            conn_free(conn);
        else
            net_list_push(net, conn, CONN_LIST_BURIED);
    }
}

static void publish_figures(const struct net *net)
{
    struct shared_figures *shared = &net->server->figures[net->shard->index];
#define NET_FIGURES_PUBLISH(name) shared_store_relaxed(&shared->name, net->figures.name);
    NET_FIGURES_LIST(NET_FIGURES_PUBLISH)
}

void server_figures(const struct server *server, struct net_figures *figures_out)
{
    *figures_out = (struct net_figures){.in_msgs = 0};
    for (uint32_t i = 0; i < server->shard_count; i++) {
        const struct shared_figures *shared = &server->figures[i];
#define NET_FIGURES_SUM(name) figures_out->name += shared_load_relaxed(&shared->name);
        NET_FIGURES_LIST(NET_FIGURES_SUM)
    }
}

/* ---- lists ---- */

void net_list_push(struct net *net, struct conn *conn, enum conn_list list)
{
    struct conn_queue *queue = &net->queues[list];
    if ((conn->lists & (1u << list)) != 0)
        return;
    conn->lists |= (uint8_t)(1u << list);
    conn->next[list] = NULL;
    *queue->tail = conn;
    queue->tail = &conn->next[list];
    if (net->output_done_ns == shard_now_ns(net->shard))
        shard_stay_awake(net->shard); /* a deferred call: this turn's phases are over */
}

struct conn *net_list_pop(struct net *net, enum conn_list list)
{
    struct conn_queue *queue = &net->queues[list];
    struct conn *conn = queue->head;
    if (conn == NULL)
        return NULL;
    queue->head = conn->next[list];
    if (queue->head == NULL)
        queue->tail = &queue->head;
    conn->lists &= (uint8_t) ~(1u << list);
    return conn;
}

struct conn *net_list_last(const struct net *net, enum conn_list list)
{
    const struct conn_queue *queue = &net->queues[list];
    if (queue->head == NULL)
        return NULL;
    return (struct conn *)((char *)queue->tail - offsetof(struct conn, next)
                           - (size_t)list * sizeof(struct conn *));
}

/* xorshift; which member of a queue group gets a message need not be unpredictable. */
uint32_t net_random_below(struct net *net, uint32_t bound)
{
    uint64_t state = net->random;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    net->random = state;
    return (uint32_t)((state >> 32) * bound >> 32);
}
