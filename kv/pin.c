/*
 * kv/pin.c: the state of a stripe at one sequence.
 */
#include "kv/pin.h"

#include <stdlib.h>

#include "core/hash.h"
#include "kv/room.h"

/* A message that was removed, or never entered, within the window. */
struct note {
    struct message message;
    uint64_t killer; /* the sequence that removed it; 0: none did */
    void *copy;      /* owns; NULL: message.where is retained */
    char *key;       /* owns */
    uint32_t key_bytes;
};

/* A dead message that will be read. */
struct kept {
    uint64_t seq; /* the top bit: `where` is a copy's address */
    uint64_t where;
};

#define KEPT_IS_COPY (UINT64_C(1) << 63)

struct pin {
    struct pin *next; /* of the stripe */
    struct stripe *stripe;
    uint32_t from;
    uint64_t number;
    bool is_frozen;
    uint64_t upto;
    uint64_t cursor;    /* read up to here */
    struct note *notes; /* owns */
    uint64_t note_count, note_capacity;
    struct kept *kept; /* owns: a heap, the smallest sequence first */
    uint64_t kept_count, kept_capacity;
    uint64_t last_seq, last_ns; /* of the stripe when the pin was made */
};

static struct heap *heap_of(const struct stripe *stripe)
{
    return stripe->stream->kv->shard->heap;
}

/* ---- copies ---- */

struct copy {
    uint32_t bytes;
    char record[] __attribute__((aligned(16)));
};

static void *copy_of_record(struct stripe *stripe, const struct record *record)
{
    uint32_t bytes = record_bytes(record);
    struct copy *copy = heap_alloc_aligned(heap_of(stripe), sizeof *copy + bytes, 16);
    copy->bytes = bytes;
    record_encode(record, copy->record);
    return copy->record;
}

static void copy_free(void *record)
{
    if (record != NULL)
        heap_free((char *)record - offsetof(struct copy, record));
}

static uint32_t copy_bytes(const void *record)
{
    const struct copy *copy =
        (const struct copy *)((const char *)record - offsetof(struct copy, record));
    return copy->bytes;
}

/* Of a memory stream's message, which is about to be freed. */
static void *copy_of_message(struct stripe *stripe, const struct message *message)
{
    struct store_fetch fetch;
    bool is_there = stripe_fetch(stripe, message->where, &fetch, NULL);
    ASSERT(is_there);
    void *copy = copy_of_record(stripe, &fetch.record);
    stripe_fetch_release(stripe, &fetch);
    return copy;
}

static void let_go(struct stripe *stripe, location where, void *copy)
{
    if (copy != NULL)
        copy_free(copy);
    else
        store_release(stripe->stream->kv->store, where);
}

/* ---- life ---- */

struct pin *pin_create(struct stripe *stripe, uint32_t from, uint64_t number)
{
    struct pin *pin = heap_alloc_zeroed(heap_of(stripe), sizeof *pin);
    pin->stripe = stripe;
    pin->from = from;
    pin->number = number;
    pin->last_seq = stripe->last_seq;
    pin->last_ns = stripe->last_time_ns;
    pin->next = stripe->pins;
    stripe->pins = pin;
    return pin;
}

struct pin *pin_find(const struct stripe *stripe, uint32_t from, uint64_t number)
{
    struct pin *pin = stripe->pins;
    while (pin != NULL && (pin->from != from || pin->number != number))
        pin = pin->next;
    return pin;
}

static void note_drop(struct pin *pin, struct note *note)
{
    let_go(pin->stripe, note->message.where, note->copy);
    heap_free(note->key);
}

void pin_destroy(struct pin *pin)
{
    struct pin **link = &pin->stripe->pins;
    while (*link != pin)
        link = &(*link)->next;
    *link = pin->next;
    for (uint64_t i = 0; i < pin->note_count; i++)
        note_drop(pin, &pin->notes[i]);
    for (uint64_t i = 0; i < pin->kept_count; i++) {
        bool is_copy = (pin->kept[i].seq & KEPT_IS_COPY) != 0;
        let_go(pin->stripe, pin->kept[i].where,
               is_copy ? (void *)(uintptr_t)pin->kept[i].where : NULL);
    }
    heap_free(pin->notes);
    heap_free(pin->kept);
    heap_free(pin);
}

