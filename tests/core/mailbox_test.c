/*
 * tests/core/mailbox_test.c: messages between shards: order, completeness, full rings, wakes.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/mailbox.h"
#include "core/shard.h"

enum { SHARDS_MAX = 4 };

static struct shard_group *group;
static char why[512];

static void run_group(uint32_t count,
                      enum status (*on_start)(struct shard *shard, void *context, char *text,
                                              size_t bytes),
                      void *context)
{
    enum status status =
        shard_group_start(count, on_start, NULL, context, &group, why, sizeof(why));
    cr_assert(eq(int, status, STATUS_OK), "%s", why);
    shard_group_join(group); /* the shards stop it themselves */
}

/* ---- order and completeness ---- */

/* Each shard sends a stream of numbered messages of random sizes to each, itself included, and checks what comes. */
struct stream {
    struct shard *shard;
    uint64_t random;
    uint64_t next_out[SHARDS_MAX], next_in[SHARDS_MAX];
    uint64_t message_count; /* each pair */
    uint32_t is_bursting;   /* sends without regard to who is behind */
    uint32_t complete_count;
    bool is_told;
};

struct numbered {
    uint64_t number;
    uint32_t bytes;
    char pattern[];
};

static struct stream streams[SHARDS_MAX];
static _Atomic uint32_t told_count;
static _Atomic uint64_t backlog_seen_count;

static uint32_t stream_bytes(struct stream *stream)
{
    stream->random = stream->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    uint64_t dice = stream->random >> 33;
    if (dice % 20000 == 0)
        return (uint32_t)(dice % 3000000); /* in an envelope of its own */
    if (dice % 200 == 0)
        return (uint32_t)(dice % 70000);
    return (uint32_t)(dice % 64);
}

static void stream_on_message(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    struct stream *stream = &streams[shard->index];
    struct numbered *message = payload;
    ASSERT(shard_current() == shard);
    ASSERT((uintptr_t)payload % 8 == 0);
    ASSERT(bytes == sizeof(*message) + message->bytes);
    ASSERT(message->number == stream->next_in[from]);
    char expected = (char)(message->number + from);
    for (uint32_t index = 0; index < message->bytes; index += 61)
        ASSERT(message->pattern[index] == expected);
    ASSERT(message->bytes == 0 || message->pattern[message->bytes - 1] == expected);
    stream->next_in[from]++;
    if (stream->next_in[from] == stream->message_count)
        stream->complete_count++;
}

static void stream_send(struct stream *stream, uint32_t to)
{
    uint32_t bytes = stream_bytes(stream);
    struct numbered *message =
        mailbox_reserve(stream->shard, to, stream_on_message, (uint32_t)sizeof(*message) + bytes);
    message->number = stream->next_out[to]++;
    message->bytes = bytes;
    memset(message->pattern, (char)(message->number + stream->shard->index), bytes);
}

static void stream_phase(struct shard *shard, void *context)
{
    (void)context;
    struct stream *stream = &streams[shard->index];
    uint64_t burst = 1 + (stream->random >> 40) % 200;
    bool is_sending = false;
    for (uint32_t to = 0; to < shard->count; to++) {
        bool has_backlog = mailbox_backlog_bytes(shard, to) > 0;
        if (has_backlog)
            atomic_fetch_add(&backlog_seen_count, 1);
        for (uint64_t count = 0; count < burst && stream->next_out[to] < stream->message_count
                                 && (stream->is_bursting || !has_backlog);
             count++)
            stream_send(stream, to);
        is_sending = is_sending || stream->next_out[to] < stream->message_count;
    }
    if (is_sending)
        shard_stay_awake(shard);
    if (!is_sending && stream->complete_count == shard->count && !stream->is_told) {
        stream->is_told = true;
        if (atomic_fetch_add(&told_count, 1) + 1 == shard->count)
            shard_group_stop(shard->group);
    }
}

static enum status stream_on_start(struct shard *shard, void *context, char *text, size_t bytes)
{
    (void)text;
    (void)bytes;
    streams[shard->index] = (struct stream){
        .shard = shard, .random = shard->index + 1, .message_count = *(uint64_t *)context};
    shard_add_phase(shard, stream_phase, NULL);
    shard_stay_awake(shard);
    return STATUS_OK;
}

static uint64_t scaled(uint64_t count)
{
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    return count / 10;
#else
    return count;
#endif
}

Test(mailbox, keeps_order_and_loses_nothing_between_two_shards)
{
    uint64_t count = scaled(2000000);
    run_group(2, stream_on_start, &count);
}

Test(mailbox, keeps_order_and_loses_nothing_between_four_shards)
{
    uint64_t count = scaled(300000);
    run_group(4, stream_on_start, &count);
}

/* ---- full rings, step by step ---- */

static uint64_t counted;
static uint64_t echoed;

static void echo_on_message(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)payload;
    cr_assert(eq(u32, bytes, 0));
    cr_assert(eq(u32, from, shard->index));
    echoed++;
}

static void count_on_message(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    cr_assert(eq(u32, from, 0));
    cr_assert(eq(u32, bytes, sizeof(uint64_t)));
    cr_assert(eq(u64, *(uint64_t *)payload, counted));
    counted++;
    mailbox_send(shard, shard->index, echo_on_message, NULL,
                 0); /* a handler may send, to itself too */
}

