/*
 * kv/stripe_store.c: where a stripe's bytes lie, and what recovery makes of the log.
 *
 * A file stream's messages are records of the log; a memory stream's are the same records in the heap, their address in
 * place of the location. Recovery may meet the logs in any order, for what kills a message lies behind it in the same log or
 * in a later run's: a message is dead if a purge or a removal names it, or if history, rollup or age push it out.
 */
#include "core/hash.h"
#include "kv/message_ttl.h"
#include "kv/put.h"
#include "kv/room.h"
#include "kv/source_state.h"
#include "kv/stripe.h"

struct memory_message {
    uint32_t bytes;
    char record[] __attribute__((aligned(16)));
};

MUST_USE enum status stripe_store_message(struct stripe *stripe, const struct record *record,
                                          location *where_out, struct store_wait *wait)
{
    struct kv *kv = stripe->stream->kv;
    if (!stripe->stream->is_memory) {
        enum status status = stripe_state_evictions(stripe);
        return status != STATUS_OK ? status : store_append(kv->store, record, where_out, wait);
    }
    uint32_t bytes = record_bytes(record);
    struct memory_message *message =
        heap_alloc_aligned(kv->shard->heap, sizeof *message + bytes, 16);
    message->bytes = bytes;
    record_encode(record, message->record);
    *where_out = (location)(uintptr_t)message;
    return STATUS_OK;
}

bool stripe_is_durable(const struct stripe *stripe, location where)
{
    return stripe->stream->is_memory || store_is_durable(stripe->stream->kv->store, where);
}

bool stripe_fetch(struct stripe *stripe, location where, struct store_fetch *fetch,
                  void (*on_done)(struct store_fetch *fetch, enum status status))
{
    if (!stripe->stream->is_memory)
        return store_fetch(stripe->stream->kv->store, where, fetch, on_done);
    struct memory_message *message = (struct memory_message *)(uintptr_t)where;
    uint32_t bytes = 0;
    char *copy = heap_alloc_aligned(stripe->stream->kv->shard->heap, message->bytes, 16);
    memcpy(copy, message->record, message->bytes);
    enum status status = record_decode(copy, message->bytes, &fetch->record, &bytes);
    ASSERT(status == STATUS_OK);
    fetch->block = copy;
    return true;
}

bool stripe_fetch_at_once(struct stripe *stripe, location where, struct store_fetch *fetch)
{
    if (!stripe->stream->is_memory)
        return store_fetch_cached(stripe->stream->kv->store, where, fetch);
    return stripe_fetch(stripe, where, fetch, NULL);
}

void stripe_fetch_release(struct stripe *stripe, struct store_fetch *fetch)
{
    if (stripe->stream->is_memory)
        heap_free(fetch->block);
    else
        store_fetch_release(stripe->stream->kv->store, fetch);
}

MUST_USE enum status stripe_write_state(struct stripe *stripe, struct store_wait *wait)
{
    ASSERT(!stripe->stream->is_memory);
    struct stripe_state state = {
        .last_seq = stripe->last_seq,
        .last_time_ns = stripe->last_time_ns,
        .expired_ns = stripe->expired_ns,
        .expired_upto = stripe->expired_upto,
        .aged_upto_ns = stripe->aged_upto_ns,
        .has_markers = stripe->stream->config.marker_ttl_ns > 0,
    };
    struct record record = {
        .type = KV_RECORD_STATE,
        .flags = RECORD_IS_STATE | stripe_record_flags(stripe->stream),
        .stream_id = stripe->stream->id,
        .seq = stripe->last_seq,
        .time_ns = shard_wall_ns(stripe->stream->kv->shard),
        .key = stripe->stream->prefix, /* names the bucket to recovery */
        .value = bytes_of(&state, sizeof state),
    };
    location where;
    enum status status = store_append(stripe->stream->kv->store, &record, &where, wait);
    if (status == STATUS_OK)
        stripe->stated_seq = stripe->last_seq;
    return status;
}

