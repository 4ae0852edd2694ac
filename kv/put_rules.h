/*
 * kv/put_rules.h: what a message's headers ask of the store.
 *
 * nats-server's checks have an order (jetstream-streams.md section 7.5), and some of them need the stream's state. So what the headers
 * alone forbid is either refused at once (put_rules_read is false), or is a *fault* with the place it has in that order: it counts
 * only when the checks of state before it have passed.
 *
 * Source: jetstream-streams.md sections 7.3 to 7.6.
 */
#ifndef KV_PUT_RULES_H
#define KV_PUT_RULES_H

#include "core/msg.h"
#include "kv/api_error.h"
#include "kv/stream_config.h"

enum {
    PUT_EXPECTS_KEY = 1u << 0,  /* `expected_key` is the key's last sequence */
    PUT_EXPECTS_LAST = 1u << 1, /* `expected_last` is the stream's last sequence */
    PUT_ROLLUP_KEY = 1u << 2,
    PUT_ROLLUP_ALL = 1u << 3,
    PUT_IS_DELETE =
        1u << 4, /* KV-Operation DEL or PURGE without a value: allowed on a nearly full disk */
    PUT_CONN_WAITS =
        1u << 5, /* the connection's next publish waits until this one is sequenced or refused */
    PUT_NO_ACK = 1u << 6,
    PUT_EXPECTS_SUBJECT = 1u << 7, /* with PUT_EXPECTS_KEY: of `subject`, not of the key */
    PUT_HAS_ID = 1u << 8,
    PUT_EXPECTS_ID = 1u << 9,
    PUT_HAS_FAULT = 1u << 10, /* refused unless a check of state comes first */
    PUT_HAS_TTL = 1u << 11,
    PUT_IS_FINAL = 1u << 12,  /* KV-Operation PURGE, or a marker: leaves no marker when it ends */
    PUT_IS_MARKER = 1u << 13, /* the stripe's own, kv/put_marker.c */
};
/* Flags of what must be compared with the stream's state. */
#define PUT_NEEDS_STATE (PUT_EXPECTS_KEY | PUT_EXPECTS_LAST | PUT_HAS_ID | PUT_EXPECTS_ID)

/* The order of the checks that may meet a fault, or need the state. */
enum put_check {
    PUT_CHECK_KEY,
    PUT_CHECK_SUBJECT, /* a subject without its sequence */
    PUT_CHECK_LAST,
    PUT_CHECK_SOURCE, /* schedules, and messages of a source */
    PUT_CHECK_ID,
    PUT_CHECK_LAST_ID,
    PUT_CHECK_ROLLUP,
    PUT_CHECK_SPACE,
    PUT_CHECK_TTL,
    PUT_CHECK_LIMITS,
};

struct put_rules {
    uint32_t flags;
    uint64_t expected_key, expected_last;
    uint64_t ttl;                      /* kv/message_ttl.h */
    struct bytes subject, id, last_id; /* borrow the header block */
    enum put_check fault_place;
};

/*
 * False: the message is refused before anything else is looked at. True with PUT_HAS_FAULT: it is refused at fault_place. The
 * reason is in failure then.
 */
bool put_rules_read(struct put_rules *rules, const struct stream_config *config,
                    const struct msg *msg, struct api_failure *failure);

#endif
