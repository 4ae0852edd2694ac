/*
 * store/directory.c: opens the directory of a process's stores, and records how earlier runs ended.
 *
 *     open:    lock ─► list ─► manifest ─► headers ─► manifest with the next epoch, durable
 *     commit:  the ends that recovery found ─► manifest, durable; only then may a store append
 *
 * Keeps:   one process at a time. An epoch is used by one run, even if that run crashes while opening. A segment that is
 *          newer than the manifest, or a log without a manifest, is damage and not an empty store.
 * Owns:    the lock, the manifest, the list of what was there at start, the shared cells (store/cells.c).
 * Runs on: one thread, before the stores are made and after they are gone.
 */
#include "store/directory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/assert.h"
#include "core/diag.h"
#include "store/location.h"

struct opening {
    struct store_directory *directory;
    struct io *io;
    char *why;
    size_t why_bytes;
};

static enum status opening_failed(const struct opening *opening, enum status status,
                                  const char *what, const char *path)
{
    (void)snprintf(opening->why, opening->why_bytes, "%s: %s: %s", path, what,
                   status_words(status));
    return status;
}

static void path_under(char *out, const char *directory, const char *name)
{
    int count = snprintf(out, SEGMENT_PATH_BYTES, "%s/%s", directory, name);
    ASSERT(count > 0 && count < SEGMENT_PATH_BYTES);
}

static void *list_resized(void *list, size_t count, size_t item_bytes)
{
    list = realloc(list, (count == 0 ? 1 : count) * item_bytes);
    ASSERT(list != NULL);
    return list;
}

/* ---- folders and lock ---- */

static enum status make_directories(struct opening *opening)
{
    char path[SEGMENT_PATH_BYTES];
    path_under(path, opening->directory->path, "log");
    for (char *at = strchr(path + 1, '/');; at = strchr(at + 1, '/')) {
        if (at != NULL)
            *at = '\0';
        enum status status = io_path_make_directory(opening->io, path);
        if (status != STATUS_OK)
            return opening_failed(opening, status, "cannot make the directory", path);
        if (at == NULL)
            return STATUS_OK;
        *at = '/';
    }
}

static enum status take_lock(struct opening *opening)
{
    char path[SEGMENT_PATH_BYTES];
    path_under(path, opening->directory->path, "pail.lock");
    enum status status = io_path_lock(opening->io, path, &opening->directory->lock);
    if (status == STATUS_BUSY) {
        (void)snprintf(opening->why, opening->why_bytes, "%s: another server is using this store",
                       opening->directory->path);
        return status;
    }
    if (status != STATUS_OK)
        return opening_failed(opening, status, "cannot lock", path);
    return STATUS_OK;
}

/* For what may not be there; what cannot be removed now is tried again at the next start. */
static void remove_quietly(struct opening *opening, const char *path)
{
    enum status ignored = io_path_remove(opening->io, path);
    (void)ignored;
}

/* Where O_DIRECT is refused, writes go through the page cache, each with its own sync. */
static enum status probe_direct(struct opening *opening)
{
    struct store_directory *directory = opening->directory;
    char path[SEGMENT_PATH_BYTES];
    path_under(path, directory->path, "log/probe.new");
    remove_quietly(opening, path); /* left by a crash */
    io_file file;
    enum status status = io_file_open(opening->io, path, IO_OPEN_CREATE, true, &file);
    if (status == STATUS_UNSUPPORTED) {
        directory->is_buffered = true;
        diag_warn("direct_io_refused path=%s writes=buffered_and_synced", directory->path);
    } else if (status != STATUS_OK) {
        return opening_failed(opening, status, "cannot make a file", path);
    } else {
        io_file_close(opening->io, file);
    }
    remove_quietly(opening, path); /* some kernels make it before they refuse */
    return STATUS_OK;
}

/* ---- what is there ---- */

