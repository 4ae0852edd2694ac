/*
 * tests/net/encoder_test.c: MSG and HMSG byte for byte, and the queue of chunks they are written into.
 */
#include "net/encoder.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <stdlib.h>

#include "core/heap.h"
#include "core/text.h"
#include "net/dispatch.h"

static void write_out(const struct output *output, struct text *text)
{
    for (const struct output_chunk *chunk = output->head; chunk != NULL; chunk = chunk->next)
        text_append(text, bytes_of(chunk->data + chunk->begin, chunk->end - chunk->begin));
}

struct row {
    char headers[32], payload[16], reply[8], headers_digits[4], total_digits[4];
    bool has_headers;
    char want[80];
};

ParameterizedTestParameters(encoder, writes)
{
    static struct row rows[] = {
        {"", "hello", "", "", "", true, "MSG a.b 7 5\r\nhello\r\n"},
        {"", "hi", "r.1", "", "002", true, "MSG a.b 7 r.1 002\r\nhi\r\n"},
        {"", "", "", "", "", false, "MSG a.b 7 0\r\n\r\n"},
        {"NATS/1.0\r\n\r\n", "hi", "", "", "", true, "HMSG a.b 7 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"},
        {"NATS/1.0\r\n\r\n", "hi", "r", "012", "014", true,
         "HMSG a.b 7 r 012 014\r\nNATS/1.0\r\n\r\nhi\r\n"},
        {"NATS/1.0\r\n\r\n", "hi", "", "012", "014", false, "MSG a.b 7 2\r\nhi\r\n"},
        {"", "hi", "", "0", "02", true, "MSG a.b 7 02\r\nhi\r\n"},
    };
    return cr_make_param_array(struct row, rows, COUNT_OF(rows));
}
ParameterizedTest(struct row *row, encoder, writes)
{
    struct heap *heap = heap_create();
    struct output_pool pool;
    struct output output = {.head = NULL};
    struct text text = {.data = NULL};
    output_pool_init(&pool, heap);
    struct parcel parcel = {
        .msg = {BYTES_LITERAL("a.b"), bytes_of_text(row->reply), bytes_of_text(row->headers),
                bytes_of_text(row->payload)},
        .headers_digits = bytes_of_text(row->headers_digits),
        .total_digits = bytes_of_text(row->total_digits),
    };
    encode_message(&output, &pool, &parcel, BYTES_LITERAL("7"), row->has_headers);
    write_out(&output, &text);
    cr_expect(eq(int, bytes_equal(text_bytes(&text), bytes_of_text(row->want)), 1), "%.*s",
              (int)text.count, text.data);
    text_free(&text);
    output_clear(&output, &pool);
    output_pool_fini(&pool);
    heap_destroy(heap);
}

/* Messages of all sizes go in, random counts go out: what leaves is what came, and an empty queue holds nothing. */
Test(output, gives_the_bytes_in_order_whatever_is_sent)
{
    struct heap *heap = heap_create();
    struct output_pool pool;
    struct output output = {.head = NULL};
    struct text in = {.data = NULL};
    struct text out = {.data = NULL};
    unsigned chance = 99;
    char *large = calloc(1, 100000);
    output_pool_init(&pool, heap);
    for (unsigned round = 0; round < 2000; round++) {
        size_t count = (size_t)rand_r(&chance) % (round % 50 == 0 ? 100000 : 900);
        memset(large, 'a' + (int)(round % 26), count);
        if (round % 3 == 0 && count < 900) {
            memcpy(output_reserve(&output, &pool, 1000), large, count);
            output_commit(&output, (uint32_t)count);
        } else {
            output_append(&output, &pool, bytes_of(large, count));
        }
        text_append(&in, bytes_of(large, count));
        cr_assert(eq(u64, output.queued_bytes, in.count - out.count));
        if (round % 2 == 0 && output.queued_bytes > 0) { /* as much as a send took, or all */
            struct text queued = {.data = NULL};
            uint64_t sent = (uint64_t)rand_r(&chance) * 7 % (output.queued_bytes + 1);
            if (round % 100 == 0)
                sent = output.queued_bytes;
            write_out(&output, &queued);
            text_append(&out, bytes_of(queued.data, sent));
            output_sent(&output, &pool, sent);
            text_free(&queued);
        }
    }
    write_out(&output, &out);
    output_sent(&output, &pool, output.queued_bytes);
    cr_expect(eq(ptr, output.head, NULL));
    cr_expect(eq(ptr, output.tail, NULL));
    cr_expect(eq(int, bytes_equal(text_bytes(&in), text_bytes(&out)), 1));
    text_free(&in);
    text_free(&out);
    free(large);
    output_pool_fini(&pool);
    heap_destroy(heap);
}

struct quoted {
    char raw[16], want[32];
};

ParameterizedTestParameters(quote, writes_as_go_does)
{
    static struct quoted rows[] = {
        {"a.b", "\"a.b\""},
        {"a\"b\\", "\"a\\\"b\\\\\""},
        {"\x01\n\x7f", "\"\\x01\\n\\x7f\""},
        {"\xc3\xa4", "\"\xc3\xa4\""},
        {"\xff", "\"\\xff\""},
        {"\xc2\x85", "\"\\u0085\""},
    };
    return cr_make_param_array(struct quoted, rows, COUNT_OF(rows));
}
ParameterizedTest(struct quoted *row, quote, writes_as_go_does)
{
    struct text text = {.data = NULL};
    quote_append(&text, bytes_of_text(row->raw));
    cr_expect(eq(int, bytes_equal(text_bytes(&text), bytes_of_text(row->want)), 1), "%.*s",
              (int)text.count, text.data);
    text_free(&text);
}
