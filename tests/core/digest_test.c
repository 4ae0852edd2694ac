/*
 * tests/core/digest_test.c: published examples of the digests, and base64 that is not taken for what it is not.
 */
#include "core/digest.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

/* FIPS 180-2, "abc". */
Test(digest, makes_the_published_digests)
{
    unsigned char sha1[DIGEST_SHA1_BYTES], sha256[DIGEST_SHA256_BYTES];
    const unsigned char sha1_start[] = {0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a};
    const unsigned char sha256_start[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
    digest_sha1(BYTES_LITERAL("abc"), sha1);
    digest_sha256(BYTES_LITERAL("abc"), sha256);
    cr_expect(eq(int, memcmp(sha1, sha1_start, 8), 0));
    cr_expect(eq(int, memcmp(sha256, sha256_start, 8), 0));
}

Test(digest, decodes_base64_of_one_length)
{
    unsigned char out[16];
    cr_expect(digest_decode_base64(BYTES_LITERAL("MDEyMzQ1Njc4OWFiY2RlZg=="), out, 16));
    cr_expect(eq(int, memcmp(out, "0123456789abcdef", 16), 0));
    cr_expect(not(digest_decode_base64(BYTES_LITERAL("MDEyMzQ1Njc4OWFiY2RlZg=="), out, 15)));
    cr_expect(not(digest_decode_base64(BYTES_LITERAL("MDEyMzQ1Njc4OWFiY2RlZg"), out, 16)));
    cr_expect(not(digest_decode_base64(BYTES_LITERAL("MDEyMzQ1Njc4OWFiY2R Zg=="), out, 16)));
    cr_expect(not(digest_decode_base64(BYTES_LITERAL("MDEyMzQ1Njc4OWFiY2RlZ==="), out, 16)));
    cr_expect(not(digest_decode_base64(BYTES_LITERAL(""), out, 16)));
}
