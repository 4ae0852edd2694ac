/*
 * net/kv_port.h: the outbox that kv speaks to.
 */
#ifndef NET_KV_PORT_H
#define NET_KV_PORT_H

#include "net/net.h"

void kv_port_init(struct net *net);

#endif
