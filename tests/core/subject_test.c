/*
 * tests/core/subject_test.c: validity and matching, by tables and against every subject of a small alphabet.
 */
#include "core/subject.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

/* All subjects of up to three tokens out of these. */
static const char *const tokens[] = {"a", "b", "*", ">", "a*"};
enum { TOKENS = 5, SUBJECTS = TOKENS + TOKENS * TOKENS + TOKENS * TOKENS * TOKENS };

static void subject_at(unsigned index, char *out);
static bool matches_slowly(const char *pattern, const char *subject);

Test(subject, judges_validity_and_publishability)
{
    static const struct {
        const char *subject;
        bool is_valid, is_publishable, is_literal;
    } rows[] = {
        {"", false, false, true},     {"a", true, true, true},         {"a.b", true, true, true},
        {".", false, false, true},    {".a", false, false, true},      {"a.", false, false, true},
        {"a..b", false, false, true}, {"*", true, true, false},        {">", true, true, false},
        {"a.*.b", true, true, false}, {"a.>", true, true, false},      {">.a", false, true, true},
        {"a.>.b", false, true, true}, {"foo.*bar", true, true, true},  {"foo.>x", true, true, true},
        {"foo.x>", true, true, true}, {"a b", false, true, true},      {"a\tb", false, true, true},
        {"a\rb", false, true, true},  {"a\nb", false, true, true},     {"a\fb", false, true, true},
        {"a\vb", true, true, true},   {"a\x80\xff", true, true, true}, {"**", true, true, true},
        {">>", true, true, true},     {"a.*", true, true, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct bytes subject = bytes_of_text(rows[i].subject);
        cr_expect(eq(int, subject_is_valid(subject), rows[i].is_valid), "valid %s",
                  rows[i].subject);
        cr_expect(eq(int, subject_is_publishable(subject), rows[i].is_publishable),
                  "publishable %s", rows[i].subject);
        cr_expect(eq(int, subject_is_literal(subject), rows[i].is_literal), "literal %s",
                  rows[i].subject);
    }
}

Test(subject, takes_a_nul_byte_as_a_letter)
{
    cr_expect(subject_is_valid(bytes_of("a\0b", 3)));
    cr_expect(not(subject_matches(bytes_of("a\0b", 3), bytes_of("a\0c", 3))));
}

Test(subject, matches_by_token)
{
    static const struct {
        const char *pattern, *subject;
        bool matches;
    } rows[] = {
        {"orders.*", "orders.eu", true},
        {"orders.>", "orders", false},
        {"orders.>", "orders.eu.x", true},
        {">", "a", true},
        {"*", "a", true},
        {"*", "a.b", false},
        {"a.*.c", "a.b.c", true},
        {"a.*.c", "a.b.d", false},
        {"a.*", "a", false},
        {"a", "a.b", false},
        {"foo.*bar", "foo.*bar", true},
        {"foo.*bar", "foo.xbar", false},
        {"foo.*", "foo.*", true},
        {"foo.x", "foo.*", false},
        {"a.>", "a.>", true},
        {"ab", "a", false},
        {"", "", true},
        {">", "", false},
        {"*", "", false},
        {"a.*", "a.", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        cr_expect(
            eq(int, subject_matches(bytes_of_text(rows[i].pattern), bytes_of_text(rows[i].subject)),
               rows[i].matches),
            "%s against %s", rows[i].pattern, rows[i].subject);
}

/* Every pair: matching as a plain recursion tells it. */
Test(subject, matches_as_the_definition_says)
{
    for (unsigned i = 0; i < SUBJECTS; i++)
        for (unsigned j = 0; j < SUBJECTS; j++) {
            char pattern[16], subject[16];
            subject_at(i, pattern);
            subject_at(j, subject);
            if (!subject_is_valid(bytes_of_text(pattern)))
                continue;
            cr_assert(eq(int, subject_matches(bytes_of_text(pattern), bytes_of_text(subject)),
                         matches_slowly(pattern, subject)),
                      "%s against %s", pattern, subject);
        }
}

/*
 * Collision and subset against their definitions over all literal subjects of up to four tokens; "c" stands for every
 * letter that no pattern names.
 */
Test(subject, collides_and_contains_as_the_definition_says)
{
    static const char *const letters[] = {"a", "b", "a*", "c"};
    static char literals[340][16];
    unsigned count = 0;
    for (unsigned length = 1, combinations = 4; length <= 4; length++, combinations *= 4)
        for (unsigned n = 0; n < combinations; n++) {
            unsigned rest = n;
            for (unsigned i = 0; i < length; i++, rest /= 4) {
                if (i > 0)
                    strcat(literals[count], ".");
                strcat(literals[count], letters[rest % 4]);
            }
            count++;
        }
    cr_assert(eq(uint, count, COUNT_OF(literals)));

    for (unsigned i = 0; i < SUBJECTS; i++)
        for (unsigned j = 0; j < SUBJECTS; j++) {
            char left[16], right[16];
            bool collide = false, contains = true;
            subject_at(i, left);
            subject_at(j, right);
            struct bytes a = bytes_of_text(left), b = bytes_of_text(right);
            if (!subject_is_valid(a) || !subject_is_valid(b))
                continue;
            for (unsigned k = 0; k < count; k++) {
                bool in_a = subject_matches(a, bytes_of_text(literals[k]));
                bool in_b = subject_matches(b, bytes_of_text(literals[k]));
                collide |= in_a && in_b;
                contains &= in_a || !in_b;
            }
            cr_assert(eq(int, subjects_collide(a, b), collide), "%s and %s", left, right);
            cr_assert(eq(int, subject_is_subset(a, b), contains), "%s contains %s", left, right);
        }
}

Test(subject, gives_tokens_by_index)
{
    struct bytes subject = BYTES_LITERAL("$KV.bucket.key"), token;
    cr_assert(subject_token(subject, 0, &token) && bytes_equal(token, BYTES_LITERAL("$KV")));
    cr_assert(subject_token(subject, 2, &token) && bytes_equal(token, BYTES_LITERAL("key")));
    cr_expect(not(subject_token(subject, 3, &token)));
    cr_expect(not(subject_token(bytes_of(NULL, 0), 0, &token)));
    cr_expect(eq(uint, subject_token_count(subject), 3u));
    cr_expect(eq(uint, subject_token_count(BYTES_LITERAL("a")), 1u));
    cr_expect(eq(uint, subject_token_count(BYTES_LITERAL("a.")), 2u));
    cr_expect(eq(uint, subject_token_count(bytes_of(NULL, 0)), 0u));
}

Test(subject, survives_nothing_at_all)
{
    struct bytes nothing = bytes_of(NULL, 0);
    cr_expect(not(subject_is_valid(nothing)));
    cr_expect(not(subject_is_publishable(nothing)));
    cr_expect(subject_is_literal(nothing));
    cr_expect(not(subject_matches(BYTES_LITERAL(">"), nothing)));
}

static void subject_at(unsigned index, char *out)
{
    unsigned length = 1, combinations = TOKENS;
    for (; index >= combinations; length++, combinations *= TOKENS)
        index -= combinations;
    out[0] = '\0';
    for (unsigned i = 0; i < length; i++, index /= TOKENS) {
        if (i > 0)
            strcat(out, ".");
        strcat(out, tokens[index % TOKENS]);
    }
}

static bool matches_slowly(const char *pattern, const char *subject)
{
    size_t want = strcspn(pattern, "."), have = strcspn(subject, ".");
    if (strcmp(pattern, ">") == 0)
        return true;
    bool is_star = want == 1 && pattern[0] == '*';
    if (!is_star && (want != have || strncmp(pattern, subject, want) != 0))
        return false;
    if (pattern[want] == '\0' || subject[have] == '\0')
        return pattern[want] == subject[have];
    return matches_slowly(pattern + want + 1, subject + have + 1);
}
