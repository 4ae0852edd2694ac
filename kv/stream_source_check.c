/*
 * kv/stream_source_check.c: what a mirror, sources, transforms and republish must be, in nats-server's order and words.
 */
#include "core/subject.h"
#include "kv/stream_source_config.h"
#include "kv/subject_map.h"

static bool refuse(struct api_failure *failure, const char *words)
{
    return api_fail(failure, API_STREAM_INVALID_CONFIG, "%s", words);
}

static bool name_is_fine(const struct stream_source *source)
{
    struct api_failure ignored = {0};
    return stream_name_check(text_bytes(&source->name), &ignored);
}

static bool source_subject_is_fine(const struct transform_config *transform)
{
    return transform->source.count == 0 || subject_is_valid(text_bytes(&transform->source));
}

/* A transform of a mirror, a source or a stream; the errors differ by whose it is. */
static bool check_transform(const struct transform_config *transform, enum api_error bad_source,
                            enum api_error bad_destination, struct api_failure *failure)
{
    if (!source_subject_is_fine(transform))
        return api_fail(failure, bad_source, "invalid subject %.*s", (int)transform->source.count,
                        transform->source.data);
    struct text why = {0};
    bool is_fine = subject_map_check(text_bytes(&transform->source),
                                     text_bytes(&transform->destination), &why);
    if (!is_fine)
        api_fail(failure, bad_destination, "%.*s", (int)why.count, why.data);
    text_free(&why);
    return is_fine;
}

/* ---- V18: mirror ---- */

static bool check_mirror_company(const struct stream_config *config, struct api_failure *failure)
{
    if (config->first_seq > 0)
        return api_fail(failure, API_MIRROR_WITH_FIRST_SEQ, NULL);
    if (config->subject_count > 0)
        return api_fail(failure, API_MIRROR_WITH_SUBJECTS, NULL);
    if (config->source_count > 0)
        return api_fail(failure, API_MIRROR_WITH_SOURCES, NULL);
    if (config->allow_counter)
        return api_fail(failure, API_MIRROR_WITH_COUNTERS, NULL);
    if (config->allow_atomic)
        return api_fail(failure, API_MIRROR_WITH_ATOMIC, NULL);
    if (config->allow_batched)
        return api_fail(failure, API_MIRROR_WITH_BATCHED, NULL);
    if (config->allow_schedules)
        return api_fail(failure, API_MIRROR_WITH_SCHEDULES, NULL);
    return true;
}

static bool check_mirror(const struct stream_config *config, struct api_failure *failure)
{
    const struct stream_source *mirror = config->mirror;
    if (!check_mirror_company(config, failure))
        return false;
    if (mirror->filter.count > 0 && mirror->transform_count > 0)
        return api_fail(failure, API_MIRROR_FILTER_AND_TRANSFORMS, NULL);
    if (config->marker_ttl_ns > 0)
        return refuse(failure, "subject delete markers forbidden on mirrors");
    for (uint32_t i = 0; i < mirror->transform_count; i++) {
        const struct transform_config *transform = &mirror->transforms[i];
        if (!check_transform(transform, API_MIRROR_TRANSFORM_SOURCE,
                             API_MIRROR_TRANSFORM_DESTINATION, failure))
            return false;
        for (uint32_t j = 0; j < mirror->transform_count; j++) {
            if (j != i
                && subjects_collide(text_bytes(&transform->source),
                                    text_bytes(&mirror->transforms[j].source)))
                return api_fail(failure, API_MIRROR_FILTERS_OVERLAP, NULL);
        }
    }
    return mirror->is_external || name_is_fine(mirror) || api_fail(failure, API_MIRROR_NAME, NULL);
}

/* ---- V19, V20: sources ---- */

static bool is_same_source(const struct stream_source *a, const struct stream_source *b)
{
    struct source_identity left, right;
    source_identity_make(&left, a);
    source_identity_make(&right, b);
    bool is_same = source_identity_equal(&left, &right);
    source_identity_free(&left);
    source_identity_free(&right);
    return is_same;
}

static bool check_source_transforms(const struct stream_source *source, struct api_failure *failure)
{
    for (uint32_t i = 0; i < source->transform_count; i++) {
        if (!check_transform(&source->transforms[i], API_SOURCE_TRANSFORM_SOURCE,
                             API_SOURCE_TRANSFORM_DESTINATION, failure))
            return false;
    }
    for (uint32_t i = 0; i < source->transform_count; i++) {
        for (uint32_t j = 0; j < source->transform_count; j++) {
            if (i != j
                && subject_is_subset(text_bytes(&source->transforms[j].source),
                                     text_bytes(&source->transforms[i].source)))
                return api_fail(failure, API_SOURCE_FILTERS_OVERLAP, NULL);
        }
    }
    return true;
}

