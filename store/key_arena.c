/*
 * store/key_arena.c: blocks of one size lie together in a chunk; chunks with room form one list a size class.
 *
 *     bases[n] ──► | block | block | free ─► free | never used … |
 *     chunks[n] = {live, free list, first never used}, in its class's list while it has room
 *
 * Keeps:   a chunk without a live block is given back to the heap at once, its number is used again.
 * Owns:    the chunks and both tables; borrows the heap.
 * Runs on: the shard of the index.
 */
#include "store/key_arena.h"

#include "core/assert.h"

#include <string.h>

enum {
    CHUNK_BYTES_MIN = 512,
    CHUNK_CAPACITY_MIN = 8, /* of the two tables */
};

struct key_arena_chunk {
    uint32_t next,
        previous; /* in the class's list of chunks with room, or (next) of spare numbers; 0 ends it */
    uint32_t bytes;
    uint16_t class_index;
    uint16_t block_capacity;
    uint16_t live_count;
    uint16_t fresh_count; /* blocks ever given out: those behind have never been used */
    uint16_t
        free_unit; /* 1 + unit of the first freed block, which holds the next such number; 0 ends it */
};

static uint32_t class_of(size_t bytes);
static uint32_t class_block_bytes(uint32_t class_index);
static uint32_t chunk_create(struct key_arena *arena, uint32_t class_index, uint32_t block_bytes);
static void chunk_destroy(struct key_arena *arena, uint32_t number);
static uint32_t chunk_take_block(struct key_arena *arena, uint32_t number, uint32_t block_bytes);
static uint32_t number_take(struct key_arena *arena);
static void list_push(struct key_arena *arena, uint32_t number);
static void list_remove(struct key_arena *arena, uint32_t number);

void key_arena_init(struct key_arena *arena, struct heap *heap)
{
    *arena = (struct key_arena){.heap = heap, .chunk_count = 1};
    for (uint32_t i = 0; i < KEY_ARENA_CLASS_COUNT; i++)
        arena->classes[i].chunk_bytes = CHUNK_BYTES_MIN;
}

void key_arena_fini(struct key_arena *arena)
{
    for (uint32_t number = 1; number < arena->chunk_count; number++)
        heap_free(arena->bases[number]);
    heap_free(arena->bases);
    heap_free(arena->chunks);
}

void *key_arena_alloc(struct key_arena *arena, size_t bytes, uint32_t *handle_out)
{
    ASSERT(bytes > 0);
    uint32_t class_index = class_of(bytes);
    uint32_t block_bytes = class_index == 0 ? (uint32_t)bytes : class_block_bytes(class_index);

    uint32_t number = arena->classes[class_index].open;
    if (number == 0)
        number = chunk_create(arena, class_index, block_bytes);
    uint32_t unit = chunk_take_block(arena, number, block_bytes);
    if (arena->chunks[number].live_count == arena->chunks[number].block_capacity)
        list_remove(arena, number);

    *handle_out = number << KEY_ARENA_UNIT_BITS | unit;
    return key_arena_at(arena, *handle_out);
}

void key_arena_free(struct key_arena *arena, uint32_t handle)
{
    uint32_t number = handle >> KEY_ARENA_UNIT_BITS;
    ASSERT(number > 0);
    ASSERT(number < arena->chunk_count);
    struct key_arena_chunk *chunk = &arena->chunks[number];
    ASSERT(chunk->live_count > 0);

    if (chunk->live_count == chunk->block_capacity)
        list_push(arena, number);
    chunk->live_count--;
    if (chunk->live_count == 0) {
        chunk_destroy(arena, number);
        return;
    }
    memcpy(key_arena_at(arena, handle), &chunk->free_unit, sizeof(chunk->free_unit));
    chunk->free_unit = (uint16_t)(1 + (handle & ((1u << KEY_ARENA_UNIT_BITS) - 1)));
}

/* Up to KEY_ARENA_FINE_BYTES_MAX the class is the number of units, rounded up. */
static uint32_t class_of(size_t bytes)
{
    if (bytes <= KEY_ARENA_FINE_BYTES_MAX)
        return (uint32_t)((bytes + KEY_ARENA_UNIT_BYTES - 1) / KEY_ARENA_UNIT_BYTES);
    if (bytes > KEY_ARENA_SHARED_BYTES_MAX)
        return 0;
    uint32_t last = (uint32_t)bytes - 1;
    uint32_t exponent = 31 - (uint32_t)__builtin_clz(last); /* 8 to 11 */
    return KEY_ARENA_FINE_BYTES_MAX / 8 + 1 + 4 * (exponent - 8) + ((last >> (exponent - 2)) & 3);
}

