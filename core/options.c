/*
 * core/options.c: the command line.
 *
 * OPTIONS_LIST feeds everything: the struct, its defaults, the parser, --help, and the keys that core/config_apply looks
 * up. The syntax is that of Go's flag package, which nats-server uses and scripts rely on: one dash or two, `-f v` or
 * `-f=v`, booleans only as `-f` or `-f=false`, the last one wins, and a mistake is told on standard error with the usage on
 * standard output and exit code 0. A flag of nats-server that pail does not have is refused by name, never ignored.
 *
 * Keeps:   a default goes through the same parser as what a user gives, so it cannot be out of range.
 * Runs on: the main thread, before shards exist.
 */
#include "core/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "core/assert.h"

#define OPTIONS_ROW(field_, kind_, initial_, least_, most_, flags_, argument_, keys_, words_) \
    {.name = #field_,                                                                         \
     .kind = OPTION_##kind_,                                                                  \
     .offset = offsetof(struct options, field_),                                              \
     .set_offset = offsetof(struct options_set, field_),                                      \
     .initial = (initial_),                                                                   \
     .least = (least_),                                                                       \
     .most = (most_),                                                                         \
     .flags = (flags_),                                                                       \
     .argument = (argument_),                                                                 \
     .keys = (keys_),                                                                         \
     .words = (words_)},

static const struct option option_rows[] = {OPTIONS_LIST(OPTIONS_ROW)};

/* nats-server's flags that pail does not have yet: with and without a value; and those that mean nothing without a cluster. */
static const char options_refused[] =
    "ms https_port r remote_syslog tlscert tlskey tlscacert routes cluster "
    "cluster_listen";
static const char options_refused_switches[] = "s syslog tls tlsverify";
static const char options_ignored[] = "profile cluster_name cluster_advertise connect_retries";

/* Flags that do something instead of setting an option. */
struct wishes {
    bool help, help_tls, version, no_advertise;
    struct bytes refused; /* the first one */
};

/* One flag, cut into its parts. */
struct flag {
    struct bytes name;
    struct bytes value;
    bool has_value;
};

static bool parse_flags(struct options *options, int argc, char *const *argv, int *index_io,
                        struct wishes *wishes, struct text *err);
static bool cut_flag(const char *argument, struct flag *flag_out, struct text *err);
static bool apply_flag(struct options *options, const struct flag *flag, struct wishes *wishes,
                       bool *wants_value_out, struct text *err);
static bool apply_switch(const struct flag *flag, bool *switch_out, struct text *err);
static bool parse_go_bool(struct bytes text, bool *value_out);
static enum options_next finish(const struct options *options, const struct wishes *wishes,
                                const char *word, struct options_output *output);
static void append_usage(const struct options *options, struct text *out);
static void append_usage_row(struct text *out, const struct option *option);
static void append_version(const struct options *options, struct text *out);
static const struct option *find_row(size_t names_offset, struct bytes name);
static bool has_word(const char *words, struct bytes word);
static void *field_of(struct options *options, const struct option *option);
static const char *set_chars(char *field, size_t field_bytes, struct bytes text);

void options_init(struct options *options)
{
    *options = (struct options){.program = "pail"};
    for (size_t i = 0; i < COUNT_OF(option_rows); i++)
        option_reset(options, &option_rows[i]);
}

void option_reset(struct options *options, const struct option *option)
{
    struct bytes initial = bytes_of_text(option->initial);
    bool is_derived = bytes_equal(initial, BYTES_LITERAL("0")); /* may lie below `least` */
    if (is_derived && option->kind == OPTION_COUNT)
        *(uint32_t *)field_of(options, option) = 0;
    else
        ASSERT(option_set_text(options, option, initial) == NULL);
    *((bool *)&options->is_set + option->set_offset) = false;
}

