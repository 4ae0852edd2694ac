/*
 * store/compact.h: segments that are mostly dead are emptied, so that they can be recycled. See compact.c.
 */
#ifndef STORE_COMPACT_H
#define STORE_COMPACT_H

#include "core/timer.h"
#include "store/store.h"
#include "store/window.h"

struct segment;
struct moved;

struct compact {
    struct segment *victim; /* borrows; NULL: nothing is being emptied */
    io_file file;           /* owns; the victim's, while there is one */
    struct window window;   /* of it */
    uint64_t offset;        /* of the batch in the file */
    uint64_t at;            /* of the record in the batch's body */
    bool is_reading;        /* the window's operation is in flight */
    bool is_due;            /* the pause is over */
    bool is_touched;        /* something died, or a segment ended: look for a victim */
    struct timer pause;     /* between slices, and before looking for a victim */
    uint64_t wanted_below;  /* another shard waits for the segments below this id; 0: none does */
    uint64_t asked_below;   /* what this one asked the others for */
    struct moved *moved_head, **moved_tail; /* owns; not durable at the new place yet */
    uint64_t moved_records, moved_bytes;
};

void compact_init(struct store *store);
void compact_fini(struct store *store);
/* The store's phase. */
void compact_run(struct store *store);
bool compact_is_busy(const struct store *store); /* an operation of its own is in flight */

#endif
