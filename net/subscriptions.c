/*
 * net/subscriptions.c: who wants which subjects.
 *
 *     root ─$KV─► node ─b─► node ─┬─ k ─► node {plain, groups, remotes}
 *                                 ├─ * ─► star
 *                                 └─ > ─► rest
 *
 * A tree with one token an edge; literal children in a hash table, the two wildcards apart. A node lives while something is in
 * it or below it.
 *
 * Keeps:   a subscription is in exactly one array; the observer is told when the tree is whole, and may read it then.
 *          Removed subscriptions stay allocated until subscriptions_sweep, for a match may still name them.
 * Owns:    nodes, groups, and the subscriptions.
 * Runs on: its shard.
 */
#include "net/subscriptions.h"

#include "core/assert.h"
#include "core/hash.h"

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

static struct subscription_node *node_create(struct heap *heap, struct subscription_node *parent,
                                             struct bytes path, struct bytes token, uint32_t hash);
static struct subscription_node *node_find(const struct subscriptions *subscriptions,
                                           struct bytes subject);
static struct subscription_node *node_make(struct subscriptions *subscriptions,
                                           struct bytes subject);
static void node_prune(struct subscriptions *subscriptions, struct subscription_node *node);
static void node_destroy(struct subscription_node *node);
static struct subscription_node *child_find(const struct subscription_node *node,
                                            struct bytes token, uint32_t hash);
static void child_insert(struct heap *heap, struct subscription_node *node,
                         struct subscription_node *child);
static void child_remove(struct subscription_node *node, struct subscription_node *child);
static struct queue_group *group_find(const struct subscription_node *node, struct bytes name);
static struct queue_group *group_make(struct heap *heap, struct subscription_node *node,
                                      struct bytes name);
static void group_prune(struct queue_group *group);
static bool is_present(const struct subscription_node *node, const struct queue_group *group);
static void tell(struct subscriptions *subscriptions, const struct subscription_node *node,
                 struct bytes queue, uint32_t local_before, uint32_t local_after, bool was_present,
                 bool is_present_now);
static void match_from(const struct subscription_node *node, const char *at, const char *end,
                       struct match *match);
static void match_take(const struct subscription_node *node, struct match *match);

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
        *array = heap_resize(heap, *array, wider * sizeof(**array));
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
    struct queue_group *group = queue.count > 0 ? group_make(heap, node, queue) : NULL;
    *subscription = (struct subscription){
        .conn = conn, .node = node, .group = group, .sid_count = (uint32_t)sid.count};
    memcpy(subscription->sid, sid.data, sid.count);

    bool was_present = is_present(node, group);
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
    tell(subscriptions, node, queue, count + 1, count, true, is_present(node, group));
    node_prune(subscriptions, node);
}

void subscriptions_set_remote(struct subscriptions *subscriptions, uint32_t shard_index,
                              struct bytes subject, struct bytes queue, uint32_t count)
{
    ASSERT(shard_index < SHARD_COUNT_MAX);
    struct subscription_node *node = node_make(subscriptions, subject);
    struct queue_group *group =
        queue.count > 0 ? group_make(subscriptions->heap, node, queue) : NULL;
    bool was_present = is_present(node, group);
    uint64_t bit = (uint64_t)1 << shard_index;
    if (group != NULL) {
        group->remote_total = group->remote_total - group->remotes[shard_index] + count;
        group->remotes[shard_index] = count;
    } else {
        node->remotes = count > 0 ? node->remotes | bit : node->remotes & ~bit;
    }
    subscriptions->generation++;
    tell(subscriptions, node, queue, 0, 0, was_present, is_present(node, group));
    node_prune(subscriptions, node);
}

