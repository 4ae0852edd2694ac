/*
 * kv/subject_map.c: compiling a destination's tokens, and applying them.
 *
 * Owns:    a map owns copies of its texts; the steps' bytes point into them.
 */
#include "kv/subject_map.h"

#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/subject.h"

enum function {
    FUNCTION_LITERAL,
    FUNCTION_REST, /* a final `>` */
    FUNCTION_WILDCARD,
    FUNCTION_PARTITION,
    FUNCTION_SPLIT_FROM_LEFT,
    FUNCTION_SPLIT_FROM_RIGHT,
    FUNCTION_SLICE_FROM_LEFT,
    FUNCTION_SLICE_FROM_RIGHT,
    FUNCTION_RIGHT,
    FUNCTION_LEFT,
    FUNCTION_SPLIT,
    FUNCTION_RANDOM,
};

/* Letters in upper case here may have either case there, the others may not. In the order they are looked for. */
static const struct {
    const char *name;
    enum function function;
} function_names[] = {
    {"Wildcard", FUNCTION_WILDCARD},
    {"Partition", FUNCTION_PARTITION},
    {"SplitFromLeft", FUNCTION_SPLIT_FROM_LEFT},
    {"SplitFromRight", FUNCTION_SPLIT_FROM_RIGHT},
    {"SliceFromLeft", FUNCTION_SLICE_FROM_LEFT},
    {"SliceFromRight", FUNCTION_SLICE_FROM_RIGHT},
    {"Right", FUNCTION_RIGHT},
    {"Left", FUNCTION_LEFT},
    {"Split", FUNCTION_SPLIT},
    {"Random", FUNCTION_RANDOM},
};

enum { INDEXES_MAX = 64, TOKENS_MAX = 1024 };

struct step {
    enum function function;
    struct bytes text;    /* a literal; the delimiter of a split */
    int32_t number;       /* length, position or count */
    uint32_t index_count; /* tokens of the subject */
    uint32_t *indexes;    /* owns */
};

struct subject_map {
    struct text source, destination;
    struct step *steps; /* owns */
    uint32_t step_count;
    uint32_t source_count; /* tokens of the source */
    bool is_identity;
};

/* What compiling needs to know of the source. */
struct wildcards {
    uint32_t count;
    uint32_t indexes[TOKENS_MAX]; /* of the n-th `*`, from 1 */
    bool is_none;                 /* the source is literal: there is nothing to point at */
};

static const char words_index[] = "wildcard index out of range";
static const char words_few[] = "not enough arguments passed to the function";
static const char words_many[] = "too many arguments passed to the function";
static const char words_argument[] = "function argument is invalid or in the wrong format";

/* ---- refusing ---- */

static bool refuse_subject(struct text *why)
{
    text_clear(why);
    text_append_literal(why, "invalid subject");
    return false;
}

static bool refuse(struct text *why, const char *words, struct bytes token)
{
    text_clear(why);
    text_append_format(why, "invalid mapping destination: %s", words);
    if (token.count > 0) {
        text_append_literal(why, " in ");
        text_append(why, token);
    }
    return false;
}

/* ---- reading a token ---- */

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\f' || byte == '\r';
}

static struct bytes skip_spaces(struct bytes text)
{
    while (text.count > 0 && is_space(text.data[0]))
        text = bytes_after(text, 1);
    return text;
}

static bool name_matches(struct bytes *text, const char *name)
{
    size_t count = strlen(name);
    if (text->count < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        char given = text->data[i];
        bool is_same = name[i] == given;
        bool is_lower = name[i] >= 'A' && name[i] <= 'Z' && given == name[i] - 'A' + 'a';
        if (!is_same && !is_lower)
            return false;
    }
    *text = bytes_after(*text, count);
    return true;
}

