/*
 * kv/put_given.h: storing a message that another stream gave: a mirror's, with its own sequence and time, or a source's.
 *
 * It goes the way of a put from there on where a publish is decided upon; the rules of publishing (expectations, whether a rollup or
 * a TTL is permitted) do not apply: what the stream does not allow is stored without effect.
 */
#ifndef KV_PUT_GIVEN_H
#define KV_PUT_GIVEN_H

#include "kv/stripe.h"

/* Told once, when the message is durable and offered to watchers; for memory streams perhaps within put_given. */
struct put_sink {
    void (*on_stored)(struct put_sink *sink);
};

struct put_given {
    struct bytes subject, headers, value; /* borrowed until the return */
    uint64_t seq;                         /* above all given out; 0: the stream's next */
    uint64_t time_ns;
    struct put_sink *sink;
};

enum put_given_result {
    PUT_GIVEN_TAKEN,
    PUT_GIVEN_BUSY,    /* no room: try again soon */
    PUT_GIVEN_FULL,    /* the stream's limits, or a full disk, refuse it now */
    PUT_GIVEN_SKIPPED, /* it is there already, or can never be stored */
};

/* To the stream's one stripe, on its shard. */
enum put_given_result put_given(struct stripe *stripe, const struct put_given *given);

#endif
