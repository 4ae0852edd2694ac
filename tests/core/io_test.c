/*
 * tests/core/io_test.c: core/io.h on io_uring, on real files and sockets.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/assert.h"
#include "core/bytes.h"
#include "core/io.h"

enum { FOLDER_BYTES = 64, PATH_BYTES = 128, BLOCK_BYTES = 4096 };
static const uint64_t second_ns = 1000000000;

static struct io *io;
static char folder[FOLDER_BYTES];

static void io_start(void)
{
    char why[512] = "";
    enum status status = io_create(0, &io, why, sizeof(why));
    cr_assert(eq(int, status, STATUS_OK), "%s", why);
    snprintf(folder, sizeof(folder), "/tmp/pail_io_test_XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
}

static void io_stop(void)
{
    io_destroy(io);
    char command[FOLDER_BYTES + 16];
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    int result = system(command);
    cr_assert(eq(int, result, 0));
}

TestSuite(io, .init = io_start, .fini = io_stop);

/* An operation that keeps count of its completions. */
struct probe {
    struct op op;
    unsigned count;       /* completions */
    bool is_done;         /* the last one has come */
    int32_t last_result;  /* of the last completion */
    uint64_t total_bytes; /* of a receive */
    int sockets[16];      /* of an accept */
    unsigned socket_count;
    unsigned char next_byte; /* a receive expects 0, 1, 2, ... */
};

static void probe_on_done(struct op *op)
{
    struct probe *probe = CONTAINER_OF(op, struct probe, op);
    cr_assert(not(probe->is_done));
    probe->count++;
    probe->last_result = op->result;
    probe->is_done = (op->flags & OP_MORE) == 0;
}

static void turns_until(const bool *is_true)
{
    uint64_t until_ns = io_now_ns(io) + 20 * second_ns;
    while (!*is_true) {
        io_turn(io, until_ns);
        cr_assert(lt(u64, io_now_ns(io), until_ns), "it takes too long");
    }
}

static const char *path_in_folder(char *path, const char *name)
{
    snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    return path;
}

/* ---- life ---- */

/* From now on io_uring_setup fails in this process as it does where a container forbids it. */
static void forbid_io_uring(uint32_t error)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT_OF(rules), rules};
    cr_assert(eq(int, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0));
    cr_assert(eq(int, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0));
}

static void check_refusal(uint32_t error, enum status expected, const char *remedy)
{
    struct io *refused = io;
    char why[512] = "";
    forbid_io_uring(error);
    enum status status = io_create(1, &refused, why, sizeof(why));
    cr_expect(eq(int, status, expected));
    cr_expect(refused == NULL);
    cr_expect(strstr(why, remedy) != NULL, "%s", why);
}

Test(io, names_the_remedy_when_io_uring_is_forbidden)
{
    check_refusal(EPERM, STATUS_PERMISSION, "sysctl kernel.io_uring_disabled=0");
}

Test(io, names_the_remedy_when_there_is_no_io_uring)
{
    check_refusal(ENOSYS, STATUS_UNSUPPORTED, "seccomp");
}

Test(io, names_the_kernel_it_needs)
{
    check_refusal(EINVAL, STATUS_UNSUPPORTED, "kernel 6.1 or newer is needed");
}

Test(io, names_the_limit_of_locked_memory)
{
    check_refusal(ENOMEM, STATUS_NO_MEMORY, "LimitMEMLOCK");
}

/* ---- files ---- */

