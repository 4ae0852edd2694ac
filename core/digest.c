/*
 * core/digest.c: SHA-1, SHA-256 and base64 by OpenSSL's libcrypto.
 *
 * Runs on: any thread.
 */
#include "core/digest.h"

#include <openssl/evp.h>

#include "core/assert.h"

enum { BASE64_BYTES_MAX = 128 };

static void digest(const EVP_MD *kind, struct bytes bytes, unsigned char *out, unsigned count)
{
    unsigned made = 0;
    int result = EVP_Digest(bytes.count > 0 ? bytes.data : "", bytes.count, out, &made, kind, NULL);
    ASSERT(result == 1); /* it fails only without memory */
    ASSERT(made == count);
}

void digest_sha1(struct bytes bytes, unsigned char digest_out[DIGEST_SHA1_BYTES])
{
    digest(EVP_sha1(), bytes, digest_out, DIGEST_SHA1_BYTES);
}

void digest_sha256(struct bytes bytes, unsigned char digest_out[DIGEST_SHA256_BYTES])
{
    digest(EVP_sha256(), bytes, digest_out, DIGEST_SHA256_BYTES);
}

/* libcrypto counts padding as bytes of zero, and skips blanks: both are seen to here. */
bool digest_decode_base64(struct bytes text, unsigned char *out, size_t count)
{
    unsigned char decoded[BASE64_BYTES_MAX];
    size_t padding = 0;
    if (text.count == 0 || text.count % 4 != 0 || text.count / 4 * 3 > sizeof(decoded))
        return false;
    while (padding < 2 && text.data[text.count - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < text.count - padding; i++) {
        char byte = text.data[i];
        bool is_letter = (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
        if (!is_letter && (byte < '0' || byte > '9') && byte != '+' && byte != '/')
            return false;
    }
    int made = EVP_DecodeBlock(decoded, (const unsigned char *)text.data, (int)text.count);
    if (made < 0 || (size_t)made - padding != count)
        return false;
    memcpy(out, decoded, count);
    return true;
}
