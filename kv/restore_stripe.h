/*
 * kv/restore_stripe.h: messages of an archive, entered into a stripe of a stream that nobody sees yet.
 *
 * Runs on: asks on the home shard, the work on the stripe's shard.
 */
#ifndef KV_RESTORE_STRIPE_H
#define KV_RESTORE_STRIPE_H

#include "kv/room.h"

struct restore_message { /* in a block; subject, headers and value follow */
    uint64_t seq, time_ns;
    uint32_t subject_bytes, headers_bytes, value_bytes, padding;
};

/* gather->on_part gets one uint64_t: an enum status. STATUS_OK: all of the block is durable. */
void restore_ask_block(struct stream *stream, struct gather *gather, uint32_t stripe,
                       struct bytes block);
/* The stream's last sequence, whether or not its message is there: durable in the first stripe. */
void restore_ask_last(struct stream *stream, struct gather *gather, uint64_t last_seq,
                      uint64_t last_ns);

#endif
