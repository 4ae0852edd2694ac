/*
 * store/window.h: a window that slides forward over a file, for reading it in order in large pieces.
 *
 * window_need says whether bytes are there; if not it reads, and on_filled runs later: then ask again.
 * Runs on: the shard of the io.
 */
#ifndef STORE_WINDOW_H
#define STORE_WINDOW_H

#include "core/heap.h"
#include "core/io.h"

enum { WINDOW_TRIES_MAX = 2 };

struct window {
    struct op op;
    struct io *io;     /* borrows */
    struct heap *heap; /* borrows */
    io_file file;      /* borrows */
    uint64_t file_bytes;
    uint32_t read_bytes; /* of one read, at most; whole blocks */
    char *buffer;        /* owns; whole blocks */
    uint64_t capacity;
    uint64_t offset; /* of the buffer in the file */
    uint64_t count;  /* bytes in the buffer */
    uint32_t try_count;
    enum status status; /* STATUS_IO: the last read failed for good */
    void (*on_filled)(struct window *window);
};

void window_init(struct window *window, struct io *io, struct heap *heap, uint32_t read_bytes,
                 void (*on_filled)(struct window *window));
void window_fini(struct window *window);
void window_open(struct window *window, io_file file, uint64_t file_bytes);
/*
 * The bytes at [offset, offset + bytes), offset a multiple of the block and never going back, all within the file. NULL:
 * they are being read.
 */
const char *window_need(struct window *window, uint64_t offset, uint64_t bytes);

#endif
