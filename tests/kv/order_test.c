/*
 * tests/kv/order_test.c: sequences, floors and the watermark: against a model in one thread, and by several threads at once
 * (also under ThreadSanitizer).
 */
#include "kv/order.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <stdlib.h>

enum { SHARDS = 3, SEQS_MAX = 4000, THREADS = 3, TAKES = 30000, IN_FLIGHT = 64 };

static struct order *order_create(struct heap *heap)
{
    struct order *order = heap_alloc_aligned(heap, sizeof *order, 64);
    order_init(order, 1);
    return order;
}

/* ---- one thread, against a model ---- */

struct rig {
    struct heap *heap;
    struct order *order;
    struct shard shards[SHARDS];
    struct taken taken[SHARDS];
    uint64_t indexes[SEQS_MAX]; /* by sequence: under which it is done */
    uint32_t takers[SEQS_MAX];
    bool is_done[SEQS_MAX];
    uint64_t last;
    unsigned seed;
};

static void rig_init(struct rig *rig, unsigned seed)
{
    *rig = (struct rig){.heap = heap_create(), .seed = seed};
    rig->order = order_create(rig->heap);
    for (uint32_t i = 0; i < SHARDS; i++)
        rig->shards[i] = (struct shard){.index = i, .count = SHARDS, .heap = rig->heap};
}

static void rig_fini(struct rig *rig)
{
    for (uint32_t i = 0; i < SHARDS; i++)
        taken_free(&rig->taken[i]);
    heap_free(rig->order);
    heap_destroy(rig->heap);
}

static void take(struct rig *rig, uint32_t shard)
{
    uint64_t index;
    uint64_t seq = order_take(rig->order, &rig->taken[shard], &rig->shards[shard], false, &index);
    cr_assert(eq(u64, seq, ++rig->last));
    rig->indexes[seq] = index;
    rig->takers[seq] = shard;
}

/* The highest sequence up to which all are done. */
static uint64_t done_upto(const struct rig *rig)
{
    uint64_t seq = 0;
    while (seq < rig->last && rig->is_done[seq + 1])
        seq++;
    return seq;
}

static void done(struct rig *rig, uint64_t seq)
{
    uint32_t shard = rig->takers[seq];
    struct shared_u64 *floor = &rig->order->shards[shard].floor;
    uint64_t before = shared_load_seq_cst(floor);
    bool rose = order_done(rig->order, &rig->taken[shard], &rig->shards[shard], rig->indexes[seq]);
    rig->is_done[seq] = true;
    cr_assert(eq(int, rose, shared_load_seq_cst(floor) > before));
}

Test(order, follows_the_model)
{
    for (unsigned seed = 1; seed <= 100; seed++) {
        struct rig *rig = malloc(sizeof *rig);
        cr_assert(ne(ptr, rig, NULL));
        rig_init(rig, seed);
        for (unsigned step = 0; step < 1000 && rig->last + 1 < SEQS_MAX; step++) {
            unsigned kind = (unsigned)rand_r(&rig->seed) % 100;
            uint64_t seq = 1 + (uint64_t)rand_r(&rig->seed) % (rig->last + 1);
            if (kind < 50)
                take(rig, (uint32_t)rand_r(&rig->seed) % SHARDS);
            else if (seq <= rig->last && !rig->is_done[seq])
                done(rig, seq);
            cr_assert(eq(u64, order_last_taken(rig->order), rig->last));
            cr_assert(eq(u64, order_watermark(rig->order, SHARDS), done_upto(rig)), "seed %u",
                      seed);
        }
        for (uint64_t seq = 1; seq <= rig->last; seq++) {
            if (!rig->is_done[seq])
                done(rig, seq);
        }
        cr_assert(eq(u64, order_watermark(rig->order, SHARDS), rig->last));
        rig_fini(rig);
        free(rig);
    }
}

