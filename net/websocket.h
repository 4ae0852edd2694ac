/*
 * net/websocket.h: a client that comes by WebSocket: a byte stream under the parser.
 *
 * Source: core-protocol.md section 16 (checked on nats-server 2.15.2).
 */
#ifndef NET_WEBSOCKET_H
#define NET_WEBSOCKET_H

#include "core/text.h"
#include "net/conn.h"
#include "net/websocket_frame.h"

enum websocket_state { WEBSOCKET_HANDSHAKE, WEBSOCKET_OPEN, WEBSOCKET_REFUSED };

/* Owned by its connection. */
struct websocket {
    enum websocket_state state;
    bool is_refused;    /* there are too many connections: told when it can be */
    bool is_pong_due;   /* one at most: the newest answers all before it */
    bool is_close_sent; /* the last that goes out */
    uint8_t pong_count, close_count;
    struct frame_reader reader;
    struct text request; /* owns; what came before the handshake is done */
    struct text
        pending; /* owns; goes out ahead of all else, as it is: the answer to the handshake */
    struct text
        sending; /* owns; in flight: pending, control frames, the head of the data's frame */
    char pong[FRAME_CONTROL_BYTES_MAX], close[FRAME_CONTROL_BYTES_MAX];
};

void websocket_begin(struct conn *conn, bool is_refused);
void websocket_free(struct conn *conn);
/* What the socket brought. */
void websocket_take(struct conn *conn, struct bytes input);
/* Whether a send would carry anything besides the output. */
bool websocket_has_pending(const struct conn *conn);
/* One send: what is pending, and the output as one frame. */
void websocket_send(struct conn *conn, op_done_fn *on_done);
/* The send is done: how many of its bytes were not the output's. */
uint64_t websocket_sent(struct conn *conn);

/* ---- net/websocket_handshake.c ---- */

enum handshake_result { HANDSHAKE_NEEDS_MORE, HANDSHAKE_GOOD, HANDSHAKE_BAD };

/*
 * Looks at what came, and appends the answer to `answer`. `is_mask_optional_out`: the client asked for that. With
 * HANDSHAKE_BAD the answer is all that the client gets.
 */
enum handshake_result handshake_read(struct bytes request, const struct options *options,
                                     struct text *answer, bool *is_mask_optional_out);

#endif
