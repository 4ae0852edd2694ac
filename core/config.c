/*
 * core/config.c: reader of nats-server's configuration language.
 *
 * It goes down the text by hand, a function for each thing of the grammar, and gives up at the first error. An oddity of the
 * reference is kept, since files rely on it: `key:` at the top level wants its value on the same line, while inside a map
 * it may follow on the next. Three are not: an integer may end at `]`, and a number with a wrong suffix or a map's key
 * without a value are errors instead of keys that vanish.
 *
 *     file ─► members ─► key ─► value ─► map ─► members …      include ─► file
 *                                └─► array, string, word        $variable ─► open maps, then the environment
 *
 * Keeps:   nesting, included files and memory are bounded (core/limits.h), whatever the text is.
 * Owns:    one arena for all that was made from a file; config_free gives it back at once.
 * Runs on: the main thread, before shards and their io exist: it reads files by plain calls.
 */
#include "core/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/config_reader.h"
#include "core/limits.h"

/* What differs between the top level, a block that stands for the whole file, and a map. */
enum level { LEVEL_TOP, LEVEL_BLOCK, LEVEL_MAP };

static enum status read_file(struct config *config, const char *path, struct bytes *source_out,
                             struct text *why);
static bool read_members(struct reader *reader, struct config_value *map, enum level level);
static bool read_block(struct reader *reader, struct config_value *map);
static bool read_member(struct reader *reader, struct config_value *map, enum level level,
                        bool *is_last_out);
static bool read_key(struct reader *reader, struct config_value *member, enum level level,
                     bool *is_quoted_out);
static bool read_quoted_key(struct reader *reader, struct config_value *member, enum level level);
static bool read_member_value(struct reader *reader, struct config_value *member, enum level level);
static bool read_member_end(struct reader *reader, enum level level, bool *is_last_out);
static bool read_value(struct reader *reader, struct config_value *value);
static bool read_word(struct reader *reader, struct config_value *value);
static bool read_map(struct reader *reader, struct config_value *value);
static bool read_array(struct reader *reader, struct config_value *value);
static bool read_array_separator(struct reader *reader, bool *is_last_out);
static bool read_include(struct reader *reader, struct config_value *map);
static const char *path_beside(struct reader *reader, struct bytes name);
static bool read_include_name(struct reader *reader, struct bytes *name_out);
static bool read_variable(struct reader *reader, struct config_value *value, struct bytes name);
static bool read_environment(struct reader *reader, struct config_value *value, struct bytes name,
                             const char *text);

static void add_member(struct config_value *map, struct config_value *member);
static struct config_value *find_member(const struct config_value *map, struct bytes key);
static void set_contents(struct config_value *value, const struct config_value *from);

static const char *errno_words(char *buffer, size_t bytes);

/* ---- a config's life ---- */

enum status config_read(const char *path, struct config **config_out, struct text *why)
{
    *config_out = NULL;
    struct config *files = reader_config_create(); /* for the text, which is not kept */
    struct bytes source = {"", 0};
    enum status status = read_file(files, path, &source, why);
    if (status == STATUS_OK)
        status = config_parse(source, path, config_out, why);
    config_free(files);
    return status;
}

enum status config_parse(struct bytes source, const char *file, struct config **config_out,
                         struct text *why)
{
    struct config *config = reader_config_create();
    struct reader reader = {
        .config = config,
        .why = why,
        .file = reader_arena_copy(config, bytes_of_text(file)).data,
        .source = source.count > 0 ? source : BYTES_LITERAL(""),
        .line = 1,
    };
    config->root = reader_new_value(&reader);
    config->root->type = CONFIG_MAP;
    bool is_good = read_members(&reader, config->root, LEVEL_TOP);
    text_free(&config->scratch);
    if (!is_good) {
        config_free(config);
        config = NULL;
    }
    *config_out = config;
    return is_good ? STATUS_OK : STATUS_INVALID;
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    text_free(&config->scratch);
    while (config->blocks != NULL) {
        struct config_block *block = config->blocks;
        config->blocks = block->next;
        free(block);
    }
    free(config);
}

const struct config_value *config_root(const struct config *config)
{
    return config->root;
}

