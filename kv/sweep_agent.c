/*
 * kv/sweep_agent.c: what a sweep asks of a stripe: counting matches, listing newest ones, fetching the next window.
 *
 * A walk goes by sequence over two sources at once: the index, and what the hold keeps of what was removed since. A search for
 * newest messages goes by key over the index, in table order, and then over what the hold keeps; `found` has the newest of each
 * key that either gave.
 *
 * Owns:    kv->sweep_agents. An agent whose hold is broken (also: the stripe is gone) finds nothing more, and says so.
 */
#include "kv/sweep_agent.h"

#include "core/hash.h"
#include "core/subject.h"
#include "kv/gathering.h"
#include "kv/hold.h"

enum { SLICE_STEPS = 4096 };

struct sweep_fetch {
    struct store_fetch fetch;
    struct sweep_agent *agent;
    bool is_there;
};

struct sweep_agent {
    struct sweep_agent *next, **link; /* kv->sweep_agents */
    struct kv *kv;
    struct hold hold;
    enum sweep_kind kind;
    bool is_narrowed, is_everything;
    uint32_t pattern_count;
    struct bytes *patterns; /* owns the array; the texts follow it */
    bool *is_literal;       /* owns: of each pattern */
    char *room;             /* owns: STREAM_KEY_ROOM */
    uint64_t from_seq, from_time_ns, upto;
    uint64_t cursor; /* of the windows */

    /* the question being worked on */
    struct gather *gather;
    uint32_t to;
    bool (*slice)(struct sweep_agent *agent); /* true: it is finished, and has answered or will */
    struct store_wait wait;
    uint64_t walk; /* where the slice goes on: a sequence, or a place of the index */
    bool is_scanned;
    struct sweep_count_answer sum;
    uint64_t time_ns, first_seq;
    struct index *found; /* owns: of SWEEP_LAST, the newest of each key; NULL: not asked yet */

    uint64_t wanted, pending; /* of a window */
    struct stripe *fetching;  /* held by the window's reads */
    uint32_t fetch_count;
    uint64_t fetch_bytes;
    struct sweep_fetch fetches[SWEEP_WINDOW_MAX];
};

static void agent_run(struct sweep_agent *agent);

/* ---- life ---- */

static void agent_read_patterns(struct sweep_agent *agent, const struct sweep_hold *question,
                                uint32_t bytes)
{
    struct heap *heap = agent->kv->shard->heap;
    uint32_t count = question->pattern_count;
    size_t texts = bytes - sizeof *question;
    agent->pattern_count = count;
    agent->patterns = heap_alloc(heap, count * sizeof(struct bytes) + count + texts + 1);
    agent->is_literal = (bool *)(agent->patterns + count);
    char *at = (char *)(agent->is_literal + count);
    memcpy(at, question + 1, texts);
    agent->is_everything = count == 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length;
        memcpy(&length, at, sizeof length);
        at += sizeof length;
        struct bytes pattern = bytes_of(at, length);
        agent->patterns[i] = pattern;
        agent->is_literal[i] = subject_is_literal(pattern);
        agent->is_everything = agent->is_everything || bytes_equal(pattern, BYTES_LITERAL(">"));
        at += length;
    }
}

void sweep_agent_on_hold(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    const struct sweep_hold *question = payload;
    struct kv *kv = kv_of(shard);
    gathering_flush(kv); /* what came before runs before */
    struct stream *stream = stream_by_id(&kv->streams, question->stream_id);
    struct sweep_agent *agent = NULL;
    if (stream != NULL && stream->stripe != NULL) {
        agent = heap_alloc_zeroed(shard->heap, sizeof *agent);
        agent->kv = kv;
        agent->kind = (enum sweep_kind)question->kind;
        agent->from_seq = agent->cursor = question->from_seq;
        agent->from_time_ns = question->from_time_ns;
        agent->room = heap_alloc(shard->heap, STREAM_KEY_ROOM);
        agent_read_patterns(agent, question, bytes);
        hold_begin(&agent->hold, stream->stripe);
        agent->next = kv->sweep_agents;
        agent->link = &kv->sweep_agents;
        if (agent->next != NULL)
            agent->next->link = &agent->next;
        kv->sweep_agents = agent;
    }
    struct sweep_hold_answer *answer = gather_answer(shard, question->gather, from, sizeof *answer);
    answer->agent = agent;
}

