/*
 * kv/consumer_api.c: creating, updating, pausing, describing and deleting consumers.
 *
 * A request about one consumer asks the directory which shard has it, and goes there; that shard answers.
 */
#include "kv/consumer_api.h"

#include "kv/consumer.h"
#include "kv/consumer_check.h"
#include "kv/directory.h"

enum { NAME_BYTES = 8 };

/* ---- answers on the consumer's shard ---- */

/* Errors of a pause keep its members. */
static void consumer_fail(struct request *request, const struct api_failure *failure)
{
    bool is_pause = strcmp(request->type, "consumer_pause_response") == 0;
    request_fail(request, failure,
                 is_pause ? ",\"paused\":false,\"pause_until\":\"0001-01-01T00:00:00Z\"" : NULL);
}

static void consumer_fail_with(struct request *request, enum api_error error)
{
    consumer_fail(request, &(struct api_failure){.error = error});
}

/* An answer that tells of a consumer's state, until that is durable. */
struct info_wait {
    struct flush_wait wait;
    struct request *request;
    struct text text;
};

static void info_on_durable(struct flush_wait *wait, bool is_gone)
{
    struct info_wait *info = CONTAINER_OF(wait, struct info_wait, wait);
    if (is_gone)
        consumer_fail_with(info->request, API_CONSUMER_NOT_FOUND);
    else
        request_answer(info->request, &info->text);
    text_free(&info->text);
    heap_free(info);
}

static void answer_when_flushed(struct request *request, struct consumer *consumer,
                                const struct text *text)
{
    struct info_wait *info = heap_alloc_zeroed(request->kv->shard->heap, sizeof *info);
    info->wait.on_durable = info_on_durable;
    info->request = request;
    text_append(&info->text, text_bytes(text));
    if (!consumer_wait_flushed(consumer, &info->wait))
        info_on_durable(&info->wait, false);
}

static void answer_info(struct request *request, struct consumer *consumer)
{
    struct text *text = request_begin(request);
    text_append_literal(text, ",");
    consumer_append_info(text, consumer, true);
    answer_when_flushed(request, consumer, text);
}

static void answer_pause(struct request *request, struct consumer *consumer)
{
    uint64_t until = consumer_config_of(consumer)->pause_until_ns;
    uint64_t now = shard_wall_ns(request->kv->shard);
    struct text *text = request_begin(request);
    text_append_format(text, ",\"paused\":%s,\"pause_until\":\"", until > now ? "true" : "false");
    if (consumer_config_of(consumer)->pause_until.count > 0)
        text_append(text, text_bytes(&consumer_config_of(consumer)->pause_until));
    else
        text_append_time(text, 0);
    text_append_literal(text, "\"");
    if (until > now)
        text_append_format(text, ",\"pause_remaining\":%llu", (unsigned long long)(until - now));
    answer_when_flushed(request, consumer, text);
}

/* A request moves to the shard that has the consumer. */
struct moved {        /* then reply, stream name, consumer name, and a configuration or a time */
    const char *type; /* literal */
    uint32_t kind, account, reply_bytes, stream_bytes, name_bytes, more_bytes;
    uint32_t is_create_only, has_default_threshold;
};
enum { MOVED_INFO, MOVED_DELETE, MOVED_CREATE, MOVED_PAUSE };

static void request_move(struct request *request, uint32_t to, const struct moved *how,
                         struct bytes more);

static void updated(void *context, struct consumer *consumer, const struct api_failure *failure)
{
    struct request *request = context;
    if (consumer != NULL)
        text_append(&request->name, consumer_name(consumer));
    if (failure->error != API_OK)
        consumer_fail(request, failure);
    else if (strcmp(request->type, "consumer_pause_response") == 0)
        answer_pause(request, consumer);
    else /* when it knows what its new filters leave */
        request_move(request, request->kv->shard->index, &(struct moved){.kind = MOVED_INFO},
                     (struct bytes){0});
}

static void moved_update(struct request *request, struct consumer *consumer,
                         struct consumer_config *next)
{
    struct api_failure failure = {0};
    if (!consumer_update(consumer, next, request, updated, &failure))
        consumer_fail(request, &failure);
    consumer_config_free(next);
}

