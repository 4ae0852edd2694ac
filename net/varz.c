/*
 * net/varz.c: /varz, the server in one object.
 *
 * Keeps:   every member that nats-server always has is there, in its order, with its type; what pail does not have is 0 or
 *          empty.
 * Runs on: shard 0.
 *
 * Source: server-interface.md section 10.2.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/monitor.h"
#include "net/server.h"

static void append_identity(struct text *text, const struct server *server);
static void append_limits(struct text *text, const struct server *server);
static void append_websocket(struct text *text, const struct server *server);
static void append_jetstream(struct text *text, const struct net *net);
static void append_process(struct text *text, const struct net *net);
static void append_figures(struct text *text, const struct net *net);
static void append_http(struct text *text, const uint64_t *request_counts);
static void append_config(struct text *text, const struct server *server);

void page_make_varz(struct net *net, const uint64_t *request_counts, struct page *page)
{
    struct text *text = &page->body;
    const struct server *server = net->server;
    text_append_literal(text, "{\n");
    append_identity(text, server);
    append_limits(text, server);
    append_websocket(text, server);
    append_jetstream(text, net);
    append_process(text, net);
    append_figures(text, net);
    append_http(text, request_counts);
    append_config(text, server);
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
    int64_t conn_count_max = options->conn_count_max == 0 ? -1 : (int64_t)options->conn_count_max;
    text_append_format(text, "  \"max_connections\": %" PRIi64 ",\n", conn_count_max);
    if (options->subscription_count_max > 0)
        text_append_format(text, "  \"max_subscriptions\": %u,\n", options->subscription_count_max);
    text_append_format(text, "  \"ping_interval\": %" PRIu64 ",\n  \"ping_max\": %u,\n",
                       options->ping_interval_ns, options->ping_count_max);
    text_append_literal(text, "  \"http_host\": ");
    text_append_json_string(text, bytes_of_text(http_host));
    text_append_format(text, ",\n  \"http_port\": %d,\n  \"http_base_path\": ", options->http_port);
    text_append_json_string(text, bytes_of_text(options->http_base_path));
    text_append_format(text,
                       ",\n  \"https_port\": 0,\n  \"auth_timeout\": 2,\n"
                       "  \"max_control_line\": %" PRIu64 ",\n  \"max_payload\": %" PRIu64 ",\n"
                       "  \"max_pending\": %" PRIu64 ",\n",
                       options->control_line_bytes_max, options->payload_bytes_max,
                       server->pending_bytes_max);
    text_append_literal(text, "  \"cluster\": {},\n  \"gateway\": {},\n  \"leaf\": {},\n"
                              "  \"mqtt\": {},\n");
}

/* Texts with newlines between them, as an array. */
static void append_list(struct text *text, const char *list)
{
    const char *between = "";
    text_append_literal(text, "[");
    while (*list != '\0') {
        size_t count = strcspn(list, "\n");
        text_append_literal(text, between);
        text_append_json_string(text, bytes_of(list, count));
        list += count + (list[count] == '\n' ? 1 : 0);
        between = ", ";
    }
    text_append_literal(text, "]");
}

static void append_websocket(struct text *text, const struct server *server)
{
    const struct options *options = server->options;
    if (options->websocket_port == 0) {
        text_append_literal(text, "  \"websocket\": {},\n");
        return;
    }
    text_append_literal(text, "  \"websocket\": {\n    \"host\": ");
    text_append_json_string(text, bytes_of_text(options->websocket_host[0] != '\0'
                                                    ? options->websocket_host
                                                    : options->host));
    text_append_format(text, ",\n    \"port\": %u,\n    \"handshake_timeout\": %" PRIu64,
                       server->websocket_listener.port, options->websocket_handshake_ns);
    if (options->websocket_no_tls)
        text_append_literal(text, ",\n    \"no_tls\": true");
    if (options->websocket_same_origin)
        text_append_literal(text, ",\n    \"same_origin\": true");
    if (options->websocket_allowed_origins[0] != '\0') {
        text_append_literal(text, ",\n    \"allowed_origins\": ");
        append_list(text, options->websocket_allowed_origins);
    }
    text_append_literal(text, "\n  },\n");
}

static void append_jetstream(struct text *text, const struct net *net)
{
    if (net->kv == NULL) {
        text_append_literal(text, "  \"jetstream\": {},\n");
        return;
    }
    text_append_literal(text, "  \"jetstream\": {\n    \"config\": ");
    page_append_jetstream_config(text, net->server, "    ");
    text_append_literal(text, ",\n    \"stats\": {\n");
    page_append_jetstream_stats(text, net, "      ");
    text_append_literal(text, "\n    },\n    \"limits\": {\n      \"default_max_consumers\": 1000\n"
                              "    }\n  },\n");
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
}

static void append_http(struct text *text, const uint64_t *request_counts)
{
    static const char *const paths[] = {
#define PATH_TEXT(path) path,
        MONITOR_PATH_LIST(PATH_TEXT)};
    const char *between = "";
    text_append_literal(text, "  \"http_req_stats\": {");
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        if (request_counts[i] == 0)
            continue;
        text_append_format(text, "%s\n    \"%s\": %" PRIu64, between, paths[i], request_counts[i]);
        between = ",";
    }
    text_append_literal(text, "\n  },\n");
}

/* Keys and values, each on a line, as an object. */
static void append_pairs(struct text *text, const char *list)
{
    text_append_literal(text, "{");
    for (unsigned i = 0; *list != '\0' || i % 2 != 0; i++) {
        size_t count = strcspn(list, "\n");
        text_append_literal(text, i % 2 != 0 ? ": " : i > 0 ? ", " : "");
        text_append_json_string(text, bytes_of(list, count));
        list += count + (list[count] == '\n' ? 1 : 0);
    }
    text_append_literal(text, "}");
}

static void append_config(struct text *text, const struct server *server)
{
    const struct options *options = server->live;
    struct net_figures figures;
    server_figures(server, &figures);
    text_append_literal(text, "  \"config_load_time\": \"");
    text_append_time(text, server->config_load_wall_ns);
    text_append_format(text, "\",\n  \"config_digest\": \"%s\",\n", options->config_digest);
    if (options->server_tags[0] != '\0') {
        text_append_literal(text, "  \"tags\": ");
        append_list(text, options->server_tags);
        text_append_literal(text, ",\n");
    }
    if (options->server_metadata[0] != '\0') {
        text_append_literal(text, "  \"metadata\": ");
        append_pairs(text, options->server_metadata);
        text_append_literal(text, ",\n");
    }
    text_append_format(text,
                       "  \"system_account\": \"$SYS\",\n"
                       "  \"slow_consumer_stats\": {\n    \"clients\": %" PRIu64
                       ",\n    \"routes\": 0,\n    \"gateways\": 0,\n    \"leafs\": 0\n  },\n"
                       "  \"stale_connection_stats\": {\n    \"clients\": %" PRIu64
                       ",\n    \"routes\": 0,\n    \"gateways\": 0,\n    \"leafs\": 0\n  },\n"
                       "  \"disk_io_wait_stats\": {\n    \"waiters\": 0,\n    \"waits\": 0,\n"
                       "    \"wait_time\": 0,\n    \"max_wait_time\": 0\n  }\n}",
                       figures.slow_consumers, figures.stale_connections);
}
