/*
 * kv/put.h: storing a published message.
 */
#ifndef KV_PUT_H
#define KV_PUT_H

#include "core/msg.h"
#include "kv/room.h"

struct record;
struct stripe;

/* A publish whose subject the stream captures. */
enum kv_take put_publish(struct stream *stream, const struct origin *origin, const struct msg *msg);

/* The phase that runs parked puts, and resumes connections that waited for room. */
void put_phase(struct shard *shard, void *context);
/* Puts of this shard's connections, or into its stripes, that are not answered yet. */
bool put_is_busy(const struct kv *kv);
void put_fini(struct kv *kv);

/* kv/put_marker.c: a marker in place of the key's last message; ends with stripe_marker_ended. */
void put_marker(struct stripe *stripe, struct bytes key, uint64_t replaced_seq);

/* ---- message ids, kv/put_ids.c ---- */

/* Recovery: a message that the log has, alive or not. */
void put_ids_replay(struct stripe *stripe, const struct record *record);
/* Every shard has its streams: each id goes to its home. on_done runs when all have arrived, perhaps at once. */
void put_ids_hand_over(struct kv *kv, void (*on_done)(struct kv *kv));
void put_ids_free(struct stripe *stripe);

/* Adds a connection that gets outbox->resume when this shard has room again. */
void put_wait_for_room(struct kv *kv, const struct origin *origin);

#endif
