/*
 * store/window.c: reads a file forward, one large read at a time; what is asked for lies in one piece.
 *
 * Keeps:   buffer, offset and length of each read are multiples of the block (O_DIRECT). A failed read is tried once more.
 * Owns:    the buffer.
 */
#include "store/window.h"

#include <string.h>

#include "core/assert.h"
#include "core/bytes.h"
#include "store/segment.h"

static void on_read_done(struct op *op);

void window_init(struct window *window, struct io *io, struct heap *heap, uint32_t read_bytes,
                 void (*on_filled)(struct window *window))
{
    *window = (struct window){.io = io,
                              .heap = heap,
                              .file = IO_FILE_NONE,
                              .read_bytes = read_bytes,
                              .on_filled = on_filled};
}

void window_fini(struct window *window)
{
    heap_free(window->buffer);
    window->buffer = NULL;
}

void window_open(struct window *window, io_file file, uint64_t file_bytes)
{
    window->file = file;
    window->file_bytes = file_bytes;
    window->offset = 0;
    window->count = 0;
    window->try_count = 0;
    window->status = STATUS_OK;
}

static void read_more(struct window *window)
{
    uint64_t room = window->capacity - window->count;
    uint64_t bytes = room < window->read_bytes ? room : window->read_bytes;
    uint64_t rest = block_round_up(window->file_bytes) - (window->offset + window->count);
    if (bytes > rest)
        bytes = rest;
    ASSERT(bytes > 0);
    io_read(window->io, &window->op, window->file, window->buffer + window->count, (uint32_t)bytes,
            window->offset + window->count, on_read_done);
}

/* Drops what lies before `offset`, makes room for `bytes` and some more. */
static void slide(struct window *window, uint64_t offset, uint64_t bytes)
{
    uint64_t kept = 0;
    if (offset < window->offset + window->count)
        kept = window->offset + window->count - offset;
    uint64_t wanted = block_round_up(bytes) + window->read_bytes;
    char *from = kept == 0 ? NULL : window->buffer + (offset - window->offset);
    if (wanted > window->capacity) {
        char *larger = heap_alloc_aligned(window->heap, wanted, BLOCK_BYTES);
        if (kept > 0)
            memcpy(larger, from, kept);
        heap_free(window->buffer);
        window->buffer = larger;
        window->capacity = wanted;
    } else if (kept > 0) {
        memmove(window->buffer, from, kept);
    }
    window->offset = offset;
    window->count = kept;
}

const char *window_need(struct window *window, uint64_t offset, uint64_t bytes)
{
    ASSERT(offset % BLOCK_BYTES == 0);
    ASSERT(offset + bytes <= window->file_bytes);
    ASSERT(offset >= window->offset);
    if (offset + bytes <= window->offset + window->count)
        return window->buffer + (offset - window->offset);
    slide(window, offset, bytes);
    read_more(window);
    return NULL;
}

static void on_read_done(struct op *op)
{
    struct window *window = CONTAINER_OF(op, struct window, op);
    if (op->result <= 0) {
        window->try_count++;
        if (window->try_count < WINDOW_TRIES_MAX) {
            read_more(window);
            return;
        }
        window->status = STATUS_IO;
    } else {
        window->try_count = 0;
        window->count += (uint64_t)op->result / BLOCK_BYTES * BLOCK_BYTES;
        uint64_t end = window->offset + window->count;
        if (end > window->file_bytes || op->result < BLOCK_BYTES)
            window->count = window->file_bytes - window->offset; /* the file's odd end */
    }
    window->on_filled(window);
}
