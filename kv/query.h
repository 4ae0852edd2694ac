/*
 * kv/query.h: finding one message: direct get, and STREAM.MSG.GET.
 */
#ifndef KV_QUERY_H
#define KV_QUERY_H

#include "core/msg.h"
#include "kv/request.h"

enum query_kind {
    QUERY_LAST, /* the newest that matches the subject */
    QUERY_SEQ,  /* exactly this sequence */
    QUERY_NEXT, /* the first that matches (empty subject: any) from seq and time on */
};

struct query { /* borrows its texts until query_ask returns */
    struct origin origin;
    enum query_kind kind;
    bool no_headers;
    struct bytes reply, subject; /* subject: below RECORD_KEY_BYTES_MAX */
    uint64_t seq, time_ns;
};

/* request: of STREAM.MSG.GET, taken over; NULL: a direct get. */
void query_ask(struct stream *stream, const struct query *query, struct request *request);

/* ---- kv/query_api.c ---- */

/* DIRECT.GET.<stream>.<subject>; the stream allows it. */
void query_direct_subject(struct stream *stream, const struct origin *origin, const struct msg *msg,
                          struct bytes subject);
/* DIRECT.GET.<stream> with a JSON body. */
void query_direct_json(struct stream *stream, const struct origin *origin, const struct msg *msg);
/* STREAM.MSG.GET; takes over the request. */
void query_msg_get(struct request *request);

#endif
