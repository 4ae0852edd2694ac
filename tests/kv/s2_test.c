/*
 * tests/kv/s2_test.c: what is written is read, however it is cut; S2's own forms; and damage, at every byte, is told.
 *
 * TEST_SEED=n replays a run.
 */
#include "kv/s2.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

static unsigned seed_first(void)
{
    const char *text = getenv("TEST_SEED");
    return text == NULL ? 1 : (unsigned)strtoul(text, NULL, 10);
}

/* Runs of few letters, repeats of what was there, and noise: all that the encoder tells apart. */
static void fill(char *data, size_t count, unsigned *seed)
{
    for (size_t i = 0; i < count;) {
        size_t run = 1 + (size_t)rand_r(seed) % 300;
        unsigned kind = (unsigned)rand_r(seed) % 4;
        size_t from = i == 0 ? 0 : (size_t)rand_r(seed) % i;
        for (size_t j = 0; j < run && i < count; j++, i++)
            data[i] = kind == 0               ? 'x'
                      : kind == 1 && from < i ? data[from + j]
                      : kind == 2             ? (char)('a' + rand_r(seed) % 3)
                                              : (char)rand_r(seed);
    }
}

static void append_stream(struct text *out, struct bytes plain)
{
    static struct s2_table table;
    s2_append_start(out);
    while (plain.count > 0) {
        size_t count = plain.count < S2_WRITE_BLOCK_BYTES ? plain.count : S2_WRITE_BLOCK_BYTES;
        s2_append_frame(out, bytes_of(plain.data, count), &table);
        plain = bytes_after(plain, count);
    }
}

/* Feeds at most `piece` bytes at a time; false: the reader says that it is damaged. */
static bool read_stream(struct bytes stream, size_t piece, struct text *plain_out)
{
    struct s2_reader reader = {0};
    struct bytes plain;
    enum s2_result result = S2_MORE;
    while (stream.count > 0 && result != S2_CORRUPT) {
        size_t count = stream.count < piece ? stream.count : piece;
        char *copy = malloc(count); /* exactly as long: reading beyond it is found */
        memcpy(copy, stream.data, count);
        s2_reader_feed(&reader, bytes_of(copy, count));
        while ((result = s2_reader_next(&reader, &plain)) == S2_BLOCK)
            text_append(plain_out, plain);
        free(copy);
        stream = bytes_after(stream, count);
    }
    bool is_fine = result == S2_MORE && reader.frame.count == 0;
    cr_assert(eq(int, result == S2_CORRUPT, reader.why != NULL));
    s2_reader_free(&reader);
    return is_fine;
}

Test(s2, reads_what_it_writes_however_it_is_cut)
{
    unsigned first = seed_first();
    for (unsigned run = first; run < first + 60; run++) {
        unsigned seed = run;
        size_t count = (size_t)rand_r(&seed) % (run % 3 == 0 ? 300000 : 3000);
        char *data = malloc(count + 1);
        fill(data, count, &seed);
        struct text stream = {0}, plain = {0};
        append_stream(&stream, bytes_of(data, count));
        size_t piece = 1 + (size_t)rand_r(&seed) % (run % 2 == 0 ? 7 : 100000);
        cr_assert(read_stream(text_bytes(&stream), piece, &plain), "seed %u", run);
        cr_assert(bytes_equal(text_bytes(&plain), bytes_of(data, count)), "seed %u", run);
        text_free(&stream);
        text_free(&plain);
        free(data);
    }
}

Test(s2, makes_texts_smaller)
{
    struct text plain = {0}, stream = {0};
    for (unsigned i = 0; i < 1000; i++)
        text_append_format(&plain, "$KV.bucket.key.%u the value of number %u", i, i);
    append_stream(&stream, text_bytes(&plain));
    cr_assert(lt(sz, stream.count, plain.count / 2));
    text_free(&plain);
    text_free(&stream);
}

struct row {
    char block[48];
    uint8_t block_bytes;
    char plain[96];
    bool is_fine;
};

#define ROW(block, plain, is_fine)               \
    {                                            \
        block, sizeof(block) - 1, plain, is_fine \
    }