/* The receiver does not turn, so its ring fills up; what does not fit stays with the sender, in order. */
Test(mailbox, keeps_what_does_not_fit_a_full_ring)
{
    enum { TURNS = 2000 };
    cr_assert(eq(int, (int)shard_group_create_unthreaded(2, &group), STATUS_OK));
    struct shard *sender = shard_group_at(group, 0), *receiver = shard_group_at(group, 1);
    uint64_t number = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        shard_enter(sender);
        for (int count = 0; count < 3; count++, number++)
            mailbox_send(sender, 1, count_on_message, &number, sizeof(number));
        shard_leave(sender);
        shard_turn(sender);
    }
    cr_expect(gt(u64, mailbox_backlog_bytes(sender, 1), 0));
    cr_expect(shard_has_work(sender), "so that it tries again");
    shard_enter(receiver);
    mailbox_drain(receiver);
    shard_leave(receiver);
    cr_expect(lt(u64, counted, number));
    shard_turn(sender);
    cr_expect(eq(u64, mailbox_backlog_bytes(sender, 1), 0));
    cr_expect(not(shard_has_work(sender)));
    cr_expect(eq(u64, echoed, 0), "what a drain's handlers send is a later turn's");
    while (counted < number || echoed < number)
        shard_turn(receiver);
    shard_group_destroy_unthreaded(group);
}

/* A turn's messages to one shard appear together, however many envelopes they fill. */
Test(mailbox, shows_a_turn_of_messages_at_once)
{
    enum { MESSAGES = 100 };
    cr_assert(eq(int, (int)shard_group_create_unthreaded(2, &group), STATUS_OK));
    struct shard *sender = shard_group_at(group, 0), *receiver = shard_group_at(group, 1);
    for (int round = 0; round < 20; round++) {
        shard_enter(sender);
        for (uint64_t number = 0; number < MESSAGES; number++) {
            uint64_t sent = (uint64_t)round * MESSAGES + number;
            char *room = mailbox_reserve(sender, 1, count_on_message, sizeof(sent));
            memcpy(room, &sent, sizeof(sent));
            mailbox_reserve(sender, 0, echo_on_message, 0);
        }
        shard_leave(sender);
        cr_expect(not(shard_has_work(receiver)), "not before the turn ends");
        shard_turn(sender);
        shard_enter(receiver);
        mailbox_drain(receiver);
        shard_leave(receiver);
        cr_expect(eq(u64, counted, (uint64_t)(round + 1) * MESSAGES));
        while (shard_has_work(receiver))
            shard_turn(receiver);
    }
    shard_group_destroy_unthreaded(group);
}

/* What lies undelivered at the end is freed (LeakSanitizer judges). */
Test(mailbox, frees_what_was_never_delivered)
{
    cr_assert(eq(int, (int)shard_group_create_unthreaded(2, &group), STATUS_OK));
    struct shard *sender = shard_group_at(group, 0);
    for (int turn = 0; turn < 1000; turn++) {
        shard_enter(sender);
        mailbox_reserve(sender, 1, echo_on_message, turn % 100 == 0 ? 1000000 : 100);
        shard_leave(sender);
        shard_turn(sender);
    }
    shard_group_destroy_unthreaded(group);
}

/* ---- wakes ---- */

static uint64_t pings_left;

static void ping_on_message(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)payload;
    (void)bytes;
    if (pings_left == 0) { /* the message hands this word over, too */
        shard_group_stop(shard->group);
        return;
    }
    pings_left--;
    mailbox_send(shard, from, ping_on_message, NULL, 0);
}

static enum status ping_on_start(struct shard *shard, void *context, char *text, size_t bytes)
{
    (void)context;
    (void)text;
    (void)bytes;
    if (shard->index == 0)
        mailbox_send(shard, 1, ping_on_message, NULL, 0);
    return STATUS_OK;
}

/* Both sleep after each message; a lost wake would end this test by its time limit. */
Test(mailbox, wakes_a_sleeping_shard_every_time, .timeout = 100)
{
    pings_left = scaled(100000);
    run_group(2, ping_on_start, NULL);
    cr_expect(eq(u64, pings_left, 0));
}

/* Many senders, a receiver that falls asleep between them: as above, where several may want to wake it. */
struct crowd {
    uint64_t left;
};

static struct crowd crowds[SHARDS_MAX];
static uint64_t crowd_received; /* shard 0's */
static uint64_t crowd_expected;

static void crowd_on_message(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

static void crowd_on_answer(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)payload;
    (void)bytes;
    (void)from;
    struct crowd *crowd = &crowds[shard->index];
    if (crowd->left == 0)
        return;
    crowd->left--;
    mailbox_send(shard, 0, crowd_on_message, NULL, 0);
}

static void crowd_on_message(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)payload;
    (void)bytes;
    crowd_received++;
    if (crowd_received == crowd_expected)
        shard_group_stop(shard->group);
    mailbox_send(shard, from, crowd_on_answer, NULL, 0);
}

static enum status crowd_on_start(struct shard *shard, void *context, char *text, size_t bytes)
{
    (void)text;
    (void)bytes;
    crowds[shard->index].left = *(uint64_t *)context;
    if (shard->index != 0)
        crowd_on_answer(shard, NULL, 0, 0);
    return STATUS_OK;
}

Test(mailbox, wakes_a_shard_that_several_want_to_wake, .timeout = 100)
{
    uint64_t count = scaled(30000);
    crowd_expected = 3 * count;
    run_group(4, crowd_on_start, &count);
    cr_expect(eq(u64, crowd_received, crowd_expected));
}
