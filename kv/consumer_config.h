/*
 * kv/consumer_config.h: the configuration of a consumer: read from a request or the log, written into answers.
 *
 * kv/consumer_check.h has its rules. Source: jetstream-consumers.md section 4.
 */
#ifndef KV_CONSUMER_CONFIG_H
#define KV_CONSUMER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/json.h"
#include "core/text.h"
#include "kv/api_error.h"
#include "kv/stream_config.h"

enum {
    CONSUMER_FILTERS_MAX = 256,
    CONSUMER_BACKOFF_MAX = 256,
    CONSUMER_DESCRIPTION_BYTES_MAX = 4096,
    CONSUMER_METADATA_BYTES_MAX = 131072,
    CONSUMER_ACK_PENDING_DEFAULT = 1000,
};

enum deliver_policy {
    DELIVER_ALL,
    DELIVER_LAST,
    DELIVER_NEW,
    DELIVER_BY_START_SEQUENCE,
    DELIVER_BY_START_TIME,
    DELIVER_LAST_PER_SUBJECT,
};

enum ack_policy { ACK_NONE, ACK_ALL, ACK_EXPLICIT, ACK_FLOW_CONTROL };
enum replay_policy { REPLAY_INSTANT, REPLAY_ORIGINAL };
enum priority_policy {
    PRIORITY_NONE,
    PRIORITY_OVERFLOW,
    PRIORITY_PINNED_CLIENT,
    PRIORITY_PRIORITIZED,
};

/* An array of a request's strings. */
struct consumer_texts {
    struct text *texts; /* owns */
    uint32_t count;
};

/* Owns its texts. */
struct consumer_config {
    struct text name, durable_name, description, deliver_subject, deliver_group;
    struct text filter_subject;
    struct consumer_texts filter_subjects, priority_groups;
    struct text start_time_text; /* as given, for the echo */
    uint64_t start_seq, start_time_ns;
    struct text metadata;    /* the members of the object by name, without the server's */
    uint64_t metadata_bytes; /* of names and values, as nats-server counts them */
    struct text pause_until; /* in UTC; empty: not given */
    uint64_t pause_until_ns; /* 0: not paused */
    struct text sample_freq;
    int64_t *backoff_ns; /* owns */
    uint32_t backoff_count;
    int64_t ack_wait_ns, max_deliver, max_waiting, max_ack_pending;
    int64_t max_batch, max_expires_ns, max_bytes, priority_timeout_ns;
    int64_t idle_heartbeat_ns, inactive_threshold_ns, replicas;
    uint64_t rate_limit_bps;
    uint8_t deliver_policy, ack_policy, replay_policy, priority_policy;
    bool flow_control, headers_only, mem_storage, has_start_time, direct, sourcing;
    bool has_default_threshold; /* of a request: it did not say an inactive_threshold */
};

/* What surrounds the configuration in a create request. */
struct consumer_request {
    struct consumer_config config;
    struct text stream_name;
    bool is_create_only, is_update_only, is_pedantic;
};

void consumer_config_free(struct consumer_config *config);
void consumer_request_free(struct consumer_request *request);

/* False: failure says why. Members nobody knows are refused where is_strict. */
bool consumer_request_read(struct consumer_request *request, const struct json *object,
                           bool is_strict, struct api_failure *failure);
/* Reads what consumer_config_append wrote, from the log. */
void consumer_config_restore(struct consumer_config *config, struct bytes json_text);
void consumer_config_append(struct text *text, const struct consumer_config *config,
                            bool with_server_metadata);
bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b);
/* "9999-…" and what else RFC 3339 says; empty text: not given. False: it is no time. */
bool consumer_config_set_pause(struct consumer_config *config, struct bytes text);

uint32_t consumer_config_filter_count(const struct consumer_config *config);
struct bytes consumer_config_filter(const struct consumer_config *config, uint32_t index);
/* No filter, or one that does: then everything does. */
bool consumer_config_matches(const struct consumer_config *config, struct bytes subject);

#endif