/* Length, then operations. A copy with one byte of offset, which is 0, repeats the last offset. */
ParameterizedTestParameters(s2, decodes_blocks)
{
    static struct row rows[] = {
        ROW("\x05\x10hello", "hello", true),
        {"\x09\x08"
         "abc"
         "\x0a\x03\x00"
         "\x00z",
         9,
         "abcabc"
         "",
         false},
        ROW("\x07\x08"
            "abc"
            "\x0a\x03\x00"
            "\x00z",
            "abcabcz", true), /* copy 2, 3 of 3 back */
        ROW("\x08\x04"
            "ab"
            "\x09\x02",
            "abababab", true), /* copy 1, over itself */
        ROW("\x0a\x04"
            "ab"
            "\x0b\x02\x00\x00\x00"
            "\x11\x00",
            "ababababab", false),
        ROW("\x0b\x04"
            "ab"
            "\x0b\x02\x00\x00\x00"
            "\x05\x00",
            "ababababab", false),
        ROW("\x0a\x04"
            "ab"
            "\x0b\x02\x00\x00\x00"
            "\x05\x00",
            "ababababab", true), /* repeat of 5 */
        ROW("\x09\x04"
            "ab"
            "\x0b\x02\x00\x00\x00"
            "\x01\x00",
            "ababababa", true), /* of 4 */
        ROW("\x14\x04"
            "ab"
            "\x0b\x02\x00\x00\x00"
            "\x15\x00\x07",
            "abababababababababab", true),
        ROW("\x02\x04"
            "ab"
            "\x01\x00",
            "ab", false), /* a repeat before any copy */
        ROW("\x06\x04"
            "ab"
            "\x01\x00",
            "ab", false),
        ROW("\x06\x04"
            "ab"
            "\x01\x03",
            "ab", false), /* before the beginning */
        ROW("\x06\xf0\x05"
            "abcdef",
            "abcdef", true), /* long forms of a literal's length */
        ROW("\x06\xf4\x05\x00"
            "abcdef",
            "abcdef", true),
        ROW("\x06\xf8\x05\x00\x00"
            "abcdef",
            "abcdef", true),
        ROW("\x06\xfc\x05\x00\x00\x00"
            "abcdef",
            "abcdef", true),
        ROW("\x06\xfc\xff\xff\xff\xff"
            "abcdef",
            "", false),
        ROW("\x06\xf0\x06"
            "abcdef",
            "", false), /* one more than there is */
        ROW("\x05\xf0\x05"
            "abcdef",
            "", false), /* one more than announced */
        ROW("\x07\xf0\x05"
            "abcdef",
            "", false), /* one less */
        ROW("\x06\xf0", "", false),
        ROW("\x04\x04"
            "ab"
            "\x0a\x02",
            "", false), /* an offset cut short */
        ROW("\x00", "", true),
        ROW("", "", false),
        ROW("\xff\xff\xff\xff\x0f", "", false), /* 4 GiB */
        ROW("\x80\x80\x80\x80\x80\x80\x01", "", false),
    };
    return cr_make_param_array(struct row, rows, COUNT_OF(rows));
}
ParameterizedTest(struct row *row, s2, decodes_blocks)
{
    uint32_t bytes = 0;
    char *block = malloc(row->block_bytes + 1u);
    memcpy(block, row->block, row->block_bytes);
    struct bytes view = bytes_of(block, row->block_bytes);
    bool is_fine = s2_block_length(view, &bytes);
    char *plain = malloc(is_fine ? bytes + 1u : 1);
    is_fine = is_fine && s2_block_decode(view, plain, bytes);
    cr_expect(eq(int, is_fine, row->is_fine), "%s of %u", row->plain, row->block_bytes);
    if (is_fine && row->is_fine)
        cr_expect(bytes_equal(bytes_of(plain, bytes), bytes_of_text(row->plain)));
    free(plain);
    free(block);
}

/* One byte changed, anywhere: the reader says so, or (in a frame it may skip, in no data) gives the same. */
Test(s2, tells_damage_at_every_byte)
{
    unsigned seed = seed_first();
    char data[3000];
    fill(data, sizeof data, &seed);
    struct text stream = {0};
    append_stream(&stream, bytes_of(data, sizeof data));
    text_append(&stream, bytes_of("\xfe\x03\x00\x00"
                                  "pad",
                                  7));
    for (size_t at = 0; at < stream.count; at++) {
        struct text plain = {0};
        char change = (char)(1 + rand_r(&seed) % 255);
        stream.data[at] = (char)(stream.data[at] ^ change);
        bool is_fine = read_stream(text_bytes(&stream), 1 + (size_t)rand_r(&seed) % 500, &plain);
        bool is_same = bytes_equal(text_bytes(&plain), bytes_of(data, sizeof data));
        bool is_skipped =
            at == 10 && (uint8_t)stream.data[at] >= 0x80; /* a frame to be passed over */
        cr_assert(is_same || is_skipped || is_fine == false, "byte %zu changed by %d", at, change);
        stream.data[at] = (char)(stream.data[at] ^ change);
        text_free(&plain);
    }
    text_free(&stream);
}

Test(s2, survives_noise)
{
    unsigned first = seed_first();
    for (unsigned run = first; run < first + 20000; run++) {
        unsigned seed = run;
        char noise[64], plain[4096];
        size_t count = (size_t)rand_r(&seed) % sizeof noise;
        for (size_t i = 0; i < count; i++)
            noise[i] = (char)rand_r(&seed);
        uint32_t bytes = 0;
        if (s2_block_length(bytes_of(noise, count), &bytes) && bytes <= sizeof plain)
            (void)s2_block_decode(bytes_of(noise, count), plain, bytes);
    }
}

static bool reads(const char *stream, size_t count)
{
    struct text plain = {0};
    bool is_fine = read_stream(bytes_of(stream, count), 3, &plain);
    text_free(&plain);
    return is_fine;
}

#define START "\xff\x06\x00\x00S2sTwO"

Test(s2, knows_frames)
{
    cr_expect(reads(START, 10));
    cr_expect(reads("\xff\x06\x00\x00sNaPpY", 10));
    cr_expect(not(reads("\xff\x06\x00\x00S2sTwX", 10)));
    cr_expect(not(reads("\xff\x05\x00\x00S2sTw", 9)));
    cr_expect(not(reads("\xfe\x00\x00\x00", 4)), "the first frame says what it is");
    cr_expect(reads(START "\x80\x02\x00\x00zz\xfe\x00\x00\x00" START, 30));
    cr_expect(not(reads(START "\x02\x02\x00\x00zz", 16)), "a frame nobody may skip");
    cr_expect(not(reads(START "\x01\x03\x00\x00zzz", 17)), "shorter than its checksum");
    cr_expect(not(reads(START "\x00\xff\xff\xff", 14)), "longer than any block");
    cr_expect(not(reads(START "\x01\x08\x00\x00", 14)), "cut short");
}
