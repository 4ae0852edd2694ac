/*
 * net/trace.h: the protocol as lines for people, when --trace asks for it.
 *
 *     127.0.0.1:55123 - cid:7 - <<- [PUB a 1]          <<- from the client, ->> to it
 *     127.0.0.1:55123 - cid:7 - <<- MSG_PAYLOAD: ["x"]
 *
 * Source: server-interface.md section 6.2. Passwords, tokens and signatures of CONNECT are redacted; payloads are cut.
 */
#ifndef NET_TRACE_H
#define NET_TRACE_H

#include "core/diag.h"
#include "net/conn.h"
#include "net/encoder.h"
#include "net/parser.h"

static inline bool trace_is_on(void)
{
    return __builtin_expect(diag_is_on(DIAG_TRACE), 0);
}

/* What a client sent. */
void trace_operation(const struct conn *conn, const struct operation *operation);
/* What goes to a client: a text of the protocol, or a message. */
void trace_text(const struct conn *conn, struct bytes text);
void trace_message(const struct conn *conn, const struct parcel *parcel, struct bytes sid,
                   bool has_headers);

#endif
