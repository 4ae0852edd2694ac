/*
 * store/reader.c: a record by its location: from the cache, from a batch that is not written yet, or from the disk.
 *
 *     store_fetch ── cached, or in a batch ──► there now
 *          └── read of its blocks ── long record: the rest ──► checksum ──► cache ──► on_done of all who asked
 *
 * Keeps:   one read for one location, however many ask. While it runs the record counts as living once more, so that
 *          its segment is not recycled. A failed read is tried once more; a wrong checksum too, then it is damage.
 * Owns:    reads, their buffers, and descriptors of segment files.
 * Runs on: the store's shard.
 */
#include "store/reader.h"

#include <inttypes.h>

#include "core/assert.h"
#include "core/diag.h"
#include "store/location.h"
#include "store/parts.h"
#include "store/record_view.h"

static void on_read_done(struct op *op);

enum { READ_TRIES_MAX = 2 };

struct read {
    struct op op;
    struct read *next;
    struct store *store; /* borrows */
    location where;
    struct reader_file *file;    /* borrows; counted there */
    struct store_fetch *fetches; /* borrows; who waits, the oldest first */
    struct store_fetch **fetches_tail;
    char *buffer;         /* owns; whole blocks */
    uint64_t first_block; /* offset of the buffer in the file */
    uint32_t bytes;       /* of the record, as far as known */
    uint32_t buffer_bytes, read_bytes;
    uint32_t try_count;
};

void reader_init(struct store *store)
{
    struct reader *reader = &store->reader;
    reader->waiting_tail = &reader->waiting;
    for (uint32_t i = 0; i < READER_FILES_MAX; i++)
        reader->files[i].file = IO_FILE_NONE;
}

static void reads_free(struct read *read)
{
    while (read != NULL) {
        struct read *next = read->next;
        heap_free(read->buffer);
        heap_free(read);
        read = next;
    }
}

void reader_fini(struct store *store)
{
    ASSERT(store->is_dead || store->reader.read_count == 0);
    reads_free(store->reader.reads);
    reads_free(store->reader.waiting);
    for (uint32_t i = 0; i < READER_FILES_MAX; i++) {
        if (store->reader.files[i].file != IO_FILE_NONE)
            io_file_close(store->shard->io, store->reader.files[i].file);
    }
}

bool reader_is_busy(const struct store *store)
{
    return store->reader.read_count != 0;
}

/* ---- files ---- */

static void file_close(struct store *store, struct reader_file *file)
{
    ASSERT(file->read_count == 0);
    if (file->file != IO_FILE_NONE)
        io_file_close(store->shard->io, file->file);
    file->file = IO_FILE_NONE;
    file->segment_id = 0;
}

void reader_forget_segment(struct store *store, uint64_t segment_id)
{
    for (uint32_t i = 0; i < READER_FILES_MAX; i++) {
        if (store->reader.files[i].segment_id == segment_id)
            file_close(store, &store->reader.files[i]);
    }
}

/* The open file of the segment, else the one unused for longest; NULL when all are being read. */
static struct reader_file *file_find(struct reader *reader, uint64_t segment_id)
{
    struct reader_file *oldest = NULL;
    for (uint32_t i = 0; i < READER_FILES_MAX; i++) {
        struct reader_file *file = &reader->files[i];
        if (file->segment_id == segment_id)
            return file;
        if (file->read_count == 0 && (oldest == NULL || file->used_at < oldest->used_at))
            oldest = file;
    }
    return oldest;
}

static enum status file_open(struct store *store, uint64_t segment_id,
                             struct reader_file **file_out)
{
    struct reader_file *file = file_find(&store->reader, segment_id);
    if (file == NULL)
        return STATUS_BUSY;
    if (file->segment_id != segment_id) {
        char path[SEGMENT_PATH_BYTES];
        file_close(store, file);
        segment_path(path, store->directory->path, segment_id);
        enum status status = io_file_open(store->shard->io, path, IO_OPEN_READ,
                                          !store->directory->is_buffered, &file->file);
        if (status != STATUS_OK) {
            diag_error("segment_open_failed file=%s why=\"%s\"", path, status_words(status));
            file->file = IO_FILE_NONE;
            return status;
        }
        file->segment_id = segment_id;
    }
    file->used_at = ++store->reader.use_count;
    *file_out = file;
    return STATUS_OK;
}

