/*
 * store/index.h: the messages of one stripe in memory: by key, and by sequence.
 *
 *     key ──hash table──► index_key {key bytes, newest message} ──► older messages (only where there are any)
 *     seq ──sequence log──► index_key
 *
 * Grows without a pause (segmented hash table). About 75 bytes a key of 20 bytes with one message.
 * Runs on: the stripe's shard. Pointers to index_key stay valid until the key's last message is removed.
 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "store/record.h"

struct index;     /* opaque */
struct index_key; /* opaque: a key that has at least one message */

/* A message as the index knows it. */
struct message {
    uint64_t seq;
    uint64_t time_ns;    /* Unix */
    location where;      /* LOCATION_NONE in memory streams */
    uint32_t size_bytes; /* as JetStream counts it (jetstream-streams.md section 8.1) */
    uint32_t
        user; /* kv's flags of the message; kept as given (8 bits are enough: only the low 8 are kept) */
};

struct index *index_create(struct heap *heap);
void index_destroy(struct index *index);

/* hash is hash_bytes(key). NULL when the key has no message. */
struct index_key *index_find(const struct index *index, struct bytes key, uint64_t hash);
/* Brings the cache lines of a look-up that follows soon. */
void index_prefetch(const struct index *index, uint64_t hash);
/* The second step, when the first has had its time: brings the key's own lines. */
void index_prefetch_key(const struct index *index, uint64_t hash);
/*
 * The third: where the newest message of the key that probably has this hash lies, without looking at the key's bytes. Good for
 * prefetching and nothing else. False: no such key.
 */
bool index_hint(const struct index *index, uint64_t hash, location *where_out);
/*
 * Adds a message to the key (made if it has none). The sequence must be new to the index; it may be lower than the
 * key's newest or the index's highest (a late arrival), which then goes to its place. Key: 1 to RECORD_KEY_BYTES_MAX bytes.
 */
struct index_key *index_insert(struct index *index, struct bytes key, uint64_t hash,
                               const struct message *message);
/* Removes one message of the key; the key itself goes with its last one. False: it has no such sequence. */
bool index_remove(struct index *index, struct index_key *key, uint64_t seq,
                  struct message *removed_out);

/*
 * For keys with exactly one message: it goes, a newer one takes its place; cheaper than insert and remove. False, and nothing
 * changed, if the key has more or the message is not newer.
 */
bool index_replace(struct index *index, struct index_key *key, const struct message *message,
                   struct message *removed_out);

/* The message lies elsewhere from now on. False: the key has no such sequence. */
bool index_move(struct index_key *key, uint64_t seq, location where);

struct bytes index_key_bytes(const struct index_key *key);
uint64_t index_key_hash(const struct index_key *key); /* computed anew */
uint32_t index_key_message_count(const struct index *index, const struct index_key *key);
/* 0 is the oldest, count - 1 the newest. */
struct message index_key_message(const struct index *index, const struct index_key *key,
                                 uint32_t position);
struct message index_key_newest(const struct index_key *key);

/* The first message with sequence >= seq; false when there is none. Ascending walks call it with the last seq + 1. */
bool index_seek(const struct index *index, uint64_t seq, struct index_key **key_out,
                struct message *message_out);
/* The last message with sequence <= seq. */
bool index_seek_back(const struct index *index, uint64_t seq, struct index_key **key_out,
                     struct message *message_out);
/* Exactly this sequence. */
bool index_find_seq(const struct index *index, uint64_t seq, struct index_key **key_out,
                    struct message *message_out);

/*
 * Visits keys in table order, at most `budget` slots a call; start with *cursor = 0; false when all were visited. Between
 * calls the index may change: every key that is there throughout is visited at least once, none twice unless it was
 * removed and added again or its segment split.
 */
bool index_scan(const struct index *index, uint64_t *cursor, uint32_t budget,
                void (*on_key)(void *context, struct index_key *key), void *context);

uint64_t index_message_count(const struct index *index);
uint64_t index_key_count(const struct index *index);
/* From now on `sum` has the size of this index as a part; borrowed until index_destroy. To be called while it is empty. */
void index_count_into(struct index *index, uint64_t *sum);
uint64_t index_size_bytes(const struct index *index);   /* sum of size_bytes */
uint64_t index_memory_bytes(const struct index *index); /* what it costs */

#endif