MUST_USE enum status stripe_state_evictions(struct stripe *stripe)
{
    if (stripe->stream->is_memory || stripe->evicted_stated >= stripe->evicted_upto)
        return STATUS_OK;
    struct record record = {
        .type = KV_RECORD_PURGED,
        .flags = RECORD_IS_STATE | stripe_record_flags(stripe->stream),
        .stream_id = stripe->stream->id,
        .seq = stripe->evicted_upto,
        .time_ns = shard_wall_ns(stripe->stream->kv->shard),
    };
    location where;
    enum status status = store_append(stripe->stream->kv->store, &record, &where, NULL);
    if (status == STATUS_OK)
        stripe->evicted_stated = stripe->evicted_upto;
    return status;
}

uint8_t stripe_message_type(const struct stream *stream)
{
    int64_t keep = stream->config.messages_per_subject_max;
    return (uint8_t)(keep > 0 && keep <= KV_RECORD_KEEP_MAX ? KV_RECORD_MESSAGE_KEEP + keep
                                                            : KV_RECORD_MESSAGE);
}

bool stripe_type_is_message(uint8_t type)
{
    return type == KV_RECORD_MESSAGE
           || (type > KV_RECORD_MESSAGE_KEEP
               && type <= KV_RECORD_MESSAGE_KEEP + KV_RECORD_KEEP_MAX);
}

uint8_t stripe_record_flags(const struct stream *stream)
{
    return (uint8_t)((stream->prefix.count > 0 ? KV_RECORD_IS_BUCKET : 0)
                     | (stream->is_striped ? KV_RECORD_IS_STRIPED : 0));
}

bool stripe_needs_state(const struct stripe *stripe)
{
    struct index_key *key;
    struct message newest;
    if (stripe->stream->is_memory || stripe->stated_seq >= stripe->last_seq)
        return false;
    return !index_seek_back(stripe->index, UINT64_MAX, &key, &newest)
           || newest.seq < stripe->last_seq;
}

/* Removed messages whose space waits for a state record. */
struct retirement {
    struct store_wait wait;
    struct stripe *stripe;
    struct removed_list removed;
};

static void retirement_on_durable(struct store_wait *wait)
{
    struct retirement *retirement = CONTAINER_OF(wait, struct retirement, wait);
    stripe_removed_durable(retirement->stripe, &retirement->removed);
    removed_list_free(&retirement->removed);
    retirement->stripe->pending_count--;
    heap_free(retirement);
}

static void retirement_try(struct store_wait *wait)
{
    struct retirement *retirement = CONTAINER_OF(wait, struct retirement, wait);
    wait->on_durable = retirement_on_durable;
    enum status status = stripe_write_state(retirement->stripe, wait);
    if (status == STATUS_OK)
        return;
    wait->on_durable = retirement_try;
    store_wait_room(retirement->stripe->stream->kv->store, wait);
}

void stripe_retire(struct stripe *stripe, struct removed_list *removed)
{
    if (!stripe_needs_state(stripe)) {
        stripe_removed_durable(stripe, removed);
        removed_list_free(removed);
        return;
    }
    struct retirement *retirement =
        heap_alloc_zeroed(stripe->stream->kv->shard->heap, sizeof *retirement);
    retirement->stripe = stripe;
    retirement->removed = *removed;
    *removed = (struct removed_list){0};
    stripe->pending_count++;
    retirement_try(&retirement->wait);
}

/* ---- recovery ---- */

/* A marker, or a purge of the key: its end is no news. */
static bool headers_are_final(struct bytes headers)
{
    struct bytes value;
    return headers.count > 0
           && ((msg_header(headers, BYTES_LITERAL("KV-Operation"), &value)
                && bytes_equal(value, BYTES_LITERAL("PURGE")))
               || (msg_header(headers, BYTES_LITERAL("Nats-Marker-Reason"), &value)
                   && value.count > 0));
}

