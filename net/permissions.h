/*
 * net/permissions.h: may this connection publish, subscribe, receive? The one place that decides.
 *
 * Whoever has no permissions configured may everything, at the price of one look at conn->permissions.
 */
#ifndef NET_PERMISSIONS_H
#define NET_PERMISSIONS_H

#include "core/auth.h"
#include "net/conn.h"

/* Publishing, requests to JetStream among it; uses up an allowed response where only that permits it. */
bool permissions_publish(struct conn *conn, struct bytes subject);
/* queue: empty for a plain subscription. A wildcard that overlaps a denied subject is permitted, and filtered from then on. */
bool permissions_subscribe(struct conn *conn, struct bytes subject, struct bytes queue);
/* May it have a message to this subject, which a wildcard subscription has found? Only where conn->has_deny_filter. */
bool permissions_deliver(const struct conn *conn, struct bytes subject);
/* It got a message with this reply subject, which it may answer. Only where permissions->has_responses. */
void permissions_note_reply(struct conn *conn, struct bytes reply);
void permissions_free_replies(struct conn *conn);

static inline bool conn_may_publish(struct conn *conn, struct bytes subject)
{
    return conn->permissions == NULL || permissions_publish(conn, subject);
}

static inline bool conn_may_subscribe(struct conn *conn, struct bytes subject, struct bytes queue)
{
    return conn->permissions == NULL || permissions_subscribe(conn, subject, queue);
}

/* The violations' words, inside -ERR '…'. sid: not empty when an existing subscription goes. */
void permissions_say_publish(struct conn *conn, struct bytes subject);
void permissions_say_subscription(struct conn *conn, struct bytes subject, struct bytes queue,
                                  struct bytes sid);

#endif
