/*
 * store/compact.c: empties segments in which much is dead: what lives in them is appended again.
 *
 *     IDLE ──too much is dead──► a victim is read, batch by batch ──its end──► IDLE
 *                                    └─ each record: the owner says whether it lives, and then has it moved (store_move)
 *
 * A segment without living records is recycled like any other (recycle.c); nothing else gives space back. A moved record is
 * the old one with RECORD_IS_MOVED, further behind in the log: the owner counts it from there at once, and the old place is
 * released when the new one is durable. A crash between finds both, and the owner's recovery takes either.
 *
 * Which segment: the one with the fewest living bytes, as soon as the closed ones weigh more than the living would at
 * options.compact_percent, and a slack. So the log is at most twice what lives (at 50 %), and a byte that lives on is copied
 * at most once for each that is freed. A segment with removals can not go before those with lower ids, of all shards: if it
 * is the best, the lowest segment is emptied instead, whatever lives there, and the other shards are asked to do so too.
 *
 * Pace: a slice of SLICE_BYTES each PAUSE_NS, so that puts are little slower; without pauses where the disk is full. There a victim
 * must fit what the active segment still takes.
 *
 * Keeps:   a victim counts as living while it is read. Damage in it is told and leaves it as it is.
 * Owns:    the window, the victim's descriptor, what waits to be durable at its new place. Runs on: the store's shard.
 */
#include "store/compact.h"

#include <inttypes.h>

#include "core/assert.h"
#include "core/diag.h"
#include "core/mailbox.h"
#include "store/location.h"
#include "store/parts.h"
#include "store/record_view.h"

static void on_filled(struct window *window);
static void on_pause_over(struct timer *timer);

enum {
    SLICE_BYTES = 64 << 10,       /* moved at a time */
    SLICE_READ_BYTES = 512 << 10, /* looked at, at a time */
    READ_BYTES = 256 << 10,
};
#define PAUSE_NS UINT64_C(2000000)
#define LOOK_NS UINT64_C(200000000) /* how often a victim is looked for, at most */
#define AGAIN_NS \
    UINT64_C(10000000000) /* before a segment that could not be emptied is tried again */

static struct store *store_of(struct compact *compact)
{
    return CONTAINER_OF(compact, struct store, compact);
}

static void forget_file(struct store *store)
{
    store->compact.file = IO_FILE_NONE;
    window_init(&store->compact.window, store->shard->io, store->shard->heap, READ_BYTES,
                on_filled);
}

void compact_init(struct store *store)
{
    store->compact.moved_tail = &store->compact.moved_head;
    forget_file(store);
}

static void pause(struct store *store, uint64_t ns)
{
    struct shard *shard = store->shard;
    timer_start(shard->timers, &store->compact.pause, shard_now_ns(shard) + ns, on_pause_over);
}

static void on_pause_over(struct timer *timer)
{
    struct compact *compact = CONTAINER_OF(timer, struct compact, pause);
    compact->is_due = true; /* the phase of this turn goes on */
}

/* ---- moving one record ---- */

/* A record that is not durable at its new place yet; they become so in the order they were moved. */
struct moved {
    struct store_wait wait;
    struct moved *next;
    struct store *store; /* borrows */
    location from;
};

static void moved_on_durable(struct store_wait *wait)
{
    struct moved *moved = CONTAINER_OF(wait, struct moved, wait);
    struct compact *compact = &moved->store->compact;
    ASSERT(compact->moved_head == moved);
    compact->moved_head = moved->next;
    if (moved->next == NULL)
        compact->moved_tail = &compact->moved_head;
    recycle_release(moved->store, moved->from);
    heap_free(moved);
}

