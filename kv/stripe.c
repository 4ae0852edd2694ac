/*
 * kv/stripe.c: entering and removing messages, limits, and expiry.
 */
#include "kv/stripe.h"

#include "core/hash.h"
#include "core/subject.h"
#include "kv/due_wheel.h"
#include "kv/feed.h"
#include "kv/hold.h"
#include "kv/pin.h"
#include "kv/put.h"
#include "kv/room.h"
#include "kv/stripe_total.h"

/* ---- lists of what was removed ---- */

void removed_list_free(struct removed_list *list)
{
    heap_free(list->more);
    *list = (struct removed_list){0};
}

static void removed_list_add(struct removed_list *list, struct stripe *stripe,
                             struct removed removed)
{
    struct kv *kv = stripe->stream->kv;
    struct heap *heap = kv->shard->heap;
    if (!stripe->stream->is_memory)
        store_forget(kv->store, removed.where);
    if (stripe->total.is_counted)
        stripe_total_publish(stripe);
    if (list->more == NULL && list->count < COUNT_OF(list->few)) {
        list->few[list->count++] = removed;
        return;
    }
    if (list->more == NULL) {
        list->capacity = 16;
        list->more = heap_alloc(heap, list->capacity * sizeof removed);
        memcpy(list->more, list->few, sizeof list->few);
    } else if (list->count == list->capacity) {
        list->capacity *= 2;
        list->more = heap_resize(heap, list->more, list->capacity * sizeof removed);
    }
    list->more[list->count++] = removed;
}

/* ---- life ---- */

struct stripe *stripe_create(struct stream *stream)
{
    struct stripe *stripe = heap_alloc_zeroed(stream->kv->shard->heap, sizeof *stripe);
    stripe->stream = stream;
    stripe->index = index_create(stream->kv->shard->heap);
    index_count_into(stripe->index, &stream->kv->held_bytes[stream->is_memory]);
    return stripe;
}

static void memory_free_all(struct stripe *stripe)
{
    struct index_key *key;
    struct message message;
    for (uint64_t seq = 0; index_seek(stripe->index, seq, &key, &message); seq = message.seq + 1)
        heap_free((void *)(uintptr_t)message.where);
}

void stripe_destroy(struct stripe *stripe)
{
    ASSERT(stripe->pending_count == 0);
    pins_drop(stripe);
    stripe_expiry_end(stripe);
    hold_break_all(stripe);
    if (stripe->stream->is_memory)
        memory_free_all(stripe);
    put_ids_free(stripe);
    index_destroy(stripe->index);
    heap_free(stripe);
}

struct index_key *stripe_find(const struct stripe *stripe, struct bytes key, uint64_t hash)
{
    return index_find(stripe->index, key, hash);
}

/* ---- sizes and limits ---- */

uint32_t stripe_message_size(const struct stream *stream, size_t subject_bytes,
                             size_t headers_bytes, size_t value_bytes)
{
    size_t frame = stream->is_memory ? 16 : headers_bytes > 0 ? 34 : 30;
    return (uint32_t)(frame + subject_bytes + headers_bytes + value_bytes);
}

static bool key_is_full(const struct stripe *stripe, const struct index_key *key)
{
    int64_t history = stripe->stream->config.messages_per_subject_max;
    return key != NULL && history > 0
           && (int64_t)index_key_message_count(stripe->index, key) >= history;
}

const char *stripe_limit_words(struct stripe *stripe, const struct index_key *key,
                               uint64_t size_bytes)
{
    const struct stream_config *config = &stripe->stream->config;
    if (config->discard != STREAM_DISCARD_NEW)
        return NULL;
    bool is_full = key_is_full(stripe, key);
    if (config->discard_new_per_subject && is_full)
        return "maximum messages per subject exceeded";
    if (stream_has_totals(stripe->stream))
        return stripe_total_reserve(
            stripe, is_full, is_full ? index_key_message(stripe->index, key, 0).size_bytes : 0,
            size_bytes);
    if (config->messages_max > 0 && !is_full
        && index_message_count(stripe->index) >= (uint64_t)config->messages_max)
        return "maximum messages exceeded";
    if (config->bytes_max <= 0
        || index_size_bytes(stripe->index) + size_bytes <= (uint64_t)config->bytes_max)
        return NULL;
    if (is_full && index_key_message(stripe->index, key, 0).size_bytes >= size_bytes)
        return NULL;
    return "maximum bytes exceeded";
}

