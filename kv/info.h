/*
 * kv/info.h: what answers say of streams and of the account.
 */
#ifndef KV_INFO_H
#define KV_INFO_H

#include "kv/request.h"
#include "kv/stream_state.h"

/* {"messages":…, as answers and archives have it. */
void info_append_state(struct text *text, const struct stream_state *state);

/* "config":…,"created":…,"state":…  as CREATE, UPDATE, INFO and LIST give it. */
void info_append_stream(struct text *text, const struct stream *stream,
                        const struct stream_state *state, bool with_server_metadata,
                        bool with_cluster);

/* The endpoints; each takes over its request. */
void info_stream(struct request *request);
void info_names(struct request *request);
void info_list(struct request *request);
void info_account(struct request *request);

#endif
