/*
 * tests/net/door_test.c: the whole door, from its socket to kv/kv.h and back, with a kv that does what its subjects say:
 *
 *     now.<x>     answers inside kv_publish, with the payload
 *     later.<x>   holds the connection (KV_TAKEN_WAIT), answers and resumes a little later
 *     again.<x>   is not taken twice (KV_RETRY), then as now.<x>
 *     fan.<n>     delivers n messages on "out", as a consumer would
 *
 * kv's and the store's functions are defined here, so that the linker takes nothing from these rooms.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/diag.h"
#include "core/text.h"
#include "net/server.h"
#include "net/signals.h"

enum { SHARDS = 3, WAIT_MS = 10000, LATER_MAX = 64 };

/* ---- the kv of one shard ---- */

struct later {
    struct kv *kv;
    struct timer timer;
    struct origin origin;
    char reply[64], payload[64];
    struct later *next;
};

struct kv {
    struct shard *shard;
    struct outbox *outbox;
    void *context;
    void (*on_ready)(void *context, const struct store_recovery *recovery);
    struct timer ready_timer;
    unsigned retries;
    struct later *free;
    struct later later[LATER_MAX];
};

static _Atomic int presence_count; /* of "watched", added up over shards */
static _Atomic unsigned room_count;

static void on_ready_timer(struct timer *timer)
{
    struct kv *kv = CONTAINER_OF(timer, struct kv, ready_timer);
    struct store_recovery recovery = {.status = STATUS_OK};
    kv->on_ready(kv->context, &recovery);
}

struct kv *kv_create(struct shard *shard, struct kv_world *world, struct outbox *outbox,
                     void *context,
                     void (*on_ready)(void *context, const struct store_recovery *recovery))
{
    struct kv *kv = heap_alloc_zeroed(shard->heap, sizeof(*kv));
    (void)world;
    kv->shard = shard;
    kv->outbox = outbox;
    kv->context = context;
    kv->on_ready = on_ready;
    for (unsigned i = 0; i < LATER_MAX; i++) {
        kv->later[i].kv = kv;
        kv->later[i].next = kv->free;
        kv->free = &kv->later[i];
    }
    timer_start(shard->timers, &kv->ready_timer, shard_now_ns(shard) + 1000000, on_ready_timer);
    return kv;
}

void kv_destroy(struct kv *kv)
{
    heap_free(kv);
}

static void answer(struct kv *kv, const struct origin *origin, struct bytes reply,
                   struct bytes payload)
{
    struct msg msg = {.subject = reply, .payload = payload};
    kv->outbox->answer(kv->outbox, origin, &msg);
}

static void on_later(struct timer *timer)
{
    struct later *later = CONTAINER_OF(timer, struct later, timer);
    struct kv *kv = later->kv;
    answer(kv, &later->origin, bytes_of_text(later->reply), bytes_of_text(later->payload));
    kv->outbox->resume(kv->outbox, &later->origin);
    later->next = kv->free;
    kv->free = later;
}

static void copy_text(char *to, size_t bytes, struct bytes from)
{
    cr_assert(lt(sz, from.count, bytes));
    memcpy(to, from.data, from.count);
    to[from.count] = '\0';
}

static enum kv_take take_later(struct kv *kv, const struct origin *origin, const struct msg *msg)
{
    struct later *later = kv->free;
    if (later == NULL)
        return KV_NONE;
    kv->free = later->next;
    later->origin = *origin;
    copy_text(later->reply, sizeof(later->reply), msg->reply);
    copy_text(later->payload, sizeof(later->payload), msg->payload);
    timer_start(kv->shard->timers, &later->timer, shard_now_ns(kv->shard) + 2000000, on_later);
    return KV_TAKEN_WAIT;
}

static void on_again(struct timer *timer)
{
    struct later *later = CONTAINER_OF(timer, struct later, timer);
    struct kv *kv = later->kv;
    kv->outbox->resume(kv->outbox, &later->origin);
    later->next = kv->free;
    kv->free = later;
}

static enum kv_take take_again(struct kv *kv, const struct origin *origin, const struct msg *msg)
{
    if (kv->retries++ % 3 == 2) {
        answer(kv, origin, msg->reply, msg->payload);
        return KV_TAKEN;
    }
    struct later *later = kv->free;
    kv->free = later->next;
    later->origin = *origin;
    timer_start(kv->shard->timers, &later->timer, shard_now_ns(kv->shard) + 1000000, on_again);
    return KV_RETRY;
}

