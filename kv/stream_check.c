/*
 * kv/stream_check.c: the checks a stream's configuration must pass, in nats-server's order and words.
 *
 * Source: jetstream-streams.md sections 3.3 (V1 to V27) and 3.5 (U1 to U17).
 */
#include "kv/stream_config.h"

#include <stdlib.h>

#include "core/subject.h"
#include "kv/stream_source_config.h"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_SECOND INT64_C(1000000000)
#define DUPLICATE_WINDOW_NS (120 * NS_PER_SECOND)

static bool refuse(struct api_failure *failure, const char *words)
{
    return api_fail(failure, API_STREAM_INVALID_CONFIG, "%s", words);
}

bool stream_name_check(struct bytes name, struct api_failure *failure)
{
    bool is_bad = name.count == 0;
    for (size_t i = 0; i < name.count; i++)
        is_bad = is_bad || strchr(" \t\r\n\f.*>\\/", name.data[i]) != NULL;
    if (is_bad)
        return refuse(failure,
                      "stream name is required and can not contain '.', '*', '>', '\\', '/'");
    if (name.count > STREAM_NAME_BYTES_MAX)
        return refuse(failure, "stream name is too long, maximum allowed is 255");
    return true;
}

static bool check_texts(const struct stream_config *config, struct api_failure *failure)
{
    if (!stream_name_check(text_bytes(&config->name), failure))
        return false;
    if (config->description.count > 4096)
        return refuse(failure, "stream description is too long, maximum allowed is 4096");
    size_t metadata_bytes = strlen("_nats.req.level") + 1;
    for (uint32_t i = 0; i < config->metadata_count; i++)
        metadata_bytes += config->metadata[i].key.count + config->metadata[i].value.count;
    if (metadata_bytes > STREAM_METADATA_BYTES_MAX)
        return refuse(failure, "stream metadata exceeds maximum size of 131072 bytes");
    return true;
}

/* V7: absent and senseless limits mean "none". */
static bool normalise_limit(int64_t *limit, const char *name, bool is_pedantic,
                            struct api_failure *failure)
{
    if (*limit < -1 && is_pedantic)
        return api_fail(failure, API_PEDANTIC, "%s must be set to -1", name);
    if (*limit == 0 || *limit < -1)
        *limit = -1;
    return true;
}

static bool check_limits(struct stream_config *config, struct api_failure *failure)
{
    if (config->replicas == 0)
        config->replicas = 1;
    if (config->replicas > 5)
        return refuse(failure, "maximum replicas is 5");
    if (config->replicas < 0)
        return api_fail(failure, API_REPLICAS_NEGATIVE, NULL);
    bool is_pedantic = config->is_pedantic;
    return normalise_limit(&config->messages_max, "max_msgs", is_pedantic, failure)
           && normalise_limit(&config->messages_per_subject_max, "max_msgs_per_subject",
                              is_pedantic, failure)
           && normalise_limit(&config->bytes_max, "max_bytes", is_pedantic, failure)
           && normalise_limit(&config->message_size_max, "max_msg_size", is_pedantic, failure)
           && normalise_limit(&config->consumers_max, "max_consumers", is_pedantic, failure);
}

static bool check_times(struct stream_config *config, struct api_failure *failure)
{
    int64_t age = config->age_max_ns;
    if (age < 0)
        return refuse(failure, "max age can not be negative");
    if (age > 0 && age < 100 * NS_PER_MS)
        return refuse(failure, "max age needs to be >= 100ms");
    if (config->duplicate_window_ns == 0 && age > 0 && age < DUPLICATE_WINDOW_NS
        && config->is_pedantic)
        return api_fail(failure, API_PEDANTIC, "duplicate window cannot be bigger than max age");
    bool has_window =
        config->duplicate_window_ns != 0 || (config->mirror == NULL && config->source_count == 0);
    if (!has_window)
        return true; /* ids are not looked at */
    if (config->duplicate_window_ns == 0)
        config->duplicate_window_ns =
            age > 0 && age < DUPLICATE_WINDOW_NS ? age : DUPLICATE_WINDOW_NS;
    if (config->duplicate_window_ns < 0)
        return refuse(failure, "duplicates window can not be negative");
    if (age > 0 && config->duplicate_window_ns > age)
        return refuse(failure, "duplicates window can not be larger then max age");
    if (config->duplicate_window_ns < 100 * NS_PER_MS)
        return refuse(failure, "duplicates window needs to be >= 100ms");
    return true;
}