bool stripe_is_superseded(const struct stripe *stripe, const struct index_key *key, uint64_t seq)
{
    if (key == NULL || seq > index_key_newest(key).seq)
        return false;
    uint32_t count = index_key_message_count(stripe->index, key);
    int64_t history = stripe->stream->config.messages_per_subject_max;
    if (history > 0 && (int64_t)count >= history
        && seq < index_key_message(stripe->index, key, 0).seq)
        return true;
    for (uint32_t i = count; i-- > 0;) {
        struct message message = index_key_message(stripe->index, key, i);
        if (message.seq < seq)
            return false;
        if ((message.user & STRIPE_MESSAGE_IS_ROLLUP) != 0)
            return true;
    }
    return false;
}

/* ---- entering and removing ---- */

/* Someone reads the stripe as it was: what goes stays readable for them. */
static void stripe_hold_back(struct stripe *stripe, const struct index_key *key, uint64_t seq)
{
    struct index_key *holder;
    struct message message;
    if ((stripe->holds == NULL && stripe->pins == NULL)
        || !index_find_seq(stripe->index, seq, &holder, &message) || holder != key)
        return;
    if (stripe->holds != NULL)
        hold_keep(stripe, key, &message);
    if (stripe->pins != NULL)
        pins_on_removal(stripe, key, &message);
}

static void stripe_remove_at(struct stripe *stripe, struct index_key *key, uint64_t seq,
                             struct removed_list *removed)
{
    stripe_hold_back(stripe, key, seq);
    struct message message;
    bool was_there = index_remove(stripe->index, key, seq, &message);
    ASSERT(was_there);
    if (stripe->wheel != NULL)
        (void)due_wheel_remove(stripe->wheel, seq);
    removed_list_add(removed, stripe, (struct removed){message.seq, message.where});
}

/* Removes the key's oldest while it has more than `keep`; the key itself stays (keep >= 1). */
static void stripe_trim_key(struct stripe *stripe, struct index_key *key, uint32_t keep,
                            struct removed_list *removed)
{
    ASSERT(keep >= 1);
    while (index_key_message_count(stripe->index, key) > keep)
        stripe_remove_at(stripe, key, index_key_message(stripe->index, key, 0).seq, removed);
}

/* Removes the key's messages older than seq; one with seq or newer stays. */
static void stripe_rollup_key(struct stripe *stripe, struct index_key *key, uint64_t seq,
                              struct removed_list *removed)
{
    for (;;) {
        uint64_t oldest = index_key_message(stripe->index, key, 0).seq;
        if (oldest >= seq)
            return;
        stripe_remove_at(stripe, key, oldest, removed);
    }
}

static bool stripe_is_over(const struct stripe *stripe)
{
    const struct stream_config *config = &stripe->stream->config;
    return (config->messages_max > 0
            && index_message_count(stripe->index) > (uint64_t)config->messages_max)
           || (config->bytes_max > 0
               && index_size_bytes(stripe->index) > (uint64_t)config->bytes_max);
}

/* Discard old: the stream's oldest go, even the new one itself. */
static void stripe_discard_old(struct stripe *stripe, struct removed_list *removed)
{
    struct index_key *key;
    struct message message;
    while (stripe_is_over(stripe) && index_seek(stripe->index, 0, &key, &message)) {
        stripe->evicted_upto = message.seq;
        stripe_remove_at(stripe, key, message.seq, removed);
    }
}

