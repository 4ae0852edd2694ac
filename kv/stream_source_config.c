/*
 * kv/stream_source_config.c: reading and writing mirror, sources, subject_transform and republish. The checks are in
 * stream_source_check.c.
 */
#include "kv/stream_source_config.h"

#include <stdlib.h>
#include <strings.h>

#include "core/assert.h"
#include "core/hash.h"
#include "kv/stream_config_parts.h"

/* ---- ends ---- */

static void transform_free(struct transform_config *transform)
{
    text_free(&transform->source);
    text_free(&transform->destination);
}

void stream_source_free(struct stream_source *source)
{
    text_free(&source->name);
    text_free(&source->filter);
    text_free(&source->external_api);
    text_free(&source->external_deliver);
    for (uint32_t i = 0; i < source->transform_count; i++)
        transform_free(&source->transforms[i]);
    free(source->transforms);
    *source = (struct stream_source){0};
}

static void mirror_free(struct stream_config *config)
{
    if (config->mirror != NULL)
        stream_source_free(config->mirror);
    free(config->mirror);
    config->mirror = NULL;
}

static void sources_free(struct stream_config *config)
{
    for (uint32_t i = 0; i < config->source_count; i++)
        stream_source_free(&config->sources[i]);
    free(config->sources);
    config->sources = NULL;
    config->source_count = 0;
}

static void subject_transform_free(struct stream_config *config)
{
    if (config->transform != NULL)
        transform_free(config->transform);
    free(config->transform);
    config->transform = NULL;
}

static void republish_free(struct stream_config *config)
{
    if (config->republish != NULL)
        transform_free(&config->republish->transform);
    free(config->republish);
    config->republish = NULL;
}

void stream_sources_free(struct stream_config *config)
{
    mirror_free(config);
    sources_free(config);
    subject_transform_free(config);
    republish_free(config);
}

/* ---- reading ---- */

static void *allocate(size_t count, size_t bytes)
{
    void *memory = calloc(count == 0 ? 1 : count, bytes);
    ASSERT(memory != NULL);
    return memory;
}

static bool name_is(struct bytes name, const char *wanted)
{
    return name.count == strlen(wanted) && strncasecmp(name.data, wanted, name.count) == 0;
}

static bool read_text(struct text *text, const struct json *value, const char *name,
                      struct api_failure *failure)
{
    if (json_type(value) == JSON_NULL)
        return true;
    if (json_type(value) != JSON_STRING)
        return stream_config_fail_type(failure, value, name, "string");
    text_clear(text);
    text_append(text, json_string(value));
    return true;
}

static bool read_transform(struct transform_config *transform, bool *headers_only,
                           const struct json *object, const char *where, bool is_strict,
                           struct api_failure *failure)
{
    if (json_type(object) != JSON_OBJECT)
        return stream_config_fail_type(failure, object, where, "object");
    for (const struct json *item = json_first(object); item != NULL; item = json_next(item)) {
        bool is_fine = true;
        if (name_is(json_name(item), "src"))
            is_fine = read_text(&transform->source, item, "src", failure);
        else if (name_is(json_name(item), "dest"))
            is_fine = read_text(&transform->destination, item, "dest", failure);
        else if (headers_only != NULL && name_is(json_name(item), "headers_only")
                 && json_type(item) == JSON_BOOL)
            *headers_only = json_bool(item);
        else if (headers_only != NULL && name_is(json_name(item), "headers_only")
                 && json_type(item) != JSON_NULL)
            is_fine = stream_config_fail_type(failure, item, "headers_only", "bool");
        else if (is_strict && !(headers_only != NULL && name_is(json_name(item), "headers_only")))
            is_fine = stream_config_fail_unknown(failure, json_name(item));
        if (!is_fine)
            return false;
    }
    return true;
}

static bool read_transforms(struct stream_source *source, const struct json *value, bool is_strict,
                            struct api_failure *failure)
{
    uint32_t count = 0;
    if (json_type(value) == JSON_NULL)
        return true;
    if (json_type(value) != JSON_ARRAY)
        return stream_config_fail_type(failure, value, "subject_transforms", "array");
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item))
        count++;
    if (count > STREAM_TRANSFORMS_MAX)
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "a source takes at most %d subject transforms", STREAM_TRANSFORMS_MAX);
    for (uint32_t i = 0; i < source->transform_count; i++)
        transform_free(&source->transforms[i]);
    free(source->transforms);
    source->transform_count = 0;
    source->transforms = allocate(count, sizeof *source->transforms);
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        struct transform_config *transform = &source->transforms[source->transform_count++];
        if (json_type(item) != JSON_NULL
            && !read_transform(transform, NULL, item, "subject_transforms", is_strict, failure))
            return false;
    }
    return true;
}

