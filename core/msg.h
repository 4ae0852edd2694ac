/*
 * core/msg.h: a message in flight, as all rooms speak of it. Borrows everything it points to.
 */
#ifndef CORE_MSG_H
#define CORE_MSG_H

#include "core/bytes.h"

struct msg {
    struct bytes subject;
    struct bytes reply;   /* empty: no answer is wanted */
    struct bytes headers; /* the whole block "NATS/1.0\r\n…\r\n\r\n", or empty */
    struct bytes payload;
};

/*
 * The value of the first header of that exact name (matched byte for byte, as nats-server does: it must follow CR LF and
 * end in ':'); leading blanks are removed, the value ends before CR LF. False when there is none. The look-up goes on past
 * an empty line inside the block. Source: jetstream-streams.md section 7.3.
 */
bool msg_header(struct bytes headers, struct bytes name, struct bytes *value_out);

#endif
