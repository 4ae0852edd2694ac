/*
 * core/config_scalar.c: strings, numbers and words of the configuration language.
 *
 * An unquoted word decides by its letters what it is: 5 is a number, 5k too, 5kx a string, 2006-01-02T15:04:05Z a date, 1.5
 * a float, 1.2.3 an address, yes a boolean, $yes a variable. A text that began like a number and went on like a word is
 * handed over with what was read of it.
 *
 * Runs on: the main thread, before shards exist.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_reader.h"

static bool read_escape(struct reader *reader);
static bool read_suffixed(struct reader *reader, struct config_value *value, size_t start);
static bool read_fraction(struct reader *reader, struct config_value *value, size_t start);
static bool read_date(struct reader *reader, struct config_value *value, size_t start);
static bool set_integer(struct reader *reader, struct config_value *value, size_t start);
static bool number_word(struct reader *reader, struct config_value *value, size_t start);
static void take_digits(struct reader *reader);

bool scalar_raw_string(struct reader *reader, struct config_value *value)
{
    (void)reader_take(reader);
    size_t start = reader->at;
    while (reader_peek(reader) != '\'')
        if (reader_take(reader) == READER_END)
            return reader_fail(reader, "Unexpected EOF.");
    reader_set_text(reader, value, CONFIG_STRING, reader_taken(reader, start));
    (void)reader_take(reader);
    return true;
}

bool scalar_string(struct reader *reader, struct config_value *value)
{
    struct text *scratch = &reader->config->scratch;
    (void)reader_take(reader);
    text_clear(scratch);
    for (;;) {
        int byte = reader_take(reader);
        if (byte == READER_END)
            return reader_fail(reader, "Unexpected EOF.");
        if (byte == '"')
            break;
        if (byte != '\\')
            text_append(scratch, reader_taken(reader, reader->at - 1));
        else if (!read_escape(reader))
            return false;
    }
    reader_set_text(reader, value, CONFIG_STRING, text_bytes(scratch));
    return true;
}

/* ( … ) with the closing parenthesis alone on its line; the newlines inside stay. */
bool scalar_block_string(struct reader *reader, struct config_value *value)
{
    (void)reader_take(reader);
    size_t start = reader->at;
    for (int before = '('; reader_peek(reader) != READER_END; before = reader_take(reader)) {
        int after = reader_peek_second(reader);
        if (reader_peek(reader) != ')' || before != '\n' || (after != '\n' && after != READER_END))
            continue;
        reader_set_text(reader, value, CONFIG_STRING, reader_taken(reader, start));
        (void)reader_take(reader);
        return true;
    }
    return reader_fail(reader, "Unexpected EOF processing block.");
}

/* After the backslash; what it stands for goes into scratch. */
static bool read_escape(struct reader *reader)
{
    static const char names[] = "tnr\"\\";
    static const char bytes[] = "\t\n\r\"\\";
    int byte = reader_take(reader);
    const char *name = byte > 0 ? strchr(names, byte) : NULL;
    if (name != NULL) {
        text_append(&reader->config->scratch, bytes_of(bytes + (name - names), 1));
        return true;
    }
    if (byte != 'x')
        return reader_fail_at_byte(
            reader, "Invalid escape character '",
            "'. Only the following escape characters are allowed: \\xXX, \\t, \\n, "
            "\\r, \\\", \\\\.");

    size_t start = reader->at;
    for (int i = 0; i < 2; i++)
        if (reader_is_newline(reader_take(reader)))
            return reader_fail(reader,
                               "Expected two hexadecimal digits after '\\x', but hit end of line");
    struct bytes digits = reader_taken(reader, start);
    unsigned code = 0;
    for (size_t i = 0; i < digits.count; i++) {
        int digit = (unsigned char)digits.data[i];
        int low = digit | 0x20;
        if (!reader_is_digit(digit) && (low < 'a' || low > 'f'))
            digits.count = 0;
        code = code * 16 + (unsigned)(reader_is_digit(digit) ? digit - '0' : low - 'a' + 10);
    }
    if (digits.count != 2)
        return reader_fail(reader, "Expected two hexadecimal digits after '\\x', but got '%.*s'",
                           (int)(reader->at - start), reader->source.data + start);
    char decoded = (char)code;
    text_append(&reader->config->scratch, bytes_of(&decoded, 1));
    return true;
}

/* Without quotes. What was read from `start` on turned out to begin a word, and belongs to it. */
bool scalar_word(struct reader *reader, struct config_value *value, size_t start,
                 bool *is_variable_out)
{
    struct text *scratch = &reader->config->scratch;
    bool has_escape = false;
    *is_variable_out = false;
    text_clear(scratch);
    text_append(scratch, reader_taken(reader, start));
    while (!reader_ends_word(reader_peek(reader))) {
        if (reader_take(reader) != '\\') {
            text_append(scratch, reader_taken(reader, reader->at - 1));
            continue;
        }
        has_escape = true;
        if (!read_escape(reader))
            return false;
    }

    struct bytes word = text_bytes(scratch);
    bool is_ended_by_quote = reader_peek(reader) == '\'';
    if (is_ended_by_quote)
        (void)reader_take(reader);
    if (!has_escape && !is_ended_by_quote) {
        bool is_true = reader_equals_word(word, "true") || reader_equals_word(word, "yes")
                       || reader_equals_word(word, "on");
        bool is_false = reader_equals_word(word, "false") || reader_equals_word(word, "no")
                        || reader_equals_word(word, "off");
        if (is_true || is_false) {
            value->type = CONFIG_BOOL;
            value->truth = is_true;
            return true;
        }
        *is_variable_out = word.count > 0 && word.data[0] == '$';
    }
    reader_set_text(reader, value, CONFIG_STRING, word);
    return true;
}

