/*
 * store/sequence_log.c: chunks of at most 1024 slots; what dies is marked, and a chunk is packed when half is dead.
 *
 * A chunk packed joins a neighbour if both then fill at most 3/4 of one: under random overwrites old chunks would else
 * shrink to a few slots each. Late arrivals go to their place, into a dead slot if one is there.
 *
 * Keeps:   bases and slots ascend; every chunk has a live slot, and dead ones are at most half (or 16), so that a seek
 *          passes over few; all sequences of a chunk lie below the base of the next.
 * Owns:    chunks and slots; borrows the heap.
 * Runs on: the shard of the index.
 */
#include "store/sequence_log.h"

#include "core/assert.h"

#include <stddef.h>
#include <string.h>

enum {
    SLOT_CAPACITY_MIN = 16,
    SLOT_CAPACITY_MAX = 1024,
    JOIN_LIVE_MAX = SLOT_CAPACITY_MAX / 4 * 3,
    PACK_COUNT_MIN = 32, /* of slots: smaller chunks are not packed */
    CHUNK_CAPACITY_MIN = 4,
    AHEAD_COUNT = 8, /* slots, of a walk's prefetch */
    CACHE_LINE_BYTES = 64,
};
#define NONE UINT32_MAX /* instead of a chunk's index */

static uint32_t log_make_room(struct sequence_log *log, uint64_t seq);
static struct sequence_chunk *chunk_at(const struct sequence_log *log, uint32_t index);
static uint32_t chunk_index_of(const struct sequence_log *log, uint64_t seq);
static uint64_t chunk_last_seq(const struct sequence_chunk *chunk);
static bool chunk_spans(const struct sequence_chunk *chunk, uint64_t seq);
static uint32_t chunk_search(const struct sequence_chunk *chunk, uint64_t seq);
static void prefetch_around(const struct sequence_slot *slot);
static bool chunk_reuse_dead(struct sequence_chunk *chunk, uint32_t position,
                             struct sequence_slot slot);
static void chunk_set_count(struct sequence_chunk *chunk, uint32_t count);
static void chunk_rebase(struct sequence_log *log, struct sequence_chunk *chunk, uint64_t base);
static void chunk_resize(struct sequence_log *log, struct sequence_chunk *chunk, uint32_t capacity);
static void chunk_split(struct sequence_log *log, uint32_t index);
static void chunk_pack(struct sequence_log *log, uint32_t index);
static bool chunk_join(struct sequence_log *log, uint32_t index);
static uint32_t chunk_copy_live(const struct sequence_chunk *chunk, uint64_t base,
                                struct sequence_slot *out);
static void directory_insert(struct sequence_log *log, uint32_t index, uint64_t base,
                             uint32_t capacity);
static void directory_make_room(struct sequence_log *log);
static void directory_remove(struct sequence_log *log, uint32_t index);
static void directory_move(struct sequence_log *log, uint32_t index, uint32_t count,
                           ptrdiff_t places);
static uint32_t capacity_for(uint32_t count);
static struct sequence_hit hit_of(const struct sequence_chunk *chunk, uint32_t position,
                                  uint32_t ahead);

void sequence_log_init(struct sequence_log *log, struct heap *heap)
{
    *log = (struct sequence_log){.heap = heap};
}

void sequence_log_fini(struct sequence_log *log)
{
    for (uint32_t i = 0; i < log->chunk_count; i++)
        heap_free(chunk_at(log, i)->slots);
    heap_free(log->chunks);
    heap_free(log->bases);
}

void sequence_log_insert(struct sequence_log *log, uint64_t seq, uint32_t handle)
{
    ASSERT(handle != 0);
    struct sequence_chunk *chunk = chunk_at(log, log_make_room(log, seq));
    uint32_t position = chunk_search(chunk, seq);
    struct sequence_slot slot = {(uint32_t)(seq - chunk->base), handle};

    chunk->live_count++;
    if (chunk_reuse_dead(chunk, position, slot))
        return;
    if (chunk->count == chunk->capacity)
        chunk_resize(log, chunk, capacity_for(chunk->count * 5u / 4 + 1));
    memmove(&chunk->slots[position + 1], &chunk->slots[position],
            (chunk->count - position) * sizeof(slot));
    chunk->slots[position] = slot;
    chunk_set_count(chunk, chunk->count + 1u);
}

