/*
 * core/subject.c: validity and matching of subjects, token by token.
 *
 * Keeps:   nothing is allocated and no token is copied; memchr() finds the dots. Matching expects what the validity
 *          checks let through: a publishable subject, a valid pattern. Anything else gives an answer, never harm.
 * Runs on: any thread.
 */
#include "core/subject.h"

/* Walks the tokens of a subject: `token` is the current one. */
struct walk {
    struct bytes token;
    const char *next; /* after the dot; NULL when token is the last */
    const char *end;
};

static struct walk walk_start(struct bytes subject);
static void walk_step(struct walk *walk);
static bool walk_is_star(const struct walk *walk);
static bool walk_is_rest(const struct walk *walk);
static bool is_blank(char byte);

bool subject_is_valid(struct bytes subject)
{
    if (subject.count == 0)
        return false;

    size_t token_start = 0;
    for (size_t i = 0; i < subject.count; i++) {
        char byte = subject.data[i];
        if (is_blank(byte))
            return false;
        if (byte != '.')
            continue;
        size_t token_bytes = i - token_start;
        if (token_bytes == 0 || (token_bytes == 1 && subject.data[token_start] == '>'))
            return false; /* an empty token, or `>` with something after it */
        token_start = i + 1;
    }
    return token_start < subject.count;
}

bool subject_is_publishable(struct bytes subject)
{
    if (subject.count == 0 || subject.data[0] == '.' || subject.data[subject.count - 1] == '.')
        return false;

    const char *end = subject.data + subject.count;
    const char *dot = subject.data;
    while ((dot = memchr(dot, '.', (size_t)(end - dot))) != NULL) {
        dot++;
        if (*dot == '.') /* there is a byte: the last one is no dot */
            return false;
    }
    return true;
}

bool subject_is_literal(struct bytes subject)
{
    /* Nearly every subject has neither byte at all, and is decided by two memchr. */
    bool has_star = subject.count > 0 && memchr(subject.data, '*', subject.count) != NULL;
    bool has_rest = subject.count > 0 && subject.data[subject.count - 1] == '>';
    if (!has_star && !has_rest)
        return true;

    for (struct walk walk = walk_start(subject);; walk_step(&walk)) {
        if (walk_is_star(&walk) || walk_is_rest(&walk))
            return false;
        if (walk.next == NULL)
            return true;
    }
}

bool subject_matches(struct bytes pattern, struct bytes subject)
{
    struct walk want = walk_start(pattern);
    struct walk have = walk_start(subject);
    for (;;) {
        if (walk_is_rest(&want))
            return have.token.count > 0 || have.next != NULL;
        if (walk_is_star(&want) ? have.token.count == 0 : !bytes_equal(want.token, have.token))
            return false;
        if (want.next == NULL || have.next == NULL)
            return want.next == have.next;
        walk_step(&want);
        walk_step(&have);
    }
}

bool subjects_collide(struct bytes a, struct bytes b)
{
    struct walk left = walk_start(a);
    struct walk right = walk_start(b);
    for (;;) {
        if (walk_is_rest(&left) || walk_is_rest(&right))
            return true;
        if (!walk_is_star(&left) && !walk_is_star(&right) && !bytes_equal(left.token, right.token))
            return false;
        if (left.next == NULL || right.next == NULL)
            return left.next == right.next;
        walk_step(&left);
        walk_step(&right);
    }
}

bool subject_is_subset(struct bytes pattern, struct bytes subset)
{
    struct walk outer = walk_start(pattern);
    struct walk inner = walk_start(subset);
    for (;;) {
        if (walk_is_rest(&outer))
            return true;
        if (walk_is_rest(&inner)) /* it has subjects of any length; from here on, outer has one */
            return false;
        if (!walk_is_star(&outer) && !bytes_equal(outer.token, inner.token))
            return false;
        if (outer.next == NULL || inner.next == NULL)
            return outer.next == inner.next;
        walk_step(&outer);
        walk_step(&inner);
    }
}

bool subject_token(struct bytes subject, unsigned index, struct bytes *token_out)
{
    if (subject.count == 0)
        return false;

    struct walk walk = walk_start(subject);
    for (unsigned i = 0; i < index; i++) {
        if (walk.next == NULL)
            return false;
        walk_step(&walk);
    }
    *token_out = walk.token;
    return true;
}

unsigned subject_token_count(struct bytes subject)
{
    if (subject.count == 0)
        return 0;

    unsigned count = 1;
    for (struct walk walk = walk_start(subject); walk.next != NULL; walk_step(&walk))
        count++;
    return count;
}

static struct walk walk_start(struct bytes subject)
{
    if (subject.count == 0)
        return (struct walk){.token = {"", 0}};
    struct walk walk = {.next = subject.data, .end = subject.data + subject.count};
    walk_step(&walk);
    return walk;
}

static void walk_step(struct walk *walk)
{
    const char *start = walk->next;
    size_t rest = (size_t)(walk->end - start);
    const char *dot = rest == 0 ? NULL : memchr(start, '.', rest);
    walk->token = bytes_of(start, dot != NULL ? (size_t)(dot - start) : rest);
    walk->next = dot != NULL ? dot + 1 : NULL;
}

static bool walk_is_star(const struct walk *walk)
{
    return walk->token.count == 1 && walk->token.data[0] == '*';
}

/* A `>` that is not the last token is literal text. */
static bool walk_is_rest(const struct walk *walk)
{
    return walk->token.count == 1 && walk->token.data[0] == '>' && walk->next == NULL;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n' || byte == '\f';
}
