/*
 * net/node.h: the tree behind net/subscriptions.h; for the files that make it up, not for others.
 */
#ifndef NET_NODE_H
#define NET_NODE_H

#include "core/hash.h"
#include "net/subscriptions.h"

struct subscription_node {
    struct subscription_node *parent;    /* NULL: the root, or unlinked */
    struct subscription_node **children; /* open addressing; NULL: free */
    uint32_t child_count, child_capacity;
    struct subscription_node *star, *rest;
    struct subscription **plain; /* owns the array */
    uint32_t plain_count, plain_capacity;
    struct queue_group *groups; /* owns */
    uint64_t remotes;           /* a bit for each other shard with plain subscriptions */
    uint32_t hash;              /* of the token */
    uint32_t path_count, token_count;
    char path[]; /* the subject so far; the token is its end */
};

struct subscriptions {
    struct heap *heap;
    uint32_t shard_index;
    uint64_t generation;
    uint64_t count;
    struct subscriptions_observer observer;
    struct subscription_node *root;
    struct subscription *removed; /* to be freed by the sweep */
};

/* path: the subject so far, of which the token is the end; copied. */
struct subscription_node *node_create(struct heap *heap, struct subscription_node *parent,
                                      struct bytes path, struct bytes token, uint32_t hash);
void node_destroy(struct subscription_node *node); /* and all below it */
/* The node of exactly this subject, wildcards and all; NULL when there is none. */
struct subscription_node *node_find(const struct subscriptions *subscriptions,
                                    struct bytes subject);
struct subscription_node *node_make(struct subscriptions *subscriptions, struct bytes subject);
/* Frees what holds nothing any more: empty groups, the node, its parents. */
void node_prune(struct subscriptions *subscriptions, struct subscription_node *node);

/* A literal child. */
struct subscription_node *node_find_child(const struct subscription_node *node, struct bytes token,
                                          uint32_t hash);
struct queue_group *node_find_group(const struct subscription_node *node, struct bytes name);
struct queue_group *node_make_group(struct heap *heap, struct subscription_node *node,
                                    struct bytes name);
/* Does anybody, on any shard, have this subject and group (NULL: plain)? */
bool node_is_wanted(const struct subscription_node *node, const struct queue_group *group);

/* The token that begins at `at`; *next_out is where the next one begins, NULL after the last. */
static inline struct bytes token_at(const char *at, const char *end, const char **next_out)
{
    const char *dot = at == end ? NULL : memchr(at, '.', (size_t)(end - at));
    *next_out = dot == NULL ? NULL : dot + 1;
    return bytes_of(at, (size_t)((dot == NULL ? end : dot) - at));
}

static inline uint32_t token_hash(struct bytes token)
{
    return (uint32_t)hash_bytes(token.data, token.count);
}

static inline bool token_is(struct bytes token, char c)
{
    return token.count == 1 && token.data[0] == c;
}

#endif
