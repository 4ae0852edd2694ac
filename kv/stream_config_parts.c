/*
 * kv/stream_config_parts.c: placement, consumer limits and metadata of a stream.
 *
 * Source: jetstream-streams.md sections 3.2 and 3.6.
 */
#include "kv/stream_config_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "core/assert.h"
#include "kv/version.h"

bool stream_config_fail_type(struct api_failure *failure, const struct json *value,
                             const char *member, const char *wanted)
{
    return api_fail(failure, API_INVALID_JSON,
                    "json: cannot unmarshal %s into Go struct field StreamConfig.%s of type %s",
                    json_type_words(json_type(value)), member, wanted);
}

bool stream_config_fail_unknown(struct api_failure *failure, struct bytes name)
{
    return api_fail(failure, API_INVALID_JSON, "json: unknown field \"%.*s\"",
                    (int)(name.count < 64 ? name.count : 64), name.data);
}

static bool is_named(const struct json *item, const char *name)
{
    struct bytes given = json_name(item);
    return strlen(name) == given.count && strncasecmp(name, given.data, given.count) == 0;
}

/* ---- placement ---- */

struct placement {
    const struct json *cluster, *tags, *preferred; /* NULL or null: not given */
};

static bool placement_find(struct placement *placement, const struct json *value, bool is_strict,
                           struct api_failure *failure)
{
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        bool is_text = is_named(item, "cluster") || is_named(item, "preferred");
        bool is_tags = is_named(item, "tags");
        if (!is_text && !is_tags) {
            if (is_strict)
                return stream_config_fail_unknown(failure, json_name(item));
            continue;
        }
        if (json_type(item) == JSON_NULL)
            continue;
        if (is_text && json_type(item) != JSON_STRING)
            return stream_config_fail_type(failure, item, "placement", "string");
        if (is_tags && json_type(item) != JSON_ARRAY)
            return stream_config_fail_type(failure, item, "placement.tags", "[]string");
        for (const struct json *tag = is_tags ? json_first(item) : NULL; tag != NULL;
             tag = json_next(tag))
            if (json_type(tag) != JSON_STRING)
                return stream_config_fail_type(failure, tag, "placement.tags", "string");
        *(is_tags                     ? &placement->tags
          : is_named(item, "cluster") ? &placement->cluster
                                      : &placement->preferred) = item;
    }
    return true;
}

static void append_text_member(struct text *text, const char *name, const struct json *value)
{
    if (value == NULL || json_string(value).count == 0)
        return;
    text_append_format(text, "%s\"%s\":", text->count == 0 ? "{" : ",", name);
    text_append_json_string(text, json_string(value));
}

static void append_tags(struct text *text, const struct json *tags)
{
    const struct json *tag = tags == NULL ? NULL : json_first(tags);
    if (tag == NULL)
        return;
    text_append_format(text, "%s\"tags\":[", text->count == 0 ? "{" : ",");
    for (const char *separator = ""; tag != NULL; tag = json_next(tag), separator = ",") {
        text_append_literal(text, separator);
        text_append_json_string(text, json_string(tag));
    }
    text_append_literal(text, "]");
}

bool placement_read(struct stream_config *config, const struct json *value, bool is_strict,
                    struct api_failure *failure)
{
    struct placement placement = {0};
    if (json_type(value) != JSON_OBJECT)
        return stream_config_fail_type(failure, value, "placement", "server.Placement");
    if (!placement_find(&placement, value, is_strict, failure))
        return false;
    text_clear(&config->placement);
    append_text_member(&config->placement, "cluster", placement.cluster);
    append_tags(&config->placement, placement.tags);
    append_text_member(&config->placement, "preferred", placement.preferred);
    if (config->placement.count > 0)
        text_append_literal(&config->placement, "}");
    config->placement_is_preferred =
        placement.preferred != NULL && json_string(placement.preferred).count > 0;
    return true;
}

/* ---- consumer limits ---- */

bool consumer_limits_read(struct stream_config *config, const struct json *value, bool is_strict,
                          struct api_failure *failure)
{
    if (json_type(value) != JSON_OBJECT)
        return stream_config_fail_type(failure, value, "consumer_limits",
                                       "server.StreamConsumerLimits");
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        int64_t *field = is_named(item, "inactive_threshold") ? &config->inactive_threshold_max_ns
                         : is_named(item, "max_ack_pending")  ? &config->ack_pending_max
                                                              : NULL;
        if (field == NULL && is_strict)
            return stream_config_fail_unknown(failure, json_name(item));
        if (field != NULL && json_type(item) != JSON_NULL && !json_i64(item, field))
            return stream_config_fail_type(failure, item, "consumer_limits", "int64");
    }
    return true;
}

