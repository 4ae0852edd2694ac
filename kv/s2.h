/*
 * kv/s2.h: the compression of archives: frames of S2, which extends Snappy.
 *
 *     stream = ff 06 00 00 "S2sTwO", then frames {type, 3 bytes length, body}
 *     body of a data frame = masked crc32c of the plain bytes, then a block (type 0) or the bytes themselves (type 1)
 *
 * What we write is plain Snappy in blocks of 64 KiB, which every S2 reader takes. What we read is all of S2: blocks of up to 4 MiB,
 * repeat offsets. Input is never trusted: every length is checked before it is used.
 *
 * Source: the Snappy framing format; github.com/klauspost/compress/s2 for what S2 adds.
 */
#ifndef KV_S2_H
#define KV_S2_H

#include <stdbool.h>
#include <stdint.h>

#include "core/text.h"

enum {
    S2_WRITE_BLOCK_BYTES = 65536,  /* plain bytes of a frame that we write */
    S2_READ_BLOCK_BYTES = 4 << 20, /* plain bytes of a frame that we take */
};

/* What a writer needs between frames; may be zeroed memory. */
struct s2_table {
    uint16_t places[1 << 14];
};

void s2_append_start(struct text *out);
/* One frame; plain: 1 to S2_WRITE_BLOCK_BYTES bytes. */
void s2_append_frame(struct text *out, struct bytes plain, struct s2_table *table);

/* The plain length a block announces; false: it announces none that is allowed. */
bool s2_block_length(struct bytes block, uint32_t *plain_out);
/* Exactly s2_block_length() bytes to `plain`; false: the block is damaged. */
bool s2_block_decode(struct bytes block, char *plain, uint32_t plain_bytes);

enum s2_result {
    S2_MORE,    /* all that was fed is used up */
    S2_BLOCK,   /* plain bytes, which stay until the next call */
    S2_CORRUPT, /* reader->why tells; for ever */
};

struct s2_reader {
    struct bytes input; /* borrows, between feed and S2_MORE */
    struct text frame;  /* owns: a frame of which only a part has come */
    struct text plain;  /* owns */
    uint64_t skip_bytes;
    bool has_begun;
    const char *why; /* literal, in the words of that package; NULL: fine so far */
};

void s2_reader_free(struct s2_reader *reader);
/* `input` is borrowed until s2_reader_next says S2_MORE, which must have come before the next feeding. */
void s2_reader_feed(struct s2_reader *reader, struct bytes input);
enum s2_result s2_reader_next(struct s2_reader *reader, struct bytes *plain_out);

#endif
