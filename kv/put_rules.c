/*
 * kv/put_rules.c: one walk over the header block, then the checks that need no state, in nats-server's order.
 */
#include "kv/put_rules.h"

#include <strings.h>

#include "kv/message_ttl.h"

enum header_name {
    HEADER_EXPECTED_KEY,
    HEADER_EXPECTED_SUBJECT,
    HEADER_EXPECTED_LAST,
    HEADER_EXPECTED_STREAM,
    HEADER_EXPECTED_MSG_ID,
    HEADER_MSG_ID,
    HEADER_ROLLUP,
    HEADER_TTL,
    HEADER_SOURCE,
    HEADER_BATCH,
    HEADER_INCREMENT,
    HEADER_SCHEDULE,
    HEADER_SCHEDULER,
    HEADER_SCHEDULE_NEXT,
    HEADER_MARKER_REASON,
    HEADER_OPERATION,
    HEADER_COUNT,
};

static const char *const names[HEADER_COUNT] = {
    "Nats-Expected-Last-Subject-Sequence",
    "Nats-Expected-Last-Subject-Sequence-Subject",
    "Nats-Expected-Last-Sequence",
    "Nats-Expected-Stream",
    "Nats-Expected-Last-Msg-Id",
    "Nats-Msg-Id",
    "Nats-Rollup",
    "Nats-TTL",
    "Nats-Stream-Source",
    "Nats-Batch-Id",
    "Nats-Incr",
    "Nats-Schedule",
    "Nats-Scheduler",
    "Nats-Schedule-Next",
    "Nats-Marker-Reason",
    "KV-Operation",
};

struct header_values {
    struct bytes value[HEADER_COUNT]; /* empty: absent, which is what an empty one means */
    bool is_seen[HEADER_COUNT];
};

static void values_take(struct header_values *values, struct bytes name, struct bytes value)
{
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        if (values->is_seen[i] || strlen(names[i]) != name.count
            || memcmp(names[i], name.data, name.count) != 0)
            continue;
        values->is_seen[i] = true;
        while (value.count > 0 && value.data[0] == ' ')
            value = bytes_after(value, 1);
        values->value[i] = value;
        return;
    }
}

/* First occurrence wins; a name follows CR LF and ends in ':'. */
static void values_read(struct header_values *values, struct bytes headers)
{
    const char *end = headers.data + headers.count;
    const char *line = memchr(headers.data, '\n', headers.count);
    while (line != NULL && ++line < end) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (next == NULL)
            return;
        const char *colon = memchr(line, ':', (size_t)(next - line));
        if (colon != NULL && (*line == 'N' || *line == 'K')) {
            const char *stop = next > colon && next[-1] == '\r' ? next - 1 : next;
            values_take(values, bytes_of(line, (size_t)(colon - line)),
                        bytes_of(colon + 1, (size_t)(stop - colon - 1)));
        }
        line = next;
    }
}

/* A number that is none never matches. */
static uint64_t number_of(struct bytes value)
{
    uint64_t number;
    while (value.count > 1 && value.data[0] == '0')
        value = bytes_after(value, 1);
    return text_parse_u64(value, &number) ? number : UINT64_MAX;
}

static bool has(const struct header_values *values, enum header_name name)
{
    return values->value[name].count > 0;
}

/* True: the caller says what is wrong. The first fault counts; they are looked for in the order of the checks. */
static bool is_first_fault(struct put_rules *rules, enum put_check place)
{
    if ((rules->flags & PUT_HAS_FAULT) != 0)
        return false;
    rules->flags |= PUT_HAS_FAULT;
    rules->fault_place = place;
    return true;
}

static void set_fault(struct put_rules *rules, enum put_check place, enum api_error error,
                      struct api_failure *failure)
{
    if (is_first_fault(rules, place))
        api_fail(failure, error, NULL);
}

static void read_rollup(struct put_rules *rules, const struct stream_config *config,
                        struct bytes value, struct api_failure *failure)
{
    bool is_allowed = config->allow_rollup && !config->deny_purge;
    if (is_allowed && value.count == 3 && strncasecmp(value.data, "sub", 3) == 0)
        rules->flags |= PUT_ROLLUP_KEY;
    else if (is_allowed && value.count == 3 && strncasecmp(value.data, "all", 3) == 0)
        rules->flags |= PUT_ROLLUP_ALL;
    else if (!is_first_fault(rules, PUT_CHECK_ROLLUP))
        return;
    else if (!is_allowed)
        api_fail(failure, API_ROLLUP_FAILED, "rollup not permitted");
    else
        api_fail(failure, API_ROLLUP_FAILED, "rollup value invalid: \"%.*s\"",
                 (int)(value.count < 32 ? value.count : 32), value.data);
}

/* Counters and batches are refused before all else. */
static bool refuse_unsupported(const struct header_values *values, struct api_failure *failure)
{
    if (has(values, HEADER_BATCH))
        return api_fail(failure, API_ATOMIC_PUBLISH_DISABLED, NULL);
    if (!has(values, HEADER_INCREMENT))
        return true;
    struct bytes number = values->value[HEADER_INCREMENT];
    if (number.data[0] == '-' || number.data[0] == '+')
        number = bytes_after(number, 1);
    bool is_number = number.count > 0;
    for (size_t i = 0; i < number.count; i++)
        is_number = is_number && number.data[i] >= '0' && number.data[i] <= '9';
    return api_fail(failure, is_number ? API_COUNTERS_DISABLED : API_INCREMENT_INVALID, NULL);
}

