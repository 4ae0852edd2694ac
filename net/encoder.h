/*
 * net/encoder.h: MSG and HMSG as they lie on the wire.
 *
 * Source: core-protocol.md section 6.2.
 */
#ifndef NET_ENCODER_H
#define NET_ENCODER_H

#include "core/msg.h"
#include "net/output.h"

/* A message on its way to connections. */
struct parcel {
    struct msg msg;
    struct bytes
        headers_digits; /* the sizes as the publisher wrote them; empty: as text_u64 does */
    struct bytes total_digits;
};

/* Appends the message for one subscription. Without has_headers its header block is left out. */
void encode_message(struct output *output, struct output_pool *pool, const struct parcel *parcel,
                    struct bytes sid, bool has_headers);

#endif
