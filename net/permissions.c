/*
 * net/permissions.c: what a user's lists of subjects permit.
 *
 *     publish     an allow list that is given must match; a deny list must not. Then the subjects it may answer to.
 *     subscribe   the same, on the text of the subscription: its wildcards count as ordinary tokens. Entries with a queue are for
 *                 queue subscriptions, and go before those without.
 *     deliver     what a wildcard subscription finds of denied subjects is left out
 *
 * Keeps:   at most REPLIES_MAX reply subjects a connection; the oldest go first.
 * Owns:    the replies of a connection.
 * Runs on: the connection's shard.
 *
 * Source: core-protocol.md section 13 (checked on nats-server 2.15.2).
 */
#include "net/permissions.h"

#include <inttypes.h>

#include "core/assert.h"
#include "core/diag.h"
#include "core/hash.h"
#include "core/subject.h"
#include "core/text.h"
#include "net/dispatch.h"

enum { REPLIES_MAX = 4096, REPLY_CHAINS = 256 };

/* A subject it may publish to, for it was asked for an answer there. */
struct reply {
    struct reply *next;          /* of its chain */
    struct reply *older, *newer; /* in the order of arrival */
    uint64_t hash, since_ns;
    int64_t count; /* answers already */
    size_t subject_count;
    char subject[];
};

struct replies {
    struct reply *chains[REPLY_CHAINS];
    struct reply *oldest, *newest;
    uint32_t count;
};

static bool rules_match(const struct rules *rules, struct bytes subject)
{
    for (uint32_t i = 0; i < rules->count; i++) {
        if (rules->items[i].queue.count == 0 && subject_matches(rules->items[i].subject, subject))
            return true;
    }
    return false;
}

/* ---- publish ---- */

static struct reply **find_reply(struct replies *replies, struct bytes subject, uint64_t hash)
{
    struct reply **link = &replies->chains[hash % REPLY_CHAINS];
    while (*link != NULL
           && ((*link)->hash != hash
               || !bytes_equal(bytes_of((*link)->subject, (*link)->subject_count), subject)))
        link = &(*link)->next;
    return link;
}

static void remove_reply(struct replies *replies, struct reply **link)
{
    struct reply *gone = *link;
    *link = gone->next;
    *(gone->older != NULL ? &gone->older->newer : &replies->oldest) = gone->newer;
    *(gone->newer != NULL ? &gone->newer->older : &replies->newest) = gone->older;
    replies->count--;
    heap_free(gone);
}

static bool use_reply(struct conn *conn, struct bytes subject)
{
    const struct permissions *permissions = conn->permissions;
    if (conn->replies == NULL)
        return false;
    struct reply **link =
        find_reply(conn->replies, subject, hash_bytes(subject.data, subject.count));
    struct reply *reply = *link;
    if (reply == NULL)
        return false;
    reply->count++;
    bool is_too_often = permissions->responses_max > 0 && reply->count > permissions->responses_max;
    bool is_too_late =
        permissions->responses_ns > 0
        && shard_now_ns(conn->net->shard) - reply->since_ns > (uint64_t)permissions->responses_ns;
    if (is_too_often || is_too_late)
        remove_reply(conn->replies, link);
    return !is_too_often && !is_too_late;
}

bool permissions_publish(struct conn *conn, struct bytes subject)
{
    const struct permissions *permissions = conn->permissions;
    bool is_allowed =
        !permissions->publish_allow.is_given || rules_match(&permissions->publish_allow, subject);
    if (is_allowed && permissions->publish_deny.count > 0)
        is_allowed = !rules_match(&permissions->publish_deny, subject);
    return is_allowed || (permissions->has_responses && use_reply(conn, subject));
}