static void agent_free(struct sweep_agent *agent)
{
    *agent->link = agent->next;
    if (agent->next != NULL)
        agent->next->link = agent->link;
    hold_end(&agent->hold);
    if (agent->found != NULL)
        index_destroy(agent->found);
    heap_free(agent->patterns);
    heap_free(agent->room);
    heap_free(agent);
}

void sweep_agent_on_end(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    (void)bytes;
    (void)from;
    agent_free(*(struct sweep_agent **)payload);
}

void sweep_agents_fini(struct kv *kv)
{
    while (kv->sweep_agents != NULL)
        agent_free(kv->sweep_agents);
}

/* ---- slices ---- */

static void agent_on_again(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    gathering_flush(kv_of(shard));
    agent_run(*(struct sweep_agent **)payload);
}

static void agent_run(struct sweep_agent *agent)
{
    if (!agent->slice(agent))
        mailbox_send(agent->kv->shard, agent->kv->shard->index, agent_on_again, &agent,
                     sizeof agent);
}

static void agent_begin(struct sweep_agent *agent, struct gather *gather, uint32_t from,
                        bool (*slice)(struct sweep_agent *agent))
{
    gathering_flush(agent->kv);
    agent->gather = gather;
    agent->to = from;
    agent->slice = slice;
}

/* The moment that is shown. */
static void agent_narrow(struct sweep_agent *agent, uint64_t upto)
{
    if (!agent->is_narrowed)
        hold_narrow(&agent->hold, upto);
    agent->is_narrowed = true;
}

/* ---- looking ---- */

/* The first message with sequence >= seq of the stripe as it was, of whatever key. */
static bool agent_seek(const struct sweep_agent *agent, uint64_t seq, struct index_key **key_out,
                       struct message *message_out)
{
    struct index_key *held_key;
    struct message held;
    if (agent->hold.stripe == NULL)
        return false;
    bool is_there = index_seek(agent->hold.stripe->index, seq, key_out, message_out);
    if (!hold_seek(&agent->hold, seq, &held_key, &held)
        || (is_there && message_out->seq < held.seq))
        return is_there;
    *key_out = held_key;
    *message_out = held;
    return true;
}

static struct bytes agent_subject(const struct sweep_agent *agent, const struct index_key *key)
{
    return stream_subject_of(agent->hold.stripe->stream, index_key_bytes(key), agent->room);
}

static bool agent_matches(const struct sweep_agent *agent, const struct index_key *key)
{
    if (agent->is_everything)
        return true;
    struct bytes subject = agent_subject(agent, key);
    for (uint32_t i = 0; i < agent->pattern_count; i++) {
        if (agent->is_literal[i] ? bytes_equal(agent->patterns[i], subject)
                                 : subject_matches(agent->patterns[i], subject))
            return true;
    }
    return false;
}

static struct index_key *agent_find_key(const struct sweep_agent *agent, struct bytes subject)
{
    if (subject.count == 0 || subject.count >= RECORD_KEY_BYTES_MAX)
        return NULL;
    struct stripe *stripe = agent->hold.stripe;
    struct bytes key = stream_key_of(stripe->stream, subject, agent->room);
    return index_find(stripe->index, key, hash_bytes(key.data, key.count));
}

/* As agent_seek, for one literal pattern: of this key only. */
static bool agent_seek_key(const struct sweep_agent *agent, uint64_t seq,
                           struct index_key **key_out, struct message *message_out)
{
    if (agent->hold.stripe == NULL)
        return false;
    const struct index *index = agent->hold.stripe->index;
    struct index_key *key = agent_find_key(agent, agent->patterns[0]), *held_key;
    uint32_t count = key == NULL ? 0 : index_key_message_count(index, key);
    bool is_there = false;
    for (uint32_t i = 0; i < count && !is_there; i++) {
        *message_out = index_key_message(index, key, i);
        *key_out = key;
        is_there = message_out->seq >= seq;
    }
    struct message held;
    while (hold_seek(&agent->hold, seq, &held_key, &held)) {
        if (is_there && message_out->seq < held.seq)
            return true;
        if (agent_matches(agent, held_key)) {
            *key_out = held_key;
            *message_out = held;
            return true;
        }
        seq = held.seq + 1;
    }
    return is_there;
}

