/*
 * net/pages.c: what the monitoring port shows.
 *
 * Keeps:   every member that nats-server always has is there, in its order, with its type; what pail does not have is 0 or
 *          empty.
 * Runs on: shard 0.
 *
 * Source: server-interface.md sections 10.1, 10.2, 10.5, 10.6.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/monitor.h"
#include "net/server.h"

static void make_root(struct page *page);
static void make_varz(struct net *net, const uint64_t *request_counts, struct page *page);
static void append_identity(struct text *text, const struct server *server);
static void append_limits(struct text *text, const struct server *server);
static void append_process(struct text *text, const struct net *net);
static void append_figures(struct text *text, const struct net *net);
static void make_jsz(struct net *net, struct page *page);
static void append_jetstream(struct text *text, const struct net *net, const char *indent);
static void make_healthz(struct net *net, struct bytes query, struct page *page);

bool page_make(struct net *net, struct bytes path, struct bytes query,
               const uint64_t *request_counts, struct page *page)
{
    if (bytes_equal(path, BYTES_LITERAL("/connz")))
        return false;
    if (bytes_equal(path, BYTES_LITERAL("/"))) {
        make_root(page);
    } else if (bytes_equal(path, BYTES_LITERAL("/varz"))) {
        make_varz(net, request_counts, page);
    } else if (bytes_equal(path, BYTES_LITERAL("/jsz"))) {
        make_jsz(net, page);
    } else if (bytes_equal(path, BYTES_LITERAL("/healthz"))) {
        make_healthz(net, query, page);
    } else {
        page->status = 404;
        page->type = "text/plain; charset=utf-8";
        text_append_literal(&page->body, "404 page not found\n");
    }
    return true;
}

bool page_query(struct bytes query, const char *name, struct bytes *value_out)
{
    size_t name_count = strlen(name);
    while (query.count > 0) {
        const char *end = memchr(query.data, '&', query.count);
        size_t count = end == NULL ? query.count : (size_t)(end - query.data);
        if (count > name_count && memcmp(query.data, name, name_count) == 0
            && query.data[name_count] == '=') {
            *value_out = bytes_of(query.data + name_count + 1, count - name_count - 1);
            return true;
        }
        query = bytes_after(query, end == NULL ? count : count + 1);
    }
    return false;
}

void page_append_uptime(struct text *text, uint64_t ns)
{
    static const struct {
        uint64_t seconds;
        char letter;
    } units[] = {{31536000, 'y'}, {86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    uint64_t seconds = ns / 1000000000;
    bool has_begun = false;
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        uint64_t count = seconds / units[i].seconds;
        seconds %= units[i].seconds;
        has_begun |= count > 0 || units[i].letter == 's';
        if (has_begun)
            text_append_format(text, "%" PRIu64 "%c", count, units[i].letter);
    }
}

static void make_root(struct page *page)
{
    page->type = "text/html; charset=utf-8";
    text_append_literal(&page->body,
                        "<!doctype html>\n<html lang=\"en\"><head><title>pail</title></head>"
                        "<body>\n<h1>pail " PAIL_VERSION "</h1>\n"
                        "<a href=\"/varz\">General</a><br>\n"
                        "<a href=\"/jsz\">JetStream</a><br>\n"
                        "<a href=\"/connz\">Connections</a><br>\n"
                        "<a href=\"/healthz\">Health</a>\n</body></html>\n");
}

/* ---- /varz ---- */

static void make_varz(struct net *net, const uint64_t *request_counts, struct page *page)
{
    static const char *const paths[] = {
#define PATH_TEXT(path) path,
        MONITOR_PATH_LIST(PATH_TEXT)};
    struct text *text = &page->body;
    const struct server *server = net->server;
    text_append_literal(text, "{\n");
    append_identity(text, server);
    append_limits(text, server);
    text_append_literal(text, "  \"jetstream\": ");
    if (net->kv == NULL) {
        text_append_literal(text, "{}");
    } else {
        text_append_literal(text, "{\n    \"config\": {\n      \"max_memory\": 0,\n"
                                  "      \"max_storage\": 0,\n      \"store_dir\": ");
        text_append_json_string(text, bytes_of_text(server->options->store_dir));
        text_append_literal(text, "\n    },\n    \"stats\": {\n");
        append_jetstream(text, net, "      ");
        text_append_literal(text, "\n    },\n    \"limits\": {}\n  }");
    }
    text_append_literal(text, ",\n");
    append_process(text, net);
    append_figures(text, net);
    text_append_literal(text, "  \"http_req_stats\": {");
    const char *between = "";
    for (size_t i = 0; i < MONITOR_PATH_COUNT; i++) {
        if (request_counts[i] == 0)
            continue;
        text_append_format(text, "%s\n    \"%s\": %" PRIu64, between, paths[i], request_counts[i]);
        between = ",";
    }
    text_append_literal(text, "\n  },\n  \"config_load_time\": \"");
    text_append_time(text, server->config_load_wall_ns);
    text_append_literal(text, "\",\n  \"config_digest\": \"\",\n  \"system_account\": \"$SYS\"\n}");
}

