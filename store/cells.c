/*
 * store/cells.c: the shared words of segments: living bytes, and whether the file may be there after a crash.
 *
 *     begin ──► PRESENT ──linked──► PRESENT + LISTED ──noted──► PRESENT ──gone──► 0
 *
 * Keeps:   PRESENT goes only when the file's new name is durable, so that a record that removes outlives what it removed.
 * Owns:    the chunks, until the directory is closed. They are never freed before: other shards may look at them.
 * Runs on: any shard.
 */
#include <stdlib.h>

#include "core/assert.h"
#include "store/directory.h"
#include "store/location.h"

static struct segment_chunk *chunk_at(struct store_directory *directory, uint64_t index)
{
    return (struct segment_chunk *)(uintptr_t)shared_load_acquire(&directory->chunks[index]);
}

static struct segment_chunk *chunk_make(struct store_directory *directory, uint64_t index)
{
    size_t bytes = sizeof(struct segment_chunk);
    struct segment_chunk *chunk = aligned_alloc(_Alignof(struct segment_chunk), bytes);
    ASSERT(chunk != NULL);
    memset(chunk, 0, bytes);
    if (shared_swap_if(&directory->chunks[index], 0, (uintptr_t)chunk))
        return chunk;
    free(chunk); /* another shard was faster */
    return chunk_at(directory, index);
}

static struct shared_u64 *cell_of(struct store_directory *directory, uint64_t segment_id)
{
    ASSERT(segment_id != 0);
    ASSERT(segment_id <= LOCATION_SEGMENT_MAX);
    uint64_t index = segment_id / SEGMENT_CELLS_PER_CHUNK;
    struct segment_chunk *chunk = chunk_at(directory, index);
    if (chunk == NULL)
        chunk = chunk_make(directory, index);
    return &chunk->cells[segment_id % SEGMENT_CELLS_PER_CHUNK];
}

void directory_segment_present(struct store_directory *directory, uint64_t segment_id)
{
    (void)shared_or_seq_cst(cell_of(directory, segment_id), SEGMENT_IS_PRESENT);
    struct segment_chunk *chunk = chunk_at(directory, segment_id / SEGMENT_CELLS_PER_CHUNK);
    (void)shared_add_seq_cst(&chunk->present_count, 1);
}

uint64_t directory_segment_begin(struct store_directory *directory)
{
    uint64_t segment_id = shared_add_seq_cst(&directory->segment_next, 1);
    directory_segment_present(directory, segment_id);
    return segment_id;
}

void directory_segment_linked(struct store_directory *directory, uint64_t segment_id)
{
    (void)shared_or_seq_cst(cell_of(directory, segment_id), SEGMENT_IS_LISTED);
}

void directory_segment_noted(struct store_directory *directory, uint64_t segment_id)
{
    (void)shared_and_seq_cst(cell_of(directory, segment_id), ~SEGMENT_IS_LISTED);
}

void directory_segment_gone(struct store_directory *directory, uint64_t segment_id)
{
    struct shared_u64 *cell = cell_of(directory, segment_id);
    uint64_t before = shared_and_seq_cst(cell, ~(SEGMENT_IS_PRESENT | SEGMENT_IS_LISTED));
    ASSERT((before & SEGMENT_IS_PRESENT) != 0);
    struct segment_chunk *chunk = chunk_at(directory, segment_id / SEGMENT_CELLS_PER_CHUNK);
    (void)shared_sub_seq_cst(&chunk->present_count, 1);
}

/* The highest id below `limit` whose cell has the flag; 0: none. */
static uint64_t flagged_below(struct store_directory *directory, uint64_t limit, uint64_t flag)
{
    uint64_t id = limit;
    while (id-- > 1) {
        struct segment_chunk *chunk = chunk_at(directory, id / SEGMENT_CELLS_PER_CHUNK);
        if (chunk == NULL || shared_load_seq_cst(&chunk->present_count) == 0) {
            id -= id % SEGMENT_CELLS_PER_CHUNK; /* on to the chunk below */
            continue;
        }
        if ((shared_load_seq_cst(&chunk->cells[id % SEGMENT_CELLS_PER_CHUNK]) & flag) != 0)
            return id;
    }
    return 0;
}

bool directory_segment_is_lowest(struct store_directory *directory, uint64_t segment_id)
{
    return flagged_below(directory, segment_id, SEGMENT_IS_PRESENT) == 0;
}

void directory_list_segments(struct store_directory *directory, struct segment_header *header)
{
    uint64_t end = header->segment_id + 1;
    header->listed_first = end > SEGMENT_LISTED_COUNT ? end - SEGMENT_LISTED_COUNT : 0;
    memset(header->listed, 0, sizeof header->listed);
    uint64_t id = end;
    for (;;) {
        id = flagged_below(directory, id, SEGMENT_IS_LISTED);
        if (id == 0 || id < header->listed_first)
            return;
        uint64_t index = id - header->listed_first;
        header->listed[index / 8] |= (uint8_t)(1u << index % 8);
    }
}

void directory_live_add(struct store_directory *directory, uint64_t segment_id, uint64_t bytes)
{
    (void)shared_add_seq_cst(cell_of(directory, segment_id), bytes);
}

bool directory_live_sub(struct store_directory *directory, uint64_t segment_id, uint64_t bytes)
{
    uint64_t before = shared_sub_seq_cst(cell_of(directory, segment_id), bytes);
    ASSERT((before & SEGMENT_LIVE_MASK) >= bytes);
    return (before & SEGMENT_LIVE_MASK) == bytes;
}

uint64_t directory_live(struct store_directory *directory, uint64_t segment_id)
{
    return shared_load_seq_cst(cell_of(directory, segment_id)) & SEGMENT_LIVE_MASK;
}

void directory_cells_free(struct store_directory *directory)
{
    for (uint64_t i = 0; i < SEGMENT_CHUNKS; i++)
        free(chunk_at(directory, i));
}
