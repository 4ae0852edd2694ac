/*
 * tests/core/json_test.c: what is JSON and what is not, numbers at their limits, and mutated texts.
 */
#include "core/json.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

static struct json *parse(const char *text);

Test(json, reads_a_document)
{
    struct json *json =
        parse(" {\"name\":\"a\\u00e9\\n\",\"n\":-12,\"list\":[1,null,true,{}],\"o\":{}} ");
    cr_assert(ne(ptr, json, NULL));
    cr_assert(eq(int, json_type(json), JSON_OBJECT));
    cr_expect(bytes_equal(json_string(json_member(json, "name")), BYTES_LITERAL("a\xc3\xa9\n")));
    int64_t number = 0;
    cr_expect(json_i64(json_member(json, "n"), &number) && number == -12);
    static const enum json_type types[] = {JSON_NUMBER, JSON_NULL, JSON_BOOL, JSON_OBJECT};
    size_t count = 0;
    for (const struct json *at = json_first(json_member(json, "list")); at; at = json_next(at))
        cr_assert(eq(int, json_type(at), types[count++]));
    cr_expect(eq(sz, count, COUNT_OF(types)));
    cr_expect(eq(ptr, (void *)json_first(json_member(json, "o")), NULL));
    cr_expect(bytes_equal(json_name(json_first(json)), BYTES_LITERAL("name")));
    json_free(json);
    json_free(NULL);
}

Test(json, finds_members_in_any_case_and_takes_the_last)
{
    struct json *json = parse("{\"Name\":1,\"NAME\":2,\"other\":3}");
    int64_t number = 0;
    cr_expect(json_i64(json_member(json, "name"), &number) && number == 2);
    cr_expect(eq(ptr, (void *)json_member(json, "nam"), NULL));
    cr_expect(eq(ptr, (void *)json_member(json_first(json), "name"), NULL));
    json_free(json);
}

Test(json, tells_what_follows_the_value)
{
    struct bytes rest;
    const char *why;
    struct json *json = json_parse(BYTES_LITERAL("{} \n x"), &rest, &why);
    cr_expect(ne(ptr, json, NULL));
    cr_expect(bytes_equal(rest, BYTES_LITERAL("x")));
    json_free(json);
    json = json_parse(BYTES_LITERAL("\t7\r\n"), &rest, &why);
    cr_expect(ne(ptr, json, NULL));
    cr_expect(eq(sz, rest.count, 0));
    json_free(json);
}

Test(json, refuses_what_is_no_json)
{
    static const char cut[] = "unexpected end of JSON input";
    static const char wrong[] = "invalid character in JSON text";
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", cut},
        {"  ", cut},
        {"{", cut},
        {"[1,", cut},
        {"\"abc", cut},
        {"{\"a\":\"b", cut},
        {"\"\\", cut},
        {"{\"a\"", cut},
        {"}", wrong},
        {"]", wrong},
        {",", wrong},
        {":", wrong},
        {"nul", wrong},
        {"True", wrong},
        {"01", wrong},
        {"-", wrong},
        {"1.", wrong},
        {".5", wrong},
        {"+1", wrong},
        {"1e", wrong},
        {"-01", wrong},
        {"1e+", wrong},
        {"{a:1}", wrong},
        {"{\"a\" 1}", wrong},
        {"[1,]", wrong},
        {"[1 2]", wrong},
        {"{\"a\":1,}", wrong},
        {"{,}", wrong},
        {"[}", wrong},
        {"\"a\nb\"", wrong},
        {"\"\\q\"", wrong},
        {"\"\\u12\"", wrong},
        {"\"\\u0000\"", wrong},
        {"\"\\ud800\"", wrong},
        {"[\x01]", wrong},
        {"\xef\xbb\xbf{}", wrong},
        {"'a'", wrong},
        {"{\"a\":1 /* */}", wrong},
        {"NaN", wrong},
        {"0x10", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct bytes rest;
        const char *why = NULL;
        struct json *json = json_parse(bytes_of_text(rows[i].text), &rest, &why);
        cr_expect(eq(int, json == NULL, rows[i].why != NULL), "%s", rows[i].text);
        if (rows[i].why != NULL && why != NULL)
            cr_expect(eq(str, (char *)why, (char *)rows[i].why), "%s", rows[i].text);
        json_free(json);
    }
}

