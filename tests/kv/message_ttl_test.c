/*
 * tests/kv/message_ttl_test.c: the grammar of Nats-TTL, by tables (jetstream-streams.md section 7.6).
 */
#include "kv/message_ttl.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define INVALID (UINT64_MAX - 1)

Test(message_ttl, reads_durations_seconds_and_never)
{
    static const struct {
        const char *text;
        uint64_t seconds;
    } rows[] = {
        {"", MESSAGE_TTL_NONE},
        {"never", MESSAGE_TTL_NEVER},
        {"NEVER", MESSAGE_TTL_NEVER},
        {"1h", 3600},
        {"1m30s", 90},
        {"1.5s", 1},
        {"90000ms", 90},
        {"+5s", 5},
        {"5", 5},
        {"00", MESSAGE_TTL_NONE},
        {"3661", 3661},
        {"9300000000", MESSAGE_TTL_NEVER},
        {"99999999999999999999999999", MESSAGE_TTL_NEVER},
        {"1s", 1},
        {"999ms", INVALID},
        {"-5s", INVALID},
        {"0", INVALID},
        {"0s", INVALID},
        {"soon", INVALID},
        {"5.5", INVALID},
        {"1h1", INVALID},
        {"5 ", INVALID},
        {"nevers", INVALID},
        {"9999999h", INVALID},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t seconds = 0;
        bool is_valid = message_ttl_parse(bytes_of_text(rows[i].text), &seconds);
        cr_expect(eq(int, is_valid, rows[i].seconds != INVALID), "%s", rows[i].text);
        if (is_valid)
            cr_expect(eq(u64, seconds, rows[i].seconds), "%s", rows[i].text);
    }
}

Test(message_ttl, is_due_that_many_seconds_after_the_message)
{
    cr_expect(eq(u64, message_ttl_due(5, 2), UINT64_C(2000000005)));
    cr_expect(eq(u64, message_ttl_due(5, MESSAGE_TTL_NONE), UINT64_MAX));
    cr_expect(eq(u64, message_ttl_due(5, MESSAGE_TTL_NEVER), UINT64_MAX));
}

Test(message_ttl, rewrites_the_header_at_the_end_of_the_block)
{
    static const struct {
        const char *block, *expected;
    } rows[] = {
        {"NATS/1.0\r\nNats-TTL: 5s\r\nA: b\r\n\r\n", "NATS/1.0\r\nA: b\r\nNats-TTL: 61\r\n\r\n"},
        {"NATS/1.0\r\nNats-TTL:5\r\n\r\n", "NATS/1.0\r\nNats-TTL: 61\r\n\r\n"},
        {"NATS/1.0\r\nNats-TTLs: 5\r\n\r\n", "NATS/1.0\r\nNats-TTLs: 5\r\nNats-TTL: 61\r\n\r\n"},
    };
    struct text out = {0};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        message_ttl_rewrite(&out, bytes_of_text(rows[i].block), 61);
        cr_expect(bytes_equal(text_bytes(&out), bytes_of_text(rows[i].expected)), "%.*s",
                  (int)out.count, out.data);
    }
    text_free(&out);
}
