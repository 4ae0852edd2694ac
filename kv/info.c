/*
 * kv/info.c: stream info, names, list, account info.
 */
#include "kv/info.h"

#include <stdlib.h>

#include "core/subject.h"
#include "kv/account.h"
#include "kv/consumer.h"
#include "kv/gathering.h"
#include "kv/stripe.h"
#include "kv/version.h"

enum { NAMES_LIMIT = 1024, LIST_LIMIT = 256 };

/* ---- writing ---- */

static void append_time_member(struct text *text, const char *name, uint64_t unix_ns)
{
    text_append_format(text, "\"%s\":\"", name);
    text_append_time(text, unix_ns);
    text_append_literal(text, "\"");
}

static void append_deleted(struct text *text, const struct stream_state *state)
{
    uint64_t next = state->first_seq;
    const char *separator = ",\"deleted\":[";
    for (uint64_t i = 0; i < state->seq_count; i++) {
        for (; next < state->seqs[i]; next++) {
            text_append_literal(text, separator);
            text_append_u64(text, next);
            separator = ",";
        }
        next = state->seqs[i] + 1;
    }
    for (; state->seq_count > 0 && next <= state->last_seq; next++) {
        text_append_literal(text, separator);
        text_append_u64(text, next);
        separator = ",";
    }
    if (separator[1] == '\0')
        text_append_literal(text, "]");
}

void info_append_state(struct text *text, const struct stream_state *state)
{
    text_append_format(text, "{\"messages\":%llu,\"bytes\":%llu,\"first_seq\":%llu,",
                       (unsigned long long)state->messages, (unsigned long long)state->bytes,
                       (unsigned long long)state->first_seq);
    append_time_member(text, "first_ts", state->first_ns);
    text_append_format(text, ",\"last_seq\":%llu,", (unsigned long long)state->last_seq);
    append_time_member(text, "last_ts", state->last_ns);
    if (state->subject_count > 0)
        text_append_format(text, ",\"num_subjects\":%llu",
                           (unsigned long long)state->subject_count);
    if (state->subjects.count > 0) {
        text_append_literal(text, ",\"subjects\":{");
        text_append(text, text_bytes(&state->subjects));
        text_append_literal(text, "}");
    }
    uint64_t span =
        state->last_seq >= state->first_seq ? state->last_seq - state->first_seq + 1 : 0;
    if (state->messages > 0 && span > state->messages)
        text_append_format(text, ",\"num_deleted\":%llu",
                           (unsigned long long)(span - state->messages));
    append_deleted(text, state);
    text_append_format(text, ",\"consumer_count\":%llu}",
                       (unsigned long long)state->consumer_count);
}

void info_append_stream(struct text *text, const struct stream *stream,
                        const struct stream_state *state, bool with_server_metadata,
                        bool with_cluster)
{
    text_append_literal(text, "\"config\":");
    stream_config_append(text, &stream->config, with_server_metadata);
    text_append_literal(text, ",");
    append_time_member(text, "created", stream->created_ns);
    text_append_literal(text, ",\"state\":");
    info_append_state(text, state);
    if (with_cluster) {
        text_append_literal(text, ",\"cluster\":{\"leader\":");
        text_append_json_string(text,
                                bytes_of_text(kv_world_options(stream->kv->world)->server_name));
        text_append_literal(text, "}");
    }
    text_append(text, text_bytes(&state->follows));
    text_append_literal(text, ",");
    append_time_member(text, "ts", shard_wall_ns(stream->kv->shard));
}

/* ---- STREAM.INFO ---- */

