/*
 * core/diag.h: text for people, one line an event, in nats-server's line format (server-interface.md section 6.2):
 *
 *     [<pid>] 2026/11/24 12:00:00.000000 [INF] Listening for client connections on 127.0.0.1:4222
 *
 * Callable from any thread; a line is written with one write(2). Goes to standard error, or to a file. Never a user's
 * keys or values. pail's own events are `event key=value key=value`.
 */
#ifndef CORE_DIAG_H
#define CORE_DIAG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum diag_level { DIAG_INFO, DIAG_WARN, DIAG_ERROR, DIAG_FATAL, DIAG_DEBUG, DIAG_TRACE };

struct diag_options {
    const char *file; /* NULL: standard error; made with mode 0640, appended */
    bool debug, trace;
    bool without_time, utc;
    uint64_t
        file_bytes_max; /* above it the file gets another name, and a new one begins; 0: never */
    uint32_t file_count_max; /* older files go; this one counts; 0: all stay */
};

/* Once at start, and again to reopen. STATUS_IO and others: the file cannot be opened; errno is set. */
MUST_USE enum status diag_open(const struct diag_options *options);
bool diag_is_on(enum diag_level level);
void diag_line(enum diag_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define diag_info(...) diag_line(DIAG_INFO, __VA_ARGS__)
#define diag_warn(...) diag_line(DIAG_WARN, __VA_ARGS__)
#define diag_error(...) diag_line(DIAG_ERROR, __VA_ARGS__)
#define diag_debug(...)                         \
    do {                                        \
        if (diag_is_on(DIAG_DEBUG))             \
            diag_line(DIAG_DEBUG, __VA_ARGS__); \
    } while (0)

#endif
