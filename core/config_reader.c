/*
 * core/config_reader.c: a place in a text, the arena, and how reading fails.
 *
 * Keeps:   lines and columns as nats-server counts them: a column counts from the newline before it, which only the first
 *          line does not have. Blocks of the arena never move, so a value's address holds until config_free.
 * Runs on: the main thread, before shards exist.
 */
#include "core/config_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/assert.h"
#include "core/limits.h"

struct config *reader_config_create(void)
{
    struct config *config = calloc(1, sizeof(*config));
    ASSERT(config != NULL);
    return config;
}

/* NULL when the tree has grown too large; `why` then says so. */
struct config_value *reader_new_value(struct reader *reader)
{
    if (reader->config->total_bytes > LIMIT_CONFIG_TREE_BYTES) {
        (void)reader_fail_plainly(reader, "config is too large");
        return NULL;
    }
    struct config_value *value = reader_arena_alloc(reader->config, sizeof(*value));
    *value = (struct config_value){
        .type = CONFIG_STRING,
        .key = {"", 0},
        .file = reader->file,
        .line = reader->line,
        .text = {"", 0},
    };
    return value;
}

void reader_set_text(struct reader *reader, struct config_value *value, enum config_type type,
                     struct bytes text)
{
    value->type = type;
    value->text = reader_arena_copy(reader->config, text);
}

/* All three give false. An error of the grammar names the line reached. */
bool reader_fail(struct reader *reader, const char *format, ...)
{
    char words[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof(words), format, arguments); /* cut if need be */
    va_end(arguments);
    return reader_fail_plainly(reader, "Parse error on line %u: '%s'", reader->line, words);
}

bool reader_fail_plainly(struct reader *reader, const char *format, ...)
{
    char words[4096];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof(words), format, arguments); /* cut if need be */
    va_end(arguments);
    text_append_literal(reader->why, words);
    return false;
}

/* With the character that was just taken, whole when it is one of several bytes. */
bool reader_fail_at_byte(struct reader *reader, const char *before, const char *after)
{
    if (reader->at == 0 || reader->is_at_end)
        return reader_fail(reader, "%sEOF%s", before, after);
    size_t start = reader->at - 1;
    size_t count = 1;
    unsigned char lead = (unsigned char)reader->source.data[start];
    size_t whole = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    while (count < whole && start + count < reader->source.count)
        count++;
    if (lead == '\n')
        return reader_fail(reader, "%s\\n%s", before, after);
    return reader_fail(reader, "%s%.*s%s", before, (int)count, reader->source.data + start, after);
}

bool reader_enter(struct reader *reader)
{
    if (reader->depth >= LIMIT_CONFIG_DEPTH)
        return reader_fail(reader, "Maps and arrays are nested too deeply.");
    reader->depth++;
    return true;
}

int reader_peek(const struct reader *reader)
{
    if (reader->at >= reader->source.count)
        return READER_END;
    return (unsigned char)reader->source.data[reader->at];
}

int reader_peek_second(const struct reader *reader)
{
    if (reader->at + 1 >= reader->source.count)
        return READER_END;
    return (unsigned char)reader->source.data[reader->at + 1];
}

int reader_take(struct reader *reader)
{
    int byte = reader_peek(reader);
    if (byte == READER_END) {
        reader->is_at_end = true;
        return byte;
    }
    if (byte == '\n') {
        reader->line++;
        reader->line_start = reader->at;
    }
    reader->at++;
    return byte;
}

struct bytes reader_taken(const struct reader *reader, size_t start)
{
    return bytes_of(reader->source.data + start, reader->at - start);
}

void reader_skip_spaces(struct reader *reader)
{
    while (reader_is_space(reader_peek(reader)))
        (void)reader_take(reader);
}

void reader_skip_blanks(struct reader *reader)
{
    while (reader_peek(reader) == ' ' || reader_peek(reader) == '\t')
        (void)reader_take(reader);
}

/* Up to its newline, which stays: it ends a value, too. */
bool reader_skip_comment(struct reader *reader)
{
    if (reader_peek(reader) != '#'
        && (reader_peek(reader) != '/' || reader_peek_second(reader) != '/'))
        return false;
    while (reader_peek(reader) != READER_END && !reader_is_newline(reader_peek(reader)))
        (void)reader_take(reader);
    return true;
}

bool reader_is_space(int byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

bool reader_is_digit(int byte)
{
    return byte >= '0' && byte <= '9';
}

bool reader_is_newline(int byte)
{
    return byte == '\n' || byte == '\r';
}

bool reader_is_separator(int byte)
{
    return byte == '=' || byte == ':';
}

bool reader_ends_word(int byte)
{
    return byte == READER_END || byte == ' ' || byte == '\t' || reader_is_newline(byte)
           || byte == ';' || byte == ',' || byte == ']' || byte == '}' || byte == '\'';
}

bool reader_equals_word(struct bytes bytes, const char *word)
{
    return bytes.count == strlen(word) && strncasecmp(bytes.data, word, bytes.count) == 0;
}

void *reader_arena_alloc(struct config *config, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    struct config_block *block = config->blocks;
    if (block == NULL || bytes > block->size_bytes - block->used_bytes) {
        size_t size_bytes = bytes > READER_BLOCK_BYTES ? bytes : READER_BLOCK_BYTES;
        block = malloc(sizeof(*block) + size_bytes);
        ASSERT(block != NULL);
        *block = (struct config_block){.next = config->blocks, .size_bytes = size_bytes};
        config->blocks = block;
        config->total_bytes += size_bytes;
    }
    void *data = block->data + block->used_bytes;
    block->used_bytes += bytes;
    return data;
}

/* With a NUL after it. */
struct bytes reader_arena_copy(struct config *config, struct bytes bytes)
{
    char *data = reader_arena_alloc(config, bytes.count + 1);
    if (bytes.count > 0)
        memcpy(data, bytes.data, bytes.count);
    data[bytes.count] = '\0';
    return bytes_of(data, bytes.count);
}
