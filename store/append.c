/*
 * store/append.c: takes records into the open batch, and decides where batches lie. flight.c writes them.
 *
 *     FREE ──first record, or a note──► OPEN ──full, or sent──► SEALED ──► WRITING ──► WRITTEN ──► FREE
 *
 * Keeps:   numbers, offsets and locations are given out in the order of appends, and a batch's place is known when it is
 *          opened: the offset behind the batch before it, or the first of the next segment, whose file may not exist yet.
 *          The next segment is begun only after the closing batch of the last one was queued. A wait runs once, after
 *          the waits attached before it.
 * Owns:    the buffers. Borrows waits until they have run.
 * Runs on: the store's shard.
 */
#include "store/append.h"

#include "core/assert.h"
#include "core/hash.h"
#include "store/location.h"
#include "store/parts.h"
#include "store/record_view.h"

static struct batch *batch_at(struct append *append, uint64_t number)
{
    return &append->batches[number % BATCH_COUNT];
}

static uint32_t free_count(const struct append *append)
{
    return BATCH_COUNT - (uint32_t)(append->number_opened - append->number_done);
}

/* Records begin behind the room for a segment header, which a segment's first batch takes along. */
static char *batch_bytes(struct batch *batch)
{
    return (batch->large != NULL ? batch->large : batch->buffer) + SEGMENT_HEADER_BYTES;
}

void append_init(struct store *store)
{
    struct append *append = &store->append;
    append->room_waits_tail = &append->room_waits;
    append->done_position = position_pack(store->directory->segment_first, 0);
    for (uint32_t i = 0; i < BATCH_COUNT; i++) {
        struct batch *batch = &append->batches[i];
        batch->store = store;
        batch->buffer = heap_alloc_aligned(store->shard->heap,
                                           SEGMENT_HEADER_BYTES + BATCH_BYTES_MAX, BLOCK_BYTES);
    }
}

void append_fini(struct store *store)
{
    struct append *append = &store->append;
    timer_stop(&append->seal_timer);
    timer_stop(&append->sync_timer);
    for (uint32_t i = 0; i < BATCH_COUNT; i++) {
        heap_free(append->batches[i].buffer);
        heap_free(append->batches[i].large);
    }
}

/* ---- places ---- */

static void batch_seal(struct batch *batch)
{
    ASSERT(batch->state == BATCH_OPEN);
    batch->state = BATCH_SEALED;
    batch->segment->end_offset = batch->offset + block_round_up(batch->used_bytes);
}

void append_seal(struct store *store)
{
    struct append *append = &store->append;
    struct batch *newest = batch_at(append, append->number_opened);
    if (append->number_opened != append->number_done && newest->state == BATCH_OPEN)
        batch_seal(newest);
}

/* Opens the next batch in the active segment, which has room from `offset` to `limit` for it. */
static struct batch *batch_open(struct store *store, uint64_t offset, uint64_t limit)
{
    struct append *append = &store->append;
    ASSERT(free_count(append) > 0);
    struct batch *batch = batch_at(append, ++append->number_opened);
    ASSERT(batch->state == BATCH_FREE);
    ASSERT(offset + BLOCK_BYTES <= limit);
    if (shard_now_ns(store->shard) == store->phase_ns)
        shard_stay_awake(store->shard); /* the phase has run in this turn, and would have sent it */

    batch->state = BATCH_OPEN;
    batch->segment = append->active;
    batch->number = append->number_opened;
    batch->offset = offset;
    batch->used_bytes = sizeof(struct batch_header);
    batch->limit_bytes = limit - offset < BATCH_BYTES_MAX ? limit - offset : BATCH_BYTES_MAX;
    batch->sent_bytes = 0;
    batch->recycled_id = 0;
    batch->flags = 0;
    batch->record_count = 0;
    batch->body_crc = 0;
    batch->is_wanted = false;
    batch->waits = NULL;
    batch->waits_tail = &batch->waits;
    return batch;
}

static uint64_t records_limit(const struct segment *segment)
{
    return segment->bytes - SEGMENT_RESERVE_BYTES;
}

/* Queues the closing batch of the active segment; there is always a block for it. */
static void close_active(struct store *store)
{
    struct append *append = &store->append;
    struct segment *segment = append->active;
    append_seal(store);
    struct batch *batch = batch_open(store, segment->end_offset, segment->bytes);
    batch->flags = BATCH_CLOSES;
    batch->is_wanted = true;
    batch_seal(batch);
    append->active = NULL;
}

