/*
 * core/options.h: every option of pail, one row each; what the command line and the configuration file fill in.
 *
 * Source: server-interface.md section 2 (checked on nats-server 2.15.2).
 */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/status.h"
#include "core/text.h"

#ifndef PAIL_VERSION
#define PAIL_VERSION "0.1.0"
#endif
#ifndef PAIL_NATS_VERSION
#define PAIL_NATS_VERSION "2.15.2" /* the nats-server level that clients may expect */
#endif

struct auth; /* core/auth.h */

enum {
    OPTIONS_NAME_BYTES = 256, /* with the NUL, as the next ones */
    OPTIONS_PATH_BYTES = 4096,
    CONFIG_DIGEST_BYTES = 72,
};

/*
 * Kinds: NAME and PATH are text; LIST is texts with a newline between them; SWITCH is a bool; PORT is -1 for a free one or what options_check lets through; COUNT and
 * BYTES are numbers; PERIOD is a duration in ns; SYNC is one too, or "always", which is 0.
 *
 * field, kind, default, least, most, flags, their argument, keys of the file, words
 */
#define OPTIONS_LIST(X)                                                                            \
    X(host, NAME, "0.0.0.0", 0, 0, "a addr net", "<host>", "host net", "Listen on this address")   \
    X(port, PORT, "4222", INT32_MIN, INT32_MAX, "p port", "<port>", "port",                        \
      "Port for clients, -1 for a free one")                                                       \
    X(server_name, NAME, "", 0, 0, "n name server_name", "<name>", "server_name",                  \
      "Server name (default: made up)")                                                            \
    X(client_advertise, NAME, "", 0, 0, "client_advertise", "<host:port>", "client_advertise",     \
      "Address that clients are told to connect to")                                               \
    X(server_tags, LIST, "", 0, 0, "", "", "", "Tags shown to tools")                              \
    X(server_metadata, LIST, "", 0, 0, "", "", "", "Keys and values shown to tools, in turn")      \
    X(config_file, PATH, "", 0, 0, "c config", "<file>", "", "Configuration file")                 \
    X(pid_file, PATH, "", 0, 0, "P pid", "<file>", "pid_file pidfile",                             \
      "File to write the process id to")                                                           \
    X(ports_file_dir, PATH, "", 0, 0, "ports_file_dir", "<dir>", "ports_file_dir",                 \
      "Directory for a file that tells the ports in use")                                          \
    X(http_host, NAME, "", 0, 0, "", "", "", "Address for monitoring (default: that for clients)") \
    X(http_port, PORT, "0", INT32_MIN, INT32_MAX, "m http_port", "<port>",                         \
      "http_port monitor_port", "Port for HTTP monitoring, -1 for a free one")                     \
    X(http_base_path, NAME, "", 0, 0, "", "", "http_base_path",                                    \
      "Path in front of all monitoring pages")                                                     \
    X(jetstream, SWITCH, "true", 0, 1, "js jetstream", "", "jetstream.enabled jetstream.enable",   \
      "Serve streams and Key/Value buckets")                                                       \
    X(strict, SWITCH, "true", 0, 1, "", "", "", "Refuse unknown fields in API requests")           \
    X(store_dir, PATH, "./pail-data", 0, 0, "sd store_dir", "<dir>",                               \
      "store_dir storedir jetstream.store_dir jetstream.storedir jetstream.store",                 \
      "Directory of the data")                                                                     \
    X(memory_store_bytes_max, BYTES, "9223372036854775807", 0, INT64_MAX, "", "",                  \
      "jetstream.max_memory_store jetstream.max_mem_store jetstream.max_mem",                      \
      "What all memory streams may hold together; INT64_MAX: no limit")                            \
    X(file_store_bytes_max, BYTES, "9223372036854775807", 0, INT64_MAX, "", "",                    \
      "jetstream.max_file_store jetstream.max_file",                                               \
      "What all streams on disk may hold together; INT64_MAX: no limit")                           \
    X(auth_user, NAME, "", 0, 0, "user", "<name>", "", "User name that clients must give")         \
    X(auth_password, NAME, "", 0, 0, "pass", "<password>", "", "Password of --user")               \
    X(auth_token, NAME, "", 0, 0, "auth", "<token>", "", "Token that clients must give")           \
    X(log_file, PATH, "", 0, 0, "l log", "<file>", "log_file logfile",                             \
      "Log to this file instead of standard error")                                                \
    X(debug, SWITCH, "false", 0, 1, "D debug", "", "debug", "Log what helps to find mistakes")     \
    X(trace, SWITCH, "false", 0, 1, "V trace", "", "trace", "Log the protocol")                    \
    X(trace_verbose, SWITCH, "false", 0, 1, "VV", "", "trace_verbose",                             \
      "Log the protocol, that of the system account too")                                          \
    X(trace_headers, SWITCH, "false", 0, 1, "", "", "trace_headers",                               \
      "Log a message's headers instead of its payload")                                            \
    X(traced_bytes_max, COUNT, "0", 0, INT32_MAX, "max_traced_msg_len", "<bytes>",                 \
      "max_traced_msg_len", "Most bytes of a payload in the log; 0: no limit")                     \
    X(log_bytes_max, BYTES, "0", 0, INT64_MAX, "log_size_limit", "<bytes>",                        \
      "log_size_limit logfile_size_limit", "Begin a new log file at this size; 0: never")          \
    X(log_count_max, COUNT, "0", 0, INT32_MAX, "", "", "log_max_num logfile_max_num",              \
      "Most log files to keep, the newest included; 0: all")                                       \
    X(logtime, SWITCH, "true", 0, 1, "T logtime", "", "logtime", "Begin log lines with the time")  \
    X(logtime_utc, SWITCH, "false", 0, 1, "logtime_utc", "", "logtime_utc",                        \
      "Log times in UTC instead of local time")                                                    \
    X(payload_bytes_max, BYTES, "1MB", 1, 64 << 20, "", "", "max_payload",                         \
      "Largest payload accepted")                                                                  \
    X(control_line_bytes_max, BYTES, "4KB", 1, 1 << 20, "", "", "max_control_line",                \
      "Longest protocol line accepted")                                                            \
    X(conn_count_max, COUNT, "65536", 0, INT32_MAX, "", "", "max_connections max_conn",            \
      "Most clients at a time; 0: no limit")                                                       \
    X(pending_bytes_max, BYTES, "64MB", 1, INT32_MAX, "", "", "max_pending",                       \
      "Bytes that may wait for one slow client")                                                   \
    X(subscription_count_max, COUNT, "0", 0, INT32_MAX, "", "", "max_subscriptions max_subs",      \
      "Most subscriptions of one client; 0: no limit")                                             \
    X(token_count_max, COUNT, "0", 0, UINT8_MAX, "", "", "",                                       \
      "Most tokens of a subscription's subject; 0: no limit")                                      \
    X(closed_count_max, COUNT, "10000", 1, INT32_MAX, "", "", "max_closed_clients",                \
      "Closed clients that monitoring remembers")                                                  \
    X(no_header_support, SWITCH, "false", 0, 1, "", "", "no_header_support",                       \
      "Take no messages with headers")                                                             \
    X(no_stall, SWITCH, "false", 0, 1, "", "", "no_fast_producer_stall",                           \
      "Never slow down who publishes to a slow client")                                            \
    X(ping_interval_ns, PERIOD, "2m", 1000000, INT64_MAX, "", "", "ping_interval",                 \
      "Time between two PINGs to a client")                                                        \
    X(ping_count_max, COUNT, "2", 1, INT32_MAX, "", "", "ping_max",                                \
      "PINGs without an answer that end a client")                                                 \
    X(write_deadline_ns, PERIOD, "10s", 1000000, INT64_MAX, "", "", "write_deadline",              \
      "Time a client has to take what is sent")                                                    \
    X(lame_duck_duration_ns, PERIOD, "2m", 1, INT64_MAX, "", "", "",                               \
      "Time for clients to go in lame duck mode")                                                  \
    X(lame_duck_grace_ns, PERIOD, "10s", 0, INT64_MAX, "", "", "",                                 \
      "Of that, the time before the first one is closed")                                          \
    X(websocket_host, NAME, "", 0, 0, "", "", "websocket.host websocket.net",                      \
      "Address for WebSocket clients (default: that for clients)")                                 \
    X(websocket_port, PORT, "0", INT32_MIN, INT32_MAX, "", "", "websocket.port",                   \
      "Port for WebSocket clients, -1 for a free one")                                             \
    X(websocket_no_tls, SWITCH, "false", 0, 1, "", "", "websocket.no_tls",                         \
      "WebSocket without TLS")                                                                     \
    X(websocket_same_origin, SWITCH, "false", 0, 1, "", "", "websocket.same_origin",               \
      "Browsers must come from the host that they connect to")                                     \
    X(websocket_allowed_origins, LIST, "", 0, 0, "", "", "",                                       \
      "Origins that browsers may come from")                                                       \
    X(websocket_headers, LIST, "", 0, 0, "", "", "", "More headers for the handshake's answer")    \
    X(websocket_handshake_ns, PERIOD, "2s", 1000000, INT64_MAX, "", "",                            \
      "websocket.handshake_timeout", "Time for the handshake")                                     \
    X(websocket_ping_interval_ns, PERIOD, "0s", 0, INT64_MAX, "", "", "websocket.ping_interval",   \
      "Time between two PINGs to a WebSocket client; 0: as for others")                            \
    X(websocket_advertise, NAME, "", 0, 0, "", "", "websocket.advertise",                          \
      "Address that other servers of a cluster would tell")                                        \
    X(shard_count, COUNT, "0", 1, 64, "shards", "<count>", "pail.shards",                          \
      "Threads that share the work, 1 to 64 (default: CPUs allowed)")                              \
    X(segment_bytes, BYTES, "64MB", 1 << 20, 64 << 20, "segment_bytes", "<size>",                  \
      "pail.segment_bytes", "Size of a file of the stored log, 1MB to 64MB")                       \
    X(cache_bytes, BYTES, "0", 0, INT64_MAX, "cache_bytes", "<size>", "pail.cache_bytes",          \
      "Memory for values (default: a quarter of what there is)")                                   \
    X(sync_interval_ns, SYNC, "always", 1000000, 3600000000000, "sync", "always|<time>",           \
      "pail.sync jetstream.sync_interval jetstream.sync",                                          \
      "Sync before each acknowledgement, or every <time>")