static void check_write_sync_read(io_file file)
{
    enum { BYTES = 64 * BLOCK_BYTES };
    char *written = aligned_alloc(BLOCK_BYTES, BYTES), *read = aligned_alloc(BLOCK_BYTES, BYTES);
    for (size_t index = 0; index < BYTES; index++)
        written[index] = (char)(index * 7 + index / 251);
    struct probe probe = {.count = 0};
    for (int durability = IO_PLAIN; durability <= IO_DURABLE; durability++) {
        probe = (struct probe){.count = 0};
        io_write(io, &probe.op, file, written, BYTES, (uint64_t)durability * BYTES,
                 (enum io_durability)durability, probe_on_done);
        cr_assert(eq(u32, probe.count, 0), "never inside the call");
        turns_until(&probe.is_done);
        cr_assert(eq(i32, probe.last_result, BYTES));
    }
    probe = (struct probe){.count = 0};
    io_sync(io, &probe.op, file, probe_on_done);
    turns_until(&probe.is_done);
    cr_assert(eq(i32, probe.last_result, 0));

    probe = (struct probe){.count = 0};
    io_read(io, &probe.op, file, read, BYTES, BYTES, probe_on_done);
    turns_until(&probe.is_done);
    cr_assert(eq(i32, probe.last_result, BYTES));
    cr_assert(memcmp(written, read, BYTES) == 0);

    probe = (struct probe){.count = 0};
    io_read(io, &probe.op, file, read, BYTES, BYTES + BYTES / 2, probe_on_done);
    turns_until(&probe.is_done);
    cr_expect(eq(i32, probe.last_result, BYTES / 2), "a short read is told as it is");

    uint64_t bytes = 0;
    enum status status = io_file_size(io, file, &bytes);
    cr_expect(eq(int, status, STATUS_OK));
    cr_expect(eq(u64, bytes, 2 * BYTES));
    free(written);
    free(read);
}

static void check_file(bool direct)
{
    char path[PATH_BYTES];
    path_in_folder(path, "file");
    io_file file = IO_FILE_NONE;
    enum status status = io_file_open(io, path, IO_OPEN_CREATE, direct, &file);
    if (direct && status == STATUS_UNSUPPORTED) { /* such a file system; nothing may be left */
        cr_assert(access(path, F_OK) < 0);
        status = io_file_open(io, path, IO_OPEN_CREATE, false, &file);
    }
    cr_assert(eq(int, status, STATUS_OK));
    check_write_sync_read(file);
    io_file_close(io, file);
    status = io_file_open(io, path, IO_OPEN_CREATE, direct, &file);
    cr_expect(eq(int, status, STATUS_EXISTS));
    cr_expect(eq(int, file, IO_FILE_NONE));
}

Test(io, writes_syncs_and_reads_a_buffered_file)
{
    check_file(false);
}

Test(io, writes_syncs_and_reads_a_direct_file)
{
    check_file(true);
}

Test(io, says_when_the_file_system_refuses_direct_access_and_leaves_nothing)
{
    io_file file = IO_FILE_NONE;
    char name[] = "/proc/self/comm"; /* a file that no file system lets us open directly */
    enum status status = io_file_open(io, name, IO_OPEN_READ, true, &file);
    cr_expect(eq(int, status, STATUS_UNSUPPORTED));
    cr_expect(eq(int, file, IO_FILE_NONE));
}

Test(io, tells_a_failed_operation_by_a_negative_errno)
{
    struct probe probe = {.count = 0};
    char byte = 0;
    io_write(io, &probe.op, 1000000, &byte, 1, 0, IO_PLAIN, probe_on_done);
    turns_until(&probe.is_done);
    cr_expect(eq(i32, probe.last_result, -EBADF));
}

/* A file size limit makes a write short, then fail; RLIMIT_FSIZE is per process, as each test is. */
Test(io, asks_for_the_rest_of_a_short_write)
{
    char path[PATH_BYTES];
    io_file file = IO_FILE_NONE;
    enum status status =
        io_file_open(io, path_in_folder(path, "short"), IO_OPEN_CREATE, false, &file);
    cr_assert(eq(int, status, STATUS_OK));
    struct rlimit limit = {6000, 6000};
    signal(SIGXFSZ, SIG_IGN);
    cr_assert(eq(int, setrlimit(RLIMIT_FSIZE, &limit), 0));
    static char data[10000];
    struct probe probe = {.count = 0};
    io_write(io, &probe.op, file, data, sizeof(data), 0, IO_PLAIN, probe_on_done);
    turns_until(&probe.is_done);
    cr_expect(eq(i32, probe.last_result, -EFBIG), "the second part meets the limit itself");
    cr_expect(eq(u32, probe.count, 1));
    uint64_t bytes = 0;
    status = io_file_size(io, file, &bytes);
    cr_expect(eq(int, status, STATUS_OK));
    cr_expect(eq(u64, bytes, 6000));
    io_file_close(io, file);
}

