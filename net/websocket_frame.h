/*
 * net/websocket_frame.h: WebSocket frames of a client, taken apart, and the heads of ours.
 *
 * Source: RFC 6455 section 5; core-protocol.md section 16.2.
 */
#ifndef NET_WEBSOCKET_FRAME_H
#define NET_WEBSOCKET_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"

enum {
    FRAME_HEAD_BYTES_MAX = 14,    /* with a mask */
    FRAME_CONTROL_BYTES_MAX = 125 /* of a control frame's payload */
};

enum frame_opcode {
    FRAME_CONTINUATION = 0,
    FRAME_TEXT = 1,
    FRAME_BINARY = 2,
    FRAME_OPCODE_CLOSE = 8,
    FRAME_OPCODE_PING = 9,
    FRAME_OPCODE_PONG = 10,
};

enum frame_event {
    FRAME_NEEDS_MORE, /* the input is used up */
    FRAME_DATA, /* the next bytes of a message; where frames and messages end does not matter to NATS */
    FRAME_PING, /* whole: its payload */
    FRAME_PONG,
    FRAME_CLOSE,
    FRAME_BAD, /* the peer breaks the rules: frame_reader.why tells which */
};

/* Zeroed, it waits for a first frame. */
struct frame_reader {
    bool is_mask_optional;
    uint8_t head_count, control_count;
    uint8_t opcode;
    bool is_final, is_in_message;
    bool is_in_payload, has_mask;
    unsigned mask_at; /* which byte of the mask is next */
    uint64_t left;    /* of the payload */
    const char *why;  /* a literal, with FRAME_BAD */
    unsigned char head[FRAME_HEAD_BYTES_MAX], mask[4];
    char control[FRAME_CONTROL_BYTES_MAX];
};

/*
 * The next event. What was read leaves *input_io; *out lies in `scratch` (FRAME_DATA) or in the reader, until the next call.
 */
enum frame_event frame_next(struct frame_reader *reader, struct bytes *input_io, char *scratch,
                            size_t scratch_bytes, struct bytes *out);

/* Writes the head of a whole, unmasked frame; at most 10 bytes. Gives their number. */
size_t frame_head(char *head, enum frame_opcode opcode, uint64_t bytes);

#endif
