/*
 * net/node.c: the tree of subjects: one token an edge; literal children in a hash table, the two wildcards apart.
 *
 *     root ─$KV─► node ─b─► node ─┬─ k ─► node {plain, groups, remotes}
 *                                 ├─ * ─► star
 *                                 └─ > ─► rest
 *
 * Keeps:   a node lives while something is in it or below it. Probing is linear, without tombstones.
 * Owns:    children, groups, the arrays; the subscriptions when the tree is destroyed.
 * Runs on: the shard of the tree.
 */
#include "net/node.h"

#include "core/assert.h"

static struct bytes node_token(const struct subscription_node *node);
static void child_insert(struct heap *heap, struct subscription_node *node,
                         struct subscription_node *child);
static void child_remove(struct subscription_node *node, struct subscription_node *child);
static void group_destroy(struct queue_group *group);

struct subscription_node *node_create(struct heap *heap, struct subscription_node *parent,
                                      struct bytes path, struct bytes token, uint32_t hash)
{
    struct subscription_node *node =
        heap_alloc(heap, sizeof(struct subscription_node) + path.count);
    *node = (struct subscription_node){
        .parent = parent,
        .hash = hash,
        .path_count = (uint32_t)path.count,
        .token_count = (uint32_t)token.count,
    };
    if (path.count > 0)
        memcpy(node->path, path.data, path.count);
    return node;
}

static struct bytes node_token(const struct subscription_node *node)
{
    return bytes_of(node->path + node->path_count - node->token_count, node->token_count);
}

struct subscription_node *node_find(const struct subscriptions *subscriptions, struct bytes subject)
{
    const struct subscription_node *node = subscriptions->root;
    if (subject.count == 0)
        return NULL;
    const char *end = subject.data + subject.count;
    const char *at = subject.data;
    while (at != NULL && node != NULL) {
        struct bytes token = token_at(at, end, &at);
        if (token_is(token, '*'))
            node = node->star;
        else if (token_is(token, '>'))
            node = node->rest;
        else
            node = node_find_child(node, token, token_hash(token));
    }
    return (struct subscription_node *)(uintptr_t)node;
}

struct subscription_node *node_make(struct subscriptions *subscriptions, struct bytes subject)
{
    struct subscription_node *node = subscriptions->root;
    ASSERT(node != NULL);
    ASSERT(subject.count > 0);
    const char *end = subject.data + subject.count;
    const char *at = subject.data;
    while (at != NULL) {
        struct bytes token = token_at(at, end, &at);
        uint32_t hash = token_hash(token);
        struct subscription_node **wildcard = token_is(token, '*')   ? &node->star
                                              : token_is(token, '>') ? &node->rest
                                                                     : NULL;
        struct subscription_node *child =
            wildcard != NULL ? *wildcard : node_find_child(node, token, hash);
        if (child == NULL) {
            struct bytes path =
                bytes_of(subject.data, (size_t)(token.data + token.count - subject.data));
            child = node_create(subscriptions->heap, node, path, token, hash);
            if (wildcard != NULL)
                *wildcard = child;
            else
                child_insert(subscriptions->heap, node, child);
        }
        node = child;
    }
    return node;
}

static bool node_is_empty(const struct subscription_node *node)
{
    return node->plain_count == 0 && node->groups == NULL && node->remotes == 0
           && node->child_count == 0 && node->star == NULL && node->rest == NULL;
}

void node_prune(struct subscriptions *subscriptions, struct subscription_node *node)
{
    for (struct queue_group *group = node->groups, *next; group != NULL; group = next) {
        next = group->next;
        if (!node_is_wanted(node, group))
            group_destroy(group);
    }
    while (node != subscriptions->root && node_is_empty(node)) {
        struct subscription_node *parent = node->parent;
        ASSERT(parent != NULL);
        if (parent->star == node)
            parent->star = NULL;
        else if (parent->rest == node)
            parent->rest = NULL;
        else
            child_remove(parent, node);
        node_destroy(node);
        node = parent;
    }
}