enum status store_move(struct store *store, const struct record *record, location from,
                       location *where_out)
{
    ASSERT_ON_SHARD(store->shard);
    ASSERT((record->flags & (RECORD_REMOVES | RECORD_IS_STATE)) == 0);
    ASSERT(store_is_durable(store, from));
    struct record again = *record;
    again.flags |= RECORD_IS_MOVED;
    struct moved *moved = heap_alloc(store->shard->heap, sizeof *moved);
    *moved = (struct moved){{.on_durable = moved_on_durable}, NULL, store, from};
    bool is_cached = value_cache_has(store->cache, from);
    enum status status = append_record(store, &again, where_out, &moved->wait, is_cached);
    if (status != STATUS_OK) {
        heap_free(moved);
        return status;
    }
    *store->compact.moved_tail = moved;
    store->compact.moved_tail = &moved->next;
    if (is_cached)
        value_cache_forget(store->cache, from);
    store->compact.moved_records++;
    store->compact.moved_bytes += record_bytes(record);
    return STATUS_OK;
}

/* ---- which segment ---- */

struct choice {
    uint64_t bytes, live;    /* of all closed segments */
    struct segment *best;    /* the fewest living bytes */
    struct segment *blocked; /* as best, but it must wait for lower ids */
    struct segment *lowest;
    uint64_t best_live, blocked_live;
};

static bool may_be_tried(const struct store *store, const struct segment *segment)
{
    return segment->compact_after_ns <= shard_now_ns(store->shard);
}

static void look_at(struct store *store, struct choice *choice, struct segment *segment)
{
    uint64_t live = directory_live(store->directory, segment->id);
    bool is_blocked =
        segment->has_removes && !directory_segment_is_lowest(store->directory, segment->id);
    if (live == 0 && !is_blocked)
        return; /* it is recycled next */
    choice->bytes += segment->bytes;
    choice->live += live;
    if (!may_be_tried(store, segment))
        return;
    if (choice->lowest == NULL)
        choice->lowest = segment;
    if (is_blocked) {
        if (choice->blocked == NULL || live < choice->blocked_live) {
            choice->blocked = segment;
            choice->blocked_live = live;
        }
    } else if (choice->best == NULL || live < choice->best_live) {
        choice->best = segment;
        choice->best_live = live;
    }
}

static bool is_worth_it(const struct segment *segment, uint64_t live)
{
    return live <= segment->bytes / 4 * 3;
}

/* Another shard's segment of that id is dead, and waits for all below. */
static void on_wanted_below(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes, (void)from;
    struct store *store = shard->rooms[SHARD_ROOM_STORE];
    uint64_t id = *(uint64_t *)payload;
    if (store == NULL || store->is_dead || id <= store->compact.wanted_below)
        return;
    store->compact.wanted_below = id;
    store->compact.is_touched = true;
}

static void ask_others(struct store *store, uint64_t id)
{
    if (store->compact.asked_below == id)
        return;
    store->compact.asked_below = id;
    for (uint32_t i = 0; i < store->shard->count; i++) {
        if (i != store->shard->index)
            mailbox_send(store->shard, i, on_wanted_below, &id, sizeof id);
    }
}

/* Of this shard's segments the lowest, if another shard waits for it to go. */
static struct segment *choose_wanted(struct store *store, const struct choice *choice)
{
    struct compact *compact = &store->compact;
    if (compact->wanted_below == 0)
        return NULL;
    if (choice->lowest != NULL && choice->lowest->id < compact->wanted_below)
        return choice->lowest;
    const struct segment *active = store->append.active;
    if (active == NULL || active->id >= compact->wanted_below)
        compact->wanted_below = 0;
    else
        (void)append_close(store); /* comes back when it is closed, or has room to close it */
    return NULL;
}

static struct segment *choose(struct store *store)
{
    struct choice choice = {0};
    for (uint32_t i = 0; i < store->segments_count; i++) {
        if (store->segments[i]->state == SEGMENT_CLOSED)
            look_at(store, &choice, store->segments[i]);
    }
    struct segment *wanted = choose_wanted(store, &choice);
    if (wanted != NULL)
        return wanted;
    uint64_t allowed = choice.live * 100 / (100 - store->options.compact_percent)
                       + store->options.compact_slack_bytes;
    if (choice.bytes <= allowed)
        return NULL;
    if (choice.best != NULL && is_worth_it(choice.best, choice.best_live))
        return choice.best;
    if (choice.blocked == NULL || !is_worth_it(choice.blocked, choice.blocked_live))
        return NULL;
    ask_others(store, choice.blocked->id);
    return choice.lowest->id < choice.blocked->id ? choice.lowest : NULL;
}

