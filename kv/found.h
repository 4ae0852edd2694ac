/*
 * kv/found.h: a message that a get has found, as clients are told of it.
 */
#ifndef KV_FOUND_H
#define KV_FOUND_H

#include "kv/request.h"

struct found { /* borrows */
    struct bytes subject, headers, value;
    uint64_t seq, time_ns;
};

/* Of a batch: Nats-Num-Pending and Nats-Last-Sequence. */
struct found_place {
    uint64_t pending, last_seq;
};

/* A status line and nothing else: "NATS/1.0 404 Message Not Found\r\n\r\n". */
void direct_status(struct kv *kv, const struct origin *origin, struct bytes reply,
                   const char *block);
/* The stored headers, then those that name stream, subject, sequence and time; place may be NULL. Uses kv->scratch. */
void direct_found(struct stream *stream, const struct origin *origin, struct bytes reply,
                  const struct found *found, const struct found_place *place, bool no_headers);
/* As STREAM.MSG.GET answers; ends the request. */
void msg_get_found(struct request *request, const struct found *found, bool no_headers);
void msg_get_damaged(struct request *request);

#endif