const struct config_value *config_member(const struct config_value *map, const char *key)
{
    const struct config_value *found = NULL;
    for (const struct config_value *member = map->first; member != NULL; member = member->next)
        if (reader_equals_word(member->key, key))
            found = member;
    return found;
}

/* Into the arena; `why` gets a line in Go's words. */
static enum status read_file(struct config *config, const char *path, struct bytes *source_out,
                             struct text *why)
{
    struct text text = {0};
    char words[128];
    ssize_t got = -1;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        do {
            got = read(file, text_reserve(&text, READER_BLOCK_BYTES), READER_BLOCK_BYTES);
            text.count += got > 0 ? (size_t)got : 0;
        } while (got > 0 && text.count <= LIMIT_CONFIG_FILE_BYTES);
    }
    enum status status = got < 0 ? status_from_errno(-errno) : STATUS_OK;
    if (got < 0) {
        text_append_format(why, "%s %s: %s", file < 0 ? "open" : "read", path,
                           errno_words(words, sizeof(words)));
    } else if (got > 0) {
        text_append_format(why, "read %s: it is larger than %d bytes", path,
                           (int)LIMIT_CONFIG_FILE_BYTES);
        status = STATUS_INVALID;
    } else {
        *source_out = reader_arena_copy(config, text_bytes(&text));
    }
    if (file >= 0)
        (void)close(file); /* it was only read */
    text_free(&text);
    return status;
}

/* ---- members ---- */

static bool read_members(struct reader *reader, struct config_value *map, enum level level)
{
    for (bool is_last = false; !is_last;) {
        reader_skip_spaces(reader);
        if (reader_skip_comment(reader))
            continue;
        int byte = reader_peek(reader);
        if (byte == READER_END)
            return level != LEVEL_MAP || reader_fail(reader, "Unexpected EOF processing map.");
        if (byte == '/' && level != LEVEL_MAP)
            return reader_fail(reader, "Unexpected EOF.");
        if (byte == '/') {
            (void)reader_take(reader);
        } else if (byte == '}' && level != LEVEL_TOP) {
            (void)reader_take(reader);
            return true;
        } else if (byte == '{' && level != LEVEL_MAP) {
            if (!read_block(reader, map))
                return false;
            if (level == LEVEL_BLOCK && !read_member_end(reader, level, &is_last))
                return false;
        } else if (!read_member(reader, map, level, &is_last)) {
            return false;
        }
    }
    return true;
}

/* Braces around the whole file: their members are the file's. */
static bool read_block(struct reader *reader, struct config_value *map)
{
    if (!reader_enter(reader))
        return false;
    (void)reader_take(reader);
    bool is_good = read_members(reader, map, LEVEL_BLOCK);
    reader->depth--;
    return is_good;
}

/* *is_last_out: what closes the map came after the value. */
static bool read_member(struct reader *reader, struct config_value *map, enum level level,
                        bool *is_last_out)
{
    struct scope scope = {.map = map, .outer = reader->scope};
    struct config_value *member = reader_new_value(reader);
    bool is_quoted = false;
    if (member == NULL || !read_key(reader, member, level, &is_quoted))
        return false;

    reader->scope = &scope;
    bool is_good;
    if (!is_quoted && reader_is_space(reader_peek(reader))
        && reader_equals_word(member->key, "include")) {
        is_good = read_include(reader, map);
    } else {
        reader_skip_spaces(reader);
        if (reader_peek(reader) == READER_END && level != LEVEL_MAP
            && bytes_equal(member->key, BYTES_LITERAL("}"))) {
            *is_last_out = true; /* one brace too many at the end, as JSON-like files have it */
            reader->scope = scope.outer;
            return true;
        }
        is_good = read_member_value(reader, member, level);
        if (is_good)
            add_member(map, member);
    }
    reader->scope = scope.outer;
    return is_good && read_member_end(reader, level, is_last_out);
}

