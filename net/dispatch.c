/*
 * net/dispatch.c: what each operation of a client does.
 *
 * Keeps:   +OK comes before anything the operation delivers to its own connection; a message that kv wants handed in again
 *          (KV_RETRY) has had no effect yet but its +OK.
 * Runs on: the connection's shard.
 *
 * Source: core-protocol.md sections 6 to 9 (checked on nats-server 2.15.2).
 */
#include "net/dispatch.h"

#include "core/assert.h"
#include "core/subject.h"
#include "core/text.h"
#include "net/flow.h"
#include "net/imports.h"
#include "net/interest.h"
#include "net/permissions.h"
#include "net/route.h"
#include "net/server.h"
#include "net/system.h"
#include "net/trace.h"

static void on_publish(struct conn *conn, const struct operation *operation);
static void publish_into(struct conn *conn, const struct operation *operation,
                         const struct imported *imported);
static bool admit(struct conn *conn, const struct msg *msg);
static void forbid(struct conn *conn, const char *what, struct bytes subject, const char *why);
static void answer_nobody(struct conn *conn, const struct msg *msg);
static void on_subscribe(struct conn *conn, const struct operation *operation);
static void on_unsubscribe(struct conn *conn, const struct operation *operation);
static void on_ping(struct conn *conn);
static void on_pong(struct conn *conn);

void dispatch(struct conn *conn, const struct operation *operation)
{
    if (trace_is_on())
        trace_operation(conn, operation);
    switch (operation->kind) {
    case OPERATION_PUB:
        on_publish(conn, operation);
        return;
    case OPERATION_SUB:
        on_subscribe(conn, operation);
        return;
    case OPERATION_UNSUB:
        on_unsubscribe(conn, operation);
        return;
    case OPERATION_PING:
        on_ping(conn);
        return;
    case OPERATION_PONG:
        on_pong(conn);
        return;
    case OPERATION_CONNECT:
        connect_handle(conn, operation->argument);
        return;
    case OPERATION_INFO:
        connect_check_info(conn, operation->argument);
        return;
    case OPERATION_OK:
        return;
    case OPERATION_ERR:
        conn_close(conn, CONN_REASON_PARSE);
        return;
    }
}

static void note_activity(struct conn *conn)
{
    conn->active_ns = shard_now_ns(conn->net->shard);
    conn->active_wall_ns = shard_wall_ns(conn->net->shard);
}

static void say_ok(struct conn *conn)
{
    if (conn->client.is_verbose)
        conn_say(conn, BYTES_LITERAL("+OK\r\n"));
}

/* ---- PUB ---- */

static void on_publish(struct conn *conn, const struct operation *operation)
{
    struct net *net = conn->net;
    const struct msg *msg = &operation->msg;
    if (!conn->is_repeated && !admit(conn, msg))
        return;
    conn->is_repeated = false;

    struct imported imported;
    if (conn->has_imports && imports_find_service(conn, msg, &imported)) {
        publish_into(conn, operation, &imported);
        imported_free(&imported);
        return;
    }
    enum kv_take take = net->kv == NULL ? KV_NONE : kv_publish(net->kv, &conn->origin, msg);
    if (take == KV_RETRY) {
        conn->is_repeated = true;
        conn_pause(conn, CONN_PAUSE_KV);
        return;
    }
    if (take == KV_TAKEN_WAIT)
        conn_pause(conn, CONN_PAUSE_KV);

    struct parcel parcel = {*msg, operation->headers_digits, operation->total_digits};
    bool is_taken = route_message(net, conn->account, conn, msg->subject, &parcel);
    flow_hold_back(net, conn);
    if (take != KV_NONE || msg->reply.count == 0 || system_answer(conn, msg) || is_taken)
        return;
    if (conn->client.wants_no_responders)
        answer_nobody(conn, msg);
}

/* A request to a service of another account; its own subscribers of the subject hear it, too. */
static void publish_into(struct conn *conn, const struct operation *operation,
                         const struct imported *imported)
{
    struct net *net = conn->net;
    struct msg there = operation->msg;
    struct origin origin = conn->origin;
    there.subject = text_bytes(&imported->subject);
    there.reply = text_bytes(&imported->reply);
    origin.account = imported->account;
    enum kv_take take = net->kv == NULL ? KV_NONE : kv_publish(net->kv, &origin, &there);
    if (take == KV_RETRY) {
        conn->is_repeated = true;
        conn_pause(conn, CONN_PAUSE_KV);
        return;
    }
    if (take == KV_TAKEN_WAIT)
        conn_pause(conn, CONN_PAUSE_KV);
    struct parcel parcel = {there, operation->headers_digits, operation->total_digits};
    bool is_taken = route_message(net, imported->account, conn, there.subject, &parcel);
    flow_hold_back(net, conn);
    parcel.msg = operation->msg;
    is_taken |= route_message(net, conn->account, conn, operation->msg.subject, &parcel);
    flow_hold_back(net, conn);
    if (!is_taken && take == KV_NONE && operation->msg.reply.count > 0
        && conn->client.wants_no_responders)
        answer_nobody(conn, &operation->msg);
}

