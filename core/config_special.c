/*
 * core/config_special.c: keys of a configuration file that are more than one row of core/options.h, and the lists of those
 * that pail ignores and refuses.
 *
 * Runs on: the main thread.
 */
#include <stdio.h>
#include <string.h>

#include "core/assert.h"
#include "core/config_apply.h"

static const int64_t LAME_DUCK_NS_MIN = 30 * INT64_C(1000000000);

/* They ask for nothing that pail has: clusters' queues, profiles, caches, limits of reports. */
static const char *const config_ignored[] = {
    "disable_sublist_cache",
    "no_sublist_cache",
    "connect_error_reports",
    "reconnect_error_reports",
    "prof_port",
    "prof_block_rate",
    "feature_flags",
    "ocsp",
    "ocsp_cache",
    "proxies",
    "default_sentinel",
    "jetstream.extension_hint",
    "jetstream.unique_tag",
    "jetstream.max_outstanding_catchup",
    "jetstream.max_buffered_size",
    "jetstream.max_buffered_msgs",
    "jetstream.request_queue_limit",
    "jetstream.info_queue_limit",
    "jetstream.meta_compact",
    "jetstream.meta_compact_size",
    "jetstream.meta_compact_sync",
    "jetstream.max_concurrent_io",
};

/* Known to nats-server, not to pail. Paths as in the look-up. */
static const char *const config_refused[] = {
    "mappings",
    "maps",
    "https",
    "https_port",
    "cluster",
    "gateway",
    "syslog",
    "remote_syslog",
    "proxy_protocol",
    "tls",
    "allow_non_tls",
    "operator",
    "operators",
    "roots",
    "root",
    "root_operators",
    "root_operator",
    "resolver",
    "account_resolver",
    "accounts_resolver",
    "resolver_tls",
    "resolver_preload",
    "resolver_pinned_accounts",
    "no_system_account",
    "no_system",
    "no_sys_acc",
    "trusted",
    "trusted_keys",
    "websocket.tls",
    "websocket.authorization",
    "websocket.authentication",
    "websocket.no_auth_user",
    "websocket.jwt_cookie",
    "websocket.user_cookie",
    "websocket.pass_cookie",
    "websocket.token_cookie",
    "mqtt",
    "default_js_domain",
    "jetstream.domain",
    "jetstream.key",
    "jetstream.ek",
    "jetstream.encryption_key",
    "jetstream.prev_key",
    "jetstream.prev_ek",
    "jetstream.prev_encryption_key",
    "jetstream.cipher",
    "jetstream.limits",
    "jetstream.tpm",
};

static apply_fn apply_listen, apply_http, apply_jetstream, apply_strict, apply_pail,
    apply_lame_duck_duration, apply_lame_duck_grace, apply_tags, apply_metadata, apply_leafnodes,
    apply_write_timeout, apply_token_count, apply_websocket, apply_websocket_listen, apply_origins,
    apply_headers, apply_compression;
static void set_address(struct application *application, const struct config_value *value,
                        const char *host_name, const char *port_name);
static bool cut_address(struct bytes address, struct bytes *host_out, struct bytes *port_out);
static bool is_among(const char *const *paths, size_t count, const char *path);
static bool parse_positive_text(struct application *application, const struct config_value *value,
                                int64_t *ns_out);
static void append_element(struct text *list, struct bytes element);
static void set_list(struct application *application, const struct config_value *value,
                     const struct option *option, const struct text *list);

apply_fn *apply_special(const char *path)
{
    static const struct {
        const char *path;
        apply_fn *apply;
    } special[] = {
        {"listen", apply_listen},
        {"http", apply_http},
        {"jetstream", apply_jetstream},
        {"jetstream.strict", apply_strict},
        {"pail", apply_pail},
        {"lame_duck_duration", apply_lame_duck_duration},
        {"lame_duck_grace_period", apply_lame_duck_grace},
        {"server_tags", apply_tags},
        {"server_metadata", apply_metadata},
        {"leafnodes", apply_leafnodes},
        {"leaf", apply_leafnodes},
        {"write_timeout", apply_write_timeout},
        {"max_subscription_tokens", apply_token_count},
        {"max_sub_tokens", apply_token_count},
        {"websocket", apply_websocket},
        {"ws", apply_websocket},
        {"websocket.listen", apply_websocket_listen},
        {"websocket.allowed_origins", apply_origins},
        {"websocket.allowed_origin", apply_origins},
        {"websocket.allow_origins", apply_origins},
        {"websocket.allow_origin", apply_origins},
        {"websocket.origins", apply_origins},
        {"websocket.origin", apply_origins},
        {"websocket.headers", apply_headers},
        {"websocket.compression", apply_compression},
        {"websocket.compress", apply_compression},
    };
    for (size_t i = 0; i < COUNT_OF(special); i++)
        if (strcmp(special[i].path, path) == 0)
            return special[i].apply;
    return NULL;
}

