/*
 * net/server.h: what all shards of one server share: the options they read, the words they count with; and what only shard 0
 * has: the listeners, the monitor, the way signals come in.
 */
#ifndef NET_SERVER_H
#define NET_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/io.h"
#include "core/options.h"
#include "core/shard.h"
#include "core/shared.h"
#include "core/text.h"
#include "kv/kv.h"
#include "net/net.h"

/* The JetStream API level that INFO announces. */
#define PAIL_API_LEVEL 1
/* Clients want a Go version; any text would do. */
#define PAIL_GO_VERSION "go1.26.8"

enum { SERVER_KEY_BYTES = 57, SERVER_CLIENT_ID_FIRST = 5 };

/* A cell for each figure of a shard. Written by that shard, read by shard 0 for monitoring: relaxed, any recent value does. */
#define NET_FIGURES_CELL(name) struct shared_u64 name;
struct shared_figures {
    NET_FIGURES_LIST(NET_FIGURES_CELL)
};

/* Shard 0's. */
struct listener {
    struct op accept;
    struct timer retry_timer; /* when descriptors have run out */
    io_socket socket;
    uint16_t port;
    bool is_accepting, is_closing;
};

struct monitor; /* net/monitor.c */

struct server {
    /*
     * Connections of each shard. Shard 0 adds at placement, the shard subtracts at the end; shard 0 reads to place and to
     * limit. Only a number: no other memory hangs on it.
     */
    struct shared_u64 conn_counts[SHARD_COUNT_MAX];
    struct shared_figures figures[SHARD_COUNT_MAX];

    /* Options on their way from main to shard 0, a pointer; who swaps it out owns them. */
    struct shared_u64 reloaded;

    const struct options
        *options; /* borrows; as the server was started, which a reload leaves alone */
    uint32_t shard_count;

    /* Read by all shards, written before they start. What a reload may change is in net->limits. */
    uint32_t subscription_count_max; /* 0: no limit */
    uint64_t pending_bytes_max;
    uint64_t stall_bytes; /* queued: who publishes to such a connection is slowed down */
    char id[SERVER_KEY_BYTES], xkey[SERVER_KEY_BYTES];
    unsigned char reply_secret[32]; /* seals the replies of requests between accounts */
    const char *name;
    uint64_t start_wall_ns;
    struct kv_world *world;      /* NULL: JetStream is off */
    struct accounts *accounts;   /* owns */
    struct passwords *passwords; /* owns */
    struct auth *auth; /* owns; shard 0 changes it, the others have net->auth (net/authority.c) */

    /* Shard 0's alone. */
    struct options *live; /* owns; as the last reload left them */
    uint64_t config_load_wall_ns;
    struct shard_group *group;
    struct listener listener, websocket_listener;
    uint64_t next_client_id;
    struct monitor *monitor; /* NULL: off */
    struct timer door_timer; /* tries again for a port that is in use */
    uint32_t door_tries;
    struct op control;
    io_socket
        control_sockets[2]; /* main writes a signal's number into 1, shard 0 reads it from 0 */
    uint32_t idle_count;    /* shards whose kv is quiet; then those whose connections are gone */
    bool is_stopping;
    bool is_recovered; /* the port for clients may open */
    bool is_ready;     /* all ports are open */
    bool is_lame_duck, is_lame_duck_done;
    uint64_t lame_duck_end_ns;
    struct timer lame_duck_timer;
    struct op lame_duck_done; /* tells main */
};

void server_info_init(struct server *server, struct io *io); /* net/info.c: keys and name */

/* Opens the port and begins to accept (shard 0). STATUS_BUSY: someone has it. On failure errno tells why. */
MUST_USE enum status listener_open(struct listener *listener, struct net *net);
void listener_close(struct listener *listener, struct net *net);
void listeners_close(struct net *net); /* all that clients come by */

/* All on shard 0 (net/monitor.c); monitor_open fails as listener_open does. */
MUST_USE enum status monitor_open(struct net *net);
void monitor_close(struct net *net);
void monitor_destroy(struct net *net); /* after the shard's last turn */
uint16_t monitor_port(const struct monitor *monitor);

/* What kv is told of max_mem_store and max_file_store. */
uint64_t server_store_limit(uint64_t option);

/* Sums of all shards' figures. */
void server_figures(const struct server *server, struct net_figures *figures_out);

/* Runs until a signal ends it; the exit code. Takes over options->auth. */
int server_run(const struct options *options);

/* ---- the end (net/stop.c) ---- */

void stop_begin(struct net *net); /* on shard 0 */
void stop_turn(struct net *net);  /* on each shard, once a turn while net->is_stopping */

#endif
