/*
 * net/scan.c: one operation at the front of a contiguous run of bytes.
 *
 *     name, blanks, argument up to the line's end ──► tokens ──► PUB: sizes, payload, CR LF
 *
 * Keeps:   the answer depends on the bytes alone, and a failure is found at the first byte that proves it. Lines as clients write
 *          them are split in one pass; what is unusual (a CR inside, control bytes) takes the general way. The payload is never
 *          looked at.
 * Runs on: any thread.
 *
 * Source: core-protocol.md section 5 (checked on nats-server 2.15.2).
 */
#include "net/scan.h"

#include "core/text.h"

enum { TOKENS_MAX = 5, SIZE_DIGITS_MAX = 9 };

/* One control line's argument. */
struct line {
    struct bytes argument;
    size_t bytes; /* up to the argument's line feed, inclusive */
    unsigned token_count;
    struct bytes tokens[TOKENS_MAX];
};

static struct scanned scan_name(struct bytes data, enum operation_kind *kind, bool *has_headers);
static struct scanned scan_argument(const struct parser *parser, struct bytes data, size_t start,
                                    bool splits_at_ends, struct line *line);
static bool line_split_fast(struct bytes data, size_t start, struct line *line);
static bool line_split(struct bytes data, size_t start, bool splits_at_ends, struct line *line);
static void split_tokens(struct bytes argument, bool splits_at_ends, struct line *line);
static struct scanned scan_line(const struct parser *parser, struct bytes data,
                                const struct line *line, bool has_headers,
                                struct operation *operation);
static struct scanned scan_publish(const struct parser *parser, struct bytes data,
                                   const struct line *line, bool has_headers,
                                   struct operation *operation);
static struct scanned scan_payload(struct bytes data, size_t line_bytes, uint32_t headers_count,
                                   uint32_t total, struct operation *operation);
static struct scanned scan_subscribe(const struct line *line, struct operation *operation);
static struct scanned scan_unsubscribe(const struct line *line, struct operation *operation);
static bool parse_size(struct bytes digits, uint32_t *size_out);

static inline struct scanned scanned_of(enum scan scan, size_t bytes)
{
    return (struct scanned){scan, bytes, PARSER_FAILURE_NONE};
}

static inline struct scanned failed(enum parser_failure failure)
{
    return (struct scanned){SCAN_FAILED, 0, failure};
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct scanned scan_operation(const struct parser *parser, struct bytes data,
                              struct operation *operation)
{
    bool has_headers = false;
    struct scanned name = scan_name(data, &operation->kind, &has_headers);
    if (name.scan != SCAN_DONE)
        return name;

    size_t start = name.bytes;
    while (start < data.count && is_blank(data.data[start]))
        start++;
    if (start == data.count) /* any number of blanks says no more than one */
        return scanned_of(SCAN_SHORT, start > name.bytes ? name.bytes + 1 : name.bytes);

    struct line line;
    bool splits_at_ends = operation->kind == OPERATION_SUB || operation->kind == OPERATION_UNSUB;
    struct scanned argument = scan_argument(parser, data, start, splits_at_ends, &line);
    if (argument.scan != SCAN_DONE)
        return argument;
    return scan_line(parser, data, &line, has_headers, operation);
}

/* The names, with what must follow. None is the beginning of another. */
static const struct name {
    char text[8];
    uint8_t count;
    bool needs_blank;
    bool has_headers;
    bool is_skipped;
    enum operation_kind kind;
} names[] = {
    {"PUB", 3, true, false, false, OPERATION_PUB},
    {"HPUB", 4, true, true, false, OPERATION_PUB},
    {"SUB", 3, true, false, false, OPERATION_SUB},
    {"UNSUB", 5, true, false, false, OPERATION_UNSUB},
    {"PING", 4, false, false, true, OPERATION_PING},
    {"PONG", 4, false, false, true, OPERATION_PONG},
    {"CONNECT", 7, false, false, false, OPERATION_CONNECT},
    {"INFO", 4, false, false, false, OPERATION_INFO},
    {"+OK", 3, false, false, true, OPERATION_OK},
    {"-ERR", 4, true, false, false, OPERATION_ERR},
};

static inline bool matches_name(struct bytes data, const struct name *name, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char c = data.data[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if (c != name->text[i])
            return false;
    }
    return true;
}

static struct scanned scan_name(struct bytes data, enum operation_kind *kind, bool *has_headers)
{
    if (data.count >= 4 && memcmp(data.data, "PUB ", 4) == 0) {
        *kind = OPERATION_PUB;
        return scanned_of(SCAN_DONE, 3);
    }
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const struct name *name = &names[i];
        size_t count = data.count < name->count ? data.count : name->count;
        if (!matches_name(data, name, count))
            continue;
        if (count < name->count || (name->needs_blank && data.count == name->count))
            return scanned_of(SCAN_SHORT, data.count);
        if (name->needs_blank && !is_blank(data.data[name->count]))
            return failed(PARSER_FAILURE_OPERATION);
        *kind = name->kind;
        *has_headers = name->has_headers;
        return scanned_of(name->is_skipped ? SCAN_SKIP : SCAN_DONE, name->count);
    }
    return failed(PARSER_FAILURE_OPERATION);
}

