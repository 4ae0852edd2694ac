/*
 * bench/proc.h: what a process has used: CPU time and resident memory, from /proc.
 */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_usage {
    uint64_t cpu_ns;    /* user and system, all threads */
    uint64_t rss_bytes; /* resident now */
};

/* False if there is no such process. */
bool proc_usage_read(pid_t pid, struct proc_usage *usage_out);

#endif
