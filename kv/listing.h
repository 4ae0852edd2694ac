/*
 * kv/listing.h: what a consumer asks of the stripes: which messages it starts with, and then the messages themselves.
 *
 * listing_ask_sequences also registers the shard's feed with each stripe, in the same message: from the list on, every
 * durable change is offered. Runs on: asks on the consumer's shard, the work on the stripes' shards.
 */
#ifndef KV_LISTING_H
#define KV_LISTING_H

#include "kv/consumer_config.h"
#include "kv/feed.h"
#include "kv/room.h"

enum listing_kind {
    LISTING_NONE,    /* only register */
    LISTING_ALL,     /* every match from from_seq and from_time_ns on */
    LISTING_LAST,    /* the newest match */
    LISTING_PER_KEY, /* of each matching key the newest up to a sequence, and all above it */
};

struct
    listing_part { /* one stripe's answer; then count sequences, ascending unless LISTING_PER_KEY */
    uint64_t first_seq; /* 0: the stripe is empty */
    uint64_t last_seq;  /* ever put there */
    uint64_t count;
};

/*
 * gather->on_part gets one listing_part from each stripe, or several where there are millions of sequences. upto: of
 * LISTING_PER_KEY; UINT64_MAX gives just the newest of each key.
 */
void listing_ask_sequences(struct stream *stream, struct gather *gather,
                           const struct consumer_config *config, enum listing_kind kind,
                           uint64_t from_seq, uint64_t from_time_ns, uint64_t upto);

enum { LISTING_FETCH_MAX = 256, LISTING_FETCH_BYTES = 1 << 20 };

enum listing_found {
    LISTING_FOUND,
    LISTING_GONE,    /* the message is not there any more */
    LISTING_DAMAGED, /* it is, but can not be read */
    LISTING_SKIPPED, /* the answer is full; ask again */
};

struct listing_wanted {
    uint64_t seq;
    uint64_t slot; /* the asker's, echoed */
};

struct listing_message { /* then, if FOUND, a feed_record of record_bytes, padded to 8 */
    uint64_t slot;
    uint32_t found;
    uint32_t record_bytes;
};

/* gather->on_part gets, from the one stripe asked, a run of listing_message, one for each wanted. */
void listing_ask_messages(struct stream *stream, struct gather *gather, uint32_t stripe,
                          const struct listing_wanted *wanted, uint32_t count,
                          bool is_headers_only);

#endif
