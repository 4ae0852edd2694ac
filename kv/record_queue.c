/*
 * kv/record_queue.c: a ring that stays sorted, so that a removed message is found by halving.
 */
#include "kv/record_queue.h"

void record_queue_clear(struct record_queue *queue)
{
    for (uint64_t i = queue->first; i < queue->end; i++) {
        struct record_queue_entry *entry = &queue->entries[i & (queue->capacity - 1)];
        if (entry->record != NULL)
            feed_record_release(entry->record);
    }
    heap_free(queue->entries);
    *queue = (struct record_queue){0};
}

static void record_queue_grow(struct record_queue *queue, struct heap *heap)
{
    uint64_t capacity = queue->capacity == 0 ? 16 : 2 * queue->capacity;
    struct record_queue_entry *entries = heap_alloc(heap, capacity * sizeof *entries);
    for (uint64_t i = queue->first; i < queue->end; i++)
        entries[i & (capacity - 1)] = queue->entries[i & (queue->capacity - 1)];
    heap_free(queue->entries);
    queue->entries = entries;
    queue->capacity = capacity;
}

/* Takes a reference. The sequence is above all that are queued. */
void record_queue_push(struct record_queue *queue, struct heap *heap, struct feed_record *record)
{
    if (queue->end - queue->first == queue->capacity)
        record_queue_grow(queue, heap);
    record->references++;
    queue->entries[queue->end++ & (queue->capacity - 1)] =
        (struct record_queue_entry){record->seq, record};
    queue->alive++;
    queue->bytes += feed_record_bytes(record);
}

/* The next record, whose reference is now the caller's; NULL: the queue is empty. */
struct feed_record *record_queue_pop(struct record_queue *queue)
{
    while (queue->first < queue->end) {
        struct feed_record *record = queue->entries[queue->first++ & (queue->capacity - 1)].record;
        if (record == NULL)
            continue;
        queue->alive--;
        queue->bytes -= feed_record_bytes(record);
        return record;
    }
    return NULL;
}

uint64_t record_queue_next_seq(const struct record_queue *queue)
{
    return queue->first == queue->end ? UINT64_MAX
                                      : queue->entries[queue->first & (queue->capacity - 1)].seq;
}

/* The message was removed from the stream; true: it was queued. */
bool record_queue_kill(struct record_queue *queue, uint64_t seq)
{
    uint64_t low = queue->first, high = queue->end;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (queue->entries[middle & (queue->capacity - 1)].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    struct record_queue_entry *entry = &queue->entries[low & (queue->capacity - 1)];
    if (low == queue->end || entry->seq != seq || entry->record == NULL)
        return false;
    queue->alive--;
    queue->bytes -= feed_record_bytes(entry->record);
    feed_record_release(entry->record);
    entry->record = NULL;
    return true;
}

bool record_queue_is_full(const struct record_queue *queue, uint64_t count_max, uint64_t bytes_max)
{
    return queue->end - queue->first >= count_max || queue->bytes >= bytes_max;
}
