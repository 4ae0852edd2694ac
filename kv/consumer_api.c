/*
 * kv/consumer_api.c: creating, describing, deleting and listing consumers.
 *
 * A request about one consumer asks the directory which shard has it, and goes there; that shard answers.
 */
#include "kv/consumer_api.h"

#include <stdlib.h>

#include "kv/consumer.h"
#include "kv/consumer_check.h"
#include "kv/directory.h"

enum { NAMES_LIMIT = 1024, LIST_LIMIT = 256, NAME_BYTES = 8 };

/* ---- answers on the consumer's shard ---- */

static void answer_info(struct request *request, const struct consumer *consumer)
{
    struct text *text = request_begin(request);
    text_append_literal(text, ",");
    consumer_append_info(text, consumer, true);
    request_answer(request, text);
}

/* A request moves to the shard that has the consumer. */
struct moved {        /* then reply, stream name, consumer name, configuration JSON */
    const char *type; /* literal */
    uint32_t kind, account, reply_bytes, stream_bytes, name_bytes, config_bytes, is_create_only;
};
enum { MOVED_INFO, MOVED_DELETE, MOVED_CREATE };

static void moved_create(struct request *request, struct consumer *consumer,
                         struct bytes config_json, bool is_create_only)
{
    struct text current = {0};
    consumer_config_append(&current, consumer_config_of(consumer), false);
    bool is_same = bytes_equal(text_bytes(&current), config_json);
    text_free(&current);
    struct api_failure failure = {0};
    if (is_same) {
        answer_info(request, consumer);
        return;
    }
    if (is_create_only)
        api_fail(&failure, API_CONSUMER_EXISTS, NULL);
    else
        api_fail(&failure, API_CONSUMER_CREATE, "pail does not support consumer updates yet");
    request_fail(request, &failure, NULL);
}

/* The consumer is there, but its first list is still being made. */
static bool is_unfinished(struct kv *kv, const struct moved *moved)
{
    const char *at = (const char *)(moved + 1) + moved->reply_bytes;
    struct stream *stream =
        stream_by_name(&kv->streams, moved->account, bytes_of(at, moved->stream_bytes));
    struct consumer *consumer =
        stream == NULL
            ? NULL
            : consumer_find(stream, bytes_of(at + moved->stream_bytes, moved->name_bytes));
    return consumer != NULL && !consumer_is_started(consumer);
}

static void moved_on_arrival(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)from;
    struct moved *moved = payload;
    if (moved->kind != MOVED_DELETE && is_unfinished(kv_of(shard), moved)) {
        memcpy(mailbox_reserve(shard, shard->index, moved_on_arrival, bytes), payload, bytes);
        return; /* it comes again next turn */
    }
    const char *at = (const char *)(moved + 1);
    struct msg msg = {.reply = bytes_of(at, moved->reply_bytes)};
    struct bytes stream_name = bytes_of(at += moved->reply_bytes, moved->stream_bytes);
    struct bytes name = bytes_of(at += moved->stream_bytes, moved->name_bytes);
    struct bytes config = bytes_of(at + moved->name_bytes, moved->config_bytes);
    struct kv *kv = kv_of(shard);
    struct request *request = request_create(
        kv, moved->type, &(struct origin){.account = moved->account}, &msg, stream_name);
    kv->api_total--; /* counted where it came in */
    struct stream *stream = request_stream(request);
    if (stream == NULL)
        return;
    struct consumer *consumer = consumer_find(stream, name);
    if (consumer == NULL) {
        request_fail_with(request, API_CONSUMER_NOT_FOUND);
    } else if (moved->kind == MOVED_INFO) {
        answer_info(request, consumer);
    } else if (moved->kind == MOVED_DELETE) {
        text_append(&request->name, name);
        consumer_destroy(consumer);
        directory_forget_and_answer(request, stream);
    } else {
        moved_create(request, consumer, config, moved->is_create_only != 0);
    }
}

