/*
 * kv/stream_config.c: reading a stream's configuration from JSON, and writing it.
 *
 * One table of members feeds both directions; its order is the order of nats-server's answers. The checks are in
 * stream_check.c.
 */
#include "kv/stream_config.h"

#include <stdlib.h>
#include <strings.h>

#include "core/assert.h"
#include "kv/stream_config_parts.h"
#include "kv/stream_source_config.h"

enum member_kind {
    MEMBER_TEXT,
    MEMBER_SUBJECTS,
    MEMBER_BOOL,
    MEMBER_NUMBER, /* int64_t */
    MEMBER_I32,    /* int64_t, of that range */
    MEMBER_U64,
    MEMBER_WORD,      /* an enumeration, uint8_t */
    MEMBER_FLAG_WORD, /* compression, persist_mode: bool */
    MEMBER_PLACEMENT,
    MEMBER_CONSUMER_LIMITS,
    MEMBER_METADATA,
    MEMBER_PEDANTIC,
    MEMBER_MIRROR,
    MEMBER_SOURCES,
    MEMBER_TRANSFORM,
    MEMBER_REPUBLISH,
};

enum member_output { OUT_ALWAYS, OUT_IF_SET, OUT_NEVER };

struct member {
    const char *name;
    enum member_kind kind;
    enum member_output output;
    size_t offset;
    const char *words[3]; /* MEMBER_WORD: the values, in the order of the enumeration */
};

#define AT(field) offsetof(struct stream_config, field)
static const struct member members[] = {
    {"name", MEMBER_TEXT, OUT_ALWAYS, AT(name), {0}},
    {"description", MEMBER_TEXT, OUT_IF_SET, AT(description), {0}},
    {"subjects", MEMBER_SUBJECTS, OUT_IF_SET, AT(subjects), {0}},
    {"retention", MEMBER_WORD, OUT_ALWAYS, AT(retention), {"limits", "interest", "workqueue"}},
    {"max_consumers", MEMBER_NUMBER, OUT_ALWAYS, AT(consumers_max), {0}},
    {"max_msgs", MEMBER_NUMBER, OUT_ALWAYS, AT(messages_max), {0}},
    {"max_bytes", MEMBER_NUMBER, OUT_ALWAYS, AT(bytes_max), {0}},
    {"max_age", MEMBER_NUMBER, OUT_ALWAYS, AT(age_max_ns), {0}},
    {"max_msgs_per_subject", MEMBER_NUMBER, OUT_ALWAYS, AT(messages_per_subject_max), {0}},
    {"max_msg_size", MEMBER_I32, OUT_IF_SET, AT(message_size_max), {0}},
    {"discard", MEMBER_WORD, OUT_ALWAYS, AT(discard), {"old", "new"}},
    {"storage", MEMBER_WORD, OUT_ALWAYS, AT(storage), {"file", "memory"}},
    {"num_replicas", MEMBER_NUMBER, OUT_ALWAYS, AT(replicas), {0}},
    {"no_ack", MEMBER_BOOL, OUT_IF_SET, AT(no_ack), {0}},
    {"duplicate_window", MEMBER_NUMBER, OUT_IF_SET, AT(duplicate_window_ns), {0}},
    {"placement", MEMBER_PLACEMENT, OUT_IF_SET, AT(placement), {0}},
    {"mirror", MEMBER_MIRROR, OUT_IF_SET, 0, {0}},
    {"sources", MEMBER_SOURCES, OUT_IF_SET, 0, {0}},
    {"compression", MEMBER_FLAG_WORD, OUT_ALWAYS, AT(is_s2), {"none", "s2"}},
    {"first_seq", MEMBER_U64, OUT_IF_SET, AT(first_seq), {0}},
    {"subject_transform", MEMBER_TRANSFORM, OUT_IF_SET, 0, {0}},
    {"republish", MEMBER_REPUBLISH, OUT_IF_SET, 0, {0}},
    {"allow_direct", MEMBER_BOOL, OUT_ALWAYS, AT(allow_direct), {0}},
    {"mirror_direct", MEMBER_BOOL, OUT_ALWAYS, AT(mirror_direct), {0}},
    {"discard_new_per_subject", MEMBER_BOOL, OUT_IF_SET, AT(discard_new_per_subject), {0}},
    {"sealed", MEMBER_BOOL, OUT_ALWAYS, AT(sealed), {0}},
    {"deny_delete", MEMBER_BOOL, OUT_ALWAYS, AT(deny_delete), {0}},
    {"deny_purge", MEMBER_BOOL, OUT_ALWAYS, AT(deny_purge), {0}},
    {"allow_rollup_hdrs", MEMBER_BOOL, OUT_ALWAYS, AT(allow_rollup), {0}},
    {"consumer_limits", MEMBER_CONSUMER_LIMITS, OUT_ALWAYS, 0, {0}},
    {"allow_msg_ttl", MEMBER_BOOL, OUT_ALWAYS, AT(allow_msg_ttl), {0}},
    {"subject_delete_marker_ttl", MEMBER_NUMBER, OUT_IF_SET, AT(marker_ttl_ns), {0}},
    {"allow_msg_counter", MEMBER_BOOL, OUT_IF_SET, AT(allow_counter), {0}},
    {"allow_atomic", MEMBER_BOOL, OUT_IF_SET, AT(allow_atomic), {0}},
    {"allow_msg_schedules", MEMBER_BOOL, OUT_IF_SET, AT(allow_schedules), {0}},
    {"persist_mode", MEMBER_FLAG_WORD, OUT_IF_SET, AT(is_async), {"default", "async", ""}},
    {"allow_batched", MEMBER_BOOL, OUT_IF_SET, AT(allow_batched), {0}},
    {"metadata", MEMBER_METADATA, OUT_ALWAYS, AT(metadata), {0}},
    {"pedantic", MEMBER_PEDANTIC, OUT_NEVER, AT(is_pedantic), {0}},
};

