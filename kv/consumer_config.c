/*
 * kv/consumer_config.c: a consumer's configuration in and out of JSON.
 */
#include "kv/consumer_config.h"

#include <stdlib.h>
#include <strings.h>

#include "core/assert.h"
#include "core/subject.h"
#include "kv/version.h"

enum member_kind {
    IS_TEXT,
    IS_NUMBER,
    IS_U64,
    IS_BOOL,
    IS_WORD,
    IS_TEXTS,
    IS_BACKOFF,
    IS_TIME,
    IS_METADATA,
    IS_PAUSE,
};

enum member_out { OUT_ALWAYS, OUT_IF_SET };

struct member {
    const char *name;
    enum member_kind kind;
    enum member_out out;
    size_t offset;
    const char *words[6];
};

#define AT(field) offsetof(struct consumer_config, field)
static const struct member members[] = {
    {"durable_name", IS_TEXT, OUT_IF_SET, AT(durable_name), {0}},
    {"name", IS_TEXT, OUT_IF_SET, AT(name), {0}},
    {"description", IS_TEXT, OUT_IF_SET, AT(description), {0}},
    {"deliver_policy",
     IS_WORD,
     OUT_ALWAYS,
     AT(deliver_policy),
     {"all", "last", "new", "by_start_sequence", "by_start_time", "last_per_subject"}},
    {"opt_start_seq", IS_U64, OUT_IF_SET, AT(start_seq), {0}},
    {"opt_start_time", IS_TIME, OUT_IF_SET, AT(start_time_text), {0}},
    {"ack_policy",
     IS_WORD,
     OUT_ALWAYS,
     AT(ack_policy),
     {"none", "all", "explicit", "flow_control"}},
    {"ack_wait", IS_NUMBER, OUT_IF_SET, AT(ack_wait_ns), {0}},
    {"max_deliver", IS_NUMBER, OUT_IF_SET, AT(max_deliver), {0}},
    {"backoff", IS_BACKOFF, OUT_IF_SET, AT(backoff_ns), {0}},
    {"filter_subject", IS_TEXT, OUT_IF_SET, AT(filter_subject), {0}},
    {"filter_subjects", IS_TEXTS, OUT_IF_SET, AT(filter_subjects), {0}},
    {"replay_policy", IS_WORD, OUT_ALWAYS, AT(replay_policy), {"instant", "original"}},
    {"rate_limit_bps", IS_U64, OUT_IF_SET, AT(rate_limit_bps), {0}},
    {"sample_freq", IS_TEXT, OUT_IF_SET, AT(sample_freq), {0}},
    {"max_waiting", IS_NUMBER, OUT_IF_SET, AT(max_waiting), {0}},
    {"max_ack_pending", IS_NUMBER, OUT_IF_SET, AT(max_ack_pending), {0}},
    {"flow_control", IS_BOOL, OUT_IF_SET, AT(flow_control), {0}},
    {"headers_only", IS_BOOL, OUT_IF_SET, AT(headers_only), {0}},
    {"max_batch", IS_NUMBER, OUT_IF_SET, AT(max_batch), {0}},
    {"max_expires", IS_NUMBER, OUT_IF_SET, AT(max_expires_ns), {0}},
    {"max_bytes", IS_NUMBER, OUT_IF_SET, AT(max_bytes), {0}},
    {"deliver_subject", IS_TEXT, OUT_IF_SET, AT(deliver_subject), {0}},
    {"deliver_group", IS_TEXT, OUT_IF_SET, AT(deliver_group), {0}},
    {"idle_heartbeat", IS_NUMBER, OUT_IF_SET, AT(idle_heartbeat_ns), {0}},
    {"inactive_threshold", IS_NUMBER, OUT_IF_SET, AT(inactive_threshold_ns), {0}},
    {"num_replicas", IS_NUMBER, OUT_ALWAYS, AT(replicas), {0}},
    {"mem_storage", IS_BOOL, OUT_IF_SET, AT(mem_storage), {0}},
    {"direct", IS_BOOL, OUT_IF_SET, AT(direct), {0}},
    {"sourcing", IS_BOOL, OUT_IF_SET, AT(sourcing), {0}},
    {"metadata", IS_METADATA, OUT_ALWAYS, AT(metadata), {0}},
    {"pause_until", IS_PAUSE, OUT_IF_SET, AT(pause_until), {0}},
    {"priority_groups", IS_TEXTS, OUT_IF_SET, AT(priority_groups), {0}},
    {"priority_policy",
     IS_WORD,
     OUT_IF_SET,
     AT(priority_policy),
     {"none", "overflow", "pinned_client", "prioritized"}},
    {"priority_timeout", IS_NUMBER, OUT_IF_SET, AT(priority_timeout_ns), {0}},
};

