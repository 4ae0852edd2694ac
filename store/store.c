/*
 * store/store.c: the life of one shard's store. What it does is in append.c, flight.c, spares.c, recycle.c, compact.c,
 * recovery.c and reader.c.
 *
 * Keeps:   the phase looks for work in the order in which it makes room: recycle, compact, make spares, send batches.
 * Owns:    the parts, the list of segments this store recycles, a descriptor of the log's directory.
 * Runs on: its shard.
 */
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/assert.h"
#include "core/diag.h"
#include "store/location.h"
#include "store/parts.h"
#include "store/recovery.h"

static void run_phase(struct shard *shard, void *context)
{
    (void)context;
    struct store *store = shard->rooms[SHARD_ROOM_STORE];
    if (store == NULL || !store->is_started || store->is_dead)
        return;
    store->phase_ns = shard_now_ns(shard);
    recycle_run(store);
    compact_run(store);
    spares_keep(store);
    append_pump(store);
}

struct store *store_create(struct shard *shard, struct store_directory *directory,
                           const struct store_options *options)
{
    ASSERT_ON_SHARD(shard);
    ASSERT(directory->shard_count == shard->count);
    struct store *store = heap_alloc_zeroed(shard->heap, sizeof *store);
    store->shard = shard;
    store->directory = directory;
    store->options = *options;
    store->cache = value_cache_create(shard->heap, options->cache_bytes);
    char path[SEGMENT_PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/log", directory->path);
    store->log_directory = IO_FILE_NONE;
    if (io_file_open(shard->io, path, IO_OPEN_DIRECTORY, false, &store->log_directory) != STATUS_OK)
        diag_error("directory_open_failed path=%s", path); /* the first sync of it fails */
    append_init(store);
    spares_init(store);
    reader_init(store);
    compact_init(store);
    bool is_again = shard->rooms[SHARD_ROOM_STORE] != NULL;
    ASSERT(!is_again);
    shard->rooms[SHARD_ROOM_STORE] = store;
    shard_add_phase(shard, run_phase, NULL);
    return store;
}

void store_start(struct store *store, const struct store_owner *owner)
{
    ASSERT_ON_SHARD(store->shard);
    ASSERT(!store->is_started);
    ASSERT(store->recovery == NULL);
    store->owner = *owner;
    store->is_started = true;
    recycle_start(store);
    shard_stay_awake(store->shard); /* the first spare is made in the next phase */
}

void store_stop(struct store *store)
{
    store->is_stopping = true;
    timer_stop(&store->append.seal_timer);
}

bool store_is_busy(const struct store *store)
{
    return append_is_busy(store) || spares_is_busy(store) || recycle_is_busy(store)
           || compact_is_busy(store) || reader_is_busy(store);
}

void store_destroy(struct store *store)
{
    if (store == NULL)
        return;
    ASSERT(store->is_dead || !store_is_busy(store));
    store->shard->rooms[SHARD_ROOM_STORE] = NULL;
    recovery_fini(store);
    reader_fini(store);
    compact_fini(store);
    spares_fini(store);
    append_fini(store);
    while (store->segments_count > 0)
        store_remove_segment(store, store->segments[store->segments_count - 1]);
    if (store->log_directory != IO_FILE_NONE)
        io_file_close(store->shard->io, store->log_directory);
    stream_set_free(&store->former_states);
    value_cache_destroy(store->cache);
    heap_free(store->segments);
    heap_free(store);
}

void store_abandon(struct store *store)
{
    if (store != NULL)
        store->is_dead = true;
    store_destroy(store);
}

/* ---- segments ---- */

struct segment *store_add_segment(struct store *store, uint64_t id, uint64_t epoch, uint64_t bytes)
{
    struct heap *heap = store->shard->heap;
    if (store->segments_count == store->segments_capacity) {
        store->segments_capacity =
            store->segments_capacity == 0 ? 16 : 2 * store->segments_capacity;
        store->segments =
            heap_resize(heap, store->segments, store->segments_capacity * sizeof(struct segment *));
    }
    struct segment *segment = heap_alloc_zeroed(heap, sizeof *segment);
    segment->store = store;
    segment->id = id;
    segment->epoch = epoch;
    segment->bytes = bytes;
    segment->file = IO_FILE_NONE;
    uint32_t count = store->segments_count;
    ASSERT(count == 0 || store->segments[count - 1]->id < id);
    store->segments[store->segments_count++] = segment;
    return segment;
}

void store_remove_segment(struct store *store, struct segment *segment)
{
    uint32_t index = 0;
    while (store->segments[index] != segment)
        index++;
    store->segments_count--;
    memmove(&store->segments[index], &store->segments[index + 1],
            (store->segments_count - index) * sizeof(struct segment *));
    if (segment->file != IO_FILE_NONE)
        io_file_close(store->shard->io, segment->file);
    stream_set_free(&segment->states);
    heap_free(segment);
}

void stream_set_add(struct stream_set *set, struct heap *heap, uint32_t stream_id)
{
    for (uint32_t i = set->count; i-- > 0;) {
        if (set->ids[i] == stream_id)
            return;
    }
    if (set->count == set->capacity) {
        set->capacity = set->capacity == 0 ? 8 : 2 * set->capacity;
        set->ids = heap_resize(heap, set->ids, set->capacity * sizeof *set->ids);
    }
    set->ids[set->count++] = stream_id;
}

void stream_set_free(struct stream_set *set)
{
    heap_free(set->ids);
    *set = (struct stream_set){0};
}

void store_fail(struct store *store, const char *what, const struct segment *segment,
                int32_t result)
{
    char why[256];
    (void)snprintf(why, sizeof why, "%s of segment %016" PRIx64 " failed (%s)", what, segment->id,
                   result < 0 ? status_words(status_from_errno(result)) : "incomplete");
    store->is_dead = true;
    store->options.on_fatal(store->options.context, why);
}

void store_fail_read(struct store *store, location where, enum status status)
{
    char why[256];
    (void)snprintf(why, sizeof why, "read of segment %016" PRIx64 " at %" PRIu64 " failed (%s)",
                   location_segment(where), location_offset(where), status_words(status));
    store->is_dead = true;
    store->options.on_fatal(store->options.context, why);
}

/* ---- figures ---- */

void store_figures(const struct store *store, struct store_figures *figures_out)
{
    struct value_cache_figures cache = value_cache_figures(store->cache);
    *figures_out = (struct store_figures){
        .appended_bytes = store->appended_bytes,
        .written_bytes = store->written_bytes,
        .batch_count = store->append.number_sent,
        .segment_count = store->segments_count,
        .spare_count = store->spares.ready_count,
        .cache_bytes = cache.bytes,
        .cache_hits = cache.hits,
        .cache_misses = cache.misses,
        .moved_records = store->compact.moved_records,
        .moved_bytes = store->compact.moved_bytes,
    };
}