static void stripe_note_last(struct stripe *stripe, const struct message *message)
{
    if (message->seq <= stripe->last_seq)
        return;
    stripe->last_seq = message->seq;
    stripe->last_time_ns = message->time_ns;
}

/* History 1, the usual bucket: the new message takes the place of the old one. */
static bool stripe_replace_message(struct stripe *stripe, struct index_key *key,
                                   const struct message *message, struct removed_list *removed)
{
    struct message old;
    if (!index_replace(stripe->index, key, message, &old))
        return false;
    if (stripe->holds != NULL)
        hold_keep(stripe, key, &old);
    if (stripe->pins != NULL)
        pins_on_removal(stripe, key, &old);
    if (stripe->wheel != NULL)
        (void)due_wheel_remove(stripe->wheel, old.seq);
    removed_list_add(removed, stripe, (struct removed){old.seq, old.where});
    stripe_note_last(stripe, message);
    if (stripe->stream->config.discard == STREAM_DISCARD_OLD)
        stripe_discard_old(stripe, removed);
    return true;
}

static void stripe_enter_message(struct stripe *stripe, struct bytes key, uint64_t hash,
                                 const struct message *message, uint64_t *previous_out,
                                 struct removed_list *removed)
{
    const struct stream_config *config = &stripe->stream->config;
    struct index_key *known = index_find(stripe->index, key, hash);
    *previous_out = known == NULL ? 0 : index_key_newest(known).seq;
    if (known != NULL && config->messages_per_subject_max == 1
        && stripe_replace_message(stripe, known, message, removed))
        return;
    if (stripe->wheel != NULL && known != NULL)
        stripe_drop_overdue(stripe, known, message->time_ns, removed);
    struct index_key *entry = index_insert(stripe->index, key, hash, message);
    if ((message->user & STRIPE_MESSAGE_IS_ROLLUP) != 0)
        stripe_rollup_key(stripe, entry, message->seq, removed);
    if (config->messages_per_subject_max > 0)
        stripe_trim_key(stripe, entry, (uint32_t)config->messages_per_subject_max, removed);
    stripe_note_last(stripe, message);
    if (config->discard == STREAM_DISCARD_OLD)
        stripe_discard_old(stripe, removed);
    stripe_schedule_expiry(stripe);
}

void stripe_put_message(struct stripe *stripe, struct bytes key, uint64_t hash,
                        const struct message *message, uint64_t *previous_out,
                        struct removed_list *removed)
{
    stripe->entering_seq = message->seq;
    stripe_enter_message(stripe, key, hash, message, previous_out, removed);
    stripe->entering_seq = 0;
    if (stripe->total.is_counted)
        stripe_total_unreserve(stripe, message->size_bytes);
}

bool stripe_remove_message(struct stripe *stripe, struct index_key *key, uint64_t seq,
                           struct removed_list *removed)
{
    struct message message;
    stripe_hold_back(stripe, key, seq);
    if (!index_remove(stripe->index, key, seq, &message))
        return false;
    if (stripe->wheel != NULL)
        (void)due_wheel_remove(stripe->wheel, seq);
    removed_list_add(removed, stripe, (struct removed){message.seq, message.where});
    return true;
}

static bool purge_is_all(const struct stream *stream, struct bytes filter)
{
    return filter.count == 0 || bytes_equal(filter, BYTES_LITERAL(">"))
           || (stream->prefix.count > 0 && filter.count == stream->prefix.count + 1
               && bytes_start_with(filter, stream->prefix) && filter.data[filter.count - 1] == '>');
}

static void stripe_purge_key(struct stripe *stripe, struct bytes filter, uint64_t upto,
                             struct removed_list *removed)
{
    char room[STREAM_KEY_ROOM];
    struct bytes key = stream_key_of(stripe->stream, filter, room);
    struct index_key *entry = index_find(stripe->index, key, hash_bytes(key.data, key.count));
    while (entry != NULL) {
        struct message oldest = index_key_message(stripe->index, entry, 0);
        bool is_last = index_key_message_count(stripe->index, entry) == 1;
        if (oldest.seq > upto)
            return;
        stripe_remove_at(stripe, entry, oldest.seq, removed);
        if (is_last)
            return;
    }
}