void pins_drop(struct stripe *stripe)
{
    while (stripe->pins != NULL)
        pin_destroy(stripe->pins);
}

/* ---- what is kept ---- */

static uint64_t kept_seq(const struct pin *pin, uint64_t at)
{
    return pin->kept[at].seq & ~KEPT_IS_COPY;
}

static void kept_push(struct pin *pin, uint64_t seq, location where, void *copy)
{
    if (pin->kept_count == pin->kept_capacity) {
        pin->kept_capacity = pin->kept_capacity == 0 ? 64 : 2 * pin->kept_capacity;
        pin->kept =
            heap_resize(heap_of(pin->stripe), pin->kept, pin->kept_capacity * sizeof *pin->kept);
    }
    uint64_t at = pin->kept_count++;
    while (at > 0 && kept_seq(pin, (at - 1) / 2) > seq) {
        pin->kept[at] = pin->kept[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    pin->kept[at] = copy == NULL ? (struct kept){seq, where}
                                 : (struct kept){seq | KEPT_IS_COPY, (uint64_t)(uintptr_t)copy};
}

static struct kept kept_pop(struct pin *pin)
{
    struct kept top = pin->kept[0], last = pin->kept[--pin->kept_count];
    uint64_t at = 0;
    for (;;) {
        uint64_t child = 2 * at + 1;
        if (child >= pin->kept_count)
            break;
        if (child + 1 < pin->kept_count && kept_seq(pin, child + 1) < kept_seq(pin, child))
            child++;
        if (kept_seq(pin, child) >= (last.seq & ~KEPT_IS_COPY))
            break;
        pin->kept[at] = pin->kept[child];
        at = child;
    }
    if (pin->kept_count > 0)
        pin->kept[at] = last;
    return top;
}

uint64_t pin_kept_count(const struct pin *pin)
{
    return pin->kept_count;
}

/* ---- what happens to the stripe ---- */

static struct note *note_add(struct pin *pin, const struct message *message, struct bytes key)
{
    if (pin->note_count == pin->note_capacity) {
        pin->note_capacity = pin->note_capacity == 0 ? 64 : 2 * pin->note_capacity;
        pin->notes =
            heap_resize(heap_of(pin->stripe), pin->notes, pin->note_capacity * sizeof *pin->notes);
    }
    struct note *note = &pin->notes[pin->note_count++];
    *note = (struct note){.message = *message, .killer = pin->stripe->entering_seq};
    note->key = heap_alloc(heap_of(pin->stripe), key.count);
    note->key_bytes = (uint32_t)key.count;
    memcpy(note->key, key.data, key.count);
    return note;
}

static void *keep_alive(struct stripe *stripe, const struct message *message)
{
    if (stripe->stream->is_memory)
        return copy_of_message(stripe, message);
    store_retain(stripe->stream->kv->store, message->where);
    return NULL;
}

void pins_on_removal(struct stripe *stripe, const struct index_key *key,
                     const struct message *message)
{
    for (struct pin *pin = stripe->pins; pin != NULL; pin = pin->next) {
        if (!pin->is_frozen) {
            struct note *note = note_add(pin, message, index_key_bytes(key));
            note->copy = keep_alive(stripe, message);
        } else if (message->seq <= pin->upto && message->seq > pin->cursor) {
            kept_push(pin, message->seq, message->where, keep_alive(stripe, message));
        }
    }
}

void pins_on_superseded(struct stripe *stripe, const struct record *record)
{
    char room[STREAM_KEY_ROOM];
    struct message message = {
        .seq = record->seq,
        .time_ns = record->time_ns,
        .size_bytes = stripe_message_size(stripe->stream, record->key.count, record->headers.count,
                                          record->value.count),
        .user = (record->flags & KV_RECORD_IS_ROLLUP) != 0 ? STRIPE_MESSAGE_IS_ROLLUP : 0,
    };
    for (struct pin *pin = stripe->pins; pin != NULL; pin = pin->next) {
        if (pin->is_frozen) /* all up to its sequence had arrived */
            continue;
        struct note *note =
            note_add(pin, &message, stream_key_of(stripe->stream, record->key, room));
        note->killer = record->seq; /* not none: the rules of its key decide */
        note->copy = copy_of_record(stripe, record);
    }
}

/* ---- freezing ---- */

static struct bytes note_key(const struct note *note)
{
    return bytes_of(note->key, note->key_bytes);
}

static int note_compare(const void *a, const void *b)
{
    const struct note *left = a, *right = b;
    int order = bytes_compare(note_key(left), note_key(right));
    if (order != 0)
        return order;
    return left->message.seq < right->message.seq ? -1 : left->message.seq > right->message.seq;
}

/* Of one key: the messages of the index that are not above W, and the notes. */
struct key_state {
    struct pin *pin;
    struct index_key *entry; /* NULL: none */
    uint32_t index_count;    /* not above W */
};

static struct key_state key_state_of(struct pin *pin, struct bytes key)
{
    struct index *index = pin->stripe->index;
    struct key_state state = {.pin = pin};
    state.entry = index_find(index, key, hash_bytes(key.data, key.count));
    if (state.entry == NULL)
        return state;
    uint32_t count = index_key_message_count(index, state.entry);
    while (state.index_count < count
           && index_key_message(index, state.entry, state.index_count).seq <= pin->upto)
        state.index_count++;
    return state;
}

/* Do newer messages of the key, not above W, push this one out? `notes`: those newer than it. */
static bool is_pushed_out(const struct key_state *state, const struct note *note,
                          const struct note *notes, uint64_t note_count)
{
    const struct stripe *stripe = state->pin->stripe;
    int64_t keep = stripe->stream->config.messages_per_subject_max;
    uint64_t newer = note_count;
    bool is_rolled_up = false;
    for (uint64_t i = 0; i < note_count; i++)
        is_rolled_up = is_rolled_up || (notes[i].message.user & STRIPE_MESSAGE_IS_ROLLUP) != 0;
    for (uint32_t i = state->index_count; i-- > 0;) {
        struct message message = index_key_message(stripe->index, state->entry, i);
        if (message.seq < note->message.seq)
            break;
        newer++;
        is_rolled_up = is_rolled_up || (message.user & STRIPE_MESSAGE_IS_ROLLUP) != 0;
    }
    return is_rolled_up || (keep > 0 && newer >= (uint64_t)keep);
}

static bool was_there(const struct key_state *state, const struct note *note,
                      const struct note *newer, uint64_t newer_count)
{
    /* In one stripe messages arrive in order: who pushed it out came before W, or after. */
    if (state->pin->stripe->stream->stripe_count == 1)
        return note->killer > state->pin->upto;
    return !is_pushed_out(state, note, newer, newer_count);
}

static void state_add(struct pin_state *state, const struct message *message)
{
    state->messages++;
    state->bytes += message->size_bytes;
    if (state->first_seq == 0 || message->seq < state->first_seq) {
        state->first_seq = message->seq;
        state->first_ns = message->time_ns;
    }
    if (message->seq > state->last_seq) {
        state->last_seq = message->seq;
        state->last_ns = message->time_ns;
    }
}

/* The notes of one key, oldest first: those that were there at W are kept. */
static void freeze_key(struct pin *pin, struct note *notes, uint64_t count, struct pin_state *state)
{
    struct key_state key = key_state_of(pin, note_key(notes));
    bool is_any = key.index_count > 0;
    for (uint64_t i = count; i-- > 0;) {
        struct note *note = &notes[i];
        if (!was_there(&key, note, note + 1, count - i - 1))
            continue;
        state->subject_count += !is_any;
        is_any = true;
        state_add(state, &note->message);
        kept_push(pin, note->message.seq, note->message.where, note->copy);
        note->message.where = LOCATION_NONE; /* it was taken over */
        note->copy = NULL;
    }
}

/* What the index has of W: all of it, without what came later. */
static void count_index(const struct pin *pin, struct pin_state *state)
{
    struct index *index = pin->stripe->index;
    struct index_key *key;
    struct message message;
    state->messages = index_message_count(index);
    state->bytes = index_size_bytes(index);
    state->subject_count = index_key_count(index);
    for (uint64_t seq = pin->upto + 1; index_seek(index, seq, &key, &message);
         seq = message.seq + 1) {
        state->messages--;
        state->bytes -= message.size_bytes;
        state->subject_count -= index_key_message(index, key, 0).seq == message.seq;
    }
    if (index_seek(index, 0, &key, &message) && message.seq <= pin->upto) {
        state->first_seq = message.seq;
        state->first_ns = message.time_ns;
    }
    bool is_beyond = pin->stripe->last_seq > pin->upto;
    state->last_seq = is_beyond ? pin->last_seq : pin->stripe->last_seq;
    state->last_ns = is_beyond ? pin->last_ns : pin->stripe->last_time_ns;
    if (index_seek_back(index, pin->upto, &key, &message) && message.seq > state->last_seq) {
        state->last_seq = message.seq;
        state->last_ns = message.time_ns;
    }
}

/* Without those above W, and those that a removal without a sequence took. */
static void drop_irrelevant(struct pin *pin)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < pin->note_count; i++) {
        if (pin->notes[i].killer == 0 || pin->notes[i].message.seq > pin->upto)
            note_drop(pin, &pin->notes[i]);
        else
            pin->notes[count++] = pin->notes[i];
    }
    pin->note_count = count;
}

