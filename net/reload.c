/*
 * net/reload.c: SIGHUP: the configuration is read again and taken over, all of it or nothing.
 *
 *     main thread   reads, checks, compares; opens the log, writes the pid file ──► a copy of the options, CONTROL_RELOAD
 *     shard 0       monitoring, listeners, ports file ──► to all shards: struct limits
 *     each shard    its limits, its parsers; with less connections allowed: closes the oldest
 *
 * Keeps:   what cannot change, or cannot be opened, is refused before anything has changed.
 * Owns:    the options on their way: who swaps them out of server->reloaded frees them.
 * Runs on: as told.
 *
 * Source: server-interface.md section 8.
 */
#include "net/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/config.h"
#include "core/diag.h"
#include "core/mailbox.h"
#include "net/authority.h"
#include "net/conn.h"
#include "net/dispatch.h"
#include "net/files.h"
#include "net/signals.h"

static bool read_options(const struct options *current, struct options *next, struct text *why);
static bool open_files(const struct options *current, const struct options *next, struct text *why);
static void say_lines(const char *before, const struct text *text);
static void on_limits(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void conns_close_excess(struct net *net);

struct limits net_limits_of(const struct options *options)
{
    struct limits limits = {
        .control_line_bytes_max = (uint32_t)options->control_line_bytes_max,
        .payload_bytes_max = (uint32_t)options->payload_bytes_max,
        .traced_bytes_max = options->traced_bytes_max,
        .pings_out_max = options->ping_count_max,
        .ping_interval_ns = options->ping_interval_ns,
        .write_deadline_ns = options->write_deadline_ns,
        .sweep_ns = options->write_deadline_ns / 8 + 1000000,
        .has_no_stall = options->no_stall,
        .traces_headers = options->trace_headers,
    };
    memcpy(limits.client_advertise, options->client_advertise, sizeof(limits.client_advertise));
    return limits;
}

/* ---- the main thread ---- */

void reload_read(struct server *server, struct options *current)
{
    struct text why = {0};
    struct text changes = {0};
    struct options *next = malloc(sizeof(*next));
    ASSERT(next != NULL);
    bool is_good = read_options(current, next, &why)
                   && options_diff(current, next, &changes, &why) == STATUS_OK
                   && open_files(current, next, &why);
    if (is_good) {
        say_lines("Reloaded: ", &changes);
        *current = *next;
        current->auth = NULL; /* shard 0 takes it over with the rest */
        options_free((void *)(uintptr_t)shared_swap(&server->reloaded, (uintptr_t)next));
        signals_tell_shards(server, CONTROL_RELOAD);
        diag_info("Reloaded server configuration (%s)", current->config_digest);
    } else {
        while (why.count > 0 && why.data[why.count - 1] == '\n')
            why.count--;
        diag_error("Failed to reload server configuration: %.*s", (int)why.count, why.data);
        options_free(next);
    }
    text_free(&why);
    text_free(&changes);
}

/* Command line and file once more: flags keep their precedence. */
static bool read_options(const struct options *current, struct options *next, struct text *why)
{
    struct options_output output = {.exit_code = 0};
    if (current->config_file[0] == '\0') {
        text_append_literal(why,
                            "can only reload config when a file is provided using -c or --config");
        return false;
    }
    enum options_next answer = config_load(next, current->argc, current->argv, &output);
    struct bytes said = text_bytes(&output.err);
    if (answer == OPTIONS_START) {
        struct text warnings = {0};
        text_append(&warnings, said);
        say_lines("", &warnings);
        text_free(&warnings);
    } else { /* without "pail: ", and as one line */
        size_t before = strlen(current->program) + 2;
        said = bytes_after(said, said.count > before ? before : 0);
        text_append(why, said);
        for (size_t i = 0; i + 1 < why->count; i++)
            if (why->data[i] == '\n' && why->data[i + 1] != '\n')
                why->data[i] = ' ';
    }
    text_free(&output.out);
    text_free(&output.err);
    return answer == OPTIONS_START;
}

/* What may fail: the log, then the pid file. */
static bool open_files(const struct options *current, const struct options *next, struct text *why)
{
    if (reload_open_diag(next) != STATUS_OK) {
        text_append_format(why, "error opening file: open %s: %s", next->log_file,
                           strerrordesc_np(errno));
        return false;
    }
    if (strcmp(current->pid_file, next->pid_file) != 0 && !pid_file_write(next)) {
        text_append_format(why, "could not write pidfile: open %s: %s", next->pid_file,
                           strerrordesc_np(errno));
        if (reload_open_diag(current) != STATUS_OK)
            diag_error("log_reopen_failed file=%s", current->log_file);
        return false;
    }
    return true;
}

enum status reload_open_diag(const struct options *options)
{
    struct diag_options diag = {
        .file = options->log_file[0] != '\0' ? options->log_file : NULL,
        .debug = options->debug,
        .trace = options->trace,
        .without_time = !options->logtime,
        .utc = options->logtime_utc,
        .file_bytes_max = options->log_bytes_max,
        .file_count_max = options->log_count_max,
    };
    return diag_open(&diag);
}

static void say_lines(const char *before, const struct text *text)
{
    struct bytes rest = text_bytes(text);
    while (rest.count > 0) {
        const char *end = memchr(rest.data, '\n', rest.count);
        size_t count = end == NULL ? rest.count : (size_t)(end - rest.data);
        if (count > 0)
            diag_info("%s%.*s", before, (int)count, rest.data);
        rest = bytes_after(rest, end == NULL ? count : count + 1);
    }
}

/* ---- shard 0 ---- */

void reload_take(struct net *net)
{
    struct server *server = net->server;
    struct options *next = (void *)(uintptr_t)shared_swap(&server->reloaded, 0);
    ASSERT(net->shard->index == 0);
    if (next == NULL || server->is_stopping) { /* a later reload was taken together with this */
        options_free(next);
        return;
    }
    if (!authority_swap(net, next->auth)) {
        diag_error("Failed to reload server configuration: there are too many accounts");
        options_free(next);
        return;
    }
    next->auth = NULL;
    struct options *before = server->live;
    bool has_moved = strcmp(before->ports_file_dir, next->ports_file_dir) != 0;
    if (has_moved)
        ports_file_remove(before);
    server->live = next;
    server->config_load_wall_ns = shard_wall_ns(net->shard);
    if (has_moved && server->is_ready)
        ports_file_write(server);
    if (server->world != NULL)
        kv_world_set_limits(server->world, server_store_limit(next->memory_store_bytes_max),
                            server_store_limit(next->file_store_bytes_max));
    struct limits limits = net_limits_of(next);
    for (uint32_t i = 0; i < net->shard->count; i++)
        mailbox_send(net->shard, i, on_limits, &limits, sizeof(limits));
    conns_close_excess(net);
    free(before);
}

/* ---- each shard ---- */

static void on_limits(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    const struct limits *limits = payload;
    ASSERT(bytes == sizeof(*limits));
    (void)from;
    bool is_advertised = strcmp(net->limits.client_advertise, limits->client_advertise) != 0;
    net->limits = *limits;
    text_clear(&net->info_head);
    for (uint32_t i = 0; i < net->slot_count; i++) {
        struct conn *conn = net->slots[i].conn;
        if (conn == NULL || conn->state != CONN_OPEN)
            continue;
        conn->parser.control_line_bytes_max = limits->control_line_bytes_max;
        conn->parser.payload_bytes_max = limits->payload_bytes_max;
        if (is_advertised && conn->is_info_sent)
            info_send(conn, INFO_UPDATE);
    }
}

/* ---- fewer connections than there are: the oldest go ---- */

struct census {
    uint64_t *cids; /* owns */
    uint32_t count, capacity;
    uint32_t missing_count; /* shards that have not answered */
    uint32_t excess;
};

struct census_asked {
    struct census *census;
};

struct census_answer {
    struct census *census;
    uint32_t count;
    uint64_t cids[];
};

static void on_census_asked(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void on_census_answer(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void on_close_upto(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

static void conns_close_excess(struct net *net)
{
    struct server *server = net->server;
    uint64_t total = 0;
    for (uint32_t i = 0; i < server->shard_count; i++)
        total += shared_load_relaxed(&server->conn_counts[i]);
    uint32_t most = server->live->conn_count_max;
    if (most == 0 || total <= most)
        return;
    struct census *census = heap_alloc_zeroed(net->shard->heap, sizeof(*census));
    census->excess = (uint32_t)(total - most);
    census->missing_count = net->shard->count;
    struct census_asked asked = {census};
    for (uint32_t i = 0; i < net->shard->count; i++)
        mailbox_send(net->shard, i, on_census_asked, &asked, sizeof(asked));
}

static void on_census_asked(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    const struct census_asked *asked = payload;
    uint32_t count = 0;
    ASSERT(bytes == sizeof(*asked));
    for (uint32_t i = 0; i < net->slot_count; i++)
        count += net->slots[i].conn != NULL && net->slots[i].conn->state == CONN_OPEN;
    struct census_answer *answer = mailbox_reserve(
        shard, from, on_census_answer, (uint32_t)(sizeof(*answer) + count * sizeof(uint64_t)));
    answer->census = asked->census;
    answer->count = 0;
    for (uint32_t i = 0; i < net->slot_count; i++)
        if (net->slots[i].conn != NULL && net->slots[i].conn->state == CONN_OPEN)
            answer->cids[answer->count++] = net->slots[i].conn->cid;
}

static int compare_cids(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a;
    uint64_t second = *(const uint64_t *)b;
    return first < second ? -1 : first > second;
}

static void on_census_answer(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    const struct census_answer *answer = payload;
    struct census *census = answer->census;
    (void)bytes;
    (void)from;
    if (census->capacity - census->count < answer->count) {
        census->capacity = 2 * (census->count + answer->count);
        census->cids =
            heap_resize(shard->heap, census->cids, census->capacity * sizeof(*census->cids));
    }
    for (uint32_t i = 0; i < answer->count; i++)
        census->cids[census->count++] = answer->cids[i];
    if (--census->missing_count > 0)
        return;
    if (census->count > 0) {
        qsort(census->cids, census->count, sizeof(*census->cids), compare_cids);
        uint32_t last = census->excess < census->count ? census->excess : census->count;
        for (uint32_t i = 0; i < shard->count; i++)
            mailbox_send(shard, i, on_close_upto, &census->cids[last - 1], sizeof(uint64_t));
    }
    heap_free(census->cids);
    heap_free(census);
}

static void on_close_upto(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    uint64_t last;
    ASSERT(bytes == sizeof(last));
    memcpy(&last, payload, sizeof(last));
    (void)from;
    for (uint32_t i = 0; i < net->slot_count; i++) {
        struct conn *conn = net->slots[i].conn;
        if (conn == NULL || conn->state != CONN_OPEN || conn->cid > last)
            continue;
        conn_say_error(conn, "maximum connections exceeded");
        conn_close(conn, CONN_REASON_CONNECTIONS);
    }
}
