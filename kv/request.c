/*
 * kv/request.c: what all API requests share: body, answers, errors.
 */
#include "kv/request.h"

#include <strings.h>

struct request *request_create(struct kv *kv, const char *type, const struct origin *origin,
                               const struct msg *msg, struct bytes stream_name)
{
    struct request *request = heap_alloc_zeroed(kv->shard->heap, sizeof *request);
    request->kv = kv;
    request->type = type;
    request->origin = *origin;
    text_append(&request->reply, msg->reply);
    text_append(&request->stream_name, stream_name);
    text_append(&request->payload, msg->payload);
    kv->api_total++;
    kv->requests_open++;
    return request;
}

void request_end(struct request *request)
{
    request->kv->requests_open--;
    json_free(request->json);
    heap_free(request->work);
    text_free(&request->reply);
    text_free(&request->stream_name);
    text_free(&request->name);
    text_free(&request->payload);
    text_free(&request->tail);
    heap_free(request);
}

struct stream *request_stream(struct request *request)
{
    struct stream *stream = stream_by_name(&request->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (stream != NULL && stream->is_visible)
        return stream;
    request_fail_with(request, API_STREAM_NOT_FOUND);
    return NULL;
}

static struct bytes without_blanks(struct bytes bytes)
{
    while (bytes.count > 0 && strchr(" \t\r\n", bytes.data[0]) != NULL)
        bytes = bytes_after(bytes, 1);
    return bytes;
}

static bool fail_json(struct request *request, const char *why)
{
    struct api_failure failure;
    api_fail(&failure, API_INVALID_JSON, "%s", why);
    request_fail(request, &failure, NULL);
    return false;
}

/* nats-server reads value after value; what follows the first may only be values that change nothing. */
static bool rest_is_empty(struct bytes rest)
{
    const char *why;
    while ((rest = without_blanks(rest)).count > 0) {
        struct json *json = json_parse(rest, &rest, &why);
        bool is_nothing = json != NULL
                          && (json_type(json) == JSON_NULL
                              || (json_type(json) == JSON_OBJECT && json_first(json) == NULL));
        json_free(json);
        if (!is_nothing)
            return false;
    }
    return true;
}

bool request_parse(struct request *request, bool is_lenient)
{
    struct bytes body = without_blanks(text_bytes(&request->payload));
    if (body.count == 0)
        return true;
    if (is_lenient && body.data[0] != '{' && body.data[0] != '[')
        return true;
    const char *why = "unexpected end of JSON input";
    struct bytes rest;
    request->json = json_parse(body, &rest, &why);
    if (request->json == NULL)
        return fail_json(request, why);
    if (!rest_is_empty(rest))
        return fail_json(request, "invalid character after top-level value");
    if (json_type(request->json) == JSON_NULL) {
        json_free(request->json);
        request->json = NULL;
        return true;
    }
    if (json_type(request->json) != JSON_OBJECT)
        return fail_json(request, "json: cannot unmarshal value into Go struct");
    return true;
}

struct text *request_begin(struct request *request)
{
    struct text *text = &request->kv->scratch;
    text_clear(text);
    text_append_format(text, "{\"type\":\"io.nats.jetstream.api.v1.%s\"", request->type);
    return text;
}

void request_answer(struct request *request, struct text *text)
{
    text_append_literal(text, "}");
    if (request->reply.count > 0) {
        struct outbox *outbox = request->kv->outbox;
        struct msg msg = {.subject = text_bytes(&request->reply), .payload = text_bytes(text)};
        outbox->deliver(outbox, request->origin.account, msg.subject, &msg);
    }
    request_end(request);
}

void request_succeed(struct request *request)
{
    struct text *text = request_begin(request);
    text_append_literal(text, ",\"success\":true");
    request_answer(request, text);
}

/* What stays in the error answers of some requests, as nats-server has it. */
static const char *members_of_failure(const char *type)
{
    static const struct {
        char type[28], members[72];
    } rows[] = {
        {"stream_info_response", ",\"total\":0,\"offset\":0,\"limit\":0"},
        {"stream_names_response", ",\"total\":0,\"offset\":0,\"limit\":0,\"streams\":null"},
        {"stream_list_response", ",\"total\":0,\"offset\":0,\"limit\":0,\"streams\":[]"},
        {"stream_purge_response", ",\"purged\":0"},
        {"stream_restore_response", ",\"deliver_subject\":\"\""},
        {"consumer_names_response", ",\"total\":0,\"offset\":0,\"limit\":0,\"consumers\":[]"},
        {"consumer_list_response", ",\"total\":0,\"offset\":0,\"limit\":0,\"consumers\":[]"},
        {"consumer_pause_response", ",\"paused\":false,\"pause_until\":\"0001-01-01T00:00:00Z\""},
        {"consumer_reset_response", ",\"reset_seq\":0"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (strcmp(rows[i].type, type) == 0)
            return rows[i].members;
    }
    return "";
}

void request_fail(struct request *request, const struct api_failure *failure, const char *members)
{
    request->kv->api_errors++;
    struct text *text = request_begin(request);
    text_append_literal(text, ",\"error\":");
    api_error_append(text, failure);
    text_append_literal(text, members != NULL ? members : members_of_failure(request->type));
    request_answer(request, text);
}

void request_fail_with(struct request *request, enum api_error error)
{
    struct api_failure failure = {.error = error};
    request_fail(request, &failure, NULL);
}

static bool fail_member(struct request *request, const struct json *value, const char *name)
{
    struct api_failure failure;
    api_fail(&failure, API_INVALID_JSON, "json: cannot unmarshal %s into Go struct field .%s",
             json_type_words(json_type(value)), name);
    request_fail(request, &failure, NULL);
    return false;
}

static const struct json *member_of(const struct request *request, const char *name)
{
    const struct json *value = request->json == NULL ? NULL : json_member(request->json, name);
    return value == NULL || json_type(value) == JSON_NULL ? NULL : value;
}

bool request_member_u64(struct request *request, const char *name, uint64_t *number_out)
{
    const struct json *value = member_of(request, name);
    return value == NULL || json_u64(value, number_out) ? true : fail_member(request, value, name);
}

bool request_member_i64(struct request *request, const char *name, int64_t *number_out)
{
    const struct json *value = member_of(request, name);
    return value == NULL || json_i64(value, number_out) ? true : fail_member(request, value, name);
}

bool request_member_bool(struct request *request, const char *name, bool *value_out)
{
    const struct json *value = member_of(request, name);
    if (value == NULL)
        return true;
    if (json_type(value) != JSON_BOOL)
        return fail_member(request, value, name);
    *value_out = json_bool(value);
    return true;
}

bool request_member_text(struct request *request, const char *name, struct bytes *text_out)
{
    const struct json *value = member_of(request, name);
    if (value == NULL)
        return true;
    if (json_type(value) != JSON_STRING)
        return fail_member(request, value, name);
    *text_out = json_string(value);
    return true;
}

bool request_members_known(struct request *request, const char *const *names)
{
    if (request->json == NULL || !kv_world_options(request->kv->world)->is_strict)
        return true;
    for (const struct json *item = json_first(request->json); item != NULL;
         item = json_next(item)) {
        struct bytes name = json_name(item);
        bool is_known = false;
        for (unsigned i = 0; names[i] != NULL && !is_known; i++)
            is_known =
                strlen(names[i]) == name.count && strncasecmp(names[i], name.data, name.count) == 0;
        if (is_known)
            continue;
        struct api_failure failure;
        api_fail(&failure, API_INVALID_JSON, "json: unknown field \"%.*s\"",
                 (int)(name.count < 64 ? name.count : 64), name.data);
        request_fail(request, &failure, NULL);
        return false;
    }
    return true;
}
