/*
 * kv/due_wheel.h: when the messages of one stripe end: a hierarchical wheel over wall-clock time, and an entry by sequence.
 *
 *     sequence ──hash──► entry {due, ttl} in a slot of 7 levels × 64      ticks of 2^27 ns (0.13 s), rounded up: never early
 *
 * Adding and removing cost the same however many there are; popping looks only at slots that have something. The clock may go
 * back: then the entries are sorted in anew, once.
 * Owns: its entries; 32 bytes a message, and 4 to 8 of the hash table. Runs on: the stripe's shard.
 */
#ifndef KV_DUE_WHEEL_H
#define KV_DUE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/heap.h"

enum {
    DUE_WHEEL_TICK_BITS = 27,
    DUE_WHEEL_LEVELS = 7,
    DUE_WHEEL_SLOTS = DUE_WHEEL_LEVELS * 64 + 1, /* the last: due already */
};

struct due_wheel;

struct due {
    uint64_t seq, due_ns;
    uint64_t ttl;       /* the message's own, in seconds; kv/message_ttl.h */
    bool is_markerless; /* no marker can take its place */
};

struct due_wheel *due_wheel_create(struct heap *heap, uint64_t now_ns);
void due_wheel_destroy(struct due_wheel *wheel); /* NULL is fine */

/* The sequence must not be there. */
void due_wheel_add(struct due_wheel *wheel, const struct due *due);
/* False: it was not there. */
bool due_wheel_remove(struct due_wheel *wheel, uint64_t seq);
bool due_wheel_find(const struct due_wheel *wheel, uint64_t seq, struct due *due_out);
/* Takes one out that is due at upto_ns; false: there is none. */
bool due_wheel_pop(struct due_wheel *wheel, uint64_t upto_ns, struct due *due_out);
/* Nothing is due before; UINT64_MAX: it is empty. */
uint64_t due_wheel_next_ns(const struct due_wheel *wheel);
uint64_t due_wheel_count(const struct due_wheel *wheel);

#endif
