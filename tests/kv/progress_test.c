/*
 * tests/kv/progress_test.c: what operations make of a consumer's progress; the floor moves as nats-server moves it.
 */
#include "kv/progress.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "core/assert.h"

static void apply(struct progress *progress, uint32_t kind, uint64_t seq, uint64_t consumer_seq,
                  uint32_t deliveries)
{
    progress_apply(progress, &(struct progress_operation){.kind = kind,
                                                          .seq = seq,
                                                          .consumer_seq = consumer_seq,
                                                          .time_ns = 1000 + seq,
                                                          .deliveries = deliveries});
}

static struct progress delivered(struct heap *heap, uint64_t count)
{
    struct progress progress = {.heap = heap};
    for (uint64_t i = 1; i <= count; i++)
        apply(&progress, PROGRESS_DELIVERED, 2 * i, i, 1);
    return progress;
}

static void expect_floor(const struct progress *progress, uint64_t consumer_seq, uint64_t seq)
{
    cr_expect(eq(u64, progress->floor_consumer_seq, consumer_seq));
    cr_expect(eq(u64, progress->floor_stream_seq, seq));
}

Test(progress, moves_the_floor_to_below_the_lowest_that_is_pending)
{
    struct heap *heap = heap_create();
    struct progress progress = delivered(heap, 4);
    cr_expect(eq(u64, progress.stream_seq, 8));
    apply(&progress, PROGRESS_SETTLED, 4, 0, 0);
    expect_floor(&progress, 0, 0);
    apply(&progress, PROGRESS_SETTLED, 2, 0, 0);
    expect_floor(&progress, 2, 5); /* the filter skipped 5 */
    apply(&progress, PROGRESS_SETTLED, 8, 0, 0);
    expect_floor(&progress, 2, 5);
    apply(&progress, PROGRESS_SETTLED, 6, 0, 0);
    expect_floor(&progress, 4, 8);
    cr_expect(eq(u32, progress.pending_count, 0));
    progress_free(&progress);
    heap_destroy(heap);
}

Test(progress, settles_all_up_to_one)
{
    struct heap *heap = heap_create();
    struct progress progress = delivered(heap, 4);
    apply(&progress, PROGRESS_SETTLED_UPTO, 6, 3, 0);
    expect_floor(&progress, 3, 6);
    cr_expect(eq(u32, progress.pending_count, 1));
    apply(&progress, PROGRESS_SETTLED_UPTO, 4, 2, 0); /* again, and lower */
    expect_floor(&progress, 3, 6);
    progress_free(&progress);
    heap_destroy(heap);
}

Test(progress, counts_what_was_delivered_again_until_it_is_settled)
{
    struct heap *heap = heap_create();
    struct progress progress = delivered(heap, 3);
    apply(&progress, PROGRESS_DELIVERED, 2, 4, 2);
    apply(&progress, PROGRESS_DELIVERED, 4, 5, 2);
    cr_expect(eq(u32, progress.redelivered_count, 2));
    cr_expect(eq(u64, progress.consumer_seq, 5));
    cr_expect(eq(u64, progress.stream_seq, 6));
    apply(&progress, PROGRESS_EXHAUSTED, 2, 0, 0);
    cr_expect(eq(u32, progress.redelivered_count, 2));
    cr_expect(eq(u32, progress.pending_count, 2));
    apply(&progress, PROGRESS_SETTLED, 2, 0, 0);
    apply(&progress, PROGRESS_SETTLED, 4, 0, 0);
    cr_expect(eq(u32, progress.redelivered_count, 0));
    progress_free(&progress);
    heap_destroy(heap);
}

Test(progress, ignores_what_it_does_not_know)
{
    struct heap *heap = heap_create();
    struct progress progress = {.heap = heap};
    apply(&progress, PROGRESS_SETTLED, 7, 0, 0);
    apply(&progress, PROGRESS_RETIMED, 7, 0, 0);
    apply(&progress, PROGRESS_EXHAUSTED, 7, 0, 0);
    cr_expect(eq(u32, progress.pending_count, 0));
    expect_floor(&progress, 0, 0);
    progress_free(&progress);
    heap_destroy(heap);
}

