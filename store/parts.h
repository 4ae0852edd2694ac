/*
 * store/parts.h: struct store and its segments, as the files of this room see them.
 *
 *     store.c     life, phase, figures              recycle.c      dead segments become spares
 *     append.c    batches and their order           recovery.c     reads the logs at start
 *     compact.c   empties segments mostly dead
 *     spares.c    files ready to become segments    reader.c       reads records back, with value_cache.c
 */
#ifndef STORE_PARTS_H
#define STORE_PARTS_H

#include "store/append.h"
#include "store/compact.h"
#include "store/directory.h"
#include "store/reader.h"
#include "store/recycle.h"
#include "store/spares.h"
#include "store/value_cache.h"

/*
 *     PLANNED ──a spare is renamed──► OPEN ──closing batch done, synced──► CLOSED ──► RECYCLING
 *
 * Segments of earlier runs are CLOSED from the start.
 */
enum segment_state { SEGMENT_PLANNED, SEGMENT_OPEN, SEGMENT_CLOSED, SEGMENT_RECYCLING };

/* A set of stream ids; small. */
struct stream_set {
    uint32_t *ids; /* owns */
    uint32_t count, capacity;
};
void stream_set_add(struct stream_set *set, struct heap *heap, uint32_t stream_id);
void stream_set_free(struct stream_set *set);

/* One segment that this store recycles. */
struct segment {
    struct store *store; /* borrows */
    uint64_t id, epoch, bytes;
    enum segment_state state;
    io_file file;        /* for writing; IO_FILE_NONE unless OPEN */
    uint64_t end_offset; /* where the next batch goes */
    bool is_linked;      /* its name is durable */
    bool is_dirty;       /* written since the last sync (sync_interval only) */
    bool is_syncing;
    bool is_ended;             /* its closing batch is done */
    bool has_removes;          /* holds a RECORD_REMOVES */
    bool is_foreign;           /* of a run with another number of shards */
    struct stream_set states;  /* streams with RECORD_IS_STATE records in it */
    uint64_t compact_after_ns; /* not to be emptied again before */
    struct op link_op, sync_op;
};

struct store {
    struct shard *shard;               /* borrows */
    struct store_directory *directory; /* shares; only cells change */
    struct store_options options;
    io_file log_directory;     /* owns; to sync names */
    struct segment **segments; /* owns; ascending ids */
    uint32_t segments_count, segments_capacity;

    struct append append;
    struct spares spares;
    struct recycle recycle;
    struct compact compact;
    struct reader reader;
    struct value_cache *cache; /* owns */
    struct recovery *recovery; /* owns; NULL when none runs */

    struct stream_set former_states; /* found in logs of another number of shards */

    uint64_t phase_ns; /* the turn whose phase ran last, told by its time */
    bool is_started;   /* store_start was called */
    bool is_stopping;  /* nothing new is begun in the background */
    bool is_dead;      /* a write failed; whatever completes is ignored */
    struct store_owner owner;
    uint64_t appended_bytes, written_bytes;
};

/* Adds a segment at the end of the list. */
struct segment *store_add_segment(struct store *store, uint64_t id, uint64_t epoch, uint64_t bytes);
void store_remove_segment(struct store *store, struct segment *segment);
/* A failed write or sync: says so, ends the process through options.on_fatal. */
void store_fail(struct store *store, const char *what, const struct segment *segment,
                int32_t result);

#endif
