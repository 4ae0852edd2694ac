/*
 * kv/consumer_check.c: defaults and checks of a consumer's configuration, in nats-server's order.
 */
#include "kv/consumer_check.h"

#include <stdlib.h>

#include "core/assert.h"
#include "core/subject.h"

#define NS_PER_SECOND INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

enum {
    MAX_WAITING_DEFAULT = 512,
    REQUIRED_LEVEL_BYTES =
        sizeof "_nats.req.level" - 1 + 1, /* the server's own member, one digit */
};

/* ---- defaults ---- */

static bool fail_pedantic(struct api_failure *failure, const char *words)
{
    return api_fail(failure, API_PEDANTIC, "%s", words);
}

struct not_negative {
    int64_t *field;
    int64_t floor;
    const char *words;
};

static bool raise_negatives(struct consumer_config *config, bool is_pedantic,
                            struct api_failure *failure)
{
    struct not_negative rows[] = {
        {&config->max_deliver, -1, "max_deliver must be set to -1"},
        {&config->max_waiting, 0, "max_waiting must not be negative"},
        {&config->max_ack_pending, -1, "max_ack_pending must be set to -1"},
        {&config->max_batch, 0, "max_batch must not be negative"},
        {&config->max_expires_ns, 0, "max_expires must not be negative"},
        {&config->max_bytes, 0, "max_bytes must not be negative"},
        {&config->idle_heartbeat_ns, 0, "idle_heartbeat must not be negative"},
        {&config->inactive_threshold_ns, 0, "inactive_threshold must not be negative"},
        {&config->priority_timeout_ns, 0, "priority_timeout must not be negative"},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        if (*rows[i].field >= rows[i].floor)
            continue;
        if (is_pedantic)
            return fail_pedantic(failure, rows[i].words);
        *rows[i].field = rows[i].floor;
    }
    return true;
}

static bool fill_limits(struct consumer_config *config, const struct stream_config *stream,
                        bool is_pedantic, struct api_failure *failure)
{
    if (config->max_ack_pending == 0 && stream->ack_pending_max > 0) {
        if (is_pedantic)
            return fail_pedantic(failure,
                                 "max_ack_pending must be set if it's configured in stream limits");
        config->max_ack_pending = stream->ack_pending_max;
    }
    if (config->inactive_threshold_ns == 0 && stream->inactive_threshold_max_ns > 0) {
        if (is_pedantic)
            return fail_pedantic(
                failure, "inactive_threshold must be set if it's configured in stream limits");
        config->inactive_threshold_ns = stream->inactive_threshold_max_ns;
    }
    return true;
}

static bool fill_defaults(struct consumer_config *config, const struct stream_config *stream,
                          bool is_pedantic, struct api_failure *failure)
{
    bool has_acks = config->ack_policy == ACK_EXPLICIT || config->ack_policy == ACK_ALL;
    if (!raise_negatives(config, is_pedantic, failure))
        return false;
    if (config->max_deliver == 0)
        config->max_deliver = -1;
    if (config->deliver_subject.count == 0 && config->max_waiting == 0)
        config->max_waiting = MAX_WAITING_DEFAULT;
    if (config->ack_wait_ns == 0 && has_acks)
        config->ack_wait_ns = 30 * NS_PER_SECOND;
    if (config->backoff_count > 0) {
        if (is_pedantic && config->ack_wait_ns != config->backoff_ns[0])
            return fail_pedantic(failure, "first backoff value has to equal batch AckWait");
        config->ack_wait_ns = config->backoff_ns[0];
    }
    if (!fill_limits(config, stream, is_pedantic, failure))
        return false;
    if (config->max_ack_pending == 0 && config->ack_policy != ACK_NONE)
        config->max_ack_pending = CONSUMER_ACK_PENDING_DEFAULT;
    if (config->priority_policy == PRIORITY_PINNED_CLIENT && config->priority_timeout_ns == 0)
        config->priority_timeout_ns = 120 * NS_PER_SECOND;
    if (config->ack_policy == ACK_FLOW_CONTROL && !is_pedantic) {
        config->flow_control = true;
        config->idle_heartbeat_ns = NS_PER_SECOND;
    }
    return true;
}

/* ---- checks ---- */

static bool fail_config(struct api_failure *failure, const char *words)
{
    return api_fail(failure, API_STREAM_INVALID_CONFIG, "%s", words);
}

static bool fail_unsupported(struct api_failure *failure, const char *what)
{
    return api_fail(failure, API_CONSUMER_CREATE, "pail does not support %s yet", what);
}

static bool name_is_fine(struct bytes name)
{
    for (size_t i = 0; i < name.count; i++) {
        if (name.data[i] != '\0' && strchr(" \t\r\n\f.*>\\/", name.data[i]) != NULL)
            return false;
    }
    return true;
}

