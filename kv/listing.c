/*
 * kv/listing.c: lists of sequences, and fetching what they name.
 */
#include "kv/listing.h"

#include "core/hash.h"
#include "core/subject.h"
#include "kv/gathering.h"

enum { SEQUENCES_PER_PIECE = 1 << 20 };

struct sequences_question { /* then filters: for each a u32 length and its text */
    struct gather *gather;
    uint32_t stream_id, generation;
    uint32_t kind, filter_count;
    uint64_t from_seq, from_time_ns, upto;
};

/* A growing list of sequences, on the stripe's shard. */
struct sequences {
    struct heap *heap;
    uint64_t *seqs; /* owns */
    uint64_t count, capacity;
};

static void sequences_add(struct sequences *list, uint64_t seq)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 256 : 2 * list->capacity;
        list->seqs = heap_resize(list->heap, list->seqs, list->capacity * sizeof *list->seqs);
    }
    list->seqs[list->count++] = seq;
}

/* The filters of a question, as borrowed texts. */
struct filters {
    struct bytes filter[CONSUMER_FILTERS_MAX];
    uint32_t count;
    bool is_everything;
};

static void filters_read(struct filters *filters, const struct sequences_question *question)
{
    const char *at = (const char *)(question + 1);
    filters->count = question->filter_count;
    filters->is_everything = question->filter_count == 0;
    for (uint32_t i = 0; i < question->filter_count; i++) {
        uint32_t bytes;
        memcpy(&bytes, at, sizeof bytes);
        filters->filter[i] = bytes_of(at + sizeof bytes, bytes);
        at += sizeof bytes + bytes;
        filters->is_everything =
            filters->is_everything || bytes_equal(filters->filter[i], BYTES_LITERAL(">"));
    }
}

static bool filters_match(const struct filters *filters, struct bytes subject)
{
    for (uint32_t i = 0; i < filters->count; i++) {
        if (subject_matches(filters->filter[i], subject))
            return true;
    }
    return filters->is_everything;
}

struct per_key_scan {
    struct stripe *stripe;
    const struct filters *filters;
    struct sequences *list;
    char *room;
    uint64_t from_seq, upto;
};

/* Of one key: all above upto, and the newest up to there. */
static void per_key_add(struct stripe *stripe, struct index_key *key, struct sequences *list,
                        uint64_t from_seq, uint64_t upto)
{
    uint32_t i = index_key_message_count(stripe->index, key);
    bool goes_on = true;
    while (goes_on && i > 0) {
        uint64_t seq = index_key_message(stripe->index, key, --i).seq;
        goes_on = seq > upto;
        if (seq >= from_seq)
            sequences_add(list, seq);
    }
}

static void per_key_on_key(void *context, struct index_key *key)
{
    struct per_key_scan *scan = context;
    if (scan->filters->is_everything
        || filters_match(scan->filters,
                         stream_subject_of(scan->stripe->stream, index_key_bytes(key), scan->room)))
        per_key_add(scan->stripe, key, scan->list, scan->from_seq, scan->upto);
}

static void list_key(struct stripe *stripe, struct bytes subject, struct sequences *list,
                     uint32_t kind, const struct sequences_question *question)
{
    char room[STREAM_KEY_ROOM];
    if (subject.count >= RECORD_KEY_BYTES_MAX)
        return;
    struct bytes key = stream_key_of(stripe->stream, subject, room);
    struct index_key *entry = index_find(stripe->index, key, hash_bytes(key.data, key.count));
    if (entry == NULL)
        return;
    if (kind == LISTING_PER_KEY) {
        per_key_add(stripe, entry, list, question->from_seq, question->upto);
        return;
    }
    uint32_t count = index_key_message_count(stripe->index, entry);
    for (uint32_t i = kind == LISTING_ALL ? 0 : count - 1; i < count; i++) {
        struct message message = index_key_message(stripe->index, entry, i);
        if (message.seq >= question->from_seq && message.time_ns >= question->from_time_ns)
            sequences_add(list, message.seq);
    }
}

