/*
 * kv/message_ttl.c: the grammar of Nats-TTL, which is a Go duration, a number of seconds, or "never".
 */
#include "kv/message_ttl.h"

#include <strings.h>

#include "core/msg.h"

#define NS_PER_SECOND UINT64_C(1000000000)

static const struct bytes header_name = {"Nats-TTL", 8};

/* Digits of any length; what is too large for a time is never. */
static bool parse_seconds(struct bytes value, uint64_t *seconds_out)
{
    uint64_t number = 0;
    for (size_t i = 0; i < value.count; i++) {
        unsigned digit = (unsigned)(unsigned char)value.data[i] - '0';
        if (digit > 9)
            return false;
        if (number <= MESSAGE_TTL_SECONDS_MAX)
            number = 10 * number + digit;
    }
    *seconds_out = number > MESSAGE_TTL_SECONDS_MAX ? MESSAGE_TTL_NEVER : number;
    return true;
}

bool message_ttl_parse(struct bytes value, uint64_t *seconds_out)
{
    int64_t ns = 0;
    *seconds_out = MESSAGE_TTL_NONE;
    if (value.count == 0)
        return true;
    if (value.count == 5 && strncasecmp(value.data, "never", 5) == 0) {
        *seconds_out = MESSAGE_TTL_NEVER;
        return true;
    }
    if (text_parse_duration(value, &ns)) {
        *seconds_out = ns < (int64_t)NS_PER_SECOND ? 0 : (uint64_t)ns / NS_PER_SECOND;
        return ns >= (int64_t)NS_PER_SECOND;
    }
    return parse_seconds(value, seconds_out);
}

uint64_t message_ttl_of(struct bytes headers)
{
    struct bytes value;
    uint64_t seconds;
    if (headers.count == 0 || !msg_header(headers, header_name, &value)
        || !message_ttl_parse(value, &seconds))
        return MESSAGE_TTL_NONE;
    return seconds;
}

uint64_t message_ttl_due(uint64_t time_ns, uint64_t seconds)
{
    if (seconds == MESSAGE_TTL_NONE || seconds > MESSAGE_TTL_SECONDS_MAX)
        return UINT64_MAX;
    return time_ns + seconds * NS_PER_SECOND;
}

void message_ttl_rewrite(struct text *out, struct bytes headers, uint64_t seconds)
{
    const char *at = headers.data, *end = headers.data + headers.count;
    text_clear(out);
    while (at < end) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        next = next == NULL ? end : next + 1;
        struct bytes line = bytes_of(at, (size_t)(next - at));
        at = next;
        if (line.count <= 2 && at == end)
            break; /* the empty line that ends the block */
        bool is_ttl = bytes_start_with(line, header_name) && line.count > header_name.count
                      && line.data[header_name.count] == ':';
        if (!is_ttl)
            text_append(out, line);
    }
    text_append_format(out, "Nats-TTL: %llu\r\n\r\n", (unsigned long long)seconds);
}
