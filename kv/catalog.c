/*
 * kv/catalog.c: the life of streams, over all shards.
 *
 * Owns:    on the home shard: the queue of operations, one of which is under way; and of each file stream what its record says.
 */
#include "kv/catalog.h"

#include "kv/consumer.h"
#include "kv/directory.h"
#include "kv/gathering.h"
#include "kv/info.h"
#include "kv/stripe.h"

enum operation_kind { OPERATION_CREATE, OPERATION_UPDATE, OPERATION_DELETE };

/* Sent to the home shard; reply, stream name and payload follow. */
struct operation_message {
    uint32_t kind, reply_bytes, name_bytes, payload_bytes;
};

struct operation {
    struct operation *next;
    struct catalog *catalog;
    enum operation_kind kind;
    struct request *request; /* owns */
    struct stream_config config;
    struct stream_past past;
    uint32_t stream_id;
    bool is_begun;
    bool is_memory;      /* of a stream that goes: it has no record */
    bool is_trimming;    /* an update lowers the history */
    struct order *order; /* of a stream that goes */
    struct gather gather;
    struct store_wait wait;
    void (*on_recorded)(struct store_wait *wait);
};

/* A stream as the log has it, until it is adopted; afterwards only its past is kept. */
struct catalog_entry {
    bool is_there;
    uint64_t created_ns;
    struct stream_past past;
    uint64_t
        trimmed_upto; /* up to here a change of the configuration, or recovery, trimmed to the history in force */
    struct text config; /* JSON */
};

struct catalog {
    struct kv *kv;
    struct operation *head, **tail; /* the first is under way */
    struct catalog_entry *entries;  /* by stream id */
    uint32_t capacity;
    uint32_t next_id;
    bool is_running; /* catalog_run is */
};

/* In the log, before the configuration's JSON. */
struct catalog_record {
    uint64_t created_ns;
    struct stream_past past;
};

/* From home to every shard; the configuration's JSON follows. */
struct step_message {
    struct gather *gather; /* NULL: no answer is wanted (recovery) */
    struct order *order;
    uint64_t created_ns;
    struct stream_past past;
    uint32_t stream_id, step;
};
enum { STEP_MAKE, STEP_SHOW, STEP_CONFIGURE, STEP_CLOSE, STEP_ADOPT };

static void catalog_run(struct catalog *catalog);
static void operation_on_room(struct store_wait *wait);

/* ---- steps, on every shard ---- */

/* An answer that waits: for a state record, or for the last puts of a closing stream. */
struct step_wait {
    struct store_wait wait;
    struct kv *kv;
    struct gather *gather;
    struct step_wait *next; /* closing streams */
    struct stream *stream;
    uint32_t to;
};

static void step_answer(struct kv *kv, struct gather *gather, uint32_t to)
{
    if (gather != NULL)
        (void)gather_answer(kv->shard, gather, to, 0);
}

static void step_on_durable(struct store_wait *wait)
{
    struct step_wait *step = CONTAINER_OF(wait, struct step_wait, wait);
    step_answer(step->kv, step->gather, step->to);
    heap_free(step);
}

static void step_on_room(struct store_wait *wait);

/* Writes the stripe's state, then answers; waits for room if the log has none. */
static void step_write_state(struct step_wait *step)
{
    step->wait.on_durable = step_on_durable;
    enum status status = stripe_state_evictions(step->stream->stripe);
    if (status == STATUS_OK)
        status = stripe_write_state(step->stream->stripe, &step->wait);
    if (status == STATUS_OK)
        return;
    step->wait.on_durable = step_on_room;
    store_wait_room(step->kv->store, &step->wait);
}

static void step_on_room(struct store_wait *wait)
{
    step_write_state(CONTAINER_OF(wait, struct step_wait, wait));
}

static struct step_wait *step_wait_create(struct stream *stream, struct gather *gather, uint32_t to)
{
    struct step_wait *step = heap_alloc_zeroed(stream->kv->shard->heap, sizeof *step);
    step->kv = stream->kv;
    step->gather = gather;
    step->stream = stream;
    step->to = to;
    return step;
}

