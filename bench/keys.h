/*
 * bench/keys.h: which key an operation takes: each in turn, uniform, or by Zipf's law.
 *
 * A uniform draw is a multiplication. Zipf draws need logarithms, so they are drawn ahead into a
 * table that is read in order: a draw then costs a load from memory that the CPU has prefetched.
 * Popular keys are spread over the key space, as they would be by names.
 */
#ifndef BENCH_KEYS_H
#define BENCH_KEYS_H

#include <stddef.h>
#include <stdint.h>

enum key_order { KEY_UNIFORM, KEY_ZIPF };

struct keys {
    uint64_t random; /* xorshift state */
    uint32_t count;
    uint32_t draw_at;
    uint32_t draw_count;
    const uint32_t *draws; /* borrows; NULL unless Zipf */
};

/* Draws ahead; the table is shared by all threads, each of which starts elsewhere. Exits if out of
 * memory. theta is the exponent: 0 is uniform, 0.99 the usual choice; any value from 0 to 10. */
uint32_t *zipf_draws(uint32_t key_count, double theta, uint32_t draw_count, uint64_t seed);

void keys_init(struct keys *keys, uint32_t count, const uint32_t *draws, uint32_t draw_count,
               uint64_t seed);

static inline uint64_t keys_random(struct keys *keys)
{
    uint64_t x = keys->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    keys->random = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

/* Uniform below `bound`. */
static inline uint32_t keys_below(struct keys *keys, uint32_t bound)
{
    return (uint32_t)(((keys_random(keys) >> 32) * bound) >> 32);
}

static inline uint32_t keys_next(struct keys *keys)
{
    if (keys->draws == NULL)
        return keys_below(keys, keys->count);
    uint32_t key = keys->draws[keys->draw_at];
    if (++keys->draw_at == keys->draw_count)
        keys->draw_at = 0;
    return key;
}

#endif
