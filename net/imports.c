/*
 * net/imports.c: what an account has of another one.
 *
 *     service   a request of I to `to` ──► the same in A on `subject`, reply _R_.<seal>.<I>.<reply> ──► the answer there ──► I: reply
 *     stream    a subscription of I that overlaps `to` ──► a shadow of it among A's, on what `subject` makes of it
 *
 * Keeps:   the reply subject carries all there is to know of a request, so that nothing waits for an answer that may never come. The
 *          seal is a keyed digest: nobody in A can make an answer to what nobody in I has asked. A shadow lives as long as
 *          its subscription, which counts deliveries for both.
 * Owns:    the shadows of the connections' subscriptions.
 * Runs on: the connection's shard.
 *
 * Source: core-protocol.md section 14.4.
 */
#include "net/imports.h"

#include "core/assert.h"
#include "core/digest.h"
#include "core/subject.h"
#include "net/server.h"

enum { SEAL_BYTES = 12, SEAL_DIGITS = 2 * SEAL_BYTES };

/* What a shadow delivers: a subject that matches `from` is `to` where it is heard. */
struct shadow_map {
    size_t from_count, to_count;
    char texts[];
};

static struct bytes map_from(const struct shadow_map *map)
{
    return bytes_of(map->texts, map->from_count);
}

static struct bytes map_to(const struct shadow_map *map)
{
    return bytes_of(map->texts + map->from_count, map->to_count);
}

static const struct auth_account *account_of(const struct conn *conn)
{
    return auth_account_of(conn->net->auth, conn->user);
}

/* ---- subjects ---- */

static struct bytes next_token(struct bytes *rest)
{
    const char *dot = rest->count == 0 ? NULL : memchr(rest->data, '.', rest->count);
    struct bytes token = {rest->data, dot == NULL ? rest->count : (size_t)(dot - rest->data)};
    *rest = bytes_after(*rest, dot == NULL ? rest->count : token.count + 1);
    return token;
}

static bool is_wildcard(struct bytes token, char wildcard)
{
    return token.count == 1 && token.data[0] == wildcard;
}

/* What the index-th wildcard of `pattern` stands for in a subject that matches it. */
static bool captured(struct bytes pattern, struct bytes subject, unsigned index, struct bytes *out)
{
    while (pattern.count > 0 && subject.count > 0) {
        struct bytes whole = subject;
        struct bytes wanted = next_token(&pattern), token = next_token(&subject);
        bool is_rest = is_wildcard(wanted, '>') && pattern.count == 0;
        if (!is_rest && !is_wildcard(wanted, '*'))
            continue;
        if (index-- == 0) {
            *out = is_rest ? whole : token;
            return true;
        }
        if (is_rest)
            return false;
    }
    return false;
}

/* The subject, which matches `from`, with its wildcards' words in the places of those of `to`. */
static bool map_subject(struct bytes from, struct bytes to, struct bytes subject, struct text *out)
{
    unsigned index = 0;
    if (!subject_matches(from, subject))
        return false;
    while (to.count > 0) {
        struct bytes token = next_token(&to);
        struct bytes word = token;
        if ((is_wildcard(token, '*') || is_wildcard(token, '>'))
            && !captured(from, subject, index++, &word))
            return false;
        if (out->count > 0)
            text_append_literal(out, ".");
        text_append(out, word);
    }
    return true;
}

/* ---- services ---- */

static void seal(const struct net *net, uint32_t exporter, uint32_t importer, struct bytes reply,
                 char digits_out[SEAL_DIGITS])
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char digest[DIGEST_SHA256_BYTES];
    const struct server *server = net->server;
    struct bytes secret = bytes_of(server->reply_secret, sizeof(server->reply_secret));
    struct text text = {.data = NULL};
    text_append(&text, secret);
    text_append_format(&text, "%u.%u.", exporter, importer);
    text_append(&text, reply);
    text_append(&text, secret);
    digest_sha256(text_bytes(&text), digest);
    text_free(&text);
    for (unsigned i = 0; i < SEAL_BYTES; i++) {
        digits_out[2 * i] = hex[digest[i] >> 4];
        digits_out[2 * i + 1] = hex[digest[i] & 15];
    }
}

/* Of several that match, the narrowest. */
static const struct auth_import *find_service(const struct auth_account *account,
                                              struct bytes subject)
{
    const struct auth_import *found = NULL;
    for (uint32_t i = 0; i < account->import_count; i++) {
        const struct auth_import *import = &account->imports[i];
        if (import->is_service && subject_matches(import->to, subject)
            && (found == NULL || subject_is_subset(found->to, import->to)))
            found = import;
    }
    return found;
}

