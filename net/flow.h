/*
 * net/flow.h: nobody publishes faster than the subscribers, and the other shards, take it.
 *
 * A route notes what it meets; who routed then holds the publisher back. What kv delivers is bounded by kv.
 */
#ifndef NET_FLOW_H
#define NET_FLOW_H

#include "net/conn.h"

/* Before a route. */
static inline void flow_begin(struct net *net)
{
    net->stall_ms = 0;
    net->is_flow_full = false;
}

/* During it: something was queued for conn; `bytes` were sent to another shard. */
void flow_note_queued(struct net *net, const struct conn *conn);
void flow_note_sent(struct net *net, uint32_t shard_index, uint64_t bytes);

/* After it: holds the publishing connection of this shard if a subscriber, or another shard, does not keep up. */
void flow_hold_back(struct net *net, struct conn *from);
/* After it: asks another shard to hold its connection. */
void flow_slow_down(struct net *net, uint32_t shard_index, const struct origin *origin);

/* In the output phase: tells the others how much of what they sent has been taken. */
void flow_tell_taken(struct net *net);

#endif