/*
 * The next match from *cursor on, which moves behind it. False: there is none (*cursor is UINT64_MAX), or the steps are used up.
 */
static bool agent_next(const struct sweep_agent *agent, uint64_t *cursor, uint32_t *steps,
                       struct message *message_out)
{
    struct index_key *key;
    bool is_one_key = agent->found == NULL && agent->pattern_count == 1 && agent->is_literal[0];
    while (*steps > 0 && *cursor != UINT64_MAX) {
        --*steps;
        bool is_there = agent->found != NULL ? index_seek(agent->found, *cursor, &key, message_out)
                        : is_one_key         ? agent_seek_key(agent, *cursor, &key, message_out)
                                             : agent_seek(agent, *cursor, &key, message_out);
        *cursor = is_there && message_out->seq <= agent->upto ? message_out->seq + 1 : UINT64_MAX;
        if (*cursor == UINT64_MAX)
            return false;
        if (agent->found != NULL
            || (message_out->time_ns >= agent->from_time_ns
                && (is_one_key || agent_matches(agent, key))))
            return true;
    }
    return false;
}

/* ---- SWEEP_CEILING ---- */

static bool ceiling_slice(struct sweep_agent *agent)
{
    struct index_key *key;
    struct message message = {0};
    uint32_t steps = SLICE_STEPS;
    bool is_there = true;
    while (steps-- > 0 && is_there) {
        is_there = agent_seek(agent, agent->walk, &key, &message) && message.seq <= agent->upto;
        if (is_there && agent->first_seq == 0)
            agent->first_seq = message.seq;
        if (is_there && message.time_ns >= agent->time_ns)
            break;
        agent->walk = message.seq + 1;
    }
    if (is_there && message.time_ns < agent->time_ns)
        return false;
    struct sweep_ceiling_answer *answer =
        gather_answer(agent->kv->shard, agent->gather, agent->to, sizeof *answer);
    *answer = (struct sweep_ceiling_answer){agent->first_seq, is_there ? message.seq : 0};
    return true;
}

void sweep_agent_on_ceiling(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    (void)bytes;
    const struct sweep_ceiling *question = payload;
    struct sweep_agent *agent = question->agent;
    agent_begin(agent, question->gather, from, ceiling_slice);
    agent_narrow(agent, question->upto);
    agent->upto = question->upto;
    agent->time_ns = question->time_ns;
    agent->walk = 0;
    agent_run(agent);
}

/* ---- SWEEP_COUNT ---- */

static void count_answer(struct sweep_agent *agent)
{
    *(struct sweep_count_answer *)gather_answer(agent->kv->shard, agent->gather, agent->to,
                                                sizeof agent->sum) = agent->sum;
}

static void count_release(struct sweep_agent *agent)
{
    agent->fetching->pending_count--;
    agent->fetching = NULL;
    count_answer(agent);
}

static void count_on_durable(struct store_wait *wait)
{
    count_release(CONTAINER_OF(wait, struct sweep_agent, wait));
}

static void count_settle(struct store_wait *wait)
{
    struct sweep_agent *agent = CONTAINER_OF(wait, struct sweep_agent, wait);
    struct store *store = agent->kv->store;
    if (agent->fetching->unwritten_removals > 0) {
        agent->wait.on_durable = count_settle;
        store_wait_room(store, &agent->wait);
        return;
    }
    agent->wait.on_durable = count_on_durable;
    if (!store_wait_durable(store, &agent->wait))
        count_release(agent);
}

/* What is missing may be missing because of a removal that is not durable yet. */
static bool count_finish(struct sweep_agent *agent)
{
    agent->fetching = agent->hold.stripe;
    if (agent->fetching == NULL || agent->fetching->stream->is_memory) {
        agent->fetching = NULL;
        count_answer(agent);
        return true;
    }
    agent->fetching->pending_count++;
    count_settle(&agent->wait);
    return true;
}

static bool count_slice(struct sweep_agent *agent)
{
    uint32_t steps = SLICE_STEPS;
    struct message message;
    while (agent_next(agent, &agent->walk, &steps, &message))
        agent->sum.count++;
    if (agent->walk != UINT64_MAX)
        return false;
    agent->sum.total = agent->sum.count;
    return count_finish(agent);
}

