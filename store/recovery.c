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
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/assert.h"
#include "core/diag.h"
#include "core/hash.h"
#include "store/location.h"
#include "store/parts.h"
#include "store/record_view.h"
#include "store/window.h"

enum recovery_state { RECOVERY_SYNC, RECOVERY_READ, RECOVERY_SEEK };

/* The log being read. */
struct log_state {
    uint64_t epoch;
    uint32_t log_index;
    const struct log_end *end; /* borrows; NULL: not recorded */
    uint64_t number;           /* of the last good batch */
    uint32_t chain;            /* crc of its header */
    uint64_t segment_id;       /* where it lies */
    uint64_t previous_read;    /* the last segment read; 0: none */
    bool is_cut;               /* what follows is not part of the log */
};

/* A batch that is not what it should be. */
struct bad_batch {
    uint64_t segment_id, offset, number;
    const char *what;
};

struct recovery {
    struct store *store; /* borrows */
    void *context;
    void (*on_record)(void *context, const struct record *record, location where,
                      uint32_t log_index);
    void (*on_done)(void *context, const struct store_recovery *recovery);
    struct store_recovery result;
    enum recovery_state state;
    const struct found_segment **plan; /* owns; by epoch, log, id */
    uint32_t plan_count, plan_index;
    struct op op; /* of syncs */
    io_file file; /* owns; of the segment being synced or read */
    struct window window;
    uint64_t offset;         /* in the segment, of the next batch */
    struct segment *segment; /* borrows; NULL when another store recycles it */
    struct log_state log;
    struct bad_batch bad;
};

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

static bool is_foreign(const struct store *store, const struct found_segment *found)
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
            segment->is_foreign = is_foreign(store, found);
        }
        if (found->epoch != 0 && (is_mine || directory->reads_all))
            recovery->plan[recovery->plan_count++] = found;
    }
    if (recovery->plan_count > 0)
        qsort(recovery->plan, recovery->plan_count, sizeof *recovery->plan, compare_plan);
}

static const struct found_segment *planned(const struct recovery *recovery)
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
    window_init(&recovery->window, store->shard->io, store->shard->heap, on_filled);
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