static uint32_t class_block_bytes(uint32_t class_index)
{
    if (class_index <= KEY_ARENA_FINE_BYTES_MAX / 8)
        return class_index * KEY_ARENA_UNIT_BYTES;
    uint32_t coarse = class_index - (KEY_ARENA_FINE_BYTES_MAX / 8 + 1);
    return (5 + coarse % 4) << (6 + coarse / 4);
}

static uint32_t chunk_create(struct key_arena *arena, uint32_t class_index, uint32_t block_bytes)
{
    struct key_arena_class *class = &arena->classes[class_index];
    uint32_t block_capacity = class_index == 0 ? 1 : class->chunk_bytes / block_bytes;
    if (block_capacity == 0)
        block_capacity = 1;
    if (class->chunk_bytes < KEY_ARENA_CHUNK_BYTES)
        class->chunk_bytes *= 2;

    uint32_t number = number_take(arena);
    arena->chunks[number] = (struct key_arena_chunk){.bytes = block_capacity * block_bytes,
                                                     .class_index = (uint16_t)class_index,
                                                     .block_capacity = (uint16_t)block_capacity};
    arena->bases[number] = heap_alloc(arena->heap, arena->chunks[number].bytes);
    arena->memory_bytes += arena->chunks[number].bytes;
    list_push(arena, number);
    return number;
}

static void chunk_destroy(struct key_arena *arena, uint32_t number)
{
    list_remove(arena, number);
    arena->memory_bytes -= arena->chunks[number].bytes;
    heap_free(arena->bases[number]);
    arena->bases[number] = NULL;
    arena->chunks[number].next = arena->spare_number;
    arena->spare_number = number;
}

/* The unit of a block that is now live. */
static uint32_t chunk_take_block(struct key_arena *arena, uint32_t number, uint32_t block_bytes)
{
    struct key_arena_chunk *chunk = &arena->chunks[number];
    ASSERT(chunk->live_count < chunk->block_capacity);
    chunk->live_count++;
    if (chunk->free_unit == 0)
        return chunk->fresh_count++ * (block_bytes / KEY_ARENA_UNIT_BYTES);

    uint32_t unit = chunk->free_unit - 1u;
    memcpy(&chunk->free_unit, arena->bases[number] + (size_t)unit * KEY_ARENA_UNIT_BYTES,
           sizeof(chunk->free_unit));
    return unit;
}

static uint32_t number_take(struct key_arena *arena)
{
    uint32_t number = arena->spare_number;
    if (number != 0) {
        arena->spare_number = arena->chunks[number].next;
        return number;
    }
    if (arena->chunk_count >= arena->chunk_capacity) {
        uint32_t capacity = arena->chunk_capacity * 2;
        if (capacity < CHUNK_CAPACITY_MIN)
            capacity = CHUNK_CAPACITY_MIN;
        size_t row_bytes = sizeof(*arena->bases) + sizeof(*arena->chunks);
        arena->memory_bytes += (capacity - arena->chunk_capacity) * row_bytes;
        arena->bases = heap_resize(arena->heap, arena->bases, capacity * sizeof(*arena->bases));
        arena->chunks = heap_resize(arena->heap, arena->chunks, capacity * sizeof(*arena->chunks));
        arena->chunk_capacity = capacity;
    }
    ASSERT(arena->chunk_count < KEY_ARENA_CHUNKS_MAX);
    return arena->chunk_count++;
}

static void list_push(struct key_arena *arena, uint32_t number)
{
    struct key_arena_chunk *chunk = &arena->chunks[number];
    uint32_t *open = &arena->classes[chunk->class_index].open;
    chunk->previous = 0;
    chunk->next = *open;
    if (*open != 0)
        arena->chunks[*open].previous = number;
    *open = number;
}

static void list_remove(struct key_arena *arena, uint32_t number)
{
    struct key_arena_chunk *chunk = &arena->chunks[number];
    if (chunk->previous != 0)
        arena->chunks[chunk->previous].next = chunk->next;
    else
        arena->classes[chunk->class_index].open = chunk->next;
    if (chunk->next != 0)
        arena->chunks[chunk->next].previous = chunk->previous;
}
