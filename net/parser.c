/*
 * net/parser.c: the client protocol, cut into operations.
 *
 *     input ──whole──► scan_operation ──► operation (views of the input)
 *       └────cut─────► carry ──► scan_operation ──► operation (views of the carry)
 *
 * scan_operation looks at one contiguous run of bytes from the first letter of an operation on and keeps no state, so that
 * where the bytes were cut cannot matter: a cut operation is scanned again from its start when more has come. That costs at
 * most one control line a read; the payload is never looked at.
 *
 * Keeps:   the same operations, and the same failure at the same byte, however the input is cut.
 * Owns:    the carry.
 * Runs on: the connection's shard.
 */
#include "net/parser.h"

#include "core/assert.h"
#include "core/text.h"

enum { TOKENS_MAX = 5, SIZE_DIGITS_MAX = 9 };

/* What one scan came to. */
enum scan {
    SCAN_DONE,  /* `bytes` were used */
    SCAN_SHORT, /* the line is not complete; the first `bytes` tell all there is to tell */
    SCAN_CUT,   /* the line is complete, the operation will have `bytes` */
    SCAN_SKIP,  /* a name of `bytes` whose line does not matter */
    SCAN_FAILED,
};

struct scanned {
    enum scan scan;
    size_t bytes;
    enum parser_failure failure;
};

/* One control line's argument. */
struct line {
    struct bytes argument;
    size_t bytes; /* up to the argument's line feed, inclusive */
    unsigned token_count;
    struct bytes tokens[TOKENS_MAX];
};

static enum parser_result next_in_input(struct parser *parser, struct bytes *input,
                                        struct operation *operation);
static enum parser_result next_in_carry(struct parser *parser, struct bytes *input,
                                        struct operation *operation);
static enum parser_result skip_line(struct parser *parser, struct bytes *input,
                                    struct operation *operation);
static enum parser_result fail(struct parser *parser, enum parser_failure failure);
static size_t carry_missing(const struct parser *parser, struct bytes input);
static void carry_append(struct parser *parser, struct bytes bytes);
static struct scanned scan_operation(const struct parser *parser, struct bytes data,
                                     struct operation *operation);
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

void parser_init(struct parser *parser, struct heap *heap, uint32_t control_line_bytes_max,
                 uint32_t payload_bytes_max)
{
    *parser = (struct parser){
        .heap = heap,
        .control_line_bytes_max = control_line_bytes_max,
        .payload_bytes_max = payload_bytes_max,
    };
}

void parser_fini(struct parser *parser)
{
    heap_free(parser->carry);
    parser->carry = NULL;
    parser->carry_count = parser->carry_capacity = 0;
}

enum parser_result parser_next(struct parser *parser, struct bytes *input,
                               struct operation *operation_out)
{
    ASSERT(parser->failure == PARSER_FAILURE_NONE);
    if (parser->is_carry_done && !parser->is_repeated) {
        parser->is_carry_done = false;
        parser->carry_count = parser->carry_wanted = 0;
    }
    parser->is_repeated = false;
    if (parser->is_skipping)
        return skip_line(parser, input, operation_out);
    if (parser->carry_count > 0)
        return next_in_carry(parser, input, operation_out);
    if (input->count == 0)
        return PARSER_NEEDS_MORE;
    return next_in_input(parser, input, operation_out);
}

void parser_repeat(struct parser *parser, struct bytes *input)
{
    if (parser->is_carry_done) {
        parser->is_repeated = true;
        return;
    }
    ASSERT(parser->start != NULL);
    input->count += (size_t)(input->data - parser->start);
    input->data = parser->start;
}

void parser_rest(struct parser *parser)
{
    ASSERT(!parser->is_repeated);
    if (parser->carry == NULL || (parser->carry_count > 0 && !parser->is_carry_done))
        return;
    heap_free(parser->carry);
    parser->carry = NULL;
    parser->carry_count = parser->carry_capacity = parser->carry_wanted = 0;
    parser->is_carry_done = false;
}

/* ---- whole, or cut ---- */

