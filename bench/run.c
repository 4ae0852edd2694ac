/*
 * bench/run.c: phases, threads, the progress line, and the sum of what was counted. See run.h.
 */
#include "bench/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_MS = 20,
    PROGRESS_MS = 250,
    DRAIN_MS = 10000,
    DRAWS_MAX = 1 << 20,
};

static void *worker_main(void *argument);
static void worker_see_phase(struct worker *worker);
static void worker_clear_counts(struct worker *worker);
static void wait_for_end(struct run *run, const char *title, struct result *result);
static void print_progress(struct run *run, const char *title, double seconds, uint64_t *ops_before,
                           double *seconds_before);
static void start_measuring(struct run *run, struct result *result);
static uint64_t own_cpu_ns(void);
static void sum(struct run *run, struct result *result);
static void sleep_ms(uint32_t count);

void run_execute(const struct workload *workload, const struct options *options, const char *title,
                 atomic_uint_fast64_t *revisions, void *shared, struct result *result)
{
    struct run run = {.workload = workload,
                      .options = options,
                      .revisions = revisions,
                      .shared = shared,
                      .worker_count = options->threads};
    *result = (struct result){0};
    if (options->order == KEY_ZIPF && !options->is_sequential) {
        run.draw_count = DRAWS_MAX;
        run.draws = zipf_draws(options->key_count, options->theta, run.draw_count, options->seed);
    }
    run.workers = allocate(run.worker_count, sizeof(*run.workers));
    pthread_barrier_init(&run.barrier, NULL, run.worker_count + 1);
    for (uint32_t index = 0; index < run.worker_count; index++) {
        struct worker *worker = &run.workers[index];
        worker->run = &run;
        worker->options = options;
        worker->index = index;
        worker->next_key = index;
        worker->ops_share = options->ops_max / run.worker_count
                            + (index < options->ops_max % run.worker_count ? 1 : 0);
        keys_init(&worker->keys, options->key_count, run.draws, run.draw_count,
                  options->seed + index);
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
            perror("pthread_create");
            exit(1);
        }
    }
    pthread_barrier_wait(&run.barrier); /* all are connected */
    atomic_store(&run.phase, PHASE_WARMUP);
    if (options->warmup_s <= 0)
        start_measuring(&run, result); /* so that the very first operation counts */
    pthread_barrier_wait(&run.barrier);
    wait_for_end(&run, title, result);
    for (uint32_t index = 0; index < run.worker_count; index++)
        pthread_join(run.workers[index].thread, NULL);
    sum(&run, result);
    pthread_barrier_destroy(&run.barrier);
    free(run.workers);
    free(run.draws);
}

bool worker_is_full(const struct worker *worker)
{
    if (worker->phase == PHASE_STOP)
        return true;
    return worker->ops_share > 0 && worker->phase == PHASE_MEASURE
           && worker->tally.ops + worker->in_flight >= worker->ops_share;
}

void worker_count_op(struct worker *worker, uint64_t sent_ns)
{
    if (worker->phase != PHASE_MEASURE)
        return;
    worker->tally.ops++;
    histogram_add(&worker->tally.latency, worker->loop.now_ns - sent_ns);
}

void worker_error(struct worker *worker, const char *format, ...)
{
    if (worker->tally.errors++ > 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(worker->tally.first_error, sizeof(worker->tally.first_error), format, arguments);
    va_end(arguments);
    for (char *at = worker->tally.first_error; *at != '\0'; at++)
        if (*at == '\r' || *at == '\n')
            *at = ' '; /* one line, whatever the server sent */
}

void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct run *run = worker->run;
    loop_open(&worker->loop);
    run->workload->open(worker);
    pthread_barrier_wait(&run->barrier);
    pthread_barrier_wait(&run->barrier);

    loop_start_tick(&worker->loop, TICK_MS * 1000000U);
    worker->loop.now_ns = clock_now_ns();
    worker_see_phase(worker);
    run->workload->start(worker);
    for (;;) {
        loop_turn(&worker->loop);
        worker_see_phase(worker);
        if (run->workload->turn != NULL)
            run->workload->turn(worker);
        atomic_store_explicit(&worker->progress_ops, worker->tally.ops, memory_order_relaxed);
        atomic_store_explicit(&worker->progress_errors, worker->tally.errors, memory_order_relaxed);
        if (worker->phase != PHASE_STOP)
            continue;
        if (run->workload->is_idle(worker))
            break;
        if (worker->loop.now_ns > worker->drain_until_ns) {
            worker_error(worker, "%llu answers or deliveries did not come within %d s",
                         (unsigned long long)worker->in_flight, DRAIN_MS / 1000);
            break;
        }
    }
    atomic_fetch_add(&run->done_count, 1);
    loop_close(&worker->loop);
    run->workload->close(worker);
    return NULL;
}

