/*
 * kv/sweep_agent.h: the part of a sweep (kv/sweep.h) that works at one stripe.
 *
 *     SWEEP_HOLD ─► [SWEEP_CEILING] ─► SWEEP_COUNT ─► SWEEP_NEXT … ─► end
 *
 * Each question but the end is answered once; the sweep asks an agent one thing at a time. An agent works in slices, a turn each,
 * so that a large stripe stalls nobody. What it shows is the stripe as it was at the first question behind SWEEP_HOLD.
 */
#ifndef KV_SWEEP_AGENT_H
#define KV_SWEEP_AGENT_H

#include "kv/room.h"

struct
    sweep_agent; /* on the stripe's shard; the sweep knows its address, and asks that shard only */

enum { SWEEP_RESULTS_MAX = 1024, SWEEP_WINDOW_MAX = 128, SWEEP_WINDOW_BYTES = 256 << 10 };

enum sweep_kind {
    SWEEP_EVERY, /* every match */
    SWEEP_LAST,  /* the newest of each matching key */
};

/* What is looked for; then pattern_count times a u32 length and a text. No pattern: everything. */
struct sweep_hold {
    struct gather *gather;
    uint32_t stream_id, kind, pattern_count, padding;
    uint64_t from_seq, from_time_ns;
};
struct sweep_hold_answer {
    struct sweep_agent *agent; /* NULL: no stripe is here */
};

struct sweep_ceiling { /* the first message that is not older than a time */
    struct gather *gather;
    struct sweep_agent *agent;
    uint64_t time_ns, upto;
};
struct sweep_ceiling_answer {
    uint64_t first_seq, found_seq; /* 0: there is none */
};

struct sweep_count {
    struct gather *gather;
    struct sweep_agent *agent;
    uint64_t upto;
    uint64_t is_uncounted; /* the answer's counts are not wanted */
};
struct sweep_count_answer {
    uint64_t total, count; /* of all matches; of those from from_seq on */
};

struct sweep_next {
    struct gather *gather;
    struct sweep_agent *agent;
    uint64_t count; /* at most SWEEP_WINDOW_MAX */
};
struct sweep_next_answer { /* then `count` sweep_messages, ascending */
    uint64_t cursor;       /* what comes next is not below this; UINT64_MAX: nothing does */
    uint32_t count;
    uint32_t is_broken; /* the moment could not be held any longer */
};
struct sweep_message { /* then subject, headers, value, padded to 8 */
    uint64_t seq, time_ns;
    uint32_t subject_bytes, headers_bytes, value_bytes;
    uint32_t is_damaged; /* it is there, but can not be read */
};

mailbox_handler_fn sweep_agent_on_hold, sweep_agent_on_ceiling, sweep_agent_on_count,
    sweep_agent_on_next;
/* Payload: the agent's address. No answer. */
mailbox_handler_fn sweep_agent_on_end;
void sweep_agents_fini(struct kv *kv);

static inline uint32_t sweep_padded(uint64_t bytes)
{
    return (uint32_t)((bytes + 7) & ~UINT64_C(7));
}

#endif
