/*
 * tests/net/parser_test.c: the client protocol's operations, and that no cut of the bytes changes them.
 *
 * A transcript is what the parser yields, as text: one line an operation, the failure last.
 */
#include "net/parser.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/text.h"

enum { CONTROL_LINE_BYTES = 64, PAYLOAD_BYTES = 1000 };

static void write_operation(struct text *out, const struct operation *operation);
static void write_transcript(struct text *out, struct bytes input, size_t first, size_t piece,
                             bool has_headers);
static void expect_same_however_cut(struct bytes input);
static void expect_transcript(const char *input, const char *want);

Test(parser, knows_every_operation_of_a_client)
{
    expect_transcript("CONNECT {\"a\": 1}\r\n", "CONNECT <{\"a\": 1}>\n");
    expect_transcript("connect{}\n", "CONNECT <{}>\n");
    expect_transcript("INFO {}\r\n", "INFO <{}>\n");
    expect_transcript("PING\r\nPONG\n+OK\r\n", "PING\nPONG\n+OK\n");
    expect_transcript("PING foo\nPINGx\r\npiNG\r\n", "PING\nPING\nPING\n");
    expect_transcript("-ERR 'x y'\r\n", "-ERR <'x y'>\n");
    expect_transcript("SUB a 1\r\n", "SUB <a> <> <1>\n");
    expect_transcript("sub a.*  q\t1 \t\r\n", "SUB <a.*> <q> <1>\n");
    expect_transcript("UNSUB 1\r\nUNSUB 2 10\r\nunsub x 0\r\nUNSUB y -1\r\n",
                      "UNSUB <1> 0\nUNSUB <2> 10\nUNSUB <x> 0\nUNSUB <y> 0\n");
    expect_transcript("PUB a 5\r\nhello\r\n", "PUB <a> <> <> <5> <> <hello>\n");
    expect_transcript("PUB a r 002\nhi\r\n", "PUB <a> <r> <> <002> <> <hi>\n");
    expect_transcript("PUB a   2  \r\nhi\r\n", "PUB <a> <> <> <2> <> <hi>\n");
    expect_transcript("pub\ta\t2\t\r\n\r\n\r\n", "PUB <a> <> <> <2> <> <\r\n>\n");
    expect_transcript("PUB a 0\r\n\r\n", "PUB <a> <> <> <0> <> <>\n");
    expect_transcript("HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
                      "PUB <a> <> <12> <14> <NATS/1.0\r\n\r\n> <hi>\n");
    expect_transcript("hpub a r 0 2\r\nhi\r\n", "PUB <a> <r> <0> <2> <> <hi>\n");
}

Test(parser, fails_where_the_reference_fails)
{
    static const char unknown[] = "failed 1\n";
    static const char syntax[] = "failed 4\n";
    expect_transcript("X", unknown);
    expect_transcript(" PING\r\n", unknown);
    expect_transcript("\r\n", unknown);
    expect_transcript("PUX", unknown);
    expect_transcript("PUB\r\n", unknown);
    expect_transcript("SUBa b\r\n", unknown);
    expect_transcript("MSG a 1 0\r\n", unknown);
    expect_transcript("PUB a 5\r\nhelloX", unknown);
    expect_transcript("PUB a 5\r\nhello\rX", unknown);
    expect_transcript("PUB a x\r\n", syntax);
    expect_transcript("PUB a -1\r\n", syntax);
    expect_transcript("PUB a 0000000002\r\nhi\r\n", syntax);
    expect_transcript("PUB a\r\n", syntax);
    expect_transcript("PUB a b c 2\r\n", syntax);
    expect_transcript("SUB a\r\n", syntax);
    expect_transcript("SUB a b c d\r\n", syntax);
    expect_transcript("UNSUB 1 2 3\r\n", syntax);
    expect_transcript("HPUB a 5 2\r\n", syntax);
    expect_transcript("HPUB a 5\r\n", syntax);
    expect_transcript("PUB a 1001\r\n", "failed 3\n");
    expect_transcript("PING\r\nPUB a 999999999\r\n", "PING\nfailed 3\n");
}