static void on_name(void *context, const char *name)
{
    struct opening *opening = context;
    struct store_directory *directory = opening->directory;
    uint64_t number;
    if (segment_name_parse(name, &number)) {
        directory->found =
            list_resized(directory->found, directory->found_count + 1u, sizeof *directory->found);
        directory->found[directory->found_count++] = (struct found_segment){.id = number};
    } else if (spare_name_parse(name, &number)) {
        directory->spare_numbers =
            list_resized(directory->spare_numbers, directory->spare_numbers_count + 1u,
                         sizeof *directory->spare_numbers);
        directory->spare_numbers[directory->spare_numbers_count++] = number;
    }
}

static void on_leftover(void *context, const char *name)
{
    struct opening *opening = context;
    size_t count = strlen(name);
    if (count < 4 || strcmp(name + count - 4, ".new") != 0)
        return;
    char log[SEGMENT_PATH_BYTES - 512];
    char path[SEGMENT_PATH_BYTES];
    path_under(log, opening->directory->path, "log");
    path_under(path, log, name);
    remove_quietly(opening, path); /* a half-written spare */
}

static int compare_found(const void *a, const void *b)
{
    uint64_t id_a = ((const struct found_segment *)a)->id;
    uint64_t id_b = ((const struct found_segment *)b)->id;
    return id_a < id_b ? -1 : id_a > id_b;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t number_a = *(const uint64_t *)a;
    uint64_t number_b = *(const uint64_t *)b;
    return number_a < number_b ? -1 : number_a > number_b;
}

static enum status list_files(struct opening *opening)
{
    struct store_directory *directory = opening->directory;
    char path[SEGMENT_PATH_BYTES];
    path_under(path, directory->path, "log");
    enum status status = io_path_list(opening->io, path, on_name, opening);
    if (status == STATUS_OK)
        status = io_path_list(opening->io, path, on_leftover, opening);
    if (status != STATUS_OK)
        return opening_failed(opening, status, "cannot list", path);
    if (directory->found_count > 0) {
        qsort(directory->found, directory->found_count, sizeof *directory->found, compare_found);
    }
    if (directory->spare_numbers_count > 0) {
        qsort(directory->spare_numbers, directory->spare_numbers_count,
              sizeof *directory->spare_numbers, compare_numbers);
    }
    return STATUS_OK;
}

/*
 * The header is damaged, or never reached the disk. A batch inside still tells which log the file belongs to; without
 * one of that epoch it was never used.
 */
static enum status identify_by_batches(struct opening *opening, struct found_segment *segment,
                                       uint64_t epoch, const char *path)
{
    char *bytes = malloc(SEGMENT_BYTES_MAX);
    ASSERT(bytes != NULL);
    size_t count = 0;
    enum status status = io_path_read(opening->io, path, bytes, SEGMENT_BYTES_MAX, &count);
    segment->bytes = count;
    for (size_t at = SEGMENT_HEADER_BYTES; at + BLOCK_BYTES <= count; at += BLOCK_BYTES) {
        struct batch_header header;
        memcpy(&header, bytes + at, sizeof header);
        if (!batch_header_is_valid(&header, segment->id, at) || header.epoch != epoch)
            continue;
        segment->epoch = header.epoch;
        segment->log_index = header.log_index;
    }
    free(bytes);
    return status;
}

static void take_header(struct store_directory *directory, struct found_segment *segment,
                        const struct segment_header *header)
{
    segment->has_header = true;
    segment->epoch = header->epoch;
    segment->log_index = header->log_index;
    segment->bytes = header->bytes;
    segment->previous = (struct segment_previous){header->previous_segment_id,
                                                  header->previous_number, header->previous_chain};
    if (directory->newest == NULL)
        directory->newest = list_resized(NULL, 1, sizeof *header);
    *directory->newest = *header;
}