static bool is_present(const struct subscription_node *node, const struct queue_group *group)
{
    if (group != NULL)
        return group->member_count > 0 || group->remote_total > 0;
    return node->plain_count > 0 || node->remotes != 0;
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

/* ---- queue groups ---- */

static struct queue_group *group_find(const struct subscription_node *node, struct bytes name)
{
    struct queue_group *group = node->groups;
    while (group != NULL && !bytes_equal(queue_group_name(group), name))
        group = group->next;
    return group;
}

static struct queue_group *group_make(struct heap *heap, struct subscription_node *node,
                                      struct bytes name)
{
    struct queue_group *group = group_find(node, name);
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

static void group_prune(struct queue_group *group)
{
    struct queue_group **link = &group->node->groups;
    while (*link != group)
        link = &(*link)->next;
    *link = group->next;
    heap_free(group->members);
    heap_free(group);
}

/* ---- the tree ---- */

/* The token that begins at `at`; *next_out is where the next one begins, NULL after the last. */
static inline struct bytes token_at(const char *at, const char *end, const char **next_out)
{
    const char *dot = memchr(at, '.', (size_t)(end - at));
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

static struct subscription_node *node_create(struct heap *heap, struct subscription_node *parent,
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

static struct subscription_node *node_find(const struct subscriptions *subscriptions,
                                           struct bytes subject)
{
    const struct subscription_node *node = subscriptions->root;
    const char *end = subject.data + subject.count;
    const char *at = subject.data;
    while (at != NULL && node != NULL) {
        struct bytes token = token_at(at, end, &at);
        if (token_is(token, '*'))
            node = node->star;
        else if (token_is(token, '>'))
            node = node->rest;
        else
            node = child_find(node, token, token_hash(token));
    }
    return (struct subscription_node *)(uintptr_t)node;
}

static struct subscription_node *node_make(struct subscriptions *subscriptions,
                                           struct bytes subject)
{
    struct subscription_node *node = subscriptions->root;
    const char *end = subject.data + subject.count;
    const char *at = subject.data;
    while (at != NULL) {
        struct bytes token = token_at(at, end, &at);
        uint32_t hash = token_hash(token);
        struct subscription_node **wildcard = token_is(token, '*')   ? &node->star
                                              : token_is(token, '>') ? &node->rest
                                                                     : NULL;
        struct subscription_node *child =
            wildcard != NULL ? *wildcard : child_find(node, token, hash);
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

/* Frees what holds nothing any more: empty groups, the node, and its parents. */
static void node_prune(struct subscriptions *subscriptions, struct subscription_node *node)
{
    for (struct queue_group *group = node->groups, *next; group != NULL; group = next) {
        next = group->next;
        if (!is_present(node, group))
            group_prune(group);
    }
    while (node != subscriptions->root && node_is_empty(node)) {
        struct subscription_node *parent = node->parent;
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

static void node_destroy(struct subscription_node *node)
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
        group_prune(node->groups);
    }
    for (uint32_t i = 0; i < node->plain_count; i++)
        heap_free(node->plain[i]);
    heap_free(node->plain);
    heap_free(node->children);
    heap_free(node);
}

/* ---- literal children ---- */

static struct subscription_node *child_find(const struct subscription_node *node,
                                            struct bytes token, uint32_t hash)
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
        node->children = heap_alloc_zeroed(heap, node->child_capacity * sizeof(*node->children));
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

/* ---- matching ---- */

/* Does an empty token make the subject match nobody? */
static bool has_empty_token(const char *at, const char *end)
{
    if (at == end || *at == '.' || end[-1] == '.')
        return true;
    for (const char *dot = at; (dot = memchr(dot, '.', (size_t)(end - dot))) != NULL; dot++) {
        if (dot[1] == '.') /* the last byte is no dot: dot + 1 is inside */
            return true;
    }
    return false;
}

void subscriptions_match(const struct subscriptions *subscriptions, struct bytes subject,
                         struct match *match)
{
    match->plain_count = match->group_count = 0;
    match->remotes = 0;
    const struct subscription_node *root = subscriptions->root;
    const char *end = subject.data + subject.count;
    if (root->star == NULL && root->rest == NULL) { /* most subjects end here */
        const char *next;
        struct bytes token = token_at(subject.data, end, &next);
        if (child_find(root, token, token_hash(token)) == NULL)
            return;
    }
    if (!has_empty_token(subject.data, end))
        match_from(root, subject.data, end, match);
}

void match_fini(struct match *match)
{
    heap_free(match->plain);
    heap_free(match->groups);
    *match = (struct match){.plain = NULL};
}

/* Depth: the tokens of the longest pattern. */
static void match_from(const struct subscription_node *node, const char *at, const char *end,
                       struct match *match)
{
    if (node->rest != NULL)
        match_take(node->rest, match);
    if (node->child_count == 0 && node->star == NULL)
        return;
    const char *next;
    struct bytes token = token_at(at, end, &next);
    const struct subscription_node *child =
        node->child_count == 0 ? NULL : child_find(node, token, token_hash(token));
    const struct subscription_node *both[] = {child, node->star};
    for (unsigned i = 0; i < COUNT_OF(both); i++) {
        if (both[i] == NULL)
            continue;
        if (next == NULL)
            match_take(both[i], match);
        else
            match_from(both[i], next, end, match);
    }
}

static void *array_widen(struct match *match, void *array, uint32_t *capacity, uint32_t count,
                         size_t element_bytes)
{
    if (count <= *capacity)
        return array;
    uint32_t wider = *capacity == 0 ? 16 : *capacity * 2;
    if (wider < count)
        wider = count;
    *capacity = wider;
    return heap_resize(match->heap, array, wider * element_bytes);
}

static void match_take(const struct subscription_node *node, struct match *match)
{
    match->remotes |= node->remotes;
    if (node->plain_count > 0) {
        uint32_t count = match->plain_count + node->plain_count;
        match->plain = array_widen(match, match->plain, &match->plain_capacity, count,
                                   sizeof(struct subscription *));
        memcpy(match->plain + match->plain_count, node->plain,
               node->plain_count * sizeof(*node->plain));
        match->plain_count = count;
    }
    for (struct queue_group *group = node->groups; group != NULL; group = group->next) {
        match->groups = array_widen(match, match->groups, &match->group_capacity,
                                    match->group_count + 1, sizeof(struct queue_group *));
        match->groups[match->group_count++] = group;
    }
}

/* ---- exact questions ---- */

/*
 * The nodes that match all tokens of the prefix but not more: everything that could match prefix + token is a child of one of
 * these, or a `>` on the way. Gives up (returns false) as soon as there is more than the one subscription.
 */
static bool find_sole_from(const struct subscription_node *node, const char *at, const char *end,
                           struct subscription **sole)
{
    if (node->rest != NULL)
        return false;
    if (at == end) {
        const struct subscription_node *star = node->star;
        if (node->child_count > 0)
            return false;
        if (star == NULL)
            return true;
        if (star->groups != NULL || star->remotes != 0 || star->plain_count > 1)
            return false;
        if (star->plain_count == 1 && *sole != NULL)
            return false;
        if (star->plain_count == 1)
            *sole = star->plain[0];
        return true;
    }
    const char *next;
    struct bytes token = token_at(at, end, &next);
    const struct subscription_node *child = child_find(node, token, token_hash(token));
    if (child != NULL && !find_sole_from(child, next, end, sole))
        return false;
    return node->star == NULL || find_sole_from(node->star, next, end, sole);
}

struct subscription *subscriptions_find_sole(const struct subscriptions *subscriptions,
                                             struct bytes prefix)
{
    const char *end = prefix.data + prefix.count;
    if (prefix.count < 2 || end[-1] != '.' || has_empty_token(prefix.data, end - 1))
        return NULL;
    struct subscription *sole = NULL;
    return find_sole_from(subscriptions->root, prefix.data, end, &sole) ? sole : NULL;
}

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
        return is_present(node, NULL);
    const struct queue_group *group = group_find(node, queue);
    return group != NULL && is_present(node, group);
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