bool apply_is_ignored(const char *path)
{
    return is_among(config_ignored, COUNT_OF(config_ignored), path);
}

bool apply_is_refused(const char *path)
{
    return is_among(config_refused, COUNT_OF(config_refused), path);
}

static bool is_among(const char *const *paths, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(paths[i], path) == 0)
            return true;
    return false;
}

static void apply_listen(struct application *application, const struct config_value *value,
                         const char *path)
{
    (void)path;
    set_address(application, value, "host", "port");
}

static void apply_http(struct application *application, const struct config_value *value,
                       const char *path)
{
    (void)path;
    set_address(application, value, "http_host", "http_port");
}

static void apply_jetstream(struct application *application, const struct config_value *value,
                            const char *path)
{
    const struct option *option = option_by_name("jetstream");
    (void)path;
    switch (value->type) {
    case CONFIG_BOOL:
        apply_number(application, value, option, value->truth);
        break;
    case CONFIG_STRING:
        if (apply_is_word(value->text, "enabled") || apply_is_word(value->text, "enable"))
            apply_number(application, value, option, true);
        else if (apply_is_word(value->text, "disabled") || apply_is_word(value->text, "disable"))
            apply_number(application, value, option, false);
        else
            apply_error(application, value,
                        "Expected 'enabled' or 'disabled' for string value, got '%s'",
                        value->text.data);
        break;
    case CONFIG_MAP:
        apply_number(application, value, option, true); /* unless a member says no */
        apply_members(application, value, "jetstream.");
        break;
    default:
        apply_error(application, value, "Expected map, bool or string to define JetStream, got %s",
                    apply_go_type(value->type));
    }
}

static void apply_strict(struct application *application, const struct config_value *value,
                         const char *path)
{
    bool is_text = value->type == CONFIG_STRING;
    (void)path;
    if (value->type != CONFIG_BOOL
        && !(is_text
             && (apply_is_word(value->text, "true") || apply_is_word(value->text, "false"))))
        apply_error(application, value, "Expected 'true' or 'false' for bool value");
    else
        apply_number(application, value, option_by_name("strict"),
                     is_text ? apply_is_word(value->text, "true") : value->truth);
}

static void apply_pail(struct application *application, const struct config_value *value,
                       const char *path)
{
    (void)path;
    if (value->type == CONFIG_MAP)
        apply_members(application, value, "pail.");
    else
        apply_error(application, value, "Expected map to define pail, got %s",
                    apply_go_type(value->type));
}

/* host:port, :port, or a port alone. */
static void set_address(struct application *application, const struct config_value *value,
                        const char *host_name, const char *port_name)
{
    struct bytes host = {"", 0};
    struct bytes port;
    int64_t number = value->integer;
    if (value->type != CONFIG_INTEGER && value->type != CONFIG_STRING) {
        apply_error(application, value, "expected port or host:port, got %s",
                    apply_go_type(value->type));
        return;
    }
    if (value->type == CONFIG_STRING) {
        if (!cut_address(value->text, &host, &port)) {
            apply_error(application, value, "could not parse address string \"%s\"",
                        value->text.data);
            return;
        }
        if (!apply_parse_integer(port, &number)) {
            apply_error(application, value, "could not parse port \"%.*s\"", (int)port.count,
                        port.data);
            return;
        }
    }
    const struct option *option = option_by_name(host_name);
    const char *why = NULL;
    if (host.count == 0)
        option_reset(application->options, option);
    else
        why = option_set_text(application->options, option, host);
    if (why != NULL)
        apply_error(application, value, "%s %s", host_name, why);
    apply_number(application, value, option_by_name(port_name), number);
}

