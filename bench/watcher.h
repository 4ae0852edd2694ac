/*
 * bench/watcher.h: one watching connection: an ordered push consumer as nats.go makes it.
 *
 *    IDLE ──create──► CREATING ──answer──► REPLAYING ──nothing pending──► LIVE ──delete──► IDLE
 *
 * Keeps:   consumer sequences without a gap, stream sequences rising, flow control and stalled
 *          heartbeats answered at once. Anything else is counted as an error of the worker.
 * Runs on: the worker's thread.
 */
#ifndef BENCH_WATCHER_H
#define BENCH_WATCHER_H

#include "bench/run.h"
#include "bench/session.h"

struct watcher;

enum watcher_state { WATCHER_IDLE, WATCHER_CREATING, WATCHER_REPLAYING, WATCHER_LIVE };

/* A message, after its order was checked. seq is its revision. */
typedef void watcher_msg_fn(struct watcher *watcher, const struct frame *frame, uint64_t seq);
/* All that the bucket held at creation has been delivered; runs once for each create. */
typedef void watcher_replayed_fn(struct watcher *watcher);

struct watcher {
    struct link link; /* first: callbacks get its address */
    struct worker *worker;
    watcher_msg_fn *on_msg;
    watcher_replayed_fn *on_replayed;
    enum watcher_state state;
    bool is_deleting; /* the answer to a delete is awaited */
    uint32_t sid;     /* of the present consumer */
    uint64_t consumer_seq;
    uint64_t stream_seq;
    uint64_t replay_count; /* what the create answer promised */
    uint64_t replayed;
    char inbox[INBOX_BYTES + 1];
    char name[16];      /* of the present consumer */
    char ack_head[192]; /* what the reply subject of a delivery begins with */
    size_t ack_head_count;
};

void watcher_open(struct watcher *watcher, struct worker *worker, watcher_msg_fn *on_msg,
                  watcher_replayed_fn *on_replayed);
/* deliver_policy is last_per_subject or new. */
void watcher_create(struct watcher *watcher, const char *deliver_policy, bool headers_only);
void watcher_delete(struct watcher *watcher);
void watcher_close(struct watcher *watcher);

#endif