Test(parser, refuses_headers_before_they_were_agreed)
{
    struct text out = {.data = NULL};
    struct bytes input = BYTES_LITERAL("HPUB a 12 14\r\n");
    write_transcript(&out, input, 0, 1, false);
    cr_expect(eq(int, bytes_equal(text_bytes(&out), BYTES_LITERAL("failed 4\n")), 1));
    text_free(&out);
}

/* Only the argument counts: not the name, its blanks or the line's end. */
Test(parser, limits_the_argument_of_a_line)
{
    char input[256];
    char want[256];
    for (unsigned count = CONTROL_LINE_BYTES - 2; count <= CONTROL_LINE_BYTES + 2; count++) {
        snprintf(input, sizeof(input), "SUB   %0*d 1\r\n", (int)count - 2, 0);
        snprintf(want, sizeof(want), "SUB <%0*d> <> <1>\n", (int)count - 2, 0);
        expect_transcript(input, count <= CONTROL_LINE_BYTES ? want : "failed 2\n");
        snprintf(input, sizeof(input), "CONNECT %0*d", (int)count, 0);
        expect_transcript(input, count <= CONTROL_LINE_BYTES ? "" : "failed 2\n");
    }
    snprintf(input, sizeof(input), "PING %0200d\r\n", 0);
    expect_transcript(input, "PING\n");
    snprintf(input, sizeof(input), "PUB %200s a 0\r\n\r\n", "");
    expect_transcript(input, "PUB <a> <> <> <0> <> <>\n");
}

/* Once a CR was seen in a line, its last byte is dropped, whatever it is. */
Test(parser, ends_lines_as_the_reference_does)
{
    expect_transcript("SUB a\r 12\n", "SUB <a> <> <1>\n");
    expect_transcript("PUB a\rb 01\n\r\n", "PUB <a\rb> <> <> <0> <> <>\n");
    expect_transcript("SUB \r\n", "failed 4\n");
    expect_transcript("CONNECT \n{}\r\n", "CONNECT <\n{}>\n");
    expect_transcript("PUB a\x01 1\r\nx\r\n", "PUB <a\x01> <> <> <1> <> <x>\n");
}

Test(parser, holds_no_memory_between_operations)
{
    struct heap *heap = heap_create();
    struct parser parser;
    struct operation operation;
    parser_init(&parser, heap, CONTROL_LINE_BYTES, PAYLOAD_BYTES);
    struct bytes input = BYTES_LITERAL("PUB a 3\r\nab");
    cr_assert(eq(int, parser_next(&parser, &input, &operation), PARSER_NEEDS_MORE));
    parser_rest(&parser);
    cr_expect(ne(ptr, parser.carry, NULL));
    input = BYTES_LITERAL("c\r\nPING\r\n");
    cr_assert(eq(int, parser_next(&parser, &input, &operation), PARSER_OPERATION));
    cr_assert(eq(int, parser_next(&parser, &input, &operation), PARSER_OPERATION));
    cr_expect(eq(int, operation.kind, OPERATION_PING));
    cr_assert(eq(int, parser_next(&parser, &input, &operation), PARSER_NEEDS_MORE));
    parser_rest(&parser);
    cr_expect(eq(ptr, parser.carry, NULL));
    parser_fini(&parser);
    heap_destroy(heap);
}

/* What is announced costs nothing before it comes. */
Test(parser, grows_with_what_has_come)
{
    struct heap *heap = heap_create();
    struct parser parser;
    struct operation operation;
    parser_init(&parser, heap, CONTROL_LINE_BYTES, 64 << 20);
    struct bytes input = BYTES_LITERAL("PUB a 64000000\r\nab");
    cr_assert(eq(int, parser_next(&parser, &input, &operation), PARSER_NEEDS_MORE));
    cr_expect(lt(u32, parser.carry_capacity, 1024));
    parser_fini(&parser);
    heap_destroy(heap);
}

