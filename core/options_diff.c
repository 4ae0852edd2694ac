/*
 * core/options_diff.c: what a reload would change, in nats-server's words, and whether a running server can change it.
 *
 * Each option has a row below, with the words of the log where it can change, and with nats-server's name of it where it
 * cannot. An option without a row cannot change.
 *
 * Runs on: the main thread.
 */
#include <inttypes.h>
#include <string.h>

#include "core/options.h"

enum change {
    CHANGE_VALUE,      /* "<words> = <value>" */
    CHANGE_WORDS,      /* "<words>" */
    CHANGE_STALL,      /* "fast producers will [not ]be stalled" */
    CHANGE_STORE_SIZE, /* upwards only, and not from or to the default */
    CHANGE_REFUSED,    /* words: the name for the refusal */
    CHANGE_REFUSED_PLAINLY,
    CHANGE_INVERTED, /* refused; a switch that nats-server has the other way round */
};

struct row {
    const char *field;
    enum change change;
    const char *words;
};

static const struct row rows[] = {
    {"host", CHANGE_REFUSED, "Host"},
    {"port", CHANGE_REFUSED, "Port"},
    {"server_name", CHANGE_REFUSED, "ServerName"},
    {"client_advertise", CHANGE_VALUE, "client_advertise"},
    {"server_tags", CHANGE_WORDS, "tags"},
    {"server_metadata", CHANGE_WORDS, "metadata"},
    {"pid_file", CHANGE_VALUE, "pid_file"},
    {"ports_file_dir", CHANGE_VALUE, "ports_file_dir"},
    {"http_host", CHANGE_REFUSED, "HTTPHost"},
    {"http_port", CHANGE_REFUSED, "HTTPPort"},
    {"http_base_path", CHANGE_REFUSED, "HTTPBasePath"},
    {"jetstream", CHANGE_REFUSED, "JetStream"},
    {"strict", CHANGE_INVERTED, "NoJetStreamStrict"},
    {"store_dir", CHANGE_REFUSED_PLAINLY, "jetstream storage directory"},
    {"memory_store_bytes_max", CHANGE_STORE_SIZE, "JetStream max_mem_store"},
    {"file_store_bytes_max", CHANGE_STORE_SIZE, "JetStream max_file_store"},
    {"log_file", CHANGE_VALUE, "log_file"},
    {"debug", CHANGE_VALUE, "debug"},
    {"trace", CHANGE_VALUE, "trace"},
    {"trace_verbose", CHANGE_VALUE, "trace_verbose"},
    {"trace_headers", CHANGE_VALUE, "trace_headers"},
    {"traced_bytes_max", CHANGE_VALUE, "max_traced_msg_len"},
    {"log_bytes_max", CHANGE_REFUSED, "LogSizeLimit"},
    {"log_count_max", CHANGE_REFUSED, "LogMaxFiles"},
    {"logtime", CHANGE_VALUE, "logtime"},
    {"logtime_utc", CHANGE_VALUE, "logtime_utc"},
    {"payload_bytes_max", CHANGE_VALUE, "max_payload"},
    {"control_line_bytes_max", CHANGE_VALUE, "max_control_line"},
    {"conn_count_max", CHANGE_VALUE, "max_connections"},
    {"pending_bytes_max", CHANGE_REFUSED, "MaxPending"},
    {"subscription_count_max", CHANGE_REFUSED, "MaxSubs"},
    {"token_count_max", CHANGE_REFUSED, "MaxSubTokens"},
    {"closed_count_max", CHANGE_REFUSED, "MaxClosedClients"},
    {"no_header_support", CHANGE_REFUSED, "NoHeaderSupport"},
    {"no_stall", CHANGE_STALL, ""},
    {"ping_interval_ns", CHANGE_VALUE, "ping_interval"},
    {"ping_count_max", CHANGE_VALUE, "ping_max"},
    {"write_deadline_ns", CHANGE_VALUE, "write_deadline"},
    {"lame_duck_duration_ns", CHANGE_REFUSED, "LameDuckDuration"},
    {"lame_duck_grace_ns", CHANGE_REFUSED, "LameDuckGracePeriod"},
    {"websocket_host", CHANGE_REFUSED, "Websocket"},
    {"websocket_port", CHANGE_REFUSED, "Websocket"},
    {"websocket_no_tls", CHANGE_REFUSED, "Websocket"},
    {"websocket_same_origin", CHANGE_REFUSED, "Websocket"},
    {"websocket_allowed_origins", CHANGE_REFUSED, "Websocket"},
    {"websocket_headers", CHANGE_REFUSED, "Websocket"},
    {"websocket_handshake_ns", CHANGE_REFUSED, "Websocket"},
    {"websocket_ping_interval_ns", CHANGE_REFUSED, "Websocket"},
    {"websocket_advertise", CHANGE_REFUSED, "Websocket"},
    {"sync_interval_ns", CHANGE_REFUSED, "SyncInterval"},
};

static bool is_equal(const struct options *a, const struct options *b, const struct option *option);
static const struct row *find_row(const char *field);
static bool explain(const struct options *from, const struct options *to,
                    const struct option *option, struct text *changes, struct text *why);
static bool explain_store_size(const struct options *from, const struct options *to,
                               const struct option *option, const char *words, struct text *changes,
                               struct text *why);
