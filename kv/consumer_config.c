/*
 * kv/consumer_config.c: a consumer's configuration in and out of JSON, and its checks in nats-server's order.
 */
#include "kv/consumer_config.h"

#include <stdlib.h>
#include <strings.h>

#include "core/assert.h"
#include "core/subject.h"
#include "kv/version.h"

#define NS_PER_SECOND INT64_C(1000000000)

enum member_kind {
    IS_TEXT,
    IS_NUMBER,
    IS_U64,
    IS_BOOL,
    IS_WORD,
    IS_FILTERS,
    IS_TIME,
    IS_METADATA,
    IS_PAUSE,
    IS_UNSUPPORTED
};

struct member {
    const char *name;
    enum member_kind kind;
    bool is_always_out;
    size_t offset;
    const char *words[6];
};

#define AT(field) offsetof(struct consumer_config, field)
#define NOWHERE SIZE_MAX
static const struct member members[] = {
    {"durable_name", IS_TEXT, false, AT(durable_name), {0}},
    {"name", IS_TEXT, false, AT(name), {0}},
    {"description", IS_TEXT, false, AT(description), {0}},
    {"deliver_policy",
     IS_WORD,
     true,
     AT(deliver_policy),
     {"all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"}},
    {"opt_start_seq", IS_U64, false, AT(start_seq), {0}},
    {"opt_start_time", IS_TIME, false, AT(start_time_text), {0}},
    {"ack_policy", IS_WORD, true, NOWHERE, {"none"}},
    {"ack_wait", IS_NUMBER, false, AT(ack_wait_ns), {0}},
    {"max_deliver", IS_NUMBER, false, AT(max_deliver), {0}},
    {"backoff", IS_UNSUPPORTED, false, 0, {0}},
    {"filter_subject", IS_TEXT, false, AT(filter_subject), {0}},
    {"filter_subjects", IS_FILTERS, false, AT(filter_subjects), {0}},
    {"replay_policy", IS_WORD, true, NOWHERE, {"instant"}},
    {"rate_limit_bps", IS_UNSUPPORTED, false, 0, {0}},
    {"sample_freq", IS_UNSUPPORTED, false, 0, {0}},
    {"max_waiting", IS_NUMBER, false, AT(max_waiting), {0}},
    {"max_ack_pending", IS_NUMBER, false, AT(max_ack_pending), {0}},
    {"flow_control", IS_BOOL, false, AT(flow_control), {0}},
    {"idle_heartbeat", IS_NUMBER, false, AT(idle_heartbeat_ns), {0}},
    {"headers_only", IS_BOOL, false, AT(headers_only), {0}},
    {"max_batch", IS_UNSUPPORTED, false, 0, {0}},
    {"max_expires", IS_UNSUPPORTED, false, 0, {0}},
    {"max_bytes", IS_UNSUPPORTED, false, 0, {0}},
    {"deliver_subject", IS_TEXT, false, AT(deliver_subject), {0}},
    {"deliver_group", IS_TEXT, false, AT(deliver_group), {0}},
    {"inactive_threshold", IS_NUMBER, false, AT(inactive_threshold_ns), {0}},
    {"num_replicas", IS_NUMBER, true, AT(replicas), {0}},
    {"mem_storage", IS_BOOL, false, AT(mem_storage), {0}},
    {"direct", IS_UNSUPPORTED, false, 0, {0}},
    {"sourcing", IS_UNSUPPORTED, false, 0, {0}},
    {"metadata", IS_METADATA, true, AT(metadata), {0}},
    {"pause_until", IS_PAUSE, false, AT(pause_until), {0}},
    {"priority_groups", IS_UNSUPPORTED, false, 0, {0}},
    {"priority_policy", IS_UNSUPPORTED, false, 0, {0}},
    {"priority_timeout", IS_UNSUPPORTED, false, 0, {0}},
};

static void filters_free(struct consumer_config *config)
{
    for (uint32_t i = 0; i < config->filter_subject_count; i++)
        text_free(&config->filter_subjects[i]);
    free(config->filter_subjects);
    config->filter_subjects = NULL;
    config->filter_subject_count = 0;
}

