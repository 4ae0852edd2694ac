/*
 * bench/options.h: what to measure, from the command line.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "bench/keys.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum workload_kind {
    WORKLOAD_PUT,
    WORKLOAD_GET,
    WORKLOAD_MIXED,
    WORKLOAD_CAS,
    WORKLOAD_WATCH,
    WORKLOAD_LIST,
    WORKLOAD_COUNT,
};

enum {
    DEPTH_MAX = 9999, /* slots have four digits in the reply subject */
    KEYS_MAX = 99999999,
    VALUE_BYTES_MAX = 8 * 1024 * 1024,
    THREADS_MAX = 64,
    CONNECTIONS_MAX = 10000,
    WATCHERS_MAX = 1000,
};

struct options {
    enum workload_kind workload;
    char host[256];
    char port[16];
    char bucket[128];
    uint32_t connections;
    uint32_t depth;
    uint32_t value_bytes;
    uint32_t key_count;
    enum key_order order;
    double theta;
    double duration_s;
    double warmup_s;
    uint64_t ops_max; /* 0: by duration */
    uint32_t threads;
    uint32_t watchers;
    uint32_t lag_max;        /* puts stop while a watcher is further behind; 0: never */
    uint32_t read_percent;   /* of the mixed workload */
    uint32_t contended_keys; /* 0: each connection has its own keys */
    uint32_t history;
    uint64_t seed;
    pid_t pid; /* 0: unknown */
    bool is_memory;
    bool creates;
    bool deletes; /* an old bucket, first */
    bool preloads;
    bool is_sequential; /* each key once: the preload itself */
    bool checks_values;
    bool updates_only; /* watchers skip the bucket's present content */
    bool prints_json;
};

extern const char *const workload_names[WORKLOAD_COUNT];

/* Exits with usage text where the command line is not understood. */
void options_parse(struct options *options, int argc, char **argv);

#endif
