/*
 * store/recycle.h: dead segments become spares again. See recycle.c.
 */
#ifndef STORE_RECYCLE_H
#define STORE_RECYCLE_H

#include "core/op.h"
#include "store/store.h"

struct segment;

enum recycle_state {
    RECYCLE_IDLE,
    RECYCLE_RESTATING, /* the owner appends its state again */
    RECYCLE_RESTATED,  /* waits until that survives a crash; only at start */
    RECYCLE_NOTING,    /* the note must go into a batch */
    RECYCLE_NOTED,     /* waits until the note survives a crash */
    RECYCLE_LINKING,   /* waits until the file's new name does */
};

struct recycle {
    enum recycle_state state;
    struct segment *victim; /* borrows; NULL while state of former logs is appended at start */
    uint32_t stream_index;  /* of the victim's states: the next to ask for */
    bool is_refused;        /* an append failed while the owner was asked */
    bool is_dirty;          /* something changed: look for a victim */
    uint64_t blocked_id;    /* told the other shards about this one already */
    uint64_t spare_number;  /* the victim's new name; 0: it was removed */
    uint64_t barrier;       /* the batch that must be stable before it goes on */
    struct op link_op;
};

/* The store's phase. */
void recycle_run(struct store *store);
bool recycle_is_busy(const struct store *store); /* an operation of its own is in flight */
/* store_start: state found in logs of another number of shards is appended again first. */
void recycle_start(struct store *store);
/* A closing batch is done, or a sync: closes the file of an ended segment when nothing needs it. */
void recycle_close_ended(struct store *store, struct segment *segment);
void recycle_on_append_refused(struct store *store);
/* A record, or a read of one, lives no more. */
void recycle_release(struct store *store, location where);

#endif
