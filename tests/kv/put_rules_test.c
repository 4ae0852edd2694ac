/*
 * tests/kv/put_rules_test.c: what headers ask of a put, by tables.
 *
 * Source: jetstream-streams.md sections 7.3 to 7.5.
 */
#include "kv/put_rules.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

enum { NONE = 0, BOTH = PUT_EXPECTS_KEY | PUT_EXPECTS_LAST };

static struct stream_config config_of_bucket(void)
{
    struct stream_config config = {.allow_rollup = true};
    text_append_literal(&config.name, "KV_b");
    return config;
}

/* The lines of a header block, without its first and its last. */
static bool read_lines(struct put_rules *rules, const struct stream_config *config,
                       const char *lines, const char *payload, struct api_failure *failure)
{
    struct text block = {0};
    if (lines[0] != '\0')
        text_append_format(&block, "NATS/1.0\r\n%s\r\n", lines);
    struct msg msg = {.headers = text_bytes(&block), .payload = bytes_of_text(payload)};
    bool is_fine = put_rules_read(rules, config, &msg, failure);
    text_free(&block);
    return is_fine;
}

#define KEY "Nats-Expected-Last-Subject-Sequence"
#define LAST "Nats-Expected-Last-Sequence"

Test(put_rules, reads_what_is_asked_for)
{
    static const struct {
        const char *lines, *payload;
        uint32_t flags;
        uint64_t expected;
    } rows[] = {
        {"", "v", NONE, 0},
        {"A: b\r\n", "v", NONE, 0},
        {KEY ": 7\r\n", "v", PUT_EXPECTS_KEY, 7},
        {KEY ":7\r\n", "v", PUT_EXPECTS_KEY, 7},
        {KEY ":    7\r\n", "v", PUT_EXPECTS_KEY, 7},
        {KEY ": 0\r\n", "v", PUT_EXPECTS_KEY, 0},
        {KEY ": 007\r\n", "v", PUT_EXPECTS_KEY, 7},
        {"nats-expected-last-subject-sequence: 7\r\n", "v", NONE, 0}, /* names have a case */
        {KEY " : 7\r\n", "v", NONE, 0},
        {" " KEY ": 7\r\n", "v", NONE, 0},
        {KEY ": 7\r\n" KEY ": 8\r\n", "v", PUT_EXPECTS_KEY, 7}, /* the first wins */
        {KEY ": \r\n" KEY ": 8\r\n", "v", NONE, 0},
        {KEY ": x\r\n", "v", PUT_EXPECTS_KEY, UINT64_MAX}, /* no number: never matches */
        {KEY ": -1\r\n", "v", PUT_EXPECTS_KEY, UINT64_MAX},
        {KEY ": 7 \r\n", "v", PUT_EXPECTS_KEY, UINT64_MAX},
        {KEY ": 7.0\r\n", "v", PUT_EXPECTS_KEY, UINT64_MAX},
        {KEY ": 99999999999999999999\r\n", "v", PUT_EXPECTS_KEY, UINT64_MAX},
        {LAST ": 3\r\n", "v", PUT_EXPECTS_LAST, 3},
        {"Nats-Expected-Stream: KV_b\r\n", "v", NONE, 0},
        {"KV-Operation: DEL\r\n", "", PUT_IS_DELETE, 0},
        {"KV-Operation: PURGE\r\nNats-Rollup: sub\r\n", "",
         PUT_IS_DELETE | PUT_ROLLUP_KEY | PUT_IS_FINAL, 0},
        {"Nats-Marker-Reason: MaxAge\r\n", "v", PUT_IS_FINAL, 0},
        {"KV-Operation: DEL\r\n", "v", NONE, 0}, /* with a value it takes space as a put does */
        {"KV-Operation: PUT\r\n", "", NONE, 0},
        {"KV-Operation: del\r\n", "", NONE, 0},
        {"Nats-Rollup: sub\r\n", "v", PUT_ROLLUP_KEY, 0},
        {"Nats-Rollup: SUB\r\n", "v", PUT_ROLLUP_KEY, 0},
        {"Nats-Rollup: all\r\n", "v", PUT_ROLLUP_ALL, 0},
        {KEY ": 4\r\nKV-Operation: DEL\r\n", "", PUT_EXPECTS_KEY | PUT_IS_DELETE, 4},
        {KEY ": 4\r\n" LAST ": 9\r\n", "v", BOTH, 4},
        {KEY ": 4\r\n" KEY "-Subject: a.*\r\n", "v", PUT_EXPECTS_KEY | PUT_EXPECTS_SUBJECT, 4},
        {"Nats-Msg-Id: 1\r\n", "v", PUT_HAS_ID, 0},
        {"Nats-Msg-Id:  \r\n", "v", NONE, 0},
        {"Nats-Expected-Last-Msg-Id: 1\r\n", "v", PUT_EXPECTS_ID, 0},
        {"Nats-TTL: 1s\r\n", "v", PUT_HAS_TTL, 0},
        {"Nats-TTL: 00\r\n", "v", NONE, 0},
    };
    struct stream_config config = config_of_bucket();
    config.allow_msg_ttl = true;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct put_rules rules;
        struct api_failure failure = {0};
        bool is_fine = read_lines(&rules, &config, rows[i].lines, rows[i].payload, &failure);
        cr_expect(is_fine, "row %zu: %s", i, failure.text);
        cr_expect(eq(u32, rules.flags, rows[i].flags), "row %zu: %s", i, rows[i].lines);
        uint64_t expected = (rules.flags & PUT_EXPECTS_LAST) != 0 && rows[i].flags != BOTH
                                ? rules.expected_last
                                : rules.expected_key;
        cr_expect(eq(u64, expected, rows[i].expected), "row %zu: %s", i, rows[i].lines);
    }
    stream_config_free(&config);
}

