/*
 * core/json.c: reading JSON that peers sent, by cJSON.
 *
 * cJSON is more lenient than the protocol's reference: it takes any control byte for a blank, skips a byte-order mark,
 * lets control characters stand in strings, and reads numbers as strtod does ("01"). find_end() walks the tokens of the
 * value first and refuses those, so that both servers take the same texts; it also knows an unfinished text from a
 * wrong one, and refuses \u0000, where cJSON's strings would end. cJSON checks the grammar and bounds the nesting
 * (1000 deep).
 *
 * Keeps:   struct json is cJSON under another name; no other file sees cJSON.
 * Owns:    json_parse gives a document, json_free takes it back; elements live as long as their document.
 * Runs on: any thread.
 */
#include "core/json.h"

#include <cjson/cJSON.h>
#include <strings.h>

#include "core/assert.h"

static const char json_cut_short[] = "unexpected end of JSON input";
static const char json_invalid[] = "invalid character in JSON text";

static const char *find_end(struct bytes text, size_t *end_out);
static size_t string_bytes(struct bytes text, const char **why_out);
static size_t number_bytes(struct bytes text);
static size_t word_bytes(struct bytes text);
static size_t digits_bytes(struct bytes text);
static size_t skip_blanks(struct bytes text);
static bool is_blank(char byte);
static const cJSON *inner(const struct json *json);
static const struct json *outer(const cJSON *item);
static bool whole_number(const struct json *json, double *number_out);

struct json *json_parse(struct bytes text, struct bytes *rest_out, const char **why_out)
{
    if (text.count == 0) {
        *why_out = json_cut_short;
        return NULL;
    }
    text = bytes_after(text, skip_blanks(text));
    size_t end = 0;
    *why_out = find_end(text, &end);
    if (*why_out != NULL)
        return NULL;

    cJSON *root = cJSON_ParseWithLengthOpts(text.data, end, NULL, 0);
    if (root == NULL) {
        *why_out = json_invalid;
        return NULL;
    }
    struct bytes rest = bytes_after(text, end);
    *rest_out = bytes_after(rest, skip_blanks(rest));
    return (struct json *)root;
}

void json_free(struct json *json)
{
    cJSON_Delete((cJSON *)json);
}

/*
 * Where the value ends that begins at text's first byte: after the bracket that closes the first one, or after the first
 * token. Tells NULL, or why there is no such place. Which token may follow which is cJSON's to judge.
 */
static const char *find_end(struct bytes text, size_t *end_out)
{
    size_t depth = 0;
    size_t at = 0;
    do {
        at += skip_blanks(bytes_after(text, at));
        struct bytes rest = bytes_after(text, at);
        const char *why = json_invalid;
        if (rest.count == 0)
            return json_cut_short;

        char byte = rest.data[0];
        size_t token_bytes = 1;
        if (byte == '{' || byte == '[')
            depth++;
        else if ((byte == '}' || byte == ']') && depth > 0)
            depth--;
        else if (byte == '"')
            token_bytes = string_bytes(rest, &why);
        else if (byte == '-' || (byte >= '0' && byte <= '9'))
            token_bytes = number_bytes(rest);
        else if (depth == 0 || (byte != ',' && byte != ':'))
            token_bytes = word_bytes(rest);
        if (token_bytes == 0)
            return why;
        at += token_bytes;
    } while (depth > 0);
    *end_out = at;
    return NULL;
}

/* With both quotes; 0 when it does not end, or a control character stands in it. */
static size_t string_bytes(struct bytes text, const char **why_out)
{
    for (size_t i = 1; i < text.count; i++) {
        if (text.data[i] == '"')
            return i + 1;
        if ((unsigned char)text.data[i] < 0x20)
            return 0;
        if (text.data[i] != '\\')
            continue;
        if (bytes_start_with(bytes_after(text, i), BYTES_LITERAL("\\u0000")))
            return 0; /* cJSON would end the string here */
        i++; /* a quote after it does not end the string; what may follow is cJSON's to judge */
    }
    *why_out = json_cut_short;
    return 0;
}

