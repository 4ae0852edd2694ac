/*
 * kv/restore_stripe.c: entering restored messages, on the stripe's shard.
 *
 * A block is appended message by message; where the log has no room it waits. The stream's own limits apply as to any message: what
 * they push out goes when the block is durable. Sequences are the archive's: they ascend within each stripe.
 */
#include "kv/restore_stripe.h"

#include "core/hash.h"
#include "kv/gathering.h"
#include "kv/message_ttl.h"
#include "kv/put.h"
#include "kv/source_state.h"
#include "kv/stripe.h"

struct block_question { /* then the block, or nothing */
    struct gather *gather;
    uint32_t stream_id, block_bytes;
    uint64_t last_seq, last_ns; /* of a question without a block */
};

struct job {
    struct store_wait wait;
    struct stripe *stripe;
    struct gather *gather;
    uint32_t to;
    enum status status;
    uint64_t last_seq, last_ns;
    struct removed_list removed;
    struct bytes rest; /* of the block below */
    char block[];
};

static void job_run(struct store_wait *wait);

static void answer_status(struct shard *shard, struct gather *gather, uint32_t to,
                          enum status status)
{
    *(uint64_t *)gather_answer(shard, gather, to, sizeof(uint64_t)) = status;
}

static void job_on_durable(struct store_wait *wait)
{
    struct job *job = CONTAINER_OF(wait, struct job, wait);
    struct stripe *stripe = job->stripe;
    stripe_removed_durable(stripe, &job->removed);
    removed_list_free(&job->removed);
    answer_status(stripe->stream->kv->shard, job->gather, job->to, job->status);
    stripe->pending_count--;
    heap_free(job);
}

static struct restore_message take_message(struct bytes *rest, struct record *record)
{
    struct restore_message head;
    memcpy(&head, rest->data, sizeof head);
    const char *at = rest->data + sizeof head;
    record->seq = head.seq;
    record->time_ns = head.time_ns;
    record->key = bytes_of(at, head.subject_bytes);
    record->headers = bytes_of(at += head.subject_bytes, head.headers_bytes);
    record->value = bytes_of(at += head.headers_bytes, head.value_bytes);
    *rest = bytes_after(*rest, (size_t)(at + head.value_bytes - rest->data));
    return head;
}

/* Of one stripe only: with several, an id's home may be elsewhere, and learns it at the next start. */
static bool has_fresh_id(const struct stripe *stripe, const struct record *record)
{
    const struct stream *stream = stripe->stream;
    return stream->stripe_count == 1 && record->headers.count > 0
           && record->time_ns + (uint64_t)stream->config.duplicate_window_ns
                  > shard_wall_ns(stream->kv->shard);
}

static enum status enter(struct job *job, const struct record *record)
{
    struct stripe *stripe = job->stripe;
    struct kv *kv = stripe->stream->kv;
    location where = LOCATION_NONE;
    bool is_full =
        !stripe->stream->is_memory
        && store_directory_space(kv_world_directory(kv->world), kv->shard->index) != STORE_SPACE_OK;
    enum status status =
        is_full ? STATUS_NO_SPACE : stripe_store_message(stripe, record, &where, NULL);
    if (status != STATUS_OK)
        return status;
    char room[STREAM_KEY_ROOM];
    struct bytes key = stream_key_of(stripe->stream, record->key, room);
    uint64_t previous, ttl = stripe->stream->config.allow_msg_ttl ? message_ttl_of(record->headers)
                                                                  : MESSAGE_TTL_NONE;
    struct message message = {
        .seq = record->seq,
        .time_ns = record->time_ns,
        .where = where,
        .size_bytes = stripe_message_size(stripe->stream, record->key.count, record->headers.count,
                                          record->value.count),
        .user = (record->headers.count > 0 ? STRIPE_MESSAGE_HAS_HEADERS : 0)
                | (ttl == MESSAGE_TTL_NEVER ? STRIPE_MESSAGE_IS_FOREVER : 0),
    };
    if (ttl != MESSAGE_TTL_NONE)
        stripe_time_message(stripe, &message, ttl);
    stripe_put_message(stripe, key, hash_bytes(key.data, key.count), &message, &previous,
                       &job->removed);
    if (has_fresh_id(stripe, record))
        put_ids_replay(stripe, record);
    if (record->headers.count > 0 && stripe->stream->prefix.count == 0)
        source_state_replay_message(stripe->stream, record);
    return STATUS_OK;
}

