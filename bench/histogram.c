/*
 * bench/histogram.c: the parts of the histogram that are not in the path of an operation.
 */
#include "bench/histogram.h"

#include <string.h>

static uint64_t bucket_end(uint32_t bucket);

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
        into->buckets[bucket] += from->buckets[bucket];
}

uint64_t histogram_quantile(const struct histogram *histogram, double fraction)
{
    uint64_t wanted = (uint64_t)(fraction * (double)histogram->count + 0.5);
    if (wanted == 0)
        wanted = 1;
    uint64_t seen = 0;
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= wanted && seen > 0) {
            uint64_t end = bucket_end(bucket);
            return end < histogram->max ? end : histogram->max;
        }
    }
    return 0;
}

/* The largest value of a bucket. */
static uint64_t bucket_end(uint32_t bucket)
{
    uint32_t octave = bucket >> HISTOGRAM_STEP_BITS;
    uint64_t step = bucket & ((1U << HISTOGRAM_STEP_BITS) - 1);
    if (octave == 0)
        return step;
    uint32_t shift = octave - 1;
    return (((UINT64_C(1) << HISTOGRAM_STEP_BITS) + step + 1) << shift) - 1;
}
