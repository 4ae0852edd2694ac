/*
 * net/trace.c: one line for each operation, and one for each payload.
 */
#include "net/trace.h"

#include <inttypes.h>
#include <strings.h>

#include "core/json.h"
#include "core/text.h"

enum { PAYLOAD_BYTES_MAX = 4096 }; /* a line of the log has not much more room */

static void say(const struct conn *conn, const char *direction, const char *what,
                const struct text *text)
{
    diag_line(DIAG_TRACE, "%s:%u - %s:%" PRIu64 " - %s %s[%.*s]", conn->ip, conn->port,
              conn_id_word(conn), conn->cid, direction, what, (int)text->count,
              text->data == NULL ? "" : text->data);
}

static void append_word(struct text *text, struct bytes word)
{
    if (word.count == 0)
        return;
    text_append_literal(text, " ");
    text_append(text, word);
}

static void say_bytes(const struct conn *conn, const char *direction, const char *what,
                      struct bytes bytes)
{
    struct text text = {0};
    uint32_t most = conn->net->limits.traced_bytes_max;
    if (most == 0 || most > PAYLOAD_BYTES_MAX)
        most = PAYLOAD_BYTES_MAX;
    bool is_cut = bytes.count > most;
    text_append_json_string(&text, bytes_of(bytes.data, is_cut ? most : bytes.count));
    if (is_cut) { /* "hel..." */
        text.count--;
        text_append_literal(&text, "...\"");
    }
    say(conn, direction, what, &text);
    text_free(&text);
}

/* With trace_headers only what stands before the payload. */
static void say_payload(const struct conn *conn, const char *direction, const struct msg *msg)
{
    bool traces_headers = conn->net->limits.traces_headers;
    if (!traces_headers)
        say_bytes(conn, direction, "MSG_PAYLOAD: ", msg->payload);
    else if (msg->headers.count > 4)
        say_bytes(conn, direction, "MSG_PAYLOAD: ",
                  bytes_of(msg->headers.data, msg->headers.count - 4)); /* without the empty line */
}

/* Whether the value of this member of CONNECT is a secret. */
static bool is_secret(struct bytes name)
{
    static const char *const secrets[] = {"pass", "auth_token", "sig", "nkey", "jwt"};
    for (unsigned i = 0; i < COUNT_OF(secrets); i++) {
        if (strlen(secrets[i]) == name.count && strncasecmp(secrets[i], name.data, name.count) == 0)
            return true;
    }
    return false;
}

static void append_value(struct text *text, const struct json *value)
{
    int64_t number = 0;
    switch (json_type(value)) {
    case JSON_STRING:
        text_append_json_string(text, json_string(value));
        return;
    case JSON_BOOL:
        text_append_literal(text, json_bool(value) ? "true" : "false");
        return;
    case JSON_NUMBER:
        (void)json_i64(value, &number); /* CONNECT has no fractions that mean anything */
        text_append_i64(text, number);
        return;
    case JSON_NULL:
        text_append_literal(text, "null");
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        text_append_literal(text, "{...}");
        return;
    }
}

static void append_connect(struct text *text, struct bytes argument)
{
    struct bytes rest;
    const char *why;
    struct json *json = json_parse(argument, &rest, &why);
    text_append_literal(text, " {");
    const struct json *member =
        json != NULL && json_type(json) == JSON_OBJECT ? json_first(json) : NULL;
    for (const char *separator = ""; member != NULL; member = json_next(member)) {
        text_append_literal(text, separator);
        text_append_json_string(text, json_name(member));
        text_append_literal(text, ":");
        if (is_secret(json_name(member)))
            text_append_literal(text, "\"[REDACTED]\"");
        else
            append_value(text, member);
        separator = ",";
    }
    text_append_literal(text, "}");
    json_free(json);
}

static void append_publish(struct text *text, const struct msg *msg)
{
    text_append_literal(text, msg->headers.count > 0 ? "HPUB" : "PUB");
    append_word(text, msg->subject);
    append_word(text, msg->reply);
    if (msg->headers.count > 0)
        text_append_format(text, " %zu", msg->headers.count);
    text_append_format(text, " %zu", msg->headers.count + msg->payload.count);
}

void trace_operation(const struct conn *conn, const struct operation *operation)
{
    static const char *const names[] = {"CONNECT", "PUB",  "SUB", "UNSUB", "PING",
                                        "PONG",    "INFO", "+OK", "-ERR"};
    struct text text = {0};
    if (operation->kind == OPERATION_PUB)
        append_publish(&text, &operation->msg);
    else
        text_append_literal(&text, names[operation->kind]);
    if (operation->kind == OPERATION_CONNECT)
        append_connect(&text, operation->argument);
    append_word(&text, operation->kind == OPERATION_SUB ? operation->subject : (struct bytes){0});
    append_word(&text, operation->kind == OPERATION_SUB ? operation->queue : (struct bytes){0});
    bool has_sid = operation->kind == OPERATION_SUB || operation->kind == OPERATION_UNSUB;
    append_word(&text, has_sid ? operation->sid : (struct bytes){0});
    if (operation->kind == OPERATION_UNSUB && operation->max > 0)
        text_append_format(&text, " %" PRIu64, operation->max);
    say(conn, "<<-", "", &text);
    text_free(&text);
    if (operation->kind == OPERATION_PUB)
        say_payload(conn, "<<-", &operation->msg);
}

void trace_text(const struct conn *conn, struct bytes sent)
{
    struct text text = {0};
    while (sent.count > 0 && strchr("\r\n ", sent.data[sent.count - 1]) != NULL)
        sent.count--;
    text_append(&text, sent);
    say(conn, "->>", "", &text);
    text_free(&text);
}

void trace_message(const struct conn *conn, const struct parcel *parcel, struct bytes sid,
                   bool has_headers)
{
    const struct msg *msg = &parcel->msg;
    struct text text = {0};
    bool shows_headers = has_headers && msg->headers.count > 0;
    text_append_literal(&text, shows_headers ? "HMSG" : "MSG");
    append_word(&text, msg->subject);
    append_word(&text, sid);
    append_word(&text, msg->reply);
    if (shows_headers)
        text_append_format(&text, " %zu", msg->headers.count);
    text_append_format(&text, " %zu",
                       msg->payload.count + (shows_headers ? msg->headers.count : 0));
    say(conn, "->>", "", &text);
    text_free(&text);
    say_payload(conn, "->>", msg);
}
