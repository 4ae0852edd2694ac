/*
 * bench/wire.c: cutting frames and finding fields. See wire.h.
 *
 * Source: NATS client protocol; the line of MSG is "MSG subject sid [reply] #bytes", that of HMSG
 *         "HMSG subject sid [reply] #header_bytes #total_bytes".
 */
#include "bench/wire.h"

enum { MSG_FIELDS_MAX = 5 };

static const char digit_pairs[] = "0001020304050607080910111213141516171819"
                                  "2021222324252627282930313233343536373839"
                                  "4041424344454647484950515253545556575859"
                                  "6061626364656667686970717273747576777879"
                                  "8081828384858687888990919293949596979899";

static void cut_line(struct frame *frame, enum frame_kind kind, const char *data, size_t count,
                     size_t skip);
static void cut_msg(struct frame *frame, const char *data, size_t count, bool has_headers);
static bool parse_field(struct text field, uint64_t *value_out);

void frame_cut(struct frame *frame, const char *data, size_t count)
{
    frame->kind = FRAME_PARTIAL;
    if (count < 5)
        return;
    switch (data[0]) {
    case 'M':
        cut_msg(frame, data, count, false);
        break;
    case 'H':
        cut_msg(frame, data, count, true);
        break;
    case 'P':
        cut_line(frame, data[1] == 'I' ? FRAME_PING : FRAME_PONG, data, count, 4);
        break;
    case 'I':
        cut_line(frame, FRAME_INFO, data, count, 5);
        break;
    case '+':
        cut_line(frame, FRAME_OK, data, count, 3);
        break;
    case '-':
        cut_line(frame, FRAME_ERROR, data, count, 5);
        break;
    default:
        frame->kind = FRAME_BROKEN;
        frame->payload = (struct text){data, count < 40 ? count : 40};
        break;
    }
}

static void cut_line(struct frame *frame, enum frame_kind kind, const char *data, size_t count,
                     size_t skip)
{
    const char *end = memchr(data, '\n', count);
    if (end == NULL)
        return;
    frame->kind = kind;
    frame->total_count = (size_t)(end - data) + 1;
    size_t line_count = frame->total_count - 1;
    while (line_count > skip && (data[line_count - 1] == '\r' || data[line_count - 1] == ' '))
        line_count--;
    if (skip > line_count)
        skip = line_count;
    frame->payload = (struct text){data + skip, line_count - skip};
}

static void cut_msg(struct frame *frame, const char *data, size_t count, bool has_headers)
{
    struct text fields[MSG_FIELDS_MAX];
    uint32_t field_count = 0;
    const char *at = data + (has_headers ? 5 : 4);
    const char *end = data + count;
    const char *field = at;
    for (;; at++) {
        if (at == end)
            return;
        if (*at != ' ' && *at != '\r')
            continue;
        if (at > field) {
            if (field_count == MSG_FIELDS_MAX)
                goto broken;
            fields[field_count++] = (struct text){field, (size_t)(at - field)};
        }
        field = at + 1;
        if (*at == '\r')
            break;
    }
    if (end - at < 2)
        return;
    at += 2;

    uint32_t plain_count = has_headers ? 4 : 3; /* without a reply */
    if (field_count != plain_count && field_count != plain_count + 1)
        goto broken;
    uint64_t sid;
    uint64_t total;
    uint64_t header_count = 0;
    if (!parse_field(fields[1], &sid) || !parse_field(fields[field_count - 1], &total)
        || (has_headers && !parse_field(fields[field_count - 2], &header_count))
        || header_count > total || total > UINT32_MAX)
        goto broken;
    if ((size_t)(end - at) < total + 2)
        return;

    frame->kind = FRAME_MSG;
    frame->sid = (uint32_t)sid;
    frame->subject = fields[0];
    frame->reply = field_count > plain_count ? fields[2] : (struct text){0};
    frame->headers = (struct text){at, header_count};
    frame->payload = (struct text){at + header_count, total - header_count};
    frame->total_count = (size_t)(at - data) + total + 2;
    if (at[total] == '\r' && at[total + 1] == '\n')
        return;
broken:
    frame->kind = FRAME_BROKEN;
    frame->payload = (struct text){data, count < 80 ? count : 80};
}

