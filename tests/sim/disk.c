/*
 * tests/sim/disk.c: files in memory, each with what is in it now and what is on the medium.
 *
 *     write begins ──► in flight ──done, durable──► medium
 *                          └─────────done, plain──► in the file ──sync──► medium
 *
 * Keeps:   `data` is what a read sees. `medium` is what is left if nothing more reaches it. Writes between the two are in
 *          the file's list, in the order they completed. The same holds for names: a directory's changes since its last
 *          sync are listed, and a crash undoes all behind some point.
 * Owns:    everything; one disk a process.
 */
#include "tests/sim/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "tests/sim/sim.h"

enum { PATH_BYTES = 512, HANDLES_MAX = 4096, ENTRIES_MAX = 4096 };

struct file {
    struct file *next;
    char *data, *medium;
    uint64_t bytes, medium_bytes, capacity;
    struct disk_write *unsynced, **unsynced_tail; /* done, in the file, not on the medium */
    uint64_t allocated_bytes;
    bool is_directory, is_locked, is_marked;
};

struct disk_write {
    struct disk_write *next;
    struct file *file;
    uint64_t offset, bytes, mark;
    char *data;
};

/* A change of a name, to be undone: the path named `before` (NULL: nothing). */
struct change {
    char path[PATH_BYTES];
    struct file *before;
    bool goes_with_next; /* both halves of a rename happen, or neither */
    uint64_t mark;
};

struct entry {
    char path[PATH_BYTES];
    struct file *file;
};

struct handle {
    struct file *file; /* NULL: closed */
    char path[PATH_BYTES];
    bool is_direct;
};

static struct {
    struct file *files;
    struct entry entries[ENTRIES_MAX];
    uint32_t entry_count;
    struct change *changes;
    uint32_t change_count;
    struct handle handles[HANDLES_MAX];
    uint64_t mark; /* grows with each completed write and each change of a name */
    uint64_t limit_bytes, allocated_bytes;
    bool refuses_direct;
} disk;

void sim_refuse_direct(bool refuse)
{
    disk.refuses_direct = refuse;
}

/* ---- names ---- */

static struct entry *entry_find(const char *path)
{
    for (uint32_t i = 0; i < disk.entry_count; i++) {
        if (strcmp(disk.entries[i].path, path) == 0)
            return &disk.entries[i];
    }
    return NULL;
}

static void entry_set(const char *path, struct file *file)
{
    struct entry *entry = entry_find(path);
    if (file == NULL) {
        if (entry != NULL)
            *entry = disk.entries[--disk.entry_count];
        return;
    }
    if (entry == NULL) {
        ASSERT(disk.entry_count < ENTRIES_MAX);
        entry = &disk.entries[disk.entry_count++];
        (void)snprintf(entry->path, PATH_BYTES, "%s", path);
    }
    entry->file = file;
}

/* Names something else, in a way that a crash may undo. */
static void name(const char *path, struct file *file)
{
    struct entry *entry = entry_find(path);
    disk.changes = realloc(disk.changes, (disk.change_count + 1) * sizeof *disk.changes);
    struct change *change = &disk.changes[disk.change_count++];
    *change = (struct change){.before = entry == NULL ? NULL : entry->file, .mark = ++disk.mark};
    (void)snprintf(change->path, PATH_BYTES, "%s", path);
    entry_set(path, file);
}

static bool is_in_directory(const char *path, const char *directory)
{
    size_t count = strlen(directory);
    return strncmp(path, directory, count) == 0 && path[count] == '/'
           && strchr(path + count + 1, '/') == NULL;
}

static struct file *file_make(bool is_directory)
{
    struct file *file = calloc(1, sizeof *file);
    file->unsynced_tail = &file->unsynced;
    file->is_directory = is_directory;
    file->next = disk.files;
    disk.files = file;
    return file;
}

static void write_free(struct disk_write *write)
{
    free(write->data);
    free(write);
}