static bool check_names(const struct consumer_config *config, struct api_failure *failure)
{
    if (!name_is_fine(text_bytes(&config->name)))
        return fail_config(failure, "consumer name can not contain '.', '*', '>', '\\', '/'");
    if (!name_is_fine(text_bytes(&config->durable_name)))
        return fail_config(failure,
                           "consumer durable name can not contain '.', '*', '>', '\\', '/'");
    return true;
}

static bool check_acks(const struct consumer_config *config, struct api_failure *failure)
{
    for (uint32_t i = 0; i < config->backoff_count; i++) {
        if (config->backoff_ns[i] < 0)
            return api_fail(failure, API_BACKOFF_NEGATIVE, NULL);
    }
    if (config->ack_wait_ns < 0)
        return api_fail(failure, API_ACK_WAIT_NEGATIVE, NULL);
    if (config->ack_policy == ACK_FLOW_CONTROL) {
        if (config->deliver_subject.count == 0)
            return api_fail(failure, API_ACK_FLOW_REQUIRES_PUSH, NULL);
        if (!config->flow_control)
            return api_fail(failure, API_ACK_FLOW_REQUIRES_FLOW, NULL);
        if (config->idle_heartbeat_ns != NS_PER_SECOND)
            return fail_config(failure, "flow control ack policy heartbeat needs to be 1s");
        if (config->max_ack_pending <= 0)
            return api_fail(failure, API_ACK_FLOW_REQUIRES_PENDING, NULL);
        if (config->ack_wait_ns != 0 || config->backoff_count > 0)
            return api_fail(failure, API_ACK_FLOW_REQUIRES_NO_WAIT, NULL);
        if (config->max_deliver > 0)
            return api_fail(failure, API_ACK_FLOW_REQUIRES_NO_MAX, NULL);
    }
    if (config->backoff_count > 0 && config->max_deliver != -1
        && config->backoff_count > config->max_deliver)
        return api_fail(failure, API_MAX_DELIVER_BACKOFF, NULL);
    return true;
}

static bool check_push(const struct consumer_config *config, const struct stream_config *stream,
                       struct api_failure *failure)
{
    struct bytes deliver = text_bytes(&config->deliver_subject);
    if (!subject_is_literal(deliver))
        return api_fail(failure, API_DELIVER_TO_WILDCARDS, NULL);
    if (!subject_is_valid(deliver))
        return api_fail(failure, API_INVALID_DELIVER_SUBJECT, NULL);
    for (uint32_t i = 0; i < stream->subject_count; i++) {
        if (subject_matches(text_bytes(&stream->subjects[i]), deliver))
            return api_fail(failure, API_DELIVER_CYCLE, NULL);
    }
    if (config->max_waiting > 0)
        return api_fail(failure, API_PUSH_MAX_WAITING, NULL);
    if (config->max_ack_pending > 0 && config->ack_policy == ACK_NONE)
        return api_fail(failure, API_MAX_PENDING_ACK_POLICY, NULL);
    if (config->idle_heartbeat_ns > 0 && config->idle_heartbeat_ns < 100 * NS_PER_MS)
        return api_fail(failure, API_SMALL_HEARTBEAT, NULL);
    return true;
}

static bool check_pull(const struct consumer_config *config, struct api_failure *failure)
{
    if (config->rate_limit_bps > 0)
        return api_fail(failure, API_PULL_WITH_RATE_LIMIT, NULL);
    if (config->idle_heartbeat_ns > 0)
        return api_fail(failure, API_HEARTBEAT_REQUIRES_PUSH, NULL);
    if (config->flow_control)
        return api_fail(failure, API_FLOW_CONTROL_REQUIRES_PUSH, NULL);
    if (config->max_expires_ns != 0 && config->max_expires_ns < NS_PER_MS)
        return api_fail(failure, API_MAX_EXPIRES_TOO_SMALL, NULL);
    return true;
}

static bool check_limits(const struct consumer_config *config, const struct stream_config *stream,
                         struct api_failure *failure)
{
    if (stream->ack_pending_max > 0 && config->max_ack_pending > stream->ack_pending_max)
        return api_fail(failure, API_MAX_ACK_PENDING_EXCESS, "%lld",
                        (long long)stream->ack_pending_max);
    if (stream->inactive_threshold_max_ns > 0
        && config->inactive_threshold_ns > stream->inactive_threshold_max_ns) {
        struct text duration = {0};
        text_append_duration(&duration, stream->inactive_threshold_max_ns);
        api_fail(failure, API_INACTIVE_THRESHOLD_EXCESS, "%.*s", (int)duration.count,
                 duration.data);
        text_free(&duration);
        return false;
    }
    if (config->direct && config->deliver_subject.count == 0)
        return api_fail(failure, API_DIRECT_REQUIRES_PUSH, NULL);
    if (config->direct && config->durable_name.count > 0)
        return api_fail(failure, API_DIRECT_REQUIRES_EPHEMERAL, NULL);
    return true;
}

