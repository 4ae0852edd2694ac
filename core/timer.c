/*
 * core/timer.c: a hierarchical wheel: 8 levels of 64 slots, ticks of 2^20 ns.
 *
 * A timer due at tick E, while the wheel stands at tick T, lies in the level of the highest 6-bit digit in which E and
 * T differ, in the slot of E's digit there. When the wheel comes to the first tick of a slot of a higher level, the
 * slot's timers move down ("cascade"); in level 0 a slot is one tick, and its timers fire. 8 levels cover all deadlines
 * a uint64_t can name, so there is no overflow list. Each level has a word that tells which slots may hold timers.
 *
 * Keeps:   a timer's tick is its deadline rounded up, hence never early and at most a tick late. A slot with timers
 *          has its bit set; a set bit may be stale, for timer_stop does not know the wheel: the next run clears it.
 *          What a callback starts fires in a later run, however late this run is.
 * Owns:    itself; borrows the timers while they run.
 * Runs on: the shard's thread.
 */
#include "core/timer.h"

#include <assert.h>
#include <stddef.h>

#include "core/assert.h"
#include "core/heap.h"

enum {
    TICK_BITS = 20,
    LEVEL_COUNT = 8,
    DIGIT_BITS = 6,
    SLOT_COUNT = 1 << DIGIT_BITS,
};
static_assert(LEVEL_COUNT * DIGIT_BITS + TICK_BITS >= 64, "every deadline has a slot");

struct timer_wheel {
    uint64_t tick;      /* everything due at it or before has fired */
    uint64_t tick_goal; /* of the run under way; else equal to tick */
    uint64_t slots_set[LEVEL_COUNT];
    struct timer *slots[LEVEL_COUNT][SLOT_COUNT];
};

static void wheel_insert(struct timer_wheel *wheel, struct timer *timer);
static uint64_t wheel_next_tick(const struct timer_wheel *wheel);
static void wheel_cascade(struct timer_wheel *wheel, unsigned level);
static void wheel_fire(struct timer_wheel *wheel);
static struct timer *wheel_take_slot(struct timer_wheel *wheel, unsigned level);
static unsigned tick_digit(uint64_t tick, unsigned level);
static uint64_t tick_of_deadline(uint64_t deadline_ns);
static void timer_link(struct timer *timer, struct timer **link);

struct timer_wheel *timer_wheel_create(struct heap *heap, uint64_t now_ns)
{
    struct timer_wheel *wheel = heap_alloc_zeroed(heap, sizeof(*wheel));
    wheel->tick = now_ns >> TICK_BITS;
    wheel->tick_goal = wheel->tick;
    return wheel;
}

void timer_wheel_destroy(struct timer_wheel *wheel)
{
    heap_free(wheel);
}

void timer_start(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ns,
                 timer_fn *on_fire)
{
    timer_stop(timer);
    timer->deadline_ns = deadline_ns;
    timer->on_fire = on_fire;
    if (tick_of_deadline(deadline_ns) <= wheel->tick_goal)
        timer->deadline_ns = (wheel->tick_goal + 1) << TICK_BITS; /* of the next run */
    wheel_insert(wheel, timer);
}

void timer_stop(struct timer *timer)
{
    if (timer->link == NULL)
        return;
    *timer->link = timer->next;
    if (timer->next != NULL)
        timer->next->link = timer->link;
    timer->link = NULL;
    timer->next = NULL;
}

void timer_wheel_run(struct timer_wheel *wheel, uint64_t now_ns)
{
    ASSERT(wheel->tick == wheel->tick_goal); /* not from a timer's callback */
    uint64_t tick_now = now_ns >> TICK_BITS;
    if (tick_now <= wheel->tick)
        return;
    wheel->tick_goal = tick_now;
    for (;;) {
        uint64_t tick = wheel_next_tick(wheel);
        if (tick > tick_now)
            break;
        wheel->tick = tick;
        for (unsigned level = LEVEL_COUNT - 1; level > 0; level--)
            wheel_cascade(wheel, level);
        wheel_fire(wheel);
    }
    wheel->tick = tick_now;
}

