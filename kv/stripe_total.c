/*
 * kv/stripe_total.c: what the stripes of a limited stream hold together.
 */
#include "kv/stripe_total.h"

#include "kv/room.h"

bool stream_has_totals(const struct stream *stream)
{
    return stream->stripe_count > 1
           && (stream->config.bytes_max > 0 || stream->config.messages_max > 0);
}

static void publish(struct shared_u64 *total, uint64_t *counted, uint64_t now)
{
    if (now > *counted)
        (void)shared_add_seq_cst(total, now - *counted);
    else if (now < *counted)
        (void)shared_sub_seq_cst(total, *counted - now);
    *counted = now;
}

void stripe_total_publish(struct stripe *stripe)
{
    struct stripe_total *own = &stripe->total;
    struct order *order = stripe->stream->order;
    own->is_counted = order != NULL && stream_has_totals(stripe->stream);
    if (!own->is_counted)
        own->reserved_bytes = own->reserved_messages = 0;
    if (order == NULL)
        return;
    uint64_t bytes = own->is_counted ? index_size_bytes(stripe->index) : 0;
    uint64_t messages = own->is_counted ? index_message_count(stripe->index) : 0;
    publish(&order->bytes, &own->counted_bytes, bytes + own->reserved_bytes);
    publish(&order->messages, &own->counted_messages, messages + own->reserved_messages);
}

/* Adds where the sum stays within the limit (0 or less: there is none). */
static bool add_if_it_fits(struct shared_u64 *total, uint64_t count, int64_t limit)
{
    uint64_t now = shared_load_seq_cst(total);
    do {
        if (limit > 0 && now + count > (uint64_t)limit)
            return false;
    } while (!shared_swap_if(total, now, now + count) && (now = shared_load_seq_cst(total), true));
    return true;
}

const char *stripe_total_reserve(struct stripe *stripe, bool is_full, uint64_t oldest_bytes,
                                 uint64_t size_bytes)
{
    const struct stream_config *config = &stripe->stream->config;
    struct order *order = stripe->stream->order;
    struct stripe_total *own = &stripe->total;
    if (!own->is_counted)
        stripe_total_publish(stripe);
    int64_t messages_max = is_full ? 0 : config->messages_max;
    int64_t bytes_max = is_full && oldest_bytes >= size_bytes ? 0 : config->bytes_max;
    if (!add_if_it_fits(&order->messages, 1, messages_max))
        return "maximum messages exceeded";
    own->counted_messages++;
    own->reserved_messages++;
    if (add_if_it_fits(&order->bytes, size_bytes, bytes_max)) {
        own->counted_bytes += size_bytes;
        own->reserved_bytes += size_bytes;
        return NULL;
    }
    own->reserved_messages--;
    stripe_total_publish(stripe);
    return "maximum bytes exceeded";
}

void stripe_total_unreserve(struct stripe *stripe, uint64_t size_bytes)
{
    struct stripe_total *own = &stripe->total;
    if (!own->is_counted)
        return;
    own->reserved_bytes -= size_bytes < own->reserved_bytes ? size_bytes : own->reserved_bytes;
    own->reserved_messages -= own->reserved_messages > 0;
    if (own->reserved_messages == 0)
        own->reserved_bytes =
            0; /* a message may have been entered with other headers than it came with */
    stripe_total_publish(stripe);
}