/* A full disk has only what is left of the active segment. */
static bool fits(const struct store *store, const struct segment *segment)
{
    if (store_directory_space(store->directory, store->shard->index) == STORE_SPACE_OK)
        return true;
    const struct segment *active = store->append.active;
    if (active == NULL)
        return false;
    uint64_t live = directory_live(store->directory, segment->id);
    return active->end_offset + live + live / 8 + BATCH_BYTES_MAX
           <= active->bytes - SEGMENT_RESERVE_BYTES;
}

static bool is_hurrying(const struct store *store)
{
    return store_directory_space(store->directory, store->shard->index) != STORE_SPACE_OK;
}

/* ---- the victim ---- */

static void begin(struct store *store, struct segment *victim)
{
    struct compact *compact = &store->compact;
    char path[SEGMENT_PATH_BYTES];
    segment_path(path, store->directory->path, victim->id);
    enum status status = io_file_open(store->shard->io, path, IO_OPEN_READ,
                                      !store->directory->is_buffered, &compact->file);
    if (status != STATUS_OK) {
        diag_error("segment_open_failed file=%s why=\"%s\"", path, status_words(status));
        compact->file = IO_FILE_NONE;
        victim->compact_after_ns = shard_now_ns(store->shard) + AGAIN_NS;
        return;
    }
    directory_live_add(store->directory, victim->id, LOCATION_UNIT_BYTES);
    compact->victim = victim;
    compact->offset = SEGMENT_HEADER_BYTES;
    compact->at = 0;
    compact->is_due = true;
    window_open(&compact->window, compact->file, victim->bytes);
}

static void end(struct store *store)
{
    struct compact *compact = &store->compact;
    struct segment *victim = compact->victim;
    io_file_close(store->shard->io, compact->file);
    window_fini(&compact->window);
    forget_file(store);
    compact->victim = NULL;
    compact->is_touched = true;
    victim->compact_after_ns = shard_now_ns(store->shard) + AGAIN_NS;
    if (directory_live_sub(store->directory, victim->id, LOCATION_UNIT_BYTES))
        store->recycle.is_dirty = true;
}

static void tell_damage(struct store *store, const char *what)
{
    const struct compact *compact = &store->compact;
    diag_error("segment_damaged segment=%016" PRIx64 " offset=%" PRIu64 " why=\"%s\"",
               compact->victim->id, compact->offset, what);
}

enum step { STEP_WENT_ON, STEP_WAITS, STEP_ENDED };

/* The records of one batch from `at` on. */
static enum step move_records(struct store *store, const struct batch_header *header,
                              const char *body, uint64_t *moved_upto)
{
    struct compact *compact = &store->compact;
    while (compact->at < header->body_bytes) {
        struct record record;
        uint32_t bytes;
        if (record_decode(body + compact->at, header->body_bytes - compact->at, &record, &bytes)
            != STATUS_OK) {
            tell_damage(store, "a record's checksum is wrong");
            return STEP_ENDED;
        }
        uint64_t offset = compact->offset + sizeof *header + compact->at;
        if ((record.flags & (RECORD_REMOVES | RECORD_IS_STATE)) == 0) {
            enum status status = store->owner.on_move(
                store->owner.context, &record, location_pack(compact->victim->id, offset, bytes));
            if (status == STATUS_NO_SPACE)
                return STEP_ENDED;
            if (status != STATUS_OK)
                return STEP_WAITS; /* the log has no room: the same one after the pause */
        }
        compact->at += bytes;
        if (compact->moved_bytes >= *moved_upto)
            return STEP_WAITS;
    }
    return STEP_WENT_ON;
}

/* Where recovery found that the victim's log ends; NULL: the log is of this run, and goes on. */
static const struct log_end *end_of_log(const struct store *store)
{
    const struct found_segment *found =
        directory_found(store->directory, store->compact.victim->id);
    if (found == NULL)
        return NULL;
    return manifest_end(&store->directory->manifest, found->epoch, found->log_index);
}