/* The arguments of `name(…)` in {{ }}, up to the last closing bracket; false: the token is no call of it. */
static bool call_of(struct bytes token, const char *name, struct bytes *arguments_out)
{
    for (size_t start = 0; start + 1 < token.count; start++) {
        if (token.data[start] != '{' || token.data[start + 1] != '{')
            continue;
        struct bytes rest = skip_spaces(bytes_after(token, start + 2));
        if (!name_matches(&rest, name))
            continue;
        rest = skip_spaces(rest);
        if (rest.count == 0 || rest.data[0] != '(')
            continue;
        rest = bytes_after(rest, 1);
        for (size_t end = rest.count; end-- > 0;) {
            struct bytes tail = skip_spaces(bytes_after(rest, end + 1));
            if (rest.data[end] == ')' && bytes_start_with(tail, BYTES_LITERAL("}}"))) {
                *arguments_out = bytes_of(rest.data, end);
                return true;
            }
        }
    }
    return false;
}

static bool token_is_call(struct bytes token)
{
    return token.count > 4 && token.data[0] == '{' && token.data[1] == '{'
           && token.data[token.count - 1] == '}' && token.data[token.count - 2] == '}';
}

/* Takes the argument up to a comma; what follows loses its leading blanks. False: that was the last. */
static bool take_argument(struct bytes *rest, struct bytes *argument_out)
{
    const char *comma = rest->count == 0 ? NULL : memchr(rest->data, ',', rest->count);
    if (comma == NULL) {
        *argument_out = *rest;
        return false;
    }
    *argument_out = bytes_of(rest->data, (size_t)(comma - rest->data));
    *rest = skip_spaces(bytes_after(*rest, argument_out->count + 1));
    return true;
}

static bool read_number(struct bytes text, int64_t *number_out)
{
    while (text.count > 0 && text.data[0] == ' ')
        text = bytes_after(text, 1);
    while (text.count > 0 && text.data[text.count - 1] == ' ')
        text.count--;
    bool is_negative = text.count > 0 && text.data[0] == '-';
    if (text.count > 0 && (text.data[0] == '-' || text.data[0] == '+'))
        text = bytes_after(text, 1);
    uint64_t number;
    if (text.count == 0 || !text_parse_u64(text, &number) || number > INT64_MAX)
        return false;
    *number_out = is_negative ? -(int64_t)number : (int64_t)number;
    return true;
}

/* ---- compiling ---- */

static void step_add_index(struct step *step, uint32_t index)
{
    step->indexes = realloc(step->indexes, (step->index_count + 1) * sizeof *step->indexes);
    ASSERT(step->indexes != NULL);
    step->indexes[step->index_count++] = index;
}

/* The wildcard with this number; 0 and below mean the first token, as nats-server has it. */
static bool step_take_wildcard(struct step *step, const struct wildcards *wildcards, int64_t number,
                               struct bytes token, struct text *why)
{
    if (wildcards->is_none)
        return true; /* whether the function may be there at all is seen later */
    if (number > (int64_t)wildcards->count) {
        (void)refuse(why, words_index, token);
        text_append_format(why, ": [%lld]", (long long)number);
        return false;
    }
    step_add_index(step, number < 1 ? 0 : wildcards->indexes[number]);
    return true;
}

static bool compile_partition(struct step *step, const struct wildcards *wildcards,
                              struct bytes token, struct bytes rest, struct text *why)
{
    struct bytes argument;
    int64_t number;
    bool has_more = take_argument(&rest, &argument);
    if (!read_number(argument, &number) || number > INT32_MAX)
        return refuse(why, words_argument, token);
    step->number = (int32_t)number;
    while (has_more) {
        has_more = take_argument(&rest, &argument);
        if (!read_number(argument, &number))
            return refuse(why, words_argument, token);
        if (step->index_count == INDEXES_MAX)
            return refuse(why, words_many, token);
        if (!step_take_wildcard(step, wildcards, number, token, why))
            return false;
    }
    return true;
}

static bool compile_random(struct step *step, struct bytes token, struct bytes rest,
                           struct text *why)
{
    struct bytes argument;
    int64_t number;
    if (take_argument(&rest, &argument))
        return refuse(why, words_few, token);
    if (!read_number(argument, &number) || number > INT32_MAX)
        return refuse(why, words_argument, token);
    step->number = (int32_t)number;
    return true;
}

