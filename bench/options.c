/*
 * bench/options.c: the command line, its help and its limits, one row an option.
 */
#include "bench/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const workload_names[WORKLOAD_COUNT] = {"put", "get", "mixed", "cas", "watch", "list"};

enum option_id {
    OPT_SERVER = 256,
    OPT_BUCKET,
    OPT_WORKLOAD,
    OPT_CONNECTIONS,
    OPT_DEPTH,
    OPT_VALUE,
    OPT_KEYS,
    OPT_DISTRIBUTION,
    OPT_THETA,
    OPT_DURATION,
    OPT_OPS,
    OPT_WARMUP,
    OPT_PRELOAD,
    OPT_CREATE,
    OPT_DELETE,
    OPT_HISTORY,
    OPT_MEMORY,
    OPT_WATCHERS,
    OPT_LAG,
    OPT_UPDATES_ONLY,
    OPT_RATIO,
    OPT_CONTENDED,
    OPT_THREADS,
    OPT_PID,
    OPT_SEED,
    OPT_NO_VALUE_CHECK,
    OPT_JSON,
    OPT_HELP,
};

struct option_row {
    const char *name;
    const char *argument; /* NULL: a switch */
    enum option_id id;
    const char *help;
};

static const struct option_row rows[] = {
    {"server", "HOST:PORT", OPT_SERVER, "server to load (127.0.0.1:4222)"},
    {"bucket", "NAME", OPT_BUCKET, "bucket (bench)"},
    {"workload", "NAME", OPT_WORKLOAD, "put, get, mixed, cas, watch or list; may come first, bare"},
    {"connections", "N", OPT_CONNECTIONS, "connections that put or get (1); lists: that list"},
    {"depth", "N", OPT_DEPTH, "requests in flight on each (1)"},
    {"value", "BYTES", OPT_VALUE, "size of a value (128)"},
    {"keys", "N", OPT_KEYS, "number of keys (100000)"},
    {"distribution", "uniform|zipf", OPT_DISTRIBUTION, "which keys are taken (uniform)"},
    {"theta", "X", OPT_THETA, "exponent of zipf (0.99)"},
    {"duration", "SECONDS", OPT_DURATION, "time measured (5)"},
    {"ops", "N", OPT_OPS, "stop after so many operations instead"},
    {"warmup", "SECONDS", OPT_WARMUP, "time before it (0)"},
    {"preload", NULL, OPT_PRELOAD, "write every key once before"},
    {"create", NULL, OPT_CREATE, "create the bucket, as nats.go does"},
    {"delete", NULL, OPT_DELETE, "delete an old one first; implies --create"},
    {"history", "N", OPT_HISTORY, "values kept for each key of a created bucket (1)"},
    {"memory", NULL, OPT_MEMORY, "memory storage for a created bucket (file)"},
    {"watchers", "N", OPT_WATCHERS, "watching connections of the watch workload (8)"},
    {"lag", "N", OPT_LAG, "puts wait while a watcher is this far behind; 0: never (4096)"},
    {"updates-only", NULL, OPT_UPDATES_ONLY, "watchers do not ask for the present content"},
    {"ratio", "PERCENT", OPT_RATIO, "share of gets in the mixed workload (80)"},
    {"contended", "N", OPT_CONTENDED, "cas: all connections update the same N keys"},
    {"threads", "N", OPT_THREADS, "threads of the load generator (1)"},
    {"pid", "PID", OPT_PID, "server process, to report its CPU time and memory"},
    {"seed", "N", OPT_SEED, "for the choice of keys (1)"},
    {"no-value-check", NULL, OPT_NO_VALUE_CHECK, "values were written by another program"},
    {"json", NULL, OPT_JSON, "one line of JSON for scripts"},
    {"help", NULL, OPT_HELP, "this text"},
};
enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

static void apply(struct options *options, enum option_id id, const char *name, const char *value);
static void set_server(struct options *options, const char *value);
static void set_workload(struct options *options, const char *value);
static void check(struct options *options);
static uint64_t whole(const char *name, const char *value, uint64_t min, uint64_t max);
static double fraction(const char *name, const char *value, double min, double max);
static void print_help(void);
_Noreturn static void refuse(const char *what, const char *detail);

