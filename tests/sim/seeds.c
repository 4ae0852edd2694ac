/*
 * tests/sim/seeds.c: seeds of a simulator, each in its own process.
 */
#include "tests/sim/seeds.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct seeds seeds_from_environment(void)
{
    const char *only = getenv("TEST_SEED"), *many = getenv("TEST_SEEDS");
    if (only != NULL) {
        uint64_t seed = strtoull(only, NULL, 10);
        return (struct seeds){seed, seed, true};
    }
    return (struct seeds){1, many == NULL ? 1000 : strtoull(many, NULL, 10), false};
}

bool seed_run_apart(uint64_t seed, void (*run)(uint64_t seed))
{
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        struct sigaction action = {.sa_handler = SIG_DFL};
        (void)sigaction(SIGABRT, &action,
                        NULL); /* not Criterion's, which would tell of a crashed test */
        run(seed);
        _exit(0);
    }
    int how = 0;
    cr_assert(waitpid(child, &how, 0) == child);
    if (WIFSIGNALED(how))
        fprintf(stderr, "TEST_SEED=%" PRIu64 ": %s\n", seed, strsignal(WTERMSIG(how)));
    return WIFEXITED(how) && WEXITSTATUS(how) == 0;
}
