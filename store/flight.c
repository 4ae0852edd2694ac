/*
 * store/flight.c: sends batches, keeps their order when they return, and syncs where acks do not wait for it.
 *
 *     sync always:    SEALED ──write, durable──► WRITTEN ──all before are, and the segment's name──► done = stable
 *     sync interval:  SEALED ──write──► WRITTEN ──► done ──timer, sync of every dirty segment──► stable
 *
 * Keeps:   a batch is sent once, in the order of numbers, at most BATCH_FLIGHT_MAX at a time; what a header calls
 *          durable was durable when the header was made. A failed write or sync is final: nothing behind it is answered.
 * Owns:    nothing. Runs on: the store's shard.
 */
#include <stdio.h>

#include "core/assert.h"
#include "store/append.h"
#include "store/location.h"
#include "store/parts.h"

static void on_write_done(struct op *op);
static void on_sync_done(struct op *op);
static void on_seal_timer(struct timer *timer);
static void on_sync_timer(struct timer *timer);

static struct batch *batch_at(struct append *append, uint64_t number)
{
    return &append->batches[number % BATCH_COUNT];
}

/* ---- sending ---- */

/* The block before the batch bytes, which the first batch of a segment takes along. */
static void prepare_segment_header(struct store *store, const struct batch *batch, char *buffer)
{
    struct segment_header *header = (struct segment_header *)buffer;
    const struct segment_previous *previous = &store->append.previous;
    memset(header, 0, sizeof *header);
    header->log_index = store->shard->index;
    header->segment_id = batch->segment->id;
    header->epoch = batch->segment->epoch;
    header->bytes = batch->segment->bytes;
    header->previous_segment_id = previous->segment_id;
    header->previous_number = previous->number;
    header->previous_chain = previous->chain;
    header->shard_count = store->directory->shard_count;
    directory_list_segments(store->directory, header);
    segment_header_finish(header);
}

static void prepare_batch_header(struct store *store, struct batch *batch, char *bytes)
{
    struct append *append = &store->append;
    struct batch_header *header = (struct batch_header *)bytes;
    *header = (struct batch_header){
        .flags = batch->flags,
        .segment_id = batch->segment->id,
        .offset = batch->offset,
        .epoch = batch->segment->epoch,
        .number = batch->number,
        .durable_upto = append->number_stable,
        .body_bytes = batch->used_bytes - sizeof *header,
        .recycled_id = batch->recycled_id,
        .log_index = store->shard->index,
        .record_count = batch->record_count,
        .body_crc = batch->body_crc,
        .chain = append->chain,
    };
    batch_header_finish(header);
    append->chain = header->crc;
    append->previous = (struct segment_previous){batch->segment->id, batch->number, append->chain};
    uint64_t whole = block_round_up(batch->used_bytes);
    memset(bytes + batch->used_bytes, 0, (size_t)(whole - batch->used_bytes));
}

static bool is_first(const struct batch *batch)
{
    return batch->offset == SEGMENT_HEADER_BYTES;
}

static uint64_t write_bytes(const struct batch *batch)
{
    return block_round_up(batch->used_bytes) + (is_first(batch) ? SEGMENT_HEADER_BYTES : 0);
}

/* Writes what is not written yet. */
static void write_rest(struct batch *batch)
{
    struct store *store = batch->store;
    char *buffer = batch->large != NULL ? batch->large : batch->buffer;
    uint64_t skipped = is_first(batch) ? 0 : SEGMENT_HEADER_BYTES;
    uint64_t offset = batch->offset - SEGMENT_HEADER_BYTES + skipped;
    enum io_durability durability = store->options.sync_interval_ns == 0 ? IO_DURABLE : IO_PLAIN;
    io_write(store->shard->io, &batch->op, batch->segment->file,
             buffer + skipped + batch->sent_bytes,
             (uint32_t)(write_bytes(batch) - batch->sent_bytes), offset + batch->sent_bytes,
             durability, on_write_done);
}

static void batch_send(struct store *store, struct batch *batch)
{
    ASSERT(batch->state == BATCH_SEALED);
    struct append *append = &store->append;
    char *buffer = batch->large != NULL ? batch->large : batch->buffer;
    if (is_first(batch))
        prepare_segment_header(store, batch, buffer);
    prepare_batch_header(store, batch, buffer + SEGMENT_HEADER_BYTES);
    batch->state = BATCH_WRITING;
    append->number_sent = batch->number;
    append->flight_count++;
    store->written_bytes += write_bytes(batch);
    write_rest(batch);
}

/* Nothing in flight: send what there is. Otherwise only what is worth a second write. */
static bool is_due(const struct append *append, const struct batch *batch)
{
    if (batch->state == BATCH_SEALED)
        return true;
    ASSERT(batch->state == BATCH_OPEN);
    if (append->flight_count > 0)
        return batch->used_bytes >= BATCH_BYTES_EAGER;
    return batch->record_count > 0 || batch->is_wanted;
}

