/*
 * kv/query_api.c: the requests that get messages: which form is asked for, and how bad ones are refused.
 *
 * Source: jetstream-streams.md sections 5.8 and 6.
 */
#include "kv/found.h"
#include "kv/get_body.h"
#include "kv/query.h"
#include "kv/sweep.h"

/* ---- DIRECT.GET ---- */

static struct json *direct_parse(struct bytes body)
{
    const char *why;
    struct bytes rest;
    struct json *json = json_parse(body, &rest, &why);
    if (json != NULL
        && (rest.count > 0 || (json_type(json) != JSON_OBJECT && json_type(json) != JSON_NULL))) {
        json_free(json);
        json = NULL;
    }
    return json;
}

/* The status that refuses a body beside a subject; NULL: it is fine. */
static const char *subject_body_refusal(const struct json *json, bool *no_headers_out)
{
    struct get_body body;
    if (json == NULL)
        return "NATS/1.0 408 Malformed Request\r\n\r\n";
    if (json_type(json) != JSON_OBJECT)
        return NULL;
    if (!get_body_read(&body, json))
        return "NATS/1.0 408 Malformed Request\r\n\r\n";
    if (get_body_asks(&body))
        return "NATS/1.0 408 Bad Request\r\n\r\n";
    *no_headers_out = body.no_headers;
    return NULL;
}

void query_direct_subject(struct stream *stream, const struct origin *origin, const struct msg *msg,
                          struct bytes subject)
{
    struct query query = {
        .origin = *origin,
        .kind = QUERY_LAST,
        .reply = msg->reply,
        .subject = subject,
    };
    if (msg->payload.count > 0) {
        struct json *json = direct_parse(msg->payload);
        const char *refusal = subject_body_refusal(json, &query.no_headers);
        json_free(json);
        if (refusal != NULL) {
            direct_status(stream->kv, origin, msg->reply, refusal);
            return;
        }
    }
    if (subject.count >= RECORD_KEY_BYTES_MAX)
        direct_status(stream->kv, origin, msg->reply, "NATS/1.0 404 Message Not Found\r\n\r\n");
    else
        query_ask(stream, &query, NULL);
}

static void query_fill(struct query *query, const struct get_body *body)
{
    bool has_last = body->last_by_subject.count > 0;
    bool is_next = body->next_by_subject.count > 0 || body->has_start_time;
    query->kind = has_last ? QUERY_LAST : is_next ? QUERY_NEXT : QUERY_SEQ;
    query->no_headers = body->no_headers;
    query->subject = has_last ? body->last_by_subject : body->next_by_subject;
    query->seq = body->seq;
    query->time_ns = body->start_time_ns;
}

/* Gets what a good body asks for, or returns the status that refuses it. */
static const char *direct_ask(struct stream *stream, struct query *query,
                              const struct get_body *body)
{
    if (get_body_is_empty(body))
        return "NATS/1.0 408 Empty Request\r\n\r\n";
    if (get_body_conflicts(body, true))
        return "NATS/1.0 408 Bad Request\r\n\r\n";
    if (body->multi_last != NULL || body->batch != 0) {
        sweep_begin(stream, &query->origin, query->reply, body);
        return NULL;
    }
    query_fill(query, body);
    if (query->subject.count >= RECORD_KEY_BYTES_MAX)
        return "NATS/1.0 404 Message Not Found\r\n\r\n";
    query_ask(stream, query, NULL);
    return NULL;
}

void query_direct_json(struct stream *stream, const struct origin *origin, const struct msg *msg)
{
    struct query query = {.origin = *origin, .reply = msg->reply};
    struct get_body body = {0};
    struct json *json = msg->payload.count == 0 ? NULL : direct_parse(msg->payload);
    const char *refusal = NULL;
    if (msg->payload.count == 0)
        refusal = "NATS/1.0 408 Empty Request\r\n\r\n";
    else if (json == NULL || (json_type(json) == JSON_OBJECT && !get_body_read(&body, json)))
        refusal = "NATS/1.0 408 Malformed Request\r\n\r\n";
    else
        refusal = direct_ask(stream, &query, &body);
    if (refusal != NULL)
        direct_status(stream->kv, origin, msg->reply, refusal);
    json_free(json);
}

/* ---- STREAM.MSG.GET ---- */

static bool msg_get_read(struct request *request, struct get_body *body)
{
    static const char *const known[] = {
        "seq",       "last_by_subj", "next_by_subj", "start_time", "no_hdr", "batch",
        "max_bytes", "multi_last",   "up_to_seq",    "up_to_time", NULL};
    if (!request_members_known(request, known))
        return false;
    struct api_failure failure;
    if (request->json != NULL && !get_body_read(body, request->json)) {
        api_fail(&failure, API_INVALID_JSON, "json: cannot unmarshal a member of the request");
        request_fail(request, &failure, NULL);
        return false;
    }
    body->multi_last = NULL; /* batches are for direct gets */
    if (body->batch > 0 || body->max_bytes > 0 || get_body_is_empty(body)
        || get_body_conflicts(body, false)) {
        request_fail_with(request, API_BAD_REQUEST);
        return false;
    }
    return true;
}

void query_msg_get(struct request *request)
{
    struct query query = {.origin = request->origin};
    struct get_body body = {0};
    if (request->payload.count == 0) {
        request_fail_with(request, API_BAD_REQUEST);
        return;
    }
    if (!request_parse(request, false) || !msg_get_read(request, &body))
        return;
    struct stream *stream = request_stream(request);
    if (stream == NULL)
        return;
    query_fill(&query, &body);
    if (query.subject.count >= RECORD_KEY_BYTES_MAX)
        request_fail_with(request, API_NO_MESSAGE_FOUND);
    else
        query_ask(stream, &query, request);
}