/* ---- asking ---- */

static void fetch_give(struct store_fetch *fetch, struct cache_block *block)
{
    fetch->block = block;
    record_view(block->image, &fetch->record);
}

static struct read *find_read(struct read *list, location where)
{
    while (list != NULL && list->where != where)
        list = list->next;
    return list;
}

static void read_start(struct store *store, struct read *read);

static void read_new(struct store *store, struct store_fetch *fetch)
{
    struct reader *reader = &store->reader;
    struct read *read = heap_alloc_zeroed(store->shard->heap, sizeof *read);
    read->store = store;
    read->where = fetch->where;
    read->bytes = (uint32_t)location_bytes(fetch->where);
    read->fetches = fetch;
    read->fetches_tail = &fetch->next;
    store_retain(store, read->where);
    if (reader->read_count < READER_READS_MAX && reader->waiting == NULL) {
        read_start(store, read);
        return;
    }
    *reader->waiting_tail = read;
    reader->waiting_tail = &read->next;
}

bool store_fetch_cached(struct store *store, location where, struct store_fetch *fetch)
{
    ASSERT_ON_SHARD(store->shard);
    *fetch = (struct store_fetch){.where = where};
    struct cache_block *block = value_cache_pin(store->cache, where);
    if (block == NULL)
        return false;
    fetch_give(fetch, block);
    return true;
}

void store_prefetch(struct store *store, location where)
{
    value_cache_prefetch(store->cache, where);
}

void store_prefetch_record(struct store *store, location where)
{
    value_cache_prefetch_block(store->cache, where);
}

bool store_fetch(struct store *store, location where, struct store_fetch *fetch,
                 void (*on_done)(struct store_fetch *fetch, enum status status))
{
    ASSERT_ON_SHARD(store->shard);
    ASSERT(where != LOCATION_NONE);
    *fetch = (struct store_fetch){.on_done = on_done, .where = where};
    struct cache_block *block = value_cache_pin(store->cache, where);
    if (block == NULL) {
        const void *image = append_find(store, where);
        if (image != NULL) {
            uint32_t bytes = record_view_bytes(image);
            block = value_cache_block(store->cache, where, bytes);
            memcpy(block->image, image, bytes);
            value_cache_insert(store->cache, block);
        }
    }
    if (block != NULL) {
        fetch_give(fetch, block);
        return true;
    }
    struct read *read = find_read(store->reader.reads, where);
    if (read == NULL)
        read = find_read(store->reader.waiting, where);
    if (read == NULL) {
        read_new(store, fetch);
        return false;
    }
    *read->fetches_tail = fetch;
    read->fetches_tail = &fetch->next;
    return false;
}

void store_fetch_release(struct store *store, struct store_fetch *fetch)
{
    ASSERT_ON_SHARD(store->shard);
    ASSERT(fetch->block != NULL);
    value_cache_unpin(store->cache, fetch->block);
    fetch->block = NULL;
}

/* ---- reading ---- */

static void read_submit(struct read *read)
{
    uint64_t end = block_round_up(location_offset(read->where) + read->bytes);
    uint32_t needed = (uint32_t)(end - read->first_block);
    if (needed > read->buffer_bytes) {
        char *larger = heap_alloc_aligned(read->store->shard->heap, needed, BLOCK_BYTES);
        if (read->read_bytes > 0)
            memcpy(larger, read->buffer, read->read_bytes);
        heap_free(read->buffer);
        read->buffer = larger;
        read->buffer_bytes = needed;
    }
    io_read(read->store->shard->io, &read->op, read->file->file, read->buffer + read->read_bytes,
            needed - read->read_bytes, read->first_block + read->read_bytes, on_read_done);
}

static void on_not_opened(struct op *op);