static void subjects_free(struct stream_config *config)
{
    for (uint32_t i = 0; i < config->subject_count; i++)
        text_free(&config->subjects[i]);
    free(config->subjects);
    config->subjects = NULL;
    config->subject_count = 0;
}

void stream_config_free(struct stream_config *config)
{
    text_free(&config->name);
    text_free(&config->description);
    text_free(&config->placement);
    subjects_free(config);
    metadata_free(config);
    stream_sources_free(config);
    *config = (struct stream_config){0};
}

/* ---- reading ---- */

static void text_set(struct text *text, struct bytes bytes)
{
    text_clear(text);
    text_append(text, bytes);
}

static bool read_subjects(struct stream_config *config, const struct json *value,
                          const struct member *member, struct api_failure *failure)
{
    if (json_type(value) != JSON_ARRAY)
        return stream_config_fail_type(failure, value, member->name, "[]string");
    uint32_t count = 0;
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item), count++)
        if (json_type(item) != JSON_STRING)
            return stream_config_fail_type(failure, item, member->name, "string");
    if (count > STREAM_SUBJECTS_MAX)
        return api_fail(failure, API_STREAM_INVALID_CONFIG, "a stream takes at most %d subjects",
                        STREAM_SUBJECTS_MAX);
    subjects_free(config);
    config->subjects = calloc(count == 0 ? 1 : count, sizeof *config->subjects);
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item))
        text_append(&config->subjects[config->subject_count++], json_string(item));
    return true;
}

static bool word_is(struct bytes word, const char *wanted, bool ignores_case)
{
    return word.count == strlen(wanted)
           && (ignores_case ? strncasecmp(word.data, wanted, word.count) == 0
                            : memcmp(word.data, wanted, word.count) == 0);
}

static bool read_word(struct stream_config *config, const struct json *value,
                      const struct member *member, struct api_failure *failure)
{
    if (json_type(value) != JSON_STRING)
        return stream_config_fail_type(failure, value, member->name, "string");
    struct bytes word = json_string(value);
    bool ignores_case = member->offset == AT(discard);
    for (uint8_t i = 0; i < COUNT_OF(member->words) && member->words[i] != NULL; i++) {
        if (!word_is(word, member->words[i], ignores_case))
            continue;
        if (member->kind == MEMBER_FLAG_WORD)
            *(bool *)((char *)config + member->offset) = i == 1;
        else
            *((uint8_t *)config + member->offset) = i;
        return true;
    }
    return api_fail(failure, API_INVALID_JSON, "can not unmarshal \"%.*s\"",
                    (int)(word.count < 64 ? word.count : 64), word.data);
}