static bool compile_wildcard(struct step *step, const struct wildcards *wildcards,
                             struct bytes token, struct bytes rest, struct text *why)
{
    struct bytes argument;
    int64_t number;
    if (take_argument(&rest, &argument))
        return refuse(why, words_many, token);
    if (argument.count == 0)
        return refuse(why, words_few, token);
    if (!read_number(argument, &number))
        return refuse(why, words_argument, token);
    return step_take_wildcard(step, wildcards, number, token, why);
}

/* A wildcard, and a number, or for split a text. */
static bool compile_pair(struct step *step, const struct wildcards *wildcards, struct bytes token,
                         struct bytes rest, struct text *why)
{
    struct bytes first, second;
    int64_t number = 0, index;
    if (!take_argument(&rest, &first))
        return refuse(why, words_few, token);
    if (take_argument(&rest, &second))
        return refuse(why, words_many, token);
    if (!read_number(first, &index))
        return refuse(why, words_argument, token);
    bool is_split = step->function == FUNCTION_SPLIT;
    if (is_split && second.count > 0 && memchr(second.data, ' ', second.count) != NULL)
        return refuse(why, words_argument, token);
    if (!is_split && (!read_number(second, &number) || number > INT32_MAX || number < INT32_MIN))
        return refuse(why, words_argument, token);
    step->number = (int32_t)number;
    step->text = second;
    return step_take_wildcard(step, wildcards, index, token, why);
}

/* $n is {{wildcard(n)}}; a `$` before anything else is plain text. */
static bool token_is_dollar(struct bytes token, int64_t *number_out)
{
    return token.count > 1 && token.data[0] == '$' && token.data[1] != ' '
           && token.data[token.count - 1] != ' ' && read_number(bytes_after(token, 1), number_out);
}

static bool compile_call(struct step *step, const struct wildcards *wildcards, struct bytes token,
                         struct text *why)
{
    for (size_t i = 0; i < sizeof function_names / sizeof function_names[0]; i++) {
        struct bytes arguments;
        if (!call_of(token, function_names[i].name, &arguments))
            continue;
        step->function = function_names[i].function;
        if (step->function == FUNCTION_WILDCARD)
            return compile_wildcard(step, wildcards, token, arguments, why);
        if (step->function == FUNCTION_PARTITION)
            return compile_partition(step, wildcards, token, arguments, why);
        if (step->function == FUNCTION_RANDOM)
            return compile_random(step, token, arguments, why);
        return compile_pair(step, wildcards, token, arguments, why);
    }
    return refuse(why, "unknown function", token);
}

static bool compile_token(struct step *step, const struct wildcards *wildcards, struct bytes token,
                          struct text *why)
{
    int64_t number;
    step->text = token;
    if (token.count == 1 && token.data[0] == '>') {
        step->function = FUNCTION_REST;
        return true;
    }
    if (token_is_dollar(token, &number)) {
        step->function = FUNCTION_WILDCARD;
        if (!step_take_wildcard(step, wildcards, number, token, why))
            return false;
    } else if (!token_is_call(token)) {
        return true;
    } else if (!compile_call(step, wildcards, token, why)) {
        return false;
    }
    bool needs_none = step->function == FUNCTION_PARTITION || step->function == FUNCTION_RANDOM;
    return needs_none || !wildcards->is_none || refuse(why, words_index, token);
}

/* Tokens not empty, `>` only last. */
static bool subject_is_shaped(struct bytes subject, bool *has_rest_out)
{
    struct bytes token;
    *has_rest_out = false;
    if (subject.count == 0 || subject_token_count(subject) > TOKENS_MAX)
        return false;
    for (unsigned i = 0; subject_token(subject, i, &token); i++) {
        if (token.count == 0 || *has_rest_out)
            return false;
        *has_rest_out = token.count == 1 && token.data[0] == '>';
    }
    return true;
}

static bool subject_has_star(struct bytes subject)
{
    struct bytes token;
    for (unsigned i = 0; subject_token(subject, i, &token); i++) {
        if (token.count == 1 && token.data[0] == '*')
            return true;
    }
    return false;
}

