/*
 * core/config_apply.c: what the keys of a configuration file mean to pail.
 *
 * A key is looked up by its path in lower case ("jetstream.store_dir"), first among the few that need code of their own,
 * then among the rows of core/options, then among what has no effect here (told at start), then among what nats-server knows
 * and pail does not have yet. The last ones are refused by name: a file that asks for TLS must not start a server without.
 *
 * Keeps:   all mistakes of a file are told, each with its place, not only the first.
 * Runs on: the main thread, before shards exist.
 */
#include "core/config_apply.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "core/assert.h"
#include "core/auth.h"

static void apply_member(struct application *application, const struct config_value *value,
                         const char *path);
static void note_ignored(struct options *options, const char *path);
static void apply_switch(struct application *application, const struct config_value *value,
                         const struct option *option);
static void apply_integer(struct application *application, const struct config_value *value,
                          const struct option *option);
static void apply_store_size(struct application *application, const struct config_value *value,
                             const struct option *option);
static void apply_period(struct application *application, const struct config_value *value,
                         const struct option *option);
static void append_duration_error(struct text *text, struct bytes duration);

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

void apply_members(struct application *application, const struct config_value *map,
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
    if (auth_is_key(path))
        return; /* auth_read has it */
    apply_fn *special = apply_special(path);
    const struct option *option = option_by_key(bytes_of_text(path));
    if (special != NULL)
        special(application, value, path);
    else if (option != NULL)
        apply_option(application, value, option);
    else if (apply_is_ignored(path))
        note_ignored(application->options, path);
    else if (apply_is_refused(path))
        apply_error(application, value, "pail does not support '%s' yet", path);
    else if (!value->is_referenced)
        apply_error(application, value, "unknown field \"%.*s\"", (int)value->key.count,
                    value->key.data);
}

/* Told at start: what asks for nothing pail could do is no reason not to start. */
static void note_ignored(struct options *options, const char *path)
{
    size_t count = strlen(options->ignored);
    if (count + strlen(path) + 3 <= sizeof(options->ignored))
        (void)snprintf(options->ignored + count, sizeof(options->ignored) - count, "%s%s",
                       count > 0 ? ", " : "", path);
}

/* ---- keys that are options ---- */

