/*
 * net/password.c: passwords, and the threads that work out bcrypt hashes.
 *
 *     shard ──► waiting ──► a thread ──► done of that shard ──► a byte on its socket ──► on_done
 *
 * Keeps:   first come first served. A check that is cancelled while it waits costs nothing; one that is being worked out is thrown away
 *          afterwards. Passwords do not stay in freed memory.
 * Owns:    the threads, the sockets, the checks.
 * Runs on: the shards, and threads of its own; what they share is behind one mutex, held for a few instructions.
 */
#include "net/password.h"

#include <crypt.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/auth.h"
#include "net/net.h"
#include "net/server.h"

enum { THREADS_MAX = 4, HASH_BYTES_MAX = 128 };
static const long END_WAIT_NS = 200000000;

struct password_check {
    struct password_check *next;
    struct origin origin;
    uint32_t shard_index;
    bool is_cancelled, is_good;
    password_done_fn *on_done;
    size_t hash_count, given_count;
    char texts[]; /* hash, NUL, given, NUL */
};

struct passwords {
    pthread_mutex_t mutex;
    pthread_cond_t is_work;
    pthread_t threads[THREADS_MAX];
    uint32_t thread_count;
    bool is_ending;
    struct password_check *head, **tail; /* waiting */
    struct password_check *done[SHARD_COUNT_MAX];
    io_socket ends[SHARD_COUNT_MAX][2]; /* a thread writes into 1, the shard reads from 0 */
    bool has_ends[SHARD_COUNT_MAX];
};

/* All bytes are looked at, wherever the first difference is. */
bool password_equals(struct bytes wanted, struct bytes given)
{
    volatile unsigned char difference = wanted.count != given.count;
    for (size_t i = 0; i < given.count; i++) {
        unsigned char byte = wanted.count == 0 ? 0 : (unsigned char)wanted.data[i % wanted.count];
        difference = (unsigned char)(difference | (byte ^ (unsigned char)given.data[i]));
    }
    return difference == 0;
}

/*
 * The letter behind $2 tells which old mistake a hash was made with; Go, whose hashes these are, has none of them and takes all
 * letters alike. So do we: as $2b$.
 */
bool password_has_hash(struct bytes hash, struct bytes given)
{
    char setting[HASH_BYTES_MAX];
    if (!password_is_bcrypt(hash) || hash.count >= sizeof(setting)
        || (given.count > 0 && memchr(given.data, '\0', given.count) != NULL))
        return false;
    memcpy(setting, hash.data, hash.count);
    setting[hash.count] = '\0';
    setting[2] = 'b';
    struct crypt_data *data = calloc(1, sizeof(*data));
    char *phrase = calloc(1, given.count + 1);
    ASSERT(data != NULL);
    ASSERT(phrase != NULL);
    if (given.count > 0)
        memcpy(phrase, given.data, given.count);
    const char *made = crypt_r(phrase, setting, data);
    bool is_good = made != NULL && made[0] == '$'
                   && password_equals(bytes_of(setting, hash.count), bytes_of_text(made));
    explicit_bzero(phrase, given.count);
    explicit_bzero(data, sizeof(*data));
    free(phrase);
    free(data);
    return is_good;
}

/* ---- life ---- */

struct passwords *passwords_create(void)
{
    struct passwords *passwords = calloc(1, sizeof(*passwords));
    ASSERT(passwords != NULL);
    (void)pthread_mutex_init(&passwords->mutex, NULL); /* these cannot fail with defaults */
    (void)pthread_cond_init(&passwords->is_work, NULL);
    passwords->tail = &passwords->head;
    return passwords;
}

static void check_free(struct password_check *check)
{
    explicit_bzero(check->texts, check->hash_count + check->given_count + 2);
    free(check);
}

static void list_free(struct password_check *check)
{
    while (check != NULL) {
        struct password_check *next = check->next;
        check_free(check);
        check = next;
    }
}

void passwords_destroy(struct passwords *passwords)
{
    if (passwords == NULL)
        return;
    (void)pthread_mutex_lock(&passwords->mutex);
    passwords->is_ending = true;
    (void)pthread_cond_broadcast(&passwords->is_work);
    (void)pthread_mutex_unlock(&passwords->mutex);
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += END_WAIT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    bool are_ended = true;
    for (uint32_t i = 0; i < passwords->thread_count; i++) {
        if (pthread_timedjoin_np(passwords->threads[i], NULL, &until) == 0)
            continue;
        (void)pthread_detach(passwords->threads[i]);
        are_ended = false;
    }
    if (!are_ended)
        return; /* at a costly hash: it ends with the process, and needs what is here until then */
    list_free(passwords->head);
    for (uint32_t i = 0; i < SHARD_COUNT_MAX; i++) {
        list_free(passwords->done[i]);
        for (unsigned end = 0; end < 2 && passwords->has_ends[i]; end++)
            (void)close(passwords->ends[i][end]);
    }
    (void)pthread_cond_destroy(&passwords->is_work);
    (void)pthread_mutex_destroy(&passwords->mutex);
    free(passwords);
}

