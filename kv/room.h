/*
 * kv/room.h: what kv keeps of one shard, and of the process; the one header all of kv's files share.
 *
 *     kv_world (process)  streams' shared words, options, recovery
 *     kv (shard) ──► stream (one for each stream, on every shard: configuration, captures, sequences taken here)
 *                       └──► stripe (on the shards that hold keys of it: index, puts in flight)
 *                       └──► feed (where consumers live: what the stripes report, in order)
 */
#ifndef KV_ROOM_H
#define KV_ROOM_H

#include "core/mailbox.h"
#include "core/shard.h"
#include "core/text.h"
#include "kv/api_error.h"
#include "kv/kv.h"
#include "kv/order.h"
#include "kv/stream.h"
#include "store/store.h"

struct put;
struct consumer;
struct catalog;
struct directory;
struct ack_routes;
struct step_wait;
struct recovery;
struct gathering;
struct sweep;
struct sweep_agent;
struct follow;
struct snapshot;
struct restore;

enum {
    KV_PUTS_MAX = 65536,            /* of one shard's connections, awaiting their acks */
    KV_PUT_BYTES_MAX = 64 << 20,    /* of those, their messages */
    KV_ID_BYTES_MAX = 256 << 20,    /* message ids that one shard remembers */
    KV_HOME_SHARD = 0,              /* where streams are made and changed, one at a time */
    KV_RECORD_MESSAGE = 1,          /* record types of the log; never renumber */
    KV_RECORD_STREAM = 2,           /* home's log: a stream's configuration */
    KV_RECORD_STREAM_DELETED = 3,   /* home's log */
    KV_RECORD_STATE = 4,            /* every log with a stripe: what recovery needs of it */
    KV_RECORD_PURGED = 5,           /* all that matches a filter, up to a sequence */
    KV_RECORD_REMOVED = 6,          /* one message */
    KV_RECORD_CONSUMER = 7,         /* home's log: a consumer that outlives the process */
    KV_RECORD_CONSUMER_DELETED = 8, /* home's log */
    KV_RECORD_SOURCES = 16,         /* its stripe's log: how far a stream has taken its sources */
    KV_RECORD_CONSUMER_PROGRESS =
        20, /* home's log: operations since the record before (kv/progress.h) */
    KV_RECORD_MESSAGE_KEEP =
        64, /* + n, 1 <= n <= KV_RECORD_KEEP_MAX: a message of a stream that kept n a key then */
    KV_RECORD_KEEP_MAX = 128,      /* a stream that keeps more, or all, writes KV_RECORD_MESSAGE */
    KV_RECORD_IS_ROLLUP = 1u << 4, /* flag of a message: older messages of the key are gone */
    KV_RECORD_IS_BUCKET = 1u << 5, /* flag: keys are indexed without $KV.<bucket>. */
    KV_RECORD_IS_ROLLUP_ALL =
        1u << 7,                    /* flag of a message: everything older of the stream is gone */
    KV_RECORD_IS_STRIPED = 1u << 6, /* flag: keys lie on all shards, by hash */
};

/* Connections that must wait for room; resumed all at once. */
struct waiting_conns {
    struct origin *origins; /* owns */
    uint32_t count, capacity;
};

struct kv {
    struct shard *shard;    /* borrows */
    struct kv_world *world; /* borrows */
    struct outbox *outbox;  /* borrows */
    struct store *store;    /* owns */
    struct stream_table streams;
    struct catalog *catalog;     /* owns; only on KV_HOME_SHARD, as the next */
    struct directory *directory; /* owns */
    struct step_wait *closing;   /* owns: streams that end when nothing is in flight in them */

    /* kv/put.c */
    struct put *put_pool;       /* free ones */
    struct put_copy *room_head; /* puts that wait for room in the log, first come first served */
    struct put_copy **room_tail;
    struct store_wait room_wait;
    bool is_room_awaited;
    struct parked *parked;     /* CAS puts behind the fence */
    uint32_t puts_outstanding; /* of this shard's connections */
    uint64_t put_bytes_outstanding;
    struct waiting_conns waiting;
    bool is_publishing,
        was_resumed;            /* within put_publish: the connection need not wait after all */
    struct stream *routed_head; /* streams whose routing word is set */
    struct put_report *reports; /* floors to raise after publishing */
    struct shard_deferred after_publish;

