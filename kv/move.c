/*
 * kv/move.c: compaction has met a record: if it is a message that lives at that place, it goes to another.
 *
 * Recovery counts the messages of a key in the order of the log to know what the history pushed out, and now one of them lies
 * further behind. So the copy says which message of its key was the oldest that lived: what is older was dead, whoever killed it,
 * and may be in the log still. Nothing that lies before the copy kills it (replay_moved). Nothing is visible from outside:
 * sequence, time and bytes stay.
 *
 * A segment of a run with another number of shards holds messages of other shards; these get a copy. What they can not move
 * now stays alive where it is, and the segment is tried again later.
 *
 * Runs on: the shard whose segment is emptied, then the message's.
 */
#include "kv/move.h"

#include "kv/stripe.h"

static enum status move_here(struct kv *kv, const struct record *record, location from)
{
    struct stream *stream = stream_by_id(&kv->streams, record->stream_id);
    struct index_key *key;
    struct message message;
    if (stream == NULL || stream->stripe == NULL
        || !index_find_seq(stream->stripe->index, record->seq, &key, &message)
        || message.where != from)
        return STATUS_OK;
    struct record again = *record;
    again.log_index = index_key_message(stream->stripe->index, key, 0).seq;
    location where;
    enum status status = store_move(kv->store, &again, from, &where);
    if (status != STATUS_OK)
        return status;
    bool is_there = index_move(key, record->seq, where);
    ASSERT(is_there);
    return STATUS_OK;
}

struct foreign { /* then key, headers, value */
    struct record record;
    location from;
};

static void move_on_foreign(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct foreign *foreign = payload;
    struct record *record = &foreign->record;
    const char *texts = (const char *)(foreign + 1);
    record->key.data = texts;
    record->headers.data = texts + record->key.count;
    record->value.data = texts + record->key.count + record->headers.count;
    enum status ignored = move_here(kv_of(shard), record, foreign->from);
    (void)ignored;
}

static char *text_put(char *out, struct bytes text)
{
    if (text.count > 0)
        memcpy(out, text.data, text.count);
    return out + text.count;
}

enum status move_record(void *context, const struct record *record, location where)
{
    struct kv *kv = context;
    if (!stripe_type_is_message(record->type))
        return STATUS_OK;
    uint32_t owner = record_shard(kv, record);
    if (owner == kv->shard->index)
        return move_here(kv, record, where);
    size_t bytes = record->key.count + record->headers.count + record->value.count;
    struct foreign *foreign =
        mailbox_reserve(kv->shard, owner, move_on_foreign, (uint32_t)(sizeof *foreign + bytes));
    *foreign = (struct foreign){*record, where};
    char *texts = (char *)(foreign + 1);
    texts = text_put(texts, record->key);
    texts = text_put(texts, record->headers);
    (void)text_put(texts, record->value);
    return STATUS_OK;
}
