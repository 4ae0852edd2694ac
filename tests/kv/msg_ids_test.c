/*
 * tests/kv/msg_ids_test.c: the table of message ids against a plain array.
 */
#include "kv/msg_ids.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

enum { IDS = 300 };

static struct heap *heap;

static struct bytes name_of(char *room, unsigned number)
{
    return bytes_of(room, (size_t)snprintf(room, 32, "id-%u", number));
}

Test(msg_ids, finds_what_was_added_and_forgets_by_time)
{
    heap = heap_create();
    struct msg_ids ids = {0};
    uint64_t cost = 0, seqs[IDS] = {0};
    char room[32];
    cr_expect(eq(ptr, msg_ids_find(&ids, name_of(room, 1)), NULL));
    for (unsigned i = 0; i < IDS; i++) {
        struct bytes name = name_of(room, i);
        cost += msg_id_cost(name);
        seqs[i] = i + 1;
        (void)msg_ids_add(&ids, heap, name, seqs[i], 1000 + i);
    }
    for (unsigned i = 0; i < IDS; i += 7) { /* in the middle of everything */
        cost -= msg_ids_remove(&ids, msg_ids_find(&ids, name_of(room, i)));
        seqs[i] = 0;
    }
    cost -= msg_ids_forget(&ids, 1000 + 99, false);
    for (unsigned i = 0; i < IDS; i++) {
        struct msg_id *found = msg_ids_find(&ids, name_of(room, i));
        uint64_t wanted = i < 100 ? 0 : seqs[i];
        cr_expect(eq(u64, found == NULL ? 0 : found->seq, wanted), "%u", i);
    }
    cost -= msg_ids_forget(&ids, UINT64_MAX, true);
    cr_expect(eq(u64, cost, 0));
    cr_expect(eq(u64, ids.count, 0));
    msg_ids_free(&ids);
    heap_destroy(heap);
}

Test(msg_ids, keeps_what_is_under_way_and_looks_behind_the_young)
{
    heap = heap_create();
    struct msg_ids ids = {0};
    char room[32];
    struct msg_id *first = msg_ids_add(&ids, heap, name_of(room, 1), 0, 10);
    first->flight = (struct put_flight *)&ids;
    (void)msg_ids_add(&ids, heap, name_of(room, 2), 2, 1000); /* the clock was ahead */
    (void)msg_ids_add(&ids, heap, name_of(room, 3), 3, 20);
    (void)msg_ids_forget(&ids, 100, false);
    cr_expect(eq(u64, ids.count, 3));
    (void)msg_ids_forget(&ids, 100, true);
    cr_expect(eq(u64, ids.count, 2));
    cr_expect(eq(ptr, msg_ids_find(&ids, name_of(room, 3)), NULL));
    first->flight = NULL;
    (void)msg_ids_forget(&ids, UINT64_MAX, true);
    msg_ids_free(&ids);
    heap_destroy(heap);
}
