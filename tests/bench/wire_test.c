/*
 * tests/bench/wire_test.c: does the load generator read answers as they are, however they are cut?
 */
#include "bench/wire.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>

static const char stream[] =
    "INFO {\"version\":\"2.15.2\"} \r\n"
    "+OK\r\n"
    "PING\r\n"
    "PONG\r\n"
    "MSG _INBOX.a.0007 1 30\r\n{\"stream\":\"KV_bench\",\"seq\":42}\r\n"
    "MSG $KV.b.k00000001 2 $JS.ACK.KV_b.w.1.5.3.99.0 2\r\nhi\r\n"
    "MSG s 1  2\r\nab\r\n" /* the reference writes two blanks in some of its own messages */
    "HMSG _INBOX.a.0001 1 47 49\r\nNATS/1.0\r\nNats-Subject: $KV.b.k\r\nX:  y  z\r\n\r\n\r\nHM\r\n"
    "-ERR 'Unknown Protocol Operation'\r\n";

static const enum frame_kind kinds[] = {FRAME_INFO, FRAME_OK,  FRAME_PING, FRAME_PONG, FRAME_MSG,
                                        FRAME_MSG,  FRAME_MSG, FRAME_MSG,  FRAME_ERROR};
enum { FRAMES = sizeof(kinds) / sizeof(kinds[0]) };

/* Frames found in the first `count` bytes; `used_out` is where the unfinished one begins. */
static size_t count_frames(const char *data, size_t count, size_t *used_out)
{
    size_t used = 0;
    size_t frames = 0;
    while (used < count) {
        struct frame frame;
        frame_cut(&frame, data + used, count - used);
        if (frame.kind == FRAME_PARTIAL)
            break;
        cr_assert(eq(int, (int)frame.kind, (int)kinds[frames]));
        used += frame.total_count;
        frames++;
    }
    *used_out = used;
    return frames;
}

Test(wire, cuts_the_same_frames_wherever_the_buffer_ends)
{
    size_t total = sizeof(stream) - 1;
    for (size_t cut = 0; cut <= total; cut++) {
        /* A copy of the exact size, so that reading past the end is noticed. */
        char *part = malloc(cut + 1);
        memcpy(part, stream, cut);
        size_t used;
        size_t frames = count_frames(part, cut, &used);
        cr_assert(le(sz, used, cut));
        cr_assert(eq(int, frames == FRAMES, cut == total));
        free(part);
    }
}

Test(wire, finds_the_fields_of_a_message_with_headers)
{
    const char *data = strstr(stream, "HMSG");
    struct frame frame;
    frame_cut(&frame, data, strlen(data));
    cr_assert(eq(int, (int)frame.kind, (int)FRAME_MSG));
    cr_expect(text_equals(frame.subject, "_INBOX.a.0001", 13));
    cr_expect(eq(u32, frame.sid, 1));
    cr_expect(eq(sz, frame.reply.count, 0));
    cr_expect(eq(sz, frame.headers.count, 47));
    cr_expect(text_equals(frame.payload, "HM", 2));
    cr_expect(text_equals(header_find(frame.headers, "Nats-Subject"), "$KV.b.k", 7));
    cr_expect(text_equals(header_find(frame.headers, "X"), "y  z", 4));
    cr_expect(eq(sz, header_find(frame.headers, "Nats").count, 0));
    cr_expect(eq(u32, header_status(frame.headers), 0));
}

Test(wire, tells_a_status)
{
    static const char text[] = "NATS/1.0 404 Message Not Found\r\n\r\n";
    struct text headers = {text, sizeof(text) - 1};
    cr_expect(eq(u32, header_status(headers), 404));
    headers.count = 8;
    cr_expect(eq(u32, header_status(headers), 0));
}

Test(wire, refuses_what_is_not_nats)
{
    static const char *const texts[] = {"HTTP/1.1 200 OK\r\n",       "MSG a\r\n",
                                        "MSG a b c d e f\r\n",       "MSG a 1 2\r\nabcd",
                                        "HMSG a 1 9 5\r\nabcde\r\n", "MSG a 1 -5\r\n"};
    for (size_t index = 0; index < sizeof(texts) / sizeof(texts[0]); index++) {
        struct frame frame;
        frame_cut(&frame, texts[index], strlen(texts[index]));
        cr_expect(eq(int, (int)frame.kind, (int)FRAME_BROKEN), "%s", texts[index]);
    }
}

Test(wire, writes_digits_as_printf_does)
{
    static const uint64_t numbers[] = {0, 7, 10, 42, 99, 100, 12345678, 99999999, UINT64_MAX};
    for (size_t index = 0; index < sizeof(numbers) / sizeof(numbers[0]); index++) {
        char expected[32];
        char text[32] = "";
        snprintf(expected, sizeof(expected), "%llu", (unsigned long long)numbers[index]);
        text[write_number(text, numbers[index])] = '\0';
        cr_expect(eq(str, text, expected));
        if (numbers[index] > 99999999)
            continue;
        snprintf(expected, sizeof(expected), "%08llu", (unsigned long long)numbers[index]);
        write_digits_8(text, (uint32_t)numbers[index]);
        text[8] = '\0';
        cr_expect(eq(str, text, expected));
    }
    char hex[17] = "";
    uint64_t back;
    write_hex_16(hex, 0x0123456789abcdefU);
    cr_expect(eq(str, hex, "0123456789abcdef"));
    cr_expect(read_hex_16(hex, &back));
    cr_expect(eq(u64, back, 0x0123456789abcdefU));
}

Test(wire, reads_what_a_pub_ack_says)
{
    static const char ack[] = "{\"stream\":\"KV_b\",\"seq\":7}";
    static const char refusal[] = "{\"error\":{\"code\":400,\"err_code\":10071,\"description\":"
                                  "\"wrong last sequence: 6\"},\"stream\":\"KV_b\",\"seq\":0}";
    uint64_t number;
    cr_assert(json_number((struct text){ack, sizeof(ack) - 1}, "\"seq\"", &number));
    cr_expect(eq(u64, number, 7));
    struct text text = {refusal, sizeof(refusal) - 1};
    cr_assert(json_number(text, "wrong last sequence:", &number));
    cr_expect(eq(u64, number, 6));
    cr_expect(text_equals(json_string(text, "\"stream\""), "KV_b", 4));
    cr_expect(not(json_number(text, "\"none\"", &number)));
}
