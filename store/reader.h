/*
 * store/reader.h: reads records back from segment files. See reader.c.
 */
#ifndef STORE_READER_H
#define STORE_READER_H

#include "core/io.h"
#include "store/store.h"

enum {
    READER_FILES_MAX = 64, /* open at a time; each descriptor stays until another needs its place */
    READER_READS_MAX = 128, /* in flight; more wait */
};

/* An open segment file. */
struct reader_file {
    uint64_t segment_id; /* 0: none */
    io_file file;        /* owns */
    uint32_t read_count; /* in flight */
    uint64_t used_at;    /* the reader's count of uses: the lowest goes first */
};

struct read; /* reader.c: one location being read, and all who wait for it */

struct reader {
    struct reader_file files[READER_FILES_MAX];
    uint64_t use_count;
    struct read *reads;                   /* owns; in flight */
    struct read *waiting, **waiting_tail; /* owns; not begun */
    uint32_t read_count;                  /* in flight */
};

void reader_init(struct store *store);
void reader_fini(struct store *store);
bool reader_is_busy(const struct store *store);
/* Its file is about to go. */
void reader_forget_segment(struct store *store, uint64_t segment_id);

#endif
