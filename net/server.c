/*
 * net/server.c: one server from its first log line to its last.
 *
 *     main thread: store directory, kv world ──► shards ──► waits for signals ──► joins the shards
 *     shard 0:     monitor; once all have recovered: listener, "Server is ready"
 *
 * Keeps:   the port opens only when every shard can serve. What cannot go on ends the process with a [FTL] line and exit code 1.
 * Owns:    everything it starts; ended in reverse order.
 * Runs on: the main thread, but for on_start, on_stop, on_ready and on_control.
 */
#include "net/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/auth.h"
#include "core/diag.h"
#include "core/hash.h"
#include "core/text.h"
#include "net/files.h"
#include "net/lame_duck.h"
#include "net/password.h"
#include "net/reload.h"
#include "net/signals.h"
#include "store/store.h"

enum { WHY_BYTES = 512 };
enum { DOOR_TRIES_MAX = 50 };
static const uint64_t DOOR_RETRY_NS = 20000000;

static bool server_start(struct server *server, struct store_directory **directory);
static void server_init(struct server *server, const struct options *options);
static bool open_store(struct server *server, struct io *io, struct store_directory **directory);
static struct store_options store_options_of(const struct server *server);
static void close_store(struct server *server, struct store_directory *directory);
static void say_who(const struct server *server);
static enum status on_start(struct shard *shard, void *context, char *why, size_t why_bytes);
static void on_stop(struct shard *shard, void *context);
__attribute__((noreturn)) static void end_late(const struct server *server);
static void on_ready(void *context, const struct store_recovery *recovery);
static void open_door(struct net *net);
static void on_door_timer(struct timer *timer);
__attribute__((noreturn)) static void
end_without_port(const struct options *options, bool is_monitor, bool is_websocket, int cause);
static void on_control(struct op *op);
static void on_store_fatal(void *context, const char *why);
static void raise_descriptor_limit(void);

/* Ends the process: for failures on a shard, where nothing is left to unwind that the next start would miss. */
__attribute__((noreturn)) static void end_fatally(void)
{
    _exit(1);
}

int server_run(const struct options *options)
{
    struct server *server = aligned_alloc(_Alignof(struct server), sizeof(*server));
    struct options *current = malloc(sizeof(*current)); /* as the main thread knows them */
    struct options *live = malloc(sizeof(*live));
    struct store_directory *directory = NULL;
    ASSERT(server != NULL && current != NULL && live != NULL);
    *current = *live = *options;
    server_init(server, options);
    server->live = live;
    current->auth = live->auth = NULL; /* the server's */
    bool is_started = server_start(server, &directory);
    if (is_started) {
        signals_wait_for_end(server, current);
        shard_group_join(server->group);
    }
    close_store(server, directory);
    ports_file_remove(server->live);
    if (is_started)
        diag_info("Server Exiting..");
    for (int i = 0; i < 2; i++) {
        if (server->control_sockets[i] != IO_FILE_NONE)
            (void)close(server->control_sockets[i]);
    }
    options_free((void *)(uintptr_t)shared_swap(&server->reloaded, 0));
    passwords_destroy(server->passwords);
    auth_free(server->auth);
    accounts_destroy(server->accounts);
    free(server->live);
    free(current);
    free(server);
    return is_started ? 0 : 1;
}

static void server_init(struct server *server, const struct options *options)
{
    memset(server, 0, sizeof(*server));
    server->options = options;
    server->accounts = accounts_create();
    server->auth = options->auth;
    struct text why = {0};
    if (server->auth == NULL && auth_read(options, NULL, &server->auth, &why, &why) != STATUS_OK)
        ASSERT(false); /* flags alone are never wrong */
    text_free(&why);
    server->passwords = passwords_create();
    server->shard_count = options->shard_count != 0 ? options->shard_count : shard_count_default();
    server->subscription_count_max = options->subscription_count_max;
    server->pending_bytes_max = options->pending_bytes_max;
    server->stall_bytes = options->pending_bytes_max / 4 * 3;
    server->control_sockets[0] = server->control_sockets[1] = IO_FILE_NONE;
    server->listener.socket = server->websocket_listener.socket = IO_FILE_NONE;
}

