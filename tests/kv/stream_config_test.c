/*
 * tests/kv/stream_config_test.c: configurations read, checked, written and read again.
 *
 * Source of the texts: jetstream-streams.md section 3.3; the rules' numbers (V1 …) are told where a row needs one.
 */
#include "kv/stream_config.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/assert.h"

#define BUCKET                                                                              \
    "{\"name\":\"KV_b\",\"subjects\":[\"$KV.b.>\"],\"max_msgs_per_subject\":5,\"discard\":" \
    "\"new\",\"allow_rollup_hdrs\":true,\"deny_delete\":true,\"allow_direct\":true,"        \
    "\"metadata\":{\"b\":\"2\",\"a\":\"1\"}}"

static bool read_text(struct stream_config *config, const char *text, bool is_strict,
                      struct api_failure *failure)
{
    const char *why;
    struct bytes rest;
    struct json *json = json_parse(bytes_of_text(text), &rest, &why);
    cr_assert(ne(ptr, json, NULL), "%s: %s", text, why);
    bool is_read = stream_config_read(config, json, is_strict, failure);
    json_free(json);
    return is_read;
}

static struct stream_config checked(const char *text)
{
    struct stream_config config = {0};
    struct api_failure failure = {0};
    bool is_fine =
        read_text(&config, text, true, &failure) && stream_config_check(&config, &failure);
    cr_assert(is_fine, "%s: %s", text, failure.text);
    return config;
}

static struct text written(const struct stream_config *config, bool with_server_metadata)
{
    struct text text = {0};
    stream_config_append(&text, config, with_server_metadata);
    text_append(&text, bytes_of("", 1));
    return text;
}

Test(stream_config, fills_defaults)
{
    struct stream_config config = checked("{\"name\":\"s\"}");
    cr_expect(eq(uint, config.subject_count, 1));
    cr_expect(bytes_equal(text_bytes(&config.subjects[0]), BYTES_LITERAL("s")));
    cr_expect(eq(i64, config.messages_max, -1));
    cr_expect(eq(i64, config.bytes_max, -1));
    cr_expect(eq(i64, config.messages_per_subject_max, -1));
    cr_expect(eq(i64, config.message_size_max, -1));
    cr_expect(eq(i64, config.consumers_max, -1));
    cr_expect(eq(i64, config.age_max_ns, 0));
    cr_expect(eq(i64, config.replicas, 1));
    cr_expect(eq(i64, config.duplicate_window_ns, INT64_C(120000000000)));
    cr_expect(eq(int, config.discard, STREAM_DISCARD_OLD));
    cr_expect(eq(int, config.storage, STREAM_STORAGE_FILE));
    cr_expect(not(config.allow_direct));
    stream_config_free(&config);
}

Test(stream_config, shortens_the_duplicate_window_to_the_age)
{
    struct stream_config config = checked("{\"name\":\"s\",\"max_age\":1000000000}");
    cr_expect(eq(i64, config.duplicate_window_ns, 1000000000));
    stream_config_free(&config);
}

