/*
 * core/auth.c: memory, look-ups and numbers of what core/auth_read.c has read.
 *
 * Keeps:   blocks never move, so that an address holds until auth_free.
 * Runs on: any thread, once it is built; auth_bind where core/accounts.h says.
 */
#include "core/auth.h"

#include <ctype.h>
#include <stdlib.h>

#include "core/assert.h"

struct auth_block {
    struct auth_block *next;
    size_t count, capacity;
    _Alignas(16) char data[];
};

enum { BLOCK_BYTES = 4096 };

void *auth_alloc(struct auth *auth, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    struct auth_block *block = auth->blocks;
    if (block == NULL || block->capacity - block->count < bytes) {
        size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        block = calloc(1, sizeof(*block) + capacity);
        ASSERT(block != NULL);
        block->capacity = capacity;
        block->next = auth->blocks;
        auth->blocks = block;
    }
    void *memory = block->data + block->count;
    block->count += bytes;
    return memory;
}

struct bytes auth_copy(struct auth *auth, struct bytes bytes)
{
    char *copy = auth_alloc(auth, bytes.count + 1);
    if (bytes.count > 0)
        memcpy(copy, bytes.data, bytes.count);
    return bytes_of(copy, bytes.count);
}

/* Passwords do not stay in freed memory. */
void auth_free(struct auth *auth)
{
    if (auth == NULL)
        return;
    while (auth->blocks != NULL) {
        struct auth_block *block = auth->blocks;
        auth->blocks = block->next;
        explicit_bzero(block->data, block->count);
        free(block);
    }
    free(auth);
}

const struct user *auth_user(const struct auth *auth, struct bytes name)
{
    uint32_t low = 0, high = auth->user_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = bytes_compare(auth->users[middle].name, name);
        if (order == 0)
            return &auth->users[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

bool auth_bind(struct auth *auth, struct accounts *accounts, bool has_jetstream)
{
    for (uint32_t i = 0; i < auth->account_count; i++) {
        struct auth_account *account = &auth->accounts[i];
        account->id = accounts_intern(accounts, account->name);
        if (account->id == ACCOUNT_NONE)
            return false;
    }
    for (uint32_t id = 0; id < accounts_count(accounts); id++) {
        const struct auth_account *found = NULL;
        for (uint32_t i = 0; i < auth->account_count; i++) {
            if (auth->accounts[i].id == id && auth->accounts[i].has_jetstream)
                found = &auth->accounts[i];
        }
        account_set_jetstream(accounts, id, found != NULL && has_jetstream ? &found->limits : NULL);
    }
    return true;
}

/* $2a$10$… with a, b, x or y. */
bool password_is_bcrypt(struct bytes password)
{
    const char *at = password.data;
    return password.count >= 7 && at[0] == '$' && at[1] == '2' && strchr("abxy", at[2]) != NULL
           && at[2] != '\0' && at[3] == '$' && isdigit((unsigned char)at[4])
           && isdigit((unsigned char)at[5]) && at[6] == '$';
}
