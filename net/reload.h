/*
 * net/reload.h: the configuration read again while the server runs.
 */
#ifndef NET_RELOAD_H
#define NET_RELOAD_H

#include "net/server.h"

/* What may change on a shard; each has its own copy (net->limits). */
struct limits net_limits_of(const struct options *options);

/* On the main thread: reads and checks; on any error says so and changes nothing, else *current is the new state. */
void reload_read(struct server *server, struct options *current);
/* On shard 0, when main has told it to. */
void reload_take(struct net *net);

/* Logging as the options say; on the main thread. */
MUST_USE enum status reload_open_diag(const struct options *options);

#endif
