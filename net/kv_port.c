/*
 * net/kv_port.c: the outbox that kv speaks to (kv/outbox.h).
 *
 * An answer nearly always goes to the inbox of the connection that asked: `_INBOX.<id>.<token>`, subscribed once as
 * `_INBOX.<id>.*`. The connection remembers that subscription as long as no other one can match, anywhere.
 *
 * Keeps:   the remembered inbox is used only while the tree's generation is the one it was found under.
 * Runs on: the shard of the kv that speaks.
 */
#include "net/kv_port.h"

#include "net/conn.h"
#include "net/route.h"

static void port_deliver(struct outbox *outbox, uint32_t account, struct bytes route,
                         const struct msg *msg);
static void port_answer(struct outbox *outbox, const struct origin *origin, const struct msg *msg);
static bool has_inbox(struct conn *conn, struct bytes reply);
static bool find_inbox(struct conn *conn, struct bytes reply);
static void port_resume(struct outbox *outbox, const struct origin *origin);
static bool port_has_subscription(struct outbox *outbox, uint32_t account, struct bytes subject,
                                  struct bytes queue);
static uint64_t port_queued_bytes(struct outbox *outbox, uint32_t account, struct bytes subject);
static uint64_t port_backlog_bytes(struct outbox *outbox, const struct origin *origin);

void kv_port_init(struct net *net)
{
    net->outbox = (struct outbox){
        .deliver = port_deliver,
        .answer = port_answer,
        .resume = port_resume,
        .has_subscription = port_has_subscription,
        .queued_bytes = port_queued_bytes,
        .backlog_bytes = port_backlog_bytes,
    };
}

static inline struct net *net_of_outbox(struct outbox *outbox)
{
    return CONTAINER_OF(outbox, struct net, outbox);
}

static void port_deliver(struct outbox *outbox, uint32_t account, struct bytes route,
                         const struct msg *msg)
{
    struct parcel parcel = {.msg = *msg};
    (void)route_message(net_of_outbox(outbox), account, NULL, route,
                        &parcel); /* nobody there is fine */
}

static void port_answer(struct outbox *outbox, const struct origin *origin, const struct msg *msg)
{
    struct net *net = net_of_outbox(outbox);
    struct conn *conn = conn_find(net, origin);
    struct parcel parcel = {.msg = *msg};
    if (conn != NULL && conn->account == origin->account
        && (has_inbox(conn, msg->subject) || find_inbox(conn, msg->subject)))
        route_deliver_alone(net, conn->inbox, &parcel);
    else
        (void)route_message(net, origin->account, NULL, msg->subject,
                            &parcel); /* who asked may be gone */
}

static inline bool has_inbox(struct conn *conn, struct bytes reply)
{
    if (conn->inbox_generation != subscriptions_generation(net_tree(conn->net, conn->account)))
        return false;
    struct bytes prefix = conn->inbox_prefix;
    if (reply.count <= prefix.count || memcmp(reply.data, prefix.data, prefix.count) != 0)
        return false;
    return memchr(reply.data + prefix.count, '.', reply.count - prefix.count) == NULL;
}

/* The prefix lies in the subscription's own subject, which stays while the generation does. */
static bool find_inbox(struct conn *conn, struct bytes reply)
{
    const struct subscriptions *subscriptions = net_tree(conn->net, conn->account);
    size_t count = reply.count;
    while (count > 0 && reply.data[count - 1] != '.')
        count--;
    if (count < 2 || count == reply.count)
        return false;
    struct subscription *sole = subscriptions_find_sole(subscriptions, bytes_of(reply.data, count));
    if (sole == NULL || sole->conn != conn)
        return false;
    struct bytes subject = subscription_subject(sole);
    struct bytes prefix = bytes_of(subject.data, subject.count - 1);
    if (!bytes_equal(prefix, bytes_of(reply.data, count)))
        return false; /* other wildcards before the last token: not worth remembering */
    conn->inbox = sole;
    conn->inbox_prefix = prefix;
    conn->inbox_generation = subscriptions_generation(subscriptions);
    return true;
}

static void port_resume(struct outbox *outbox, const struct origin *origin)
{
    struct conn *conn = conn_find(net_of_outbox(outbox), origin);
    if (conn != NULL)
        conn_unpause(conn, CONN_PAUSE_KV);
}

static bool port_has_subscription(struct outbox *outbox, uint32_t account, struct bytes subject,
                                  struct bytes queue)
{
    return subscriptions_has(net_tree(net_of_outbox(outbox), account), subject, queue);
}

static void take_most_queued(void *context, struct subscription *subscription)
{
    uint64_t *most = context;
    uint64_t queued = subscription->conn->output.queued_bytes;
    if (queued > OUTBOX_SOFT_BYTES)
        subscription->conn->is_above_soft = true; /* who asks waits for room */
    if (queued > *most)
        *most = queued;
}

static uint64_t port_queued_bytes(struct outbox *outbox, uint32_t account, struct bytes subject)
{
    uint64_t most = 0;
    subscriptions_each_exact(net_tree(net_of_outbox(outbox), account), subject, take_most_queued,
                             &most);
    return most;
}

/* Whoever finds it full hears of it when there is room, or when the connection is gone (kv_on_room). */
static uint64_t port_backlog_bytes(struct outbox *outbox, const struct origin *origin)
{
    struct conn *conn = conn_find(net_of_outbox(outbox), origin);
    if (conn == NULL)
        return UINT64_MAX;
    if (conn->output.queued_bytes > OUTBOX_SOFT_BYTES)
        conn->is_above_soft = true;
    return conn->output.queued_bytes;
}
