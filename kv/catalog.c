/*
 * kv/catalog.c: the life of streams, over all shards: operations one after the other; creation and deletion.
 *
 * Owns:    on the home shard: the queue of operations, one of which is under way.
 */
#include "kv/catalog_room.h"

#include "kv/account.h"
#include "kv/directory.h"
#include "kv/info.h"
#include "kv/limits.h"
#include "kv/stream_graph.h"

/* Sent to the home shard; reply, stream name and payload follow. */
struct operation_message {
    uint32_t kind, account, reply_bytes, name_bytes, payload_bytes;
};

static void catalog_run(struct catalog *catalog);
static void operation_on_room(struct store_wait *wait);

/* ---- operations ---- */

void operation_end(struct operation *operation)
{
    struct catalog *catalog = operation->catalog;
    ASSERT(catalog->head == operation);
    catalog->head = operation->next;
    if (catalog->head == NULL)
        catalog->tail = &catalog->head;
    stream_config_free(&operation->config);
    heap_free(operation);
    catalog_run(catalog);
}

void operation_fail(struct operation *operation, const struct api_failure *failure)
{
    request_fail(operation->request, failure, NULL);
    operation_end(operation);
}

static void part_ignore(struct gather *gather, const void *part, uint32_t bytes, uint32_t from)
{
    (void)gather;
    (void)part;
    (void)bytes;
    (void)from;
}

void operation_step(struct operation *operation, uint32_t step, struct order *order,
                    void (*on_done)(struct gather *gather))
{
    struct kv *kv = operation->catalog->kv;
    struct text json = {0};
    if (step == STEP_MAKE || step == STEP_CONFIGURE)
        stream_config_append(&json, &operation->config, false);
    operation->gather = (struct gather){.on_part = part_ignore, .on_done = on_done};
    for (uint32_t i = 0; i < kv->shard->count; i++) {
        struct step_message *message = gather_ask(kv, &operation->gather, i, catalog_on_step,
                                                  (uint32_t)(sizeof *message + json.count));
        *message = (struct step_message){
            .gather = &operation->gather,
            .order = order,
            .created_ns = catalog_entry_of(operation->catalog, operation->stream_id)->created_ns,
            .past = operation->past,
            .stream_id = operation->stream_id,
            .account = operation->request->origin.account,
            .step = step,
        };
        if (json.count > 0)
            memcpy(message + 1, json.data, json.count);
    }
    text_free(&json);
}

void operation_record(struct operation *operation, void (*on_durable)(struct store_wait *wait))
{
    struct catalog *catalog = operation->catalog;
    struct catalog_entry *entry = catalog_entry_of(catalog, operation->stream_id);
    bool is_memory = operation->kind == OPERATION_DELETE
                         ? operation->is_memory
                         : operation->config.storage == STREAM_STORAGE_MEMORY;
    entry->is_there = operation->kind != OPERATION_DELETE;
    entry->account = operation->request->origin.account;
    entry->past = operation->past;
    operation->wait.on_durable = on_durable;
    if (is_memory) {
        on_durable(&operation->wait);
        return;
    }
    text_clear(&entry->config);
    if (entry->is_there)
        stream_config_append(&entry->config, &operation->config, false);
    if (catalog_append(catalog, operation->stream_id, &operation->wait) != STATUS_OK) {
        operation->on_recorded = on_durable;
        operation->wait.on_durable = operation_on_room;
        store_wait_room(catalog->kv->store, &operation->wait);
    }
}

static void operation_on_room(struct store_wait *wait)
{
    struct operation *operation = CONTAINER_OF(wait, struct operation, wait);
    operation_record(operation, operation->on_recorded);
}

static void operation_on_state(void *context, const struct stream_state *state, bool is_there)
{
    struct operation *operation = context;
    struct request *request = operation->request;
    struct stream *stream = stream_by_id(&request->kv->streams, operation->stream_id);
    ASSERT(is_there); /* only this queue removes streams */
    struct text *text = request_begin(request);
    text_append_literal(text, ",");
    info_append_stream(text, stream, state, true, false);
    if (operation->kind == OPERATION_CREATE)
        text_append_literal(text, ",\"did_create\":true");
    request_answer(request, text);
    operation_end(operation);
}

