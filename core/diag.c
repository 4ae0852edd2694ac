/*
 * core/diag.c: text for people, one line an event.
 *
 * A line is put together on the stack and handed to the kernel in one write(2) on a descriptor opened for appending, so
 * lines of several threads never mix and nothing waits in a buffer when the process is killed. What does not fit in
 * DIAG_LINE_BYTES_MAX is cut; control characters become `?`, so that a peer's text cannot forge a line.
 *
 * Shares:  the descriptor and the flags, with all threads. Relaxed order suffices: each is one word, and reopening
 *          keeps the descriptor's number (dup3), so that a thread which read it a moment ago still writes to a log.
 * Runs on: any thread; diag_open on one at a time.
 */
#include "core/diag.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
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

static enum status point_at(const char *path);
static size_t write_head(char *line, enum diag_level level, unsigned flags);
static void mask_controls(char *text, size_t count);

enum status diag_open(const struct diag_options *options)
{
    enum status status = point_at(options->file);
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
    errno = saved_errno;
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