bool imports_find_service(const struct conn *conn, const struct msg *msg,
                          struct imported *imported_out)
{
    const struct auth_import *import = find_service(account_of(conn), msg->subject);
    *imported_out = (struct imported){.account = conn->account};
    if (import == NULL)
        return false;
    if (!map_subject(import->to, import->subject, msg->subject, &imported_out->subject)) {
        imported_free(imported_out);
        return false;
    }
    imported_out->account = conn->net->auth->accounts[import->account].id;
    if (msg->reply.count > 0) {
        char digits[SEAL_DIGITS];
        seal(conn->net, imported_out->account, conn->account, msg->reply, digits);
        text_append_literal(&imported_out->reply, "_R_.");
        text_append(&imported_out->reply, bytes_of(digits, SEAL_DIGITS));
        text_append_format(&imported_out->reply, ".%u.", conn->account);
        text_append(&imported_out->reply, msg->reply);
    }
    return true;
}

void imported_free(struct imported *imported)
{
    text_free(&imported->subject);
    text_free(&imported->reply);
}

bool imports_find_requester(const struct net *net, uint32_t account, struct bytes subject,
                            uint32_t *account_out, struct bytes *subject_out)
{
    char digits[SEAL_DIGITS];
    uint64_t importer = 0;
    struct bytes rest = bytes_after(subject, 4); /* behind _R_. */
    struct bytes given = next_token(&rest);
    struct bytes number = next_token(&rest);
    if (given.count != SEAL_DIGITS || rest.count == 0 || !text_parse_u64(number, &importer)
        || importer >= ACCOUNTS_MAX)
        return false;
    seal(net, account, (uint32_t)importer, rest, digits);
    if (memcmp(digits, given.data, SEAL_DIGITS) != 0)
        return false;
    *account_out = (uint32_t)importer;
    *subject_out = rest;
    return true;
}

/* ---- streams ---- */

static void follow(struct conn *conn, struct subscription *subscription,
                   const struct auth_import *import)
{
    struct net *net = conn->net;
    struct bytes subject = subscription_subject(subscription);
    struct text there = {.data = NULL};
    if (import->is_service || !subjects_collide(import->to, subject))
        return;
    if (!subject_is_subset(import->to, subject)
        || !map_subject(import->to, import->subject, subject, &there)) {
        text_clear(&there); /* it wants more than the import: all of it, filtered */
        text_append(&there, import->subject);
    }
    uint32_t account = net->auth->accounts[import->account].id;
    struct shadow_map *map =
        heap_alloc(net->shard->heap, sizeof(*map) + import->subject.count + import->to.count);
    map->from_count = import->subject.count;
    map->to_count = import->to.count;
    memcpy(map->texts, import->subject.data, map->from_count);
    memcpy(map->texts + map->from_count, import->to.data, map->to_count);
    struct subscription *shadow =
        subscriptions_add(net_tree(net, account), conn, text_bytes(&there),
                          subscription_queue(subscription), subscription_sid(subscription));
    shadow->account = account;
    shadow->map = map;
    shadow->of = subscription;
    shadow->shadows = subscription->shadows;
    subscription->shadows = shadow;
    text_free(&there);
}

void imports_follow(struct conn *conn, struct subscription *subscription)
{
    const struct auth_account *account = account_of(conn);
    for (uint32_t i = 0; i < account->import_count; i++)
        follow(conn, subscription, &account->imports[i]);
}

/* The memory of a removed subscription stays until the sweep, that of its map not: nobody delivers to it any more. */
void imports_unfollow(struct net *net, struct subscription *subscription)
{
    while (subscription->shadows != NULL) {
        struct subscription *shadow = subscription->shadows;
        subscription->shadows = shadow->shadows;
        heap_free(shadow->map);
        shadow->map = NULL;
        subscriptions_remove(net_tree(net, shadow->account), shadow);
    }
}

void imports_follow_all(struct conn *conn)
{
    for (uint32_t i = 0; i < conn->sids.capacity; i++) {
        struct subscription *subscription = conn->sids.slots[i];
        if (subscription == NULL)
            continue;
        imports_unfollow(conn->net, subscription);
        imports_follow(conn, subscription);
    }
}

bool imports_map_message(const struct subscription *shadow, struct bytes route, struct text *out)
{
    return shadow->map != NULL && shadow->of->node != NULL
           && map_subject(map_from(shadow->map), map_to(shadow->map), route, out)
           && subject_matches(subscription_subject(shadow->of), text_bytes(out));
}
