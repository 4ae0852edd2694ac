/*
 * kv/snapshot.h: STREAM.SNAPSHOT: a stream's state at one sequence, sent as an archive in chunks that the receiver acknowledges.
 */
#ifndef KV_SNAPSHOT_H
#define KV_SNAPSHOT_H

#include "kv/request.h"

/* The endpoint; takes over the request. */
void snapshot_stream(struct request *request);
/* A publish to $JS.SNAPSHOT.ACK.<stream>.<id>.…; false: there is no such snapshot, of any shard. */
bool snapshots_on_ack(struct kv *kv, uint32_t account, struct bytes subject);
/* See kv_on_interest. */
void snapshots_on_interest(struct kv *kv, uint32_t account, struct bytes subject, bool is_present);
void snapshots_fini(struct kv *kv);

#endif
