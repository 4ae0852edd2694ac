/*
 * kv/snapshot_stripe.c: pinning, freezing and reading, on the stripe's shard.
 *
 * A read takes the next messages of the pin, fetches them side by side, and answers when all are there: whole entries of the archive.
 * It holds the stripe (pending_count), so that a deletion of the stream waits for it.
 */
#include "kv/snapshot_stripe.h"

#include "kv/archive.h"
#include "kv/gathering.h"

enum {
    READ_MESSAGES_MAX = 256,
    READ_BYTES_MAX = 1 << 20, /* no further message is taken above it */
};

struct snapshot_question {
    struct gather *gather; /* NULL: the end */
    struct snapshot_name name;
    uint64_t upto;
};

static void ask(struct kv *kv, struct gather *gather, const struct snapshot_name *name,
                uint64_t upto, mailbox_handler_fn *handler)
{
    struct snapshot_question *question =
        gather_ask(kv, gather, name->stripe_shard, handler, sizeof *question);
    question->name = *name;
    question->upto = upto;
}

static struct stripe *stripe_of(struct kv *kv, const struct snapshot_question *question)
{
    struct stream *stream = stream_by_id(&kv->streams, question->name.stream_id);
    return stream == NULL || stream->is_closing ? NULL : stream->stripe;
}

static struct pin *pin_of(struct kv *kv, const struct snapshot_question *question, uint32_t from)
{
    struct stripe *stripe = stripe_of(kv, question);
    return stripe == NULL ? NULL : pin_find(stripe, from, question->name.number);
}

/* ---- pinning ---- */

static void on_pin(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    gathering_flush(kv_of(shard)); /* what came before runs before */
    struct snapshot_question *question = payload;
    struct stripe *stripe = stripe_of(kv_of(shard), question);
    if (stripe != NULL)
        (void)pin_create(stripe, from, question->name.number);
    struct snapshot_frozen *answer = gather_answer(shard, question->gather, from, sizeof *answer);
    *answer = (struct snapshot_frozen){.answer = stripe != NULL ? SNAPSHOT_FINE : SNAPSHOT_GONE};
}

void snapshot_ask_pin(struct kv *kv, struct gather *gather, const struct snapshot_name *name)
{
    ask(kv, gather, name, 0, on_pin);
}

/* ---- freezing ---- */

/* Until the removals of the window are durable: the state is without what they took. */
struct freezing {
    struct store_wait wait;
    struct stripe *stripe;
    struct gather *gather;
    uint32_t to;
    struct snapshot_frozen answer;
};

static void freezing_on_durable(struct store_wait *wait)
{
    struct freezing *freezing = CONTAINER_OF(wait, struct freezing, wait);
    struct snapshot_frozen *answer = gather_answer(freezing->stripe->stream->kv->shard,
                                                   freezing->gather, freezing->to, sizeof *answer);
    *answer = freezing->answer;
    freezing->stripe->pending_count--;
    heap_free(freezing);
}

static void on_freeze(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct kv *kv = kv_of(shard);
    gathering_flush(kv); /* what came before runs before */
    struct snapshot_question *question = payload;
    struct pin *pin = pin_of(kv, question, from);
    struct stripe *stripe = stripe_of(kv, question);
    if (pin == NULL || stripe->unwritten_removals > 0) {
        struct snapshot_frozen *answer =
            gather_answer(shard, question->gather, from, sizeof *answer);
        *answer =
            (struct snapshot_frozen){.answer = pin == NULL ? SNAPSHOT_GONE : SNAPSHOT_NO_SPACE};
        return;
    }
    struct freezing *freezing = heap_alloc_zeroed(shard->heap, sizeof *freezing);
    freezing->wait.on_durable = freezing_on_durable;
    freezing->stripe = stripe;
    freezing->gather = question->gather;
    freezing->to = from;
    freezing->answer.answer = SNAPSHOT_FINE;
    stripe->pending_count++;
    pin_freeze(pin, question->upto, &freezing->answer.state);
    if (stripe->stream->is_memory || !store_wait_durable(kv->store, &freezing->wait))
        freezing_on_durable(&freezing->wait);
}

void snapshot_ask_freeze(struct kv *kv, struct gather *gather, const struct snapshot_name *name,
                         uint64_t upto)
{
    ask(kv, gather, name, upto, on_freeze);
}

/* ---- reading ---- */

struct reading;

struct reading_fetch {
    struct store_fetch fetch;
    struct reading *reading;
    struct pinned pinned;
    bool is_there;
};

struct reading {
    struct stripe *stripe;
    struct gather *gather;
    uint32_t to, count, pending;
    enum snapshot_answer answer;
    struct reading_fetch fetches[READ_MESSAGES_MAX];
};

