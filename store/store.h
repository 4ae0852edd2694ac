/*
 * store/store.h: the durable log of one shard, its recovery, and reading records back.
 *
 *     directory (one a process): lock, manifest (epoch, where the logs of earlier epochs end), segments of all logs
 *     store (one a shard): open batch ─► batches in flight ─► durable; spare segments; value cache; reader
 *
 * A record appended is in the open batch; the batch is written in the store's phase of the turn (at once when no batch is
 * in flight, else when one returns or 32 KiB wait); when it and all before it are durable, the waits attached to it run in
 * the order they were attached. A failed write or sync is final: options.on_fatal, nothing of it is ever answered.
 *
 * Runs on: the shard that owns the store, except for the functions of the directory (one thread, before and after).
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/shard.h"
#include "core/status.h"
#include "store/record.h"

struct store;           /* opaque; one a shard */
struct store_directory; /* opaque; one a process, shared by its stores */

struct store_options {
    uint32_t segment_bytes; /* of new segments: 1 MiB to 64 MiB, a multiple of 1 MiB */
    uint64_t cache_bytes;   /* value cache of one shard */
    /* Compaction begins when more than so many percent of the closed segments are dead, and the slack; 0: never. */
    uint32_t compact_percent;
    uint64_t compact_slack_bytes;
    uint64_t
        sync_interval_ns; /* 0: every ack waits for stable storage; else acks wait for the file only, and a sync
                                  follows at least that often */
    void *context;
    /* The log cannot go on (failed write, failed sync). Must not return to the store: exit, or longjmp in a test. */
    void (*on_fatal)(void *context, const char *why);
};

/* ---- the directory ---- */

/*
 * Makes the directory if it is missing, takes its lock (STATUS_BUSY: another server holds it), reads the manifest, raises the
 * epoch and makes that durable, lists the segments. Blocking. `why` has a line for people on failure.
 */
MUST_USE enum status store_directory_open(struct io *io, const char *path,
                                          const struct store_options *options, uint32_t shard_count,
                                          struct store_directory **directory_out, char *why,
                                          size_t why_bytes);
/* After every store has recovered: records where the logs of earlier epochs end. Appending begins after it. Blocking. */
MUST_USE enum status store_directory_commit(struct store_directory *directory, struct io *io);
/* After every store is destroyed. */
void store_directory_close(struct store_directory *directory, struct io *io);
uint64_t store_directory_epoch(const struct store_directory *directory);
/* True when O_DIRECT was refused and writes go through the page cache with a sync each. */
bool store_directory_is_buffered(const struct store_directory *directory);

/* What a shard's disk still takes. Written by that shard, read by all before they give out sequences. */
enum store_space {
    STORE_SPACE_OK,
    STORE_SPACE_LOW,  /* only what removes (deletes, purges): the reserve is being used */
    STORE_SPACE_NONE, /* nothing */
};
enum store_space store_directory_space(const struct store_directory *directory,
                                       uint32_t shard_index);

/* ---- life of a store ---- */

/* Registers the store's phase with the shard (the write of batches). Sets shard->rooms[SHARD_ROOM_STORE]. */
struct store *store_create(struct shard *shard, struct store_directory *directory,
                           const struct store_options *options);
/* A clean end: no more work of the background is begun (spares, recycling). Appends are still taken. */
void store_stop(struct store *store);
void store_destroy(struct store *store); /* nothing may be in flight: store_is_busy is false */
/* For tests that crash: destroys it without an end. The io must have dropped what was in flight. */
void store_abandon(struct store *store);

struct store_recovery {
    enum status
        status;    /* STATUS_OK; STATUS_CORRUPT: damage below what was known durable; STATUS_IO */
    char why[256]; /* for people: file, offset, what */
    uint64_t record_count;
    uint64_t bytes;
    uint64_t torn_batches; /* cut at the ends of logs: never acknowledged */
};

/*
 * Replays what this shard must see, epoch by epoch, each log in the order it was written: its own log, or, when the number of
 * shards changed at some time, all logs (on_record then picks what is its own). on_record borrows the record until it
 * returns. Asynchronous; on_done ends it.
 */
void store_recover(struct store *store, void *context,
                   void (*on_record)(void *context, const struct record *record, location where,
                                     uint32_t log_index),
                   void (*on_done)(void *context, const struct store_recovery *recovery));