static void fail(struct recovery *recovery, enum status status, uint64_t segment_id,
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
            fail(recovery, STATUS_CORRUPT, id, 0, "the file is missing");
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

static void close_file(struct recovery *recovery)
{
    if (recovery->file != IO_FILE_NONE)
        io_file_close(recovery->store->shard->io, recovery->file);
    recovery->file = IO_FILE_NONE;
}

static bool open_file(struct recovery *recovery, const struct found_segment *found,
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
    fail(recovery, status, found->id, 0, status_words(status));
    return false;
}

static void on_synced(struct op *op)
{
    struct recovery *recovery = CONTAINER_OF(op, struct recovery, op);
    struct store *store = recovery->store;
    close_file(recovery);
    if (op->result < 0) {
        fail(recovery, STATUS_IO, 0, 0, "a sync failed");
        finish(recovery);
        return;
    }
    const struct manifest *manifest = &store->directory->manifest;
    const struct found_segment *found;
    while ((found = planned(recovery)) != NULL) {
        recovery->plan_index++;
        if (manifest_end(manifest, found->epoch, found->log_index) != NULL)
            continue;
        if (!open_file(recovery, found, IO_OPEN_READWRITE)) {
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

/* ---- READ: logs ---- */

static void *list_with_room(void *list, uint32_t count, size_t item_bytes)
{
    if ((count & (count - 1)) != 0)
        return list;
    list = realloc(list, (count == 0 ? 1 : 2 * (size_t)count) * item_bytes);
    ASSERT(list != NULL);
    return list;
}

/* The log was read as far as it goes; false: that is not far enough. */
static bool end_log(struct recovery *recovery)
{
    struct store *store = recovery->store;
    struct log_state *log = &recovery->log;
    if (log->epoch == 0)
        return true; /* none was begun */
    if (log->end != NULL) {
        bool is_there = log->end->segment_id != 0
                        && directory_found(store->directory, log->end->segment_id) != NULL;
        if (is_there && log->number != log->end->number) {
            fail(recovery, STATUS_CORRUPT, log->end->segment_id, 0,
                 "the log ends before its recorded end");
            return false;
        }
        return true;
    }
    struct found_by_store *by_store = &store->directory->by_store[store->shard->index];
    if (log->log_index % store->directory->shard_count == store->shard->index) {
        by_store->ends =
            list_with_room(by_store->ends, by_store->ends_count, sizeof *by_store->ends);
        by_store->ends[by_store->ends_count++] =
            (struct log_end){log->epoch, log->log_index, log->segment_id, log->number, log->chain};
    }
    return true;
}

static void begin_log(struct recovery *recovery, const struct found_segment *found)
{
    recovery->log = (struct log_state){
        .epoch = found->epoch,
        .log_index = found->log_index,
        .end = manifest_end(&recovery->store->directory->manifest, found->epoch, found->log_index),
    };
}

static bool is_of_log(const struct log_state *log, const struct found_segment *found)
{
    return found->epoch == log->epoch && found->log_index == log->log_index;
}

static struct segment *own_segment(const struct store *store, uint64_t id)
{
    for (uint32_t i = 0; i < store->segments_count; i++) {
        if (store->segments[i]->id == id)
            return store->segments[i];
    }
    return NULL;
}

static bool is_behind_end(const struct log_state *log, const struct found_segment *found)
{
    if (log->is_cut)
        return true;
    if (log->end == NULL)
        return false;
    return found->id > log->end->segment_id || log->number >= log->end->number;
}

/* Goes looking whether batch number + 1 was durable. */
static void seek_behind(struct recovery *recovery, const struct found_segment *found,
                        uint64_t offset, const char *what)
{
    recovery->bad = (struct bad_batch){found->id, offset, recovery->log.number + 1, what};
    recovery->state = RECOVERY_SEEK;
    recovery->offset = offset < SEGMENT_HEADER_BYTES ? SEGMENT_HEADER_BYTES : offset;
}

/* Connects the segment to what was read before. False: damage, or its header never reached the disk. */
static bool follow(struct recovery *recovery, const struct found_segment *found)
{
    struct log_state *log = &recovery->log;
    const struct segment_previous *previous = &found->previous;
    if (!found->has_header) {
        seek_behind(recovery, found, 0, "the segment header is damaged");
        return true;
    }
    bool follows = previous->segment_id == log->previous_read;
    bool is_wrong = follows ? previous->number != log->number || previous->chain != log->chain
                            : previous->number < log->number;
    if (is_wrong) {
        fail(recovery, STATUS_CORRUPT, found->id, 0, "it does not continue the segment before");
        return false;
    }
    if (!follows || log->previous_read == 0)
        log->segment_id = previous->segment_id;
    log->number = previous->number;
    log->chain = previous->chain;
    log->previous_read = found->id;
    recovery->offset = SEGMENT_HEADER_BYTES;
    return true;
}

static bool open_planned(struct recovery *recovery, const struct found_segment *found)
{
    uint64_t bytes;
    if (!open_file(recovery, found, IO_OPEN_READ))
        return false;
    enum status status = io_file_size(recovery->store->shard->io, recovery->file, &bytes);
    if (status != STATUS_OK) {
        fail(recovery, status, found->id, 0, "its size cannot be read");
        return false;
    }
    recovery->segment = own_segment(recovery->store, found->id);
    window_open(&recovery->window, recovery->file, bytes);
    return true;
}

/* Opens the next segment that has something to say; false when there is none, or on failure. */
static bool next_segment(struct recovery *recovery)
{
    struct log_state *log = &recovery->log;
    const struct found_segment *found;
    for (; (found = planned(recovery)) != NULL; recovery->plan_index++) {
        if (!is_of_log(log, found)) {
            if (!end_log(recovery))
                return false;
            begin_log(recovery, found);
        }
        if (is_behind_end(log, found))
            continue;
        return open_planned(recovery, found) && follow(recovery, found);
    }
    return end_log(recovery) && false;
}

/* ---- READ: batches ---- */

static void note_recycled(struct recovery *recovery, uint64_t segment_id)
{
    const struct store *store = recovery->store;
    struct found_by_store *by_store = &store->directory->by_store[store->shard->index];
    by_store->recycled_ids = list_with_room(by_store->recycled_ids, by_store->recycled_count,
                                            sizeof *by_store->recycled_ids);
    by_store->recycled_ids[by_store->recycled_count++] = segment_id;
}

/* Each record by its own checksum, and all of them by the header's. */
static bool body_is_right(const struct batch_header *header, const char *body)
{
    uint64_t at = 0;
    uint32_t crc = 0;
    uint32_t count = 0;
    while (at < header->body_bytes) {
        struct record record;
        uint32_t bytes;
        if (record_decode(body + at, header->body_bytes - at, &record, &bytes) != STATUS_OK)
            return false;
        uint32_t record_crc = record_view_crc(body + at);
        crc = crc32c(crc, &record_crc, sizeof record_crc);
        at += bytes;
        count++;
    }
    return crc == header->body_crc && count == header->record_count;
}

/* What recycling and restating must know; see recycle.c. */
static void mark(struct recovery *recovery, const struct record *record)
{
    struct store *store = recovery->store;
    struct segment *segment = recovery->segment;
    if (segment != NULL && (record->flags & RECORD_REMOVES) != 0)
        segment->has_removes = true;
    if ((record->flags & RECORD_IS_STATE) == 0)
        return;
    struct heap *heap = store->shard->heap;
    if (segment != NULL)
        stream_set_add(&segment->states, heap, record->stream_id);
    if (is_foreign(store, planned(recovery)))
        stream_set_add(&store->former_states, heap, record->stream_id);
}

static void give_records(struct recovery *recovery, const struct batch_header *header,
                         const char *body)
{
    uint64_t base = header->offset + sizeof *header;
    for (uint64_t at = 0; at < header->body_bytes;) {
        struct record record;
        uint32_t bytes = record_view_bytes(body + at);
        record_view(body + at, &record);
        mark(recovery, &record);
        recovery->on_record(recovery->context, &record,
                            location_pack(header->segment_id, base + at, bytes), header->log_index);
        at += bytes;
    }
    recovery->result.record_count += header->record_count;
    recovery->result.bytes += header->body_bytes;
}

static bool header_fits(const struct recovery *recovery, const struct batch_header *header)
{
    const struct log_state *log = &recovery->log;
    return header->epoch == log->epoch && header->log_index == log->log_index
           && header->number == log->number + 1 && header->chain == log->chain
           && header->body_bytes <= recovery->window.file_bytes
           && recovery->offset + batch_header_bytes(header) <= recovery->window.file_bytes;
}

/* True when the segment, or the whole log, ends with this batch. */
static bool is_last(const struct recovery *recovery, const struct batch_header *header)
{
    const struct log_end *end = recovery->log.end;
    if (end != NULL && recovery->log.number == end->number)
        return true;
    return (header->flags & BATCH_CLOSES) != 0;
}

static void leave_segment(struct recovery *recovery)
{
    close_file(recovery);
    recovery->plan_index++;
}

/* One batch of the log; false: wait for the window. */
static bool read_batch(struct recovery *recovery)
{
    struct log_state *log = &recovery->log;
    struct window *window = &recovery->window;
    const struct found_segment *found = planned(recovery);
    if (recovery->offset + BLOCK_BYTES > window->file_bytes) {
        seek_behind(recovery, found, recovery->offset, "the closing batch is missing");
        return true;
    }
    const char *bytes = window_need(window, recovery->offset, BLOCK_BYTES);
    if (bytes == NULL)
        return false;
    struct batch_header header;
    memcpy(&header, bytes, sizeof header);
    if (!batch_header_is_valid(&header, found->id, recovery->offset)
        || !header_fits(recovery, &header)) {
        seek_behind(recovery, found, recovery->offset, "the batch header is damaged");
        return true;
    }
    bytes = window_need(window, recovery->offset, batch_header_bytes(&header));
    if (bytes == NULL)
        return false;
    if (!body_is_right(&header, bytes + sizeof header)) {
        seek_behind(recovery, found, recovery->offset, "the batch is damaged");
        return true;
    }
    give_records(recovery, &header, bytes + sizeof header);
    if (header.recycled_id != 0)
        note_recycled(recovery, header.recycled_id);
    log->number = header.number;
    log->chain = header.crc;
    log->segment_id = found->id;
    recovery->offset += batch_header_bytes(&header);
    if (is_last(recovery, &header))
        leave_segment(recovery);
    return true;
}

/* ---- SEEK ---- */

/* The bad batch was never durable: the log ends before it. */
static void cut(struct recovery *recovery)
{
    struct log_state *log = &recovery->log;
    log->is_cut = true;
    recovery->state = RECOVERY_READ;
    recovery->bad = (struct bad_batch){0};
}

static bool seek_next_segment(struct recovery *recovery)
{
    leave_segment(recovery);
    const struct found_segment *found = planned(recovery);
    if (found == NULL || !is_of_log(&recovery->log, found)) {
        cut(recovery);
        return true;
    }
    recovery->offset = SEGMENT_HEADER_BYTES;
    return open_planned(recovery, found);
}

/* Looks at one block behind the bad batch; false: wait for the window, or failure. */
static bool seek_block(struct recovery *recovery)
{
    struct window *window = &recovery->window;
    const struct log_state *log = &recovery->log;
    if (recovery->offset + BLOCK_BYTES > window->file_bytes)
        return seek_next_segment(recovery);
    const char *bytes = window_need(window, recovery->offset, BLOCK_BYTES);
    if (bytes == NULL)
        return false;
    struct batch_header header;
    memcpy(&header, bytes, sizeof header);
    if (batch_header_is_valid(&header, planned(recovery)->id, recovery->offset)
        && header.epoch == log->epoch && header.log_index == log->log_index) {
        if (header.durable_upto >= recovery->bad.number) {
            fail(recovery, STATUS_CORRUPT, recovery->bad.segment_id, recovery->bad.offset,
                 recovery->bad.what);
            return false;
        }
        recovery->result.torn_batches += header.number >= recovery->bad.number;
    }
    recovery->offset += BLOCK_BYTES;
    return true;
}

/* ---- the loop ---- */

static void on_filled(struct window *window)
{
    struct recovery *recovery = CONTAINER_OF(window, struct recovery, window);
    if (window->status != STATUS_OK) {
        fail(recovery, window->status, planned(recovery)->id, recovery->offset,
             "it cannot be read");
        finish(recovery);
        return;
    }
    run(recovery);
}

/* One step; false: it waits, or ended with result.status, or nothing is left (then nothing is open). */
static bool step(struct recovery *recovery)
{
    if (recovery->state == RECOVERY_SEEK) {
        if (recovery->log.end != NULL) { /* what is recorded was durable */
            fail(recovery, STATUS_CORRUPT, recovery->bad.segment_id, recovery->bad.offset,
                 recovery->bad.what);
            return false;
        }
        return seek_block(recovery);
    }
    if (recovery->file == IO_FILE_NONE)
        return next_segment(recovery);
    return read_batch(recovery);
}

static void run(struct recovery *recovery)
{
    while (step(recovery))
        continue;
    bool is_over = recovery->state == RECOVERY_READ && recovery->file == IO_FILE_NONE;
    if (is_over || recovery->result.status != STATUS_OK)
        finish(recovery);
}
