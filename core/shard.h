/*
 * core/shard.h: a shard is a thread, an io, a heap, a timer wheel, mailboxes to all other shards, and the objects that
 * live there without locks.
 *
 * The turn (shard_turn), the only place where anything runs:
 *
 *     1 io_turn          submit, wait, completions          4 phases    what rooms registered, in order of registration
 *     2 mailbox          messages of the other shards       5 publish   what was sent becomes visible to the others
 *     3 timers                                              6 deferred  shard_defer() calls, then publish once more
 *
 * A shard sleeps in 1 only if no phase asked to stay awake, no mailbox holds a message and nothing is deferred.
 */
#ifndef CORE_SHARD_H
#define CORE_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/assert.h"
#include "core/heap.h"
#include "core/io.h"
#include "core/status.h"
#include "core/timer.h"

enum { SHARD_COUNT_MAX = 64 };

struct shard;
struct shard_group; /* opaque: all shards of a process */
struct mailbox;

typedef void shard_phase_fn(struct shard *shard, void *context);

/* Deferred calls run after this turn's messages are visible to the other shards, in the order they were made. */
struct shard_deferred {
    struct shard_deferred *next; /* the shard's own */
    void (*run)(struct shard_deferred *deferred);
    bool is_queued;
};

/* Which room keeps its state of a shard where. */
enum shard_room {
    SHARD_ROOM_STORE,
    SHARD_ROOM_KV,
    SHARD_ROOM_NET,
    SHARD_ROOM_TEST,
    SHARD_ROOM_COUNT
};

struct shard {
    uint32_t index;                       /* 0 to count - 1 */
    uint32_t count;                       /* shards in the group */
    struct shard_group *group;            /* borrows */
    struct io *io;                        /* owns */
    struct heap *heap;                    /* owns */
    struct timer_wheel *timers;           /* owns */
    struct mailbox *mailbox;              /* owns */
    void *rooms[SHARD_ROOM_COUNT];        /* each owned by its room */
    bool is_awake_wanted;                 /* set by shard_stay_awake, cleared each turn */
    struct shard_deferred *deferred_head; /* borrows */
    struct shard_deferred **deferred_tail;
    struct shard_phase *phases; /* owns */
    uint32_t phase_count;
};

/* The shard whose thread (or simulated turn) this is; NULL outside. */
struct shard *shard_current(void);
#define ASSERT_ON_SHARD(shard) ASSERT(shard_current() == (shard))

void shard_add_phase(struct shard *shard, shard_phase_fn *run, void *context);
void shard_defer(
    struct shard *shard, struct shard_deferred *deferred,
    void (*run)(struct shard_deferred *deferred)); /* once a turn: a second call is ignored */
static inline void shard_stay_awake(struct shard *shard)
{
    shard->is_awake_wanted = true;
}

static inline uint64_t shard_now_ns(const struct shard *shard)
{
    return io_now_ns(shard->io);
}

static inline uint64_t shard_wall_ns(const struct shard *shard)
{
    return io_wall_ns(shard->io);
}

/* ---- the group ---- */

/*
 * Starts `count` threads; each makes its shard, calls on_start(shard, context) on it, and then takes turns until
 * shard_group_stop. Returns when all have run on_start. If one fails, `why` has a line for people, all are stopped and
 * the status returned, with *group_out NULL.
 *
 * on_start  runs when all shards exist, and no shard takes a turn before all have run it: it may send, which arrives
 *           in the first turns; it cannot wait for an answer
 * on_stop   runs when all shards have left their loops, and only where on_start succeeded; may be NULL. Messages may
 *           lie undelivered, operations may be in flight: io_destroy, after all have run on_stop, cancels them and
 *           waits until the kernel has let go of their memory, which must stay until then (the shard's heap does)
 */
MUST_USE enum status shard_group_start(uint32_t count,
                                       enum status (*on_start)(struct shard *shard, void *context,
                                                               char *why, size_t why_bytes),
                                       void (*on_stop)(struct shard *shard, void *context),
                                       void *context, struct shard_group **group_out, char *why,
                                       size_t why_bytes);
/* From any thread: asks every shard to leave its loop after the current turn. */
void shard_group_stop(struct shard_group *group);
/* From the thread that started it: waits for the threads, on_stop has run on each, frees everything. */
void shard_group_join(struct shard_group *group);
struct shard *shard_group_at(struct shard_group *group, uint32_t index);

/* CPUs this process may use: affinity mask, cgroup quota rounded up; at least 1, at most SHARD_COUNT_MAX. */
uint32_t shard_count_default(void);

/*
 * For the simulator (tests/sim): the same shards without threads. It makes a group, then calls shard_turn for the shard
 * its scheduler picks. In production shard.c's threads call it.
 */
MUST_USE enum status shard_group_create_unthreaded(uint32_t count, struct shard_group **group_out);
void shard_group_destroy_unthreaded(struct shard_group *group);
void shard_turn(struct shard *shard);
/* Makes shard the current one, to call a room's functions outside of a turn; the two pair up, and do not nest. */
void shard_enter(struct shard *shard);
void shard_leave(struct shard *shard);
/* True when the shard would not sleep now: messages wait, or something asked to stay awake. */
bool shard_has_work(struct shard *shard);

#endif
