/*
 * net/subscriptions.c: who wants which subjects.
 *
 *     add, remove, set_remote ──► the tree (net/node.c) ──► the observer          match (net/match.c)
 *
 * Keeps:   a subscription is in exactly one array; the observer is told when the tree is whole, and may read it then.
 *          Removed subscriptions stay allocated until subscriptions_sweep, for a match may still name them.
 * Owns:    the tree and the subscriptions.
 * Runs on: its shard.
 */
#include "net/subscriptions.h"

#include "core/assert.h"
#include "net/node.h"

static void tell(struct subscriptions *subscriptions, const struct subscription_node *node,
                 struct bytes queue, uint32_t local_before, uint32_t local_after, bool was_present,
                 bool is_present_now);

/* ---- life ---- */

struct subscriptions *subscriptions_create(struct heap *heap, uint32_t shard_index,
                                           const struct subscriptions_observer *observer)
{
    struct subscriptions *subscriptions = heap_alloc_zeroed(heap, sizeof(*subscriptions));
    subscriptions->heap = heap;
    subscriptions->shard_index = shard_index;
    subscriptions->generation = 1;
    subscriptions->observer = *observer;
    subscriptions->root =
        node_create(heap, NULL, (struct bytes){NULL, 0}, (struct bytes){NULL, 0}, 0);
    return subscriptions;
}

void subscriptions_destroy(struct subscriptions *subscriptions)
{
    if (subscriptions == NULL)
        return;
    subscriptions_sweep(subscriptions);
    node_destroy(subscriptions->root);
    heap_free(subscriptions);
}

void subscriptions_sweep(struct subscriptions *subscriptions)
{
    while (subscriptions->removed != NULL) {
        struct subscription *subscription = subscriptions->removed;
        subscriptions->removed = subscription->next;
        heap_free(subscription);
    }
}

/* ---- changes ---- */

/* Appends to an array of subscriptions and gives the position. */
static uint32_t array_append(struct heap *heap, struct subscription ***array, uint32_t *count,
                             uint32_t *capacity, struct subscription *subscription)
{
    if (*count == *capacity) {
        uint32_t wider = *capacity == 0 ? 1 : *capacity * 2;
        *array = heap_resize(heap, *array, wider * sizeof(struct subscription *));
        *capacity = wider;
    }
    (*array)[*count] = subscription;
    return (*count)++;
}

static void array_remove(struct subscription **array, uint32_t *count, uint32_t position)
{
    ASSERT(position < *count);
    *count -= 1;
    array[position] = array[*count];
    array[position]->position = position;
}

struct subscription *subscriptions_add(struct subscriptions *subscriptions, struct conn *conn,
                                       struct bytes subject, struct bytes queue, struct bytes sid)
{
    struct heap *heap = subscriptions->heap;
    struct subscription *subscription = heap_alloc(heap, sizeof(struct subscription) + sid.count);
    struct subscription_node *node = node_make(subscriptions, subject);
    struct queue_group *group = queue.count > 0 ? node_make_group(heap, node, queue) : NULL;
    *subscription = (struct subscription){
        .conn = conn, .node = node, .group = group, .sid_count = (uint32_t)sid.count};
    memcpy(subscription->sid, sid.data, sid.count);

    bool was_present = node_is_wanted(node, group);
    uint32_t count = group == NULL ? node->plain_count : group->member_count;
    if (group == NULL)
        subscription->position = array_append(heap, &node->plain, &node->plain_count,
                                              &node->plain_capacity, subscription);
    else
        subscription->position = array_append(heap, &group->members, &group->member_count,
                                              &group->member_capacity, subscription);
    subscriptions->count++;
    subscriptions->generation++;
    tell(subscriptions, node, queue, count, count + 1, was_present, true);
    return subscription;
}

