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
#include "net/scan.h"

static enum parser_result next_in_input(struct parser *parser, struct bytes *input,
                                        struct operation *operation);
static enum parser_result next_in_carry(struct parser *parser, struct bytes *input,
                                        struct operation *operation);
static enum parser_result skip_line(struct parser *parser, struct bytes *input,
                                    struct operation *operation);
static enum parser_result fail(struct parser *parser, enum parser_failure failure);
static size_t carry_missing(const struct parser *parser, struct bytes input);
static void carry_append(struct parser *parser, struct bytes bytes);

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
