/*
 * tests/net/websocket_frame_test.c: however a client's frames are cut, the same bytes and the same control frames.
 */
#include "net/websocket_frame.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

enum { STREAM_BYTES_MAX = 1 << 18 };

struct stream {
    unsigned char bytes[STREAM_BYTES_MAX];
    size_t count;
};

/* What a reader made of a stream: data, and control frames as opcode, length, payload. */
struct heard {
    char data[STREAM_BYTES_MAX];
    char controls[4096];
    size_t data_count, control_count;
    const char *why;
};

static struct stream stream;
static struct heard whole, cut;

static void add(unsigned first, const char *payload, size_t count)
{
    const unsigned char mask[4] = {0x81, 0x02, 0xfe, 0x33};
    unsigned char *at = stream.bytes + stream.count;
    *at++ = (unsigned char)first;
    if (count < 126) {
        *at++ = (unsigned char)(0x80 | count);
    } else if (count < 65536) {
        *at++ = 0x80 | 126;
        *at++ = (unsigned char)(count >> 8);
        *at++ = (unsigned char)count;
    } else {
        *at++ = 0x80 | 127;
        for (int i = 7; i >= 0; i--)
            *at++ = (unsigned char)((uint64_t)count >> (8 * i));
    }
    memcpy(at, mask, 4);
    at += 4;
    for (size_t i = 0; i < count; i++)
        *at++ = (unsigned char)payload[i] ^ mask[i & 3];
    stream.count = (size_t)(at - stream.bytes);
}

/* Hands the stream over in pieces; `scratch_bytes` is how much comes out at a time. */
static void hear(struct heard *heard, size_t piece_bytes, size_t scratch_bytes)
{
    static char scratch[1 << 16];
    struct frame_reader reader = {.head_count = 0};
    heard->data_count = heard->control_count = 0;
    heard->why = NULL;
    for (size_t at = 0; at < stream.count; at += piece_bytes) {
        size_t count = stream.count - at < piece_bytes ? stream.count - at : piece_bytes;
        struct bytes input = bytes_of(stream.bytes + at, count);
        for (;;) {
            struct bytes out = {NULL, 0};
            enum frame_event event = frame_next(&reader, &input, scratch, scratch_bytes, &out);
            if (event == FRAME_NEEDS_MORE)
                break;
            if (event == FRAME_BAD) {
                heard->why = reader.why;
                return;
            }
            if (event == FRAME_DATA) {
                memcpy(heard->data + heard->data_count, out.data, out.count);
                heard->data_count += out.count;
                continue;
            }
            heard->controls[heard->control_count++] = (char)event;
            heard->controls[heard->control_count++] = (char)out.count;
            memcpy(heard->controls + heard->control_count, out.data, out.count);
            heard->control_count += out.count;
        }
        cr_assert(eq(sz, input.count, 0));
    }
}

Test(websocket_frame, reads_the_same_however_the_bytes_are_cut)
{
    static char payload[70000];
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (char)(i * 31 + i / 251);
    stream.count = 0;
    add(0x82, payload, 5);
    add(0x02, payload + 5, 7);
    add(0x89, "are you there", 13);
    add(0x00, payload + 12, 113);
    add(0x8a, "", 0);
    add(0x80, payload + 125, 0);
    add(0x81, payload + 125, 126);
    add(0x82, payload + 251, 65535);
    add(0x82, payload + 251 + 65535, 65536 - 65536 + 1000);
    add(0x82, payload, 65536);
    add(0x88, "\x03\xe8 bye", 6);
    hear(&whole, stream.count, 1 << 16);
    cr_assert(eq(ptr, (void *)(uintptr_t)whole.why, NULL));
    cr_assert(eq(sz, whole.data_count, 251 + 65535 + 1000 + 65536));
    cr_expect(eq(int, memcmp(whole.data, payload, 251 + 65535 + 1000), 0));
    cr_expect(eq(int, memcmp(whole.data + 251 + 65535 + 1000, payload, 65536), 0));
    cr_expect(eq(sz, whole.control_count, 2 + 13 + 2 + 2 + 6));
    const size_t pieces[] = {1, 2, 3, 5, 13, 14, 127, 1000, 16384};
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        hear(&cut, pieces[i], i % 2 == 0 ? 16384 : 3);
        cr_expect(eq(sz, cut.data_count, whole.data_count));
        cr_expect(eq(int, memcmp(cut.data, whole.data, whole.data_count), 0));
        cr_expect(eq(sz, cut.control_count, whole.control_count));
        cr_expect(eq(int, memcmp(cut.controls, whole.controls, whole.control_count), 0));
    }
}

Test(websocket_frame, refuses_what_breaks_the_rules)
{
    static const struct {
        unsigned char bytes[16];
        size_t count;
        const char *why;
    } rows[] = {
        {{0x82, 0x01, 'x'}, 3, "mask bit missing"},
        {{0xc2, 0x81, 0, 0, 0, 0, 'x'}, 7, "invalid use of reserved bits"},
        {{0x83, 0x80, 0, 0, 0, 0}, 6, "unknown opcode"},
        {{0x8b, 0x80, 0, 0, 0, 0}, 6, "unknown opcode"},
        {{0x09, 0x80, 0, 0, 0, 0}, 6, "control frame does not have final bit set"},
        {{0x89, 0xfe, 0, 126, 0, 0, 0, 0},
         8,
         "control frame length bigger than maximum allowed of 125 bytes"},
        {{0x80, 0x80, 0, 0, 0, 0}, 6, "invalid continuation frame"},
        {{0x02, 0x80, 0, 0, 0, 0, 0x82, 0x80, 0, 0, 0, 0},
         12,
         "new message started before final frame for previous message was received"},
        {{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 14, "invalid length"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        memcpy(stream.bytes, rows[i].bytes, rows[i].count);
        stream.count = rows[i].count;
        hear(&whole, 1, 16);
        cr_assert(ne(ptr, (void *)(uintptr_t)whole.why, NULL), "%s", rows[i].why);
        cr_expect(eq(str, (char *)(uintptr_t)whole.why, (char *)(uintptr_t)rows[i].why));
    }
}

Test(websocket_frame, writes_heads)
{
    static const struct {
        uint64_t bytes;
        size_t count;
        unsigned char head[10];
    } rows[] = {
        {0, 2, {0x82, 0}},
        {125, 2, {0x82, 125}},
        {126, 4, {0x82, 126, 0, 126}},
        {65535, 4, {0x82, 126, 0xff, 0xff}},
        {65536, 10, {0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char head[FRAME_HEAD_BYTES_MAX];
        cr_assert(eq(sz, frame_head(head, FRAME_BINARY, rows[i].bytes), rows[i].count));
        cr_expect(eq(int, memcmp(head, rows[i].head, rows[i].count), 0));
    }
}
