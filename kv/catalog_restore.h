/*
 * kv/catalog_restore.h: the end of a restore, one way or the other. Runs on: the home shard.
 */
#ifndef KV_CATALOG_RESTORE_H
#define KV_CATALOG_RESTORE_H

#include "kv/room.h"

/*
 * The stream, which was made for a restore, is complete and durable: shows it, and answers `reply` with it. Or (is_complete false)
 * lets it go, without an answer.
 */
void catalog_restore_end(struct kv *kv, uint32_t stream_id, struct bytes reply, bool is_complete);

#endif
