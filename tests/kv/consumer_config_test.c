/*
 * tests/kv/consumer_config_test.c: consumers' configurations read, checked and written.
 *
 * Source of the rules: jetstream-consumers.md section 3.4; of the policies' texts: section 5.1.
 */
#include "kv/consumer_check.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "core/assert.h"

static struct stream_config bucket_of_tests(void)
{
    struct stream_config stream = {0};
    struct api_failure failure = {0};
    const char *why;
    struct bytes rest;
    struct json *json =
        json_parse(BYTES_LITERAL("{\"name\":\"KV_b\",\"subjects\":[\"$KV.b.>\"]}"), &rest, &why);
    bool is_fine =
        stream_config_read(&stream, json, true, &failure) && stream_config_check(&stream, &failure);
    cr_assert(is_fine);
    json_free(json);
    return stream;
}

/* A request with these members of its configuration. */
static bool read_members(struct consumer_request *request, const char *members,
                         struct api_failure *failure)
{
    struct text text = {0};
    const char *why;
    struct bytes rest;
    text_append_format(&text, "{\"stream_name\":\"KV_b\",\"config\":{%s}}", members);
    struct json *json = json_parse(text_bytes(&text), &rest, &why);
    cr_assert(ne(ptr, json, NULL), "%s: %s", members, why);
    bool is_read = consumer_request_read(request, json, true, failure);
    json_free(json);
    text_free(&text);
    return is_read;
}

#define PUSH "\"deliver_subject\":\"_INBOX.x\",\"ack_policy\":\"none\""

struct refusal {
    const char *members;
    enum api_error error;
    const char *words;
};

static void expect_refusal(const struct refusal *row)
{
    struct stream_config stream = bucket_of_tests();
    struct consumer_request request = {0};
    struct api_failure failure = {0};
    bool is_fine =
        read_members(&request, row->members, &failure)
        && consumer_config_check(&request.config, &stream, request.is_pedantic, &failure);
    cr_expect(not(is_fine), "%s", row->members);
    cr_expect(eq(int, failure.error, row->error), "%s: %s", row->members, failure.text);
    if (row->words != NULL)
        cr_expect(eq(str, failure.text, (char *)row->words), "%s", row->members);
    consumer_request_free(&request);
    stream_config_free(&stream);
}