#define OPTIONS_FIELD_NAME(field) char field[OPTIONS_NAME_BYTES];
#define OPTIONS_FIELD_PATH(field) char field[OPTIONS_PATH_BYTES];
#define OPTIONS_FIELD_LIST(field) char field[OPTIONS_PATH_BYTES];
#define OPTIONS_FIELD_SWITCH(field) bool field;
#define OPTIONS_FIELD_PORT(field) int32_t field;
#define OPTIONS_FIELD_COUNT(field) uint32_t field;
#define OPTIONS_FIELD_BYTES(field) uint64_t field;
#define OPTIONS_FIELD_PERIOD(field) uint64_t field;
#define OPTIONS_FIELD_SYNC(field) uint64_t field;

#define OPTIONS_FIELD(field, kind, ...) OPTIONS_FIELD_##kind(field)
#define OPTIONS_SET_FIELD(field, ...) bool field;

/* Plain data: copied by assignment, owns nothing. Texts that were not given are empty. */
struct options {
    OPTIONS_LIST(OPTIONS_FIELD)

    /* Given on the command line or in the file, not the default. */
    struct options_set {
        OPTIONS_LIST(OPTIONS_SET_FIELD)
    } is_set;

    struct auth
        *auth; /* made by config_load; whoever takes it over sets it to NULL, else options_free */
    char program[OPTIONS_NAME_BYTES]; /* base name of argv[0], for messages and the ports file */
    bool is_config_test;              /* -t */
    int argc;                         /* what options_parse was given, for a reload; borrows */
    char *const *argv;
    char signal[OPTIONS_PATH_BYTES]; /* --signal: what to do to another process; empty: nothing */
    char ignored[1024];              /* keys of the file that have no effect here, with commas */
    bool has_leafnodes;              /* the file has that block: pail does not listen for them */
    char config_digest[CONFIG_DIGEST_BYTES]; /* sha256:<hex>; empty without a file */
};