/* Of a segment that has room for a batch of `bytes`. */
static uint64_t segment_bytes_for(const struct store *store, uint64_t bytes)
{
    if (bytes <= segment_room(store->options.segment_bytes))
        return store->options.segment_bytes;
    uint64_t needed = bytes + SEGMENT_HEADER_BYTES + SEGMENT_RESERVE_BYTES;
    return (needed + SEGMENT_BYTES_MIN - 1) / SEGMENT_BYTES_MIN * SEGMENT_BYTES_MIN;
}

static uint64_t batch_bytes_for(uint32_t bytes)
{
    return block_round_up(sizeof(struct batch_header) + bytes);
}

/* Plans a segment that has room for a batch of `bytes`. Its file comes when its first batch is sent. */
static enum status begin_segment(struct store *store, uint64_t bytes)
{
    uint64_t segment_bytes = segment_bytes_for(store, bytes);
    if (!spares_can_promise(store, segment_bytes))
        return STATUS_NO_SPACE;
    if (store->append.active != NULL)
        close_active(store);
    uint64_t id = directory_segment_begin(store->directory);
    uint64_t epoch = store_directory_epoch(store->directory);
    struct segment *segment = store_add_segment(store, id, epoch, segment_bytes);
    segment->state = SEGMENT_PLANNED;
    segment->end_offset = SEGMENT_HEADER_BYTES;
    store->append.active = segment;
    spares_promise(store, segment);
    return STATUS_OK;
}

/* A batch with room for a record of `bytes`; nothing changes unless STATUS_OK. */
static enum status open_for(struct store *store, uint32_t bytes)
{
    struct append *append = &store->append;
    if (append_room(store) == 0)
        return STATUS_BUSY;
    append_seal(store);
    uint64_t batch_size = batch_bytes_for(bytes);
    struct segment *active = append->active;
    if (active == NULL || active->end_offset + batch_size > records_limit(active)) {
        enum status status = begin_segment(store, batch_size);
        if (status != STATUS_OK)
            return status;
    }
    uint64_t offset = append->active->end_offset;
    struct batch *batch = batch_open(store, offset, records_limit(append->active));
    if (batch_size > BATCH_BYTES_MAX) {
        batch->large =
            heap_alloc_aligned(store->shard->heap, SEGMENT_HEADER_BYTES + batch_size, BLOCK_BYTES);
        batch->limit_bytes = batch_size;
    }
    return STATUS_OK;
}

/* One is kept for the closing batch that a new segment may need first. */
uint32_t append_room(const struct store *store)
{
    uint32_t count = free_count(&store->append);
    return count == 0 ? 0 : count - 1;
}

/* ---- records ---- */

static void add_wait(struct batch *batch, struct store_wait *wait)
{
    wait->next = NULL;
    *batch->waits_tail = wait;
    batch->waits_tail = &wait->next;
}

static bool newest_has_room(struct append *append, uint32_t bytes)
{
    struct batch *newest = batch_at(append, append->number_opened);
    return append->number_opened != append->number_done && newest->state == BATCH_OPEN
           && newest->used_bytes + bytes <= newest->limit_bytes;
}

bool store_has_room(struct store *store, uint32_t bytes)
{
    ASSERT_ON_SHARD(store->shard);
    struct append *append = &store->append;
    if (newest_has_room(append, bytes))
        return true;
    append_seal(store);
    uint64_t batch_size = batch_bytes_for(bytes);
    const struct segment *active = append->active;
    return (active != NULL && active->end_offset + batch_size <= records_limit(active))
           || spares_can_promise(store, segment_bytes_for(store, batch_size));
}

/* What recycling must know of the segment. */
static void mark_segment(struct store *store, struct segment *segment, const struct record *record)
{
    if ((record->flags & RECORD_REMOVES) != 0)
        segment->has_removes = true;
    if ((record->flags & RECORD_IS_STATE) != 0)
        stream_set_add(&segment->states, store->shard->heap, record->stream_id);
}

enum status append_record(struct store *store, const struct record *record, location *where_out,
                          struct store_wait *wait, bool is_admitted)
{
    ASSERT_ON_SHARD(store->shard);
    ASSERT(store->is_started);