/*
 * It lived when it was written here, so nothing that came before pushes it out. What it pushed out when it was new may be in the log
 * still, and so may be what others pushed out while it was counted at its old place: it says which of its key was the oldest then.
 */
static void replay_moved(struct stripe *stripe, struct bytes key, uint64_t hash,
                         const struct message *message, uint64_t oldest)
{
    struct index_key *entry = index_find(stripe->index, key, hash);
    if (entry == NULL || !index_move(entry, message->seq, message->where)) {
        uint64_t previous;
        struct removed_list removed = {0};
        stripe->stream->config.messages_per_subject_max = -1;
        stripe_put_message(stripe, key, hash, message, &previous, &removed);
        removed_list_free(&removed);
        entry = index_find(stripe->index, key, hash);
    }
    struct message gone;
    while (index_key_message(stripe->index, entry, 0).seq < oldest)
        (void)index_remove(stripe->index, entry, index_key_message(stripe->index, entry, 0).seq,
                           &gone);
}

static void replay_message(struct stripe *stripe, const struct record *record, location where)
{
    char room[STREAM_KEY_ROOM];
    struct bytes key = stream_key_of(stripe->stream, record->key, room);
    uint64_t hash = hash_bytes(key.data, key.count);
    struct index_key *known = index_find(stripe->index, key, hash);
    uint64_t ttl = message_ttl_of(record->headers);
    struct message message = {
        .seq = record->seq,
        .time_ns = record->time_ns,
        .where = where,
        .size_bytes = stripe_message_size(stripe->stream, record->key.count, record->headers.count,
                                          record->value.count),
        .user = ((record->flags & KV_RECORD_IS_ROLLUP) != 0 ? STRIPE_MESSAGE_IS_ROLLUP : 0)
                | (record->headers.count > 0 ? STRIPE_MESSAGE_HAS_HEADERS : 0)
                | (ttl == MESSAGE_TTL_NEVER ? STRIPE_MESSAGE_IS_FOREVER : 0)
                | (known != NULL ? STRIPE_MESSAGE_COVERS : 0)
                | (headers_are_final(record->headers) ? STRIPE_MESSAGE_IS_FINAL : 0),
    };
    /* The history of that time: what was pushed out then stays out, what was kept may be kept still. */
    int64_t keep = record->type == KV_RECORD_MESSAGE ? -1 : record->type - KV_RECORD_MESSAGE_KEEP;
    struct removed_list removed = {0};
    if ((record->flags & RECORD_IS_MOVED) != 0) {
        if (ttl != MESSAGE_TTL_NONE)
            stripe_time_message(stripe, &message, ttl);
        replay_moved(stripe, key, hash, &message, record->log_index);
    } else {
        stripe->stream->config.messages_per_subject_max = keep;
        if (stripe_is_superseded(stripe, known, record->seq))
            return;
        uint64_t previous;
        if (ttl != MESSAGE_TTL_NONE)
            stripe_time_message(stripe, &message, ttl);
        stripe_put_message(stripe, key, hash, &message, &previous, &removed);
    }
    if ((record->flags & KV_RECORD_IS_ROLLUP_ALL) != 0)
        stripe_rollup_all(stripe, record->seq, &removed);
    removed_list_free(&removed);
}

static void replay_removed(struct stripe *stripe, const struct record *record)
{
    char room[STREAM_KEY_ROOM];
    struct bytes key = stream_key_of(stripe->stream, record->key, room);
    struct index_key *entry = index_find(stripe->index, key, hash_bytes(key.data, key.count));
    uint64_t oldest = 0;
    if (record->value.count == sizeof oldest)
        memcpy(&oldest, record->value.data, sizeof oldest);
    struct message gone;
    while (entry != NULL && index_key_message(stripe->index, entry, 0).seq < oldest) {
        bool is_last = index_key_message_count(stripe->index, entry) == 1;
        (void)index_remove(stripe->index, entry, index_key_message(stripe->index, entry, 0).seq,
                           &gone);
        entry = is_last ? NULL : entry;
    }
    if (entry != NULL)
        (void)index_remove(stripe->index, entry, record->seq, &gone);
}

