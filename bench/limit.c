/*
 * bench/limit.c: bench-limit, a NATS server without a store: what the sockets, the kernel and the
 * protocol's bytes cost, and nothing else. The physical limit beside which a real server is measured.
 *
 * It answers puts with a PubAck and direct gets with a message of the right form, subject and size,
 * from memory that is always in the cache: no lookup, no log, no subscription table, no time stamp.
 * A connection has one subscription, that of its reply inbox, and replies carry its sid. Requests to
 * the stream API are told that all went well. Watches are refused: without a store there is nothing
 * to fan out.
 *
 * Runs on: one thread accepts; N others have a ring each and take turns in getting connections.
 */
#include "bench/loop.h"
#include "bench/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    THREADS_MAX = 64,
    VALUE_BYTES_MAX = 1024 * 1024,
    ANSWER_BYTES_MAX = 1024, /* an answer without its value; lines are at most LINE_BYTES_MAX */
    LINE_BYTES_MAX = 512,
    PENDING_BYTES_MAX = 64 * 1024 * 1024,
};

struct thread {
    struct loop loop;
    struct link mail;    /* the acceptor's end writes sockets into it */
    struct peer *closed; /* freed when the kernel holds nothing of theirs */
    uint64_t seq;
    int mail_write;
    int mail_read;
    pthread_t handle;
};

struct peer {
    struct link link; /* first: callbacks get its address */
    struct thread *thread;
    struct peer *closed_next;
    char sid[16];
    size_t sid_count;
};

/* One line of PUB or HPUB, cut at its blanks. */
struct publish {
    struct text subject;
    struct text reply;
    size_t body_count;
};

static uint32_t value_bytes = 128;
static char value[VALUE_BYTES_MAX];
static uint16_t port;
static const char *address = "127.0.0.1";
static uint32_t thread_count = 1;
static pthread_barrier_t ready;

static void parse_options(int argc, char **argv);
static int listen_or_exit(void);
static void *thread_main(void *argument);
static size_t mail_on_bytes(struct link *link, char *data, size_t count);
static void mail_on_closed(struct link *link, const char *reason);
static size_t peer_on_bytes(struct link *link, char *data, size_t count);
static void peer_on_closed(struct link *link, const char *reason);
static bool cut_publish(const char *line, size_t count, struct publish *publish);
static void peer_subscribe(struct peer *peer, const char *line, size_t count);
static void answer_put(struct peer *peer, const struct publish *publish);
static void answer_get(struct peer *peer, const struct publish *publish);
static void answer_api(struct peer *peer, const struct publish *publish);
static void free_closed(struct thread *thread);
_Noreturn static void fail(const char *what);

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    memset(value, 'v', sizeof(value));
    int listener = listen_or_exit();
    pthread_barrier_init(&ready, NULL, thread_count + 1);
    struct thread *threads = calloc(thread_count, sizeof(*threads));
    if (threads == NULL)
        fail("out of memory");
    for (uint32_t index = 0; index < thread_count; index++) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
            fail("socketpair");
        threads[index].mail_write = ends[0];
        threads[index].mail_read = ends[1];
        if (pthread_create(&threads[index].handle, NULL, thread_main, &threads[index]) != 0)
            fail("pthread_create");
    }
    pthread_barrier_wait(&ready);
    fprintf(stderr, "Listening for client connections on %s:%u\nServer is ready\n", address, port);

    for (uint32_t next = 0;; next = (next + 1) % thread_count) {
        int handle = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (handle < 0)
            continue;
        int one = 1;
        setsockopt(handle, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (write(threads[next].mail_write, &handle, sizeof(handle)) != sizeof(handle))
            fail("mail");
    }
}

