/*
 * net/route.c: a message finds its subscribers, on this shard and on the others.
 *
 *     match ─┬─ plain subscriptions of this shard ─────────► encoder
 *            ├─ one member of each queue group: here ──────► encoder
 *            │                             or elsewhere ───► mailbox ─► the same there, for this shard's members alone
 *            └─ shards with plain subscriptions ───────────► mailbox ─► the same there
 *
 * Keeps:   the match is scratch: nothing is subscribed, removed or closed while it is in use (net->is_routing). What reached
 *          its max is removed after the loops; who is too slow is cut off at the end of the turn.
 * Runs on: each shard, for what its clients and its kv send, and what other shards pass on.
 */
#include "net/route.h"

#include "core/assert.h"
#include "core/mailbox.h"
#include "net/flow.h"
#include "net/imports.h"
#include "net/permissions.h"
#include "net/trace.h"

enum { HOPS_MAX = 4 };

/* What is being routed. */
struct route {
    struct net *net;
    uint32_t account;
    uint64_t muted_cid;   /* this connection gets nothing (echo off); 0: all do */
    struct bytes subject; /* to be matched; nearly always the message's */
    const struct parcel *parcel;
    uint32_t hops;
    struct origin
        origin; /* of the publisher, on the shard the message came from; to slow it down */
};

/* A message for another shard, as it lies in the mailbox; the texts follow in this order. */
struct passed {
    uint64_t muted_cid;
    struct origin origin;
    uint32_t account;
    uint32_t route_count, queue_count;
    uint32_t subject_count, reply_count, headers_count, payload_count;
    uint8_t headers_digits_count, total_digits_count;
    uint8_t is_plain; /* for the plain subscriptions there */
    uint8_t hops;
    char texts[];
};

static bool route_here_and_there(struct route *route);
static bool deliver_plain(struct route *route);
static bool deliver_groups(struct route *route, uint64_t *remotes);
static bool deliver_group(struct route *route, uint32_t first, bool is_local_only,
                          uint64_t *remotes);
static bool is_first_of_name(const struct match *match, uint32_t index);
static uint32_t group_size(const struct match *match, struct bytes name, bool is_local_only);
static bool offer(struct route *route, struct bytes name, uint32_t place, bool is_local_only,
                  uint64_t *remotes);
static void pass_on(const struct route *route, uint32_t shard_index, bool is_plain,
                    struct bytes queue);
