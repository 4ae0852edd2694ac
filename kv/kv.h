/*
 * kv/kv.h: JetStream's Key/Value side of one shard, as net sees it: publishes go in, messages come out of the outbox.
 *
 *     kv_world (one a process): options, the streams' shared words        kv (one a shard): streams, stripes, consumers
 *
 * Runs on: the shard that owns the kv; kv_world_create and _destroy outside of all shards.
 */
#ifndef KV_KV_H
#define KV_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "core/accounts.h"
#include "core/shard.h"
#include "kv/outbox.h"
#include "store/store.h"

struct kv;       /* opaque; one a shard */
struct kv_world; /* opaque; one a process */

struct kv_options {
    const char *server_name; /* borrowed for ever: cluster.leader in stream info */
    uint32_t shard_count;
    uint64_t payload_bytes_max; /* max_payload */
    struct accounts *accounts;  /* shares; NULL: $G alone, with JetStream and without limits */
    bool is_strict;             /* refuse unknown fields in API requests (10025) */
    uint64_t memory_bytes_max, file_bytes_max; /* of all streams together; 0: no limit */
    struct store_options store;
};

struct kv_world *kv_world_create(const struct kv_options *options,
                                 struct store_directory *directory);
/* From now on these limits hold; 0: none. On shard 0, or before any shard runs. */
void kv_world_set_limits(struct kv_world *world, uint64_t memory_bytes_max,
                         uint64_t file_bytes_max);
void kv_world_destroy(struct kv_world *world); /* after every kv */

/*
 * Makes this shard's kv and store and begins recovery. When all shards of the world have recovered, on_ready runs on each shard
 * (recovery->status of all shards together; on shard 0 with the sums); on STATUS_OK the world then takes requests.
 */
struct kv *kv_create(struct shard *shard, struct kv_world *world, struct outbox *outbox,
                     void *context,
                     void (*on_ready)(void *context, const struct store_recovery *recovery));
void kv_destroy(struct kv *kv);
/* No new requests come. False once everything acked or awaiting its ack is durable; call it each turn until then. */
bool kv_is_busy(struct kv *kv);

enum kv_take {
    KV_NONE,       /* nobody here takes this subject: no stream captures it, no API answers it */
    KV_TAKEN,      /* stored, answered, or to be answered; go on */
    KV_TAKEN_WAIT, /* taken, but this connection's next message must wait until outbox->resume */
    KV_RETRY, /* not taken, nothing changed: a limit is reached; hand in the same message again after outbox->resume */
};

/*
 * A message that a client published (PUB or HPUB), before or after its delivery to ordinary subscribers. Everything msg points
 * to is borrowed until the return. Never calls outbox->resume inside.
 */
enum kv_take kv_publish(struct kv *kv, const struct origin *origin, const struct msg *msg);

/*
 * In this account a first subscription with exactly this subject and queue group has come, or the last one has gone, on any shard. net calls
 * it on every shard for every such change.
 */
void kv_on_interest(struct kv *kv, uint32_t account, struct bytes subject, struct bytes queue,
                    bool is_present);
/* A connection of this shard that was above OUTBOX_SOFT_BYTES has room again. */
void kv_on_room(struct kv *kv);

/* Figures for monitoring, of all shards together; up to a second old. Any shard. */
struct kv_figures {
    uint64_t streams, consumers, messages, bytes;
    uint64_t memory_bytes, file_bytes;       /* of these */
    uint64_t reserved_memory, reserved_file; /* sums of max_bytes */
    uint64_t api_total, api_errors;
};
void kv_figures(const struct kv *kv, struct kv_figures *figures_out);

#endif