bool scalar_number(struct reader *reader, struct config_value *value)
{
    size_t start = reader->at;
    bool is_negative = reader_peek(reader) == '-';
    if (is_negative) {
        (void)reader_take(reader);
        if (!reader_is_digit(reader_peek(reader))) {
            if (reader_take(reader) == '.')
                return reader_fail(reader, "Floats must start with a digit, not '.'.");
            return reader_fail_at_byte(reader, "Expected a digit but got '", "'.");
        }
    }
    take_digits(reader);

    int byte = reader_peek(reader);
    if (byte == '.')
        return read_fraction(reader, value, start);
    if (byte > 0 && strchr("kKmMgGtTpPeE", byte) != NULL)
        return read_suffixed(reader, value, start);
    if (byte == '-' && !is_negative)
        return read_date(reader, value, start);
    if (is_negative || (reader_ends_word(byte) && byte != '\''))
        return set_integer(reader, value, start);
    return number_word(reader, value, start);
}

/* 64MiB, or a word such as 1mx. */
static bool read_suffixed(struct reader *reader, struct config_value *value, size_t start)
{
    (void)reader_take(reader);
    while (reader_peek(reader) > 0 && strchr("bBiI", reader_peek(reader)) != NULL)
        (void)reader_take(reader);
    if (reader_ends_word(reader_peek(reader)) && reader_peek(reader) != '\'')
        return set_integer(reader, value, start);
    return number_word(reader, value, start);
}

/* 1.5, or an address such as 127.0.0.1:4222. */
static bool read_fraction(struct reader *reader, struct config_value *value, size_t start)
{
    (void)reader_take(reader);
    if (!reader_is_digit(reader_peek(reader))) {
        (void)reader_take(reader);
        return reader_fail_at_byte(reader, "Floats must have a digit after the '.', but got '",
                                   "' instead.");
    }
    take_digits(reader);
    if (reader_peek(reader) != '.') {
        reader_set_text(reader, value, CONFIG_FLOAT,
                        reader_taken(reader, start)); /* gives strtod its NUL */
        value->number = strtod(value->text.data, NULL);
        return true;
    }
    while (reader_is_digit(reader_peek(reader))
           || (reader_peek(reader) > 0 && strchr(".:-", reader_peek(reader)) != NULL))
        (void)reader_take(reader);
    reader_set_text(reader, value, CONFIG_STRING, reader_taken(reader, start));
    return true;
}

/* 2006-01-02T15:04:05Z: four digits are read, a '-' is next. */
static bool read_date(struct reader *reader, struct config_value *value, size_t start)
{
    static const char form[] = "-00-00T00:00:00Z";
    if (reader->at - start != 4)
        return reader_fail(reader, "All ISO8601 dates must be in full Zulu form.");
    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        char before[64];
        int byte = reader_take(reader);
        if (form[i] == '0' ? reader_is_digit(byte) : byte == form[i])
            continue;
        if (form[i] == '0')
            return reader_fail_at_byte(reader, "Expected digit in ISO8601 datetime, but found '",
                                       "' instead.");
        (void)snprintf(before, sizeof(before), "Expected '%c' in ISO8601 datetime, but found '",
                       form[i]); /* it has the room */
        return reader_fail_at_byte(reader, before, "' instead.");
    }
    uint64_t ns;
    struct bytes date = reader_taken(reader, start);
    if (!text_parse_time(date, &ns))
        return reader_fail_plainly(reader, "expected Zulu formatted DateTime, but got '%.*s'",
                                   (int)date.count, date.data);
    reader_set_text(reader, value, CONFIG_DATE, date);
    return true;
}

static bool set_integer(struct reader *reader, struct config_value *value, size_t start)
{
    struct bytes all = reader_taken(reader, start);
    int64_t number;
    switch (options_parse_integer(all, &number)) {
    case OPTIONS_INTEGER_GOOD:
        break;
    case OPTIONS_INTEGER_TOO_LARGE:
        return reader_fail_plainly(reader, "integer '%.*s' is out of the range", (int)all.count,
                                   all.data);
    case OPTIONS_INTEGER_WRONG:
        return reader_fail_plainly(reader, "expected integer, but got '%.*s'", (int)all.count,
                                   all.data);
    }
    value->type = CONFIG_INTEGER;
    value->integer = number;
    return true;
}

/* It begins with a digit or a minus, so it is no variable. */
static bool number_word(struct reader *reader, struct config_value *value, size_t start)
{
    bool is_variable;
    return scalar_word(reader, value, start, &is_variable);
}

static void take_digits(struct reader *reader)
{
    while (reader_is_digit(reader_peek(reader)))
        (void)reader_take(reader);
}
