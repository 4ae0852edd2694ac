/*
 * net/match.c: which subscriptions a subject reaches.
 *
 * Keeps:   a subject below which nobody subscribes costs one look into the root's children.
 * Owns:    nothing; the match is its caller's.
 * Runs on: the shard of the tree.
 */
#include "core/assert.h"
#include "net/node.h"

static void match_from(const struct subscription_node *node, const char *at, const char *end,
                       struct match *match);
static void match_take(const struct subscription_node *node, struct match *match);

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
    if (subject.count == 0)
        return;
    const struct subscription_node *root = subscriptions->root;
    const char *end = subject.data + subject.count;
    if (root->star == NULL && root->rest == NULL) { /* most subjects end here */
        const char *next;
        struct bytes token = token_at(subject.data, end, &next);
        if (node_find_child(root, token, token_hash(token)) == NULL)
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
        node->child_count == 0 ? NULL : node_find_child(node, token, token_hash(token));
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
               node->plain_count * sizeof(struct subscription *));
        match->plain_count = count;
    }
    for (struct queue_group *group = node->groups; group != NULL; group = group->next) {
        match->groups = array_widen(match, match->groups, &match->group_capacity,
                                    match->group_count + 1, sizeof(struct queue_group *));
        match->groups[match->group_count++] = group;
    }
}

/* ---- the sole inbox ---- */

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
    ASSERT(next != NULL); /* the prefix ends in a dot */
    const struct subscription_node *child = node_find_child(node, token, token_hash(token));
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