static void on_passed(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void expire_exhausted(struct net *net);

/* An answer to a request of another account goes there. */
static bool route_back(struct net *net, uint32_t account, const struct conn *from,
                       struct bytes subject, const struct parcel *parcel)
{
    struct bytes reply;
    if (!imports_find_requester(net, account, subject, &account, &reply)
        || bytes_start_with(reply, BYTES_LITERAL("_R_.")))
        return false;
    struct parcel back = *parcel;
    if (bytes_equal(back.msg.subject, subject))
        back.msg.subject = reply;
    return route_message(net, account, from, reply, &back);
}

bool route_message(struct net *net, uint32_t account, const struct conn *from,
                   struct bytes route_subject, const struct parcel *parcel)
{
    struct route route = {
        .net = net,
        .account = account,
        .muted_cid = from != NULL && !from->client.has_echo ? from->cid : 0,
        .subject = route_subject,
        .parcel = parcel,
    };
    ASSERT(!net->is_routing);
    if (bytes_start_with(route_subject, BYTES_LITERAL("_R_.")))
        return route_back(net, account, from, route_subject, parcel);
    flow_begin(net);
    if (from != NULL)
        route.origin = from->origin;
    subscriptions_match(net_tree(net, account), route_subject, &net->match);
    if (net->match.plain_count == 0 && net->match.group_count == 0 && net->match.remotes == 0)
        return false;
    net->is_routing = true;
    bool is_taken = route_here_and_there(&route);
    net->is_routing = false;
    expire_exhausted(net);
    return is_taken;
}

static bool route_here_and_there(struct route *route)
{
    uint64_t remotes = route->net->match.remotes;
    bool is_taken = remotes != 0;
    is_taken |= deliver_plain(route);
    if (route->net->match.group_count > 0)
        is_taken |= deliver_groups(route, &remotes);
    while (remotes != 0) {
        uint32_t shard_index = (uint32_t)__builtin_ctzll(remotes);
        remotes &= remotes - 1;
        pass_on(route, shard_index, true, (struct bytes){NULL, 0});
    }
    return is_taken;
}

/* To a shadow: as the subscription that it is one of, under the subject that the message has there. */
static bool deliver_imported(struct net *net, struct subscription *shadow, struct bytes route,
                             const struct parcel *parcel)
{
    struct text here = {.data = NULL};
    struct parcel imported = *parcel;
    bool is_taken = imports_map_message(shadow, route, &here);
    if (is_taken) {
        if (bytes_equal(imported.msg.subject, route))
            imported.msg.subject = text_bytes(&here);
        is_taken = route_deliver(net, shadow->of, text_bytes(&here), &imported);
    }
    text_free(&here);
    return is_taken;
}

bool route_deliver(struct net *net, struct subscription *subscription, struct bytes route,
                   const struct parcel *parcel)
{
    if (subscription->of != NULL)
        return deliver_imported(net, subscription, route, parcel);
    struct conn *conn = subscription->conn;
    if (conn->state != CONN_OPEN || (conn->lists & (1u << CONN_LIST_CONDEMNED)) != 0)
        return false;
    if (subscription->max != 0 && subscription->delivered_count >= subscription->max)
        return false;
    if (conn->has_deny_filter && !permissions_deliver(conn, route))
        return false;
    subscription->delivered_count++;
    if (subscription->delivered_count == subscription->max) {
        subscription->next = net->exhausted;
        net->exhausted = subscription;
    }
    if (conn->permissions != NULL && conn->permissions->has_responses
        && parcel->msg.reply.count > 0)
        permissions_note_reply(conn, parcel->msg.reply);
    if (trace_is_on())
        trace_message(conn, parcel, subscription_sid(subscription), conn->client.has_headers);
    encode_message(&conn->output, &net->pool, parcel, subscription_sid(subscription),
                   conn->client.has_headers);
    uint64_t bytes = parcel->msg.headers.count + parcel->msg.payload.count;
    conn->out_msgs++;
    conn->out_bytes += bytes;
    net->figures.out_msgs++;
    net->figures.out_bytes += bytes;
    conn_touch(conn);
    flow_note_queued(net, conn);
    return true;
}

void route_deliver_alone(struct net *net, struct subscription *subscription,
                         const struct parcel *parcel)
{
    ASSERT(!net->is_routing);
    (void)route_deliver(net, subscription, parcel->msg.subject,
                        parcel); /* a full one takes nothing: at most once */
    if (net->exhausted != NULL)
        expire_exhausted(net);
}

/* Each is removed on its own: whoever hears of that may route again. */
static void expire_exhausted(struct net *net)
{
    while (net->exhausted != NULL) {
        struct subscription *subscription = net->exhausted;
        net->exhausted = subscription->next;
        if (subscription->node != NULL)
            conn_unsubscribe(subscription->conn, subscription);
    }
}

/* ---- here ---- */

static bool deliver_plain(struct route *route)
{
    const struct match *match = &route->net->match;
    bool is_taken = false;
    for (uint32_t i = 0; i < match->plain_count; i++) {
        struct subscription *subscription = match->plain[i];
        if (subscription->conn->cid != route->muted_cid)
            is_taken |= route_deliver(route->net, subscription, route->subject, route->parcel);
    }
    return is_taken;
}

/* A group is the queue's name alone, whatever subjects its members have. */
static bool deliver_groups(struct route *route, uint64_t *remotes)
{
    const struct match *match = &route->net->match;
    bool is_taken = false;
    for (uint32_t i = 0; i < match->group_count; i++) {
        if (is_first_of_name(match, i))
            is_taken |= deliver_group(route, i, false, remotes);
    }
    return is_taken;
}

static bool is_first_of_name(const struct match *match, uint32_t index)
{
    struct bytes name = queue_group_name(match->groups[index]);
    for (uint32_t i = 0; i < index; i++) {
        if (bytes_equal(queue_group_name(match->groups[i]), name))
            return false;
    }
    return true;
}

static uint32_t group_size(const struct match *match, struct bytes name, bool is_local_only)
{
    uint32_t size = 0;
    for (uint32_t i = 0; i < match->group_count; i++) {
        const struct queue_group *group = match->groups[i];
        if (bytes_equal(queue_group_name(group), name))
            size += group->member_count + (is_local_only ? 0 : group->remote_total);
    }
    return size;
}

/* Starts at a random member and walks on while delivery is impossible. */
static bool deliver_group(struct route *route, uint32_t first, bool is_local_only,
                          uint64_t *remotes)
{
    const struct match *match = &route->net->match;
    struct bytes name = queue_group_name(match->groups[first]);
    uint32_t size = group_size(match, name, is_local_only);
    if (size == 0)
        return false;
    uint32_t start = net_random_below(route->net, size);
    for (uint32_t i = 0; i < size; i++) {
        uint32_t place = start + i < size ? start + i : start + i - size;
        if (offer(route, name, place, is_local_only, remotes))
            return true;
    }
    return false;
}

/* Offers the message to the member at that place, counting the group's members here and there, subject by subject. */
static bool offer(struct route *route, struct bytes name, uint32_t place, bool is_local_only,
                  uint64_t *remotes)
{
    const struct match *match = &route->net->match;
    for (uint32_t i = 0; i < match->group_count; i++) {
        const struct queue_group *group = match->groups[i];
        if (!bytes_equal(queue_group_name(group), name))
            continue;
        if (place < group->member_count) {
            struct subscription *member = group->members[place];
            return member->conn->cid != route->muted_cid
                   && route_deliver(route->net, member, route->subject, route->parcel);
        }
        place -= group->member_count;
        for (uint32_t shard = 0; !is_local_only && shard < SHARD_COUNT_MAX; shard++) {
            if (place < group->remotes[shard]) {
                uint64_t bit = (uint64_t)1 << shard;
                pass_on(route, shard, (*remotes & bit) != 0, name);
                *remotes &= ~bit;
                return true;
            }
            place -= group->remotes[shard];
        }
    }
    return false;
}

/* ---- there ---- */

static char *put(char *at, struct bytes bytes)
{
    if (bytes.count > 0)
        memcpy(at, bytes.data, bytes.count);
    return at + bytes.count;
}

static void pass_on(const struct route *route, uint32_t shard_index, bool is_plain,
                    struct bytes queue)
{
    const struct parcel *parcel = route->parcel;
    const struct msg *msg = &parcel->msg;
    struct passed head = {
        .muted_cid = route->muted_cid,
        .origin = route->origin,
        .account = route->account,
        .route_count = (uint32_t)route->subject.count,
        .queue_count = (uint32_t)queue.count,
        .subject_count = (uint32_t)msg->subject.count,
        .reply_count = (uint32_t)msg->reply.count,
        .headers_count = (uint32_t)msg->headers.count,
        .payload_count = (uint32_t)msg->payload.count,
        .headers_digits_count = (uint8_t)parcel->headers_digits.count,
        .total_digits_count = (uint8_t)parcel->total_digits.count,
        .is_plain = is_plain,
        .hops = (uint8_t)route->hops,
    };
    bool is_same = route->subject.data == msg->subject.data;
    if (is_same)
        head.route_count = 0;
    size_t bytes = sizeof(head) + head.route_count + head.queue_count + head.subject_count
                   + head.reply_count + head.headers_count + head.payload_count
                   + head.headers_digits_count + head.total_digits_count;
    struct passed *passed =
        mailbox_reserve(route->net->shard, shard_index, on_passed, (uint32_t)bytes);
    *passed = head;
    char *at = put(passed->texts, is_same ? (struct bytes){NULL, 0} : route->subject);
    at = put(at, queue);
    at = put(at, msg->subject);
    at = put(at, msg->reply);
    at = put(at, parcel->headers_digits);
    at = put(at, parcel->total_digits);
    at = put(at, msg->headers);
    (void)put(at, msg->payload);
    flow_note_sent(route->net, shard_index, bytes);
}

static struct bytes get(const char **at, size_t count)
{
    struct bytes bytes = bytes_of(*at, count);
    *at += count;
    return bytes;
}

/*
 * Another shard chose this one. If its queue member has left meanwhile, the message goes to another member of the group,
 * wherever that is: who drains a subscription loses nothing.
 */
static void on_passed(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    const struct passed *passed = payload;
    struct net *net = net_of(shard);
    flow_begin(net);
    net->flow.got[from] += bytes;
    const char *at = passed->texts;
    struct bytes route_subject = get(&at, passed->route_count);
    struct bytes queue = get(&at, passed->queue_count);
    struct parcel parcel;
    parcel.msg.subject = get(&at, passed->subject_count);
    parcel.msg.reply = get(&at, passed->reply_count);
    parcel.headers_digits = get(&at, passed->headers_digits_count);
    parcel.total_digits = get(&at, passed->total_digits_count);
    parcel.msg.headers = get(&at, passed->headers_count);
    parcel.msg.payload = get(&at, passed->payload_count);
    struct route route = {
        .net = net,
        .account = passed->account,
        .muted_cid = passed->muted_cid,
        .subject = route_subject.count > 0 ? route_subject : parcel.msg.subject,
        .parcel = &parcel,
        .hops = passed->hops + 1u,
    };
    ASSERT(!net->is_routing);
    subscriptions_match(net_tree(net, passed->account), route.subject, &net->match);
    net->is_routing = true;
    if (passed->is_plain)
        (void)deliver_plain(&route); /* who asked has counted this shard as taken */
    uint64_t none = 0;
    for (uint32_t i = 0; i < net->match.group_count && queue.count > 0; i++) {
        if (!bytes_equal(queue_group_name(net->match.groups[i]), queue))
            continue;
        if (!deliver_group(&route, i, true, &none) && route.hops < HOPS_MAX)
            (void)deliver_group(&route, i, false, &none);
        break;
    }
    net->is_routing = false;
    expire_exhausted(net);
    if (route.hops == 1)
        flow_slow_down(net, from, &passed->origin);
}