static void texts_free(struct consumer_texts *texts)
{
    for (uint32_t i = 0; i < texts->count; i++)
        text_free(&texts->texts[i]);
    free(texts->texts);
    *texts = (struct consumer_texts){0};
}

void consumer_config_free(struct consumer_config *config)
{
    texts_free(&config->filter_subjects);
    texts_free(&config->priority_groups);
    free(config->backoff_ns);
    text_free(&config->name);
    text_free(&config->durable_name);
    text_free(&config->description);
    text_free(&config->deliver_subject);
    text_free(&config->deliver_group);
    text_free(&config->filter_subject);
    text_free(&config->start_time_text);
    text_free(&config->metadata);
    text_free(&config->pause_until);
    text_free(&config->sample_freq);
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

static bool fail_unknown(struct api_failure *failure, struct bytes name)
{
    return api_fail(failure, API_INVALID_JSON, "json: unknown field \"%.*s\"",
                    (int)(name.count < 64 ? name.count : 64), name.data);
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

static bool read_word(uint8_t *field, const struct json *value, const struct member *member,
                      struct api_failure *failure)
{
    if (json_type(value) != JSON_STRING)
        return fail_type(failure, value, member->name);
    struct bytes word = json_string(value);
    bool is_policy = member->offset == AT(deliver_policy);
    if (is_policy && bytes_equal(word, BYTES_LITERAL("undefined")))
        word = BYTES_LITERAL("all");
    for (uint8_t i = 0; i < COUNT_OF(member->words) && member->words[i] != NULL; i++) {
        if (bytes_equal(word, bytes_of_text(member->words[i]))) {
            *field = i;
            return true;
        }
    }
    return api_fail(failure, API_INVALID_JSON, "can not unmarshal \"%.*s\"",
                    (int)(word.count < 64 ? word.count : 64), word.data);
}

static bool read_texts(struct consumer_texts *texts, const struct json *value, const char *name,
                       struct api_failure *failure)
{
    if (json_type(value) != JSON_ARRAY)
        return fail_type(failure, value, name);
    uint32_t count = 0;
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item), count++)
        if (json_type(item) != JSON_STRING)
            return fail_type(failure, item, name);
    if (count > CONSUMER_FILTERS_MAX)
        return api_fail(failure, API_CONSUMER_CREATE, "a consumer takes at most %d of %s",
                        CONSUMER_FILTERS_MAX, name);
    texts_free(texts);
    texts->texts = calloc(count == 0 ? 1 : count, sizeof *texts->texts);
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item))
        text_append(&texts->texts[texts->count++], json_string(item));
    return true;
}

static bool read_backoff(struct consumer_config *config, const struct json *value,
                         struct api_failure *failure)
{
    if (json_type(value) != JSON_ARRAY)
        return fail_type(failure, value, "backoff");
    int64_t waits[CONSUMER_BACKOFF_MAX];
    uint32_t count = 0;
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        if (count == CONSUMER_BACKOFF_MAX)
            return api_fail(failure, API_CONSUMER_CREATE, "a consumer takes at most %d of backoff",
                            CONSUMER_BACKOFF_MAX);
        if (!json_i64(item, &waits[count++]))
            return fail_type(failure, item, "backoff");
    }
    free(config->backoff_ns);
    config->backoff_ns = calloc(count == 0 ? 1 : count, sizeof *waits);
    config->backoff_count = count;
    for (uint32_t i = 0; i < count; i++)
        config->backoff_ns[i] = waits[i];
    return true;
}

/* The server's own, of which the last two are never stored and the first is worked out anew. */
static bool is_server_metadata(struct bytes name)
{
    return bytes_equal(name, BYTES_LITERAL("_nats.req.level"))
           || bytes_equal(name, BYTES_LITERAL("_nats.ver"))
           || bytes_equal(name, BYTES_LITERAL("_nats.level"));
}

struct pair {
    const struct json *item;
    size_t index;
};

static int pair_compare(const void *a, const void *b)
{
    const struct pair *left = a, *right = b;
    int order = bytes_compare(json_name(left->item), json_name(right->item));
    return order != 0 ? order : (left->index > right->index) - (left->index < right->index);
}