static void config_parse(struct stream_config *config, struct bytes json_text)
{
    const char *why;
    struct bytes rest;
    struct api_failure failure = {0};
    struct json *json = json_parse(json_text, &rest, &why);
    ASSERT(json != NULL); /* we wrote it */
    bool is_fine = stream_config_read(config, json, false, &failure);
    ASSERT(is_fine);
    json_free(json);
}

static uint32_t stripes_of(const struct kv *kv, const struct stream_past *past)
{
    return past->is_striped ? kv->shard->count : 1;
}

static void step_make(struct kv *kv, const struct step_message *message,
                      struct stream_config *config, uint32_t from)
{
    struct stream *stream = stream_create(kv, message->stream_id, config, message->created_ns,
                                          stripes_of(kv, &message->past), message->order);
    stream->is_striped = message->past.is_striped != 0;
    if (stream->stripe == NULL || stream->is_memory)
        step_answer(kv, message->gather, from);
    else
        step_write_state(step_wait_create(stream, message->gather, from));
}

/* Limits that were lowered, to be applied to what was there before. */
struct configure_wait {
    struct watermark_wait watermark;
    struct stream *stream;
    struct gather *gather;
    uint32_t to;
};

static void configure_on_watermark(struct watermark_wait *wait)
{
    struct configure_wait *configure = CONTAINER_OF(wait, struct configure_wait, watermark);
    struct kv *kv = configure->stream->kv;
    gathering_flush(kv);
    stripe_apply_limits(configure->stream->stripe);
    step_answer(kv, configure->gather, configure->to);
    heap_free(configure);
}

/*
 * What comes from now on meets the new limits. They apply to the rest when all of it is durable and was offered: watchers must not
 * hear that a message went before they hear of it.
 */
static void step_configure(struct stream *stream, const struct step_message *message,
                           struct stream_config *config, uint32_t from)
{
    struct kv *kv = stream->kv;
    stream_reconfigure(stream, config);
    if (stream->stripe == NULL) {
        step_answer(kv, message->gather, from);
        return;
    }
    struct configure_wait *configure = heap_alloc_zeroed(kv->shard->heap, sizeof *configure);
    configure->stream = stream;
    configure->gather = message->gather;
    configure->to = from;
    stream_wait_watermark(stream, &configure->watermark, order_last_taken(stream->order),
                          configure_on_watermark);
}

static void step_close(struct stream *stream, struct gather *gather, uint32_t from)
{
    struct kv *kv = stream->kv;
    stream->is_visible = false;
    stream->is_closing = true;
    while (stream->feed != NULL && stream->feed->consumers != NULL)
        consumer_destroy(stream->feed->consumers);
    stream_release_waits(stream);
    struct step_wait *step = step_wait_create(stream, gather, from);
    step->next = kv->closing;
    kv->closing = step;
    shard_stay_awake(kv->shard);
}

static void stream_release_records(struct stream *stream)
{
    struct index_key *key;
    struct message message;
    if (stream->stripe == NULL || stream->is_memory)
        return;
    for (uint64_t seq = 0; index_seek(stream->stripe->index, seq, &key, &message);
         seq = message.seq + 1)
        store_release(stream->kv->store, message.where);
}

void catalog_phase(struct shard *shard, void *context)
{
    (void)shard;
    struct kv *kv = context;
    struct step_wait **link = &kv->closing;
    while (*link != NULL) {
        struct step_wait *step = *link;
        struct stream *stream = step->stream;
        stream_release_waits(stream); /* what was decided since it closed need not wait */
        bool is_held = stream->stripe != NULL && stream->stripe->pending_count > 0;
        if (is_held || stream->is_routed) {
            if (stream->is_routed) /* this turn's publishing clears it */
                shard_stay_awake(kv->shard);
            link = &step->next;
            continue;
        }
        *link = step->next;
        stream_release_waits(step->stream); /* those that came since it was closed */
        stream_release_records(step->stream);
        stream_destroy(step->stream);
        step_answer(kv, step->gather, step->to);
        heap_free(step);
    }
}