static bool parse_field(struct text field, uint64_t *value_out)
{
    size_t digits;
    return read_number(field, value_out, &digits) && digits == field.count;
}

void write_digits_8(char *out, uint32_t value)
{
    write_digits_4(out, value / 10000);
    write_digits_4(out + 4, value % 10000);
}

void write_digits_4(char *out, uint32_t value)
{
    memcpy(out, digit_pairs + (size_t)(value / 100 % 100) * 2, 2);
    memcpy(out + 2, digit_pairs + (size_t)(value % 100) * 2, 2);
}

size_t write_number(char *out, uint64_t value)
{
    char digits[SEQ_DIGITS_MAX];
    size_t at = sizeof(digits);
    while (value >= 100) {
        at -= 2;
        memcpy(digits + at, digit_pairs + value % 100 * 2, 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(digits + at, digit_pairs + value * 2, 2);
    } else {
        digits[--at] = (char)('0' + value);
    }
    memcpy(out, digits + at, sizeof(digits) - at);
    return sizeof(digits) - at;
}

void write_hex_16(char *out, uint64_t value)
{
    for (int index = 15; index >= 0; index--) {
        out[index] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
}

bool read_number(struct text text, uint64_t *value_out, size_t *digits_out)
{
    uint64_t value = 0;
    size_t index = 0;
    while (index < text.count && index < SEQ_DIGITS_MAX - 1 && text.data[index] >= '0'
           && text.data[index] <= '9')
        value = value * 10 + (uint64_t)(text.data[index++] - '0');
    *value_out = value;
    *digits_out = index;
    return index > 0;
}

bool read_hex_16(const char *data, uint64_t *value_out)
{
    uint64_t value = 0;
    for (int index = 0; index < 16; index++) {
        char digit = data[index];
        uint64_t nibble;
        if (digit >= '0' && digit <= '9')
            nibble = (uint64_t)(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            nibble = (uint64_t)(digit - 'a') + 10;
        else
            return false;
        value = value << 4 | nibble;
    }
    *value_out = value;
    return true;
}

struct text header_find(struct text headers, const char *name)
{
    size_t name_count = strlen(name);
    const char *at = headers.data;
    const char *end = headers.data + headers.count;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (line_end == NULL)
            break;
        if ((size_t)(line_end - at) > name_count && at[name_count] == ':'
            && memcmp(at, name, name_count) == 0) {
            at += name_count + 1;
            while (at < line_end && *at == ' ')
                at++;
            if (line_end > at && line_end[-1] == '\r')
                line_end--;
            return (struct text){at, (size_t)(line_end - at)};
        }
        at = line_end + 1;
    }
    return (struct text){0};
}

uint32_t header_status(struct text headers)
{
    static const char version[] = "NATS/1.0 ";
    size_t count = sizeof(version) - 1;
    uint64_t status;
    size_t digits;
    if (!text_starts(headers, version, count)
        || !read_number((struct text){headers.data + count, headers.count - count}, &status,
                        &digits)
        || digits != 3)
        return 0;
    return (uint32_t)status;
}

bool json_number(struct text json, const char *name, uint64_t *value_out)
{
    size_t name_count = strlen(name);
    const char *end = json.data + json.count;
    const char *at = memmem(json.data, json.count, name, name_count);
    if (at == NULL)
        return false;
    at += name_count;
    while (at < end && (*at == ' ' || *at == ':'))
        at++;
    size_t digits;
    return read_number((struct text){at, (size_t)(end - at)}, value_out, &digits);
}

struct text json_string(struct text json, const char *name)
{
    size_t name_count = strlen(name);
    const char *end = json.data + json.count;
    const char *at = memmem(json.data, json.count, name, name_count);
    if (at == NULL)
        return (struct text){0};
    at += name_count;
    while (at < end && (*at == ' ' || *at == ':'))
        at++;
    if (at == end || *at != '"')
        return (struct text){0};
    at++;
    const char *close = memchr(at, '"', (size_t)(end - at));
    if (close == NULL)
        return (struct text){0};
    return (struct text){at, (size_t)(close - at)};
}

bool text_contains(struct text text, const char *part)
{
    return text.count > 0 && memmem(text.data, text.count, part, strlen(part)) != NULL;
}
