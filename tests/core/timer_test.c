/*
 * tests/core/timer_test.c: timers fire in time, whatever is started, moved and stopped meanwhile.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "core/timer.h"

enum { TIMER_COUNT = 300 };
static const uint64_t tick_ns = 1 << 20;

/* A timer with what the model knows of it. */
struct probe {
    struct timer timer;
    uint64_t deadline_ns;
    bool is_expected;
    unsigned fired_count;
};

static struct heap *heap;
static struct timer_wheel *wheel;
static uint64_t now_ns;
static struct probe probes[TIMER_COUNT];
static uint64_t last_fired_tick;
static unsigned fired_total;

static void wheel_start(void)
{
    now_ns = UINT64_C(123456789012345);
    heap = heap_create();
    wheel = timer_wheel_create(heap, now_ns);
}

static void wheel_stop(void)
{
    timer_wheel_destroy(wheel);
    heap_destroy(heap);
}

TestSuite(timer, .init = wheel_start, .fini = wheel_stop);

static void probe_on_fire(struct timer *timer)
{
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);
    cr_assert(probe->is_expected);
    cr_assert(ge(u64, now_ns, probe->deadline_ns));
    uint64_t tick = (timer->deadline_ns + tick_ns - 1) / tick_ns;
    cr_assert(ge(u64, tick, last_fired_tick), "timers of a run fire in the order of their ticks");
    last_fired_tick = tick;
    probe->is_expected = false;
    probe->fired_count++;
    fired_total++;
}

static void probe_start(struct probe *probe, uint64_t deadline_ns)
{
    probe->deadline_ns = deadline_ns > now_ns ? deadline_ns : now_ns; /* too late is at once */
    probe->is_expected = true;
    timer_start(wheel, &probe->timer, deadline_ns, probe_on_fire);
}

static void run_at(uint64_t time_ns)
{
    now_ns = time_ns;
    last_fired_tick = 0;
    timer_wheel_run(wheel, now_ns);
}

/* Everything due a tick ago has fired, and the wheel wants to be called in time for the rest. */
static void check_probes(void)
{
    uint64_t earliest_ns = UINT64_MAX;
    for (size_t index = 0; index < TIMER_COUNT; index++) {
        struct probe *probe = &probes[index];
        cr_assert(eq(int, probe->is_expected, timer_is_running(&probe->timer)));
        if (!probe->is_expected)
            continue;
        cr_assert(gt(u64, probe->deadline_ns + tick_ns, now_ns), "at most a tick late");
        if (probe->deadline_ns < earliest_ns)
            earliest_ns = probe->deadline_ns;
    }
    uint64_t wanted_ns = timer_wheel_deadline_ns(wheel);
    cr_assert(gt(u64, wanted_ns, now_ns), "a wheel that was just run does not want to run");
    if (earliest_ns == UINT64_MAX)
        cr_assert(eq(u64, wanted_ns, UINT64_MAX));
    else if (earliest_ns < UINT64_MAX - 2 * tick_ns)
        cr_assert(lt(u64, wanted_ns, (earliest_ns > now_ns ? earliest_ns : now_ns) + tick_ns + 1));
}

static uint64_t random_state;

static uint64_t random_u64(void)
{
    random_state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A span of any magnitude: from a nanosecond to some days. */
static uint64_t random_span_ns(void)
{
    return random_u64() >> (16 + random_u64() % 48);
}

static void random_seed(void)
{
    const char *seed = getenv("TEST_SEED");
    random_state = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    fprintf(stderr, "TEST_SEED=%llu\n", (unsigned long long)random_state);
}

/* Property: random starts, moves, stops and steps of time, against the probes' own deadlines. */
Test(timer, fires_in_time_whatever_happens)
{
    random_seed();
    for (int step = 0; step < 100000; step++) {
        struct probe *probe = &probes[random_u64() % TIMER_COUNT];
        switch (random_u64() % 8) {
        case 0:
            timer_stop(&probe->timer);
            probe->is_expected = false;
            break;
        case 1: /* in the past */
            probe_start(probe, now_ns - random_span_ns() % now_ns);
            break;
        case 2: /* at a boundary */
            probe_start(probe, (now_ns / tick_ns + random_u64() % 5000) * tick_ns);
            break;
        case 3:
        case 4:
        case 5:
            probe_start(probe, now_ns + random_span_ns());
            break;
        case 6:
            run_at(now_ns + random_span_ns() % (UINT64_C(1) << 50));
            check_probes();
            break;
        case 7: /* as a shard does: sleeps until the wheel wants to run */
            if (timer_wheel_deadline_ns(wheel) < now_ns + (UINT64_C(1) << 50)) {
                run_at(timer_wheel_deadline_ns(wheel));
                check_probes();
            }
            break;
        }
    }
    cr_expect(gt(u32, fired_total, 1000));
}

Test(timer, has_no_deadline_without_timers)
{
    cr_expect(eq(u64, timer_wheel_deadline_ns(wheel), UINT64_MAX));
    probe_start(&probes[0], now_ns + 5 * tick_ns);
    cr_expect(ne(u64, timer_wheel_deadline_ns(wheel), UINT64_MAX));
    timer_stop(&probes[0].timer);
    cr_expect(eq(u64, timer_wheel_deadline_ns(wheel), UINT64_MAX));
}

Test(timer, keeps_a_timer_that_never_fires)
{
    probe_start(&probes[0], UINT64_MAX);
    run_at(now_ns + (UINT64_C(1) << 60));
    cr_expect(timer_is_running(&probes[0].timer));
    timer_stop(&probes[0].timer);
}

/* A distant timer may wake the shard to cascade, but some times only. */
Test(timer, wakes_seldom_for_a_distant_deadline)
{
    uint64_t day_ns = UINT64_C(86400) * 1000 * 1000 * 1000;
    probe_start(&probes[0], now_ns + day_ns);
    unsigned run_count = 0;
    while (probes[0].is_expected) {
        run_at(timer_wheel_deadline_ns(wheel));
        run_count++;
    }
    cr_expect(le(u32, run_count, 8));
    cr_expect(le(u64, now_ns, probes[0].deadline_ns + tick_ns));
}

static unsigned restarted_count;

static void restart_on_fire(struct timer *timer)
{
    restarted_count++;
    timer_start(wheel, timer, now_ns, restart_on_fire);
}

Test(timer, restarted_by_its_callback_fires_once_a_run)
{
    struct timer timer = {.link = NULL};
    timer_start(wheel, &timer, now_ns + tick_ns, restart_on_fire);
    for (unsigned run = 1; run <= 100; run++) {
        run_at(now_ns + 1000 * tick_ns); /* late: all the more reason not to catch up in one run */
        cr_assert(eq(u32, restarted_count, run));
    }
    timer_stop(&timer);
}

static void stop_others_on_fire(struct timer *timer)
{
    (void)timer;
    for (size_t index = 0; index < 10; index++) {
        timer_stop(&probes[index].timer);
        probes[index].is_expected = false;
    }
}

Test(timer, may_stop_others_that_are_due_at_the_same_time)
{
    struct timer stopper = {.link = NULL};
    for (size_t index = 0; index < 10; index++)
        probe_start(&probes[index], now_ns + 3 * tick_ns);
    timer_start(wheel, &stopper, now_ns + 3 * tick_ns, stop_others_on_fire);
    run_at(now_ns + 10 * tick_ns);
    run_at(now_ns + 10 * tick_ns);
    cr_expect(not(timer_is_running(&stopper)));
    for (size_t index = 0; index < 10; index++)
        cr_expect(not(timer_is_running(&probes[index].timer)));
}
