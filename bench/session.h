/*
 * bench/session.h: a connection before it carries load: connect, handshake, and requests one at a
 * time with blocking calls. Used to prepare buckets, and to hand over ready sockets to a loop.
 */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include "bench/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options;

enum { SESSION_BYTES = 64 * 1024, INBOX_BYTES = 7 + 8 + 1 /* "_INBOX.xxxxxxxx." */ };

struct session {
    int socket;
    uint64_t max_payload;
    char version[32];            /* what INFO says */
    char inbox[INBOX_BYTES + 1]; /* subscribed with a final "*" under sid 1 */
    char *input;                 /* owns; SESSION_BYTES */
    size_t input_at;             /* the first byte not yet used */
    size_t input_count;          /* bytes read */
};

/* Connects and subscribes its inbox. Exits with words on stderr if the server cannot be reached. */
void session_open(struct session *session, const struct options *options);
void session_close(struct session *session);

/*
 * Sends one request and waits at most five seconds for the answer, which stays valid until the next
 * call. False if none came, or the answer is a status like 503; error then says why.
 */
bool session_request(struct session *session, const char *subject, const char *body,
                     struct frame *answer_out, char *error, size_t error_size);

#endif
