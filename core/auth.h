/*
 * core/auth.h: who may come in, into which account, and what each may do: what a configuration says of it, ready to be asked.
 *
 * One object holds it all. It is built from flags and file (core/auth_read.c) before anybody uses it, and never changed: a reload builds
 * another one, and every shard goes over to it (net/authority.c). Everything it points to is its own, until auth_free.
 */
#ifndef CORE_AUTH_H
#define CORE_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/accounts.h"
#include "core/bytes.h"
#include "core/options.h"
#include "core/status.h"
#include "core/text.h"

struct config_value;

/* "subject" or "subject queue" of a list. */
struct rule {
    struct bytes subject, queue; /* no queue: empty */
};

struct rules {
    struct rule *items;
    uint32_t count;
    bool is_given; /* an empty allow list that is given allows nothing */
};

struct permissions {
    struct rules publish_allow, publish_deny, subscribe_allow, subscribe_deny;
    bool has_responses;    /* the reply subjects of what it receives may be published to: */
    int64_t responses_max; /* so often; negative: any number */
    int64_t responses_ns;  /* for so long; negative: for ever */
};

enum { AUTH_CONNECTION_STANDARD = 1u << 0, AUTH_CONNECTION_WEBSOCKET = 1u << 1 };

struct user {
    struct bytes name,
        password;     /* NUL-terminated, too; a bcrypt hash is recognized by its beginning */
    uint32_t account; /* index in auth->accounts */
    uint32_t connection_types;             /* bits; 0: any */
    const struct permissions *permissions; /* NULL: everything */
    bool is_token;                         /* the password is the token */
};

enum auth_response { AUTH_RESPONSE_SINGLETON, AUTH_RESPONSE_STREAM, AUTH_RESPONSE_CHUNKED };

struct auth_export {
    bool is_service;
    struct bytes subject;
    enum auth_response response;
    int64_t threshold_ns;   /* how long a response may take; a service's */
    struct bytes *accounts; /* who may import it; NULL: everybody */
    uint32_t account_count;
    bool is_private;
};

struct auth_import {
    bool is_service, is_shared;
    struct bytes from;    /* the exporting account's name */
    uint32_t account;     /* its index */
    struct bytes subject; /* there */
    struct bytes to;      /* here */
    const struct auth_export *export;
};

struct auth_account {
    struct bytes name;
    uint32_t id; /* in `accounts`; after auth_bind */
    bool has_jetstream;
    struct account_limits limits;
    const struct permissions *default_permissions;
    struct auth_export *exports;
    uint32_t export_count;
    struct auth_import *imports;
    uint32_t import_count;
    int64_t conns_max, subscriptions_max, payload_max; /* -1: no limit of its own */
};

struct auth {
    struct auth_block *blocks; /* owns: all memory of it */
    struct user *users;        /* sorted by name */
    uint32_t user_count;
    const struct user *single, *token; /* NULL: none */
    const struct user *no_auth_user;
    const struct user *
        anonymous; /* takes whoever gives no credentials, though there are users: all are the system's */
    struct auth_account *accounts; /* $G and $SYS are always there, first */
    uint32_t account_count;
    uint32_t system;  /* index of the system account */
    bool is_required; /* credentials are wanted, whoever has none is refused or is no_auth_user */
    bool has_bcrypt, has_plain; /* passwords of these kinds */
    bool has_accounts;          /* there are some but $G and the system's */
    uint64_t timeout_ns;        /* to come in */
};

/*
 * Reads the keys of a configuration file's root (NULL: there is none) and the flags --user, --pass, --auth. Mistakes are appended to
 * `errors`, a line each, in nats-server's words; STATUS_INVALID then, and *auth_out is NULL.
 */
MUST_USE enum status auth_read(const struct options *options, const struct config_value *root,
                               struct auth **auth_out, struct text *errors, struct text *warnings);
void auth_free(struct auth *auth); /* NULL is fine */
/* Is this a key of the root that auth_read reads? */
bool auth_is_key(const char *path);

/* Numbers for the accounts, and what each may have of JetStream (where core/accounts.h lets us). False: there are too many. */
MUST_USE bool auth_bind(struct auth *auth, struct accounts *accounts, bool has_jetstream);

const struct user *auth_user(const struct auth *auth, struct bytes name); /* of the list; NULL */
static inline const struct auth_account *auth_account_of(const struct auth *auth,
                                                         const struct user *user)
{
    return &auth->accounts[user == NULL ? 0 : user->account];
}

bool password_is_bcrypt(struct bytes password);

/* ---- for auth_read's files ---- */

void *auth_alloc(struct auth *auth, size_t bytes);             /* zeroed */
struct bytes auth_copy(struct auth *auth, struct bytes bytes); /* with a NUL behind it */

#endif