static void request_move(struct request *request, uint32_t to, uint32_t kind, struct bytes config,
                         bool is_create_only)
{
    struct bytes texts[] = {text_bytes(&request->reply), text_bytes(&request->stream_name),
                            text_bytes(&request->name), config};
    size_t bytes = sizeof(struct moved);
    for (unsigned i = 0; i < COUNT_OF(texts); i++)
        bytes += texts[i].count;
    struct moved *moved =
        mailbox_reserve(request->kv->shard, to, moved_on_arrival, (uint32_t)bytes);
    *moved = (struct moved){request->type,
                            kind,
                            request->origin.account,
                            (uint32_t)texts[0].count,
                            (uint32_t)texts[1].count,
                            (uint32_t)texts[2].count,
                            (uint32_t)texts[3].count,
                            is_create_only};
    char *at = (char *)(moved + 1);
    for (unsigned i = 0; i < COUNT_OF(texts); i++) {
        if (texts[i].count > 0)
            memcpy(at, texts[i].data, texts[i].count);
        at += texts[i].count;
    }
    request_end(request);
}

/* ---- INFO and DELETE ---- */

static bool body_is_empty(struct request *request)
{
    struct bytes rest;
    const char *why;
    if (request->payload.count == 0)
        return true;
    struct json *json = json_parse(text_bytes(&request->payload), &rest, &why);
    bool is_empty = json != NULL && rest.count == 0 && json_type(json) == JSON_OBJECT
                    && json_first(json) == NULL;
    json_free(json);
    return is_empty;
}

static void find_on_done(struct request *request, enum directory_result result, uint32_t shard)
{
    bool is_info = strcmp(request->type, "consumer_info_response") == 0;
    if (result == DIRECTORY_FOUND)
        request_move(request, shard, is_info ? MOVED_INFO : MOVED_DELETE, (struct bytes){0}, false);
    else
        request_fail_with(request, API_CONSUMER_NOT_FOUND);
}

static void find_and_move(struct request *request)
{
    if (!body_is_empty(request)) {
        request_fail_with(request, API_NOT_EMPTY_REQUEST);
        return;
    }
    struct stream *stream = request_stream(request);
    if (stream != NULL)
        directory_ask(request, stream, false, NULL, (struct bytes){0}, find_on_done);
}

void consumer_api_info(struct request *request)
{
    find_and_move(request);
}

void consumer_api_delete(struct request *request)
{
    find_and_move(request);
}

/* ---- CREATE ---- */

struct create {
    struct request *request;
    struct consumer_request asked;
    bool is_durable_form; /* CONSUMER.DURABLE.CREATE */
};

static void create_free(struct create *create)
{
    consumer_request_free(&create->asked);
    heap_free(create);
}

static void create_on_ready(void *context, struct consumer *consumer)
{
    struct create *create = context;
    if (consumer == NULL) /* deleted meanwhile, or its stream was */
        request_fail_with(create->request, API_CONSUMER_NOT_FOUND);
    else
        answer_info(create->request, consumer);
    create_free(create);
}

static void create_fail(struct create *create, const struct api_failure *failure)
{
    request_fail(create->request, failure, NULL);
    create_free(create);
}

