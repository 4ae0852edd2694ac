/*
 * core/diag.c: text for people, one line an event.
 *
 * A line is put together on the stack and handed to the kernel in one write(2) on a descriptor opened for appending, so
 * lines of several threads never mix and nothing waits in a buffer when the process is killed. What does not fit in
 * DIAG_LINE_BYTES_MAX is cut; control characters become `?`, so that a peer's text cannot forge a line.
 *
 * A file that has grown above its limit is renamed by the thread that wrote the last line, which then opens a new one.
 *
 * Shares:  the descriptor and the flags, with all threads. Relaxed order suffices: each is one word, and reopening
 *          keeps the descriptor's number (dup3), so that a thread which read it a moment ago still writes to a log.
 *          The path and the limits are behind a mutex: they are looked at only to open and to rename.
 * Runs on: any thread.
 */
#include "core/diag.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/bytes.h"

enum {
    DIAG_LINE_BYTES_MAX = 8192,
    DIAG_HEAD_BYTES_MAX = 96,
    DIAG_FILE_MODE = 0640,
};

enum diag_flag { DIAG_WITH_DEBUG = 1, DIAG_WITH_TRACE = 2, DIAG_WITHOUT_TIME = 4, DIAG_UTC = 8 };

static atomic_int diag_file = STDERR_FILENO;
static atomic_uint diag_flags;
static atomic_ullong diag_bytes;                  /* in the file, as far as we know */
static atomic_ullong diag_bytes_max = UINT64_MAX; /* to rotate above */

static pthread_mutex_t diag_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the next two */
static char diag_path[4096];
static uint32_t diag_count_max;

static void rotate_if_large(size_t count);
static void purge_old_files(void);
static int is_older_file(const struct dirent *entry);

static enum status point_at(const char *path);
static size_t write_head(char *line, enum diag_level level, unsigned flags);
static void mask_controls(char *text, size_t count);

enum status diag_open(const struct diag_options *options)
{
    (void)pthread_mutex_lock(&diag_lock);
    enum status status = point_at(options->file);
    int cause = errno;
    if (status == STATUS_OK) {
        (void)snprintf(diag_path, sizeof(diag_path), "%s",
                       options->file != NULL ? options->file : "");
        diag_count_max = options->file_count_max;
        bool rotates = options->file != NULL && options->file_bytes_max > 0;
        atomic_store_explicit(&diag_bytes_max, rotates ? options->file_bytes_max : UINT64_MAX,
                              memory_order_relaxed);
    }
    (void)pthread_mutex_unlock(&diag_lock);
    errno = cause;
    if (status != STATUS_OK)
        return status;

    unsigned flags =
        (options->debug ? DIAG_WITH_DEBUG : 0u) | (options->trace ? DIAG_WITH_TRACE : 0u)
        | (options->without_time ? DIAG_WITHOUT_TIME : 0u) | (options->utc ? DIAG_UTC : 0u);
    atomic_store_explicit(&diag_flags, flags, memory_order_relaxed);
    return STATUS_OK;
}

static enum status point_at(const char *path)
{
    int current = atomic_load_explicit(&diag_file, memory_order_relaxed);
    if (path == NULL) {
        atomic_store_explicit(&diag_file, STDERR_FILENO, memory_order_relaxed);
        if (current != STDERR_FILENO)
            (void)close(current); /* its lines are written; there is nobody to tell */
        return STATUS_OK;
    }

    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, DIAG_FILE_MODE);
    if (file < 0)
        return status_from_errno(-errno);
    struct stat about;
    atomic_store_explicit(&diag_bytes,
                          fstat(file, &about) == 0 ? (unsigned long long)about.st_size : 0,
                          memory_order_relaxed);
    if (current == STDERR_FILENO) {
        atomic_store_explicit(&diag_file, file, memory_order_relaxed);
        return STATUS_OK;
    }
    enum status status = dup3(file, current, O_CLOEXEC) < 0 ? status_from_errno(-errno) : STATUS_OK;
    (void)close(file); /* nothing was written through it */
    return status;
}

bool diag_is_on(enum diag_level level)
{
    unsigned flags = atomic_load_explicit(&diag_flags, memory_order_relaxed);
    if (level == DIAG_DEBUG)
        return (flags & DIAG_WITH_DEBUG) != 0;
    if (level == DIAG_TRACE)
        return (flags & DIAG_WITH_TRACE) != 0;
    return true;
}

