/*
 * net/dispatch.h: what each operation of a client does.
 */
#ifndef NET_DISPATCH_H
#define NET_DISPATCH_H

#include "core/text.h"
#include "net/conn.h"
#include "net/parser.h"

/*
 * Runs one operation of an open connection. Afterwards the connection may be closing, or its input held; with
 * conn->is_repeated the same operation must come again when it is resumed.
 */
void dispatch(struct conn *conn, const struct operation *operation);

/* CONNECT's JSON (net/connect.c). */
void connect_handle(struct conn *conn, struct bytes argument);
/* A client's INFO means nothing to us, but it must be JSON. */
void connect_check_info(struct conn *conn, struct bytes argument);

/* Go's %q, as errors show subjects (net/quote.c). */
void quote_append(struct text *text, struct bytes bytes);

/* INFO as it is sent to this connection (net/info.c): first of all, behind the first PONG, when something changed. */
enum info_kind { INFO_FIRST, INFO_SECOND, INFO_UPDATE };
void info_send(struct conn *conn, enum info_kind kind);

#endif