static bool map_compile(struct subject_map *map, struct text *why)
{
    struct bytes source = text_bytes(&map->source), destination = text_bytes(&map->destination);
    bool source_has_rest, destination_has_rest;
    if (!subject_is_shaped(source, &source_has_rest)
        || !subject_is_shaped(destination, &destination_has_rest) || subject_has_star(destination)
        || source_has_rest != destination_has_rest)
        return refuse_subject(why);
    struct wildcards *wildcards = calloc(1, sizeof *wildcards);
    ASSERT(wildcards != NULL);
    struct bytes token;
    for (unsigned i = 0; subject_token(source, i, &token); i++) {
        if (token.count == 1 && token.data[0] == '*' && wildcards->count + 1 < TOKENS_MAX)
            wildcards->indexes[++wildcards->count] = i;
    }
    wildcards->is_none = wildcards->count == 0 && !source_has_rest;
    map->source_count = subject_token_count(source);
    map->is_identity =
        bytes_equal(source, BYTES_LITERAL(">")) && bytes_equal(destination, BYTES_LITERAL(">"));
    map->steps = calloc(subject_token_count(destination), sizeof *map->steps);
    ASSERT(map->steps != NULL);
    bool is_fine = true;
    for (unsigned i = 0; is_fine && subject_token(destination, i, &token); i++)
        is_fine = compile_token(&map->steps[map->step_count++], wildcards, token, why);
    free(wildcards);
    return is_fine;
}

bool subject_map_create(struct subject_map **map_out, struct bytes source, struct bytes destination,
                        struct text *why)
{
    text_clear(why);
    *map_out = NULL;
    if (destination.count == 0)
        return true;
    struct subject_map *map = calloc(1, sizeof *map);
    ASSERT(map != NULL);
    text_append(&map->source, source.count == 0 ? BYTES_LITERAL(">") : source);
    text_append(&map->destination, destination);
    if (map_compile(map, why)) {
        *map_out = map;
        return true;
    }
    subject_map_free(map);
    return false;
}

void subject_map_free(struct subject_map *map)
{
    if (map == NULL)
        return;
    for (uint32_t i = 0; i < map->step_count; i++)
        free(map->steps[i].indexes);
    free(map->steps);
    text_free(&map->source);
    text_free(&map->destination);
    free(map);
}

static bool token_is_known_call(struct bytes token)
{
    struct bytes arguments;
    for (size_t i = 0; i < sizeof function_names / sizeof function_names[0]; i++) {
        if (call_of(token, function_names[i].name, &arguments))
            return true;
    }
    return false;
}

bool subject_map_check(struct bytes source, struct bytes destination, struct text *why)
{
    static const char words[] = "invalid transform";
    bool has_rest = false;
    struct bytes token;
    text_clear(why);
    for (unsigned i = 0; destination.count > 0 && subject_token(destination, i, &token); i++) {
        if (token.count == 0 || has_rest)
            return refuse(why, words, token);
        if (token_is_call(token)) {
            if (!token_is_known_call(token))
                return refuse(why, "unknown function", token);
            continue;
        }
        has_rest = token.count == 1 && token.data[0] == '>';
        for (size_t at = 0; at < token.count; at++) {
            if (is_space(token.data[at]))
                return refuse(why, words, (struct bytes){0});
        }
    }
    struct subject_map *map;
    bool is_fine = subject_map_create(&map, source, destination, why);
    subject_map_free(map);
    return is_fine;
}

/* ---- applying ---- */

static void append_dot(struct text *out)
{
    text_append_literal(out, ".");
}

static void append_split(struct text *out, struct bytes token, size_t at)
{
    text_append(out, bytes_of(token.data, at));
    append_dot(out);
    text_append(out, bytes_after(token, at));
}

static void append_slices(struct text *out, struct bytes token, size_t first, size_t length)
{
    if (first > 0) {
        text_append(out, bytes_of(token.data, first));
        append_dot(out);
    }
    for (size_t at = first; at < token.count; at += length) {
        size_t rest = token.count - at;
        if (at > first)
            append_dot(out);
        text_append(out, bytes_of(token.data + at, rest < length ? rest : length));
    }
}

