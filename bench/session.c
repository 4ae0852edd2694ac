/*
 * bench/session.c: connect, handshake and single requests with blocking calls. See session.h.
 */
#include "bench/session.h"

#include "bench/options.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SESSION_WAIT_MS = 5000 };

static int connect_or_exit(const char *host, const char *port);
static void inbox_name(char *inbox);
static void write_all(struct session *session, const char *data, size_t count);
static bool read_frame(struct session *session, struct frame *frame, int wait_ms);
_Noreturn static void fail(const char *what, struct text detail);

void session_open(struct session *session, const struct options *options)
{
    *session = (struct session){0};
    session->input = malloc(SESSION_BYTES);
    if (session->input == NULL)
        fail("out of memory", (struct text){0});
    session->socket = connect_or_exit(options->host, options->port);

    struct frame frame;
    if (!read_frame(session, &frame, SESSION_WAIT_MS) || frame.kind != FRAME_INFO)
        fail("no INFO from the server", (struct text){0});
    struct text version = json_string(frame.payload, "\"version\"");
    snprintf(session->version, sizeof(session->version), "%.*s", (int)version.count,
             version.data != NULL ? version.data : "");
    if (!json_number(frame.payload, "\"max_payload\"", &session->max_payload))
        session->max_payload = 1048576;
    if (options->value_bytes + 256U > session->max_payload)
        fail("the value is larger than the server's max_payload", (struct text){0});

    inbox_name(session->inbox);
    char hello[256];
    int count = snprintf(hello, sizeof(hello),
                         "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1,"
                         "\"headers\":true,\"no_responders\":true,\"name\":\"pail-bench\","
                         "\"lang\":\"c\",\"version\":\"1\"}\r\nSUB %s* 1\r\nPING\r\n",
                         session->inbox);
    write_all(session, hello, (size_t)count);
    for (;;) {
        if (!read_frame(session, &frame, SESSION_WAIT_MS))
            fail("no PONG from the server", (struct text){0});
        if (frame.kind == FRAME_PONG)
            return;
        if (frame.kind == FRAME_ERROR || frame.kind == FRAME_BROKEN)
            fail("the server refused the connection: ", frame.payload);
    }
}

void session_close(struct session *session)
{
    if (session->socket >= 0)
        close(session->socket);
    free(session->input);
    session->input = NULL;
}

bool session_request(struct session *session, const char *subject, const char *body,
                     struct frame *answer_out, char *error, size_t error_size)
{
    static uint32_t request_count;
    char line[512];
    uint32_t slot = ++request_count % 10000;
    size_t body_count = strlen(body);
    int count = snprintf(line, sizeof(line), "PUB %s %s%04u %zu\r\n", subject, session->inbox, slot,
                         body_count);
    char expected[SLOT_DIGITS];
    write_digits_4(expected, slot);
    write_all(session, line, (size_t)count);
    write_all(session, body, body_count);
    write_all(session, "\r\n", 2);
    for (;;) {
        if (!read_frame(session, answer_out, SESSION_WAIT_MS)) {
            snprintf(error, error_size, "no answer to %s", subject);
            return false;
        }
        if (answer_out->kind == FRAME_PING)
            write_all(session, "PONG\r\n", 6);
        if (answer_out->kind == FRAME_ERROR || answer_out->kind == FRAME_BROKEN) {
            snprintf(error, error_size, "%.*s", (int)answer_out->payload.count,
                     answer_out->payload.data);
            return false;
        }
        if (answer_out->kind == FRAME_MSG && answer_out->subject.count == INBOX_BYTES + SLOT_DIGITS
            && memcmp(answer_out->subject.data + INBOX_BYTES, expected, SLOT_DIGITS) == 0)
            break;
    }
    uint32_t status = header_status(answer_out->headers);
    if (status != 0) {
        snprintf(error, error_size, "status %u to %s%s", status, subject,
                 status == 503 ? " (no responders: JetStream is off, or no such bucket)" : "");
        return false;
    }
    return true;
}

static int connect_or_exit(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    int result = getaddrinfo(host, port, &hints, &list);
    if (result != 0)
        fail(gai_strerror(result), (struct text){0});
    int handle = -1;
    for (struct addrinfo *at = list; at != NULL && handle < 0; at = at->ai_next) {
        handle = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (handle >= 0 && connect(handle, at->ai_addr, at->ai_addrlen) != 0) {
            close(handle);
            handle = -1;
        }
    }
    freeaddrinfo(list);
    if (handle < 0) {
        fprintf(stderr, "pail-bench: %s:%s: %s\n", host, port, strerror(errno));
        exit(1);
    }
    int one = 1;
    setsockopt(handle, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return handle;
}

/* Distinct over the connections of this process and, by pid and time, over those of others. */
static void inbox_name(char *inbox)
{
    static atomic_uint_fast32_t counter;
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t mix = (uint64_t)now.tv_nsec * 1000003U + (uint64_t)getpid() * 7919U;
    mix = (mix & ~UINT64_C(0xffff)) | (atomic_fetch_add(&counter, 1) & 0xffff);
    memcpy(inbox, "_INBOX.", 7);
    for (int index = 0; index < 8; index++) {
        inbox[7 + index] = letters[mix % 62];
        mix /= 62;
    }
    inbox[15] = '.';
    inbox[16] = '\0';
}

static void write_all(struct session *session, const char *data, size_t count)
{
    while (count > 0) {
        ssize_t sent = send(session->socket, data, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            fail("the server closed the connection", (struct text){0});
        data += sent;
        count -= (size_t)sent;
    }
}

/* The frame points into the input and is good until the next call. */
static bool read_frame(struct session *session, struct frame *frame, int wait_ms)
{
    for (;;) {
        frame_cut(frame, session->input + session->input_at,
                  session->input_count - session->input_at);
        if (frame->kind != FRAME_PARTIAL) {
            session->input_at += frame->kind == FRAME_BROKEN ? 0 : frame->total_count;
            return true;
        }
        session->input_count -= session->input_at;
        memmove(session->input, session->input + session->input_at, session->input_count);
        session->input_at = 0;
        if (session->input_count == SESSION_BYTES)
            return false;
        struct pollfd poll_handle = {.fd = session->socket, .events = POLLIN};
        if (poll(&poll_handle, 1, wait_ms) <= 0)
            return false;
        ssize_t got = recv(session->socket, session->input + session->input_count,
                           SESSION_BYTES - session->input_count, 0);
        if (got <= 0)
            return false;
        session->input_count += (size_t)got;
    }
}

_Noreturn static void fail(const char *what, struct text detail)
{
    fprintf(stderr, "pail-bench: %s%.*s\n", what, (int)detail.count,
            detail.data != NULL ? detail.data : "");
    exit(1);
}