/* Of an existing one: the same again, or an update. A pause is not for this request to change. */
static void moved_create(struct request *request, struct consumer *consumer,
                         const struct moved *moved, struct bytes config_json)
{
    const struct consumer_config *current = consumer_config_of(consumer);
    struct consumer_config next = {0};
    consumer_config_restore(&next, config_json);
    (void)consumer_config_set_pause(&next, text_bytes(&current->pause_until)); /* ours: a time */
    bool is_same = consumer_config_equal(current, &next);
    if (moved->is_create_only && (!is_same || moved->has_default_threshold)) {
        consumer_config_free(&next);
        consumer_fail_with(request, API_CONSUMER_EXISTS);
    } else if (is_same) {
        consumer_config_free(&next);
        answer_info(request, consumer);
    } else {
        moved_update(request, consumer, &next);
    }
}

static void moved_pause(struct request *request, struct consumer *consumer, struct bytes until)
{
    struct consumer_config next = {0};
    struct text json = {0};
    consumer_config_append(&json, consumer_config_of(consumer), false);
    consumer_config_restore(&next, text_bytes(&json));
    text_free(&json);
    (void)consumer_config_set_pause(&next, until); /* read before it moved */
    if (next.pause_until_ns == 0 && !bytes_start_with(until, BYTES_LITERAL("1970")))
        text_clear(&next.pause_until);
    moved_update(request, consumer, &next);
}

/* The consumer is there, but its first list is still being made, or it is being changed. */
static bool must_wait(struct kv *kv, const struct moved *moved)
{
    const char *at = (const char *)(moved + 1) + moved->reply_bytes;
    struct stream *stream =
        stream_by_name(&kv->streams, moved->account, bytes_of(at, moved->stream_bytes));
    struct consumer *consumer =
        stream == NULL
            ? NULL
            : consumer_find(stream, bytes_of(at + moved->stream_bytes, moved->name_bytes));
    if (consumer == NULL || moved->kind == MOVED_DELETE)
        return false;
    return moved->kind == MOVED_INFO ? !consumer_knows_counts(consumer)
                                     : !consumer_may_change(consumer);
}

static void moved_on_arrival(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)from;
    struct moved *moved = payload;
    if (must_wait(kv_of(shard), moved)) {
        memcpy(mailbox_reserve(shard, shard->index, moved_on_arrival, bytes), payload, bytes);
        return; /* it comes again next turn */
    }
    const char *at = (const char *)(moved + 1);
    struct msg msg = {.reply = bytes_of(at, moved->reply_bytes)};
    struct bytes stream_name = bytes_of(at += moved->reply_bytes, moved->stream_bytes);
    struct bytes name = bytes_of(at += moved->stream_bytes, moved->name_bytes);
    struct bytes more = bytes_of(at + moved->name_bytes, moved->more_bytes);
    struct kv *kv = kv_of(shard);
    struct request *request = request_create(
        kv, moved->type, &(struct origin){.account = moved->account}, &msg, stream_name);
    kv->api_total--; /* counted where it came in */
    struct stream *stream = stream_by_name(&kv->streams, moved->account, stream_name);
    struct consumer *consumer = stream == NULL ? NULL : consumer_find(stream, name);
    if (stream == NULL || !stream->is_visible) {
        consumer_fail_with(request, API_STREAM_NOT_FOUND);
    } else if (consumer == NULL) {
        consumer_fail_with(request, API_CONSUMER_NOT_FOUND);
    } else if (moved->kind == MOVED_INFO) {
        answer_info(request, consumer);
    } else if (moved->kind == MOVED_DELETE) {
        text_append(&request->name, name);
        consumer_destroy(consumer);
        directory_forget_and_answer(request, stream);
    } else if (moved->kind == MOVED_PAUSE) {
        moved_pause(request, consumer, more);
    } else {
        moved_create(request, consumer, moved, more);
    }
}