static void parse_options(int argc, char **argv)
{
    static const struct option longs[] = {
        {"port", required_argument, NULL, 'p'},    {"addr", required_argument, NULL, 'a'},
        {"threads", required_argument, NULL, 't'}, {"value", required_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},          {0}};
    int id;
    long number;
    port = 4222;
    while ((id = getopt_long(argc, argv, "p:a:t:v:h", longs, NULL)) != -1) {
        number = optarg != NULL ? strtol(optarg, NULL, 10) : 0;
        if (id == 'p' && number >= -1 && number <= 65535) {
            port = number == -1 ? 0 : (uint16_t)number;
        } else if (id == 'a') {
            address = optarg;
        } else if (id == 't' && number >= 1 && number <= THREADS_MAX) {
            thread_count = (uint32_t)number;
        } else if (id == 'v' && number >= 0 && number <= VALUE_BYTES_MAX) {
            value_bytes = (uint32_t)number;
        } else {
            fprintf(id == 'h' ? stdout : stderr,
                    "usage: bench-limit [-a ADDRESS] [-p PORT, -1: a free one] [--threads N]\n"
                    "                   [--value BYTES]   size of every value that is got\n");
            exit(id == 'h' ? 0 : 2);
        }
    }
}

static int listen_or_exit(void)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t name_size = sizeof(name);
    if (listener < 0 || inet_pton(AF_INET, address, &name.sin_addr) != 1)
        fail("not an IPv4 address");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, (struct sockaddr *)&name, sizeof(name)) != 0 || listen(listener, 1024) != 0
        || getsockname(listener, (struct sockaddr *)&name, &name_size) != 0)
        fail("listen");
    port = ntohs(name.sin_port);
    return listener;
}

static void *thread_main(void *argument)
{
    struct thread *thread = argument;
    loop_open(&thread->loop);
    link_open(&thread->mail, &thread->loop, thread->mail_read, NULL, 0, mail_on_bytes,
              mail_on_closed);
    pthread_barrier_wait(&ready);
    for (;;) {
        loop_turn(&thread->loop);
        if (thread->closed != NULL)
            free_closed(thread);
    }
    return NULL;
}

static size_t mail_on_bytes(struct link *link, char *data, size_t count)
{
    static const char info[] =
        "INFO {\"server_id\":\"LIMIT\",\"server_name\":\"limit\",\"version\":\"2.15.2\","
        "\"proto\":1,\"go\":\"none\",\"host\":\"127.0.0.1\",\"port\":4222,\"headers\":true,"
        "\"max_payload\":1048576,\"jetstream\":true} \r\n";
    struct thread *thread = (struct thread *)((char *)link - offsetof(struct thread, mail));
    size_t used = 0;
    for (; count - used >= sizeof(int); used += sizeof(int)) {
        int handle;
        memcpy(&handle, data + used, sizeof(handle));
        struct peer *peer = calloc(1, sizeof(*peer));
        if (peer == NULL)
            fail("out of memory");
        peer->thread = thread;
        link_open(&peer->link, &thread->loop, handle, NULL, 0, peer_on_bytes, peer_on_closed);
        link_write(&peer->link, info, sizeof(info) - 1);
    }
    return used;
}

static void mail_on_closed(struct link *link, const char *reason)
{
    (void)link;
    fail(reason);
}

static size_t peer_on_bytes(struct link *link, char *data, size_t count)
{
    struct peer *peer = (struct peer *)link;
    size_t used = 0;
    while (used < count) {
        const char *line = data + used;
        const char *end = memchr(line, '\n', count - used);
        if (end == NULL)
            break;
        size_t line_count = (size_t)(end - line) + 1;
        struct publish publish;
        switch (line[0]) {
        case 'P':
        case 'H':
            if (line[1] == 'I') {
                link_write(link, "PONG\r\n", 6);
                used += line_count;
                continue;
            }
            if (line[1] == 'O') {
                used += line_count;
                continue;
            }
            if (line_count > LINE_BYTES_MAX || !cut_publish(line, line_count, &publish)) {
                link_write(link, "-ERR 'Unknown Protocol Operation'\r\n", 35);
                return count;
            }
            if (count - used < line_count + publish.body_count + 2)
                return used;
            used += line_count + publish.body_count + 2;
            if (text_starts(publish.subject, "$KV.", 4))
                answer_put(peer, &publish);
            else if (text_starts(publish.subject, "$JS.API.DIRECT.GET.", 19))
                answer_get(peer, &publish);
            else
                answer_api(peer, &publish);
            continue;
        case 'S':
            peer_subscribe(peer, line, line_count);
            used += line_count;
            continue;
        default: /* CONNECT, UNSUB */
            used += line_count;
            continue;
        }
    }
    if (link->gathering.count > PENDING_BYTES_MAX)
        shutdown(link->socket, SHUT_RDWR);
    return used;
}