static void list_all(struct stripe *stripe, const struct filters *filters,
                     const struct sequences_question *question, struct sequences *list, char *room)
{
    struct index_key *key;
    struct message message;
    uint64_t seq = question->from_seq;
    while (index_seek(stripe->index, seq, &key, &message)) {
        seq = message.seq + 1;
        if (message.time_ns < question->from_time_ns)
            continue;
        if (filters->is_everything
            || filters_match(filters,
                             stream_subject_of(stripe->stream, index_key_bytes(key), room)))
            sequences_add(list, message.seq);
    }
}

static void list_last(struct stripe *stripe, const struct filters *filters, struct sequences *list,
                      char *room)
{
    struct index_key *key;
    struct message message;
    uint64_t seq = UINT64_MAX;
    while (index_seek_back(stripe->index, seq, &key, &message)) {
        if (filters_match(filters, stream_subject_of(stripe->stream, index_key_bytes(key), room))) {
            sequences_add(list, message.seq);
            return;
        }
        if (message.seq == 0)
            return;
        seq = message.seq - 1;
    }
}

static void list_sequences(struct stripe *stripe, const struct sequences_question *question,
                           struct sequences *list)
{
    struct filters *filters = heap_alloc(list->heap, sizeof *filters);
    char *room = heap_alloc(list->heap, STREAM_KEY_ROOM);
    filters_read(filters, question);
    uint32_t kind = question->kind;
    bool is_one_key =
        filters->count == 1 && subject_is_literal(filters->filter[0]) && kind != LISTING_NONE;
    if (is_one_key) {
        list_key(stripe, filters->filter[0], list, kind, question);
    } else if (kind == LISTING_ALL) {
        list_all(stripe, filters, question, list, room);
    } else if (kind == LISTING_LAST) {
        list_last(stripe, filters, list, room);
    } else if (kind == LISTING_PER_KEY) {
        struct per_key_scan scan = {stripe,        filters, list, room, question->from_seq,
                                    question->upto};
        uint64_t cursor = 0;
        while (index_scan(stripe->index, &cursor, 65536, per_key_on_key, &scan)) {
        }
    }
    heap_free(room);
    heap_free(filters);
}

static void listing_send(struct shard *shard, struct gather *gather, uint32_t to,
                         const struct listing_part *part, const uint64_t *seqs,
                         void *(*answer)(struct shard *shard, struct gather *gather, uint32_t to,
                                         uint32_t bytes))
{
    struct listing_part *out =
        answer(shard, gather, to, (uint32_t)(sizeof *out + part->count * sizeof *seqs));
    *out = *part;
    if (part->count > 0)
        memcpy(out + 1, seqs, part->count * sizeof *seqs);
}

static void listing_on_sequences(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    gathering_flush(kv_of(shard)); /* what came before runs before */
    (void)bytes;
    struct sequences_question *question = payload;
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, question->stream_id);
    struct sequences list = {.heap = shard->heap};
    struct listing_part part = {0};
    if (stream != NULL && stream->stripe != NULL) {
        feed_register(stream->stripe, from, question->generation);
        list_sequences(stream->stripe, question, &list);
        struct index_key *key;
        struct message first;
        part.first_seq = index_seek(stream->stripe->index, 0, &key, &first) ? first.seq : 0;
        part.last_seq = stream->stripe->last_seq;
    }
    uint64_t sent = 0;
    while (list.count - sent > SEQUENCES_PER_PIECE) {
        part.count = SEQUENCES_PER_PIECE;
        listing_send(shard, question->gather, from, &part, list.seqs + sent, gather_answer_piece);
        sent += SEQUENCES_PER_PIECE;
    }
    part.count = list.count - sent;
    listing_send(shard, question->gather, from, &part, list.seqs + sent, gather_answer);
    heap_free(list.seqs);
}