static void append_entry(struct text *out, const struct record *record)
{
    size_t at = out->count;
    struct snapshot_entry_head head = {.seq = record->seq};
    text_append(out, bytes_of(&head, sizeof head));
    archive_append_entry(out, &(struct archive_entry){.name = record->key,
                                                      .headers = record->headers,
                                                      .payload = record->value,
                                                      .time_ns = (int64_t)record->time_ns,
                                                      .seq = record->seq});
    head.bytes = out->count - at - sizeof head;
    memcpy(out->data + at, &head, sizeof head);
}

static void fetch_append(struct text *out, struct reading_fetch *fetch)
{
    struct record record;
    uint32_t bytes;
    if (fetch->pinned.copy == NULL) {
        append_entry(out, &fetch->fetch.record);
        return;
    }
    enum status status = record_decode(fetch->pinned.copy, UINT32_MAX, &record, &bytes);
    ASSERT(status == STATUS_OK); /* we made it */
    append_entry(out, &record);
}

static void reading_finish(struct reading *reading)
{
    struct stripe *stripe = reading->stripe;
    struct text out = {0};
    for (uint32_t i = 0; i < reading->count; i++) {
        struct reading_fetch *fetch = &reading->fetches[i];
        if (reading->answer == SNAPSHOT_FINE)
            fetch_append(&out, fetch);
        if (fetch->is_there)
            stripe_fetch_release(stripe, &fetch->fetch);
        pinned_release(stripe, &fetch->pinned);
    }
    struct snapshot_part *part = gather_answer(stripe->stream->kv->shard, reading->gather,
                                               reading->to, (uint32_t)(sizeof *part + out.count));
    *part = (struct snapshot_part){reading->answer, reading->count};
    if (out.count > 0)
        memcpy(part + 1, out.data, out.count);
    text_free(&out);
    stripe->pending_count--;
    heap_free(reading);
}

static void reading_on_fetched(struct store_fetch *done, enum status status)
{
    struct reading_fetch *fetch = CONTAINER_OF(done, struct reading_fetch, fetch);
    struct reading *reading = fetch->reading;
    fetch->is_there = status == STATUS_OK;
    if (status != STATUS_OK)
        reading->answer = SNAPSHOT_DAMAGED;
    if (--reading->pending == 0)
        reading_finish(reading);
}

static void reading_take(struct reading *reading, struct pin *pin)
{
    uint64_t bytes = 0;
    while (reading->count < READ_MESSAGES_MAX && bytes < READ_BYTES_MAX) {
        struct reading_fetch *fetch = &reading->fetches[reading->count];
        if (!pin_next(pin, &fetch->pinned))
            return;
        reading->count++;
        fetch->reading = reading;
        bytes += fetch->pinned.bytes;
        if (fetch->pinned.copy != NULL)
            continue;
        reading->pending++;
        if (stripe_fetch(reading->stripe, fetch->pinned.where, &fetch->fetch, reading_on_fetched)) {
            fetch->is_there = true;
            reading->pending--;
        }
    }
}

static enum snapshot_answer read_check(struct kv *kv, const struct pin *pin)
{
    if (pin == NULL)
        return SNAPSHOT_GONE;
    bool is_full =
        store_directory_space(kv_world_directory(kv->world), kv->shard->index) == STORE_SPACE_NONE;
    return is_full && pin_kept_count(pin) > 0 ? SNAPSHOT_NO_SPACE : SNAPSHOT_FINE;
}

static void on_read(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct kv *kv = kv_of(shard);
    struct snapshot_question *question = payload;
    struct pin *pin = pin_of(kv, question, from);
    enum snapshot_answer answer = read_check(kv, pin);
    if (answer != SNAPSHOT_FINE) {
        struct snapshot_part *part = gather_answer(shard, question->gather, from, sizeof *part);
        *part = (struct snapshot_part){.answer = answer};
        return;
    }
    gathering_flush(kv); /* it may fetch, and change, what is read here */
    struct reading *reading = heap_alloc_zeroed(shard->heap, sizeof *reading);
    reading->stripe = stripe_of(kv, question);
    reading->stripe->pending_count++;
    reading->gather = question->gather;
    reading->to = from;
    reading->pending = 1; /* this call */
    reading_take(reading, pin);
    if (--reading->pending == 0)
        reading_finish(reading);
}

void snapshot_ask_read(struct kv *kv, struct gather *gather, const struct snapshot_name *name)
{
    ask(kv, gather, name, 0, on_read);
}

/* ---- the end ---- */

static void on_end(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct pin *pin = pin_of(kv_of(shard), payload, from);
    if (pin != NULL)
        pin_destroy(pin);
}

void snapshot_tell_end(struct kv *kv, const struct snapshot_name *name)
{
    struct snapshot_question question = {.name = *name};
    mailbox_send(kv->shard, name->stripe_shard, on_end, &question, sizeof question);
}
