/*
 * net/monitor.h: the monitoring port's pages.
 *
 * Source: server-interface.md section 10 (checked on nats-server 2.15.2).
 */
#ifndef NET_MONITOR_H
#define NET_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "core/text.h"
#include "net/net.h"

/* Paths that are counted in varz. */
#define MONITOR_PATH_LIST(X) \
    X("/")                   \
    X("/accountz")           \
    X("/connz")              \
    X("/gatewayz")           \
    X("/healthz")            \
    X("/jsz")                \
    X("/leafz")              \
    X("/routez")             \
    X("/subsz")              \
    X("/varz")

enum { MONITOR_PATH_COUNT = 10 };

/* One request's page. */
struct page {
    unsigned status;  /* of HTTP */
    const char *type; /* Content-Type */
    bool is_head;     /* only the headers are wanted */
    struct text body;
};

/* True: the page is there. False: it needs the other shards; on_done(context) runs on shard 0 when page->body is made. */
bool page_make(struct net *net, struct bytes path, struct bytes query,
               const uint64_t *request_counts, struct page *page, void *context,
               void (*on_done)(void *context));
/* As page_make: false when it collects the connections of all shards. */
bool page_start_connz(struct net *net, struct bytes query, struct page *page, void *context,
                      void (*on_done)(void *context));
void page_make_varz(struct net *net, const uint64_t *request_counts, struct page *page);
void page_fail(struct page *page, unsigned status, const char *words);

void page_append_jetstream_config(struct text *text, const struct server *server,
                                  const char *indent);
void page_append_jetstream_stats(struct text *text, const struct net *net, const char *indent);

/* A parameter as Go reads it; absent leaves *…_out alone. False: page has the 400. */
bool page_bool(struct bytes query, const char *name, bool *truth_out, struct page *page);
bool page_number(struct bytes query, const char *name, uint64_t *number_out, struct page *page);
/* The value of a query's parameter; false when it is absent. */
bool page_query(struct bytes query, const char *name, struct bytes *value_out);

/* 3h0m5s, as varz and connz tell how long. */
void page_append_uptime(struct text *text, uint64_t ns);

#endif