static void info_on_state(void *context, const struct stream_state *state, bool is_there)
{
    struct request *request = context;
    struct stream *stream = stream_by_name(&request->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (!is_there || stream == NULL) {
        request_fail_with(request, API_STREAM_NOT_FOUND);
        return;
    }
    uint64_t found = state->subjects_found, offset = *(const uint64_t *)request->work;
    if (state->is_too_much) {
        struct api_failure failure;
        api_fail(&failure, API_STREAM_GENERAL,
                 "pail does not look through so many subjects or sequences for one answer");
        request_fail(request, &failure, NULL);
        return;
    }
    struct text *text = request_begin(request);
    text_append_format(text, ",\"total\":%llu,\"offset\":%llu,\"limit\":%d,",
                       (unsigned long long)found, (unsigned long long)(found > 0 ? offset : 0),
                       found > 0 ? STREAM_STATE_SUBJECTS : 0);
    info_append_stream(text, stream, state, true, true);
    request_answer(request, text);
}

void info_stream(struct request *request)
{
    static const char *const known[] = {"offset", "deleted_details", "subjects_filter", NULL};
    int64_t offset = 0;
    bool with_deleted = false;
    struct bytes filter = {0};
    if (!request_parse(request, true) || !request_members_known(request, known)
        || !request_member_i64(request, "offset", &offset)
        || !request_member_bool(request, "deleted_details", &with_deleted)
        || !request_member_text(request, "subjects_filter", &filter))
        return;
    struct stream *stream = request_stream(request);
    if (stream == NULL)
        return;
    uint64_t *first = heap_alloc(request->kv->shard->heap, sizeof *first);
    *first = offset < 0 ? 0 : (uint64_t)offset;
    request->work = first;
    struct stream_state_question question = {
        .subjects_filter = filter, .with_seqs = with_deleted, .offset = *first};
    stream_state_gather(stream, &question, request, info_on_state);
}

/* ---- STREAM.NAMES and STREAM.LIST ---- */

static int stream_compare(const void *a, const void *b)
{
    const struct stream *left = *(struct stream *const *)a, *right = *(struct stream *const *)b;
    return bytes_compare(text_bytes(&left->config.name), text_bytes(&right->config.name));
}

static bool stream_listed(const struct stream *stream, uint32_t account, struct bytes filter)
{
    if (stream == NULL || !stream->is_visible || stream->account != account)
        return false;
    if (filter.count == 0)
        return true;
    for (uint32_t i = 0; i < stream->config.subject_count; i++) {
        if (subject_is_valid(filter)
            && subjects_collide(text_bytes(&stream->config.subjects[i]), filter))
            return true;
    }
    return false;
}

/* What NAMES and LIST page through: ids, since a stream may go while the list is made. */
struct listed {
    uint64_t total, offset, count, next;
    struct text *out;
    uint32_t ids[];
};

static struct listed *streams_listed(struct request *request, struct bytes filter, int64_t offset,
                                     uint64_t limit)
{
    const struct stream_table *table = &request->kv->streams;
    struct stream **all = malloc((table->count + 1) * sizeof(struct stream *));
    uint64_t total = 0;
    for (uint32_t i = 0; i < table->by_id_capacity; i++) {
        if (stream_listed(table->by_id[i], request->origin.account, filter))
            all[total++] = table->by_id[i];
    }
    qsort(all, total, sizeof *all, stream_compare);
    struct listed *listed =
        heap_alloc_zeroed(request->kv->shard->heap, sizeof *listed + limit * sizeof(uint32_t));
    listed->total = total;
    listed->offset = offset < 0 ? 0 : (uint64_t)offset > total ? total : (uint64_t)offset;
    for (uint64_t i = listed->offset; i < total && listed->count < limit; i++)
        listed->ids[listed->count++] = all[i]->id;
    free(all);
    request->work = listed;
    return listed;
}

static bool read_page(struct request *request, struct bytes *filter, int64_t *offset)
{
    static const char *const known[] = {"offset", "subject", NULL};
    return request_parse(request, true) && request_members_known(request, known)
           && request_member_i64(request, "offset", offset)
           && request_member_text(request, "subject", filter);
}

static void append_page(struct text *text, const struct listed *listed, uint64_t limit)
{
    text_append_format(text, ",\"total\":%llu,\"offset\":%llu,\"limit\":%llu,\"streams\":",
                       (unsigned long long)listed->total, (unsigned long long)listed->offset,
                       (unsigned long long)limit);
}

void info_names(struct request *request)
{
    struct bytes filter = {0};
    int64_t offset = 0;
    if (!read_page(request, &filter, &offset))
        return;
    struct listed *listed = streams_listed(request, filter, offset, NAMES_LIMIT);
    struct text *text = request_begin(request);
    append_page(text, listed, NAMES_LIMIT);
    for (uint64_t i = 0; i < listed->count; i++) {
        struct stream *stream = stream_by_id(&request->kv->streams, listed->ids[i]);
        text_append_literal(text, i == 0 ? "[" : ",");
        text_append_json_string(text, text_bytes(&stream->config.name));
    }
    text_append_literal(text, listed->count == 0 ? "null" : "]");
    request_answer(request, text);
}

static void list_next(struct request *request);

static void list_on_state(void *context, const struct stream_state *state, bool is_there)
{
    struct request *request = context;
    struct listed *listed = request->work;
    struct stream *stream = stream_by_id(&request->kv->streams, listed->ids[listed->next - 1]);
    if (is_there && stream != NULL) {
        text_append_literal(&request->tail, request->tail.count == 0 ? "{" : ",{");
        info_append_stream(&request->tail, stream, state, false, false);
        text_append_literal(&request->tail, "}");
    }
    list_next(request);
}

static void list_next(struct request *request)
{
    struct listed *listed = request->work;
    while (listed->next < listed->count) {
        struct stream *stream = stream_by_id(&request->kv->streams, listed->ids[listed->next++]);
        if (stream != NULL) {
            stream_state_gather(stream, NULL, request, list_on_state);
            return;
        }
    }
    struct text *text = request_begin(request);
    append_page(text, listed, LIST_LIMIT);
    text_append_literal(text, "[");
    text_append(text, text_bytes(&request->tail));
    text_append_literal(text, "]");
    request_answer(request, text);
}

void info_list(struct request *request)
{
    struct bytes filter = {0};
    int64_t offset = 0;
    if (!read_page(request, &filter, &offset))
        return;
    (void)streams_listed(request, filter, offset, LIST_LIMIT);
    text_clear(&request->tail);
    list_next(request);
}

/* ---- INFO ---- */

struct account_question {
    struct gather *gather;
    uint64_t account;
};

struct account_part {
    uint64_t memory_bytes, file_bytes, consumers, api_total, api_errors;
};

static void account_on_question(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct account_question *question = payload;
    struct kv *kv = kv_of(shard);
    struct account_part part = {.api_total = kv->api_total, .api_errors = kv->api_errors};
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        struct stream *stream = kv->streams.by_id[i];
        if (stream == NULL || stream->account != question->account)
            continue;
        part.consumers += stream_consumer_count(stream);
        uint64_t size = stream->stripe == NULL ? 0 : index_size_bytes(stream->stripe->index);
        *(stream->is_memory ? &part.memory_bytes : &part.file_bytes) += size;
    }
    *(struct account_part *)gather_answer(shard, question->gather, from, sizeof part) = part;
}