/* SIGNAL: no server, options.signal is to be sent. */
enum options_next { OPTIONS_START, OPTIONS_EXIT, OPTIONS_SIGNAL };

/* What is to be printed; the caller frees both texts. */
struct options_output {
    struct text out, err;
    int exit_code; /* of OPTIONS_EXIT */
};

void options_init(struct options *options); /* the defaults */
void options_free(struct options *options); /* one from malloc; NULL is fine */

/*
 * The command line in every form that Go's flag package takes. Text for the two outputs is appended. OPTIONS_EXIT: help and
 * version were asked for, or a mistake was found; then too options_output says all there is to say.
 */
MUST_USE enum options_next options_parse(struct options *options, int argc, char *const *argv,
                                         struct options_output *output);

/* What only all values together can tell. One line is appended to `why` when the answer is STATUS_INVALID. */
MUST_USE enum status options_check(const struct options *options, struct text *why);

/*
 * What a reload changes, a line each in nats-server's words ("max_payload = 5"). STATUS_INVALID: something differs that a
 * running server cannot change, `why` tells what.
 */
MUST_USE enum status options_diff(const struct options *from, const struct options *to,
                                  struct text *changes, struct text *why);
/* 1.00 MB, as nats-server's log has sizes. */
void options_append_size(struct text *text, int64_t bytes);