static void peer_on_closed(struct link *link, const char *reason)
{
    (void)reason;
    struct peer *peer = (struct peer *)link;
    peer->closed_next = peer->thread->closed;
    peer->thread->closed = peer;
}

/* Whether it is PUB or HPUB: the last number is the size of all that follows the line. */
static bool cut_publish(const char *line, size_t count, struct publish *publish)
{
    const char *at = line + (line[0] == 'H' ? 5 : 4);
    const char *end = line + count - 1;
    const char *blank = memchr(at, ' ', (size_t)(end - at));
    if (blank == NULL)
        return false;
    publish->subject = (struct text){at, (size_t)(blank - at)};
    publish->reply = (struct text){0};
    size_t body_count = 0;
    const char *field = blank + 1;
    for (at = field; at <= end; at++) {
        if (*at >= '0' && *at <= '9') {
            body_count = body_count * 10 + (size_t)(*at - '0');
        } else if (*at == ' ') {
            if (publish->reply.data == NULL)
                publish->reply = (struct text){field, (size_t)(at - field)};
            body_count = 0;
        }
    }
    publish->body_count = body_count;
    return body_count <= 64U * 1024 * 1024;
}

/* SUB subject [queue] sid */
static void peer_subscribe(struct peer *peer, const char *line, size_t count)
{
    while (count > 0 && (line[count - 1] == '\n' || line[count - 1] == '\r'))
        count--;
    size_t start = count;
    while (start > 0 && line[start - 1] != ' ')
        start--;
    if (peer->sid_count > 0 || count - start >= sizeof(peer->sid))
        return;
    peer->sid_count = count - start;
    memcpy(peer->sid, line + start, peer->sid_count);
}

static char *put_bytes(char *at, const void *data, size_t count)
{
    memcpy(at, data, count);
    return at + count;
}

static char *put_msg_head(char *at, const struct peer *peer, const char *verb,
                          const struct publish *publish)
{
    at = put_bytes(at, verb, strlen(verb));
    at = put_bytes(at, publish->reply.data, publish->reply.count);
    *at++ = ' ';
    at = put_bytes(at, peer->sid, peer->sid_count);
    *at++ = ' ';
    return at;
}

static void answer_put(struct peer *peer, const struct publish *publish)
{
    if (publish->reply.count == 0)
        return;
    const char *bucket = publish->subject.data + 4;
    const char *dot = memchr(bucket, '.', publish->subject.count - 4);
    size_t bucket_count = dot != NULL ? (size_t)(dot - bucket) : 0;

    char digits[SEQ_DIGITS_MAX];
    size_t digit_count = write_number(digits, ++peer->thread->seq);
    char *start = link_reserve(&peer->link, ANSWER_BYTES_MAX);
    char *at = put_msg_head(start, peer, "MSG ", publish);
    at += write_number(at, 14 + bucket_count + 8 + digit_count + 1);
    at = put_bytes(at, "\r\n{\"stream\":\"KV_", 16);
    at = put_bytes(at, bucket, bucket_count);
    at = put_bytes(at, "\",\"seq\":", 8);
    at = put_bytes(at, digits, digit_count);
    at = put_bytes(at, "}\r\n", 3);
    link_commit(&peer->link, (size_t)(at - start));
}