static void append_identity(struct text *text, const struct server *server)
{
    text_append_format(text, "  \"server_id\": \"%s\",\n  \"server_name\": ", server->id);
    text_append_json_string(text, bytes_of_text(server->name));
    text_append_literal(text, ",\n  \"version\": \"" PAIL_NATS_VERSION "\",\n  \"proto\": 1,\n"
                              "  \"go\": \"" PAIL_GO_VERSION "\",\n  \"host\": ");
    text_append_json_string(text, bytes_of_text(server->options->host));
    text_append_format(text, ",\n  \"port\": %u,\n", server->listener.port);
}

static void append_limits(struct text *text, const struct server *server)
{
    const struct options *options = server->live;
    const char *http_host = options->http_host[0] != '\0' ? options->http_host : options->host;
    text_append_format(text, "  \"max_connections\": %u,\n", options->conn_count_max);
    text_append_format(text, "  \"ping_interval\": %" PRIu64 ",\n  \"ping_max\": %u,\n",
                       options->ping_interval_ns, options->ping_count_max);
    text_append_literal(text, "  \"http_host\": ");
    text_append_json_string(text, bytes_of_text(http_host));
    text_append_format(text,
                       ",\n  \"http_port\": %d,\n  \"http_base_path\": \"\",\n"
                       "  \"https_port\": 0,\n  \"auth_timeout\": 2,\n",
                       options->http_port);
    text_append_format(text,
                       "  \"max_control_line\": %" PRIu64 ",\n  \"max_payload\": %" PRIu64 ",\n"
                       "  \"max_pending\": %" PRIu64 ",\n",
                       options->control_line_bytes_max, options->payload_bytes_max,
                       server->pending_bytes_max);
    text_append_literal(text, "  \"cluster\": {},\n  \"gateway\": {},\n  \"leaf\": {},\n"
                              "  \"mqtt\": {},\n  \"websocket\": {},\n");
}

static uint64_t resident_bytes(void)
{
    unsigned long all = 0;
    unsigned long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu %lu", &all, &resident) != 2)
        resident = 0;
    (void)fclose(file); /* it was only read */
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* CPU time since the start, in percent of one CPU. */
static double cpu_percent(uint64_t uptime_ns)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0 || uptime_ns == 0)
        return 0;
    double seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
                     + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    return seconds / ((double)uptime_ns / 1e9) * 100;
}

static void append_process(struct text *text, const struct net *net)
{
    const struct server *server = net->server;
    uint64_t now_ns = shard_wall_ns(net->shard);
    uint64_t uptime_ns = now_ns - server->start_wall_ns;
    text_append_format(text, "  \"tls_timeout\": 2,\n  \"write_deadline\": %" PRIu64 ",\n",
                       server->live->write_deadline_ns);
    text_append_literal(text, "  \"start\": \"");
    text_append_time(text, server->start_wall_ns);
    text_append_literal(text, "\",\n  \"now\": \"");
    text_append_time(text, now_ns);
    text_append_literal(text, "\",\n  \"uptime\": \"");
    page_append_uptime(text, uptime_ns);
    text_append_format(text,
                       "\",\n  \"mem\": %" PRIu64 ",\n  \"cores\": %ld,\n"
                       "  \"gomaxprocs\": %u,\n  \"cpu\": %.2f,\n",
                       resident_bytes(), sysconf(_SC_NPROCESSORS_ONLN), server->shard_count,
                       cpu_percent(uptime_ns));
}

