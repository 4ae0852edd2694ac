/*
 * store/spares.c: keeps files ready that become segments, and says when the disk is full.
 *
 *     IDLE ──allocate──► ZEROS ──all written──► SYNC ──named spare-<n>.segment──► ready
 *       └── refused: failing, tried again by a timer; also by recycling, which gives files back
 *
 * Keeps:   a segment's blocks were written before: a durable write into it changes no metadata and is two to three times
 *          faster than one into space that is only allocated. A file is never written before its last name is durably
 *          gone (recycle.c), nor a batch in it answered before its new name is durable (append waits for is_linked).
 *          One name at a time becomes durable, so that the header of a log's next segment lists the one before.
 *          The disk counts as full as soon as a spare cannot be made, while a whole one and the rest of the active
 *          segment are left for what was sequenced before everyone had heard.
 * Owns:    the files until they become segments.
 * Runs on: the store's shard.
 */
#include "store/spares.h"

#include "core/assert.h"
#include "core/diag.h"
#include "store/parts.h"

static void on_zeros_done(struct op *op);
static void on_sync_done(struct op *op);
static void on_retry(struct timer *timer);
static void on_link_done(struct op *op);
static void retry_later(struct store *store);

static void update_space(struct store *store)
{
    struct spares *spares = &store->spares;
    enum store_space space = STORE_SPACE_OK;
    if (spares->is_failing)
        space = spares->ready_count > spares->promised_count ? STORE_SPACE_LOW : STORE_SPACE_NONE;
    uint32_t index = store->shard->index;
    enum store_space before = store_directory_space(store->directory, index);
    if (space == before)
        return;
    directory_space_set(store->directory, index, space);
    static const char *const words[] = {"ok", "low", "none"};
    diag_warn("disk_space shard=%u space=%s spares=%u", index, words[space], spares->ready_count);
}

static void remove_quietly(struct store *store, const char *path)
{
    enum status ignored = io_path_remove(store->shard->io, path); /* removed at the next start */
    (void)ignored;
}

/* ---- those found at start ---- */

static void adopt(struct store *store, uint64_t number)
{
    struct io *io = store->shard->io;
    char path[SEGMENT_PATH_BYTES];
    spare_path(path, store->directory->path, number);
    io_file file;
    if (io_file_open(io, path, IO_OPEN_READWRITE, !store->directory->is_buffered, &file)
        != STATUS_OK)
        return;
    uint64_t bytes = 0;
    bool fits = io_file_size(io, file, &bytes) == STATUS_OK && spares_want(store, bytes);
    io_file_close(io, file);
    if (fits)
        spares_add(store, number, bytes);
    else
        remove_quietly(store, path);
}

void spares_init(struct store *store)
{
    const struct store_directory *directory = store->directory;
    store->spares.making.file = IO_FILE_NONE;
    for (uint32_t i = 0; i < directory->spare_numbers_count; i++) {
        if (i % directory->shard_count == store->shard->index)
            adopt(store, directory->spare_numbers[i]);
    }
}

void spares_fini(struct store *store)
{
    struct spares *spares = &store->spares;
    timer_stop(&spares->retry_timer);
    for (uint32_t i = 0; i < spares->ready_count; i++)
        io_file_close(store->shard->io, spares->ready[i].file);
    if (spares->making.file != IO_FILE_NONE)
        io_file_close(store->shard->io, spares->making.file);
    heap_free(spares->zeros);
}

bool spares_want(const struct store *store, uint64_t bytes)
{
    return bytes == store->options.segment_bytes && store->spares.ready_count < SPARES_MAX;
}

void spares_add(struct store *store, uint64_t number, uint64_t bytes)
{
    struct spares *spares = &store->spares;
    char path[SEGMENT_PATH_BYTES];
    spare_path(path, store->directory->path, number);
    if (spares->ready_count == SPARES_MAX) { /* one was made meanwhile */
        remove_quietly(store, path);
        return;
    }
    struct spare spare = {.number = number, .bytes = bytes};
    if (io_file_open(store->shard->io, path, IO_OPEN_READWRITE, !store->directory->is_buffered,
                     &spare.file)
        != STATUS_OK)
        return; /* found again at the next start */
    spares->ready[spares->ready_count++] = spare;
    if (spares->ready_count >= SPARES_WANTED)
        spares->is_failing = false;
    update_space(store);
}

/* ---- making ---- */

