/*
 * kv/directory.h: which shard has the consumer of a name, and what of it outlives the process. Kept on the home shard; every
 * shard asks it.
 *
 * A consumer of a file stream that did not ask for mem_storage has a record in the home shard's log: written and durable before its
 * creation is answered. Its progress follows in operations (kv/progress): at once when it owes somebody an answer, else every
 * DIRECTORY_POSITION_NS. After a restart it goes on from there; a position that is some deliveries old makes the client see
 * a consumer sequence twice, and start anew.
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

enum directory_intent { DIRECTORY_LOOK, DIRECTORY_CLAIM, DIRECTORY_REMOVE };

enum { CONSUMERS_PER_STREAM_MAX = 1000 };

#define DIRECTORY_POSITION_NS UINT64_C(250000000)

/* What a claimed name keeps over a restart; without a configuration nothing. */
struct directory_claim {
    uint64_t created_ns;
    struct bytes config_json;
    bool is_durable;
};

/* Which consumer of a stream; the time tells it from others that had its name. */
struct directory_consumer {
    struct bytes name;
    uint64_t created_ns;
    bool is_durable;
};

/*
 * Looks the name up, or claims it for this shard where it is free (claim: how), or finds out whether it may be removed. on_done runs
 * on this shard, later. Uses request->gather and request->name, request->stream_name.
 */
void directory_ask(struct request *request, struct stream *stream, enum directory_intent intent,
                   const struct directory_claim *claim,
                   void (*on_done)(struct request *request, enum directory_result result,
                                   uint32_t shard));
/* The consumer is gone. */
void directory_forget(struct stream *stream, struct bytes name);
/* The same; request_succeed when that outlives a crash. Takes over the request. */
void directory_forget_and_answer(struct request *request, struct stream *stream);

/* What comes back to a gather of the two below: is it durable now? FOUND; ABSENT: the consumer is gone; NO_SPACE. */
struct directory_result_part {
    uint32_t result, shard;
};
/* Operations of a kept consumer (kv/progress), to be durable; answered in the order asked. */
void directory_progress(struct stream *stream, const struct directory_consumer *of,
                        struct bytes operations, struct gather *gather);
/* Its configuration is to be this one. */
void directory_update(struct stream *stream, const struct directory_consumer *of,
                      struct bytes config_json, struct gather *gather);

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