static bool read_scalar(struct stream_config *config, const struct json *value,
                        const struct member *member, struct api_failure *failure)
{
    void *field = (char *)config + member->offset;
    switch (member->kind) {
    case MEMBER_TEXT:
        if (json_type(value) != JSON_STRING)
            return stream_config_fail_type(failure, value, member->name, "string");
        text_set(field, json_string(value));
        return true;
    case MEMBER_BOOL:
    case MEMBER_PEDANTIC:
        if (json_type(value) != JSON_BOOL)
            return stream_config_fail_type(failure, value, member->name, "bool");
        *(bool *)field = json_bool(value);
        return true;
    case MEMBER_NUMBER:
        return json_i64(value, field)
                   ? true
                   : stream_config_fail_type(failure, value, member->name, "int64");
    case MEMBER_U64:
        return json_u64(value, field)
                   ? true
                   : stream_config_fail_type(failure, value, member->name, "uint64");
    case MEMBER_I32: {
        int64_t number;
        if (!json_i64(value, &number) || number != (int32_t)number)
            return stream_config_fail_type(failure, value, member->name, "int32");
        *(int64_t *)field = number;
        return true;
    }
    default:
        break;
    }
    ASSERT(false);
    return false;
}

static bool read_member(struct stream_config *config, const struct json *value,
                        const struct member *member, bool is_strict, struct api_failure *failure)
{
    if (member->kind == MEMBER_WORD || member->kind == MEMBER_FLAG_WORD)
        return read_word(config, value, member, failure);
    if (json_type(value) == JSON_NULL)
        return true;
    if (member->kind == MEMBER_SUBJECTS)
        return read_subjects(config, value, member, failure);
    if (member->kind == MEMBER_METADATA)
        return metadata_read(config, value, failure);
    if (member->kind == MEMBER_PLACEMENT)
        return placement_read(config, value, is_strict, failure);
    if (member->kind == MEMBER_CONSUMER_LIMITS)
        return consumer_limits_read(config, value, is_strict, failure);
    if (member->kind == MEMBER_MIRROR)
        return mirror_read(config, value, is_strict, failure);
    if (member->kind == MEMBER_SOURCES)
        return sources_read(config, value, is_strict, failure);
    if (member->kind == MEMBER_TRANSFORM)
        return transform_read(config, value, is_strict, failure);
    if (member->kind == MEMBER_REPUBLISH)
        return republish_read(config, value, is_strict, failure);
    return read_scalar(config, value, member, failure);
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

bool stream_config_read(struct stream_config *config, const struct json *object, bool is_strict,
                        struct api_failure *failure)
{
    if (json_type(object) == JSON_NULL)
        return true;
    if (json_type(object) != JSON_OBJECT)
        return api_fail(failure, API_INVALID_JSON,
                        "json: cannot unmarshal %s into Go value of type server.StreamConfig",
                        json_type_words(json_type(object)));
    for (const struct json *item = json_first(object); item != NULL; item = json_next(item)) {
        struct bytes name = json_name(item);
        const struct member *member = find_member(name);
        if (member == NULL && is_strict)
            return stream_config_fail_unknown(failure, name);
        if (member != NULL && !read_member(config, item, member, is_strict, failure))
            return false;
    }
    return true;
}

/* ---- writing ---- */

static void append_subjects(struct text *text, const struct stream_config *config)
{
    text_append_literal(text, "[");
    for (uint32_t i = 0; i < config->subject_count; i++) {
        if (i > 0)
            text_append_literal(text, ",");
        text_append_json_string(text, text_bytes(&config->subjects[i]));
    }
    text_append_literal(text, "]");
}

static bool member_is_set(const struct stream_config *config, const struct member *member)
{
    const void *field = (const char *)config + member->offset;
    switch (member->kind) {
    case MEMBER_TEXT:
    case MEMBER_PLACEMENT:
        return ((const struct text *)field)->count > 0;
    case MEMBER_SUBJECTS:
        return config->subject_count > 0;
    case MEMBER_MIRROR:
        return config->mirror != NULL;
    case MEMBER_SOURCES:
        return config->source_count > 0;
    case MEMBER_TRANSFORM:
        return config->transform != NULL;
    case MEMBER_REPUBLISH:
        return config->republish != NULL;
    case MEMBER_BOOL:
    case MEMBER_FLAG_WORD:
        return *(const bool *)field;
    case MEMBER_NUMBER:
    case MEMBER_I32:
        return *(const int64_t *)field != 0;
    case MEMBER_U64:
        return *(const uint64_t *)field != 0;
    default:
        return true;
    }
}

static void append_value(struct text *text, const struct stream_config *config,
                         const struct member *member, bool with_server_metadata)
{
    const void *field = (const char *)config + member->offset;
    switch (member->kind) {
    case MEMBER_TEXT:
        text_append_json_string(text, text_bytes(field));
        return;
    case MEMBER_SUBJECTS:
        append_subjects(text, config);
        return;
    case MEMBER_BOOL:
        text_append_literal(text, *(const bool *)field ? "true" : "false");
        return;
    case MEMBER_NUMBER:
    case MEMBER_I32:
        text_append_i64(text, *(const int64_t *)field);
        return;
    case MEMBER_U64:
        text_append_u64(text, *(const uint64_t *)field);
        return;
    case MEMBER_PLACEMENT:
        text_append(text, text_bytes(field));
        return;
    case MEMBER_CONSUMER_LIMITS:
        consumer_limits_append(text, config);
        return;
    case MEMBER_METADATA:
        metadata_append(text, config, with_server_metadata);
        return;
    case MEMBER_WORD:
    case MEMBER_FLAG_WORD:
        text_append_json_string(text, bytes_of_text(member->words[*(const uint8_t *)field]));
        return;
    case MEMBER_MIRROR:
        mirror_append(text, config);
        return;
    case MEMBER_SOURCES:
        sources_append(text, config);
        return;
    case MEMBER_TRANSFORM:
        transform_append(text, config);
        return;
    case MEMBER_REPUBLISH:
        republish_append(text, config);
        return;
    case MEMBER_PEDANTIC:
        break;
    }
    ASSERT(false);
}

void stream_config_append(struct text *text, const struct stream_config *config,
                          bool with_server_metadata)
{
    const char *separator = "{";
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        const struct member *member = &members[i];
        if (member->output == OUT_NEVER
            || (member->output == OUT_IF_SET && !member_is_set(config, member)))
            continue;
        text_append_format(text, "%s\"%s\":", separator, member->name);
        append_value(text, config, member, with_server_metadata);
        separator = ",";
    }
    text_append_literal(text, "}");
}

