/*
 * store/recovery.c: reads the logs at start, and tells a torn tail from damage.
 *
 *     SYNC ──tails are on the disk──► READ ──every log──► done
 *                                     │  ▲
 *                        bad batch n  ▼  │ nothing behind says that n was durable: cut
 *                                     SEEK ──something does──► STATUS_CORRUPT
 *
 * A log is the segments of one epoch and one shard in the order of their ids; its batches are numbered without gaps and
 * chained. How it must end:
 *   - A segment that is not the log's last one ends in its closing batch.
 *   - A log whose end is in the manifest reaches exactly that batch; what lies behind was cut by an earlier recovery.
 *   - A log without a recorded end was left by a crash. Its first bad batch n is the torn tail, unless a batch behind it,
 *     in the rest of the segment or in a later one, says that n was durable when it was submitted.
 * Which segments must be there: all that the newest header of all lists, except those whose recycling is noted in a
 * readable batch. Recycling needs the note to be durable first, and the list of a newer header replaces the notes of
 * older ones: the note lies in a segment that can itself go only after a newer segment was begun, whose list lacks it.
 * Of the newest segment of a log no other file tells: if that file is lost, so is what it held, unnoticed.
 *
 * Keeps:   records reach on_record only from whole, verified batches, in order, with none left out before them. Nothing is
 *          written: a crash in recovery changes nothing. A segment left by another run is never continued.
 * Owns:    the plan, the window; the segments it finds belong to the store.
 * Runs on: the store's shard.
 */
#include "store/recovery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/assert.h"
#include "store/recovery_log.h"

enum { READ_BYTES = 1 << 20 };

static void on_synced(struct op *op);
static void on_filled(struct window *window);
static void run(struct recovery *recovery);

/* ---- the plan ---- */

static int compare_plan(const void *a, const void *b)
{
    const struct found_segment *left = *(const struct found_segment *const *)a;
    const struct found_segment *right = *(const struct found_segment *const *)b;
    if (left->epoch != right->epoch)
        return left->epoch < right->epoch ? -1 : 1;
    if (left->log_index != right->log_index)
        return left->log_index < right->log_index ? -1 : 1;
    return left->id < right->id ? -1 : left->id > right->id;
}

bool recovery_is_foreign(const struct store *store, const struct found_segment *found)
{
    uint32_t count = manifest_shard_count(&store->directory->manifest, found->epoch);
    return found->epoch != 0 && count != store->directory->shard_count;
}

static void make_plan(struct recovery *recovery)
{
    struct store *store = recovery->store;
    const struct store_directory *directory = store->directory;
    uint32_t room = directory->found_count == 0 ? 1 : directory->found_count;
    recovery->plan = heap_alloc(store->shard->heap, room * sizeof *recovery->plan);
    for (uint32_t i = 0; i < directory->found_count; i++) {
        const struct found_segment *found = &directory->found[i];
        bool is_mine = directory_owner(directory, found) == store->shard->index;
        if (is_mine) {
            struct segment *segment =
                store_add_segment(store, found->id, found->epoch, found->bytes);
            segment->state = SEGMENT_CLOSED;
            segment->is_linked = true;
            segment->is_foreign = recovery_is_foreign(store, found);
        }
        if (found->epoch != 0 && (is_mine || directory->reads_all))
            recovery->plan[recovery->plan_count++] = found;
    }
    if (recovery->plan_count > 0)
        qsort(recovery->plan, recovery->plan_count, sizeof *recovery->plan, compare_plan);
}

const struct found_segment *recovery_planned(const struct recovery *recovery)
{
    return recovery->plan_index < recovery->plan_count ? recovery->plan[recovery->plan_index]
                                                       : NULL;
}

void store_recover(struct store *store, void *context,
                   void (*on_record)(void *context, const struct record *record, location where,
                                     uint32_t log_index),
                   void (*on_done)(void *context, const struct store_recovery *recovery))
{
    ASSERT_ON_SHARD(store->shard);
    ASSERT(store->recovery == NULL);
    ASSERT(!store->is_started);
    ASSERT(store->segments_count == 0);
    struct recovery *recovery = heap_alloc_zeroed(store->shard->heap, sizeof *recovery);
    store->recovery = recovery;
    recovery->store = store;
    recovery->context = context;
    recovery->on_record = on_record;
    recovery->on_done = on_done;
    recovery->file = IO_FILE_NONE;
    make_plan(recovery);
    window_init(&recovery->window, store->shard->io, store->shard->heap, READ_BYTES, on_filled);
    io_sync(store->shard->io, &recovery->op, store->log_directory, on_synced);
}

void recovery_fini(struct store *store)
{
    struct recovery *recovery = store->recovery;
    if (recovery == NULL)
        return;
    if (recovery->file != IO_FILE_NONE)
        io_file_close(store->shard->io, recovery->file);
    window_fini(&recovery->window);
    heap_free(recovery->plan);
    heap_free(recovery);
    store->recovery = NULL;
}