/* A quarter of the memory this process may use. */
uint64_t options_cache_bytes_default(void);

/* ---- the rows, for core/config ---- */

enum option_kind {
    OPTION_NAME,
    OPTION_PATH,
    OPTION_LIST,
    OPTION_SWITCH,
    OPTION_PORT,
    OPTION_COUNT,
    OPTION_BYTES,
    OPTION_PERIOD,
    OPTION_SYNC,
};

struct option {
    const char *name; /* of the field */
    enum option_kind kind;
    size_t offset;     /* in struct options */
    size_t set_offset; /* in struct options_set */
    const char *initial;
    int64_t least, most; /* of numbers */
    const char *flags, *argument, *keys, *words;
};

const struct option *option_by_name(const char *field); /* one that exists */
/* NULL when no option has that flag, or that key ("jetstream.store_dir"; lower case). */
const struct option *option_by_flag(struct bytes flag);
const struct option *option_by_key(struct bytes key);
bool option_is_set(const struct options *options, const struct option *option);

/* NULL: done, and is_set is true. Otherwise a literal that says why not. */
const char *option_set_text(struct options *options, const struct option *option,
                            struct bytes text);
const char *option_set_number(struct options *options, const struct option *option, int64_t number);
/* Back to what options_init gave. */
void option_reset(struct options *options, const struct option *option);
/* Value and is_set of one option, from others. */
void option_copy(struct options *options, const struct options *from, const struct option *option);
const struct option *option_at(size_t index); /* NULL after the last one */

/* -?[0-9]+ and a suffix: k m g t p e (powers of 1000), kb ki kib … (powers of 1024), in any letter case. */
enum options_integer {
    OPTIONS_INTEGER_GOOD,
    OPTIONS_INTEGER_WRONG,
    OPTIONS_INTEGER_TOO_LARGE,
};
enum options_integer options_parse_integer(struct bytes text, int64_t *number_out);

#endif
