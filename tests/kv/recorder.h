/*
 * tests/kv/recorder.h: an outbox that hands what leaves kv to a test, and the subscriptions that kv asks it about.
 *
 * All shards' recorders of a test share one post. Nothing is queued: on_message runs while kv delivers, so that a test which
 * acts upon a message does that later, between two turns.
 */
#ifndef TESTS_KV_RECORDER_H
#define TESTS_KV_RECORDER_H

#include "kv/kv.h"

struct recorder_subscription;

struct recorder_post {
    struct recorder_subscription *subscriptions; /* owns */
    void *context;                               /* borrows */
    /* route: who is meant; msg->subject may differ, see kv/outbox.h. Everything is borrowed until the return. */
    void (*on_message)(void *context, struct bytes route, const struct msg *msg);
    void (*on_resume)(void *context, uint32_t shard, const struct origin *origin);
};

struct recorder {
    struct outbox outbox;
    struct recorder_post *post; /* borrows */
    uint32_t shard;
};

void recorder_init(struct recorder *recorder, struct recorder_post *post, uint32_t shard);
void recorder_post_fini(struct recorder_post *post);

/* The caller then tells every shard by kv_on_interest. `shard`: of the connection that subscribes. */
void recorder_subscribe(struct recorder_post *post, struct bytes subject, uint32_t shard);
void recorder_unsubscribe(struct recorder_post *post, struct bytes subject);
/* The subscription's connection is slow: it has more queued than consumers may add to. */
void recorder_set_full(struct recorder_post *post, struct bytes subject, bool is_full);

#endif