static void read_start(struct store *store, struct read *read)
{
    struct reader *reader = &store->reader;
    read->next = reader->reads;
    reader->reads = read;
    reader->read_count++;
    read->first_block = location_offset(read->where) / BLOCK_BYTES * BLOCK_BYTES;
    enum status status = file_open(store, location_segment(read->where), &read->file);
    if (status != STATUS_OK) { /* tells it from the io, never inside store_fetch */
        read->try_count = READ_TRIES_MAX;
        io_sync(store->shard->io, &read->op, store->log_directory, on_not_opened);
        return;
    }
    read->file->read_count++;
    read_submit(read);
}

static void read_unlink(struct reader *reader, struct read *read)
{
    struct read **link = &reader->reads;
    while (*link != read)
        link = &(*link)->next;
    *link = read->next;
    reader->read_count--;
    if (read->file != NULL)
        read->file->read_count--;
}

/* Begins what waited, tells all who asked. They may fetch again, also the same. */
static void read_finish(struct read *read, enum status status)
{
    struct store *store = read->store;
    struct reader *reader = &store->reader;
    read_unlink(reader, read);
    recycle_release(store, read->where);
    if (reader->waiting != NULL) {
        struct read *next = reader->waiting;
        reader->waiting = next->next;
        if (reader->waiting == NULL)
            reader->waiting_tail = &reader->waiting;
        read_start(store, next);
    }
    struct cache_block *block = NULL;
    if (status == STATUS_OK) {
        block = value_cache_block(store->cache, read->where, read->bytes);
        memcpy(block->image, read->buffer + (location_offset(read->where) - read->first_block),
               read->bytes);
        value_cache_insert(store->cache, block);
    }
    *read->fetches_tail = NULL;
    struct store_fetch *fetch = read->fetches;
    heap_free(read->buffer);
    heap_free(read);
    while (fetch != NULL) {
        struct store_fetch *next = fetch->next;
        if (block != NULL) {
            block->pin_count++;
            fetch_give(fetch, block);
        }
        fetch->on_done(fetch, status);
        fetch = next;
    }
    if (block != NULL)
        value_cache_unpin(store->cache, block); /* the read's own pin */
}

static void on_not_opened(struct op *op)
{
    struct read *read = CONTAINER_OF(op, struct read, op);
    if (!read->store->is_dead)
        read_finish(read, STATUS_IO);
}

/* Damage, or a disk that failed: once more from the beginning, then it is what it is. */
static void read_failed(struct read *read, enum status status)
{
    read->try_count++;
    if (read->try_count < READ_TRIES_MAX) {
        read->read_bytes = 0;
        read->bytes = (uint32_t)location_bytes(read->where);
        read_submit(read);
        return;
    }
    diag_error("record_unreadable segment=%016" PRIx64 " offset=%" PRIu64 " why=\"%s\"",
               location_segment(read->where), location_offset(read->where), status_words(status));
    read_finish(read, status);
}

static void on_read_done(struct op *op)
{
    struct read *read = CONTAINER_OF(op, struct read, op);
    if (read->store->is_dead)
        return;
    uint64_t at = location_offset(read->where) - read->first_block;
    uint64_t end = block_round_up(at + read->bytes);
    if (op->result < 0) {
        read_failed(read, STATUS_IO);
        return;
    }
    read->read_bytes += (uint32_t)op->result / BLOCK_BYTES * BLOCK_BYTES;
    if (read->read_bytes < end && op->result >= BLOCK_BYTES) {
        read_submit(read); /* a short read is progress */
        return;
    }
    if (read->read_bytes < end) {
        read_failed(read, STATUS_CORRUPT);
        return;
    }
    const char *image = read->buffer + at;
    uint32_t told = record_view_bytes(image);
    if (location_is_long(read->where) && told > read->bytes && told <= SEGMENT_BYTES_MAX * 2u) {
        read->bytes = told;
        read_submit(read);
        return;
    }
    struct record record;
    uint32_t bytes;
    if (told != read->bytes || record_decode(image, read->bytes, &record, &bytes) != STATUS_OK) {
        read_failed(read, STATUS_CORRUPT);
        return;
    }
    read_finish(read, STATUS_OK);
}