uint32_t sequence_log_remove(struct sequence_log *log, uint64_t seq)
{
    uint32_t index = chunk_index_of(log, seq);
    if (index == NONE)
        return 0;
    struct sequence_chunk *chunk = chunk_at(log, index);
    uint32_t position = chunk_search(chunk, seq);
    if (position == chunk->count || chunk->base + chunk->slots[position].delta != seq)
        return 0;
    uint32_t handle = chunk->slots[position].handle;
    if (handle == 0)
        return 0;

    chunk->slots[position].handle = 0;
    chunk->live_count--;
    if (chunk->live_count == 0)
        directory_remove(log, index);
    else if (chunk->count >= PACK_COUNT_MIN && chunk->live_count * 2 < chunk->count)
        chunk_pack(log, index);
    return handle;
}

bool sequence_log_seek(const struct sequence_log *log, uint64_t seq, struct sequence_hit *hit_out)
{
    uint32_t index = chunk_index_of(log, seq);
    uint32_t position = 0;
    if (index == NONE)
        index = 0;
    else
        position = chunk_search(chunk_at(log, index), seq);

    for (; index < log->chunk_count; index++, position = 0) {
        const struct sequence_chunk *chunk = chunk_at(log, index);
        while (position < chunk->count && chunk->slots[position].handle == 0)
            position++;
        if (position < chunk->count) {
            *hit_out = hit_of(chunk, position, position + AHEAD_COUNT);
            return true;
        }
    }
    return false;
}

bool sequence_log_seek_back(const struct sequence_log *log, uint64_t seq,
                            struct sequence_hit *hit_out)
{
    uint32_t index = chunk_index_of(log, seq);
    if (index == NONE)
        return false;

    const struct sequence_chunk *chunk = chunk_at(log, index);
    uint32_t end = chunk_search(chunk, seq);
    if (end < chunk->count && chunk->base + chunk->slots[end].delta == seq)
        end++;
    for (;;) {
        while (end > 0 && chunk->slots[end - 1].handle == 0)
            end--;
        if (end > 0) {
            *hit_out = hit_of(chunk, end - 1, end - 1 - AHEAD_COUNT);
            return true;
        }
        if (index == 0)
            return false;
        index--;
        chunk = chunk_at(log, index);
        end = chunk->count;
    }
}

bool sequence_log_find(const struct sequence_log *log, uint64_t seq, struct sequence_hit *hit_out)
{
    uint32_t index = chunk_index_of(log, seq);
    if (index == NONE)
        return false;
    const struct sequence_chunk *chunk = chunk_at(log, index);
    uint32_t position = chunk_search(chunk, seq);
    if (position == chunk->count)
        return false;
    *hit_out = hit_of(chunk, position, position + AHEAD_COUNT);
    return hit_out->seq == seq && hit_out->handle != 0;
}

/* The index of the chunk whose range has the sequence, with a slot to spare; made if there is none. */
static uint32_t log_make_room(struct sequence_log *log, uint64_t seq)
{
    uint32_t index = chunk_index_of(log, seq);
    uint32_t next = index == NONE ? 0 : index + 1;
    bool is_last = next == log->chunk_count;
    uint32_t capacity = SLOT_CAPACITY_MIN;

    if (index != NONE && chunk_spans(chunk_at(log, index), seq)) {
        if (chunk_at(log, index)->count < SLOT_CAPACITY_MAX)
            return index;
        if (!is_last || chunk_last_seq(chunk_at(log, index)) > seq) {
            chunk_split(log, index);
            return log_make_room(log, seq); /* the bases have changed */
        }
        capacity = SLOT_CAPACITY_MAX; /* the log is long */
    } else if (!is_last && chunk_spans(chunk_at(log, next), seq)) {
        chunk_rebase(log, chunk_at(log, next), seq);
        if (chunk_at(log, next)->count == SLOT_CAPACITY_MAX)
            chunk_split(log, next);
        return log_make_room(log, seq);
    }
    directory_insert(log, next, seq, capacity);
    return next;
}