static bool check_sources(const struct stream_config *config, struct api_failure *failure)
{
    if (config->source_count > 0 && config->allow_schedules)
        return api_fail(failure, API_SOURCE_WITH_SCHEDULES, NULL);
    for (uint32_t i = 0; i < config->source_count; i++) {
        const struct stream_source *source = &config->sources[i];
        if (!name_is_fine(source))
            return api_fail(failure, API_SOURCE_NAME, NULL);
        for (uint32_t j = 0; j < i; j++) {
            if (is_same_source(&config->sources[j], source))
                return api_fail(failure, API_SOURCE_DUPLICATE, NULL);
        }
        if (source->filter.count > 0 && source->transform_count > 0)
            return api_fail(failure, API_SOURCE_FILTER_AND_TRANSFORMS, NULL);
        if (!check_source_transforms(source, failure))
            return false;
    }
    return true;
}

/* ---- V21: external ---- */

static bool is_plain_subject(const struct text *prefix)
{
    return subject_is_valid(text_bytes(prefix)) && subject_is_literal(text_bytes(prefix));
}

static bool check_deliver_prefix(const struct stream_source *source, struct api_failure *failure)
{
    const struct text *prefix = &source->external_deliver;
    if (!source->is_external || prefix->count == 0 || is_plain_subject(prefix))
        return true;
    return api_fail(failure, API_EXTERNAL_DELIVER_WILDCARDS, "%.*s must not contain wildcards",
                    (int)prefix->count, prefix->data);
}

static bool check_api_prefix(const struct stream_source *source, struct api_failure *failure)
{
    const struct text *prefix = &source->external_api;
    if (!source->is_external || prefix->count == 0)
        return true;
    if (!is_plain_subject(prefix))
        return api_fail(
            failure, API_STREAM_INVALID_CONFIG,
            "stream external api prefix \"%.*s\" must be a valid subject without wildcards",
            (int)prefix->count, prefix->data);
    if (bytes_equal(text_bytes(prefix), BYTES_LITERAL("$JS.API")))
        return api_fail(failure, API_EXTERNAL_API_OVERLAPS, "%.*s must not overlap with $JS.API",
                        (int)prefix->count, prefix->data);
    return true;
}

static bool check_external(const struct stream_config *config,
                           bool (*check)(const struct stream_source *, struct api_failure *),
                           struct api_failure *failure)
{
    if (config->mirror != NULL && !check(config->mirror, failure))
        return false;
    for (uint32_t i = 0; i < config->source_count; i++) {
        if (!check(&config->sources[i], failure))
            return false;
    }
    return true;
}

bool stream_sources_check(const struct stream_config *config, struct api_failure *failure)
{
    return (config->mirror == NULL || check_mirror(config, failure))
           && check_sources(config, failure)
           && check_external(config, check_deliver_prefix, failure)
           && check_external(config, check_api_prefix, failure);
}

/* ---- V25, V26: the stream's own transform, and republish ---- */

static void text_set(struct text *text, struct bytes bytes)
{
    text_clear(text);
    text_append(text, bytes);
}

/* Everything to everything is a cycle, unless what is republished is what a transform has made of it. */
static bool make_implicit(struct stream_config *config, struct api_failure *failure)
{
    struct transform_config *transform = &config->republish->transform;
    bool is_all = bytes_equal(text_bytes(&transform->source), BYTES_LITERAL(">"))
                  && bytes_equal(text_bytes(&transform->destination), BYTES_LITERAL(">"));
    if (!is_all || config->transform == NULL || config->subject_count != 1
        || !bytes_equal(text_bytes(&config->transform->source), text_bytes(&config->subjects[0])))
        return true;
    if (config->is_pedantic)
        return api_fail(failure, API_PEDANTIC, "implicit republish based on subject transform");
    text_set(&transform->source, text_bytes(&config->transform->destination));
    text_set(&transform->destination, text_bytes(&config->transform->destination));
    return true;
}

static bool check_republish(struct stream_config *config, struct api_failure *failure)
{
    struct transform_config *transform = &config->republish->transform;
    if (transform->source.count == 0 && config->is_pedantic)
        return api_fail(failure, API_PEDANTIC, "republish source can not be empty");
    if (transform->source.count == 0)
        text_append_literal(&transform->source, ">");
    if (!make_implicit(config, failure))
        return false;
    for (uint32_t i = 0; i < config->subject_count; i++) {
        if (subjects_collide(text_bytes(&transform->destination), text_bytes(&config->subjects[i])))
            return refuse(failure, "stream configuration for republish destination forms a cycle");
    }
    struct text why = {0};
    struct subject_map *map;
    bool is_fine = subject_map_create(&map, text_bytes(&transform->source),
                                      text_bytes(&transform->destination), &why);
    subject_map_free(map);
    text_free(&why);
    return is_fine
           || api_fail(failure, API_STREAM_INVALID_CONFIG,
                       "stream configuration for republish with transform from '%.*s' to '%.*s' "
                       "not valid",
                       (int)transform->source.count, transform->source.data,
                       (int)transform->destination.count, transform->destination.data);
}

bool stream_transforms_check(struct stream_config *config, struct api_failure *failure)
{
    return (config->transform == NULL
            || check_transform(config->transform, API_STREAM_TRANSFORM_SOURCE,
                               API_STREAM_TRANSFORM_DESTINATION, failure))
           && (config->republish == NULL || check_republish(config, failure));
}