    struct append *append = &store->append;
    uint32_t bytes = record_bytes(record);
    if (!newest_has_room(append, bytes)) {
        enum status status = open_for(store, bytes);
        if (status != STATUS_OK) {
            recycle_on_append_refused(store);
            return status;
        }
    }
    struct batch *batch = batch_at(append, append->number_opened);
    char *image = batch_bytes(batch) + batch->used_bytes;
    record_encode(record, image);
    location where = location_pack(batch->segment->id, batch->offset + batch->used_bytes, bytes);
    uint32_t crc = record_view_crc(image);
    batch->body_crc = crc32c(batch->body_crc, &crc, sizeof crc);
    batch->used_bytes += bytes;
    batch->record_count++;
    append->is_sealed = false;
    store->appended_bytes += bytes;
    if (wait != NULL)
        add_wait(batch, wait);
    mark_segment(store, batch->segment, record);
    if ((record->flags & (RECORD_IS_STATE | RECORD_REMOVES)) == 0) {
        directory_live_add(store->directory, batch->segment->id, location_bytes(where));
        if (is_admitted)
            value_cache_admit(store->cache, where, image, bytes);
    }
    *where_out = where;
    return STATUS_OK;
}

enum status store_append(struct store *store, const struct record *record, location *where_out,
                         struct store_wait *wait)
{
    return append_record(store, record, where_out, wait, true);
}

bool store_wait_durable(struct store *store, struct store_wait *wait)
{
    ASSERT_ON_SHARD(store->shard);
    struct append *append = &store->append;
    if (append->number_opened == append->number_done)
        return false;
    add_wait(batch_at(append, append->number_opened), wait);
    return true;
}

void store_wait_room(struct store *store, struct store_wait *wait)
{
    ASSERT_ON_SHARD(store->shard);
    wait->next = NULL;
    *store->append.room_waits_tail = wait;
    store->append.room_waits_tail = &wait->next;
}

bool store_is_durable(const struct store *store, location where)
{
    return location_position(where) < store->append.done_position;
}

const void *append_find(const struct store *store, location where)
{
    const struct append *append = &store->append;
    uint64_t segment_id = location_segment(where);
    uint64_t offset = location_offset(where);
    if (store_is_durable(store, where))
        return NULL;
    for (uint64_t number = append->number_done + 1; number <= append->number_opened; number++) {
        const struct batch *batch = &append->batches[number % BATCH_COUNT];
        if (batch->segment->id == segment_id && offset >= batch->offset
            && offset < batch->offset + batch->used_bytes) {
            const char *bytes = batch->large != NULL ? batch->large : batch->buffer;
            return bytes + SEGMENT_HEADER_BYTES + (offset - batch->offset);
        }
    }
    return NULL;
}

/* ---- batches without records ---- */

/* An empty batch that may use the active segment up to `limit`; false: no room now. */
static bool open_empty(struct store *store, uint64_t spared_bytes)
{
    struct append *append = &store->append;
    if (append_room(store) == 0)
        return false;
    append_seal(store);
    struct segment *active = append->active;
    if (active == NULL || active->end_offset + BLOCK_BYTES > active->bytes - spared_bytes) {
        if (begin_segment(store, BLOCK_BYTES) != STATUS_OK)
            return false;
        active = append->active;
    }
    (void)batch_open(store, active->end_offset, active->bytes - spared_bytes);
    return true;
}

bool append_note(struct store *store, uint64_t recycled_id)
{
    struct append *append = &store->append;
    if (!newest_has_room(append, 0) && !open_empty(store, SEGMENT_CLOSING_BYTES))
        return false;
    struct batch *batch = batch_at(append, append->number_opened);
    uint64_t limit = records_limit(batch->segment);
    if (batch->offset + batch->limit_bytes > limit) /* in the reserve: for the note alone */
        batch->limit_bytes = batch->used_bytes;
    ASSERT(batch->recycled_id == 0);
    batch->recycled_id = recycled_id;
    batch->is_wanted = true;
    return true;
}

/* Says on disk that all before is durable, so that damage to the last batch cannot pass for a torn one. */
void append_seal_quiet(struct store *store)
{
    struct append *append = &store->append;
    if (append->is_sealed || append->number_opened != append->number_done)
        return;
    if (append->number_stable != append->number_done)
        return; /* comes back after the sync */
    struct segment *active = append->active;
    if (active == NULL || active->end_offset + BLOCK_BYTES > records_limit(active))
        return; /* not worth a segment */
    if (!open_empty(store, SEGMENT_RESERVE_BYTES))
        return;
    batch_at(append, append->number_opened)->is_wanted = true;
    append->is_sealed = true;
}

bool append_close(struct store *store)
{
    const struct segment *active = store->append.active;
    if (active == NULL || active->state != SEGMENT_OPEN || append_room(store) == 0)
        return false;
    close_active(store);
    return true;
}

bool append_close_dead(struct store *store)
{
    struct append *append = &store->append;
    struct segment *active = append->active;
    if (active == NULL || active->state != SEGMENT_OPEN)
        return false;
    if (append->number_opened != append->number_done)
        return false;
    if (directory_live(store->directory, active->id) != 0)
        return false;
    close_active(store);
    return true;
}
