/*
 * bench/main.c: pail-bench, a load generator for the Key/Value buckets of NATS servers.
 *
 * The question it answers: how many puts, gets, updates, deliveries or lists a second does a server
 * carry over real connections, how long does each take, and what does it cost the server?
 * It speaks the protocol itself and shares no code with pail. One thread drives well over a million
 * pipelined gets a second, so that one core for the clients can saturate one core of the server.
 */
#include "bench/bucket.h"
#include "bench/load.h"
#include "bench/options.h"
#include "bench/report.h"
#include "bench/session.h"
#include "bench/watch.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { PRELOAD_CONNECTIONS = 16, PRELOAD_DEPTH = 64 };

static void prepare_bucket(const struct options *options, struct report *report);
static void preload(const struct options *options, atomic_uint_fast64_t *revisions,
                    struct report *report);
static const struct workload *workload_of(const struct options *options);

int main(int argc, char **argv)
{
    struct options options;
    options_parse(&options, argc, argv);
    signal(SIGPIPE, SIG_IGN);

    char version[32] = "";
    struct report report = {.options = &options, .server_version = version};
    struct session session;
    session_open(&session, &options);
    snprintf(version, sizeof(version), "%s", session.version);
    session_close(&session);
    prepare_bucket(&options, &report);

    atomic_uint_fast64_t *revisions = NULL;
    if (options.workload == WORKLOAD_CAS) {
        revisions = allocate(options.key_count, sizeof(*revisions));
        for (uint32_t key = 0; key < options.key_count; key++)
            atomic_init(&revisions[key], REVISION_UNKNOWN);
    }
    if (options.preloads)
        preload(&options, revisions, &report);

    struct watch_shared *shared = NULL;
    if (options.workload == WORKLOAD_WATCH)
        shared = watch_shared_create(&options);
    struct result *result = allocate(1, sizeof(*result));
    report.result = result;
    run_execute(workload_of(&options), &options, workload_names[options.workload], revisions,
                shared, result);
    report_print(&report);
    int exit_code = result->tally.errors > 0 || result->tally.ops == 0 ? 1 : 0;
    free(result);
    free(shared);
    free(revisions);
    return exit_code;
}

static void prepare_bucket(const struct options *options, struct report *report)
{
    struct proc_usage usage;
    if (options->creates) {
        struct session session;
        session_open(&session, options);
        if (options->deletes)
            bucket_delete(&session, options);
        bucket_create(&session, options);
        session_close(&session);
    }
    if (options->pid != 0 && !proc_usage_read(options->pid, &usage)) {
        fprintf(stderr, "pail-bench: there is no process %d\n", (int)options->pid);
        exit(2);
    }
    if (options->pid != 0 && options->preloads) {
        report->has_rss = true;
        report->rss_empty_bytes = usage.rss_bytes;
    }
}

/* Writes each key once, pipelined: the depth of the measurement would take long at depth 1. */
static void preload(const struct options *options, atomic_uint_fast64_t *revisions,
                    struct report *report)
{
    struct options load = *options;
    load.workload = WORKLOAD_PUT;
    load.is_sequential = true;
    load.order = KEY_UNIFORM;
    load.connections = PRELOAD_CONNECTIONS;
    load.depth = PRELOAD_DEPTH;
    load.threads = 1;
    load.ops_max = options->key_count;
    load.warmup_s = 0;
    struct result *result = allocate(1, sizeof(*result));
    run_execute(&load_workload, &load, "preload", revisions, NULL, result);
    if (result->tally.errors > 0) {
        fprintf(stderr, "pail-bench: preload: %llu errors, the first: %s\n",
                (unsigned long long)result->tally.errors, result->tally.first_error);
        exit(1);
    }
    report->preload_seconds = result->seconds;
    if (report->has_rss)
        report->rss_full_bytes = result->server_after.rss_bytes;
    free(result);
}

static const struct workload *workload_of(const struct options *options)
{
    switch (options->workload) {
    case WORKLOAD_WATCH:
        return &watch_workload;
    case WORKLOAD_LIST:
        return &list_workload;
    default:
        return &load_workload;
    }
}
