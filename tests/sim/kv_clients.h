/*
 * tests/sim/kv_clients.h: fake connections that send requests into kv and judge the answers with the model.
 *
 *     call     a request whose answer is awaited: sent, answered (or: nobody is there to answer), done
 *     watch    a push consumer and what it delivered
 *
 * A connection belongs to a shard. While kv makes it wait (KV_TAKEN_WAIT, KV_RETRY) it sends nothing.
 * Runs on: the test's one thread. Requests are sent between turns; answers are judged while kv gives them.
 */
#ifndef TESTS_SIM_KV_CLIENTS_H
#define TESTS_SIM_KV_CLIENTS_H

#include "core/json.h"
#include "tests/kv/recorder.h"
#include "tests/sim/kv_model.h"
#include "tests/sim/kv_snapshots.h"

enum { CLIENT_SHARDS_MAX = 4, CLIENT_CONNS_MAX = 8, CLIENT_BUCKETS = 5 };

enum call_kind {
    CALL_WRITE,
    CALL_GET_KEY,
    CALL_GET_SEQ,
    CALL_INFO,
    CALL_PURGE,
    CALL_DELETE_MESSAGE,
    CALL_CREATE,
    CALL_UPDATE,
    CALL_DELETE,
    CALL_WATCH,
    CALL_WATCH_INFO,
    CALL_WATCH_END,
    CALL_FLOW,
    CALL_SNAPSHOT,
};

struct watch;

struct call {
    uint64_t number;
    enum call_kind kind;
    uint32_t conn, bucket, key;
    struct life *life;       /* NULL: no such bucket is known */
    struct write *write;     /* CALL_WRITE */
    struct removal *removal; /* CALL_PURGE, CALL_DELETE_MESSAGE */
    struct watch *watch;     /* CALL_WATCH and the like */
    uint64_t seq, floor, sent_at;
    bool is_done, is_absent; /* answered: nothing there, or no such stream */
    bool is_msg_get;         /* by STREAM.MSG.GET instead of a direct get */
    /* CALL_INFO, when done */
    uint64_t messages, bytes, subject_count, last_seq, consumer_count;
    int64_t history;
    uint64_t pending;    /* CALL_WATCH_INFO */
    struct write *found; /* CALL_GET_… */
    char text[96];       /* CALL_FLOW: the subject to answer */
};

enum watch_policy { WATCH_LAST_PER_KEY, WATCH_ALL, WATCH_NEW };

struct watch {
    struct watch *next;
    uint64_t number;
    struct life *life;
    uint32_t conn, filter, shard;
    enum watch_policy policy;
    bool has_flow_control, is_headers_only;
    bool is_ready, is_listed, is_over, is_full;
    bool is_exact; /* all is quiet: pending must count down without a step missing */
    char name[64];
    uint64_t sent_at, ready_at, position; /* position: as the answer tells it */
    uint64_t initial_pending, last_pending;
    uint64_t consumer_seq, stream_seq;
    uint64_t last_of_key[MODEL_KEYS];
    uint64_t *seqs; /* owns: all that was delivered */
    uint64_t seq_count;
};

struct conn {
    uint32_t shard, generation;
    bool is_waiting;
    struct call *again; /* KV_RETRY: to be sent once more */
};

struct clients {
    struct kv_model *model; /* borrows */
    struct shard_group *group;
    struct kv *kvs[CLIENT_SHARDS_MAX];
    struct recorder recorders[CLIENT_SHARDS_MAX];
    struct recorder_post post;
    uint32_t shard_count, conn_count;
    struct conn conns[CLIENT_CONNS_MAX];
    struct call **calls; /* owns; of this run, by number */
    uint64_t call_count, open_count;
    struct watch *watches;
    struct taken_snapshot *snapshots; /* owns; of this run */
    uint64_t watch_next;
    struct life *buckets[CLIENT_BUCKETS]; /* NULL: there is none */
    uint32_t account;                     /* of every other bucket; the rest is in $G */
    struct call *flow_answers[64];
    uint32_t flow_count;
    bool may_lack_space, may_fail_to_read;
};

/* A run begins (the shards exist, their kvs not yet) and ends. */
void clients_begin(struct clients *clients, struct shard_group *group, uint32_t shard_count);
void clients_end(struct clients *clients);

/* Sends; the call is done when its answer has come. */
struct call *clients_write(struct clients *clients, uint32_t conn, struct life *life, uint32_t key,
                           enum write_kind kind, uint64_t expected, uint32_t value_bytes,
                           bool has_number_header);
struct call *clients_get(struct clients *clients, uint32_t conn, struct life *life, uint32_t key,
                         bool is_msg_get);
struct call *clients_get_seq(struct clients *clients, uint32_t conn, struct life *life,
                             uint64_t seq, bool is_msg_get);
static inline uint32_t clients_account(const struct clients *clients, uint32_t bucket)
{
    return bucket % 2 == 1 ? clients->account : ACCOUNT_GLOBAL;
}

struct call *clients_info(struct clients *clients, uint32_t conn, uint32_t bucket);
struct call *clients_purge(struct clients *clients, uint32_t conn, struct life *life,
                           uint32_t filter, uint64_t keep);
struct call *clients_delete_message(struct clients *clients, uint32_t conn, struct life *life,
                                    uint64_t seq);
struct call *clients_create(struct clients *clients, uint32_t conn, struct life *life,
                            int64_t history);
struct call *clients_update(struct clients *clients, uint32_t conn, struct life *life,
                            int64_t history);
struct call *clients_delete(struct clients *clients, uint32_t conn, struct life *life);
/* Takes a snapshot, whose chunks it acknowledges. */
struct call *clients_snapshot(struct clients *clients, uint32_t conn, struct life *life);
/* All is quiet: what archives of this life hold. */
void clients_check_snapshots(struct clients *clients, const struct life *life);
struct watch *clients_watch(struct clients *clients, uint32_t conn, struct life *life,
                            uint32_t filter, enum watch_policy policy, bool is_exact);
struct call *clients_watch_info(struct clients *clients, uint32_t conn, struct watch *watch);
/* Unsubscribes, and deletes the consumer or leaves it to its threshold. */
void clients_watch_end(struct clients *clients, struct watch *watch, bool with_request);
void clients_watch_set_full(struct clients *clients, struct watch *watch, bool is_full);
/* Sends what must be sent again, and answers to flow control. To be called between turns. */
void clients_tend(struct clients *clients);

/* All is quiet, the bucket's content is marked in the model: has the watcher what it must have? */
void clients_check_watch(struct clients *clients, const struct watch *watch);

#endif