void apply_option(struct application *application, const struct config_value *value,
                  const struct option *option)
{
    switch (option->kind) {
    case OPTION_NAME:
    case OPTION_PATH:
    case OPTION_LIST:
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

void apply_text(struct application *application, const struct config_value *value,
                const struct option *option)
{
    if (value->type != CONFIG_STRING) {
        apply_type_error(application, value, "string");
        return;
    }
    if (strcmp(option->name, "store_dir") == 0 && option_is_set(application->options, option)) {
        apply_error(application, value, "Duplicate 'store_dir' configuration");
        return;
    }
    if (strcmp(option->name, "server_name") == 0 && strchr(value->text.data, ' ') != NULL) {
        apply_error(application, value, "server name cannot contain spaces");
        return;
    }
    if (value->text.count == 0) {
        option_reset(application->options, option);
        return;
    }
    const char *why = option_set_text(application->options, option, value->text);
    if (why != NULL)
        apply_error(application, value, "%.*s %s", (int)value->key.count, value->key.data, why);
}

static void apply_switch(struct application *application, const struct config_value *value,
                         const struct option *option)
{
    if (value->type == CONFIG_BOOL)
        apply_number(application, value, option, value->truth);
    else
        apply_type_error(application, value, "bool");
}

static void apply_integer(struct application *application, const struct config_value *value,
                          const struct option *option)
{
    bool is_store_size = strcmp(option->name, "memory_store_bytes_max") == 0
                         || strcmp(option->name, "file_store_bytes_max") == 0;
    if (is_store_size)
        apply_store_size(application, value, option);
    else if (value->type != CONFIG_INTEGER)
        apply_type_error(application, value, "int64");
    else if (value->integer < 0 && option->kind == OPTION_COUNT && option->least == 0)
        apply_number(application, value, option, 0); /* -1 connections: no limit */
    else
        apply_number(application, value, option, value->integer);
}

/* An integer, or a text that ends in K, M, G or T; -1 is the default. */
static void apply_store_size(struct application *application, const struct config_value *value,
                             const struct option *option)
{
    const char *name = option->name[0] == 'm' ? "max_mem_store" : "max_file_store";
    int64_t number = value->integer;
    if (value->type != CONFIG_INTEGER && value->type != CONFIG_STRING) {
        apply_error(application, value, "%s must be int64 or string", name);
        return;
    }
    if (value->type == CONFIG_STRING) {
        static const char letters[] = "KMGT";
        struct bytes text = value->text;
        struct bytes digits = bytes_of(text.data, text.count > 0 ? text.count - 1 : 0);
        const char *letter = text.count > 0 ? strchr(letters, text.data[digits.count]) : NULL;
        if (!apply_parse_integer(digits, &number)) {
            apply_error(application, value, "%s strconv.ParseInt: parsing \"%.*s\": invalid syntax",
                        name, (int)digits.count, digits.data);
            return;
        }
        if (letter == NULL || *letter == '\0') {
            apply_error(application, value, "%s sizes defined as strings must end in K, M, G, T",
                        name);
            return;
        }
        int64_t unit = (int64_t)1 << (10 * (letter - letters + 1));
        number = number > INT64_MAX / unit ? INT64_MAX : number * unit;
    }
    if (number < 0)
        option_reset(application->options, option);
    else
        apply_number(application, value, option, number);
}

/* A text, or an integer of seconds, which nats-server warns of. */
static void apply_period(struct application *application, const struct config_value *value,
                         const struct option *option)
{
    const int64_t second_ns = 1000000000;
    int64_t ns;
    if (value->type == CONFIG_STRING) {
        if (option->kind == OPTION_SYNC && apply_is_word(value->text, "always"))
            (void)option_set_text(application->options, option, BYTES_LITERAL("always"));
        else if (text_parse_duration(value->text, &ns))
            apply_number(application, value, option, ns);
        else
            apply_duration_error(application, value);
        return;
    }
    apply_place(application->warnings, value);
    text_append_format(application->warnings,
                       "invalid use of field \"%.*s\": %.*s should be converted to a duration\n",
                       (int)value->key.count, value->key.data, (int)value->key.count,
                       value->key.data);
    if (value->type != CONFIG_INTEGER)
        apply_type_error(application, value, "int64");
    else if (__builtin_mul_overflow(value->integer, second_ns, &ns))
        apply_number(application, value, option, INT64_MAX);
    else
        apply_number(application, value, option, ns);
}

/* 0 is the default where it would make no sense. */
void apply_number(struct application *application, const struct config_value *value,
                  const struct option *option, int64_t number)
{
    if (number == 0 && option->least > 0) {
        option_reset(application->options, option);
        return;
    }
    if (option_set_number(application->options, option, number) != NULL)
        apply_error(application, value, "%.*s value is too %s", (int)value->key.count,
                    value->key.data, number > option->most ? "big" : "small");
}

/* ---- words ---- */

bool apply_is_word(struct bytes bytes, const char *word)
{
    return bytes.count == strlen(word) && strncasecmp(bytes.data, word, bytes.count) == 0;
}

const char *apply_go_type(enum config_type type)
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

void apply_duration_error(struct application *application, const struct config_value *value)
{
    struct text why = {0};
    append_duration_error(&why, value->text);
    apply_error(application, value, "error parsing %.*s: %.*s", (int)value->key.count,
                value->key.data, (int)why.count, why.data);
    text_free(&why);
}

void apply_error(struct application *application, const struct config_value *value,
                 const char *format, ...)
{
    char words[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof(words), format, arguments); /* cut if need be */
    va_end(arguments);
    apply_place(application->errors, value);
    text_append_literal(application->errors, words);
    text_append_literal(application->errors, "\n");
}

void apply_type_error(struct application *application, const struct config_value *value,
                      const char *wanted)
{
    apply_error(application, value, "interface conversion: interface {} is %s, not %s",
                apply_go_type(value->type), wanted);
}

void apply_place(struct text *text, const struct config_value *value)
{
    text_append_format(text, "%s:%u:%u: ", value->file, value->line, value->column);
}
