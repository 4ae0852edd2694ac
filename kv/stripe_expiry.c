/*
 * kv/stripe_expiry.c: messages whose time is over go: by max_age, by their own TTL, whichever is first.
 *
 * A stream that allows TTLs has a wheel (due_wheel.h) with an entry for each message that ends; another with max_age looks at its
 * oldest message only. A timer runs a round when the next one is due:
 *
 *     row into the log: what was due up to now is dead ─► each one: REMOVED record, if it needs one ─► out of the index
 *                                                     └► the key's last, in a stream with markers: a marker is put in its place
 *     all durable ─► space and watchers (stripe_removed_durable); until then an absent key is not answered (pending_removals)
 *
 * What an expiry writes, and why:
 *   - A row {until, up to which sequence} in the stripe's state record, one a round. After a crash the clock may have gone back: what
 *     was shown as gone stays gone. A row is state, so that its segment can be recycled.
 *   - A REMOVED record for a message that had replaced an older one of its key. Its own record kept the older one dead; once its
 *     segment is recycled, the older one, which has no TTL, would come back (nats-server issue 8505). So would it if the clock is
 *     behind the last row: then every expiry writes one.
 *   - A full disk takes no rows; then only what needs no record goes, which is what heals it.
 * A key's message is at least as old as the one before it (put_apply), so that max_age needs no such records.
 *
 * Before history is applied to a new message, what is overdue at its time goes: so recovery, which reads rows that were written
 * again behind it, comes to the same.
 * Keeps:   only what the watermark covers goes: watchers have heard of it.
 * Runs on: the stripe's shard.
 */
#include "core/hash.h"
#include "kv/due_wheel.h"
#include "kv/gathering.h"
#include "kv/message_ttl.h"
#include "kv/put.h"
#include "kv/room.h"
#include "kv/stripe.h"

#define TICK_NS (UINT64_C(1) << DUE_WHEEL_TICK_BITS)
#define RETRY_NS UINT64_C(100000000)
#define SLEEP_NS_MAX UINT64_C(60000000000) /* the clock may have been set meanwhile */

enum { ROUND_MESSAGES = 1024, MARKERS_IN_FLIGHT = 256 };

static void expiry_on_timer(struct timer *timer);

/* ---- when ---- */

static uint64_t age_due_ns(const struct stripe *stripe, const struct message *message)
{
    int64_t age = stripe->stream->config.age_max_ns;
    bool is_mortal = age > 0 && (message->user & STRIPE_MESSAGE_IS_FOREVER) == 0;
    return is_mortal ? message->time_ns + (uint64_t)age : UINT64_MAX;
}

static bool has_aging_wheel(const struct stripe *stripe)
{
    return stripe->stream->config.allow_msg_ttl && stripe->stream->config.age_max_ns > 0;
}

static void expiry_wake_at(struct stripe *stripe, uint64_t due_ns)
{
    struct shard *shard = stripe->stream->kv->shard;
    uint64_t wall = shard_wall_ns(shard), now = shard_now_ns(shard);
    uint64_t wait = due_ns > wall ? due_ns - wall : 0;
    uint64_t deadline = now + (wait < SLEEP_NS_MAX ? wait : SLEEP_NS_MAX);
    if (!timer_is_running(&stripe->expiry) || stripe->expiry.deadline_ns > deadline)
        timer_start(shard->timers, &stripe->expiry, deadline, expiry_on_timer);
}

void stripe_schedule_expiry(struct stripe *stripe)
{
    struct index_key *key;
    struct message message;
    if (stripe->wheel != NULL && due_wheel_count(stripe->wheel) > 0)
        expiry_wake_at(stripe, due_wheel_next_ns(stripe->wheel));
    if (stripe->stream->config.age_max_ns > 0 && !has_aging_wheel(stripe)
        && !timer_is_running(&stripe->expiry) && index_seek(stripe->index, 0, &key, &message))
        expiry_wake_at(stripe, age_due_ns(stripe, &message) + TICK_NS);
}

void stripe_time_message(struct stripe *stripe, const struct message *message, uint64_t ttl)
{
    struct kv *kv = stripe->stream->kv;
    uint64_t own = message_ttl_due(message->time_ns, ttl);
    uint64_t aged = has_aging_wheel(stripe) ? age_due_ns(stripe, message) : UINT64_MAX;
    struct due due = {.seq = message->seq, .due_ns = own < aged ? own : aged, .ttl = ttl};
    if (due.due_ns == UINT64_MAX)
        return;
    if (stripe->wheel == NULL)
        stripe->wheel = due_wheel_create(kv->shard->heap, shard_wall_ns(kv->shard));
    struct due known;
    if (!kv->is_open && due_wheel_find(stripe->wheel, message->seq, &known))
        return; /* recovery may meet a second copy */
    due_wheel_add(stripe->wheel, &due);
    if (kv->is_open)
        expiry_wake_at(stripe, due_wheel_next_ns(stripe->wheel));
}

