/*
 * kv/api_error.h: JetStream's errors: HTTP-like code, err_code, words. Texts are nats-server 2.15.2's, byte for byte.
 *
 * Source: jetstream-streams.md section 11, jetstream-consumers.md section 17.
 */
#ifndef KV_API_ERROR_H
#define KV_API_ERROR_H

#include <stdint.h>

#include "core/status.h"
#include "core/text.h"

/* X(name, code, err_code, description); "%s" is filled by whoever makes the error, "{err}" texts are free. */
/* clang-format off: one row a line, so that two people may add rows */
#define API_ERROR_LIST(X)                                                                          \
    X(API_OK, 0, 0, "")                                                                            \
    X(API_BAD_REQUEST, 400, 10003, "bad request")                                                  \
    X(API_CLUSTER_REQUIRED, 503, 10010, "JetStream clustering support required")                   \
    X(API_CONSUMER_CREATE, 500, 10012, "%s")                                                       \
    X(API_CONSUMER_NAME_EXISTS, 400, 10013, "consumer name already in use")                        \
    X(API_CONSUMER_NOT_FOUND, 404, 10014, "consumer not found")                                    \
    X(API_SNAPSHOT_DELIVER_SUBJECT, 400, 10015, "deliver subject not valid")                       \
    X(API_CONSUMER_DURABLE_NAME_DIFFERS, 400, 10017,                                               \
      "consumer name in subject does not match durable name in request")                           \
    X(API_CONSUMER_DURABLE_NAME_NOT_SET, 400, 10018,                                               \
      "consumer expected to be durable but a durable name was not set")                            \
    X(API_CONSUMER_EPHEMERAL_WITH_DURABLE, 400, 10020,                                             \
      "consumer expected to be ephemeral but a durable name was set in request")                   \
    X(API_EXTERNAL_API_OVERLAPS, 400, 10021, "stream external api prefix %s")                      \
    X(API_EXTERNAL_DELIVER_OVERLAPS, 400, 10022, "stream external delivery prefix %s")             \
    X(API_INSUFFICIENT_RESOURCES, 503, 10023, "insufficient resources")                            \
    X(API_EXTERNAL_DELIVER_WILDCARDS, 400, 10024, "stream external delivery prefix %s")            \
    X(API_INVALID_JSON, 400, 10025, "invalid JSON: %s")                                            \
    X(API_NOT_ENABLED_FOR_ACCOUNT, 503, 10039, "JetStream not enabled for account")                \
    X(API_MAXIMUM_STREAMS, 400, 10027, "maximum number of streams reached")                        \
    X(API_MEMORY_RESOURCES_EXCEEDED, 500, 10028, "insufficient memory resources available")        \
    X(API_STORAGE_RESOURCES_EXCEEDED, 500, 10047, "insufficient storage resources available")      \
    X(API_STREAM_MAX_BYTES_REQUIRED, 400, 10113,                                                   \
      "account requires a stream config to have max bytes set")                                    \
    X(API_STREAM_MAX_STREAM_BYTES, 400, 10122,                                                     \
      "stream max bytes exceeds account limit max stream bytes")                                   \
    X(API_MAXIMUM_CONSUMERS, 400, 10026, "maximum consumers limit reached")                        \
    X(API_MIRROR_MESSAGE_SIZE, 400, 10030, "stream mirror must have max message size >= source")   \
    X(API_MIRROR_WITH_SOURCES, 400, 10031, "stream mirrors can not also contain other sources")    \
    X(API_MIRROR_WITH_SUBJECTS, 400, 10034, "stream mirrors can not contain subjects")             \
    X(API_NO_MESSAGE_FOUND, 404, 10037, "no message found")                                        \
    X(API_NOT_EMPTY_REQUEST, 400, 10038, "expected an empty request payload")                      \
    X(API_SEQUENCE_NOT_FOUND, 400, 10043, "sequence %s not found")                                 \
    X(API_SOURCE_MESSAGE_SIZE, 400, 10046, "stream source must have max message size >= target")   \
    X(API_STREAM_CREATE, 500, 10049, "%s")                                                         \
    X(API_STREAM_GENERAL, 500, 10051, "%s")                                                        \
    X(API_STREAM_INVALID_CONFIG, 500, 10052, "%s")                                                 \
    X(API_MESSAGE_EXCEEDS_MAXIMUM, 400, 10054, "message size exceeds maximum allowed")             \
    X(API_MIRROR_NOT_UPDATABLE, 400, 10055, "stream mirror configuration can not be updated")      \
    X(API_STREAM_MISMATCH, 400, 10056, "stream name in subject does not match request")            \
    X(API_MESSAGE_DELETE, 500, 10057, "%s")                                                        \
    X(API_STREAM_NAME_EXISTS, 400, 10058,                                                          \
      "stream name already in use with a different configuration")                                 \
    X(API_STREAM_NOT_FOUND, 404, 10059, "stream not found")                                        \
    X(API_EXPECTED_STREAM_DIFFERS, 400, 10060, "expected stream does not match")                   \
    X(API_RESTORE_FAILED, 500, 10062, "restore failed: %s")                                        \
    X(API_SNAPSHOT_FAILED, 500, 10064, "snapshot failed: %s")                                      \
    X(API_SUBJECTS_OVERLAP, 400, 10065, "subjects overlap with an existing stream")                \
    X(API_WRONG_LAST_MSG_ID, 400, 10070, "wrong last msg ID: %s")                                  \
    X(API_WRONG_LAST_SEQUENCE, 400, 10071, "wrong last sequence: %s")                              \
    X(API_REPLICAS_NOT_SUPPORTED, 500, 10074, "replicas > 1 not supported in non-clustered mode")  \
    X(API_STORE_FAILED, 503, 10077, "%s")                                                          \
    X(API_DELIVER_TO_WILDCARDS, 400, 10079, "consumer deliver subject has wildcards")              \
    X(API_PUSH_MAX_WAITING, 400, 10080, "consumer in push mode can not set max waiting")           \
    X(API_DELIVER_CYCLE, 400, 10081, "consumer deliver subject forms a cycle")                     \
    X(API_MAX_PENDING_ACK_POLICY, 400, 10082, "consumer requires ack policy for max ack pending")  \
    X(API_SMALL_HEARTBEAT, 400, 10083, "consumer idle heartbeat needs to be >= 100ms")             \
    X(API_PULL_WITH_RATE_LIMIT, 400, 10086, "consumer in pull mode can not have rate limit set")   \
    X(API_HEARTBEAT_REQUIRES_PUSH, 400, 10088,                                                     \
      "consumer idle heartbeat requires a push based consumer")                                    \
    X(API_FLOW_CONTROL_REQUIRES_PUSH, 400, 10089,                                                  \
      "consumer flow control requires a push based consumer")                                      \
    X(API_DIRECT_REQUIRES_PUSH, 400, 10090, "consumer direct requires a push based consumer")      \
    X(API_DIRECT_REQUIRES_EPHEMERAL, 400, 10091, "consumer direct requires an ephemeral consumer") \
    X(API_CONSUMER_INVALID_POLICY, 400, 10094, "%s")                                               \
    X(API_INVALID_SAMPLING, 400, 10095, "failed to parse consumer sampling configuration: %s")     \
    X(API_HEADER_TOO_LARGE, 400, 10097, "header size exceeds maximum allowed of 64k")              \
    X(API_CONSUMER_NAME_TOO_LONG, 400, 10102, "consumer name is too long, maximum allowed is 255") \
    X(API_CONSUMER_DESCRIPTION_TOO_LONG, 400, 10107,                                               \
      "consumer description is too long, maximum allowed is 4096")                                 \
    X(API_FLOW_CONTROL_REQUIRES_HEARTBEATS, 400, 10108,                                            \
      "consumer with flow control also needs heartbeats")                                          \
    X(API_STREAM_SEALED, 400, 10109, "invalid operation on sealed stream")                         \
    X(API_PURGE_NOT_PERMITTED, 500, 10110, "stream purge not permitted")                           \
    X(API_ROLLUP_FAILED, 500, 10111, "%s")                                                         \
    X(API_INVALID_DELIVER_SUBJECT, 400, 10112, "invalid push consumer deliver subject")            \
    X(API_MAX_EXPIRES_TOO_SMALL, 400, 10115, "consumer max request expires needs to be >= 1ms")    \
    X(API_MAX_DELIVER_BACKOFF, 400, 10116,                                                         \
      "max deliver is required to be > length of backoff values")                                  \
    X(API_MAX_ACK_PENDING_EXCESS, 400, 10121,                                                      \
      "consumer max ack pending exceeds system limit of %s")                                       \
    X(API_CONSUMER_NAME_INVALID, 400, 10127, "Consumer name can not contain path separators")      \
    X(API_STREAM_NAME_PATH, 400, 10128, "Stream name can not contain path separators")             \
    X(API_RESTORE_NAME_EXISTS, 400, 10130, "stream name already in use, cannot restore")           \
    X(API_CONSUMER_FILTER_DIFFERS, 400, 10131,                                                     \
      "consumer create request did not match filtered subject from create subject")                \
    X(API_REPLICAS_NEGATIVE, 400, 10133, "replicas count cannot be negative")                      \
    X(API_CONSUMER_METADATA_TOO_LONG, 400, 10135,                                                  \
      "consumer metadata exceeds maximum size of 128KB")                                           \
    X(API_DUPLICATE_FILTERS, 400, 10136,                                                           \
      "consumer cannot have both FilterSubject and FilterSubjects specified")                      \
    X(API_MULTIPLE_FILTERS_IN_SUBJECT, 400, 10137,                                                 \
      "consumer with multiple subject filters cannot use subject based API")                       \
    X(API_OVERLAPPING_FILTERS, 400, 10138, "consumer subject filters cannot overlap")              \
    X(API_EMPTY_FILTER, 400, 10139, "consumer filter in FilterSubjects cannot be empty")           \
    X(API_SOURCE_DUPLICATE, 400, 10140, "duplicate source configuration detected")                 \
    X(API_SOURCE_NAME, 400, 10141, "sourced stream name is invalid")                               \
    X(API_MIRROR_NAME, 400, 10142, "mirrored stream name is invalid")                              \
    X(API_MIRROR_WITH_FIRST_SEQ, 400, 10143,                                                       \
      "stream mirrors can not have first sequence configured")                                     \
    X(API_SOURCE_FILTER_AND_TRANSFORMS, 400, 10144,                                                \
      "source with multiple subject transforms cannot also have a single subject filter")          \
    X(API_SOURCE_TRANSFORM_SOURCE, 400, 10145, "source transform source: %s")                      \
    X(API_SOURCE_TRANSFORM_DESTINATION, 400, 10146, "source transform: %s")                        \
    X(API_SOURCE_FILTERS_OVERLAP, 400, 10147, "source filters can not overlap")                    \
    X(API_CONSUMER_EXISTS, 400, 10148, "consumer already exists")                                  \
    X(API_CONSUMER_DOES_NOT_EXIST, 400, 10149, "consumer does not exist")                          \
    X(API_MIRROR_FILTER_AND_TRANSFORMS, 400, 10150,                                                \
      "mirror with multiple subject transforms cannot also have a single subject filter")          \
    X(API_MIRROR_TRANSFORM_SOURCE, 400, 10151, "mirror transform source: %s")                      \
    X(API_MIRROR_FILTERS_OVERLAP, 400, 10152, "mirror subject filters can not overlap")            \
    X(API_INACTIVE_THRESHOLD_EXCESS, 400, 10153,                                                   \
      "consumer inactive threshold exceeds system limit of %s")                                    \
    X(API_MIRROR_TRANSFORM_DESTINATION, 400, 10154, "mirror transform: %s")                        \
    X(API_STREAM_TRANSFORM_SOURCE, 400, 10155, "stream transform source: %s")                      \
    X(API_STREAM_TRANSFORM_DESTINATION, 400, 10156, "stream transform: %s")                        \
    X(API_PEDANTIC, 400, 10157, "pedantic mode: %s")                                               \
    X(API_PRIORITY_WITHOUT_GROUP, 400, 10159,                                                      \
      "Setting PriorityPolicy requires at least one PriorityGroup to be set")                      \
    X(API_EMPTY_GROUP_NAME, 400, 10161, "Group name cannot be an empty string")                    \
    X(API_INVALID_GROUP_NAME, 400, 10162,                                                          \
      "Valid priority group name must match A-Z, a-z, 0-9, -_/=)+ and may not exceed 16 "          \
      "characters")                                                                                \
    X(API_INVALID_TTL, 400, 10165, "invalid per-message TTL")                                      \
    X(API_TTL_DISABLED, 400, 10166, "per-message TTL is disabled")                                 \
    X(API_MIRROR_WITH_COUNTERS, 400, 10173, "stream mirrors can not also calculate counters")      \
    X(API_COUNTERS_DISABLED, 400, 10168, "message counters is disabled")                           \
    X(API_INCREMENT_INVALID, 400, 10171, "message counter increment is invalid")                   \
    X(API_ATOMIC_PUBLISH_DISABLED, 400, 10174, "atomic publish is disabled")                       \
    X(API_PUSH_WITH_PRIORITY_GROUP, 400, 10178,                                                    \
      "priority groups can not be used with push consumers")                                       \
    X(API_ACK_WAIT_NEGATIVE, 400, 10183, "consumer ack wait needs to be positive")                 \
    X(API_BACKOFF_NEGATIVE, 400, 10184, "consumer backoff needs to be positive")                   \
    X(API_REQUIRED_LEVEL, 412, 10185, "JetStream minimum api level required")                      \
    X(API_MIRROR_WITH_SCHEDULES, 400, 10186, "stream mirrors can not also schedule messages")      \
    X(API_SOURCE_WITH_SCHEDULES, 400, 10187, "stream source can not also schedule messages")       \
    X(API_SCHEDULES_DISABLED, 400, 10188, "message schedules is disabled")                         \
    X(API_MISSING_SUBJECT_SEQUENCE, 400, 10193,                                                    \
      "missing sequence for expected last sequence per subject")                                   \
    X(API_PRIORITY_GROUP_WITHOUT_POLICY, 400, 10196,                                               \
      "consumer can not have priority groups when policy is none")                                 \
    X(API_PINNED_TTL_WITHOUT_POLICY, 400, 10197,                                                   \
      "PinnedTTL cannot be set when PriorityPolicy is none")                                       \
    X(API_MIRROR_WITH_ATOMIC, 400, 10198, "stream mirrors can not also use atomic publishing")     \
    X(API_MIRROR_WITH_BATCHED, 400, 10209, "stream mirrors can not also use batch publishing")     \
    X(API_ACK_FLOW_REQUIRES_PUSH, 400, 10218,                                                      \
      "flow control ack policy requires a push based consumer")                                    \
    X(API_ACK_FLOW_REQUIRES_FLOW, 400, 10219, "flow control ack policy requires flow control")     \
    X(API_ACK_FLOW_REQUIRES_PENDING, 400, 10220,                                                   \
      "flow control ack policy requires max ack pending")                                          \
    X(API_ACK_FLOW_REQUIRES_NO_WAIT, 400, 10221,                                                   \
      "flow control ack policy requires unset ack wait")                                           \
    X(API_ACK_FLOW_REQUIRES_NO_MAX, 400, 10222,                                                    \
      "flow control ack policy requires unset max deliver")                                        \
    X(API_SCHEDULER_INVALID, 400, 10212, "message schedules invalid scheduler")                    \
    X(API_STREAM_SOURCE_HEADER, 400, 10227, "message stream source header is not allowed")
/* clang-format on */

#define API_ERROR_ENUMERATOR(name, code, err_code, words) name,
enum api_error { API_ERROR_LIST(API_ERROR_ENUMERATOR) API_ERROR_COUNT };

/* An error on its way into an answer; text fills the description's %s (cut if too long). */
struct api_failure {
    enum api_error error; /* API_OK: no failure */
    char text[192];
};

/* Sets a failure; format may be NULL where the description has no %s. Always returns false, so that checks read well. */
bool api_fail(struct api_failure *failure, enum api_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* {"code":400,"err_code":10071,"description":"wrong last sequence: 6"} */
void api_error_append(struct text *text, const struct api_failure *failure);

/* The error that tells a client of a failure below kv. */
enum api_error api_error_of(enum status status);

#endif