/* By name, of duplicates the last: so that two configurations that say the same have the same text. */
static bool read_metadata(struct consumer_config *config, const struct json *value,
                          struct api_failure *failure)
{
    if (json_type(value) != JSON_OBJECT)
        return fail_type(failure, value, "metadata");
    size_t count = 0;
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item), count++)
        if (json_type(item) != JSON_STRING)
            return fail_type(failure, item, "metadata");
    struct pair *pairs = calloc(count + 1, sizeof *pairs);
    count = 0;
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item), count++)
        pairs[count] = (struct pair){item, count};
    qsort(pairs, count, sizeof *pairs, pair_compare);
    text_clear(&config->metadata);
    config->metadata_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct bytes name = json_name(pairs[i].item), text = json_string(pairs[i].item);
        bool is_last = i + 1 == count || !bytes_equal(name, json_name(pairs[i + 1].item));
        if (!is_last || is_server_metadata(name))
            continue;
        config->metadata_bytes += name.count + text.count;
        text_append_json_string(&config->metadata, name);
        text_append_literal(&config->metadata, ":");
        text_append_json_string(&config->metadata, text);
        text_append_literal(&config->metadata, ",");
    }
    free(pairs);
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

bool consumer_config_set_pause(struct consumer_config *config, struct bytes text)
{
    uint64_t unix_ns = 0;
    if (text.count > 0 && !text_parse_time(text, &unix_ns))
        return false;
    bool is_epoch = bytes_start_with(text, BYTES_LITERAL("1970-01-01T00:00:00"));
    text_clear(&config->pause_until);
    config->pause_until_ns = unix_ns;
    if (is_epoch && unix_ns == 0)
        text_append_literal(&config->pause_until, "1970-01-01T00:00:00Z");
    else if (text.count > 0)
        text_append_time(&config->pause_until, unix_ns);
    return true;
}

static bool read_pause(struct consumer_config *config, const struct json *value,
                       struct api_failure *failure)
{
    if (json_type(value) != JSON_STRING)
        return fail_type(failure, value, "pause_until");
    struct bytes text = json_string(value);
    if (text.count == 0 || !consumer_config_set_pause(config, text))
        return api_fail(failure, API_INVALID_JSON, "parsing time: not RFC 3339");
    return true;
}

