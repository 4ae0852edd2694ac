/*
 * core/io.h: the one way to the kernel, the clock and randomness.
 *
 * Two implementations, chosen at link time: core/io_uring.c, and tests/sim/io_sim.c, where disk, time and several
 * shards in one thread follow one seed (it has no sockets). All functions run on the shard that owns the io unless
 * said otherwise. An operation that cannot be queued for want of submission slots makes io submit first; it never fails
 * synchronously: failures arrive in op->result.
 */
#ifndef CORE_IO_H
#define CORE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/op.h"
#include "core/status.h"

struct msghdr; /* of <sys/socket.h> */
struct io;     /* opaque; one a shard */

typedef int32_t io_file;   /* a descriptor; IO_FILE_NONE when there is none */
typedef int32_t io_socket; /* a descriptor */
enum { IO_FILE_NONE = -1 };

/* ---- life and time ---- */

/*
 * To be called on the thread that will run the shard. On failure *io_out is NULL and `why` holds one line for people
 * that names the remedy (io_uring forbidden by sysctl or seccomp, kernel older than 6.1, memlock limit).
 */
MUST_USE enum status io_create(uint32_t shard_index, struct io **io_out, char *why,
                               size_t why_bytes);
void io_destroy(struct io *io);

uint64_t io_now_ns(const struct io *io); /* monotonic, read once a turn */
uint64_t
io_wall_ns(const struct io *io);   /* ns since the Unix epoch, read once a turn, never going back */
uint64_t io_random(struct io *io); /* unpredictable in production, seeded in the simulator */

/*
 * Submits what is queued, waits for a completion until deadline_ns (0: does not wait; UINT64_MAX: no deadline) or a
 * doorbell, reads the clock, then runs the callbacks of what completed.
 */
void io_turn(struct io *io, uint64_t deadline_ns);

/* True when an operation is queued but not yet submitted. */
bool io_has_unsubmitted(const struct io *io);

/* Wakes the io_turn of another shard; rides on our own next submission. `to` belongs to another running shard. */
void io_doorbell(struct io *from, struct io *to);

/* Wakes the io_turn of `io` from any thread, also one without an io: for stopping, not for messages. */
void io_wake_from_any_thread(struct io *io);

/* ---- files ---- */

enum io_open_mode {
    IO_OPEN_READ,      /* must exist */
    IO_OPEN_READWRITE, /* must exist */
    IO_OPEN_CREATE,    /* read and write; made, mode 0600; must not exist */
    IO_OPEN_DIRECTORY, /* to sync it */
};

enum io_durability {
    IO_PLAIN,   /* in the file; may be lost until a sync */
    IO_DURABLE, /* completes when this write is on stable storage (RWF_DSYNC) */
};

/*
 * Blocking calls, for start-up and rare work. Where `direct` is asked but the file system refuses O_DIRECT,
 * STATUS_UNSUPPORTED comes back and the caller decides.
 */
MUST_USE enum status io_file_open(struct io *io, const char *path, enum io_open_mode mode,
                                  bool direct, io_file *file_out);
void io_file_close(struct io *io, io_file file);
MUST_USE enum status io_file_size(struct io *io, io_file file, uint64_t *bytes_out);
MUST_USE enum status io_file_allocate(struct io *io, io_file file,
                                      uint64_t bytes); /* fallocate; NO_SPACE */
MUST_USE enum status io_path_make_directory(struct io *io,
                                            const char *path); /* 0700; existing: OK */
MUST_USE enum status io_path_rename(struct io *io, const char *from, const char *to);
MUST_USE enum status io_path_remove(struct io *io, const char *path);
/* Calls on_name for each entry but "." and ".."; any order. */
MUST_USE enum status io_path_list(struct io *io, const char *path,
                                  void (*on_name)(void *context, const char *name), void *context);
/* Bytes an unprivileged process could still allocate there. */
MUST_USE enum status io_path_free_bytes(struct io *io, const char *path, uint64_t *bytes_out);
/* Whole small files, buffered, blocking; a write is atomic and durable (temporary file, sync, rename, sync of the
 * directory). The read gives at most `capacity` bytes. */
MUST_USE enum status io_path_read(struct io *io, const char *path, char *buffer, size_t capacity,
                                  size_t *count_out);
MUST_USE enum status io_path_replace(struct io *io, const char *path, const void *data,
                                     size_t count);
/* Takes an exclusive lock that dies with the process; STATUS_BUSY when another holds it. Kept until io_file_close. */
MUST_USE enum status io_path_lock(struct io *io, const char *path, io_file *file_out);

/* Asynchronous. Direct files need buffer, bytes and offset in multiples of 4096. */
void io_write(struct io *io, struct op *op, io_file file, const void *buffer, uint32_t bytes,
              uint64_t offset, enum io_durability durability, op_done_fn *on_done);
void io_read(struct io *io, struct op *op, io_file file, void *buffer, uint32_t bytes,
             uint64_t offset, op_done_fn *on_done);
void io_sync(struct io *io, struct op *op, io_file file,
             op_done_fn *on_done); /* fsync; directories too */

/* ---- sockets (not in the simulator) ---- */

enum { IO_RECV_BYTES_MAX = 16384 };

/* Listens (SO_REUSEADDR, close-on-exec); port 0 takes a free one. */
MUST_USE enum status io_listen(struct io *io, const char *host, uint16_t port,
                               io_socket *socket_out, uint16_t *port_out);
/* Multishot; each completion's result is a new socket (TCP_NODELAY set by the io). */
void io_accept(struct io *io, struct op *op, io_socket listener, op_done_fn *on_done);
/*
 * Multishot; each completion brings result bytes at op->buffer (at most IO_RECV_BYTES_MAX), 0 at the end of the stream,
 * or a negative errno. Without OP_MORE the operation has ended and must be started again if more is wanted
 * (-ENOBUFS is handled inside: the io re-arms by itself).
 */
void io_recv(struct io *io, struct op *op, io_socket socket, op_done_fn *on_done);
/* Completes when all bytes are in the kernel, or with an error; both buffer and vector stay until then. */
void io_send(struct io *io, struct op *op, io_socket socket, const void *buffer, size_t bytes,
             op_done_fn *on_done);
void io_sendv(struct io *io, struct op *op, io_socket socket, const struct iovec *vector,
              uint32_t vector_count, struct msghdr *message, op_done_fn *on_done);
/* Asks for an early end; on_done of `op` still runs (result -ECANCELED, or what it had reached). */
void io_cancel(struct io *io, struct op *op);
void io_shutdown(struct io *io, io_socket socket); /* both directions, at once */
void io_close(struct io *io, io_socket socket);    /* no operation may be in flight on it */

#endif
