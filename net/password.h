/*
 * net/password.h: is this the password?
 *
 * A plain one is compared at once, in a time that does not tell where they differ. A bcrypt hash takes tens of milliseconds, which
 * would hold up everybody on the shard: threads of their own work these out.
 */
#ifndef NET_PASSWORD_H
#define NET_PASSWORD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "kv/outbox.h"

struct net;
struct passwords;      /* opaque; one a process */
struct password_check; /* opaque: one hash to be worked out */

/* For plain ones. */
bool password_equals(struct bytes wanted, struct bytes given);
/* Takes as long as the hash's cost asks for. False too for what is no bcrypt hash. */
bool password_has_hash(struct bytes hash, struct bytes given);

struct passwords *passwords_create(void); /* starts no thread before the first check */
/* When no shard runs any more. A thread that is still at a hash is left to the end of the process. */
void passwords_destroy(struct passwords *passwords);

typedef void password_done_fn(struct net *net, const struct origin *origin, struct bytes hash,
                              bool is_good);
/*
 * Copies hash and given. on_done runs on this shard in a later turn, unless the check was cancelled before; after that the check is
 * gone. NULL: no thread could be started.
 */
struct password_check *password_check_start(struct net *net, const struct origin *origin,
                                            struct bytes hash, struct bytes given,
                                            password_done_fn *on_done);
/* Nobody waits for it any more. */
void password_check_cancel(struct net *net, struct password_check *check);

#endif
