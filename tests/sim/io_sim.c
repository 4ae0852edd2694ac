/*
 * tests/sim/io_sim.c: core/io.h on a simulated machine. See sim.h for the rules, disk.c for the disk.
 *
 * Keeps:   an operation is queued until its shard's next io_turn, then in flight until its time has come; completions of
 *          one turn run in random order. Nothing here depends on addresses or on the real clock.
 * Owns:    operations in flight, and copies of what they write.
 * Runs on: the one thread of the test.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/io.h"
#include "tests/sim/disk.h"
#include "tests/sim/sim.h"

enum sim_op_kind { SIM_WRITE, SIM_READ, SIM_SYNC };

struct sim_op {
    struct sim_op *next;
    struct op *op;
    enum sim_op_kind kind;
    bool is_submitted, is_durable;
    uint64_t due_ns;
    io_file file;
    const void *from;
    void *to;
    uint64_t bytes, offset;
    struct disk_write *write; /* while in flight */
    uint64_t mark;
};

struct io {
    struct io *next; /* in sim.ios */
    uint32_t shard_index;
    struct sim_op *ops; /* queued and in flight */
    bool is_rung;
};

static struct {
    uint64_t random[2];
    uint64_t now_ns;
    struct sim_faults faults;
    uint32_t sector_bytes;
    struct io *ios;
} sim;

/* ---- randomness and time ---- */

