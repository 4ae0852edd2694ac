/*
 * tests/kv/backlog_test.c: random operations on a backlog and on a plain array of states, one for each sequence.
 *
 * TEST_SEED=n replays a run.
 */
#include "kv/backlog.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

enum { SEQS = 200, STRIPES = 5, ROUNDS = 300 };
enum state { ABSENT, WANTED, DEAD, DELIVERED };

struct rig {
    struct backlog backlog;
    enum state states[SEQS];
    uint32_t stripes[SEQS];
    unsigned seed;
};

static unsigned below(struct rig *rig, unsigned limit)
{
    return (unsigned)rand_r(&rig->seed) % limit;
}

static unsigned first_seed(void)
{
    const char *text = getenv("TEST_SEED");
    return text == NULL ? 1 : (unsigned)strtoul(text, NULL, 10);
}

static void compare(const struct rig *rig, unsigned seed)
{
    const struct backlog *backlog = &rig->backlog;
    uint64_t index = 0, alive = 0;
    for (uint64_t seq = 0; seq < SEQS; seq++) {
        cr_assert(eq(int, backlog_has(backlog, seq), rig->states[seq] != ABSENT), "seed %u", seed);
        if (rig->states[seq] == ABSENT)
            continue;
        alive += rig->states[seq] == WANTED;
        cr_assert(eq(u64, backlog_seq(backlog, index), seq), "seed %u", seed);
        cr_assert(eq(u32, backlog_stripe(backlog, index), rig->stripes[seq]), "seed %u", seed);
        cr_assert(eq(int, backlog_is_wanted(backlog, index), rig->states[seq] == WANTED), "seed %u",
                  seed);
        index++;
    }
    cr_assert(eq(u64, backlog->count, index), "seed %u", seed);
    cr_assert(eq(u64, backlog->alive, alive), "seed %u", seed);
}

/* With doubles, as several stripes' lists may have them after a gathering anew. */
static void fill(struct rig *rig)
{
    for (unsigned count = below(rig, SEQS); count > 0; count--) {
        uint64_t seq = below(rig, SEQS);
        if (rig->states[seq] == ABSENT)
            rig->stripes[seq] = below(rig, STRIPES);
        rig->states[seq] = WANTED;
        backlog_add(&rig->backlog, seq, rig->stripes[seq]);
    }
    backlog_sort(&rig->backlog);
}

static void act(struct rig *rig)
{
    uint64_t seq = below(rig, SEQS);
    if (below(rig, 3) == 0) {
        if (rig->states[seq] == ABSENT) {
            rig->stripes[seq] = below(rig, STRIPES);
            rig->states[seq] = WANTED;
        }
        backlog_insert(&rig->backlog, seq, rig->stripes[seq]);
        return;
    }
    cr_assert(eq(int, backlog_kill(&rig->backlog, seq), rig->states[seq] == WANTED));
    if (rig->states[seq] == WANTED)
        rig->states[seq] = DEAD;
}

static void deliver(struct rig *rig)
{
    struct backlog *backlog = &rig->backlog;
    for (; backlog->next < backlog->count; backlog->next++) {
        uint64_t seq = backlog_seq(backlog, backlog->next);
        if (!backlog_is_wanted(backlog, backlog->next) || below(rig, 4) == 0)
            continue;
        backlog_delivered(backlog, backlog->next);
        rig->states[seq] = DELIVERED;
    }
}

Test(backlog, does_what_an_array_does)
{
    unsigned first = first_seed(), last = getenv("TEST_SEED") == NULL ? ROUNDS : first;
    for (unsigned seed = first; seed <= last; seed++) {
        struct rig rig = {.seed = seed, .backlog = {.heap = heap_create()}};
        struct heap *heap = rig.backlog.heap;
        fill(&rig);
        compare(&rig, seed);
        for (unsigned steps = below(&rig, 100); steps > 0; steps--)
            act(&rig);
        compare(&rig, seed);
        deliver(&rig);
        compare(&rig, seed);
        for (uint64_t seq = 0; seq < SEQS;
             seq++) { /* what is delivered or dead does not die again */
            cr_assert(eq(int, backlog_kill(&rig.backlog, seq), rig.states[seq] == WANTED));
            rig.states[seq] = rig.states[seq] == WANTED ? DEAD : rig.states[seq];
        }
        cr_assert(eq(u64, rig.backlog.alive, 0), "seed %u", seed);
        backlog_clear(&rig.backlog);
        heap_destroy(heap);
    }
}

Test(backlog, keeps_only_the_last)
{
    struct heap *heap = heap_create();
    struct backlog backlog = {.heap = heap};
    backlog_keep_only_last(&backlog);
    cr_expect(eq(u64, backlog.count, 0));
    backlog_add(&backlog, 7, 1);
    backlog_add(&backlog, 3, 0);
    backlog_add(&backlog, 9, 2);
    backlog_sort(&backlog);
    backlog_keep_only_last(&backlog);
    cr_expect(eq(u64, backlog.count, 1));
    cr_expect(eq(u64, backlog.alive, 1));
    cr_expect(eq(u64, backlog_seq(&backlog, 0), 9));
    cr_expect(eq(u32, backlog_stripe(&backlog, 0), 2));
    backlog_clear(&backlog);
    heap_destroy(heap);
}
