/*
 * kv/world.c: kv of a process and of a shard: start, recovery, the publish door, end.
 *
 * Recovery:
 *
 *     each shard     reads its log ─► streams without configuration, their stripes ─► report: last sequences, highest id
 *     home shard     all reports ─► where the old logs end is written down ─► every stream's configuration to every shard ─► begin
 *     each shard     adopts, drops what no configuration names ─► has counted what lives
 *     home shard     all have counted ─► begin (not before: a segment is recycled when no shard's records live in it)
 *     each shard     begins to append ─► ready
 *     home shard     all are ready ─► open to all
 *
 * Runs on: as told; what is shared (struct kv_world) is written before the shards start and only read afterwards.
 */
#include "kv/kv.h"

#include <stdlib.h>

#include "kv/account.h"
#include "kv/ack_routes.h"
#include "kv/api.h"
#include "kv/catalog.h"
#include "kv/consumer.h"
#include "kv/directory.h"
#include "kv/follow.h"
#include "kv/gathering.h"
#include "kv/limits.h"
#include "kv/move.h"
#include "kv/put.h"
#include "kv/restore.h"
#include "kv/snapshot.h"
#include "kv/stripe.h"
#include "kv/sweep.h"

#define FIGURES_DELAY_NS UINT64_C(500000000)

/* What one shard last told of itself. */
struct world_figures {
    struct shared_u64 streams, consumers, messages, bytes, api_total, api_errors;
    struct shared_u64 reserved_memory, reserved_file;
};

struct kv_world {
    struct kv_options options;
    struct store_directory *directory; /* borrows */
    struct world_figures figures[SHARD_COUNT_MAX];
    struct limits_shared limits;
};

/* The home shard's sums while the others recover. */
enum recovery_stage { RECOVERY_ADOPTING, RECOVERY_BEGINNING, RECOVERY_OPEN };

struct recovery {
    enum recovery_stage stage;
    uint32_t waiting;
    struct store_recovery sum;
    uint64_t *last_seqs; /* owns: by stream id */
    uint32_t capacity;
};

struct last_seq {
    uint64_t stream_id, seq;
};

struct recovery_report { /* then count last_seq */
    struct store_recovery recovery;
    uint64_t count;
};

const struct kv_options *kv_world_options(const struct kv_world *world)
{
    return &world->options;
}

struct store_directory *kv_world_directory(const struct kv_world *world)
{
    return world->directory;
}

struct limits_shared *kv_world_limits(struct kv_world *world)
{
    return &world->limits;
}

void kv_world_set_limits(struct kv_world *world, uint64_t memory_bytes_max, uint64_t file_bytes_max)
{
    limits_init(&world->limits, &(struct kv_options){.memory_bytes_max = memory_bytes_max,
                                                     .file_bytes_max = file_bytes_max});
}

struct kv_world *kv_world_create(const struct kv_options *options,
                                 struct store_directory *directory)
{
    struct kv_world *world = aligned_alloc(_Alignof(struct kv_world), sizeof *world);
    ASSERT(world != NULL);
    memset(world, 0, sizeof *world);
    world->options = *options;
    world->directory = directory;
    limits_init(&world->limits, options);
    return world;
}

void kv_world_destroy(struct kv_world *world)
{
    free(world);
}

/* ---- each shard: reading its log ---- */

uint32_t record_shard(const struct kv *kv, const struct record *record)
{
    uint32_t stripe = 0;
    if ((record->flags & KV_RECORD_IS_STRIPED) != 0) {
        const char *bucket_end = memchr(record->key.data + 4, '.', record->key.count - 4);
        ASSERT(bucket_end != NULL);
        size_t prefix = (size_t)(bucket_end + 1 - record->key.data);
        stripe = stripe_of_key(kv->shard->count, bytes_after(record->key, prefix));
    }
    return (record->stream_id + stripe) % kv->shard->count;
}

static bool record_is_ours(const struct kv *kv, const struct record *record)
{
    if (record->type == KV_RECORD_STATE)
        return true; /* checked by its stripe: a hint and a lower bound, harmless elsewhere */
    if (record->type == KV_RECORD_PURGED && (record->flags & KV_RECORD_IS_STRIPED) != 0)
        return true;
    return record_shard(kv, record) == kv->shard->index;
}

