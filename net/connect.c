/*
 * net/connect.c: CONNECT, and the JSON rules it has.
 *
 * Source: core-protocol.md section 4 (checked on nats-server 2.15.2).
 * Runs on: the connection's shard.
 */
#include <inttypes.h>

#include "core/diag.h"
#include "core/json.h"
#include "net/authority.h"
#include "net/dispatch.h"
#include "net/server.h"

enum field_kind { FIELD_BOOL, FIELD_INTEGER, FIELD_TEXT };

/* A field left out, or null, changes nothing. Those without a place are only checked. */
static const struct field {
    const char *name;
    size_t offset; /* in struct conn_client */
    enum field_kind kind;
    bool is_kept;
} fields[] = {
    {"verbose", offsetof(struct conn_client, is_verbose), FIELD_BOOL, true},
    {"pedantic", offsetof(struct conn_client, is_pedantic), FIELD_BOOL, true},
    {"echo", offsetof(struct conn_client, has_echo), FIELD_BOOL, true},
    {"headers", offsetof(struct conn_client, has_headers), FIELD_BOOL, true},
    {"no_responders", offsetof(struct conn_client, wants_no_responders), FIELD_BOOL, true},
    {"protocol", offsetof(struct conn_client, protocol), FIELD_INTEGER, true},
    {"name", offsetof(struct conn_client, name), FIELD_TEXT, true},
    {"lang", offsetof(struct conn_client, lang), FIELD_TEXT, true},
    {"version", offsetof(struct conn_client, version), FIELD_TEXT, true},
    {"tls_required", 0, FIELD_BOOL, false},
    {"user", offsetof(struct conn_client, user), FIELD_TEXT, true},
    {"pass", offsetof(struct conn_client, password), FIELD_TEXT, true},
    {"auth_token", offsetof(struct conn_client, token), FIELD_TEXT, true},
    {"nkey", 0, FIELD_TEXT, false},
    {"sig", 0, FIELD_TEXT, false},
    {"jwt", 0, FIELD_TEXT, false},
    {"account", 0, FIELD_TEXT, false},
    {"new_account", 0, FIELD_BOOL, false},
    {"proxy_sig", 0, FIELD_TEXT, false},
};

static struct json *parse_object(struct bytes text);
static bool take_fields(struct conn *conn, const struct json *object);
static bool take_field(struct conn *conn, const struct field *field, const struct json *value);
static bool has_whole_protocol(struct bytes text);
static void replace_text(struct conn *conn, char **place, struct bytes text);

void connect_handle(struct conn *conn, struct bytes argument)
{
    struct json *object = parse_object(argument);
    bool is_good = object != NULL && has_whole_protocol(argument) && take_fields(conn, object);
    json_free(object);
    if (!is_good) {
        diag_debug("%s:%u - %s:%" PRIu64 " - CONNECT is not understood", conn->ip, conn->port,
                   conn_id_word(conn), conn->cid);
        conn_close(conn, CONN_REASON_PROTOCOL);
        return;
    }
    if (conn->net->server->options->no_header_support)
        conn->client.has_headers = false;
    conn->parser.has_headers = conn->client.has_headers;
    if (conn->client.is_connected)
        conn_drop_subscriptions(conn);
    conn->is_connecting = true;
    if (authority_decide(conn) == AUTHORITY_ADMITTED)
        connect_admitted(conn);
}

/* It is in; what else it said is checked after that. */
void connect_admitted(struct conn *conn)
{
    bool is_first = !conn->client.is_connected;
    conn->is_connecting = false;
    conn->client.is_connected = true;
    if (conn->client.protocol < 0 || conn->client.protocol > 1) {
        conn_say_error(conn, "invalid client protocol");
        conn_close(conn, CONN_REASON_PROTOCOL_VERSION);
        return;
    }
    if (conn->client.wants_no_responders && !conn->client.has_headers) {
        conn_say_error(conn, "no responders requires headers support");
        conn_close(conn, CONN_REASON_NO_RESPONDERS);
        return;
    }
    if (conn->client.is_verbose)
        conn_say(conn, BYTES_LITERAL("+OK\r\n"));
    if (is_first)
        conn_start_pings(conn);
}

void connect_check_info(struct conn *conn, struct bytes argument)
{
    struct json *object = parse_object(argument);
    if (object == NULL)
        conn_close(conn, CONN_REASON_PROTOCOL);
    json_free(object);
}

/* An object, or null, and nothing behind it. */
static struct json *parse_object(struct bytes text)
{
    struct bytes rest = {NULL, 0};
    const char *why = NULL;
    struct json *json = json_parse(text, &rest, &why);
    if (json == NULL)
        return NULL;
    enum json_type type = json_type(json);
    if ((type == JSON_OBJECT || type == JSON_NULL) && rest.count == 0)
        return json;
    json_free(json);
    return NULL;
}

static bool take_fields(struct conn *conn, const struct json *object)
{
    if (json_type(object) == JSON_NULL)
        return true;
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        const struct json *value = json_member(object, fields[i].name);
        if (value != NULL && json_type(value) != JSON_NULL && !take_field(conn, &fields[i], value))
            return false;
    }
    return true;
}

static bool take_field(struct conn *conn, const struct field *field, const struct json *value)
{
    char *place = (char *)&conn->client + field->offset;
    int64_t number = 0;
    switch (field->kind) {
    case FIELD_BOOL:
        if (json_type(value) != JSON_BOOL)
            return false;
        if (field->is_kept)
            *(bool *)place = json_bool(value);
        return true;
    case FIELD_INTEGER:
        if (!json_i64(value, &number))
            return false;
        if (field->is_kept)
            *(int64_t *)(void *)place = number;
        return true;
    case FIELD_TEXT:
        if (json_type(value) != JSON_STRING)
            return false;
        if (field->is_kept)
            replace_text(conn, (char **)(void *)place, json_string(value));
        return true;
    }
    return false;
}

/* 1.0 and 1e0 are whole numbers to JSON, but no integers to the reference; core/json does not tell them apart. */
static bool has_whole_protocol(struct bytes text)
{
    static const char name[] = "\"protocol\"";
    for (size_t at = 0; at + sizeof(name) - 1 <= text.count; at++) {
        if (strncasecmp(text.data + at, name, sizeof(name) - 1) != 0)
            continue;
        at += sizeof(name) - 1;
        while (at < text.count && strchr(" \t\r:", text.data[at]) != NULL)
            at++;
        while (at < text.count && strchr("-0123456789", text.data[at]) != NULL)
            at++;
        return at == text.count || strchr(".eE", text.data[at]) == NULL;
    }
    return true;
}

static void replace_text(struct conn *conn, char **place, struct bytes text)
{
    heap_free(*place);
    *place = heap_alloc(conn->net->shard->heap, text.count + 1);
    memcpy(*place, text.data, text.count);
    (*place)[text.count] = '\0';
}