static bool read_external(struct stream_source *source, const struct json *value, bool is_strict,
                          struct api_failure *failure)
{
    if (json_type(value) == JSON_NULL)
        return true;
    if (json_type(value) != JSON_OBJECT)
        return stream_config_fail_type(failure, value, "external", "object");
    source->is_external = true;
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        bool is_fine = true;
        if (name_is(json_name(item), "api"))
            is_fine = read_text(&source->external_api, item, "api", failure);
        else if (name_is(json_name(item), "deliver"))
            is_fine = read_text(&source->external_deliver, item, "deliver", failure);
        else if (is_strict)
            is_fine = stream_config_fail_unknown(failure, json_name(item));
        if (!is_fine)
            return false;
    }
    return true;
}

static bool read_start_time(struct stream_source *source, const struct json *value,
                            struct api_failure *failure)
{
    if (json_type(value) == JSON_NULL)
        return true;
    if (json_type(value) != JSON_STRING
        || !text_parse_time(json_string(value), &source->start_time_ns))
        return stream_config_fail_type(failure, value, "opt_start_time", "time.Time");
    source->has_start_time = true;
    return true;
}

static bool source_read_member(struct stream_source *source, const struct json *item,
                               bool is_strict, struct api_failure *failure)
{
    struct bytes name = json_name(item);
    if (name_is(name, "name"))
        return read_text(&source->name, item, "name", failure);
    if (name_is(name, "filter_subject"))
        return read_text(&source->filter, item, "filter_subject", failure);
    if (name_is(name, "opt_start_seq"))
        return json_type(item) == JSON_NULL || json_u64(item, &source->start_seq)
               || stream_config_fail_type(failure, item, "opt_start_seq", "uint64");
    if (name_is(name, "opt_start_time"))
        return read_start_time(source, item, failure);
    if (name_is(name, "subject_transforms"))
        return read_transforms(source, item, is_strict, failure);
    if (name_is(name, "external"))
        return read_external(source, item, is_strict, failure);
    if (name_is(name, "consumer"))
        return json_type(item) == JSON_NULL
               || api_fail(failure, API_STREAM_INVALID_CONFIG,
                           "pail does not source through a consumer of yours yet");
    return !is_strict || stream_config_fail_unknown(failure, name);
}

static bool source_read(struct stream_source *source, const struct json *object, const char *where,
                        bool is_strict, struct api_failure *failure)
{
    if (json_type(object) != JSON_OBJECT)
        return stream_config_fail_type(failure, object, where, "server.StreamSource");
    for (const struct json *item = json_first(object); item != NULL; item = json_next(item)) {
        if (!source_read_member(source, item, is_strict, failure))
            return false;
    }
    return true;
}

bool mirror_read(struct stream_config *config, const struct json *value, bool is_strict,
                 struct api_failure *failure)
{
    mirror_free(config);
    config->mirror = allocate(1, sizeof *config->mirror);
    return source_read(config->mirror, value, "mirror", is_strict, failure);
}

bool sources_read(struct stream_config *config, const struct json *value, bool is_strict,
                  struct api_failure *failure)
{
    uint32_t count = 0;
    if (json_type(value) != JSON_ARRAY)
        return stream_config_fail_type(failure, value, "sources", "array");
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item))
        count++;
    if (count > STREAM_SOURCES_MAX)
        return api_fail(failure, API_STREAM_INVALID_CONFIG, "a stream takes at most %d sources",
                        STREAM_SOURCES_MAX);
    sources_free(config);
    config->sources = allocate(count, sizeof *config->sources);
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        struct stream_source *source = &config->sources[config->source_count++];
        if (json_type(item) != JSON_NULL
            && !source_read(source, item, "sources", is_strict, failure))
            return false;
    }
    return true;
}

bool transform_read(struct stream_config *config, const struct json *value, bool is_strict,
                    struct api_failure *failure)
{
    subject_transform_free(config);
    config->transform = allocate(1, sizeof *config->transform);
    return read_transform(config->transform, NULL, value, "subject_transform", is_strict, failure);
}

bool republish_read(struct stream_config *config, const struct json *value, bool is_strict,
                    struct api_failure *failure)
{
    republish_free(config);
    config->republish = allocate(1, sizeof *config->republish);
    return read_transform(&config->republish->transform, &config->republish->headers_only, value,
                          "republish", is_strict, failure);
}

/* ---- writing ---- */

static void append_pair(struct text *text, const struct transform_config *transform)
{
    text_append_literal(text, "{\"src\":");
    text_append_json_string(text, text_bytes(&transform->source));
    text_append_literal(text, ",\"dest\":");
    text_append_json_string(text, text_bytes(&transform->destination));
}

