/*
 * kv/s2.c: writing and reading S2 frames.
 */
#include "kv/s2.h"

#include <string.h>

#include "core/assert.h"
#include "core/hash.h"

enum {
    FRAME_HEAD_BYTES = 4,
    CHECKSUM_BYTES = 4,
    FRAME_BLOCK = 0x00,
    FRAME_PLAIN = 0x01,
    FRAME_SKIPPABLE = 0x80, /* from here to 0xfe */
    FRAME_START = 0xff,
    START_BODY_BYTES = 6,
    /* A block is at most a little longer than what it stands for. */
    BODY_BYTES_MAX = CHECKSUM_BYTES + S2_READ_BLOCK_BYTES + S2_READ_BLOCK_BYTES / 6 + 32,

    TAG_LITERAL = 0,
    TAG_COPY_1 = 1,
    TAG_COPY_2 = 2,

    MATCH_BYTES_MIN = 4,
    HASH_BITS = 14,
};

static const char s2_words_corrupt[] = "s2: corrupt input";
static const char s2_words_crc[] = "s2: corrupt input, crc mismatch";
static const char s2_words_unsupported[] = "s2: unsupported input";

static uint32_t crc_masked(struct bytes plain)
{
    uint32_t crc = crc32c(0, plain.data, plain.count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static uint32_t load_32(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* ---- writing ---- */

static char *put_literal(char *out, const char *data, size_t count)
{
    if (count == 0)
        return out;
    size_t n = count - 1;
    if (n < 60) {
        *out++ = (char)(TAG_LITERAL | n << 2);
    } else if (n < 256) {
        *out++ = (char)(TAG_LITERAL | 60 << 2);
        *out++ = (char)n;
    } else {
        *out++ = (char)(TAG_LITERAL | 61 << 2);
        *out++ = (char)(n & 255);
        *out++ = (char)(n >> 8);
    }
    memcpy(out, data, count);
    return out + count;
}

static char *put_copy_2(char *out, size_t offset, size_t count)
{
    *out++ = (char)(TAG_COPY_2 | (count - 1) << 2);
    *out++ = (char)(offset & 255);
    *out++ = (char)(offset >> 8);
    return out;
}

/* offset: 1 to 65535; count: MATCH_BYTES_MIN or more. */
static char *put_copy(char *out, size_t offset, size_t count)
{
    while (count >= 68) {
        out = put_copy_2(out, offset, 64);
        count -= 64;
    }
    if (count > 64) { /* what is left must be a match again */
        out = put_copy_2(out, offset, 60);
        count -= 60;
    }
    if (count >= 12 || offset >= 2048)
        return put_copy_2(out, offset, count);
    *out++ = (char)(TAG_COPY_1 | (count - 4) << 2 | offset >> 8 << 5);
    *out++ = (char)(offset & 255);
    return out;
}

/* Greedy: at each place the last place with the same four bytes, if there is one; steps grow where nothing matches. */
static char *put_block(char *out, struct bytes plain, struct s2_table *table)
{
    const char *data = plain.data;
    size_t at = 0, literal = 0, misses = 32;
    memset(table, 0, sizeof *table);
    while (plain.count - at > MATCH_BYTES_MIN) {
        uint32_t word = load_32(data + at);
        uint32_t slot = word * 0x9e3779b1u >> (32 - HASH_BITS);
        size_t candidate = table->places[slot];
        table->places[slot] = (uint16_t)at;
        if (candidate >= at || load_32(data + candidate) != word) {
            at += misses++ >> 5;
            if (at > plain.count)
                break;
            continue;
        }
        size_t count = MATCH_BYTES_MIN;
        while (at + count < plain.count && data[candidate + count] == data[at + count])
            count++;
        out = put_literal(out, data + literal, at - literal);
        out = put_copy(out, at - candidate, count);
        at += count;
        literal = at;
        misses = 32;
    }
    return put_literal(out, data + literal, plain.count - literal);
}

static void put_frame_head(char *frame, uint8_t type, size_t body_bytes, uint32_t crc)
{
    frame[0] = (char)type;
    for (unsigned i = 0; i < 3; i++)
        frame[1 + i] = (char)(body_bytes >> 8 * i & 255);
    for (unsigned i = 0; i < CHECKSUM_BYTES; i++)
        frame[FRAME_HEAD_BYTES + i] = (char)(crc >> 8 * i & 255);
}

void s2_append_start(struct text *out)
{
    text_append(out, bytes_of("\xff\x06\x00\x00S2sTwO", FRAME_HEAD_BYTES + START_BODY_BYTES));
}

void s2_append_frame(struct text *out, struct bytes plain, struct s2_table *table)
{
    enum { HEAD = FRAME_HEAD_BYTES + CHECKSUM_BYTES };
    char *frame = text_reserve(out, HEAD + 3 + plain.count + plain.count / 6 + 64);
    char *block = frame + HEAD, *end = block;
    for (size_t rest = plain.count; rest != 0; rest >>= 7) /* its length as an uvarint */
        *end++ = (char)((rest & 127) | (rest > 127 ? 128 : 0));
    end = put_block(end, plain, table);
    bool is_smaller = (size_t)(end - block) < plain.count;
    if (!is_smaller) {
        memcpy(block, plain.data, plain.count);
        end = block + plain.count;
    }
    put_frame_head(frame, is_smaller ? FRAME_BLOCK : FRAME_PLAIN,
                   CHECKSUM_BYTES + (size_t)(end - block), crc_masked(plain));
    out->count += (size_t)(end - frame);
}

/* ---- reading blocks ---- */

/* Reads `count` bytes (1 to 4), little endian; false: there are fewer. */
static bool take_number(struct bytes *rest, unsigned count, uint32_t *number_out)
{
    if (rest->count < count)
        return false;
    *number_out = 0;
    for (unsigned i = 0; i < count; i++)
        *number_out |= (uint32_t)(uint8_t)rest->data[i] << 8 * i;
    *rest = bytes_after(*rest, count);
    return true;
}

static bool take_length(struct bytes *rest, uint32_t *length_out)
{
    uint64_t length = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint32_t byte;
        if (!take_number(rest, 1, &byte))
            return false;
        length |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *length_out = (uint32_t)length;
            return length <= S2_READ_BLOCK_BYTES;
        }
    }
    return false;
}

bool s2_block_length(struct bytes block, uint32_t *plain_out)
{
    return take_length(&block, plain_out);
}

/* A block being decoded. */
struct decoding {
    struct bytes rest;
    char *plain;
    uint32_t count, limit; /* of plain */
    uint32_t offset;       /* of the last copy: S2's repeats use it again */
};

static bool decode_literal(struct decoding *decoding, uint32_t tag)
{
    uint32_t n = tag >> 2;
    if (n >= 60 && !take_number(&decoding->rest, n - 59, &n))
        return false;
    uint64_t count = (uint64_t)n + 1;
    if (count > decoding->rest.count || count > decoding->limit - decoding->count)
        return false;
    memcpy(decoding->plain + decoding->count, decoding->rest.data, count);
    decoding->rest = bytes_after(decoding->rest, count);
    decoding->count += (uint32_t)count;
    return true;
}

static bool decode_repeat_count(struct decoding *decoding, uint32_t code, uint32_t *count_out)
{
    uint32_t more = code;
    if (code >= 5 && !take_number(&decoding->rest, code - 4, &more))
        return false;
    *count_out = code < 5 ? code + 4 : code == 5 ? more + 8 : code == 6 ? more + 260 : more + 65540;
    return true;
}

static bool decode_copy(struct decoding *decoding, uint32_t tag)
{
    uint32_t kind = tag & 3, count = (tag >> 2) + 1, offset = 0;
    unsigned offset_bytes = kind == TAG_COPY_1 ? 1 : kind == TAG_COPY_2 ? 2 : 4;
    if (!take_number(&decoding->rest, offset_bytes, &offset))
        return false;
    if (kind == TAG_COPY_1) {
        offset |= (tag >> 5) << 8;
        count = (tag >> 2 & 7) + 4;
        if (offset == 0) {
            offset = decoding->offset;
            if (!decode_repeat_count(decoding, tag >> 2 & 7, &count))
                return false;
        }
    }
    if (offset == 0 || offset > decoding->count || count > decoding->limit - decoding->count)
        return false;
    decoding->offset = offset;
    char *to = decoding->plain + decoding->count;
    if (offset >= count) {
        memcpy(to, to - offset, count);
    } else {
        for (uint32_t i = 0; i < count; i++) /* it may copy what it has just written */
            to[i] = (to - offset)[i];
    }
    decoding->count += count;
    return true;
}

bool s2_block_decode(struct bytes block, char *plain, uint32_t plain_bytes)
{
    struct decoding decoding = {.rest = block, .plain = plain, .limit = plain_bytes};
    uint32_t announced, tag;
    if (!take_length(&decoding.rest, &announced) || announced != plain_bytes)
        return false;
    while (take_number(&decoding.rest, 1, &tag)) {
        bool is_fine =
            (tag & 3) == TAG_LITERAL ? decode_literal(&decoding, tag) : decode_copy(&decoding, tag);
        if (!is_fine)
            return false;
    }
    return decoding.count == plain_bytes;
}

/* ---- reading frames ---- */

void s2_reader_free(struct s2_reader *reader)
{
    text_free(&reader->frame);
    text_free(&reader->plain);
}

void s2_reader_feed(struct s2_reader *reader, struct bytes input)
{
    reader->input = input;
}

static enum s2_result corrupt(struct s2_reader *reader, const char *why)
{
    reader->why = why;
    return S2_CORRUPT;
}

/* Moves input into the frame until it has `count` bytes; false: more must come. */
static bool collect(struct s2_reader *reader, size_t count)
{
    size_t missing = reader->frame.count < count ? count - reader->frame.count : 0;
    size_t taken = missing < reader->input.count ? missing : reader->input.count;
    if (taken > 0)
        text_append(&reader->frame, bytes_of(reader->input.data, taken));
    reader->input = bytes_after(reader->input, taken);
    return taken == missing;
}

static enum s2_result take_data(struct s2_reader *reader, uint8_t type, struct bytes body,
                                struct bytes *plain_out)
{
    uint32_t crc, plain_bytes;
    if (!take_number(&body, CHECKSUM_BYTES, &crc))
        return corrupt(reader, s2_words_corrupt);
    if (type == FRAME_PLAIN) {
        if (body.count > S2_READ_BLOCK_BYTES)
            return corrupt(reader, s2_words_corrupt);
        *plain_out = body;
    } else {
        if (!s2_block_length(body, &plain_bytes))
            return corrupt(reader, s2_words_corrupt);
        text_clear(&reader->plain);
        char *plain = text_reserve(&reader->plain, (size_t)plain_bytes + 1);
        if (!s2_block_decode(body, plain, plain_bytes))
            return corrupt(reader, s2_words_corrupt);
        *plain_out = bytes_of(plain, plain_bytes);
    }
    return crc_masked(*plain_out) == crc ? S2_BLOCK : corrupt(reader, s2_words_crc);
}

/* A frame whose head is there: its length is known to be allowed. */
static enum s2_result take_frame(struct s2_reader *reader, struct bytes *plain_out)
{
    uint8_t type = (uint8_t)reader->frame.data[0];
    struct bytes head = bytes_after(text_bytes(&reader->frame), 1);
    uint32_t length = 0;
    bool is_whole = take_number(&head, 3, &length);
    ASSERT(is_whole);
    if (!reader->has_begun && type != FRAME_START)
        return corrupt(reader, s2_words_corrupt);
    if (type >= FRAME_SKIPPABLE && type < FRAME_START) {
        reader->skip_bytes = length;
        text_clear(&reader->frame);
        return S2_BLOCK;
    }
    if (type > FRAME_PLAIN && type < FRAME_SKIPPABLE)
        return corrupt(reader, s2_words_unsupported);
    if (type == FRAME_START ? length != START_BODY_BYTES : length > BODY_BYTES_MAX)
        return corrupt(reader, s2_words_corrupt);
    if (!collect(reader, FRAME_HEAD_BYTES + (size_t)length))
        return S2_MORE;
    struct bytes body = bytes_after(text_bytes(&reader->frame), FRAME_HEAD_BYTES);
    reader->frame.count = 0; /* its bytes stay until the next call */
    if (type != FRAME_START)
        return take_data(reader, type, body, plain_out);
    reader->has_begun = true;
    return bytes_equal(body, BYTES_LITERAL("S2sTwO")) || bytes_equal(body, BYTES_LITERAL("sNaPpY"))
               ? S2_BLOCK
               : corrupt(reader, s2_words_unsupported);
}

enum s2_result s2_reader_next(struct s2_reader *reader, struct bytes *plain_out)
{
    *plain_out = (struct bytes){0};
    while (reader->why == NULL) {
        size_t skipped = reader->skip_bytes < reader->input.count ? (size_t)reader->skip_bytes
                                                                  : reader->input.count;
        reader->input = bytes_after(reader->input, skipped);
        reader->skip_bytes -= skipped;
        if (reader->skip_bytes > 0 || !collect(reader, FRAME_HEAD_BYTES))
            return S2_MORE;
        enum s2_result result = take_frame(reader, plain_out);
        if (result != S2_BLOCK || plain_out->count > 0)
            return result; /* else: a frame without plain bytes */
    }
    return S2_CORRUPT;
}