/* Everything there is: nothing needs to be walked over. */
static bool count_is_known(const struct sweep_agent *agent)
{
    struct index_key *key;
    struct message first;
    struct stripe *stripe = agent->hold.stripe;
    return stripe != NULL && agent->is_everything && agent->from_time_ns == 0
           && stripe->last_seq <= agent->upto && !hold_seek(&agent->hold, 0, &key, &first)
           && (!index_seek(stripe->index, 0, &key, &first) || first.seq >= agent->from_seq);
}

/* A message of a key, for the search for the newest of each. */
static void found_add(struct sweep_agent *agent, struct bytes key, const struct message *message)
{
    struct message old;
    if (message->seq > agent->upto)
        return;
    uint64_t hash = hash_bytes(key.data, key.count);
    struct index_key *known = index_find(agent->found, key, hash);
    if (known == NULL)
        (void)index_insert(agent->found, key, hash, message);
    else
        (void)index_replace(agent->found, known, message, &old); /* only what is newer */
}

static void found_add_newest(struct sweep_agent *agent, const struct index_key *key)
{
    const struct index *index = agent->hold.stripe->index;
    for (uint32_t i = index_key_message_count(index, key); i-- > 0;) {
        struct message message = index_key_message(index, key, i);
        if (message.seq > agent->upto)
            continue;
        found_add(agent, index_key_bytes(key), &message);
        return;
    }
}

static void newest_on_key(void *context, struct index_key *key)
{
    struct sweep_agent *agent = context;
    if (index_key_count(agent->found) <= SWEEP_RESULTS_MAX && agent_matches(agent, key))
        found_add_newest(agent, key);
}

/* First the index by key, then what is held by sequence. */
static bool newest_slice(struct sweep_agent *agent)
{
    struct index_key *key;
    struct message message;
    bool is_over = agent->hold.stripe == NULL;
    if (!is_over && !agent->is_scanned) {
        agent->is_scanned =
            !index_scan(agent->hold.stripe->index, &agent->walk, SLICE_STEPS, newest_on_key, agent);
        if (agent->is_scanned)
            agent->walk = 0;
    }
    uint32_t steps = SLICE_STEPS;
    while (!is_over && agent->is_scanned && steps-- > 0) {
        is_over =
            !hold_seek(&agent->hold, agent->walk, &key, &message) || message.seq > agent->upto;
        if (!is_over && agent_matches(agent, key))
            found_add(agent, index_key_bytes(key), &message);
        agent->walk = message.seq + 1;
    }
    bool is_too_many = index_key_count(agent->found) > SWEEP_RESULTS_MAX;
    if (!is_over && !is_too_many)
        return false;
    agent->sum.total = index_message_count(agent->found);
    for (uint64_t seq = agent->from_seq; index_seek(agent->found, seq, &key, &message);
         seq = message.seq + 1)
        agent->sum.count++;
    return count_finish(agent);
}

/* Literal patterns need no scan. */
static void newest_begin(struct sweep_agent *agent)
{
    agent->found = index_create(agent->kv->shard->heap);
    agent->walk = 0;
    agent->is_scanned = !agent->is_everything;
    for (uint32_t i = 0; i < agent->pattern_count; i++)
        agent->is_scanned = agent->is_scanned && agent->is_literal[i];
    for (uint32_t i = 0; agent->is_scanned && i < agent->pattern_count; i++) {
        struct index_key *key =
            agent->hold.stripe == NULL ? NULL : agent_find_key(agent, agent->patterns[i]);
        if (key != NULL)
            found_add_newest(agent, key);
    }
}

void sweep_agent_on_count(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    (void)bytes;
    const struct sweep_count *question = payload;
    struct sweep_agent *agent = question->agent;
    bool is_last = agent->kind == SWEEP_LAST;
    agent_begin(agent, question->gather, from, is_last ? newest_slice : count_slice);
    agent_narrow(agent, question->upto);
    agent->upto = question->upto;
    agent->walk = agent->from_seq;
    if (is_last) {
        newest_begin(agent);
        agent_run(agent);
    } else if (question->is_uncounted || count_is_known(agent)) {
        agent->sum.count = agent->sum.total =
            agent->hold.stripe == NULL ? 0 : index_message_count(agent->hold.stripe->index);
        (void)count_finish(agent);
    } else {
        agent_run(agent);
    }
}

