/*
 * kv/put.h: storing a published message.
 */
#ifndef KV_PUT_H
#define KV_PUT_H

#include "core/msg.h"
#include "kv/room.h"

/* A publish whose subject the stream captures. */
enum kv_take put_publish(struct stream *stream, const struct origin *origin, const struct msg *msg);

/* The phase that runs parked puts, and resumes connections that waited for room. */
void put_phase(struct shard *shard, void *context);
/* Puts of this shard's connections, or into its stripes, that are not answered yet. */
bool put_is_busy(const struct kv *kv);
void put_fini(struct kv *kv);

/* Adds a connection that gets outbox->resume when this shard has room again. */
void put_wait_for_room(struct kv *kv, const struct origin *origin);

#endif
