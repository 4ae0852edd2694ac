/*
 * kv/archive.h: the archive of a stream, plain (kv/s2.h compresses it), as nats-server writes it since 2.15.
 *
 *     archive = "NATSARC1", then entries; the last one is all zeros
 *     entry   = uvarint name bytes, zig-zag varint time (Unix ns), uvarint sequence, uvarint header bytes, uvarint payload bytes;
 *               then name, headers, payload
 *     entries = state.json, then consumers/<name> …, then the messages in sequence order, named by their subjects
 *
 * The reader takes bytes however they are cut, and never trusts them: what an entry announces is checked before it is kept.
 *
 * Source: jetstream-streams.md section 5.10; nats-server 2.15.2.
 */
#ifndef KV_ARCHIVE_H
#define KV_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/text.h"

struct archive_entry {
    struct bytes name, headers, payload; /* borrowed */
    int64_t time_ns;                     /* Unix */
    uint64_t seq;                        /* 0: not a message */
};

void archive_append_start(struct text *out);
void archive_append_entry(struct text *out, const struct archive_entry *entry);
/* The last entry. */
void archive_append_end(struct text *out);
bool archive_entry_is_end(const struct archive_entry *entry);

enum archive_result {
    ARCHIVE_MORE,  /* all that was fed is used up */
    ARCHIVE_ENTRY, /* it stays until the next call */
    ARCHIVE_WRONG, /* reader->why tells; for ever */
};

struct archive_reader {
    uint64_t bytes_max; /* of an entry's headers and payload; the caller's to set */
    struct bytes input; /* borrows, between feed and ARCHIVE_MORE */
    struct text held;   /* owns: an entry of which only a part has come */
    bool is_held_used;  /* `held` was given away by the last call */
    bool has_begun;
    const char *why; /* literal; NULL: fine so far */
};

void archive_reader_free(struct archive_reader *reader);
/* `input` is borrowed until archive_reader_next says ARCHIVE_MORE, which must have come before the next feeding. */
void archive_reader_feed(struct archive_reader *reader, struct bytes input);
enum archive_result archive_reader_next(struct archive_reader *reader,
                                        struct archive_entry *entry_out);

#endif