/* Counts and checks. False: it goes nowhere, and the client was told. */
static bool admit(struct conn *conn, const struct msg *msg)
{
    uint64_t bytes = msg->headers.count + msg->payload.count;
    conn->in_msgs++;
    conn->in_bytes += bytes;
    conn->net->figures.in_msgs++;
    conn->net->figures.in_bytes += bytes;
    note_activity(conn);
    if (conn->client.is_pedantic
        && !(subject_is_publishable(msg->subject) && subject_is_literal(msg->subject)))
        conn_say_error(conn, "Invalid Publish Subject"); /* and yet it is routed */
    if (bytes_start_with(msg->reply, BYTES_LITERAL("$JS.ACK."))
        || bytes_start_with(msg->reply, BYTES_LITERAL("_R_."))) {
        forbid(conn, "Publish with Reply of", msg->reply, "");
        return false;
    }
    if (!conn_may_publish(conn, msg->subject)) {
        permissions_say_publish(conn, msg->subject);
        return false;
    }
    say_ok(conn);
    return true;
}

static void forbid(struct conn *conn, const char *what, struct bytes subject, const char *why)
{
    struct text text = {.data = NULL};
    text_append_literal(&text, "Permissions Violation for ");
    text_append_literal(&text, what);
    text_append_literal(&text, " ");
    quote_append(&text, subject);
    text_append_literal(&text, why);
    text_append(&text, bytes_of("", 1));
    conn_say_error(conn, text.data);
    text_free(&text);
}

/*
 * Nobody took the request: a status for the one who asked, on a plain subscription of its own that matches the reply. It does
 * not count as a delivery.
 */
static void answer_nobody(struct conn *conn, const struct msg *msg)
{
    struct net *net = conn->net;
    subscriptions_match(net_tree(net, conn->account), msg->reply, &net->match);
    const struct subscription *inbox = NULL;
    for (uint32_t i = 0; i < net->match.plain_count && inbox == NULL; i++) {
        if (net->match.plain[i]->conn == conn)
            inbox = net->match.plain[i];
    }
    if (inbox == NULL)
        return;
    struct text headers = {.data = NULL};
    text_append_literal(&headers, "NATS/1.0 503\r\nNats-Subject: ");
    text_append(&headers, msg->subject);
    text_append_literal(&headers, "\r\n\r\n");
    struct parcel parcel = {.msg = {.subject = msg->reply, .headers = text_bytes(&headers)}};
    encode_message(&conn->output, &net->pool, &parcel, subscription_sid(inbox), true);
    conn_touch(conn);
    text_free(&headers);
}

/* ---- SUB, UNSUB ---- */

static void on_subscribe(struct conn *conn, const struct operation *operation)
{
    struct net *net = conn->net;
    uint32_t count_max = net->server->subscription_count_max;
    note_activity(conn);
    if (!subject_is_valid(operation->subject)) {
        conn_say_error(conn, "Invalid Subject");
        return;
    }
    uint32_t token_max = net->server->options->token_count_max;
    if (token_max != 0 && subject_token_count(operation->subject) > token_max) {
        forbid(conn, "Subscription to", operation->subject, ", too many tokens");
        return;
    }
    if (!conn_may_subscribe(conn, operation->subject, operation->queue)
        || bytes_equal(operation->queue, BYTES_LITERAL("_sys_"))) {
        permissions_say_subscription(conn, operation->subject, operation->queue,
                                     (struct bytes){NULL, 0});
        return;
    }
    if (count_max != 0 && conn->sids.count >= count_max) {
        conn_say_error(conn, "maximum subscriptions exceeded");
        return;
    }
    if (sid_table_find(&conn->sids, operation->sid) == NULL) {
        struct subscription *subscription =
            subscriptions_add(net_tree(net, conn->account), conn, operation->subject,
                              operation->queue, operation->sid);
        sid_table_insert(&conn->sids, net->shard->heap, subscription);
        if (conn->has_imports)
            imports_follow(conn, subscription);
        net->figures.subscriptions++;
        net->figures.subscription_inserts++;
    }
    /* Also for what another connection has just told the others: they may not have heard it yet. */
    conn->interest_seq = net->interest.sent;
    say_ok(conn);
}

static void on_unsubscribe(struct conn *conn, const struct operation *operation)
{
    note_activity(conn);
    struct subscription *subscription = sid_table_find(&conn->sids, operation->sid);
    if (subscription != NULL) {
        subscription->max = operation->max;
        if (subscription->max <= subscription->delivered_count)
            conn_unsubscribe(conn, subscription);
    }
    conn->interest_seq = conn->net->interest.sent;
    say_ok(conn);
}

/* ---- PING, PONG ---- */

static void on_ping(struct conn *conn)
{
    note_activity(conn);
    if (interest_is_shared(conn->net, conn->interest_seq)) {
        conn_pong(conn);
        return;
    }
    conn_pause(conn, CONN_PAUSE_BARRIER);
    net_list_push(conn->net, conn, CONN_LIST_WAITING);
}

/* The second INFO comes behind the first PONG, and only to clients that know it. */
void conn_pong(struct conn *conn)
{
    conn_say(conn, BYTES_LITERAL("PONG\r\n"));
    if (conn->client.is_connected && conn->client.protocol >= 1 && !conn->is_info_sent) {
        conn->is_info_sent = true;
        info_send(conn, INFO_SECOND);
    }
}

static void on_pong(struct conn *conn)
{
    conn->pings_out = 0;
    if (conn->ping_sent_ns != 0)
        conn->rtt_ns = shard_now_ns(conn->net->shard) - conn->ping_sent_ns;
}
