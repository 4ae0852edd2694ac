/*
 * store/recycle.c: finds segments in which nothing lives, and makes them spares.
 *
 *     IDLE ──victim──► RESTATING ──its state is appended──► NOTING ──► NOTED ──note is stable──► LINKING ──► IDLE
 *              └──────────────── holds no state ───────────────┘              renamed, directory synced
 *     At start, after the number of shards changed: RESTATING ──► RESTATED ──► IDLE
 *
 * Keeps:   one at a time. A segment goes only when
 *          - no record in it lives, and none is being read (a read counts as life),
 *          - if a record in it removes others: no segment with a lower id may be there after a crash,
 *          - the state in it was appended again and is durable,
 *          - a note of it is stable in the log, so that recovery can tell it from a file that was lost; with it all
 *            that was appended before, so what killed the records, and the state.
 *          The file is used again only when its new name is durable: otherwise a crash could bring back the old name
 *          with new contents.
 * Owns:    nothing; borrows the victim. Runs on: the store's shard.
 */
#include "store/recycle.h"

#include "core/assert.h"
#include "core/diag.h"
#include "core/mailbox.h"
#include "store/location.h"
#include "store/parts.h"

static void on_linked(struct op *op);

enum { RESTATE_ROOM = 4 }; /* batches that must be free before the owner is asked */

static struct store *store_of(struct recycle *recycle)
{
    return CONTAINER_OF(recycle, struct store, recycle);
}

/* ---- what the other shards are told ---- */

/* A segment of yours may have died, or one that kept yours is gone. */
static void on_look_again(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)payload, (void)bytes, (void)from;
    struct store *store = shard->rooms[SHARD_ROOM_STORE];
    if (store != NULL)
        store->recycle.is_dirty = store->compact.is_touched = true;
}

/* My segment of that id waits for lower ones: end your active one if it is lower and dead. */
static void on_blocked(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes, (void)from;
    struct store *store = shard->rooms[SHARD_ROOM_STORE];
    uint64_t blocked_id = *(uint64_t *)payload;
    if (store == NULL || store->is_dead || store->append.active == NULL)
        return;
    if (store->append.active->id < blocked_id)
        (void)append_close_dead(store); /* false: it lives, and keeps the other */
}

static void tell_others(struct store *store, mailbox_handler_fn *handler, uint64_t id)
{
    for (uint32_t i = 0; i < store->shard->count; i++) {
        if (i != store->shard->index)
            mailbox_send(store->shard, i, handler, &id, sizeof id);
    }
}

void store_forget(struct store *store, location where)
{
    ASSERT_ON_SHARD(store->shard);
    value_cache_forget(store->cache, where);
}

void store_release(struct store *store, location where)
{
    ASSERT_ON_SHARD(store->shard);
    recycle_release(store, where);
}

void recycle_release(struct store *store, location where)
{
    uint64_t id = location_segment(where);
    store->compact.is_touched = true;
    if (!directory_live_sub(store->directory, id, location_bytes(where)))
        return;
    const struct found_segment *found = directory_found(store->directory, id);
    uint32_t owner = found == NULL ? store->shard->index : directory_owner(store->directory, found);
    if (owner == store->shard->index)
        store->recycle.is_dirty = true;
    else
        mailbox_send(store->shard, owner, on_look_again, NULL, 0);
}

void store_retain(struct store *store, location where)
{
    ASSERT_ON_SHARD(store->shard);
    directory_live_add(store->directory, location_segment(where), location_bytes(where));
}

uint64_t store_record_bytes(location where)
{
    return location_bytes(where);
}

/* ---- choosing ---- */

/* State of former logs was appended again at start, by all shards; see recycle_start. */
static bool states_are_safe(const struct store *store, const struct segment *segment)
{
    if (segment->states.count == 0 || !segment->is_foreign)
        return true;
    return shared_load_seq_cst(&store->directory->restated_count) == store->shard->count;
}

static struct segment *find_victim(struct store *store)
{
    struct recycle *recycle = &store->recycle;
    for (uint32_t i = 0; i < store->segments_count; i++) {
        struct segment *segment = store->segments[i];
        if (segment->state != SEGMENT_CLOSED || directory_live(store->directory, segment->id) != 0)
            continue;
        if (!states_are_safe(store, segment))
            continue;
        if (!segment->has_removes || directory_segment_is_lowest(store->directory, segment->id))
            return segment;
        if (recycle->blocked_id != segment->id) {
            recycle->blocked_id = segment->id;
            tell_others(store, on_blocked, segment->id);
            struct segment *active = store->append.active;
            if (active != NULL && active->id < segment->id)
                (void)append_close_dead(store); /* false: it lives */
        }
    }
    return NULL;
}

/* ---- state ---- */

static const struct stream_set *states_to_ask(const struct store *store)
{
    const struct segment *victim = store->recycle.victim;
    return victim == NULL ? &store->former_states : &victim->states;
}