void listing_ask_sequences(struct stream *stream, struct gather *gather,
                           const struct consumer_config *config, enum listing_kind kind,
                           uint64_t from_seq, uint64_t from_time_ns, uint64_t upto)
{
    struct kv *kv = stream->kv;
    uint32_t filter_count = consumer_config_filter_count(config);
    uint32_t bytes = sizeof(struct sequences_question);
    for (uint32_t i = 0; i < filter_count; i++)
        bytes += (uint32_t)(sizeof(uint32_t) + consumer_config_filter(config, i).count);
    for (uint32_t stripe = 0; stripe < stream->stripe_count; stripe++) {
        struct sequences_question *question =
            gather_ask(kv, gather, stripe_shard(stream, stripe), listing_on_sequences, bytes);
        question->stream_id = stream->id;
        question->generation = feed_of(stream)->generation;
        question->kind = kind;
        question->filter_count = filter_count;
        question->from_seq = from_seq;
        question->from_time_ns = from_time_ns;
        question->upto = upto;
        char *at = (char *)(question + 1);
        for (uint32_t i = 0; i < filter_count; i++) {
            struct bytes filter = consumer_config_filter(config, i);
            uint32_t count = (uint32_t)filter.count;
            memcpy(at, &count, sizeof count);
            memcpy(at + sizeof count, filter.data, filter.count);
            at += sizeof count + filter.count;
        }
    }
}

/* ---- messages ---- */

struct messages_question { /* then count listing_wanted */
    struct gather *gather;
    uint32_t stream_id;
    uint32_t count;
    uint64_t is_headers_only;
};

struct job;

struct job_fetch {
    struct store_fetch fetch;
    struct job *job;
    uint64_t slot;
    uint32_t found;
    struct feed_record *record; /* owns */
};

/* One question being worked on, on the stripe's shard. */
struct job {
    struct stripe *stripe;
    struct gather *gather;
    uint32_t to, count, pending;
    bool is_headers_only;
    uint64_t bytes;
    struct job_fetch fetches[];
};

static uint32_t padded(uint64_t bytes)
{
    return (uint32_t)((bytes + 7) & ~UINT64_C(7));
}

static void job_finish(struct job *job)
{
    struct shard *shard = job->stripe->stream->kv->shard;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < job->count; i++) {
        struct feed_record *record = job->fetches[i].record;
        bytes += sizeof(struct listing_message);
        bytes += record == NULL ? 0 : padded(feed_record_bytes(record));
    }
    char *at = gather_answer(shard, job->gather, job->to, (uint32_t)bytes);
    for (uint32_t i = 0; i < job->count; i++) {
        struct job_fetch *fetch = &job->fetches[i];
        struct listing_message message = {fetch->slot, fetch->found, 0};
        if (fetch->record != NULL)
            message.record_bytes = (uint32_t)feed_record_bytes(fetch->record);
        memcpy(at, &message, sizeof message);
        at += sizeof message;
        if (fetch->record == NULL)
            continue;
        memcpy(at, fetch->record, message.record_bytes);
        at += padded(message.record_bytes);
        feed_record_release(fetch->record);
    }
    job->stripe->pending_count--;
    heap_free(job);
}

static void job_take(struct job_fetch *fetch)
{
    struct job *job = fetch->job;
    struct heap *heap = job->stripe->stream->kv->shard->heap;
    fetch->record = feed_record_create(heap, &fetch->fetch.record, 0, NULL, job->is_headers_only);
    fetch->found = LISTING_FOUND;
    job->bytes += feed_record_bytes(fetch->record);
    stripe_fetch_release(job->stripe, &fetch->fetch);
}

static void job_on_fetched(struct store_fetch *done, enum status status)
{
    struct job_fetch *fetch = CONTAINER_OF(done, struct job_fetch, fetch);
    struct job *job = fetch->job;
    if (status == STATUS_OK)
        job_take(fetch);
    else
        fetch->found = LISTING_DAMAGED; /* said by the store; the watcher goes on without it */
    if (--job->pending == 0)
        job_finish(job);
}