static void read_expectations(struct put_rules *rules, const struct header_values *values,
                              struct api_failure *failure)
{
    if (has(values, HEADER_EXPECTED_KEY)) {
        rules->flags |= PUT_EXPECTS_KEY;
        rules->expected_key = number_of(values->value[HEADER_EXPECTED_KEY]);
    }
    rules->subject = values->value[HEADER_EXPECTED_SUBJECT];
    if (rules->subject.count > 0 && (rules->flags & PUT_EXPECTS_KEY) != 0)
        rules->flags |= PUT_EXPECTS_SUBJECT;
    else if (rules->subject.count > 0)
        set_fault(rules, PUT_CHECK_SUBJECT, API_MISSING_SUBJECT_SEQUENCE, failure);
    if (has(values, HEADER_EXPECTED_LAST)) {
        rules->flags |= PUT_EXPECTS_LAST;
        rules->expected_last = number_of(values->value[HEADER_EXPECTED_LAST]);
    }
    rules->id = values->value[HEADER_MSG_ID];
    rules->last_id = values->value[HEADER_EXPECTED_MSG_ID];
    rules->flags |=
        (rules->id.count > 0 ? PUT_HAS_ID : 0) | (rules->last_id.count > 0 ? PUT_EXPECTS_ID : 0);
}

static void read_schedule(struct put_rules *rules, const struct header_values *values,
                          struct api_failure *failure)
{
    bool is_purge = bytes_equal(values->value[HEADER_SCHEDULE_NEXT], BYTES_LITERAL("purge"));
    if (has(values, HEADER_SCHEDULE) || (has(values, HEADER_SCHEDULER) && is_purge))
        set_fault(rules, PUT_CHECK_SOURCE, API_SCHEDULES_DISABLED, failure);
    else if (has(values, HEADER_SCHEDULER))
        set_fault(rules, PUT_CHECK_SOURCE, API_SCHEDULER_INVALID, failure);
    if (has(values, HEADER_SOURCE))
        set_fault(rules, PUT_CHECK_SOURCE, API_STREAM_SOURCE_HEADER, failure);
}

static bool rules_from_values(struct put_rules *rules, const struct header_values *values,
                              const struct stream_config *config, const struct msg *msg,
                              struct api_failure *failure)
{
    uint64_t ttl = MESSAGE_TTL_NONE;
    if (!refuse_unsupported(values, failure))
        return false;
    if (has(values, HEADER_EXPECTED_STREAM)
        && !bytes_equal(values->value[HEADER_EXPECTED_STREAM], text_bytes(&config->name)))
        return api_fail(failure, API_EXPECTED_STREAM_DIFFERS, NULL);
    bool is_ttl_valid = message_ttl_parse(values->value[HEADER_TTL], &ttl);
    if (is_ttl_valid && ttl != MESSAGE_TTL_NONE && !config->allow_msg_ttl)
        return api_fail(failure, API_TTL_DISABLED, NULL);
    read_expectations(rules, values, failure);
    read_schedule(rules, values, failure);
    if (has(values, HEADER_ROLLUP))
        read_rollup(rules, config, values->value[HEADER_ROLLUP], failure);
    if (!is_ttl_valid)
        set_fault(rules, PUT_CHECK_TTL, API_INVALID_TTL, failure);
    else if (ttl != MESSAGE_TTL_NONE)
        rules->flags |= PUT_HAS_TTL;
    rules->ttl = ttl;
    if (has(values, HEADER_MARKER_REASON)
        || bytes_equal(values->value[HEADER_OPERATION], BYTES_LITERAL("PURGE")))
        rules->flags |= PUT_IS_FINAL;
    struct bytes operation = values->value[HEADER_OPERATION];
    if (msg->payload.count == 0
        && (bytes_equal(operation, BYTES_LITERAL("DEL"))
            || bytes_equal(operation, BYTES_LITERAL("PURGE"))))
        rules->flags |= PUT_IS_DELETE;
    return true;
}

bool put_rules_read(struct put_rules *rules, const struct stream_config *config,
                    const struct msg *msg, struct api_failure *failure)
{
    *rules = (struct put_rules){.flags = config->no_ack ? PUT_NO_ACK : 0};
    if (config->sealed)
        return api_fail(failure, API_STREAM_SEALED, NULL);
    if (config->message_size_max > 0
        && msg->headers.count + msg->payload.count > (uint64_t)config->message_size_max)
        return api_fail(failure, API_MESSAGE_EXCEEDS_MAXIMUM, NULL);
    if (msg->headers.count == 0)
        return true;
    if (msg->headers.count > 65535)
        return api_fail(failure, API_HEADER_TOO_LARGE, NULL);
    struct header_values values = {0};
    values_read(&values, msg->headers);
    return rules_from_values(rules, &values, config, msg, failure);
}
