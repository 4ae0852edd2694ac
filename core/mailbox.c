/*
 * core/mailbox.c: lanes, envelopes, and who sleeps.
 *
 * A lane joins an ordered pair of shards: one ring of pointers there, one back. What a turn sends to one shard is a chain
 * of envelopes, and one pointer in the ring publishes the chain: so a turn's messages become visible at once, and a ring
 * is full only when the receiver is THERE_SLOTS turns behind. Then the chain stays with the sender and grows until a
 * slot is free; the sender stays awake meanwhile (the receiver is, too: its ring is not empty).
 *
 *     sender    reserve ──► outbox chain ──publish──► lane.there ──► inbox chain ──► handlers     receiver
 *               spare envelopes ◄────────── lane.back ◄────────── one by one ───────────┘
 *
 * Sleep, so that no wake is lost (Dekker): the receiver declares that it sleeps, fence, looks once more into its rings,
 * sleeps. The sender publishes, fence, looks who sleeps, rings. One of the two sees the other.
 *
 * Keeps:   each ring has one producer and one consumer. A chain is the receiver's once published; it hands the envelopes
 *          back, or frees those that are large or find no room.
 * Fences:  ck's rings order the slot and what it points to (release by ck_pr_fence_store, acquire by
 *          ck_pr_fence_load). ThreadSanitizer sees neither ck's loads nor its fences; ring_push and ring_pop tell it.
 *          Before a port to a CPU with weak order: ck 0.7.1 orders the read of a slot before its release only where
 *          loads and later stores keep their order, as on x86 (fixed upstream, c7945fe).
 */
#include "core/mailbox.h"

#include <assert.h>
#include <ck_ring.h>
#include <stdatomic.h>
#include <string.h>

#include "core/assert.h"
#include "core/heap.h"
#include "core/io.h"
#include "core/shard.h"

#if defined(__SANITIZE_THREAD__)
#define MAILBOX_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MAILBOX_TSAN 1
#endif
#endif
#ifdef MAILBOX_TSAN
#include <sanitizer/tsan_interface.h>
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#endif

#if !defined(__x86_64__)
#error "core/mailbox.c: see Fences in its first comment before you remove this line"
#endif

enum {
    THERE_SLOTS = 256,    /* chains; one slot is always empty */
    BACK_SLOTS = 32,      /* envelopes; these and the spare ones are what an idle lane may hold */
    SPARE_COUNT_MAX = 16, /* envelopes a sender keeps for each receiver */
    ENVELOPE_BYTES = 64 * 1024, /* with its head */
    RUN_MESSAGES_MAX = 256,     /* of each sender, in one turn */
    MESSAGE_BYTES_MAX = 128 * 1024 * 1024,
};

struct message {
    mailbox_handler_fn *handler;
    uint32_t bytes; /* of the payload, which follows */
    uint32_t unused;
};
static_assert(sizeof(struct message) % 8 == 0, "payloads begin at an 8-byte boundary");

struct envelope {
    struct envelope *next; /* in its chain, or among the spare ones */
    uint32_t capacity;     /* bytes of messages */
    uint32_t used;
    _Alignas(8) char messages[];
};
enum { ENVELOPE_CAPACITY = ENVELOPE_BYTES - sizeof(struct envelope) };

struct chain {
    struct envelope *first, *last;
    uint64_t bytes;
};

/* Shares: both ends, through the rings alone. */
struct lane {
    _Alignas(64) ck_ring_t there;
    _Alignas(64) ck_ring_t back;
    ck_ring_buffer_t there_slots[THERE_SLOTS];
    ck_ring_buffer_t back_slots[BACK_SLOTS];
};

/*
 * Writers: the shard itself (1 before it sleeps, 0 after), and whoever wakes it (1 to 0). Readers: all senders. All
 * sequentially consistent: see Sleep above.
 */
struct shared_sleeping {
    _Alignas(64) _Atomic uint32_t value;
};

struct mailbox_post {
    uint32_t shard_count;
    struct shared_sleeping *sleeping; /* owns; one a shard */
    struct lane *lanes;               /* owns; from * shard_count + to */
};

/* What we send to one shard. */
struct outbox {
    struct chain chain;     /* owns; not published yet */
    struct envelope *spare; /* owns; empty ones */
    uint32_t spare_count;
    uint64_t backlog_bytes; /* of the chain, older than this turn */
};

/* What one shard sent us. */
struct inbox {
    struct envelope *first; /* owns; the rest of the chain being read; NULL when there is none */
    uint32_t read_bytes;    /* of first */
    uint32_t pending_count; /* chains that were there when a drain began */
};

