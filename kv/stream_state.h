/*
 * kv/stream_state.h: a stream's state over all stripes. What names a last sequence waits until everything up to it is durable.
 */
#ifndef KV_STREAM_STATE_H
#define KV_STREAM_STATE_H

#include "kv/room.h"

enum { STREAM_STATE_SUBJECTS = 100000 }; /* a page of subjects */

struct stream_state {
    uint64_t messages, bytes, first_seq, first_ns, last_seq, last_ns, subject_count;
    uint64_t consumer_count;
    struct text subjects; /* owns: "subject":count, … the page that was asked for, in byte order */
    uint64_t subjects_found; /* that match, on whatever page */
    uint64_t *seqs;          /* owns: every sequence there is, ascending; unless not asked for */
    uint64_t seq_count;
    struct text follows; /* owns: "mirror" or "sources" of the info, with a leading comma */
    bool is_too_much;    /* the subjects or sequences are more than one answer is worth */
};

/* Details that cost a walk over the stream. */
struct stream_state_question {
    struct bytes subjects_filter; /* empty: no subjects */
    bool with_seqs;
    uint64_t offset; /* of the page */
};

/* on_done may use the state until it returns; the stream may be gone, or going, by then (is_there false). */
typedef void state_done_fn(void *context, const struct stream_state *state, bool is_there);
/* question: NULL for no details. */
void stream_state_gather(struct stream *stream, const struct stream_state_question *question,
                         void *context, state_done_fn *on_done);

/* On this shard. */
uint64_t stream_consumer_count(const struct stream *stream);

#endif
