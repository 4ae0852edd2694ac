/*
 * core/config_apply.c: what the keys of a configuration file mean to pail.
 *
 * A key is looked up by its path in lower case ("jetstream.store_dir"), first among the few that need code of their own,
 * then among the rows of core/options, then among what nats-server knows and pail does not have yet. The last ones are
 * refused by name: a file that asks for authorization must not start a server without it.
 *
 * Keeps:   all mistakes of a file are told, each with its place, not only the first.
 * Runs on: the main thread, before shards exist.
 */
#include "core/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "core/assert.h"

enum { CONFIG_PATH_BYTES_MAX = 128 };

/* One run of config_apply. */
struct application {
    struct options *options;        /* borrows */
    struct text *errors, *warnings; /* borrows */
};

typedef void apply_fn(struct application *application, const struct config_value *value,
                      const char *path);

/* Known to nats-server, not to pail. Paths as in the look-up. */
static const char *const config_refused[] = {
    "client_advertise",
    "trace_verbose",
    "trace_headers",
    "mappings",
    "maps",
    "disable_sublist_cache",
    "no_sublist_cache",
    "accounts",
    "default_sentinel",
    "authorization",
    "https",
    "https_port",
    "http_base_path",
    "cluster",
    "gateway",
    "leaf",
    "leafnodes",
    "logfile_size_limit",
    "log_size_limit",
    "logfile_max_num",
    "log_max_num",
    "syslog",
    "remote_syslog",
    "prof_port",
    "prof_block_rate",
    "proxy_protocol",
    "max_traced_msg_len",
    "max_sub_tokens",
    "max_subscription_tokens",
    "tls",
    "ocsp",
    "allow_non_tls",
    "write_timeout",
    "lame_duck_duration",
    "lame_duck_grace_period",
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
    "no_auth_user",
    "system_account",
    "system",
    "no_system_account",
    "no_system",
    "no_sys_acc",
    "no_header_support",
    "trusted",
    "trusted_keys",
    "connect_error_reports",
    "reconnect_error_reports",
    "websocket",
    "ws",
    "mqtt",
    "server_tags",
    "server_metadata",
    "feature_flags",
    "default_js_domain",
    "ocsp_cache",
    "no_fast_producer_stall",
    "max_closed_clients",
    "proxies",
    "jetstream.domain",
    "jetstream.key",
    "jetstream.ek",
    "jetstream.encryption_key",
    "jetstream.prev_key",
    "jetstream.prev_ek",
    "jetstream.prev_encryption_key",
    "jetstream.cipher",
    "jetstream.extension_hint",
    "jetstream.limits",
    "jetstream.tpm",
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

static void apply_members(struct application *application, const struct config_value *map,
                          const char *prefix);
static void apply_member(struct application *application, const struct config_value *value,
                         const char *path);
static apply_fn apply_listen, apply_http, apply_jetstream, apply_strict, apply_pail;
static void apply_option(struct application *application, const struct config_value *value,
                         const struct option *option);
static void apply_text(struct application *application, const struct config_value *value,
                       const struct option *option);
static void apply_switch(struct application *application, const struct config_value *value,
                         const struct option *option);
static void apply_integer(struct application *application, const struct config_value *value,
                          const struct option *option);
static void apply_store_size(struct application *application, const struct config_value *value,
                             const struct option *option);
static void apply_period(struct application *application, const struct config_value *value,
                         const struct option *option);
static void set_number(struct application *application, const struct config_value *value,
                       const struct option *option, int64_t number);
static void set_address(struct application *application, const struct config_value *value,
                        const char *host_name, const char *port_name);
static bool cut_address(struct bytes address, struct bytes *host_out, struct bytes *port_out);
static bool parse_integer(struct bytes text, int64_t *number_out);
static bool is_known(const char *path);
static bool is_word(struct bytes bytes, const char *word);
static const char *go_type(enum config_type type);
static void append_duration_error(struct text *text, struct bytes duration);
static void note_error(struct application *application, const struct config_value *value,
                       const char *format, ...) __attribute__((format(printf, 3, 4)));
static void note_type(struct application *application, const struct config_value *value,
                      const char *wanted);
static void note_place(struct text *text, const struct config_value *value);
static enum options_next load_file(struct options *options, struct options_output *output);
static enum options_next end_with(struct options_output *output, const struct options *options,
                                  const char *words, size_t count);

enum status config_apply(struct options *options, const struct config *config, struct text *errors,
                         struct text *warnings)
{
    struct application application = {options, errors, warnings};
    struct options from_flags = *options;
    size_t errors_before = errors->count;
    const struct config_value *root = config_root(config);

    if (root->first == NULL)
        text_append_format(warnings, "%s: config has no values or is empty\n", root->file);
    apply_members(&application, root, "");
    const struct option *option;
    for (size_t i = 0; (option = option_at(i)) != NULL; i++)
        if (option_is_set(&from_flags, option))
            option_copy(options, &from_flags, option);
    return errors->count == errors_before ? STATUS_OK : STATUS_INVALID;
}

static void apply_members(struct application *application, const struct config_value *map,
                          const char *prefix)
{
    for (const struct config_value *value = map->first; value != NULL; value = value->next) {
        char path[CONFIG_PATH_BYTES_MAX];
        int count =
            snprintf(path, sizeof(path), "%s%.*s", prefix, (int)value->key.count, value->key.data);
        if (count < 0 || (size_t)count >= sizeof(path))
            path[0] = '\0'; /* no key is that long */
        for (char *at = path; *at != '\0'; at++)
            if (*at >= 'A' && *at <= 'Z')
                *at = (char)(*at | 0x20);
        apply_member(application, value, path);
    }
}

static void apply_member(struct application *application, const struct config_value *value,
                         const char *path)
{
    static const struct {
        const char *path;
        apply_fn *apply;
    } special[] = {
        {"listen", apply_listen},           {"http", apply_http}, {"jetstream", apply_jetstream},
        {"jetstream.strict", apply_strict}, {"pail", apply_pail},
    };
    for (size_t i = 0; i < COUNT_OF(special); i++)
        if (strcmp(special[i].path, path) == 0) {
            special[i].apply(application, value, path);
            return;
        }

    const struct option *option = option_by_key(bytes_of_text(path));
    if (option != NULL)
        apply_option(application, value, option);
    else if (is_known(path))
        note_error(application, value, "pail does not support '%s' yet", path);
    else if (!value->is_referenced)
        note_error(application, value, "unknown field \"%.*s\"", (int)value->key.count,
                   value->key.data);
}

/* ---- keys with code of their own ---- */

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
        set_number(application, value, option, value->truth);
        break;
    case CONFIG_STRING:
        if (is_word(value->text, "enabled") || is_word(value->text, "enable"))
            set_number(application, value, option, true);
        else if (is_word(value->text, "disabled") || is_word(value->text, "disable"))
            set_number(application, value, option, false);
        else
            note_error(application, value,
                       "Expected 'enabled' or 'disabled' for string value, got '%s'",
                       value->text.data);
        break;
    case CONFIG_MAP:
        set_number(application, value, option, true); /* unless a member says no */
        apply_members(application, value, "jetstream.");
        break;
    default:
        note_error(application, value, "Expected map, bool or string to define JetStream, got %s",
                   go_type(value->type));
    }
}

