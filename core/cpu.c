/*
 * core/cpu.c: which CPUs this process may use.
 *
 * Source:  sched_setaffinity(2); the kernel's admin-guide/cgroup-v2.rst, "cpu.max"; scheduler/sched-bwc.rst for
 *          version 1. Inside a container /proc/self/cgroup may name a path that is not mounted: then the root of the
 *          mount is ours, which the walk upwards comes to.
 */
#include "core/cpu.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t line_quota_milli(char *line);
static uint64_t group_quota_milli(const char *root, char *path, bool is_version_2);
static uint64_t folder_quota_milli(const char *folder, bool is_version_2);
static bool file_read_line(const char *folder, const char *name, char *line, size_t line_bytes);
static bool has_controller(const char *controllers, const char *name);

enum { PATH_BYTES = 4096, CPUS_MAX = 4096 };

uint32_t cpu_count_affinity(void)
{
    cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
    size_t set_bytes = CPU_ALLOC_SIZE(CPUS_MAX);
    int count = 0;
    if (set != NULL && sched_getaffinity(0, set_bytes, set) == 0)
        count = CPU_COUNT_S(set_bytes, set);
    CPU_FREE(set);
    return count > 0 ? (uint32_t)count : 1;
}

void cpu_pin_thread(uint32_t index)
{
    size_t set_bytes = CPU_ALLOC_SIZE(CPUS_MAX);
    cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
    if (set == NULL || sched_getaffinity(0, set_bytes, set) != 0) {
        CPU_FREE(set);
        return;
    }
    for (size_t cpu = 0; cpu < CPUS_MAX; cpu++) {
        if (!CPU_ISSET_S(cpu, set_bytes, set))
            continue;
        if (index == 0) {
            CPU_ZERO_S(set_bytes, set);
            CPU_SET_S(cpu, set_bytes, set);
            (void)sched_setaffinity(0, set_bytes, set); /* see the header */
            break;
        }
        index--;
    }
    CPU_FREE(set);
}

uint64_t cpu_quota_milli(void)
{
    uint64_t quota_milli = UINT64_MAX;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (file == NULL)
        return quota_milli;
    char line[PATH_BYTES];
    while (fgets(line, sizeof(line), file) != NULL) {
        uint64_t found_milli = line_quota_milli(line);
        if (found_milli < quota_milli)
            quota_milli = found_milli;
    }
    (void)fclose(file);
    return quota_milli;
}

/* "hierarchy:controllers:path"; version 2 is the one without controllers. Takes the line apart. */
static uint64_t line_quota_milli(char *line)
{
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (path == NULL)
        return UINT64_MAX;
    *path++ = '\0';
    controllers++;
    if (*controllers == '\0')
        return group_quota_milli("/sys/fs/cgroup", path, true);
    if (has_controller(controllers, "cpu"))
        return group_quota_milli("/sys/fs/cgroup/cpu", path, false);
    return UINT64_MAX;
}

/* Walks from the group up to the root; shortens path as it goes. */
static uint64_t group_quota_milli(const char *root, char *path, bool is_version_2)
{
    uint64_t quota_milli = UINT64_MAX;
    for (;;) {
        char folder[PATH_BYTES + 64];
        (void)snprintf(folder, sizeof(folder), "%s%s", root, path); /* too long: is not found */
        uint64_t found_milli = folder_quota_milli(folder, is_version_2);
        if (found_milli < quota_milli)
            quota_milli = found_milli;
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            return quota_milli;
        *slash = '\0';
    }
}

/* cpu.max is "max 100000" or "50000 100000"; version 1 has a file for each number, and -1 for none. */
static uint64_t folder_quota_milli(const char *folder, bool is_version_2)
{
    char text[64];
    const char *name = is_version_2 ? "cpu.max" : "cpu.cfs_quota_us";
    if (!file_read_line(folder, name, text, sizeof(text)))
        return UINT64_MAX;
    char *rest = text;
    long long quota_us = strtoll(text, &rest, 10);
    if (!is_version_2) {
        if (!file_read_line(folder, "cpu.cfs_period_us", text, sizeof(text)))
            return UINT64_MAX;
        rest = text;
    }
    long long period_us = strtoll(rest, NULL, 10);
    if (quota_us <= 0 || period_us <= 0 || quota_us > LLONG_MAX / 1000)
        return UINT64_MAX;
    return (uint64_t)(quota_us * 1000 / period_us);
}

static bool file_read_line(const char *folder, const char *name, char *line, size_t line_bytes)
{
    char path[PATH_BYTES + 128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name); /* too long: is not found */
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool was_read = fgets(line, (int)line_bytes, file) != NULL;
    (void)fclose(file);
    return was_read;
}

/* controllers: "cpu,cpuacct" */
static bool has_controller(const char *controllers, const char *name)
{
    size_t name_count = strlen(name);
    while (*controllers != '\0') {
        size_t count = strcspn(controllers, ",");
        if (count == name_count && memcmp(controllers, name, count) == 0)
            return true;
        controllers += count + (controllers[count] == ',');
    }
    return false;
}