enum kv_take kv_publish(struct kv *kv, const struct origin *origin, const struct msg *msg)
{
    if (bytes_start_with(msg->subject, BYTES_LITERAL("now."))) {
        answer(kv, origin, msg->reply, msg->payload);
        return KV_TAKEN;
    }
    if (bytes_start_with(msg->subject, BYTES_LITERAL("later.")))
        return take_later(kv, origin, msg);
    if (bytes_start_with(msg->subject, BYTES_LITERAL("again.")))
        return take_again(kv, origin, msg);
    if (bytes_start_with(msg->subject, BYTES_LITERAL("fan."))) {
        uint64_t count = 0;
        (void)text_parse_u64(bytes_after(msg->subject, 4), &count);
        struct msg out = {.subject = BYTES_LITERAL("stored"), .payload = msg->payload};
        for (uint64_t i = 0; i < count; i++)
            kv->outbox->deliver(kv->outbox, ACCOUNT_GLOBAL, BYTES_LITERAL("out"), &out);
        return KV_TAKEN;
    }
    return KV_NONE;
}

void kv_on_interest(struct kv *kv, uint32_t account, struct bytes subject, struct bytes queue,
                    bool is_present)
{
    cr_assert(
        eq(int, kv->outbox->has_subscription(kv->outbox, account, subject, queue), is_present));
    if (bytes_equal(subject, BYTES_LITERAL("watched")))
        presence_count += is_present ? 1 : -1;
}

void kv_on_room(struct kv *kv)
{
    (void)kv;
    room_count++;
}

bool kv_is_busy(struct kv *kv)
{
    (void)kv;
    return false;
}

void kv_figures(const struct kv *kv, struct kv_figures *figures_out)
{
    (void)kv;
    *figures_out = (struct kv_figures){.streams = 0};
}

struct kv_world *kv_world_create(const struct kv_options *options,
                                 struct store_directory *directory)
{
    (void)options;
    (void)directory;
    return calloc(1, 1);
}

void kv_world_set_limits(struct kv_world *world, uint64_t memory_bytes_max, uint64_t file_bytes_max)
{
    (void)world;
    (void)memory_bytes_max;
    (void)file_bytes_max;
}

void kv_world_destroy(struct kv_world *world)
{
    free(world);
}

/* ---- the store's directory ---- */

enum status store_directory_open(struct io *io, const char *path,
                                 const struct store_options *options, uint32_t shard_count,
                                 struct store_directory **directory_out, char *why,
                                 size_t why_bytes)
{
    (void)io;
    (void)path;
    (void)options;
    (void)shard_count;
    (void)why;
    (void)why_bytes;
    *directory_out = calloc(1, 1);
    return STATUS_OK;
}

void store_stop(struct store *store)
{
    (void)store;
}

void store_directory_close(struct store_directory *directory, struct io *io)
{
    (void)io;
    free(directory);
}

bool store_directory_is_buffered(const struct store_directory *directory)
{
    (void)directory;
    return false;
}

/* ---- the server under test ---- */

static struct options options;
static pthread_t server_thread;
static uint16_t port;
static char directory[64];

static void *run_server(void *context)
{
    (void)context;
    return (void *)(intptr_t)server_run(&options);
}

/* The ports file tells when the server is ready. */
static void read_port(void)
{
    char path[320];
    char text[256] = "";
    snprintf(path, sizeof(path), "%s/door_%d.ports", directory, (int)getpid());
    for (unsigned i = 0; i < WAIT_MS && text[0] == '\0'; i++) {
        FILE *file = fopen(path, "r");
        if (file != NULL) {
            cr_assert(ne(ptr, fgets(text, sizeof(text), file), NULL));
            fclose(file);
        } else {
            (void)poll(NULL, 0, 1);
        }
    }
    const char *found = strstr(text, "127.0.0.1:");
    cr_assert(ne(ptr, (void *)(uintptr_t)found, NULL));
    port = (uint16_t)atoi(found + 10);
}

