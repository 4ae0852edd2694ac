/*
 * kv/hold.h: a stripe as it was: while a hold lasts, what the stripe removes can still be found and read.
 *
 * For answers that take many turns and must show one moment (kv/sweep_agent.c). A removed message keeps its space in the log, or
 * in the heap, until every hold that may want it has ended; a crash needs none of it.
 *
 *     hold_begin ─► everything removed is kept ── hold_narrow(upto) ─► only what `upto` still shows ── hold_end ─►
 *
 * Keeps:   holds that cost too much (HOLD_KEPT_MAX) are broken: their owners see is_broken, and end.
 * Runs on: the stripe's shard.
 */
#ifndef KV_HOLD_H
#define KV_HOLD_H

#include "kv/stripe.h"

enum { HOLD_KEPT_MAX = 1 << 18, HOLD_KEPT_BYTES_MAX = 64 << 20 };

/* Embedded in its owner, which ends it. */
struct hold {
    struct hold *next;
    struct stripe *stripe; /* borrows; NULL: ended, or broken, or the stripe is gone */
    uint64_t begun;        /* removals before it */
    uint64_t narrowed;     /* removals before it was narrowed */
    uint64_t upto;         /* it wants nothing with a higher sequence */
    bool is_broken;
};

void hold_begin(struct hold *hold, struct stripe *stripe);
/*
 * The moment is now, and the sequence upto: whatever has a sequence up to that has arrived. What was removed until now is of no
 * interest, unless a message above upto pushed it out.
 */
void hold_narrow(struct hold *hold, uint64_t upto);
void hold_end(struct hold *hold); /* fine when it is broken, or was never begun */

/*
 * The first removed message that the hold wants, with sequence >= seq. key: valid until something is removed, or a hold ends.
 */
bool hold_seek(const struct hold *hold, uint64_t seq, struct index_key **key_out,
               struct message *message_out);

/* ---- for kv/stripe.c ---- */

/* Ahead of, or right behind, the removal of this message of key; only while stripe->holds is not NULL. */
void hold_keep(struct stripe *stripe, const struct index_key *key, const struct message *message);
/* The space of a removed message may go: now, or when the holds end. */
void hold_release(struct stripe *stripe, location where, uint64_t seq);
/* The stripe goes. */
void hold_break_all(struct stripe *stripe);

#endif