static enum status read_header(struct opening *opening, struct found_segment *segment)
{
    struct store_directory *directory = opening->directory;
    uint64_t epoch = manifest_epoch_of(&directory->manifest, segment->id);
    char path[SEGMENT_PATH_BYTES];
    segment_path(path, directory->path, segment->id);
    struct segment_header header;
    size_t count;
    enum status status = io_path_read(opening->io, path, (char *)&header, sizeof header, &count);
    bool is_whole = status == STATUS_OK && count == sizeof header
                    && segment_header_is_valid(&header, segment->id);
    if (status == STATUS_OK && !(is_whole && header.epoch == epoch))
        status = identify_by_batches(opening, segment, epoch, path);
    if (status != STATUS_OK)
        return opening_failed(opening, status, "cannot read", path);
    if (epoch == 0 || segment->id > LOCATION_SEGMENT_MAX || (is_whole && header.epoch > epoch))
        return opening_failed(opening, STATUS_CORRUPT, "the manifest does not know it", path);
    if (is_whole && header.epoch == epoch) /* a lower one was left by an earlier use of the file */
        take_header(directory, segment, &header);
    return STATUS_OK;
}

static enum status read_headers(struct opening *opening)
{
    struct store_directory *directory = opening->directory;
    for (uint32_t i = 0; i < directory->found_count; i++) {
        struct found_segment *segment = &directory->found[i];
        enum status status = read_header(opening, segment);
        if (status != STATUS_OK)
            return status;
        directory_segment_present(directory, segment->id);
        directory_segment_linked(directory, segment->id);
    }
    return STATUS_OK;
}

/* ---- the manifest ---- */

static void manifest_path(char *out, const struct store_directory *directory)
{
    path_under(out, directory->path, "manifest");
}

static enum status read_manifest(struct opening *opening)
{
    struct store_directory *directory = opening->directory;
    char path[SEGMENT_PATH_BYTES];
    manifest_path(path, directory);
    enum status status = manifest_read(&directory->manifest, opening->io, path);
    if (status == STATUS_NOT_FOUND && directory->found_count == 0) {
        directory->manifest.segment_next = 1;
        return STATUS_OK;
    }
    if (status == STATUS_NOT_FOUND)
        status = STATUS_CORRUPT; /* there are segments */
    if (status != STATUS_OK)
        return opening_failed(opening, status, "the manifest cannot be read", path);
    return STATUS_OK;
}

static bool epoch_has_segments(const struct store_directory *directory, uint64_t epoch)
{
    for (uint32_t i = 0; i < directory->found_count; i++) {
        if (manifest_epoch_of(&directory->manifest, directory->found[i].id) == epoch)
            return true;
    }
    return false;
}

/* Forgets epochs of which nothing is left, and their ends. */
static void forget_epochs(struct store_directory *directory, struct manifest *next)
{
    const struct manifest *last = &directory->manifest;
    for (uint32_t i = 0; i < last->shards_count; i++) {
        const struct epoch_shards *shards = &last->shards[i];
        if (epoch_has_segments(directory, shards->epoch)) {
            manifest_add_shards(next, shards);
            directory->reads_all |= shards->shard_count != directory->shard_count;
        }
    }
    for (uint32_t i = 0; i < last->ends_count; i++) {
        if (epoch_has_segments(directory, last->ends[i].epoch))
            manifest_add_end(next, &last->ends[i]);
    }
}

static enum status raise_epoch(struct opening *opening)
{
    struct store_directory *directory = opening->directory;
    struct manifest next = {.epoch = directory->manifest.epoch + 1,
                            .segment_next = directory->manifest.segment_next};
    if (directory->found_count > 0) {
        uint64_t highest = directory->found[directory->found_count - 1].id;
        if (highest >= next.segment_next)
            next.segment_next = highest + 1;
    }
    forget_epochs(directory, &next);
    struct epoch_shards shards = {next.epoch, directory->shard_count, next.segment_next};
    manifest_add_shards(&next, &shards);

    char path[SEGMENT_PATH_BYTES];
    manifest_path(path, directory);
    enum status status = manifest_write(&next, opening->io, path);
    if (status != STATUS_OK) {
        manifest_free(&next);
        return opening_failed(opening, status, "cannot write", path);
    }
    manifest_free(&directory->manifest);
    directory->manifest = next;
    directory->segment_first = next.segment_next;
    shared_store_seq_cst(&directory->segment_next, next.segment_next);
    uint32_t spares = directory->spare_numbers_count;
    shared_store_seq_cst(&directory->spare_next,
                         spares == 0 ? 1 : directory->spare_numbers[spares - 1] + 1);
    return STATUS_OK;
}

