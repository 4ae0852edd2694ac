/*
 * net/files.c: the files that tell other programs about this one: its process id, its ports.
 *
 * Keeps:   who sees the ports file sees all of it: it is written aside, then renamed.
 * Runs on: pid file: the main thread; ports file: shard 0, its removal the main thread too, after the shards.
 *
 * Source: server-interface.md sections 6.3 and 6.4.
 */
#include "net/files.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/diag.h"
#include "core/text.h"

static bool write_file(const char *path, struct bytes bytes, mode_t mode)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (file < 0)
        return false;
    ssize_t count = write(file, bytes.data, bytes.count);
    int result = close(file);
    return result == 0 && count == (ssize_t)bytes.count;
}

bool pid_file_write(const struct options *options)
{
    const char *path = options->pid_file;
    if (path[0] == '\0')
        return true;
    struct text text = {.data = NULL};
    text_append_u64(&text, (uint64_t)getpid());
    bool is_written = write_file(path, text_bytes(&text), 0600);
    text_free(&text);
    return is_written;
}

static void append_url(struct text *text, const char *scheme, const char *host, unsigned port)
{
    bool is_v6 = strchr(host, ':') != NULL;
    text_append_format(text, is_v6 ? "\"%s://[%s]:%u\"" : "\"%s://%s:%u\"", scheme, host, port);
}

/* One for each address of this machine, when the server listens on all. */
static void append_urls_of_all(struct text *text, const char *scheme, bool with_v6, unsigned port)
{
    struct ifaddrs *addresses = NULL;
    const char *between = "";
    if (getifaddrs(&addresses) != 0)
        return;
    for (const struct ifaddrs *each = addresses; each != NULL; each = each->ifa_next) {
        char host[INET6_ADDRSTRLEN];
        const void *address = NULL;
        if (each->ifa_addr == NULL || (each->ifa_flags & IFF_UP) == 0)
            continue;
        int family = each->ifa_addr->sa_family;
        if (family == AF_INET)
            address = &((const struct sockaddr_in *)(const void *)each->ifa_addr)->sin_addr;
        else if (family == AF_INET6 && with_v6)
            address = &((const struct sockaddr_in6 *)(const void *)each->ifa_addr)->sin6_addr;
        if (address == NULL || inet_ntop(family, address, host, sizeof(host)) == NULL)
            continue;
        text_append_literal(text, between);
        append_url(text, scheme, host, port);
        between = ",";
    }
    freeifaddrs(addresses);
}

static void append_urls(struct text *text, const char *scheme, const char *host, unsigned port)
{
    text_append_literal(text, "[");
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        append_urls_of_all(text, scheme, strcmp(host, "::") == 0, port);
    else
        append_url(text, scheme, host, port);
    text_append_literal(text, "]");
}

/* nats.js looks for nats-server_<pid>.ports, so the name the program was started under counts. */
static void append_path(struct text *text, const struct options *options, const char *suffix)
{
    text_append_format(text, "%s/%s_%ld.ports%s", options->ports_file_dir, options->program,
                       (long)getpid(), suffix);
    text_append(text, bytes_of("", 1));
}

void ports_file_write(const struct server *server)
{
    const struct options *options = server->live;
    if (options->ports_file_dir[0] == '\0')
        return;
    struct text path = {.data = NULL};
    struct text aside = {.data = NULL};
    struct text text = {.data = NULL};
    append_path(&path, options, "");
    append_path(&aside, options, ".new");
    text_append_literal(&text, "{\"nats\":");
    append_urls(&text, "nats", options->host, server->listener.port);
    if (server->monitor != NULL) {
        const char *host = options->http_host[0] != '\0' ? options->http_host : options->host;
        text_append_literal(&text, ",\"monitoring\":");
        append_urls(&text, "http", host, monitor_port(server->monitor));
    }
    if (server->websocket_listener.port != 0) {
        const char *host =
            options->websocket_host[0] != '\0' ? options->websocket_host : options->host;
        text_append_literal(&text, ",\"websocket\":");
        append_urls(&text, "ws", host, server->websocket_listener.port);
    }
    text_append_literal(&text, "}");
    if (!write_file(aside.data, text_bytes(&text), 0666) || rename(aside.data, path.data) != 0)
        diag_error("Error writing ports file (%s): %s", path.data, strerrordesc_np(errno));
    text_free(&path);
    text_free(&aside);
    text_free(&text);
}

void ports_file_remove(const struct options *options)
{
    if (options->ports_file_dir[0] == '\0')
        return;
    struct text path = {.data = NULL};
    append_path(&path, options, "");
    (void)unlink(path.data); /* it may never have been written */
    text_free(&path);
}
