/*
 * net/authority.c: who a connection is, and whether it may come in.
 *
 *     open ──► not in ──CONNECT──► [a bcrypt hash is worked out, input held] ──► in ──another CONNECT──► …
 *                 └── timeout, another operation first, wrong credentials ──► -ERR, closed
 *
 * Keeps:   a connection that is not in has run nothing but CONNECT. conn->user points into net->auth, or is NULL: nobody needs to be
 *          anyone. Credentials are compared with the configuration of now, also when a hash took its time.
 * Owns:    nothing; net->auth is shared, and never changes while a shard has it.
 * Runs on: the connection's shard.
 *
 * Source: core-protocol.md sections 1 and 12, server-interface.md section 8 (checked on nats-server 2.15.2).
 */
#include "net/authority.h"

#include <inttypes.h>

#include "core/assert.h"
#include "core/diag.h"
#include "core/mailbox.h"
#include "net/dispatch.h"
#include "net/imports.h"
#include "net/password.h"
#include "net/permissions.h"
#include "net/server.h"

static void on_timeout(struct timer *timer);
static void on_password(struct net *net, const struct origin *origin, struct bytes hash,
                        bool is_good);

static struct bytes given(const char *text)
{
    return text == NULL ? (struct bytes){"", 0} : bytes_of_text(text);
}

static bool has_credentials(const struct conn *conn)
{
    return given(conn->client.user).count + given(conn->client.password).count
               + given(conn->client.token).count
           > 0;
}

static void refuse(struct conn *conn)
{
    struct bytes user = given(conn->client.user);
    if (user.count > 0)
        diag_error("%s:%u - cid:%" PRIu64 " - authentication error - User \"%.*s\"", conn->ip,
                   conn->port, conn->cid, (int)user.count, user.data);
    else
        diag_error("%s:%u - cid:%" PRIu64 " - authentication error%s", conn->ip, conn->port,
                   conn->cid, given(conn->client.token).count > 0 ? " - Token \"[REDACTED]\"" : "");
    conn_say_error(conn, "Authorization Violation");
    conn_close(conn, CONN_REASON_AUTHENTICATION);
}

/* It is this user from now on; NULL: anyone. */
static void admit(struct conn *conn, const struct user *user)
{
    const struct auth_account *account = auth_account_of(conn->net->auth, user);
    if (conn->account != account->id)
        conn->inbox_generation = 0;
    conn->user = user;
    conn->account = conn->origin.account = account->id;
    conn->permissions = user == NULL ? NULL : user->permissions;
    conn->has_deny_filter = false;
    conn->has_imports = account->import_count > 0;
    conn->is_admitted = true;
}

/* ---- coming in ---- */

void authority_open(struct conn *conn)
{
    struct net *net = conn->net;
    if (!net->auth->is_required) {
        admit(conn, NULL);
        return;
    }
    timer_start(net->shard->timers, &conn->ping_timer,
                shard_now_ns(net->shard) + net->auth->timeout_ns, on_timeout);
}

static void on_timeout(struct timer *timer)
{
    struct conn *conn = CONTAINER_OF(timer, struct conn, ping_timer);
    ASSERT(!conn->is_admitted);
    conn_say_error(conn, "Authentication Timeout");
    conn_close(conn, CONN_REASON_AUTHENTICATION_TIMEOUT);
}

/* Who begins with something else has said nothing of itself: as after an empty CONNECT. */
bool authority_begin(struct conn *conn, char first)
{
    conn->has_begun = true;
    if (first == 'C' || first == 'c')
        return true;
    if (authority_decide(conn) != AUTHORITY_ADMITTED)
        return false;
    conn_start_pings(conn);
    return true;
}

/* The one who the credentials say it is; NULL: there is no such user. *password_out is what it has to prove itself with. */
static const struct user *find_user(const struct conn *conn, struct bytes *password_out)
{
    const struct auth *auth = conn->net->auth;
    struct bytes name = given(conn->client.user);
    *password_out = given(conn->client.password);
    if (auth->user_count > 0 && !has_credentials(conn) && auth->no_auth_user != NULL) {
        *password_out = auth->no_auth_user->password;
        return auth->no_auth_user;
    }
    if (auth->user_count > 0 && !has_credentials(conn) && auth->anonymous != NULL)
        return auth->anonymous;
    if (auth->user_count > 0 && name.count > 0)
        return auth_user(auth, name);
    if (auth->token != NULL) {
        *password_out = given(conn->client.token);
        return auth->token;
    }
    if (auth->single != NULL && password_equals(auth->single->name, name))
        return auth->single;
    return NULL;
}

