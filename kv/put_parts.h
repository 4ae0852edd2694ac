/*
 * kv/put_parts.h: what the files of a put share: requests, results, and who does which step. put.c draws the way.
 */
#ifndef KV_PUT_PARTS_H
#define KV_PUT_PARTS_H

#include "kv/msg_ids.h"
#include "kv/put_rules.h"
#include "kv/room.h"
#include "kv/stripe.h"

#define PUT_NOT_TAKEN UINT64_MAX
/* Of these the stripe must read the headers again. */
#define PUT_READ_AGAIN (PUT_EXPECTS_LAST | PUT_HAS_ID | PUT_EXPECTS_ID | PUT_HAS_FAULT)

struct put_flight;
struct put_sink;

/* Crosses shards; reply, subject, headers and value follow it. */
struct put_request {
    struct origin origin;
    uint32_t stream_id;
    uint32_t flags; /* PUT_… */
    uint32_t reply_bytes, subject_bytes, headers_bytes, value_bytes;
    uint32_t conn_shard;
    uint32_t flight_home;
    struct put_flight *flight; /* flight_home's: to be told how the put ends; or NULL */
    struct put_sink
        *sink;    /* of a message that another stream gave; then conn_shard is the stripe's */
    uint64_t seq; /* 0: the stripe takes it */
    uint64_t taken_index;
    uint64_t time_ns;
    uint64_t expected_key, expected_last;
    uint64_t ttl;          /* kv/message_ttl.h */
    uint64_t duplicate_of; /* the id's home knows it as this sequence; or 0 */
    uint64_t hash;
};

/* A request with its texts, wherever they lie. */
struct put_view {
    const struct put_request *request;
    struct bytes reply, subject, headers, value;
    uint32_t from; /* shard of the connection */
};

/* A request that must wait; owns its bytes. */
struct put_copy {
    struct put_copy *next;
    struct put_request request; /* texts follow */
};

/* Why a message is not stored. */
struct put_verdict {
    enum api_error error; /* API_OK: it is a duplicate */
    uint64_t number;      /* sequence for the text, or of the first one */
    struct bytes words;   /* instead of the number; borrowed */
    bool is_of_stream;    /* the number is the stream's, not the stripe's */
    bool is_duplicate;
};

/* Back to the connection's shard; the reply and the error's words follow. */
struct put_result {
    struct origin origin;
    uint32_t stream_id;
    uint32_t reply_bytes, words_bytes;
    uint32_t flight_home;
    struct put_flight *flight; /* ends with a final result; or NULL */
    struct put_sink *sink;     /* hears of it instead of a connection; or NULL */
    uint64_t time_ns;          /* of what was stored */
    uint64_t seq;              /* of an ack; or the number of a refusal */
    uint64_t taken_index;      /* to be reported done, or PUT_NOT_TAKEN */
    uint32_t message_bytes;    /* to be taken off the outstanding */
    uint16_t error;            /* enum api_error; API_OK: an ack */
    bool is_resume;            /* the connection goes on */
    bool is_final;             /* false: only a resume */
    bool is_duplicate;
};

/* ---- kv/put.c: requests, and what the stripe decides ---- */

struct put_view put_view_of(const struct put_request *request);
uint32_t put_view_bytes(const struct put_view *view);
void put_view_copy(const struct put_view *view, struct put_request *out);
struct index_key *put_view_find(const struct stripe *stripe, const struct put_view *view,
                                char *room, struct bytes *key_out);
struct put_copy *put_copy_of(struct kv *kv, const struct put_view *view);
/* A copy's turn has come: it arrives again, and is freed. */
void put_arrive_copy(struct kv *kv, struct put_copy *copy);
/* The log is full of batches in flight: the put goes on when there is room, first come first served. */
void put_queue_for_room(struct stripe *stripe, const struct put_view *view);
/* What came by mailbox; false: its stream is gone, and it was told so. */
bool put_open(struct kv *kv, const struct put_request *request, struct stream **stream_out,
              struct put_view *view_out);
/* A put of the stripe's own, on its shard. */
void put_send_own(struct stream *stream, const struct put_view *view);
/* To the stripe on that shard, which may be this one. */
void put_pass(struct stream *stream, uint32_t to, const struct put_view *view);

/* ---- kv/put_check.c: may it be stored? Each of these has refused the put when it gives false ---- */

bool put_space_allows(const struct stream *stream, uint32_t shard_index, uint32_t flags);
bool put_check(struct stripe *stripe, const struct put_view *view);
/* What put_check has allowed is not stored after all. */
void put_check_undo(struct stripe *stripe, const struct put_view *view);
/* The stream's sequence alone: it may have moved since. */
bool put_check_last(struct stripe *stripe, const struct put_view *view);
/* Behind the fence: what may have changed since the sequence was taken. */
bool put_check_again(struct stripe *stripe, const struct put_view *view);

/* ---- kv/put_ids.c: message ids ---- */

uint32_t put_ids_home(const struct stream *stream, struct bytes id);
/* At the id's home, from the connection's shard. */
void put_on_identify(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);
struct msg_id *put_ids_find(struct stripe *stripe, struct bytes id);
bool put_ids_have_room(struct stripe *stripe, struct bytes id);
/* The id of the stripe's last message; empty: it has none. */
struct bytes put_ids_last(const struct stripe *stripe);
/* The put has this sequence now. */
void put_ids_learn(struct stripe *stripe, const struct put_view *view, uint64_t seq);
/* How the put of a flight ended; seq 0: it was refused. */
void put_ids_settle(struct kv *kv, struct put_flight *flight, uint32_t home, uint64_t seq,
                    uint64_t time_ns);

/* ---- kv/put_fence.c: CAS puts that wait for everything below their sequence ---- */

struct parked *put_parked_for(const struct stripe *stripe, uint64_t hash);
uint64_t put_parked_seq(const struct parked *parked);
void put_park(struct stripe *stripe, const struct put_view *view, uint64_t seq,
              uint64_t taken_index);
void put_queue_behind(struct parked *parked, const struct put_view *view);
void put_run_parked(struct kv *kv);

/* ---- kv/put_apply.c: the log, the index, the watchers ---- */

void put_apply(struct stripe *stripe, const struct put_view *view, uint64_t seq,
               uint64_t taken_index);
/* Sets the stream's routing word until the mailboxes are published. */
void put_mark_routed(struct stream *stream);
void put_apply_fini(struct kv *kv);

/* ---- kv/put_result.c: acks, refusals, and room for more ---- */

bool put_has_room(const struct kv *kv);
void put_resume_waiting(struct kv *kv);
/* Of a request that ends now. */
struct put_result put_result_of(const struct put_view *view);
void put_result_send(struct kv *kv, uint32_t to, const struct put_result *result,
                     struct bytes reply, struct bytes words);
/* The connection goes on, if it waits for this put. */
void put_resume_conn(struct stripe *stripe, const struct put_view *view);
/* Refuses on the connection's shard. */
enum kv_take put_refuse(struct stream *stream, const struct origin *origin, const struct msg *msg,
                        const struct api_failure *failure);
/* Refuses once the state that it names is durable; the connection goes on at once. */
void put_refuse_at_stripe(struct stripe *stripe, const struct put_view *view,
                          const struct put_verdict *verdict);

#endif