static void replay_state(struct stripe *stripe, const struct record *record)
{
    struct stripe_state state = {0};
    if (record->value.count != sizeof state && record->value.count != STRIPE_STATE_BYTES_V1)
        return;
    memcpy(&state, record->value.data, record->value.count);
    if (state.expired_ns > 0)
        stripe_replay_expired(stripe, state.expired_ns, state.expired_upto, state.has_markers != 0);
    if (state.expired_ns > stripe->expired_ns) {
        stripe->expired_ns = state.expired_ns;
        stripe->expired_upto = state.expired_upto;
        stripe->aged_upto_ns = state.aged_upto_ns;
    }
    if (state.last_seq > stripe->stated_seq)
        stripe->stated_seq = state.last_seq;
    if (state.last_seq > stripe->last_seq) {
        stripe->last_seq = state.last_seq;
        stripe->last_time_ns = state.last_time_ns;
    }
}

void stripe_replay(struct stripe *stripe, const struct record *record, location where)
{
    struct removed_list removed = {0};
    bool is_message = stripe_type_is_message(record->type);
    if (is_message)
        replay_message(stripe, record, where);
    if (is_message && record->headers.count > 0)
        put_ids_replay(stripe, record);
    if (is_message && record->headers.count > 0 && stripe->stream->prefix.count == 0)
        source_state_replay_message(stripe->stream, record);
    switch (record->type) {
    case KV_RECORD_REMOVED:
        replay_removed(stripe, record);
        break;
    case KV_RECORD_STATE:
        replay_state(stripe, record);
        break;
    case KV_RECORD_SOURCES:
        source_state_replay_record(stripe->stream, record);
        break;
    case KV_RECORD_PURGED:
        stripe_purge(stripe, record->key, record->seq, &removed);
        if ((record->flags & RECORD_IS_STATE) != 0 && record->seq > stripe->evicted_upto)
            stripe->evicted_upto = stripe->evicted_stated = record->seq;
        break;
    default:
        break;
    }
    if (record->seq > stripe->last_seq) { /* also a message that something newer has pushed out */
        stripe->last_seq = record->seq;
        if (is_message)
            stripe->last_time_ns = record->time_ns;
    }
    removed_list_free(&removed);
}

/* Of each key, of its messages up to `upto` only the newest `keep` were there. */
void stripe_trim_upto(struct stripe *stripe, uint64_t upto, int64_t keep)
{
    struct index_key *key;
    struct message message, gone;
    for (uint64_t seq = 0; index_seek(stripe->index, seq, &key, &message) && message.seq <= upto;
         seq = message.seq + 1) {
        uint32_t count = index_key_message_count(stripe->index, key);
        int64_t newer = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t other = index_key_message(stripe->index, key, i).seq;
            newer += other > message.seq && other <= upto;
        }
        if (newer >= keep)
            (void)index_remove(stripe->index, key, message.seq, &gone);
    }
}

void stripe_drop_before(struct stripe *stripe, uint64_t time_ns)
{
    struct index_key *key;
    struct message message, gone;
    for (uint64_t seq = 0; index_seek(stripe->index, seq, &key, &message); seq = message.seq + 1) {
        if (message.time_ns < time_ns)
            (void)index_remove(stripe->index, key, message.seq, &gone);
    }
}

void stripe_replayed(struct stripe *stripe)
{
    struct kv *kv = stripe->stream->kv;
    struct index_key *key;
    struct message message;
    stripe_drop_aged(stripe);
    for (uint64_t seq = 0; index_seek(stripe->index, seq, &key, &message); seq = message.seq + 1)
        store_retain(kv->store, message.where);
    stripe_apply_limits(stripe);
}
