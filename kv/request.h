/*
 * kv/request.h: one JetStream API request being worked on, on the shard of the connection that made it.
 *
 * Owns:    copies of the texts it needs; freed by request_end, which every path reaches once.
 */
#ifndef KV_REQUEST_H
#define KV_REQUEST_H

#include "core/json.h"
#include "core/msg.h"
#include "kv/room.h"

struct request {
    struct kv *kv;        /* borrows */
    const char *type;     /* literal: what follows io.nats.jetstream.api.v1. */
    struct origin origin; /* its account is the request's, on every shard it moves to */
    struct text reply, stream_name, name, payload;
    struct text tail;  /* the subject behind the stream and consumer tokens */
    struct json *json; /* owns; NULL without a body */
    struct gather gather;
    struct watermark_wait watermark;
    void *work;   /* owns: the endpoint's own, freed with heap_free */
    void *create; /* borrows: the creation of a consumer this request is part of */
};

struct request *request_create(struct kv *kv, const char *type, const struct origin *origin,
                               const struct msg *msg, struct bytes stream_name);
void request_end(struct request *request);

/* The stream, or the answer 10059 and the end of the request (NULL). */
struct stream *request_stream(struct request *request);
/*
 * Parses the body into request->json. An empty one, or one that is no object where `is_lenient`, gives NULL json. False: answered
 * 10025 and ended.
 */
bool request_parse(struct request *request, bool is_lenient);

/* {"type":"…" into an empty text; the caller goes on with ,"member":… and request_answer closes the brace. */
struct text *request_begin(struct request *request);
/* Sends what request_begin began, and ends the request. */
void request_answer(struct request *request, struct text *text);
void request_succeed(struct request *request); /* "success":true */
/* `members`: what stays in this error answer, with its leading comma; NULL: what the request's type has. Ends the request. */
void request_fail(struct request *request, const struct api_failure *failure, const char *members);
void request_fail_with(struct request *request, enum api_error error);

/* Members of a request's object; false: wrong type, the request has been answered and ended. */
bool request_member_u64(struct request *request, const char *name, uint64_t *number_out);
bool request_member_i64(struct request *request, const char *name, int64_t *number_out);
bool request_member_bool(struct request *request, const char *name, bool *value_out);
/* Borrowed from request->json. */
bool request_member_text(struct request *request, const char *name, struct bytes *text_out);
/* Refuses members that are not in the NULL-ended list (10025), in strict mode. */
bool request_members_known(struct request *request, const char *const *names);

#endif
