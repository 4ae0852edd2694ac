/*
 * tests/store/record_test.c: a record comes back from its bytes as it was, or not at all.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

#include "store/location.h"
#include "store/record.h"

static _Alignas(16) char image[4096];

static struct record example(void)
{
    return (struct record){
        .type = 7,
        .flags = RECORD_REMOVES,
        .stream_id = 11,
        .seq = UINT64_C(0x123456789abcdef0),
        .time_ns = 13,
        .term = 14,
        .log_index = 15,
        .key = BYTES_LITERAL("orders.eu"),
        .headers = BYTES_LITERAL("NATS/1.0\r\nA: b\r\n\r\n"),
        .value = BYTES_LITERAL("value"),
    };
}

Test(record, comes_back_as_it_was)
{
    struct record record = example();
    struct record back;
    uint32_t bytes;
    record_encode(&record, image);
    enum status status = record_decode(image, sizeof image, &back, &bytes);
    cr_assert(eq(int, status, STATUS_OK));
    cr_assert(eq(u32, bytes, record_bytes(&record)));
    cr_assert(eq(int, bytes % 16, 0));
    cr_assert(back.type == record.type && back.flags == record.flags);
    cr_assert(eq(u32, back.stream_id, record.stream_id));
    cr_assert(eq(u64, back.seq, record.seq));
    cr_assert(back.time_ns == 13 && back.term == 14 && back.log_index == 15);
    cr_assert(bytes_equal(back.key, record.key));
    cr_assert(bytes_equal(back.headers, record.headers));
    cr_assert(bytes_equal(back.value, record.value));
}

Test(record, may_have_no_key_headers_or_value)
{
    struct record record = {.type = 1};
    struct record back;
    uint32_t bytes;
    record_encode(&record, image);
    enum status status = record_decode(image, sizeof image, &back, &bytes);
    cr_assert(eq(int, status, STATUS_OK));
    cr_assert(back.key.count == 0 && back.headers.count == 0 && back.value.count == 0);
}

Test(record, is_refused_when_any_bit_is_wrong)
{
    struct record record = example();
    record_encode(&record, image);
    uint32_t count = record_bytes(&record);
    for (uint32_t bit = 0; bit < 8 * count; bit++) {
        struct record back;
        uint32_t bytes;
        image[bit / 8] ^= (char)(1 << bit % 8);
        enum status status = record_decode(image, sizeof image, &back, &bytes);
        cr_assert(eq(int, status, STATUS_CORRUPT));
        image[bit / 8] ^= (char)(1 << bit % 8);
    }
}

/* The image lies at the end of its block, where the sanitizer sees a read beyond. */
Test(record, is_refused_when_it_is_cut)
{
    struct record record = example();
    record_encode(&record, image);
    uint32_t count = record_bytes(&record);
    for (uint32_t available = 0; available < count; available++) {
        char *cut = malloc(available + 1);
        memcpy(cut, image, available);
        struct record back;
        uint32_t bytes;
        cr_assert(record_decode(cut, available, &back, &bytes) != STATUS_OK);
        free(cut);
    }
}

Test(record, ends_at_zeros)
{
    static _Alignas(16) char zeros[256];
    struct record back;
    uint32_t bytes;
    enum status status = record_decode(zeros, sizeof zeros, &back, &bytes);
    cr_assert(eq(int, status, STATUS_NOT_FOUND));
}

Test(location, keeps_segment_offset_and_length)
{
    location where = location_pack(LOCATION_SEGMENT_MAX, (64u << 20) - 16, 4096);
    cr_assert(eq(u64, location_segment(where), LOCATION_SEGMENT_MAX));
    cr_assert(eq(u64, location_offset(where), (64u << 20) - 16));
    cr_assert(eq(u64, location_bytes(where), 4096));
    cr_assert(not(location_is_long(where)));
    cr_assert(location_is_long(location_pack(1, 4192, 2u << 20)));
}

Test(location, grows_with_the_log)
{
    cr_assert(location_pack(1, 8192, 32) > location_pack(1, 4096, 1 << 20));
    cr_assert(location_pack(2, 4096, 32) > location_pack(1, 1 << 20, 32));
}