Test(put_rules, refuses_before_anything_is_stored)
{
    static const struct {
        const char *lines;
        enum api_error error;
        const char *words;
    } rows[] = {
        {"Nats-Expected-Stream: KV_c\r\n", API_EXPECTED_STREAM_DIFFERS, ""},
        {"Nats-Expected-Stream: kv_b\r\n", API_EXPECTED_STREAM_DIFFERS, ""},
        {"Nats-TTL: 1s\r\n", API_TTL_DISABLED, ""},
        {"Nats-Batch-Id: x\r\n", API_ATOMIC_PUBLISH_DISABLED, ""},
        {"Nats-Incr: +1\r\n", API_COUNTERS_DISABLED, ""},
        {"Nats-Incr: 1.5\r\n", API_INCREMENT_INVALID, ""},
    };
    struct stream_config config = config_of_bucket();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct put_rules rules;
        struct api_failure failure = {0};
        cr_expect(not(read_lines(&rules, &config, rows[i].lines, "v", &failure)), "row %zu", i);
        cr_expect(eq(int, failure.error, rows[i].error), "row %zu: %s", i, failure.text);
        cr_expect(eq(str, failure.text, (char *)rows[i].words), "row %zu", i);
    }
    stream_config_free(&config);
}

Test(put_rules, tells_the_first_fault_and_its_place)
{
    static const struct {
        const char *lines;
        enum put_check place;
        enum api_error error;
        const char *words;
    } rows[] = {
        {"Nats-Rollup: some\r\n", PUT_CHECK_ROLLUP, API_ROLLUP_FAILED,
         "rollup value invalid: \"some\""},
        {KEY "-Subject: a\r\n", PUT_CHECK_SUBJECT, API_MISSING_SUBJECT_SEQUENCE, ""},
        {"Nats-Stream-Source: x\r\n", PUT_CHECK_SOURCE, API_STREAM_SOURCE_HEADER, ""},
        {"Nats-Schedule: x\r\n", PUT_CHECK_SOURCE, API_SCHEDULES_DISABLED, ""},
        {"Nats-Scheduler: x\r\nNats-Schedule-Next: purge\r\n", PUT_CHECK_SOURCE,
         API_SCHEDULES_DISABLED, ""},
        {"Nats-Scheduler: x\r\n", PUT_CHECK_SOURCE, API_SCHEDULER_INVALID, ""},
        {"Nats-TTL: soon\r\n", PUT_CHECK_TTL, API_INVALID_TTL, ""},
        {"Nats-TTL: soon\r\nNats-Rollup: x\r\n" KEY "-Subject: a\r\n", PUT_CHECK_SUBJECT,
         API_MISSING_SUBJECT_SEQUENCE, ""},
        {"Nats-TTL: soon\r\nNats-Rollup: x\r\n", PUT_CHECK_ROLLUP, API_ROLLUP_FAILED,
         "rollup value invalid: \"x\""},
    };
    struct stream_config config = config_of_bucket();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct put_rules rules;
        struct api_failure failure = {0};
        cr_expect(read_lines(&rules, &config, rows[i].lines, "v", &failure), "row %zu", i);
        cr_expect(ne(u32, rules.flags & PUT_HAS_FAULT, 0), "row %zu", i);
        cr_expect(eq(int, rules.fault_place, rows[i].place), "row %zu", i);
        cr_expect(eq(int, failure.error, rows[i].error), "row %zu: %s", i, failure.text);
        cr_expect(eq(str, failure.text, (char *)rows[i].words), "row %zu", i);
    }
    stream_config_free(&config);
}