static struct scanned scan_argument(const struct parser *parser, struct bytes data, size_t start,
                                    bool splits_at_ends, struct line *line)
{
    if (!line_split_fast(data, start, line) && !line_split(data, start, splits_at_ends, line)) {
        size_t count = data.count - start;
        if (data.data[data.count - 1] == '\r')
            count--;
        if (count > parser->control_line_bytes_max)
            return failed(PARSER_FAILURE_CONTROL_LINE);
        return scanned_of(SCAN_SHORT, data.count);
    }
    if (line->argument.count > parser->control_line_bytes_max)
        return failed(PARSER_FAILURE_CONTROL_LINE);
    return scanned_of(SCAN_DONE, line->bytes);
}

/* The first byte from `at` on that is not above a space; blanks and line ends are among these. */
static inline size_t find_low_byte(struct bytes data, size_t at)
{
    while (data.count - at >= 8) {
        uint64_t word;
        memcpy(&word, data.data + at, 8);
        uint64_t low = (word - 0x2121212121212121u) & ~word & 0x8080808080808080u;
        if (low != 0) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return at + (size_t)__builtin_ctzll(low) / 8;
#else
            break;
#endif
        }
        at += 8;
    }
    while (at < data.count && (unsigned char)data.data[at] > ' ')
        at++;
    return at;
}

/* Lines as clients write them, in one pass. False: not complete, or unusual: line_split decides. */
static bool line_split_fast(struct bytes data, size_t start, struct line *line)
{
    unsigned token_count = 0;
    size_t at = start;
    while (token_count < TOKENS_MAX) {
        size_t begin = at;
        at = find_low_byte(data, at);
        if (at == data.count)
            return false;
        if (at > begin)
            line->tokens[token_count++] = bytes_of(data.data + begin, at - begin);
        char c = data.data[at];
        if (c == '\n' || (c == '\r' && at + 1 < data.count && data.data[at + 1] == '\n')) {
            if (at == start)
                return false; /* a line end as the first byte is part of the argument */
            line->argument = bytes_of(data.data + start, at - start);
            line->bytes = at + (c == '\n' ? 1 : 2);
            line->token_count = token_count;
            return true;
        }
        if (!is_blank(c))
            return false;
        at++;
    }
    return false;
}

/* Any line. The argument begins at its first byte whatever that is; once it has a CR, its last byte is not part of it. */
static bool line_split(struct bytes data, size_t start, bool splits_at_ends, struct line *line)
{
    const char *begin = data.data + start;
    if (data.count - start < 2)
        return false;
    const char *end = memchr(begin + 1, '\n', data.count - start - 1);
    if (end == NULL)
        return false;
    size_t count = (size_t)(end - begin);
    if (memchr(begin + 1, '\r', count - 1) != NULL)
        count--;
    line->argument = bytes_of(begin, count);
    line->bytes = (size_t)(end + 1 - data.data);
    split_tokens(line->argument, splits_at_ends, line);
    return true;
}

static void split_tokens(struct bytes argument, bool splits_at_ends, struct line *line)
{
    line->token_count = 0;
    size_t at = 0;
    while (at < argument.count && line->token_count < TOKENS_MAX) {
        size_t begin = at;
        while (at < argument.count && !is_blank(argument.data[at])
               && !(splits_at_ends && (argument.data[at] == '\r' || argument.data[at] == '\n')))
            at++;
        if (at > begin)
            line->tokens[line->token_count++] = bytes_of(argument.data + begin, at - begin);
        at++;
    }
}