/* As Go's net.SplitHostPort: brackets around a host with colons, and only there. */
static bool cut_address(struct bytes address, struct bytes *host_out, struct bytes *port_out)
{
    const char *colon = address.count > 0 ? memrchr(address.data, ':', address.count) : NULL;
    if (colon == NULL)
        return false;
    struct bytes host = bytes_of(address.data, (size_t)(colon - address.data));
    bool is_bracketed = host.count >= 2 && host.data[0] == '[' && host.data[host.count - 1] == ']';
    if (is_bracketed)
        host = bytes_of(host.data + 1, host.count - 2);
    else if (host.count > 0 && memchr(host.data, ':', host.count) != NULL)
        return false;
    if (host.count > 0
        && (memchr(host.data, '[', host.count) != NULL
            || memchr(host.data, ']', host.count) != NULL))
        return false;
    *host_out = host;
    *port_out = bytes_after(address, (size_t)(colon - address.data) + 1);
    return true;
}

bool apply_parse_integer(struct bytes text, int64_t *number_out)
{
    uint64_t number;
    bool is_negative = text.count > 0 && text.data[0] == '-';
    bool is_signed = is_negative || (text.count > 0 && text.data[0] == '+');
    if (!text_parse_u64(bytes_after(text, is_signed ? 1 : 0), &number) || number > INT64_MAX)
        return false;
    *number_out = is_negative ? -(int64_t)number : (int64_t)number;
    return true;
}

/* ---- lame duck mode ---- */

/* A text only: a number is a type error, as in nats-server. */
static bool parse_positive_text(struct application *application, const struct config_value *value,
                                int64_t *ns_out)
{
    if (value->type != CONFIG_STRING) {
        apply_type_error(application, value, "string");
        return false;
    }
    if (text_parse_duration(value->text, ns_out))
        return true;
    apply_duration_error(application, value);
    return false;
}

static void apply_lame_duck_duration(struct application *application,
                                     const struct config_value *value, const char *path)
{
    int64_t ns;
    (void)path;
    if (!parse_positive_text(application, value, &ns))
        return;
    if (ns >= LAME_DUCK_NS_MIN) {
        apply_number(application, value, option_by_name("lame_duck_duration_ns"), ns);
        return;
    }
    struct text text = {0};
    text_append_duration(&text, ns);
    apply_error(application, value, "invalid lame_duck_duration of %.*s, minimum is 30 seconds",
                (int)text.count, text.data);
    text_free(&text);
}

static void apply_lame_duck_grace(struct application *application, const struct config_value *value,
                                  const char *path)
{
    int64_t ns;
    (void)path;
    if (!parse_positive_text(application, value, &ns))
        return;
    if (ns < 0)
        apply_error(application, value, "invalid lame_duck_grace_period, needs to be positive");
    else
        (void)option_set_number(application->options, option_by_name("lame_duck_grace_ns"), ns);
}

/* ---- lists ---- */

static void append_element(struct text *list, struct bytes element)
{
    if (list->count > 0)
        text_append_literal(list, "\n");
    text_append(list, element);
}

static void set_list(struct application *application, const struct config_value *value,
                     const struct option *option, const struct text *list)
{
    const char *why = option_set_text(application->options, option, text_bytes(list));
    if (why != NULL)
        apply_error(application, value, "%.*s %s", (int)value->key.count, value->key.data, why);
}

/* A text, or an array of texts. */
static void apply_texts(struct application *application, const struct config_value *value,
                        const char *what, const char *option)
{
    struct text list = {0};
    if (value->type == CONFIG_STRING)
        append_element(&list, value->text);
    for (const struct config_value *element = value->type == CONFIG_ARRAY ? value->first : NULL;
         element != NULL; element = element->next) {
        if (element->type == CONFIG_STRING)
            append_element(&list, element->text);
        else
            apply_error(application, element, "error parsing %s: unsupported type in array %s",
                        what, apply_go_type(element->type));
    }
    if (value->type != CONFIG_STRING && value->type != CONFIG_ARRAY)
        apply_error(application, value, "error parsing %s: unsupported type %s", what,
                    apply_go_type(value->type));
    else
        set_list(application, value, option_by_name(option), &list);
    text_free(&list);
}