static void file_free(struct file *file)
{
    while (file->unsynced != NULL) {
        struct disk_write *next = file->unsynced->next;
        write_free(file->unsynced);
        file->unsynced = next;
    }
    disk.allocated_bytes -= file->allocated_bytes;
    free(file->data);
    free(file->medium);
    free(file);
}

/* Frees what nothing names any more, not even after a crash. */
static void collect_garbage(void)
{
    for (struct file *file = disk.files; file != NULL; file = file->next)
        file->is_marked = false;
    for (uint32_t i = 0; i < disk.entry_count; i++)
        disk.entries[i].file->is_marked = true;
    for (uint32_t i = 0; i < disk.change_count; i++) {
        if (disk.changes[i].before != NULL)
            disk.changes[i].before->is_marked = true;
    }
    for (uint32_t i = 0; i < HANDLES_MAX; i++) {
        if (disk.handles[i].file != NULL)
            disk.handles[i].file->is_marked = true;
    }
    struct file **link = &disk.files;
    while (*link != NULL) {
        struct file *file = *link;
        if (file->is_marked) {
            link = &file->next;
            continue;
        }
        *link = file->next;
        file_free(file);
    }
}

/* ---- life ---- */

void disk_begin(void)
{
    memset(&disk, 0, sizeof disk);
    disk.limit_bytes = UINT64_MAX;
}

void disk_end(void)
{
    while (disk.files != NULL) {
        struct file *next = disk.files->next;
        file_free(disk.files);
        disk.files = next;
    }
    free(disk.changes);
    disk_begin();
}

void disk_limit(uint64_t bytes)
{
    disk.limit_bytes = bytes;
}

uint64_t disk_free_bytes(void)
{
    return disk.limit_bytes > disk.allocated_bytes ? disk.limit_bytes - disk.allocated_bytes : 0;
}

void disk_forget_handles(void)
{
    for (uint32_t i = 0; i < HANDLES_MAX; i++)
        disk.handles[i].file = NULL;
    for (struct file *file = disk.files; file != NULL; file = file->next)
        file->is_locked = false;
}

/* ---- bytes ---- */

static void grow(struct file *file, uint64_t bytes)
{
    if (bytes > file->capacity) {
        uint64_t capacity = 2 * file->capacity > bytes ? 2 * file->capacity : bytes;
        file->data = realloc(file->data, capacity);
        file->medium = realloc(file->medium, capacity);
        memset(file->data + file->capacity, 0, capacity - file->capacity);
        memset(file->medium + file->capacity, 0, capacity - file->capacity);
        file->capacity = capacity;
    }
    if (bytes > file->bytes)
        file->bytes = bytes;
}

static void put_medium(struct file *file, const char *data, uint64_t offset, uint64_t bytes)
{
    memcpy(file->medium + offset, data, bytes);
    if (offset + bytes > file->medium_bytes)
        file->medium_bytes = offset + bytes;
}

static void garble(char *out, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        out[i] = (char)sim_random();
}

/* Each sector on its own: old, new, or torn. */
static void tear_onto_medium(struct file *file, const struct disk_write *write,
                             uint32_t sector_bytes)
{
    for (uint64_t at = 0; at < write->bytes; at += sector_bytes) {
        uint64_t rest = write->bytes - at;
        uint64_t bytes = rest < sector_bytes ? rest : sector_bytes;
        uint64_t fate = sim_below(20);
        if (fate < 9) {
            put_medium(file, write->data + at, write->offset + at, bytes);
        } else if (fate == 9) {
            put_medium(file, write->data + at, write->offset + at, bytes);
            uint64_t half = sim_below(bytes);
            garble(file->medium + write->offset + at + half, bytes - half);
        }
    }
}

struct disk_write *disk_write_begin(io_file file, const void *data, uint64_t bytes, uint64_t offset)
{
    struct handle *handle = &disk.handles[file];
    ASSERT(handle->file != NULL);
    struct disk_write *write = calloc(1, sizeof *write);
    write->file = handle->file;
    write->offset = offset;
    write->bytes = bytes;
    write->data = malloc(bytes);
    memcpy(write->data, data, bytes);
    return write;
}