void permissions_note_reply(struct conn *conn, struct bytes reply_subject)
{
    struct heap *heap = conn->net->shard->heap;
    if (conn->replies == NULL)
        conn->replies = heap_alloc_zeroed(heap, sizeof(*conn->replies));
    struct replies *replies = conn->replies;
    uint64_t hash = hash_bytes(reply_subject.data, reply_subject.count);
    struct reply **link = find_reply(replies, reply_subject, hash);
    if (*link != NULL)
        remove_reply(replies, link);
    if (replies->count == REPLIES_MAX) {
        struct reply *oldest = replies->oldest;
        remove_reply(replies, find_reply(replies, bytes_of(oldest->subject, oldest->subject_count),
                                         oldest->hash));
    }
    struct reply *reply = heap_alloc(heap, sizeof(*reply) + reply_subject.count);
    struct reply **chain = &replies->chains[hash % REPLY_CHAINS];
    *reply = (struct reply){
        .next = *chain,
        .older = replies->newest,
        .hash = hash,
        .since_ns = shard_now_ns(conn->net->shard),
        .subject_count = reply_subject.count,
    };
    memcpy(reply->subject, reply_subject.data, reply_subject.count);
    *chain = reply;
    *(replies->newest != NULL ? &replies->newest->newer : &replies->oldest) = reply;
    replies->newest = reply;
    replies->count++;
}

void permissions_free_replies(struct conn *conn)
{
    struct replies *replies = conn->replies;
    if (replies == NULL)
        return;
    while (replies->oldest != NULL) {
        struct reply *next = replies->oldest->newer;
        heap_free(replies->oldest);
        replies->oldest = next;
    }
    heap_free(replies);
    conn->replies = NULL;
}

/* ---- subscribe ---- */

/* Wildcards in the queue part of an entry are meant. */
static bool queue_matches(struct bytes pattern, struct bytes queue)
{
    return bytes_equal(pattern, queue)
           || (!subject_is_literal(pattern) && subject_is_valid(queue)
               && subject_is_subset(pattern, queue));
}

/* Does the list speak of this subscription? Entries with a queue that match the subject decide, if there are any. */
static bool rules_match_queue(const struct rules *rules, struct bytes subject, struct bytes queue)
{
    bool has_plain = false, has_queue = false, is_queue = false;
    for (uint32_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->items[i];
        if (!subject_matches(rule->subject, subject))
            continue;
        if (rule->queue.count == 0) {
            has_plain = true;
        } else {
            has_queue = true;
            is_queue = is_queue || queue_matches(rule->queue, queue);
        }
    }
    return queue.count > 0 && has_queue ? is_queue : has_plain;
}

bool permissions_subscribe(struct conn *conn, struct bytes subject, struct bytes queue)
{
    const struct permissions *permissions = conn->permissions;
    if (permissions->subscribe_allow.is_given
        && !rules_match_queue(&permissions->subscribe_allow, subject, queue))
        return false;
    if (permissions->subscribe_deny.count == 0)
        return true;
    if (rules_match_queue(&permissions->subscribe_deny, subject, queue))
        return false;
    if (!subject_is_literal(subject))
        conn->has_deny_filter = true;
    return true;
}

bool permissions_deliver(const struct conn *conn, struct bytes subject)
{
    return conn->permissions == NULL || !rules_match(&conn->permissions->subscribe_deny, subject);
}

/* ---- words ---- */

static void say(struct conn *conn, const char *what, struct bytes subject, struct bytes queue,
                struct bytes sid)
{
    struct text text = {.data = NULL};
    text_append_literal(&text, "Permissions Violation for ");
    text_append_literal(&text, what);
    text_append_literal(&text, " ");
    quote_append(&text, subject);
    if (queue.count > 0) {
        text_append_literal(&text, " using queue ");
        quote_append(&text, queue);
    }
    if (sid.count > 0) {
        text_append_literal(&text, " (sid ");
        quote_append(&text, sid);
        text_append_literal(&text, ")");
    }
    text_append(&text, bytes_of("", 1));
    diag_debug("%s:%u - cid:%" PRIu64 " - %s", conn->ip, conn->port, conn->cid, text.data);
    conn_say_error(conn, text.data);
    text_free(&text);
}

void permissions_say_publish(struct conn *conn, struct bytes subject)
{
    say(conn, "Publish to", subject, (struct bytes){NULL, 0}, (struct bytes){NULL, 0});
}

void permissions_say_subscription(struct conn *conn, struct bytes subject, struct bytes queue,
                                  struct bytes sid)
{
    say(conn, "Subscription to", subject, queue, sid);
}
