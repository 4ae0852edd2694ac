/*
 * tests/bench/keys_test.c: are keys drawn as asked?
 */
#include "bench/keys.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <math.h>
#include <stdlib.h>

enum { KEY_COUNT = 1000, DRAW_COUNT = 1 << 20 };

static int by_count(const void *one, const void *other)
{
    return *(const int *)other - *(const int *)one;
}

Test(keys, uniform_takes_every_key_about_as_often)
{
    static int counts[KEY_COUNT];
    struct keys keys;
    keys_init(&keys, KEY_COUNT, NULL, 0, 7);
    for (int draw = 0; draw < DRAW_COUNT; draw++)
        counts[keys_next(&keys)]++;
    double mean = (double)DRAW_COUNT / KEY_COUNT;
    for (int key = 0; key < KEY_COUNT; key++)
        cr_assert(fabs(counts[key] - mean) < 6 * sqrt(mean), "key %d: %d", key, counts[key]);
}

/* The k-th most popular key must be taken k^-theta times as often as the first. */
Test(keys, zipf_falls_with_the_rank)
{
    static const double thetas[] = {0.5, 0.99, 1.0, 1.3};
    for (size_t index = 0; index < sizeof(thetas) / sizeof(thetas[0]); index++) {
        int counts[KEY_COUNT] = {0};
        uint32_t *draws = zipf_draws(KEY_COUNT, thetas[index], DRAW_COUNT, 7);
        for (int draw = 0; draw < DRAW_COUNT; draw++) {
            cr_assert(lt(u32, draws[draw], (uint32_t)KEY_COUNT));
            counts[draws[draw]]++;
        }
        free(draws);
        qsort(counts, KEY_COUNT, sizeof(counts[0]), by_count);
        double sum = 0;
        for (int rank = 1; rank <= KEY_COUNT; rank++)
            sum += pow(rank, -thetas[index]);
        for (int rank = 1; rank <= 10; rank++) {
            double expected = DRAW_COUNT * pow(rank, -thetas[index]) / sum;
            cr_expect(fabs(counts[rank - 1] - expected) < 6 * sqrt(expected),
                      "theta %g rank %d: %d instead of %g", thetas[index], rank, counts[rank - 1],
                      expected);
        }
    }
}