static enum status enter_all(struct job *job)
{
    struct stripe *stripe = job->stripe;
    enum status status = STATUS_OK;
    while (job->rest.count > 0 && status == STATUS_OK) {
        struct bytes rest = job->rest;
        struct record record = {
            .type = stripe_message_type(stripe->stream),
            .flags = stripe_record_flags(stripe->stream),
            .stream_id = stripe->stream->id,
        };
        (void)take_message(&rest, &record);
        status = enter(job, &record);
        if (status == STATUS_OK)
            job->rest = rest;
    }
    return status;
}

static enum status note_last(struct job *job)
{
    struct stripe *stripe = job->stripe;
    if (job->last_seq > stripe->last_seq)
        stripe->last_seq = job->last_seq;
    if (job->last_ns > stripe->last_time_ns)
        stripe->last_time_ns = job->last_ns;
    if (stripe->stream->is_memory)
        return STATUS_OK;
    enum status status = stripe_state_evictions(stripe);
    return status == STATUS_OK ? stripe_write_state(stripe, NULL) : status;
}

static void job_run(struct store_wait *wait)
{
    struct job *job = CONTAINER_OF(wait, struct job, wait);
    struct stripe *stripe = job->stripe;
    struct store *store = stripe->stream->kv->store;
    job->status = job->last_seq > 0 ? note_last(job) : enter_all(job);
    if (job->status == STATUS_BUSY) {
        wait->on_durable = job_run;
        store_wait_room(store, wait);
        return;
    }
    wait->on_durable = job_on_durable;
    if (stripe->stream->is_memory || !store_wait_durable(store, wait))
        job_on_durable(wait);
}

static void on_block(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct kv *kv = kv_of(shard);
    struct block_question *question = payload;
    gathering_flush(kv); /* what came before runs before */
    struct stream *stream = stream_by_id(&kv->streams, question->stream_id);
    if (stream == NULL || stream->stripe == NULL || stream->is_closing) {
        answer_status(shard, question->gather, from, STATUS_NOT_FOUND);
        return;
    }
    struct job *job = heap_alloc(shard->heap, sizeof *job + question->block_bytes);
    *job = (struct job){
        .stripe = stream->stripe,
        .gather = question->gather,
        .to = from,
        .last_seq = question->last_seq,
        .last_ns = question->last_ns,
    };
    if (question->block_bytes > 0)
        memcpy(job->block, question + 1, question->block_bytes);
    job->rest = bytes_of(job->block, question->block_bytes);
    stream->stripe->pending_count++;
    job_run(&job->wait);
}

void restore_ask_block(struct stream *stream, struct gather *gather, uint32_t stripe,
                       struct bytes block)
{
    struct block_question *question =
        gather_ask(stream->kv, gather, stripe_shard(stream, stripe), on_block,
                   (uint32_t)(sizeof *question + block.count));
    question->stream_id = stream->id;
    question->block_bytes = (uint32_t)block.count;
    question->last_seq = question->last_ns = 0;
    memcpy(question + 1, block.data, block.count);
}

void restore_ask_last(struct stream *stream, struct gather *gather, uint64_t last_seq,
                      uint64_t last_ns)
{
    struct block_question *question =
        gather_ask(stream->kv, gather, stripe_shard(stream, 0), on_block, sizeof *question);
    question->stream_id = stream->id;
    question->block_bytes = 0;
    question->last_seq = last_seq;
    question->last_ns = last_ns;
}