/* ---- start ---- */

/* False: said by diag. */
static bool server_start(struct server *server, struct store_directory **directory)
{
    char why[WHY_BYTES] = "";
    struct io *io = NULL;
    signals_block();
    raise_descriptor_limit();

    enum status status = io_create(0, &io, why, sizeof(why));
    if (status != STATUS_OK) {
        diag_line(DIAG_FATAL, "%s", why);
        return false;
    }
    hash_seed_set(io_random(io));
    server_info_init(server, io);
    server->start_wall_ns = server->config_load_wall_ns = io_wall_ns(io);
    if (!auth_bind(server->auth, server->accounts, server->options->jetstream)) {
        diag_line(DIAG_FATAL, "There are too many accounts");
        io_destroy(io);
        return false;
    }
    say_who(server);
    bool is_good = pid_file_write(server->options);
    if (!is_good)
        diag_line(DIAG_FATAL, "Could not write pidfile: open %s: %s", server->options->pid_file,
                  strerrordesc_np(errno));
    if (is_good && server->options->jetstream)
        is_good = open_store(server, io, directory);
    io_destroy(io);
    if (!is_good)
        return false;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, server->control_sockets) != 0) {
        diag_line(DIAG_FATAL, "Cannot make a socket pair: %s", strerrordesc_np(errno));
        return false;
    }
    status = shard_group_start(server->shard_count, on_start, on_stop, server, &server->group, why,
                               sizeof(why));
    if (status != STATUS_OK) {
        diag_line(DIAG_FATAL, "%s", why);
        return false;
    }
    return true;
}

static void say_who(const struct server *server)
{
    const struct options *options = server->options;
    diag_info("Starting pail");
    diag_info("  Version:  %s (pail %s)", PAIL_NATS_VERSION, PAIL_VERSION);
    diag_info("  Name:     %s", server->name);
    diag_info("  ID:       %s", server->id);
    diag_info("  Shards:   %u", server->shard_count);
    if (server->auth->has_plain)
        diag_warn("Plaintext passwords detected, use bcrypt");
    if (options->config_file[0] != '\0')
        diag_info("Using configuration file: %s (%s)", options->config_file,
                  options->config_digest);
    if (options->ignored[0] != '\0')
        diag_warn("Of no effect here: %s", options->ignored);
    if (options->has_leafnodes)
        diag_warn("pail does not listen for leafnode connections");
    if (options->payload_bytes_max > 8 << 20)
        diag_warn("Maximum payloads over 8.00 MB are generally discouraged and could lead to poor "
                  "performance");
    if (!options->jetstream)
        return;
    diag_info("Starting JetStream");
    diag_info("---------------- JETSTREAM ----------------");
    diag_info("  Store Directory: \"%s\"", options->store_dir);
    diag_info("  API Level:       %d", PAIL_API_LEVEL);
    if (options->sync_interval_ns == 0)
        diag_info("  Sync:            before every acknowledgement");
    else
        diag_warn(
            "  Sync:            every %.3f s: a power failure loses what was acknowledged since",
            (double)options->sync_interval_ns / 1e9);
    diag_info("-------------------------------------------");
}

static struct store_options store_options_of(const struct server *server)
{
    const struct options *options = server->options;
    uint64_t cache_bytes =
        options->cache_bytes != 0 ? options->cache_bytes : options_cache_bytes_default();
    return (struct store_options){
        .segment_bytes = (uint32_t)options->segment_bytes,
        .cache_bytes = cache_bytes / server->shard_count,
        .compact_percent = 50,
        .compact_slack_bytes = 2 * options->segment_bytes,
        .sync_interval_ns = options->sync_interval_ns,
        .on_fatal = on_store_fatal,
    };
}