/* ---- the end ---- */

void recovery_fail(struct recovery *recovery, enum status status, uint64_t segment_id,
                   uint64_t offset, const char *what)
{
    char path[SEGMENT_PATH_BYTES];
    segment_path(path, recovery->store->directory->path, segment_id);
    recovery->result.status = status;
    size_t room = sizeof recovery->result.why;
    size_t length = strlen(path); /* a long path loses its beginning */
    const char *tail = length > room / 2 ? path + length - room / 2 : path;
    (void)snprintf(recovery->result.why, room, "%.128s: offset %" PRIu64 ": %.80s", tail, offset,
                   what);
}

static bool is_noted(const struct store_directory *directory, uint64_t segment_id)
{
    for (uint32_t shard = 0; shard < directory->shard_count; shard++) {
        const struct found_by_store *by_store = &directory->by_store[shard];
        for (uint32_t i = 0; i < by_store->recycled_count; i++) {
            if (by_store->recycled_ids[i] == segment_id)
                return true;
        }
    }
    return false;
}

/* The last store to end looks whether a file was lost. */
static void look_for_missing(struct recovery *recovery)
{
    const struct store_directory *directory = recovery->store->directory;
    const struct segment_header *newest = directory->newest;
    if (newest == NULL)
        return;
    for (uint64_t i = 0; i < SEGMENT_LISTED_COUNT; i++) {
        uint64_t id = newest->listed_first + i;
        if (!segment_header_lists(newest, id) || directory_found(directory, id) != NULL)
            continue;
        if (!is_noted(directory, id)) {
            recovery_fail(recovery, STATUS_CORRUPT, id, 0, "the file is missing");
            return;
        }
    }
}

static void finish(struct recovery *recovery)
{
    struct store *store = recovery->store;
    struct store_directory *directory = store->directory;
    uint64_t before = shared_add_seq_cst(&directory->recovered_count, 1);
    if (before + 1 == directory->shard_count && recovery->result.status == STATUS_OK)
        look_for_missing(recovery);
    struct store_recovery result = recovery->result;
    void (*on_done)(void *, const struct store_recovery *) = recovery->on_done;
    void *context = recovery->context;
    recovery_fini(store);
    on_done(context, &result);
}

/* ---- SYNC: what is read must not be lost by the next power cut ---- */

void recovery_close_file(struct recovery *recovery)
{
    if (recovery->file != IO_FILE_NONE)
        io_file_close(recovery->store->shard->io, recovery->file);
    recovery->file = IO_FILE_NONE;
}

bool recovery_open_file(struct recovery *recovery, const struct found_segment *found,
                        enum io_open_mode mode)
{
    struct store *store = recovery->store;
    char path[SEGMENT_PATH_BYTES];
    segment_path(path, store->directory->path, found->id);
    enum status status =
        io_file_open(store->shard->io, path, mode, !store->directory->is_buffered, &recovery->file);
    if (status == STATUS_OK)
        return true;
    recovery->file = IO_FILE_NONE;
    recovery_fail(recovery, status, found->id, 0, status_words(status));
    return false;
}

static void on_synced(struct op *op)
{
    struct recovery *recovery = CONTAINER_OF(op, struct recovery, op);
    struct store *store = recovery->store;
    recovery_close_file(recovery);
    if (op->result < 0) {
        recovery_fail(recovery, STATUS_IO, 0, 0, "a sync failed");
        finish(recovery);
        return;
    }
    const struct manifest *manifest = &store->directory->manifest;
    const struct found_segment *found;
    while ((found = recovery_planned(recovery)) != NULL) {
        recovery->plan_index++;
        if (manifest_end(manifest, found->epoch, found->log_index) != NULL)
            continue;
        if (!recovery_open_file(recovery, found, IO_OPEN_READWRITE)) {
            finish(recovery);
            return;
        }
        io_sync(store->shard->io, op, recovery->file, on_synced);
        return;
    }
    recovery->plan_index = 0;
    recovery->state = RECOVERY_READ;
    run(recovery);
}

/* ---- the loop ---- */

static void on_filled(struct window *window)
{
    struct recovery *recovery = CONTAINER_OF(window, struct recovery, window);
    if (window->status != STATUS_OK) {
        recovery_fail(recovery, window->status, recovery_planned(recovery)->id, recovery->offset,
                      "it cannot be read");
        finish(recovery);
        return;
    }
    run(recovery);
}

static void run(struct recovery *recovery)
{
    while (recovery_step(recovery))
        continue;
    bool is_over = recovery->state == RECOVERY_READ && recovery->file == IO_FILE_NONE;
    if (is_over || recovery->result.status != STATUS_OK)
        finish(recovery);
}