static void server_begin(void)
{
    sigset_t signals;
    struct diag_options diag = {.file = "/dev/null"};
    strcpy(directory, "/tmp/pail-door-XXXXXX");
    cr_assert(ne(ptr, mkdtemp(directory), NULL));
    cr_assert(eq(int, diag_open(&diag), STATUS_OK));
    options_init(&options);
    strcpy(options.program, "door");
    strcpy(options.host, "127.0.0.1");
    strcpy(options.ports_file_dir, directory);
    options.port = -1;
    options.shard_count = SHARDS;
    sigemptyset(&signals);
    for (const int *signal = server_signals; *signal != 0; signal++)
        sigaddset(&signals, *signal);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    cr_assert(eq(int, pthread_create(&server_thread, NULL, run_server, NULL), 0));
    read_port();
}

static void server_end(void)
{
    void *result = NULL;
    kill(getpid(), SIGTERM);
    pthread_join(server_thread, &result);
    cr_expect(eq(int, (int)(intptr_t)result, 0));
    rmdir(directory);
}

TestSuite(door, .init = server_begin, .fini = server_end);

/* ---- a client ---- */

struct client {
    int socket;
    char *text; /* what came */
    size_t count, capacity;
};

static void client_send(struct client *client, const char *data, size_t count)
{
    while (count > 0) {
        ssize_t sent = send(client->socket, data, count, MSG_NOSIGNAL);
        cr_assert(gt(long, (long)sent, 0));
        data += sent;
        count -= (size_t)sent;
    }
}

static void client_say(struct client *client, const char *text)
{
    client_send(client, text, strlen(text));
}

/* Reads until `text` has come, and gives all up to its end; the caller frees. */
static char *client_await(struct client *client, const char *text)
{
    for (;;) {
        char *found =
            client->count == 0 ? NULL : memmem(client->text, client->count, text, strlen(text));
        if (found != NULL) {
            size_t count = (size_t)(found - client->text) + strlen(text);
            char *taken = strndup(client->text, count);
            client->count -= count;
            memmove(client->text, client->text + count, client->count);
            return taken;
        }
        if (client->capacity - client->count < 65536) {
            client->capacity = client->capacity * 2 + 131072;
            client->text = realloc(client->text, client->capacity);
        }
        struct pollfd wait = {.fd = client->socket, .events = POLLIN};
        cr_assert(eq(int, poll(&wait, 1, WAIT_MS), 1), "waiting for %s, got %.*s", text,
                  (int)client->count, client->text);
        ssize_t got = recv(client->socket, client->text + client->count, 65536, 0);
        cr_assert(gt(long, (long)got, 0), "the server closed");
        client->count += (size_t)got;
    }
}

static void client_skip(struct client *client, const char *text)
{
    free(client_await(client, text));
}