static void step_adopt(struct kv *kv, const struct step_message *message,
                       struct stream_config *config)
{
    struct stream *stream = stream_by_id(&kv->streams, message->stream_id);
    if (stream == NULL)
        stream = stream_create(kv, message->stream_id, config, message->created_ns,
                               stripes_of(kv, &message->past), message->order);
    else
        stream_adopt(stream, config, message->created_ns, message->order);
    stream->is_striped = message->past.is_striped != 0;
    stream->is_visible = true;
    if (stream->stripe == NULL)
        return;
    for (uint32_t i = 0; i < message->past.row_count; i++)
        stripe_trim_upto(stream->stripe, message->past.rows[i].upto, message->past.rows[i].keep);
    stripe_drop_before(stream->stripe, message->past.dead_before_ns);
    stripe_replayed(stream->stripe);
}

static void catalog_on_step(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    gathering_flush(kv_of(shard)); /* what came before runs before */
    struct kv *kv = kv_of(shard);
    struct step_message *message = payload;
    struct stream *stream = stream_by_id(&kv->streams, message->stream_id);
    struct stream_config config = {0};
    if (bytes > sizeof *message)
        config_parse(&config, bytes_of(message + 1, bytes - sizeof *message));
    switch (message->step) {
    case STEP_MAKE:
        step_make(kv, message, &config, from);
        break;
    case STEP_SHOW:
        stream->is_visible = true;
        step_answer(kv, message->gather, from);
        break;
    case STEP_CONFIGURE:
        step_configure(stream, message, &config, from);
        break;
    case STEP_CLOSE:
        step_close(stream, message->gather, from);
        break;
    case STEP_ADOPT:
        step_adopt(kv, message, &config);
        break;
    default:
        ASSERT(false);
    }
    stream_config_free(&config);
}

/* ---- home: records ---- */

static struct catalog_entry *entry_of(struct catalog *catalog, uint32_t id)
{
    if (id >= catalog->capacity) {
        uint32_t capacity = catalog->capacity == 0 ? 64 : catalog->capacity;
        while (capacity <= id)
            capacity *= 2;
        catalog->entries = heap_resize(catalog->kv->shard->heap, catalog->entries,
                                       capacity * sizeof *catalog->entries);
        memset(catalog->entries + catalog->capacity, 0,
               (capacity - catalog->capacity) * sizeof *catalog->entries);
        catalog->capacity = capacity;
    }
    return &catalog->entries[id];
}

static enum status catalog_append(struct catalog *catalog, uint32_t id, struct store_wait *wait)
{
    struct catalog_entry *entry = entry_of(catalog, id);
    struct text value = {0};
    struct catalog_record head = {.created_ns = entry->created_ns, .past = entry->past};
    text_append(&value, bytes_of(&head, sizeof head));
    text_append(&value, text_bytes(&entry->config));
    struct record record = {
        .type = entry->is_there ? KV_RECORD_STREAM : KV_RECORD_STREAM_DELETED,
        .flags = entry->is_there ? RECORD_IS_STATE : RECORD_REMOVES,
        .stream_id = id,
        .time_ns = shard_wall_ns(catalog->kv->shard),
        .value = entry->is_there ? text_bytes(&value) : (struct bytes){0},
    };
    location where;
    enum status status = store_append(catalog->kv->store, &record, &where, wait);
    text_free(&value);
    return status;
}

/* ---- home: operations ---- */

static void operation_end(struct operation *operation)
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

static void operation_fail(struct operation *operation, const struct api_failure *failure)
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

static void operation_step(struct operation *operation, uint32_t step, struct order *order,
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
            .created_ns = entry_of(operation->catalog, operation->stream_id)->created_ns,
            .past = operation->past,
            .stream_id = operation->stream_id,
            .step = step,
        };
        if (json.count > 0)
            memcpy(message + 1, json.data, json.count);
    }
    text_free(&json);
}

