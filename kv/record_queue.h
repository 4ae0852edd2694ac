/*
 * kv/record_queue.h: feed records in sequence order, waiting for their turn; one can be taken out of the middle.
 */
#ifndef KV_RECORD_QUEUE_H
#define KV_RECORD_QUEUE_H

#include "kv/feed.h"

struct record_queue_entry {
    uint64_t seq;
    struct feed_record *record; /* one reference; NULL: removed from the stream before its turn */
};

/* A ring of `capacity`, a power of two; starts zeroed. Owns its entries and a reference to each record. */
struct record_queue {
    struct record_queue_entry *entries;
    uint64_t first, end, capacity;
    uint64_t alive, bytes; /* of the entries that have a record */
};

void record_queue_clear(struct record_queue *queue);
/* Takes a reference. The sequence is above all that are queued. */
void record_queue_push(struct record_queue *queue, struct heap *heap, struct feed_record *record);
/* The next record, whose reference is now the caller's; NULL: the queue is empty. */
struct feed_record *record_queue_pop(struct record_queue *queue);
/* Of the next entry, removed or not; UINT64_MAX: there is none. */
uint64_t record_queue_next_seq(const struct record_queue *queue);
/* The message was removed from the stream; true: it was queued. */
bool record_queue_kill(struct record_queue *queue, uint64_t seq);
bool record_queue_is_full(const struct record_queue *queue, uint64_t count_max, uint64_t bytes_max);

#endif