static bool may_come_this_way(const struct conn *conn, const struct user *user)
{
    uint32_t way = conn->websocket != NULL ? AUTH_CONNECTION_WEBSOCKET : AUTH_CONNECTION_STANDARD;
    return user->connection_types == 0 || (user->connection_types & way) != 0;
}

enum authority_answer authority_decide(struct conn *conn)
{
    struct net *net = conn->net;
    struct bytes password;
    if (!net->auth->is_required) {
        admit(conn, NULL);
        return AUTHORITY_ADMITTED;
    }
    const struct user *user = find_user(conn, &password);
    if (user == NULL || !may_come_this_way(conn, user)) {
        refuse(conn);
        return AUTHORITY_REFUSED;
    }
    if (!password_is_bcrypt(user->password)) {
        if (password_equals(user->password, password)) {
            admit(conn, user);
            return AUTHORITY_ADMITTED;
        }
        refuse(conn);
        return AUTHORITY_REFUSED;
    }
    if (conn->check != NULL)
        password_check_cancel(net, conn->check);
    conn->check = password_check_start(net, &conn->origin, user->password, password, on_password);
    if (conn->check == NULL) {
        refuse(conn);
        return AUTHORITY_REFUSED;
    }
    conn_pause(conn, CONN_PAUSE_PASSWORD);
    return AUTHORITY_LATER;
}

/* The configuration may have changed meanwhile: then what it says now has to be worked out. */
static void on_password(struct net *net, const struct origin *origin, struct bytes hash,
                        bool is_good)
{
    struct conn *conn = conn_find(net, origin);
    if (conn == NULL)
        return;
    struct bytes password;
    conn->check = NULL;
    conn_unpause(conn, CONN_PAUSE_PASSWORD);
    const struct user *user = net->auth->is_required ? find_user(conn, &password) : NULL;
    bool is_same = user != NULL && bytes_equal(user->password, hash);
    if (is_same && !is_good) {
        refuse(conn);
        return;
    }
    bool was_admitted = conn->is_admitted;
    if (is_same) {
        admit(conn, user);
        imports_follow_all(conn);
    } else if (authority_decide(conn) != AUTHORITY_ADMITTED)
        return;
    if (conn->is_connecting)
        connect_admitted(conn);
    else if (!was_admitted)
        conn_start_pings(conn);
}

void authority_close(struct conn *conn)
{
    if (conn->check != NULL)
        password_check_cancel(conn->net, conn->check);
    conn->check = NULL;
    permissions_free_replies(conn);
}

/* ---- another configuration ---- */

/* One swap, from shard 0 to all and back. */
struct swap {
    struct auth *next, *old;
    uint32_t waiting;
};

