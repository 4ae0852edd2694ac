/*
 * store/spares.h: files that are written already and wait to become segments. See spares.c.
 */
#ifndef STORE_SPARES_H
#define STORE_SPARES_H

#include "core/op.h"
#include "core/timer.h"
#include "store/segment.h"
#include "store/store.h"

enum {
    SPARES_WANTED = 2, /* one next, one in reserve */
    SPARES_MAX = 4,    /* what recycling gives beyond is removed */
    SPARES_WRITE_BYTES = 1 << 20,
};
static const uint64_t SPARES_RETRY_NS = UINT64_C(500000000);

struct segment;

struct spare {
    uint64_t number, bytes;
    io_file file;
};

enum making_state { MAKING_IDLE, MAKING_ZEROS, MAKING_SYNC };

struct spares {
    struct spare ready[SPARES_MAX]; /* owns the files */
    uint32_t ready_count;
    struct segment *promised[8]; /* borrows; need a file, the oldest first; each has a batch */
    uint32_t promised_count;

    bool is_linking; /* the newest segment's name is not durable yet */

    enum making_state state;
    struct spare making; /* owns the file */
    uint64_t written_bytes;
    char *zeros; /* owns; while making */
    struct op op;
    bool is_failing; /* the disk did not give the last one */
    struct timer retry_timer;
};

void spares_init(struct store *store);
void spares_fini(struct store *store);
/* The store's phase: begins to make what is missing. */
void spares_keep(struct store *store);
bool spares_is_busy(const struct store *store);

/* False when a segment of that size could not be had now. */
bool spares_can_promise(struct store *store, uint64_t bytes);
void spares_promise(struct store *store, struct segment *segment);
/* Gives the segment its file and name; false: not yet. */
bool spares_attach(struct store *store, struct segment *segment);
/* True when a recycled file of that size should be kept. */
bool spares_want(const struct store *store, uint64_t bytes);
/* Takes a file that lies at spare_path(number). */
void spares_add(struct store *store, uint64_t number, uint64_t bytes);

#endif