bool stream_config_equal(const struct stream_config *a, const struct stream_config *b)
{
    struct text left = {0}, right = {0};
    stream_config_append(&left, a, false);
    stream_config_append(&right, b, false);
    bool is_equal = bytes_equal(text_bytes(&left), text_bytes(&right));
    text_free(&left);
    text_free(&right);
    return is_equal;
}

struct bytes stream_config_bucket(const struct stream_config *config)
{
    struct bytes name = text_bytes(&config->name);
    if (config->subject_count != 1 || !bytes_start_with(name, BYTES_LITERAL("KV_")))
        return (struct bytes){0};
    struct bytes bucket = bytes_after(name, 3);
    struct bytes subject = text_bytes(&config->subjects[0]);
    if (bucket.count == 0 || subject.count != bucket.count + 6
        || !bytes_start_with(subject, BYTES_LITERAL("$KV."))
        || !bytes_start_with(bytes_after(subject, 4), bucket)
        || !bytes_equal(bytes_after(subject, 4 + bucket.count), BYTES_LITERAL(".>")))
        return (struct bytes){0};
    return bucket;
}

int stream_config_level(const struct stream_config *config)
{
    if (config->allow_batched)
        return 4;
    if (config->allow_counter || config->allow_atomic || config->allow_schedules
        || config->is_async)
        return 2;
    return config->allow_msg_ttl || config->marker_ttl_ns > 0 ? 1 : 0;
}

bool stream_config_needs_whole_keys(const struct stream_config *config)
{
    return config->mirror != NULL || config->source_count > 0 || config->transform != NULL;
}

bool stream_config_needs_one_place(const struct stream_config *config)
{
    bool is_limited = config->messages_max > 0 || config->bytes_max > 0;
    return stream_config_bucket(config).count == 0 || stream_config_needs_whole_keys(config)
           || (is_limited && config->discard == STREAM_DISCARD_OLD);
}

bool stream_config_needs_one_stripe(const struct stream_config *config)
{
    return stream_config_bucket(config).count == 0 || config->messages_max > 0
           || config->bytes_max > 0 || stream_config_needs_whole_keys(config);
}