void subscriptions_remove(struct subscriptions *subscriptions, struct subscription *subscription)
{
    struct subscription_node *node = subscription->node;
    struct queue_group *group = subscription->group;
    ASSERT(node != NULL);
    struct bytes queue = group == NULL ? (struct bytes){NULL, 0} : queue_group_name(group);

    if (group == NULL)
        array_remove(node->plain, &node->plain_count, subscription->position);
    else
        array_remove(group->members, &group->member_count, subscription->position);
    uint32_t count = group == NULL ? node->plain_count : group->member_count;
    subscription->node = NULL;
    subscription->next = subscriptions->removed;
    subscriptions->removed = subscription;
    subscriptions->count--;
    subscriptions->generation++;
    tell(subscriptions, node, queue, count + 1, count, true, node_is_wanted(node, group));
    node_prune(subscriptions, node);
}

void subscriptions_set_remote(struct subscriptions *subscriptions, uint32_t shard_index,
                              struct bytes subject, struct bytes queue, uint32_t count)
{
    ASSERT(shard_index < SHARD_COUNT_MAX);
    struct subscription_node *node = node_make(subscriptions, subject);
    struct queue_group *group =
        queue.count > 0 ? node_make_group(subscriptions->heap, node, queue) : NULL;
    bool was_present = node_is_wanted(node, group);
    uint64_t bit = (uint64_t)1 << shard_index;
    if (group != NULL) {
        group->remote_total = group->remote_total - group->remotes[shard_index] + count;
        group->remotes[shard_index] = count;
    } else {
        node->remotes = count > 0 ? node->remotes | bit : node->remotes & ~bit;
    }
    subscriptions->generation++;
    tell(subscriptions, node, queue, 0, 0, was_present, node_is_wanted(node, group));
    node_prune(subscriptions, node);
}

/* The observer may read the tree, but not change it. */
static void tell(struct subscriptions *subscriptions, const struct subscription_node *node,
                 struct bytes queue, uint32_t local_before, uint32_t local_after, bool was_present,
                 bool is_present_now)
{
    const struct subscriptions_observer *observer = &subscriptions->observer;
    struct bytes subject = bytes_of(node->path, node->path_count);
    bool matters =
        queue.count > 0 ? local_before != local_after : (local_before == 0) != (local_after == 0);
    if (matters && observer->on_local != NULL)
        observer->on_local(observer->context, subject, queue, local_after);
    if (was_present != is_present_now && observer->on_presence != NULL)
        observer->on_presence(observer->context, subject, queue, is_present_now);
}

/* ---- exact questions ---- */

uint64_t subscriptions_generation(const struct subscriptions *subscriptions)
{
    return subscriptions->generation;
}

bool subscriptions_has(const struct subscriptions *subscriptions, struct bytes subject,
                       struct bytes queue)
{
    const struct subscription_node *node = node_find(subscriptions, subject);
    if (node == NULL)
        return false;
    if (queue.count == 0)
        return node_is_wanted(node, NULL);
    const struct queue_group *group = node_find_group(node, queue);
    return group != NULL && node_is_wanted(node, group);
}

void subscriptions_each_exact(const struct subscriptions *subscriptions, struct bytes subject,
                              void (*on_subscription)(void *context, struct subscription *),
                              void *context)
{
    const struct subscription_node *node = node_find(subscriptions, subject);
    if (node == NULL)
        return;
    for (uint32_t i = 0; i < node->plain_count; i++)
        on_subscription(context, node->plain[i]);
    for (const struct queue_group *group = node->groups; group != NULL; group = group->next) {
        for (uint32_t i = 0; i < group->member_count; i++)
            on_subscription(context, group->members[i]);
    }
}

struct bytes subscription_subject(const struct subscription *subscription)
{
    ASSERT(subscription->node != NULL);
    return bytes_of(subscription->node->path, subscription->node->path_count);
}

struct bytes subscription_queue(const struct subscription *subscription)
{
    return subscription->group == NULL ? (struct bytes){NULL, 0}
                                       : queue_group_name(subscription->group);
}

uint64_t subscriptions_count(const struct subscriptions *subscriptions)
{
    return subscriptions->count;
}