static void append_figures(struct text *text, const struct net *net)
{
    struct net_figures figures;
    server_figures(net->server, &figures);
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"connections", figures.connections},
        {"total_connections", figures.total_connections},
        {"routes", 0},
        {"remotes", 0},
        {"leafnodes", 0},
        {"in_msgs", figures.in_msgs},
        {"in_bytes", figures.in_bytes},
        {"in_client_msgs", figures.in_msgs},
        {"in_client_bytes", figures.in_bytes},
        {"out_msgs", figures.out_msgs},
        {"out_bytes", figures.out_bytes},
        {"out_client_msgs", figures.out_msgs},
        {"out_client_bytes", figures.out_bytes},
        {"slow_consumers", figures.slow_consumers},
        {"stale_connections", figures.stale_connections},
        {"stalled_clients", 0},
        {"subscriptions", figures.subscriptions},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        text_append_format(text, "  \"%s\": %" PRIu64 ",\n", rows[i].name, rows[i].value);
    text_append_format(text,
                       "  \"slow_consumer_stats\": {\n    \"clients\": %" PRIu64
                       ",\n    \"routes\": 0,\n    \"gateways\": 0,\n    \"leafs\": 0\n  },\n",
                       figures.slow_consumers);
}

/* ---- /jsz, /healthz ---- */

static void make_jsz(struct net *net, struct page *page)
{
    struct text *text = &page->body;
    struct kv_figures figures = {.streams = 0};
    if (net->kv != NULL)
        kv_figures(net->kv, &figures);
    text_append_literal(text, "{\n");
    append_jetstream(text, net, "  ");
    text_append_format(text, ",\n  \"server_id\": \"%s\",\n  \"now\": \"", net->server->id);
    text_append_time(text, shard_wall_ns(net->shard));
    text_append_literal(text, net->kv == NULL ? "\",\n  \"disabled\": true,\n" : "\",\n");
    text_append_literal(text, "  \"config\": {\n    \"max_memory\": 0,\n    \"max_storage\": 0");
    if (net->kv != NULL) {
        text_append_literal(text, ",\n    \"store_dir\": ");
        text_append_json_string(text, bytes_of_text(net->server->options->store_dir));
    }
    text_append_format(text,
                       "\n  },\n  \"streams\": %" PRIu64 ",\n  \"consumers\": %" PRIu64
                       ",\n  \"messages\": %" PRIu64 ",\n  \"bytes\": %" PRIu64
                       ",\n  \"total\": %d\n}",
                       figures.streams, figures.consumers, figures.messages, figures.bytes,
                       net->kv != NULL ? 1 : 0);
}

/* The members that varz and jsz share; no comma behind the last. */
static void append_jetstream(struct text *text, const struct net *net, const char *indent)
{
    struct kv_figures figures = {.streams = 0};
    if (net->kv != NULL)
        kv_figures(net->kv, &figures);
    text_append_format(text, "%s\"memory\": 0,\n%s\"storage\": %" PRIu64 ",\n", indent, indent,
                       figures.bytes);
    text_append_format(text, "%s\"reserved_memory\": 0,\n%s\"reserved_storage\": 0,\n", indent,
                       indent);
    text_append_format(text, "%s\"accounts\": %d,\n%s\"ha_assets\": 0,\n", indent,
                       net->kv != NULL ? 1 : 0, indent);
    text_append_format(text,
                       "%s\"api\": {\n%s  \"level\": %d,\n%s  \"total\": %" PRIu64
                       ",\n%s  \"errors\": %" PRIu64 "\n%s}",
                       indent, indent, net->kv != NULL ? PAIL_API_LEVEL : 0, indent,
                       figures.api_total, indent, figures.api_errors, indent);
}

static void make_healthz(struct net *net, struct bytes query, struct page *page)
{
    struct bytes value;
    const char *why = NULL;
    if (page_query(query, "stream", &value) && !page_query(query, "account", &value))
        why = "\\\"account\\\" must not be empty when checking stream health";
    else if (page_query(query, "consumer", &value) && !page_query(query, "stream", &value))
        why = "\\\"stream\\\" must not be empty when checking consumer health";
    if (why != NULL) {
        page->status = 400;
        text_append_format(&page->body, "{\"status\":\"error\",\"error\":\"%s\"}", why);
        return;
    }
    if (!net->server->is_ready || net->server->is_lame_duck) {
        page->status = 500;
        text_append_literal(&page->body,
                            "{\"status\":\"error\",\"error\":\"failed to be ready for connections "
                            "after 1ms: server\"}");
        return;
    }
    text_append_literal(&page->body, "{\"status\":\"ok\"}");
}