static void kv_on_record(void *context, const struct record *record, location where,
                         uint32_t log_index)
{
    (void)log_index;
    struct kv *kv = context;
    if (record->stream_id > kv->highest_id)
        kv->highest_id = record->stream_id;
    if (record->type == KV_RECORD_STREAM || record->type == KV_RECORD_STREAM_DELETED) {
        catalog_replay(kv, record);
        return;
    }
    if (record->type == KV_RECORD_CONSUMER || record->type == KV_RECORD_CONSUMER_DELETED
        || record->type == KV_RECORD_CONSUMER_PROGRESS) {
        if (kv->catalog != NULL)
            directory_replay(kv, record);
        return;
    }
    if (!record_is_ours(kv, record))
        return;
    struct stream *stream = stream_by_id(&kv->streams, record->stream_id);
    if (stream == NULL && record->type == KV_RECORD_PURGED)
        return;
    if (stream == NULL)
        stream = stream_create_recovering(kv, record->stream_id,
                                          (record->flags & KV_RECORD_IS_BUCKET) != 0,
                                          (record->flags & KV_RECORD_IS_STRIPED) != 0, record->key);
    stripe_replay(stream->stripe, record, where);
}

static void recovery_on_report(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

static void kv_on_recovered(void *context, const struct store_recovery *recovery)
{
    struct kv *kv = context;
    uint64_t count = 0;
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++)
        count += kv->streams.by_id[i] != NULL;
    struct recovery_report *report =
        mailbox_reserve(kv->shard, KV_HOME_SHARD, recovery_on_report,
                        (uint32_t)(sizeof *report + (count + 1) * sizeof(struct last_seq)));
    report->recovery = *recovery;
    report->count = count + 1;
    struct last_seq *out = (struct last_seq *)(report + 1);
    *out++ = (struct last_seq){kv->highest_id, 0};
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        struct stream *stream = kv->streams.by_id[i];
        if (stream != NULL)
            *out++ = (struct last_seq){i, stream->stripe->last_seq};
    }
}

/* ---- the home shard ---- */

static void recovery_take(struct recovery *recovery, struct kv *kv,
                          const struct recovery_report *report)
{
    const struct last_seq *seqs = (const struct last_seq *)(report + 1);
    if (report->recovery.status != STATUS_OK && recovery->sum.status == STATUS_OK) {
        recovery->sum.status = report->recovery.status;
        memcpy(recovery->sum.why, report->recovery.why, sizeof recovery->sum.why);
    }
    recovery->sum.record_count += report->recovery.record_count;
    recovery->sum.bytes += report->recovery.bytes;
    recovery->sum.torn_batches += report->recovery.torn_batches;
    for (uint64_t i = 0; i < report->count; i++) {
        uint32_t id = (uint32_t)seqs[i].stream_id;
        if (id >= recovery->capacity) {
            uint32_t capacity = 2 * (id + 32);
            recovery->last_seqs =
                heap_resize(kv->shard->heap, recovery->last_seqs, capacity * sizeof(uint64_t));
            memset(recovery->last_seqs + recovery->capacity, 0,
                   (capacity - recovery->capacity) * sizeof(uint64_t));
            recovery->capacity = capacity;
        }
        if (seqs[i].seq > recovery->last_seqs[id])
            recovery->last_seqs[id] = seqs[i].seq;
        catalog_reserve_ids(kv, id);
    }
}

static uint64_t recovery_last_seq(void *context, uint32_t stream_id)
{
    struct recovery *recovery = context;
    return stream_id < recovery->capacity ? recovery->last_seqs[stream_id] : 0;
}

struct stage { /* home to all: now comes this */
    struct store_recovery recovery;
    uint64_t stage;
};

static void kv_on_restate(void *context, uint32_t stream_id)
{
    catalog_restate(context, stream_id);
}

/* Streams no configuration names: never made to the end, or deleted. */
static void drop_orphans(struct kv *kv)
{
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        struct stream *stream = kv->streams.by_id[i];
        if (stream != NULL && stream->order == NULL)
            stream_destroy(stream);
    }
}