void node_destroy(struct subscription_node *node)
{
    if (node == NULL)
        return;
    for (uint32_t i = 0; i < node->child_capacity; i++)
        node_destroy(node->children[i]);
    node_destroy(node->star);
    node_destroy(node->rest);
    while (node->groups != NULL) {
        for (uint32_t i = 0; i < node->groups->member_count; i++)
            heap_free(node->groups->members[i]);
        group_destroy(node->groups);
    }
    for (uint32_t i = 0; i < node->plain_count; i++)
        heap_free(node->plain[i]);
    heap_free(node->plain);
    heap_free(node->children);
    heap_free(node);
}

/* ---- literal children ---- */

struct subscription_node *node_find_child(const struct subscription_node *node, struct bytes token,
                                          uint32_t hash)
{
    if (node->child_count == 0)
        return NULL;
    uint32_t mask = node->child_capacity - 1;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        struct subscription_node *child = node->children[i];
        if (child == NULL)
            return NULL;
        if (child->hash == hash && bytes_equal(node_token(child), token))
            return child;
    }
}

static void child_place(struct subscription_node *node, struct subscription_node *child)
{
    uint32_t mask = node->child_capacity - 1;
    uint32_t i = child->hash & mask;
    while (node->children[i] != NULL)
        i = (i + 1) & mask;
    node->children[i] = child;
}

static void child_insert(struct heap *heap, struct subscription_node *node,
                         struct subscription_node *child)
{
    if ((node->child_count + 1) * 4 > node->child_capacity * 3) {
        uint32_t old_capacity = node->child_capacity;
        struct subscription_node **old = node->children;
        node->child_capacity = old_capacity == 0 ? 2 : old_capacity * 2;
        node->children =
            heap_alloc_zeroed(heap, node->child_capacity * sizeof(struct subscription_node *));
        for (uint32_t i = 0; i < old_capacity; i++) {
            if (old[i] != NULL)
                child_place(node, old[i]);
        }
        heap_free(old);
    }
    child_place(node, child);
    node->child_count++;
}

/* Closes the gap, so that no probe ends too early. */
static void child_remove(struct subscription_node *node, struct subscription_node *child)
{
    uint32_t mask = node->child_capacity - 1;
    uint32_t gap = child->hash & mask;
    while (node->children[gap] != child)
        gap = (gap + 1) & mask;
    for (uint32_t i = (gap + 1) & mask; node->children[i] != NULL; i = (i + 1) & mask) {
        uint32_t home = node->children[i]->hash & mask;
        if (((i - home) & mask) >= ((i - gap) & mask)) {
            node->children[gap] = node->children[i];
            gap = i;
        }
    }
    node->children[gap] = NULL;
    node->child_count--;
}

/* ---- queue groups ---- */

struct queue_group *node_find_group(const struct subscription_node *node, struct bytes name)
{
    struct queue_group *group = node->groups;
    while (group != NULL && !bytes_equal(queue_group_name(group), name))
        group = group->next;
    return group;
}

struct queue_group *node_make_group(struct heap *heap, struct subscription_node *node,
                                    struct bytes name)
{
    struct queue_group *group = node_find_group(node, name);
    if (group != NULL)
        return group;
    group = heap_alloc_zeroed(heap, sizeof(*group) + name.count);
    group->node = node;
    group->name_count = (uint32_t)name.count;
    memcpy(group->name, name.data, name.count);
    group->next = node->groups;
    node->groups = group;
    return group;
}

static void group_destroy(struct queue_group *group)
{
    struct queue_group **link = &group->node->groups;
    while (*link != group)
        link = &(*link)->next;
    *link = group->next;
    heap_free(group->members);
    heap_free(group);
}

bool node_is_wanted(const struct subscription_node *node, const struct queue_group *group)
{
    if (group != NULL)
        return group->member_count > 0 || group->remote_total > 0;
    return node->plain_count > 0 || node->remotes != 0;
}