static bool read_key(struct reader *reader, struct config_value *member, enum level level,
                     bool *is_quoted_out)
{
    int byte = reader_peek(reader);
    if (reader_is_separator(byte))
        return reader_fail(reader, "Unexpected key separator '%c'%s", byte,
                           level == LEVEL_MAP ? "." : "");
    if (byte == ']' && level == LEVEL_MAP)
        return reader_fail(reader, "Unexpected array end ']' processing map.");
    *is_quoted_out = byte == '"' || byte == '\'';
    if (*is_quoted_out)
        return read_quoted_key(reader, member, level);

    size_t start = reader->at;
    member->column = (unsigned)(start - reader->line_start);
    while (reader_peek(reader) != READER_END && !reader_is_space(reader_peek(reader))
           && !reader_is_separator(reader_peek(reader)))
        (void)reader_take(reader);
    if (reader_peek(reader) == READER_END && level == LEVEL_MAP)
        return reader_fail(reader, "Unexpected EOF processing map key.");
    member->line = reader->line;
    member->key = reader_arena_copy(reader->config, reader_taken(reader, start));
    return true;
}

/* No escapes here; the column is the first letter's. */
static bool read_quoted_key(struct reader *reader, struct config_value *member, enum level level)
{
    int quote = reader_take(reader);
    size_t start = reader->at;
    member->column = (unsigned)(start - reader->line_start);
    while (reader_peek(reader) != quote) {
        if (reader_take(reader) != READER_END)
            continue;
        if (level != LEVEL_MAP)
            return reader_fail(reader, "Unexpected EOF.");
        return reader_fail(reader, "Unexpected EOF processing %s map key.",
                           quote == '"' ? "double quoted" : "quoted");
    }
    member->line = reader->line;
    member->key = reader_arena_copy(reader->config, reader_taken(reader, start));
    (void)reader_take(reader);
    return true;
}

static bool read_member_value(struct reader *reader, struct config_value *member, enum level level)
{
    if (reader_peek(reader) == READER_END && level != LEVEL_MAP)
        return reader_fail_plainly(reader, "config is invalid (%s:%u:%zu)", reader->file,
                                   reader->line, reader->at - reader->line_start);
    if (reader_is_separator(reader_peek(reader)))
        (void)reader_take(reader);
    if (level == LEVEL_MAP) {
        reader_skip_spaces(reader);
        if (reader_peek(reader) == ',')
            return reader_fail(reader, "Unexpected map value terminator \",\".");
        if (reader_peek(reader) == '}')
            return reader_fail(reader, "Unexpected map value terminator \"}\".");
    }
    return read_value(reader, member);
}

static bool read_member_end(struct reader *reader, enum level level, bool *is_last_out)
{
    for (;;) {
        reader_skip_blanks(reader);
        if (reader_skip_comment(reader))
            continue;
        int byte = reader_take(reader);
        *is_last_out = byte == '}' && level != LEVEL_TOP;
        if (reader_is_newline(byte) || byte == ';' || byte == ',' || byte == '}')
            return true;
        if (byte == READER_END && level == LEVEL_TOP)
            return true;
        if (byte == '/' && level == LEVEL_MAP)
            return true;
        if (byte != '/')
            break;
    }
    if (level == LEVEL_MAP)
        return reader_fail_at_byte(
            reader,
            "Expected a map value terminator \",\" or a map terminator \"}\", "
            "but got '",
            "' instead.");
    return reader_fail_at_byte(
        reader,
        level == LEVEL_TOP ? "Expected a top-level value to end with a new line, comment or "
                             "EOF, but got '"
                           : "Expected a block-level value to end with a new line, comment "
                             "or EOF, but got '",
        "' instead.");
}

/* ---- values ---- */

static bool read_value(struct reader *reader, struct config_value *value)
{
    reader_skip_blanks(reader);
    int byte = reader_peek(reader);
    switch (byte) {
    case '{':
        return read_map(reader, value);
    case '[':
        return read_array(reader, value);
    case '\'':
        return scalar_raw_string(reader, value);
    case '"':
        return scalar_string(reader, value);
    case '(':
        return scalar_block_string(reader, value);
    case '.':
        return reader_fail(reader, "Floats must start with a digit");
    default:
        break;
    }
    if (reader_is_newline(byte)) {
        (void)reader_take(reader);
        return reader_fail(reader, "Expected value but found new line");
    }
    if (byte == '-' || reader_is_digit(byte))
        return scalar_number(reader, value);
    return read_word(reader, value);
}

static bool read_word(struct reader *reader, struct config_value *value)
{
    bool is_variable;
    if (!scalar_word(reader, value, reader->at, &is_variable))
        return false;
    return !is_variable || read_variable(reader, value, bytes_after(value->text, 1));
}

