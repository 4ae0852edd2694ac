/*
 * kv/get_body.h: what the body of a direct get, or of STREAM.MSG.GET, asks for.
 *
 * Source: jetstream-streams.md sections 5.8 and 6; nats-server 2.15.2.
 */
#ifndef KV_GET_BODY_H
#define KV_GET_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/json.h"

/* Zero, empty and null mean "not given", as on the reference. Texts and arrays are borrowed from the JSON. */
struct get_body {
    uint64_t seq, up_to_seq;
    uint64_t start_time_ns, up_to_time_ns; /* 0 also for times before 1970 */
    bool has_start_time, has_up_to_time;
    bool no_headers;
    struct bytes last_by_subject, next_by_subject;
    const struct json *multi_last; /* an array of strings; NULL: not given */
    uint32_t multi_count;
    int64_t batch, max_bytes;
};

/* False: a member is of a wrong type. */
bool get_body_read(struct get_body *body, const struct json *object);
/* Neither a sequence nor a subject nor a time is given. */
bool get_body_is_empty(const struct get_body *body);
/* Members that exclude each other are given. Those of batches only where is_direct. */
bool get_body_conflicts(const struct get_body *body, bool is_direct);
/* Anything is given that says what to get: not allowed where the subject says it. */
bool get_body_asks(const struct get_body *body);

#endif
