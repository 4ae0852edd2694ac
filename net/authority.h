/*
 * net/authority.h: who a connection is, and whether it may come in.
 */
#ifndef NET_AUTHORITY_H
#define NET_AUTHORITY_H

#include "core/auth.h"
#include "net/conn.h"

enum authority_answer {
    AUTHORITY_ADMITTED,
    AUTHORITY_REFUSED, /* told, and closing */
    AUTHORITY_LATER,   /* its input is held; authority_on_admitted goes on */
};

/* A new connection: the time to come in begins, or it is in already. */
void authority_open(struct conn *conn);
/* What it begins with, while it is not in. False: it was refused. */
bool authority_begin(struct conn *conn, char first);
/* After CONNECT's fields were taken: decides by what the client has given. */
enum authority_answer authority_decide(struct conn *conn);
/* The connection goes. */
void authority_close(struct conn *conn);

/*
 * Another configuration: every shard goes over to it, connections whose user is gone or changed are closed, subscriptions that are no
 * longer permitted are removed. On shard 0, when no other swap is under way; the old one is freed when no shard has it any more.
 * Takes over `next`. False: it has too many accounts; nothing has changed, and next is the caller's.
 */
MUST_USE bool authority_swap(struct net *net, struct auth *next);

/* {"user":"…","account":"…",…}: what $SYS.REQ.USER.INFO tells of this connection. */
void authority_append_info(struct text *text, const struct conn *conn);

/* Goes on with a CONNECT whose password took longer (net/connect.c). */
void connect_admitted(struct conn *conn);

#endif