/* The key is the subject's last token; the value begins with it, as those of pail-bench do. */
static void answer_get(struct peer *peer, const struct publish *publish)
{
    static const char stream[] = "NATS/1.0\r\nNats-Stream: ";
    static const char subject[] = "\r\nNats-Subject: ";
    static const char sequence[] = "\r\nNats-Sequence: ";
    static const char stamp[] = "\r\nNats-Time-Stamp: 2026-11-23T04:06:44.712652887Z\r\n\r\n";
    const char *name = publish->subject.data + 19;
    const char *dot = memchr(name, '.', publish->subject.count - 19);
    if (dot == NULL || publish->reply.count == 0)
        return;
    size_t name_count = (size_t)(dot - name);
    const char *key = dot + 1;
    size_t key_count = publish->subject.count - 19 - name_count - 1;
    const char *tail = memrchr(key, '.', key_count);
    tail = tail != NULL ? tail + 1 : key;
    size_t tail_count = key_count - (size_t)(tail - key);

    char digits[SEQ_DIGITS_MAX];
    size_t digit_count = write_number(digits, peer->thread->seq + 1);
    size_t header_count = sizeof(stream) + sizeof(subject) + sizeof(sequence) + sizeof(stamp) - 4
                          + name_count + key_count + digit_count;
    char *start = link_reserve(&peer->link, ANSWER_BYTES_MAX + 2 * LINE_BYTES_MAX + value_bytes);
    char *at = put_msg_head(start, peer, "HMSG ", publish);
    at += write_number(at, header_count);
    *at++ = ' ';
    at += write_number(at, header_count + value_bytes);
    at = put_bytes(at, "\r\n", 2);
    at = put_bytes(at, stream, sizeof(stream) - 1);
    at = put_bytes(at, name, name_count);
    at = put_bytes(at, subject, sizeof(subject) - 1);
    at = put_bytes(at, key, key_count);
    at = put_bytes(at, sequence, sizeof(sequence) - 1);
    at = put_bytes(at, digits, digit_count);
    at = put_bytes(at, stamp, sizeof(stamp) - 1);
    memcpy(at, value, value_bytes);
    if (tail_count <= value_bytes)
        memcpy(at, tail, tail_count);
    at += value_bytes;
    at = put_bytes(at, "\r\n", 2);
    link_commit(&peer->link, (size_t)(at - start));
}

static void answer_api(struct peer *peer, const struct publish *publish)
{
    static const char fine[] = "{\"did_create\":true,\"success\":true}";
    static const char refusal[] = "{\"error\":{\"code\":503,\"err_code\":10039,"
                                  "\"description\":\"this server stores nothing\"}}";
    if (publish->reply.count == 0)
        return;
    bool is_stream = text_starts(publish->subject, "$JS.API.STREAM.", 15);
    const char *body = is_stream ? fine : refusal;
    size_t body_count = strlen(body);
    char *start = link_reserve(&peer->link, ANSWER_BYTES_MAX);
    char *at = put_msg_head(start, peer, "MSG ", publish);
    at += write_number(at, body_count);
    at = put_bytes(at, "\r\n", 2);
    at = put_bytes(at, body, body_count);
    at = put_bytes(at, "\r\n", 2);
    link_commit(&peer->link, (size_t)(at - start));
}

static void free_closed(struct thread *thread)
{
    struct peer **at = &thread->closed;
    while (*at != NULL) {
        struct peer *peer = *at;
        if (peer->link.is_receiving || peer->link.is_sending || peer->link.is_dirty) {
            at = &peer->closed_next;
            continue;
        }
        *at = peer->closed_next;
        link_close(&peer->link);
        free(peer);
    }
}

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "bench-limit: %s: %s\n", what, strerror(errno));
    exit(1);
}
