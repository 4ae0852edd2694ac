/*
 * tests/core/shard_test.c: a shard's turn, and groups of real threads: start, sleep, wake, stop.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/mailbox.h"
#include "core/shard.h"

static struct shard_group *group;
static char why[512];

static _Atomic uint32_t started_count, stopped_count;
static _Atomic uint32_t failing_index = UINT32_MAX;

static enum status count_on_start(struct shard *shard, void *context, char *text, size_t bytes)
{
    cr_assert(shard_current() == shard);
    cr_assert(context == &started_count);
    if (shard->index == atomic_load(&failing_index)) {
        snprintf(text, bytes, "shard %u does not like it", shard->index);
        return STATUS_NO_SPACE;
    }
    atomic_fetch_add(&started_count, 1);
    return STATUS_OK;
}

static void count_on_stop(struct shard *shard, void *context)
{
    (void)context;
    cr_assert(shard_current() == shard);
    atomic_fetch_add(&stopped_count, 1);
}

static enum status start_group(uint32_t count)
{
    return shard_group_start(count, count_on_start, count_on_stop, &started_count, &group, why,
                             sizeof(why));
}

static uint64_t cpu_time_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* ---- the group ---- */

Test(shard, group_starts_all_and_stops_all)
{
    for (uint32_t count = 1; count <= 4; count++) {
        atomic_store(&started_count, 0);
        atomic_store(&stopped_count, 0);
        enum status status = start_group(count);
        cr_assert(eq(int, status, STATUS_OK), "%s", why);
        cr_expect(eq(u32, atomic_load(&started_count), count));
        for (uint32_t index = 0; index < count; index++)
            cr_expect(eq(u32, shard_group_at(group, index)->index, index));
        shard_group_stop(group);
        shard_group_join(group);
        cr_expect(eq(u32, atomic_load(&stopped_count), count));
    }
}

Test(shard, group_stops_all_when_one_fails_to_start)
{
    atomic_store(&failing_index, 1);
    enum status status = start_group(3);
    cr_expect(eq(int, status, STATUS_NO_SPACE));
    cr_expect(eq(str, why, "shard 1 does not like it"));
    cr_expect(group == NULL);
    cr_expect(eq(u32, atomic_load(&started_count), atomic_load(&stopped_count)),
              "only what started is stopped");
}

/* It is idle, so its threads sleep: less than 1 % of a CPU. */
Test(shard, group_uses_no_cpu_when_idle)
{
    enum status status = start_group(4);
    cr_assert(eq(int, status, STATUS_OK), "%s", why);
    usleep(100000); /* what starting takes is not counted */
    uint64_t before_ns = cpu_time_ns();
    sleep(1);
    uint64_t used_ns = cpu_time_ns() - before_ns;
    shard_group_stop(group);
    shard_group_join(group);
    cr_expect(lt(u64, used_ns, 10000000));
}

static void stop_on_message(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)payload;
    (void)bytes;
    (void)from;
    shard_group_stop(shard->group);
}

static enum status send_on_start(struct shard *shard, void *context, char *text, size_t bytes)
{
    (void)context;
    (void)text;
    (void)bytes;
    if (shard->index == 0)
        mailbox_send(shard, shard->count - 1, stop_on_message, NULL, 0);
    return STATUS_OK;
}

/* What on_start sends arrives though everyone else sleeps; and a shard may stop its own group. */
Test(shard, group_delivers_what_on_start_sent_and_may_stop_itself)
{
    for (int round = 0; round < 50; round++) {
        enum status status =
            shard_group_start(3, send_on_start, NULL, NULL, &group, why, sizeof(why));
        cr_assert(eq(int, status, STATUS_OK), "%s", why);
        shard_group_join(group);
    }
}

static _Atomic uint64_t signals_blocked_count;

static enum status signals_on_start(struct shard *shard, void *context, char *text, size_t bytes)
{
    (void)shard;
    (void)context;
    (void)text;
    (void)bytes;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof(name));
    if (sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGHUP) == 1
        && strncmp(name, "pail/", 5) == 0)
        atomic_fetch_add(&signals_blocked_count, 1);
    return STATUS_OK;
}