Test(json, bounds_the_nesting)
{
    enum { DEEP = 100000 };
    char *text = malloc(2 * DEEP);
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    struct bytes rest;
    const char *why;
    cr_expect(eq(ptr, json_parse(bytes_of(text, 2 * DEEP), &rest, &why), NULL));
    struct json *json = json_parse(bytes_of(text + DEEP - 900, 1800), &rest, &why);
    cr_expect(ne(ptr, json, NULL));
    json_free(json);
    free(text);
}

Test(json, takes_whole_numbers_in_range)
{
    static const struct {
        const char *text;
        bool is_i64, is_u64;
        int64_t i64;
        uint64_t u64;
    } rows[] = {
        {"0", true, true, 0, 0},
        {"-0", true, true, 0, 0},
        {"-1", true, false, -1, 0},
        {"79200000000000", true, true, 79200000000000, 79200000000000u},
        {"9007199254740993", true, true, 9007199254740992, 9007199254740992u},
        {"9223372036854775807", true, true, INT64_MAX, (uint64_t)1 << 63},
        {"-9223372036854775808", true, false, INT64_MIN, 0},
        {"9223372036854777856", false, true, 0, 9223372036854777856u},
        {"18446744073709551615", false, true, 0, UINT64_MAX},
        {"18446744073709555712", false, false, 0, 0},
        {"-9223372036854777856", false, false, 0, 0},
        {"1.5", false, false, 0, 0},
        {"-0.5", false, false, 0, 0},
        {"1e400", false, false, 0, 0},
        {"5e9", true, true, 5000000000, 5000000000u},
        {"5.0", true, true, 5, 5},
        {"\"5\"", false, false, 0, 0},
        {"null", false, false, 0, 0},
        {"true", false, false, 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct json *json = parse(rows[i].text);
        int64_t i64 = 0;
        uint64_t u64 = 0;
        cr_assert(ne(ptr, json, NULL), "%s", rows[i].text);
        cr_expect(eq(int, json_i64(json, &i64), rows[i].is_i64), "%s", rows[i].text);
        cr_expect(eq(int, json_u64(json, &u64), rows[i].is_u64), "%s", rows[i].text);
        if (rows[i].is_i64)
            cr_expect(eq(i64, i64, rows[i].i64), "%s", rows[i].text);
        if (rows[i].is_u64)
            cr_expect(eq(u64, u64, rows[i].u64), "%s", rows[i].text);
        json_free(json);
    }
}

/* Cut at every byte, and with every byte replaced: no crash, and what is cut is never taken. */
Test(json, survives_cut_and_mutated_texts)
{
    static const char text[] = "{\"a\":[1,-2.5e3,\"x\\\"\\u00e9\"],\"b\":{\"c\":null,\"d\":true}}";
    static const char bytes[] = "\"\\{}[]:,0-.eutn \n\x01\xff";
    struct bytes rest;
    const char *why;
    for (size_t count = 0; count < sizeof(text) - 1; count++) {
        char *copy = malloc(count + 1); /* exact, so that reading on is seen */
        memcpy(copy, text, count);
        cr_assert(eq(ptr, json_parse(bytes_of(copy, count), &rest, &why), NULL));
        free(copy);
        for (size_t i = 0; i < sizeof(bytes); i++) {
            copy = malloc(sizeof(text) - 1);
            memcpy(copy, text, sizeof(text) - 1);
            copy[count] = bytes[i];
            json_free(json_parse(bytes_of(copy, sizeof(text) - 1), &rest, &why));
            free(copy);
        }
    }
}

Test(json, has_words_for_its_types)
{
    cr_expect(eq(str, (char *)json_type_words(JSON_STRING), "string"));
    cr_expect(eq(str, (char *)json_type_words(JSON_OBJECT), "object"));
}

static struct json *parse(const char *text)
{
    struct bytes rest;
    const char *why;
    return json_parse(bytes_of_text(text), &rest, &why);
}
