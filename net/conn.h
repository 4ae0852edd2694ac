/*
 * net/conn.h: one client connection.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/io.h"
#include "core/timer.h"
#include "kv/outbox.h"
#include "net/net.h"
#include "net/output.h"
#include "net/parser.h"
#include "net/subscriptions.h"

/* Words as connz and events have them. Source: core-protocol.md section 9.3. */
#define CONN_REASON_LIST(X)                                         \
    X(CONN_REASON_NONE, "")                                         \
    X(CONN_REASON_CLIENT, "Client Closed")                          \
    X(CONN_REASON_PROTOCOL, "Protocol Violation")                   \
    X(CONN_REASON_PARSE, "Parse Error")                             \
    X(CONN_REASON_READ, "Read Error")                               \
    X(CONN_REASON_WRITE, "Write Error")                             \
    X(CONN_REASON_STALE, "Stale Connection")                        \
    X(CONN_REASON_CONTROL_LINE, "Maximum Control Line Exceeded")    \
    X(CONN_REASON_PAYLOAD, "Maximum Message Payload Exceeded")      \
    X(CONN_REASON_CONNECTIONS, "Maximum Connections Exceeded")      \
    X(CONN_REASON_PROTOCOL_VERSION, "Bad Client Protocol Version")  \
    X(CONN_REASON_NO_RESPONDERS, "No Responders Requires Headers")  \
    X(CONN_REASON_SLOW_BYTES, "Slow Consumer (Pending Bytes)")      \
    X(CONN_REASON_SLOW_WRITE, "Slow Consumer (Write Deadline)")     \
    X(CONN_REASON_AUTHENTICATION, "Authentication Failure")         \
    X(CONN_REASON_AUTHENTICATION_TIMEOUT, "Authentication Timeout") \
    X(CONN_REASON_SHUTDOWN, "Server Shutdown")
#define CONN_REASON_ENUMERATOR(name, words) name,
enum conn_reason { CONN_REASON_LIST(CONN_REASON_ENUMERATOR) CONN_REASON_COUNT };

enum conn_state {
    CONN_OPEN,
    CONN_FLUSHING, /* reads nothing, sends what is queued, then shuts */
    CONN_SHUT,     /* waits until the kernel holds none of our addresses */
    CONN_CLOSED,   /* to be freed at the end of the turn */
};

/* Why input is held; all must be gone for it to go on. */
enum conn_pause {
    CONN_PAUSE_KV = 1u << 0,       /* until outbox->resume */
    CONN_PAUSE_BARRIER = 1u << 1,  /* a PONG waits for the other shards */
    CONN_PAUSE_OUTPUT = 1u << 2,   /* the peer sends requests but does not read the answers */
    CONN_PAUSE_STOP = 1u << 3,     /* the server is stopping */
    CONN_PAUSE_STALL = 1u << 4,    /* it publishes faster than a subscriber takes, */
    CONN_PAUSE_PASSWORD = 1u << 6, /* a bcrypt hash is being worked out */
    CONN_PAUSE_FLOW = 1u << 5,     /* or than another shard does */
};

struct password_check;
struct permissions;
struct replies;
struct user;

/* Subscriptions by sid: open addressing; nothing is allocated before the first one. */
struct sid_table {
    struct subscription **slots; /* owns the array */
    uint32_t count, capacity;
};

/* What came while input was held. */
struct conn_stash {
    char *data; /* owns; NULL while empty */
    size_t begin, end, capacity;
};

/* What CONNECT said. */
struct conn_client {
    bool is_verbose, is_pedantic, has_echo, has_headers, wants_no_responders;
    bool is_connected; /* a CONNECT has come */
    int64_t protocol;
    char *name, *lang, *version;   /* own; NULL: not given */
    char *user, *password, *token; /* the same; kept for another CONNECT, and for a reload */
};

