/*
 * core/digest.h: the SHA digests that protocols ask for, by OpenSSL's libcrypto.
 */
#ifndef CORE_DIGEST_H
#define CORE_DIGEST_H

#include "core/bytes.h"

enum { DIGEST_SHA1_BYTES = 20, DIGEST_SHA256_BYTES = 32 };

void digest_sha1(struct bytes bytes, unsigned char digest_out[DIGEST_SHA1_BYTES]);
void digest_sha256(struct bytes bytes, unsigned char digest_out[DIGEST_SHA256_BYTES]);

/* Standard base64 with its padding. False when it is not that, or gives another number of bytes than `count`. */
bool digest_decode_base64(struct bytes text, unsigned char *out, size_t count);

#endif
