/*
 * tests/net/info_test.c: the server's keys, as nkeys are written.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#include "net/server.h"

/* A key's text back to its bytes. */
static void decode(const char *text, unsigned char *raw)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    memset(raw, 0, 35);
    for (unsigned i = 0; i < 56; i++) {
        const char *found = strchr(alphabet, text[i]);
        cr_assert(ne(ptr, (void *)(uintptr_t)found, NULL));
        unsigned value = (unsigned)(found - alphabet);
        for (unsigned bit = 0; bit < 5; bit++) {
            unsigned at = i * 5 + bit;
            raw[at / 8] |= (unsigned char)((value >> (4 - bit) & 1) << (7 - at % 8));
        }
    }
}

/* CRC-16 XMODEM over a value and its own checksum, high byte first, is 0. */
static unsigned crc16(const unsigned char *data, size_t count)
{
    unsigned crc = 0;
    for (size_t i = 0; i < count; i++) {
        crc ^= (unsigned)data[i] << 8;
        for (unsigned bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return crc;
}

Test(info, makes_keys_that_are_nkeys)
{
    char why[256];
    struct io *io = NULL;
    static struct options options;
    options_init(&options);
    struct server *server = aligned_alloc(_Alignof(struct server), sizeof(*server));
    memset(server, 0, sizeof(*server));
    server->options = &options;
    cr_assert(eq(int, io_create(0, &io, why, sizeof(why)), STATUS_OK));
    server_info_init(server, io);
    const char *keys[] = {server->id, server->xkey};
    const unsigned char prefixes[] = {13 << 3, 23 << 3};
    for (unsigned i = 0; i < 2; i++) {
        unsigned char raw[35];
        cr_assert(eq(sz, strlen(keys[i]), 56));
        decode(keys[i], raw);
        cr_expect(eq(u8, raw[0], prefixes[i]));
        cr_expect(eq(uint, crc16(raw, 33), (unsigned)(raw[33] | raw[34] << 8)));
    }
    cr_expect(eq(chr, server->id[0], 'N'));
    cr_expect(eq(chr, server->xkey[0], 'X'));
    cr_expect(eq(str, (char *)(uintptr_t)server->name, server->id));
    io_destroy(io);
    free(server);
}
