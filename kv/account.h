/*
 * kv/account.h: what an account may have of JetStream.
 */
#ifndef KV_ACCOUNT_H
#define KV_ACCOUNT_H

#include "core/accounts.h"
#include "kv/room.h"

static inline bool account_is_enabled(const struct kv *kv, uint32_t account)
{
    return account_has_jetstream(kv_world_options(kv->world)->accounts, account);
}

static inline struct account_limits account_limits(const struct kv *kv, uint32_t account)
{
    return account_limits_of(kv_world_options(kv->world)->accounts, account);
}

/*
 * On the home shard: whether the account may have this configuration beside its streams. `existing`: the one it replaces; NULL: it is a
 * new stream.
 */
bool account_check_stream(const struct kv *kv, uint32_t account, const struct stream *existing,
                          const struct stream_config *config, struct api_failure *failure);

#endif