static void apply_tags(struct application *application, const struct config_value *value,
                       const char *path)
{
    (void)path;
    apply_texts(application, value, "tags", "server_tags");
}

static void apply_origins(struct application *application, const struct config_value *value,
                          const char *path)
{
    (void)path;
    apply_texts(application, value, "allowed origins", "websocket_allowed_origins");
}

/* A map of texts: key, value, key, value … */
static void apply_pairs(struct application *application, const struct config_value *value,
                        const char *what, const char *option)
{
    struct text list = {0};
    if (value->type != CONFIG_MAP) {
        apply_error(application, value, "error parsing %s: unsupported type %s", what,
                    apply_go_type(value->type));
        return;
    }
    for (const struct config_value *member = value->first; member != NULL; member = member->next) {
        if (member->type != CONFIG_STRING) {
            apply_type_error(application, member, "string");
            continue;
        }
        append_element(&list, member->key);
        append_element(&list, member->text);
    }
    set_list(application, value, option_by_name(option), &list);
    text_free(&list);
}

static void apply_metadata(struct application *application, const struct config_value *value,
                           const char *path)
{
    (void)path;
    apply_pairs(application, value, "metadata", "server_metadata");
}

static void apply_headers(struct application *application, const struct config_value *value,
                          const char *path)
{
    (void)path;
    apply_pairs(application, value, "headers", "websocket_headers");
}

/* ---- others ---- */

static void apply_websocket(struct application *application, const struct config_value *value,
                            const char *path)
{
    (void)path;
    if (value->type == CONFIG_MAP)
        apply_members(application, value, "websocket.");
    else
        apply_error(application, value, "Expected websocket to be a map, got %s",
                    apply_go_type(value->type));
}

static void apply_websocket_listen(struct application *application,
                                   const struct config_value *value, const char *path)
{
    (void)path;
    set_address(application, value, "websocket_host", "websocket_port");
}

static void apply_compression(struct application *application, const struct config_value *value,
                              const char *path)
{
    if (value->type != CONFIG_BOOL)
        apply_type_error(application, value, "bool");
    else if (value->truth)
        apply_error(application, value, "pail does not support '%s: true' yet", path);
}

/* Suites have a block that only listens; nobody ever connects to it. Anything more would be missed. */
static void apply_leafnodes(struct application *application, const struct config_value *value,
                            const char *path)
{
    static const char *const harmless[] = {"listen", "host", "net", "port", "no_advertise"};
    if (value->type != CONFIG_MAP) {
        apply_error(application, value, "Expected map to define a leafnode, got %s",
                    apply_go_type(value->type));
        return;
    }
    for (const struct config_value *member = value->first; member != NULL; member = member->next) {
        bool is_harmless = false;
        for (size_t i = 0; i < COUNT_OF(harmless); i++)
            is_harmless |= apply_is_word(member->key, harmless[i]);
        if (!is_harmless)
            apply_error(application, member, "pail does not support '%s.%.*s' yet", path,
                        (int)member->key.count, member->key.data);
    }
    application->options->has_leafnodes = true;
}

/* A slow client is closed, which is the default; "retry" would keep it. */
static void apply_write_timeout(struct application *application, const struct config_value *value,
                                const char *path)
{
    if (value->type != CONFIG_STRING)
        apply_type_error(application, value, "string");
    else if (bytes_equal(value->text, BYTES_LITERAL("retry")))
        apply_error(application, value, "pail does not support '%s: retry' yet", path);
    else if (!bytes_equal(value->text, BYTES_LITERAL("default"))
             && !bytes_equal(value->text, BYTES_LITERAL("close")))
        apply_error(application, value, "write_timeout must be 'default', 'close' or 'retry'");
}

static void apply_token_count(struct application *application, const struct config_value *value,
                              const char *path)
{
    const struct option *option = option_by_name("token_count_max");
    (void)path;
    if (value->type != CONFIG_INTEGER)
        apply_type_error(application, value, "int64");
    else if (value->integer < 0)
        apply_error(application, value, "max_sub_tokens value can not be negative");
    else if (value->integer > option->most)
        apply_error(application, value, "max_sub_tokens value is too big");
    else
        apply_number(application, value, option, value->integer);
}