static unsigned open_done_count;

static void count_on_done(struct op *op)
{
    cr_assert(eq(i32, op->result, BLOCK_BYTES));
    open_done_count++;
}

/* Far more operations than the ring has entries: queued without failing, all in one turn. */
Test(io, takes_more_operations_than_the_ring_has_entries)
{
    enum { COUNT = 20000 };
    char path[PATH_BYTES];
    io_file file = IO_FILE_NONE;
    enum status status =
        io_file_open(io, path_in_folder(path, "many"), IO_OPEN_CREATE, false, &file);
    cr_assert(eq(int, status, STATUS_OK));
    static char data[BLOCK_BYTES];
    struct op *ops = calloc(COUNT, sizeof(*ops));
    for (uint64_t index = 0; index < COUNT; index++)
        io_write(io, &ops[index], file, data, BLOCK_BYTES, index % 64 * BLOCK_BYTES, IO_PLAIN,
                 count_on_done);
    cr_expect(eq(u32, open_done_count, 0));
    cr_expect(io_has_unsubmitted(io));
    while (open_done_count < COUNT)
        io_turn(io, UINT64_MAX);
    cr_expect(not(io_has_unsubmitted(io)));
    free(ops);
    io_file_close(io, file);
}

Test(io, replaces_and_reads_small_files)
{
    char path[PATH_BYTES], buffer[64];
    size_t count = 0;
    path_in_folder(path, "small");
    enum status status = io_path_read(io, path, buffer, sizeof(buffer), &count);
    cr_expect(eq(int, status, STATUS_NOT_FOUND));
    status = io_path_replace(io, path, "first", 5);
    cr_expect(eq(int, status, STATUS_OK));
    status = io_path_replace(io, path, "second one", 10);
    cr_expect(eq(int, status, STATUS_OK));
    status = io_path_read(io, path, buffer, sizeof(buffer), &count);
    cr_expect(eq(int, status, STATUS_OK));
    cr_expect(bytes_equal(bytes_of(buffer, count), BYTES_LITERAL("second one")));
    status = io_path_read(io, path, buffer, 6, &count);
    cr_expect(eq(int, status, STATUS_OK));
    cr_expect(bytes_equal(bytes_of(buffer, count), BYTES_LITERAL("second")));
}

static void count_names(void *context, const char *name)
{
    cr_assert(strcmp(name, "a") == 0 || strcmp(name, "b") == 0);
    (*(unsigned *)context)++;
}

Test(io, makes_lists_renames_and_removes_paths)
{
    char inner[PATH_BYTES], path[PATH_BYTES + 8], other[PATH_BYTES + 8];
    path_in_folder(inner, "inner");
    for (int attempt = 0; attempt < 2; attempt++) {
        enum status status = io_path_make_directory(io, inner);
        cr_expect(eq(int, status, STATUS_OK));
    }
    snprintf(path, sizeof(path), "%s/a", inner);
    snprintf(other, sizeof(other), "%s/c", inner);
    cr_expect(eq(int, (int)io_path_replace(io, other, "", 0), STATUS_OK));
    cr_expect(eq(int, (int)io_path_rename(io, other, path), STATUS_OK));
    snprintf(other, sizeof(other), "%s/b", inner);
    cr_expect(eq(int, (int)io_path_replace(io, other, "", 0), STATUS_OK));
    unsigned name_count = 0;
    cr_expect(eq(int, (int)io_path_list(io, inner, count_names, &name_count), STATUS_OK));
    cr_expect(eq(u32, name_count, 2));
    cr_expect(eq(int, (int)io_path_make_directory(io, path), STATUS_EXISTS),
              "a file is in the way");
    cr_expect(eq(int, (int)io_path_remove(io, path), STATUS_OK));
    cr_expect(eq(int, (int)io_path_remove(io, path), STATUS_NOT_FOUND));
    uint64_t free_bytes = 0;
    cr_expect(eq(int, (int)io_path_free_bytes(io, inner, &free_bytes), STATUS_OK));
    cr_expect(gt(u64, free_bytes, 0));
    io_file directory = IO_FILE_NONE;
    cr_assert(
        eq(int, (int)io_file_open(io, inner, IO_OPEN_DIRECTORY, false, &directory), STATUS_OK));
    struct probe probe = {.count = 0};
    io_sync(io, &probe.op, directory, probe_on_done);
    turns_until(&probe.is_done);
    cr_expect(eq(i32, probe.last_result, 0));
    io_file_close(io, directory);
}