static struct client client_open(void)
{
    struct client client = {.socket = socket(AF_INET, SOCK_STREAM, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(eq(int, connect(client.socket, (struct sockaddr *)&address, sizeof(address)), 0));
    client_say(&client, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n"
                        "SUB _INBOX.x.* 1\r\nPING\r\n");
    client_skip(&client, "PONG\r\n");
    return client;
}

static void client_close(struct client *client)
{
    close(client->socket);
    free(client->text);
}

static void expect_text(char *got, const char *want)
{
    cr_expect(eq(str, got, (char *)(uintptr_t)want));
    free(got);
}

/* ---- tests ---- */

/* However long each one takes: what one connection sends takes effect, and is answered, in order. */
Test(door, keeps_the_order_of_a_connection_that_must_wait)
{
    static const char *const kinds[] = {"now", "later", "again"};
    struct text in = {.data = NULL};
    struct text want = {.data = NULL};
    struct client client = client_open();
    for (unsigned i = 0; i < 300; i++) {
        char number[16];
        int count = snprintf(number, sizeof(number), "%u", i);
        text_append_format(&in, "PUB %s.k _INBOX.x.%u %d\r\n%u\r\n", kinds[i * 7 % 3], i, count, i);
        text_append_format(&want, "MSG _INBOX.x.%u 1 %d\r\n%u\r\n", i, count, i);
    }
    text_append_literal(&in, "PUB now.k _INBOX.x.end 0\r\n\r\n");
    text_append_literal(&want, "MSG _INBOX.x.end 1 0\r\n\r\n");
    text_append(&want, bytes_of("", 1));
    client_send(&client, in.data, in.count);
    expect_text(client_await(&client, "MSG _INBOX.x.end 1 0\r\n\r\n"), want.data);
    text_free(&in);
    text_free(&want);
    client_close(&client);
}

/* A held connection's later bytes wait; a payload that is cut, and larger than what is stashed, too. */
Test(door, holds_large_input_without_losing_any)
{
    enum { LARGE = 300000 };
    char *payload = malloc(LARGE + 2);
    memset(payload, 'x', LARGE);
    memcpy(payload + LARGE, "\r\n", 2);
    struct client client = client_open();
    client_say(&client, "SUB large 2\r\n");
    for (unsigned i = 0; i < 20; i++) {
        client_say(&client, "PUB later.k _INBOX.x.1 1\r\na\r\nPUB large 300000\r\n");
        client_send(&client, payload, LARGE + 2);
        client_say(&client, "PUB again.k _INBOX.x.2 1\r\nb\r\n");
    }
    for (unsigned i = 0; i < 20; i++) {
        expect_text(client_await(&client, "a\r\n"), "MSG _INBOX.x.1 1 1\r\na\r\n");
        client_skip(&client, "MSG large 2 300000\r\n");
        client_skip(&client, "x\r\n");
        expect_text(client_await(&client, "b\r\n"), "MSG _INBOX.x.2 1 1\r\nb\r\n");
    }
    free(payload);
    client_close(&client);
}

/* +OK once, though the message was handed in three times. */
Test(door, says_ok_once_for_a_message_that_was_tried_again)
{
    struct client client = client_open();
    client_say(&client,
               "CONNECT {\"verbose\":true}\r\nSUB r 3\r\nPUB again.k r 1\r\nz\r\nPING\r\n");
    expect_text(client_await(&client, "PONG\r\n"),
                "+OK\r\n+OK\r\n+OK\r\nMSG r 3 1\r\nz\r\nPONG\r\n");
    client_close(&client);
}

/* The remembered inbox must not hide other subscribers that come later, on any shard. */
Test(door, answers_everybody_who_listens_to_an_inbox)
{
    struct client asker = client_open();
    for (unsigned i = 0; i < 10; i++) {
        client_say(&asker, "PUB now.k _INBOX.x.7 2\r\nhi\r\n");
        expect_text(client_await(&asker, "hi\r\n"), "MSG _INBOX.x.7 1 2\r\nhi\r\n");
    }
    for (unsigned i = 0; i < SHARDS; i++) { /* one on each shard, one after the other */
        struct client spy = client_open();
        client_say(&spy, "SUB _INBOX.> 9\r\nUNSUB 1\r\nPING\r\n");
        client_skip(&spy, "PONG\r\n");
        client_say(&asker, "PUB now.k _INBOX.x.8 2\r\nyo\r\n");
        expect_text(client_await(&asker, "yo\r\n"), "MSG _INBOX.x.8 1 2\r\nyo\r\n");
        expect_text(client_await(&spy, "yo\r\n"), "MSG _INBOX.x.8 9 2\r\nyo\r\n");
        client_close(&spy);
    }
    client_close(&asker);
}

/* A deliver subject routes; the message keeps its own. Three subscribers on three shards get all. */
Test(door, delivers_under_the_stored_subject_on_every_shard)
{
    struct client clients[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        clients[i] = client_open();
        client_say(&clients[i], "SUB out 4\r\nPING\r\n");
        client_skip(&clients[i], "PONG\r\n");
    }
    client_say(&clients[0], "PUB fan.3 1\r\nm\r\n");
    for (unsigned i = 0; i < SHARDS; i++)
        expect_text(
            client_await(&clients[i], "m\r\nMSG stored 4 1\r\nm\r\nMSG stored 4 1\r\nm\r\n"),
            "MSG stored 4 1\r\nm\r\nMSG stored 4 1\r\nm\r\nMSG stored 4 1\r\nm\r\n");
    for (unsigned i = 0; i < SHARDS; i++)
        client_close(&clients[i]);
}

/* Who does not read its answers is not read; nothing is lost, and kv hears of the room afterwards. */
Test(door, stops_reading_who_does_not_read)
{
    enum { COUNT = 6000, BYTES = 1000 };
    struct text in = {.data = NULL};
    struct client client = client_open();
    for (unsigned i = 0; i < COUNT; i++)
        text_append_format(&in, "PUB now.k _INBOX.x.%u %d\r\n%0*u\r\n", i, BYTES, BYTES, i);
    text_append_literal(&in, "PUB now.k _INBOX.x.end 0\r\n\r\n");
    pid_t writer = fork(); /* to write and read at a time */
    if (writer == 0) {
        client_send(&client, in.data, in.count);
        _exit(0);
    }
    (void)poll(NULL, 0, 200);
    for (unsigned i = 0; i < COUNT; i++) {
        char want[64];
        snprintf(want, sizeof(want), "%u 1 %d\r\n", i, BYTES);
        client_skip(&client, want);
    }
    client_skip(&client, "MSG _INBOX.x.end 1 0\r\n\r\n");
    cr_expect(gt(uint, room_count, 0));
    text_free(&in);
    client_close(&client);
}

Test(door, tells_kv_of_the_first_and_the_last_subscription_on_every_shard)
{
    struct client clients[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        clients[i] = client_open();
        client_say(&clients[i], "SUB watched 5\r\nPING\r\n");
        client_skip(&clients[i], "PONG\r\n");
        cr_expect(eq(int, presence_count, SHARDS));
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        cr_expect(eq(int, presence_count, SHARDS));
        client_say(&clients[i], "UNSUB 5\r\nPING\r\n");
        client_skip(&clients[i], "PONG\r\n");
    }
    cr_expect(eq(int, presence_count, 0));
    for (unsigned i = 0; i < SHARDS; i++)
        client_close(&clients[i]);
}

/* The one PONG after SUB is a promise: a request from any other shard then finds the responder. */
Test(door, finds_a_responder_on_another_shard_after_its_pong)
{
    struct client asker = client_open();
    for (unsigned i = 0; i < 50; i++) {
        struct client responder = client_open();
        client_say(&responder, i % 2 == 0 ? "SUB svc 6\r\nPING\r\n" : "SUB svc q 6\r\nPING\r\n");
        client_skip(&responder, "PONG\r\n");
        client_say(&asker, "PUB svc _INBOX.x.5 1\r\n?\r\n");
        client_skip(&responder, "MSG svc 6 _INBOX.x.5 1\r\n?\r\n");
        client_say(&responder, "PUB _INBOX.x.5 1\r\n!\r\nUNSUB 6\r\nPING\r\n");
        client_skip(&responder, "PONG\r\n");
        expect_text(client_await(&asker, "!\r\n"), "MSG _INBOX.x.5 1 1\r\n!\r\n");
        client_say(&asker, "PUB svc _INBOX.x.6 0\r\n\r\n");
        client_skip(&asker, "NATS/1.0 503\r\nNats-Subject: svc\r\n\r\n\r\n");
        client_close(&responder);
    }
    client_close(&asker);
}

/* Members on all shards share the work; none gets what another got. */
Test(door, gives_each_message_to_one_member_of_a_queue_group)
{
    enum { MEMBERS = 6, MESSAGES = 600 };
    struct client members[MEMBERS];
    struct text in = {.data = NULL};
    unsigned total = 0;
    for (unsigned i = 0; i < MEMBERS; i++) {
        members[i] = client_open();
        client_say(&members[i], i % 2 == 0 ? "SUB w.* g 1q\r\nSUB end 2q\r\nPING\r\n"
                                           : "SUB w.a g 1q\r\nSUB end 2q\r\nPING\r\n");
        client_skip(&members[i], "PONG\r\n");
    }
    struct client publisher = client_open();
    for (unsigned i = 0; i < MESSAGES; i++)
        text_append_literal(&in, "PUB w.a 1\r\n.\r\n");
    text_append_literal(&in, "PUB end 0\r\n\r\n");
    client_send(&publisher, in.data, in.count);
    for (unsigned i = 0; i < MEMBERS; i++) {
        char *got = client_await(&members[i], "MSG end 2q 0\r\n\r\n");
        unsigned count = 0;
        for (char *at = got; (at = strstr(at, "MSG w.a 1q")) != NULL; at++)
            count++;
        cr_expect(gt(uint, count, MESSAGES / MEMBERS / 3));
        total += count;
        free(got);
        client_close(&members[i]);
    }
    cr_expect(eq(uint, total, MESSAGES));
    text_free(&in);
    client_close(&publisher);
}
