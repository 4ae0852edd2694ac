/*
 * tests/core/text_test.c: the small formats, against what Go 1.26 prints and reads.
 */
#include "core/text.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

static void expect_text(struct text *text, const char *want);

Test(text, grows_and_keeps_what_it_has)
{
    struct text text = {0};
    for (unsigned i = 0; i < 10000; i++)
        text_append_u64(&text, i % 10);
    cr_assert(eq(sz, text.count, 10000));
    for (unsigned i = 0; i < 10000; i++)
        cr_assert(eq(chr, text.data[i], (char)('0' + i % 10)));
    text_clear(&text);
    cr_expect(eq(sz, text.count, 0));
    text_append(&text, bytes_of(NULL, 0));
    text_append_literal(&text, "ab");
    text_append_format(&text, "%0300d|", 7);
    cr_expect(eq(sz, text.count, 303));
    cr_expect(eq(chr, text.data[302], '|'));
    text_free(&text);
    cr_expect(eq(ptr, text.data, NULL));
    cr_expect(ne(ptr, text_reserve(&text, 0), NULL));
    text_free(&text);
}

Test(text, writes_numbers)
{
    struct text text = {0};
    text_append_u64(&text, 0);
    text_append_literal(&text, " ");
    text_append_u64(&text, UINT64_MAX);
    text_append_literal(&text, " ");
    text_append_i64(&text, INT64_MIN);
    text_append_literal(&text, " ");
    text_append_i64(&text, -1);
    text_append_literal(&text, " ");
    text_append_i64(&text, INT64_MAX);
    expect_text(&text, "0 18446744073709551615 -9223372036854775808 -1 9223372036854775807");
}

Test(text, reads_numbers)
{
    static const struct {
        const char *digits;
        bool is_good;
        uint64_t number;
    } rows[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"9999999999999999999", true, 9999999999999999999u},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {"1 ", false, 0},
        {" 1", false, 0},
        {"1a", false, 0},
        {"10000000000000000000", false, 0},
        {"00000000000000000001", false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t number = 0;
        bool is_good = text_parse_u64(bytes_of_text(rows[i].digits), &number);
        cr_expect(eq(int, is_good, rows[i].is_good), "%s", rows[i].digits);
        cr_expect(eq(u64, number, rows[i].number), "%s", rows[i].digits);
    }
}

