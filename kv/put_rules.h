/*
 * kv/put_rules.h: what a message's headers ask of the store.
 *
 * Source: jetstream-streams.md sections 7.3 to 7.5.
 */
#ifndef KV_PUT_RULES_H
#define KV_PUT_RULES_H

#include "core/msg.h"
#include "kv/api_error.h"
#include "kv/stream_config.h"

enum {
    PUT_EXPECTS_KEY = 1u << 0,  /* `expected` is the key's last sequence */
    PUT_EXPECTS_LAST = 1u << 1, /* `expected` is the stream's last sequence */
    PUT_ROLLUP_KEY = 1u << 2,
    PUT_ROLLUP_ALL = 1u << 3,
    PUT_IS_DELETE =
        1u << 4, /* KV-Operation DEL or PURGE without a value: allowed on a nearly full disk */
    PUT_CONN_WAITS =
        1u << 5, /* the connection's next publish waits until this one is sequenced or refused */
    PUT_NO_ACK = 1u << 6,
};

struct put_rules {
    uint32_t flags;
    uint64_t expected;
};

/* False: the message is refused before it reaches the store. */
bool put_rules_read(struct put_rules *rules, const struct stream_config *config,
                    const struct msg *msg, struct api_failure *failure);

#endif