Test(stream_config, knows_a_bucket_by_name_and_subject)
{
    static const struct {
        const char *text, *bucket;
    } rows[] = {
        {"{\"name\":\"KV_b\",\"subjects\":[\"$KV.b.>\"]}", "b"},
        {"{\"name\":\"KV_b\",\"subjects\":[\"$KV.c.>\"]}", ""},
        {"{\"name\":\"KV_b\",\"subjects\":[\"$KV.b.*\"]}", ""},
        {"{\"name\":\"KV_b\",\"subjects\":[\"$KV.b.>\",\"x\"]}", ""},
        {"{\"name\":\"b\",\"subjects\":[\"$KV.b.>\"]}", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct stream_config config = checked(rows[i].text);
        struct bytes bucket = stream_config_bucket(&config);
        cr_expect(bytes_equal(bucket, bytes_of_text(rows[i].bucket)), "%s: %.*s", rows[i].text,
                  (int)bucket.count, bucket.data);
        stream_config_free(&config);
    }
}

Test(stream_config, wants_one_place_for_rules_over_the_whole_stream)
{
    static const struct {
        const char *text;
        bool needs_one;
    } rows[] = {
        {BUCKET, false},
        {"{\"name\":\"KV_b\",\"subjects\":[\"$KV.b.>\"],\"max_bytes\":1000}", true},
        {"{\"name\":\"KV_b\",\"subjects\":[\"$KV.b.>\"],\"max_msgs\":10}", true},
        {"{\"name\":\"events\",\"subjects\":[\"events.>\"]}", true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct stream_config config = checked(rows[i].text);
        cr_expect(eq(int, stream_config_needs_one_stripe(&config), rows[i].needs_one), "%s",
                  rows[i].text);
        stream_config_free(&config);
    }
}

/* ---- refusals ---- */

struct refusal {
    const char *text;
    enum api_error error;
    const char *words;
};

static void expect_refusal(const struct refusal *row)
{
    struct stream_config config = {0};
    struct api_failure failure = {0};
    bool is_fine = read_text(&config, row->text, true, &failure)
                   && stream_config_check(&config, &failure)
                   && stream_config_check_supported(&config, &failure);
    cr_expect(not(is_fine), "%s", row->text);
    cr_expect(eq(int, failure.error, row->error), "%s: %s", row->text, failure.text);
    if (row->words != NULL)
        cr_expect(eq(str, failure.text, (char *)row->words), "%s", row->text);
    stream_config_free(&config);
}

#define COUNTER "{\"name\":\"s\",\"allow_msg_counter\":true,"
#define MARKER "{\"name\":\"s\",\"subject_delete_marker_ttl\":"
#define ASYNC "{\"name\":\"s\",\"persist_mode\":\"async\","
#define NAME_WORDS "stream name is required and can not contain '.', '*', '>', '\\', '/'"
#define API_WORDS "subjects that overlap with jetstream api require no-ack to be true"
#define SYSTEM_WORDS "subjects that overlap with system api require no-ack to be true"

Test(stream_config, refuses_what_the_rules_forbid)
{
    static const struct refusal rows[] = {
        {"{}", API_STREAM_INVALID_CONFIG, NAME_WORDS},
        {"{\"name\":\"a.b\"}", API_STREAM_INVALID_CONFIG, NAME_WORDS},
        {"{\"name\":\"a b\"}", API_STREAM_INVALID_CONFIG, NAME_WORDS},
        {"{\"name\":\"a>\"}", API_STREAM_INVALID_CONFIG, NAME_WORDS},
        {"{\"name\":\"s\",\"num_replicas\":6}", API_STREAM_INVALID_CONFIG, "maximum replicas is 5"},
        {"{\"name\":\"s\",\"num_replicas\":-1}", API_REPLICAS_NEGATIVE, ""},
        {"{\"name\":\"s\",\"max_msgs\":-2,\"pedantic\":true}", API_PEDANTIC,
         "max_msgs must be set to -1"},
        {"{\"name\":\"s\",\"max_consumers\":-2,\"pedantic\":true}", API_PEDANTIC,
         "max_consumers must be set to -1"},
        {"{\"name\":\"s\",\"max_age\":-1}", API_STREAM_INVALID_CONFIG,
         "max age can not be negative"},
        {"{\"name\":\"s\",\"max_age\":99999999}", API_STREAM_INVALID_CONFIG,
         "max age needs to be >= 100ms"},
        {"{\"name\":\"s\",\"duplicate_window\":-1}", API_STREAM_INVALID_CONFIG,
         "duplicates window can not be negative"},
        {"{\"name\":\"s\",\"max_age\":200000000,\"duplicate_window\":200000001}",
         API_STREAM_INVALID_CONFIG, "duplicates window can not be larger then max age"},
        {"{\"name\":\"s\",\"duplicate_window\":99999999}", API_STREAM_INVALID_CONFIG,
         "duplicates window needs to be >= 100ms"},
        {"{\"name\":\"s\",\"deny_purge\":true,\"allow_rollup_hdrs\":true}",
         API_STREAM_INVALID_CONFIG, "roll-ups require the purge permission"},
        {"{\"name\":\"s\",\"discard_new_per_subject\":true}", API_STREAM_INVALID_CONFIG,
         "discard new per subject requires discard new policy to be set"},
        {"{\"name\":\"s\",\"discard\":\"new\",\"discard_new_per_subject\":true}",
         API_STREAM_INVALID_CONFIG, "discard new per subject requires max msgs per subject > 0"},
        {COUNTER "\"discard\":\"NEW\"}", API_STREAM_INVALID_CONFIG,
         "counter stream cannot use discard new"},
        {COUNTER "\"allow_msg_ttl\":true}", API_STREAM_INVALID_CONFIG,
         "counter stream cannot use message TTLs"},
        {COUNTER "\"allow_msg_schedules\":true}", API_STREAM_INVALID_CONFIG,
         "counter stream cannot use message schedules"},
        {COUNTER "\"retention\":\"interest\"}", API_STREAM_INVALID_CONFIG,
         "counter stream can only use limits retention"},
        {MARKER "999999999}", API_STREAM_INVALID_CONFIG,
         "subject delete marker TTL must be at least 1 second"},
        {MARKER "-1}", API_STREAM_INVALID_CONFIG, "subject delete marker TTL must not be negative"},
        {MARKER "1000000000,\"pedantic\":true}", API_STREAM_INVALID_CONFIG,
         "subject delete marker cannot be set if message TTLs are disabled"},
        {MARKER "1000000000,\"pedantic\":true,\"allow_msg_ttl\":true}", API_STREAM_INVALID_CONFIG,
         "subject delete marker cannot be set if roll-ups are disabled"},
        {"{\"name\":\"s\",\"allow_msg_schedules\":true,\"discard\":\"new\"}",
         API_STREAM_INVALID_CONFIG, "message scheduling cannot use discard new"},
        {ASYNC "\"storage\":\"memory\"}", API_STREAM_INVALID_CONFIG,
         "async persist mode is only supported on file storage"},
        {ASYNC "\"num_replicas\":3}", API_STREAM_INVALID_CONFIG,
         "async persist mode is not supported on replicated streams"},
        {ASYNC "\"allow_atomic\":true}", API_STREAM_INVALID_CONFIG,
         "async persist mode is not supported with atomic batch publish"},
        {"{\"name\":\"s\",\"placement\":{\"preferred\":\"x\"}}", API_STREAM_INVALID_CONFIG,
         "preferred server not permitted in placement"},
        {"{\"name\":\"s\",\"max_age\":1000000000,\"pedantic\":true}", API_PEDANTIC,
         "duplicate window cannot be bigger than max age"},
        {"{\"name\":\"s\",\"subjects\":[\"a..b\"]}", API_STREAM_INVALID_CONFIG, "invalid subject"},
        {"{\"name\":\"s\",\"subjects\":[\">\"]}", API_STREAM_INVALID_CONFIG,
         "capturing all subjects requires no-ack to be true"},
        {"{\"name\":\"s\",\"subjects\":[\">\"],\"no_ack\":true,\"num_replicas\":3}",
         API_STREAM_INVALID_CONFIG, "capturing all subjects requires replicas of 1"},
        {"{\"name\":\"s\",\"subjects\":[\"$JS.API.x\"]}", API_STREAM_INVALID_CONFIG, API_WORDS},
        {"{\"name\":\"s\",\"subjects\":[\"*.API.x\"]}", API_STREAM_INVALID_CONFIG, API_WORDS},
        {"{\"name\":\"s\",\"subjects\":[\"$SYS.x\"]}", API_STREAM_INVALID_CONFIG, SYSTEM_WORDS},
        {"{\"name\":\"s\",\"subjects\":[\"a.*\",\"a.b\"]}", API_STREAM_INVALID_CONFIG,
         "subject \"a.*\" overlaps with \"a.b\""},
        {"{\"name\":\"s\",\"subjects\":[\"a\",\"a\"]}", API_STREAM_INVALID_CONFIG,
         "subject \"a\" overlaps with \"a\""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect_refusal(&rows[i]);
}

Test(stream_config, refuses_in_words_what_is_not_there_yet)
{
    static const struct refusal rows[] = {
        {"{\"name\":\"s\",\"allow_msg_counter\":true}", API_STREAM_INVALID_CONFIG,
         "pail does not support allow_msg_counter yet"},
        {"{\"name\":\"s\",\"retention\":\"workqueue\"}", API_STREAM_INVALID_CONFIG,
         "pail does not support retention \"workqueue\": it keeps what limits allow"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect_refusal(&rows[i]);
}

Test(stream_config, takes_empty_values_of_what_is_not_there_yet)
{
    struct stream_config config =
        checked("{\"name\":\"s\",\"mirror\":null,\"sources\":[],\"allow_atomic\":false,"
                "\"subject_delete_marker_ttl\":0,\"persist_mode\":\"default\"}");
    stream_config_free(&config);
}

Test(stream_config, writes_what_names_other_streams_as_it_was_read)
{
    static const char *const rows[] = {
        "\"mirror\":{\"name\":\"o\",\"opt_start_seq\":7,\"filter_subject\":\"a.\\u003e\","
        "\"external\":{"
        "\"api\":\"$JS.d.API\",\"deliver\":\"\"}}",
        "\"sources\":[{\"name\":\"o\",\"opt_start_time\":\"2026-01-02T03:04:05.6Z\"},{\"name\":"
        "\"p\","
        "\"subject_transforms\":[{\"src\":\"a.*\",\"dest\":\"b.$1\"}]}]",
        "\"subject_transform\":{\"src\":\"s\",\"dest\":\"t\"}",
        "\"republish\":{\"src\":\"\\u003e\",\"dest\":\"r.\\u003e\",\"headers_only\":true}",
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text written = {0};
        char json[512];
        (void)snprintf(json, sizeof json, "{\"name\":\"s\",%s}", rows[i]);
        struct stream_config config = checked(json);
        stream_config_append(&written, &config, false);
        cr_expect(memmem(written.data, written.count, rows[i], strlen(rows[i])) != NULL, "%s: %.*s",
                  rows[i], (int)written.count, written.data);
        stream_config_free(&config);
        text_free(&written);
    }
}

Test(stream_config, refuses_wrong_types_and_unknown_words)
{
    static const struct refusal rows[] = {
        {"{\"name\":7}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"subjects\":\"a\"}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"subjects\":[1]}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"max_msgs\":\"1\"}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"max_msgs\":1.5}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"first_seq\":-1}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"sealed\":1}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"metadata\":{\"a\":1}}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"storage\":\"disk\"}", API_INVALID_JSON, "can not unmarshal \"disk\""},
        {"{\"name\":\"s\",\"no_such\":1}", API_INVALID_JSON, "json: unknown field \"no_such\""},
        {"{\"name\":\"s\",\"max_msg_size\":2147483648}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"storage\":null}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"persist_mode\":\"later\"}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"placement\":{\"no_such\":1}}", API_INVALID_JSON,
         "json: unknown field \"no_such\""},
        {"{\"name\":\"s\",\"placement\":{\"tags\":[1]}}", API_INVALID_JSON, NULL},
        {"{\"name\":\"s\",\"consumer_limits\":{\"no_such\":1}}", API_INVALID_JSON,
         "json: unknown field \"no_such\""},
        {"{\"name\":\"s\",\"consumer_limits\":{\"max_ack_pending\":1.5}}", API_INVALID_JSON, NULL},
        {"[]", API_INVALID_JSON, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect_refusal(&rows[i]);
}

Test(stream_config, overlooks_unknown_fields_when_not_strict)
{
    struct stream_config config = {0};
    struct api_failure failure = {0};
    cr_expect(read_text(&config, "{\"name\":\"s\",\"no_such\":1}", false, &failure));
    stream_config_free(&config);
}

static struct bytes repeated(char *room, size_t count, char letter)
{
    memset(room, letter, count);
    return bytes_of(room, count);
}

Test(stream_config, limits_the_lengths_of_texts)
{
    static char room[STREAM_METADATA_BYTES_MAX];
    struct api_failure failure = {0};
    cr_expect(stream_name_check(repeated(room, STREAM_NAME_BYTES_MAX, 'n'), &failure));
    cr_expect(not(stream_name_check(repeated(room, STREAM_NAME_BYTES_MAX + 1, 'n'), &failure)));
    cr_expect(eq(str, failure.text, "stream name is too long, maximum allowed is 255"));

    struct stream_config config = checked("{\"name\":\"s\",\"metadata\":{\"k\":\"v\"}}");
    text_append(&config.description, repeated(room, 4096, 'd'));
    cr_expect(stream_config_check(&config, &failure));
    text_append_literal(&config.description, "d");
    cr_expect(not(stream_config_check(&config, &failure)));
    cr_expect(eq(str, failure.text, "stream description is too long, maximum allowed is 4096"));

    text_clear(&config.description); /* V4: 16 bytes are the server's, 2 are there already */
    text_append(&config.metadata[0].value, repeated(room, STREAM_METADATA_BYTES_MAX - 18, 'm'));
    cr_expect(stream_config_check(&config, &failure));
    text_append_literal(&config.metadata[0].value, "m");
    cr_expect(not(stream_config_check(&config, &failure)));
    cr_expect(eq(str, failure.text, "stream metadata exceeds maximum size of 131072 bytes"));
    stream_config_free(&config);
}

/* ---- writing ---- */

Test(stream_config, writes_parts_as_the_reference_does)
{
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"\"placement\":{\"tags\":[\"x\"],\"cluster\":\"c\"}",
         "\"placement\":{\"cluster\":\"c\",\"tags\":[\"x\"]},"},
        {"\"placement\":{\"tags\":[\"x\"],\"cluster\":\"\"}", "\"placement\":{\"tags\":[\"x\"]},"},
        {"\"consumer_limits\":{\"max_ack_pending\":9,\"inactive_threshold\":10}",
         "\"consumer_limits\":{\"inactive_threshold\":10,\"max_ack_pending\":9},"},
        {"\"consumer_limits\":null", "\"consumer_limits\":{},"},
        {"\"persist_mode\":\"async\"", "\"persist_mode\":\"async\","},
        {"\"persist_mode\":\"async\"", "\"_nats.req.level\":\"2\""},
        {"\"subject_delete_marker_ttl\":1000000000",
         "\"allow_msg_ttl\":true,\"subject_delete_marker_ttl\":1000000000,"},
        {"\"subject_delete_marker_ttl\":1000000000", "\"allow_rollup_hdrs\":true,"},
        {"\"subject_delete_marker_ttl\":1000000000", "\"_nats.req.level\":\"1\""},
        {"\"metadata\":{\"a\":\"1\",\"b\":\"2\",\"a\":\"3\"}",
         "\"metadata\":{\"_nats.req.level\":\"0\",\"a\":\"3\",\"b\":\"2\"}"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char body[256];
        (void)snprintf(body, sizeof body, "{\"name\":\"s\",%s}", rows[i].text);
        struct stream_config config = checked(body);
        struct text text = written(&config, false);
        cr_expect(ne(ptr, strstr(text.data, rows[i].part), NULL), "%s: %s", body, text.data);
        text_free(&text);
        stream_config_free(&config);
    }
}

Test(stream_config, is_the_same_when_written_and_read)
{
    static const char *const rows[] = {
        "{\"name\":\"s\"}",
        BUCKET,
        "{\"name\":\"s\",\"subjects\":[\"a.*\",\"b.>\"],\"description\":\"\\u00e4 \\\"<\\\"\","
        "\"storage\":\"memory\",\"discard\":\"new\",\"max_msgs\":3,\"max_bytes\":4,"
        "\"max_msg_size\":5,\"max_consumers\":6,\"max_age\":7000000000,\"first_seq\":8,"
        "\"duplicate_window\":100000000,\"no_ack\":true,\"compression\":\"s2\",\"sealed\":false,"
        "\"deny_purge\":true,\"placement\":{\"tags\":[\"x\"],\"cluster\":\"c\"},"
        "\"consumer_limits\":{\"max_ack_pending\":9,\"inactive_threshold\":10}}",
        "{\"name\":\"s\",\"persist_mode\":\"async\",\"placement\":{\"cluster\":\"\",\"tags\":[]},"
        "\"metadata\":{\"a\":\"1\",\"b\":\"2\",\"a\":\"3\"}}",
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct stream_config config = checked(rows[i]);
        struct text text = written(&config, false);
        struct stream_config again = checked(text.data);
        struct text text_again = written(&again, false);
        cr_expect(eq(str, text.data, text_again.data));
        cr_expect(stream_config_equal(&config, &again));
        text_free(&text);
        text_free(&text_again);
        stream_config_free(&config);
        stream_config_free(&again);
    }
}

Test(stream_config, differs_in_what_matters_only)
{
    static const struct {
        const char *text;
        bool is_equal;
    } rows[] = {
        {BUCKET, true},
        {"{\"name\":\"KV_b\",\"subjects\":[\"$KV.b.>\"],\"max_msgs_per_subject\":5,"
         "\"discard\":\"new\",\"allow_rollup_hdrs\":true,\"deny_delete\":true,"
         "\"allow_direct\":true,\"metadata\":{\"a\":\"1\",\"_nats.ver\":\"9\",\"b\":\"2\"}}",
         true},
        {"{\"name\":\"KV_b\",\"subjects\":[\"$KV.b.>\"],\"max_msgs_per_subject\":6,"
         "\"discard\":\"new\",\"allow_rollup_hdrs\":true,\"deny_delete\":true,"
         "\"allow_direct\":true,\"metadata\":{\"a\":\"1\",\"b\":\"2\"}}",
         false},
    };
    struct stream_config bucket = checked(BUCKET);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct stream_config other = checked(rows[i].text);
        cr_expect(eq(int, stream_config_equal(&bucket, &other), rows[i].is_equal), "row %zu", i);
        stream_config_free(&other);
    }
    stream_config_free(&bucket);
}

Test(stream_config, tells_the_servers_metadata_when_asked)
{
    struct stream_config config = checked(BUCKET);
    struct text with = written(&config, true), without = written(&config, false);
    cr_expect(ne(ptr, strstr(with.data, "\"_nats.ver\":\""), NULL));
    cr_expect(ne(ptr, strstr(with.data, "\"_nats.level\":\"1\""), NULL));
    cr_expect(eq(ptr, strstr(without.data, "\"_nats.ver\""), NULL));
    cr_expect(ne(ptr, strstr(without.data, "\"a\":\"1\",\"b\":\"2\"}"), NULL));
    text_free(&with);
    text_free(&without);
    stream_config_free(&config);
}

Test(stream_config, refuses_updates_that_take_promises_back)
{
    static const struct {
        const char *from, *to, *words;
    } rows[] = {
        {"{\"name\":\"s\"}", "{\"name\":\"t\"}", "stream configuration name must match original"},
        {"{\"name\":\"s\"}", "{\"name\":\"s\",\"storage\":\"memory\"}",
         "stream configuration update can not change storage type"},
        {"{\"name\":\"s\",\"sealed\":true}", "{\"name\":\"s\"}",
         "stream configuration update can not unseal a sealed stream"},
        {"{\"name\":\"s\",\"deny_delete\":true}", "{\"name\":\"s\"}",
         "stream configuration update can not cancel deny message deletes"},
        {"{\"name\":\"s\",\"deny_purge\":true}", "{\"name\":\"s\"}",
         "stream configuration update can not cancel deny purge"},
        {"{\"name\":\"s\",\"allow_msg_ttl\":true}", "{\"name\":\"s\"}",
         "message TTL status can not be disabled"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct stream_config from = checked(rows[i].from), to = checked(rows[i].to);
        struct api_failure failure = {0};
        cr_expect(not(stream_config_check_update(&from, &to, &failure)), "row %zu", i);
        cr_expect(eq(str, failure.text, (char *)rows[i].words));
        stream_config_free(&from);
        stream_config_free(&to);
    }
}

Test(stream_config, closes_everything_when_it_seals)
{
    struct stream_config from = checked("{\"name\":\"s\",\"max_age\":1000000000}");
    struct stream_config to = checked("{\"name\":\"s\",\"max_age\":1000000000,\"sealed\":true,"
                                      "\"allow_rollup_hdrs\":true}");
    struct api_failure failure = {0};
    cr_expect(stream_config_check_update(&from, &to, &failure));
    cr_expect(eq(i64, to.age_max_ns, 0));
    cr_expect(eq(int, to.discard, STREAM_DISCARD_NEW));
    cr_expect(to.deny_delete);
    cr_expect(to.deny_purge);
    cr_expect(not(to.allow_rollup));
    stream_config_free(&from);
    stream_config_free(&to);
}
