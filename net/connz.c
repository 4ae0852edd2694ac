/*
 * net/connz.c: /connz, the connections of all shards.
 *
 *     shard 0 ──asks──► every shard: its connections as JSON ──answers──► shard 0: sorted by cid, one page of them
 *
 * Owns:    the question, until the last answer has come.
 * Runs on: shard 0, but for on_asked.
 *
 * Source: server-interface.md section 10.3 (the parameters limit, offset and cid; no closed connections yet).
 */
#include <inttypes.h>
#include <stdlib.h>

#include "core/assert.h"
#include "core/mailbox.h"
#include "net/conn.h"
#include "net/monitor.h"
#include "net/server.h"

enum { LIMIT_DEFAULT = 1024 };

/* One connection's JSON. */
struct entry {
    uint64_t cid;
    size_t begin, end; /* in the question's text */
};

struct question {
    struct page *page;
    void *context;
    void (*on_done)(void *context);
    uint64_t limit, offset, cid; /* cid: only this one, unless 0 */
    uint32_t missing_count;      /* shards that have not answered */
    struct text texts;
    struct entry *entries; /* owns */
    size_t entry_count, entry_capacity;
};

struct asked {
    struct question *question; /* shard 0's: nobody else looks into it */
    uint64_t cid;
};

/* An answer holds one connection each; the last one of a shard none. */
struct answer {
    struct question *question;
    uint64_t cid;
    uint32_t count;
    bool is_last;
    char text[];
};