/* -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?, and 0 when that is not what begins here. */
static size_t number_bytes(struct bytes text)
{
    size_t at = text.data[0] == '-' ? 1 : 0;
    size_t whole = digits_bytes(bytes_after(text, at));
    if (whole == 0 || (whole > 1 && text.data[at] == '0'))
        return 0;
    at += whole;
    if (at < text.count && text.data[at] == '.') {
        size_t fraction = digits_bytes(bytes_after(text, at + 1));
        if (fraction == 0)
            return 0;
        at += 1 + fraction;
    }
    if (at < text.count && (text.data[at] == 'e' || text.data[at] == 'E')) {
        at++;
        if (at < text.count && (text.data[at] == '+' || text.data[at] == '-'))
            at++;
        size_t exponent = digits_bytes(bytes_after(text, at));
        if (exponent == 0)
            return 0;
        at += exponent;
    }
    return at;
}

static size_t word_bytes(struct bytes text)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (bytes_start_with(text, bytes_of_text(words[i])))
            return strlen(words[i]);
    return 0;
}

static size_t digits_bytes(struct bytes text)
{
    size_t count = 0;
    while (count < text.count && text.data[count] >= '0' && text.data[count] <= '9')
        count++;
    return count;
}

static size_t skip_blanks(struct bytes text)
{
    size_t count = 0;
    while (count < text.count && is_blank(text.data[count]))
        count++;
    return count;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/* ---- reading a document ---- */

enum json_type json_type(const struct json *json)
{
    const cJSON *item = inner(json);
    if (cJSON_IsBool(item))
        return JSON_BOOL;
    if (cJSON_IsNumber(item))
        return JSON_NUMBER;
    if (cJSON_IsString(item))
        return JSON_STRING;
    if (cJSON_IsArray(item))
        return JSON_ARRAY;
    if (cJSON_IsObject(item))
        return JSON_OBJECT;
    return JSON_NULL;
}

const char *json_type_words(enum json_type type)
{
    static const char *const words[] = {
        [JSON_NULL] = "null",     [JSON_BOOL] = "bool",   [JSON_NUMBER] = "number",
        [JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object",
    };
    return (size_t)type < COUNT_OF(words) ? words[type] : "unknown";
}

const struct json *json_first(const struct json *array_or_object)
{
    return outer(inner(array_or_object)->child);
}

const struct json *json_next(const struct json *element)
{
    return outer(inner(element)->next);
}

struct bytes json_name(const struct json *member)
{
    ASSERT(inner(member)->string != NULL);
    return bytes_of_text(inner(member)->string);
}

struct bytes json_string(const struct json *json)
{
    ASSERT(json_type(json) == JSON_STRING);
    return bytes_of_text(inner(json)->valuestring);
}

bool json_bool(const struct json *json)
{
    ASSERT(json_type(json) == JSON_BOOL);
    return cJSON_IsTrue(inner(json)) != 0;
}

/*
 * cJSON keeps doubles, so beyond 2^53 a number is the nearest double. The largest integers of both types round up to a
 * power of two that is just out of range; they are meant, and come back as what they were.
 */
bool json_i64(const struct json *json, int64_t *number_out)
{
    const double limit = 9223372036854775808.0; /* 2^63 */
    double number;
    if (!whole_number(json, &number) || number < -limit || number > limit)
        return false;
    *number_out = number == limit ? INT64_MAX : (int64_t)number;
    return true;
}

bool json_u64(const struct json *json, uint64_t *number_out)
{
    const double limit = 18446744073709551616.0; /* 2^64 */
    double number;
    if (!whole_number(json, &number) || number < 0 || number > limit)
        return false;
    *number_out = number == limit ? UINT64_MAX : (uint64_t)number;
    return true;
}

static bool whole_number(const struct json *json, double *number_out)
{
    if (json_type(json) != JSON_NUMBER)
        return false;
    double number = inner(json)->valuedouble;
    *number_out = number;
    /* From 2^53 on all doubles are whole; below it the cast is defined. */
    return number >= 0x1p53 || number <= -0x1p53 || number == (double)(int64_t)number;
}

const struct json *json_member(const struct json *object, const char *name)
{
    if (json_type(object) != JSON_OBJECT)
        return NULL;
    const struct json *found = NULL;
    for (const struct json *member = json_first(object); member != NULL; member = json_next(member))
        if (strcasecmp(inner(member)->string, name) == 0)
            found = member;
    return found;
}

static const cJSON *inner(const struct json *json)
{
    return (const cJSON *)json;
}

static const struct json *outer(const cJSON *item)
{
    return (const struct json *)item;
}
