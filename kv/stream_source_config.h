/*
 * kv/stream_source_config.h: the parts of a stream's configuration that name other streams or subjects: mirror, sources,
 * subject_transform, republish. Read from JSON, checked, written.
 *
 * Source: jetstream-streams.md sections 3.2, 3.3 (V18 to V22, V25, V26) and 9.
 */
#ifndef KV_STREAM_SOURCE_CONFIG_H
#define KV_STREAM_SOURCE_CONFIG_H

#include "kv/stream_config.h"

enum { STREAM_SOURCES_MAX = 256, STREAM_TRANSFORMS_MAX = 128 };

/* {src, dest} of subject_transform, of a mirror or a source. Owns its texts. */
struct transform_config {
    struct text source, destination;
};

struct republish_config {
    struct transform_config transform;
    bool headers_only;
};

/* A mirror's origin, or one of the sources. Owns its texts. */
struct stream_source {
    struct text name, filter;
    uint64_t start_seq, start_time_ns;
    bool has_start_time, is_external;
    struct text external_api, external_deliver;
    struct transform_config *transforms; /* owns */
    uint32_t transform_count;
};

void stream_source_free(struct stream_source *source);
void stream_sources_free(struct stream_config *config); /* all four parts */

/* Each reads its member of a request; false: failure is set. */
bool mirror_read(struct stream_config *config, const struct json *value, bool is_strict,
                 struct api_failure *failure);
bool sources_read(struct stream_config *config, const struct json *value, bool is_strict,
                  struct api_failure *failure);
bool transform_read(struct stream_config *config, const struct json *value, bool is_strict,
                    struct api_failure *failure);
bool republish_read(struct stream_config *config, const struct json *value, bool is_strict,
                    struct api_failure *failure);
/* Each writes its member's value, which is set. */
void mirror_append(struct text *text, const struct stream_config *config);
void sources_append(struct text *text, const struct stream_config *config);
void transform_append(struct text *text, const struct stream_config *config);
void republish_append(struct text *text, const struct stream_config *config);
/* [{"src":…,"dest":…}] */
void transforms_append(struct text *text, const struct transform_config *transforms,
                       uint32_t count);
/* {"api":…,"deliver":…} */
void external_append(struct text *text, const struct stream_source *source);

/* ---- checks that need no other stream ---- */

/* V18 to V21. */
bool stream_sources_check(const struct stream_config *config, struct api_failure *failure);
/* V25 and V26; fills defaults. After the subjects are known. */
bool stream_transforms_check(struct stream_config *config, struct api_failure *failure);

/*
 * What Nats-Stream-Source calls the source: "<name>[:<hash of the api prefix>]", "<filter>", "<destination>"; several filters are
 * joined by form feeds. A position belongs to the three together.
 */
struct source_identity {
    struct text name, filter, destination;
};
void source_identity_make(struct source_identity *identity, const struct stream_source *source);
bool source_identity_equal(const struct source_identity *a, const struct source_identity *b);
void source_identity_free(struct source_identity *identity);
/* Eight letters and digits that stand for a text. */
enum { SOURCE_HASH_BYTES = 8 };
void source_hash(struct bytes text, char out[SOURCE_HASH_BYTES]);

#endif