void stripe_purge(struct stripe *stripe, struct bytes filter, uint64_t upto,
                  struct removed_list *removed)
{
    bool is_all = purge_is_all(stripe->stream, filter);
    if (!is_all && subject_is_literal(filter)) {
        if (filter.count < RECORD_KEY_BYTES_MAX)
            stripe_purge_key(stripe, filter, upto, removed);
        return;
    }
    char *room = heap_alloc(stripe->stream->kv->shard->heap, STREAM_KEY_ROOM);
    struct index_key *key;
    struct message message;
    uint64_t seq = 0;
    while (index_seek(stripe->index, seq, &key, &message) && message.seq <= upto) {
        seq = message.seq + 1;
        struct bytes subject = stream_subject_of(stripe->stream, index_key_bytes(key), room);
        if (is_all || subject_matches(filter, subject))
            stripe_remove_at(stripe, key, message.seq, removed);
    }
    heap_free(room);
}

void stripe_rollup_all(struct stripe *stripe, uint64_t seq, struct removed_list *removed)
{
    stripe->entering_seq = seq;
    stripe_purge(stripe, (struct bytes){0}, seq - 1, removed);
    stripe->entering_seq = 0;
    if (stripe->evicted_upto < seq - 1)
        stripe->evicted_upto = seq - 1; /* whatever is written next says so too */
}

struct trim_scan {
    struct index_key **keys; /* owns; keys that have too many, gathered before any is touched */
    uint64_t count, capacity;
    struct stripe *stripe;
    uint32_t keep;
};

static void trim_on_key(void *context, struct index_key *key)
{
    struct trim_scan *scan = context;
    if (index_key_message_count(scan->stripe->index, key) <= scan->keep)
        return;
    if (scan->count == scan->capacity) {
        scan->capacity = scan->capacity == 0 ? 64 : 2 * scan->capacity;
        scan->keys = heap_resize(scan->stripe->stream->kv->shard->heap, scan->keys,
                                 scan->capacity * sizeof(struct index_key *));
    }
    scan->keys[scan->count++] = key;
}

static void stripe_trim_all(struct stripe *stripe, uint32_t keep, struct removed_list *removed)
{
    struct trim_scan scan = {.stripe = stripe, .keep = keep};
    uint64_t cursor = 0;
    while (index_scan(stripe->index, &cursor, 65536, trim_on_key, &scan)) {
    }
    for (uint64_t i = 0; i < scan.count; i++)
        stripe_trim_key(stripe, scan.keys[i], keep, removed);
    heap_free(scan.keys);
}

void stripe_apply_limits(struct stripe *stripe)
{
    stripe_total_publish(stripe);
    const struct stream_config *config = &stripe->stream->config;
    struct removed_list removed = {0};
    if (config->messages_per_subject_max > 0)
        stripe_trim_all(stripe, (uint32_t)config->messages_per_subject_max, &removed);
    if (config->discard == STREAM_DISCARD_OLD)
        stripe_discard_old(stripe, &removed);
    stripe_removed_durable(stripe, &removed); /* the configuration that asks for it is durable */
    removed_list_free(&removed);
    stripe_expiry_configured(stripe);
}

void stripe_release(struct stripe *stripe, const struct removed *removed)
{
    hold_release(stripe, removed->where, removed->seq);
}

void stripe_removed_durable(struct stripe *stripe, const struct removed_list *removed)
{
    for (uint32_t i = 0; i < removed->count; i++)
        stripe_release(stripe, removed_list_at(removed, i));
    if (stripe->feeds != 0 && removed->count > 0)
        feed_offer_removed(stripe, removed);
}