enum options_next options_parse(struct options *options, int argc, char *const *argv,
                                struct options_output *output)
{
    if (argc > 0) {
        const char *slash = strrchr(argv[0], '/');
        struct bytes program = bytes_of_text(slash != NULL ? slash + 1 : argv[0]);
        if (program.count > 0)
            (void)set_chars(options->program, sizeof(options->program), program); /* or "pail" */
    }

    struct wishes wishes = {0};
    int index = 1;
    if (!parse_flags(options, argc, argv, &index, &wishes, &output->err)) {
        append_usage(options, &output->out);
        output->exit_code = 0; /* as nats-server's */
        return OPTIONS_EXIT;
    }
    return finish(options, &wishes, index < argc ? argv[index] : NULL, output);
}

/* Up to the first word that is no flag, which *index_io then tells. False: a mistake, told. */
static bool parse_flags(struct options *options, int argc, char *const *argv, int *index_io,
                        struct wishes *wishes, struct text *err)
{
    for (; *index_io < argc; ++*index_io) {
        const char *argument = argv[*index_io];
        struct flag flag;
        bool wants_value = false;
        if (argument[0] != '-' || argument[1] == '\0')
            return true;
        if (strcmp(argument, "--") == 0) {
            ++*index_io;
            return true;
        }
        if (!cut_flag(argument, &flag, err)
            || !apply_flag(options, &flag, wishes, &wants_value, err))
            return false;
        if (!wants_value)
            continue;
        if (*index_io + 1 >= argc) {
            text_append_format(err, "flag needs an argument: -%.*s\n", (int)flag.name.count,
                               flag.name.data);
            return false;
        }
        flag.value = bytes_of_text(argv[++*index_io]);
        flag.has_value = true;
        if (!apply_flag(options, &flag, wishes, &wants_value, err))
            return false;
    }
    return true;
}

static bool cut_flag(const char *argument, struct flag *flag_out, struct text *err)
{
    const char *name = argument + (argument[1] == '-' ? 2 : 1);
    if (name[0] == '\0' || name[0] == '-' || name[0] == '=') {
        text_append_format(err, "bad flag syntax: %s\n", argument);
        return false;
    }
    const char *equals = strchr(name, '=');
    *flag_out = (struct flag){
        .name = equals != NULL ? bytes_of(name, (size_t)(equals - name)) : bytes_of_text(name),
        .value = bytes_of_text(equals != NULL ? equals + 1 : ""),
        .has_value = equals != NULL,
    };
    return true;
}

/* *wants_value_out: nothing was done; the next word is the value. */
static bool apply_flag(struct options *options, const struct flag *flag, struct wishes *wishes,
                       bool *wants_value_out, struct text *err)
{
    *wants_value_out = false;
    if (has_word("h help", flag->name))
        return apply_switch(flag, &wishes->help, err);
    if (has_word("v version", flag->name))
        return apply_switch(flag, &wishes->version, err);
    if (has_word("t", flag->name))
        return apply_switch(flag, &options->is_config_test, err);
    if (has_word("help_tls", flag->name))
        return apply_switch(flag, &wishes->help_tls, err);
    if (has_word("no_advertise", flag->name))
        return apply_switch(flag, &wishes->no_advertise, err);
    if (has_word("DV DVV VV", flag->name)) {
        bool is_on = false;
        if (!apply_switch(flag, &is_on, err))
            return false;
        options->is_set.trace = true;
        options->trace = is_on;
        if (flag->name.data[0] == 'D') {
            options->is_set.debug = true;
            options->debug = is_on;
        }
        if (!has_word("DV", flag->name)) {
            options->is_set.trace_verbose = true;
            options->trace_verbose = is_on;
        }
        return true;
    }
    bool is_refused = has_word(options_refused, flag->name);
    bool is_signal = has_word("sl signal", flag->name);
    if ((is_refused || is_signal || has_word(options_ignored, flag->name)) && !flag->has_value) {
        *wants_value_out = true;
        return true;
    }
    if (is_refused || has_word(options_refused_switches, flag->name)) {
        if (wishes->refused.count == 0)
            wishes->refused = flag->name;
        return true;
    }
    if (is_signal)
        return set_chars(options->signal, sizeof(options->signal), flag->value) == NULL;
    if (has_word(options_ignored, flag->name))
        return true;

    const struct option *option = option_by_flag(flag->name);
    if (option == NULL) {
        text_append_format(err, "flag provided but not defined: -%.*s\n", (int)flag->name.count,
                           flag->name.data);
        return false;
    }
    if (option->kind == OPTION_SWITCH) {
        *((bool *)&options->is_set + option->set_offset) = true;
        return apply_switch(flag, field_of(options, option), err);
    }
    if (!flag->has_value) {
        *wants_value_out = true;
        return true;
    }
    const char *why = option_set_text(options, option, flag->value);
    if (why != NULL)
        text_append_format(err, "invalid value \"%.*s\" for flag -%.*s: %s\n",
                           (int)flag->value.count, flag->value.data, (int)flag->name.count,
                           flag->name.data, why);
    return why == NULL;
}

