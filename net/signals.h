/*
 * net/signals.h: the main thread's part of a running server.
 */
#ifndef NET_SIGNALS_H
#define NET_SIGNALS_H

#include "net/server.h"

/* What main tells shard 0, a byte each. The other way comes one byte only: lame duck mode is over. */
enum control { CONTROL_STARTED = 1, CONTROL_STOP, CONTROL_RELOAD, CONTROL_LAME_DUCK };

extern const int server_signals[]; /* those that main waits for; 0 ends */

/* Before any thread starts. */
void signals_block(void);
void signals_tell_shards(struct server *server, enum control what);
/* Returns when an orderly end has been asked for, and the shards know. A reload changes *current. */
void signals_wait_for_end(struct server *server, struct options *current);

#endif
