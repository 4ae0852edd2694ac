/*
 * kv/snapshot_stripe.h: what a snapshot asks of a stripe: to pin its state, to freeze it at a sequence, to read it.
 *
 * Runs on: asks on the snapshot's shard, the work on the stripe's shard. A question to a stream that is gone is answered too.
 */
#ifndef KV_SNAPSHOT_STRIPE_H
#define KV_SNAPSHOT_STRIPE_H

#include "kv/pin.h"
#include "kv/room.h"

enum snapshot_answer {
    SNAPSHOT_FINE,
    SNAPSHOT_GONE,     /* the stream was deleted */
    SNAPSHOT_DAMAGED,  /* a record can not be read; said by the store */
    SNAPSHOT_NO_SPACE, /* the disk is full, and what is kept holds some of it */
};

/* Which snapshot, of which stream, and where: the same in all questions. */
struct snapshot_name {
    uint32_t stream_id, stripe_shard;
    uint64_t number;
};

struct snapshot_frozen { /* gather->on_part of freeze; durable */
    uint64_t answer;     /* enum snapshot_answer; also all that pin gives */
    struct pin_state state;
};

struct snapshot_part { /* gather->on_part of read; then count times an entry_head and its bytes */
    uint32_t answer;   /* enum snapshot_answer */
    uint32_t count;    /* 0: there are no more */
};

struct snapshot_entry_head {
    uint64_t seq;
    uint64_t bytes; /* of the archive's entry */
};

void snapshot_ask_pin(struct kv *kv, struct gather *gather, const struct snapshot_name *name);
void snapshot_ask_freeze(struct kv *kv, struct gather *gather, const struct snapshot_name *name,
                         uint64_t upto);
/* The next messages, about a megabyte. */
void snapshot_ask_read(struct kv *kv, struct gather *gather, const struct snapshot_name *name);
/* The pin is not needed any more; no answer. */
void snapshot_tell_end(struct kv *kv, const struct snapshot_name *name);

#endif