Test(text, escapes_json_strings_as_go_does)
{
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"", "\"\""},
        {"abc", "\"abc\""},
        {"a\"b\\c/", "\"a\\\"b\\\\c/\""},
        {"<&>", "\"\\u003c\\u0026\\u003e\""},
        {"\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\""},
        {"\xc3\xa9", "\"\xc3\xa9\""},
        {"\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", "\"\\u2028\\u2029\xe2\x80\xaa\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
        {"\xff", "\"\\ufffd\""},
        {"a\x80z", "\"a\\ufffdz\""},
        {"\xc0\xaf", "\"\\ufffd\\ufffd\""},
        {"\xc3", "\"\\ufffd\""},
        {"\xe2\x80", "\"\\ufffd\\ufffd\""},
        {"\xe0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xf0\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
        {"\xe2\x80\xc3\xa9", "\"\\ufffd\\ufffd\xc3\xa9\""},
        {"\xed\x9f\xbf\xee\x80\x80", "\"\xed\x9f\xbf\xee\x80\x80\""},
        {"\xef\xbf\xbd", "\"\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text text = {0};
        text_append_json_string(&text, bytes_of_text(rows[i].from));
        expect_text(&text, rows[i].to);
    }
    struct text text = {0};
    text_append_json_string(&text, bytes_of("a\0b", 3));
    expect_text(&text, "\"a\\u0000b\"");
}

Test(text, writes_base64)
{
    static const struct {
        const char *from, *to;
    } rows[] = {{"", ""},
                {"f", "Zg=="},
                {"fo", "Zm8="},
                {"foo", "Zm9v"},
                {"foob", "Zm9vYg=="},
                {"fooba", "Zm9vYmE="},
                {"foobar", "Zm9vYmFy"},
                {"\xff\xfe\xfb", "//77"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text text = {0};
        text_append_base64(&text, bytes_of_text(rows[i].from));
        expect_text(&text, rows[i].to);
    }
}

Test(text, writes_times_as_rfc3339_nano)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } rows[] = {
        {0, "0001-01-01T00:00:00Z"},
        {1, "1970-01-01T00:00:00.000000001Z"},
        {1000000000, "1970-01-01T00:00:01Z"},
        {951782400000000000, "2000-02-29T00:00:00Z"},
        {951868799123000000, "2000-02-29T23:59:59.123Z"},
        {1709164800100000000, "2024-02-29T00:00:00.1Z"},
        {1735689599999999999, "2024-12-31T23:59:59.999999999Z"},
        {4107542400000000000, "2100-03-01T00:00:00Z"},
        {UINT64_MAX, "2554-07-21T23:34:33.709551615Z"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text text = {0};
        uint64_t ns = 1;
        text_append_time(&text, rows[i].ns);
        cr_expect(text_parse_time(text_bytes(&text), &ns) && ns == rows[i].ns, "%s", rows[i].text);
        expect_text(&text, rows[i].text);
    }
}

Test(text, reads_times)
{
    static const struct {
        const char *text;
        bool is_good;
        uint64_t ns;
    } rows[] = {
        {"1970-01-01T00:00:00Z", true, 0},
        {"1969-12-31T23:59:59Z", true, 0},
        {"0001-01-01T00:00:00Z", true, 0},
        {"0000-01-01T00:00:00Z", true, 0},
        {"9999-12-31T23:59:59Z", true, UINT64_MAX},
        {"1970-01-01T01:00:00+01:00", true, 0},
        {"1969-12-31T23:30:00-00:45", true, 900000000000},
        {"1970-01-01T00:00:01.5+00:00", true, 1500000000},
        {"1970-01-01T00:00:00.1234567891234Z", true, 123456789},
        {"1970-01-01T00:00:60Z", false, 0},
        {"1970-01-01T24:00:00Z", false, 0},
        {"1970-13-01T00:00:00Z", false, 0},
        {"1970-00-01T00:00:00Z", false, 0},
        {"1970-02-29T00:00:00Z", false, 0},
        {"1972-02-29T00:00:00Z", true, 68169600000000000},
        {"1900-02-29T00:00:00Z", false, 0},
        {"1970-01-00T00:00:00Z", false, 0},
        {"1970-01-01T00:00:00", false, 0},
        {"1970-01-01T00:00:00.Z", false, 0},
        {"1970-01-01T00:00:00,5Z", true, 500000000},
        {"1970-01-01t00:00:00Z", false, 0},
        {"1970-01-01T00:00:00z", false, 0},
        {"1970-01-01 00:00:00Z", false, 0},
        {"1970-1-1T00:00:00Z", false, 0},
        {"1970-01-01T00:00:00+0100", false, 0},
        {"1970-01-01T00:00:00+24:00", true, 0},
        {"1970-01-01T00:00:00+25:00", false, 0},
        {"1970-01-01T00:00:00-00:61", false, 0},
        {"1970-01-01T00:00:00Zx", false, 0},
        {"+970-01-01T00:00:00Z", false, 0},
        {"", false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t ns = 0;
        bool is_good = text_parse_time(bytes_of_text(rows[i].text), &ns);
        cr_expect(eq(int, is_good, rows[i].is_good), "%s", rows[i].text);
        cr_expect(eq(u64, ns, rows[i].ns), "%s", rows[i].text);
    }
}

/* Every day from 1970 to 2553 goes there and back. */
Test(text, keeps_every_day)
{
    struct text text = {0};
    for (uint64_t day = 1; day < 213000; day++) {
        uint64_t ns = day * 86400000000000u, back = 0;
        text_clear(&text);
        text_append_time(&text, ns);
        cr_assert(text_parse_time(text_bytes(&text), &back) && back == ns, "day %llu",
                  (unsigned long long)day);
    }
    text_free(&text);
}

Test(text, writes_durations_as_go_does)
{
    static const struct {
        int64_t ns;
        const char *text;
    } rows[] = {
        {0, "0s"},
        {1, "1ns"},
        {-999, "-999ns"},
        {1100, "1.1\xc2\xb5s"},
        {2200000, "2.2ms"},
        {250000000, "250ms"},
        {3300000000, "3.3s"},
        {60000000000, "1m0s"},
        {90000000000, "1m30s"},
        {3600000000000, "1h0m0s"},
        {245000000000, "4m5s"},
        {245001000000, "4m5.001s"},
        {18367001000000, "5h6m7.001s"},
        {480000000001, "8m0.000000001s"},
        {INT64_MAX, "2562047h47m16.854775807s"},
        {INT64_MIN, "-2562047h47m16.854775808s"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text text = {0};
        int64_t ns = 1;
        text_append_duration(&text, rows[i].ns);
        cr_expect(text_parse_duration(text_bytes(&text), &ns) && ns == rows[i].ns, "%s",
                  rows[i].text);
        expect_text(&text, rows[i].text);
    }
}

Test(text, reads_durations)
{
    static const struct {
        const char *text;
        bool is_good;
        int64_t ns;
    } rows[] = {
        {"0", true, 0},
        {"+5s", true, 5000000000},
        {"-0", true, 0},
        {"1h30m", true, 5400000000000},
        {"1.5s", true, 1500000000},
        {".5s", true, 500000000},
        {"1.s", true, 1000000000},
        {"1us", true, 1000},
        {"1\xc2\xb5s", true, 1000},
        {"1\xce\xbcs", true, 1000},
        {"-1.5h", true, -5400000000000},
        {"3h3m3s1ms1us1ns", true, 10983001001001},
        {"1s1s", true, 2000000000},
        {"0.3333333333333333333h", true, 1200000000000},
        {"9223372036854775807ns", true, INT64_MAX},
        {"-9223372036854775808ns", true, INT64_MIN},
        {"9223372036854775808ns", false, 0},
        {"9223372036854.775807s", false, 0},
        {"2562048h", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+", false, 0},
        {"5", false, 0},
        {"1d", false, 0},
        {"1S", false, 0},
        {"s", false, 0},
        {".s", false, 0},
        {".", false, 0},
        {"1..5s", false, 0},
        {"1 s", false, 0},
        {" 1s", false, 0},
        {"1s ", false, 0},
        {"--1s", false, 0},
        {"1s-1s", false, 0},
        {"99999999999999999999s", false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t ns = 0;
        bool is_good = text_parse_duration(bytes_of_text(rows[i].text), &ns);
        cr_expect(eq(int, is_good, rows[i].is_good), "%s", rows[i].text);
        cr_expect(eq(i64, ns, rows[i].ns), "%s", rows[i].text);
    }
}

/* Frees the text. */
static void expect_text(struct text *text, const char *want)
{
    cr_expect(bytes_equal(text_bytes(text), bytes_of_text(want)), "got %.*s, want %s",
              (int)text->count, text->data == NULL ? "" : text->data, want);
    text_free(text);
}
