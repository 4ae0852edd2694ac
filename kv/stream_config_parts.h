/*
 * kv/stream_config_parts.h: members of a stream's configuration that are objects: placement, consumer limits, metadata.
 *
 * Each part reads a JSON object that is no null, and writes it as nats-server does. is_strict refuses unknown members.
 */
#ifndef KV_STREAM_CONFIG_PARTS_H
#define KV_STREAM_CONFIG_PARTS_H

#include "kv/stream_config.h"

/* 10025: value is not of the type the member wants. Always false. */
bool stream_config_fail_type(struct api_failure *failure, const struct json *value,
                             const char *member, const char *wanted);
/* 10025: a member nobody knows. Always false. */
bool stream_config_fail_unknown(struct api_failure *failure, struct bytes name);

bool placement_read(struct stream_config *config, const struct json *value, bool is_strict,
                    struct api_failure *failure);
bool consumer_limits_read(struct stream_config *config, const struct json *value, bool is_strict,
                          struct api_failure *failure);
void consumer_limits_append(struct text *text, const struct stream_config *config);

bool metadata_read(struct stream_config *config, const struct json *value,
                   struct api_failure *failure);
void metadata_free(struct stream_config *config);
/* with_server_metadata adds _nats.ver and _nats.level; _nats.req.level is always there. */
void metadata_append(struct text *text, const struct stream_config *config,
                     bool with_server_metadata);

#endif