static void making_failed(struct store *store, enum status status)
{
    struct spares *spares = &store->spares;
    char path[SEGMENT_PATH_BYTES];
    spare_new_path(path, store->directory->path, spares->making.number);
    if (spares->making.file != IO_FILE_NONE)
        io_file_close(store->shard->io, spares->making.file);
    spares->making.file = IO_FILE_NONE;
    remove_quietly(store, path);
    heap_free(spares->zeros);
    spares->zeros = NULL;
    spares->state = MAKING_IDLE;
    if (!spares->is_failing)
        diag_warn("segment_refused shard=%u why=\"%s\"", store->shard->index, status_words(status));
    retry_later(store);
}

static void write_zeros(struct store *store)
{
    struct spares *spares = &store->spares;
    uint64_t rest = spares->making.bytes - spares->written_bytes;
    uint64_t bytes = rest < SPARES_WRITE_BYTES ? rest : SPARES_WRITE_BYTES;
    spares->state = MAKING_ZEROS;
    io_write(store->shard->io, &spares->op, spares->making.file, spares->zeros, (uint32_t)bytes,
             spares->written_bytes, IO_PLAIN, on_zeros_done);
}

static void make(struct store *store, uint64_t bytes)
{
    struct spares *spares = &store->spares;
    struct io *io = store->shard->io;
    char path[SEGMENT_PATH_BYTES];
    spares->making = (struct spare){
        .number = shared_add_seq_cst(&store->directory->spare_next, 1),
        .bytes = bytes,
        .file = IO_FILE_NONE,
    };
    spare_new_path(path, store->directory->path, spares->making.number);
    enum status status = io_file_open(io, path, IO_OPEN_CREATE, !store->directory->is_buffered,
                                      &spares->making.file);
    if (status == STATUS_OK)
        status = io_file_allocate(io, spares->making.file, bytes);
    if (status != STATUS_OK) {
        making_failed(store, status);
        return;
    }
    spares->zeros = heap_alloc_aligned(store->shard->heap, SPARES_WRITE_BYTES, BLOCK_BYTES);
    memset(spares->zeros, 0, SPARES_WRITE_BYTES);
    spares->written_bytes = 0;
    write_zeros(store);
}

static struct store *store_of(struct op *op)
{
    struct spares *spares = CONTAINER_OF(op, struct spares, op);
    return CONTAINER_OF(spares, struct store, spares);
}

static void on_zeros_done(struct op *op)
{
    struct store *store = store_of(op);
    struct spares *spares = &store->spares;
    if (store->is_dead)
        return;
    ASSERT(spares->state == MAKING_ZEROS);
    if (op->result < BLOCK_BYTES) {
        making_failed(store, op->result < 0 ? status_from_errno(op->result) : STATUS_NO_SPACE);
        return;
    }
    spares->written_bytes += (uint64_t)op->result / BLOCK_BYTES * BLOCK_BYTES;
    if (spares->written_bytes < spares->making.bytes) {
        write_zeros(store);
        return;
    }
    heap_free(spares->zeros);
    spares->zeros = NULL;
    spares->state = MAKING_SYNC;
    io_sync(store->shard->io, op, spares->making.file, on_sync_done);
}

static void on_sync_done(struct op *op)
{
    struct store *store = store_of(op);
    struct spares *spares = &store->spares;
    if (store->is_dead)
        return;
    ASSERT(spares->state == MAKING_SYNC);
    char from[SEGMENT_PATH_BYTES];
    char to[SEGMENT_PATH_BYTES];
    spare_new_path(from, store->directory->path, spares->making.number);
    spare_path(to, store->directory->path, spares->making.number);
    enum status status =
        op->result < 0 ? status_from_errno(op->result) : io_path_rename(store->shard->io, from, to);
    if (status != STATUS_OK) {
        making_failed(store, status);
        return;
    }
    spares->state = MAKING_IDLE;
    spares->is_failing = false;
    if (spares->ready_count == SPARES_MAX) { /* recycling was faster: the last one makes room */
        struct spare *last = &spares->ready[--spares->ready_count];
        io_file_close(store->shard->io, last->file);
        spare_path(from, store->directory->path, last->number);
        remove_quietly(store, from);
    }
    spares->ready[spares->ready_count++] = spares->making;
    spares->making.file = IO_FILE_NONE;
    update_space(store);
}

static void on_retry(struct timer *timer)
{
    (void)timer; /* the turn that ran it runs spares_keep */
}

/* The oldest of the right size; -1: none. */
static int find_ready(const struct spares *spares, uint64_t bytes)
{
    for (uint32_t i = 0; i < spares->ready_count; i++) {
        if (spares->ready[i].bytes == bytes)
            return (int)i;
    }
    return -1;
}