void diag_line(enum diag_level level, const char *format, ...)
{
    if (!diag_is_on(level))
        return;

    int saved_errno = errno; /* callers report it after us */
    char line[DIAG_LINE_BYTES_MAX];
    size_t head = write_head(line, level, atomic_load_explicit(&diag_flags, memory_order_relaxed));
    size_t room = sizeof(line) - head - 1; /* for the newline */
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(line + head, room, format, arguments);
    va_end(arguments);

    size_t count = wanted < 0 ? 0 : (size_t)wanted < room ? (size_t)wanted : room - 1;
    mask_controls(line + head, count);
    line[head + count] = '\n';
    /* A log that cannot be written has no place to say so; the server goes on. */
    (void)!write(atomic_load_explicit(&diag_file, memory_order_relaxed), line, head + count + 1);
    rotate_if_large(head + count + 1);
    errno = saved_errno;
}

/* ---- rotation ---- */

static void rotate_if_large(size_t count)
{
    char backup[sizeof(diag_path) + 48] = "";
    unsigned long long most = atomic_load_explicit(&diag_bytes_max, memory_order_relaxed);
    unsigned long long bytes =
        atomic_fetch_add_explicit(&diag_bytes, count, memory_order_relaxed) + count;
    if (bytes <= most || pthread_mutex_trylock(&diag_lock) != 0)
        return; /* small enough, or somebody is at it */
    if (atomic_load_explicit(&diag_bytes, memory_order_relaxed) > most) {
        char when[32];
        struct timespec now;
        struct tm date;
        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
        (void)localtime_r(&now.tv_sec, &date);
        (void)strftime(when, sizeof(when), "%Y.%m.%d.%H.%M.%S", &date);
        (void)snprintf(backup, sizeof(backup), "%s.%s.%09ld", diag_path, when, now.tv_nsec);
        if (rename(diag_path, backup) != 0 || point_at(diag_path) != STATUS_OK)
            backup[0] = '\0'; /* the old file goes on */
        atomic_store_explicit(&diag_bytes, 0, memory_order_relaxed);
        if (backup[0] != '\0' && diag_count_max > 0)
            purge_old_files();
    }
    (void)pthread_mutex_unlock(&diag_lock);
    if (backup[0] != '\0')
        diag_info("Rotated log, backup saved as \"%s\"", backup);
}

static const char *base_name(void)
{
    const char *slash = strrchr(diag_path, '/');
    return slash != NULL ? slash + 1 : diag_path;
}

/* Behind diag_lock. Names sort by time. */
static void purge_old_files(void)
{
    char path[sizeof(diag_path) + 300];
    struct dirent **entries = NULL;
    int folder_bytes = (int)(base_name() - diag_path);
    (void)snprintf(path, sizeof(path), "%.*s", folder_bytes, diag_path);
    if (folder_bytes == 0)
        (void)snprintf(path, sizeof(path), ".");
    int count = scandir(path, &entries, is_older_file, alphasort);
    for (int i = 0; i < count; i++) {
        (void)snprintf(path, sizeof(path), "%.*s%s", folder_bytes, diag_path, entries[i]->d_name);
        if (i < count - (int)(diag_count_max - 1))
            (void)unlink(path); /* tried again with the next rotation */
        free(entries[i]);
    }
    free(entries);
}

static int is_older_file(const struct dirent *entry)
{
    size_t count = strlen(base_name());
    const char *name = entry->d_name;
    return strncmp(name, base_name(), count) == 0 && strlen(name) == count + 30
           && name[count] == '.' && strspn(name + count, ".0123456789") == 30;
}

static size_t write_head(char *line, enum diag_level level, unsigned flags)
{
    static const char labels[][4] = {
        [DIAG_INFO] = "INF",  [DIAG_WARN] = "WRN",  [DIAG_ERROR] = "ERR",
        [DIAG_FATAL] = "FTL", [DIAG_DEBUG] = "DBG", [DIAG_TRACE] = "TRC"};
    char when[48] = "";
    if ((flags & DIAG_WITHOUT_TIME) == 0) {
        struct timespec now;
        struct tm date;
        (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
        if ((flags & DIAG_UTC) != 0)
            (void)gmtime_r(&now.tv_sec, &date);
        else
            (void)localtime_r(&now.tv_sec, &date);
        size_t count = strftime(when, sizeof(when), "%Y/%m/%d %H:%M:%S", &date);
        (void)snprintf(when + count, sizeof(when) - count, ".%06ld ", now.tv_nsec / 1000);
    }
    int count = snprintf(line, DIAG_HEAD_BYTES_MAX, "[%d] %s[%s] ", (int)getpid(), when,
                         (size_t)level < COUNT_OF(labels) ? labels[level] : "ERR");
    return count < 0 ? 0 : (size_t)count;
}

static void mask_controls(char *text, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((unsigned char)text[i] < 0x20 && text[i] != '\t')
            text[i] = '?';
}