static bool apply_switch(const struct flag *flag, bool *switch_out, struct text *err)
{
    if (!flag->has_value) {
        *switch_out = true;
        return true;
    }
    if (parse_go_bool(flag->value, switch_out))
        return true;
    text_append_format(err, "invalid boolean value \"%.*s\" for -%.*s: parse error\n",
                       (int)flag->value.count, flag->value.data, (int)flag->name.count,
                       flag->name.data);
    return false;
}

static bool parse_go_bool(struct bytes text, bool *value_out)
{
    if (has_word("1 t T true TRUE True", text))
        *value_out = true;
    else if (has_word("0 f F false FALSE False", text))
        *value_out = false;
    else
        return false;
    return true;
}

/* The flags were good: version before help before a word, as in nats-server. */
static enum options_next finish(const struct options *options, const struct wishes *wishes,
                                const char *word, struct options_output *output)
{
    bool wants_version = wishes->version;
    bool wants_help = wishes->help;
    output->exit_code = 0;
    if (!wants_version && !wants_help && word != NULL) {
        wants_version = strcasecmp(word, "version") == 0;
        wants_help = strcasecmp(word, "help") == 0;
    }
    if (wants_version) {
        append_version(options, &output->out);
        return OPTIONS_EXIT;
    }
    if (wants_help) {
        append_usage(options, &output->out);
        return OPTIONS_EXIT;
    }
    if (wishes->help_tls) {
        text_append_literal(&output->out, "\npail has no TLS yet: --tls, --tlscert, --tlskey, "
                                          "--tlsverify and --tlscacert are refused.\n\n");
        return OPTIONS_EXIT;
    }
    output->exit_code = 1;
    if (word != NULL) {
        text_append_format(&output->err, "%s: unrecognized command: \"%s\"\n", options->program,
                           word);
        return OPTIONS_EXIT;
    }
    if (wishes->refused.count > 0) {
        bool is_short = wishes->refused.count <= 2;
        text_append_format(&output->err, "%s: pail does not support %s%.*s yet\n", options->program,
                           is_short ? "-" : "--", (int)wishes->refused.count, wishes->refused.data);
        return OPTIONS_EXIT;
    }
    output->exit_code = 0;
    return options->signal[0] != '\0' ? OPTIONS_SIGNAL : OPTIONS_START;
}

static void append_version(const struct options *options, struct text *out)
{
    text_append_format(out, "%s: v%s (pail %s)\n", options->program, PAIL_NATS_VERSION,
                       PAIL_VERSION);
}