Test(order, takes_only_at_the_expected_sequence)
{
    struct rig *rig = malloc(sizeof *rig);
    cr_assert(ne(ptr, rig, NULL));
    rig_init(rig, 1);
    uint64_t index = 0;
    take(rig, 0);
    take(rig, 1);
    cr_expect(eq(u64, order_take_if(rig->order, &rig->taken[2], &rig->shards[2], 1, &index), 0));
    cr_expect(eq(u64, order_take_if(rig->order, &rig->taken[2], &rig->shards[2], 3, &index), 0));
    cr_expect(eq(u64, shared_load_seq_cst(&rig->order->shards[2].floor), ORDER_INFINITY));
    cr_expect(eq(u64, order_take_if(rig->order, &rig->taken[2], &rig->shards[2], 2, &index), 3));
    rig->last = 3;
    rig->takers[3] = 2;
    rig->indexes[3] = index;
    done(rig, 1);
    done(rig, 2);
    cr_expect(eq(u64, order_watermark(rig->order, SHARDS), 2));
    done(rig, 3);
    cr_expect(eq(u64, order_watermark(rig->order, SHARDS), 3));
    rig_fini(rig);
    free(rig);
}

Test(order, knows_what_is_on_its_way)
{
    struct rig *rig = malloc(sizeof *rig);
    cr_assert(ne(ptr, rig, NULL));
    rig_init(rig, 1);
    uint64_t index;
    take(rig, 1);
    uint64_t seq = order_take(rig->order, &rig->taken[0], &rig->shards[0], true, &index);
    cr_expect(eq(u64, seq, 2));
    cr_expect(order_is_routed(rig->order, SHARDS, 1, 1));
    cr_expect(not(order_is_routed(rig->order, SHARDS, 1, 2)));
    cr_expect(not(order_is_routed(rig->order, SHARDS, 1, 9)));
    cr_expect(order_is_routed(rig->order, SHARDS, 0, 9)); /* its own are no hindrance */
    order_routed(rig->order, &rig->shards[0]);
    cr_expect(order_is_routed(rig->order, SHARDS, 1, 9));
    rig_fini(rig);
    free(rig);
}

/* ---- several threads ---- */

struct mark {
    _Atomic unsigned char is_done, is_published;
};

struct race {
    struct order *order;
    struct mark *
        marks; /* by sequence; acquire and release, so that what it proves is order.c's own doing */
    _Atomic uint32_t running;
    _Atomic uint64_t
        wrong_seq; /* 0: nothing was wrong; Criterion's assertions are for the main thread */
    pthread_barrier_t start;
};

struct runner {
    struct race *race;
    uint32_t index;
    pthread_t thread;
};

static void *run_taker(void *context)
{
    struct runner *runner = context;
    struct race *race = runner->race;
    struct heap *heap = heap_create();
    struct shard shard = {.index = runner->index, .count = THREADS, .heap = heap};
    struct taken taken = {0};
    uint64_t seqs[IN_FLIGHT], indexes[IN_FLIGHT];
    uint32_t count = 0;
    unsigned seed = runner->index + 1;
    (void)pthread_barrier_wait(&race->start);
    for (uint32_t i = 0; i < TAKES || count > 0; i++) {
        if (i < TAKES && count < IN_FLIGHT && rand_r(&seed) % 2 == 0) {
            seqs[count] = order_take(race->order, &taken, &shard, false, &indexes[count]);
            count++;
        } else if (count > 0) {
            uint32_t at = (uint32_t)rand_r(&seed) % count;
            atomic_store_explicit(&race->marks[seqs[at]].is_done, 1, memory_order_release);
            (void)order_done(race->order, &taken, &shard, indexes[at]);
            count--;
            seqs[at] = seqs[count];
            indexes[at] = indexes[count];
        }
    }
    taken_free(&taken);
    heap_destroy(heap);
    atomic_fetch_sub_explicit(&race->running, 1, memory_order_release);
    return NULL;
}

/* Reads watermarks while the others run: all that one covers is done. */
static void *run_watcher(void *context)
{
    struct race *race = ((struct runner *)context)->race;
    uint64_t seen = 0;
    (void)pthread_barrier_wait(&race->start);
    bool is_last = false;
    while (!is_last) {
        is_last = atomic_load_explicit(&race->running, memory_order_acquire) == 0;
        uint64_t watermark = order_watermark(race->order, THREADS);
        for (; seen < watermark; seen++) {
            if (!atomic_load_explicit(&race->marks[seen + 1].is_done, memory_order_acquire))
                race->wrong_seq = seen + 1;
        }
    }
    if (seen != order_last_taken(race->order))
        race->wrong_seq = seen + 1;
    return NULL;
}

