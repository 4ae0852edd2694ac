/*
 * kv/get_body.c: reading the body of a get.
 */
#include "kv/get_body.h"

#include "core/text.h"

static const struct json *member_of(const struct json *object, const char *name)
{
    const struct json *value = json_member(object, name);
    return value == NULL || json_type(value) == JSON_NULL ? NULL : value;
}

static bool read_text(const struct json *object, const char *name, struct bytes *text_out)
{
    const struct json *value = member_of(object, name);
    if (value == NULL)
        return true;
    if (json_type(value) != JSON_STRING)
        return false;
    *text_out = json_string(value);
    return true;
}

static bool read_time(const struct json *object, const char *name, bool *has_out, uint64_t *ns_out)
{
    const struct json *value = member_of(object, name);
    *has_out = value != NULL;
    return value == NULL
           || (json_type(value) == JSON_STRING && text_parse_time(json_string(value), ns_out));
}

static bool read_multi(struct get_body *body, const struct json *object)
{
    const struct json *value = member_of(object, "multi_last");
    if (value == NULL)
        return true;
    if (json_type(value) != JSON_ARRAY)
        return false;
    for (const struct json *item = json_first(value); item != NULL; item = json_next(item)) {
        if (json_type(item) != JSON_STRING)
            return false;
        body->multi_count++;
    }
    body->multi_last = body->multi_count > 0 ? value : NULL;
    return true;
}

bool get_body_read(struct get_body *body, const struct json *object)
{
    const struct json *seq = member_of(object, "seq"), *up_to = member_of(object, "up_to_seq");
    const struct json *batch = member_of(object, "batch");
    const struct json *max_bytes = member_of(object, "max_bytes");
    const struct json *no_headers = member_of(object, "no_hdr");
    *body = (struct get_body){0};
    if ((seq != NULL && !json_u64(seq, &body->seq))
        || (up_to != NULL && !json_u64(up_to, &body->up_to_seq))
        || (batch != NULL && !json_i64(batch, &body->batch))
        || (max_bytes != NULL && !json_i64(max_bytes, &body->max_bytes))
        || (no_headers != NULL && json_type(no_headers) != JSON_BOOL))
        return false;
    body->no_headers = no_headers != NULL && json_bool(no_headers);
    return read_text(object, "last_by_subj", &body->last_by_subject)
           && read_text(object, "next_by_subj", &body->next_by_subject)
           && read_time(object, "start_time", &body->has_start_time, &body->start_time_ns)
           && read_time(object, "up_to_time", &body->has_up_to_time, &body->up_to_time_ns)
           && read_multi(body, object);
}

bool get_body_is_empty(const struct get_body *body)
{
    return body->seq == 0 && body->last_by_subject.count == 0 && body->next_by_subject.count == 0
           && !body->has_start_time && body->multi_last == NULL;
}

bool get_body_conflicts(const struct get_body *body, bool is_direct)
{
    bool has_last = body->last_by_subject.count > 0, has_next = body->next_by_subject.count > 0;
    if ((body->seq > 0 && (has_last || body->has_start_time))
        || (has_last && (has_next || body->has_start_time)))
        return true;
    if (!is_direct)
        return false;
    return (has_last && (body->batch > 0 || body->multi_last != NULL))
           || (has_next && body->multi_last != NULL)
           || (body->up_to_seq > 0 && body->has_up_to_time);
}

bool get_body_asks(const struct get_body *body)
{
    return !get_body_is_empty(body) || body->batch != 0 || body->up_to_seq != 0
           || body->has_up_to_time;
}
