/*
 * bench/run.h: one measurement: threads that work through the same phases, and what they counted.
 *
 *    PREPARE ──all connected──► WARMUP ──time──► MEASURE ──time, or all ops done──► STOP ──► joined
 *
 * The calling thread moves the phase and samples the clocks; workers look at it after each turn.
 * Keeps:   nothing is counted outside MEASURE but errors, which are counted always. After STOP every
 *          request in flight is still awaited, so an answer that never comes is an error.
 * Owns:    the workers. Borrows options, revisions and what `shared` points to.
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "bench/histogram.h"
#include "bench/keys.h"
#include "bench/loop.h"
#include "bench/options.h"
#include "bench/proc.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct worker;

enum phase { PHASE_PREPARE, PHASE_WARMUP, PHASE_MEASURE, PHASE_STOP };

#define REVISION_UNKNOWN UINT64_MAX

struct tally {
    uint64_t ops;
    uint64_t conflicts;  /* refused with "wrong last sequence", where that may happen */
    uint64_t deliveries; /* messages that watchers got, keys that lists got */
    uint64_t errors;
    char first_error[256];
    struct histogram latency;
    struct histogram delivery; /* put to watcher */
};

struct workload {
    void (*open)(struct worker *worker);    /* connects, and gets ready to start at once */
    void (*start)(struct worker *worker);   /* the first requests */
    void (*turn)(struct worker *worker);    /* after each turn; may be NULL */
    bool (*is_idle)(struct worker *worker); /* nothing is awaited any more */
    void (*close)(struct worker *worker);   /* frees; the ring is closed already */
};

struct run {
    const struct workload *workload;
    const struct options *options;
    atomic_uint_fast64_t *revisions; /* by key, REVISION_UNKNOWN where not seen; may be NULL */
    void *shared;                    /* the workload's own, for all workers */
    struct worker *workers;
    uint32_t worker_count;
    atomic_int phase;
    atomic_uint done_count;
    pthread_barrier_t barrier;
    uint32_t *draws;
    uint32_t draw_count;
};

/* One thread. Everything in it belongs to that thread, except `progress`. */
struct worker {
    struct run *run;
    const struct options *options;
    uint32_t index;
    enum phase phase;
    struct loop loop;
    struct keys keys;
    struct tally tally;
    uint64_t measured_from_ns;
    uint64_t measured_until_ns;
    uint64_t drain_until_ns;
    uint64_t ops_share; /* 0: until STOP */
    uint64_t in_flight; /* requests not yet answered */
    uint32_t next_key;  /* of a sequential run */
    bool is_paused;     /* no new requests for now */
    bool is_broken;     /* lost a connection: the run ends here */
    void *state;        /* the workload's */
    pthread_t thread;
    atomic_uint_fast64_t progress_ops;
    atomic_uint_fast64_t progress_errors;
};

struct result {
    struct tally tally;
    double seconds;
    bool has_server_usage;
    struct proc_usage server_before;
    struct proc_usage server_after;
    uint64_t client_cpu_ns;
};

/* Runs the workload to its end. The progress line on stderr begins with `title`. */
void run_execute(const struct workload *workload, const struct options *options, const char *title,
                 atomic_uint_fast64_t *revisions, void *shared, struct result *result);

/* No more requests: stopped, or this worker's share of --ops is done or on its way. */
bool worker_is_full(const struct worker *worker);
void worker_count_op(struct worker *worker, uint64_t sent_ns);
/* Counts an error; the text of the first one is shown. */
__attribute__((format(printf, 2, 3))) void worker_error(struct worker *worker, const char *format,
                                                        ...);
void *allocate(size_t count, size_t size);

#endif