void operation_answer_state(struct operation *operation)
{
    struct stream *stream = stream_by_id(&operation->catalog->kv->streams, operation->stream_id);
    stream_state_gather(stream, NULL, operation, operation_on_state);
}

/* ---- create ---- */

static void create_on_shown(struct gather *gather)
{
    operation_answer_state(CONTAINER_OF(gather, struct operation, gather));
}

static void create_on_recorded(struct store_wait *wait)
{
    operation_step(CONTAINER_OF(wait, struct operation, wait), STEP_SHOW, NULL, create_on_shown);
}

static void create_on_made(struct gather *gather)
{
    operation_record(CONTAINER_OF(gather, struct operation, gather), create_on_recorded);
}

static bool create_is_allowed(struct operation *operation, struct stream *existing,
                              struct api_failure *failure)
{
    struct kv *kv = operation->catalog->kv;
    const struct stream_config *config = &operation->config;
    if (config->replicas > 1)
        return api_fail(failure, API_REPLICAS_NOT_SUPPORTED, NULL);
    if (existing != NULL
        && (!existing->is_visible || !stream_config_equal(&existing->config, config)))
        return api_fail(failure, API_STREAM_NAME_EXISTS, NULL);
    if (existing == NULL
        && stream_overlap(&kv->streams, operation->request->origin.account, config) != NULL)
        return api_fail(failure, API_SUBJECTS_OVERLAP, NULL);
    return existing != NULL
           || (account_check_stream(kv, operation->request->origin.account, NULL, config, failure)
               && stream_config_check_supported(config, failure)
               && limits_reserve(kv, config, NULL, failure));
}

static bool create_check(struct operation *operation, struct api_failure *failure)
{
    struct stream_config *config = &operation->config;
    struct bytes name = text_bytes(&config->name);
    if (!bytes_equal(name, text_bytes(&operation->request->stream_name)))
        return api_fail(failure, API_STREAM_MISMATCH, NULL);
    if (name.count > 0
        && (memchr(name.data, '\\', name.count) != NULL
            || memchr(name.data, '/', name.count) != NULL))
        return api_fail(failure, API_STREAM_NAME_PATH, NULL);
    if (config->sealed)
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "stream configuration for create can not be sealed");
    if (config->first_seq > ORDER_SEQ_MAX)
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "first sequence must not be above 2^55");
    if (config->mirror_direct && config->mirror == NULL)
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "stream has no mirror but does have mirror direct");
    return stream_config_check(config, failure)
           && stream_graph_check(config, &operation->catalog->kv->streams,
                                 operation->request->origin.account, failure);
}

