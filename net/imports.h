/*
 * net/imports.h: what an account has of another one: services that it asks, streams that it hears.
 */
#ifndef NET_IMPORTS_H
#define NET_IMPORTS_H

#include "core/auth.h"
#include "core/text.h"
#include "net/conn.h"
#include "net/encoder.h"

/* A request as it goes into the exporting account. */
struct imported {
    uint32_t account;
    struct text subject, reply; /* own */
};

/* Is what conn publishes there a request to an imported service? Fills in *imported_out then; imported_free. */
bool imports_find_service(const struct conn *conn, const struct msg *msg,
                          struct imported *imported_out);
void imported_free(struct imported *imported);

/* An answer, in the exporting account, that belongs elsewhere: account and subject there. False: no such answer. */
bool imports_find_requester(const struct net *net, uint32_t account, struct bytes subject,
                            uint32_t *account_out, struct bytes *subject_out);

/* A new subscription hears the streams that its account imports, too; or no longer. */
void imports_follow(struct conn *conn, struct subscription *subscription);
void imports_unfollow(struct net *net, struct subscription *subscription);
/* All of a connection again: the imports have changed. */
void imports_follow_all(struct conn *conn);
/* The subject that an imported message has here; false: the subscription does not want it. */
bool imports_map_message(const struct subscription *shadow, struct bytes route, struct text *out);

#endif
