/*
 * net/subscriptions.h: who wants which subjects: the connections of this shard, and the other shards.
 *
 * Every shard has the whole picture of which shards may have a subscriber (its `remotes`), but only its own subscriptions.
 */
#ifndef NET_SUBSCRIPTIONS_H
#define NET_SUBSCRIPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/heap.h"
#include "core/shard.h"

struct conn;
struct subscriptions;     /* opaque; one a shard */
struct subscription_node; /* opaque: one token of a subject in the tree */

/* One SUB of one connection. Lives until the end of the turn in which it was removed. */
struct subscription {
    struct conn *conn;              /* borrows; outlives it */
    struct subscription_node *node; /* NULL once removed */
    struct queue_group *group;      /* NULL: a plain subscription */
    uint32_t position;              /* among the node's or the group's */
    uint32_t sid_count;
    uint64_t delivered_count;
    uint64_t max;              /* UNSUB's; 0: none */
    struct subscription *next; /* of those to be freed */
    /* Of another account's stream (net/imports.c): a shadow among that one's subscriptions. */
    struct subscription *shadows; /* of this one; of a shadow: the next one */
    struct subscription *of;      /* of a shadow: what it is one of; else NULL */
    struct shadow_map *map;       /* of a shadow: owns */
    uint32_t account;             /* of a shadow: where it lives */
    char sid[];
};

/* The members of one queue group on one subject. */
struct queue_group {
    struct queue_group *next; /* of the same node */
    struct subscription_node *node;
    struct subscription **members; /* owns the array, borrows the subscriptions */
    uint32_t member_count, member_capacity;
    uint32_t remote_total; /* members on other shards */
    uint32_t remotes[SHARD_COUNT_MAX];
    uint32_t name_count;
    char name[];
};

/* Told at the end of subscriptions_add, _remove and _set_remote, when the tree is whole again. */
struct subscriptions_observer {
    void *context;
    /*
     * What the other shards must know: `count` subscriptions of this shard have this subject and queue. Told at the first
     * and the last of plain ones, and at every change of a queue group, so that members are chosen fairly.
     */
    void (*on_local)(void *context, struct bytes subject, struct bytes queue, uint32_t count);
    /* The first one on any shard has come, or the last one has gone. */
    void (*on_presence)(void *context, struct bytes subject, struct bytes queue, bool is_present);
};

/* Everything that matches one subject. Reused; starts with nothing but the heap; ends with match_fini. */
struct match {
    struct heap *heap; /* borrows */
    struct subscription **plain;
    struct queue_group **groups;
    uint32_t plain_count, plain_capacity;
    uint32_t group_count, group_capacity;
    uint64_t remotes; /* a bit for each other shard with plain subscriptions */
};

struct subscriptions *subscriptions_create(struct heap *heap, uint32_t shard_index,
                                           const struct subscriptions_observer *observer);
/* Only an empty one, or one whose subscriptions nobody uses any more: frees these too. */
void subscriptions_destroy(struct subscriptions *subscriptions);

struct subscription *subscriptions_add(struct subscriptions *subscriptions, struct conn *conn,
                                       struct bytes subject, struct bytes queue, struct bytes sid);
void subscriptions_remove(struct subscriptions *subscriptions, struct subscription *subscription);
/* Frees what was removed; nobody may hold a match. */
void subscriptions_sweep(struct subscriptions *subscriptions);
/* Another shard has `count` subscriptions of this subject and queue. */
void subscriptions_set_remote(struct subscriptions *subscriptions, uint32_t shard_index,
                              struct bytes subject, struct bytes queue, uint32_t count);

/* Finds everything that matches; what was in *match is forgotten. A subject with an empty token matches nothing. */
void subscriptions_match(const struct subscriptions *subscriptions, struct bytes subject,
                         struct match *match);
void match_fini(struct match *match);

/*
 * The only plain subscription, of this shard, that can match any subject made of `prefix` (which ends in a dot) and one more token;
 * NULL if there is none, or another one might match some of them. Holds while the generation stays.
 */
struct subscription *subscriptions_find_sole(const struct subscriptions *subscriptions,
                                             struct bytes prefix);
/* Changes with every change of the tree. Never 0. */
uint64_t subscriptions_generation(const struct subscriptions *subscriptions);

/* Does a subscription of exactly this subject and queue exist on any shard? */
bool subscriptions_has(const struct subscriptions *subscriptions, struct bytes subject,
                       struct bytes queue);
/* Calls on_subscription for each one of this shard with exactly this subject, of any queue. */
void subscriptions_each_exact(const struct subscriptions *subscriptions, struct bytes subject,
                              void (*on_subscription)(void *context, struct subscription *),
                              void *context);

struct bytes subscription_subject(const struct subscription *subscription);
struct bytes subscription_queue(const struct subscription *subscription);
static inline struct bytes subscription_sid(const struct subscription *subscription)
{
    return bytes_of(subscription->sid, subscription->sid_count);
}
static inline struct bytes queue_group_name(const struct queue_group *group)
{
    return bytes_of(group->name, group->name_count);
}
/* Subscriptions of this shard. */
uint64_t subscriptions_count(const struct subscriptions *subscriptions);

#endif