static void account_on_part(struct gather *gather, const void *payload, uint32_t bytes,
                            uint32_t from)
{
    (void)bytes;
    (void)from;
    struct account_part *sum = CONTAINER_OF(gather, struct request, gather)->work;
    const struct account_part *part = payload;
    sum->memory_bytes += part->memory_bytes;
    sum->file_bytes += part->file_bytes;
    sum->consumers += part->consumers;
    sum->api_total += part->api_total;
    sum->api_errors += part->api_errors;
}

static void account_on_done(struct gather *gather)
{
    struct request *request = CONTAINER_OF(gather, struct request, gather);
    struct kv *kv = request->kv;
    const struct account_part *sum = request->work;
    uint64_t streams = 0, reserved_memory = 0, reserved_file = 0;
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        struct stream *stream = kv->streams.by_id[i];
        if (stream == NULL || !stream->is_visible || stream->account != request->origin.account)
            continue;
        streams++;
        if (stream->config.bytes_max > 0)
            *(stream->is_memory ? &reserved_memory : &reserved_file) +=
                (uint64_t)stream->config.bytes_max;
    }
    struct account_limits limits = account_limits(kv, request->origin.account);
    struct text *text = request_begin(request);
    text_append_format(
        text,
        ",\"memory\":%llu,\"storage\":%llu,\"reserved_memory\":%llu,\"reserved_storage\":%llu,"
        "\"streams\":%llu,\"consumers\":%llu,\"limits\":{\"max_memory\":%lld,\"max_storage\":%lld,"
        "\"max_streams\":%lld,\"max_consumers\":%lld,\"max_ack_pending\":%lld,"
        "\"memory_max_stream_bytes\":%lld,\"storage_max_stream_bytes\":%lld,"
        "\"max_bytes_required\":%s},\"api\":{\"level\":%d,\"total\":%llu,\"errors\":%llu}",
        (unsigned long long)sum->memory_bytes, (unsigned long long)sum->file_bytes,
        (unsigned long long)reserved_memory, (unsigned long long)reserved_file,
        (unsigned long long)streams, (unsigned long long)sum->consumers,
        (long long)limits.memory_bytes_max, (long long)limits.file_bytes_max,
        (long long)limits.streams_max, (long long)limits.consumers_max,
        (long long)limits.ack_pending_max, (long long)limits.memory_stream_bytes_max,
        (long long)limits.file_stream_bytes_max, limits.needs_bytes_max != 0 ? "true" : "false",
        KV_API_LEVEL, (unsigned long long)(sum->api_total - 1),
        (unsigned long long)sum->api_errors);
    request_answer(request, text);
}

void info_account(struct request *request)
{
    struct kv *kv = request->kv;
    request->work = heap_alloc_zeroed(kv->shard->heap, sizeof(struct account_part));
    request->gather.on_part = account_on_part;
    request->gather.on_done = account_on_done;
    for (uint32_t i = 0; i < kv->shard->count; i++) {
        struct account_question *question =
            gather_ask(kv, &request->gather, i, account_on_question, sizeof *question);
        question->account = request->origin.account;
    }
}