void consumer_config_free(struct consumer_config *config)
{
    filters_free(config);
    text_free(&config->name);
    text_free(&config->durable_name);
    text_free(&config->description);
    text_free(&config->deliver_subject);
    text_free(&config->deliver_group);
    text_free(&config->filter_subject);
    text_free(&config->start_time_text);
    text_free(&config->metadata);
    text_free(&config->pause_until);
    *config = (struct consumer_config){0};
}

void consumer_request_free(struct consumer_request *request)
{
    consumer_config_free(&request->config);
    text_free(&request->stream_name);
    *request = (struct consumer_request){0};
}

/* ---- reading ---- */

static bool fail_type(struct api_failure *failure, const struct json *value, const char *name)
{
    return api_fail(failure, API_INVALID_JSON,
                    "json: cannot unmarshal %s into Go struct field ConsumerConfig.%s",
                    json_type_words(json_type(value)), name);
}

static bool fail_unsupported(struct api_failure *failure, const char *what)
{
    return api_fail(failure, API_CONSUMER_CREATE, "pail does not support %s yet", what);
}

static bool read_text(struct text *text, const struct json *value, const char *name,
                      struct api_failure *failure)
{
    if (json_type(value) != JSON_STRING)
        return fail_type(failure, value, name);
    text_clear(text);
    text_append(text, json_string(value));
    return true;
}

static bool read_word(struct consumer_config *config, const struct json *value,
                      const struct member *member, struct api_failure *failure)
{
    if (json_type(value) != JSON_STRING)
        return fail_type(failure, value, member->name);
    struct bytes word = json_string(value);
    for (uint8_t i = 0; i < COUNT_OF(member->words) && member->words[i] != NULL; i++) {
        if (bytes_equal(word, bytes_of_text(member->words[i]))) {
            if (member->offset != NOWHERE)
                *((uint8_t *)config + member->offset) = i;
            return true;
        }
    }
    static const char *const later[] = {"explicit", "all", "flow_control", "original"};
    for (unsigned i = 0; member->offset == NOWHERE && i < COUNT_OF(later); i++) {
        if (bytes_equal(word, bytes_of_text(later[i])))
            return api_fail(failure, API_CONSUMER_CREATE, "pail does not support %s \"%s\" yet",
                            member->name, later[i]);
    }
    return api_fail(failure, API_INVALID_JSON, "can not unmarshal \"%.*s\"",
                    (int)(word.count < 64 ? word.count : 64), word.data);
}

static bool read_filters(struct consumer_config *config, const struct json *value,
                         struct api_failure *failure)
{
    if (json_type(value) != JSON_ARRAY)
        return fail_type(failure, value, "filter_subjects");
    uint32_t count = 0;
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item), count++)
        if (json_type(item) != JSON_STRING)
            return fail_type(failure, item, "filter_subjects");
    if (count > CONSUMER_FILTERS_MAX)
        return api_fail(failure, API_CONSUMER_CREATE, "a consumer takes at most %d filters",
                        CONSUMER_FILTERS_MAX);
    filters_free(config);
    config->filter_subjects = calloc(count == 0 ? 1 : count, sizeof *config->filter_subjects);
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item))
        text_append(&config->filter_subjects[config->filter_subject_count++], json_string(item));
    return true;
}

static bool read_metadata(struct consumer_config *config, const struct json *value,
                          struct api_failure *failure)
{
    if (json_type(value) != JSON_OBJECT)
        return fail_type(failure, value, "metadata");
    text_clear(&config->metadata);
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        if (json_type(item) != JSON_STRING)
            return fail_type(failure, item, "metadata");
        struct bytes name = json_name(item);
        if (bytes_equal(name, BYTES_LITERAL("_nats.ver"))
            || bytes_equal(name, BYTES_LITERAL("_nats.level"))
            || bytes_equal(name, BYTES_LITERAL("_nats.req.level")))
            continue;
        text_append_json_string(&config->metadata, name);
        text_append_literal(&config->metadata, ":");
        text_append_json_string(&config->metadata, json_string(item));
        text_append_literal(&config->metadata, ",");
    }
    return true;
}