static void restate(struct store *store)
{
    struct recycle *recycle = &store->recycle;
    const struct stream_set *states = states_to_ask(store);
    while (recycle->stream_index < states->count) {
        if (append_room(store) < RESTATE_ROOM)
            return; /* goes on next turn */
        recycle->is_refused = false;
        store->owner.on_restate(store->owner.context, states->ids[recycle->stream_index]);
        if (recycle->is_refused)
            return; /* asks again when there is room */
        recycle->stream_index++;
    }
    recycle->barrier = store->append.number_opened;
    recycle->state = recycle->victim == NULL ? RECYCLE_RESTATED : RECYCLE_NOTING;
}

void recycle_on_append_refused(struct store *store)
{
    store->recycle.is_refused = true;
}

/* All shards must have come here before a segment of a former log with state in it goes. */
static void end_restating(struct store *store)
{
    struct recycle *recycle = &store->recycle;
    recycle->state = RECYCLE_IDLE;
    recycle->is_dirty = true;
    uint64_t before = shared_add_seq_cst(&store->directory->restated_count, 1);
    if (before + 1 == store->shard->count)
        tell_others(store, on_look_again, 0);
}

void recycle_start(struct store *store)
{
    struct recycle *recycle = &store->recycle;
    recycle->is_dirty = true;
    if (store->directory->reads_all) {
        recycle->state = RECYCLE_RESTATING;
        recycle->victim = NULL;
        recycle->stream_index = 0;
    }
}

/* ---- going ---- */

static void note(struct store *store)
{
    struct recycle *recycle = &store->recycle;
    if (!append_note(store, recycle->victim->id))
        return; /* no room in the log: tried again next turn */
    directory_segment_noted(store->directory, recycle->victim->id);
    recycle->barrier = store->append.number_opened;
    recycle->state = RECYCLE_NOTED;
}

/* Gives the file its new name, or removes it where no spare is wanted. */
static enum status rename_victim(struct store *store)
{
    struct recycle *recycle = &store->recycle;
    struct io *io = store->shard->io;
    char from[SEGMENT_PATH_BYTES];
    char to[SEGMENT_PATH_BYTES];
    segment_path(from, store->directory->path, recycle->victim->id);
    recycle->spare_number = 0;
    if (!spares_want(store, recycle->victim->bytes))
        return io_path_remove(io, from);
    recycle->spare_number = shared_add_seq_cst(&store->directory->spare_next, 1);
    spare_path(to, store->directory->path, recycle->spare_number);
    return io_path_rename(io, from, to);
}

static void go(struct store *store)
{
    struct recycle *recycle = &store->recycle;
    reader_forget_segment(store, recycle->victim->id);
    if (rename_victim(store) != STATUS_OK) {
        store_fail(store, "rename", recycle->victim, 0);
        return;
    }
    recycle->state = RECYCLE_LINKING;
    io_sync(store->shard->io, &recycle->link_op, store->log_directory, on_linked);
}

static void on_linked(struct op *op)
{
    struct recycle *recycle = CONTAINER_OF(op, struct recycle, link_op);
    struct store *store = store_of(recycle);
    if (store->is_dead)
        return;
    ASSERT(recycle->state == RECYCLE_LINKING);
    if (op->result < 0) {
        store_fail(store, "sync of the directory", recycle->victim, op->result);
        return;
    }
    directory_segment_gone(store->directory, recycle->victim->id);
    if (recycle->spare_number != 0)
        spares_add(store, recycle->spare_number, recycle->victim->bytes);
    store_remove_segment(store, recycle->victim);
    recycle->victim = NULL;
    recycle->state = RECYCLE_IDLE;
    recycle->is_dirty = true;
    tell_others(store, on_look_again, 0);
}

void recycle_run(struct store *store)
{
    struct recycle *recycle = &store->recycle;
    if (recycle->state == RECYCLE_IDLE && recycle->is_dirty && !store->is_stopping) {
        recycle->is_dirty = false;
        recycle->victim = find_victim(store);
        if (recycle->victim != NULL) {
            recycle->victim->state = SEGMENT_RECYCLING;
            recycle->stream_index = 0;
            bool asks = recycle->victim->states.count > 0 && !recycle->victim->is_foreign;
            recycle->state = asks ? RECYCLE_RESTATING : RECYCLE_NOTING;
        }
    }
    if (recycle->state == RECYCLE_RESTATING)
        restate(store);
    if (recycle->state == RECYCLE_NOTING)
        note(store);
    bool is_stable = store->append.number_stable >= recycle->barrier;
    if (recycle->state == RECYCLE_RESTATED && is_stable)
        end_restating(store);
    if (recycle->state == RECYCLE_NOTED && is_stable)
        go(store);
}

bool recycle_is_busy(const struct store *store)
{
    return store->recycle.state == RECYCLE_LINKING;
}

void recycle_close_ended(struct store *store, struct segment *segment)
{
    if (!segment->is_ended || segment->state != SEGMENT_OPEN)
        return;
    if (segment->is_dirty || segment->is_syncing)
        return;
    io_file_close(store->shard->io, segment->file);
    segment->file = IO_FILE_NONE;
    segment->state = SEGMENT_CLOSED;
    store->recycle.is_dirty = store->compact.is_touched = true;
}