/* Runs on: the shard it was placed on. */
struct conn {
    struct net *net;             /* borrows; outlives it */
    struct websocket *websocket; /* owns; NULL: it comes by plain TCP */
    struct output output;
    enum conn_state state;
    uint8_t pauses;
    uint8_t lists; /* a bit for each it is in */
    bool is_receiving, is_cancelling,
        is_sending;     /* operations in flight: the kernel holds our addresses */
    bool is_ended;      /* the peer has closed its side */
    bool is_repeated;   /* the next operation has been begun before */
    bool is_info_sent;  /* the second one */
    bool is_above_soft; /* kv waits for room here */
    enum conn_reason reason;
    uint32_t pings_out;   /* unanswered */
    bool is_admitted;     /* net/authority.c: it may do what its permissions say, */
    bool has_imports;     /* its account has things of others */
    bool has_begun;       /* has sent something, */
    bool is_connecting;   /* its CONNECT waits for a password */
    bool has_deny_filter; /* a wildcard of it overlaps what it may not receive */
    io_socket socket;
    uint32_t account;                      /* in which it is (core/accounts.h) */
    const struct user *user;               /* in net->auth; NULL: nobody in particular */
    const struct permissions *permissions; /* the user's; NULL: everything */
    struct replies *replies;               /* owns: what it may answer to (net/permissions.c) */
    struct password_check *check;          /* the one it waits for */
    struct origin origin;
    uint64_t cid;
    struct conn_client client;
    struct subscription
        *inbox; /* the sole match of inbox_prefix + one token, while the generation stays */
    struct bytes inbox_prefix;
    uint64_t inbox_generation;
    uint64_t interest_seq; /* changes of interest a PONG must wait for */
    struct parser parser;
    struct conn_stash stash;
    struct sid_table sids;
    struct op recv, send;
    struct timer ping_timer; /* until it is in: the time it has for that */
    uint64_t active_ns, ping_sent_ns, send_started_ns, closing_ns, opened_wall_ns, active_wall_ns;
    uint64_t stall_in_bytes; /* not stalled again before in_bytes has reached this */
    uint64_t in_msgs, in_bytes, out_msgs, out_bytes, rtt_ns;
    struct conn *next[CONN_LIST_COUNT];
    uint16_t port;
    char ip[46];
};

static_assert(CONN_LIST_COUNT <= 8, "conn.lists has a bit for each");

const char *conn_reason_words(enum conn_reason reason);

/* Takes the socket, sends INFO (a WebSocket: when it is one). With is_refused there are too many: says so and closes. */
void conn_open(struct net *net, io_socket socket, uint64_t cid, bool is_refused, bool is_websocket);
/* INFO, and PINGs in time; or, with is_refused, why not. */
void conn_greet(struct conn *conn, bool is_refused);
/* cid, or wid for a WebSocket, as the log has them. */
const char *conn_id_word(const struct conn *conn);
/* Reads nothing any more; closes when what is queued has been sent, or cannot be. */
void conn_close(struct conn *conn, enum conn_reason reason);
/* Drops what is queued. Not while a message is being routed: see conn_touch. */
void conn_cut(struct conn *conn, enum conn_reason reason);
/* All its subscriptions go. */
void conn_drop_subscriptions(struct conn *conn);
void conn_unsubscribe(struct conn *conn, struct subscription *subscription);
/* The end of the turn in which it was buried. */
void conn_free(struct conn *conn);
/* The shard has ended: no operation completes any more. */
void conn_abandon(struct conn *conn);
/* NULL when it is gone. */
struct conn *conn_find(struct net *net, const struct origin *origin);

/* ---- output ---- */

void conn_condemn(struct conn *conn);
/* After something was put into conn->output. */
void conn_touch(struct conn *conn);
void conn_say(struct conn *conn, struct bytes text);
/* PONG, and what comes with the first one (net/dispatch.c). */
void conn_pong(struct conn *conn);
/* -ERR '<text>' */
void conn_say_error(struct conn *conn, const char *text);
/* Starts a send if there is something to send; shuts what was only waiting for that. */
void conn_flush(struct conn *conn);

/* ---- input (net/input.c) ---- */

void conn_start_input(struct conn *conn);
/* Bytes of the protocol: runs them, or keeps them while input is held. */
void conn_take(struct conn *conn, struct bytes input);
void conn_pause(struct conn *conn, enum conn_pause why);
void conn_unpause(struct conn *conn, enum conn_pause why);
/* Holds a publisher for a moment, though not for each message. */
void conn_stall(struct conn *conn, uint32_t ms);
/* Goes on with what came while input was held. */
void conn_resume(struct conn *conn);
void conn_free_input(struct conn *conn);

/* ---- subscriptions by sid (net/sid_table.c) ---- */

struct subscription *sid_table_find(const struct sid_table *table, struct bytes sid);
void sid_table_insert(struct sid_table *table, struct heap *heap,
                      struct subscription *subscription);
void sid_table_remove(struct sid_table *table, struct subscription *subscription);

/* ---- timers ---- */

void conn_start_pings(struct conn *conn);
void conn_check_deadline(struct conn *conn, uint64_t now_ns);

#endif