static bool check_counter(const struct stream_config *config, struct api_failure *failure)
{
    if (!config->allow_counter)
        return true;
    if (config->discard == STREAM_DISCARD_NEW)
        return refuse(failure, "counter stream cannot use discard new");
    if (config->allow_msg_ttl)
        return refuse(failure, "counter stream cannot use message TTLs");
    if (config->allow_schedules)
        return refuse(failure, "counter stream cannot use message schedules");
    if (config->retention != STREAM_RETENTION_LIMITS)
        return refuse(failure, "counter stream can only use limits retention");
    return true;
}

static bool check_discard_per_subject(const struct stream_config *config,
                                      struct api_failure *failure)
{
    if (config->discard_new_per_subject && config->discard != STREAM_DISCARD_NEW)
        return refuse(failure, "discard new per subject requires discard new policy to be set");
    if (config->discard_new_per_subject && config->messages_per_subject_max <= 0)
        return refuse(failure, "discard new per subject requires max msgs per subject > 0");
    return true;
}

/* V15: markers are rollups with a TTL; both are switched on, unless pedantic. */
static bool check_markers(struct stream_config *config, struct api_failure *failure)
{
    if (config->marker_ttl_ns < 0)
        return refuse(failure, "subject delete marker TTL must not be negative");
    if (config->marker_ttl_ns == 0)
        return true;
    if (config->marker_ttl_ns < NS_PER_SECOND)
        return refuse(failure, "subject delete marker TTL must be at least 1 second");
    if (!config->allow_msg_ttl && config->is_pedantic)
        return refuse(failure, "subject delete marker cannot be set if message TTLs are disabled");
    config->allow_msg_ttl = true;
    if (config->allow_rollup)
        return true;
    if (config->is_pedantic)
        return refuse(failure, "subject delete marker cannot be set if roll-ups are disabled");
    config->allow_rollup = true;
    config->deny_purge = false;
    return true;
}

static bool check_schedules(struct stream_config *config, struct api_failure *failure)
{
    if (!config->allow_schedules)
        return true;
    if (config->discard == STREAM_DISCARD_NEW)
        return refuse(failure, "message scheduling cannot use discard new");
    if (config->allow_rollup)
        return true;
    if (config->is_pedantic)
        return refuse(failure, "message scheduling cannot be set if roll-ups are disabled");
    config->allow_rollup = true;
    config->deny_purge = false;
    return true;
}

static bool check_persistence(const struct stream_config *config, struct api_failure *failure)
{
    if (!config->is_async)
        return true;
    if (config->storage == STREAM_STORAGE_MEMORY)
        return refuse(failure, "async persist mode is only supported on file storage");
    if (config->replicas > 1)
        return refuse(failure, "async persist mode is not supported on replicated streams");
    if (config->allow_atomic)
        return refuse(failure, "async persist mode is not supported with atomic batch publish");
    return true;
}

static bool check_policies(struct stream_config *config, struct api_failure *failure)
{
    if (config->deny_purge && config->allow_rollup)
        return refuse(failure, "roll-ups require the purge permission");
    return check_counter(config, failure) && check_discard_per_subject(config, failure)
           && check_markers(config, failure) && check_schedules(config, failure)
           && check_persistence(config, failure);
}

static bool check_reserved(const struct stream_config *config, struct bytes subject,
                           struct api_failure *failure)
{
    bool is_all = bytes_equal(subject, BYTES_LITERAL(">"));
    if (is_all && !config->no_ack)
        return refuse(failure, "capturing all subjects requires no-ack to be true");
    if (is_all && config->replicas != 1)
        return refuse(failure, "capturing all subjects requires replicas of 1");
    bool is_api = subjects_collide(subject, BYTES_LITERAL("$JS.>"))
                  || subjects_collide(subject, BYTES_LITERAL("$JSC.>"))
                  || subjects_collide(subject, BYTES_LITERAL("$NRG.>"));
    if (is_api && !config->no_ack && !subject_is_subset(BYTES_LITERAL("$JS.EVENT.>"), subject))
        return refuse(failure,
                      "subjects that overlap with jetstream api require no-ack to be true");
    if (subjects_collide(subject, BYTES_LITERAL("$SYS.>")) && !config->no_ack
        && !subject_is_subset(BYTES_LITERAL("$SYS.ACCOUNT.>"), subject))
        return refuse(failure, "subjects that overlap with system api require no-ack to be true");
    return true;
}