/* Only headers are asked for, and it has none: the index knows all there is to tell. */
static void job_tell(struct job *job, struct job_fetch *fetch, const struct index_key *key,
                     const struct message *message)
{
    char room[STREAM_KEY_ROOM];
    const struct stream *stream = job->stripe->stream;
    struct bytes subject = stream_subject_of(stream, index_key_bytes(key), room);
    struct record record = {
        .seq = message->seq,
        .time_ns = message->time_ns,
        .key = subject,
        .value.count = message->size_bytes - stripe_message_size(stream, subject.count, 0, 0),
    };
    fetch->record = feed_record_create(stream->kv->shard->heap, &record, 0, NULL, true);
    fetch->found = LISTING_FOUND;
    job->bytes += feed_record_bytes(fetch->record);
}

static void job_fetch_one(struct job *job, struct job_fetch *fetch, uint64_t seq)
{
    struct index_key *key;
    struct message message;
    fetch->found = LISTING_GONE;
    if (!index_find_seq(job->stripe->index, seq, &key, &message))
        return;
    fetch->found = LISTING_SKIPPED;
    if (job->bytes > LISTING_FETCH_BYTES)
        return;
    if (job->is_headers_only && (message.user & STRIPE_MESSAGE_HAS_HEADERS) == 0) {
        job_tell(job, fetch, key, &message);
        return;
    }
    if (stripe_fetch(job->stripe, message.where, &fetch->fetch, job_on_fetched)) {
        job_take(fetch);
    } else {
        job->pending++;
        job->bytes += message.size_bytes;
    }
}

static void answer_all_gone(struct shard *shard, const struct messages_question *question,
                            uint32_t from)
{
    const struct listing_wanted *wanted = (const struct listing_wanted *)(question + 1);
    struct listing_message *message = gather_answer(
        shard, question->gather, from, question->count * (uint32_t)sizeof(struct listing_message));
    for (uint32_t i = 0; i < question->count; i++)
        message[i] = (struct listing_message){wanted[i].slot, LISTING_GONE, 0};
}

static void listing_on_messages(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct messages_question *question = payload;
    const struct listing_wanted *wanted = (const struct listing_wanted *)(question + 1);
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, question->stream_id);
    if (stream == NULL || stream->stripe == NULL) {
        answer_all_gone(shard, question, from);
        return;
    }
    struct job *job =
        heap_alloc_zeroed(shard->heap, sizeof *job + question->count * sizeof(struct job_fetch));
    job->stripe = stream->stripe;
    job->stripe->pending_count++;
    job->gather = question->gather;
    job->to = from;
    job->count = question->count;
    job->is_headers_only = question->is_headers_only != 0;
    job->pending = 1; /* this loop */
    for (uint32_t i = 0; i < job->count; i++) {
        job->fetches[i].job = job;
        job->fetches[i].slot = wanted[i].slot;
        job_fetch_one(job, &job->fetches[i], wanted[i].seq);
    }
    if (--job->pending == 0)
        job_finish(job);
}

void listing_ask_messages(struct stream *stream, struct gather *gather, uint32_t stripe,
                          const struct listing_wanted *wanted, uint32_t count, bool is_headers_only)
{
    ASSERT(count > 0);
    ASSERT(count <= LISTING_FETCH_MAX);
    uint32_t bytes = (uint32_t)(sizeof(struct messages_question) + count * sizeof *wanted);
    struct messages_question *question =
        gather_ask(stream->kv, gather, stripe_shard(stream, stripe), listing_on_messages, bytes);
    question->stream_id = stream->id;
    question->count = count;
    question->is_headers_only = is_headers_only;
    memcpy(question + 1, wanted, count * sizeof *wanted);
}