static void create_run(struct operation *operation)
{
    struct catalog *catalog = operation->catalog;
    struct kv *kv = catalog->kv;
    struct api_failure failure = {0};
    if (!create_check(operation, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    struct stream *existing = stream_by_name(&kv->streams, operation->request->origin.account,
                                             text_bytes(&operation->config.name));
    if (!create_is_allowed(operation, existing, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    if (existing != NULL) {
        operation->stream_id = existing->id;
        operation_answer_state(operation);
        return;
    }
    operation_make(operation, create_on_made);
}

void operation_make(struct operation *operation, void (*on_made)(struct gather *gather))
{
    struct catalog *catalog = operation->catalog;
    struct kv *kv = catalog->kv;
    operation->stream_id = catalog->next_id++;
    /* What is republished goes out in the order of sequences, if one shard gives them. */
    bool is_striped =
        !stream_config_needs_one_stripe(&operation->config) && operation->config.republish == NULL;
    operation->past.flags =
        (is_striped ? PAST_IS_STRIPED : 0u)
        | (stream_config_needs_whole_keys(&operation->config) ? PAST_HAS_WHOLE_KEYS : 0u);
    struct catalog_entry *entry = catalog_entry_of(catalog, operation->stream_id);
    entry->created_ns = shard_wall_ns(kv->shard);
    entry->past = operation->past;
    struct order *order = heap_alloc_aligned(kv->shard->heap, sizeof *order, 64);
    order_init(order, operation->config.first_seq > 0 ? operation->config.first_seq : 1);
    operation_step(operation, STEP_MAKE, order, on_made);
}

/* ---- delete ---- */

static void delete_on_closed(struct gather *gather)
{
    struct operation *operation = CONTAINER_OF(gather, struct operation, gather);
    /* Claims of consumers were in every shard's mailbox ahead of its answer. */
    directory_forget_stream(operation->catalog->kv, operation->stream_id);
    heap_free(operation->order); /* no shard has the stream any more */
    request_succeed(operation->request);
    operation_end(operation);
}

static void delete_on_recorded(struct store_wait *wait)
{
    struct operation *operation = CONTAINER_OF(wait, struct operation, wait);
    operation_step(operation, STEP_CLOSE, NULL, delete_on_closed);
}

static bool body_is_empty(struct request *request)
{
    if (request->payload.count == 0)
        return true;
    struct bytes rest;
    const char *why;
    struct json *json = json_parse(text_bytes(&request->payload), &rest, &why);
    bool is_empty = json != NULL && rest.count == 0 && json_type(json) == JSON_OBJECT
                    && json_first(json) == NULL;
    json_free(json);
    return is_empty;
}

static void delete_run(struct operation *operation)
{
    struct catalog *catalog = operation->catalog;
    struct request *request = operation->request;
    struct api_failure failure = {0};
    struct stream *stream = stream_by_name(&catalog->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (!body_is_empty(request))
        api_fail(&failure, API_NOT_EMPTY_REQUEST, NULL);
    else if (stream == NULL || !stream->is_visible)
        api_fail(&failure, API_STREAM_NOT_FOUND, NULL);
    if (failure.error != API_OK) {
        operation_fail(operation, &failure);
        return;
    }
    operation->stream_id = stream->id;
    operation->order = stream->order;
    operation->is_memory = stream->is_memory;
    operation->past = catalog_entry_of(catalog, stream->id)->past;
    operation_record(operation, delete_on_recorded);
}

/* ---- the queue ---- */

static bool operation_read(struct operation *operation)
{
    struct request *request = operation->request;
    struct api_failure failure = {0};
    if (operation->kind == OPERATION_RESTORE)
        return operation_read_restore(operation);
    if (operation->kind != OPERATION_CREATE && operation->kind != OPERATION_UPDATE)
        return true;
    if (!request_parse(request, false)) { /* it has answered */
        operation_end(operation);
        return false;
    }
    if (request->json == NULL
        || stream_config_read(&operation->config, request->json,
                              kv_world_options(request->kv->world)->is_strict, &failure))
        return true;
    operation_fail(operation, &failure);
    return false;
}

static bool all_shards_have_space(const struct kv *kv, bool is_low_enough)
{
    for (uint32_t i = 0; i < kv->shard->count; i++) {
        enum store_space space = store_directory_space(kv_world_directory(kv->world), i);
        if (space == STORE_SPACE_NONE || (space == STORE_SPACE_LOW && !is_low_enough))
            return false;
    }
    return true;
}

/* A full disk refuses before anything is begun. A deletion, which heals it, needs only its record. */
static bool operation_has_space(struct operation *operation)
{
    struct kv *kv = operation->catalog->kv;
    struct record gone = {.type = KV_RECORD_STREAM_DELETED};
    if (operation->kind == OPERATION_RESTORED || operation->kind == OPERATION_ABANDON)
        return true; /* they see for themselves */
    bool has_space = operation->kind == OPERATION_DELETE
                         ? store_has_room(kv->store, record_bytes(&gone))
                         : all_shards_have_space(kv, operation->kind == OPERATION_UPDATE);
    if (!has_space) {
        struct api_failure failure = {.error = API_INSUFFICIENT_RESOURCES};
        operation_fail(operation, &failure);
    }
    return has_space;
}

static void operation_begin(struct operation *operation)
{
    if (!operation_has_space(operation) || !operation_read(operation))
        return;
    switch (operation->kind) {
    case OPERATION_CREATE:
        create_run(operation);
        break;
    case OPERATION_UPDATE:
        operation_update(operation);
        break;
    case OPERATION_DELETE:
        delete_run(operation);
        break;
    case OPERATION_RESTORE:
        operation_restore(operation);
        break;
    case OPERATION_RESTORED:
        operation_restored(operation);
        break;
    case OPERATION_ABANDON:
        operation_abandon(operation);
        break;
    }
}

/* Begins the first; one that ends at once is followed by the next here, not deeper in the stack. */
static void catalog_run(struct catalog *catalog)
{
    if (catalog->is_running)
        return;
    catalog->is_running = true;
    while (catalog->head != NULL && !catalog->head->is_begun) {
        catalog->head->is_begun = true;
        operation_begin(catalog->head);
    }
    catalog->is_running = false;
}

static const char *const operation_types[] = {"stream_create_response", "stream_update_response",
                                              "stream_delete_response", "stream_restore_response"};

void catalog_queue(struct catalog *catalog, enum operation_kind kind, struct request *request,
                   uint32_t stream_id)
{
    struct operation *operation = heap_alloc_zeroed(catalog->kv->shard->heap, sizeof *operation);
    operation->catalog = catalog;
    operation->kind = kind;
    operation->request = request;
    operation->stream_id = stream_id;
    *catalog->tail = operation;
    catalog->tail = &operation->next;
    catalog_run(catalog);
}

static void catalog_on_operation(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct kv *kv = kv_of(shard);
    struct catalog *catalog = kv->catalog;
    struct operation_message *message = payload;
    const char *at = (const char *)(message + 1);
    struct msg msg = {.reply = bytes_of(at, message->reply_bytes)};
    struct bytes name = bytes_of(at + message->reply_bytes, message->name_bytes);
    msg.payload = bytes_of(name.data + name.count, message->payload_bytes);
    catalog_queue(catalog, (enum operation_kind)message->kind,
                  request_create(kv, operation_types[message->kind],
                                 &(struct origin){.account = message->account}, &msg, name),
                  0);
}

static void catalog_send(struct kv *kv, uint32_t account, enum operation_kind kind,
                         const struct msg *msg, struct bytes name)
{
    struct operation_message *message = mailbox_reserve(
        kv->shard, KV_HOME_SHARD, catalog_on_operation,
        (uint32_t)(sizeof *message + msg->reply.count + name.count + msg->payload.count));
    *message = (struct operation_message){(uint32_t)kind, account, (uint32_t)msg->reply.count,
                                          (uint32_t)name.count, (uint32_t)msg->payload.count};
    char *at = (char *)(message + 1);
    if (msg->reply.count > 0)
        memcpy(at, msg->reply.data, msg->reply.count);
    memcpy(at + msg->reply.count, name.data, name.count);
    if (msg->payload.count > 0)
        memcpy(at + msg->reply.count + name.count, msg->payload.data, msg->payload.count);
}

void catalog_create_stream(struct kv *kv, uint32_t account, const struct msg *msg,
                           struct bytes stream_name)
{
    catalog_send(kv, account, OPERATION_CREATE, msg, stream_name);
}

void catalog_update_stream(struct kv *kv, uint32_t account, const struct msg *msg,
                           struct bytes stream_name)
{
    catalog_send(kv, account, OPERATION_UPDATE, msg, stream_name);
}

void catalog_delete_stream(struct kv *kv, uint32_t account, const struct msg *msg,
                           struct bytes stream_name)
{
    catalog_send(kv, account, OPERATION_DELETE, msg, stream_name);
}

void catalog_restore_stream(struct kv *kv, uint32_t account, const struct msg *msg,
                            struct bytes stream_name)
{
    catalog_send(kv, account, OPERATION_RESTORE, msg, stream_name);
}

/* ---- life ---- */

void catalog_init(struct kv *kv)
{
    struct catalog *catalog = heap_alloc_zeroed(kv->shard->heap, sizeof *catalog);
    catalog->kv = kv;
    catalog->tail = &catalog->head;
    catalog->next_id = 1;
    kv->catalog = catalog;
}

void catalog_fini(struct kv *kv)
{
    struct catalog *catalog = kv->catalog;
    if (catalog == NULL)
        return;
    while (catalog->head != NULL) {
        struct operation *operation = catalog->head;
        catalog->head = operation->next;
        request_end(operation->request);
        stream_config_free(&operation->config);
        heap_free(operation);
    }
    for (uint32_t i = 0; i < catalog->capacity; i++)
        text_free(&catalog->entries[i].config);
    heap_free(catalog->entries);
    heap_free(catalog);
    kv->catalog = NULL;
}

bool catalog_is_busy(const struct kv *kv)
{
    return (kv->catalog != NULL && kv->catalog->head != NULL) || kv->closing != NULL;
}