/* The wheel anew: max_age, or what allows TTLs, has changed; or recovery has found what lives. */
static void wheel_rebuild(struct stripe *stripe)
{
    struct due_wheel *old = stripe->wheel;
    struct index_key *key;
    struct message message;
    struct due due;
    stripe->wheel = NULL;
    for (uint64_t seq = 0; index_seek(stripe->index, seq, &key, &message); seq = message.seq + 1) {
        bool is_known = old != NULL && due_wheel_find(old, message.seq, &due);
        stripe_time_message(stripe, &message, is_known ? due.ttl : MESSAGE_TTL_NONE);
    }
    due_wheel_destroy(old);
}

void stripe_expiry_configured(struct stripe *stripe)
{
    timer_stop(&stripe->expiry);
    if (stripe->wheel != NULL || has_aging_wheel(stripe))
        wheel_rebuild(stripe);
    stripe_schedule_expiry(stripe);
}

void stripe_expiry_end(struct stripe *stripe)
{
    timer_stop(&stripe->expiry);
    due_wheel_destroy(stripe->wheel);
    stripe->wheel = NULL;
}

void stripe_drop_overdue(struct stripe *stripe, struct index_key *key, uint64_t time_ns,
                         struct removed_list *removed)
{
    uint32_t position = 0, count = index_key_message_count(stripe->index, key);
    while (position < count) {
        struct due due;
        struct message message = index_key_message(stripe->index, key, position);
        bool is_overdue = due_wheel_find(stripe->wheel, message.seq, &due)
                          && message_ttl_due(message.time_ns, due.ttl) <= time_ns;
        if (!is_overdue) {
            position++;
            continue;
        }
        (void)stripe_remove_message(stripe, key, message.seq, removed);
        count--; /* the key goes with its last message, and is not looked at again */
    }
}

/* ---- a round ---- */

struct round {
    struct stripe *stripe;
    uint64_t upto_ns, watermark;
    bool has_row;    /* the state record says what is due up to now is dead */
    bool is_behind;  /* the clock went back behind the last row */
    bool is_stopped; /* the log has no room */
    uint32_t budget, markers;
    struct removed_list removed;
    struct due *postponed; /* owns */
    uint32_t postponed_count, postponed_capacity;
};

/* Removed messages on their way to the disk. */
struct expired {
    struct store_wait wait;
    struct stripe *stripe;
    struct removed_list removed;
};

static void expired_on_durable(struct store_wait *wait)
{
    struct expired *expired = CONTAINER_OF(wait, struct expired, wait);
    struct stripe *stripe = expired->stripe;
    stripe_removed_durable(stripe, &expired->removed);
    removed_list_free(&expired->removed);
    stripe->pending_removals--;
    stripe->pending_count--;
    heap_free(expired);
}

static bool round_has_work(const struct stripe *stripe, uint64_t upto_ns)
{
    struct index_key *key;
    struct message message;
    if (stripe->wheel != NULL && due_wheel_next_ns(stripe->wheel) <= upto_ns)
        return true;
    return !has_aging_wheel(stripe) && index_seek(stripe->index, 0, &key, &message)
           && age_due_ns(stripe, &message) <= upto_ns;
}

/* STATUS_BUSY: not now. */
static enum status round_begin(struct round *round)
{
    struct stripe *stripe = round->stripe;
    if (stripe->stream->is_memory)
        return STATUS_OK;
    round->is_behind = round->upto_ns < stripe->expired_ns;
    if (!round->is_behind) {
        int64_t age = stripe->stream->config.age_max_ns;
        stripe->expired_ns = round->upto_ns;
        stripe->expired_upto = stripe->last_seq;
        bool is_aging = age > 0 && (uint64_t)age < round->upto_ns;
        stripe->aged_upto_ns = is_aging ? round->upto_ns - (uint64_t)age : 0;
    }
    enum status status = stripe_state_evictions(stripe);
    if (status == STATUS_OK)
        status = stripe_write_state(stripe, NULL);
    round->has_row = status == STATUS_OK;
    return status == STATUS_NO_SPACE ? STATUS_OK : status;
}