static void operation_record(struct operation *operation,
                             void (*on_durable)(struct store_wait *wait))
{
    struct catalog *catalog = operation->catalog;
    struct catalog_entry *entry = entry_of(catalog, operation->stream_id);
    bool is_memory = operation->kind == OPERATION_DELETE
                         ? operation->is_memory
                         : operation->config.storage == STREAM_STORAGE_MEMORY;
    entry->is_there = operation->kind != OPERATION_DELETE;
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

static void operation_answer_state(struct operation *operation)
{
    struct stream *stream = stream_by_id(&operation->catalog->kv->streams, operation->stream_id);
    stream_state_gather(stream, (struct bytes){0}, false, operation, operation_on_state);
}

/* ---- home: create ---- */

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
    if (existing != NULL && !stream_config_equal(&existing->config, config))
        return api_fail(failure, API_STREAM_NAME_EXISTS, NULL);
    if (existing == NULL && stream_overlap(&kv->streams, config) != NULL)
        return api_fail(failure, API_SUBJECTS_OVERLAP, NULL);
    return true;
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
    if (config->mirror_direct)
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "stream has no mirror but does have mirror direct");
    return stream_config_check(config, failure);
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
    struct stream *existing = stream_by_name(&kv->streams, text_bytes(&operation->config.name));
    if (!create_is_allowed(operation, existing, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    if (existing != NULL) {
        operation->stream_id = existing->id;
        operation_answer_state(operation);
        return;
    }
    operation->stream_id = catalog->next_id++;
    operation->past.is_striped = !stream_config_needs_one_stripe(&operation->config);
    entry_of(catalog, operation->stream_id)->created_ns = shard_wall_ns(kv->shard);
    struct order *order = heap_alloc_aligned(kv->shard->heap, sizeof *order, 64);
    order_init(order, operation->config.first_seq > 0 ? operation->config.first_seq : 1);
    operation_step(operation, STEP_MAKE, order, create_on_made);
}

/* ---- home: update ---- */

/*
 * What comes from now on says by itself which history it met. What was taken until now is in its stripe when the answer is given
 * (it waits for the watermark), before another update begins.
 */
static void update_on_configured(struct gather *gather)
{
    struct operation *operation = CONTAINER_OF(gather, struct operation, gather);
    struct catalog *catalog = operation->catalog;
    if (operation->is_trimming)
        entry_of(catalog, operation->stream_id)->trimmed_upto =
            order_last_taken(stream_by_id(&catalog->kv->streams, operation->stream_id)->order);
    operation_answer_state(operation);
}

static void update_on_recorded(struct store_wait *wait)
{
    operation_step(CONTAINER_OF(wait, struct operation, wait), STEP_CONFIGURE, NULL,
                   update_on_configured);
}

/* Remembers what the history in force, which is to be raised, has trimmed. False: there is no room for it. */
static bool past_add_row(struct stream_past *past, uint64_t upto, int64_t keep)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < past->row_count; i++) { /* without those that the new one covers */
        if (past->rows[i].keep < keep)
            past->rows[count++] = past->rows[i];
    }
    past->row_count = count;
    if (count == STREAM_HISTORY_ROWS_MAX)
        return false;
    past->rows[count].upto = upto;
    past->rows[count].keep = keep;
    past->row_count++;
    return true;
}

