/*
 * store/sequence_log.h: the messages of an index in order of sequence: 8 bytes each, the handle of the key by sequence.
 *
 *     chunks, by base ──► | delta, handle | delta, handle | dead | …       at most 1024 slots, half of them alive
 *
 * Runs on: the shard of the index.
 */
#ifndef STORE_SEQUENCE_LOG_H
#define STORE_SEQUENCE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/heap.h"

struct sequence_slot {
    uint32_t delta;  /* to the chunk's base */
    uint32_t handle; /* 0: the message was removed */
};

struct sequence_chunk {
    uint64_t base;               /* near the first slot's sequence, not above it */
    struct sequence_slot *slots; /* owns; ascending */
    uint32_t last_delta;         /* of the last slot: a search needs not look there */
    uint16_t count;              /* slots written */
    uint16_t live_count;         /* of these; never 0 */
    uint16_t capacity;
};

struct sequence_log {
    struct heap *heap;             /* borrows */
    struct sequence_chunk *chunks; /* owns; room before the first and behind the last */
    uint64_t *bases; /* owns; those of the chunks once more, close together for the search */
    uint32_t chunk_first;
    uint32_t chunk_count;
    uint32_t chunk_capacity;
    uint64_t memory_bytes;
};

/* A message found. */
struct sequence_hit {
    uint64_t seq;
    uint32_t handle;
    uint32_t
        ahead_handle; /* one that a walk in the same direction meets some steps later, to prefetch; or 0 */
};

void sequence_log_init(struct sequence_log *log, struct heap *heap);
void sequence_log_fini(struct sequence_log *log);

/* The sequence must not be there; cheapest above all others. */
void sequence_log_insert(struct sequence_log *log, uint64_t seq, uint32_t handle);
/* The handle it had; 0 when it is not there. */
uint32_t sequence_log_remove(struct sequence_log *log, uint64_t seq);

/* The first with sequence >= seq, the last with sequence <= seq, exactly this one. False: there is none. */
bool sequence_log_seek(const struct sequence_log *log, uint64_t seq, struct sequence_hit *hit_out);
bool sequence_log_seek_back(const struct sequence_log *log, uint64_t seq,
                            struct sequence_hit *hit_out);
bool sequence_log_find(const struct sequence_log *log, uint64_t seq, struct sequence_hit *hit_out);

#endif
