/*
 * kv/put_rules.c: one walk over the header block, then the checks that need no state, in nats-server's order.
 */
#include "kv/put_rules.h"

#include <strings.h>

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

static bool read_rollup(struct put_rules *rules, const struct stream_config *config,
                        struct bytes value, struct api_failure *failure)
{
    if (!config->allow_rollup || config->deny_purge)
        return api_fail(failure, API_ROLLUP_FAILED, "rollup not permitted");
    if (value.count == 3 && strncasecmp(value.data, "sub", 3) == 0)
        rules->flags |= PUT_ROLLUP_KEY;
    else if (value.count == 3 && strncasecmp(value.data, "all", 3) == 0)
        rules->flags |= PUT_ROLLUP_ALL;
    else
        return api_fail(failure, API_ROLLUP_FAILED, "rollup value invalid: \"%.*s\"",
                        (int)(value.count < 32 ? value.count : 32), value.data);
    return true;
}

/* The features of later versions: a message that asks for one is refused, not stored without it. */
static bool refuse_unsupported(const struct header_values *values,
                               const struct stream_config *config, struct api_failure *failure)
{
    if (has(values, HEADER_SOURCE))
        return api_fail(failure, API_STREAM_SOURCE_HEADER, NULL);
    if (has(values, HEADER_BATCH))
        return api_fail(failure, API_ATOMIC_PUBLISH_DISABLED, NULL);
    if (has(values, HEADER_TTL))
        return config->allow_msg_ttl
                   ? api_fail(failure, API_STREAM_GENERAL, "pail does not support Nats-TTL yet")
                   : api_fail(failure, API_TTL_DISABLED, NULL);
    if (has(values, HEADER_MSG_ID) || has(values, HEADER_EXPECTED_MSG_ID))
        return api_fail(failure, API_STREAM_GENERAL, "pail does not support Nats-Msg-Id yet");
    if (has(values, HEADER_EXPECTED_SUBJECT) && has(values, HEADER_EXPECTED_KEY))
        return api_fail(failure, API_STREAM_GENERAL,
                        "pail does not support Nats-Expected-Last-Subject-Sequence-Subject yet");
    if (has(values, HEADER_EXPECTED_KEY) && has(values, HEADER_EXPECTED_LAST))
        return api_fail(failure, API_STREAM_GENERAL,
                        "pail does not support two expected sequences in one message yet");
    return true;
}

static bool rules_from_values(struct put_rules *rules, const struct header_values *values,
                              const struct stream_config *config, const struct msg *msg,
                              struct api_failure *failure)
{
    if (has(values, HEADER_EXPECTED_STREAM)
        && !bytes_equal(values->value[HEADER_EXPECTED_STREAM], text_bytes(&config->name)))
        return api_fail(failure, API_EXPECTED_STREAM_DIFFERS, NULL);
    if (!refuse_unsupported(values, config, failure))
        return false;
    if (has(values, HEADER_EXPECTED_SUBJECT))
        return api_fail(failure, API_MISSING_SUBJECT_SEQUENCE, NULL);
    if (has(values, HEADER_EXPECTED_KEY)) {
        rules->flags |= PUT_EXPECTS_KEY;
        rules->expected = number_of(values->value[HEADER_EXPECTED_KEY]);
    } else if (has(values, HEADER_EXPECTED_LAST)) {
        rules->flags |= PUT_EXPECTS_LAST;
        rules->expected = number_of(values->value[HEADER_EXPECTED_LAST]);
    }
    if (has(values, HEADER_ROLLUP)
        && !read_rollup(rules, config, values->value[HEADER_ROLLUP], failure))
        return false;
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