static void on_asked(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void on_answer(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
static void finish(struct net *net, struct question *question);
static void append_conn(struct text *text, const struct conn *conn, uint64_t now_ns);

bool page_start_connz(struct net *net, struct bytes query, struct page *page, void *context,
                      void (*on_done)(void *context))
{
    struct shard *shard = net->shard;
    uint64_t limit = 0, offset = 0, cid = 0;
    if (!page_number(query, "limit", &limit, page) || !page_number(query, "offset", &offset, page)
        || !page_number(query, "cid", &cid, page))
        return true;
    struct question *question = heap_alloc_zeroed(shard->heap, sizeof(*question));
    *question = (struct question){.page = page,
                                  .context = context,
                                  .on_done = on_done,
                                  .limit = LIMIT_DEFAULT,
                                  .missing_count = shard->count};
    question->offset = offset;
    question->cid = cid;
    if (limit != 0)
        question->limit = limit;
    if (cid != 0)
        question->limit = 1;
    struct asked asked = {question, question->cid};
    for (uint32_t i = 0; i < shard->count; i++)
        mailbox_send(shard, i, on_asked, &asked, sizeof(asked));
    return false;
}

static void on_asked(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct net *net = net_of(shard);
    const struct asked *asked = payload;
    ASSERT(bytes == sizeof(*asked));
    struct text text = {.data = NULL};
    for (uint32_t i = 0; i < net->slot_count; i++) {
        const struct conn *conn = net->slots[i].conn;
        if (conn == NULL || conn->state != CONN_OPEN
            || (asked->cid != 0 && conn->cid != asked->cid))
            continue;
        text_clear(&text);
        append_conn(&text, conn, shard_wall_ns(shard));
        struct answer *answer =
            mailbox_reserve(shard, from, on_answer, (uint32_t)(sizeof(*answer) + text.count));
        *answer = (struct answer){asked->question, conn->cid, (uint32_t)text.count, false};
        memcpy(answer->text, text.data, text.count);
    }
    text_free(&text);
    struct answer last = {.question = asked->question, .is_last = true};
    mailbox_send(shard, from, on_answer, &last, sizeof(last));
}

static void on_answer(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    const struct answer *answer = payload;
    struct question *question = answer->question;
    ASSERT(bytes == sizeof(*answer) + answer->count);
    (void)from;
    if (answer->is_last) {
        if (--question->missing_count == 0)
            finish(net_of(shard), question);
        return;
    }
    if (question->entry_count == question->entry_capacity) {
        question->entry_capacity =
            question->entry_capacity == 0 ? 64 : question->entry_capacity * 2;
        question->entries = heap_resize(shard->heap, question->entries,
                                        question->entry_capacity * sizeof(*question->entries));
    }
    size_t begin = question->texts.count;
    text_append(&question->texts, bytes_of(answer->text, answer->count));
    question->entries[question->entry_count++] =
        (struct entry){answer->cid, begin, question->texts.count};
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *first = a;
    const struct entry *second = b;
    return first->cid < second->cid ? -1 : first->cid > second->cid;
}

static void finish(struct net *net, struct question *question)
{
    struct text *text = &question->page->body;
    size_t count = question->entry_count;
    size_t begin = question->offset < count ? (size_t)question->offset : count;
    size_t shown = count - begin < question->limit ? count - begin : (size_t)question->limit;
    if (count > 0)
        qsort(question->entries, count, sizeof(*question->entries), compare_entries);
    text_append_format(text, "{\n  \"server_id\": \"%s\",\n  \"now\": \"", net->server->id);
    text_append_time(text, shard_wall_ns(net->shard));
    text_append_format(text,
                       "\",\n  \"num_connections\": %zu,\n  \"total\": %zu,\n  \"offset\": %" PRIu64
                       ",\n  \"limit\": %" PRIu64 ",\n  \"connections\": [",
                       shown, count, question->offset, question->limit);
    for (size_t i = begin; i < begin + shown; i++) {
        const struct entry *entry = &question->entries[i];
        text_append_literal(text, i > begin ? ",\n    " : "\n    ");
        text_append(text, bytes_of(question->texts.data + entry->begin, entry->end - entry->begin));
    }
    text_append_literal(text, shown > 0 ? "\n  ]\n}" : "]\n}");

    void *context = question->context;
    void (*on_done)(void *) = question->on_done;
    text_free(&question->texts);
    heap_free(question->entries);
    heap_free(question);
    on_done(context);
}

static void append_string_member(struct text *text, const char *name, const char *value)
{
    if (value == NULL)
        return;
    text_append_format(text, ",\n      \"%s\": ", name);
    text_append_json_string(text, bytes_of_text(value));
}

static void append_conn(struct text *text, const struct conn *conn, uint64_t now_ns)
{
    text_append_format(text,
                       "{\n      \"cid\": %" PRIu64 ",\n      \"kind\": \"Client\",\n"
                       "      \"type\": \"%s\",\n      \"ip\": \"%s\",\n      \"port\": %u,\n"
                       "      \"start\": \"",
                       conn->cid, conn->websocket != NULL ? "websocket" : "nats", conn->ip,
                       conn->port);
    text_append_time(text, conn->opened_wall_ns);
    text_append_literal(text, "\",\n      \"last_activity\": \"");
    text_append_time(text, conn->active_wall_ns);
    if (conn->rtt_ns != 0) {
        text_append_literal(text, "\",\n      \"rtt\": \"");
        text_append_duration(text, (int64_t)conn->rtt_ns);
    }
    text_append_literal(text, "\",\n      \"uptime\": \"");
    page_append_uptime(text, now_ns - conn->opened_wall_ns);
    text_append_literal(text, "\",\n      \"idle\": \"");
    page_append_uptime(text, now_ns - conn->active_wall_ns);
    text_append_format(text,
                       "\",\n      \"pending_bytes\": %" PRIu64 ",\n      \"in_msgs\": %" PRIu64
                       ",\n      \"out_msgs\": %" PRIu64 ",\n      \"in_bytes\": %" PRIu64
                       ",\n      \"out_bytes\": %" PRIu64 ",\n      \"subscriptions\": %u",
                       conn->output.queued_bytes, conn->in_msgs, conn->out_msgs, conn->in_bytes,
                       conn->out_bytes, conn->sids.count);
    append_string_member(text, "name", conn->client.name);
    append_string_member(text, "lang", conn->client.lang);
    append_string_member(text, "version", conn->client.version);
    text_append_literal(text, "\n    }");
}
