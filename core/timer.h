/*
 * core/timer.h: timers of one shard; a hierarchical wheel with ticks of about a millisecond.
 *
 * A timer fires once, on its shard, between two turns' callbacks, never early and at most a tick late while the shard
 * is awake. Starting one that runs moves it. The struct is the caller's and must stay while the timer runs.
 */
#ifndef CORE_TIMER_H
#define CORE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct timer;
struct timer_wheel;
typedef void timer_fn(struct timer *timer);

struct timer {
    struct timer *next, **link; /* the wheel's own; link is NULL while the timer does not run */
    uint64_t deadline_ns;       /* as asked, or the next tick if that has passed */
    timer_fn *on_fire;
};

struct heap;
struct timer_wheel *timer_wheel_create(struct heap *heap, uint64_t now_ns);
void timer_wheel_destroy(struct timer_wheel *wheel);
/* Runs what is due; callbacks may start and stop timers, also their own. */
void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ns);
/* When timer_wheel_run should be called next at the latest; UINT64_MAX without timers. */
uint64_t timer_wheel_deadline_ns(const struct timer_wheel *wheel);

void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ns,
                 timer_fn *on_fire);
void timer_stop(struct timer *timer); /* fine when it does not run */
static inline bool timer_is_running(const struct timer *timer)
{
    return timer->link != 0;
}

#endif
