/*
 * net/system.h: what the server itself answers below $SYS.
 */
#ifndef NET_SYSTEM_H
#define NET_SYSTEM_H

#include "core/msg.h"
#include "net/conn.h"

/* True when the request has been answered. Source: core-protocol.md section 17.5. */
bool system_answer(struct conn *conn, const struct msg *msg);

#endif
