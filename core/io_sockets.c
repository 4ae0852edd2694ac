/*
 * core/io_sockets.c: core/io.h's calls on sockets that do not wait: listening, shutting down, closing.
 *
 * Keeps:   on failure errno tells the cause, and no descriptor is left open.
 * Runs on: any shard's thread.
 */
#include "core/io.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/assert.h"

static enum status socket_listen(const struct addrinfo *address, io_socket *socket_out,
                                 uint16_t *port_out);
static uint16_t socket_port(int fd);

enum status io_listen(struct io *io, const char *host, uint16_t port, io_socket *socket_out,
                      uint16_t *port_out)
{
    (void)io;
    *socket_out = IO_FILE_NONE;
    char port_text[8];
    (void)snprintf(port_text, sizeof(port_text), "%u", port); /* fits */
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    int failed = getaddrinfo(host, port_text, &hints, &addresses);
    if (failed != 0) {
        if (failed != EAI_SYSTEM)
            errno = EADDRNOTAVAIL;
        return status_from_errno(-errno);
    }
    enum status status = STATUS_INVALID;
    for (const struct addrinfo *address = addresses; address != NULL; address = address->ai_next) {
        status = socket_listen(address, socket_out, port_out);
        if (status == STATUS_OK)
            break;
    }
    int cause = errno;
    freeaddrinfo(addresses);
    errno = cause;
    return status;
}

static enum status socket_listen(const struct addrinfo *address, io_socket *socket_out,
                                 uint16_t *port_out)
{
    int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC, address->ai_protocol);
    if (fd < 0)
        return status_from_errno(-errno);
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0
        || bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0) {
        int cause = errno;
        (void)close(fd);
        errno = cause;
        return status_from_errno(-cause);
    }
    *socket_out = fd;
    *port_out = socket_port(fd);
    return STATUS_OK;
}

static uint16_t socket_port(int fd)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t bytes = sizeof(address);
    int result = getsockname(fd, (struct sockaddr *)&address, &bytes);
    ASSERT(result == 0);
    if (address.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

void io_shutdown(struct io *io, io_socket socket)
{
    (void)io;
    (void)shutdown(socket, SHUT_RDWR); /* fails if the peer was faster: then it is done */
}

void io_close(struct io *io, io_socket socket)
{
    (void)io;
    (void)close(socket); /* a socket's close has nothing to report */
}