/* ---- the doors ---- */

enum status store_directory_open(struct io *io, const char *path,
                                 const struct store_options *options, uint32_t shard_count,
                                 struct store_directory **directory_out, char *why,
                                 size_t why_bytes)
{
    ASSERT(shard_count >= 1);
    ASSERT(shard_count <= SHARD_COUNT_MAX);
    ASSERT(options->segment_bytes >= SEGMENT_BYTES_MIN);
    ASSERT(options->segment_bytes <= SEGMENT_BYTES_MAX);
    ASSERT(options->segment_bytes % SEGMENT_BYTES_MIN == 0);
    ASSERT(strlen(path) + 64 < SEGMENT_PATH_BYTES);

    struct store_directory *directory = aligned_alloc(64, sizeof *directory);
    ASSERT(directory != NULL);
    memset(directory, 0, sizeof *directory);
    directory->path = strdup(path);
    directory->lock = IO_FILE_NONE;
    directory->shard_count = shard_count;
    directory->segment_bytes = options->segment_bytes;
    struct opening opening = {directory, io, why, why_bytes};

    enum status status = make_directories(&opening);
    if (status == STATUS_OK)
        status = take_lock(&opening);
    if (status == STATUS_OK)
        status = probe_direct(&opening);
    if (status == STATUS_OK)
        status = list_files(&opening);
    if (status == STATUS_OK)
        status = read_manifest(&opening);
    if (status == STATUS_OK)
        status = read_headers(&opening);
    if (status == STATUS_OK)
        status = raise_epoch(&opening);
    if (status != STATUS_OK) {
        store_directory_close(directory, io);
        directory = NULL;
    }
    *directory_out = directory;
    return status;
}

enum status store_directory_commit(struct store_directory *directory, struct io *io)
{
    for (uint32_t shard = 0; shard < directory->shard_count; shard++) {
        struct found_by_store *found = &directory->by_store[shard];
        for (uint32_t i = 0; i < found->ends_count; i++)
            manifest_add_end(&directory->manifest, &found->ends[i]);
        found->ends_count = 0;
    }
    char path[SEGMENT_PATH_BYTES];
    manifest_path(path, directory);
    return manifest_write(&directory->manifest, io, path);
}

void store_directory_close(struct store_directory *directory, struct io *io)
{
    if (directory->lock != IO_FILE_NONE)
        io_file_close(io, directory->lock);
    for (uint32_t shard = 0; shard < SHARD_COUNT_MAX; shard++) {
        free(directory->by_store[shard].ends);
        free(directory->by_store[shard].recycled_ids);
    }
    directory_cells_free(directory);
    manifest_free(&directory->manifest);
    free(directory->found);
    free(directory->spare_numbers);
    free(directory->newest);
    free(directory->path);
    free(directory);
}

uint64_t store_directory_epoch(const struct store_directory *directory)
{
    return directory->manifest.epoch;
}

bool store_directory_is_buffered(const struct store_directory *directory)
{
    return directory->is_buffered;
}

enum store_space store_directory_space(const struct store_directory *directory,
                                       uint32_t shard_index)
{
    return (enum store_space)shared_load_acquire(&directory->space[shard_index]);
}

void directory_space_set(struct store_directory *directory, uint32_t shard_index,
                         enum store_space space)
{
    shared_store_release(&directory->space[shard_index], space);
}

const struct found_segment *directory_found(const struct store_directory *directory,
                                            uint64_t segment_id)
{
    struct found_segment wanted = {.id = segment_id};
    if (directory->found_count == 0)
        return NULL;
    return bsearch(&wanted, directory->found, directory->found_count, sizeof wanted, compare_found);
}

uint32_t directory_owner(const struct store_directory *directory,
                         const struct found_segment *segment)
{
    return segment->log_index % directory->shard_count;
}