void transforms_append(struct text *text, const struct transform_config *transforms, uint32_t count)
{
    text_append_literal(text, "[");
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            text_append_literal(text, ",");
        append_pair(text, &transforms[i]);
        text_append_literal(text, "}");
    }
    text_append_literal(text, "]");
}

void external_append(struct text *text, const struct stream_source *source)
{
    text_append_literal(text, "{\"api\":");
    text_append_json_string(text, text_bytes(&source->external_api));
    text_append_literal(text, ",\"deliver\":");
    text_append_json_string(text, text_bytes(&source->external_deliver));
    text_append_literal(text, "}");
}

static void source_append(struct text *text, const struct stream_source *source)
{
    text_append_literal(text, "{\"name\":");
    text_append_json_string(text, text_bytes(&source->name));
    if (source->start_seq > 0)
        text_append_format(text, ",\"opt_start_seq\":%llu", (unsigned long long)source->start_seq);
    if (source->has_start_time) {
        text_append_literal(text, ",\"opt_start_time\":\"");
        text_append_time(text, source->start_time_ns);
        text_append_literal(text, "\"");
    }
    if (source->filter.count > 0) {
        text_append_literal(text, ",\"filter_subject\":");
        text_append_json_string(text, text_bytes(&source->filter));
    }
    if (source->transform_count > 0) {
        text_append_literal(text, ",\"subject_transforms\":");
        transforms_append(text, source->transforms, source->transform_count);
    }
    if (source->is_external) {
        text_append_literal(text, ",\"external\":");
        external_append(text, source);
    }
    text_append_literal(text, "}");
}

void mirror_append(struct text *text, const struct stream_config *config)
{
    source_append(text, config->mirror);
}

void sources_append(struct text *text, const struct stream_config *config)
{
    text_append_literal(text, "[");
    for (uint32_t i = 0; i < config->source_count; i++) {
        if (i > 0)
            text_append_literal(text, ",");
        source_append(text, &config->sources[i]);
    }
    text_append_literal(text, "]");
}

void transform_append(struct text *text, const struct stream_config *config)
{
    append_pair(text, config->transform);
    text_append_literal(text, "}");
}

void republish_append(struct text *text, const struct stream_config *config)
{
    append_pair(text, &config->republish->transform);
    if (config->republish->headers_only)
        text_append_literal(text, ",\"headers_only\":true");
    text_append_literal(text, "}");
}

/* ---- what a source is called ---- */

void source_hash(struct bytes text, char out[SOURCE_HASH_BYTES])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint32_t first = crc32c(0, text.data, text.count);
    uint32_t second = crc32c(first, "pail", 4);
    second = crc32c(second, text.data, text.count);
    for (unsigned i = 0; i < SOURCE_HASH_BYTES; i++) {
        uint32_t *half = i < SOURCE_HASH_BYTES / 2 ? &first : &second;
        out[i] = digits[*half % 62];
        *half /= 62;
    }
}

static void append_or_all(struct text *text, struct bytes subject)
{
    text_append(text, subject.count == 0 ? BYTES_LITERAL(">") : subject);
}

void source_identity_make(struct source_identity *identity, const struct stream_source *source)
{
    *identity = (struct source_identity){0};
    text_append(&identity->name, text_bytes(&source->name));
    if (source->is_external) {
        char hash[SOURCE_HASH_BYTES];
        source_hash(text_bytes(&source->external_api), hash);
        text_append_literal(&identity->name, ":");
        text_append(&identity->name, bytes_of(hash, sizeof hash));
    }
    if (source->transform_count == 0) {
        append_or_all(&identity->filter, text_bytes(&source->filter));
        text_append_literal(&identity->destination, ">");
    }
    for (uint32_t i = 0; i < source->transform_count; i++) {
        if (i > 0) {
            text_append_literal(&identity->filter, "\f");
            text_append_literal(&identity->destination, "\f");
        }
        append_or_all(&identity->filter, text_bytes(&source->transforms[i].source));
        append_or_all(&identity->destination, text_bytes(&source->transforms[i].destination));
    }
}

bool source_identity_equal(const struct source_identity *a, const struct source_identity *b)
{
    return bytes_equal(text_bytes(&a->name), text_bytes(&b->name))
           && bytes_equal(text_bytes(&a->filter), text_bytes(&b->filter))
           && bytes_equal(text_bytes(&a->destination), text_bytes(&b->destination));
}

void source_identity_free(struct source_identity *identity)
{
    text_free(&identity->name);
    text_free(&identity->filter);
    text_free(&identity->destination);
}
