/*
 * net/route.h: a message finds its subscribers, on this shard and on the others.
 */
#ifndef NET_ROUTE_H
#define NET_ROUTE_H

#include "core/bytes.h"
#include "net/conn.h"
#include "net/encoder.h"

/*
 * Delivers to every plain subscription of the account that matches `route` and to one member of each queue group. from: the publishing
 * connection, NULL for kv. True when somebody took it, or another shard has somebody.
 */
bool route_message(struct net *net, uint32_t account, const struct conn *from, struct bytes route,
                   const struct parcel *parcel);

/* To one subscription of this shard, which matches `route`. False: its connection takes nothing any more, or it has had its fill. */
bool route_deliver(struct net *net, struct subscription *subscription, struct bytes route,
                   const struct parcel *parcel);
/* route_deliver for a subscription that was found without a match. */
void route_deliver_alone(struct net *net, struct subscription *subscription,
                         const struct parcel *parcel);

#endif