static bool read_time(struct consumer_config *config, const struct json *value,
                      struct api_failure *failure)
{
    if (!read_text(&config->start_time_text, value, "opt_start_time", failure))
        return false;
    if (!text_parse_time(text_bytes(&config->start_time_text), &config->start_time_ns))
        return api_fail(failure, API_INVALID_JSON, "parsing time: not RFC 3339");
    config->has_start_time = true;
    return true;
}

static bool read_pause(struct consumer_config *config, const struct json *value,
                       struct api_failure *failure)
{
    uint64_t unix_ns;
    if (!read_text(&config->pause_until, value, "pause_until", failure))
        return false;
    if (!text_parse_time(text_bytes(&config->pause_until), &unix_ns))
        return api_fail(failure, API_INVALID_JSON, "parsing time: not RFC 3339");
    return unix_ns == 0 ? true : fail_unsupported(failure, "pause_until");
}

static bool read_unsupported(const struct json *value, const struct member *member,
                             struct api_failure *failure)
{
    int64_t number = 0;
    bool is_empty = (json_type(value) == JSON_BOOL && !json_bool(value))
                    || (json_type(value) == JSON_NUMBER && json_i64(value, &number) && number == 0)
                    || (json_type(value) == JSON_STRING && json_string(value).count == 0)
                    || (json_type(value) == JSON_ARRAY && json_first(value) == NULL);
    return is_empty ? true : fail_unsupported(failure, member->name);
}

static bool read_member(struct consumer_config *config, const struct json *value,
                        const struct member *member, struct api_failure *failure)
{
    void *field = (char *)config + (member->offset == NOWHERE ? 0 : member->offset);
    if (json_type(value) == JSON_NULL)
        return true;
    switch (member->kind) {
    case IS_TEXT:
        return read_text(field, value, member->name, failure);
    case IS_WORD:
        return read_word(config, value, member, failure);
    case IS_FILTERS:
        return read_filters(config, value, failure);
    case IS_TIME:
        return read_time(config, value, failure);
    case IS_METADATA:
        return read_metadata(config, value, failure);
    case IS_PAUSE:
        return read_pause(config, value, failure);
    case IS_UNSUPPORTED:
        return read_unsupported(value, member, failure);
    case IS_NUMBER:
        return json_i64(value, field) ? true : fail_type(failure, value, member->name);
    case IS_U64:
        return json_u64(value, field) ? true : fail_type(failure, value, member->name);
    case IS_BOOL:
        if (json_type(value) != JSON_BOOL)
            return fail_type(failure, value, member->name);
        *(bool *)field = json_bool(value);
        return true;
    }
    return false;
}

static const struct member *find_member(struct bytes name)
{
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        if (strlen(members[i].name) == name.count
            && strncasecmp(members[i].name, name.data, name.count) == 0)
            return &members[i];
    }
    return NULL;
}

static bool config_read(struct consumer_config *config, const struct json *object,
                        struct api_failure *failure)
{
    if (json_type(object) == JSON_NULL)
        return true;
    if (json_type(object) != JSON_OBJECT)
        return fail_type(failure, object, "config");
    for (const struct json *item = json_first(object); item != NULL; item = json_next(item)) {
        struct bytes name = json_name(item);
        const struct member *member = find_member(name);
        if (member == NULL)
            return api_fail(failure, API_INVALID_JSON, "json: unknown field \"%.*s\"",
                            (int)(name.count < 64 ? name.count : 64), name.data);
        if (!read_member(config, item, member, failure))
            return false;
    }
    return true;
}

void consumer_config_restore(struct consumer_config *config, struct bytes json_text)
{
    struct api_failure failure = {0};
    struct bytes rest;
    const char *why;
    struct json *json = json_parse(json_text, &rest, &why);
    ASSERT(json != NULL); /* we wrote it */
    bool is_fine = config_read(config, json, &failure);
    ASSERT(is_fine);
    json_free(json);
}

