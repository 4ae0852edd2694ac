/*
 * bench/watch.c: fan-out. Watchers on connections of their own see what other connections put.
 *
 * A put carries the time it was sent in its value, so each delivery tells how old it is. Puts wait
 * while the slowest watcher is more than --lag revisions behind: the figure is then a rate that
 * publishers and watchers both hold, not the rate of whoever is served first.
 *
 * Keeps:   the first put is sent after all watchers have the bucket's content; at the end each
 *          watcher must reach the last revision that was acknowledged. With a short history the
 *          server may skip values that were overwritten meanwhile, so gaps are not counted.
 */
#include "bench/watch.h"

#include "bench/load.h"
#include "bench/watcher.h"

#include <stdio.h>
#include <stdlib.h>

enum { REPLAY_WAIT_S = 120 };

struct watch_shared {
    atomic_uint_fast64_t last_seq; /* highest acknowledged, over all workers */
    atomic_uint idle_count;        /* workers whose puts are all answered */
    uint32_t watcher_count;
    struct position {
        _Alignas(64) atomic_uint_fast64_t seq; /* a line each: written by one thread, often */
    } positions[];
};

struct watch {
    struct worker *worker;
    struct watch_shared *shared;  /* borrows */
    struct load *load;            /* owns */
    struct fan_watcher *watchers; /* owns */
    uint32_t watcher_count;
    uint32_t replayed_count;
    bool puts_are_done;
};

struct fan_watcher {
    struct watcher watcher; /* first: callbacks get its address */
    struct watch *watch;
    atomic_uint_fast64_t *position; /* borrows */
};

static void on_msg(struct watcher *watcher, const struct frame *frame, uint64_t seq);
static void on_replayed(struct watcher *watcher);
static uint64_t slowest(const struct watch_shared *shared);

struct watch_shared *watch_shared_create(const struct options *options)
{
    size_t size = sizeof(struct watch_shared) + options->watchers * sizeof(struct position);
    struct watch_shared *shared = aligned_alloc(64, (size + 63) / 64 * 64);
    if (shared == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    memset(shared, 0, size);
    shared->watcher_count = options->watchers;
    return shared;
}

static void watch_open(struct worker *worker)
{
    const struct options *options = worker->options;
    struct watch *watch = allocate(1, sizeof(*watch));
    worker->state = watch;
    watch->worker = worker;
    watch->shared = worker->run->shared;
    watch->watcher_count = options->watchers / options->threads
                           + (worker->index < options->watchers % options->threads ? 1 : 0);
    watch->watchers = allocate(watch->watcher_count, sizeof(*watch->watchers));
    for (uint32_t index = 0; index < watch->watcher_count; index++) {
        struct fan_watcher *fan = &watch->watchers[index];
        fan->watch = watch;
        fan->position = &watch->shared->positions[index * options->threads + worker->index].seq;
        watcher_open(&fan->watcher, worker, on_msg, on_replayed);
        watcher_create(&fan->watcher, options->updates_only ? "new" : "last_per_subject", false);
    }
    uint64_t until_ns = clock_now_ns() + REPLAY_WAIT_S * UINT64_C(1000000000);
    loop_start_tick(&worker->loop, 100000000U);
    while (watch->replayed_count < watch->watcher_count && !worker->is_broken) {
        loop_turn(&worker->loop);
        if (worker->loop.now_ns > until_ns) {
            worker_error(worker, "%u of %u watchers did not get the bucket's content within %d s",
                         watch->watcher_count - watch->replayed_count, watch->watcher_count,
                         REPLAY_WAIT_S);
            worker->is_broken = true;
        }
    }
    watch->load = load_open(worker, true);
}

static void watch_start(struct worker *worker)
{
    struct watch *watch = worker->state;
    load_start(watch->load);
}

static void watch_turn(struct worker *worker)
{
    struct watch *watch = worker->state;
    struct watch_shared *shared = watch->shared;
    uint64_t own = load_last_seq(watch->load);
    uint64_t last = atomic_load_explicit(&shared->last_seq, memory_order_relaxed);
    while (own > last
           && !atomic_compare_exchange_weak_explicit(&shared->last_seq, &last, own,
                                                     memory_order_relaxed, memory_order_relaxed))
        ;
    if (own > last)
        last = own;
    uint64_t slow = slowest(shared);
    uint32_t lag_max = worker->options->lag_max;
    bool was_paused = worker->is_paused;
    worker->is_paused = lag_max > 0 && slow > 0 && last > slow && last - slow > lag_max;
    if (was_paused && !worker->is_paused)
        load_resume(watch->load);
}

static bool watch_is_idle(struct worker *worker)
{
    struct watch *watch = worker->state;
    if (worker->is_broken)
        return true;
    if (worker->in_flight > 0)
        return false;
    if (!watch->puts_are_done) {
        watch->puts_are_done = true;
        atomic_fetch_add(&watch->shared->idle_count, 1);
    }
    if (atomic_load(&watch->shared->idle_count) < worker->run->worker_count)
        return false;
    uint64_t last = atomic_load(&watch->shared->last_seq);
    for (uint32_t index = 0; index < watch->watcher_count; index++)
        if (watch->watchers[index].watcher.stream_seq < last)
            return false;
    return true;
}

static void watch_close(struct worker *worker)
{
    struct watch *watch = worker->state;
    load_close(watch->load);
    for (uint32_t index = 0; index < watch->watcher_count; index++)
        watcher_close(&watch->watchers[index].watcher);
    free(watch->watchers);
    free(watch);
}

const struct workload watch_workload = {
    .open = watch_open,
    .start = watch_start,
    .turn = watch_turn,
    .is_idle = watch_is_idle,
    .close = watch_close,
};

static void on_msg(struct watcher *watcher, const struct frame *frame, uint64_t seq)
{
    struct fan_watcher *fan = (struct fan_watcher *)watcher;
    struct worker *worker = watcher->worker;
    atomic_store_explicit(fan->position, seq, memory_order_relaxed);
    if (frame->payload.count != worker->options->value_bytes)
        worker_error(worker, "a delivery of %zu bytes instead of %u", frame->payload.count,
                     worker->options->value_bytes);
    else if (frame->payload.count >= KEY_BYTES
             && (frame->subject.count < KEY_BYTES
                 || memcmp(frame->payload.data,
                           frame->subject.data + frame->subject.count - KEY_BYTES, KEY_BYTES)
                        != 0))
        worker_error(worker, "a delivery of %.*s with another key's value",
                     (int)frame->subject.count, frame->subject.data);
    if (worker->phase != PHASE_MEASURE)
        return;
    worker->tally.deliveries++;
    uint64_t sent_ns;
    if (frame->payload.count >= STAMP_AT + STAMP_BYTES
        && read_hex_16(frame->payload.data + STAMP_AT, &sent_ns) && sent_ns > 0
        && sent_ns <= worker->loop.now_ns)
        histogram_add(&worker->tally.delivery, worker->loop.now_ns - sent_ns);
}

static void on_replayed(struct watcher *watcher)
{
    struct fan_watcher *fan = (struct fan_watcher *)watcher;
    fan->watch->replayed_count++;
}

/* 0 while a watcher has seen nothing at all: then nobody knows how far behind it is. */
static uint64_t slowest(const struct watch_shared *shared)
{
    uint64_t slow = UINT64_MAX;
    for (uint32_t index = 0; index < shared->watcher_count; index++) {
        uint64_t seq = atomic_load_explicit(&shared->positions[index].seq, memory_order_relaxed);
        slow = seq < slow ? seq : slow;
    }
    return slow;
}
