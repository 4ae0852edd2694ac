/*
 * kv/catalog_restore.c: the catalog's part of a restore: three operations of the queue, between which others run.
 *
 *     RESTORE    checks, then all shards make the stream ─► restore_begin answers with the subject for the chunks
 *     RESTORED   all messages are durable: home's record durable ─► all show the stream ─► answer
 *     ABANDON    no record was written: all shards close the stream
 *
 * Until its record is durable, the stream is one that recovery does not know: a crash leaves nothing of it. Its name and subjects are
 * taken meanwhile.
 */
#include "kv/catalog_restore.h"

#include "kv/catalog_room.h"
#include "kv/directory.h"
#include "kv/restore.h"
#include "kv/stream_graph.h"

/* ---- RESTORE ---- */

bool operation_read_restore(struct operation *operation)
{
    static const char *const known[] = {"config", "state", NULL};
    struct request *request = operation->request;
    struct api_failure failure = {0};
    if (request->payload.count == 0) {
        request_fail_with(request, API_BAD_REQUEST);
        operation_end(operation);
        return false;
    }
    if (!request_parse(request, false) || !request_members_known(request, known)) {
        operation_end(operation);
        return false;
    }
    const struct json *config = request->json == NULL ? NULL : json_member(request->json, "config");
    if (config != NULL && json_type(config) != JSON_NULL && json_type(config) != JSON_OBJECT)
        api_fail(&failure, API_INVALID_JSON,
                 "json: cannot unmarshal %s into Go struct field .config",
                 json_type_words(json_type(config)));
    else if (config != NULL && json_type(config) == JSON_OBJECT)
        (void)stream_config_read(&operation->config, config,
                                 kv_world_options(request->kv->world)->is_strict, &failure);
    if (failure.error != API_OK) {
        operation_fail(operation, &failure);
        return false;
    }
    if (operation->config.name.count == 0)
        text_append(&operation->config.name, text_bytes(&request->stream_name));
    return true;
}

static bool restore_check(struct operation *operation, struct api_failure *failure)
{
    struct stream_config *config = &operation->config;
    struct request *request = operation->request;
    struct kv *kv = request->kv;
    struct bytes name = text_bytes(&config->name);
    if (!bytes_equal(name, text_bytes(&request->stream_name)))
        return api_fail(failure, API_STREAM_MISMATCH, NULL);
    if (memchr(name.data, '\\', name.count) != NULL || memchr(name.data, '/', name.count) != NULL)
        return api_fail(failure, API_STREAM_NAME_PATH, NULL);
    if (!stream_config_check(config, failure)
        || !stream_graph_check(config, &kv->streams, request->origin.account, failure))
        return false;
    if (config->replicas > 1)
        return api_fail(failure, API_REPLICAS_NOT_SUPPORTED, NULL);
    if (stream_by_name(&kv->streams, request->origin.account, name) != NULL)
        return api_fail(failure, API_RESTORE_NAME_EXISTS, NULL);
    if (kv->restore_count >= RESTORES_MAX)
        return api_fail(failure, API_RESTORE_FAILED, "too many restores at a time");
    return stream_config_check_supported(config, failure);
}

static void restore_on_made(struct gather *gather)
{
    struct operation *operation = CONTAINER_OF(gather, struct operation, gather);
    restore_begin(operation->catalog->kv, operation->request, operation->stream_id, NULL);
    operation_end(operation);
}

void operation_restore(struct operation *operation)
{
    struct kv *kv = operation->catalog->kv;
    struct api_failure failure = {0};
    if (!restore_check(operation, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    uint32_t account = operation->request->origin.account;
    if (stream_overlap(&kv->streams, account, &operation->config) != NULL) {
        restore_begin(kv, operation->request, 0,
                      "error adding stream: subjects overlap with an existing stream (10065)");
        operation_end(operation);
        return;
    }
    operation_make(operation, restore_on_made);
}

/* ---- RESTORED ---- */

static void restored_on_shown(struct gather *gather)
{
    operation_answer_state(CONTAINER_OF(gather, struct operation, gather));
}

static void restored_on_recorded(struct store_wait *wait)
{
    operation_step(CONTAINER_OF(wait, struct operation, wait), STEP_SHOW, NULL, restored_on_shown);
}

static void read_back(struct operation *operation, const struct stream *stream)
{
    struct text json = {0};
    stream_config_append(&json, &stream->config, false);
    catalog_config_parse(&operation->config, text_bytes(&json));
    text_free(&json);
    operation->past = catalog_entry_of(operation->catalog, stream->id)->past;
}

void operation_restored(struct operation *operation)
{
    struct catalog *catalog = operation->catalog;
    struct stream *stream = stream_by_id(&catalog->kv->streams, operation->stream_id);
    read_back(operation, stream);
    struct record record = {
        .value = {NULL, sizeof operation->past + 64 + 2 * STREAM_METADATA_BYTES_MAX},
    };
    if (stream->is_memory || store_has_room(catalog->kv->store, record_bytes(&record))) {
        operation_record(operation, restored_on_recorded);
        return;
    }
    struct api_failure failure;
    api_fail(&failure, API_RESTORE_FAILED, "insufficient storage resources available (10047)");
    catalog_restore_end(catalog->kv, operation->stream_id, (struct bytes){0}, false);
    operation_fail(operation, &failure);
}

/* ---- ABANDON ---- */

static void abandon_on_closed(struct gather *gather)
{
    struct operation *operation = CONTAINER_OF(gather, struct operation, gather);
    directory_forget_stream(operation->catalog->kv, operation->stream_id);
    heap_free(operation->order); /* no shard has the stream any more */
    request_end(operation->request);
    operation_end(operation);
}

void operation_abandon(struct operation *operation)
{
    struct stream *stream = stream_by_id(&operation->catalog->kv->streams, operation->stream_id);
    operation->order = stream->order;
    operation_step(operation, STEP_CLOSE, NULL, abandon_on_closed);
}

/* ---- from the restore ---- */

void catalog_restore_end(struct kv *kv, uint32_t stream_id, struct bytes reply, bool is_complete)
{
    struct stream *stream = stream_by_id(&kv->streams, stream_id);
    ASSERT(stream != NULL); /* nobody sees it, so nobody deletes it */
    struct msg msg = {.reply = reply};
    struct origin origin = {.account = stream->account};
    struct request *request = request_create(kv, "stream_create_response", &origin, &msg,
                                             text_bytes(&stream->config.name));
    kv->api_total--; /* nobody's own request */
    catalog_queue(kv->catalog, is_complete ? OPERATION_RESTORED : OPERATION_ABANDON, request,
                  stream_id);
}