static void create_on_claimed(struct create *create)
{
    struct request *request = create->request;
    struct stream *stream = stream_by_name(&request->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (stream == NULL || !stream->is_visible) {
        struct api_failure failure = {.error = API_STREAM_NOT_FOUND};
        create_fail(create, &failure);
        return;
    }
    (void)consumer_create(stream, &create->asked.config, text_bytes(&request->name), create,
                          create_on_ready);
}

static void create_on_directory(struct request *request, enum directory_result result,
                                uint32_t shard)
{
    struct create *create = request->create;
    struct api_failure failure = {0};
    if (result == DIRECTORY_CLAIMED) {
        create_on_claimed(create);
        return;
    }
    if (result == DIRECTORY_FOUND) {
        struct text config = {0};
        consumer_config_append(&config, &create->asked.config, false);
        request_move(request, shard, MOVED_CREATE, text_bytes(&config),
                     create->asked.is_create_only);
        text_free(&config);
        create_free(create);
        return;
    }
    if (result == DIRECTORY_FULL)
        failure.error = API_MAXIMUM_CONSUMERS;
    else if (result == DIRECTORY_NO_SPACE)
        failure.error = API_INSUFFICIENT_RESOURCES;
    else
        failure.error =
            create->asked.is_update_only ? API_CONSUMER_DOES_NOT_EXIST : API_STREAM_NOT_FOUND;
    create_fail(create, &failure);
}

/* The checks that need no stream (jetstream-consumers.md section 3.3, 4 to 11). */
static bool create_check(struct create *create, struct api_failure *failure)
{
    struct request *request = create->request;
    struct consumer_request *asked = &create->asked;
    struct consumer_config *config = &asked->config;
    if (!bytes_equal(text_bytes(&asked->stream_name), text_bytes(&request->stream_name)))
        return api_fail(failure, API_STREAM_MISMATCH, NULL);
    bool is_named = request->name.count > 0;
    struct bytes name = text_bytes(is_named ? &request->name : &config->name);
    if (name.count > 0
        && (memchr(name.data, '\\', name.count) != NULL
            || memchr(name.data, '/', name.count) != NULL))
        return api_fail(failure, API_CONSUMER_NAME_INVALID, NULL);
    bool is_durable = config->durable_name.count > 0;
    if (create->is_durable_form && !is_durable)
        return api_fail(failure, API_CONSUMER_DURABLE_NAME_NOT_SET, NULL);
    if (is_named && is_durable
        && !bytes_equal(text_bytes(&config->durable_name), text_bytes(&request->name)))
        return api_fail(failure, API_CONSUMER_DURABLE_NAME_DIFFERS, NULL);
    if (!is_named && is_durable)
        return api_fail(failure, API_CONSUMER_EPHEMERAL_WITH_DURABLE, NULL);
    if (is_named) {
        text_clear(&config->name);
        text_append(&config->name, text_bytes(&request->name));
    }
    bool has_filter = request->tail.count > 0;
    if (has_filter && config->filter_subjects.count > 0)
        return api_fail(failure, API_MULTIPLE_FILTERS_IN_SUBJECT, NULL);
    if (has_filter && !bytes_equal(text_bytes(&request->tail), text_bytes(&config->filter_subject)))
        return api_fail(failure, API_CONSUMER_FILTER_DIFFERS, NULL);
    if (config->replicas > 1)
        return api_fail(failure, API_REPLICAS_NOT_SUPPORTED, NULL);
    return true;
}

static void create_name(struct create *create)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    struct request *request = create->request;
    if (request->name.count > 0)
        return;
    text_append(&request->name, text_bytes(&create->asked.config.name));
    uint64_t random = io_random(request->kv->shard->io);
    for (unsigned i = 0; i < NAME_BYTES && create->asked.config.name.count == 0; i++) {
        text_append(&request->name, bytes_of(&letters[random % 62], 1));
        random /= 62;
    }
}

static void create_begin(struct request *request, bool is_durable_form)
{
    struct api_failure failure = {0};
    bool is_strict = kv_world_options(request->kv->world)->is_strict;
    if (!request_parse(request, false))
        return;
    struct create *create = heap_alloc_zeroed(request->kv->shard->heap, sizeof *create);
    create->request = request;
    create->is_durable_form = is_durable_form;
    request->create = create;
    if ((request->json != NULL
         && !consumer_request_read(&create->asked, request->json, is_strict, &failure))
        || !create_check(create, &failure)) {
        create_fail(create, &failure);
        return;
    }
    struct stream *stream = stream_by_name(&request->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (stream == NULL || !stream->is_visible)
        api_fail(&failure, API_STREAM_NOT_FOUND, NULL);
    else
        (void)consumer_config_check(&create->asked.config, &stream->config,
                                    create->asked.is_pedantic, &failure);
    if (failure.error != API_OK) {
        create_fail(create, &failure);
        return;
    }
    create_name(create);
    struct consumer_past past = {.created_ns = shard_wall_ns(request->kv->shard)};
    struct text config = {0};
    if (!stream->is_memory && !create->asked.config.mem_storage)
        consumer_config_append(&config, &create->asked.config, false);
    directory_ask(request, stream, !create->asked.is_update_only, &past, text_bytes(&config),
                  create_on_directory);
    text_free(&config);
}

void consumer_api_create(struct request *request)
{
    create_begin(request, false);
}

void consumer_api_create_durable(struct request *request)
{
    create_begin(request, true);
}

/* ---- NAMES and LIST ---- */

struct listed {
    struct text names; /* u32 bytes, text, u32 bytes, info */
    uint64_t count;
    int64_t offset;
    bool with_info;
};

struct list_question {
    struct gather *gather;
    uint32_t stream_id, with_info;
};

static void append_sized(struct text *out, struct bytes bytes)
{
    uint32_t count = (uint32_t)bytes.count;
    text_append(out, bytes_of(&count, sizeof count));
    text_append(out, bytes);
}

static void list_on_question(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct list_question *question = payload;
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, question->stream_id);
    struct text out = {0}, info = {0};
    struct consumer *consumer =
        stream == NULL || stream->feed == NULL ? NULL : stream->feed->consumers;
    for (; consumer != NULL; consumer = consumer_next(consumer)) {
        text_clear(&info);
        if (question->with_info)
            consumer_append_info(&info, consumer, false);
        append_sized(&out, consumer_name(consumer));
        append_sized(&out, text_bytes(&info));
    }
    char *answer = gather_answer(shard, question->gather, from, (uint32_t)out.count);
    if (out.count > 0)
        memcpy(answer, out.data, out.count);
    text_free(&out);
    text_free(&info);
}