static void append_usage(const struct options *options, struct text *out)
{
    text_append_format(out, "\nUsage: %s [options]\n\nOptions:\n", options->program);
    for (size_t i = 0; i < COUNT_OF(option_rows); i++)
        append_usage_row(out, &option_rows[i]);
    text_append_literal(
        out,
        "    -DV                              Debug and trace\n"
        "    -DVV                             Debug and trace_verbose\n"
        "    -sl, --signal <what>[=<pid>]     Tell a running server: stop, quit, term, reopen, "
        "reload "
        "or ldm\n"
        "    -t                               Check the configuration file and exit\n"
        "    -v, --version                    Show the version\n"
        "    -h, --help                       Show this message\n\n"
        "Flags override the configuration file. Sizes take kb, mb, gb; times ms, s, m, h.\n\n");
}

/* Nothing for an option that only the file has. */
static void append_usage_row(struct text *out, const struct option *option)
{
    char left[96] = "    ";
    size_t count = 4;
    struct bytes names = bytes_of_text(option->flags);
    if (names.count == 0)
        return;

    for (unsigned i = 0; names.count > 0; i++) {
        const char *blank = memchr(names.data, ' ', names.count);
        size_t name_bytes = blank != NULL ? (size_t)(blank - names.data) : names.count;
        int written = snprintf(left + count, sizeof(left) - count, "%s%s%.*s",
                               i > 0            ? ", "
                               : name_bytes > 2 ? "    "
                                                : "",
                               name_bytes > 2 ? "--" : "-", (int)name_bytes, names.data);
        ASSERT(written > 0 && (size_t)written < sizeof(left) - count);
        count += (size_t)written;
        names = bytes_after(names, name_bytes + (blank != NULL ? 1 : 0));
    }
    text_append_format(out, "%s %s", left, option->argument);
    count += 1 + strlen(option->argument);
    text_append_format(out, "%*s%s", count < 37 ? (int)(37 - count) : 1, "", option->words);
    if (option->initial[0] != '\0' && !has_word("0 false", bytes_of_text(option->initial)))
        text_append_format(out, " (default: %s)", option->initial);
    text_append_literal(out, "\n");
}

