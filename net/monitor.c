/*
 * net/monitor.c: the monitoring port: as much HTTP/1.1 as browsers, scrapers and test suites need.
 *
 *     request ──► page ──► response ──► next request of the same connection, or the end
 *
 * Keeps:   one request of a connection at a time; its bytes are bounded; a peer's mistake ends its connection.
 * Owns:    the listening socket, its connections.
 * Runs on: shard 0.
 */
#include "net/monitor.h"

#include <errno.h>

#include "core/assert.h"
#include "core/diag.h"
#include "net/server.h"

enum { REQUEST_BYTES_MAX = 8192, CLIENT_COUNT_MAX = 256 };

/* One HTTP connection. */
struct client {
    struct monitor *monitor; /* borrows; outlives it */
    struct client *next, **link;
    struct op recv, send;
    io_socket socket;
    bool is_receiving, is_sending, is_busy; /* busy: a page is being made */
    bool is_closing, is_last;               /* last: close behind this response */
    struct page page;
    struct text response; /* being sent */
    uint32_t count;
    char request[REQUEST_BYTES_MAX];
};

struct monitor {
    struct net *net;
    struct op accept;
    io_socket socket;
    uint16_t port;
    bool is_accepting, is_closing;
    uint32_t client_count;
    struct client *clients;
    uint64_t request_counts[MONITOR_PATH_COUNT];
};

/* What matters of a request. */
struct request {
    struct bytes method, path, query;
    size_t bytes;
    bool is_last; /* the peer wants the connection closed, or sends a body */
};

static void on_accept_done(struct op *op);
static void on_recv_done(struct op *op);
static void on_send_done(struct op *op);
static void serve(struct client *client);
static bool read_request(struct bytes text, struct request *request);
static void on_page(void *context);
static void respond(struct client *client);
static void client_close(struct client *client);
static void client_free_if_idle(struct client *client);

/* ---- life ---- */

enum status monitor_open(struct net *net)
{
    const struct options *options = net->server->options;
    const char *host = options->http_host[0] != '\0' ? options->http_host : options->host;
    uint16_t port = options->http_port < 0 ? 0 : (uint16_t)options->http_port;
    io_socket socket = IO_FILE_NONE;
    uint16_t actual_port = 0;
    enum status status = io_listen(net->shard->io, host, port, &socket, &actual_port);
    if (status != STATUS_OK)
        return errno == EADDRINUSE ? STATUS_BUSY : status;
    struct monitor *monitor = heap_alloc_zeroed(net->shard->heap, sizeof(*monitor));
    monitor->net = net;
    monitor->socket = socket;
    monitor->port = actual_port;
    monitor->is_accepting = true;
    net->server->monitor = monitor;
    io_accept(net->shard->io, &monitor->accept, socket, on_accept_done);
    diag_info("Starting http monitor on %s:%u", host, actual_port);
    return STATUS_OK;
}

uint16_t monitor_port(const struct monitor *monitor)
{
    return monitor->port;
}

void monitor_close(struct net *net)
{
    struct monitor *monitor = net->server->monitor;
    if (monitor == NULL || monitor->is_closing)
        return;
    monitor->is_closing = true;
    io_shutdown(net->shard->io, monitor->socket);
    if (monitor->is_accepting)
        io_cancel(net->shard->io, &monitor->accept);
    for (struct client *client = monitor->clients, *next; client != NULL; client = next) {
        next = client->next;
        client_close(client);
    }
}

void monitor_destroy(struct net *net)
{
    struct monitor *monitor = net->server->monitor;
    if (monitor == NULL)
        return;
    while (monitor->clients != NULL) {
        struct client *client = monitor->clients;
        client->is_receiving = client->is_sending = client->is_busy = false;
        client->is_closing = true;
        client_free_if_idle(client);
    }
    io_close(net->shard->io, monitor->socket);
    heap_free(monitor);
    net->server->monitor = NULL;
}

static void on_accept_done(struct op *op)
{
    struct monitor *monitor = CONTAINER_OF(op, struct monitor, accept);
    struct io *io = monitor->net->shard->io;
    if (op->result >= 0 && (monitor->is_closing || monitor->client_count >= CLIENT_COUNT_MAX)) {
        io_close(io, op->result);
    } else if (op->result >= 0) {
        struct client *client = heap_alloc_zeroed(monitor->net->shard->heap, sizeof(*client));
        client->monitor = monitor;
        client->socket = op->result;
        client->next = monitor->clients;
        client->link = &monitor->clients;
        if (client->next != NULL)
            client->next->link = &client->next;
        monitor->clients = client;
        monitor->client_count++;
        client->is_receiving = true;
        io_recv(io, &client->recv, client->socket, on_recv_done);
    }
    if ((op->flags & OP_MORE) != 0)
        return;
    monitor->is_accepting = !monitor->is_closing && op->result >= 0;
    if (monitor->is_accepting)
        io_accept(io, &monitor->accept, monitor->socket, on_accept_done);
    else if (!monitor->is_closing)
        diag_error("monitor_accept_failed cause=%d", -op->result);
}

/* ---- requests ---- */

