/*
 * tests/sim/seeds.h: which seeds a simulator runs, and each in a process of its own, so that a failed one ends nothing else.
 */
#ifndef TESTS_SIM_SEEDS_H
#define TESTS_SIM_SEEDS_H

#include <stdbool.h>
#include <stdint.h>

struct seeds {
    uint64_t first, last;
    bool is_only_one; /* TEST_SEED=n replays n; else TEST_SEEDS=n runs 1 to n, 1000 by default */
};

struct seeds seeds_from_environment(void);
/* True when the seed's process ended well. */
bool seed_run_apart(uint64_t seed, void (*run)(uint64_t seed));

#endif