static void keep_unsynced(struct disk_write *write)
{
    write->mark = ++disk.mark;
    write->next = NULL;
    *write->file->unsynced_tail = write;
    write->file->unsynced_tail = &write->next;
}

static struct disk_write *part_of(const struct disk_write *write, uint64_t from, uint64_t to)
{
    struct disk_write *part = calloc(1, sizeof *part);
    *part = *write;
    part->next = NULL;
    part->offset = from;
    part->bytes = to - from;
    part->data = malloc(part->bytes);
    memcpy(part->data, write->data + (from - write->offset), part->bytes);
    return part;
}

/* What was written there before, and not synced, cannot come any more: the disk has the newer bytes. */
static void supersede(struct file *file, uint64_t from, uint64_t to)
{
    struct disk_write *old = file->unsynced;
    file->unsynced = NULL;
    file->unsynced_tail = &file->unsynced;
    while (old != NULL) {
        struct disk_write *next = old->next, *kept[2] = {NULL, NULL};
        uint64_t end = old->offset + old->bytes;
        bool is_hit = old->offset < to && from < end;
        if (!is_hit)
            kept[0] = old;
        if (is_hit && old->offset < from)
            kept[0] = part_of(old, old->offset, from);
        if (is_hit && end > to)
            kept[1] = part_of(old, to, end);
        if (is_hit)
            write_free(old);
        for (uint32_t i = 0; i < 2; i++) {
            if (kept[i] == NULL)
                continue;
            kept[i]->next = NULL;
            *file->unsynced_tail = kept[i];
            file->unsynced_tail = &kept[i]->next;
        }
        old = next;
    }
}

void disk_write_done(struct disk_write *write, uint64_t done_bytes, bool is_durable)
{
    struct file *file = write->file;
    ASSERT(done_bytes <= write->bytes);
    write->bytes = done_bytes;
    grow(file, write->offset + done_bytes);
    memcpy(file->data + write->offset, write->data, done_bytes);
    if (is_durable) {
        supersede(file, write->offset, write->offset + done_bytes);
        put_medium(file, write->data, write->offset, done_bytes);
        write_free(write);
        return;
    }
    keep_unsynced(write);
}

void disk_write_drop(struct disk_write *write)
{
    write_free(write);
}

void disk_write_failed(struct disk_write *write, uint32_t sector_bytes)
{
    struct file *file = write->file;
    grow(file, write->offset + write->bytes);
    for (uint64_t at = 0; at < write->bytes; at += sector_bytes) {
        uint64_t rest = write->bytes - at;
        if (sim_chance(500000))
            memcpy(file->data + write->offset + at, write->data + at,
                   rest < sector_bytes ? rest : sector_bytes);
    }
    keep_unsynced(write);
}

void disk_write_whole_or_not(struct disk_write *write)
{
    if (sim_chance(500000))
        disk_write_done(write, write->bytes, false);
    else
        write_free(write);
}

/* In the list: the crash that follows tears it. */
void disk_write_lost(struct disk_write *write)
{
    grow(write->file, write->offset + write->bytes);
    keep_unsynced(write);
}

void disk_crash(uint32_t sector_bytes)
{
    for (struct file *file = disk.files; file != NULL; file = file->next) {
        for (struct disk_write *write = file->unsynced; write != NULL;) {
            struct disk_write *next = write->next;
            tear_onto_medium(file, write, sector_bytes);
            write_free(write);
            write = next;
        }
        file->unsynced = NULL;
        file->unsynced_tail = &file->unsynced;
        if (file->bytes != file->medium_bytes && sim_chance(500000))
            file->medium_bytes = file->bytes;
        file->bytes = file->medium_bytes;
        if (file->capacity > 0)
            memcpy(file->data, file->medium, file->capacity);
    }
    /* One point in time for all directories: what a journal keeps. */
    uint32_t kept = (uint32_t)sim_below(disk.change_count + 1u);
    if (kept > 0 && disk.changes[kept - 1].goes_with_next)
        kept--;
    while (disk.change_count > kept) {
        const struct change *change = &disk.changes[--disk.change_count];
        entry_set(change->path, change->before);
    }
    disk.change_count = 0;
    collect_garbage();
}