static void recovery_on_done(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

static void figures_touch(struct kv *kv);

/* What was over while the server was not running goes before anybody asks. */
static void expire_all(struct kv *kv)
{
    for (uint32_t i = 0; kv->is_open && i < kv->streams.by_id_capacity; i++) {
        struct stream *stream = kv->streams.by_id[i];
        if (stream != NULL && stream->stripe != NULL)
            stripe_expire(stream->stripe);
    }
}

static void stage_is_done(struct kv *kv)
{
    mailbox_send(kv->shard, KV_HOME_SHARD, recovery_on_done, NULL, 0);
}

/* What the stage's messages before this one asked for (catalog_adopt_all) is done: they came in order. */
static void kv_on_stage(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct stage *stage = payload;
    struct kv *kv = kv_of(shard);
    if (stage->stage == RECOVERY_OPEN) {
        kv->is_open = stage->recovery.status == STATUS_OK;
        expire_all(kv);
        if (kv->is_open)
            follows_start(kv);
        figures_touch(kv);
        kv->on_ready(kv->ready_context, &stage->recovery);
        return;
    }
    if (stage->stage == RECOVERY_ADOPTING) {
        drop_orphans(kv);
        stage_is_done(kv);
        return;
    }
    store_start(kv->store, &(struct store_owner){kv, kv_on_restate, move_record});
    put_ids_hand_over(kv, stage_is_done);
}

static void recovery_tell_all(struct kv *kv, enum recovery_stage stage)
{
    struct stage message = {kv->recovery->sum, stage};
    kv->recovery->stage = stage;
    kv->recovery->waiting = kv->shard->count;
    for (uint32_t i = kv->shard->count; i-- > 0;)
        mailbox_send(kv->shard, i, kv_on_stage, &message, sizeof message);
}

static void recovery_end(struct kv *kv)
{
    recovery_tell_all(kv, RECOVERY_OPEN);
    heap_free(kv->recovery->last_seqs);
    heap_free(kv->recovery);
    kv->recovery = NULL;
}

static void recovery_on_done(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)payload;
    (void)bytes;
    (void)from;
    struct kv *kv = kv_of(shard);
    if (--kv->recovery->waiting > 0)
        return;
    if (kv->recovery->stage == RECOVERY_ADOPTING) {
        recovery_tell_all(kv, RECOVERY_BEGINNING);
        return;
    }
    directory_restore_all(kv);
    recovery_end(kv);
}

static void recovery_on_report(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct kv *kv = kv_of(shard);
    struct recovery *recovery = kv->recovery;
    recovery_take(recovery, kv, payload);
    if (--recovery->waiting > 0)
        return;
    if (recovery->sum.status == STATUS_OK) {
        enum status status = store_directory_commit(kv->world->directory, shard->io);
        if (status != STATUS_OK) {
            recovery->sum.status = status;
            memcpy(recovery->sum.why, "the manifest could not be written",
                   sizeof "the manifest could not be written");
        }
    }
    if (recovery->sum.status != STATUS_OK) {
        recovery_end(kv);
        return;
    }
    catalog_adopt_all(kv, recovery_last_seq, recovery);
    recovery_tell_all(kv, RECOVERY_ADOPTING);
}

/* ---- life of a shard's kv ---- */

struct kv *kv_create(struct shard *shard, struct kv_world *world, struct outbox *outbox,
                     void *context,
                     void (*on_ready)(void *context, const struct store_recovery *recovery))
{
    ASSERT_ON_SHARD(shard);
    struct kv *kv = heap_alloc_zeroed(shard->heap, sizeof *kv);
    kv->shard = shard;
    kv->world = world;
    kv->outbox = outbox;
    kv->ready_context = context;
    kv->on_ready = on_ready;
    kv->room_tail = &kv->room_head;
    shard->rooms[SHARD_ROOM_KV] = kv;
    shard_add_phase(shard, gathering_phase, kv);
    shard_add_phase(shard, put_phase, kv);
    shard_add_phase(shard, catalog_phase, kv);
    shard_add_phase(shard, watermark_phase, kv);
    shard_add_phase(shard, gathering_phase, kv); /* what the phases above drained */
    shard_add_phase(shard, limits_phase, kv);
    if (shard->index == KV_HOME_SHARD) {
        catalog_init(kv);
        kv->recovery = heap_alloc_zeroed(shard->heap, sizeof *kv->recovery);
        kv->recovery->waiting = shard->count;
    }
    kv->store = store_create(shard, world->directory, &world->options.store);
    store_recover(kv->store, kv, kv_on_record, kv_on_recovered);
    return kv;
}

/* Orders are shared; the home shard, which made them, ends them. */
static void orders_free(struct kv *kv)
{
    for (uint32_t i = 0; kv->catalog != NULL && i < kv->streams.by_id_capacity; i++) {
        if (kv->streams.by_id[i] != NULL)
            heap_free(kv->streams.by_id[i]->order);
    }
}

void kv_destroy(struct kv *kv)
{
    timer_stop(&kv->figures_timer);
    gathering_fini(kv);
    sweeps_fini(kv);
    follows_fini(kv);
    snapshots_fini(kv);
    restores_fini(kv);
    consumers_fini(kv);
    ack_routes_fini(kv);
    directory_fini(kv);
    put_fini(kv);
    orders_free(kv);
    stream_table_fini(&kv->streams);
    catalog_fini(kv);
    if (kv->recovery != NULL)
        heap_free(kv->recovery->last_seqs);
    heap_free(kv->recovery);
    text_free(&kv->scratch);
    text_free(&kv->mapped);
    store_destroy(kv->store);
    kv->shard->rooms[SHARD_ROOM_KV] = NULL;
    heap_free(kv);
}