static bool read_map(struct reader *reader, struct config_value *value)
{
    if (!reader_enter(reader))
        return false;
    (void)reader_take(reader);
    value->type = CONFIG_MAP;
    bool is_good = read_members(reader, value, LEVEL_MAP);
    reader->depth--;
    return is_good;
}

static bool read_array(struct reader *reader, struct config_value *value)
{
    if (!reader_enter(reader))
        return false;
    (void)reader_take(reader);
    value->type = CONFIG_ARRAY;
    struct config_value **link = &value->first;
    for (bool is_last = false; !is_last;) {
        reader_skip_spaces(reader);
        if (reader_skip_comment(reader))
            continue;
        if (reader_peek(reader) == ']') {
            (void)reader_take(reader);
            break;
        }
        if (reader_peek(reader) == ',' || reader_peek(reader) == '/')
            return reader_fail(reader, "Unexpected array value terminator ','.");
        struct config_value *element = reader_new_value(reader);
        if (element == NULL)
            return false;
        element->column = (unsigned)(reader->at - reader->line_start);
        if (!read_value(reader, element) || !read_array_separator(reader, &is_last))
            return false;
        *link = element;
        link = &element->next;
    }
    reader->depth--;
    return true;
}

static bool read_array_separator(struct reader *reader, bool *is_last_out)
{
    do
        reader_skip_blanks(reader);
    while (reader_skip_comment(reader));

    int byte = reader_take(reader);
    *is_last_out = byte == ']';
    if (byte == ']' || byte == ',' || byte == '/' || reader_is_newline(byte))
        return true;
    return reader_fail_at_byte(reader,
                               "Expected an array value terminator \",\" or an array terminator "
                               "\"]\", but got '",
                               "' instead.");
}

/* ---- other files, variables ---- */

/* The file's members become the map's. */
static bool read_include(struct reader *reader, struct config_value *map)
{
    struct bytes name = {"", 0};
    struct text why = {0};
    if (!read_include_name(reader, &name))
        return false;
    if (reader->include_count >= LIMIT_CONFIG_INCLUDES)
        return reader_fail_plainly(
            reader, "error parsing include file '%s', too many files within one another",
            name.data);

    struct reader inner = {
        .config = reader->config,
        .why = &why,
        .file = path_beside(reader, name),
        .line = 1,
        .depth = reader->depth,
        .include_count = reader->include_count + 1,
        .pending = reader->pending,
    };
    struct config_value included = {.type = CONFIG_MAP};
    bool is_good = read_file(reader->config, inner.file, &inner.source, &why) == STATUS_OK
                   && read_members(&inner, &included, LEVEL_TOP);
    for (struct config_value *member = included.first, *next; is_good && member != NULL;
         member = next) {
        next = member->next;
        add_member(map, member);
    }
    if (!is_good)
        (void)reader_fail_plainly(reader, "error parsing include file '%s', %.*s", name.data,
                                  (int)why.count, why.data);
    text_free(&why);
    return is_good;
}

/* In the directory of the file being read; the arena's. */
static const char *path_beside(struct reader *reader, struct bytes name)
{
    const char *slash = strrchr(reader->file, '/');
    struct text path = {0};
    if (slash != NULL)
        text_append(&path, bytes_of(reader->file, (size_t)(slash - reader->file) + 1));
    text_append(&path, name);
    const char *kept = reader_arena_copy(reader->config, text_bytes(&path)).data;
    text_free(&path);
    return kept;
}

static bool read_include_name(struct reader *reader, struct bytes *name_out)
{
    reader_skip_blanks(reader);
    int byte = reader_peek(reader);
    const char *what = byte == '['                            ? "start of an array"
                       : byte == '{'                          ? "start of a map"
                       : byte == '('                          ? "start of a block"
                       : reader_is_digit(byte) || byte == '-' ? "start of a number"
                       : byte == '\\'                         ? "escape sequence"
                       : reader_is_newline(byte)              ? "new line"
                                                              : NULL;
    if (what != NULL) {
        (void)reader_take(reader);
        return reader_fail(reader, "Expected include value but found %s", what);
    }
    if (byte == '"' || byte == '\'') {
        (void)reader_take(reader);
        size_t start = reader->at;
        while (reader_peek(reader) != byte)
            if (reader_take(reader) == READER_END)
                return reader_fail(reader, "Unexpected EOF in %s include",
                                   byte == '"' ? "double quoted" : "quoted");
        *name_out = reader_arena_copy(reader->config, reader_taken(reader, start));
        (void)reader_take(reader);
        return true;
    }
    size_t start = reader->at;
    while (!reader_ends_word(reader_peek(reader)) || reader_peek(reader) == ','
           || reader_peek(reader) == ']')
        (void)reader_take(reader);
    *name_out = reader_arena_copy(reader->config, reader_taken(reader, start));
    if (reader_peek(reader) == '\'')
        (void)reader_take(reader);
    return true;
}

