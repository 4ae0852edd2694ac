/*
 * kv/api.h: the subjects of the JetStream API.
 */
#ifndef KV_API_H
#define KV_API_H

#include "core/msg.h"
#include "kv/room.h"

/* A publish to $JS.…: KV_NONE gives the requester a 503. */
enum kv_take api_publish(struct kv *kv, const struct origin *origin, const struct msg *msg);

#endif