Test(io, locks_a_path_once)
{
    char path[PATH_BYTES];
    io_file first = IO_FILE_NONE, second = IO_FILE_NONE;
    path_in_folder(path, "lock");
    cr_assert(eq(int, (int)io_path_lock(io, path, &first), STATUS_OK));
    cr_expect(eq(int, (int)io_path_lock(io, path, &second), STATUS_BUSY));
    io_file_close(io, first);
    cr_assert(eq(int, (int)io_path_lock(io, path, &second), STATUS_OK));
    io_file_close(io, second);
}

Test(io, allocates_a_file)
{
    char path[PATH_BYTES];
    io_file file = IO_FILE_NONE;
    enum status status =
        io_file_open(io, path_in_folder(path, "space"), IO_OPEN_CREATE, false, &file);
    cr_assert(eq(int, status, STATUS_OK));
    cr_expect(eq(int, (int)io_file_allocate(io, file, 1 << 20), STATUS_OK));
    uint64_t bytes = 0;
    cr_expect(eq(int, (int)io_file_size(io, file, &bytes), STATUS_OK));
    cr_expect(eq(u64, bytes, 1 << 20));
    io_file_close(io, file);
}

/* ---- sockets ---- */

static void accept_on_done(struct op *op)
{
    struct probe *probe = CONTAINER_OF(op, struct probe, op);
    if (op->result >= 0) {
        cr_assert(op->flags & OP_MORE);
        cr_assert(probe->socket_count < COUNT_OF(probe->sockets));
        probe->sockets[probe->socket_count++] = op->result;
    }
    probe_on_done(op);
}

static void recv_on_done(struct op *op)
{
    struct probe *probe = CONTAINER_OF(op, struct probe, op);
    if (op->result > 0) {
        cr_assert(op->flags & OP_MORE);
        cr_assert(le(i32, op->result, IO_RECV_BYTES_MAX));
        for (int32_t index = 0; index < op->result; index++) {
            ASSERT((unsigned char)op->buffer[index]
                   == probe->next_byte); /* lost, doubled, displaced? */
            probe->next_byte++;
        }
        probe->total_bytes += (uint64_t)op->result;
    }
    probe_on_done(op);
}

static int connect_to(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(eq(int, connect(fd, (struct sockaddr *)&address, sizeof(address)), 0));
    return fd;
}

/* A listener, its accept, and connected pairs. */
struct link {
    io_socket listener;
    uint16_t port;
    struct probe accept;
};

static void link_open(struct link *link)
{
    *link = (struct link){.listener = IO_FILE_NONE};
    enum status status = io_listen(io, "127.0.0.1", 0, &link->listener, &link->port);
    cr_assert(eq(int, status, STATUS_OK));
    cr_assert(gt(u16, link->port, 0));
    io_accept(io, &link->accept.op, link->listener, accept_on_done);
}

static void link_close(struct link *link)
{
    if (!link->accept.is_done) {
        io_cancel(io, &link->accept.op);
        turns_until(&link->accept.is_done);
        cr_expect(eq(i32, link->accept.last_result, -ECANCELED));
    }
    io_close(io, link->listener);
}