/* Puts of which some go to others: they are published in the same turn, then the routing word is raised. */
static void *run_router(void *context)
{
    struct runner *runner = context;
    struct race *race = runner->race;
    struct heap *heap = heap_create();
    struct shard shard = {.index = runner->index, .count = THREADS, .heap = heap};
    struct taken taken = {0};
    unsigned seed = runner->index + 1;
    (void)pthread_barrier_wait(&race->start);
    for (uint32_t turn = 0; turn < TAKES / 4; turn++) {
        uint64_t seqs[4], indexes[4];
        uint32_t count = 1 + (uint32_t)rand_r(&seed) % 4;
        for (uint32_t i = 0; i < count; i++)
            seqs[i] = order_take(race->order, &taken, &shard, true, &indexes[i]);
        for (uint32_t i = 0; i < count; i++)
            atomic_store_explicit(&race->marks[seqs[i]].is_published, 1, memory_order_relaxed);
        order_routed(race->order, &shard);
        for (uint32_t i = 0; i < count; i++)
            (void)order_done(race->order, &taken, &shard, indexes[i]);
    }
    taken_free(&taken);
    heap_destroy(heap);
    atomic_fetch_sub_explicit(&race->running, 1, memory_order_release);
    return NULL;
}

/* A CAS: when the fence lets its sequence pass, everything below was published. */
static void *run_fenced(void *context)
{
    struct runner *runner = context;
    struct race *race = runner->race;
    struct heap *heap = heap_create();
    struct shard shard = {.index = runner->index, .count = THREADS, .heap = heap};
    struct taken taken = {0};
    uint64_t checked = 0, index;
    (void)pthread_barrier_wait(&race->start);
    while (atomic_load_explicit(&race->running, memory_order_acquire) > 0) {
        uint64_t seq = order_take(race->order, &taken, &shard, false, &index);
        atomic_store_explicit(&race->marks[seq].is_published, 1, memory_order_relaxed);
        while (!order_is_routed(race->order, THREADS, shard.index, seq)) {
        }
        for (; checked + 1 < seq; checked++) {
            if (!atomic_load_explicit(&race->marks[checked + 1].is_published, memory_order_relaxed))
                race->wrong_seq = checked + 1;
        }
        (void)order_done(race->order, &taken, &shard, index);
        struct timespec pause = {.tv_nsec = 20000}; /* few beside the others' many */
        (void)nanosleep(&pause, NULL);
    }
    taken_free(&taken);
    heap_destroy(heap);
    return NULL;
}

static void run_race(void *(*run)(void *context), uint32_t count, void *(*run_last)(void *context))
{
    struct heap *heap = heap_create();
    struct race race = {.order = order_create(heap), .running = count};
    race.marks = calloc(2 * THREADS * TAKES + 2000000, sizeof *race.marks);
    cr_assert(ne(ptr, race.marks, NULL));
    cr_assert(eq(int, pthread_barrier_init(&race.start, NULL, count + 1), 0));
    struct runner runners[THREADS + 1];
    for (uint32_t i = 0; i <= count; i++) {
        runners[i] = (struct runner){.race = &race, .index = i};
        cr_assert(eq(
            int, pthread_create(&runners[i].thread, NULL, i < count ? run : run_last, &runners[i]),
            0));
    }
    for (uint32_t i = 0; i <= count; i++)
        (void)pthread_join(runners[i].thread, NULL);
    cr_expect(eq(u64, race.wrong_seq, 0));
    (void)pthread_barrier_destroy(&race.start);
    free(race.marks);
    heap_free(race.order);
    heap_destroy(heap);
}

Test(order, never_covers_what_is_not_done)
{
    run_race(run_taker, THREADS, run_watcher);
}

Test(order, holds_a_cas_back_until_what_is_below_is_published)
{
    run_race(run_router, THREADS - 1, run_fenced);
}