Test(put_rules, rolls_up_only_where_the_stream_allows_it)
{
    struct stream_config config = config_of_bucket();
    struct put_rules rules;
    struct api_failure failure = {0};
    config.allow_rollup = false;
    cr_expect(read_lines(&rules, &config, "Nats-Rollup: sub\r\n", "", &failure));
    cr_expect(eq(u32, rules.flags, PUT_HAS_FAULT));
    cr_expect(eq(str, failure.text, "rollup not permitted"));
    config.allow_rollup = true;
    config.deny_purge = true;
    cr_expect(read_lines(&rules, &config, "Nats-Rollup: sub\r\n", "", &failure));
    cr_expect(eq(u32, rules.flags, PUT_HAS_FAULT));
    cr_expect(eq(int, failure.error, API_ROLLUP_FAILED));
    stream_config_free(&config);
}

Test(put_rules, obeys_seal_and_size)
{
    struct stream_config config = config_of_bucket();
    struct put_rules rules;
    struct api_failure failure = {0};
    config.message_size_max = 4;
    cr_expect(read_lines(&rules, &config, "", "1234", &failure));
    cr_expect(not(read_lines(&rules, &config, "", "12345", &failure)));
    cr_expect(eq(int, failure.error, API_MESSAGE_EXCEEDS_MAXIMUM));
    cr_expect(not(read_lines(&rules, &config, "A: b\r\n", "1", &failure))); /* headers count */
    config.sealed = true;
    cr_expect(not(read_lines(&rules, &config, "", "1", &failure)));
    cr_expect(eq(int, failure.error, API_STREAM_SEALED));
    stream_config_free(&config);
}

Test(put_rules, refuses_headers_of_64_kib)
{
    struct stream_config config = config_of_bucket();
    struct put_rules rules;
    struct api_failure failure = {0};
    char *block = malloc(65536);
    cr_assert(ne(ptr, block, NULL));
    memset(block, 'x', 65536);
    struct msg msg = {.headers = bytes_of(block, 65535)};
    cr_expect(put_rules_read(&rules, &config, &msg, &failure));
    msg.headers.count = 65536;
    cr_expect(not(put_rules_read(&rules, &config, &msg, &failure)));
    cr_expect(eq(int, failure.error, API_HEADER_TOO_LARGE));
    free(block);
    stream_config_free(&config);
}

/* However a block is cut off, reading stays inside it (the sanitizers watch) and finds whole lines only. */
Test(put_rules, reads_cut_off_blocks)
{
    static const char block[] = "NATS/1.0\r\n" KEY ": 7\r\nKV-Operation: DEL\r\n\r\n";
    struct stream_config config = config_of_bucket();
    for (size_t count = 1; count < sizeof block; count++) {
        char *copy = malloc(count);
        cr_assert(ne(ptr, copy, NULL));
        memcpy(copy, block, count);
        struct put_rules rules;
        struct api_failure failure = {0};
        struct msg msg = {.headers = bytes_of(copy, count)};
        cr_expect(put_rules_read(&rules, &config, &msg, &failure));
        bool has_key = count >= sizeof "NATS/1.0\r\n" KEY ": 7\r\n" - 1;
        cr_expect(eq(int, (rules.flags & PUT_EXPECTS_KEY) != 0, has_key), "%zu bytes", count);
        free(copy);
    }
    stream_config_free(&config);
}
