/*
 * net/pages.c: what the monitoring port shows: which page a path means, its parameters, and the small pages.
 *
 * Keeps:   what nats-server always has is there, in its order, with its type; what pail does not have is 0 or empty.
 * Runs on: shard 0.
 *
 * Source: server-interface.md sections 10.1, 10.5, 10.6, 10.7.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/accounts.h"
#include "core/diag.h"
#include "net/monitor.h"
#include "net/server.h"

static bool cut_base(const struct net *net, struct bytes *path);
static void make_root(const struct net *net, struct page *page);
static void make_jsz(struct net *net, struct bytes query, struct page *page);
static void begin_jsz(struct net *net, struct page *page);
static uint32_t jetstream_account_count(const struct net *net);
static void make_healthz(struct net *net, struct bytes query, struct page *page);
static bool make_small(struct net *net, struct bytes path, struct bytes query, struct page *page);
static void make_accountz(struct net *net, struct bytes query, struct page *page);
static void begin(const struct net *net, struct text *text);

bool page_make(struct net *net, struct bytes path, struct bytes query,
               const uint64_t *request_counts, struct page *page, void *context,
               void (*on_done)(void *context))
{
    if (!cut_base(net, &path)) {
        page_fail(page, 404, "404 page not found");
        return true;
    }
    if (bytes_equal(path, BYTES_LITERAL("/connz")))
        return page_start_connz(net, query, page, context, on_done);
    if (bytes_equal(path, BYTES_LITERAL("/jsz")))
        make_jsz(net, query, page);
    else if (bytes_equal(path, BYTES_LITERAL("/")))
        make_root(net, page);
    else if (bytes_equal(path, BYTES_LITERAL("/varz")))
        page_make_varz(net, request_counts, page);
    else if (bytes_equal(path, BYTES_LITERAL("/healthz")))
        make_healthz(net, query, page);
    else if (!make_small(net, path, query, page))
        page_fail(page, 404, "404 page not found");
    return true;
}

/* With http_base_path all pages are below it, and the root is the base itself. */
static bool cut_base(const struct net *net, struct bytes *path)
{
    struct bytes base = bytes_of_text(net->server->options->http_base_path);
    if (base.count > 0 && base.data[0] == '/')
        base = bytes_after(base, 1);
    while (base.count > 0 && base.data[base.count - 1] == '/')
        base.count--;
    if (base.count == 0)
        return true;
    if (path->count < base.count + 1 || path->data[0] != '/'
        || !bytes_start_with(bytes_after(*path, 1), base))
        return false;
    *path = bytes_after(*path, base.count + 1);
    if (path->count == 0)
        *path = BYTES_LITERAL("/");
    return path->data[0] == '/';
}

void page_fail(struct page *page, unsigned status, const char *words)
{
    page->status = status;
    page->type = "text/plain; charset=utf-8";
    text_clear(&page->body);
    text_append_literal(&page->body, words);
    text_append_literal(&page->body, "\n");
}

/* ---- parameters ---- */

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

static bool fail_value(struct page *page, const char *kind, const char *name, const char *function,
                       struct bytes value)
{
    struct text words = {0};
    text_append_format(&words, "Error decoding %s for '%s': strconv.%s: parsing ", kind, name,
                       function);
    text_append_json_string(&words, value);
    text_append_literal(&words, ": invalid syntax");
    text_append(&words, bytes_of("", 1));
    page_fail(page, 400, words.data);
    text_free(&words);
    return false;
}

bool page_bool(struct bytes query, const char *name, bool *truth_out, struct page *page)
{
    static const char *const words[] = {"1", "t", "T", "TRUE",  "true",  "True",
                                        "0", "f", "F", "FALSE", "false", "False"};
    struct bytes value;
    if (!page_query(query, name, &value) || value.count == 0)
        return true;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (!bytes_equal(value, bytes_of_text(words[i])))
            continue;
        *truth_out = i < COUNT_OF(words) / 2;
        return true;
    }
    return fail_value(page, "boolean", name, "ParseBool", value);
}