/* Whole in the input, or cut and carried: taken back, an operation comes again, and the next one after it. */
Test(parser, repeats_an_operation)
{
    struct heap *heap = heap_create();
    const struct bytes all = BYTES_LITERAL("PUB a 3\r\nabc\r\nPUB b 1\r\nx\r\n");
    for (size_t cut = 0; cut < all.count; cut++) {
        struct parser parser;
        struct operation operation;
        struct text out = {.data = NULL};
        parser_init(&parser, heap, CONTROL_LINE_BYTES, PAYLOAD_BYTES);
        struct bytes pieces[] = {bytes_of(all.data, cut), bytes_after(all, cut)};
        for (size_t i = 0; i < COUNT_OF(pieces); i++) {
            unsigned repeats = 0;
            while (parser_next(&parser, &pieces[i], &operation) == PARSER_OPERATION) {
                write_operation(&out, &operation);
                if (++repeats % 3 != 0)
                    parser_repeat(&parser, &pieces[i]);
            }
            parser_rest(&parser);
        }
        cr_expect(eq(int,
                     bytes_equal(text_bytes(&out), BYTES_LITERAL("PUB <a> <> <> <3> <> <abc>\n"
                                                                 "PUB <a> <> <> <3> <> <abc>\n"
                                                                 "PUB <a> <> <> <3> <> <abc>\n"
                                                                 "PUB <b> <> <> <1> <> <x>\n"
                                                                 "PUB <b> <> <> <1> <> <x>\n"
                                                                 "PUB <b> <> <> <1> <> <x>\n")),
                     1),
                  "cut at %zu: %.*s", cut, (int)out.count, out.data);
        text_free(&out);
        parser_fini(&parser);
    }
    heap_destroy(heap);
}

/* Operations with a few bytes changed lie closer to the parser's edges than noise does. */
Test(parser, gives_the_same_for_mutated_bytes_however_cut)
{
    static const char seed[] =
        "CONNECT {\"verbose\":false}\r\nSUB m.> q 1\r\nPUB m.a r 3\r\nabc\r\n"
        "HPUB m.b r 12 15\r\nNATS/1.0\r\n\r\nabc\r\nUNSUB 1 5\r\nPING\r\n"
        "+OK\r\n-ERR x\r\nPUB c 0\r\n\r\nPONG\r\n";
    static const char likely[] = "\r\n\t 09aPS.-+";
    const char *text = getenv("TEST_SEED");
    unsigned chance = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 20261124;
    for (unsigned round = 0; round < 3000; round++) {
        char input[sizeof(seed) + 16];
        size_t count = sizeof(seed) - 1;
        memcpy(input, seed, count);
        for (unsigned change = rand_r(&chance) % 4 + 1; change > 0; change--) {
            size_t at = (size_t)rand_r(&chance) % count;
            if (rand_r(&chance) % 3 == 0 && count > 1) {
                memmove(input + at, input + at + 1, count - at - 1);
                count--;
            } else if (rand_r(&chance) % 2 == 0) {
                memmove(input + at + 1, input + at, count - at);
                input[at] = likely[(size_t)rand_r(&chance) % (sizeof(likely) - 1)];
                count++;
            } else {
                input[at] = (char)rand_r(&chance);
            }
        }
        expect_same_however_cut(bytes_of(input, count));
    }
}

/* ---- transcripts ---- */

static void write_bytes(struct text *out, struct bytes bytes)
{
    text_append_literal(out, " <");
    text_append(out, bytes);
    text_append_literal(out, ">");
}

