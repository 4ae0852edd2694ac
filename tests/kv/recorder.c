/*
 * tests/kv/recorder.c: see recorder.h.
 */
#include "tests/kv/recorder.h"

#include <stdlib.h>

struct recorder_subscription {
    struct recorder_subscription *next;
    uint32_t shard;
    bool is_full;
    size_t count;
    char subject[];
};

static struct recorder *recorder_of(struct outbox *outbox)
{
    return CONTAINER_OF(outbox, struct recorder, outbox);
}

static struct recorder_subscription **find(struct recorder_post *post, struct bytes subject)
{
    struct recorder_subscription **link = &post->subscriptions;
    while (*link != NULL && !bytes_equal(bytes_of((*link)->subject, (*link)->count), subject))
        link = &(*link)->next;
    return link;
}

/* ---- what kv calls ---- */

static void recorder_deliver(struct outbox *outbox, uint32_t account, struct bytes route,
                             const struct msg *msg)
{
    (void)account;
    struct recorder_post *post = recorder_of(outbox)->post;
    post->on_message(post->context, route, msg);
}

static void recorder_answer(struct outbox *outbox, const struct origin *origin,
                            const struct msg *msg)
{
    recorder_deliver(outbox, origin->account, msg->subject, msg);
}

static void recorder_resume(struct outbox *outbox, const struct origin *origin)
{
    struct recorder *recorder = recorder_of(outbox);
    recorder->post->on_resume(recorder->post->context, recorder->shard, origin);
}

static bool recorder_has_subscription(struct outbox *outbox, uint32_t account, struct bytes subject,
                                      struct bytes queue)
{
    (void)account;
    return queue.count == 0 && *find(recorder_of(outbox)->post, subject) != NULL;
}

static uint64_t recorder_queued_bytes(struct outbox *outbox, uint32_t account, struct bytes subject)
{
    (void)account;
    struct recorder *recorder = recorder_of(outbox);
    const struct recorder_subscription *subscription = *find(recorder->post, subject);
    bool is_full = subscription != NULL && subscription->is_full;
    return is_full && subscription->shard == recorder->shard ? 2 * OUTBOX_SOFT_BYTES : 0;
}

static uint64_t recorder_backlog_bytes(struct outbox *outbox, const struct origin *origin)
{
    (void)outbox;
    (void)origin;
    return 0;
}

/* ---- what tests call ---- */

void recorder_init(struct recorder *recorder, struct recorder_post *post, uint32_t shard)
{
    *recorder = (struct recorder){
        .outbox = {.deliver = recorder_deliver,
                   .answer = recorder_answer,
                   .resume = recorder_resume,
                   .has_subscription = recorder_has_subscription,
                   .queued_bytes = recorder_queued_bytes,
                   .backlog_bytes = recorder_backlog_bytes},
        .post = post,
        .shard = shard,
    };
}

void recorder_post_fini(struct recorder_post *post)
{
    while (post->subscriptions != NULL) {
        struct recorder_subscription *next = post->subscriptions->next;
        free(post->subscriptions);
        post->subscriptions = next;
    }
}

void recorder_subscribe(struct recorder_post *post, struct bytes subject, uint32_t shard)
{
    struct recorder_subscription *subscription = malloc(sizeof *subscription + subject.count);
    ASSERT(subscription != NULL);
    subscription->next = post->subscriptions;
    subscription->shard = shard;
    subscription->is_full = false;
    subscription->count = subject.count;
    memcpy(subscription->subject, subject.data, subject.count);
    post->subscriptions = subscription;
}

void recorder_unsubscribe(struct recorder_post *post, struct bytes subject)
{
    struct recorder_subscription **link = find(post, subject);
    ASSERT(*link != NULL);
    struct recorder_subscription *gone = *link;
    *link = gone->next;
    free(gone);
}

void recorder_set_full(struct recorder_post *post, struct bytes subject, bool is_full)
{
    struct recorder_subscription *subscription = *find(post, subject);
    ASSERT(subscription != NULL);
    subscription->is_full = is_full;
}