static bool check_filters(const struct consumer_config *config, struct api_failure *failure)
{
    const struct consumer_texts *filters = &config->filter_subjects;
    if (config->filter_subject.count > 0 && filters->count > 0)
        return api_fail(failure, API_DUPLICATE_FILTERS, NULL);
    if (config->filter_subject.count > 0 && !subject_is_valid(text_bytes(&config->filter_subject)))
        return fail_config(failure, "invalid subject");
    for (uint32_t i = 0; i < filters->count; i++) {
        if (filters->texts[i].count == 0)
            return api_fail(failure, API_EMPTY_FILTER, NULL);
    }
    for (uint32_t i = 0; i < filters->count; i++) {
        struct bytes filter = text_bytes(&filters->texts[i]);
        if (!subject_is_valid(filter))
            return fail_config(failure, "invalid subject");
        for (uint32_t j = 0; j < filters->count; j++) {
            if (i != j && subject_is_subset(text_bytes(&filters->texts[j]), filter))
                return api_fail(failure, API_OVERLAPPING_FILTERS, NULL);
        }
    }
    return true;
}

static const char *const policy_words[] = {
    "all", "last", "new", "by start sequence", "by start time", "last per subject"};

static bool fail_policy(struct api_failure *failure, uint8_t policy, const char *what,
                        const char *is)
{
    return api_fail(failure, API_CONSUMER_INVALID_POLICY,
                    "consumer delivery policy is deliver %s, but optional %s is %s set",
                    policy_words[policy], what, is);
}

static bool check_policy(const struct consumer_config *config, struct api_failure *failure)
{
    uint8_t policy = config->deliver_policy;
    if (policy == DELIVER_BY_START_SEQUENCE && config->start_seq == 0)
        return fail_policy(failure, policy, "start sequence", "not");
    if (policy == DELIVER_BY_START_TIME && !config->has_start_time)
        return fail_policy(failure, policy, "start time", "not");
    if (policy != DELIVER_BY_START_SEQUENCE && config->start_seq != 0)
        return fail_policy(
            failure, policy,
            policy == DELIVER_BY_START_TIME ? "start start sequence" : "start sequence", "also");
    if (policy != DELIVER_BY_START_TIME && config->has_start_time)
        return fail_policy(failure, policy, "start time", "also");
    if (policy == DELIVER_LAST_PER_SUBJECT && consumer_config_filter_count(config) == 0)
        return fail_policy(failure, policy, "filter subject", "not");
    return true;
}

/* An integer of Go's strconv.Atoi that is not negative, and an optional `%`. */
static bool check_sampling(const struct consumer_config *config, struct api_failure *failure)
{
    struct bytes text = text_bytes(&config->sample_freq);
    if (text.count == 0)
        return true;
    if (text.data[text.count - 1] == '%')
        text.count--;
    struct bytes digits = text;
    bool is_negative = digits.count > 0 && digits.data[0] == '-';
    if (digits.count > 0 && (digits.data[0] == '-' || digits.data[0] == '+'))
        digits = bytes_after(digits, 1);
    uint64_t number = 0;
    if (!text_parse_u64(digits, &number))
        return api_fail(failure, API_INVALID_SAMPLING,
                        "strconv.Atoi: parsing \"%.*s\": invalid syntax",
                        (int)(text.count < 64 ? text.count : 64), text.data);
    return is_negative && number > 0 ? api_fail(failure, API_INVALID_SAMPLING, "<nil>") : true;
}

static bool group_name_is_fine(struct bytes name)
{
    for (size_t i = 0; i < name.count; i++) {
        char c = name.data[i];
        bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_letter && (c == '\0' || strchr("/_=-", c) == NULL))
            return false;
    }
    return name.count <= 16;
}

static bool check_priority(const struct consumer_config *config, struct api_failure *failure)
{
    if (config->priority_policy == PRIORITY_NONE) {
        if (config->priority_groups.count > 0)
            return api_fail(failure, API_PRIORITY_GROUP_WITHOUT_POLICY, NULL);
        if (config->priority_timeout_ns > 0)
            return api_fail(failure, API_PINNED_TTL_WITHOUT_POLICY, NULL);
        return true;
    }
    if (config->deliver_subject.count > 0)
        return api_fail(failure, API_PUSH_WITH_PRIORITY_GROUP, NULL);
    if (config->priority_groups.count == 0)
        return api_fail(failure, API_PRIORITY_WITHOUT_GROUP, NULL);
    for (uint32_t i = 0; i < config->priority_groups.count; i++) {
        struct bytes name = text_bytes(&config->priority_groups.texts[i]);
        if (name.count == 0)
            return api_fail(failure, API_EMPTY_GROUP_NAME, NULL);
        if (!group_name_is_fine(name))
            return api_fail(failure, API_INVALID_GROUP_NAME, NULL);
    }
    return true;
}