enum status options_check(const struct options *options, struct text *why)
{
    if (strchr(options->server_name, ' ') != NULL) {
        text_append_literal(why, "server name cannot contain spaces");
        return STATUS_INVALID;
    }
    if (options->port > UINT16_MAX || options->port < -1) {
        text_append_format(
            why, "Error listening on port: %s:%d, \"listen tcp: address %d: invalid port\"",
            options->host, (int)options->port, (int)options->port);
        return STATUS_INVALID;
    }
    if (options->http_port > UINT16_MAX || options->http_port < -1) {
        text_append_format(why,
                           "Can't start monitoring: can't listen to the monitor port: listen tcp: "
                           "address %d: invalid port",
                           (int)options->http_port);
        return STATUS_INVALID;
    }
    if (options->lame_duck_grace_ns >= options->lame_duck_duration_ns) {
        text_append_literal(why, "lame duck grace period (");
        text_append_duration(why, (int64_t)options->lame_duck_grace_ns);
        text_append_literal(why, ") should be strictly lower than lame duck duration (");
        text_append_duration(why, (int64_t)options->lame_duck_duration_ns);
        text_append_literal(why, ")");
        return STATUS_INVALID;
    }
    if (options->websocket_port != 0 && !options->websocket_no_tls) {
        text_append_literal(why, "websocket requires TLS configuration");
        return STATUS_INVALID;
    }
    if (options->websocket_port > UINT16_MAX || options->websocket_port < -1) {
        text_append_format(why,
                           "Unable to listen for websocket connections: listen tcp: address %d: "
                           "invalid port",
                           (int)options->websocket_port);
        return STATUS_INVALID;
    }
    if (options->payload_bytes_max > options->pending_bytes_max) {
        text_append_format(why, "max_payload (%llu) cannot be higher than max_pending (%llu)",
                           (unsigned long long)options->payload_bytes_max,
                           (unsigned long long)options->pending_bytes_max);
        return STATUS_INVALID;
    }
    if (options->jetstream && options->segment_bytes < 2 * options->payload_bytes_max) {
        text_append_format(why, "segment_bytes (%llu) must be at least twice max_payload (%llu)",
                           (unsigned long long)options->segment_bytes,
                           (unsigned long long)options->payload_bytes_max);
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

uint64_t options_cache_bytes_default(void)
{
    long page_count = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t bytes = page_count > 0 && page_bytes > 0
                         ? (uint64_t)page_count * (uint64_t)page_bytes
                         : (uint64_t)1 << 30; /* unknown: a small machine */

    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re"); /* a container's limit, or "max" */
    unsigned long long limit;
    if (file != NULL) {
        if (fscanf(file, "%llu", &limit) == 1 && limit < bytes)
            bytes = limit;
        (void)fclose(file); /* it was only read */
    }
    return bytes / 4;
}

/* ---- rows and their values ---- */

const struct option *option_by_name(const char *field)
{
    for (size_t i = 0; i < COUNT_OF(option_rows); i++)
        if (strcmp(option_rows[i].name, field) == 0)
            return &option_rows[i];
    assert_failed("no option has that name", __FILE__, __LINE__);
}

const struct option *option_by_flag(struct bytes flag)
{
    return find_row(offsetof(struct option, flags), flag);
}

const struct option *option_by_key(struct bytes key)
{
    return find_row(offsetof(struct option, keys), key);
}

static const struct option *find_row(size_t names_offset, struct bytes name)
{
    for (size_t i = 0; i < COUNT_OF(option_rows); i++) {
        const char *names;
        memcpy(&names, (const char *)&option_rows[i] + names_offset, sizeof(names));
        if (has_word(names, name))
            return &option_rows[i];
    }
    return NULL;
}

/* `words` are separated by blanks. */
static bool has_word(const char *words, struct bytes word)
{
    while (*words != '\0') {
        size_t count = strcspn(words, " ");
        if (bytes_equal(bytes_of(words, count), word))
            return true;
        words += count;
        words += *words == ' ' ? 1 : 0;
    }
    return false;
}

bool option_is_set(const struct options *options, const struct option *option)
{
    return *((const bool *)&options->is_set + option->set_offset);
}

void option_copy(struct options *options, const struct options *from, const struct option *option)
{
    static const size_t field_bytes[] = {
        [OPTION_NAME] = OPTIONS_NAME_BYTES, [OPTION_PATH] = OPTIONS_PATH_BYTES,
        [OPTION_LIST] = OPTIONS_PATH_BYTES, [OPTION_SWITCH] = sizeof(bool),
        [OPTION_PORT] = sizeof(int32_t),    [OPTION_COUNT] = sizeof(uint32_t),
        [OPTION_BYTES] = sizeof(uint64_t),  [OPTION_PERIOD] = sizeof(uint64_t),
        [OPTION_SYNC] = sizeof(uint64_t),
    };
    memcpy(field_of(options, option), (const char *)from + option->offset,
           field_bytes[option->kind]);
    *((bool *)&options->is_set + option->set_offset) = option_is_set(from, option);
}

const struct option *option_at(size_t index)
{
    return index < COUNT_OF(option_rows) ? &option_rows[index] : NULL;
}

static void *field_of(struct options *options, const struct option *option)
{
    return (char *)options + option->offset;
}

const char *option_set_text(struct options *options, const struct option *option, struct bytes text)
{
    const char *why = NULL;
    int64_t number = 0;
    switch (option->kind) {
    case OPTION_NAME:
        why = set_chars(field_of(options, option), OPTIONS_NAME_BYTES, text);
        break;
    case OPTION_PATH:
    case OPTION_LIST:
        why = set_chars(field_of(options, option), OPTIONS_PATH_BYTES, text);
        break;
    case OPTION_SWITCH:
        if (!parse_go_bool(text, field_of(options, option)))
            why = "parse error";
        break;
    case OPTION_PORT:
    case OPTION_COUNT:
    case OPTION_BYTES:
        if (option->kind != OPTION_BYTES && text.count > 0 && text.data[text.count - 1] > '9')
            return "parse error"; /* no 4k ports */
        switch (options_parse_integer(text, &number)) {
        case OPTIONS_INTEGER_GOOD:
            return option_set_number(options, option, number);
        case OPTIONS_INTEGER_TOO_LARGE:
            return "value out of range";
        case OPTIONS_INTEGER_WRONG:
            return "parse error";
        }
        break;
    case OPTION_SYNC:
        if (bytes_equal(text, BYTES_LITERAL("always"))) {
            *(uint64_t *)field_of(options, option) = 0;
            break;
        }
        return text_parse_duration(text, &number) ? option_set_number(options, option, number)
                                                  : "neither a time such as 2s nor \"always\"";
    case OPTION_PERIOD:
        return text_parse_duration(text, &number) ? option_set_number(options, option, number)
                                                  : "parse error";
    }
    if (why == NULL)
        *((bool *)&options->is_set + option->set_offset) = true;
    return why;
}

const char *option_set_number(struct options *options, const struct option *option, int64_t number)
{
    void *field = field_of(options, option);
    if (number < option->least || number > option->most)
        return "value out of range";

    switch (option->kind) {
    case OPTION_SWITCH:
        *(bool *)field = number != 0;
        break;
    case OPTION_PORT:
        *(int32_t *)field = (int32_t)number;
        break;
    case OPTION_COUNT:
        *(uint32_t *)field = (uint32_t)number;
        break;
    case OPTION_BYTES:
    case OPTION_PERIOD:
    case OPTION_SYNC:
        *(uint64_t *)field = (uint64_t)number;
        break;
    case OPTION_NAME:
    case OPTION_PATH:
    case OPTION_LIST:
        return "a number where text is wanted";
    }
    *((bool *)&options->is_set + option->set_offset) = true;
    return NULL;
}

static const char *set_chars(char *field, size_t field_bytes, struct bytes text)
{
    if (text.count >= field_bytes)
        return "too long";
    if (text.count > 0 && memchr(text.data, '\0', text.count) != NULL)
        return "has a NUL byte";
    if (text.count > 0)
        memcpy(field, text.data, text.count);
    field[text.count] = '\0';
    return NULL;
}

enum options_integer options_parse_integer(struct bytes text, int64_t *number_out)
{
    static const char letters[] = "kmgtpe";
    bool is_negative = text.count > 0 && text.data[0] == '-';
    size_t start = is_negative ? 1 : 0;
    size_t end = start;
    while (end < text.count && text.data[end] >= '0' && text.data[end] <= '9')
        end++;
    if (end == start)
        return OPTIONS_INTEGER_WRONG;

    struct bytes suffix = bytes_after(text, end);
    int64_t unit = 1;
    if (suffix.count > 0) {
        const char *letter = strchr(letters, suffix.data[0] | 0x20);
        struct bytes rest = bytes_after(suffix, 1);
        int second = rest.count > 0 ? rest.data[0] | 0x20 : 0;
        bool is_binary = (rest.count == 1 && (second == 'b' || second == 'i'))
                         || (rest.count == 2 && strncasecmp(rest.data, "ib", 2) == 0);
        if (letter == NULL || (rest.count > 0 && !is_binary))
            return OPTIONS_INTEGER_WRONG;
        for (const char *at = letters; at <= letter; at++)
            unit *= is_binary ? 1024 : 1000;
    }

    uint64_t number;
    if (end - start > 19)
        return OPTIONS_INTEGER_TOO_LARGE;
    if (!text_parse_u64(bytes_of(text.data + start, end - start), &number))
        return OPTIONS_INTEGER_WRONG;
    if (number > (uint64_t)(INT64_MAX / unit))
        return OPTIONS_INTEGER_TOO_LARGE;
    *number_out = (int64_t)number * unit * (is_negative ? -1 : 1);
    return OPTIONS_INTEGER_GOOD;
}