/* Phases are entered one by one, even if the main thread was quicker. */
static void worker_see_phase(struct worker *worker)
{
    int phase = atomic_load_explicit(&worker->run->phase, memory_order_acquire);
    uint64_t now_ns = worker->loop.now_ns;
    if (phase >= PHASE_MEASURE && worker->phase < PHASE_MEASURE) {
        worker->phase = PHASE_MEASURE;
        worker->measured_from_ns = now_ns;
        worker_clear_counts(worker);
    }
    bool has_share = worker->ops_share > 0 && worker->tally.ops >= worker->ops_share;
    if (worker->phase == PHASE_MEASURE && (phase == PHASE_STOP || has_share || worker->is_broken)) {
        worker->phase = PHASE_STOP;
        worker->measured_until_ns = now_ns;
        worker->drain_until_ns = now_ns + DRAIN_MS * UINT64_C(1000000);
    }
}

static void worker_clear_counts(struct worker *worker)
{
    worker->tally.ops = 0;
    worker->tally.conflicts = 0;
    worker->tally.deliveries = 0;
    histogram_clear(&worker->tally.latency);
    histogram_clear(&worker->tally.delivery);
}

static void wait_for_end(struct run *run, const char *title, struct result *result)
{
    const struct options *options = run->options;
    bool is_terminal = isatty(STDERR_FILENO) != 0;
    if (options->warmup_s > 0) {
        sleep_ms((uint32_t)(options->warmup_s * 1000));
        start_measuring(run, result);
    }

    uint64_t from_ns = clock_now_ns();
    uint64_t duration_ns = (uint64_t)(options->duration_s * 1e9);
    uint64_t printed_ns = from_ns;
    uint64_t ops_before = 0;
    double seconds_before = 0;
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint64_t passed_ns = now_ns - from_ns;
        if (atomic_load(&run->done_count) == run->worker_count
            || (options->ops_max == 0 && passed_ns >= duration_ns))
            break;
        if (is_terminal && now_ns - printed_ns >= PROGRESS_MS * UINT64_C(1000000)) {
            printed_ns = now_ns;
            print_progress(run, title, (double)passed_ns / 1e9, &ops_before, &seconds_before);
        }
        uint64_t left_ns = options->ops_max == 0 ? duration_ns - passed_ns : UINT64_MAX;
        uint64_t step_ns = TICK_MS * UINT64_C(1000000);
        left_ns = left_ns < step_ns ? left_ns : step_ns;
        sleep_ms((uint32_t)(left_ns / 1000000) + 1);
    }
    bool has_server = options->pid != 0 && proc_usage_read(options->pid, &result->server_after);
    result->has_server_usage = result->has_server_usage && has_server;
    result->client_cpu_ns = own_cpu_ns() - result->client_cpu_ns;
    atomic_store_explicit(&run->phase, PHASE_STOP, memory_order_release);
    if (is_terminal)
        fprintf(stderr, "\r\033[K");
}

static void print_progress(struct run *run, const char *title, double seconds, uint64_t *ops_before,
                           double *seconds_before)
{
    uint64_t ops = 0;
    uint64_t errors = 0;
    for (uint32_t index = 0; index < run->worker_count; index++) {
        ops += atomic_load_explicit(&run->workers[index].progress_ops, memory_order_relaxed);
        errors += atomic_load_explicit(&run->workers[index].progress_errors, memory_order_relaxed);
    }
    uint64_t gained = ops > *ops_before ? ops - *ops_before : 0;
    fprintf(stderr, "\r\033[K%s  %.1f s  %llu ops  %.0f/s", title, seconds, (unsigned long long)ops,
            (double)gained / (seconds - *seconds_before));
    if (errors > 0)
        fprintf(stderr, "  %llu errors", (unsigned long long)errors);
    *ops_before = ops;
    *seconds_before = seconds;
}

static void start_measuring(struct run *run, struct result *result)
{
    pid_t pid = run->options->pid;
    result->has_server_usage = pid != 0 && proc_usage_read(pid, &result->server_before);
    result->client_cpu_ns = own_cpu_ns();
    atomic_store_explicit(&run->phase, PHASE_MEASURE, memory_order_release);
}

static uint64_t own_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000U + (uint64_t)used.tv_nsec;
}

static void sum(struct run *run, struct result *result)
{
    uint64_t longest_ns = 0;
    for (uint32_t index = 0; index < run->worker_count; index++) {
        const struct worker *worker = &run->workers[index];
        const struct tally *tally = &worker->tally;
        result->tally.ops += tally->ops;
        result->tally.conflicts += tally->conflicts;
        result->tally.deliveries += tally->deliveries;
        if (result->tally.errors == 0)
            memcpy(result->tally.first_error, tally->first_error, sizeof(tally->first_error));
        result->tally.errors += tally->errors;
        histogram_merge(&result->tally.latency, &tally->latency);
        histogram_merge(&result->tally.delivery, &tally->delivery);
        uint64_t measured_ns = worker->measured_until_ns - worker->measured_from_ns;
        longest_ns = measured_ns > longest_ns ? measured_ns : longest_ns;
    }
    result->seconds = (double)(longest_ns > 0 ? longest_ns : 1) / 1e9;
}

static void sleep_ms(uint32_t count)
{
    struct timespec pause = {.tv_sec = count / 1000, .tv_nsec = (long)(count % 1000) * 1000000};
    nanosleep(&pause, NULL);
}
