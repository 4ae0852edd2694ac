/*
 * bench/proc.c: CPU time and resident memory of a process.
 *
 * Source: proc(5): fields 14 and 15 of /proc/pid/stat, in clock ticks; field 2 of statm, in pages.
 *         The kernel derives the sum of the two from the scheduler's nanoseconds, so that only the
 *         rounding to a tick is lost, not the time between timer interrupts.
 */
#include "bench/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool read_file(pid_t pid, const char *name, char *text, size_t size);

bool proc_usage_read(pid_t pid, struct proc_usage *usage_out)
{
    char text[1024];
    uint64_t user_ticks;
    uint64_t system_ticks;
    uint64_t pages;
    if (!read_file(pid, "stat", text, sizeof(text)))
        return false;
    const char *after_name = strrchr(text, ')'); /* the name may hold blanks and parentheses */
    if (after_name == NULL
        || sscanf(after_name + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &user_ticks,
                  &system_ticks)
               != 2)
        return false;
    if (!read_file(pid, "statm", text, sizeof(text)) || sscanf(text, "%*u %" SCNu64, &pages) != 1)
        return false;
    uint64_t tick_ns = 1000000000U / (uint64_t)sysconf(_SC_CLK_TCK);
    usage_out->cpu_ns = (user_ticks + system_ticks) * tick_ns;
    usage_out->rss_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

static bool read_file(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t count = fread(text, 1, size - 1, file);
    fclose(file);
    text[count] = '\0';
    return count > 0;
}