Test(consumer_config, refuses_what_the_rules_forbid)
{
    static const struct refusal rows[] = {
        {PUSH ",\"name\":\"a.b\"", API_STREAM_INVALID_CONFIG,
         "consumer name can not contain '.', '*', '>', '\\', '/'"},
        {PUSH ",\"num_replicas\":-1", API_REPLICAS_NEGATIVE, ""},
        {"\"deliver_subject\":\"x.*\"", API_DELIVER_TO_WILDCARDS, ""},
        {"\"deliver_subject\":\"x..y\"", API_INVALID_DELIVER_SUBJECT, ""},
        {"\"deliver_subject\":\"$KV.b.k\"", API_DELIVER_CYCLE, ""},
        {PUSH ",\"max_waiting\":1", API_PUSH_MAX_WAITING, ""},
        {PUSH ",\"max_ack_pending\":1", API_MAX_PENDING_ACK_POLICY, ""},
        {PUSH ",\"idle_heartbeat\":99999999", API_SMALL_HEARTBEAT, ""},
        {PUSH ",\"flow_control\":true", API_FLOW_CONTROL_REQUIRES_HEARTBEATS, ""},
        {PUSH ",\"filter_subject\":\"a\",\"filter_subjects\":[\"b\"]", API_DUPLICATE_FILTERS, ""},
        {PUSH ",\"filter_subject\":\"a..b\"", API_STREAM_INVALID_CONFIG, "invalid subject"},
        {PUSH ",\"filter_subjects\":[\"a\",\"\"]", API_EMPTY_FILTER, ""},
        {PUSH ",\"filter_subjects\":[\"a\",\"a\"]", API_OVERLAPPING_FILTERS, ""},
        {PUSH ",\"filter_subjects\":[\"a.b\",\"a.*\"]", API_OVERLAPPING_FILTERS, ""},
        {PUSH ",\"filter_subjects\":[\"a.>\",\"a.b.c\"]", API_OVERLAPPING_FILTERS, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect_refusal(&rows[i]);
}

#define IS "consumer delivery policy is deliver "

Test(consumer_config, refuses_starts_that_do_not_fit_the_policy)
{
    static const struct refusal rows[] = {
        {PUSH ",\"opt_start_seq\":1", API_CONSUMER_INVALID_POLICY,
         IS "all, but optional start sequence is also set"},
        {PUSH ",\"deliver_policy\":\"last\",\"opt_start_seq\":1", API_CONSUMER_INVALID_POLICY,
         IS "last, but optional start sequence is also set"},
        {PUSH ",\"deliver_policy\":\"new\",\"opt_start_time\":\"2026-01-01T00:00:00Z\"",
         API_CONSUMER_INVALID_POLICY, IS "new, but optional start time is also set"},
        {PUSH ",\"deliver_policy\":\"by_start_sequence\"", API_CONSUMER_INVALID_POLICY,
         IS "by start sequence, but optional start sequence is not set"},
        {PUSH ",\"deliver_policy\":\"by_start_time\"", API_CONSUMER_INVALID_POLICY,
         IS "by start time, but optional start time is not set"},
        {PUSH ",\"deliver_policy\":\"by_start_time\",\"opt_start_seq\":1,\"opt_start_time\":"
              "\"2026-01-01T00:00:00Z\"",
         API_CONSUMER_INVALID_POLICY,
         IS "by start time, but optional start start sequence is also set"},
        {PUSH ",\"deliver_policy\":\"last_per_subject\"", API_CONSUMER_INVALID_POLICY,
         IS "last per subject, but optional filter subject is not set"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect_refusal(&rows[i]);
}

Test(consumer_config, refuses_in_words_what_is_not_there_yet)
{
    static const struct refusal rows[] = {
        {"\"ack_policy\":\"none\"", API_CONSUMER_CREATE,
         "pail does not support pull consumers yet"},
        {PUSH ",\"replay_policy\":\"original\"", API_CONSUMER_CREATE,
         "pail does not support replay_policy \"original\" yet"},
        {PUSH ",\"rate_limit_bps\":1", API_CONSUMER_CREATE,
         "pail does not support rate_limit_bps yet"},
        {PUSH ",\"deliver_policy\":\"none\"", API_INVALID_JSON, "can not unmarshal \"none\""},
        {PUSH ",\"no_such\":1", API_INVALID_JSON, "json: unknown field \"no_such\""},
        {PUSH ",\"filter_subjects\":\"a\"", API_INVALID_JSON, NULL},
        {PUSH ",\"opt_start_time\":\"yesterday\"", API_INVALID_JSON, NULL},
        {PUSH ",\"flow_control\":1", API_INVALID_JSON, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect_refusal(&rows[i]);
}

static struct consumer_request checked(const char *members)
{
    struct stream_config stream = bucket_of_tests();
    struct consumer_request request = {0};
    struct api_failure failure = {0};
    bool is_fine =
        read_members(&request, members, &failure)
        && consumer_config_check(&request.config, &stream, request.is_pedantic, &failure);
    cr_assert(is_fine, "%s: %s", members, failure.text);
    stream_config_free(&stream);
    return request;
}

Test(consumer_config, takes_what_clients_send_for_a_watch)
{
    struct consumer_request request =
        checked(PUSH ",\"deliver_policy\":\"last_per_subject\",\"max_deliver\":1,\"ack_wait\":"
                     "79200000000000,\"filter_subject\":\"$KV.b.>\",\"flow_control\":true,"
                     "\"idle_heartbeat\":5000000000,\"num_replicas\":1,\"mem_storage\":true,"
                     "\"replay_policy\":\"instant\",\"headers_only\":true,"
                     "\"metadata\":{\"_nats.ver\":\"x\",\"k\":\"v\"}");
    const struct consumer_config *config = &request.config;
    cr_expect(eq(int, config->deliver_policy, DELIVER_LAST_PER_SUBJECT));
    cr_expect(config->flow_control);
    cr_expect(config->headers_only);
    cr_expect(eq(i64, config->inactive_threshold_ns, INT64_C(5000000000)));
    cr_expect(bytes_equal(text_bytes(&request.stream_name), BYTES_LITERAL("KV_b")));
    consumer_request_free(&request);
}

Test(consumer_config, takes_filters_that_only_meet)
{
    struct consumer_request request = checked(PUSH ",\"filter_subjects\":[\"a.*.c\",\"a.b.*\"]");
    static const struct {
        const char *subject;
        bool matches;
    } rows[] = {{"a.x.c", true}, {"a.b.y", true}, {"a.b.c", true}, {"a.x.y", false}, {"a", false}};
    cr_expect(eq(u32, consumer_config_filter_count(&request.config), 2));
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        cr_expect(eq(int, consumer_config_matches(&request.config, bytes_of_text(rows[i].subject)),
                     rows[i].matches),
                  "%s", rows[i].subject);
    consumer_request_free(&request);
}

Test(consumer_config, matches_everything_without_a_filter)
{
    struct consumer_request request = checked(PUSH);
    cr_expect(eq(u32, consumer_config_filter_count(&request.config), 0));
    cr_expect(consumer_config_matches(&request.config, BYTES_LITERAL("any.thing")));
    consumer_request_free(&request);
}

Test(consumer_config, is_the_same_when_written_and_read)
{
    struct consumer_request request =
        checked(PUSH ",\"name\":\"w\",\"deliver_policy\":\"by_start_time\",\"opt_start_time\":"
                     "\"2026-01-01T00:00:00.5Z\",\"filter_subjects\":[\"a\",\"b.>\"],"
                     "\"description\":\"d\",\"deliver_group\":\"g\",\"metadata\":{\"k\":\"v\"}");
    struct text text = {0};
    consumer_config_append(&text, &request.config, false);
    text_append(&text, bytes_of("", 1));
    text.data[text.count - 2] = '\0'; /* the members without their braces */
    struct consumer_request again = checked(text.data + 1);
    cr_expect(consumer_config_equal(&request.config, &again.config));
    again.config.headers_only = true;
    cr_expect(not(consumer_config_equal(&request.config, &again.config)));
    text_free(&text);
    consumer_request_free(&request);
    consumer_request_free(&again);
}

Test(consumer_config, reads_what_surrounds_it)
{
    static const struct {
        const char *text;
        bool is_fine, is_create_only, is_update_only;
    } rows[] = {
        {"{\"action\":\"create\"}", true, true, false},
        {"{\"action\":\"update\"}", true, false, true},
        {"{\"action\":\"\"}", true, false, false},
        {"{\"action\":\"delete\"}", false, false, false},
        {"{\"stream_name\":null,\"config\":null,\"pedantic\":true}", true, false, false},
        {"{\"other\":1}", false, false, false},
        {"[]", false, false, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct consumer_request request = {0};
        struct api_failure failure = {0};
        const char *why;
        struct bytes rest;
        struct json *json = json_parse(bytes_of_text(rows[i].text), &rest, &why);
        cr_expect(eq(int, consumer_request_read(&request, json, true, &failure), rows[i].is_fine),
                  "%s", rows[i].text);
        cr_expect(eq(int, request.is_create_only, rows[i].is_create_only), "%s", rows[i].text);
        cr_expect(eq(int, request.is_update_only, rows[i].is_update_only), "%s", rows[i].text);
        json_free(json);
        consumer_request_free(&request);
    }
}