static void on_swap(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

bool authority_swap(struct net *net, struct auth *next)
{
    struct server *server = net->server;
    ASSERT_ON_SHARD(net->shard);
    ASSERT(net->shard->index == 0);
    if (!auth_bind(next, server->accounts, server->world != NULL))
        return false;
    struct swap *swap = heap_alloc(net->shard->heap, sizeof(*swap));
    *swap = (struct swap){next, server->auth, server->shard_count};
    server->auth = next;
    for (uint32_t i = 0; i < server->shard_count; i++)
        mailbox_send(net->shard, i, on_swap, &swap, sizeof(swap));
    return true;
}

static void on_swapped(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct swap *swap;
    ASSERT(bytes == sizeof(swap));
    memcpy(&swap, payload, sizeof(swap));
    (void)shard;
    (void)from;
    if (--swap->waiting > 0)
        return;
    auth_free(swap->old);
    heap_free(swap);
}

/* Subscriptions that are not permitted any more go, and their client is told. */
static void drop_forbidden(struct conn *conn)
{
    uint32_t count = conn->sids.count, found = 0;
    if (count == 0 || conn->permissions == NULL)
        return;
    struct subscription **all =
        heap_alloc(conn->net->shard->heap, count * sizeof(struct subscription *));
    for (uint32_t i = 0; i < conn->sids.capacity; i++) {
        if (conn->sids.slots[i] != NULL)
            all[found++] = conn->sids.slots[i];
    }
    for (uint32_t i = 0; i < found; i++) {
        if (all[i]->node == NULL)
            continue; /* used up by what the removal of another one delivered */
        struct bytes subject = subscription_subject(all[i]), queue = subscription_queue(all[i]);
        if (permissions_subscribe(conn, subject, queue))
            continue;
        permissions_say_subscription(conn, subject, queue, subscription_sid(all[i]));
        conn_unsubscribe(conn, all[i]);
    }
    heap_free(all);
}

/* `old` is still there: conn->user points into it. */
static void reconsider(struct conn *conn)
{
    struct net *net = conn->net;
    const struct user *old = conn->user;
    if (conn->state != CONN_OPEN) {
        conn->user = NULL;
        conn->permissions = NULL;
        return;
    }
    if (!conn->is_admitted)
        return; /* it will be decided by the new one */
    if (old != NULL && !net->auth->is_required) {
        conn->user = NULL;
        conn->permissions = NULL;
        conn_close(conn, CONN_REASON_CLIENT); /* the whole block is gone */
        return;
    }
    struct bytes password;
    const struct user *user = net->auth->is_required ? find_user(conn, &password) : NULL;
    uint32_t account = auth_account_of(net->auth, user)->id;
    conn->user = NULL;
    conn->permissions = NULL;
    if (old != NULL && (user == NULL || account != conn->account)) {
        conn_close(conn, CONN_REASON_CLIENT);
        return;
    }
    bool is_same = old != NULL && user != NULL && bytes_equal(old->password, user->password);
    if (is_same || !net->auth->is_required) {
        admit(conn, user);
        drop_forbidden(conn);
        imports_follow_all(conn);
    } else if (authority_decide(conn) == AUTHORITY_ADMITTED) {
        drop_forbidden(conn);
        imports_follow_all(conn);
    }
}

static void on_swap(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    struct swap *swap;
    ASSERT(bytes == sizeof(swap));
    memcpy(&swap, payload, sizeof(swap));
    net->auth = swap->next;
    for (uint32_t i = 0; i < net->slot_count; i++) {
        if (net->slots[i].conn != NULL)
            reconsider(net->slots[i].conn);
    }
    mailbox_send(shard, from, on_swapped, &swap, sizeof(swap));
}

/* ---- who am I ---- */

static void append_rules(struct text *text, const char *name, const struct rules *rules,
                         const char **separator)
{
    if (rules->count == 0)
        return;
    text_append_format(text, "%s\"%s\":[", *separator, name);
    for (uint32_t i = 0; i < rules->count; i++) {
        struct text entry = {.data = NULL};
        text_append(&entry, rules->items[i].subject);
        if (rules->items[i].queue.count > 0) {
            text_append_literal(&entry, " ");
            text_append(&entry, rules->items[i].queue);
        }
        text_append_literal(text, i == 0 ? "" : ",");
        text_append_json_string(text, text_bytes(&entry));
        text_free(&entry);
    }
    text_append_literal(text, "]");
    *separator = ",";
}

static void append_permissions(struct text *text, const struct permissions *permissions)
{
    const char *separator = "";
    text_append_literal(text, ",\"permissions\":{\"publish\":{");
    append_rules(text, "allow", &permissions->publish_allow, &separator);
    append_rules(text, "deny", &permissions->publish_deny, &separator);
    separator = "";
    text_append_literal(text, "},\"subscribe\":{");
    append_rules(text, "allow", &permissions->subscribe_allow, &separator);
    append_rules(text, "deny", &permissions->subscribe_deny, &separator);
    text_append_literal(text, "}");
    if (permissions->has_responses)
        text_append_format(text, ",\"responses\":{\"max\":%" PRId64 ",\"ttl\":%" PRId64 "}",
                           permissions->responses_max, permissions->responses_ns);
    text_append_literal(text, "}");
}

void authority_append_info(struct text *text, const struct conn *conn)
{
    struct bytes account = account_name(conn->net->server->accounts, conn->account);
    const struct user *user = conn->user;
    text_append_literal(text, "{\"user\":");
    text_append_json_string(text, user == NULL     ? (struct bytes){"", 0}
                                  : user->is_token ? BYTES_LITERAL("[REDACTED]")
                                                   : user->name);
    text_append_literal(text, ",\"account\":");
    text_append_json_string(text, account);
    text_append_literal(text, ",\"account_name\":");
    text_append_json_string(text, account);
    if (user != NULL && user->permissions != NULL)
        append_permissions(text, user->permissions);
    text_append_literal(text, "}");
}