struct mailbox {
    struct mailbox_post *post; /* borrows */
    uint32_t shard_index;
    bool is_running;         /* a handler, that is */
    struct outbox *outboxes; /* owns; by receiver */
    struct inbox *inboxes;   /* owns; by sender */
};

static struct lane *post_lane(const struct mailbox_post *post, uint32_t from, uint32_t to);
static bool ring_push(ck_ring_t *ring, ck_ring_buffer_t *slots, struct envelope *chain);
static struct envelope *ring_pop(ck_ring_t *ring, const ck_ring_buffer_t *slots);
static void ring_free(ck_ring_t *ring, const ck_ring_buffer_t *slots);
static void fence_seq_cst(void);
static struct envelope *outbox_envelope(struct shard *shard, uint32_t to, uint32_t bytes);
static struct envelope *outbox_take_spare(struct shard *shard, uint32_t to);
static void outbox_reclaim(struct outbox *outbox, struct lane *lane);
static bool outbox_publish(struct shard *shard, uint32_t to);
static bool inbox_has_message(struct inbox *inbox, struct lane *lane);
static void inbox_run_message(struct shard *shard, struct inbox *inbox, uint32_t from);
static void inbox_advance(struct inbox *inbox, struct lane *lane);
static void chain_free(struct envelope *chain);

/* ---- life ---- */

struct mailbox_post *mailbox_post_create(struct heap *heap, uint32_t shard_count)
{
    struct mailbox_post *post = heap_alloc_zeroed(heap, sizeof(*post));
    size_t lane_count = (size_t)shard_count * shard_count;
    post->shard_count = shard_count;
    post->sleeping = heap_alloc_aligned(heap, shard_count * sizeof(*post->sleeping), 64);
    post->lanes = heap_alloc_aligned(heap, lane_count * sizeof(*post->lanes), 64);
    for (uint32_t index = 0; index < shard_count; index++)
        atomic_init(&post->sleeping[index].value, 0);
    for (size_t index = 0; index < lane_count; index++) {
        ck_ring_init(&post->lanes[index].there, THERE_SLOTS);
        ck_ring_init(&post->lanes[index].back, BACK_SLOTS);
    }
    return post;
}

void mailbox_post_destroy(struct mailbox_post *post)
{
    if (post == NULL)
        return;
    size_t lane_count = (size_t)post->shard_count * post->shard_count;
    for (size_t index = 0; index < lane_count; index++) {
        struct lane *lane = &post->lanes[index];
        ring_free(&lane->there, lane->there_slots);
        ring_free(&lane->back, lane->back_slots);
    }
    heap_free(post->lanes);
    heap_free(post->sleeping);
    heap_free(post);
}

struct mailbox *mailbox_create(struct heap *heap, struct mailbox_post *post, uint32_t shard_index)
{
    struct mailbox *mailbox = heap_alloc_zeroed(heap, sizeof(*mailbox));
    mailbox->post = post;
    mailbox->shard_index = shard_index;
    mailbox->outboxes = heap_alloc_zeroed(heap, post->shard_count * sizeof(*mailbox->outboxes));
    mailbox->inboxes = heap_alloc_zeroed(heap, post->shard_count * sizeof(*mailbox->inboxes));
    return mailbox;
}

void mailbox_destroy(struct mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    for (uint32_t index = 0; index < mailbox->post->shard_count; index++) {
        chain_free(mailbox->outboxes[index].chain.first);
        chain_free(mailbox->outboxes[index].spare);
        chain_free(mailbox->inboxes[index].first);
    }
    heap_free(mailbox->outboxes);
    heap_free(mailbox->inboxes);
    heap_free(mailbox);
}

/* ---- sending ---- */

void *mailbox_reserve(struct shard *shard, uint32_t to, mailbox_handler_fn *handler, uint32_t bytes)
{
    ASSERT_ON_SHARD(shard);
    ASSERT(to < shard->count);
    ASSERT(bytes <= MESSAGE_BYTES_MAX);
    uint32_t needed = (uint32_t)sizeof(struct message) + ((bytes + 7) & ~7u);
    struct envelope *envelope = outbox_envelope(shard, to, needed);
    struct message *message = (struct message *)(void *)(envelope->messages + envelope->used);
    *message = (struct message){.handler = handler, .bytes = bytes};
    envelope->used += needed;
    shard->mailbox->outboxes[to].chain.bytes += needed;
    return message + 1;
}

void mailbox_send(struct shard *shard, uint32_t to, mailbox_handler_fn *handler,
                  const void *payload, uint32_t bytes)
{
    void *room = mailbox_reserve(shard, to, handler, bytes);
    if (bytes > 0)
        memcpy(room, payload, bytes);
}