/* As kv wants it: 0 is none. */
uint64_t server_store_limit(uint64_t option)
{
    return option == INT64_MAX ? 0 : option == 0 ? 1 : option;
}

static bool open_store(struct server *server, struct io *io, struct store_directory **directory)
{
    const char *path = server->options->store_dir;
    char why[WHY_BYTES] = "";
    struct store_options options = store_options_of(server);
    enum status status =
        store_directory_open(io, path, &options, server->shard_count, directory, why, sizeof(why));
    if (status == STATUS_BUSY) {
        diag_line(DIAG_FATAL, "Can't start JetStream: another server holds %s", path);
        return false;
    }
    if (status != STATUS_OK) {
        diag_line(DIAG_FATAL, "Can't start JetStream: %s",
                  why[0] != '\0' ? why : status_words(status));
        return false;
    }
    if (store_directory_is_buffered(*directory))
        diag_warn("store_buffered path=%s: the file system refuses O_DIRECT; writes go through "
                  "the page cache, with a sync each",
                  path);
    struct kv_options kv_options = {
        .server_name = server->name,
        .shard_count = server->shard_count,
        .accounts = server->accounts,
        .payload_bytes_max = server->options->payload_bytes_max,
        .is_strict = server->options->strict,
        .memory_bytes_max = server_store_limit(server->options->memory_store_bytes_max),
        .file_bytes_max = server_store_limit(server->options->file_store_bytes_max),
        .store = options,
    };
    server->world = kv_world_create(&kv_options, *directory);
    return true;
}

static void close_store(struct server *server, struct store_directory *directory)
{
    char why[WHY_BYTES] = "";
    struct io *io = NULL;
    if (server->world != NULL)
        kv_world_destroy(server->world);
    if (directory == NULL)
        return;
    if (io_create(0, &io, why, sizeof(why)) != STATUS_OK)
        return; /* the lock dies with the process */
    store_directory_close(directory, io);
    io_destroy(io);
}

static void on_store_fatal(void *context, const char *why)
{
    (void)context;
    diag_line(DIAG_FATAL, "The store cannot go on: %s", why);
    end_fatally();
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* what there is has to do then */
}

/* ---- on the shards ---- */

/*
 * The disk has taken longer than an orderly end may: writes are in flight that nobody was told are durable, and the memory
 * they come from must stay. The process ends as it is; the next start sees torn batches at worst.
 */
static void end_late(const struct server *server)
{
    ports_file_remove(server->live);
    diag_warn("stopped_before_quiet");
    diag_info("Server Exiting..");
    _exit(0);
}

static enum status on_start(struct shard *shard, void *context, char *why, size_t why_bytes)
{
    struct server *server = context;
    struct net *net = net_create(shard, server);
    (void)why;
    (void)why_bytes;
    shard_add_phase(shard, net_input_phase, net);
    if (server->world != NULL)
        net->kv = kv_create(shard, server->world, &net->outbox, net, on_ready);
    shard_add_phase(shard, net_output_phase, net);
    if (shard->index == 0)
        io_recv(shard->io, &server->control, server->control_sockets[0], on_control);
    return STATUS_OK;
}

static void on_stop(struct shard *shard, void *context)
{
    struct net *net = net_of(shard);
    if (net == NULL)
        return;
    if (net->kv != NULL && kv_is_busy(net->kv))
        end_late(context);
    if (net->kv != NULL)
        kv_destroy(net->kv);
    net->kv = NULL;
    if (shard->index == 0)
        monitor_destroy(net);
    net_destroy(net);
}

static void on_ready(void *context, const struct store_recovery *recovery)
{
    struct net *net = context;
    if (net->shard->index != 0)
        return;
    if (recovery->status != STATUS_OK) {
        diag_line(DIAG_FATAL, "Can't start JetStream: %s",
                  recovery->why[0] != '\0' ? recovery->why : status_words(recovery->status));
        end_fatally();
    }
    uint64_t took_ns = shard_wall_ns(net->shard) - net->server->start_wall_ns;
    diag_info("recovered records=%llu bytes=%llu torn_batches=%llu",
              (unsigned long long)recovery->record_count, (unsigned long long)recovery->bytes,
              (unsigned long long)recovery->torn_batches);
    diag_info("Took %.3fms to start JetStream", (double)took_ns / 1e6);
    net->server->is_recovered = true;
    open_door(net);
}

