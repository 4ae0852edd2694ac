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
void query_direct_subject(struct stream *stream, const struct origin *origin,
                          const struct msg *msg, struct bytes subject);
/* DIRECT.GET.<stream> with a JSON body. */
void query_direct_json(struct stream *stream, const struct origin *origin, const struct msg *msg);
/* STREAM.MSG.GET; takes over the request. */
void query_msg_get(struct request *request);

/*
 * Gets of one key are gathered (a few dozen, within one turn) so that their cache misses overlap; this answers them. To be called
 * before anything that changes what they would see, and in every turn.
 */
void query_flush(struct kv *kv);
void query_phase(struct shard *shard, void *context);
void query_fini(struct kv *kv);

#endif
