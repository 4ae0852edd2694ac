/*
 * kv/sweep.h: a direct get of many messages: a batch, or the newest of several subjects.
 */
#ifndef KV_SWEEP_H
#define KV_SWEEP_H

#include "kv/get_body.h"
#include "kv/request.h"

/* The body is good, and asks for a batch or for multi_last. */
void sweep_begin(struct stream *stream, const struct origin *origin, struct bytes reply,
                 const struct get_body *body);
/* A connection has room for output again. */
void sweeps_on_room(struct kv *kv);
void sweeps_fini(struct kv *kv);

#endif