void options_parse(struct options *options, int argc, char **argv)
{
    *options = (struct options){.host = "127.0.0.1",
                                .port = "4222",
                                .bucket = "bench",
                                .workload = WORKLOAD_COUNT,
                                .connections = 1,
                                .depth = 1,
                                .value_bytes = 128,
                                .key_count = 100000,
                                .theta = 0.99,
                                .duration_s = 5,
                                .threads = 1,
                                .watchers = 8,
                                .lag_max = 4096,
                                .read_percent = 80,
                                .history = 1,
                                .seed = 1,
                                .checks_values = true};
    struct option longs[ROW_COUNT + 1] = {0};
    for (int index = 0; index < ROW_COUNT; index++)
        longs[index] = (struct option){.name = rows[index].name,
                                       .has_arg = rows[index].argument != NULL ? required_argument
                                                                               : no_argument,
                                       .val = (int)rows[index].id};
    int id;
    int index = 0;
    while ((id = getopt_long(argc, argv, "s:h", longs, &index)) != -1) {
        if (id == '?')
            exit(2);
        if (id == 's')
            set_server(options, optarg);
        else if (id == 'h')
            apply(options, OPT_HELP, "help", NULL);
        else
            apply(options, (enum option_id)id, longs[index].name, optarg);
    }
    if (optind < argc)
        set_workload(options, argv[optind++]);
    if (optind < argc)
        refuse("unexpected argument ", argv[optind]);
    check(options);
}

static void apply(struct options *options, enum option_id id, const char *name, const char *value)
{
    switch (id) {
    case OPT_SERVER:
        set_server(options, value);
        break;
    case OPT_BUCKET:
        if (strlen(value) == 0 || strlen(value) >= sizeof(options->bucket)
            || strpbrk(value, ".*> \t\"\\") != NULL)
            refuse("not a bucket name: ", value);
        strcpy(options->bucket, value);
        break;
    case OPT_WORKLOAD:
        set_workload(options, value);
        break;
    case OPT_CONNECTIONS:
        options->connections = (uint32_t)whole(name, value, 1, CONNECTIONS_MAX);
        break;
    case OPT_DEPTH:
        options->depth = (uint32_t)whole(name, value, 1, DEPTH_MAX);
        break;
    case OPT_VALUE:
        options->value_bytes = (uint32_t)whole(name, value, 0, VALUE_BYTES_MAX);
        break;
    case OPT_KEYS:
        options->key_count = (uint32_t)whole(name, value, 1, KEYS_MAX);
        break;
    case OPT_DISTRIBUTION:
        if (strcmp(value, "zipf") != 0 && strcmp(value, "uniform") != 0)
            refuse("not a distribution: ", value);
        options->order = strcmp(value, "zipf") == 0 ? KEY_ZIPF : KEY_UNIFORM;
        break;
    case OPT_THETA:
        options->theta = fraction(name, value, 0, 10);
        options->order = KEY_ZIPF;
        break;
    case OPT_DURATION:
        options->duration_s = fraction(name, value, 0.1, 86400);
        break;
    case OPT_OPS:
        options->ops_max = whole(name, value, 1, UINT64_MAX / 2);
        break;
    case OPT_WARMUP:
        options->warmup_s = fraction(name, value, 0, 3600);
        break;
    case OPT_PRELOAD:
        options->preloads = true;
        break;
    case OPT_CREATE:
        options->creates = true;
        break;
    case OPT_DELETE:
        options->creates = options->deletes = true;
        break;
    case OPT_HISTORY:
        options->history = (uint32_t)whole(name, value, 1, 64);
        break;
    case OPT_MEMORY:
        options->is_memory = true;
        break;
    case OPT_WATCHERS:
        options->watchers = (uint32_t)whole(name, value, 1, WATCHERS_MAX);
        break;
    case OPT_LAG:
        options->lag_max = (uint32_t)whole(name, value, 0, UINT32_MAX);
        break;
    case OPT_UPDATES_ONLY:
        options->updates_only = true;
        break;
    case OPT_RATIO:
        options->read_percent = (uint32_t)whole(name, value, 0, 100);
        break;
    case OPT_CONTENDED:
        options->contended_keys = (uint32_t)whole(name, value, 1, KEYS_MAX);
        break;
    case OPT_THREADS:
        options->threads = (uint32_t)whole(name, value, 1, THREADS_MAX);
        break;
    case OPT_PID:
        options->pid = (pid_t)whole(name, value, 1, INT32_MAX);
        break;
    case OPT_SEED:
        options->seed = whole(name, value, 0, UINT64_MAX / 2);
        break;
    case OPT_NO_VALUE_CHECK:
        options->checks_values = false;
        break;
    case OPT_JSON:
        options->prints_json = true;
        break;
    case OPT_HELP:
        print_help();
        exit(0);
    }
}