uint64_t timer_wheel_deadline_ns(const struct timer_wheel *wheel)
{
    uint64_t tick = wheel_next_tick(wheel);
    return tick > UINT64_MAX >> TICK_BITS ? UINT64_MAX : tick << TICK_BITS;
}

/* Level 0 holds what differs in the last digit, and in a cascade what is due at wheel->tick itself. */
static void wheel_insert(struct timer_wheel *wheel, struct timer *timer)
{
    uint64_t tick = tick_of_deadline(timer->deadline_ns);
    ASSERT(tick >= wheel->tick);
    uint64_t differing = (tick ^ wheel->tick) | 1;
    unsigned level = (63u - (unsigned)__builtin_clzll(differing)) / DIGIT_BITS;
    unsigned slot = tick_digit(tick, level);
    wheel->slots_set[level] |= UINT64_C(1) << slot;
    timer_link(timer, &wheel->slots[level][slot]);
}

/*
 * The first tick after wheel->tick at which a slot is due. On each level all timers lie ahead of the wheel's digit: those
 * at it have moved to a lower level. And all of a level's slots are due before those of the levels above.
 */
static uint64_t wheel_next_tick(const struct timer_wheel *wheel)
{
    for (unsigned level = 0; level < LEVEL_COUNT; level++) {
        unsigned shift = level * DIGIT_BITS;
        uint64_t digit = tick_digit(wheel->tick, level);
        uint64_t ahead = wheel->slots_set[level] & (UINT64_MAX << digit) & ~(UINT64_C(1) << digit);
        for (; ahead != 0; ahead &= ahead - 1) {
            uint64_t slot = (uint64_t)__builtin_ctzll(ahead);
            if (wheel->slots[level][slot] != NULL)
                return (((wheel->tick >> shift) - digit) + slot) << shift;
        }
    }
    return UINT64_MAX;
}

/* Moves the timers of the slot that begins at wheel->tick down. */
static void wheel_cascade(struct timer_wheel *wheel, unsigned level)
{
    uint64_t low_bits = (UINT64_C(1) << (level * DIGIT_BITS)) - 1;
    if ((wheel->tick & low_bits) != 0)
        return;
    struct timer *timer = wheel_take_slot(wheel, level);
    while (timer != NULL) {
        struct timer *next = timer->next;
        wheel_insert(wheel, timer);
        timer = next;
    }
}

/* The list stays linked while callbacks run, so that one may stop another. */
static void wheel_fire(struct timer_wheel *wheel)
{
    struct timer *due = wheel_take_slot(wheel, 0);
    if (due != NULL)
        due->link = &due;
    while (due != NULL) {
        struct timer *timer = due;
        ASSERT(tick_of_deadline(timer->deadline_ns) == wheel->tick);
        timer_stop(timer);
        timer->on_fire(timer);
    }
}

static struct timer *wheel_take_slot(struct timer_wheel *wheel, unsigned level)
{
    unsigned slot = tick_digit(wheel->tick, level);
    struct timer *first = wheel->slots[level][slot];
    wheel->slots[level][slot] = NULL;
    wheel->slots_set[level] &= ~(UINT64_C(1) << slot);
    return first;
}

static unsigned tick_digit(uint64_t tick, unsigned level)
{
    return (unsigned)(tick >> (level * DIGIT_BITS)) & (SLOT_COUNT - 1);
}

static uint64_t tick_of_deadline(uint64_t deadline_ns)
{
    uint64_t part = deadline_ns & ((UINT64_C(1) << TICK_BITS) - 1);
    return (deadline_ns >> TICK_BITS) + (part != 0);
}

static void timer_link(struct timer *timer, struct timer **link)
{
    timer->next = *link;
    if (timer->next != NULL)
        timer->next->link = &timer->next;
    timer->link = link;
    *link = timer;
}
