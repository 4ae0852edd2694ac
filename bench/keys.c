/*
 * bench/keys.c: Zipf draws by rejection-inversion, which needs no table of the key space.
 *
 * Source: W. Hörmann, G. Derflinger: Rejection-inversion to generate variates from monotone
 *         discrete distributions, ACM TOMACS 6 (1996).
 */
#include "bench/keys.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct zipf {
    double theta;
    double h_first;
    double h_last;
    double s;
};

static uint32_t zipf_rank(const struct zipf *zipf, struct keys *keys);
static double h_integral(double x, double theta);
static double h_integral_inverse(double x, double theta);
static uint32_t spread(uint32_t rank, uint32_t count);

void keys_init(struct keys *keys, uint32_t count, const uint32_t *draws, uint32_t draw_count,
               uint64_t seed)
{
    *keys = (struct keys){.random = seed * UINT64_C(0x9E3779B97F4A7C15) | 1,
                          .count = count,
                          .draws = draws,
                          .draw_count = draw_count};
    for (int index = 0; index < 8; index++)
        (void)keys_random(keys); /* nearby seeds start alike; mix them */
    if (draws != NULL)
        keys->draw_at = keys_below(keys, draw_count);
}

uint32_t *zipf_draws(uint32_t key_count, double theta, uint32_t draw_count, uint64_t seed)
{
    uint32_t *draws = malloc(sizeof(*draws) * draw_count);
    if (draws == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    struct zipf zipf = {.theta = theta};
    zipf.h_first = h_integral(1.5, theta) - 1.0;
    zipf.h_last = h_integral(key_count + 0.5, theta);
    zipf.s = 2.0 - h_integral_inverse(h_integral(2.5, theta) - pow(2.0, -theta), theta);
    struct keys keys;
    keys_init(&keys, key_count, NULL, 0, seed);
    for (uint32_t index = 0; index < draw_count; index++)
        draws[index] = spread(zipf_rank(&zipf, &keys) - 1, key_count);
    return draws;
}

static uint32_t zipf_rank(const struct zipf *zipf, struct keys *keys)
{
    for (;;) {
        double unit = (double)(keys_random(keys) >> 11) * 0x1p-53;
        double u = zipf->h_last + unit * (zipf->h_first - zipf->h_last);
        double x = h_integral_inverse(u, zipf->theta);
        double rank = floor(x + 0.5);
        if (rank < 1.0)
            rank = 1.0;
        if (rank > keys->count)
            rank = keys->count;
        if (rank - x <= zipf->s
            || u >= h_integral(rank + 0.5, zipf->theta) - pow(rank, -zipf->theta))
            return (uint32_t)rank;
    }
}

/* The integral of x^-theta, written so that theta = 1 needs no case of its own. */
static double h_integral(double x, double theta)
{
    double log_x = log(x);
    double y = (1.0 - theta) * log_x;
    return (fabs(y) > 1e-8 ? expm1(y) / y : 1.0 + y / 2.0) * log_x;
}

static double h_integral_inverse(double x, double theta)
{
    double t = x * (1.0 - theta);
    if (t < -1.0)
        t = -1.0;
    return exp((fabs(t) > 1e-8 ? log1p(t) / t : 1.0 - t / 2.0) * x);
}

/* A permutation of the key space if `count` has no factor in common with the large prime. */
static uint32_t spread(uint32_t rank, uint32_t count)
{
    return (uint32_t)((uint64_t)rank * 2654435761U % count);
}