static void on_recv_done(struct op *op)
{
    struct client *client = CONTAINER_OF(op, struct client, recv);
    if ((op->flags & OP_MORE) == 0)
        client->is_receiving = false;
    if (op->result > 0 && !client->is_closing) {
        size_t count = (size_t)op->result;
        if (count > REQUEST_BYTES_MAX - client->count) {
            client_close(client);
        } else {
            memcpy(client->request + client->count, op->buffer, count);
            client->count += (uint32_t)count;
            serve(client);
        }
    }
    if (op->result <= 0)
        client->is_last = true;
    if (op->result <= 0 && !client->is_busy && !client->is_sending)
        client_close(client);
    if (!client->is_receiving && op->result > 0 && !client->is_closing) {
        client->is_receiving = true;
        io_recv(client->monitor->net->shard->io, &client->recv, client->socket, on_recv_done);
    }
    client_free_if_idle(client);
}

/* Begins to answer the request at the front, if it is complete and none is being answered. */
static void serve(struct client *client)
{
    struct monitor *monitor = client->monitor;
    static const char *const counted[] = {
#define MONITOR_PATH_TEXT(path) path,
        MONITOR_PATH_LIST(MONITOR_PATH_TEXT)};
    struct request request;
    if (client->is_busy || client->is_sending
        || !read_request(bytes_of(client->request, client->count), &request))
        return;
    for (size_t i = 0; i < MONITOR_PATH_COUNT; i++) {
        if (bytes_equal(request.path, bytes_of_text(counted[i])))
            monitor->request_counts[i]++;
    }
    client->is_last |= request.is_last;
    client->is_busy = true;
    client->page = (struct page){.status = 200, .type = "application/json"};
    bool is_head = bytes_equal(request.method, BYTES_LITERAL("HEAD"));
    client->page.is_head = is_head;
    bool is_made = page_make(monitor->net, request.path, request.query, monitor->request_counts,
                             &client->page, client, on_page);
    client->count -= (uint32_t)request.bytes; /* the query is not needed any more */
    memmove(client->request, client->request + request.bytes, client->count);
    if (is_made)
        respond(client);
}

static struct bytes take_until(struct bytes *rest, char end)
{
    const char *found = memchr(rest->data, end, rest->count);
    size_t count = found == NULL ? rest->count : (size_t)(found - rest->data);
    struct bytes taken = bytes_of(rest->data, count);
    *rest = bytes_after(*rest, found == NULL ? count : count + 1);
    return taken;
}

static bool has_prefix_in_any_case(struct bytes line, const char *prefix)
{
    size_t count = strlen(prefix);
    return line.count >= count && strncasecmp(line.data, prefix, count) == 0;
}

/* False while the head is not complete. Any method is a GET, but HEAD. */
static bool read_request(struct bytes text, struct request *request)
{
    const char *end = memmem(text.data, text.count, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    request->bytes = (size_t)(end - text.data) + 4;
    struct bytes head = bytes_of(text.data, request->bytes - 2);
    struct bytes line = take_until(&head, '\n');
    request->method = take_until(&line, ' ');
    request->query = take_until(&line, ' ');
    request->path = take_until(&request->query, '?');
    request->is_last = !has_prefix_in_any_case(line, "HTTP/1.1");
    while (head.count > 0) {
        struct bytes header = take_until(&head, '\n');
        bool is_closing = has_prefix_in_any_case(header, "connection: close");
        bool has_body = has_prefix_in_any_case(header, "content-length:")
                        || has_prefix_in_any_case(header, "transfer-encoding:");
        if (is_closing || has_body)
            request->is_last = true;
    }
    return true;
}

/* ---- responses ---- */

static void on_page(void *context)
{
    struct client *client = context;
    if (client->is_closing) {
        client->is_busy = false;
        text_free(&client->page.body);
        client_free_if_idle(client);
        return;
    }
    respond(client);
}

static const char *reason_of(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 503:
        return "Service Unavailable";
    default:
        return "Internal Server Error";
    }
}

static void respond(struct client *client)
{
    struct page *page = &client->page;
    struct text *response = &client->response;
    text_clear(response);
    text_append_format(response, "HTTP/1.1 %u %s\r\n", page->status, reason_of(page->status));
    text_append_format(response, "Content-Type: %s\r\nContent-Length: %zu\r\n", page->type,
                       page->body.count);
    text_append_literal(response, "Access-Control-Allow-Origin: *\r\n");
    if (client->is_last)
        text_append_literal(response, "Connection: close\r\n");
    text_append_literal(response, "\r\n");
    if (!page->is_head)
        text_append(response, text_bytes(&page->body));
    text_free(&page->body);
    client->is_busy = false;
    client->is_sending = true;
    io_send(client->monitor->net->shard->io, &client->send, client->socket, response->data,
            response->count, on_send_done);
}

static void on_send_done(struct op *op)
{
    struct client *client = CONTAINER_OF(op, struct client, send);
    client->is_sending = false;
    text_free(&client->response);
    if (op->result <= 0 || client->is_last)
        client_close(client);
    else if (!client->is_closing)
        serve(client);
    client_free_if_idle(client);
}

/* ---- the end of a connection ---- */

static void client_close(struct client *client)
{
    struct io *io = client->monitor->net->shard->io;
    if (client->is_closing)
        return;
    client->is_closing = true;
    io_shutdown(io, client->socket);
    if (client->is_receiving)
        io_cancel(io, &client->recv);
}

static void client_free_if_idle(struct client *client)
{
    if (!client->is_closing || client->is_receiving || client->is_sending || client->is_busy)
        return;
    io_close(client->monitor->net->shard->io, client->socket);
    client->monitor->client_count--;
    *client->link = client->next;
    if (client->next != NULL)
        client->next->link = client->link;
    text_free(&client->page.body);
    text_free(&client->response);
    heap_free(client);
}