static void set_server(struct options *options, const char *value)
{
    if (strncmp(value, "nats://", 7) == 0)
        value += 7;
    const char *colon = strrchr(value, ':');
    size_t host_count = colon != NULL ? (size_t)(colon - value) : strlen(value);
    if (host_count == 0 || host_count >= sizeof(options->host)
        || (colon != NULL && strlen(colon + 1) >= sizeof(options->port)))
        refuse("not HOST:PORT: ", value);
    memcpy(options->host, value, host_count);
    options->host[host_count] = '\0';
    if (colon != NULL)
        strcpy(options->port, colon + 1);
}

static void set_workload(struct options *options, const char *value)
{
    for (int kind = 0; kind < WORKLOAD_COUNT; kind++) {
        if (strcmp(value, workload_names[kind]) == 0) {
            options->workload = (enum workload_kind)kind;
            return;
        }
    }
    refuse("not a workload: ", value);
}

static void check(struct options *options)
{
    if (options->workload == WORKLOAD_COUNT)
        refuse("which workload? put, get, mixed, cas, watch or list", "");
    if (options->contended_keys > options->key_count)
        options->key_count = options->contended_keys;
    uint64_t slots = (uint64_t)options->connections * options->depth;
    if (options->workload == WORKLOAD_CAS && options->contended_keys == 0
        && options->key_count < slots)
        refuse("cas needs a key of its own for each request in flight: raise --keys", "");
    if (options->threads > options->connections)
        options->threads = options->connections;
}

static uint64_t whole(const char *name, const char *value, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    uint64_t number = strtoull(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || *value == '-' || number < min
        || number > max) {
        fprintf(stderr, "pail-bench: --%s takes a whole number from %llu to %llu, not %s\n", name,
                (unsigned long long)min, (unsigned long long)max, value);
        exit(2);
    }
    return number;
}

static double fraction(const char *name, const char *value, double min, double max)
{
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end != '\0' || !(number >= min && number <= max)) {
        fprintf(stderr, "pail-bench: --%s takes a number from %g to %g, not %s\n", name, min, max,
                value);
        exit(2);
    }
    return number;
}

static void print_help(void)
{
    printf("usage: pail-bench WORKLOAD [options]\n\n"
           "Loads a NATS server's Key/Value bucket over real connections and reports rate,\n"
           "latency and errors. Exit code 1 if any answer was wrong or missing.\n\n");
    for (int index = 0; index < ROW_COUNT; index++) {
        char name[48];
        snprintf(name, sizeof(name), "--%s %s", rows[index].name,
                 rows[index].argument != NULL ? rows[index].argument : "");
        printf("  %-28s %s\n", name, rows[index].help);
    }
    printf("\nput    $KV.BUCKET.KEY, PubAck awaited\n"
           "get    direct get of the newest value\n"
           "mixed  both; --ratio is the share of gets\n"
           "cas    update with the revision known; each connection has its own keys, drawn\n"
           "       uniformly, or with --contended all have the same few and races are lost\n"
           "watch  --watchers see what --connections put\n"
           "list   keys of the bucket through an ordered consumer, as `nats kv ls`\n");
}

_Noreturn static void refuse(const char *what, const char *detail)
{
    fprintf(stderr, "pail-bench: %s%s (--help shows the options)\n", what, detail);
    exit(2);
}