uint64_t mailbox_backlog_bytes(const struct shard *shard, uint32_t to)
{
    ASSERT(to < shard->count);
    return shard->mailbox->outboxes[to].backlog_bytes;
}

/* The last envelope of the chain to that shard, with room for that many bytes. */
static struct envelope *outbox_envelope(struct shard *shard, uint32_t to, uint32_t bytes)
{
    struct chain *chain = &shard->mailbox->outboxes[to].chain;
    if (chain->last != NULL && chain->last->capacity - chain->last->used >= bytes)
        return chain->last;
    struct envelope *envelope = NULL;
    if (bytes <= ENVELOPE_CAPACITY) {
        envelope = outbox_take_spare(shard, to);
    } else {
        envelope = heap_alloc(shard->heap, sizeof(*envelope) + bytes);
        envelope->capacity = bytes;
    }
    envelope->used = 0;
    envelope->next = NULL;
    if (chain->last != NULL)
        chain->last->next = envelope;
    else
        chain->first = envelope;
    chain->last = envelope;
    return envelope;
}

static struct envelope *outbox_take_spare(struct shard *shard, uint32_t to)
{
    struct mailbox *mailbox = shard->mailbox;
    struct outbox *outbox = &mailbox->outboxes[to];
    outbox_reclaim(outbox, post_lane(mailbox->post, shard->index, to));
    struct envelope *envelope = outbox->spare;
    if (envelope != NULL) {
        outbox->spare = envelope->next;
        outbox->spare_count--;
        return envelope;
    }
    envelope = heap_alloc(shard->heap, ENVELOPE_BYTES);
    envelope->capacity = ENVELOPE_CAPACITY;
    return envelope;
}

/* Takes in what the receiver handed back, as much as we may keep. */
static void outbox_reclaim(struct outbox *outbox, struct lane *lane)
{
    for (;;) {
        struct envelope *envelope = ring_pop(&lane->back, lane->back_slots);
        if (envelope == NULL)
            return;
        if (outbox->spare_count < SPARE_COUNT_MAX) {
            envelope->next = outbox->spare;
            outbox->spare = envelope;
            outbox->spare_count++;
        } else {
            heap_free(envelope);
        }
    }
}

void mailbox_publish(struct shard *shard)
{
    ASSERT_ON_SHARD(shard);
    ASSERT(!shard->mailbox->is_running);
    uint64_t published = 0; /* a bit for each shard */
    static_assert(SHARD_COUNT_MAX <= 64, "a bit for each shard");
    for (uint32_t to = 0; to < shard->count; to++) {
        if (outbox_publish(shard, to))
            published |= UINT64_C(1) << to;
    }
    published &= ~(UINT64_C(1) << shard->index); /* we are awake */
    if (published == 0)
        return;
    fence_seq_cst();
    for (; published != 0; published &= published - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(published);
        _Atomic uint32_t *sleeping = &shard->mailbox->post->sleeping[to].value;
        if (atomic_load(sleeping) != 0 && atomic_exchange(sleeping, 0) != 0)
            io_doorbell(shard->io, shard_group_at(shard->group, to)->io);
    }
}

static bool outbox_publish(struct shard *shard, uint32_t to)
{
    struct outbox *outbox = &shard->mailbox->outboxes[to];
    if (outbox->chain.first == NULL)
        return false;
    struct lane *lane = post_lane(shard->mailbox->post, shard->index, to);
    if (!ring_push(&lane->there, lane->there_slots, outbox->chain.first)) {
        outbox->backlog_bytes = outbox->chain.bytes;
        return false;
    }
    outbox->chain = (struct chain){.first = NULL};
    outbox->backlog_bytes = 0;
    return true;
}

/* ---- receiving ---- */

void mailbox_run(struct shard *shard)
{
    ASSERT_ON_SHARD(shard);
    struct mailbox *mailbox = shard->mailbox;
    ASSERT(!mailbox->is_running);
    for (uint32_t from = 0; from < shard->count; from++) {
        struct inbox *inbox = &mailbox->inboxes[from];
        struct lane *lane = post_lane(mailbox->post, from, shard->index);
        for (uint32_t count = 0; count < RUN_MESSAGES_MAX; count++) {
            if (!inbox_has_message(inbox, lane))
                break;
            inbox_run_message(shard, inbox, from);
            inbox_advance(inbox, lane);
        }
    }
}

