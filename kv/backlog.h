/*
 * kv/backlog.h: the messages a consumer starts with, as a sorted list of sequences; which of them are still there, and which
 * went out. 8 bytes each.
 */
#ifndef KV_BACKLOG_H
#define KV_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/heap.h"

struct backlog {
    struct heap *heap; /* borrows */
    uint64_t *entries; /* owns: sequence, stripe (6 bits), delivered and dead (1 bit each) */
    uint64_t count, capacity;
    uint64_t next;  /* index of the first not yet looked at for delivery */
    uint64_t alive; /* neither delivered nor dead: what num_pending counts */
};

void backlog_clear(struct backlog *backlog); /* frees the entries */
void backlog_add(struct backlog *backlog, uint64_t seq, uint32_t stripe);
/* After the adds, before anything below: sorts, drops doubles. */
void backlog_sort(struct backlog *backlog);
/* Adds one to a sorted list; fine if it is there already. */
void backlog_insert(struct backlog *backlog, uint64_t seq, uint32_t stripe);
bool backlog_has(const struct backlog *backlog, uint64_t seq);
/* The message was removed from the stream, or is not wanted any more. True: it was counted until now. */
bool backlog_kill(struct backlog *backlog, uint64_t seq);
void backlog_keep_only_last(struct backlog *backlog);

uint64_t backlog_seq(const struct backlog *backlog, uint64_t index);
uint32_t backlog_stripe(const struct backlog *backlog, uint64_t index);
bool backlog_is_wanted(const struct backlog *backlog, uint64_t index); /* alive and not delivered */
void backlog_delivered(struct backlog *backlog, uint64_t index);

#endif
