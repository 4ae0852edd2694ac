/*
 * net/lame_duck.h: the end in which clients are asked to go, and then closed one by one.
 */
#ifndef NET_LAME_DUCK_H
#define NET_LAME_DUCK_H

#include "net/server.h"

/* On shard 0. A second call changes nothing. */
void lame_duck_begin(struct net *net);

#endif