/* What recovery must know of the configuration that goes. */
static bool update_past(struct operation *operation, const struct stream *stream,
                        struct api_failure *failure)
{
    struct stream_past *past = &operation->past;
    const struct stream_config *old = &stream->config, *next = &operation->config;
    int64_t keep = old->messages_per_subject_max, wanted = next->messages_per_subject_max;
    uint64_t trimmed_upto = entry_of(operation->catalog, stream->id)->trimmed_upto;
    bool is_raising = keep > 0 && (wanted < 0 || wanted > keep);
    operation->is_trimming = wanted > 0 && (keep <= 0 || wanted < keep);
    if (is_raising && trimmed_upto > 0 && !past_add_row(past, trimmed_upto, keep))
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "max_msgs_per_subject was raised %d times, no more changes are kept",
                        STREAM_HISTORY_ROWS_MAX);
    if (is_raising)
        entry_of(operation->catalog, stream->id)->trimmed_upto = 0; /* the row tells it */
    uint64_t now = shard_wall_ns(stream->kv->shard);
    bool lives_longer =
        old->age_max_ns > 0 && (next->age_max_ns == 0 || next->age_max_ns > old->age_max_ns);
    uint64_t dead_before = now > (uint64_t)old->age_max_ns ? now - (uint64_t)old->age_max_ns : 0;
    if (lives_longer && dead_before > past->dead_before_ns)
        past->dead_before_ns = dead_before;
    return true;
}

static bool update_check(struct operation *operation, struct stream *stream,
                         struct api_failure *failure)
{
    struct stream_config *config = &operation->config;
    if (stream == NULL || !stream->is_visible)
        return api_fail(failure, API_STREAM_NOT_FOUND, NULL);
    if (!stream_config_check_update(&stream->config, config, failure))
        return false;
    if (stream_overlap(&stream->kv->streams, config) != NULL)
        return api_fail(failure, API_SUBJECTS_OVERLAP, NULL);
    if (stream->is_striped && stream_config_needs_one_stripe(config))
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "pail can not limit the bytes or messages of a bucket that was made "
                        "without such a limit, or change its subjects, yet");
    bool was_bucket = stream->prefix.count > 0;
    if (was_bucket != (stream_config_bucket(config).count > 0))
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "pail can not make a bucket of a stream, or the other way, yet");
    return true;
}