/* `name` has a NUL after it. */
static bool read_variable(struct reader *reader, struct config_value *value, struct bytes name)
{
    if (bytes_start_with(name, BYTES_LITERAL("2a$")))
        return true; /* a bcrypt hash, which stays the string that it is */
    for (const struct scope *scope = reader->scope; scope != NULL; scope = scope->outer) {
        struct config_value *found = find_member(scope->map, name);
        if (found == NULL)
            continue;
        found->is_referenced = true;
        set_contents(value, found);
        return true;
    }
    for (const struct pending *outer = reader->pending; outer != NULL; outer = outer->outer)
        if (bytes_equal(outer->name, name))
            return reader_fail_plainly(
                reader,
                "variable reference for '%s' on line %u could not be parsed: "
                "variable reference cycle for '%s'",
                name.data, reader->line, name.data);

    const char *text = getenv(name.data);
    if (text == NULL)
        return reader_fail_plainly(reader,
                                   "variable reference for '%s' on line %u can not be found",
                                   name.data, reader->line);
    return read_environment(reader, value, name, text);
}

/* An environment variable's text is read as a value of the language. */
static bool read_environment(struct reader *reader, struct config_value *value, struct bytes name,
                             const char *text)
{
    struct text source = {0};
    struct text why = {0};
    struct pending pending = {.name = name, .outer = reader->pending};
    text_append_format(&source, "pk=%s", text);
    struct reader inner = {
        .config = reader->config,
        .why = &why,
        .file = "",
        .source = text_bytes(&source),
        .line = 1,
        .depth = reader->depth,
        .include_count = reader->include_count,
        .pending = &pending,
    };
    struct config_value map = {.type = CONFIG_MAP};
    bool is_good = read_members(&inner, &map, LEVEL_TOP);
    struct config_value *found = is_good ? find_member(&map, BYTES_LITERAL("pk")) : NULL;
    if (found != NULL)
        set_contents(value, found);
    else if (is_good)
        (void)reader_fail_plainly(reader, "variable reference for '%s' on line %u can not be found",
                                  name.data, reader->line);
    else
        (void)reader_fail_plainly(
            reader, "variable reference for '%s' on line %u could not be parsed: %.*s", name.data,
            reader->line, (int)why.count, why.data);
    text_free(&source);
    text_free(&why);
    return found != NULL;
}

/* ---- the tree ---- */

/* At the end; an older one of that name goes. */
static void add_member(struct config_value *map, struct config_value *member)
{
    struct config_value **link = &map->first;
    while (*link != NULL) {
        if (bytes_equal((*link)->key, member->key))
            *link = (*link)->next;
        else
            link = &(*link)->next;
    }
    member->next = NULL;
    *link = member;
}

/* Letter for letter, as variables are named. */
static struct config_value *find_member(const struct config_value *map, struct bytes key)
{
    for (struct config_value *member = map->first; member != NULL; member = member->next)
        if (bytes_equal(member->key, key))
            return member;
    return NULL;
}

/* Members and elements are shared: nobody changes them once their map or array is read. */
static void set_contents(struct config_value *value, const struct config_value *from)
{
    value->type = from->type;
    value->first = from->first;
    value->text = from->text;
    value->integer = from->integer;
    value->number = from->number;
    value->truth = from->truth;
}

/* Of errno, as Go writes them: without the capital. */
static const char *errno_words(char *buffer, size_t bytes)
{
    (void)snprintf(buffer, bytes, "%s", strerror(errno)); /* cut if need be */
    if (buffer[0] >= 'A' && buffer[0] <= 'Z')
        buffer[0] = (char)(buffer[0] | 0x20);
    return buffer;
}
