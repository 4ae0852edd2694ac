/*
 * kv/hold.c: what holds keep of a stripe.
 *
 * Owns:    stripe->holds, which exists while there is a hold: the holds, and an index of the removed messages.
 */
#include "kv/hold.h"

#include "core/hash.h"
#include "kv/room.h"

struct holds {
    struct hold *first;
    struct index *kept; /* owns; in its messages `where` is the address of a struct held */
    uint64_t bytes;
    uint64_t removals; /* counts them */
};

struct held {
    location where;
    uint64_t number;    /* of its removal */
    uint64_t cause_seq; /* of the message that pushed it out; 0: none did */
    bool is_released;   /* its remover is durable: the space goes when the holds do */
};

static struct held *held_of(const struct message *message)
{
    return (struct held *)(uintptr_t)message->where;
}

static void space_release(struct stripe *stripe, location where)
{
    if (stripe->stream->is_memory)
        heap_free((void *)(uintptr_t)where);
    else
        store_release(stripe->stream->kv->store, where);
}

static bool is_wanted(const struct hold *hold, uint64_t seq, const struct held *held)
{
    return seq <= hold->upto && held->number > hold->begun
           && (held->number > hold->narrowed || held->cause_seq > hold->upto);
}

static bool anybody_wants(const struct holds *holds, uint64_t seq, const struct held *held)
{
    for (const struct hold *hold = holds->first; hold != NULL; hold = hold->next)
        if (is_wanted(hold, seq, held))
            return true;
    return false;
}

/* Lets go of what no hold that is left wants. */
static void holds_prune(struct stripe *stripe)
{
    struct holds *holds = stripe->holds;
    struct index_key *key;
    struct message message, gone;
    for (uint64_t seq = 0; index_seek(holds->kept, seq, &key, &message); seq = message.seq + 1) {
        struct held *held = held_of(&message);
        if (anybody_wants(holds, message.seq, held))
            continue;
        holds->bytes -= message.size_bytes;
        if (held->is_released)
            space_release(stripe, held->where);
        heap_free(held);
        (void)index_remove(holds->kept, key, message.seq, &gone);
    }
    if (holds->first != NULL)
        return;
    ASSERT(index_message_count(holds->kept) == 0);
    index_destroy(holds->kept);
    heap_free(holds);
    stripe->holds = NULL;
}

void hold_begin(struct hold *hold, struct stripe *stripe)
{
    if (stripe->holds == NULL) {
        struct heap *heap = stripe->stream->kv->shard->heap;
        stripe->holds = heap_alloc_zeroed(heap, sizeof *stripe->holds);
        stripe->holds->kept = index_create(heap);
    }
    struct holds *holds = stripe->holds;
    *hold = (struct hold){
        .next = holds->first,
        .stripe = stripe,
        .begun = holds->removals,
        .narrowed = holds->removals,
        .upto = UINT64_MAX,
    };
    holds->first = hold;
}

void hold_narrow(struct hold *hold, uint64_t upto)
{
    if (hold->stripe == NULL)
        return;
    hold->narrowed = hold->stripe->holds->removals;
    hold->upto = upto;
    holds_prune(hold->stripe);
}

void hold_end(struct hold *hold)
{
    struct stripe *stripe = hold->stripe;
    if (stripe == NULL)
        return;
    struct hold **link = &stripe->holds->first;
    while (*link != hold)
        link = &(*link)->next;
    *link = hold->next;
    hold->stripe = NULL;
    holds_prune(stripe);
}

void hold_break_all(struct stripe *stripe)
{
    while (stripe->holds != NULL) {
        struct hold *hold = stripe->holds->first;
        hold->is_broken = true;
        hold_end(hold);
    }
}

bool hold_seek(const struct hold *hold, uint64_t seq, struct index_key **key_out,
               struct message *message_out)
{
    if (hold->stripe == NULL)
        return false;
    for (; index_seek(hold->stripe->holds->kept, seq, key_out, message_out);
         seq = message_out->seq + 1) {
        struct held *held = held_of(message_out);
        if (!is_wanted(hold, message_out->seq, held))
            continue;
        message_out->where = held->where;
        return true;
    }
    return false;
}

void hold_keep(struct stripe *stripe, const struct index_key *key, const struct message *message)
{
    struct holds *holds = stripe->holds;
    struct held gone = {message->where, ++holds->removals, stripe->entering_seq, false};
    if (!anybody_wants(holds, message->seq, &gone))
        return;
    if (index_message_count(holds->kept) == HOLD_KEPT_MAX
        || holds->bytes + message->size_bytes > HOLD_KEPT_BYTES_MAX) {
        hold_break_all(stripe);
        return;
    }
    struct held *held = heap_alloc(stripe->stream->kv->shard->heap, sizeof *held);
    *held = gone;
    struct bytes name = index_key_bytes(key);
    struct message kept = *message;
    kept.where = (location)(uintptr_t)held;
    (void)index_insert(holds->kept, name, hash_bytes(name.data, name.count), &kept);
    holds->bytes += message->size_bytes;
}

void hold_release(struct stripe *stripe, location where, uint64_t seq)
{
    struct index_key *key;
    struct message kept;
    if (stripe->holds != NULL && index_find_seq(stripe->holds->kept, seq, &key, &kept)
        && held_of(&kept)->where == where)
        held_of(&kept)->is_released = true;
    else
        space_release(stripe, where);
}
