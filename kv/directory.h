/*
 * kv/directory.h: which shard has the consumer of a name, and what of it outlives the process. Kept on the home shard; every
 * shard asks it.
 *
 * A consumer of a file stream that did not ask for mem_storage has a record in the home shard's log: written and durable before its
 * creation is answered, and again, without waiting, as its position moves (DIRECTORY_POSITION_NS). After a restart it goes on
 * from there; a position that is some deliveries old makes the client see a consumer sequence twice, and start anew.
 */
#ifndef KV_DIRECTORY_H
#define KV_DIRECTORY_H

#include "kv/request.h"

struct directory;

enum directory_result {
    DIRECTORY_CLAIMED, /* the name was free and is now the asking shard's */
    DIRECTORY_FOUND,   /* `shard` has it */
    DIRECTORY_ABSENT,
    DIRECTORY_FULL,     /* the stream's limit of consumers is reached */
    DIRECTORY_NO_SPACE, /* the consumer is one with a record, and the disk has no room for it */
};

enum { CONSUMERS_PER_STREAM_MAX = 1000 };

#define DIRECTORY_POSITION_NS UINT64_C(250000000)

/* What a record of a consumer says; its configuration's JSON follows. */
struct consumer_past {
    uint64_t created_ns;
    uint64_t consumer_seq, stream_seq; /* delivered */
    uint64_t has_position;             /* the two above count; else it starts as its policy says */
};

/*
 * Looks the name up, or claims it for this shard where it is free. on_done runs on this shard, later. Uses request->gather and
 * request->name, request->stream_name. past: what a
 * claimed name keeps over a restart; NULL: nothing.
 */
void directory_ask(struct request *request, struct stream *stream, bool is_claim,
                   const struct consumer_past *past, struct bytes config_json,
                   void (*on_done)(struct request *request, enum directory_result result,
                                   uint32_t shard));
/* The consumer is gone. */
void directory_forget(struct stream *stream, struct bytes name);
/* The same; request_succeed when that outlives a crash. Takes over the request. */
void directory_forget_and_answer(struct request *request, struct stream *stream);
/* The consumer's position has moved. */
void directory_position(struct stream *stream, struct bytes name, const struct consumer_past *past);
/* Home: one record of the log, in its order. */
void directory_replay(struct kv *kv, const struct record *record);
/* Home: the streams are adopted; makes every consumer anew, each on some shard. */
void directory_restore_all(struct kv *kv);
/* Home: appends the records of a stream's consumers again. */
MUST_USE enum status directory_restate(struct kv *kv, uint32_t stream_id);
/* On the home shard: the stream is gone, with all its consumers. */
void directory_forget_stream(struct kv *kv, uint32_t stream_id);
void directory_fini(struct kv *kv);

#endif
