/*
 * kv/stream_graph.c: origins that are here, and whether a stream would feed itself through others.
 */
#include "kv/stream_graph.h"

#include <stdlib.h>

#include "core/assert.h"
#include "core/subject.h"
#include "kv/stream_source_config.h"

/* The streams that can be seen from one. */
struct view {
    const struct stream_table *table;
    uint32_t account;
};

static const struct stream_config *find(const struct view *view, const struct stream_source *source)
{
    struct stream *stream = stream_by_name(view->table, view->account, text_bytes(&source->name));
    return stream == NULL || !stream->is_visible ? NULL : &stream->config;
}

/* ---- what an origin allows ---- */

static bool is_too_small(const struct stream_config *config, const struct stream_config *origin)
{
    return config->message_size_max > 0 && origin->message_size_max > 0
           && config->message_size_max < origin->message_size_max;
}

static bool check_mirror(struct stream_config *config, const struct view *view,
                         struct api_failure *failure)
{
    if (config->mirror == NULL || config->mirror->is_external)
        return true;
    const struct stream_config *origin = find(view, config->mirror);
    if (origin == NULL)
        return true;
    if (is_too_small(config, origin))
        return api_fail(failure, API_MIRROR_MESSAGE_SIZE, NULL);
    if (config->is_pedantic && config->mirror_direct != origin->allow_direct)
        return api_fail(failure, API_PEDANTIC,
                        "origin stream has direct get set, mirror has it disabled");
    config->mirror_direct = origin->allow_direct;
    return true;
}

static bool check_sources(const struct stream_config *config, const struct view *view,
                          struct api_failure *failure)
{
    for (uint32_t i = 0; i < config->source_count; i++) {
        const struct stream_source *source = &config->sources[i];
        const struct stream_config *origin = source->is_external ? NULL : find(view, source);
        if (origin != NULL && is_too_small(config, origin))
            return api_fail(failure, API_SOURCE_MESSAGE_SIZE, NULL);
    }
    return true;
}

static bool check_filter(const struct stream_source *source, const char *whose,
                         struct api_failure *failure)
{
    struct bytes filter = text_bytes(&source->filter);
    if (filter.count == 0 || subject_is_valid(filter))
        return true;
    return api_fail(failure, API_STREAM_CREATE, "subject filter '%.*s' for the %s invalid subject",
                    (int)filter.count, filter.data, whose);
}

static bool check_filters(const struct stream_config *config, struct api_failure *failure)
{
    if (config->mirror != NULL && !check_filter(config->mirror, "mirror", failure))
        return false;
    for (uint32_t i = 0; i < config->source_count; i++) {
        if (!check_filter(&config->sources[i], "source:", failure))
            return false;
    }
    return true;
}

/* ---- cycles ---- */

/* Streams still to be looked at, and those that were, by name; each once. */
struct walk {
    const struct stream_config **configs; /* owns */
    uint32_t count, seen, capacity;       /* [0, seen) were looked at */
};

static bool walk_has_visited(const struct walk *walk, struct bytes name)
{
    for (uint32_t i = 0; i <= walk->seen && i < walk->count; i++) {
        if (bytes_equal(text_bytes(&walk->configs[i]->name), name))
            return true;
    }
    return false;
}

static void walk_add(struct walk *walk, const struct stream_config *config)
{
    for (uint32_t i = 0; i < walk->count; i++) {
        if (walk->configs[i] == config)
            return;
    }
    if (walk->count == walk->capacity) {
        walk->capacity = walk->capacity == 0 ? 16 : 2 * walk->capacity;
        walk->configs =
            realloc(walk->configs, walk->capacity * sizeof(const struct stream_config *));
        ASSERT(walk->configs != NULL);
    }
    walk->configs[walk->count++] = config;
}

/* A filter lets a cycle through only if it may match what the stream that has it takes. */
static bool filter_overlaps(const struct stream_config *config, struct bytes filter)
{
    for (uint32_t i = 0; i < config->subject_count; i++) {
        if (subjects_collide(text_bytes(&config->subjects[i]), filter))
            return true;
    }
    return filter.count == 0;
}

/* True: a cycle. */
static bool walk_step(struct walk *walk, const struct view *view)
{
    const struct stream_config *config = walk->configs[walk->seen];
    for (uint32_t i = 0; i < config->source_count; i++) {
        const struct stream_source *source = &config->sources[i];
        if (source->is_external)
            continue;
        const struct stream_config *next = find(view, source);
        if (!walk_has_visited(walk, text_bytes(&source->name))) {
            if (next != NULL)
                walk_add(walk, next);
        } else if (filter_overlaps(config, text_bytes(&source->filter))) {
            return true;
        }
    }
    if (config->mirror == NULL || config->mirror->is_external)
        return false;
    if (walk_has_visited(walk, text_bytes(&config->mirror->name)))
        return true;
    const struct stream_config *next = find(view, config->mirror);
    if (next != NULL)
        walk_add(walk, next);
    return false;
}

static bool check_cycles(const struct stream_config *config, const struct view *view,
                         struct api_failure *failure)
{
    struct walk walk = {0};
    bool is_cycle = false;
    walk_add(&walk, config);
    for (; walk.seen < walk.count && !is_cycle; walk.seen++)
        is_cycle = walk_step(&walk, view);
    free(walk.configs);
    return !is_cycle || api_fail(failure, API_STREAM_INVALID_CONFIG, "detected cycle");
}

bool stream_graph_check(struct stream_config *config, const struct stream_table *table,
                        uint32_t account, struct api_failure *failure)
{
    struct view view = {table, account};
    return check_mirror(config, &view, failure) && check_sources(config, &view, failure)
           && check_cycles(config, &view, failure) && check_filters(config, failure);
}