    struct gathering *gathering; /* owns; kv/gathering.c */
    struct follow *follows;      /* owns; kv/follow.c: of streams whose stripe is here */

    struct text raised_headers; /* kv/put.c: of the publish under way */

    /* kv/put_ids.c */
    uint64_t id_bytes;   /* what message ids cost on this shard */
    uint32_t ids_handed; /* at the start: handed to their homes, and not confirmed yet */
    void (*on_ids_handed)(struct kv *kv);

    /* kv/watermark.c */
    struct stream *nudged_head; /* streams whose watermark may have risen */

    /* kv/sweep.c, kv/sweep_agent.c */
    struct sweep *sweeps, **sweep_tail; /* owns: of this shard's connections */
    uint32_t sweep_count;
    struct sweep_agent *sweep_agents; /* owns: at this shard's stripes */

    /* kv/feed.c, kv/consumer.c */
    uint32_t feed_generation;
    struct consumer **consumers; /* owns; hash by deliver subject */
    uint32_t consumer_count, consumer_capacity;
    struct ack_routes *ack_routes; /* owns */
    struct consumer *flush_head;   /* consumers with progress to be written this turn */
    struct shard_deferred flush_deferred;
    uint32_t flushes_open; /* that home has not answered yet */
    bool is_ending;        /* the server stops: consumers were told to write where they are */

    uint64_t held_bytes[2]; /* by this shard's stripes: on disk, in memory (kv/limits.h) */

    struct text scratch; /* an answer being built; emptied by whoever uses it */
    struct text mapped;  /* the subject a transform made of a message being published */
    uint64_t api_total, api_errors;
    uint32_t requests_open; /* API requests not answered yet */

    /* kv/snapshot.c */
    struct snapshot *snapshots; /* owns; under way */
    uint32_t snapshot_count;
    uint64_t snapshot_number; /* of the last one */

    /* kv/restore.c */
    struct restore *restores; /* owns; on the home shard */
    uint32_t restore_count;

    /* kv/world.c */
    bool is_open; /* recovered, on all shards */
    struct timer figures_timer;
    uint32_t highest_id;       /* of any stream the log names */
    struct recovery *recovery; /* owns; on the home shard while it recovers */
    void *ready_context;
    void (*on_ready)(void *context, const struct store_recovery *recovery);
};

/* ---- kv/world.c ---- */

const struct kv_options *kv_world_options(const struct kv_world *world);
struct store_directory *kv_world_directory(const struct kv_world *world);
/* The shard that a message, or a removal of one, belongs to. */
uint32_t record_shard(const struct kv *kv, const struct record *record);
struct limits_shared *kv_world_limits(struct kv_world *world);

/* ---- kv/gather.c: ask several shards, go on when all have answered ---- */

struct gather {
    uint32_t waiting;
    void (*on_part)(struct gather *gather, const void *part, uint32_t bytes, uint32_t from);
    void (*on_done)(struct gather *gather); /* frees what embeds the gather */
};

/*
 * Payloads of questions begin with `struct gather *gather` (the asker's), answers echo it. A gather's memory stays until
 * on_done, which runs on the asking shard, never inside gather_ask.
 */
void *gather_ask(struct kv *kv, struct gather *gather, uint32_t to, mailbox_handler_fn *handler,
                 uint32_t bytes);
/* On the asked shard: `bytes` of the answer, to be filled in. */
void *gather_answer(struct shard *shard, struct gather *gather, uint32_t to, uint32_t bytes);
/* A first piece of an answer that is too large for one message; gather_answer ends it. */
void *gather_answer_piece(struct shard *shard, struct gather *gather, uint32_t to, uint32_t bytes);

static inline struct kv *kv_of(const struct shard *shard)
{
    return shard->rooms[SHARD_ROOM_KV];
}

#endif