/* Gives our end; *theirs_out is the client's, blocking. */
static io_socket link_connect(struct link *link, int *theirs_out)
{
    unsigned count = link->accept.socket_count;
    *theirs_out = connect_to(link->port);
    while (link->accept.socket_count == count)
        io_turn(io, UINT64_MAX);
    return link->accept.sockets[count];
}

Test(io, accepts_many_with_one_operation)
{
    struct link link;
    link_open(&link);
    for (int index = 0; index < 10; index++) {
        int theirs = -1;
        io_socket ours = link_connect(&link, &theirs);
        int no_delay = 0;
        socklen_t bytes = sizeof(no_delay);
        cr_assert(eq(int, getsockopt(ours, IPPROTO_TCP, TCP_NODELAY, &no_delay, &bytes), 0));
        cr_expect(no_delay != 0);
        io_close(io, ours);
        close(theirs);
    }
    link_close(&link);
}

Test(io, says_that_a_port_is_taken)
{
    io_socket first = IO_FILE_NONE, second = IO_FILE_NONE;
    uint16_t port = 0, port_again = 0;
    cr_assert(eq(int, (int)io_listen(io, "127.0.0.1", 0, &first, &port), STATUS_OK));
    cr_expect(eq(int, (int)io_listen(io, "127.0.0.1", port, &second, &port_again), STATUS_BUSY));
    cr_expect(eq(int, errno, EADDRINUSE));
    cr_expect(eq(int, second, IO_FILE_NONE));
    io_close(io, first);
}

/* Without descriptors an accept waits and then goes on, and uses little CPU meanwhile. */
Test(io, accepts_again_when_descriptors_are_free)
{
    struct link link;
    link_open(&link);
    int theirs = connect_to(link.port);
    struct rlimit before, limit;
    getrlimit(RLIMIT_NOFILE, &before);
    int fd = dup(0);
    limit = (struct rlimit){(rlim_t)fd, before.rlim_max};
    close(fd);
    setrlimit(RLIMIT_NOFILE, &limit);
    unsigned turn_count = 0;
    for (uint64_t until_ns = io_now_ns(io) + second_ns / 2; io_now_ns(io) < until_ns; turn_count++)
        io_turn(io, until_ns);
    cr_expect(eq(u32, link.accept.count, 0));
    cr_expect(lt(u32, turn_count, 50));
    setrlimit(RLIMIT_NOFILE, &before);
    while (link.accept.socket_count == 0)
        io_turn(io, UINT64_MAX);
    io_close(io, link.accept.sockets[0]);
    close(theirs);
    link_close(&link);
}

Test(io, cancels_an_accept_that_waits_for_descriptors)
{
    struct link link;
    link_open(&link);
    int theirs = connect_to(link.port);
    struct rlimit before, limit;
    getrlimit(RLIMIT_NOFILE, &before);
    int fd = dup(0);
    limit = (struct rlimit){(rlim_t)fd, before.rlim_max};
    close(fd);
    setrlimit(RLIMIT_NOFILE, &limit);
    io_turn(io, io_now_ns(io) + second_ns / 100);
    link_close(&link);
    setrlimit(RLIMIT_NOFILE, &before);
    close(theirs);
}

struct feeder {
    int fd;
    uint64_t bytes;
};

static void *feeder_thread(void *context)
{
    struct feeder *feeder = context;
    static _Thread_local unsigned char chunk[65536];
    uint64_t sent = 0;
    while (sent < feeder->bytes) {
        size_t count = sizeof(chunk) < feeder->bytes - sent ? sizeof(chunk) : feeder->bytes - sent;
        for (size_t index = 0; index < count; index++)
            chunk[index] = (unsigned char)(sent + index);
        ssize_t result = write(feeder->fd, chunk, count);
        if (result <= 0)
            break;
        sent += (uint64_t)result;
    }
    shutdown(feeder->fd, SHUT_WR);
    return NULL;
}