static bool request_read_action(struct consumer_request *request, const struct json *value,
                                struct api_failure *failure)
{
    if (json_type(value) != JSON_STRING)
        return fail_type(failure, value, "action");
    struct bytes word = json_string(value);
    request->is_create_only = bytes_equal(word, BYTES_LITERAL("create"));
    request->is_update_only = bytes_equal(word, BYTES_LITERAL("update"));
    if (word.count > 0 && !request->is_create_only && !request->is_update_only)
        return api_fail(failure, API_INVALID_JSON, "unknown consumer action: \"%.*s\"",
                        (int)(word.count < 64 ? word.count : 64), word.data);
    return true;
}

static bool request_read_member(struct consumer_request *request, struct bytes name,
                                const struct json *value, struct api_failure *failure)
{
    if (bytes_equal(name, BYTES_LITERAL("stream_name")))
        return json_type(value) == JSON_NULL
                   ? true
                   : read_text(&request->stream_name, value, "stream_name", failure);
    if (bytes_equal(name, BYTES_LITERAL("config")))
        return config_read(&request->config, value, failure);
    if (bytes_equal(name, BYTES_LITERAL("action")))
        return request_read_action(request, value, failure);
    if (bytes_equal(name, BYTES_LITERAL("pedantic")))
        return json_type(value) == JSON_BOOL || json_type(value) == JSON_NULL
                   ? true
                   : fail_type(failure, value, "pedantic");
    return api_fail(failure, API_INVALID_JSON, "json: unknown field \"%.*s\"",
                    (int)(name.count < 64 ? name.count : 64), name.data);
}

bool consumer_request_read(struct consumer_request *request, const struct json *object,
                           struct api_failure *failure)
{
    if (json_type(object) == JSON_NULL)
        return true;
    if (json_type(object) != JSON_OBJECT)
        return api_fail(failure, API_INVALID_JSON,
                        "json: cannot unmarshal %s into Go value of type "
                        "server.CreateConsumerRequest",
                        json_type_words(json_type(object)));
    for (const struct json *item = json_first(object); item != NULL; item = json_next(item)) {
        if (!request_read_member(request, json_name(item), item, failure))
            return false;
    }
    return true;
}

/* ---- checking ---- */

static bool fail_config(struct api_failure *failure, const char *words)
{
    return api_fail(failure, API_STREAM_INVALID_CONFIG, "%s", words);
}

static bool check_name(struct bytes name, struct api_failure *failure)
{
    for (size_t i = 0; i < name.count; i++) {
        if (strchr(" \t\r\n\f.*>", name.data[i]) != NULL)
            return fail_config(failure,
                               "consumer name is required and can not contain '.', '*', '>'");
    }
    if (name.count > STREAM_NAME_BYTES_MAX)
        return api_fail(failure, API_CONSUMER_CREATE, "error creating store for consumer");
    return true;
}

static bool check_push(struct consumer_config *config, const struct stream_config *stream,
                       struct api_failure *failure)
{
    struct bytes deliver = text_bytes(&config->deliver_subject);
    if (deliver.count == 0)
        return fail_unsupported(failure, "pull consumers");
    if (!subject_is_literal(deliver))
        return api_fail(failure, API_DELIVER_TO_WILDCARDS, NULL);
    if (!subject_is_valid(deliver))
        return api_fail(failure, API_INVALID_DELIVER_SUBJECT, NULL);
    for (uint32_t i = 0; i < stream->subject_count; i++) {
        if (subject_matches(text_bytes(&stream->subjects[i]), deliver))
            return api_fail(failure, API_DELIVER_CYCLE, NULL);
    }
    if (config->max_waiting > 0)
        return api_fail(failure, API_PUSH_MAX_WAITING, NULL);
    if (config->max_ack_pending > 0)
        return api_fail(failure, API_MAX_PENDING_ACK_POLICY, NULL);
    if (config->idle_heartbeat_ns > 0 && config->idle_heartbeat_ns < NS_PER_SECOND / 10)
        return api_fail(failure, API_SMALL_HEARTBEAT, NULL);
    return true;
}

