/*
 * tests/core/hash_test.c: checksums against the published values and against one another; the hash's evenness.
 */
#include "core/hash.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "core/bytes.h"

static void fill(unsigned char *out, size_t count, uint64_t seed);
static uint32_t crc_bit_by_bit(uint32_t crc, const unsigned char *data, size_t count);

/* Source: RFC 3720 appendix B.4, and the check value of the CRC catalogue. */
Test(hash, crc32c_gives_the_published_values)
{
    unsigned char data[32];
    cr_expect(eq(u32, crc32c(0, "123456789", 9), 0xe3069283));
    cr_expect(eq(u32, crc32c(0, "", 0), 0));
    memset(data, 0, sizeof(data));
    cr_expect(eq(u32, crc32c(0, data, sizeof(data)), 0x8a9136aa));
    memset(data, 0xff, sizeof(data));
    cr_expect(eq(u32, crc32c(0, data, sizeof(data)), 0x62a8ab43));
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)i;
    cr_expect(eq(u32, crc32c(0, data, sizeof(data)), 0x46dd794e));
}

/* Lengths on both sides of every place where the three lanes begin or end, at odd addresses. */
Test(hash, crc32c_is_the_same_in_every_way)
{
    static unsigned char data[16384 + 8];
    fill(data, sizeof(data), 1);
    for (size_t count = 0; count < 16384; count += count < 800 ? 1 : 61)
        for (size_t start = 0; start < 8; start += 3) {
            uint32_t want = crc_bit_by_bit(7, data + start, count);
            cr_assert(eq(u32, crc32c(7, data + start, count), want), "%zu bytes", count);
            cr_assert(eq(u32, crc32c_portable(7, data + start, count), want), "%zu bytes", count);
        }
}

Test(hash, crc32c_goes_on_where_it_stopped)
{
    static unsigned char data[5000];
    fill(data, sizeof(data), 2);
    uint32_t whole = crc32c(0, data, sizeof(data));
    for (size_t cut = 0; cut <= sizeof(data); cut += 97)
        cr_assert(eq(u32, crc32c(crc32c(0, data, cut), data + cut, sizeof(data) - cut), whole));
}

Test(hash, reads_every_byte_and_the_count)
{
    unsigned char data[100] = {0};
    for (size_t count = 0; count < sizeof(data); count++) {
        uint64_t plain = hash_bytes(data, count);
        cr_assert(ne(u64, plain, hash_bytes(data, count + 1)), "%zu zeros and one more", count);
        for (size_t i = 0; i < count; i++) {
            data[i] = 1;
            cr_assert(ne(u64, plain, hash_bytes(data, count)), "byte %zu of %zu", i, count);
            data[i] = 0;
        }
    }
    cr_expect(eq(u64, hash_bytes(NULL, 0), hash_bytes("", 0)));
}

/* A flipped bit of the input flips each bit of the hash in about half of the cases. */
Test(hash, mixes_all_bits)
{
    static const size_t counts[] = {1, 3, 4, 8, 9, 16, 17, 32, 33, 64};
    for (size_t c = 0; c < COUNT_OF(counts); c++) {
        unsigned flips[64] = {0}, trials = 0;
        for (uint64_t seed = 0; seed < 400; seed++) {
            unsigned char data[64];
            fill(data, counts[c], seed);
            uint64_t before = hash_bytes(data, counts[c]);
            data[seed % counts[c]] ^= (unsigned char)(1u << seed / counts[c] % 8);
            uint64_t changed = before ^ hash_bytes(data, counts[c]);
            for (unsigned bit = 0; bit < 64; bit++)
                flips[bit] += changed >> bit & 1;
            trials++;
        }
        for (unsigned bit = 0; bit < 64; bit++)
            cr_expect(flips[bit] > trials * 3 / 10 && flips[bit] < trials * 7 / 10,
                      "bit %u of %zu bytes: %u of %u", bit, counts[c], flips[bit], trials);
    }
}

/* Keys as users make them, in 1024 slots by the low and by the high bits: chi-square within six sigma. */
Test(hash, spreads_numbered_keys_evenly)
{
    enum { SLOTS = 1024, KEYS = 100000 };
    static unsigned low[SLOTS], high[SLOTS];
    for (unsigned i = 0; i < KEYS; i++) {
        char key[32];
        int count = snprintf(key, sizeof(key), "$KV.bucket.key.%u", i);
        uint64_t hash = hash_bytes(key, (size_t)count);
        low[hash % SLOTS]++;
        high[hash >> 54]++;
    }
    double low_sum = 0, high_sum = 0, mean = (double)KEYS / SLOTS;
    for (unsigned i = 0; i < SLOTS; i++) {
        low_sum += (low[i] - mean) * (low[i] - mean) / mean;
        high_sum += (high[i] - mean) * (high[i] - mean) / mean;
    }
    cr_expect(low_sum > 750 && low_sum < 1300, "chi-square %f", low_sum);
    cr_expect(high_sum > 750 && high_sum < 1300, "chi-square %f", high_sum);
}

Test(hash, depends_on_the_seed)
{
    uint64_t before = hash_bytes("key", 3);
    hash_seed_set(42);
    uint64_t after = hash_bytes("key", 3);
    cr_expect(ne(u64, before, after));
    hash_seed_set(42);
    cr_expect(eq(u64, after, hash_bytes("key", 3)));
}

static void fill(unsigned char *out, size_t count, uint64_t seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out[i] = (unsigned char)(state >> 32);
    }
}

static uint32_t crc_bit_by_bit(uint32_t crc, const unsigned char *data, size_t count)
{
    uint32_t state = ~crc;
    for (size_t i = 0; i < count; i++) {
        state ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            state = state >> 1 ^ (state & 1 ? 0x82f63b78u : 0);
    }
    return ~state;
}
