/*
 * store/append.h: the open batch, the batches in flight, and the segment they go to. See append.c.
 */
#ifndef STORE_APPEND_H
#define STORE_APPEND_H

#include "core/op.h"
#include "core/timer.h"
#include "store/segment.h"
#include "store/store.h"

enum {
    BATCH_COUNT = 8,           /* buffers: filling, waiting and in flight */
    BATCH_BYTES_MAX = 1 << 20, /* a larger record gets a buffer of its own */
    BATCH_FLIGHT_MAX = 2,      /* more adds latency and little throughput */
    BATCH_BYTES_EAGER = 32768, /* worth a second write while one is in flight */
};
static const uint64_t BATCH_SEAL_DELAY_NS = UINT64_C(50000000);

enum batch_state {
    BATCH_FREE,
    BATCH_OPEN,    /* takes records */
    BATCH_SEALED,  /* waits for its turn, or for the segment's file */
    BATCH_WRITING, /* in flight */
    BATCH_WRITTEN, /* waits for those before it, or for the segment's name */
};

struct batch {
    struct op op;
    enum batch_state state;
    struct store *store;     /* borrows */
    struct segment *segment; /* borrows; not recycled before this batch is done */
    char *buffer;            /* owns; a block for the segment's header, then the batch */
    char *large;             /* owns; in place of buffer for one large record, else NULL */
    uint64_t number;
    uint64_t offset;      /* in the segment */
    uint64_t used_bytes;  /* header and records */
    uint64_t limit_bytes; /* what fits the buffer and the segment */
    uint64_t sent_bytes;  /* of the write, so far */
    uint64_t recycled_id; /* the note it carries; 0: none */
    uint32_t flags;       /* BATCH_CLOSES */
    uint32_t record_count;
    uint32_t body_crc;
    bool is_wanted;                         /* to be written even without records */
    struct store_wait *waits, **waits_tail; /* borrows; run when done, in order */
};

struct append {
    struct batch batches[BATCH_COUNT]; /* number n is at n % BATCH_COUNT */
    uint64_t number_opened;            /* the newest batch */
    uint64_t number_sent;              /* the last one given to the kernel */
    uint64_t number_done;              /* it and all before are written; waits have run */
    uint64_t
        number_stable; /* it and all before survive a crash; equals done when every ack is synced */
    uint64_t number_syncing;           /* stable once the syncs in flight return */
    uint32_t flight_count, sync_count; /* operations in flight */
    uint32_t chain;                    /* crc of the last header sent */
    uint64_t done_position;            /* records before this position are done */
    struct segment *active;            /* borrows; NULL: the next batch begins one */
    struct segment_previous previous;  /* for the header of the next segment */
    struct timer seal_timer, sync_timer;
    bool is_sealed; /* the newest batch has no records: it only says that all before are durable */
    struct store_wait *room_waits, **room_waits_tail; /* borrows */
};

void append_init(struct store *store);
void append_fini(struct store *store);
/* The store's phase: seals and sends what may go. */
void append_pump(struct store *store);
/* Ends what is written in order; called when a batch or a segment's name is. */
void append_advance(struct store *store);
bool append_is_busy(const struct store *store);
/* The open batch, if there is one, takes no more records. */
void append_seal(struct store *store);
/* After a quiet spell: a batch without records, see append.c. */
void append_seal_quiet(struct store *store);

/* Puts a note into the newest batch, which is then written even if no record comes; false: no room now. */
bool append_note(struct store *store, uint64_t recycled_id);
/* Ends the active segment if all in it is done and dead. True when a closing batch is on its way. */
bool append_close_dead(struct store *store);
/* Batches that could be opened now, one kept back for a closing batch. */
uint32_t append_room(const struct store *store);

/* store_append; a record that is not admitted to the cache is read from the disk when it is wanted. */
enum status append_record(struct store *store, const struct record *record, location *where_out,
                          struct store_wait *wait, bool is_admitted);
/* Ends the active segment, whatever lives in it; false: there is no room for its closing batch now. */
bool append_close(struct store *store);
/* A record that is not done yet, in its batch's buffer; NULL when `where` is done. */
const void *append_find(const struct store *store, location where);

#endif