Test(shard, threads_have_names_and_block_signals)
{
    enum status status =
        shard_group_start(2, signals_on_start, NULL, NULL, &group, why, sizeof(why));
    cr_assert(eq(int, status, STATUS_OK), "%s", why);
    cr_expect(eq(u64, atomic_load(&signals_blocked_count), 2));
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    cr_expect(eq(int, sigismember(&mask, SIGTERM), 0), "the starter's mask is as it was");
    shard_group_stop(group);
    shard_group_join(group);
}

Test(shard, count_default_respects_the_affinity_mask)
{
    uint32_t count = shard_count_default();
    cr_expect(ge(u32, count, 1));
    cr_expect(le(u32, count, SHARD_COUNT_MAX));
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET((size_t)sched_getcpu(), &mask);
    cr_assert(eq(int, sched_setaffinity(0, sizeof(mask), &mask), 0));
    cr_expect(eq(u32, shard_count_default(), 1));
}

/* ---- the turn ---- */

static char trace[64]; /* a letter for each step that ran */

static void trace_add(char letter)
{
    size_t length = strlen(trace);
    cr_assert(length + 1 < sizeof(trace));
    trace[length] = letter;
}

static void trace_phase(struct shard *shard, void *context)
{
    cr_assert(shard_current() == shard);
    trace_add(*(const char *)context);
}

static void trace_message(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    (void)from;
    cr_assert(eq(u32, bytes, 1));
    trace_add(*(char *)payload);
}

static void trace_timer(struct timer *timer)
{
    (void)timer;
    trace_add('t');
}

static struct shard *turning;

static void trace_deferred(struct shard_deferred *deferred)
{
    trace_add('d');
    if (strchr(trace, 'e') == NULL) {
        trace_add('e');
        shard_defer(turning, deferred, trace_deferred); /* of the next turn */
    }
    mailbox_send(turning, 1, trace_message, "x", 1);
}

/* All steps of shard.h in their order, and what each step starts is done in the right turn. */
Test(shard, turn_runs_its_steps_in_order)
{
    cr_assert(eq(int, (int)shard_group_create_unthreaded(2, &group), STATUS_OK));
    struct shard *shard = shard_group_at(group, 0), *other = shard_group_at(group, 1);
    turning = shard;
    struct timer timer = {.link = NULL};
    struct shard_deferred deferred = {.is_queued = false};

    cr_expect(shard_current() == NULL);
    cr_expect(not(shard_has_work(shard)));
    shard_enter(shard);
    shard_add_phase(shard, trace_phase, "1");
    shard_add_phase(shard, trace_phase, "2");
    timer_start(shard->timers, &timer, shard_now_ns(shard), trace_timer);
    mailbox_send(shard, 0, trace_message, "m", 1);
    shard_defer(shard, &deferred, trace_deferred);
    shard_defer(shard, &deferred, trace_deferred);
    shard_leave(shard);
    cr_expect(shard_has_work(shard));

    usleep(5000); /* the timer is due */
    shard_turn(shard);
    cr_expect(shard_current() == NULL);
    cr_expect(eq(str, trace, "t12de"), "the message is visible at the end of this turn");
    cr_expect(shard_has_work(other), "the deferred call's message is published too");
    memset(trace, 0, sizeof(trace));
    trace[0] = 'e';
    shard_turn(shard);
    cr_expect(eq(str, trace, "em12d"));
    cr_expect(not(shard_has_work(shard)));

    shard_enter(shard);
    shard_stay_awake(shard);
    shard_leave(shard);
    cr_expect(shard_has_work(shard));
    shard_turn(shard);
    cr_expect(not(shard_has_work(shard)));

    memset(trace, 0, sizeof(trace));
    shard_turn(other);
    cr_expect(eq(str, trace, "xx"));
    shard_group_destroy_unthreaded(group);
}
