/*
 * kv/ack_routes.h: on which shard an acknowledgement is to be handled. Every shard knows every consumer that takes them, so
 * that an ack needs one hop, and one that nobody takes is told so at once (503).
 *
 *     creation   all shards have the route ─► the consumer begins, so no delivery is older than its route
 *     restart    the home shard tells all before the port opens
 *     end        all are told, nobody waits; an ack that comes meanwhile is dropped where the consumer was
 *
 * Runs on: each shard, for its own copy.
 */
#ifndef KV_ACK_ROUTES_H
#define KV_ACK_ROUTES_H

#include "kv/room.h"

/* All shards shall know; gather (NULL: nobody waits) is done when they do. */
void ack_routes_add(struct kv *kv, struct stream *stream, struct bytes name, struct gather *gather);
/* The same, for a consumer that begins on `shard`. */
void ack_routes_tell(struct kv *kv, struct stream *stream, struct bytes name, uint32_t shard);
/* This shard's consumer of that name has ended. */
void ack_routes_remove(struct kv *kv, struct stream *stream, struct bytes name);
/* False: no such consumer takes acknowledgements. */
bool ack_routes_find(const struct kv *kv, uint32_t stream_id, struct bytes name,
                     uint32_t *shard_out);
void ack_routes_fini(struct kv *kv);

#endif