static void round_postpone(struct round *round, const struct due *due, uint64_t until_ns)
{
    if (round->postponed_count == round->postponed_capacity) {
        struct heap *heap = round->stripe->stream->kv->shard->heap;
        round->postponed_capacity =
            round->postponed_capacity == 0 ? 16 : 2 * round->postponed_capacity;
        round->postponed = heap_resize(heap, round->postponed,
                                       round->postponed_capacity * sizeof *round->postponed);
    }
    round->postponed[round->postponed_count] = *due;
    round->postponed[round->postponed_count++].due_ns = until_ns;
}

static bool append_removed(struct stripe *stripe, struct index_key *key, uint64_t seq)
{
    struct heap *heap = stripe->stream->kv->shard->heap;
    char *room = heap_alloc(heap, STREAM_KEY_ROOM);
    uint64_t oldest = index_key_message(stripe->index, key, 0).seq;
    struct record record = {
        .type = KV_RECORD_REMOVED,
        .flags = RECORD_REMOVES | stripe_record_flags(stripe->stream),
        .stream_id = stripe->stream->id,
        .seq = seq,
        .time_ns = shard_wall_ns(stripe->stream->kv->shard),
        .key = stream_subject_of(stripe->stream, index_key_bytes(key), room),
        .value = bytes_of(&oldest, sizeof oldest),
    };
    location where;
    enum status status = store_append(stripe->stream->kv->store, &record, &where, NULL);
    heap_free(room);
    return status == STATUS_OK;
}

/* Without a record the older one of its key could come back. */
static bool needs_record(const struct round *round, const struct message *message)
{
    const struct stripe *stripe = round->stripe;
    if (stripe->stream->is_memory)
        return false;
    return round->is_behind
           || (stripe->stream->config.allow_msg_ttl
               && (message->user & STRIPE_MESSAGE_COVERS) != 0);
}

static bool round_remove(struct round *round, struct index_key *key, const struct message *message)
{
    if (needs_record(round, message)
        && (!round->has_row || !append_removed(round->stripe, key, message->seq))) {
        round->is_stopped = true;
        return false;
    }
    bool was_there = stripe_remove_message(round->stripe, key, message->seq, &round->removed);
    ASSERT(was_there);
    return true;
}

static bool wants_marker(const struct stripe *stripe, const struct index_key *key,
                         const struct message *message)
{
    return stripe->stream->config.marker_ttl_ns > 0
           && (message->user & STRIPE_MESSAGE_IS_FINAL) == 0
           && index_key_message_count(stripe->index, key) == 1;
}

static void round_take(struct round *round, const struct due *due)
{
    struct stripe *stripe = round->stripe;
    struct index_key *key;
    struct message message;
    uint64_t soon = round->upto_ns + RETRY_NS;
    if (!index_find_seq(stripe->index, due->seq, &key, &message))
        return;
    if (message.seq > round->watermark || !stripe_is_durable(stripe, message.where)) {
        round_postpone(round, due, soon);
    } else if (wants_marker(stripe, key, &message) && !due->is_markerless) {
        if (stripe->markers_pending >= MARKERS_IN_FLIGHT) {
            round_postpone(round, due, round->upto_ns);
            round->budget = 0;
            return;
        }
        stripe->markers_pending++;
        put_marker(stripe, index_key_bytes(key), message.seq);
    } else if (!round_remove(round, key, &message)) {
        round_postpone(round, due, soon);
    }
}

/* A stream without a wheel: from the oldest on. */
static void round_take_aged(struct round *round)
{
    struct stripe *stripe = round->stripe;
    struct index_key *key;
    struct message message;
    while (round->budget > 0 && !round->is_stopped && index_seek(stripe->index, 0, &key, &message)
           && age_due_ns(stripe, &message) <= round->upto_ns && message.seq <= round->watermark
           && stripe_is_durable(stripe, message.where)) {
        (void)round_remove(round, key, &message);
        round->budget--;
    }
}

static void round_end(struct round *round)
{
    struct stripe *stripe = round->stripe;
    struct kv *kv = stripe->stream->kv;
    for (uint32_t i = 0; i < round->postponed_count; i++)
        due_wheel_add(stripe->wheel, &round->postponed[i]);
    heap_free(round->postponed);
    if (round->removed.count == 0)
        return;
    if (!stripe->stream->is_memory && !round->has_row) {
        stripe_retire(stripe, &round->removed);
        return;
    }
    struct expired *expired = heap_alloc_zeroed(kv->shard->heap, sizeof *expired);
    expired->stripe = stripe;
    expired->removed = round->removed;
    stripe->pending_removals++;
    stripe->pending_count++;
    expired->wait.on_durable = expired_on_durable;
    if (stripe->stream->is_memory || !store_wait_durable(kv->store, &expired->wait))
        expired_on_durable(&expired->wait);
}