static uint64_t mix(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t sim_random(void)
{
    return mix(&sim.random[0]);
}

uint64_t sim_below(uint64_t limit)
{
    return limit == 0 ? 0 : sim_random() % limit;
}

bool sim_chance(uint64_t per_million)
{
    return per_million > 0 && sim_below(1000000) < per_million;
}

uint64_t sim_now_ns(void)
{
    return sim.now_ns;
}

void sim_begin(uint64_t seed)
{
    memset(&sim, 0, sizeof sim);
    sim.random[0] = seed;
    sim.random[1] = ~seed;
    sim.now_ns = 1000000000;
    sim.sector_bytes = 4096;
    disk_begin();
}

void sim_end(void)
{
    disk_end();
}

void sim_set_faults(const struct sim_faults *faults)
{
    sim.faults = *faults;
}

void sim_set_disk_bytes(uint64_t bytes)
{
    disk_limit(bytes);
}

void sim_set_sector_bytes(uint32_t bytes)
{
    sim.sector_bytes = bytes;
}

/* ---- io: life and time ---- */

enum status io_create(uint32_t shard_index, struct io **io_out, char *why, size_t why_bytes)
{
    (void)why, (void)why_bytes;
    struct io *io = calloc(1, sizeof *io);
    io->shard_index = shard_index;
    io->next = sim.ios;
    sim.ios = io;
    *io_out = io;
    return STATUS_OK;
}

static void drop_ops(struct io *io)
{
    while (io->ops != NULL) {
        struct sim_op *next = io->ops->next;
        if (io->ops->write != NULL)
            disk_write_drop(io->ops->write);
        free(io->ops);
        io->ops = next;
    }
}

void io_destroy(struct io *io)
{
    if (io == NULL)
        return;
    drop_ops(io);
    struct io **link = &sim.ios;
    while (*link != io)
        link = &(*link)->next;
    *link = io->next;
    free(io);
}

uint64_t io_now_ns(const struct io *io)
{
    (void)io;
    return sim.now_ns;
}

uint64_t io_wall_ns(const struct io *io)
{
    (void)io;
    return UINT64_C(1700000000000000000) + sim.now_ns;
}

uint64_t io_random(struct io *io)
{
    (void)io;
    return mix(&sim.random[1]);
}

bool io_has_unsubmitted(const struct io *io)
{
    for (const struct sim_op *op = io->ops; op != NULL; op = op->next) {
        if (!op->is_submitted)
            return true;
    }
    return false;
}

void io_doorbell(struct io *from, struct io *to)
{
    (void)from;
    to->is_rung = true;
}

void io_wake_from_any_thread(struct io *io)
{
    io->is_rung = true;
}

/* ---- io: operations ---- */

static struct sim_op *queue(struct io *io, struct op *op, enum sim_op_kind kind, io_file file,
                            op_done_fn *on_done)
{
    struct sim_op *queued = calloc(1, sizeof *queued);
    op->on_done = on_done;
    op->flags = 0;
    queued->op = op;
    queued->kind = kind;
    queued->file = file;
    queued->next = io->ops;
    io->ops = queued;
    return queued;
}

static void check_alignment(io_file file, const void *buffer, uint64_t bytes, uint64_t offset)
{
    if (!disk_is_direct(file))
        return;
    ASSERT((uintptr_t)buffer % 4096 == 0);
    ASSERT(bytes % 4096 == 0);
    ASSERT(offset % 4096 == 0);
}

void io_write(struct io *io, struct op *op, io_file file, const void *buffer, uint32_t bytes,
              uint64_t offset, enum io_durability durability, op_done_fn *on_done)
{
    check_alignment(file, buffer, bytes, offset);
    struct sim_op *queued = queue(io, op, SIM_WRITE, file, on_done);
    queued->from = buffer;
    queued->bytes = bytes;
    queued->offset = offset;
    queued->is_durable = durability == IO_DURABLE;
}

void io_read(struct io *io, struct op *op, io_file file, void *buffer, uint32_t bytes,
             uint64_t offset, op_done_fn *on_done)
{
    check_alignment(file, buffer, bytes, offset);
    struct sim_op *queued = queue(io, op, SIM_READ, file, on_done);
    queued->to = buffer;
    queued->bytes = bytes;
    queued->offset = offset;
}

void io_sync(struct io *io, struct op *op, io_file file, op_done_fn *on_done)
{
    (void)queue(io, op, SIM_SYNC, file, on_done);
}

static uint64_t random_delay_ns(void)
{
    if (sim_chance(sim.faults.slow))
        return sim_below(1000000000);
    uint64_t delay_ns = 20000 + sim_below(200000);
    return sim_chance(50000) ? 20 * delay_ns : delay_ns;
}

static void submit(struct sim_op *op)
{
    op->is_submitted = true;
    op->due_ns = sim.now_ns + random_delay_ns();
    if (op->kind == SIM_WRITE)
        op->write = disk_write_begin(op->file, op->from, op->bytes, op->offset);
    if (op->kind == SIM_SYNC)
        op->mark = disk_sync_begin(op->file);
}

/* Whole 512-byte units, at least one less than asked. */
static uint64_t shortened(uint64_t bytes)
{
    return sim_below(bytes / 512) * 512;
}

static int32_t finish_write(struct sim_op *op)
{
    struct disk_write *write = op->write;
    op->write = NULL;
    if (sim_chance(sim.faults.write_error)) {
        disk_write_failed(write, sim.sector_bytes);
        return -EIO;
    }
    uint64_t bytes = op->bytes;
    if (sim_chance(sim.faults.write_short) && bytes > 4096)
        bytes = 4096 + shortened(bytes - 4096);
    disk_write_done(write, bytes, op->is_durable);
    return (int32_t)bytes;
}

static int32_t finish_read(struct sim_op *op)
{
    if (sim_chance(sim.faults.read_error))
        return -EIO;
    uint64_t bytes = disk_read(op->file, op->to, op->bytes, op->offset);
    if (sim_chance(sim.faults.read_short) && bytes > 4096)
        bytes = 4096 + shortened(bytes - 4096);
    return (int32_t)bytes;
}

static int32_t finish_sync(struct sim_op *op)
{
    if (sim_chance(sim.faults.sync_error))
        return -EIO;
    disk_sync_done(op->file, op->mark);
    return 0;
}

static int32_t finish(struct sim_op *op)
{
    switch (op->kind) {
    case SIM_WRITE:
        return finish_write(op);
    case SIM_READ:
        return finish_read(op);
    case SIM_SYNC:
        return finish_sync(op);
    }
    abort();
}

/* Takes a random one of those whose time has come out of the list. */
static struct sim_op *take_due(struct io *io)
{
    struct sim_op **chosen = NULL;
    uint64_t count = 0;
    for (struct sim_op **link = &io->ops; *link != NULL; link = &(*link)->next) {
        if ((*link)->is_submitted && (*link)->due_ns <= sim.now_ns && sim_below(++count) == 0)
            chosen = link;
    }
    if (chosen == NULL)
        return NULL;
    struct sim_op *op = *chosen;
    *chosen = op->next;
    return op;
}

/* What callbacks queue is submitted by the next turn. A callback may leave by longjmp. */
void io_turn(struct io *io, uint64_t deadline_ns)
{
    (void)deadline_ns; /* sim_step gives the turn to those that would not sleep */
    io->is_rung = false;
    for (struct sim_op *op = io->ops; op != NULL; op = op->next) {
        if (!op->is_submitted)
            submit(op);
    }
    struct sim_op *op;
    while ((op = take_due(io)) != NULL) {
        struct op *told = op->op;
        told->result = finish(op);
        free(op);
        told->on_done(told);
    }
}

/* ---- io: files ---- */

enum status io_file_open(struct io *io, const char *path, enum io_open_mode mode, bool direct,
                         io_file *file_out)
{
    (void)io;
    return disk_open(path, mode, direct, file_out);
}

void io_file_close(struct io *io, io_file file)
{
    (void)io;
    disk_close(file);
}

enum status io_file_size(struct io *io, io_file file, uint64_t *bytes_out)
{
    (void)io;
    *bytes_out = disk_size(file);
    return STATUS_OK;
}

enum status io_file_allocate(struct io *io, io_file file, uint64_t bytes)
{
    (void)io;
    return disk_allocate(file, bytes);
}

enum status io_path_make_directory(struct io *io, const char *path)
{
    (void)io;
    return disk_make_directory(path);
}

enum status io_path_rename(struct io *io, const char *from, const char *to)
{
    (void)io;
    return disk_rename(from, to);
}

enum status io_path_remove(struct io *io, const char *path)
{
    (void)io;
    return disk_remove(path);
}

enum status io_path_list(struct io *io, const char *path,
                         void (*on_name)(void *context, const char *name), void *context)
{
    (void)io;
    return disk_list(path, on_name, context);
}

enum status io_path_free_bytes(struct io *io, const char *path, uint64_t *bytes_out)
{
    (void)io, (void)path;
    *bytes_out = disk_free_bytes();
    return STATUS_OK;
}

enum status io_path_read(struct io *io, const char *path, char *buffer, size_t capacity,
                         size_t *count_out)
{
    (void)io;
    return disk_read_path(path, buffer, capacity, count_out);
}

enum status io_path_replace(struct io *io, const char *path, const void *data, size_t count)
{
    (void)io;
    return disk_replace(path, data, count);
}

enum status io_path_lock(struct io *io, const char *path, io_file *file_out)
{
    (void)io;
    return disk_lock(path, file_out);
}

/* ---- the machine ---- */

static bool has_due(const struct io *io)
{
    for (const struct sim_op *op = io->ops; op != NULL; op = op->next) {
        if (!op->is_submitted || op->due_ns <= sim.now_ns)
            return true;
    }
    return false;
}

static bool is_runnable(struct shard *shard)
{
    return has_due(shard->io) || shard->io->is_rung || shard_has_work(shard)
           || timer_wheel_deadline_ns(shard->timers) <= sim.now_ns;
}

static uint64_t earliest_ns(struct shard_group *group, uint32_t count)
{
    uint64_t earliest = UINT64_MAX;
    for (uint32_t i = 0; i < count; i++) {
        struct shard *shard = shard_group_at(group, i);
        uint64_t deadline_ns = timer_wheel_deadline_ns(shard->timers);
        if (deadline_ns < earliest)
            earliest = deadline_ns;
        for (const struct sim_op *op = shard->io->ops; op != NULL; op = op->next) {
            if (op->is_submitted && op->due_ns < earliest)
                earliest = op->due_ns;
        }
    }
    return earliest;
}

/* A random one of those that can run; NULL: all sleep. */
static struct shard *pick(struct shard_group *group, uint32_t count)
{
    struct shard *chosen = NULL;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct shard *shard = shard_group_at(group, i);
        if (is_runnable(shard) && sim_below(++seen) == 0)
            chosen = shard;
    }
    return chosen;
}