static bool read_member(struct consumer_config *config, const struct json *value,
                        const struct member *member, struct api_failure *failure)
{
    void *field = (char *)config + member->offset;
    if (json_type(value) == JSON_NULL && member->kind != IS_WORD)
        return true;
    switch (member->kind) {
    case IS_TEXT:
        return read_text(field, value, member->name, failure);
    case IS_WORD:
        return read_word(field, value, member, failure);
    case IS_TEXTS:
        return read_texts(field, value, member->name, failure);
    case IS_BACKOFF:
        return read_backoff(config, value, failure);
    case IS_TIME:
        return read_time(config, value, failure);
    case IS_METADATA:
        return read_metadata(config, value, failure);
    case IS_PAUSE:
        return read_pause(config, value, failure);
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

static bool config_read(struct consumer_config *config, const struct json *object, bool is_strict,
                        struct api_failure *failure)
{
    if (json_type(object) == JSON_NULL)
        return true;
    if (json_type(object) != JSON_OBJECT)
        return fail_type(failure, object, "config");
    for (const struct json *item = json_first(object); item != NULL; item = json_next(item)) {
        const struct member *member = find_member(json_name(item));
        if (member == NULL && is_strict)
            return fail_unknown(failure, json_name(item));
        if (member != NULL && !read_member(config, item, member, failure))
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
    bool is_fine = config_read(config, json, false, &failure);
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

static bool name_is(struct bytes name, const char *word)
{
    return strlen(word) == name.count && strncasecmp(word, name.data, name.count) == 0;
}

static bool request_read_member(struct consumer_request *request, const struct json *value,
                                bool is_strict, struct api_failure *failure)
{
    struct bytes name = json_name(value);
    bool is_null = json_type(value) == JSON_NULL;
    if (name_is(name, "stream_name"))
        return is_null || read_text(&request->stream_name, value, "stream_name", failure);
    if (name_is(name, "config"))
        return config_read(&request->config, value, is_strict, failure);
    if (name_is(name, "action"))
        return request_read_action(request, value, failure);
    if (name_is(name, "pedantic")) {
        if (json_type(value) != JSON_BOOL && !is_null)
            return fail_type(failure, value, "pedantic");
        request->is_pedantic = !is_null && json_bool(value);
        return true;
    }
    return is_strict ? fail_unknown(failure, name) : true;
}

bool consumer_request_read(struct consumer_request *request, const struct json *object,
                           bool is_strict, struct api_failure *failure)
{
    if (json_type(object) == JSON_NULL)
        return true;
    if (json_type(object) != JSON_OBJECT)
        return api_fail(failure, API_INVALID_JSON,
                        "json: cannot unmarshal %s into Go value of type "
                        "server.CreateConsumerRequest",
                        json_type_words(json_type(object)));
    for (const struct json *item = json_first(object); item != NULL; item = json_next(item)) {
        if (!request_read_member(request, item, is_strict, failure))
            return false;
    }
    return true;
}

/* ---- writing ---- */

static bool member_is_set(const struct consumer_config *config, const struct member *member)
{
    const void *field = (const char *)config + member->offset;
    switch (member->kind) {
    case IS_TEXT:
    case IS_TIME:
    case IS_PAUSE:
    case IS_METADATA:
        return ((const struct text *)field)->count > 0;
    case IS_NUMBER:
        return *(const int64_t *)field != 0;
    case IS_U64:
        return *(const uint64_t *)field != 0;
    case IS_BOOL:
        return *(const bool *)field;
    case IS_TEXTS:
        return ((const struct consumer_texts *)field)->count > 0;
    case IS_BACKOFF:
        return config->backoff_count > 0;
    case IS_WORD:
        return *(const uint8_t *)field != 0;
    }
    return false;
}

static void append_texts(struct text *text, const struct consumer_texts *texts)
{
    for (uint32_t i = 0; i < texts->count; i++) {
        text_append_literal(text, i == 0 ? "[" : ",");
        text_append_json_string(text, text_bytes(&texts->texts[i]));
    }
    text_append_literal(text, "]");
}

static void append_backoff(struct text *text, const struct consumer_config *config)
{
    for (uint32_t i = 0; i < config->backoff_count; i++) {
        text_append_literal(text, i == 0 ? "[" : ",");
        text_append_i64(text, config->backoff_ns[i]);
    }
    text_append_literal(text, "]");
}

/* The level of nats-server's API that a configuration needs. */
static int required_level(const struct consumer_config *config)
{
    if (config->ack_policy == ACK_FLOW_CONTROL)
        return 4;
    bool has_pause = config->pause_until_ns != 0;
    return has_pause || config->priority_policy != PRIORITY_NONE
                   || config->priority_groups.count > 0
               ? 1
               : 0;
}

static void append_metadata(struct text *text, const struct consumer_config *config,
                            bool with_server_metadata)
{
    text_append_literal(text, "{");
    text_append(text, text_bytes(&config->metadata));
    if (with_server_metadata)
        text_append_format(text, "\"_nats.level\":\"%d\",", KV_API_LEVEL);
    text_append_format(text, "\"_nats.req.level\":\"%d\"", required_level(config));
    if (with_server_metadata)
        text_append_literal(text, ",\"_nats.ver\":\"" KV_NATS_VERSION "\"");
    text_append_literal(text, "}");
}

static void append_value(struct text *text, const struct consumer_config *config,
                         const struct member *member, bool with_server_metadata)
{
    const void *field = (const char *)config + member->offset;
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
    case IS_TEXTS:
        append_texts(text, field);
        return;
    case IS_BACKOFF:
        append_backoff(text, config);
        return;
    case IS_METADATA:
        append_metadata(text, config, with_server_metadata);
        return;
    case IS_WORD:
        text_append_json_string(text, bytes_of_text(member->words[*(const uint8_t *)field]));
        return;
    }
}

void consumer_config_append(struct text *text, const struct consumer_config *config,
                            bool with_server_metadata)
{
    const char *separator = "{";
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        const struct member *member = &members[i];
        if (member->out != OUT_ALWAYS && !member_is_set(config, member))
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
    return config->filter_subject.count > 0 ? 1 : config->filter_subjects.count;
}

struct bytes consumer_config_filter(const struct consumer_config *config, uint32_t index)
{
    ASSERT(index < consumer_config_filter_count(config));
    return config->filter_subject.count > 0 ? text_bytes(&config->filter_subject)
                                            : text_bytes(&config->filter_subjects.texts[index]);
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