static void append_value(struct text *text, const struct options *options,
                         const struct option *option);
static int64_t number_of(const struct options *options, const struct option *option);

enum status options_diff(const struct options *from, const struct options *to, struct text *changes,
                         struct text *why)
{
    const struct option *option;
    for (size_t i = 0; (option = option_at(i)) != NULL; i++)
        if (!is_equal(from, to, option) && !explain(from, to, option, changes, why))
            return STATUS_INVALID;
    return STATUS_OK;
}

static bool is_equal(const struct options *a, const struct options *b, const struct option *option)
{
    if (option->kind == OPTION_NAME || option->kind == OPTION_PATH || option->kind == OPTION_LIST)
        return strcmp((const char *)a + option->offset, (const char *)b + option->offset) == 0;
    return number_of(a, option) == number_of(b, option);
}

static const struct row *find_row(const char *field)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (strcmp(rows[i].field, field) == 0)
            return &rows[i];
    return NULL;
}

/* False: it cannot change, and `why` says so. */
static bool explain(const struct options *from, const struct options *to,
                    const struct option *option, struct text *changes, struct text *why)
{
    const struct row *row = find_row(option->name);
    enum change change = row != NULL ? row->change : CHANGE_REFUSED;
    const char *words = row != NULL ? row->words : option->name;
    switch (change) {
    case CHANGE_VALUE:
        text_append_format(changes, "%s = ", words);
        append_value(changes, to, option);
        text_append_literal(changes, "\n");
        return true;
    case CHANGE_WORDS:
        text_append_format(changes, "%s\n", words);
        return true;
    case CHANGE_STALL:
        text_append_format(changes, "fast producers will %sbe stalled\n",
                           to->no_stall ? "not " : "");
        return true;
    case CHANGE_STORE_SIZE:
        return explain_store_size(from, to, option, words, changes, why);
    case CHANGE_REFUSED_PLAINLY:
        text_append_format(why, "config reload not supported for %s", words);
        return false;
    case CHANGE_INVERTED:
        text_append_format(why, "config reload not supported for %s: old=%s, new=%s", words,
                           number_of(from, option) != 0 ? "false" : "true",
                           number_of(to, option) != 0 ? "false" : "true");
        return false;
    case CHANGE_REFUSED:
        break;
    }
    text_append_format(why, "config reload not supported for %s: old=", words);
    append_value(why, from, option);
    text_append_literal(why, ", new=");
    append_value(why, to, option);
    return false;
}

static bool explain_store_size(const struct options *from, const struct options *to,
                               const struct option *option, const char *words, struct text *changes,
                               struct text *why)
{
    const char *refusal =
        "config reload not supported for decreasing jetstream max memory and store";
    if (!option_is_set(from, option))
        refusal = "config reload not supported for jetstream dynamic max memory and store";
    else if (!option_is_set(to, option))
        refusal = "config reload not supported for jetstream max memory and max store";
    else if (number_of(to, option) > number_of(from, option))
        refusal = NULL;
    if (refusal != NULL) {
        text_append_literal(why, refusal);
        return false;
    }
    text_append_format(changes, "%s = ", words);
    options_append_size(changes, number_of(to, option));
    text_append_literal(changes, "\n");
    return true;
}

/* 1.00 MB, as nats-server's log has sizes. */
void options_append_size(struct text *text, int64_t bytes)
{
    static const char letters[] = "KMGTPE";
    double number = (double)bytes;
    const char *letter = letters;
    if (bytes < 1024) {
        text_append_format(text, "%" PRIi64 " B", bytes);
        return;
    }
    for (number /= 1024; number >= 1024 && letter[1] != '\0'; letter++)
        number /= 1024;
    text_append_format(text, "%.2f %cB", number, *letter);
}

static void append_value(struct text *text, const struct options *options,
                         const struct option *option)
{
    switch (option->kind) {
    case OPTION_NAME:
    case OPTION_PATH:
    case OPTION_LIST:
        text_append_literal(text, (const char *)options + option->offset);
        break;
    case OPTION_SWITCH:
        text_append_literal(text, number_of(options, option) != 0 ? "true" : "false");
        break;
    case OPTION_PORT:
    case OPTION_COUNT:
    case OPTION_BYTES:
        text_append_i64(text, number_of(options, option));
        break;
    case OPTION_PERIOD:
    case OPTION_SYNC:
        text_append_duration(text, number_of(options, option));
        break;
    }
}

static int64_t number_of(const struct options *options, const struct option *option)
{
    const char *field = (const char *)options + option->offset;
    bool truth;
    int32_t port;
    uint32_t count;
    uint64_t bytes;
    switch (option->kind) {
    case OPTION_SWITCH:
        memcpy(&truth, field, sizeof(truth));
        return truth;
    case OPTION_PORT:
        memcpy(&port, field, sizeof(port));
        return port;
    case OPTION_COUNT:
        memcpy(&count, field, sizeof(count));
        return count;
    case OPTION_BYTES:
    case OPTION_PERIOD:
    case OPTION_SYNC:
        memcpy(&bytes, field, sizeof(bytes));
        return (int64_t)bytes;
    case OPTION_NAME:
    case OPTION_PATH:
    case OPTION_LIST:
        break;
    }
    return 0;
}
