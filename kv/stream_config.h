/*
 * kv/stream_config.h: the configuration of a stream: read from a request, checked and normalised, written into answers.
 *
 * Source: jetstream-streams.md section 3, nats-server 2.15.2 with `strict: true`.
 */
#ifndef KV_STREAM_CONFIG_H
#define KV_STREAM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/json.h"
#include "core/text.h"
#include "kv/api_error.h"

enum {
    STREAM_NAME_BYTES_MAX = 255,
    STREAM_SUBJECTS_MAX = 1024,
    STREAM_METADATA_BYTES_MAX = 131072,
    STREAM_HISTORY_ROWS_MAX = 16,
};

enum stream_discard { STREAM_DISCARD_OLD, STREAM_DISCARD_NEW };
enum stream_storage { STREAM_STORAGE_FILE, STREAM_STORAGE_MEMORY };
enum stream_retention {
    STREAM_RETENTION_LIMITS,
    STREAM_RETENTION_INTEREST,
    STREAM_RETENTION_WORKQUEUE,
};

struct stream_metadata {
    struct text key, value; /* owns */
    uint32_t position;      /* in the request */
};

struct stream_source; /* kv/stream_source_config.h */
struct transform_config;
struct republish_config;

/* Owns its texts; copy by writing and reading JSON. Zero means "not given" until stream_config_check. */
struct stream_config {
    struct text name, description;
    struct text *subjects; /* owns; subject_count of them */
    uint32_t subject_count;
    int64_t consumers_max, messages_max, bytes_max, age_max_ns, messages_per_subject_max;
    int64_t message_size_max;
    int64_t replicas;
    int64_t duplicate_window_ns;
    int64_t marker_ttl_ns; /* subject_delete_marker_ttl */
    uint64_t first_seq;
    struct text placement; /* the JSON object, in nats-server's order; empty: none */
    bool placement_is_preferred;
    int64_t inactive_threshold_max_ns, ack_pending_max; /* consumer_limits; 0: none */
    struct stream_metadata *metadata;                   /* owns; sorted by key */
    uint32_t metadata_count;
    struct stream_source *mirror;       /* owns; NULL: none, as the next */
    struct stream_source *sources;      /* owns; source_count of them */
    struct transform_config *transform; /* owns; subject_transform */
    struct republish_config *republish; /* owns */
    uint32_t source_count;
    uint8_t discard, storage, retention;
    bool is_s2, is_async; /* compression, persist_mode: told again, nothing more */
    bool no_ack, allow_direct, mirror_direct, discard_new_per_subject, sealed;
    bool deny_delete, deny_purge, allow_rollup, allow_msg_ttl;
    bool allow_counter, allow_atomic, allow_schedules, allow_batched;
    bool is_pedantic; /* of the request, never stored */
};

void stream_config_free(struct stream_config *config);

/* Reads a request's object; false: failure is set (10025, or 10052 for what pail does not support yet). */
bool stream_config_read(struct stream_config *config, const struct json *object, bool is_strict,
                        struct api_failure *failure);
/* Fills defaults and checks (V1 to V27 of the source). */
bool stream_config_check(struct stream_config *config, struct api_failure *failure);
/* What the checks allow, but pail does not do yet, is refused in words. */
bool stream_config_check_supported(const struct stream_config *config, struct api_failure *failure);
/* May `next` replace `current`? Both checked. */
bool stream_config_check_update(const struct stream_config *current, struct stream_config *next,
                                struct api_failure *failure);
/* Equal but for the server's own metadata. Both checked. */
bool stream_config_equal(const struct stream_config *a, const struct stream_config *b);

/* The JSON object. with_server_metadata adds _nats.ver and _nats.level. */
void stream_config_append(struct text *text, const struct stream_config *config,
                          bool with_server_metadata);

/* The bucket's name if the stream is a Key/Value bucket: named KV_<bucket>, its only subject $KV.<bucket>.>; else empty. */
struct bytes stream_config_bucket(const struct stream_config *config);
/* The API level of the highest feature it uses (jetstream-streams.md section 1.8). */
int stream_config_level(const struct stream_config *config);
/*
 * True when the stream may hold subjects that are not its own (mirror, sources, subject_transform): its keys are then indexed as
 * whole subjects, which is decided at creation.
 */
bool stream_config_needs_whole_keys(const struct stream_config *config);
/* True when it is better for this stream to have all its keys in one place, if it is made like that (design section 2). */
bool stream_config_needs_one_stripe(const struct stream_config *config);
/* True when it does not work in any other way. */
bool stream_config_needs_one_place(const struct stream_config *config);

/* Is the name one that a stream may have? Its text for people goes to failure. */
bool stream_name_check(struct bytes name, struct api_failure *failure);

#endif
