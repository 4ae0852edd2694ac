/*
 * bench/list.c: listing keys: how long until a new ordered consumer has told all of them.
 *
 * Each connection makes a consumer with headers_only and last_per_subject, takes what the answer
 * promised, deletes the consumer and begins again, as `nats kv ls` does.
 */
#include "bench/watch.h"
#include "bench/watcher.h"

#include <stdlib.h>

struct lister {
    struct watcher watcher; /* first: callbacks get its address */
    uint64_t started_ns;
};

struct lists {
    struct lister *listers; /* owns */
    uint32_t lister_count;
};

static void lister_start(struct lister *lister);
static void on_msg(struct watcher *watcher, const struct frame *frame, uint64_t seq);
static void on_replayed(struct watcher *watcher);

static void list_open(struct worker *worker)
{
    const struct options *options = worker->options;
    struct lists *lists = allocate(1, sizeof(*lists));
    worker->state = lists;
    lists->lister_count = options->connections / options->threads
                          + (worker->index < options->connections % options->threads ? 1 : 0);
    lists->listers = allocate(lists->lister_count, sizeof(*lists->listers));
    for (uint32_t index = 0; index < lists->lister_count; index++)
        watcher_open(&lists->listers[index].watcher, worker, on_msg, on_replayed);
}

static void list_start(struct worker *worker)
{
    struct lists *lists = worker->state;
    for (uint32_t index = 0; index < lists->lister_count; index++)
        lister_start(&lists->listers[index]);
}

static bool list_is_idle(struct worker *worker)
{
    struct lists *lists = worker->state;
    if (worker->is_broken)
        return true;
    for (uint32_t index = 0; index < lists->lister_count; index++) {
        const struct watcher *watcher = &lists->listers[index].watcher;
        if (watcher->state != WATCHER_IDLE || watcher->is_deleting)
            return false;
    }
    return true;
}

static void list_close(struct worker *worker)
{
    struct lists *lists = worker->state;
    for (uint32_t index = 0; index < lists->lister_count; index++)
        watcher_close(&lists->listers[index].watcher);
    free(lists->listers);
    free(lists);
}

const struct workload list_workload = {
    .open = list_open,
    .start = list_start,
    .is_idle = list_is_idle,
    .close = list_close,
};

static void lister_start(struct lister *lister)
{
    struct worker *worker = lister->watcher.worker;
    if (worker_is_full(worker))
        return;
    worker->in_flight++;
    lister->started_ns = worker->loop.now_ns;
    watcher_create(&lister->watcher, "last_per_subject", true);
}

static void on_msg(struct watcher *watcher, const struct frame *frame, uint64_t seq)
{
    (void)seq;
    struct worker *worker = watcher->worker;
    if (frame->payload.count > 0)
        worker_error(worker, "a list delivered a value of %zu bytes", frame->payload.count);
    if (worker->phase == PHASE_MEASURE)
        worker->tally.deliveries++;
}

static void on_replayed(struct watcher *watcher)
{
    struct lister *lister = (struct lister *)watcher;
    struct worker *worker = watcher->worker;
    const struct options *options = worker->options;
    bool is_exact = options->preloads && options->deletes; /* nobody else's keys are there */
    if ((is_exact && watcher->replayed != options->key_count)
        || (options->preloads && watcher->replayed < options->key_count))
        worker_error(worker, "a list told %llu keys of %u", (unsigned long long)watcher->replayed,
                     options->key_count);
    worker->in_flight--;
    worker_count_op(worker, lister->started_ns);
    watcher_delete(watcher);
    lister_start(lister);
}