/* Whoever knows what the records mean. */
struct store_owner {
    void *context;
    /*
     * A segment without living records is to be recycled but holds state records (RECORD_IS_STATE); append again, before
     * returning, all state of that stream id that this shard keeps (or nothing, if the stream is gone). If an append is
     * refused meanwhile, the call is made again later. After the number of shards changed, each shard is asked once for each
     * stream of which state was found.
     */
    void (*on_restate)(void *context, uint32_t stream_id);
    /*
     * The segment that holds this record at `where` is to be emptied: if the record lives there, store_move it and look for it
     * at its new place from now on. It may belong to another shard, if their number changed. STATUS_OK: done, or nothing to do;
     * what store_move refused: the call is made again, or not.
     */
    enum status (*on_move)(void *context, const struct record *record, location where);
};
/* Appending begins. */
void store_start(struct store *store, const struct store_owner *owner);

/* ---- appending ---- */

struct store_wait {
    struct store_wait *next; /* the store's */
    void (*on_durable)(struct store_wait *wait);
};

/*
 * Copies the record into the open batch. wait (NULL: none) runs when it is durable, never inside this call. The record counts
 * as living until store_release, unless it is RECORD_IS_STATE or RECORD_REMOVES: their flags alone say how long the segment
 * is needed, and they are never released or retained.
 *
 * STATUS_OK, STATUS_BUSY: all batch buffers are in flight, try again after store_wait_room; STATUS_NO_SPACE: no segment can
 * be had. A record of any legal size is taken (a large one gets a batch of its own).
 */
MUST_USE enum status store_append(struct store *store, const struct record *record,
                                  location *where_out, struct store_wait *wait);
/*
 * Appends a living record again, with RECORD_IS_MOVED, and releases `from` when it is durable there. It counts as living at its
 * new place, and is found there, at once. Errors as store_append.
 */
MUST_USE enum status store_move(struct store *store, const struct record *record, location from,
                                location *where_out);
/* False when everything appended so far is durable already; else wait runs when it is. */
bool store_wait_durable(struct store *store, struct store_wait *wait);
/*
 * Whether records of `bytes` in all would find a place on the disk now: to refuse before anything is changed. What is
 * appended by others before them may take it.
 */
bool store_has_room(struct store *store, uint32_t bytes);
/* Runs wait when store_append would take a record again; to be called after STATUS_BUSY only. */
void store_wait_room(struct store *store, struct store_wait *wait);
/* Of a location that an append on this shard, or recovery, gave. */
bool store_is_durable(const struct store *store, location where);
/*
 * The record died: it was overwritten, removed or expired. To be called once, and only when the record that killed it is
 * durable (then a crash cannot need the old one). Not for records with a flag.
 */
void store_release(struct store *store, location where);
/*
 * Nobody will fetch the record any more: it leaves the cache now, while its lines are warm; store_release follows when its killer
 * is durable. Optional; pins stay.
 */
void store_forget(struct store *store, location where);
/* What reading this record gave (never STATUS_OK) leaves the caller no way on: ends the process as a failed write does. */
void store_fail_read(struct store *store, location where, enum status status);
/* About how long the record is: exactly, up to a megabyte; as much for a longer one. */
uint64_t store_record_bytes(location where);
/* Recovery found the record alive, or a snapshot keeps it although it dies: counts it (store_recover counts nothing by itself). Not for records with a flag. */
void store_retain(struct store *store, location where);

/* True while a batch is open, or anything in flight. A clean end: store_stop, then take turns until false. */
bool store_is_busy(const struct store *store);

/* ---- reading ---- */

/* A record being read, and the pin on its bytes once it is there. */
struct store_fetch {
    struct record record; /* borrows until store_fetch_release */
    void (*on_done)(struct store_fetch *fetch, enum status status);
    void *block; /* the store's: what is pinned */
    struct store_fetch *next;
    location where;
};

/*
 * True: fetch->record is there now (it was cached, or still in a batch); on_done does not run. False: on_done runs later with
 * STATUS_OK, STATUS_CORRUPT (the checksum is wrong; said by diag) or STATUS_IO. The location must be of a living record when
 * the call is made; it may die meanwhile, the bytes stay readable until the release.
 */
bool store_fetch(struct store *store, location where, struct store_fetch *fetch,
                 void (*on_done)(struct store_fetch *fetch, enum status status));
/* As store_fetch, but false, and nothing else, where a read would be needed. */
bool store_fetch_cached(struct store *store, location where, struct store_fetch *fetch);
/* For fetches that follow soon: two steps, each of which needs a little time to take effect. */
void store_prefetch(struct store *store, location where);
void store_prefetch_record(struct store *store, location where);
/* Ends the pin. Required after true and after STATUS_OK. */
void store_fetch_release(struct store *store, struct store_fetch *fetch);

/* ---- figures ---- */

struct store_figures {
    uint64_t appended_bytes, written_bytes, batch_count, segment_count, spare_count;
    uint64_t cache_bytes, cache_hits, cache_misses;
    uint64_t moved_records, moved_bytes; /* by compaction */
};
void store_figures(const struct store *store, struct store_figures *figures_out);

#endif
