/*
 * kv/limits.h: what all streams of the server may hold together, in memory and on disk.
 *
 * Source: server-interface.md section 4.5; nats-server 2.15.2: a stream reserves its max_bytes (10047, 10028), a message is
 * refused while more is held than allowed (10023).
 */
#ifndef KV_LIMITS_H
#define KV_LIMITS_H

#include "kv/room.h"

enum { LIMITS_FILE, LIMITS_MEMORY, LIMITS_COUNT };

/*
 * One a process, by storage. bytes_max: written before the shards run, then by shard 0; read by any: only a number. bytes:
 * written by the shard of that index, once a turn; read by any: an older value lets a turn's messages more in.
 */
struct limits_shared {
    struct shared_u64 bytes_max[LIMITS_COUNT]; /* UINT64_MAX: no limit */
    struct shared_u64 bytes[LIMITS_COUNT][SHARD_COUNT_MAX];
};

void limits_init(struct limits_shared *limits, const struct kv_options *options);
/* A phase: tells what this shard holds. */
void limits_phase(struct shard *shard, void *context);
/* Whether one more message may be stored. */
bool limits_allow(const struct kv *kv, bool is_memory);
/* On the home shard: whether a stream of that configuration, new or instead of `before`, may reserve its max_bytes. */
bool limits_reserve(const struct kv *kv, const struct stream_config *config,
                    const struct stream *before, struct api_failure *failure);
/* On the home shard: the sum of all reservations. */
uint64_t limits_reserved(const struct kv *kv, bool is_memory);

#endif
