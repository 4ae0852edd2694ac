/*
 * store/key_arena.h: where an index keeps its keys: blocks that never move, named by 32-bit handles.
 *
 *     handle = chunk number (19 bits) | place in the chunk in units of 8 bytes (13 bits)
 *
 * A chunk holds blocks of one size class; a block of more than KEY_ARENA_SHARED_BYTES_MAX has a chunk to itself. Two reasons
 * not to take each block from the heap: a general allocator rounds 52 bytes to 64, and a handle is half a pointer, in
 * the table and in the sequence log. At most 32 GiB of keys an index.
 */
#ifndef STORE_KEY_ARENA_H
#define STORE_KEY_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "core/heap.h"

enum {
    KEY_ARENA_UNIT_BITS = 13,
    KEY_ARENA_UNIT_BYTES = 8,
    KEY_ARENA_CHUNK_BYTES = KEY_ARENA_UNIT_BYTES << KEY_ARENA_UNIT_BITS,
    KEY_ARENA_CHUNKS_MAX = 1 << (32 - KEY_ARENA_UNIT_BITS),
    KEY_ARENA_FINE_BYTES_MAX = 256,    /* classes up to here are 8 bytes apart */
    KEY_ARENA_SHARED_BYTES_MAX = 4096, /* and up to here four to a doubling */
    KEY_ARENA_CLASS_COUNT = KEY_ARENA_FINE_BYTES_MAX / 8 + 1 + 4 * 4,
};

struct key_arena_chunk; /* key_arena.c */

struct key_arena_class {
    uint32_t open;        /* number of the first chunk with room; 0 is none */
    uint32_t chunk_bytes; /* of the next chunk: it doubles, so that small indexes stay small */
};

struct key_arena {
    struct heap *heap; /* borrows */
    char **bases;      /* owns; by chunk number: the first byte, NULL if there is no such chunk */
    struct key_arena_chunk *chunks; /* owns; by chunk number */
    uint32_t chunk_count; /* numbers in use or on the list of spare ones; 0 is never a chunk */
    uint32_t chunk_capacity;
    uint32_t spare_number; /* first of the list of numbers to use again; 0 is none */
    uint64_t memory_bytes;
    struct key_arena_class
        classes[KEY_ARENA_CLASS_COUNT]; /* [0]: blocks with a chunk to themselves */
};

void key_arena_init(struct key_arena *arena, struct heap *heap);
void key_arena_fini(struct key_arena *arena);

/* A block of at least `bytes`, aligned to 8, not zeroed. The handle is never 0. */
void *key_arena_alloc(struct key_arena *arena, size_t bytes, uint32_t *handle_out);
void key_arena_free(struct key_arena *arena, uint32_t handle);

static inline void *key_arena_at(const struct key_arena *arena, uint32_t handle)
{
    uint32_t unit = handle & ((1u << KEY_ARENA_UNIT_BITS) - 1);
    return arena->bases[handle >> KEY_ARENA_UNIT_BITS] + (size_t)unit * KEY_ARENA_UNIT_BYTES;
}

#endif
