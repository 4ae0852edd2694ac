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

/* DIRECT.GET.<stream>.<subject>; the stream allows it. */
void query_direct_subject(struct stream *stream, const struct origin *origin, const struct msg *msg,
                          struct bytes subject);
/* DIRECT.GET.<stream> with a JSON body. */
void query_direct_json(struct stream *stream, const struct origin *origin, const struct msg *msg);
/* STREAM.MSG.GET; takes over the request. */
void query_msg_get(struct request *request);

#endif
