/*
 * net/system.c: what the server itself answers below $SYS: who am I. Everything else there has no responders.
 *
 * Runs on: the shard of the connection that asks.
 */
#include "net/system.h"

#include "core/text.h"
#include "net/authority.h"
#include "net/route.h"
#include "net/server.h"

static void append_server(struct text *text, const struct net *net)
{
    const struct server *server = net->server;
    text_append_literal(text, "{\"server\":{\"name\":");
    text_append_json_string(text, bytes_of_text(server->name));
    text_append_literal(text, ",\"host\":");
    text_append_json_string(text, bytes_of_text(server->options->host));
    text_append_format(text, ",\"id\":\"%s\",\"ver\":\"" PAIL_NATS_VERSION "\",\"jetstream\":%s",
                       server->id, server->world != NULL ? "true" : "false");
    text_append_format(text, ",\"flags\":%d,\"seq\":0,\"time\":\"", server->world != NULL ? 7 : 0);
    text_append_time(text, shard_wall_ns(net->shard));
    text_append_literal(text, "\"}");
}

bool system_answer(struct conn *conn, const struct msg *msg)
{
    if (!bytes_equal(msg->subject, BYTES_LITERAL("$SYS.REQ.USER.INFO")))
        return false;
    struct text text = {.data = NULL};
    append_server(&text, conn->net);
    text_append_literal(&text, ",\"data\":");
    authority_append_info(&text, conn);
    text_append_literal(&text, "}");
    struct parcel parcel = {.msg = {.subject = msg->reply, .payload = text_bytes(&text)}};
    (void)route_message(conn->net, conn->account, NULL, msg->reply,
                        &parcel); /* who asked may be gone */
    text_free(&text);
    return true;
}