/* Names that nats-server finds out about only when it makes the consumer. */
static bool check_long_names(const struct consumer_config *config, struct api_failure *failure)
{
    if (config->durable_name.count > STREAM_NAME_BYTES_MAX)
        return api_fail(failure, API_CONSUMER_NAME_TOO_LONG, NULL);
    struct bytes name = text_bytes(&config->name);
    if (name.count > STREAM_NAME_BYTES_MAX
        || (name.count > 0 && memchr(name.data, '\0', name.count) != NULL))
        return api_fail(failure, API_CONSUMER_CREATE, "error creating store for consumer");
    return true;
}

static bool check_supported(const struct consumer_config *config, struct api_failure *failure)
{
    if (config->deliver_subject.count == 0)
        return fail_unsupported(failure, "pull consumers");
    if (config->ack_policy == ACK_FLOW_CONTROL)
        return fail_unsupported(failure, "ack_policy \"flow_control\"");
    if (config->replay_policy == REPLAY_ORIGINAL)
        return fail_unsupported(failure, "replay_policy \"original\"");
    if (config->rate_limit_bps > 0)
        return fail_unsupported(failure, "rate_limit_bps");
    if (config->direct || config->sourcing)
        return fail_unsupported(failure, "consumers of other servers' mirrors");
    return true;
}

bool consumer_config_check(struct consumer_config *config, const struct stream_config *stream,
                           bool is_pedantic, struct api_failure *failure)
{
    if (!fill_defaults(config, stream, is_pedantic, failure) || !check_names(config, failure))
        return false;
    if (config->replicas < 0)
        return api_fail(failure, API_REPLICAS_NEGATIVE, NULL);
    if (!check_acks(config, failure))
        return false;
    if (config->description.count > CONSUMER_DESCRIPTION_BYTES_MAX)
        return api_fail(failure, API_CONSUMER_DESCRIPTION_TOO_LONG, NULL);
    bool is_push = config->deliver_subject.count > 0;
    if (is_push ? !check_push(config, stream, failure) : !check_pull(config, failure))
        return false;
    if (!check_limits(config, stream, failure) || !check_filters(config, failure)
        || !check_policy(config, failure) || !check_sampling(config, failure))
        return false;
    if (config->flow_control && config->idle_heartbeat_ns == 0)
        return api_fail(failure, API_FLOW_CONTROL_REQUIRES_HEARTBEATS, NULL);
    if (config->metadata_bytes + REQUIRED_LEVEL_BYTES > CONSUMER_METADATA_BYTES_MAX)
        return api_fail(failure, API_CONSUMER_METADATA_TOO_LONG, NULL);
    if (!check_priority(config, failure) || !check_long_names(config, failure)
        || !check_supported(config, failure))
        return false;
    if (config->inactive_threshold_ns == 0 && config->durable_name.count == 0) {
        config->inactive_threshold_ns = 5 * NS_PER_SECOND;
        config->has_default_threshold = true;
    }
    return true;
}

/* ---- updates ---- */

static bool fail_update(struct api_failure *failure, const char *what)
{
    return api_fail(failure, API_CONSUMER_CREATE, "%s can not be updated", what);
}

bool consumer_config_check_update(const struct consumer_config *current,
                                  const struct consumer_config *next, struct api_failure *failure)
{
    if (current->deliver_policy != next->deliver_policy)
        return fail_update(failure, "deliver policy");
    if (current->mem_storage != next->mem_storage)
        return fail_update(failure, "storage type");
    if (current->direct != next->direct)
        return fail_update(failure, "direct");
    if (current->sourcing != next->sourcing)
        return fail_update(failure, "sourcing");
    if (current->start_seq != next->start_seq)
        return fail_update(failure, "start sequence");
    if (current->has_start_time != next->has_start_time
        || current->start_time_ns != next->start_time_ns)
        return fail_update(failure, "start time");
    if (current->ack_policy != next->ack_policy)
        return fail_update(failure, "ack policy");
    if (current->replay_policy != next->replay_policy)
        return fail_update(failure, "replay policy");
    if (current->idle_heartbeat_ns != next->idle_heartbeat_ns)
        return fail_update(failure, "heart beats");
    if (current->flow_control != next->flow_control)
        return fail_update(failure, "flow control");
    if (current->max_waiting != next->max_waiting)
        return fail_update(failure, "max waiting");
    return true;
}
