/*
 * net/websocket_frame.c: WebSocket frames of a client, taken apart, and the heads of ours.
 *
 *     head (2 to 14 bytes, however they are cut) ──► payload, unmasked in pieces ──► head …
 *
 * Keeps:   nothing of a message is kept but its place: memory does not depend on what the peer announces.
 * Runs on: the connection's shard.
 */
#include "net/websocket_frame.h"

#include <string.h>

static size_t head_bytes(const struct frame_reader *reader);
static bool begin_payload(struct frame_reader *reader);
static void unmask(struct frame_reader *reader, const char *from, char *to, size_t count);
static enum frame_event take_control(struct frame_reader *reader, struct bytes *input_io,
                                     struct bytes *out);
static void end_payload(struct frame_reader *reader);

static bool is_control(const struct frame_reader *reader)
{
    return reader->opcode >= FRAME_OPCODE_CLOSE;
}

enum frame_event frame_next(struct frame_reader *reader, struct bytes *input_io, char *scratch,
                            size_t scratch_bytes, struct bytes *out)
{
    for (;;) {
        while (!reader->is_in_payload) {
            if (input_io->count == 0)
                return FRAME_NEEDS_MORE;
            reader->head[reader->head_count++] = (unsigned char)input_io->data[0];
            *input_io = bytes_after(*input_io, 1);
            if (reader->head_count >= 2 && reader->head_count == head_bytes(reader)
                && !begin_payload(reader))
                return FRAME_BAD;
        }
        if (is_control(reader))
            return take_control(reader, input_io, out);
        size_t count = input_io->count < reader->left ? input_io->count : (size_t)reader->left;
        if (count > scratch_bytes)
            count = scratch_bytes;
        if (count == 0 && reader->left > 0)
            return FRAME_NEEDS_MORE;
        unmask(reader, input_io->data, scratch, count);
        *input_io = bytes_after(*input_io, count);
        reader->left -= count;
        if (reader->left == 0)
            end_payload(reader);
        if (count == 0)
            continue; /* an empty frame */
        *out = bytes_of(scratch, count);
        return FRAME_DATA;
    }
}

/* How long the head is, as far as its first two bytes tell. */
static size_t head_bytes(const struct frame_reader *reader)
{
    unsigned count = reader->head[1] & 0x7fu;
    return 2
           + (count == 127   ? 8u
              : count == 126 ? 2u
                             : 0u)
           + ((reader->head[1] & 0x80u) != 0 ? 4u : 0u);
}

static bool is_bad(struct frame_reader *reader, bool condition, const char *why)
{
    if (condition)
        reader->why = why;
    return condition;
}

/* The head is complete. False: it may not be. */
static bool begin_payload(struct frame_reader *reader)
{
    const unsigned char *head = reader->head;
    unsigned short_count = head[1] & 0x7fu;
    unsigned length_bytes = short_count == 127 ? 8 : short_count == 126 ? 2 : 0;
    reader->is_final = (head[0] & 0x80u) != 0;
    reader->opcode = head[0] & 0x0fu;
    reader->has_mask = (head[1] & 0x80u) != 0;
    reader->left = short_count;
    if (length_bytes > 0)
        reader->left = 0;
    for (unsigned i = 0; i < length_bytes; i++)
        reader->left = reader->left << 8 | head[2 + i];
    memset(reader->mask, 0, sizeof(reader->mask));
    if (reader->has_mask)
        memcpy(reader->mask, head + 2 + length_bytes, sizeof(reader->mask));
    reader->mask_at = 0;
    reader->control_count = 0;

    bool is_first = reader->opcode == FRAME_TEXT || reader->opcode == FRAME_BINARY;
    bool is_known = reader->opcode <= FRAME_BINARY
                    || (is_control(reader) && reader->opcode <= FRAME_OPCODE_PONG);
    if (is_bad(reader, (head[0] & 0x70u) != 0, "invalid use of reserved bits")
        || is_bad(reader, !is_known, "unknown opcode")
        || is_bad(reader, !reader->has_mask && !reader->is_mask_optional, "mask bit missing")
        || is_bad(reader, reader->left >> 63 != 0, "invalid length")
        || is_bad(reader, is_control(reader) && !reader->is_final,
                  "control frame does not have final bit set")
        || is_bad(reader, is_control(reader) && reader->left > FRAME_CONTROL_BYTES_MAX,
                  "control frame length bigger than maximum allowed of 125 bytes")
        || is_bad(reader, is_first && reader->is_in_message,
                  "new message started before final frame for previous message was received")
        || is_bad(reader, reader->opcode == FRAME_CONTINUATION && !reader->is_in_message,
                  "invalid continuation frame"))
        return false;
    reader->is_in_payload = true;
    return true;
}

/* Eight bytes at a time, for most of what clients send passes here. */
static void unmask(struct frame_reader *reader, const char *from, char *to, size_t count)
{
    unsigned char mask[8];
    uint64_t wide;
    size_t i = 0;
    for (unsigned j = 0; j < sizeof(mask); j++)
        mask[j] = reader->mask[(reader->mask_at + j) & 3];
    memcpy(&wide, mask, sizeof(wide));
    for (; i + sizeof(wide) <= count; i += sizeof(wide)) {
        uint64_t piece;
        memcpy(&piece, from + i, sizeof(piece));
        piece ^= wide;
        memcpy(to + i, &piece, sizeof(piece));
    }
    for (; i < count; i++)
        to[i] = (char)((unsigned char)from[i] ^ mask[i & 3]);
    reader->mask_at = (unsigned)(reader->mask_at + count) & 3;
}

static enum frame_event take_control(struct frame_reader *reader, struct bytes *input_io,
                                     struct bytes *out)
{
    size_t count = input_io->count < reader->left ? input_io->count : (size_t)reader->left;
    unmask(reader, input_io->data, reader->control + reader->control_count, count);
    *input_io = bytes_after(*input_io, count);
    reader->control_count = (uint8_t)(reader->control_count + count);
    reader->left -= count;
    if (reader->left > 0)
        return FRAME_NEEDS_MORE;
    *out = bytes_of(reader->control, reader->control_count);
    enum frame_event event = reader->opcode == FRAME_OPCODE_PING   ? FRAME_PING
                             : reader->opcode == FRAME_OPCODE_PONG ? FRAME_PONG
                                                                   : FRAME_CLOSE;
    end_payload(reader);
    return event;
}

static void end_payload(struct frame_reader *reader)
{
    if (!is_control(reader))
        reader->is_in_message = !reader->is_final;
    reader->is_in_payload = false;
    reader->head_count = 0;
}

size_t frame_head(char *head, enum frame_opcode opcode, uint64_t bytes)
{
    unsigned length_bytes = bytes > UINT16_MAX ? 8 : bytes > FRAME_CONTROL_BYTES_MAX ? 2 : 0;
    head[0] = (char)(0x80u | opcode);
    head[1] = (char)(length_bytes == 8 ? 127 : length_bytes == 2 ? 126 : bytes);
    for (unsigned i = 0; i < length_bytes; i++)
        head[2 + i] = (char)(bytes >> (8 * (length_bytes - 1 - i)) & 0xff);
    return 2 + length_bytes;
}