/* Several clients fill more than all receive buffers together between two turns: the receives end and go on. */
Test(io, receives_everything_when_buffers_run_out)
{
    enum { CLIENTS = 12 };
    const uint64_t bytes = UINT64_C(4) << 20; /* 48 MiB in all, of 8 MiB of buffers */
    struct link link;
    link_open(&link);
    struct probe receives[CLIENTS] = {{.count = 0}};
    io_socket ours[CLIENTS];
    struct feeder feeders[CLIENTS];
    pthread_t threads[CLIENTS];
    for (int index = 0; index < CLIENTS; index++) {
        ours[index] = link_connect(&link, &feeders[index].fd);
        feeders[index].bytes = bytes;
        io_recv(io, &receives[index].op, ours[index], recv_on_done);
        cr_assert(
            eq(int, pthread_create(&threads[index], NULL, feeder_thread, &feeders[index]), 0));
    }
    for (int turn = 0; turn < 20; turn++) {
        usleep(5000); /* so that much has arrived */
        io_turn(io, 0);
    }
    for (int index = 0; index < CLIENTS; index++) {
        turns_until(&receives[index].is_done);
        cr_expect(eq(i32, receives[index].last_result, 0), "the end of the stream");
        cr_expect(eq(u64, receives[index].total_bytes, bytes));
        pthread_join(threads[index], NULL);
        io_close(io, ours[index]);
        close(feeders[index].fd);
    }
    link_close(&link);
}

static void *reader_thread(void *context)
{
    struct feeder *reader = context;
    unsigned char buffer[8192], expected = 0;
    for (;;) {
        ssize_t count = read(reader->fd, buffer, sizeof(buffer));
        if (count <= 0)
            return NULL;
        for (ssize_t index = 0; index < count; index++) {
            if (buffer[index] != expected++)
                return NULL;
        }
        reader->bytes += (uint64_t)count;
    }
}

static void fill(unsigned char *data, size_t count, unsigned char *next)
{
    for (size_t index = 0; index < count; index++)
        data[index] = (*next)++;
}

/* More than the socket takes at once, so the kernel must wait for the reader several times. */
Test(io, sends_all_bytes)
{
    struct link link;
    link_open(&link);
    struct feeder reader = {.bytes = 0};
    pthread_t thread;
    io_socket ours = link_connect(&link, &reader.fd);
    cr_assert(eq(int, pthread_create(&thread, NULL, reader_thread, &reader), 0));

    unsigned char next = 0;
    const size_t bytes = (size_t)12 << 20;
    unsigned char *data = malloc(bytes);
    fill(data, bytes, &next);
    struct probe probe = {.count = 0};
    io_send(io, &probe.op, ours, data, bytes, probe_on_done);
    turns_until(&probe.is_done);
    cr_expect(eq(i32, probe.last_result, (int32_t)bytes));

    /* More elements than one sendmsg may have, of uneven sizes, some empty. */
    enum { ELEMENTS = 2000 };
    static struct iovec vector[ELEMENTS];
    static struct msghdr message;
    size_t used = 0;
    for (size_t index = 0; index < ELEMENTS; index++) {
        size_t count = index % 5 == 0 ? 0 : index * 7 % 8191;
        vector[index] = (struct iovec){data + used, count};
        fill(data + used, count, &next);
        used += count;
    }
    cr_assert(le(sz, used, bytes));
    probe = (struct probe){.count = 0};
    io_sendv(io, &probe.op, ours, vector, ELEMENTS, &message, probe_on_done);
    turns_until(&probe.is_done);
    cr_expect(eq(i32, probe.last_result, (int32_t)used));
    cr_expect(eq(u32, probe.count, 1));

    io_shutdown(io, ours);
    pthread_join(thread, NULL);
    cr_expect(eq(u64, reader.bytes, bytes + used));
    io_close(io, ours);
    close(reader.fd);
    free(data);
    link_close(&link);
}