/* ---- the threads ---- */

static struct bytes check_hash(const struct password_check *check)
{
    return bytes_of(check->texts, check->hash_count);
}

static struct bytes check_given(const struct password_check *check)
{
    return bytes_of(check->texts + check->hash_count + 1, check->given_count);
}

/* The socket is full only when the shard has bytes to read already. */
static void ring(struct passwords *passwords, uint32_t shard_index)
{
    char byte = 1;
    ssize_t count = send(passwords->ends[shard_index][1], &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)count;
}

static void *work(void *context)
{
    struct passwords *passwords = context;
    (void)pthread_mutex_lock(&passwords->mutex);
    while (!passwords->is_ending) {
        struct password_check *check = passwords->head;
        if (check == NULL) {
            (void)pthread_cond_wait(&passwords->is_work, &passwords->mutex);
            continue;
        }
        passwords->head = check->next;
        if (passwords->head == NULL)
            passwords->tail = &passwords->head;
        (void)pthread_mutex_unlock(&passwords->mutex);
        bool is_good = password_has_hash(check_hash(check), check_given(check));
        (void)pthread_mutex_lock(&passwords->mutex);
        check->is_good = is_good;
        check->next = passwords->done[check->shard_index];
        passwords->done[check->shard_index] = check;
        ring(passwords, check->shard_index);
    }
    (void)pthread_mutex_unlock(&passwords->mutex);
    return NULL;
}

/* With the mutex held: one for each two shards. */
static void start_threads(struct passwords *passwords, uint32_t shard_count)
{
    uint32_t wanted = shard_count / 2 < 1 ? 1 : shard_count / 2;
    if (wanted > THREADS_MAX)
        wanted = THREADS_MAX;
    while (passwords->thread_count < wanted
           && pthread_create(&passwords->threads[passwords->thread_count], NULL, work, passwords)
                  == 0)
        passwords->thread_count++;
}

/* ---- the shards ---- */

static void on_done_bytes(struct op *op)
{
    struct net *net = CONTAINER_OF(op, struct net, password_op);
    struct passwords *passwords = net->server->passwords;
    uint32_t index = net->shard->index;
    bool has_ended = (op->flags & OP_MORE) == 0;
    bool is_open = op->result > 0;
    (void)pthread_mutex_lock(&passwords->mutex);
    struct password_check *check = passwords->done[index];
    passwords->done[index] = NULL;
    (void)pthread_mutex_unlock(&passwords->mutex);
    while (check != NULL) {
        struct password_check *next = check->next;
        if (!check->is_cancelled)
            check->on_done(net, &check->origin, check_hash(check), check->is_good);
        check_free(check);
        check = next;
    }
    if (has_ended && is_open)
        io_recv(net->shard->io, op, passwords->ends[index][0], on_done_bytes);
}

static bool shard_is_ready(struct net *net)
{
    struct passwords *passwords = net->server->passwords;
    uint32_t index = net->shard->index;
    if (passwords->has_ends[index])
        return true;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, passwords->ends[index]) != 0)
        return false;
    passwords->has_ends[index] = true;
    io_recv(net->shard->io, &net->password_op, passwords->ends[index][0], on_done_bytes);
    return true;
}

struct password_check *password_check_start(struct net *net, const struct origin *origin,
                                            struct bytes hash, struct bytes given,
                                            password_done_fn *on_done)
{
    struct passwords *passwords = net->server->passwords;
    struct password_check *check = NULL;
    ASSERT_ON_SHARD(net->shard);
    (void)pthread_mutex_lock(&passwords->mutex);
    if (shard_is_ready(net)) {
        start_threads(passwords, net->server->shard_count);
        if (passwords->thread_count > 0)
            check = calloc(1, sizeof(*check) + hash.count + given.count + 2);
    }
    if (check != NULL) {
        check->origin = *origin;
        check->shard_index = net->shard->index;
        check->on_done = on_done;
        check->hash_count = hash.count;
        check->given_count = given.count;
        memcpy(check->texts, hash.data, hash.count);
        if (given.count > 0)
            memcpy(check->texts + hash.count + 1, given.data, given.count);
        *passwords->tail = check;
        passwords->tail = &check->next;
        (void)pthread_cond_signal(&passwords->is_work);
    }
    (void)pthread_mutex_unlock(&passwords->mutex);
    return check;
}

void password_check_cancel(struct net *net, struct password_check *check)
{
    struct passwords *passwords = net->server->passwords;
    bool is_waiting = false;
    (void)pthread_mutex_lock(&passwords->mutex);
    for (struct password_check **link = &passwords->head; *link != NULL; link = &(*link)->next) {
        if (*link != check)
            continue;
        *link = check->next;
        if (check->next == NULL)
            passwords->tail = link;
        is_waiting = true;
        break;
    }
    check->is_cancelled = true;
    (void)pthread_mutex_unlock(&passwords->mutex);
    if (is_waiting)
        check_free(check);
}