/* ---- SWEEP_NEXT ---- */

static void window_append(char **at, struct bytes bytes)
{
    if (bytes.count > 0)
        memcpy(*at, bytes.data, bytes.count);
    *at += bytes.count;
}

static uint32_t message_bytes(const struct sweep_fetch *fetch)
{
    const struct record *record = &fetch->fetch.record;
    if (!fetch->is_there)
        return sizeof(struct sweep_message);
    return sweep_padded(sizeof(struct sweep_message) + record->key.count + record->headers.count
                        + record->value.count);
}

static void window_put(struct sweep_agent *agent, char *at, struct sweep_fetch *fetch)
{
    struct sweep_message *message = (struct sweep_message *)at;
    const struct record *record = &fetch->fetch.record;
    *message = (struct sweep_message){.is_damaged = !fetch->is_there};
    if (!fetch->is_there)
        return;
    message->seq = record->seq;
    message->time_ns = record->time_ns;
    message->subject_bytes = (uint32_t)record->key.count;
    message->headers_bytes = (uint32_t)record->headers.count;
    message->value_bytes = (uint32_t)record->value.count;
    at = (char *)(message + 1);
    window_append(&at, record->key);
    window_append(&at, record->headers);
    window_append(&at, record->value);
    stripe_fetch_release(agent->fetching, &fetch->fetch);
}

static void window_answer(struct sweep_agent *agent)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < agent->fetch_count; i++)
        bytes += message_bytes(&agent->fetches[i]);
    struct sweep_next_answer *answer = gather_answer(agent->kv->shard, agent->gather, agent->to,
                                                     (uint32_t)(sizeof *answer + bytes));
    *answer = (struct sweep_next_answer){
        .cursor = agent->cursor,
        .count = agent->fetch_count,
        .is_broken = agent->hold.stripe == NULL,
    };
    char *at = (char *)(answer + 1);
    for (uint32_t i = 0; i < agent->fetch_count; i++) {
        uint32_t message = message_bytes(&agent->fetches[i]);
        window_put(agent, at, &agent->fetches[i]);
        at += message;
    }
    if (agent->fetching != NULL)
        agent->fetching->pending_count--;
    agent->fetching = NULL;
    agent->fetch_count = 0;
}

static void window_on_fetched(struct store_fetch *done, enum status status)
{
    struct sweep_fetch *fetch = CONTAINER_OF(done, struct sweep_fetch, fetch);
    fetch->is_there = status == STATUS_OK; /* else said by the store */
    if (--fetch->agent->pending == 0)
        window_answer(fetch->agent);
}

static void window_fetch(struct sweep_agent *agent, const struct message *message)
{
    struct sweep_fetch *fetch = &agent->fetches[agent->fetch_count++];
    fetch->agent = agent;
    agent->fetch_bytes += message->size_bytes;
    fetch->is_there =
        stripe_fetch(agent->fetching, message->where, &fetch->fetch, window_on_fetched);
    agent->pending += !fetch->is_there;
}

static bool next_slice(struct sweep_agent *agent)
{
    uint32_t steps = SLICE_STEPS;
    struct message message;
    agent->fetching = agent->hold.stripe;
    if (agent->fetching != NULL)
        agent->fetching->pending_count++;
    agent->pending = 1; /* this loop */
    agent->fetch_bytes = 0;
    while (agent->fetching != NULL && agent->fetch_count < agent->wanted
           && agent->fetch_bytes < SWEEP_WINDOW_BYTES
           && agent_next(agent, &agent->cursor, &steps, &message))
        window_fetch(agent, &message);
    bool is_dry = agent->fetch_count == 0 && agent->cursor != UINT64_MAX && agent->fetching != NULL;
    if (is_dry) { /* nothing found in this slice */
        agent->fetching->pending_count--;
        agent->fetching = NULL;
        return false;
    }
    if (--agent->pending == 0)
        window_answer(agent);
    return true;
}

void sweep_agent_on_next(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)shard;
    (void)bytes;
    const struct sweep_next *question = payload;
    struct sweep_agent *agent = question->agent;
    ASSERT(question->count > 0);
    ASSERT(question->count <= SWEEP_WINDOW_MAX);
    agent_begin(agent, question->gather, from, next_slice);
    agent->wanted = question->count;
    agent_run(agent);
}
