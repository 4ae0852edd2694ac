/*
 * store/index.c: the messages of one stripe, by key and by sequence.
 *
 *     key_table: hash ──► handle ─┐
 *                                 ├─► key_arena: index_key {newest message, key bytes} ──► message_ring (only of keys
 *     sequence_log: seq ─► handle ┘                                                         with two messages or more)
 *
 * A key of 20 bytes with one message: 56 bytes of arena, 10 of table, 8 of log. Keys do not move. A ring holds all messages
 * of its key, and takes the place of the newest one's location in the key, so that keys without one pay nothing.
 *
 * Keeps:   every message is in the log and in its key; every key has a message and a slot in the table; seq in the key
 *          is that of its newest message.
 * Owns:    the arena, the table, the log, the rings; borrows the heap.
 * Runs on: the stripe's shard.
 */
#include "store/index.h"

#include "core/assert.h"
#include "core/hash.h"
#include "store/key_arena.h"
#include "store/key_table.h"
#include "store/message_ring.h"
#include "store/sequence_log.h"

#include <assert.h>

enum {
    KEY_HAS_RING = 1,
    SCAN_BATCH = 32, /* keys fetched together */
};

struct index {
    struct key_arena arena;
    struct key_table table;
    struct sequence_log log;
    struct heap *heap; /* borrows */
    uint64_t message_count;
    uint64_t key_count;
    uint64_t size_bytes;
    uint64_t *size_sum; /* borrows; NULL: nobody counts it */
    uint64_t ring_bytes;
};

struct index_key {
    uint64_t seq; /* this and the next four: the newest message */
    uint64_t time_ns;
    union {
        location where;
        struct message_ring *ring; /* owns; if KEY_HAS_RING */
    };
    uint32_t size_bytes;
    uint16_t key_bytes;
    uint8_t user;
    uint8_t flags;
    char key[];
};
static_assert(sizeof(struct index_key) == 32, "memory per key");

static struct index_key *key_at(const struct index *index, uint32_t handle);
static uint32_t key_find(const struct index *index, struct bytes key, uint32_t tag);
static struct index_key *key_create(struct index *index, struct bytes key, uint32_t tag,
                                    uint32_t *handle_out);
static void key_destroy(struct index *index, struct index_key *key, uint32_t handle);
static void key_set_newest(struct index_key *key, const struct message *message);
static void key_add(struct index *index, struct index_key *key, const struct message *message);
static void key_drop(struct index *index, struct index_key *key, uint32_t position);
static uint32_t key_position(const struct index_key *key, uint64_t seq);
static struct message key_message(const struct index_key *key, uint32_t position);
static uint32_t key_message_count(const struct index_key *key);
static bool hit_open(const struct index *index, bool is_hit, const struct sequence_hit *hit,
                     struct index_key **key_out, struct message *message_out);

static inline void size_change(struct index *index, uint64_t more, uint64_t less)
{
    index->size_bytes += more - less;
    if (index->size_sum != NULL)
        *index->size_sum += more - less;
}

void index_count_into(struct index *index, uint64_t *sum)
{
    ASSERT(index->size_bytes == 0);
    index->size_sum = sum;
}

struct index *index_create(struct heap *heap)
{
    struct index *index = heap_alloc_zeroed(heap, sizeof(*index));
    index->heap = heap;
    key_arena_init(&index->arena, heap);
    key_table_init(&index->table, heap);
    sequence_log_init(&index->log, heap);
    return index;
}

void index_destroy(struct index *index)
{
    if (index == NULL)
        return;
    size_change(index, 0, index->size_bytes);
    if (index->ring_bytes > 0) {
        struct sequence_hit hit = {0};
        for (uint64_t seq = 0; sequence_log_seek(&index->log, seq, &hit); seq = hit.seq + 1) {
            struct index_key *key = key_at(index, hit.handle);
            if ((key->flags & KEY_HAS_RING) != 0 && key->seq == hit.seq)
                message_ring_destroy(key->ring);
        }
    }
    sequence_log_fini(&index->log);
    key_table_fini(&index->table);
    key_arena_fini(&index->arena);
    heap_free(index);
}

struct index_key *index_find(const struct index *index, struct bytes key, uint64_t hash)
{
    uint32_t handle = key_find(index, key, key_table_tag(hash));
    return handle == 0 ? NULL : key_at(index, handle);
}

void index_prefetch(const struct index *index, uint64_t hash)
{
    uint32_t tag = key_table_tag(hash);
    const struct key_segment *segment = key_table_segment(&index->table, tag);
    __builtin_prefetch(&segment->slots[key_segment_home(segment, tag)]);
}

void index_prefetch_key(const struct index *index, uint64_t hash)
{
    struct key_probe probe;
    uint32_t handle = key_probe_start(&probe, &index->table, key_table_tag(hash));
    if (handle == 0)
        return;
    const char *key = (const char *)key_at(index, handle);
    __builtin_prefetch(key);
    __builtin_prefetch(key + 64); /* most keys end in the second line at the latest */
}

