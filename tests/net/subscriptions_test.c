/*
 * tests/net/subscriptions_test.c: the tree of subjects, against a plain list and core/subject's matching.
 */
#include "net/subscriptions.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/subject.h"

enum { MODEL_COUNT_MAX = 200, OTHER_SHARDS = 3 };

/* What the test believes. */
struct wish {
    char subject[32], queue[8];
    uint32_t shard_index; /* 0: ours */
    uint32_t count;       /* of another shard */
    struct subscription *subscription;
};

struct model {
    struct wish wishes[MODEL_COUNT_MAX];
    unsigned count;
    struct subscriptions *subscriptions;
    struct heap *heap;
    struct match match;
    unsigned local_changes, presences, absences;
};

static void on_local(void *context, struct bytes subject, struct bytes queue, uint32_t count);
static void on_presence(void *context, struct bytes subject, struct bytes queue, bool is_present);

static void model_init(struct model *model)
{
    *model = (struct model){.count = 0};
    struct subscriptions_observer observer = {model, on_local, on_presence};
    model->heap = heap_create();
    model->match.heap = model->heap;
    model->subscriptions = subscriptions_create(model->heap, 0, &observer);
}

static void model_fini(struct model *model)
{
    match_fini(&model->match);
    subscriptions_destroy(model->subscriptions);
    heap_destroy(model->heap);
}

static struct subscription *subscribe(struct model *model, const char *subject, const char *queue)
{
    return subscriptions_add(model->subscriptions, NULL, bytes_of_text(subject),
                             bytes_of_text(queue), BYTES_LITERAL("1"));
}

static unsigned plain_count(struct model *model, const char *subject)
{
    subscriptions_match(model->subscriptions, bytes_of_text(subject), &model->match);
    return model->match.plain_count;
}

struct row {
    char pattern[16], subject[16];
    bool matches;
};

ParameterizedTestParameters(subscriptions, matches)
{
    static struct row rows[] = {
        {"a", "a", true},           {"a", "b", false},          {"a", "a.b", false},
        {"a.*", "a.b", true},       {"a.*", "a", false},        {"a.*", "a.b.c", false},
        {"a.>", "a.b.c", true},     {"a.>", "a", false},        {">", "a", true},
        {">", "a..b", false},       {">", "a.", false},         {">", ".a", false},
        {"*.b", "a.b", true},       {"foo.*x", "foo.*x", true}, {"foo.*x", "foo.yx", false},
        {"foo.*", "foo.*", true},   {"foo.x", "foo.*", false},  {"foo.>", "foo.*", true},
        {"*", "a", true},           {"*", "a.b", false},        {"a.*.c", "a.b.c", true},
        {"*.*.*", "$KV.b.k", true}, {"$KV.>", "$KV.b.k", true}, {"$KV.c.>", "$KV.b.k", false},
    };
    return cr_make_param_array(struct row, rows, COUNT_OF(rows));
}
ParameterizedTest(struct row *row, subscriptions, matches)
{
    struct model model;
    model_init(&model);
    struct subscription *subscription = subscribe(&model, row->pattern, "");
    cr_expect(eq(uint, plain_count(&model, row->subject), row->matches ? 1 : 0), "%s %s",
              row->pattern, row->subject);
    subscriptions_remove(model.subscriptions, subscription);
    cr_expect(eq(uint, plain_count(&model, row->subject), 0));
    model_fini(&model);
}

Test(subscriptions, tells_the_first_and_the_last_of_plain_ones)
{
    struct model model;
    model_init(&model);
    struct subscription *first = subscribe(&model, "a", "");
    struct subscription *second = subscribe(&model, "a", "");
    cr_expect(eq(uint, model.local_changes, 1));
    cr_expect(eq(uint, model.presences, 1));
    subscriptions_set_remote(model.subscriptions, 2, BYTES_LITERAL("a"), BYTES_LITERAL(""), 1);
    cr_expect(eq(uint, model.presences, 1));
    subscriptions_remove(model.subscriptions, first);
    cr_expect(eq(uint, model.local_changes, 1));
    subscriptions_remove(model.subscriptions, second);
    cr_expect(eq(uint, model.local_changes, 2));
    cr_expect(eq(uint, model.absences, 0));
    cr_expect(
        eq(int, subscriptions_has(model.subscriptions, BYTES_LITERAL("a"), (struct bytes){0}), 1));
    subscriptions_set_remote(model.subscriptions, 2, BYTES_LITERAL("a"), BYTES_LITERAL(""), 0);
    cr_expect(eq(uint, model.absences, 1));
    cr_expect(
        eq(int, subscriptions_has(model.subscriptions, BYTES_LITERAL("a"), (struct bytes){0}), 0));
    model_fini(&model);
}

