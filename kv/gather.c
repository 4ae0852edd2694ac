/*
 * kv/gather.c: one question to several shards, one continuation when all have answered.
 *
 * Every shard asked answers exactly once; so the gather's address is token enough, and nobody needs a table.
 */
#include "kv/room.h"

struct gather_part {
    struct gather *gather;
    uint64_t is_piece; /* more of this shard's answer follows */
};

static void gather_on_answer(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    struct gather_part *part = payload;
    struct gather *gather = part->gather;
    ASSERT(gather->waiting > 0);

    gather->on_part(gather, part + 1, bytes - (uint32_t)sizeof *part, from);
    if (!part->is_piece && --gather->waiting == 0)
        gather->on_done(gather);
}

void *gather_ask(struct kv *kv, struct gather *gather, uint32_t to, mailbox_handler_fn *handler,
                 uint32_t bytes)
{
    ASSERT_ON_SHARD(kv->shard);
    gather->waiting++;
    void *payload = mailbox_reserve(kv->shard, to, handler, bytes);
    *(struct gather **)payload = gather;
    return payload;
}

static void *part_reserve(struct shard *shard, const struct gather_part *head, uint32_t to,
                          uint32_t bytes)
{
    struct gather_part *part =
        mailbox_reserve(shard, to, gather_on_answer, (uint32_t)sizeof *part + bytes);
    *part = *head;
    return part + 1;
}

void *gather_answer(struct shard *shard, struct gather *gather, uint32_t to, uint32_t bytes)
{
    return part_reserve(shard, &(struct gather_part){gather, false}, to, bytes);
}

void *gather_answer_piece(struct shard *shard, struct gather *gather, uint32_t to, uint32_t bytes)
{
    return part_reserve(shard, &(struct gather_part){gather, true}, to, bytes);
}
