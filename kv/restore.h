/*
 * kv/restore.h: STREAM.RESTORE: a stream made of an archive that comes in chunks. See kv/restore.c; the catalog makes the stream,
 * shows it in the end, or lets it go (kv/catalog_restore.c).
 *
 * Runs on: the home shard, unless said otherwise.
 */
#ifndef KV_RESTORE_H
#define KV_RESTORE_H

#include "kv/kv.h"
#include "kv/request.h"

/* Any shard: a publish to $JS.SNAPSHOT.RESTORE.<stream>.<id>. */
enum kv_take restores_on_chunk(struct kv *kv, const struct origin *origin, const struct msg *msg);
void restores_fini(struct kv *kv);

/* ---- for kv/catalog_restore.c ---- */

enum { RESTORES_MAX = 16 }; /* at a time */

/*
 * The stream is made, on all shards, and nobody sees it: answers the request with the subject for the chunks, and takes it over.
 * why (NULL: nothing): the stream was not made, and this is what the first chunk is told.
 */
void restore_begin(struct kv *kv, struct request *request, uint32_t stream_id, const char *why);

#endif