bool page_number(struct bytes query, const char *name, uint64_t *number_out, struct page *page)
{
    struct bytes value;
    if (!page_query(query, name, &value) || value.count == 0)
        return true;
    bool is_negative = value.data[0] == '-';
    if (!text_parse_u64(bytes_after(value, is_negative ? 1 : 0), number_out))
        return fail_value(page, "int", name, "Atoi", value);
    if (is_negative)
        *number_out = 0;
    return true;
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

static void make_root(const struct net *net, struct page *page)
{
    static const struct {
        const char *path, *words;
    } links[] = {{"varz", "General"},      {"jsz", "JetStream"},       {"connz", "Connections"},
                 {"accountz", "Accounts"}, {"subsz", "Subscriptions"}, {"routez", "Routes"},
                 {"leafz", "LeafNodes"},   {"gatewayz", "Gateways"},   {"healthz", "Health Probe"}};
    page->type = "text/html; charset=utf-8";
    text_append_literal(&page->body,
                        "<!doctype html>\n<html lang=\"en\"><head><title>pail</title></head>"
                        "<body>\n<h1>pail " PAIL_VERSION "</h1>\n");
    for (size_t i = 0; i < COUNT_OF(links); i++)
        text_append_format(&page->body, "<a href=\"%s/%s\">%s</a><br>\n",
                           net->server->options->http_base_path, links[i].path, links[i].words);
    text_append_literal(&page->body, "</body></html>\n");
}

static void begin(const struct net *net, struct text *text)
{
    text_append_format(text, "{\n  \"server_id\": \"%s\",\n  \"now\": \"", net->server->id);
    text_append_time(text, shard_wall_ns(net->shard));
    text_append_literal(text, "\",\n");
}

/* ---- pages of what pail does not have, and of little ---- */

static bool make_small(struct net *net, struct bytes path, struct bytes query, struct page *page)
{
    struct text *text = &page->body;
    if (bytes_equal(path, BYTES_LITERAL("/routez"))) {
        text_append_format(text,
                           "{\n  \"server_id\": \"%s\",\n  \"server_name\": ", net->server->id);
        text_append_json_string(text, bytes_of_text(net->server->name));
        text_append_literal(text, ",\n  \"now\": \"");
        text_append_time(text, shard_wall_ns(net->shard));
        text_append_literal(text, "\",\n  \"num_routes\": 0,\n  \"routes\": []\n}");
    } else if (bytes_equal(path, BYTES_LITERAL("/gatewayz"))) {
        begin(net, text);
        text_append_literal(text, "  \"outbound_gateways\": {},\n  \"inbound_gateways\": {}\n}");
    } else if (bytes_equal(path, BYTES_LITERAL("/leafz"))) {
        begin(net, text);
        text_append_literal(text, "  \"leafnodes\": 0,\n  \"leafs\": []\n}");
    } else if (bytes_equal(path, BYTES_LITERAL("/accountz"))) {
        make_accountz(net, query, page);
    } else if (bytes_equal(path, BYTES_LITERAL("/subsz"))
               || bytes_equal(path, BYTES_LITERAL("/subscriptionsz"))) {
        struct net_figures figures;
        server_figures(net->server, &figures);
        begin(net, text);
        text_append_format(text,
                           "  \"num_subscriptions\": %" PRIu64 ",\n  \"num_cache\": 0,\n"
                           "  \"num_inserts\": %" PRIu64 ",\n  \"num_removes\": %" PRIu64 ",\n"
                           "  \"num_matches\": 0,\n  \"cache_hit_rate\": 0,\n"
                           "  \"max_fanout\": 0,\n  \"avg_fanout\": 0,\n  \"total\": 0,\n"
                           "  \"offset\": 0,\n  \"limit\": 1024\n}",
                           figures.subscriptions, figures.subscription_inserts,
                           figures.subscription_inserts - figures.subscriptions);
    } else if (bytes_equal(path, BYTES_LITERAL("/ipqueuesz"))) {
        text_append_literal(text, "{}");
    } else if (bytes_equal(path, BYTES_LITERAL("/raftz"))) {
        page_fail(page, 404, "No Raft nodes registered");
    } else {
        return false;
    }
    return true;
}

static void make_accountz(struct net *net, struct bytes query, struct page *page)
{
    const struct accounts *accounts = net->server->accounts;
    struct text *text = &page->body;
    struct bytes wanted = {"", 0};
    bool is_one = page_query(query, "acc", &wanted) && wanted.count > 0;
    begin(net, text);
    text_append_literal(text, "  \"system_account\": \"$SYS\",\n");
    if (!is_one) {
        text_append_literal(text, "  \"accounts\": [");
        for (uint32_t i = 0; i < accounts_count(accounts); i++) {
            text_append_literal(text, i > 0 ? ",\n    " : "\n    ");
            text_append_json_string(text, account_name(accounts, i));
        }
        text_append_literal(text, "\n  ]\n}");
        return;
    }
    for (uint32_t i = 0; i < accounts_count(accounts); i++) {
        if (!bytes_equal(account_name(accounts, i), wanted))
            continue;
        text_append_literal(text, "  \"account_detail\": {\n    \"account_name\": ");
        text_append_json_string(text, wanted);
        if (i == ACCOUNT_SYSTEM)
            text_append_literal(text, ",\n    \"is_system\": true");
        text_append_format(text,
                           ",\n    \"expired\": false,\n    \"complete\": true,\n"
                           "    \"jetstream_enabled\": %s,\n    \"leafnode_connections\": 0,\n"
                           "    \"name_tag\": ",
                           net->kv != NULL && account_has_jetstream(accounts, i) ? "true"
                                                                                 : "false");
        text_append_json_string(text, wanted);
        text_append_literal(text, "\n  }\n}");
        return;
    }
    struct text words = {0};
    text_append_literal(&words, "Account ");
    text_append(&words, wanted);
    text_append_literal(&words, " does not exist");
    text_append(&words, bytes_of("", 1));
    page_fail(page, 400, words.data);
    text_free(&words);
}

/* ---- /jsz ---- */

/* The totals; account_details are not there yet. */
static void make_jsz(struct net *net, struct bytes query, struct page *page)
{
    static const char *const switches[] = {
        "accounts", "streams",     "consumers", "direct-consumers",
        "config",   "leader-only", "raft",      "stream-leader-only"};
    bool is_wanted = false;
    for (size_t i = 0; i < COUNT_OF(switches); i++)
        if (!page_bool(query, switches[i], &is_wanted, page))
            return;
    begin_jsz(net, page);
    text_append_format(&page->body, ",\n  \"total\": %u\n}", jetstream_account_count(net));
}

static void begin_jsz(struct net *net, struct page *page)
{
    struct text *text = &page->body;
    struct kv_figures figures = {.streams = 0};
    if (net->kv != NULL)
        kv_figures(net->kv, &figures);
    text_append_literal(text, "{\n");
    page_append_jetstream_stats(text, net, "  ");
    text_append_format(text, ",\n  \"server_id\": \"%s\",\n  \"now\": \"", net->server->id);
    text_append_time(text, shard_wall_ns(net->shard));
    text_append_literal(text, net->kv == NULL ? "\",\n  \"disabled\": true,\n" : "\",\n");
    text_append_literal(text, "  \"config\": ");
    if (net->kv != NULL) {
        page_append_jetstream_config(text, net->server, "  ");
        text_append_literal(text, ",\n  \"limits\": {\n    \"default_max_consumers\": 1000\n  }");
    } else {
        text_append_literal(text, "{\n    \"max_memory\": 0,\n    \"max_storage\": 0\n  }");
    }
    text_append_format(text,
                       ",\n  \"streams\": %" PRIu64 ",\n  \"consumers\": %" PRIu64
                       ",\n  \"messages\": %" PRIu64 ",\n  \"bytes\": %" PRIu64,
                       figures.streams, figures.consumers, figures.messages, figures.bytes);
}

static uint32_t jetstream_account_count(const struct net *net)
{
    const struct accounts *accounts = net->server->accounts;
    uint32_t count = 0;
    for (uint32_t i = 0; net->kv != NULL && i < accounts_count(accounts); i++)
        count += account_has_jetstream(accounts, i) ? 1 : 0;
    return count;
}

/* -1: no limit but the disk's, or the memory's. */
void page_append_jetstream_config(struct text *text, const struct server *server,
                                  const char *indent)
{
    const struct options *options = server->live;
    int64_t memory = (int64_t)options->memory_store_bytes_max;
    int64_t file = (int64_t)options->file_store_bytes_max;
    text_append_format(text,
                       "{\n%s  \"max_memory\": %" PRIi64 ",\n%s  \"max_storage\": %" PRIi64
                       ",\n%s  \"store_dir\": ",
                       indent, memory == INT64_MAX ? -1 : memory, indent,
                       file == INT64_MAX ? -1 : file, indent);
    text_append_json_string(text, bytes_of_text(options->store_dir));
    if (options->sync_interval_ns > 0)
        text_append_format(text, ",\n%s  \"sync_interval\": %" PRIu64, indent,
                           options->sync_interval_ns);
    else
        text_append_format(text, ",\n%s  \"sync_always\": true", indent);
    if (options->strict)
        text_append_format(text, ",\n%s  \"strict\": true", indent);
    text_append_format(text, "\n%s}", indent);
}

/* The members that varz and jsz share; no comma behind the last. */
void page_append_jetstream_stats(struct text *text, const struct net *net, const char *indent)
{
    struct kv_figures figures = {.streams = 0};
    if (net->kv != NULL)
        kv_figures(net->kv, &figures);
    text_append_format(text, "%s\"memory\": %" PRIu64 ",\n%s\"storage\": %" PRIu64 ",\n", indent,
                       figures.memory_bytes, indent, figures.file_bytes);
    text_append_format(text,
                       "%s\"reserved_memory\": %" PRIu64 ",\n%s\"reserved_storage\": %" PRIu64
                       ",\n%s\"accounts\": %u,\n%s\"ha_assets\": 0,\n",
                       indent, figures.reserved_memory, indent, figures.reserved_file, indent,
                       jetstream_account_count(net), indent);
    text_append_format(text,
                       "%s\"api\": {\n%s  \"level\": %d,\n%s  \"total\": %" PRIu64
                       ",\n%s  \"errors\": %" PRIu64 "\n%s}",
                       indent, indent, net->kv != NULL ? PAIL_API_LEVEL : 0, indent,
                       figures.api_total, indent, figures.api_errors, indent);
}

/* ---- /healthz ---- */

static void answer_health(struct page *page, bool has_details, unsigned status, const char *type,
                          const char *words)
{
    const char *said = status == 404 || status == 503 ? "unavailable" : "error";
    diag_warn("Healthcheck failed: \"%s\"", words);
    page->status = status;
    if (has_details) {
        text_append_format(&page->body,
                           "{\"status\":\"error\",\"errors\":[{\"type\":\"%s\",\"error\":", type);
        text_append_json_string(&page->body, bytes_of_text(words));
        text_append_literal(&page->body, "}]}");
        return;
    }
    text_append_format(&page->body, "{\"status\":\"%s\",\"error\":", said);
    text_append_json_string(&page->body, bytes_of_text(words));
    text_append_literal(&page->body, "}");
}

static void make_healthz(struct net *net, struct bytes query, struct page *page)
{
    struct bytes account = {"", 0}, stream = {"", 0}, consumer = {"", 0};
    bool is_enabled_only = false, is_server_only = false, is_meta_only = false;
    bool is_enabled = false, has_details = false;
    char words[600];
    if (!page_bool(query, "js-enabled", &is_enabled, page)
        || !page_bool(query, "js-enabled-only", &is_enabled_only, page)
        || !page_bool(query, "js-server-only", &is_server_only, page)
        || !page_bool(query, "js-meta-only", &is_meta_only, page)
        || !page_bool(query, "details", &has_details, page))
        return;
    if (is_enabled)
        diag_warn("Healthcheck: js-enabled deprecated, use js-enabled-only instead");
    (void)page_query(query, "account", &account); /* empty is absent */
    (void)page_query(query, "stream", &stream);
    (void)page_query(query, "consumer", &consumer);
    if (stream.count > 0 && account.count == 0) {
        answer_health(page, has_details, 400, "BAD_REQUEST",
                      "\"account\" must not be empty when checking stream health");
        return;
    }
    if (consumer.count > 0 && stream.count == 0) {
        answer_health(page, has_details, 400, "BAD_REQUEST",
                      "\"stream\" must not be empty when checking consumer health");
        return;
    }
    if (!net->server->is_ready || net->server->is_lame_duck) {
        answer_health(page, has_details, 500, "CONNECTION",
                      "failed to be ready for connections after 1ms: server");
        return;
    }
    const struct accounts *accounts = net->server->accounts;
    bool is_known = account.count == 0;
    for (uint32_t i = 0; net->kv != NULL && !is_known && i < accounts_count(accounts); i++)
        is_known =
            bytes_equal(account_name(accounts, i), account) && account_has_jetstream(accounts, i);
    if (!is_known && net->kv != NULL) {
        (void)snprintf(words, sizeof(words), "JetStream account \"%.*s\" not found",
                       (int)account.count, account.data); /* cut: nobody has such a name */
        answer_health(page, has_details, 404, "ACCOUNT", words);
        return;
    }
    text_append_literal(&page->body, "{\"status\":\"ok\"}");
}