static struct sequence_chunk *chunk_at(const struct sequence_log *log, uint32_t index)
{
    ASSERT(index < log->chunk_count);
    return &log->chunks[log->chunk_first + index];
}

/* The last chunk with base <= seq, or NONE. The last of all is tried first; the search has no branch to mispredict. */
static uint32_t chunk_index_of(const struct sequence_log *log, uint64_t seq)
{
    uint32_t count = log->chunk_count;
    if (count == 0)
        return NONE;
    const uint64_t *first = &log->bases[log->chunk_first];
    if (first[count - 1] <= seq)
        return count - 1;
    if (first[0] > seq)
        return NONE;

    const uint64_t *found = first;
    while (count > 1) {
        uint32_t half = count / 2;
        found = found[half] <= seq ? found + half : found;
        count -= half;
    }
    return (uint32_t)(found - first);
}

static uint64_t chunk_last_seq(const struct sequence_chunk *chunk)
{
    return chunk->base + chunk->last_delta;
}

/* Do 32 bits reach from the chunk's base (or from seq, if that is lower) to seq and to its last slot? */
static bool chunk_spans(const struct sequence_chunk *chunk, uint64_t seq)
{
    uint64_t low = chunk->base < seq ? chunk->base : seq;
    uint64_t high = chunk_last_seq(chunk) > seq ? chunk_last_seq(chunk) : seq;
    return high - low <= UINT32_MAX;
}

/*
 * The position of the first slot with sequence >= seq, or count. Sequences lie about evenly, so the search begins where
 * seq would be if they did, and widens from there: one to three cache lines, not ten.
 */