uint64_t disk_read(io_file file, void *buffer, uint64_t bytes, uint64_t offset)
{
    const struct file *from = disk.handles[file].file;
    ASSERT(from != NULL);
    if (offset >= from->bytes)
        return 0;
    uint64_t rest = from->bytes - offset;
    if (bytes > rest)
        bytes = rest;
    memcpy(buffer, from->data + offset, bytes);
    return bytes;
}

uint64_t disk_sync_begin(io_file file)
{
    ASSERT(disk.handles[file].file != NULL);
    return disk.mark;
}

static void sync_names(const char *directory, uint64_t mark)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < disk.change_count; i++) {
        struct change *change = &disk.changes[i];
        if (change->mark > mark || !is_in_directory(change->path, directory))
            disk.changes[kept++] = *change;
    }
    disk.change_count = kept;
    collect_garbage();
}

void disk_sync_done(io_file file, uint64_t mark)
{
    struct file *synced = disk.handles[file].file;
    if (synced == NULL)
        return;
    if (synced->is_directory) {
        sync_names(disk.handles[file].path, mark);
        return;
    }
    while (synced->unsynced != NULL && synced->unsynced->mark <= mark) {
        struct disk_write *write = synced->unsynced;
        put_medium(synced, write->data, write->offset, write->bytes);
        synced->unsynced = write->next;
        write_free(write);
    }
    if (synced->unsynced == NULL)
        synced->unsynced_tail = &synced->unsynced;
    synced->medium_bytes = synced->bytes;
}

/* ---- files ---- */

static io_file handle_make(struct file *file, const char *path, bool direct)
{
    for (io_file i = 3; i < HANDLES_MAX; i++) {
        if (disk.handles[i].file != NULL)
            continue;
        disk.handles[i] = (struct handle){.file = file, .is_direct = direct};
        (void)snprintf(disk.handles[i].path, PATH_BYTES, "%s", path);
        return i;
    }
    ASSERT(!"too many open files");
    return IO_FILE_NONE;
}

enum status disk_open(const char *path, enum io_open_mode mode, bool direct, io_file *file_out)
{
    *file_out = IO_FILE_NONE;
    struct entry *entry = entry_find(path);
    if (direct && disk.refuses_direct)
        return STATUS_UNSUPPORTED;
    if (mode == IO_OPEN_CREATE) {
        if (entry != NULL)
            return STATUS_EXISTS;
        struct file *file = file_make(false);
        name(path, file);
        *file_out = handle_make(file, path, direct);
        return STATUS_OK;
    }
    if (entry == NULL)
        return STATUS_NOT_FOUND;
    ASSERT(entry->file->is_directory == (mode == IO_OPEN_DIRECTORY));
    *file_out = handle_make(entry->file, path, direct);
    return STATUS_OK;
}

void disk_close(io_file file)
{
    if (file == IO_FILE_NONE || disk.handles[file].file == NULL)
        return; /* forgotten by a crash */
    if (disk.handles[file].file->is_locked && strstr(disk.handles[file].path, "lock") != NULL)
        disk.handles[file].file->is_locked = false;
    disk.handles[file].file = NULL;
}

bool disk_is_direct(io_file file)
{
    return disk.handles[file].is_direct;
}

uint64_t disk_size(io_file file)
{
    return disk.handles[file].file->bytes;
}

enum status disk_allocate(io_file file, uint64_t bytes)
{
    struct file *grown = disk.handles[file].file;
    if (bytes > grown->allocated_bytes) {
        uint64_t more = bytes - grown->allocated_bytes;
        if (more > disk_free_bytes())
            return STATUS_NO_SPACE;
        disk.allocated_bytes += more;
        grown->allocated_bytes = bytes;
    }
    grow(grown, bytes);
    return STATUS_OK;
}