/* A delimiter at an end, or twice in the middle, makes no empty token. An empty one cuts between all characters (UTF-8). */
static void append_split_text(struct text *out, struct bytes token, struct bytes delimiter)
{
    bool is_first_empty = false;
    for (uint32_t part = 0; token.count > 0; part++) {
        size_t count = 1, skip = 0;
        while (delimiter.count == 0 && count < token.count
               && ((unsigned char)token.data[count] & 0xc0u) == 0x80u)
            count++;
        if (delimiter.count > 0) {
            const char *at = memmem(token.data, token.count, delimiter.data, delimiter.count);
            count = at == NULL ? token.count : (size_t)(at - token.data);
            skip = at == NULL ? 0 : delimiter.count;
        }
        if (part == 0)
            is_first_empty = count == 0;
        else if (count > 0 && !(part == 1 && is_first_empty))
            append_dot(out);
        text_append(out, bytes_of(token.data, count));
        token = bytes_after(token, count + skip);
    }
}

static uint32_t fnv1a(uint32_t hash, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.count; i++)
        hash = (hash ^ (unsigned char)bytes.data[i]) * UINT32_C(16777619);
    return hash;
}

static void append_partition(struct text *out, const struct step *step, struct bytes subject)
{
    uint32_t hash = UINT32_C(2166136261), count = (uint32_t)step->number;
    struct bytes token;
    for (uint32_t i = 0; i < step->index_count; i++) {
        if (subject_token(subject, step->indexes[i], &token))
            hash = fnv1a(hash, token);
    }
    if (step->index_count == 0)
        hash = fnv1a(hash, subject);
    text_append_u64(out, count == 0 ? 0 : hash % count);
}

/* What needs one token of the subject, and a number that must lie inside it; else the token stays whole. */
static void append_cut(struct text *out, const struct step *step, struct bytes token)
{
    size_t number = step->number > 0 ? (size_t)step->number : 0;
    if (number == 0 || number >= token.count) {
        text_append(out, token);
        return;
    }
    switch (step->function) {
    case FUNCTION_SPLIT_FROM_LEFT:
        append_split(out, token, number);
        return;
    case FUNCTION_SPLIT_FROM_RIGHT:
        append_split(out, token, token.count - number);
        return;
    case FUNCTION_SLICE_FROM_LEFT:
        append_slices(out, token, 0, number);
        return;
    case FUNCTION_SLICE_FROM_RIGHT:
        append_slices(out, token, token.count % number, number);
        return;
    case FUNCTION_LEFT:
        text_append(out, bytes_of(token.data, number));
        return;
    case FUNCTION_RIGHT:
        text_append(out, bytes_after(token, token.count - number));
        return;
    default:
        ASSERT(false);
    }
}

static void append_step(struct text *out, const struct subject_map *map, const struct step *step,
                        struct bytes subject, uint64_t random)
{
    struct bytes token = {0};
    switch (step->function) {
    case FUNCTION_LITERAL:
        text_append(out, step->text);
        return;
    case FUNCTION_REST: {
        struct bytes last;
        if (subject_token(subject, map->source_count - 1, &last))
            text_append(out,
                        bytes_of(last.data, (size_t)(subject.data + subject.count - last.data)));
        return;
    }
    case FUNCTION_PARTITION:
        append_partition(out, step, subject);
        return;
    case FUNCTION_RANDOM: {
        int64_t number = (int64_t)(random & INT32_MAX);
        text_append_i64(out, step->number == 0 ? 0 : number % step->number);
        return;
    }
    default:
        break;
    }
    ASSERT(step->index_count == 1);
    (void)subject_token(subject, step->indexes[0], &token);
    if (step->function == FUNCTION_WILDCARD)
        text_append(out, token);
    else if (step->function == FUNCTION_SPLIT)
        append_split_text(out, token, step->text);
    else
        append_cut(out, step, token);
}

bool subject_map_apply(const struct subject_map *map, struct bytes subject, uint64_t random,
                       struct text *out)
{
    if (map->is_identity) {
        text_append(out, subject);
        return true;
    }
    if (!subject_is_publishable(subject) || !subject_is_literal(subject)
        || !subject_matches(text_bytes(&map->source), subject))
        return false;
    for (uint32_t i = 0; i < map->step_count; i++) {
        if (i > 0)
            append_dot(out);
        append_step(out, map, &map->steps[i], subject, random);
    }
    return true;
}
