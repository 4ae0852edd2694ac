/*
 * net/interest.h: the shards tell one another what their clients subscribe.
 *
 * A PONG is held until every other shard has taken over the changes of before: who got it misses nothing.
 */
#ifndef NET_INTEREST_H
#define NET_INTEREST_H

#include "core/bytes.h"
#include "net/net.h"

/* This shard now has `count` subscriptions of that subject and queue: tells all others. */
void interest_tell(struct net *net, uint32_t account, struct bytes subject, struct bytes queue,
                   uint32_t count);
/* True when the others have taken over all changes up to `seq`, a value that net->interest.sent had. */
static inline bool interest_is_shared(const struct net *net, uint64_t seq)
{
    return net->interest.acked_by_all >= seq;
}
/* In the output phase: acknowledges what the turn took over. */
void interest_acknowledge(struct net *net);

#endif