/*
 * A killed process keeps its port for a moment: the kernel ends the operations on its rings after it is gone. So a port in
 * use is tried again for a while before that is an error.
 */
static void open_door(struct net *net)
{
    struct server *server = net->server;
    const struct options *options = server->options;
    if (server->is_stopping)
        return;
    enum status status = STATUS_OK;
    if (options->http_port != 0 && server->monitor == NULL)
        status = monitor_open(net);
    bool is_monitor = status != STATUS_OK;
    if (status == STATUS_OK && !server->is_recovered)
        return; /* monitoring goes on meanwhile */
    bool is_websocket = false;
    if (status == STATUS_OK && options->websocket_port != 0
        && server->websocket_listener.socket == IO_FILE_NONE) {
        status = listener_open(&server->websocket_listener, net);
        is_websocket = status != STATUS_OK;
    }
    if (status == STATUS_OK)
        status = listener_open(&server->listener, net);
    if (status == STATUS_BUSY && server->door_tries++ < DOOR_TRIES_MAX) {
        timer_start(net->shard->timers, &server->door_timer,
                    shard_now_ns(net->shard) + DOOR_RETRY_NS, on_door_timer);
        return;
    }
    if (status != STATUS_OK)
        end_without_port(options, is_monitor, is_websocket, errno);
    server->is_ready = true;
    ports_file_write(server);
    diag_info("Server is ready");
}

static void on_door_timer(struct timer *timer)
{
    (void)timer;
    open_door(net_of(shard_current()));
}

static void end_without_port(const struct options *options, bool is_monitor, bool is_websocket,
                             int cause)
{
    const char *host = options->host;
    int32_t port = options->port < 0 ? 0 : options->port;
    char words[128];
    (void)snprintf(words, sizeof(words), "%s", strerrordesc_np(cause)); /* may be cut */
    words[0] = (char)(words[0] | 0x20);
    if (is_monitor && options->http_host[0] != '\0')
        host = options->http_host;
    if (is_monitor)
        diag_line(DIAG_FATAL,
                  "Can't start monitoring: can't listen to the monitor port: listen tcp %s:%d: "
                  "bind: %s",
                  host, options->http_port < 0 ? 0 : options->http_port, words);
    else if (is_websocket)
        diag_line(DIAG_FATAL,
                  "Unable to listen for websocket connections: listen tcp %s:%d: bind: %s",
                  options->websocket_host[0] != '\0' ? options->websocket_host : host,
                  options->websocket_port < 0 ? 0 : options->websocket_port, words);
    else
        diag_line(DIAG_FATAL, "Error listening on port: %s:%d, \"listen tcp %s:%d: bind: %s\"",
                  host, port, host, port, words);
    end_fatally();
}

static void on_control(struct op *op)
{
    struct server *server = CONTAINER_OF(op, struct server, control);
    struct net *net = net_of(shard_current());
    for (int32_t i = 0; i < op->result; i++) {
        switch ((enum control)op->buffer[i]) {
        case CONTROL_STARTED:
            server->is_recovered |= net->kv == NULL;
            if (!server->is_ready) /* recovery may have been faster */
                open_door(net);
            break;
        case CONTROL_STOP:
            stop_begin(net);
            break;
        case CONTROL_RELOAD:
            reload_take(net);
            break;
        case CONTROL_LAME_DUCK:
            lame_duck_begin(net);
            break;
        }
    }
    if ((op->flags & OP_MORE) == 0 && op->result > 0)
        io_recv(net->shard->io, &server->control, server->control_sockets[0], on_control);
}