bool sim_step(struct shard_group *group, uint32_t count)
{
    sim.now_ns += sim_below(3000);
    struct shard *shard = pick(group, count);
    if (shard == NULL) {
        uint64_t earliest = earliest_ns(group, count);
        if (earliest == UINT64_MAX)
            return false;
        if (earliest > sim.now_ns)
            sim.now_ns = earliest;
        shard = pick(group, count);
    }
    if (shard != NULL)
        shard_turn(shard);
    return true;
}

void sim_pass(struct shard_group *group, uint32_t count, uint64_t ns)
{
    uint64_t until_ns = sim.now_ns + ns;
    while (sim.now_ns < until_ns) {
        if (pick(group, count) == NULL && earliest_ns(group, count) > until_ns) {
            sim.now_ns = until_ns;
            return;
        }
        (void)sim_step(group, count);
    }
}

static void end_ops(void (*end_write)(struct disk_write *write))
{
    for (struct io *io = sim.ios; io != NULL; io = io->next) {
        for (struct sim_op *op = io->ops; op != NULL; op = op->next) {
            if (op->write != NULL)
                end_write(op->write);
            op->write = NULL;
        }
        drop_ops(io);
    }
}

void sim_crash(void)
{
    end_ops(disk_write_lost);
    disk_crash(sim.sector_bytes);
    disk_forget_handles();
}

void sim_kill(void)
{
    end_ops(disk_write_whole_or_not);
    disk_forget_handles();
}

/* ---- sockets: not here ---- */

enum status io_listen(struct io *io, const char *host, uint16_t port, io_socket *socket_out,
                      uint16_t *port_out)
{
    (void)io, (void)host, (void)port, (void)socket_out, (void)port_out;
    abort();
}

void io_accept(struct io *io, struct op *op, io_socket listener, op_done_fn *on_done)
{
    (void)io, (void)op, (void)listener, (void)on_done;
    abort();
}

void io_recv(struct io *io, struct op *op, io_socket socket, op_done_fn *on_done)
{
    (void)io, (void)op, (void)socket, (void)on_done;
    abort();
}

void io_send(struct io *io, struct op *op, io_socket socket, const void *buffer, size_t bytes,
             op_done_fn *on_done)
{
    (void)io, (void)op, (void)socket, (void)buffer, (void)bytes, (void)on_done;
    abort();
}

void io_sendv(struct io *io, struct op *op, io_socket socket, const struct iovec *vector,
              uint32_t vector_count, struct msghdr *message, op_done_fn *on_done)
{
    (void)io, (void)op, (void)socket, (void)vector, (void)vector_count, (void)message,
        (void)on_done;
    abort();
}

void io_cancel(struct io *io, struct op *op)
{
    (void)io, (void)op;
    abort();
}

void io_shutdown(struct io *io, io_socket socket)
{
    (void)io, (void)socket;
    abort();
}

void io_close(struct io *io, io_socket socket)
{
    (void)io, (void)socket;
    abort();
}