static bool check_filters(const struct consumer_config *config, struct api_failure *failure)
{
    if (config->filter_subject.count > 0 && config->filter_subject_count > 0)
        return api_fail(failure, API_DUPLICATE_FILTERS, NULL);
    if (config->filter_subject.count > 0 && !subject_is_valid(text_bytes(&config->filter_subject)))
        return fail_config(failure, "consumer filter is not a valid subject");
    for (uint32_t i = 0; i < config->filter_subject_count; i++) {
        struct bytes filter = text_bytes(&config->filter_subjects[i]);
        if (filter.count == 0)
            return api_fail(failure, API_EMPTY_FILTER, NULL);
        if (!subject_is_valid(filter))
            return fail_config(failure, "consumer filter is not a valid subject");
        for (uint32_t j = 0; j < config->filter_subject_count; j++) {
            if (i != j && subject_is_subset(text_bytes(&config->filter_subjects[j]), filter))
                return api_fail(failure, API_OVERLAPPING_FILTERS, NULL);
        }
    }
    return true;
}

static const char *const policy_words[] = {
    "all", "last", "new", "by start sequence", "by start time", "last per subject"};

static bool fail_policy(struct api_failure *failure, uint8_t policy, const char *what,
                        const char *is)
{
    return api_fail(failure, API_CONSUMER_INVALID_POLICY,
                    "consumer delivery policy is deliver %s, but optional %s is %s set",
                    policy_words[policy], what, is);
}

static bool check_policy(const struct consumer_config *config, struct api_failure *failure)
{
    uint8_t policy = config->deliver_policy;
    if (policy == DELIVER_BY_START_SEQUENCE && config->start_seq == 0)
        return fail_policy(failure, policy, "start sequence", "not");
    if (policy != DELIVER_BY_START_SEQUENCE && config->start_seq != 0)
        return fail_policy(
            failure, policy,
            policy == DELIVER_BY_START_TIME ? "start start sequence" : "start sequence", "also");
    if (policy == DELIVER_BY_START_TIME && !config->has_start_time)
        return fail_policy(failure, policy, "start time", "not");
    if (policy != DELIVER_BY_START_TIME && config->has_start_time)
        return fail_policy(failure, policy, "start time", "also");
    if (policy == DELIVER_LAST_PER_SUBJECT && consumer_config_filter_count(config) == 0)
        return fail_policy(failure, policy, "filter subject", "not");
    return true;
}

static void fill_defaults(struct consumer_config *config)
{
    if (config->max_deliver == 0 || config->max_deliver < -1)
        config->max_deliver = -1;
    if (config->idle_heartbeat_ns < 0)
        config->idle_heartbeat_ns = 0;
    if (config->inactive_threshold_ns < 0)
        config->inactive_threshold_ns = 0;
    if (config->inactive_threshold_ns == 0 && config->durable_name.count == 0)
        config->inactive_threshold_ns = 5 * NS_PER_SECOND;
    if (config->max_waiting < 0)
        config->max_waiting = 0;
    if (config->max_ack_pending < -1)
        config->max_ack_pending = -1;
}

bool consumer_config_check(struct consumer_config *config, const struct stream_config *stream,
                           struct api_failure *failure)
{
    fill_defaults(config);
    if (config->replicas > 1)
        return api_fail(failure, API_REPLICAS_NOT_SUPPORTED, NULL);
    if (config->replicas < 0)
        return api_fail(failure, API_REPLICAS_NEGATIVE, NULL);
    if (config->durable_name.count > 0)
        return fail_unsupported(failure, "durable consumers");
    if (!check_name(text_bytes(&config->name), failure) || !check_push(config, stream, failure)
        || !check_filters(config, failure) || !check_policy(config, failure))
        return false;
    if (config->flow_control && config->idle_heartbeat_ns == 0)
        return api_fail(failure, API_FLOW_CONTROL_REQUIRES_HEARTBEATS, NULL);
    return true;
}

/* ---- writing ---- */

