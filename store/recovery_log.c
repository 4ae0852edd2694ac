/*
 * store/recovery_log.c: reads one log after the other, batch by batch, and decides how each ends. See recovery.c for the rules.
 *
 *     READ ──bad batch n──► SEEK ──nothing behind says that n was durable──► READ, the log is cut
 *                             └──something does──► STATUS_CORRUPT
 *
 * Keeps:   records are given only from batches that were verified as a whole.
 * Owns:    nothing; all state is in struct recovery. Runs on: the store's shard.
 */
#include "store/recovery_log.h"

#include <stdlib.h>

#include "core/assert.h"
#include "core/hash.h"
#include "store/location.h"
#include "store/record_view.h"

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
            recovery_fail(recovery, STATUS_CORRUPT, log->end->segment_id, 0,
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
        recovery_fail(recovery, STATUS_CORRUPT, found->id, 0,
                      "it does not continue the segment before");
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
    if (!recovery_open_file(recovery, found, IO_OPEN_READ))
        return false;
    enum status status = io_file_size(recovery->store->shard->io, recovery->file, &bytes);
    if (status != STATUS_OK) {
        recovery_fail(recovery, status, found->id, 0, "its size cannot be read");
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
    for (; (found = recovery_planned(recovery)) != NULL; recovery->plan_index++) {
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
    if (recovery_is_foreign(store, recovery_planned(recovery)))
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
    recovery_close_file(recovery);
    recovery->plan_index++;
}

/* One batch of the log; false: wait for the window. */
static bool read_batch(struct recovery *recovery)
{
    struct log_state *log = &recovery->log;
    struct window *window = &recovery->window;
    const struct found_segment *found = recovery_planned(recovery);
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
    const struct found_segment *found = recovery_planned(recovery);
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
    if (batch_header_is_valid(&header, recovery_planned(recovery)->id, recovery->offset)
        && header.epoch == log->epoch && header.log_index == log->log_index) {
        if (header.durable_upto >= recovery->bad.number) {
            recovery_fail(recovery, STATUS_CORRUPT, recovery->bad.segment_id, recovery->bad.offset,
                          recovery->bad.what);
            return false;
        }
        recovery->result.torn_batches += header.number >= recovery->bad.number;
    }
    recovery->offset += BLOCK_BYTES;
    return true;
}

/* ---- one step ---- */

bool recovery_step(struct recovery *recovery)
{
    if (recovery->state == RECOVERY_SEEK) {
        if (recovery->log.end != NULL) { /* what is recorded was durable */
            recovery_fail(recovery, STATUS_CORRUPT, recovery->bad.segment_id, recovery->bad.offset,
                          recovery->bad.what);
            return false;
        }
        return seek_block(recovery);
    }
    if (recovery->file == IO_FILE_NONE)
        return next_segment(recovery);
    return read_batch(recovery);
}
