/*
 * bench/report.h: the outcome of a run, for people or as one line of JSON.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/run.h"

struct report {
    const struct options *options;
    const struct result *result;
    const char *server_version;
    double preload_seconds; /* 0: there was none */
    bool has_rss;
    uint64_t rss_empty_bytes; /* before the preload */
    uint64_t rss_full_bytes;  /* after it */
};

void report_print(const struct report *report);

#endif
