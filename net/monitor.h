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
    X("/connz")              \
    X("/healthz")            \
    X("/jsz")                \
    X("/varz")

enum { MONITOR_PATH_COUNT = 5 };

/* One request's page. */
struct page {
    unsigned status;  /* of HTTP */
    const char *type; /* Content-Type */
    bool is_head;     /* only the headers are wanted */
    struct text body;
};

/* True: the page is there. False: it needs the other shards; page_start_connz brings it. */
bool page_make(struct net *net, struct bytes path, struct bytes query,
               const uint64_t *request_counts, struct page *page);

/* Collects the connections of all shards; on_done(context) runs on shard 0 in a later turn, when page->body is made. */
void page_start_connz(struct net *net, struct bytes query, struct page *page, void *context,
                      void (*on_done)(void *context));

/* The value of a query's parameter; false when it is absent. */
bool page_query(struct bytes query, const char *name, struct bytes *value_out);

/* 3h0m5s, as varz and connz tell how long. */
void page_append_uptime(struct text *text, uint64_t ns);

#endif
