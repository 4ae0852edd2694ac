/*
 * net/interest.c: the shards tell one another what their clients subscribe.
 *
 *     shard a: change n ──► every other shard: its tree ──► kv ──► ack n, once a turn ──► shard a: PONGs that waited for n
 *
 * Keeps:   changes of one shard are taken over in order (mailboxes are), so that one number acknowledges all before it. A request
 *          that follows a SUB finds the inbox known wherever it arrives, for it travels behind the change.
 * Runs on: each shard.
 */
#include "net/interest.h"

#include "core/assert.h"
#include "core/mailbox.h"
#include "net/conn.h"

struct change {
    uint64_t seq;
    uint32_t account, count;
    uint32_t subject_count, queue_count;
    char texts[]; /* subject, queue */
};

static void on_change(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void on_ack(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void release_waiting(struct net *net);

void interest_tell(struct net *net, uint32_t account, struct bytes subject, struct bytes queue,
                   uint32_t count)
{
    struct shard *shard = net->shard;
    if (shard->count == 1)
        return;
    net->interest.sent++;
    size_t bytes = sizeof(struct change) + subject.count + queue.count;
    for (uint32_t i = 0; i < shard->count; i++) {
        if (i == shard->index)
            continue;
        struct change *change = mailbox_reserve(shard, i, on_change, (uint32_t)bytes);
        change->seq = net->interest.sent;
        change->account = account;
        change->count = count;
        change->subject_count = (uint32_t)subject.count;
        change->queue_count = (uint32_t)queue.count;
        memcpy(change->texts, subject.data, subject.count);
        if (queue.count > 0)
            memcpy(change->texts + subject.count, queue.data, queue.count);
    }
}

static void on_change(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    const struct change *change = payload;
    struct net *net = net_of(shard);
    ASSERT(bytes == sizeof(*change) + change->subject_count + change->queue_count);
    subscriptions_set_remote(
        net_tree(net, change->account), from, bytes_of(change->texts, change->subject_count),
        bytes_of(change->texts + change->subject_count, change->queue_count), change->count);
    net->interest.ack_due[from] = change->seq;
    net->interest.is_ack_due = true;
}

void interest_acknowledge(struct net *net)
{
    struct interest *interest = &net->interest;
    if (!interest->is_ack_due)
        return;
    interest->is_ack_due = false;
    for (uint32_t i = 0; i < net->shard->count; i++) {
        if (interest->ack_due[i] == 0)
            continue;
        mailbox_send(net->shard, i, on_ack, &interest->ack_due[i], sizeof(uint64_t));
        interest->ack_due[i] = 0;
    }
}

static void on_ack(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    struct interest *interest = &net->interest;
    ASSERT(bytes == sizeof(uint64_t));
    memcpy(&interest->acked[from], payload, sizeof(uint64_t));
    ASSERT(interest->acked[from] <= interest->sent);
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < shard->count; i++) {
        if (i != shard->index && interest->acked[i] < least)
            least = interest->acked[i];
    }
    if (least == interest->acked_by_all)
        return;
    interest->acked_by_all = least;
    release_waiting(net);
}

static void release_waiting(struct net *net)
{
    struct conn *last = net_list_last(net, CONN_LIST_WAITING);
    while (last != NULL) { /* those that must go on waiting queue up behind it again */
        struct conn *conn = net_list_pop(net, CONN_LIST_WAITING);
        if (conn == last)
            last = NULL;
        if (conn->state != CONN_OPEN)
            continue;
        if (!interest_is_shared(net, conn->interest_seq)) {
            net_list_push(net, conn, CONN_LIST_WAITING);
            continue;
        }
        conn_pong(conn);
        conn_unpause(conn, CONN_PAUSE_BARRIER);
    }
}
