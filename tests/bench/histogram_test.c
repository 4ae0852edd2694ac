/*
 * tests/bench/histogram_test.c: are percentiles within one per cent of the truth?
 */
#include "bench/histogram.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

static struct histogram histogram; /* too large for a stack of unknown size */

Test(histogram, is_exact_to_one_per_cent)
{
    histogram_clear(&histogram);
    for (uint64_t value = 1; value <= 1000000; value++)
        histogram_add(&histogram, value);
    static const double fractions[] = {0.001, 0.5, 0.99, 0.999};
    for (size_t index = 0; index < sizeof(fractions) / sizeof(fractions[0]); index++) {
        double truth = fractions[index] * 1000000;
        double told = (double)histogram_quantile(&histogram, fractions[index]);
        cr_expect(told >= truth && told <= truth * 1.01, "%g: %g", fractions[index], told);
    }
    cr_expect(eq(u64, histogram_quantile(&histogram, 1.0), 1000000));
    cr_expect(eq(u64, histogram.max, 1000000));
}

Test(histogram, has_a_bucket_for_every_value)
{
    uint32_t before = 0;
    for (uint64_t value = 0; value < 1 << 20; value++) {
        uint32_t bucket = histogram_bucket(value);
        cr_assert(bucket == before || bucket == before + 1, "%llu", (unsigned long long)value);
        before = bucket;
    }
    cr_expect(eq(u32, histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1));
    cr_expect(lt(u32, histogram_bucket((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1),
                 (uint32_t)HISTOGRAM_BUCKETS));
}

Test(histogram, of_nothing_is_zero_and_merging_adds)
{
    static struct histogram other;
    histogram_clear(&histogram);
    histogram_clear(&other);
    cr_expect(eq(u64, histogram_quantile(&histogram, 0.5), 0));
    histogram_add(&histogram, 5);
    histogram_add(&other, 50);
    histogram_merge(&histogram, &other);
    cr_expect(eq(u64, histogram.count, 2));
    cr_expect(eq(u64, histogram_quantile(&histogram, 0.5), 5));
    cr_expect(eq(u64, histogram_quantile(&histogram, 0.99), 50));
}
