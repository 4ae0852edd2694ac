/*
 * kv/info.h: what answers say of streams and of the account. Counts are gathered from the stripes; what names a last sequence
 * waits until everything up to it is durable.
 */
#ifndef KV_INFO_H
#define KV_INFO_H

#include "kv/request.h"

/* A stream's state as of one gathering. */
struct stream_state {
    uint64_t messages, bytes, first_seq, first_ns, last_seq, last_ns, subject_count;
    uint64_t consumer_count;
    struct text subjects; /* owns: "key":count, … of the subjects asked for */
    uint64_t subjects_found;
    uint64_t *seqs; /* owns: every sequence there is, unless not asked for */
    uint64_t seq_count;
    bool is_too_much; /* the subjects or sequences asked for are more than an answer takes */
};

void stream_state_free(struct stream_state *state);

struct state_gather;
/* on_done may use the state until it returns; the stream may be gone by then (is_there false). */
typedef void state_done_fn(void *context, const struct stream_state *state, bool is_there);
void stream_state_gather(struct stream *stream, struct bytes subjects_filter, bool with_seqs,
                         void *context, state_done_fn *on_done);

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
