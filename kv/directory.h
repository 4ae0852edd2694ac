/*
 * kv/directory.h: which shard has the consumer of a name. Kept on the home shard; every shard asks it.
 */
#ifndef KV_DIRECTORY_H
#define KV_DIRECTORY_H

#include "kv/request.h"

struct directory;

enum directory_result {
    DIRECTORY_CLAIMED, /* the name was free and is now the asking shard's */
    DIRECTORY_FOUND,   /* `shard` has it */
    DIRECTORY_ABSENT,
    DIRECTORY_FULL,    /* the stream's limit of consumers is reached */
};

enum { CONSUMERS_PER_STREAM_MAX = 1000 };

/*
 * Looks the name up, or claims it for this shard where it is free. on_done runs on this shard, later. Uses request->gather and
 * request->name, request->stream_name.
 */
void directory_ask(struct request *request, struct stream *stream, bool is_claim,
                   void (*on_done)(struct request *request, enum directory_result result,
                                   uint32_t shard));
/* The consumer is gone. */
void directory_forget(struct stream *stream, struct bytes name);
/* On the home shard: the stream is gone, with all its consumers. */
void directory_forget_stream(struct kv *kv, uint32_t stream_id);
void directory_fini(struct kv *kv);

#endif