/* The size of the file that is missing most; 0: none. */
static uint64_t wanted_bytes(const struct store *store)
{
    const struct spares *spares = &store->spares;
    uint64_t bytes = store->options.segment_bytes;
    for (uint32_t i = 0; i < spares->promised_count; i++) {
        uint64_t promised = spares->promised[i]->bytes;
        if (promised != bytes && find_ready(spares, promised) < 0)
            return promised;
    }
    uint32_t wanted = store->append.number_opened == 0 ? 1 : SPARES_WANTED; /* unused is cheap */
    wanted += spares->promised_count;
    return spares->ready_count < (wanted < SPARES_MAX ? wanted : SPARES_MAX) ? bytes : 0;
}

void spares_keep(struct store *store)
{
    struct spares *spares = &store->spares;
    if (spares->state != MAKING_IDLE || timer_is_running(&spares->retry_timer))
        return;
    if (store->is_stopping && spares->promised_count == 0)
        return;
    uint64_t bytes = wanted_bytes(store);
    if (bytes != 0) {
        make(store, bytes);
    } else if (spares->is_failing) { /* recycling gave what was missing */
        spares->is_failing = false;
        update_space(store);
    }
}

bool spares_is_busy(const struct store *store)
{
    return store->spares.state != MAKING_IDLE;
}

/* ---- giving ---- */

static void retry_later(struct store *store)
{
    store->spares.is_failing = true;
    timer_start(store->shard->timers, &store->spares.retry_timer,
                shard_now_ns(store->shard) + SPARES_RETRY_NS, on_retry);
    update_space(store);
}

/*
 * What is promised must be had, for by then it has a place in the order: there is a spare for it, or the file system has
 * room for all that is promised, and one more.
 */
bool spares_can_promise(struct store *store, uint64_t bytes)
{
    struct spares *spares = &store->spares;
    uint64_t segment_bytes = store->options.segment_bytes;
    if (bytes == segment_bytes && spares->ready_count > spares->promised_count)
        return true;
    if (spares->is_failing)
        return false;
    uint64_t needed = bytes + segment_bytes;
    for (uint32_t i = 0; i < spares->promised_count; i++)
        needed += spares->promised[i]->bytes;
    uint64_t free_bytes;
    enum status status = io_path_free_bytes(store->shard->io, store->directory->path, &free_bytes);
    if (status == STATUS_OK && free_bytes >= needed)
        return true;
    if (bytes == segment_bytes)
        retry_later(store); /* one that is larger was only too large */
    return false;
}

void spares_promise(struct store *store, struct segment *segment)
{
    struct spares *spares = &store->spares;
    ASSERT(spares->promised_count < COUNT_OF(spares->promised));
    spares->promised[spares->promised_count++] = segment;
    update_space(store);
}

bool spares_attach(struct store *store, struct segment *segment)
{
    struct spares *spares = &store->spares;
    if (segment->state == SEGMENT_OPEN)
        return true;
    ASSERT(segment->state == SEGMENT_PLANNED);
    ASSERT(spares->promised_count > 0 && spares->promised[0] == segment);
    if (spares->is_linking)
        return false;
    int index = find_ready(spares, segment->bytes);
    if (index < 0)
        return false;
    struct spare spare = spares->ready[index];
    spares->ready_count--;
    memmove(&spares->ready[index], &spares->ready[index + 1],
            (spares->ready_count - (uint32_t)index) * sizeof spare);
    spares->promised_count--;
    memmove(&spares->promised[0], &spares->promised[1],
            spares->promised_count * sizeof spares->promised[0]);

    char from[SEGMENT_PATH_BYTES];
    char to[SEGMENT_PATH_BYTES];
    spare_path(from, store->directory->path, spare.number);
    segment_path(to, store->directory->path, segment->id);
    enum status status = io_path_rename(store->shard->io, from, to);
    if (status != STATUS_OK) {
        store_fail(store, "rename", segment, 0);
        return false;
    }
    segment->file = spare.file;
    segment->state = SEGMENT_OPEN;
    spares->is_linking = true;
    io_sync(store->shard->io, &segment->link_op, store->log_directory, on_link_done);
    update_space(store);
    return true;
}

static void on_link_done(struct op *op)
{
    struct segment *segment = CONTAINER_OF(op, struct segment, link_op);
    struct store *store = segment->store;
    if (store->is_dead)
        return;
    if (op->result < 0) {
        store_fail(store, "sync of the directory", segment, op->result);
        return;
    }
    store->spares.is_linking = false;
    segment->is_linked = true;
    directory_segment_linked(store->directory, segment->id);
    append_advance(store);
}