static void update_run(struct operation *operation)
{
    struct catalog *catalog = operation->catalog;
    struct stream_config *config = &operation->config;
    struct request *request = operation->request;
    struct api_failure failure = {0};
    if (!stream_config_check(config, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    if (!bytes_equal(text_bytes(&config->name), text_bytes(&request->stream_name))) {
        api_fail(&failure, API_STREAM_MISMATCH, NULL);
        operation_fail(operation, &failure);
        return;
    }
    struct stream *stream =
        stream_by_name(&catalog->kv->streams, text_bytes(&request->stream_name));
    if (!update_check(operation, stream, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    operation->stream_id = stream->id;
    operation->past = entry_of(catalog, stream->id)->past;
    if (!update_past(operation, stream, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    operation_record(operation, update_on_recorded);
}

/* ---- home: delete ---- */

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
    struct stream *stream =
        stream_by_name(&catalog->kv->streams, text_bytes(&request->stream_name));
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
    operation->past = entry_of(catalog, stream->id)->past;
    operation_record(operation, delete_on_recorded);
}

/* ---- home: the queue ---- */

static bool operation_read(struct operation *operation)
{
    struct request *request = operation->request;
    struct api_failure failure = {0};
    if (operation->kind == OPERATION_DELETE)
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
    bool has_space = operation->kind == OPERATION_DELETE
                         ? store_has_room(kv->store, record_bytes(&gone))
                         : all_shards_have_space(kv, operation->kind != OPERATION_CREATE);
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
        update_run(operation);
        break;
    case OPERATION_DELETE:
        delete_run(operation);
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
                                              "stream_delete_response"};

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
    struct operation *operation = heap_alloc_zeroed(shard->heap, sizeof *operation);
    operation->catalog = catalog;
    operation->kind = (enum operation_kind)message->kind;
    operation->request =
        request_create(kv, operation_types[message->kind], &(struct origin){0}, &msg, name);
    *catalog->tail = operation;
    catalog->tail = &operation->next;
    catalog_run(catalog);
}

static void catalog_send(struct kv *kv, enum operation_kind kind, const struct msg *msg,
                         struct bytes name)
{
    struct operation_message *message = mailbox_reserve(
        kv->shard, KV_HOME_SHARD, catalog_on_operation,
        (uint32_t)(sizeof *message + msg->reply.count + name.count + msg->payload.count));
    *message = (struct operation_message){(uint32_t)kind, (uint32_t)msg->reply.count,
                                          (uint32_t)name.count, (uint32_t)msg->payload.count};
    char *at = (char *)(message + 1);
    if (msg->reply.count > 0)
        memcpy(at, msg->reply.data, msg->reply.count);
    memcpy(at + msg->reply.count, name.data, name.count);
    if (msg->payload.count > 0)
        memcpy(at + msg->reply.count + name.count, msg->payload.data, msg->payload.count);
}

void catalog_create_stream(struct kv *kv, const struct msg *msg, struct bytes stream_name)
{
    catalog_send(kv, OPERATION_CREATE, msg, stream_name);
}

void catalog_update_stream(struct kv *kv, const struct msg *msg, struct bytes stream_name)
{
    catalog_send(kv, OPERATION_UPDATE, msg, stream_name);
}

void catalog_delete_stream(struct kv *kv, const struct msg *msg, struct bytes stream_name)
{
    catalog_send(kv, OPERATION_DELETE, msg, stream_name);
}

/* ---- recovery and restating ---- */

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

void catalog_replay(struct kv *kv, const struct record *record)
{
    struct catalog *catalog = kv->catalog;
    struct catalog_record head;
    if (catalog == NULL)
        return;
    struct catalog_entry *entry = entry_of(catalog, record->stream_id);
    catalog_reserve_ids(kv, record->stream_id);
    entry->is_there = record->type == KV_RECORD_STREAM && record->value.count > sizeof head;
    text_clear(&entry->config);
    if (!entry->is_there)
        return;
    memcpy(&head, record->value.data, sizeof head);
    entry->created_ns = head.created_ns;
    entry->past = head.past;
    text_append(&entry->config, bytes_after(record->value, sizeof head));
}

void catalog_reserve_ids(struct kv *kv, uint32_t id)
{
    if (kv->catalog->next_id <= id)
        kv->catalog->next_id = id + 1;
}

void catalog_adopt_all(struct kv *kv, uint64_t (*last_seq_of)(void *context, uint32_t stream_id),
                       void *context)
{
    struct catalog *catalog = kv->catalog;
    for (uint32_t id = 0; id < catalog->capacity; id++) {
        struct catalog_entry *entry = &catalog->entries[id];
        if (!entry->is_there)
            continue;
        struct stream_config config = {0};
        config_parse(&config, text_bytes(&entry->config));
        uint64_t next = last_seq_of(context, id) + 1;
        if (next < config.first_seq)
            next = config.first_seq;
        stream_config_free(&config);
        entry->trimmed_upto = next - 1;
        struct order *order = heap_alloc_aligned(kv->shard->heap, sizeof *order, 64);
        order_init(order, next);
        for (uint32_t i = 0; i < kv->shard->count; i++) {
            struct step_message *message = mailbox_reserve(
                kv->shard, i, catalog_on_step, (uint32_t)(sizeof *message + entry->config.count));
            *message =
                (struct step_message){NULL, order, entry->created_ns, entry->past, id, STEP_ADOPT};
            memcpy(message + 1, entry->config.data, entry->config.count);
        }
    }
}

/* Where the log takes no more, the store asks again. */
void catalog_restate(struct kv *kv, uint32_t stream_id)
{
    struct stream *stream = stream_by_id(&kv->streams, stream_id);
    enum status status = STATUS_OK;
    if (stream == NULL)
        return;
    if (kv->catalog != NULL && entry_of(kv->catalog, stream_id)->config.count > 0)
        status = catalog_append(kv->catalog, stream_id, NULL);
    if (status == STATUS_OK && kv->catalog != NULL)
        status = directory_restate(kv, stream_id);
    if (stream->stripe == NULL || stream->is_memory)
        return;
    stream->stripe->evicted_stated = 0; /* it may be among what is to be said again */
    if (status == STATUS_OK)
        status = stripe_state_evictions(stream->stripe);
    if (status == STATUS_OK)
        (void)!stripe_write_state(stream->stripe, NULL);
}
