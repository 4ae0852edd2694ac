/*
 * kv/outbox.h: the only way anything leaves kv. Filled in by net, one a shard; by a recorder under test.
 */
#ifndef KV_OUTBOX_H
#define KV_OUTBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/msg.h"

/* Which connection a request came from; net makes it, kv hands it back. Valid on the shard that made it. */
struct origin {
    uint32_t conn_slot;
    uint32_t
        conn_generation; /* an answer for a connection that is gone is still delivered to other subscribers */
    uint32_t account; /* in which it speaks, and is answered (core/accounts.h) */
};

struct outbox {
    /*
     * Delivers msg to every subscription of the account, on any shard, that matches `route` (for a consumer's delivery that is the deliver
     * subject, while msg->subject is the stored one). Copies what it keeps. Delivering to nobody is fine.
     */
    void (*deliver)(struct outbox *outbox, uint32_t account, struct bytes route,
                    const struct msg *msg);
    /* As deliver with route = msg->subject, in the origin's account; origin, whose inbox it nearly always is, may make it faster. */
    void (*answer)(struct outbox *outbox, const struct origin *origin, const struct msg *msg);
    /* Ends what KV_TAKEN_WAIT or KV_RETRY began: the connection goes on reading. A connection that is gone is fine. */
    void (*resume)(struct outbox *outbox, const struct origin *origin);
    /* Does a subscription of the account, on any shard, have exactly this subject and queue group (empty: none)? */
    bool (*has_subscription)(struct outbox *outbox, uint32_t account, struct bytes subject,
                             struct bytes queue);
    /*
     * Bytes queued on this shard's fullest connection of the account that subscribes to exactly this subject; consumers stop delivering above
     * OUTBOX_SOFT_BYTES and go on after kv_on_room.
     */
    uint64_t (*queued_bytes)(struct outbox *outbox, uint32_t account, struct bytes subject);
    /*
     * Bytes queued on the connection itself; UINT64_MAX when it is gone. Long answers stop above OUTBOX_SOFT_BYTES and go on after
     * kv_on_room.
     */
    uint64_t (*backlog_bytes)(struct outbox *outbox, const struct origin *origin);
};

enum { OUTBOX_SOFT_BYTES = 1 << 20 };

#endif
