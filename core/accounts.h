/*
 * core/accounts.h: the accounts of a server: each a world of its own for subjects, streams and connections.
 *
 * A number stands for an account as long as the process runs; what outlives it (a stream's record) has the name. An account that
 * was once known stays known, so that a number never means another one.
 *
 * Shared: accounts_intern and account_set_jetstream run on the main thread before the shards, then on shard 0 alone; the rest
 * runs anywhere. A number reaches another shard by a message, behind which the account's name is complete.
 */
#ifndef CORE_ACCOUNTS_H
#define CORE_ACCOUNTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"

enum {
    ACCOUNT_GLOBAL = 0, /* $G: who has no account */
    ACCOUNT_SYSTEM = 1, /* $SYS, unless the configuration names another one */
    ACCOUNTS_MAX = 4096,
    ACCOUNT_NAME_BYTES_MAX = 255,
};

struct accounts; /* opaque; one a process */

/* What an account may have of JetStream; -1: no limit. */
#define ACCOUNT_LIMIT_LIST(X)  \
    X(memory_bytes_max)        \
    X(file_bytes_max)          \
    X(streams_max)             \
    X(consumers_max)           \
    X(ack_pending_max)         \
    X(memory_stream_bytes_max) \
    X(file_stream_bytes_max)   \
    X(needs_bytes_max)
#define ACCOUNT_LIMIT_MEMBER(name) int64_t name;
struct account_limits {
    ACCOUNT_LIMIT_LIST(ACCOUNT_LIMIT_MEMBER) /* needs_bytes_max: 0 or 1 */
};

extern const struct account_limits account_no_limits;

/* With $G, which has JetStream, and $SYS, which has none. */
struct accounts *accounts_create(void);
void accounts_destroy(struct accounts *accounts);

enum { ACCOUNT_NONE = UINT32_MAX };
/* The number of that name; a new account, without JetStream, if it is unknown. ACCOUNT_NONE: there are too many. */
uint32_t accounts_intern(struct accounts *accounts, struct bytes name);
uint32_t accounts_count(const struct accounts *accounts);

struct bytes account_name(const struct accounts *accounts, uint32_t account);
/* NULL: not enabled. */
void account_set_jetstream(struct accounts *accounts, uint32_t account,
                           const struct account_limits *limits);
/* `accounts` may be NULL: $G alone, with JetStream and without limits. */
bool account_has_jetstream(const struct accounts *accounts, uint32_t account);
struct account_limits account_limits_of(const struct accounts *accounts, uint32_t account);

#endif
