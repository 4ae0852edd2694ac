/*
 * kv/gathering.h: puts and gets of single keys, gathered for a moment so that their cache misses overlap.
 *
 * A put or a get at its stripe touches half a dozen cold lines one after the other: table, key, cache, block. A few dozen
 * operations that arrive in one turn take these steps together, each step bringing what the next one reads; then they run, in
 * the order they came. (Gets, 100,000 keys: 1.7 us of CPU each one by one, 1.1 us gathered.)
 *
 * Keeps:   operations run in the order of gathering_add. Whoever changes or reads a stripe in another way calls
 *          gathering_flush first. Nothing stays gathered beyond the turn.
 */
#ifndef KV_GATHERING_H
#define KV_GATHERING_H

#include "kv/room.h"
#include "kv/stripe.h"

/* bytes at `request` are valid until it returns. */
typedef void gathered_fn(struct stripe *stripe, const void *request, uint32_t from);

/*
 * Room for an operation of `bytes` on the key with this hash, to be filled in at once; NULL: it is too large, or a flush is
 * under way; then everything gathered has run, and the caller runs its operation itself.
 */
void *gathering_add(struct stripe *stripe, uint64_t hash, uint32_t from, uint32_t bytes,
                    gathered_fn *run);
/* Runs what is gathered. */
void gathering_flush(struct kv *kv);
void gathering_phase(struct shard *shard, void *context);
void gathering_fini(struct kv *kv);

#endif