static uint32_t chunk_search(const struct sequence_chunk *chunk, uint64_t seq)
{
    const struct sequence_slot *slots = chunk->slots;
    if (chunk->count == 0 || chunk_last_seq(chunk) < seq)
        return chunk->count;
    if (chunk->base >= seq)
        return 0;

    uint32_t delta = (uint32_t)(seq - chunk->base);
    uint32_t guess = (uint32_t)(delta * (chunk->count - 1ull) / chunk->last_delta);
    prefetch_around(&slots[guess]);
    uint32_t begin = 0, end = chunk->count - 1u, step = 4; /* the answer is in begin..end */
    if (slots[guess].delta < delta) {
        for (begin = guess + 1; begin + step < end && slots[begin + step].delta < delta; step *= 2)
            begin += step + 1;
        end = begin + step < end ? begin + step : end;
    } else {
        for (end = guess; end > step && slots[end - step].delta >= delta; step *= 2)
            end -= step;
        begin = end > step ? end - step + 1 : 0;
    }
    while (begin < end) {
        uint32_t middle = (begin + end) / 2;
        if (slots[middle].delta < delta)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* Two cache lines on either side, together: one wait for memory instead of three. They may lie outside the chunk. */
static void prefetch_around(const struct sequence_slot *slot)
{
    uintptr_t address = (uintptr_t)slot;
    __builtin_prefetch((const void *)(address - 2 * CACHE_LINE_BYTES));
    __builtin_prefetch((const void *)(address - CACHE_LINE_BYTES));
    __builtin_prefetch((const void *)(address + CACHE_LINE_BYTES));
    __builtin_prefetch((const void *)(address + 2 * CACHE_LINE_BYTES));
}

/* Puts the slot in the place of a dead one next to position. False: there is none. */
static bool chunk_reuse_dead(struct sequence_chunk *chunk, uint32_t position,
                             struct sequence_slot slot)
{
    bool is_at = position < chunk->count && chunk->slots[position].handle == 0;
    ASSERT(is_at || position == chunk->count || chunk->slots[position].delta != slot.delta);
    bool is_before = !is_at && position > 0 && chunk->slots[position - 1].handle == 0;
    if (!is_at && !is_before)
        return false;
    chunk->slots[is_at ? position : position - 1] = slot;
    chunk_set_count(chunk, chunk->count);
    return true;
}

static void chunk_set_count(struct sequence_chunk *chunk, uint32_t count)
{
    chunk->count = (uint16_t)count;
    chunk->last_delta = chunk->slots[count - 1].delta;
}

/* The new base may be lower, or higher up to the first slot's sequence: then `raise` wraps around. */
static void chunk_rebase(struct sequence_log *log, struct sequence_chunk *chunk, uint64_t base)
{
    uint32_t raise = (uint32_t)(chunk->base - base);
    for (uint32_t i = 0; i < chunk->count; i++)
        chunk->slots[i].delta += raise;
    chunk->last_delta += raise;
    chunk->base = base;
    log->bases[chunk - log->chunks] = base;
}

static void chunk_resize(struct sequence_log *log, struct sequence_chunk *chunk, uint32_t capacity)
{
    ASSERT(capacity >= chunk->count);
    ASSERT(capacity <= SLOT_CAPACITY_MAX);
    log->memory_bytes -= chunk->capacity * sizeof(*chunk->slots);
    log->memory_bytes += capacity * sizeof(*chunk->slots);
    chunk->slots = heap_resize(log->heap, chunk->slots, capacity * sizeof(*chunk->slots));
    chunk->capacity = (uint16_t)capacity;
}

/* Makes room in a full chunk for a late arrival: packs it if that frees a quarter, else halves it. */
static void chunk_split(struct sequence_log *log, uint32_t index)
{
    if (chunk_at(log, index)->live_count <= JOIN_LIVE_MAX) {
        chunk_pack(log, index);
        return;
    }
    uint32_t low_count = chunk_at(log, index)->count / 2u;
    uint64_t high_base = chunk_at(log, index)->base + chunk_at(log, index)->slots[low_count].delta;
    directory_insert(log, index + 1, high_base, SLOT_CAPACITY_MAX);
    struct sequence_chunk *low = chunk_at(log, index), *high = chunk_at(log, index + 1);

    uint32_t live_count = 0;
    for (uint32_t i = low_count; i < low->count; i++) {
        struct sequence_slot slot = low->slots[i];
        slot.delta -= (uint32_t)(high->base - low->base);
        high->slots[i - low_count] = slot;
        live_count += slot.handle != 0;
    }
    chunk_set_count(high, low->count - low_count);
    chunk_set_count(low, low_count);
    high->live_count = (uint16_t)live_count;
    low->live_count = (uint16_t)(low->live_count - live_count);
}

/* Removes the dead slots. The chunk may be another one then, and its base higher. */
static void chunk_pack(struct sequence_log *log, uint32_t index)
{
    if (index > 0 && chunk_join(log, index - 1))
        return;
    if (chunk_join(log, index))
        return;
    struct sequence_chunk *chunk = chunk_at(log, index);
    chunk_set_count(chunk, chunk_copy_live(chunk, chunk->base, chunk->slots));
    chunk_rebase(log, chunk, chunk->base + chunk->slots[0].delta);
    if (index + 1 < log->chunk_count) /* the last one will grow again */
        chunk_resize(log, chunk, capacity_for(chunk->count));
}

/* Packs two neighbours into one chunk, if they fit. */
static bool chunk_join(struct sequence_log *log, uint32_t index)
{
    if (index + 1 >= log->chunk_count)
        return false;
    struct sequence_chunk *low = chunk_at(log, index), *high = chunk_at(log, index + 1);
    uint32_t live_count = (uint32_t)low->live_count + high->live_count;
    if (live_count > JOIN_LIVE_MAX || !chunk_spans(low, chunk_last_seq(high)))
        return false;

    bool is_last = index + 2 == log->chunk_count;
    chunk_set_count(low, chunk_copy_live(low, low->base, low->slots));
    chunk_resize(log, low, is_last ? SLOT_CAPACITY_MAX : capacity_for(live_count));
    chunk_copy_live(high, low->base, low->slots + low->count);
    low->live_count = (uint16_t)live_count;
    chunk_set_count(low, live_count);
    chunk_rebase(log, low, low->base + low->slots[0].delta);
    directory_remove(log, index + 1);
    return true;
}

/* How many there were. `out` may be the chunk's own slots. */
static uint32_t chunk_copy_live(const struct sequence_chunk *chunk, uint64_t base,
                                struct sequence_slot *out)
{
    uint32_t raise = (uint32_t)(chunk->base - base);
    uint32_t count = 0;
    for (uint32_t i = 0; i < chunk->count; i++) {
        struct sequence_slot slot = chunk->slots[i];
        if (slot.handle != 0)
            out[count++] = (struct sequence_slot){slot.delta + raise, slot.handle};
    }
    ASSERT(count == chunk->live_count);
    return count;
}

/* Inserts an empty chunk, which must get a slot at once. */
static void directory_insert(struct sequence_log *log, uint32_t index, uint64_t base,
                             uint32_t capacity)
{
    directory_make_room(log);
    directory_move(log, index, log->chunk_count - index, 1);
    struct sequence_chunk *chunk = &log->chunks[log->chunk_first + index];
    *chunk = (struct sequence_chunk){.base = base};
    log->bases[log->chunk_first + index] = base;
    log->chunk_count++;
    chunk_resize(log, chunk, capacity);
}

/* Room for one more chunk behind the last. */
static void directory_make_room(struct sequence_log *log)
{
    if (log->chunk_first + log->chunk_count < log->chunk_capacity)
        return;
    if (log->chunk_first > log->chunk_capacity / 4) {
        directory_move(log, 0, log->chunk_count, -(ptrdiff_t)log->chunk_first);
        log->chunk_first = 0;
        return;
    }
    uint32_t capacity = log->chunk_capacity * 2;
    if (capacity < CHUNK_CAPACITY_MIN)
        capacity = CHUNK_CAPACITY_MIN;
    size_t row_bytes = sizeof(*log->chunks) + sizeof(*log->bases);
    log->memory_bytes += (capacity - log->chunk_capacity) * row_bytes;
    log->chunks = heap_resize(log->heap, log->chunks, capacity * sizeof(*log->chunks));
    log->bases = heap_resize(log->heap, log->bases, capacity * sizeof(*log->bases));
    log->chunk_capacity = capacity;
}

/* The shorter side moves: streams lose their oldest messages first, and nothing is before those. */
static void directory_remove(struct sequence_log *log, uint32_t index)
{
    struct sequence_chunk *chunk = chunk_at(log, index);
    log->memory_bytes -= chunk->capacity * sizeof(*chunk->slots);
    heap_free(chunk->slots);

    if (index < log->chunk_count / 2) {
        directory_move(log, 0, index, 1);
        log->chunk_first++;
    } else {
        directory_move(log, index + 1, log->chunk_count - index - 1, -1);
    }
    log->chunk_count--;
}

/* Moves `count` chunks and their bases by so many places. */
static void directory_move(struct sequence_log *log, uint32_t index, uint32_t count,
                           ptrdiff_t places)
{
    struct sequence_chunk *chunk = log->chunks + log->chunk_first + index;
    uint64_t *base = log->bases + log->chunk_first + index;
    if (count == 0)
        return;
    memmove(chunk + places, chunk, count * sizeof(*chunk));
    memmove(base + places, base, count * sizeof(*base));
}

/* Rounded up to a size class of the heap (four to a doubling), within the limits. */
static uint32_t capacity_for(uint32_t count)
{
    if (count <= SLOT_CAPACITY_MIN)
        return SLOT_CAPACITY_MIN;
    if (count >= SLOT_CAPACITY_MAX)
        return SLOT_CAPACITY_MAX;
    uint32_t step = 1u << (29 - __builtin_clz(count - 1));
    return (count + step - 1) / step * step;
}

/* `ahead` may lie outside the chunk: then nothing is. */
static struct sequence_hit hit_of(const struct sequence_chunk *chunk, uint32_t position,
                                  uint32_t ahead)
{
    return (struct sequence_hit){
        .seq = chunk->base + chunk->slots[position].delta,
        .handle = chunk->slots[position].handle,
        .ahead_handle = ahead < chunk->count ? chunk->slots[ahead].handle : 0,
    };
}
