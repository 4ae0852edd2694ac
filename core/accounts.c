/*
 * core/accounts.c: names and numbers of accounts, and what each may have of JetStream.
 *
 * Keeps:   a number and its name never change; numbers are given in order.
 * Owns:    the accounts, until the process ends.
 * Runs on: see core/accounts.h. The pointer of an account is stored with release when the account is complete; limits are
 *          single numbers that any recent value does for: relaxed.
 */
#include "core/accounts.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "core/assert.h"

struct account {
    atomic_bool has_jetstream;
#define ACCOUNT_LIMIT_CELL(name) _Atomic int64_t name;
    ACCOUNT_LIMIT_LIST(ACCOUNT_LIMIT_CELL)
    size_t name_count;
    char name[];
};

struct accounts {
    _Atomic uint32_t count;
    struct account *_Atomic cells[ACCOUNTS_MAX];
};

const struct account_limits account_no_limits = {-1, -1, -1, -1, -1, -1, -1, 0};

static struct account *account_at(const struct accounts *accounts, uint32_t account)
{
    ASSERT(account < ACCOUNTS_MAX);
    struct account *found = atomic_load_explicit(&accounts->cells[account], memory_order_acquire);
    ASSERT(found != NULL);
    return found;
}

struct accounts *accounts_create(void)
{
    struct accounts *accounts = calloc(1, sizeof(*accounts));
    ASSERT(accounts != NULL);
    uint32_t global = accounts_intern(accounts, BYTES_LITERAL("$G"));
    uint32_t system = accounts_intern(accounts, BYTES_LITERAL("$SYS"));
    ASSERT(global == ACCOUNT_GLOBAL);
    ASSERT(system == ACCOUNT_SYSTEM);
    account_set_jetstream(accounts, ACCOUNT_GLOBAL, &account_no_limits);
    return accounts;
}

void accounts_destroy(struct accounts *accounts)
{
    if (accounts == NULL)
        return;
    for (uint32_t i = 0; i < accounts_count(accounts); i++)
        free(account_at(accounts, i));
    free(accounts);
}

uint32_t accounts_count(const struct accounts *accounts)
{
    return atomic_load_explicit(&accounts->count, memory_order_acquire);
}

uint32_t accounts_intern(struct accounts *accounts, struct bytes name)
{
    uint32_t count = accounts_count(accounts);
    for (uint32_t i = 0; i < count; i++) {
        if (bytes_equal(account_name(accounts, i), name))
            return i;
    }
    if (count == ACCOUNTS_MAX || name.count > ACCOUNT_NAME_BYTES_MAX)
        return ACCOUNT_NONE;
    struct account *account = calloc(1, sizeof(*account) + name.count);
    ASSERT(account != NULL);
    account->name_count = name.count;
    if (name.count > 0)
        memcpy(account->name, name.data, name.count);
    atomic_store_explicit(&accounts->cells[count], account, memory_order_release);
    atomic_store_explicit(&accounts->count, count + 1, memory_order_release);
    return count;
}

struct bytes account_name(const struct accounts *accounts, uint32_t account)
{
    if (accounts == NULL)
        return BYTES_LITERAL("$G");
    const struct account *found = account_at(accounts, account);
    return bytes_of(found->name, found->name_count);
}

void account_set_jetstream(struct accounts *accounts, uint32_t account,
                           const struct account_limits *limits)
{
    struct account *found = account_at(accounts, account);
#define ACCOUNT_LIMIT_STORE(name) \
    atomic_store_explicit(&found->name, limits->name, memory_order_relaxed);
    if (limits != NULL) {
        ACCOUNT_LIMIT_LIST(ACCOUNT_LIMIT_STORE)
    }
    atomic_store_explicit(&found->has_jetstream, limits != NULL, memory_order_release);
}

bool account_has_jetstream(const struct accounts *accounts, uint32_t account)
{
    if (accounts == NULL)
        return account == ACCOUNT_GLOBAL;
    return atomic_load_explicit(&account_at(accounts, account)->has_jetstream,
                                memory_order_acquire);
}

struct account_limits account_limits_of(const struct accounts *accounts, uint32_t account)
{
    if (accounts == NULL)
        return account_no_limits;
    const struct account *found = account_at(accounts, account);
    struct account_limits limits;
#define ACCOUNT_LIMIT_LOAD(name) \
    limits.name = atomic_load_explicit(&found->name, memory_order_relaxed);
    ACCOUNT_LIMIT_LIST(ACCOUNT_LIMIT_LOAD)
    return limits;
}