static void list_on_part(struct gather *gather, const void *part, uint32_t bytes, uint32_t from)
{
    (void)from;
    struct listed *listed = CONTAINER_OF(gather, struct request, gather)->work;
    text_append(&listed->names, bytes_of(part, bytes));
}

struct list_row {
    struct bytes name, info;
};

static int row_compare(const void *a, const void *b)
{
    return bytes_compare(((const struct list_row *)a)->name, ((const struct list_row *)b)->name);
}

static struct bytes take_sized(const char **at)
{
    uint32_t count;
    memcpy(&count, *at, sizeof count);
    struct bytes bytes = bytes_of(*at + sizeof count, count);
    *at += sizeof count + count;
    return bytes;
}

static struct list_row *list_rows(const struct listed *listed, uint64_t *count_out)
{
    const char *at = listed->names.data, *end = at + listed->names.count;
    struct list_row *rows = NULL;
    uint64_t count = 0;
    while (at < end) {
        if ((count & (count + 1)) == 0 || rows == NULL)
            rows = realloc(rows, 2 * (count + 1) * sizeof *rows);
        rows[count].name = take_sized(&at);
        rows[count++].info = take_sized(&at);
    }
    if (count > 1)
        qsort(rows, count, sizeof *rows, row_compare);
    *count_out = count;
    return rows;
}

static void list_on_done(struct gather *gather)
{
    struct request *request = CONTAINER_OF(gather, struct request, gather);
    struct listed *listed = request->work;
    uint64_t total = 0, limit = listed->with_info ? LIST_LIMIT : NAMES_LIMIT;
    struct list_row *rows = list_rows(listed, &total);
    uint64_t offset = listed->offset < 0 ? 0 : (uint64_t)listed->offset;
    if (offset > total)
        offset = total;
    struct text *text = request_begin(request);
    text_append_format(text, ",\"total\":%llu,\"offset\":%llu,\"limit\":%llu,\"consumers\":[",
                       (unsigned long long)total, (unsigned long long)offset,
                       (unsigned long long)limit);
    for (uint64_t i = offset; i < total && i < offset + limit; i++) {
        text_append_literal(text, i == offset ? "" : ",");
        if (!listed->with_info) {
            text_append_json_string(text, rows[i].name);
            continue;
        }
        text_append_literal(text, "{");
        text_append(text, rows[i].info);
        text_append_literal(text, "}");
    }
    text_append_literal(text, "]");
    free(rows);
    text_free(&listed->names);
    request_answer(request, text);
}

/* Its errors keep the members of a list. */
static void list_fail(struct request *request, enum api_error error)
{
    struct api_failure failure = {.error = error};
    request_fail(request, &failure, ",\"total\":0,\"offset\":0,\"limit\":0,\"consumers\":[]");
}

static void list_ask(struct request *request, bool with_info)
{
    static const char *const known[] = {"offset", NULL};
    int64_t offset = 0;
    if (!request_parse(request, true) || !request_members_known(request, known)
        || !request_member_i64(request, "offset", &offset))
        return;
    struct stream *stream = stream_by_name(&request->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (stream == NULL || !stream->is_visible) {
        list_fail(request, API_STREAM_NOT_FOUND);
        return;
    }
    struct listed *listed = heap_alloc_zeroed(request->kv->shard->heap, sizeof *listed);
    listed->offset = offset;
    listed->with_info = with_info;
    request->work = listed;
    request->gather = (struct gather){.on_part = list_on_part, .on_done = list_on_done};
    for (uint32_t i = 0; i < request->kv->shard->count; i++) {
        struct list_question *question =
            gather_ask(request->kv, &request->gather, i, list_on_question, sizeof *question);
        question->stream_id = stream->id;
        question->with_info = with_info;
    }
}

void consumer_api_names(struct request *request)
{
    list_ask(request, false);
}

void consumer_api_list(struct request *request)
{
    list_ask(request, true);
}