static bool check_subjects(struct stream_config *config, struct api_failure *failure)
{
    if (config->subject_count == 0 && config->mirror == NULL && config->source_count == 0) {
        config->subjects = calloc(1, sizeof *config->subjects);
        config->subject_count = 1;
        text_append(&config->subjects[0], text_bytes(&config->name));
    }
    for (uint32_t i = 0; i < config->subject_count; i++) {
        struct bytes subject = text_bytes(&config->subjects[i]);
        if (!subject_is_valid(subject))
            return refuse(failure, "invalid subject");
        if (!check_reserved(config, subject, failure))
            return false;
        for (uint32_t j = i + 1; j < config->subject_count; j++) {
            struct bytes other = text_bytes(&config->subjects[j]);
            if (subjects_collide(subject, other))
                return api_fail(failure, API_STREAM_INVALID_CONFIG,
                                "subject \"%.*s\" overlaps with \"%.*s\"", (int)subject.count,
                                subject.data, (int)other.count, other.data);
        }
    }
    return true;
}

static bool check_placement(const struct stream_config *config, struct api_failure *failure)
{
    if (config->placement_is_preferred)
        return refuse(failure, "preferred server not permitted in placement");
    return true;
}

bool stream_config_check(struct stream_config *config, struct api_failure *failure)
{
    return check_texts(config, failure) && check_limits(config, failure)
           && check_times(config, failure) && check_policies(config, failure)
           && stream_sources_check(config, failure) && check_subjects(config, failure)
           && stream_transforms_check(config, failure) && check_placement(config, failure);
}

bool stream_config_check_supported(const struct stream_config *config, struct api_failure *failure)
{
    static const char *const retentions[] = {"limits", "interest", "workqueue"};
    if (config->retention != STREAM_RETENTION_LIMITS)
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "pail does not support retention \"%s\": it keeps what limits allow",
                        retentions[config->retention]);
    const char *what = config->allow_counter     ? "allow_msg_counter"
                       : config->allow_atomic    ? "allow_atomic"
                       : config->allow_schedules ? "allow_msg_schedules"
                       : config->allow_batched   ? "allow_batched"
                                                 : NULL;
    return what == NULL
           || api_fail(failure, API_STREAM_INVALID_CONFIG, "pail does not support %s yet", what);
}

/* U8: a mirror may only cease to be one. */
static bool mirror_may_become(const struct stream_config *current, const struct stream_config *next)
{
    if (next->mirror == NULL)
        return true;
    if (current->mirror == NULL)
        return false;
    struct text left = {0}, right = {0};
    mirror_append(&left, current);
    mirror_append(&right, next);
    bool is_same = bytes_equal(text_bytes(&left), text_bytes(&right));
    text_free(&left);
    text_free(&right);
    return is_same;
}

bool stream_config_check_update(const struct stream_config *current, struct stream_config *next,
                                struct api_failure *failure)
{
    if (!bytes_equal(text_bytes(&current->name), text_bytes(&next->name)))
        return refuse(failure, "stream configuration name must match original");
    if (next->replicas > 1)
        return api_fail(failure, API_REPLICAS_NOT_SUPPORTED, NULL);
    if (current->storage != next->storage)
        return refuse(failure, "stream configuration update can not change storage type");
    if (current->retention != next->retention
        && (current->retention == STREAM_RETENTION_WORKQUEUE
            || next->retention == STREAM_RETENTION_WORKQUEUE))
        return refuse(failure, "stream configuration update can not change retention policy "
                               "to/from workqueue");
    if (current->sealed && !next->sealed)
        return refuse(failure, "stream configuration update can not unseal a sealed stream");
    if (current->deny_delete && !next->deny_delete)
        return refuse(failure, "stream configuration update can not cancel deny message deletes");
    if (current->deny_purge && !next->deny_purge)
        return refuse(failure, "stream configuration update can not cancel deny purge");
    if (!mirror_may_become(current, next))
        return api_fail(failure, API_MIRROR_NOT_UPDATABLE, NULL);
    if (current->allow_msg_ttl && !next->allow_msg_ttl)
        return refuse(failure, "message TTL status can not be disabled");
    if (current->allow_counter != next->allow_counter)
        return refuse(failure,
                      "stream configuration update can not change message counter setting");
    if (current->allow_schedules && !next->allow_schedules)
        return refuse(failure, "message schedules can not be disabled");
    if (current->is_async != next->is_async)
        return refuse(failure, "stream configuration update can not change persist mode");
    if (next->sealed) { /* U14 */
        next->age_max_ns = 0;
        next->discard = STREAM_DISCARD_NEW;
        next->deny_delete = next->deny_purge = true;
        next->allow_rollup = false;
    }
    return true;
}