/* True: what is due now has gone, or is on its way. */
static bool round_run(struct stripe *stripe, uint64_t upto_ns)
{
    struct round round = {
        .stripe = stripe,
        .upto_ns = upto_ns,
        .watermark = stream_watermark(stripe->stream),
        .budget = ROUND_MESSAGES,
    };
    struct due due;
    if (round_begin(&round) != STATUS_OK)
        return false;
    while (round.budget > 0 && !round.is_stopped && stripe->wheel != NULL
           && due_wheel_pop(stripe->wheel, upto_ns, &due)) {
        round.budget--;
        round_take(&round, &due);
    }
    if (!has_aging_wheel(stripe))
        round_take_aged(&round);
    bool has_moved = round.removed.count > 0 || stripe->markers_pending > 0;
    round_end(&round);
    return has_moved && !round.is_stopped;
}

void stripe_expire(struct stripe *stripe)
{
    struct stream *stream = stripe->stream;
    struct shard *shard = stream->kv->shard;
    uint64_t upto = shard_wall_ns(shard) & ~(TICK_NS - 1);
    bool is_fine = true;
    timer_stop(&stripe->expiry);
    if (stream->is_closing)
        return;
    gathering_flush(stream->kv); /* what came before runs before */
    if (round_has_work(stripe, upto))
        is_fine = round_run(stripe, upto);
    if (is_fine)
        stripe_schedule_expiry(stripe);
    else
        timer_start(shard->timers, &stripe->expiry, shard_now_ns(shard) + RETRY_NS,
                    expiry_on_timer);
}

static void expiry_on_timer(struct timer *timer)
{
    struct stripe *stripe = CONTAINER_OF(timer, struct stripe, expiry);
    if (stripe->stream->kv
            ->is_open) /* else the log takes nothing yet; opening looks at all stripes */
        stripe_expire(stripe);
}

void stripe_marker_ended(struct stripe *stripe, uint64_t replaced_seq, enum api_error error)
{
    struct index_key *key;
    struct message message;
    ASSERT(stripe->markers_pending > 0);
    stripe->markers_pending--;
    if (error == API_OK || !index_find_seq(stripe->index, replaced_seq, &key, &message))
        return;
    struct kv *kv = stripe->stream->kv;
    uint64_t now = shard_wall_ns(kv->shard);
    struct due due;
    if (stripe->wheel == NULL || due_wheel_find(stripe->wheel, replaced_seq, &due))
        return; /* built anew meanwhile */
    due = (struct due){
        .seq = replaced_seq,
        .due_ns = error == API_INSUFFICIENT_RESOURCES ? now + 10 * RETRY_NS : now,
        .is_markerless = error == API_STORE_FAILED, /* the stream's limits have no room for one */
    };
    due_wheel_add(stripe->wheel, &due);
    expiry_wake_at(stripe, due_wheel_next_ns(stripe->wheel));
}

/* ---- recovery ---- */

void stripe_replay_expired(struct stripe *stripe, uint64_t upto_ns, uint64_t upto_seq,
                           bool has_markers)
{
    struct round kept = {.stripe = stripe};
    struct due due;
    struct index_key *key;
    struct message message, gone;
    while (stripe->wheel != NULL && due_wheel_pop(stripe->wheel, upto_ns, &due)) {
        if (!index_find_seq(stripe->index, due.seq, &key, &message))
            continue;
        bool is_last = index_key_message_count(stripe->index, key) == 1;
        bool is_spared = has_markers && is_last && (message.user & STRIPE_MESSAGE_IS_FINAL) == 0;
        if (due.seq > upto_seq || is_spared)
            round_postpone(&kept, &due, due.due_ns);
        else
            (void)index_remove(stripe->index, key, due.seq, &gone);
    }
    for (uint32_t i = 0; i < kept.postponed_count; i++)
        due_wheel_add(stripe->wheel, &kept.postponed[i]);
    heap_free(kept.postponed);
}

void stripe_drop_aged(struct stripe *stripe)
{
    struct index_key *key;
    struct message message, gone;
    if (stripe->aged_upto_ns == 0 || stripe->stream->config.marker_ttl_ns > 0)
        return;
    for (uint64_t seq = 0;
         index_seek(stripe->index, seq, &key, &message) && message.seq <= stripe->expired_upto;
         seq = message.seq + 1) {
        if (message.time_ns <= stripe->aged_upto_ns
            && (message.user & STRIPE_MESSAGE_IS_FOREVER) == 0)
            (void)index_remove(stripe->index, key, message.seq, &gone);
    }
}