enum status disk_make_directory(const char *path)
{
    if (entry_find(path) == NULL)
        entry_set(path, file_make(true)); /* at once on the medium: nothing of ours depends on it */
    return STATUS_OK;
}

enum status disk_rename(const char *from, const char *to)
{
    struct entry *entry = entry_find(from);
    if (entry == NULL)
        return STATUS_NOT_FOUND;
    struct file *file = entry->file;
    name(to, file);
    disk.changes[disk.change_count - 1].goes_with_next = true;
    name(from, NULL);
    disk.changes[disk.change_count - 2].mark = disk.mark;
    return STATUS_OK;
}

enum status disk_remove(const char *path)
{
    if (entry_find(path) == NULL)
        return STATUS_NOT_FOUND;
    name(path, NULL);
    return STATUS_OK;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

enum status disk_list(const char *path, void (*on_name)(void *context, const char *name),
                      void *context)
{
    struct entry *copy = malloc((disk.entry_count + 1) * sizeof *copy);
    uint32_t count = 0;
    for (uint32_t i = 0; i < disk.entry_count; i++) {
        if (is_in_directory(disk.entries[i].path, path))
            copy[count++] = disk.entries[i];
    }
    qsort(copy, count, sizeof *copy, compare_entries);
    for (uint32_t i = 0; i < count; i++)
        on_name(context, strrchr(copy[i].path, '/') + 1);
    free(copy);
    return STATUS_OK;
}

enum status disk_read_path(const char *path, char *buffer, size_t capacity, size_t *count_out)
{
    const struct entry *entry = entry_find(path);
    if (entry == NULL)
        return STATUS_NOT_FOUND;
    const struct file *file = entry->file;
    *count_out = file->bytes < capacity ? file->bytes : capacity;
    if (*count_out > 0)
        memcpy(buffer, file->data, *count_out);
    return STATUS_OK;
}

enum status disk_replace(const char *path, const void *data, size_t count)
{
    struct file *file = file_make(false);
    grow(file, count);
    memcpy(file->data, data, count);
    put_medium(file, data, 0, count);
    entry_set(path, file);
    collect_garbage();
    return STATUS_OK;
}

enum status disk_lock(const char *path, io_file *file_out)
{
    struct entry *entry = entry_find(path);
    if (entry == NULL) {
        entry_set(path, file_make(false));
        entry = entry_find(path);
    }
    if (entry->file->is_locked)
        return STATUS_BUSY;
    entry->file->is_locked = true;
    *file_out = handle_make(entry->file, path, false);
    return STATUS_OK;
}

/* ---- looking, and damaging ---- */

const char *sim_file_at(const char *part_of_path, uint32_t index)
{
    qsort(disk.entries, disk.entry_count, sizeof disk.entries[0], compare_entries);
    for (uint32_t i = 0; i < disk.entry_count; i++) {
        if (!disk.entries[i].file->is_directory
            && strstr(disk.entries[i].path, part_of_path) != NULL && index-- == 0)
            return disk.entries[i].path;
    }
    return NULL;
}

uint32_t sim_file_count(const char *part_of_path)
{
    uint32_t count = 0;
    while (sim_file_at(part_of_path, count) != NULL)
        count++;
    return count;
}

uint64_t sim_file_bytes(const char *path)
{
    return entry_find(path)->file->bytes;
}

void sim_file_read(const char *path, uint64_t offset, void *out, uint64_t bytes)
{
    const struct file *file = entry_find(path)->file;
    ASSERT(offset + bytes <= file->bytes);
    memcpy(out, file->data + offset, bytes);
}

void sim_file_overwrite(const char *path, uint64_t offset, const void *data, uint64_t bytes)
{
    struct file *file = entry_find(path)->file;
    ASSERT(offset + bytes <= file->bytes);
    memcpy(file->data + offset, data, bytes);
    memcpy(file->medium + offset, data, bytes);
}

void sim_file_remove(const char *path)
{
    entry_set(path, NULL);
}
