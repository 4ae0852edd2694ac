/*
 * net/encoder.c: MSG and HMSG as they lie on the wire, written straight into the connection's output.
 *
 * Keeps:   single spaces; the publisher's digits are echoed, unless the header block was cut off.
 * Runs on: the connection's shard.
 */
#include "net/encoder.h"

#include "core/text.h"

/* A message this long is written in one run of memory; of a longer one only the line is. */
enum { WHOLE_BYTES_MAX = 4096, LINE_BYTES_FIXED = 5 + 1 + 1 + 1 + 20 + 1 + 20 + 2 };

static inline char *put(char *at, struct bytes bytes)
{
    memcpy(at, bytes.data, bytes.count);
    return at + bytes.count;
}

static inline char *put_size(char *at, struct bytes digits, size_t number)
{
    if (digits.count > 0)
        return put(at, digits);
    return at + text_u64(at, number);
}

static char *put_line(char *at, const struct parcel *parcel, struct bytes sid, bool has_headers)
{
    const struct msg *msg = &parcel->msg;
    if (has_headers)
        *at++ = 'H';
    at = put(at, BYTES_LITERAL("MSG "));
    at = put(at, msg->subject);
    *at++ = ' ';
    at = put(at, sid);
    *at++ = ' ';
    if (msg->reply.count > 0) {
        at = put(at, msg->reply);
        *at++ = ' ';
    }
    if (has_headers) {
        at = put_size(at, parcel->headers_digits, msg->headers.count);
        *at++ = ' ';
        at = put_size(at, parcel->total_digits, msg->headers.count + msg->payload.count);
    } else {
        struct bytes none = {NULL, 0};
        bool is_whole = msg->headers.count == 0;
        at = put_size(at, is_whole ? parcel->total_digits : none, msg->payload.count);
    }
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

void encode_message(struct output *output, struct output_pool *pool, const struct parcel *parcel,
                    struct bytes sid, bool has_headers)
{
    const struct msg *msg = &parcel->msg;
    struct bytes headers = has_headers ? msg->headers : (struct bytes){NULL, 0};
    bool is_headed = headers.count > 0;
    size_t line_bytes = LINE_BYTES_FIXED + msg->subject.count + sid.count + msg->reply.count;
    size_t whole_bytes = line_bytes + headers.count + msg->payload.count + 2;
    if (whole_bytes <= WHOLE_BYTES_MAX) {
        char *start = output_reserve(output, pool, (uint32_t)whole_bytes);
        char *at = put_line(start, parcel, sid, is_headed);
        if (is_headed)
            at = put(at, headers);
        if (msg->payload.count > 0)
            at = put(at, msg->payload);
        *at++ = '\r';
        *at++ = '\n';
        output_commit(output, (uint32_t)(at - start));
        return;
    }
    char *start = output_reserve(output, pool, (uint32_t)line_bytes);
    char *end = put_line(start, parcel, sid, is_headed);
    output_commit(output, (uint32_t)(end - start));
    output_append(output, pool, headers);
    output_append(output, pool, msg->payload);
    output_append(output, pool, BYTES_LITERAL("\r\n"));
}