static bool member_is_set(const struct consumer_config *config, const struct member *member)
{
    const void *field = (const char *)config + (member->offset == NOWHERE ? 0 : member->offset);
    switch (member->kind) {
    case IS_TEXT:
    case IS_TIME:
    case IS_PAUSE:
        return ((const struct text *)field)->count > 0;
    case IS_NUMBER:
        return *(const int64_t *)field != 0;
    case IS_U64:
        return *(const uint64_t *)field != 0;
    case IS_BOOL:
        return *(const bool *)field;
    case IS_FILTERS:
        return config->filter_subject_count > 0;
    case IS_WORD:
    case IS_METADATA:
        return true;
    case IS_UNSUPPORTED:
        return false;
    }
    return false;
}

static void append_filters(struct text *text, const struct consumer_config *config)
{
    for (uint32_t i = 0; i < config->filter_subject_count; i++) {
        text_append_literal(text, i == 0 ? "[" : ",");
        text_append_json_string(text, text_bytes(&config->filter_subjects[i]));
    }
    text_append_literal(text, "]");
}

static void append_metadata(struct text *text, const struct consumer_config *config,
                            bool with_server_metadata)
{
    text_append_literal(text, "{");
    text_append(text, text_bytes(&config->metadata));
    if (with_server_metadata)
        text_append_format(text, "\"_nats.level\":\"%d\",", KV_API_LEVEL);
    text_append_literal(text, "\"_nats.req.level\":\"0\"");
    if (with_server_metadata)
        text_append_literal(text, ",\"_nats.ver\":\"" KV_NATS_VERSION "\"");
    text_append_literal(text, "}");
}

static void append_value(struct text *text, const struct consumer_config *config,
                         const struct member *member, bool with_server_metadata)
{
    const void *field = (const char *)config + (member->offset == NOWHERE ? 0 : member->offset);
    switch (member->kind) {
    case IS_TEXT:
    case IS_TIME:
    case IS_PAUSE:
        text_append_json_string(text, text_bytes(field));
        return;
    case IS_NUMBER:
        text_append_i64(text, *(const int64_t *)field);
        return;
    case IS_U64:
        text_append_u64(text, *(const uint64_t *)field);
        return;
    case IS_BOOL:
        text_append_literal(text, *(const bool *)field ? "true" : "false");
        return;
    case IS_FILTERS:
        append_filters(text, config);
        return;
    case IS_METADATA:
        append_metadata(text, config, with_server_metadata);
        return;
    case IS_WORD: {
        uint8_t word = member->offset == NOWHERE ? 0 : *(const uint8_t *)field;
        text_append_json_string(text, bytes_of_text(member->words[word]));
        return;
    }
    case IS_UNSUPPORTED:
        break;
    }
    ASSERT(false);
}

void consumer_config_append(struct text *text, const struct consumer_config *config,
                            bool with_server_metadata)
{
    const char *separator = "{";
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        const struct member *member = &members[i];
        if (!member->is_always_out && !member_is_set(config, member))
            continue;
        text_append_format(text, "%s\"%s\":", separator, member->name);
        append_value(text, config, member, with_server_metadata);
        separator = ",";
    }
    text_append_literal(text, "}");
}

bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b)
{
    struct text left = {0}, right = {0};
    consumer_config_append(&left, a, false);
    consumer_config_append(&right, b, false);
    bool is_equal = bytes_equal(text_bytes(&left), text_bytes(&right));
    text_free(&left);
    text_free(&right);
    return is_equal;
}

uint32_t consumer_config_filter_count(const struct consumer_config *config)
{
    return config->filter_subject.count > 0 ? 1 : config->filter_subject_count;
}

struct bytes consumer_config_filter(const struct consumer_config *config, uint32_t index)
{
    ASSERT(index < consumer_config_filter_count(config));
    return config->filter_subject.count > 0 ? text_bytes(&config->filter_subject)
                                            : text_bytes(&config->filter_subjects[index]);
}

bool consumer_config_matches(const struct consumer_config *config, struct bytes subject)
{
    uint32_t count = consumer_config_filter_count(config);
    for (uint32_t i = 0; i < count; i++) {
        if (subject_matches(consumer_config_filter(config, i), subject))
            return true;
    }
    return count == 0;
}