static void write_operation(struct text *out, const struct operation *operation)
{
    static const char *const names[] = {"CONNECT", "PUB",  "SUB", "UNSUB", "PING",
                                        "PONG",    "INFO", "+OK", "-ERR"};
    text_append_literal(out, names[operation->kind]);
    switch (operation->kind) {
    case OPERATION_PUB:
        write_bytes(out, operation->msg.subject);
        write_bytes(out, operation->msg.reply);
        write_bytes(out, operation->headers_digits);
        write_bytes(out, operation->total_digits);
        write_bytes(out, operation->msg.headers);
        write_bytes(out, operation->msg.payload);
        break;
    case OPERATION_SUB:
        write_bytes(out, operation->subject);
        write_bytes(out, operation->queue);
        write_bytes(out, operation->sid);
        break;
    case OPERATION_UNSUB:
        write_bytes(out, operation->sid);
        text_append_literal(out, " ");
        text_append_u64(out, operation->max);
        break;
    case OPERATION_CONNECT:
    case OPERATION_INFO:
    case OPERATION_ERR:
        write_bytes(out, operation->argument);
        break;
    default:
        break;
    }
    text_append_literal(out, "\n");
}

/* Each piece lies in memory of its own size, so that the sanitizer sees a look beyond its end. */
static bool feed(struct parser *parser, struct text *out, struct bytes piece)
{
    char *copy = malloc(piece.count > 0 ? piece.count : 1);
    memcpy(copy, piece.data, piece.count);
    struct bytes rest = bytes_of(copy, piece.count);
    struct operation operation;
    enum parser_result result;
    while ((result = parser_next(parser, &rest, &operation)) == PARSER_OPERATION)
        write_operation(out, &operation);
    if (result == PARSER_FAILED)
        text_append_format(out, "failed %d\n", (int)parser->failure);
    else
        parser_rest(parser);
    free(copy);
    return result != PARSER_FAILED;
}

/* first: bytes of the first piece, 0 for none; piece: of all others. */
static void write_transcript(struct text *out, struct bytes input, size_t first, size_t piece,
                             bool has_headers)
{
    struct heap *heap = heap_create();
    struct parser parser;
    parser_init(&parser, heap, CONTROL_LINE_BYTES, PAYLOAD_BYTES);
    parser.has_headers = has_headers;
    bool goes_on = first == 0 || feed(&parser, out, bytes_of(input.data, first));
    input = bytes_after(input, first);
    while (goes_on && input.count > 0) {
        size_t count = input.count < piece ? input.count : piece;
        goes_on = feed(&parser, out, bytes_of(input.data, count));
        input = bytes_after(input, count);
    }
    parser_fini(&parser);
    heap_destroy(heap);
}

static void expect_same_however_cut(struct bytes input)
{
    struct text whole = {.data = NULL};
    struct text cut = {.data = NULL};
    write_transcript(&whole, input, 0, input.count, true);
    for (size_t first = 0; first <= input.count; first++) {
        text_clear(&cut);
        /* 0: byte by byte; else in two pieces. */
        write_transcript(&cut, input, first, first == 0 ? 1 : input.count, true);
        cr_assert(eq(int, bytes_equal(text_bytes(&cut), text_bytes(&whole)), 1),
                  "cut at %zu\nwhole: %.*s\ncut: %.*s\ninput: %.*s", first, (int)whole.count,
                  whole.data, (int)cut.count, cut.data, (int)input.count, input.data);
    }
    text_free(&whole);
    text_free(&cut);
}

static void expect_transcript(const char *input, const char *want)
{
    struct text out = {.data = NULL};
    write_transcript(&out, bytes_of_text(input), 0, strlen(input), true);
    cr_expect(eq(int, bytes_equal(text_bytes(&out), bytes_of_text(want)), 1),
              "%s\ngives: %.*s\nwant: %s", input, (int)out.count, out.data, want);
    text_free(&out);
    expect_same_however_cut(bytes_of_text(input));
}