/* pail is strict: it refuses API requests with unknown members. */
static void apply_strict(struct application *application, const struct config_value *value,
                         const char *path)
{
    bool is_text = value->type == CONFIG_STRING;
    if (value->type != CONFIG_BOOL
        && !(is_text && (is_word(value->text, "true") || is_word(value->text, "false"))))
        note_error(application, value, "Expected 'true' or 'false' for bool value");
    else if (is_text ? is_word(value->text, "false") : !value->truth)
        note_error(application, value, "pail does not support '%s: false' yet", path);
}

static void apply_pail(struct application *application, const struct config_value *value,
                       const char *path)
{
    (void)path;
    if (value->type == CONFIG_MAP)
        apply_members(application, value, "pail.");
    else
        note_error(application, value, "Expected map to define pail, got %s", go_type(value->type));
}

/* host:port, :port, or a port alone. */
static void set_address(struct application *application, const struct config_value *value,
                        const char *host_name, const char *port_name)
{
    struct bytes host = {"", 0};
    struct bytes port;
    int64_t number = value->integer;
    if (value->type != CONFIG_INTEGER && value->type != CONFIG_STRING) {
        note_error(application, value, "expected port or host:port, got %s", go_type(value->type));
        return;
    }
    if (value->type == CONFIG_STRING) {
        if (!cut_address(value->text, &host, &port)) {
            note_error(application, value, "could not parse address string \"%s\"",
                       value->text.data);
            return;
        }
        if (!parse_integer(port, &number)) {
            note_error(application, value, "could not parse port \"%.*s\"", (int)port.count,
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
        note_error(application, value, "%s %s", host_name, why);
    set_number(application, value, option_by_name(port_name), number);
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

static bool parse_integer(struct bytes text, int64_t *number_out)
{
    uint64_t number;
    bool is_negative = text.count > 0 && text.data[0] == '-';
    bool is_signed = is_negative || (text.count > 0 && text.data[0] == '+');
    if (!text_parse_u64(bytes_after(text, is_signed ? 1 : 0), &number) || number > INT64_MAX)
        return false;
    *number_out = is_negative ? -(int64_t)number : (int64_t)number;
    return true;
}

/* ---- keys that are options ---- */

static void apply_option(struct application *application, const struct config_value *value,
                         const struct option *option)
{
    switch (option->kind) {
    case OPTION_NAME:
    case OPTION_PATH:
        apply_text(application, value, option);
        break;
    case OPTION_SWITCH:
        apply_switch(application, value, option);
        break;
    case OPTION_PORT:
    case OPTION_COUNT:
    case OPTION_BYTES:
        apply_integer(application, value, option);
        break;
    case OPTION_PERIOD:
    case OPTION_SYNC:
        apply_period(application, value, option);
        break;
    }
}

static void apply_text(struct application *application, const struct config_value *value,
                       const struct option *option)
{
    if (value->type != CONFIG_STRING) {
        note_type(application, value, "string");
        return;
    }
    if (strcmp(option->name, "store_dir") == 0 && option_is_set(application->options, option)) {
        note_error(application, value, "Duplicate 'store_dir' configuration");
        return;
    }
    if (strcmp(option->name, "server_name") == 0 && strchr(value->text.data, ' ') != NULL) {
        note_error(application, value, "server name cannot contain spaces");
        return;
    }
    if (value->text.count == 0) {
        option_reset(application->options, option);
        return;
    }
    const char *why = option_set_text(application->options, option, value->text);
    if (why != NULL)
        note_error(application, value, "%.*s %s", (int)value->key.count, value->key.data, why);
}

static void apply_switch(struct application *application, const struct config_value *value,
                         const struct option *option)
{
    if (value->type == CONFIG_BOOL)
        set_number(application, value, option, value->truth);
    else
        note_type(application, value, "bool");
}

static void apply_integer(struct application *application, const struct config_value *value,
                          const struct option *option)
{
    bool is_store_size = strcmp(option->name, "memory_store_bytes_max") == 0
                         || strcmp(option->name, "file_store_bytes_max") == 0;
    if (is_store_size)
        apply_store_size(application, value, option);
    else if (value->type != CONFIG_INTEGER)
        note_type(application, value, "int64");
    else if (value->integer < 0 && option->kind == OPTION_COUNT && option->least == 0)
        set_number(application, value, option, 0); /* -1 connections: no limit */
    else
        set_number(application, value, option, value->integer);
}

/* An integer, or a text that ends in K, M, G or T; -1 is the default. */
static void apply_store_size(struct application *application, const struct config_value *value,
                             const struct option *option)
{
    const char *name = option->name[0] == 'm' ? "max_mem_store" : "max_file_store";
    int64_t number = value->integer;
    if (value->type != CONFIG_INTEGER && value->type != CONFIG_STRING) {
        note_error(application, value, "%s must be int64 or string", name);
        return;
    }
    if (value->type == CONFIG_STRING) {
        static const char letters[] = "KMGT";
        struct bytes text = value->text;
        struct bytes digits = bytes_of(text.data, text.count > 0 ? text.count - 1 : 0);
        const char *letter = text.count > 0 ? strchr(letters, text.data[digits.count]) : NULL;
        if (!parse_integer(digits, &number)) {
            note_error(application, value, "%s strconv.ParseInt: parsing \"%.*s\": invalid syntax",
                       name, (int)digits.count, digits.data);
            return;
        }
        if (letter == NULL || *letter == '\0') {
            note_error(application, value, "%s sizes defined as strings must end in K, M, G, T",
                       name);
            return;
        }
        int64_t unit = (int64_t)1 << (10 * (letter - letters + 1));
        number = number > INT64_MAX / unit ? INT64_MAX : number * unit;
    }
    if (number < 0)
        option_reset(application->options, option);
    else
        set_number(application, value, option, number);
}

/* A text, or an integer of seconds, which nats-server warns of. */
static void apply_period(struct application *application, const struct config_value *value,
                         const struct option *option)
{
    const int64_t second_ns = 1000000000;
    int64_t ns;
    if (value->type == CONFIG_STRING) {
        if (option->kind == OPTION_SYNC && is_word(value->text, "always"))
            (void)option_set_text(application->options, option, BYTES_LITERAL("always"));
        else if (text_parse_duration(value->text, &ns))
            set_number(application, value, option, ns);
        else {
            struct text why = {0};
            append_duration_error(&why, value->text);
            note_error(application, value, "error parsing %.*s: %.*s", (int)value->key.count,
                       value->key.data, (int)why.count, why.data);
            text_free(&why);
        }
        return;
    }
    note_place(application->warnings, value);
    text_append_format(application->warnings,
                       "invalid use of field \"%.*s\": %.*s should be converted to a duration\n",
                       (int)value->key.count, value->key.data, (int)value->key.count,
                       value->key.data);
    if (value->type != CONFIG_INTEGER)
        note_type(application, value, "int64");
    else if (__builtin_mul_overflow(value->integer, second_ns, &ns))
        set_number(application, value, option, INT64_MAX);
    else
        set_number(application, value, option, ns);
}

/* 0 is the default where it would make no sense. */
static void set_number(struct application *application, const struct config_value *value,
                       const struct option *option, int64_t number)
{
    if (number == 0 && option->least > 0) {
        option_reset(application->options, option);
        return;
    }
    if (option_set_number(application->options, option, number) != NULL)
        note_error(application, value, "%.*s value is too %s", (int)value->key.count,
                   value->key.data, number > option->most ? "big" : "small");
}

/* ---- words ---- */

static bool is_known(const char *path)
{
    for (size_t i = 0; i < COUNT_OF(config_refused); i++)
        if (strcmp(config_refused[i], path) == 0)
            return true;
    return false;
}

static bool is_word(struct bytes bytes, const char *word)
{
    return bytes.count == strlen(word) && strncasecmp(bytes.data, word, bytes.count) == 0;
}

static const char *go_type(enum config_type type)
{
    static const char *const words[] = {
        [CONFIG_MAP] = "map[string]interface {}",
        [CONFIG_ARRAY] = "[]interface {}",
        [CONFIG_STRING] = "string",
        [CONFIG_INTEGER] = "int64",
        [CONFIG_FLOAT] = "float64",
        [CONFIG_BOOL] = "bool",
        [CONFIG_DATE] = "time.Time",
    };
    ASSERT((size_t)type < COUNT_OF(words));
    return words[type];
}

/* Go's words for a text that text_parse_duration refuses. */
static void append_duration_error(struct text *text, struct bytes duration)
{
    struct bytes rest = duration;
    if (rest.count > 0 && (rest.data[0] == '-' || rest.data[0] == '+'))
        rest = bytes_after(rest, 1);
    while (rest.count > 0) {
        size_t digits = 0, letters = 0;
        while (digits < rest.count && strchr("0123456789.", rest.data[digits]) != NULL)
            digits++;
        if (digits == 0)
            break;
        rest = bytes_after(rest, digits);
        if (rest.count == 0) {
            text_append_format(text, "time: missing unit in duration \"%s\"", duration.data);
            return;
        }
        while (letters < rest.count && strchr("0123456789.", rest.data[letters]) == NULL)
            letters++;
        char one[32];
        int64_t ns;
        (void)snprintf(one, sizeof(one), "1%.*s", (int)letters, rest.data); /* cut: no unit */
        if (!text_parse_duration(bytes_of_text(one), &ns)) {
            text_append_format(text, "time: unknown unit \"%.*s\" in duration \"%s\"", (int)letters,
                               rest.data, duration.data);
            return;
        }
        rest = bytes_after(rest, letters);
    }
    text_append_format(text, "time: invalid duration \"%s\"", duration.data);
}

static void note_error(struct application *application, const struct config_value *value,
                       const char *format, ...)
{
    char words[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof(words), format, arguments); /* cut if need be */
    va_end(arguments);
    note_place(application->errors, value);
    text_append_literal(application->errors, words);
    text_append_literal(application->errors, "\n");
}

static void note_type(struct application *application, const struct config_value *value,
                      const char *wanted)
{
    note_error(application, value, "interface conversion: interface {} is %s, not %s",
               go_type(value->type), wanted);
}

static void note_place(struct text *text, const struct config_value *value)
{
    text_append_format(text, "%s:%u:%u: ", value->file, value->line, value->column);
}

/* ---- all of it, for main ---- */

enum options_next config_load(struct options *options, int argc, char *const *argv,
                              struct options_output *output)
{
    options_init(options);
    if (options_parse(options, argc, argv, output) == OPTIONS_EXIT)
        return OPTIONS_EXIT;

    if (options->config_file[0] != '\0') {
        if (load_file(options, output) == OPTIONS_EXIT)
            return OPTIONS_EXIT;
    } else if (options->is_config_test) {
        static const char words[] = "must specify [-c, --config] option to check configuration "
                                    "file syntax";
        return end_with(output, options, words, sizeof(words) - 1);
    }

    struct text why = {0};
    enum options_next next = OPTIONS_START;
    if (options_check(options, &why) != STATUS_OK)
        next = end_with(output, options, why.data, why.count);
    text_free(&why);
    if (options->port == 0)
        options->port = 4222; /* as nats-server: -1 is the free one */
    if (!options->is_set.cache_bytes)
        options->cache_bytes = options_cache_bytes_default();
    return next;
}

/* With -t the answer is what is told; warnings count as errors then. */
static enum options_next load_file(struct options *options, struct options_output *output)
{
    struct config *config;
    struct text why = {0};
    struct text warnings = {0};
    enum options_next next = OPTIONS_START;
    enum status status = config_read(options->config_file, &config, &why);
    if (status == STATUS_OK)
        status = config_apply(options, config, &why, &warnings);
    config_free(config);

    if (status != STATUS_OK || (options->is_config_test && warnings.count > 0)) {
        text_append(&warnings, text_bytes(&why));
        next = end_with(output, options, warnings.data, warnings.count);
    } else if (options->is_config_test) {
        text_append_format(&output->err, "%s: configuration file %s is valid\n", options->program,
                           options->config_file);
        output->exit_code = 0;
        next = OPTIONS_EXIT;
    } else {
        text_append(&output->err, text_bytes(&warnings));
    }
    text_free(&why);
    text_free(&warnings);
    return next;
}

/* "pail: words" and a newline. */
static enum options_next end_with(struct options_output *output, const struct options *options,
                                  const char *words, size_t count)
{
    text_append_format(&output->err, "%s: %.*s\n", options->program, (int)count, words);
    output->exit_code = 1;
    return OPTIONS_EXIT;
}