struct index_key *index_insert(struct index *index, struct bytes key, uint64_t hash,
                               const struct message *message)
{
    ASSERT(key.count > 0);
    ASSERT(key.count <= RECORD_KEY_BYTES_MAX);
    struct message kept = *message;
    kept.user &= UINT8_MAX;

    uint32_t tag = key_table_tag(hash);
    uint32_t handle = key_find(index, key, tag);
    struct index_key *owner;
    if (handle == 0) {
        owner = key_create(index, key, tag, &handle);
        key_set_newest(owner, &kept);
        owner->where = kept.where;
    } else {
        owner = key_at(index, handle);
        key_add(index, owner, &kept);
    }
    sequence_log_insert(&index->log, kept.seq, handle);
    index->message_count++;
    size_change(index, kept.size_bytes, 0);
    return owner;
}

bool index_remove(struct index *index, struct index_key *key, uint64_t seq,
                  struct message *removed_out)
{
    uint32_t position = key_position(key, seq);
    if (position == key_message_count(key))
        return false;
    *removed_out = key_message(key, position);
    uint32_t handle = sequence_log_remove(&index->log, seq);
    ASSERT(handle != 0);
    ASSERT(key_at(index, handle) == key);

    index->message_count--;
    size_change(index, 0, removed_out->size_bytes);
    if ((key->flags & KEY_HAS_RING) != 0)
        key_drop(index, key, position);
    else
        key_destroy(index, key, handle);
    return true;
}

bool index_hint(const struct index *index, uint64_t hash, location *where_out)
{
    struct key_probe probe;
    uint32_t handle = key_probe_start(&probe, &index->table, key_table_tag(hash));
    if (handle == 0)
        return false;
    const struct index_key *key = key_at(index, handle);
    if ((key->flags & KEY_HAS_RING) != 0)
        return false;
    *where_out = key->where;
    return true;
}

bool index_replace(struct index *index, struct index_key *key, const struct message *message,
                   struct message *removed_out)
{
    if ((key->flags & KEY_HAS_RING) != 0 || message->seq <= key->seq)
        return false;
    *removed_out = key_message(key, 0);
    uint32_t handle = sequence_log_remove(&index->log, key->seq);
    ASSERT(handle != 0);
    ASSERT(key_at(index, handle) == key);

    struct message kept = *message;
    kept.user &= UINT8_MAX;
    key_set_newest(key, &kept);
    key->where = kept.where;
    sequence_log_insert(&index->log, kept.seq, handle);
    size_change(index, kept.size_bytes, removed_out->size_bytes);
    return true;
}

bool index_move(struct index_key *key, uint64_t seq, location where)
{
    uint32_t position = key_position(key, seq);
    if (position == key_message_count(key))
        return false;
    if ((key->flags & KEY_HAS_RING) != 0)
        message_ring_set_where(key->ring, position, where);
    else
        key->where = where;
    return true;
}

struct bytes index_key_bytes(const struct index_key *key)
{
    return bytes_of(key->key, key->key_bytes);
}

uint64_t index_key_hash(const struct index_key *key)
{
    return hash_bytes(key->key, key->key_bytes);
}

uint32_t index_key_message_count(const struct index *index, const struct index_key *key)
{
    (void)index; /* a key knows its messages */
    return key_message_count(key);
}

struct message index_key_message(const struct index *index, const struct index_key *key,
                                 uint32_t position)
{
    (void)index; /* a key knows its messages */
    ASSERT(position < key_message_count(key));
    return key_message(key, position);
}

struct message index_key_newest(const struct index_key *key)
{
    return key_message(key, key_message_count(key) - 1);
}

bool index_seek(const struct index *index, uint64_t seq, struct index_key **key_out,
                struct message *message_out)
{
    struct sequence_hit hit;
    bool is_hit = sequence_log_seek(&index->log, seq, &hit);
    return hit_open(index, is_hit, &hit, key_out, message_out);
}

bool index_seek_back(const struct index *index, uint64_t seq, struct index_key **key_out,
                     struct message *message_out)
{
    struct sequence_hit hit;
    bool is_hit = sequence_log_seek_back(&index->log, seq, &hit);
    return hit_open(index, is_hit, &hit, key_out, message_out);
}

bool index_find_seq(const struct index *index, uint64_t seq, struct index_key **key_out,
                    struct message *message_out)
{
    struct sequence_hit hit;
    bool is_hit = sequence_log_find(&index->log, seq, &hit);
    return hit_open(index, is_hit, &hit, key_out, message_out);
}

bool index_scan(const struct index *index, uint64_t *cursor, uint32_t budget,
                void (*on_key)(void *context, struct index_key *key), void *context)
{
    bool has_more = true;
    while (has_more && budget > 0) {
        uint32_t handles[SCAN_BATCH], count;
        has_more = key_table_gather(&index->table, cursor, handles,
                                    budget < SCAN_BATCH ? budget : SCAN_BATCH, &count);
        for (uint32_t i = 0; i < count; i++)
            __builtin_prefetch(key_at(index, handles[i]));
        for (uint32_t i = 0; i < count; i++)
            on_key(context, key_at(index, handles[i]));
        budget -= count;
    }
    return has_more;
}