void consumer_limits_append(struct text *text, const struct stream_config *config)
{
    text_append_literal(text, "{");
    if (config->inactive_threshold_max_ns != 0)
        text_append_format(text, "\"inactive_threshold\":%lld",
                           (long long)config->inactive_threshold_max_ns);
    if (config->ack_pending_max != 0)
        text_append_format(text, "%s\"max_ack_pending\":%lld",
                           config->inactive_threshold_max_ns != 0 ? "," : "",
                           (long long)config->ack_pending_max);
    text_append_literal(text, "}");
}

/* ---- metadata ---- */

void metadata_free(struct stream_config *config)
{
    for (uint32_t i = 0; i < config->metadata_count; i++) {
        text_free(&config->metadata[i].key);
        text_free(&config->metadata[i].value);
    }
    free(config->metadata);
    config->metadata = NULL;
    config->metadata_count = 0;
}

static int metadata_compare(const void *a, const void *b)
{
    const struct stream_metadata *left = a, *right = b;
    int order = bytes_compare(text_bytes(&left->key), text_bytes(&right->key));
    if (order != 0)
        return order;
    return left->position < right->position ? -1 : left->position > right->position;
}

static bool metadata_is_servers(struct bytes key)
{
    return bytes_equal(key, BYTES_LITERAL("_nats.ver"))
           || bytes_equal(key, BYTES_LITERAL("_nats.level"))
           || bytes_equal(key, BYTES_LITERAL("_nats.req.level"));
}

/* Of rows with one key the last one stays. */
static void metadata_unique(struct stream_config *config)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < config->metadata_count; i++) {
        struct stream_metadata *row = &config->metadata[i];
        bool is_last =
            i + 1 == config->metadata_count
            || !bytes_equal(text_bytes(&row->key), text_bytes(&config->metadata[i + 1].key));
        if (is_last) {
            config->metadata[count++] = *row;
            continue;
        }
        text_free(&row->key);
        text_free(&row->value);
    }
    config->metadata_count = count;
}

bool metadata_read(struct stream_config *config, const struct json *value,
                   struct api_failure *failure)
{
    if (json_type(value) != JSON_OBJECT)
        return stream_config_fail_type(failure, value, "metadata", "map[string]string");
    uint32_t count = 0;
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item), count++)
        if (json_type(item) != JSON_STRING && json_type(item) != JSON_NULL)
            return stream_config_fail_type(failure, item, "metadata", "string");
    metadata_free(config);
    config->metadata = calloc(count == 0 ? 1 : count, sizeof *config->metadata);
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        if (metadata_is_servers(json_name(item)))
            continue;
        struct stream_metadata *row = &config->metadata[config->metadata_count];
        row->position = config->metadata_count++;
        text_append(&row->key, json_name(item));
        if (json_type(item) == JSON_STRING)
            text_append(&row->value, json_string(item));
    }
    qsort(config->metadata, config->metadata_count, sizeof *config->metadata, metadata_compare);
    metadata_unique(config);
    return true;
}

static void append_row(struct text *text, struct bytes key, struct bytes value)
{
    text_append_literal(text, text->data[text->count - 1] == '{' ? "" : ",");
    text_append_json_string(text, key);
    text_append_literal(text, ":");
    text_append_json_string(text, value);
}

/* All keys in byte order, the server's own among the others. */
void metadata_append(struct text *text, const struct stream_config *config,
                     bool with_server_metadata)
{
    char level[12], needed[12];
    (void)snprintf(level, sizeof level, "%d", KV_API_LEVEL);
    (void)snprintf(needed, sizeof needed, "%d", stream_config_level(config));
    const struct {
        const char *key, *value;
        bool is_there;
    } own[] = {
        {"_nats.level", level, with_server_metadata},
        {"_nats.req.level", needed, true},
        {"_nats.ver", KV_NATS_VERSION, with_server_metadata},
    };
    text_append_literal(text, "{");
    uint32_t at = 0;
    for (uint32_t i = 0; i <= COUNT_OF(own); i++) {
        while (
            at < config->metadata_count
            && (i == COUNT_OF(own)
                || bytes_compare(text_bytes(&config->metadata[at].key), bytes_of_text(own[i].key))
                       < 0)) {
            append_row(text, text_bytes(&config->metadata[at].key),
                       text_bytes(&config->metadata[at].value));
            at++;
        }
        if (i < COUNT_OF(own) && own[i].is_there)
            append_row(text, bytes_of_text(own[i].key), bytes_of_text(own[i].value));
    }
    text_append_literal(text, "}");
}