static enum parser_result next_in_input(struct parser *parser, struct bytes *input,
                                        struct operation *operation)
{
    struct scanned scanned = scan_operation(parser, *input, operation);
    switch (scanned.scan) {
    case SCAN_DONE:
        parser->start = input->data;
        *input = bytes_after(*input, scanned.bytes);
        return PARSER_OPERATION;
    case SCAN_SHORT:
        carry_append(parser, bytes_of(input->data, scanned.bytes));
        *input = bytes_after(*input, input->count);
        return PARSER_NEEDS_MORE;
    case SCAN_CUT:
        parser->carry_wanted = (uint32_t)scanned.bytes;
        carry_append(parser, *input);
        *input = bytes_after(*input, input->count);
        return PARSER_NEEDS_MORE;
    case SCAN_SKIP:
        parser->start = input->data;
        *input = bytes_after(*input, scanned.bytes);
        parser->is_skipping = true;
        parser->skipped = operation->kind;
        return skip_line(parser, input, operation);
    case SCAN_FAILED:
        break;
    }
    return fail(parser, scanned.failure);
}

static enum parser_result next_in_carry(struct parser *parser, struct bytes *input,
                                        struct operation *operation)
{
    for (;;) {
        size_t missing = carry_missing(parser, *input);
        carry_append(parser, bytes_of(input->data, missing));
        *input = bytes_after(*input, missing);
        struct scanned scanned =
            scan_operation(parser, bytes_of(parser->carry, parser->carry_count), operation);
        switch (scanned.scan) {
        case SCAN_DONE:
            ASSERT(scanned.bytes == parser->carry_count);
            parser->is_carry_done = true;
            return PARSER_OPERATION;
        case SCAN_SHORT:
            parser->carry_count = (uint32_t)scanned.bytes;
            break;
        case SCAN_CUT:
            parser->carry_wanted = (uint32_t)scanned.bytes;
            break;
        case SCAN_SKIP: /* what followed the name in the carry is its line's, or its end */
            parser->is_skipping = true;
            parser->skipped = operation->kind;
            parser->carry_count = 0;
            return skip_line(parser, input, operation);
        case SCAN_FAILED:
            return fail(parser, scanned.failure);
        }
        if (input->count == 0)
            return PARSER_NEEDS_MORE;
    }
}

static enum parser_result skip_line(struct parser *parser, struct bytes *input,
                                    struct operation *operation)
{
    const char *end = input->count == 0 ? NULL : memchr(input->data, '\n', input->count);
    if (end == NULL) {
        *input = bytes_after(*input, input->count);
        return PARSER_NEEDS_MORE;
    }
    *input = bytes_after(*input, (size_t)(end + 1 - input->data));
    parser->is_skipping = false;
    operation->kind = parser->skipped;
    return PARSER_OPERATION;
}

static enum parser_result fail(struct parser *parser, enum parser_failure failure)
{
    parser->failure = failure;
    return PARSER_FAILED;
}

/*
 * How many bytes of the input to look at next: the rest of a payload, the rest of a line, or, while the name is not complete,
 * one byte, so that the carry never holds more than one operation.
 */
static size_t carry_missing(const struct parser *parser, struct bytes input)
{
    if (parser->carry_wanted > 0) {
        size_t missing = parser->carry_wanted - parser->carry_count;
        return missing < input.count ? missing : input.count;
    }
    if (input.count == 0)
        return 0;
    if (parser->carry_count < sizeof("CONNECT"))
        return 1;
    const char *end = memchr(input.data, '\n', input.count);
    return end == NULL ? input.count : (size_t)(end + 1 - input.data);
}

static void carry_append(struct parser *parser, struct bytes bytes)
{
    if (bytes.count == 0)
        return;
    size_t count = parser->carry_count + bytes.count;
    if (count > parser->carry_capacity) {
        size_t capacity = (size_t)parser->carry_capacity * 2;
        if (capacity > parser->carry_wanted)
            capacity = parser->carry_wanted; /* no more than the operation will have */
        if (capacity < count)
            capacity = count < 128 ? 128 : count;
        parser->carry = heap_resize(parser->heap, parser->carry, capacity);
        parser->carry_capacity = (uint32_t)capacity;
    }
    memcpy(parser->carry + parser->carry_count, bytes.data, bytes.count);
    parser->carry_count = (uint32_t)count;
}

/* ---- one operation in contiguous bytes ---- */

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

static struct scanned scan_operation(const struct parser *parser, struct bytes data,
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