Test(subscriptions, tells_every_change_of_a_queue_group)
{
    struct model model;
    model_init(&model);
    struct subscription *first = subscribe(&model, "a", "q");
    struct subscription *second = subscribe(&model, "a", "q");
    cr_expect(eq(uint, model.local_changes, 2));
    subscriptions_remove(model.subscriptions, first);
    cr_expect(eq(uint, model.local_changes, 3));
    cr_expect(eq(uint, model.absences, 0));
    subscriptions_remove(model.subscriptions, second);
    cr_expect(eq(uint, model.local_changes, 4));
    cr_expect(eq(uint, model.absences, 1));
    model_fini(&model);
}

Test(subscriptions, finds_the_sole_inbox_of_a_prefix)
{
    struct model model;
    model_init(&model);
    const struct bytes prefix = BYTES_LITERAL("_INBOX.abc.");
    struct subscriptions *subscriptions = model.subscriptions;
    cr_expect(eq(ptr, subscriptions_find_sole(subscriptions, prefix), NULL));
    struct subscription *inbox = subscribe(&model, "_INBOX.abc.*", "");
    cr_expect(eq(ptr, subscriptions_find_sole(subscriptions, prefix), inbox));

    static const char *const others[][2] = {
        {">", ""},       {"_INBOX.>", ""},     {"_INBOX.*.*", ""},
        {"*.abc.x", ""}, {"_INBOX.abc.*", ""}, {"_INBOX.abc.x", "q"},
        {"*.*.*", "q"},  {"_INBOX.abc.>", ""},
    };
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        struct subscription *other = subscribe(&model, others[i][0], others[i][1]);
        cr_expect(eq(ptr, subscriptions_find_sole(subscriptions, prefix), NULL), "%s",
                  others[i][0]);
        subscriptions_remove(subscriptions, other);
        cr_expect(eq(ptr, subscriptions_find_sole(subscriptions, prefix), inbox));
    }
    static const char *const harmless[] = {"_INBOX.abd.*", "_INBOX.*", "_INBOX.abc.*.x", "$KV.>"};
    for (size_t i = 0; i < COUNT_OF(harmless); i++)
        (void)subscribe(&model, harmless[i], "");
    cr_expect(eq(ptr, subscriptions_find_sole(subscriptions, prefix), inbox));
    subscriptions_set_remote(subscriptions, 1, BYTES_LITERAL("_INBOX.abc.*"), BYTES_LITERAL(""), 1);
    cr_expect(eq(ptr, subscriptions_find_sole(subscriptions, prefix), NULL));
    model_fini(&model);
}

/* ---- random changes against the list ---- */

static void make_subject(char *subject, size_t bytes, unsigned *chance, bool is_pattern)
{
    static const char *const tokens[] = {"a", "b", "cc", "*", ">"};
    unsigned count = (unsigned)rand_r(chance) % 4 + 1;
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned choice = (unsigned)rand_r(chance) % (is_pattern ? 5 : 3);
        if (choice == 4 && i + 1 < count)
            choice = 0; /* `>` only last */
        at += (size_t)snprintf(subject + at, bytes - at, i == 0 ? "%s" : ".%s", tokens[choice]);
    }
}

