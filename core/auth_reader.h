/*
 * core/auth_reader.h: what the files share that read users, permissions and accounts from a configuration.
 *
 *     auth_read.c          the whole: flags, authorization, the checks that need all of it
 *     auth_permissions.c   users' lists of subjects
 *     auth_accounts.c      accounts, their JetStream, exports and imports
 *
 * Source: server-interface.md sections 4.2 to 4.4 (checked on nats-server 2.15.2).
 */
#ifndef CORE_AUTH_READER_H
#define CORE_AUTH_READER_H

#include "core/auth.h"
#include "core/config.h"

/* One run of auth_read. */
struct auth_reader {
    struct auth *auth;
    struct text *errors, *warnings; /* borrows */
    uint32_t user_capacity, account_capacity;
};

/* The members of a map one by one: looks up `key` (lower case) among the names, separated by blanks. */
bool auth_key_is(const struct config_value *value, const char *names);
void auth_error(struct auth_reader *reader, const struct config_value *value, const char *format,
                ...) __attribute__((format(printf, 3, 4)));
/* interface conversion: … */
void auth_type_error(struct auth_reader *reader, const struct config_value *value,
                     const char *wanted);
void auth_unknown(struct auth_reader *reader, const struct config_value *value);
/* A key that pail does not have; `where` names its block. */
void auth_refuse(struct auth_reader *reader, const struct config_value *value, const char *where);
/* A copy in the auth; false: another type, told. */
bool auth_text(struct auth_reader *reader, const struct config_value *value,
               struct bytes *text_out);
bool auth_bool(struct auth_reader *reader, const struct config_value *value, bool *value_out);
bool auth_integer(struct auth_reader *reader, const struct config_value *value,
                  int64_t *number_out);

/* ---- auth_permissions.c ---- */

/* NULL when it is wrong, which was told. */
const struct permissions *auth_read_permissions(struct auth_reader *reader,
                                                const struct config_value *value);

/* ---- auth_read.c ---- */

/* Users of an account; those without permissions of their own get the default ones. */
void auth_read_users(struct auth_reader *reader, const struct config_value *array, uint32_t account,
                     const struct permissions *default_permissions);

/* ---- auth_accounts.c ---- */

uint32_t auth_add_account(struct auth_reader *reader, struct bytes name); /* its index */
uint32_t auth_find_account(const struct auth *auth, struct bytes name);   /* ACCOUNT_NONE */
void auth_read_accounts(struct auth_reader *reader, const struct config_value *value);
/* All accounts are there: each import finds its export. */
void auth_link_imports(struct auth_reader *reader);

#endif