/* Behind the last batch of a log that was cut lies what was never acknowledged, whole or torn. */
static bool is_behind_end(const struct store *store, const struct batch_header *header)
{
    const struct log_end *log_end = end_of_log(store);
    return log_end != NULL && header->number > log_end->number;
}

static bool is_last_of_log(const struct store *store)
{
    const struct log_end *log_end = end_of_log(store);
    return log_end != NULL && log_end->segment_id == store->compact.victim->id;
}

/* One batch of the victim. */
static enum step move_batch(struct store *store, uint64_t *moved_upto)
{
    struct compact *compact = &store->compact;
    struct window *window = &compact->window;
    if (compact->offset + BLOCK_BYTES > window->file_bytes)
        return STEP_ENDED; /* the log was cut before the closing batch */
    const char *bytes = window_need(window, compact->offset, BLOCK_BYTES);
    compact->is_reading = bytes == NULL;
    if (bytes == NULL)
        return STEP_WAITS;
    struct batch_header header;
    memcpy(&header, bytes, sizeof header);
    if (!batch_header_is_valid(&header, compact->victim->id, compact->offset)
        || header.epoch != compact->victim->epoch
        || compact->offset + batch_header_bytes(&header) > window->file_bytes) {
        if (!is_last_of_log(store))
            tell_damage(store, "a batch header is damaged");
        return STEP_ENDED;
    }
    if (is_behind_end(store, &header))
        return STEP_ENDED;
    bytes = window_need(window, compact->offset, batch_header_bytes(&header));
    compact->is_reading = bytes == NULL;
    if (bytes == NULL)
        return STEP_WAITS;
    enum step step = move_records(store, &header, bytes + sizeof header, moved_upto);
    if (step != STEP_WENT_ON)
        return step;
    compact->offset += batch_header_bytes(&header);
    compact->at = 0;
    return (header.flags & BATCH_CLOSES) != 0 ? STEP_ENDED : STEP_WENT_ON;
}

static void slice(struct store *store)
{
    struct compact *compact = &store->compact;
    uint64_t moved_upto = compact->moved_bytes + SLICE_BYTES;
    uint64_t offset_upto = compact->offset + SLICE_READ_BYTES;
    enum step step = STEP_WENT_ON;
    while (step == STEP_WENT_ON && compact->offset < offset_upto)
        step = move_batch(store, &moved_upto);
    if (step == STEP_ENDED) {
        end(store);
        return;
    }
    if (!compact->is_reading) {
        compact->is_due = false;
        pause(store, is_hurrying(store) ? 0 : PAUSE_NS);
    }
}

static void on_filled(struct window *window)
{
    struct compact *compact = CONTAINER_OF(window, struct compact, window);
    struct store *store = store_of(compact);
    compact->is_reading = false;
    if (store->is_dead)
        return;
    if (window->status != STATUS_OK) {
        tell_damage(store, status_words(window->status));
        end(store);
    }
}

void compact_run(struct store *store)
{
    struct compact *compact = &store->compact;
    if (compact->is_reading || store->options.compact_percent == 0)
        return;
    if (store->is_stopping) {
        timer_stop(&compact->pause);
        if (compact->victim != NULL)
            end(store);
        return;
    }
    if (compact->victim != NULL) {
        if (compact->is_due)
            slice(store);
        return;
    }
    if (compact->is_due) {
        compact->is_due = compact->is_touched = false;
        struct segment *victim = choose(store);
        if (victim != NULL && fits(store, victim))
            begin(store, victim);
        if (compact->victim != NULL)
            slice(store);
        return;
    }
    if (compact->is_touched && !timer_is_running(&compact->pause))
        pause(store, LOOK_NS);
}

bool compact_is_busy(const struct store *store)
{
    return store->compact.is_reading;
}

void compact_fini(struct store *store)
{
    struct compact *compact = &store->compact;
    timer_stop(&compact->pause);
    if (compact->file != IO_FILE_NONE)
        io_file_close(store->shard->io, compact->file);
    window_fini(&compact->window);
    while (compact->moved_head != NULL) { /* of a store that crashed */
        struct moved *moved = compact->moved_head;
        compact->moved_head = moved->next;
        heap_free(moved);
    }
}
