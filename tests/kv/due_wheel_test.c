/*
 * tests/kv/due_wheel_test.c: the wheel against a plain array, with clocks that jump.
 */
#include "kv/due_wheel.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

#include "core/bytes.h"

enum { SEQS = 500 };
#define TICK (UINT64_C(1) << DUE_WHEEL_TICK_BITS)
#define START (UINT64_C(1780000000) * 1000000000)

static uint64_t state = 88172645463325252u;

static uint64_t below(uint64_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % limit;
}

static uint64_t ticks_up(uint64_t ns)
{
    return (ns + TICK - 1) / TICK;
}

/* Whatever was added, removed and popped: what pops is exactly what is due. */
static void run(uint64_t span_ns, bool goes_back)
{
    static uint64_t due[SEQS];
    memset(due, 0, sizeof due);
    struct heap *heap = heap_create();
    uint64_t now = START;
    struct due_wheel *wheel = due_wheel_create(heap, now);
    uint64_t count = 0;
    struct due out;
    for (unsigned step = 0; step < 20000; step++) {
        uint64_t seq = below(SEQS);
        if (due[seq] == 0) {
            due[seq] = now + below(span_ns) + 1 - (step % 7 == 0 ? below(TICK * 3) : 0);
            due_wheel_add(wheel, &(struct due){.seq = seq, .due_ns = due[seq], .ttl = seq});
            count++;
        } else if (below(4) == 0) {
            cr_assert(due_wheel_find(wheel, seq, &out));
            cr_expect(eq(u64, out.ttl, seq));
            cr_assert(due_wheel_remove(wheel, seq));
            cr_assert(not(due_wheel_remove(wheel, seq)));
            due[seq] = 0;
            count--;
        }
        now += below(span_ns / 50 + 2);
        if (goes_back && below(500) == 0)
            now -= below(span_ns);
        uint64_t first = UINT64_MAX;
        for (unsigned i = 0; i < SEQS; i++)
            first = due[i] != 0 && due[i] < first ? due[i] : first;
        cr_assert(goes_back || due_wheel_next_ns(wheel) == UINT64_MAX
                  || due_wheel_next_ns(wheel) / TICK <= ticks_up(first));
        while (due_wheel_pop(wheel, now, &out)) {
            cr_assert(eq(u64, out.due_ns, due[out.seq]));
            cr_assert(out.due_ns <= now);
            due[out.seq] = 0;
            count--;
        }
        for (unsigned i = 0; i < SEQS; i++)
            cr_assert(due[i] == 0 || ticks_up(due[i]) > now / TICK, "step %u", step);
        cr_assert(eq(u64, due_wheel_count(wheel), count));
    }
    due_wheel_destroy(wheel);
    heap_destroy(heap);
}

Test(due_wheel, pops_what_is_due_within_seconds)
{
    run(UINT64_C(5000000000), false);
}
Test(due_wheel, pops_what_is_due_within_days)
{
    run(UINT64_C(500000) * 1000000000, false);
}
Test(due_wheel, pops_what_is_due_within_decades)
{
    run(UINT64_C(1000000000) * 1000000000, false);
}
Test(due_wheel, goes_back_with_the_clock)
{
    run(UINT64_C(300) * 1000000000, true);
}

Test(due_wheel, holds_the_farthest_time)
{
    struct heap *heap = heap_create();
    struct due_wheel *wheel = due_wheel_create(heap, START);
    struct due out, far = {.seq = 1, .due_ns = START + (UINT64_C(1) << 33) * 1000000000};
    due_wheel_add(wheel, &far);
    cr_expect(not(due_wheel_pop(wheel, far.due_ns - TICK, &out)));
    cr_expect(due_wheel_pop(wheel, far.due_ns + TICK, &out));
    cr_expect(eq(u64, due_wheel_next_ns(wheel), UINT64_MAX));
    due_wheel_destroy(wheel);
    heap_destroy(heap);
}