void mailbox_drain(struct shard *shard)
{
    ASSERT_ON_SHARD(shard);
    struct mailbox *mailbox = shard->mailbox;
    ASSERT(!mailbox->is_running); /* not from a handler */
    for (uint32_t from = 0; from < shard->count; from++) {
        struct lane *lane = post_lane(mailbox->post, from, shard->index);
        struct inbox *inbox = &mailbox->inboxes[from];
        inbox->pending_count = ck_ring_size(&lane->there) + (inbox->first != NULL);
    }
    for (uint32_t from = 0; from < shard->count; from++) {
        struct lane *lane = post_lane(mailbox->post, from, shard->index);
        struct inbox *inbox = &mailbox->inboxes[from];
        while (inbox->pending_count > 0) {
            bool has_message = inbox_has_message(inbox, lane);
            ASSERT(has_message);
            inbox_run_message(shard, inbox, from);
            inbox_advance(inbox, lane);
        }
    }
}

/* Opens the next chain if none is open. */
static bool inbox_has_message(struct inbox *inbox, struct lane *lane)
{
    if (inbox->first == NULL)
        inbox->first = ring_pop(&lane->there, lane->there_slots);
    return inbox->first != NULL;
}

static void inbox_run_message(struct shard *shard, struct inbox *inbox, uint32_t from)
{
    struct envelope *envelope = inbox->first;
    ASSERT(inbox->read_bytes + sizeof(struct message) <= envelope->used);
    struct message *message = (struct message *)(void *)(envelope->messages + inbox->read_bytes);
    inbox->read_bytes += (uint32_t)sizeof(*message) + ((message->bytes + 7) & ~7u);
    ASSERT(inbox->read_bytes <= envelope->used);
    shard->mailbox->is_running = true;
    message->handler(shard, message + 1, message->bytes, from);
    shard->mailbox->is_running = false;
}

/* At the end of an envelope hands it back, and goes on to the next. */
static void inbox_advance(struct inbox *inbox, struct lane *lane)
{
    struct envelope *envelope = inbox->first;
    if (inbox->read_bytes < envelope->used)
        return;
    inbox->first = envelope->next;
    inbox->read_bytes = 0;
    if (inbox->first == NULL && inbox->pending_count > 0)
        inbox->pending_count--;
    envelope->next = NULL;
    if (envelope->capacity != ENVELOPE_CAPACITY
        || !ring_push(&lane->back, lane->back_slots, envelope))
        heap_free(envelope);
}

/* ---- sleep ---- */

bool mailbox_has_work(const struct shard *shard)
{
    const struct mailbox *mailbox = shard->mailbox;
    for (uint32_t other = 0; other < shard->count; other++) {
        struct lane *lane = post_lane(mailbox->post, other, shard->index);
        if (mailbox->outboxes[other].chain.first != NULL || mailbox->inboxes[other].first != NULL
            || ck_ring_size(&lane->there) > 0)
            return true;
    }
    return false;
}

bool mailbox_sleep_begin(struct shard *shard)
{
    _Atomic uint32_t *sleeping = &shard->mailbox->post->sleeping[shard->index].value;
    atomic_store(sleeping, 1);
    fence_seq_cst();
    if (!mailbox_has_work(shard))
        return true;
    atomic_store(sleeping, 0);
    return false;
}

void mailbox_sleep_end(struct shard *shard)
{
    atomic_store(&shard->mailbox->post->sleeping[shard->index].value, 0);
}

/* ---- lanes ---- */

static struct lane *post_lane(const struct mailbox_post *post, uint32_t from, uint32_t to)
{
    return &post->lanes[(size_t)from * post->shard_count + to];
}

static bool ring_push(ck_ring_t *ring, ck_ring_buffer_t *slots, struct envelope *chain)
{
#ifdef MAILBOX_TSAN
    __tsan_release(ring);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__); /* of the slot, which ck guards */
#endif
    bool was_pushed = ck_ring_enqueue_spsc(ring, slots, chain);
#ifdef MAILBOX_TSAN
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
#endif
    return was_pushed;
}

static struct envelope *ring_pop(ck_ring_t *ring, const ck_ring_buffer_t *slots)
{
    struct envelope *chain = NULL;
#ifdef MAILBOX_TSAN
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__); /* of the slot, which ck guards */
#endif
    bool was_popped = ck_ring_dequeue_spsc(ring, slots, (void *)&chain);
#ifdef MAILBOX_TSAN
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    __tsan_acquire(ring);
#endif
    return was_popped ? chain : NULL;
}

static void ring_free(ck_ring_t *ring, const ck_ring_buffer_t *slots)
{
    for (struct envelope *chain = ring_pop(ring, slots); chain != NULL;
         chain = ring_pop(ring, slots))
        chain_free(chain);
}

static void chain_free(struct envelope *chain)
{
    while (chain != NULL) {
        struct envelope *next = chain->next;
        heap_free(chain);
        chain = next;
    }
}

/* Between our store and our load of what others store. */
static void fence_seq_cst(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}