void pin_freeze(struct pin *pin, uint64_t upto, struct pin_state *state_out)
{
    ASSERT(!pin->is_frozen);
    pin->upto = upto;
    pin->is_frozen = true;
    *state_out = (struct pin_state){0};
    count_index(pin, state_out);
    drop_irrelevant(pin);
    if (pin->note_count > 1)
        qsort(pin->notes, pin->note_count, sizeof *pin->notes, note_compare);
    for (uint64_t i = 0, end; i < pin->note_count; i = end) {
        for (end = i + 1; end < pin->note_count
                          && bytes_equal(note_key(&pin->notes[i]), note_key(&pin->notes[end]));)
            end++;
        freeze_key(pin, &pin->notes[i], end - i, state_out);
    }
    for (uint64_t i = 0; i < pin->note_count; i++) {
        if (pin->notes[i].copy != NULL || pin->notes[i].message.where != LOCATION_NONE)
            let_go(pin->stripe, pin->notes[i].message.where, pin->notes[i].copy);
        heap_free(pin->notes[i].key);
    }
    heap_free(pin->notes);
    pin->notes = NULL;
    pin->note_count = pin->note_capacity = 0;
}

/* ---- reading ---- */

bool pin_next(struct pin *pin, struct pinned *pinned_out)
{
    ASSERT(pin->is_frozen);
    struct index_key *key;
    struct message message;
    bool is_indexed = pin->cursor < pin->upto
                      && index_seek(pin->stripe->index, pin->cursor + 1, &key, &message)
                      && message.seq <= pin->upto;
    if (pin->kept_count > 0 && (!is_indexed || kept_seq(pin, 0) < message.seq)) {
        struct kept kept = kept_pop(pin);
        bool is_copy = (kept.seq & KEPT_IS_COPY) != 0;
        void *copy = is_copy ? (void *)(uintptr_t)kept.where : NULL;
        *pinned_out = (struct pinned){
            .seq = kept.seq & ~KEPT_IS_COPY,
            .where = is_copy ? LOCATION_NONE : kept.where,
            .copy = copy,
            .bytes = is_copy ? copy_bytes(copy) : (uint32_t)store_record_bytes(kept.where),
            .is_retained = !is_copy,
        };
    } else if (is_indexed) {
        *pinned_out = (struct pinned){
            .seq = message.seq,
            .where = message.where,
            .bytes = message.size_bytes,
        };
    } else {
        return false;
    }
    pin->cursor = pinned_out->seq;
    return true;
}

void pinned_release(struct stripe *stripe, struct pinned *pinned)
{
    copy_free(pinned->copy);
    if (pinned->is_retained)
        store_release(stripe->stream->kv->store, pinned->where);
    pinned->copy = NULL;
    pinned->is_retained = false;
}