static void change(struct model *model, unsigned *chance)
{
    static const char *const queues[] = {"", "", "q", "r"};
    struct subscriptions *subscriptions = model->subscriptions;
    if (model->count == MODEL_COUNT_MAX || (model->count > 0 && rand_r(chance) % 2 == 0)) {
        struct wish *wish = &model->wishes[(unsigned)rand_r(chance) % model->count];
        if (wish->shard_index == 0)
            subscriptions_remove(subscriptions, wish->subscription);
        else
            subscriptions_set_remote(subscriptions, wish->shard_index, bytes_of_text(wish->subject),
                                     bytes_of_text(wish->queue), 0);
        *wish = model->wishes[--model->count];
        return;
    }
    struct wish wish = {.shard_index = (unsigned)rand_r(chance) % (OTHER_SHARDS + 1)};
    make_subject(wish.subject, sizeof(wish.subject), chance, true);
    strcpy(wish.queue, queues[(unsigned)rand_r(chance) % COUNT_OF(queues)]);
    if (wish.shard_index == 0) {
        wish.subscription = subscribe(model, wish.subject, wish.queue);
    } else {
        for (unsigned i = 0; i < model->count;
             i++) { /* one row for each shard, subject and queue */
            const struct wish *other = &model->wishes[i];
            if (other->shard_index == wish.shard_index && !strcmp(other->subject, wish.subject)
                && !strcmp(other->queue, wish.queue))
                return;
        }
        wish.count = wish.queue[0] == '\0' ? 1 : (unsigned)rand_r(chance) % 3 + 1;
        subscriptions_set_remote(subscriptions, wish.shard_index, bytes_of_text(wish.subject),
                                 bytes_of_text(wish.queue), wish.count);
    }
    model->wishes[model->count++] = wish;
}

static void expect_match(struct model *model, const char *subject)
{
    unsigned plain = 0;
    uint64_t remotes = 0;
    unsigned members = 0;
    for (unsigned i = 0; i < model->count; i++) {
        const struct wish *wish = &model->wishes[i];
        if (!subject_matches(bytes_of_text(wish->subject), bytes_of_text(subject)))
            continue;
        if (wish->queue[0] != '\0')
            members += wish->shard_index == 0 ? 1 : wish->count;
        else if (wish->shard_index == 0)
            plain++;
        else
            remotes |= (uint64_t)1 << wish->shard_index;
    }
    struct match *match = &model->match;
    subscriptions_match(model->subscriptions, bytes_of_text(subject), match);
    unsigned seen_members = 0;
    for (uint32_t i = 0; i < match->group_count; i++)
        seen_members += match->groups[i]->member_count + match->groups[i]->remote_total;
    cr_assert(eq(u32, match->plain_count, plain), "%s", subject);
    cr_assert(eq(u64, match->remotes, remotes), "%s", subject);
    cr_assert(eq(uint, seen_members, members), "%s", subject);
}

static void expect_exact(struct model *model, const struct wish *wish)
{
    cr_assert(eq(int,
                 subscriptions_has(model->subscriptions, bytes_of_text(wish->subject),
                                   bytes_of_text(wish->queue)),
                 1));
    if (wish->shard_index == 0)
        cr_assert(
            eq(int,
               bytes_equal(subscription_subject(wish->subscription), bytes_of_text(wish->subject)),
               1));
}

Test(subscriptions, agrees_with_a_list_after_random_changes)
{
    const char *text = getenv("TEST_SEED");
    unsigned chance = text != NULL ? (unsigned)strtoul(text, NULL, 10) : 4711;
    struct model model;
    model_init(&model);
    for (unsigned round = 0; round < 20000; round++) {
        char subject[32];
        change(&model, &chance);
        make_subject(subject, sizeof(subject), &chance, round % 4 == 0);
        expect_match(&model, subject);
        if (model.count > 0)
            expect_exact(&model, &model.wishes[round % model.count]);
        if (round % 64 == 0)
            subscriptions_sweep(model.subscriptions);
    }
    while (model.count > 0) {
        struct wish *wish = &model.wishes[--model.count];
        if (wish->shard_index == 0)
            subscriptions_remove(model.subscriptions, wish->subscription);
        else
            subscriptions_set_remote(model.subscriptions, wish->shard_index,
                                     bytes_of_text(wish->subject), bytes_of_text(wish->queue), 0);
    }
    cr_expect(eq(uint, model.presences, model.absences));
    cr_expect(eq(u64, subscriptions_count(model.subscriptions), 0));
    model_fini(&model);
}

static void on_local(void *context, struct bytes subject, struct bytes queue, uint32_t count)
{
    (void)subject;
    (void)queue;
    (void)count;
    ((struct model *)context)->local_changes++;
}

static void on_presence(void *context, struct bytes subject, struct bytes queue, bool is_present)
{
    struct model *model = context;
    cr_assert(eq(int, subscriptions_has(model->subscriptions, subject, queue), is_present));
    if (is_present)
        model->presences++;
    else
        model->absences++;
}