uint64_t index_message_count(const struct index *index)
{
    return index->message_count;
}

uint64_t index_key_count(const struct index *index)
{
    return index->key_count;
}

uint64_t index_size_bytes(const struct index *index)
{
    return index->size_bytes;
}

uint64_t index_memory_bytes(const struct index *index)
{
    return sizeof(*index) + index->arena.memory_bytes + index->table.memory_bytes
           + index->log.memory_bytes + index->ring_bytes;
}

static struct index_key *key_at(const struct index *index, uint32_t handle)
{
    return key_arena_at(&index->arena, handle);
}

/* The key's handle, or 0. */
static uint32_t key_find(const struct index *index, struct bytes key, uint32_t tag)
{
    struct key_probe probe;
    uint32_t handle = key_probe_start(&probe, &index->table, tag);
    for (; handle != 0; handle = key_probe_next(&probe))
        if (bytes_equal(index_key_bytes(key_at(index, handle)), key))
            return handle;
    return 0;
}

static struct index_key *key_create(struct index *index, struct bytes key, uint32_t tag,
                                    uint32_t *handle_out)
{
    struct index_key *created =
        key_arena_alloc(&index->arena, sizeof(*created) + key.count, handle_out);
    created->key_bytes = (uint16_t)key.count;
    created->flags = 0;
    memcpy(created->key, key.data, key.count);
    key_table_insert(&index->table, tag, *handle_out);
    index->key_count++;
    return created;
}

static void key_destroy(struct index *index, struct index_key *key, uint32_t handle)
{
    key_table_remove(&index->table, key_table_tag(index_key_hash(key)), handle);
    key_arena_free(&index->arena, handle);
    index->key_count--;
}

/* All of it but where, whose place may be taken by the ring. */
static void key_set_newest(struct index_key *key, const struct message *message)
{
    key->seq = message->seq;
    key->time_ns = message->time_ns;
    key->size_bytes = message->size_bytes;
    key->user = (uint8_t)message->user;
}

/* One more message to a key that has one. */
static void key_add(struct index *index, struct index_key *key, const struct message *message)
{
    if ((key->flags & KEY_HAS_RING) == 0) {
        struct message only = key_message(key, 0);
        key->ring = message_ring_create(index->heap);
        key->ring = message_ring_insert(index->heap, key->ring, &only);
        key->flags |= KEY_HAS_RING;
    } else {
        index->ring_bytes -= message_ring_bytes(key->ring);
    }
    key->ring = message_ring_insert(index->heap, key->ring, message);
    index->ring_bytes += message_ring_bytes(key->ring);
    if (message->seq > key->seq)
        key_set_newest(key, message);
}

/* One message less of a key that has at least two; the ring goes when one is left. */
static void key_drop(struct index *index, struct index_key *key, uint32_t position)
{
    index->ring_bytes -= message_ring_bytes(key->ring);
    struct message_ring *ring = message_ring_remove(index->heap, key->ring, position);
    struct message newest = *message_ring_at(ring, ring->count - 1);
    key_set_newest(key, &newest);
    if (ring->count > 1) {
        key->ring = ring;
        index->ring_bytes += message_ring_bytes(ring);
        return;
    }
    message_ring_destroy(ring);
    key->where = newest.where;
    key->flags &= (uint8_t)~KEY_HAS_RING;
}

/* Where the key has the sequence, or its count of messages. */
static uint32_t key_position(const struct index_key *key, uint64_t seq)
{
    if ((key->flags & KEY_HAS_RING) == 0)
        return key->seq == seq ? 0 : 1;
    uint32_t position = message_ring_search(key->ring, seq);
    if (position < key->ring->count && message_ring_at(key->ring, position)->seq == seq)
        return position;
    return key->ring->count;
}

static struct message key_message(const struct index_key *key, uint32_t position)
{
    if ((key->flags & KEY_HAS_RING) != 0)
        return *message_ring_at(key->ring, position);
    return (struct message){.seq = key->seq,
                            .time_ns = key->time_ns,
                            .where = key->where,
                            .size_bytes = key->size_bytes,
                            .user = key->user};
}

static uint32_t key_message_count(const struct index_key *key)
{
    return (key->flags & KEY_HAS_RING) != 0 ? key->ring->count : 1;
}

/* Key and message of what the log found. */
static bool hit_open(const struct index *index, bool is_hit, const struct sequence_hit *hit,
                     struct index_key **key_out, struct message *message_out)
{
    if (!is_hit)
        return false;
    if (hit->ahead_handle != 0)
        __builtin_prefetch(key_at(index, hit->ahead_handle));
    struct index_key *key = key_at(index, hit->handle);
    *key_out = key;
    *message_out = key_message(key, key->seq == hit->seq ? key_message_count(key) - 1
                                                         : key_position(key, hit->seq));
    return true;
}
