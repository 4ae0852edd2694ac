/*
 * kv/progress.c: what operations do to a consumer's progress. The ack floor moves as nats-server moves it.
 */
#include "kv/progress.h"

#include <string.h>

#include "core/assert.h"

void progress_free(struct progress *progress)
{
    heap_free(progress->entries);
    *progress = (struct progress){.heap = progress->heap};
}

/* The index of the first entry that is not below seq. */
static uint32_t entry_search(const struct progress *progress, uint64_t seq)
{
    uint32_t low = 0, high = progress->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (progress->entries[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct progress_entry *entry_at(const struct progress *progress, uint64_t seq)
{
    uint32_t at = entry_search(progress, seq);
    return at < progress->count && progress->entries[at].seq == seq ? &progress->entries[at] : NULL;
}

struct progress_entry *progress_find(const struct progress *progress, uint64_t seq)
{
    struct progress_entry *entry = entry_at(progress, seq);
    return entry == NULL || entry->state == PROGRESS_DEAD ? NULL : entry;
}

static void compact(struct progress *progress)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < progress->count; i++) {
        if (progress->entries[i].state != PROGRESS_DEAD)
            progress->entries[kept++] = progress->entries[i];
    }
    progress->count = kept;
    progress->dead_count = 0;
}

static void entry_end(struct progress *progress, struct progress_entry *entry)
{
    if (entry->state == PROGRESS_DEAD)
        return;
    progress->pending_count -= entry->state == PROGRESS_PENDING;
    progress->redelivered_count -= entry->deliveries > 1;
    entry->state = PROGRESS_DEAD;
    progress->dead_count++;
}

/* The oldest of those that are only remembered; false: all are pending. */
static bool forget_one(struct progress *progress)
{
    for (uint32_t i = 0; i < progress->count; i++) {
        if (progress->entries[i].state == PROGRESS_REMEMBERS) {
            entry_end(progress, &progress->entries[i]);
            return true;
        }
    }
    return false;
}

static void make_room(struct progress *progress)
{
    if (progress->count - progress->dead_count >= PROGRESS_ENTRIES_MAX)
        (void)forget_one(progress); /* else the caller has more pending than it should */
    if (progress->dead_count > progress->count / 2)
        compact(progress);
    if (progress->count < progress->capacity)
        return;
    progress->capacity = progress->capacity == 0 ? 16 : 2 * progress->capacity;
    progress->entries = heap_resize(progress->heap, progress->entries,
                                    progress->capacity * sizeof *progress->entries);
}

static struct progress_entry *entry_add(struct progress *progress, uint64_t seq)
{
    make_room(progress);
    uint32_t at = entry_search(progress, seq);
    if (at == progress->count || progress->entries[at].seq != seq) {
        memmove(&progress->entries[at + 1], &progress->entries[at],
                (progress->count - at) * sizeof *progress->entries);
        progress->count++;
    } else {
        ASSERT(progress->entries[at].state == PROGRESS_DEAD);
        progress->dead_count--;
    }
    progress->entries[at] = (struct progress_entry){.seq = seq};
    return &progress->entries[at];
}

static void apply_delivered(struct progress *progress, const struct progress_operation *operation)
{
    if (operation->consumer_seq > progress->consumer_seq)
        progress->consumer_seq = operation->consumer_seq;
    if (operation->seq > progress->stream_seq)
        progress->stream_seq = operation->seq;
    struct progress_entry *entry = progress_find(progress, operation->seq);
    if (entry == NULL) {
        entry = entry_add(progress, operation->seq);
        entry->consumer_seq = operation->consumer_seq;
        entry->state = PROGRESS_PENDING;
        progress->pending_count++;
    } else {
        progress->redelivered_count -= entry->deliveries > 1;
        progress->pending_count += entry->state != PROGRESS_PENDING;
        entry->state = PROGRESS_PENDING;
    }
    entry->time_ns = operation->time_ns;
    entry->deliveries = operation->deliveries;
    progress->redelivered_count += entry->deliveries > 1;
}

/* An entry that was pending has left: the floor rises if it was the lowest. */
static void move_floor(struct progress *progress, uint64_t seq, uint64_t consumer_seq)
{
    if (progress->pending_count == 0) {
        progress->floor_consumer_seq = progress->consumer_seq;
        progress->floor_stream_seq = progress->stream_seq;
        return;
    }
    if (consumer_seq != progress->floor_consumer_seq + 1)
        return;
    progress->floor_consumer_seq = consumer_seq;
    progress->floor_stream_seq = seq;
    for (uint32_t i = entry_search(progress, seq + 1); i < progress->count; i++) {
        const struct progress_entry *next = &progress->entries[i];
        if (next->state != PROGRESS_PENDING)
            continue;
        progress->floor_consumer_seq = next->consumer_seq - 1;
        progress->floor_stream_seq = next->seq - 1;
        return;
    }
}

static void apply_settled(struct progress *progress, uint64_t seq)
{
    struct progress_entry *entry = progress_find(progress, seq);
    if (entry == NULL)
        return;
    bool was_pending = entry->state == PROGRESS_PENDING;
    uint64_t consumer_seq = entry->consumer_seq;
    entry_end(progress, entry);
    if (was_pending)
        move_floor(progress, seq, consumer_seq);
}

static void apply_settled_upto(struct progress *progress,
                               const struct progress_operation *operation)
{
    if (operation->consumer_seq <= progress->floor_consumer_seq
        || operation->seq <= progress->floor_stream_seq)
        return;
    progress->floor_consumer_seq = operation->consumer_seq;
    progress->floor_stream_seq = operation->seq;
    for (uint32_t i = 0; i < progress->count && progress->entries[i].seq <= operation->seq; i++)
        entry_end(progress, &progress->entries[i]);
}

static void apply_exhausted(struct progress *progress, uint64_t seq)
{
    struct progress_entry *entry = progress_find(progress, seq);
    if (entry == NULL || entry->state != PROGRESS_PENDING)
        return;
    entry->state = PROGRESS_REMEMBERS;
    entry->is_queued = false;
    progress->pending_count--;
    move_floor(progress, seq, entry->consumer_seq);
}

static void apply_remembered(struct progress *progress, const struct progress_operation *operation)
{
    if (progress_find(progress, operation->seq) != NULL)
        return;
    struct progress_entry *entry = entry_add(progress, operation->seq);
    entry->consumer_seq = operation->consumer_seq;
    entry->time_ns = operation->time_ns;
    entry->deliveries = operation->deliveries;
    entry->state = PROGRESS_REMEMBERS;
    progress->redelivered_count += entry->deliveries > 1;
}

void progress_apply(struct progress *progress, const struct progress_operation *operation)
{
    struct progress_entry *entry;
    switch ((enum progress_kind)operation->kind) {
    case PROGRESS_POSITION:
        progress->consumer_seq = operation->consumer_seq;
        progress->stream_seq = operation->seq;
        progress->list_upto = operation->time_ns;
        return;
    case PROGRESS_FLOOR:
        progress->floor_consumer_seq = operation->consumer_seq;
        progress->floor_stream_seq = operation->seq;
        return;
    case PROGRESS_DELIVERED:
        apply_delivered(progress, operation);
        return;
    case PROGRESS_SETTLED:
        apply_settled(progress, operation->seq);
        return;
    case PROGRESS_SETTLED_UPTO:
        apply_settled_upto(progress, operation);
        return;
    case PROGRESS_RETIMED:
        entry = progress_find(progress, operation->seq);
        if (entry != NULL)
            entry->time_ns = operation->time_ns;
        return;
    case PROGRESS_EXHAUSTED:
        apply_exhausted(progress, operation->seq);
        return;
    case PROGRESS_REMEMBERED:
        apply_remembered(progress, operation);
        return;
    }
}

static void append(struct text *text, const struct progress_operation *operation)
{
    text_append(text, bytes_of(operation, sizeof *operation));
}

void progress_append_snapshot(struct text *text, const struct progress *progress)
{
    struct progress_operation position = {.kind = PROGRESS_POSITION,
                                          .seq = progress->stream_seq,
                                          .consumer_seq = progress->consumer_seq,
                                          .time_ns = progress->list_upto};
    append(text, &position);
    for (uint32_t i = 0; i < progress->count; i++) {
        const struct progress_entry *entry = &progress->entries[i];
        if (entry->state == PROGRESS_DEAD)
            continue;
        struct progress_operation operation = {
            .kind = entry->state == PROGRESS_PENDING ? PROGRESS_DELIVERED : PROGRESS_REMEMBERED,
            .seq = entry->seq,
            .consumer_seq = entry->consumer_seq,
            .time_ns = entry->time_ns,
            .deliveries = entry->deliveries};
        append(text, &operation);
    }
    struct progress_operation floor = {.kind = PROGRESS_FLOOR,
                                       .seq = progress->floor_stream_seq,
                                       .consumer_seq = progress->floor_consumer_seq};
    append(text, &floor);
}
