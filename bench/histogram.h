/*
 * bench/histogram.h: counts durations in buckets less than 1 % wide, as HdrHistogram does.
 *
 * A power of two is divided into 128 equal buckets, so adding is a shift and an increment, and the
 * whole range up to nine minutes fits 34 KiB of counters, of which one run touches a few lines.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_STEP_BITS = 7,
    HISTOGRAM_VALUE_BITS = 39,
    HISTOGRAM_BUCKETS = (HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS,
};

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *histogram);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* The value that `fraction` of all values do not exceed, to the bucket's upper end; 0 if empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double fraction);

static inline uint32_t histogram_bucket(uint64_t value)
{
    if (value >= UINT64_C(1) << HISTOGRAM_VALUE_BITS)
        return HISTOGRAM_BUCKETS - 1;
    if (value < UINT64_C(1) << HISTOGRAM_STEP_BITS)
        return (uint32_t)value;
    uint32_t shift = 63U - (uint32_t)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return ((shift + 1) << HISTOGRAM_STEP_BITS) + (uint32_t)(value >> shift)
           - (1U << HISTOGRAM_STEP_BITS);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->buckets[histogram_bucket(value)]++;
    if (value > histogram->max)
        histogram->max = value;
}

#endif