/* `how`: its first members, and the last two. Ends the request here. */
static void request_move(struct request *request, uint32_t to, const struct moved *how,
                         struct bytes more)
{
    struct bytes texts[] = {text_bytes(&request->reply), text_bytes(&request->stream_name),
                            text_bytes(&request->name), more};
    size_t bytes = sizeof(struct moved);
    for (unsigned i = 0; i < COUNT_OF(texts); i++)
        bytes += texts[i].count;
    struct moved *moved =
        mailbox_reserve(request->kv->shard, to, moved_on_arrival, (uint32_t)bytes);
    *moved = *how;
    moved->type = request->type;
    moved->account = request->origin.account;
    moved->reply_bytes = (uint32_t)texts[0].count;
    moved->stream_bytes = (uint32_t)texts[1].count;
    moved->name_bytes = (uint32_t)texts[2].count;
    moved->more_bytes = (uint32_t)texts[3].count;
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
    struct moved how = {.kind = is_info ? MOVED_INFO : MOVED_DELETE};
    if (result == DIRECTORY_FOUND)
        request_move(request, shard, &how, (struct bytes){0});
    else
        request_fail_with(request, result == DIRECTORY_NO_SPACE ? API_INSUFFICIENT_RESOURCES
                                                                : API_CONSUMER_NOT_FOUND);
}

static void find_and_move(struct request *request, enum directory_intent intent)
{
    if (!body_is_empty(request)) {
        request_fail_with(request, API_NOT_EMPTY_REQUEST);
        return;
    }
    struct stream *stream = request_stream(request);
    if (stream != NULL)
        directory_ask(request, stream, intent, NULL, find_on_done);
}

void consumer_api_info(struct request *request)
{
    find_and_move(request, DIRECTORY_LOOK);
}

void consumer_api_delete(struct request *request)
{
    find_and_move(request, DIRECTORY_REMOVE);
}

/* ---- PAUSE ---- */

static void pause_on_done(struct request *request, enum directory_result result, uint32_t shard)
{
    struct moved how = {.kind = MOVED_PAUSE};
    if (result == DIRECTORY_FOUND)
        request_move(request, shard, &how, text_bytes(&request->tail));
    else
        consumer_fail_with(request, API_CONSUMER_NOT_FOUND);
}

void consumer_api_pause(struct request *request)
{
    static const char *const known[] = {"pause_until", NULL};
    struct bytes until = {0};
    uint64_t unix_ns;
    if (!request_parse(request, true) || !request_members_known(request, known)
        || !request_member_text(request, "pause_until", &until))
        return;
    if (until.count > 0 && !text_parse_time(until, &unix_ns)) {
        struct api_failure failure;
        api_fail(&failure, API_INVALID_JSON, "parsing time: not RFC 3339");
        consumer_fail(request, &failure);
        return;
    }
    struct stream *stream = stream_by_name(&request->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (stream == NULL || !stream->is_visible) {
        consumer_fail_with(request, API_STREAM_NOT_FOUND);
        return;
    }
    text_append(&request->tail, until);
    directory_ask(request, stream, DIRECTORY_LOOK, NULL, pause_on_done);
}

/* ---- CREATE ---- */

struct create {
    struct request *request;
    struct consumer_request asked;
    bool is_durable_form; /* CONSUMER.DURABLE.CREATE */
    uint64_t created_ns;
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
    (void)consumer_create(stream, &create->asked.config, text_bytes(&request->name),
                          create->created_ns, create, create_on_ready);
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
        struct moved how = {.kind = MOVED_CREATE,
                            .is_create_only = create->asked.is_create_only,
                            .has_default_threshold = create->asked.config.has_default_threshold};
        request_move(request, shard, &how, text_bytes(&config));
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
    create->created_ns = shard_wall_ns(request->kv->shard);
    struct text config = {0};
    if (!stream->is_memory && !create->asked.config.mem_storage)
        consumer_config_append(&config, &create->asked.config, false);
    struct directory_claim claim = {create->created_ns, text_bytes(&config),
                                    create->asked.config.durable_name.count > 0};
    directory_ask(request, stream, create->asked.is_update_only ? DIRECTORY_LOOK : DIRECTORY_CLAIM,
                  &claim, create_on_directory);
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