static struct scanned scan_line(const struct parser *parser, struct bytes data,
                                const struct line *line, bool has_headers,
                                struct operation *operation)
{
    switch (operation->kind) {
    case OPERATION_PUB:
        return scan_publish(parser, data, line, has_headers, operation);
    case OPERATION_SUB:
        return scan_subscribe(line, operation);
    case OPERATION_UNSUB:
        return scan_unsubscribe(line, operation);
    default:
        operation->argument = line->argument;
        return scanned_of(SCAN_DONE, line->bytes);
    }
}

static struct scanned scan_publish(const struct parser *parser, struct bytes data,
                                   const struct line *line, bool has_headers,
                                   struct operation *operation)
{
    unsigned size_count = has_headers ? 2 : 1;
    unsigned count = line->token_count;
    if (has_headers && !parser->has_headers)
        return failed(PARSER_FAILURE_SYNTAX);
    if (count != size_count + 1 && count != size_count + 2)
        return failed(PARSER_FAILURE_SYNTAX);

    uint32_t total = 0;
    uint32_t headers_count = 0;
    if (!parse_size(line->tokens[count - 1], &total))
        return failed(PARSER_FAILURE_SYNTAX);
    if (has_headers && !parse_size(line->tokens[count - 2], &headers_count))
        return failed(PARSER_FAILURE_SYNTAX);
    if (headers_count > total)
        return failed(PARSER_FAILURE_SYNTAX);
    if (total > parser->payload_bytes_max)
        return failed(PARSER_FAILURE_PAYLOAD);

    operation->msg.subject = line->tokens[0];
    operation->msg.reply = count == size_count + 2 ? line->tokens[1] : (struct bytes){NULL, 0};
    operation->total_digits = line->tokens[count - 1];
    operation->headers_digits = has_headers ? line->tokens[count - 2] : (struct bytes){NULL, 0};
    return scan_payload(data, line->bytes, headers_count, total, operation);
}

static struct scanned scan_payload(struct bytes data, size_t line_bytes, uint32_t headers_count,
                                   uint32_t total, struct operation *operation)
{
    size_t whole = line_bytes + total + 2;
    size_t end = line_bytes + total;
    if (data.count > end && data.data[end] != '\r')
        return failed(PARSER_FAILURE_OPERATION);
    if (data.count > end + 1 && data.data[end + 1] != '\n')
        return failed(PARSER_FAILURE_OPERATION);
    if (data.count < whole)
        return scanned_of(SCAN_CUT, whole);
    const char *body = data.data + line_bytes;
    operation->msg.headers = bytes_of(body, headers_count);
    operation->msg.payload = bytes_of(body + headers_count, total - headers_count);
    return scanned_of(SCAN_DONE, whole);
}

static struct scanned scan_subscribe(const struct line *line, struct operation *operation)
{
    if (line->token_count != 2 && line->token_count != 3)
        return failed(PARSER_FAILURE_SYNTAX);
    operation->subject = line->tokens[0];
    operation->queue = line->token_count == 3 ? line->tokens[1] : (struct bytes){NULL, 0};
    operation->sid = line->tokens[line->token_count - 1];
    return scanned_of(SCAN_DONE, line->bytes);
}

static struct scanned scan_unsubscribe(const struct line *line, struct operation *operation)
{
    if (line->token_count != 1 && line->token_count != 2)
        return failed(PARSER_FAILURE_SYNTAX);
    operation->sid = line->tokens[0];
    operation->max = 0;
    uint32_t max = 0;
    if (line->token_count == 2 && parse_size(line->tokens[1], &max))
        operation->max = max;
    return scanned_of(SCAN_DONE, line->bytes);
}

static bool parse_size(struct bytes digits, uint32_t *size_out)
{
    if (digits.count == 0 || digits.count > SIZE_DIGITS_MAX)
        return false;
    uint32_t size = 0;
    for (size_t i = 0; i < digits.count; i++) {
        unsigned digit = (unsigned)(digits.data[i] - '0');
        if (digit > 9)
            return false;
        size = size * 10 + digit;
    }
    *size_out = size;
    return true;
}
