/*
 * kv/progress.h: how far a consumer is: its position, its ack floor, and the messages that await acknowledgement.
 *
 * It changes by operations only. The consumer applies each at once and hands it to the home shard, which applies it to its own
 * copy (kv/directory) and writes it to the log: so recovery, home and consumer come to the same state. Knows no time and no
 * configuration; who makes an operation has decided.
 *
 * Bounded: PROGRESS_ENTRIES_MAX entries; of those that are only remembered (exhausted) the oldest make room.
 */
#ifndef KV_PROGRESS_H
#define KV_PROGRESS_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/heap.h"
#include "core/text.h"

enum { PROGRESS_ENTRIES_MAX = 16384 };

enum progress_kind { /* on disk; never renumber */
                     PROGRESS_POSITION =
                         1, /* delivered: seq, consumer_seq; time_ns: the list it starts with ends there */
                     PROGRESS_FLOOR = 2, /* everything acknowledged: seq, consumer_seq */
                     PROGRESS_DELIVERED =
                         3, /* seq went out as consumer_seq, for the deliveries-th time */
                     PROGRESS_SETTLED = 4, /* seq was acknowledged, or is not wanted any more */
                     PROGRESS_SETTLED_UPTO = 5, /* all up to seq, which went out as consumer_seq */
                     PROGRESS_RETIMED = 6,      /* seq counts as delivered at time_ns */
                     PROGRESS_EXHAUSTED = 7,    /* seq went out as often as it may */
                     PROGRESS_REMEMBERED = 8,   /* a snapshot's: an exhausted one */
};

struct progress_operation { /* on disk */
    uint64_t seq, consumer_seq, time_ns;
    uint32_t kind, deliveries;
};
static_assert(sizeof(struct progress_operation) == 32, "the log's");

enum progress_state { PROGRESS_DEAD, PROGRESS_PENDING, PROGRESS_REMEMBERS };

struct progress_entry {
    uint64_t seq, consumer_seq; /* of its first delivery */
    uint64_t time_ns;           /* Unix time of its last delivery, as it counts for the next one */
    uint32_t deliveries;
    uint8_t state;
    bool is_queued; /* the consumer's: to be delivered again */
};

struct progress {
    struct heap *heap;                 /* borrows */
    uint64_t consumer_seq, stream_seq; /* last delivered; stream_seq starts before the first */
    uint64_t floor_consumer_seq, floor_stream_seq;
    uint64_t list_upto;             /* where the list it starts with ends; 0: it has none */
    struct progress_entry *entries; /* owns; ascending by seq, dead ones among them */
    uint32_t count, capacity, dead_count;
    uint32_t pending_count, redelivered_count;
};

void progress_free(struct progress *progress);
void progress_apply(struct progress *progress, const struct progress_operation *operation);
/* Operations that make a fresh progress equal to this one. */
void progress_append_snapshot(struct text *text, const struct progress *progress);
/* Pending or remembered; NULL: neither. Good until the next operation. */
struct progress_entry *progress_find(const struct progress *progress, uint64_t seq);

#endif
