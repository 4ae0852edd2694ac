/*
 * core/io_files.c: core/io.h's blocking calls on files and paths: for start-up and rare work.
 *
 * Keeps:   each failure is a status, and errno still tells the cause. What io_path_replace leaves behind, whenever the
 *          power fails, is the old file or the new one, whole.
 * Runs on: the shard's thread, which waits for the disk.
 */
#include "core/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/assert.h"

static enum status status_of(int result);
static void close_quietly(int fd);
static enum status file_write_all(int fd, const void *data, size_t count);
static enum status path_write_temporary(const char *path, const void *data, size_t count);
static enum status path_sync_parent(const char *path);

enum status io_file_open(struct io *io, const char *path, enum io_open_mode mode, bool direct,
                         io_file *file_out)
{
    (void)io;
    static const int flags[] = {
        [IO_OPEN_READ] = O_RDONLY,
        [IO_OPEN_READWRITE] = O_RDWR,
        [IO_OPEN_CREATE] = O_RDWR | O_CREAT | O_EXCL,
        [IO_OPEN_DIRECTORY] = O_RDONLY | O_DIRECTORY,
    };
    *file_out = IO_FILE_NONE;
    int fd = open(path, flags[mode] | O_CLOEXEC, 0600);
    if (fd < 0)
        return status_of(fd);
    /* Set afterwards, since an open that O_DIRECT makes fail may have made the file, and does not tell. */
    if (direct && fcntl(fd, F_SETFL, O_DIRECT) < 0) {
        close_quietly(fd);
        if (mode == IO_OPEN_CREATE)
            (void)unlink(
                path); /* we made it, nobody knows it; the caller asks again without O_DIRECT */
        return STATUS_UNSUPPORTED;
    }
    *file_out = fd;
    return STATUS_OK;
}

void io_file_close(struct io *io, io_file file)
{
    (void)io;
    if (file != IO_FILE_NONE)
        (void)close(file); /* what matters was synced; close reports nothing we could still mend */
}

enum status io_file_size(struct io *io, io_file file, uint64_t *bytes_out)
{
    (void)io;
    struct stat facts;
    if (fstat(file, &facts) < 0)
        return status_of(-1);
    *bytes_out = (uint64_t)facts.st_size;
    return STATUS_OK;
}

enum status io_file_allocate(struct io *io, io_file file, uint64_t bytes)
{
    (void)io;
    int result;
    do {
        result = fallocate(file, 0, 0, (off_t)bytes);
    } while (result < 0 && errno == EINTR);
    return status_of(result);
}

enum status io_path_make_directory(struct io *io, const char *path)
{
    (void)io;
    if (mkdir(path, 0700) == 0)
        return STATUS_OK;
    int cause = errno;
    struct stat facts;
    if (cause == EEXIST && stat(path, &facts) == 0 && S_ISDIR(facts.st_mode))
        return STATUS_OK;
    errno = cause;
    return status_of(-1);
}

enum status io_path_rename(struct io *io, const char *from, const char *to)
{
    (void)io;
    return status_of(rename(from, to));
}

enum status io_path_remove(struct io *io, const char *path)
{
    (void)io;
    return status_of(remove(path));
}

enum status io_path_list(struct io *io, const char *path,
                         void (*on_name)(void *context, const char *name), void *context)
{
    (void)io;
    DIR *directory = opendir(path);
    if (directory == NULL)
        return status_of(-1);
    errno = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            on_name(context, entry->d_name);
        errno = 0; /* readdir tells the end from a failure by errno alone */
    }
    int cause = errno;
    (void)closedir(directory);
    errno = cause;
    return status_from_errno(-cause);
}

enum status io_path_free_bytes(struct io *io, const char *path, uint64_t *bytes_out)
{
    (void)io;
    struct statvfs facts;
    if (statvfs(path, &facts) < 0)
        return status_of(-1);
    *bytes_out = (uint64_t)facts.f_bavail * facts.f_frsize;
    return STATUS_OK;
}

enum status io_path_read(struct io *io, const char *path, char *buffer, size_t capacity,
                         size_t *count_out)
{
    (void)io;
    *count_out = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return status_of(fd);
    ssize_t result = 1;
    while (*count_out < capacity && result != 0) {
        result = read(fd, buffer + *count_out, capacity - *count_out);
        if (result < 0 && errno != EINTR)
            break;
        if (result > 0)
            *count_out += (size_t)result;
    }
    close_quietly(fd);
    return result < 0 && *count_out < capacity ? status_of(-1) : STATUS_OK;
}

enum status io_path_replace(struct io *io, const char *path, const void *data, size_t count)
{
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    if (length < 0 || (size_t)length >= sizeof(temporary)) {
        errno = ENAMETOOLONG;
        return status_of(-1);
    }
    enum status status = path_write_temporary(temporary, data, count);
    if (status == STATUS_OK)
        status = io_path_rename(io, temporary, path);
    if (status != STATUS_OK) {
        int cause = errno;
        (void)unlink(temporary); /* the next replace would take it over anyway */
        errno = cause;
        return status;
    }
    return path_sync_parent(path);
}

static enum status path_write_temporary(const char *path, const void *data, size_t count)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return status_of(fd);
    enum status status = file_write_all(fd, data, count);
    if (status == STATUS_OK)
        status = status_of(fsync(fd));
    close_quietly(fd);
    return status;
}

static enum status file_write_all(int fd, const void *data, size_t count)
{
    const char *rest = data;
    while (count > 0) {
        ssize_t result = write(fd, rest, count);
        if (result < 0 && errno == EINTR)
            continue;
        if (result < 0)
            return status_of(-1);
        rest += result;
        count -= (size_t)result;
    }
    return STATUS_OK;
}

/* A rename is durable when its directory is. */
static enum status path_sync_parent(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - path);
    ASSERT(length < sizeof(parent) - 1);
    if (slash == path)
        length = 1; /* of "/file" the parent is "/" */
    memcpy(parent, length > 0 ? path : ".", length > 0 ? length : 1);
    parent[length > 0 ? length : 1] = '\0';

    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return status_of(fd);
    enum status status = status_of(fsync(fd));
    close_quietly(fd);
    return status;
}

/* flock: the kernel drops it with the last descriptor, that is with the process. */
enum status io_path_lock(struct io *io, const char *path, io_file *file_out)
{
    (void)io;
    *file_out = IO_FILE_NONE;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return status_of(fd);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        enum status status = status_of(-1); /* EWOULDBLOCK is EAGAIN is STATUS_BUSY */
        close_quietly(fd);
        return status;
    }
    *file_out = fd;
    return STATUS_OK;
}

static enum status status_of(int result)
{
    return result < 0 ? status_from_errno(-errno) : STATUS_OK;
}

/* Keeps errno, which tells the caller's people why. */
static void close_quietly(int fd)
{
    int cause = errno;
    (void)close(fd);
    errno = cause;
}
