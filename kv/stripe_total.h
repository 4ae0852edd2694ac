/*
 * kv/stripe_total.h: limits of bytes and messages of a stream whose keys lie on several stripes.
 *
 * A bucket that is made with such a limit has one stripe, which counts by itself. One that gets its limit later keeps its stripes:
 * they add what each holds to two words of the stream's order, and whoever is about to take a message reserves its room there
 * first. So the limit is never exceeded, whichever shards decide at once. Only `discard: new`, as every bucket has it: to discard the
 * oldest of all stripes would need one place.
 *
 * Keeps:   order->bytes is the sum over the stripes of what their index holds and what is reserved; 0 while there is no limit.
 * Runs on: the stripe's shard.
 */
#ifndef KV_STRIPE_TOTAL_H
#define KV_STRIPE_TOTAL_H

#include "kv/stripe.h"

/* Does the stream have limits that its stripes keep together? */
bool stream_has_totals(const struct stream *stream);
/*
 * Takes room for a message; NULL, or the words of the limit that refuses it. is_full: the key has its whole history, and so the
 * message replaces one of oldest_bytes.
 */
const char *stripe_total_reserve(struct stripe *stripe, bool is_full, uint64_t oldest_bytes,
                                 uint64_t size_bytes);
/* The message is entered, or will not be: the room it had is given back, what the index holds counts. */
void stripe_total_unreserve(struct stripe *stripe, uint64_t size_bytes);
/* The index, or the configuration, has changed. */
void stripe_total_publish(struct stripe *stripe);

#endif
