/*
 * kv/republish.h: a stored message, sent once more under another subject.
 *
 * Sent when the message is durable, before its ack; in the order of sequences where the stream has one stripe, else in that order
 * for each key. To subscribers only, once, without an answer: a crash between the write and this is a loss nobody makes good, as
 * in nats-server.
 */
#ifndef KV_REPUBLISH_H
#define KV_REPUBLISH_H

#include "kv/stream.h"
#include "store/record.h"

/* previous_seq: the key's newest before this message, 0 if none. On the stripe's shard. */
void republish_send(struct stream *stream, const struct record *record, uint64_t previous_seq);

#endif