bool kv_is_busy(struct kv *kv)
{
    if (!kv->is_ending)
        consumers_flush_all(kv);
    kv->is_ending = true;
    return put_is_busy(kv) || catalog_is_busy(kv) || kv->requests_open > 0 || kv->flushes_open > 0
           || kv->flush_head != NULL || store_is_busy(kv->store);
}

/* ---- doors ---- */

enum kv_take kv_publish(struct kv *kv, const struct origin *origin, const struct msg *msg)
{
    ASSERT_ON_SHARD(kv->shard);
    if (!kv->is_open)
        return KV_NONE;
    figures_touch(kv);
    if (bytes_start_with(msg->subject, BYTES_LITERAL("$JS.")))
        return api_publish(kv, origin, msg);
    if (!account_is_enabled(kv, origin->account))
        return KV_NONE;
    struct stream *stream = stream_by_subject(&kv->streams, origin->account, msg->subject);
    return stream == NULL ? KV_NONE : put_publish(stream, origin, msg);
}

void kv_on_interest(struct kv *kv, uint32_t account, struct bytes subject, struct bytes queue,
                    bool is_present)
{
    ASSERT_ON_SHARD(kv->shard);
    consumers_on_interest(kv, account, subject, queue, is_present);
    if (kv->snapshots != NULL && queue.count == 0)
        snapshots_on_interest(kv, account, subject, is_present);
}

void kv_on_room(struct kv *kv)
{
    ASSERT_ON_SHARD(kv->shard);
    consumers_on_room(kv);
    sweeps_on_room(kv);
}

/* Writer: the shard of that index. Readers: any; each figure stands alone, so relaxed loads suffice. */
static void figures_publish(struct timer *timer)
{
    struct kv *kv = CONTAINER_OF(timer, struct kv, figures_timer);
    struct world_figures *out = &kv->world->figures[kv->shard->index];
    struct kv_figures figures = {
        .consumers = kv->consumer_count, .api_total = kv->api_total, .api_errors = kv->api_errors};
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        struct stream *stream = kv->streams.by_id[i];
        if (stream == NULL)
            continue;
        figures.streams += stream->is_visible && kv->catalog != NULL;
        if (stream->stripe == NULL)
            continue;
        figures.messages += index_message_count(stream->stripe->index);
        figures.bytes += index_size_bytes(stream->stripe->index);
    }
    shared_store_relaxed(&out->streams, figures.streams);
    shared_store_relaxed(&out->consumers, figures.consumers);
    shared_store_relaxed(&out->messages, figures.messages);
    shared_store_relaxed(&out->bytes, figures.bytes);
    if (kv->catalog != NULL) {
        shared_store_relaxed(&out->reserved_memory, limits_reserved(kv, true));
        shared_store_relaxed(&out->reserved_file, limits_reserved(kv, false));
    }
    shared_store_relaxed(&out->api_total, figures.api_total);
    shared_store_relaxed(&out->api_errors, figures.api_errors);
}

/* Something was done: the figures follow within a second. An idle server does not wake up for them. */
static void figures_touch(struct kv *kv)
{
    if (!timer_is_running(&kv->figures_timer))
        timer_start(kv->shard->timers, &kv->figures_timer,
                    shard_now_ns(kv->shard) + FIGURES_DELAY_NS, figures_publish);
}

void kv_figures(const struct kv *kv, struct kv_figures *figures_out)
{
    *figures_out = (struct kv_figures){0};
    for (uint32_t i = 0; i < kv->shard->count; i++) {
        const struct world_figures *from = &kv->world->figures[i];
        figures_out->streams += shared_load_relaxed(&from->streams);
        figures_out->consumers += shared_load_relaxed(&from->consumers);
        figures_out->messages += shared_load_relaxed(&from->messages);
        figures_out->bytes += shared_load_relaxed(&from->bytes);
        figures_out->memory_bytes +=
            shared_load_relaxed(&kv->world->limits.bytes[LIMITS_MEMORY][i]);
        figures_out->file_bytes += shared_load_relaxed(&kv->world->limits.bytes[LIMITS_FILE][i]);
        figures_out->reserved_memory += shared_load_relaxed(&from->reserved_memory);
        figures_out->reserved_file += shared_load_relaxed(&from->reserved_file);
        figures_out->api_total += shared_load_relaxed(&from->api_total);
        figures_out->api_errors += shared_load_relaxed(&from->api_errors);
    }
}
