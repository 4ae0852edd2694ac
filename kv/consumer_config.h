/*
 * kv/consumer_config.h: the configuration of a push consumer: read from a request, checked, written into answers.
 *
 * Source: jetstream-consumers.md sections 3 to 5.
 */
#ifndef KV_CONSUMER_CONFIG_H
#define KV_CONSUMER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/json.h"
#include "core/text.h"
#include "kv/api_error.h"
#include "kv/stream_config.h"

enum { CONSUMER_FILTERS_MAX = 256 };

enum deliver_policy {
    DELIVER_ALL,
    DELIVER_LAST,
    DELIVER_NEW,
    DELIVER_BY_START_SEQUENCE,
    DELIVER_BY_START_TIME,
    DELIVER_LAST_PER_SUBJECT,
};

/* Owns its texts. */
struct consumer_config {
    struct text name, durable_name, description, deliver_subject, deliver_group;
    struct text filter_subject;
    struct text *filter_subjects; /* owns */
    uint32_t filter_subject_count;
    struct text start_time_text; /* as given, for the echo */
    uint64_t start_seq, start_time_ns;
    struct text metadata;    /* the members of the object as given, without the server's */
    struct text pause_until; /* echoed */
    int64_t ack_wait_ns, max_deliver, max_waiting, max_ack_pending;
    int64_t idle_heartbeat_ns, inactive_threshold_ns, replicas;
    uint8_t deliver_policy;
    bool flow_control, headers_only, mem_storage, has_start_time;
};

/* What surrounds the configuration in a create request. */
struct consumer_request {
    struct consumer_config config;
    struct text stream_name;
    bool is_create_only, is_update_only;
};

void consumer_config_free(struct consumer_config *config);
void consumer_request_free(struct consumer_request *request);

/* False: failure says why. */
bool consumer_request_read(struct consumer_request *request, const struct json *object,
                           struct api_failure *failure);
/* Fills defaults, checks. What pail does not have yet (pull, acks) is refused in words. */
bool consumer_config_check(struct consumer_config *config, const struct stream_config *stream,
                           struct api_failure *failure);
/* Reads what consumer_config_append wrote, from the log. */
void consumer_config_restore(struct consumer_config *config, struct bytes json_text);
void consumer_config_append(struct text *text, const struct consumer_config *config,
                            bool with_server_metadata);
bool consumer_config_equal(const struct consumer_config *a, const struct consumer_config *b);

uint32_t consumer_config_filter_count(const struct consumer_config *config);
struct bytes consumer_config_filter(const struct consumer_config *config, uint32_t index);
/* No filter, or one that does: then everything does. */
bool consumer_config_matches(const struct consumer_config *config, struct bytes subject);

#endif