Test(io, reports_a_send_to_a_closed_peer)
{
    struct link link;
    link_open(&link);
    int theirs = -1;
    io_socket ours = link_connect(&link, &theirs);
    close(theirs);
    static char data[1 << 20];
    for (int attempt = 0; attempt < 2; attempt++) {
        struct probe probe = {.count = 0};
        io_send(io, &probe.op, ours, data, sizeof(data), probe_on_done);
        turns_until(&probe.is_done);
        if (attempt == 1)
            cr_expect(lt(i32, probe.last_result, 0));
    }
    io_close(io, ours);
    link_close(&link);
}

Test(io, cancels_a_receive_and_a_stuck_send)
{
    struct link link;
    link_open(&link);
    int theirs = -1;
    io_socket ours = link_connect(&link, &theirs);
    struct probe receive = {.count = 0}, send = {.count = 0};
    io_recv(io, &receive.op, ours, recv_on_done);
    static char data[32 << 20]; /* nobody reads */
    io_send(io, &send.op, ours, data, sizeof(data), probe_on_done);
    for (int turn = 0; turn < 5; turn++)
        io_turn(io, io_now_ns(io) + second_ns / 100);
    cr_assert(not(receive.is_done));
    cr_assert(not(send.is_done));
    io_cancel(io, &receive.op);
    io_cancel(io, &send.op);
    cr_assert(not(receive.is_done), "never inside the call");
    turns_until(&receive.is_done);
    turns_until(&send.is_done);
    cr_expect(eq(i32, receive.last_result, -ECANCELED));
    cr_expect(send.last_result == -ECANCELED
              || (send.last_result > 0 && send.last_result < (int32_t)sizeof(data)));
    io_close(io, ours);
    close(theirs);
    link_close(&link);
}

/* The op's memory is taken back by a destroy, which must have waited for the kernel. */
Test(io, is_destroyed_with_operations_in_flight)
{
    struct link link;
    link_open(&link);
    int theirs = -1;
    io_socket ours = link_connect(&link, &theirs);
    struct probe receive = {.count = 0};
    io_recv(io, &receive.op, ours, recv_on_done);
    io_turn(io, 0);
    uint64_t before_ns = io_now_ns(io);
    io_destroy(io);
    io_close(NULL, ours);
    close(theirs);
    io_start();
    cr_expect(lt(u64, io_now_ns(io) - before_ns, second_ns));
    cr_expect(eq(u32, receive.count, 0), "no callback runs any more");
}

/* ---- time ---- */

Test(io, sleeps_until_its_deadline_and_not_longer)
{
    uint64_t before_ns = io_now_ns(io);
    uint64_t wall_before_ns = io_wall_ns(io);
    uint64_t deadline_ns = before_ns + second_ns / 5;
    while (io_now_ns(io) < deadline_ns)
        io_turn(io, deadline_ns);
    uint64_t slept_ns = io_now_ns(io) - before_ns;
    cr_expect(ge(u64, slept_ns, second_ns / 5));
    cr_expect(lt(u64, slept_ns, second_ns));
    cr_expect(ge(u64, io_wall_ns(io), wall_before_ns));
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    cr_expect(lt(u64, (uint64_t)wall.tv_sec - io_wall_ns(io) / second_ns, 2));
    cr_expect(ne(u64, io_random(io), io_random(io)));
}

static void *wake_thread(void *context)
{
    usleep(50000);
    io_wake_from_any_thread(context);
    return NULL;
}

Test(io, is_woken_by_a_thread_without_an_io)
{
    for (int round = 0; round < 3; round++) {
        pthread_t thread;
        cr_assert(eq(int, pthread_create(&thread, NULL, wake_thread, io), 0));
        uint64_t before_ns = io_now_ns(io);
        while (io_now_ns(io) < before_ns + second_ns / 25)
            io_turn(io, before_ns + 10 * second_ns);
        cr_expect(lt(u64, io_now_ns(io) - before_ns, 5 * second_ns));
        pthread_join(thread, NULL);
    }
}