static void expect_equal(const struct progress *a, const struct progress *b)
{
    cr_expect(eq(u64, a->consumer_seq, b->consumer_seq));
    cr_expect(eq(u64, a->stream_seq, b->stream_seq));
    cr_expect(eq(u64, a->list_upto, b->list_upto));
    cr_expect(eq(u32, a->pending_count, b->pending_count));
    cr_expect(eq(u32, a->redelivered_count, b->redelivered_count));
    expect_floor(a, b->floor_consumer_seq, b->floor_stream_seq);
    for (uint64_t seq = 1; seq < 3000; seq++) {
        const struct progress_entry *left = progress_find(a, seq), *right = progress_find(b, seq);
        cr_assert(eq(int, left == NULL, right == NULL));
        if (left == NULL)
            continue;
        cr_assert(eq(u64, left->consumer_seq, right->consumer_seq));
        cr_assert(eq(u64, left->time_ns, right->time_ns));
        cr_assert(eq(u32, left->deliveries, right->deliveries));
        cr_assert(eq(u8, left->state, right->state));
    }
}

/* Random operations as a consumer makes them; a snapshot at any time makes the same. */
Test(progress, is_the_same_after_a_snapshot)
{
    struct heap *heap = heap_create();
    for (uint32_t seed = 1; seed <= 50; seed++) {
        struct progress progress = {.heap = heap};
        uint64_t random = seed * UINT64_C(0x9E3779B97F4A7C15), next = 1, consumer_seq = 0;
        apply(&progress, PROGRESS_POSITION, 0, 0, 0);
        for (unsigned step = 0; step < 2000; step++) {
            random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uint64_t seq = 1 + (random >> 33) % next;
            struct progress_entry *entry = progress_find(&progress, seq);
            switch (random >> 60) {
            case 0:
                apply(&progress, PROGRESS_EXHAUSTED, seq, 0, 0);
                break;
            case 1:
                apply(&progress, PROGRESS_RETIMED, seq, 0, 0);
                break;
            case 2:
                if (step % 50 == 0)
                    apply(&progress, PROGRESS_SETTLED_UPTO, seq, consumer_seq / 2, 0);
                break;
            case 3:
            case 4:
            case 5:
                if (entry != NULL && entry->state == PROGRESS_PENDING)
                    apply(&progress, PROGRESS_DELIVERED, seq, ++consumer_seq,
                          entry->deliveries + 1);
                break;
            case 6:
            case 7:
            case 8:
            case 9:
                apply(&progress, PROGRESS_SETTLED, seq, 0, 0);
                break;
            default:
                apply(&progress, PROGRESS_DELIVERED, next++, ++consumer_seq, 1);
            }
        }
        struct text text = {0};
        struct progress copy = {.heap = heap};
        progress_append_snapshot(&text, &progress);
        for (size_t at = 0; at < text.count; at += sizeof(struct progress_operation)) {
            struct progress_operation operation;
            memcpy(&operation, text.data + at, sizeof operation);
            progress_apply(&copy, &operation);
        }
        expect_equal(&copy, &progress);
        text_free(&text);
        progress_free(&progress);
        progress_free(&copy);
    }
    heap_destroy(heap);
}

Test(progress, forgets_the_oldest_that_is_only_remembered)
{
    struct heap *heap = heap_create();
    struct progress progress = {.heap = heap};
    for (uint64_t seq = 1; seq <= PROGRESS_ENTRIES_MAX; seq++) {
        apply(&progress, PROGRESS_DELIVERED, seq, seq, 1);
        apply(&progress, PROGRESS_EXHAUSTED, seq, 0, 0);
    }
    cr_expect(ne(ptr, progress_find(&progress, 1), NULL));
    apply(&progress, PROGRESS_DELIVERED, PROGRESS_ENTRIES_MAX + 1, PROGRESS_ENTRIES_MAX + 1, 1);
    cr_expect(eq(ptr, progress_find(&progress, 1), NULL));
    cr_expect(ne(ptr, progress_find(&progress, 2), NULL));
    progress_free(&progress);
    heap_destroy(heap);
}
