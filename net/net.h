/*
 * net/net.h: the door's state of one shard: its connections, its subscriptions, and what is due at the end of the turn.
 *
 * Runs on: its shard; the server it points to is read by all and written by none once the shards run (but for its shared
 * words).
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/options.h"
#include "core/shard.h"
#include "core/shared.h"
#include "core/text.h"
#include "core/timer.h"
#include "kv/kv.h"
#include "kv/outbox.h"
#include "net/output.h"
#include "net/subscriptions.h"

struct auth;
struct conn;
struct server;

/* Lists a connection can be in; each at most once. */
enum conn_list {
    CONN_LIST_DIRTY,     /* has output that no send carries yet, or waits to be shut */
    CONN_LIST_RESUMED,   /* nothing holds its input any more */
    CONN_LIST_WAITING,   /* a PONG waits for the other shards */
    CONN_LIST_CONDEMNED, /* to be cut off: too slow */
    CONN_LIST_STALLED,   /* publishes to someone too slow: waits for the stall timer */
    CONN_LIST_FLOW,      /* publishes faster than another shard takes */
    CONN_LIST_BURIED,    /* closed, to be freed */
    CONN_LIST_COUNT
};

struct conn_queue {
    struct conn *head, **tail;
};

struct conn_slot {
    struct conn *conn; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

/* What the other shards know of our interest, and we of theirs. */
struct interest {
    uint64_t sent;                   /* changes we told */
    uint64_t acked[SHARD_COUNT_MAX]; /* by each other shard */
    uint64_t acked_by_all;
    uint64_t
        ack_due[SHARD_COUNT_MAX]; /* the last change we took over, not yet acknowledged; 0: none */
    bool is_ack_due;
};

/* Messages to other shards, in bytes since the start: what is on its way is bounded. */
struct flow {
    uint64_t sent[SHARD_COUNT_MAX];  /* by us */
    uint64_t taken[SHARD_COUNT_MAX]; /* of these, by each other shard, as far as we know */
    uint64_t got[SHARD_COUNT_MAX];   /* by us, from each other shard */
    uint64_t told[SHARD_COUNT_MAX];  /* of these, how much it knows of */
};

/* Counted on the shard, copied to server->figures once a turn for monitoring. */
#define NET_FIGURES_LIST(X) \
    X(in_msgs)              \
    X(in_bytes)             \
    X(out_msgs)             \
    X(out_bytes)            \
    X(connections)          \
    X(total_connections)    \
    X(subscriptions)        \
    X(subscription_inserts) \
    X(slow_consumers)       \
    X(stale_connections)
#define NET_FIGURES_MEMBER(name) uint64_t name;
struct net_figures {
    NET_FIGURES_LIST(NET_FIGURES_MEMBER)
};

/* What a reload may change: a copy a shard, so that none is read while it is written. */
struct limits {
    uint32_t control_line_bytes_max, payload_bytes_max;
    uint32_t traced_bytes_max; /* of a payload in the log; 0: no limit */
    uint32_t pings_out_max;
    uint64_t ping_interval_ns, write_deadline_ns;
    uint64_t sweep_ns; /* between two looks for sends that take too long */
    bool has_no_stall; /* a slow client slows nobody down */
    bool traces_headers;
    char client_advertise[OPTIONS_NAME_BYTES];
};

struct net {
    struct shard *shard;   /* borrows */
    struct server *server; /* shares, see there */
    struct kv *kv;         /* borrows; NULL: JetStream is off */
    struct limits limits;
    struct text info_head;       /* of INFO, up to the client's id; made when it is empty */
    const struct auth *auth;     /* shares: who may come in; changed by authority_swap */
    struct op password_op;       /* net/password.c: a hash has been worked out */
    struct outbox outbox;        /* what kv speaks to */
    struct account_tree **trees; /* owns: the subscriptions of each account, by its number */
    uint32_t tree_count;
    struct match match;             /* scratch of the route in progress */
    bool is_routing;                /* it is in use */
    struct subscription *exhausted; /* these have reached their max: removed after the loops */
    uint32_t
        stall_ms; /* for how long its publisher should wait; set by the route, taken by who routed */
    bool is_flow_full; /* the message just routed goes to a shard that does not keep up */
    uint64_t stalled_ns[SHARD_COUNT_MAX]; /* when we last slowed down a publisher of that shard */
    struct timer stall_timer;             /* ends the waiting of all who wait */
    struct output_pool pool;
    struct interest interest;
    struct flow flow;
    struct net_figures figures;
    struct conn_queue queues[CONN_LIST_COUNT];
    struct conn_slot *slots; /* owns; grows */
    uint32_t slot_count, slot_free;
    uint32_t conn_count;     /* not freed yet */
    uint32_t sending_count;  /* sends in flight */
    struct timer send_timer; /* runs while there are any: the write deadline */
    uint64_t random;         /* state of the choice among queue members */
    uint64_t output_done_ns; /* the turn whose output phase was the last one */
    bool is_stopping;        /* reads nothing any more */
    bool is_closing;         /* closes its connections */
    bool is_lame_duck;       /* says so in INFO */
    bool is_stop_reported;
    uint64_t stop_deadline_ns;
};

/* The subscriptions of one account on this shard. */
struct account_tree {
    struct net *net;
    uint32_t account;
    struct subscriptions *subscriptions; /* owns */
};

/* Makes it when it is the first time. */
struct subscriptions *net_make_tree(struct net *net, uint32_t account);
static inline struct subscriptions *net_tree(struct net *net, uint32_t account)
{
    if (account < net->tree_count && net->trees[account] != NULL)
        return net->trees[account]->subscriptions;
    return net_make_tree(net, account);
}

struct net *net_create(struct shard *shard, struct server *server);
void net_destroy(struct net *net);
/* Registered before kv's phases: what was held back goes on. */
void net_input_phase(struct shard *shard, void *context);
/* Registered after them: everything the turn produced is sent. */
void net_output_phase(struct shard *shard, void *context);

static inline struct net *net_of(struct shard *shard)
{
    return shard->rooms[SHARD_ROOM_NET];
}

void net_list_push(struct net *net, struct conn *conn, enum conn_list list);
struct conn *net_list_pop(struct net *net, enum conn_list list); /* NULL when empty */

struct conn *net_list_last(const struct net *net, enum conn_list list);

/* Uniform below `bound`. */
uint32_t net_random_below(struct net *net, uint32_t bound);

#endif
