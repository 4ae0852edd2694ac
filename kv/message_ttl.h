/*
 * kv/message_ttl.h: how long one message lives, as the header Nats-TTL tells.
 *
 * Source: jetstream-streams.md section 7.6.
 */
#ifndef KV_MESSAGE_TTL_H
#define KV_MESSAGE_TTL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/text.h"

#define MESSAGE_TTL_NONE UINT64_C(0)
#define MESSAGE_TTL_NEVER UINT64_MAX /* not even by max_age */
/* In seconds; more would not fit a time in nanoseconds, and means never. */
#define MESSAGE_TTL_SECONDS_MAX (UINT64_C(1) << 33)

/* Whole seconds, or one of the words above. False: it is no TTL that a message may have. */
bool message_ttl_parse(struct bytes value, uint64_t *seconds_out);
/* Of a header block; MESSAGE_TTL_NONE without a valid header. */
uint64_t message_ttl_of(struct bytes headers);
/* When it ends: time + ttl; UINT64_MAX for never and none. */
uint64_t message_ttl_due(uint64_t time_ns, uint64_t seconds);
/* The block with its Nats-TTL replaced by whole seconds, at the end of the block. */
void message_ttl_rewrite(struct text *out, struct bytes headers, uint64_t seconds);

#endif
