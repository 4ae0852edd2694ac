/*
 * kv/catalog_update.c: changing a stream's configuration.
 */
#include "kv/catalog_room.h"
#include "kv/stream_graph.h"

#include "kv/account.h"
#include "kv/limits.h"

/*
 * What comes from now on says by itself which history it met. What was taken until now is in its stripe when the answer is given
 * (it waits for the watermark), before another update begins.
 */
static void update_on_configured(struct gather *gather)
{
    struct operation *operation = CONTAINER_OF(gather, struct operation, gather);
    struct catalog *catalog = operation->catalog;
    if (operation->is_trimming)
        catalog_entry_of(catalog, operation->stream_id)->trimmed_upto =
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
    uint64_t trimmed_upto = catalog_entry_of(operation->catalog, stream->id)->trimmed_upto;
    bool is_raising = keep > 0 && (wanted < 0 || wanted > keep);
    operation->is_trimming = wanted > 0 && (keep <= 0 || wanted < keep);
    if (is_raising && trimmed_upto > 0 && !past_add_row(past, trimmed_upto, keep))
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "max_msgs_per_subject was raised %d times, no more changes are kept",
                        STREAM_HISTORY_ROWS_MAX);
    if (is_raising)
        catalog_entry_of(operation->catalog, stream->id)->trimmed_upto = 0; /* the row tells it */
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
    if (!stream_config_check_update(&stream->config, config, failure)
        || !stream_config_check_supported(config, failure)
        || !limits_reserve(stream->kv, config, stream, failure))
        return false;
    if (stream_overlap(&stream->kv->streams, stream->account, config) != NULL)
        return api_fail(failure, API_SUBJECTS_OVERLAP, NULL);
    if (!account_check_stream(stream->kv, stream->account, stream, config, failure))
        return false;
    bool was_bucket = stream->prefix.count > 0;
    if (was_bucket && stream_config_needs_whole_keys(config))
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "pail can not give sources or a subject transform to a bucket that was "
                        "made without, yet");
    if (stream->is_striped && stream_config_needs_one_place(config))
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "pail can not discard old messages of a bucket that was made without a "
                        "limit of its bytes or messages, or change its subjects, yet");
    if (!stream->has_whole_keys && was_bucket != (stream_config_bucket(config).count > 0))
        return api_fail(failure, API_STREAM_INVALID_CONFIG,
                        "pail can not make a bucket of a stream, or the other way, yet");
    return true;
}

void operation_update(struct operation *operation)
{
    struct catalog *catalog = operation->catalog;
    struct stream_config *config = &operation->config;
    struct request *request = operation->request;
    struct api_failure failure = {0};
    if (!stream_config_check(config, &failure)
        || !stream_graph_check(config, &catalog->kv->streams, request->origin.account, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    if (!bytes_equal(text_bytes(&config->name), text_bytes(&request->stream_name))) {
        api_fail(&failure, API_STREAM_MISMATCH, NULL);
        operation_fail(operation, &failure);
        return;
    }
    struct stream *stream = stream_by_name(&catalog->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (!update_check(operation, stream, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    operation->stream_id = stream->id;
    operation->past = catalog_entry_of(catalog, stream->id)->past;
    if (!update_past(operation, stream, &failure)) {
        operation_fail(operation, &failure);
        return;
    }
    operation_record(operation, update_on_recorded);
}
