/*
 * kv/move.h: messages that compaction moves in the log. See move.c.
 */
#ifndef KV_MOVE_H
#define KV_MOVE_H

#include "kv/room.h"

/* store_owner.on_move; the context is the shard's kv. */
enum status move_record(void *context, const struct record *record, location where);

#endif
