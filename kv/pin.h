/*
 * kv/pin.h: what a snapshot keeps of one stripe: the messages that were there at one sequence W, whatever happens to them later.
 *
 *     pin_create ── WINDOW ── pin_freeze(W) ── FROZEN ── pin_next … ── pin_destroy
 *
 * WINDOW: W is not known yet. Every removal is noted, with the sequence of the message that caused it, and so is every message that
 *         arrived too late to be stored, for newer ones of its key were here: at W they may not have been.
 * FROZEN: all up to W has arrived. What was removed, and was there at W, is known from the notes; what is removed from now on is kept
 *         until it has been read.
 *
 * What is kept is a location whose record is retained in the log, 16 bytes in memory; of memory streams, a copy. What an API request
 * or the age removed within the window is not in the state: such a removal has no sequence, and its answer names none.
 *
 * Owns:    the notes and what is kept. Lists of stripe->pins.
 * Runs on: the stripe's shard.
 */
#ifndef KV_PIN_H
#define KV_PIN_H

#include "kv/stripe.h"

struct pin;

/* The stripe's part of the state at W. */
struct pin_state {
    uint64_t messages, bytes, first_seq, first_ns, last_seq, last_ns, subject_count;
};

struct pinned {
    uint64_t seq;
    location where;
    void *copy; /* owns: the record's bytes (record_decode), in place of a location; NULL: none */
    uint32_t bytes;   /* about, as stored */
    bool is_retained; /* the location is */
};

/* ---- for the snapshot ---- */

/* The snapshot is named by its shard and the number it has there. */
struct pin *pin_create(struct stripe *stripe, uint32_t from, uint64_t number);
struct pin *pin_find(const struct stripe *stripe, uint32_t from, uint64_t number);
void pin_destroy(struct pin *pin);
/* Everything up to this sequence is here. */
void pin_freeze(struct pin *pin, uint64_t upto, struct pin_state *state_out);
/* The next message; false: there are no more. The caller ends it with pinned_release, after it has read it. */
bool pin_next(struct pin *pin, struct pinned *pinned_out);
void pinned_release(struct stripe *stripe, struct pinned *pinned);
/* Messages kept although they are dead. */
uint64_t pin_kept_count(const struct pin *pin);

/* ---- for who changes the stripe; only where stripe->pins is not NULL ---- */

/* The message is still in the index, or was replaced under its key just now. */
void pins_on_removal(struct stripe *stripe, const struct index_key *key,
                     const struct message *message);
void pins_on_superseded(struct stripe *stripe, const struct record *record);
/* The stripe is going. */
void pins_drop(struct stripe *stripe);

#endif