static void run_room_waits(struct store *store)
{
    struct append *append = &store->append;
    struct store_wait **end = append->room_waits_tail; /* who comes back waits for the next turn */
    bool is_last = append->room_waits == NULL;
    while (!is_last && append_room(store) > 0) {
        struct store_wait *wait = append->room_waits;
        is_last = &wait->next == end;
        append->room_waits = wait->next;
        if (append->room_waits == NULL)
            append->room_waits_tail = &append->room_waits;
        wait->on_durable(wait);
    }
}

void append_pump(struct store *store)
{
    struct append *append = &store->append;
    run_room_waits(store);
    while (append->flight_count < BATCH_FLIGHT_MAX && append->number_sent < append->number_opened) {
        struct batch *batch = batch_at(append, append->number_sent + 1);
        if (!is_due(append, batch) || !spares_attach(store, batch->segment))
            return;
        if (batch->state == BATCH_OPEN)
            append_seal(store);
        batch_send(store, batch);
    }
}

/* ---- done ---- */

static void on_write_done(struct op *op)
{
    struct batch *batch = CONTAINER_OF(op, struct batch, op);
    struct store *store = batch->store;
    if (store->is_dead)
        return;
    ASSERT(batch->state == BATCH_WRITING);
    if (op->result < 0) {
        store_fail(store, "write", batch->segment, op->result);
        return;
    }
    batch->sent_bytes += (uint64_t)op->result / BLOCK_BYTES * BLOCK_BYTES;
    if (batch->sent_bytes < write_bytes(batch)) {
        if (op->result < BLOCK_BYTES) {
            store_fail(store, "short write", batch->segment, op->result);
            return;
        }
        write_rest(batch); /* a short write is progress, not an error */
        return;
    }
    batch->state = BATCH_WRITTEN;
    store->append.flight_count--;
    append_advance(store);
}

static void batch_finish(struct store *store, struct batch *batch)
{
    struct append *append = &store->append;
    struct segment *segment = batch->segment;
    append->number_done = batch->number;
    append->done_position =
        position_pack(segment->id, batch->offset + block_round_up(batch->used_bytes));
    if (store->options.sync_interval_ns == 0)
        append->number_stable = batch->number;
    else
        segment->is_dirty = true;
    heap_free(batch->large);
    batch->large = NULL;
    batch->state = BATCH_FREE;
    if ((batch->flags & BATCH_CLOSES) != 0) {
        segment->is_ended = true;
        recycle_close_ended(store, segment);
    }
}

static void start_timers(struct store *store)
{
    struct append *append = &store->append;
    struct timer_wheel *timers = store->shard->timers;
    uint64_t now_ns = shard_now_ns(store->shard);
    bool needs_sync = append->number_stable < append->number_done && append->sync_count == 0;
    if (needs_sync && !timer_is_running(&append->sync_timer))
        timer_start(timers, &append->sync_timer, now_ns + store->options.sync_interval_ns,
                    on_sync_timer);
    if (!append->is_sealed && !store->is_stopping)
        timer_start(timers, &append->seal_timer, now_ns + BATCH_SEAL_DELAY_NS, on_seal_timer);
}

/* Ends the batches that are written together with all before them, then runs their waits. */
void append_advance(struct store *store)
{
    struct append *append = &store->append;
    struct store_wait *waits = NULL;
    struct store_wait **waits_tail = &waits;
    while (append->number_done < append->number_sent) {
        struct batch *batch = batch_at(append, append->number_done + 1);
        if (batch->state != BATCH_WRITTEN || !batch->segment->is_linked)
            break;
        if (batch->waits != NULL) {
            *waits_tail = batch->waits;
            waits_tail = batch->waits_tail;
        }
        batch_finish(store, batch);
    }
    start_timers(store);
    while (waits != NULL) {
        struct store_wait *wait = waits;
        waits = wait->next;
        wait->on_durable(wait);
    }
}

static void on_seal_timer(struct timer *timer)
{
    struct append *append = CONTAINER_OF(timer, struct append, seal_timer);
    append_seal_quiet(CONTAINER_OF(append, struct store, append));
}

bool append_is_busy(const struct store *store)
{
    const struct append *append = &store->append;
    return append->number_opened != append->number_stable || append->sync_count != 0;
}

/* ---- sync_interval ---- */

static void on_sync_timer(struct timer *timer)
{
    struct append *append = CONTAINER_OF(timer, struct append, sync_timer);
    struct store *store = CONTAINER_OF(append, struct store, append);
    ASSERT(append->sync_count == 0);
    append->number_syncing = append->number_done;
    for (uint32_t i = 0; i < store->segments_count; i++) {
        struct segment *segment = store->segments[i];
        if (!segment->is_dirty)
            continue;
        segment->is_dirty = false;
        segment->is_syncing = true;
        append->sync_count++;
        io_sync(store->shard->io, &segment->sync_op, segment->file, on_sync_done);
    }
}

static void on_sync_done(struct op *op)
{
    struct segment *segment = CONTAINER_OF(op, struct segment, sync_op);
    struct store *store = segment->store;
    if (store->is_dead)
        return;
    if (op->result < 0) {
        store_fail(store, "sync", segment, op->result);
        return;
    }
    struct append *append = &store->append;
    segment->is_syncing = false;
    append->sync_count--;
    if (append->sync_count == 0) {
        append->number_stable = append->number_syncing;
        start_timers(store);
    }
    recycle_close_ended(store, segment);
}
