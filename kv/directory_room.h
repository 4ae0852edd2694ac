/*
 * kv/directory_room.h: the directory from the inside; for kv/directory*.c alone.
 *
 *     directory.c        the table of names; claims, questions, removals
 *     directory_log.c    what of it is in the log: records, progress, updates, recovery
 */
#ifndef KV_DIRECTORY_ROOM_H
#define KV_DIRECTORY_ROOM_H

#include "kv/directory.h"
#include "kv/progress.h"

struct directory_entry {
    struct directory_entry *next;
    uint64_t hash;
    uint32_t stream_id, shard;
    bool is_kept;      /* it has a record */
    bool has_position; /* progress counts; else it starts as its policy says */
    bool is_durable;   /* nothing removes it by itself: a record of its deletion must not be lost */
    uint64_t created_ns;
    uint32_t
        waiting_count; /* records that wait for room in the log: what follows waits behind them */
    struct progress progress; /* as the log has it, or will have */
    struct text config;       /* owns; of a kept one */
    uint32_t name_bytes;
    char name[];
};

struct directory {
    struct directory_entry **chains; /* owns */
    uint32_t chain_count, count;
};

struct directory *directory_of(struct kv *kv);
struct directory_entry **directory_link(struct directory *directory, uint32_t stream_id,
                                        struct bytes name);
struct directory_entry *directory_add(struct kv *kv, struct stream *stream, struct bytes name,
                                      uint32_t shard);
/* Takes the entry out; it is the caller's then. */
struct directory_entry *directory_take(struct kv *kv, struct directory_entry **link);
void directory_entry_free(struct directory_entry *entry);

/* ---- directory_log.c ---- */

/* Appends the entry's record; when it is durable, the answer goes to the gather's shard. Waits for room if there is none. */
void directory_write(struct kv *kv, struct directory_entry *entry, struct gather *gather,
                     uint32_t to, const struct directory_result_part *answer);
/* The entry is gone: says so in the log, if it was there, then answers. Takes the entry over (NULL: there was none). */
void directory_write_deleted(struct kv *kv, struct directory_entry *entry, struct gather *gather,
                             uint32_t to);
/* Whether the log takes a record with these texts now. */
bool directory_has_room(struct kv *kv, size_t name_bytes, size_t config_bytes);

#endif
