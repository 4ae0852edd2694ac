/*
 * tests/store/index_test.c: the index against a plain sorted array, while it grows, and what it costs.
 *
 * The property test runs one case a seed; TEST_SEED=n runs only that one. A case draws its shape (how many keys, how
 * often old messages go, how often one comes late), then thousands of random changes and questions.
 */
#include "store/index.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/hash.h"

/* Criterion counts each assertion that passes; millions of them are too slow. */
#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition))                                                                 \
            cr_fatal("%s (TEST_SEED=%llu)", #condition, (unsigned long long)world->seed); \
    } while (0)

enum {
    SEED_COUNT = 6,
    KEYS_MAX = 6000,
    MODEL_MAX = 12000,
    KEY_TEXT_BYTES_MAX = 9000,
};

struct model_message {
    uint32_t key; /* its number */
    struct message message;
};

struct world {
    struct heap *heap;
    struct index *index;
    uint64_t seed;
    uint64_t random;
    uint32_t key_count;      /* keys are drawn from so many */
    uint32_t late_percent;   /* of inserts */
    uint32_t remove_percent; /* of changes, while the model is not full */
    uint32_t front_percent;  /* of removals: the oldest of all */
    uint32_t gap_long_percent;
    uint32_t model_max;
    uint32_t count;
    uint64_t size_bytes;
    uint32_t per_key[KEYS_MAX];
    uint32_t visits[KEYS_MAX];
    struct model_message model[MODEL_MAX]; /* by sequence */
};

static uint64_t random_next(struct world *world)
{
    uint64_t value = world->random += 0x9E3779B97F4A7C15u; /* splitmix64 */
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9u;
    value = (value ^ value >> 27) * 0x94D049BB133111EBu;
    return value ^ value >> 31;
}

static uint32_t random_below(struct world *world, uint64_t limit)
{
    return (uint32_t)(random_next(world) % limit);
}

static bool random_percent(struct world *world, uint32_t percent)
{
    return random_below(world, 100) < percent;
}

/* A few keys are long: past each kind of size class. The number comes first, so that it can be read back. */
static struct bytes key_text(uint32_t number)
{
    static char text[KEY_TEXT_BYTES_MAX + 1];
    size_t count = (size_t)snprintf(text, sizeof(text), "%u.", number);
    size_t wanted = number % 97 == 5    ? 300 + number % 3000
                    : number % 997 == 7 ? KEY_TEXT_BYTES_MAX
                                        : number % 40;
    for (; count < wanted; count++)
        text[count] = (char)('a' + number % 26);
    return bytes_of(text, count);
}

static uint64_t key_hash(uint32_t number)
{
    struct bytes text = key_text(number);
    return hash_bytes(text.data, text.count);
}

static struct index_key *key_find(const struct world *world, uint32_t number)
{
    return index_find(world->index, key_text(number), key_hash(number));
}

/* The first with sequence >= seq, or count. */
static uint32_t model_search(const struct world *world, uint64_t seq)
{
    uint32_t begin = 0, end = world->count;
    while (begin < end) {
        uint32_t middle = (begin + end) / 2;
        if (world->model[middle].message.seq < seq)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

static bool message_equal(struct message a, struct message b)
{
    return a.seq == b.seq && a.time_ns == b.time_ns && a.where == b.where
           && a.size_bytes == b.size_bytes && a.user == b.user;
}

static struct world *world_create(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    world->heap = heap_create();
    world->index = index_create(world->heap);
    world->seed = seed;
    world->random = seed;
    return world;
}

static void world_destroy(struct world *world)
{
    index_destroy(world->index);
    heap_destroy(world->heap);
    free(world);
}

static void world_draw_shape(struct world *world)
{
    static const uint32_t key_counts[] = {1, 3, 60, 1500, KEYS_MAX};
    world->key_count = key_counts[random_below(world, COUNT_OF(key_counts))];
    world->late_percent = random_percent(world, 50) ? random_below(world, 5) : 60;
    world->remove_percent = random_percent(world, 50) ? 10 : 50;
    world->front_percent = random_percent(world, 50) ? 100 : random_below(world, 30);
    world->gap_long_percent = random_percent(world, 70) ? 0 : 10;
    world->model_max = random_percent(world, 30) ? 300 : MODEL_MAX;
}

/* A sequence that is not there: late ones lie anywhere below the last, often densely. */
static uint64_t world_draw_seq(struct world *world)
{
    uint64_t last = world->count == 0 ? 0 : world->model[world->count - 1].message.seq;
    if (world->count > 0 && random_percent(world, world->late_percent)) {
        uint64_t near = world->model[random_below(world, world->count)].message.seq;
        uint64_t seq = random_percent(world, 50) ? near + 1 : random_next(world) % (last + 1);
        uint32_t position = model_search(world, seq);
        if (position == world->count || world->model[position].message.seq != seq)
            return seq;
    }
    if (random_percent(world, world->gap_long_percent) && last < 1ull << 61)
        return last + 1 + random_next(world) % (1ull << 34);
    return last + 1 + random_below(world, 3);
}

static void world_insert(struct world *world)
{
    uint32_t key = random_below(world, world->key_count);
    struct message message = {.seq = world_draw_seq(world),
                              .time_ns = random_next(world),
                              .where = random_next(world),
                              .size_bytes = random_below(world, 1u << 20),
                              .user = random_below(world, 256)};
    struct message given = message;
    given.user |= 0xabc00; /* only eight bits are kept */

    struct bytes text = key_text(key);
    struct index_key *owner = index_insert(world->index, text, key_hash(key), &given);
    CHECK(bytes_equal(index_key_bytes(owner), text));

    uint32_t position = model_search(world, message.seq);
    memmove(&world->model[position + 1], &world->model[position],
            (world->count - position) * sizeof(world->model[0]));
    world->model[position] = (struct model_message){key, message};
    world->count++;
    world->per_key[key]++;
    world->size_bytes += message.size_bytes;
}

static void world_remove(struct world *world)
{
    uint32_t position =
        random_percent(world, world->front_percent) ? 0 : random_below(world, world->count);
    struct model_message gone = world->model[position];
    struct index_key *key = key_find(world, gone.key);
    struct message removed;
    CHECK(key != NULL);
    if (position + 1 < world->count && world->model[position + 1].key != gone.key)
        CHECK(!index_remove(world->index, key, world->model[position + 1].message.seq, &removed));
    CHECK(index_remove(world->index, key, gone.message.seq, &removed));
    CHECK(message_equal(removed, gone.message));

    world->count--;
    memmove(&world->model[position], &world->model[position + 1],
            (world->count - position) * sizeof(world->model[0]));
    world->per_key[gone.key]--;
    world->size_bytes -= gone.message.size_bytes;
}

/* What a seek found must be the model's message at position; none if that is outside. */
static void check_hit(const struct world *world, bool is_hit, const struct index_key *key,
                      struct message message, uint32_t position)
{
    CHECK(is_hit == (position < world->count));
    if (!is_hit)
        return;
    CHECK(message_equal(message, world->model[position].message));
    CHECK(bytes_equal(index_key_bytes(key), key_text(world->model[position].key)));
}

static void check_seek(struct world *world)
{
    struct index_key *key = NULL;
    struct message message = {0};
    uint64_t seq = random_next(world) >> random_below(world, 64);
    if (world->count > 0 && random_percent(world, 80))
        seq = world->model[random_below(world, world->count)].message.seq + random_below(world, 3)
              - 1;

    uint32_t position = model_search(world, seq);
    bool is_there = position < world->count && world->model[position].message.seq == seq;
    bool is_hit = index_seek(world->index, seq, &key, &message);
    check_hit(world, is_hit, key, message, position);
    is_hit = index_find_seq(world->index, seq, &key, &message);
    check_hit(world, is_hit, key, message, is_there ? position : UINT32_MAX);
    is_hit = index_seek_back(world->index, seq, &key, &message);
    check_hit(world, is_hit, key, message, is_there ? position : position - 1);
}

static void check_key(struct world *world)
{
    uint32_t number = random_below(world, world->key_count);
    index_prefetch(world->index, key_hash(number));
    struct index_key *key = key_find(world, number);
    CHECK((key != NULL) == (world->per_key[number] > 0));
    if (key == NULL)
        return;

    CHECK(bytes_equal(index_key_bytes(key), key_text(number)));
    CHECK(index_key_hash(key) == key_hash(number));
    CHECK(index_key_message_count(world->index, key) == world->per_key[number]);
    uint32_t position = 0;
    struct message last = {0};
    for (uint32_t i = 0; i < world->count; i++) {
        if (world->model[i].key != number)
            continue;
        last = index_key_message(world->index, key, position++);
        CHECK(message_equal(last, world->model[i].message));
    }
    CHECK(message_equal(last, index_key_newest(key)));
}

static void check_walks(struct world *world)
{
    struct index_key *key = NULL;
    struct message message = {0};
    uint64_t seq = 0;
    for (uint32_t i = 0; i <= world->count; i++, seq = message.seq + 1) {
        bool is_hit = index_seek(world->index, seq, &key, &message);
        check_hit(world, is_hit, key, message, i);
    }
    seq = UINT64_MAX;
    for (uint32_t i = world->count; i-- > 0; seq = message.seq - 1) {
        bool is_hit = index_seek_back(world->index, seq, &key, &message);
        check_hit(world, is_hit, key, message, i);
    }
}

static void scan_on_key(void *context, struct index_key *key)
{
    struct world *world = context;
    uint32_t number = (uint32_t)strtoul(index_key_bytes(key).data, NULL, 10);
    CHECK(number < KEYS_MAX);
    world->visits[number]++;
}

static void check_scan(struct world *world)
{
    memset(world->visits, 0, sizeof(world->visits));
    uint64_t cursor = 0;
    uint32_t budget = 1 + random_below(world, 200);
    while (index_scan(world->index, &cursor, budget, scan_on_key, world))
        continue;

    uint64_t key_count = 0;
    for (uint32_t i = 0; i < KEYS_MAX; i++) {
        CHECK(world->visits[i] == (world->per_key[i] > 0));
        key_count += world->visits[i];
    }
    CHECK(index_key_count(world->index) == key_count);
    CHECK(index_message_count(world->index) == world->count);
    CHECK(index_size_bytes(world->index) == world->size_bytes);
}

static void run_case(uint64_t seed)
{
    struct world *world = world_create(seed);
    world_draw_shape(world);
    uint32_t step_count = world->model_max * 4;
    for (uint32_t i = 0; i < step_count; i++) {
        bool is_full = world->count == world->model_max;
        if (world->count > 0 && (is_full || random_percent(world, world->remove_percent)))
            world_remove(world);
        else
            world_insert(world);
        check_seek(world);
        if (i % 256 == 0)
            check_key(world);
        if (i % 8192 == 0) {
            check_walks(world);
            check_scan(world);
        }
        if (i % (step_count / 4) == 0) /* sometimes empty all but a few */
            while (random_percent(world, 30) == false && world->count > 3)
                for (uint32_t n = 0; n < 100 && world->count > 3; n++)
                    world_remove(world);
    }
    check_walks(world);
    check_scan(world);
    world_destroy(world);
}

Test(index, agrees_with_a_plain_model)
{
    const char *only = getenv("TEST_SEED");
    if (only != NULL) {
        run_case(strtoull(only, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= SEED_COUNT; seed++)
        run_case(seed);
}

/* An insert on its own, without the model. */
static struct index_key *put(struct world *world, uint32_t number, uint64_t seq)
{
    struct message message = {.seq = seq, .where = seq, .size_bytes = 1};
    return index_insert(world->index, key_text(number), key_hash(number), &message);
}

/* Half of the keys stay; the other half come and go between the calls, so that segments split and shrink meanwhile. */
Test(index, scans_each_key_that_stays_once_while_segments_split)
{
    struct world *world = world_create(7);
    uint64_t seq = 0, cursor = 0;
    for (uint32_t i = 0; i < KEYS_MAX; i += 2)
        put(world, i, ++seq);
    uint32_t odd = 1;
    bool is_filling = true;
    while (index_scan(world->index, &cursor, 5, scan_on_key, world)) {
        for (uint32_t n = 0; n < 40; n++, odd += 2) {
            if (odd > KEYS_MAX) {
                odd = 1;
                is_filling = !is_filling;
            }
            struct message removed;
            struct index_key *key = key_find(world, odd);
            if (is_filling && key == NULL)
                put(world, odd, ++seq);
            else if (!is_filling && key != NULL)
                CHECK(index_remove(world->index, key, index_key_newest(key).seq, &removed));
        }
    }
    for (uint32_t i = 0; i < KEYS_MAX; i += 2)
        CHECK(world->visits[i] == 1);
    world_destroy(world);
}

/* A stream that is not a bucket: very many messages of one subject, the oldest removed as new ones come. */
Test(index, keeps_many_messages_of_one_key)
{
    enum { KEPT = 100000, TOTAL = 300000 };
    struct world *world = world_create(1);
    struct index_key *key = NULL;
    struct message removed;
    for (uint64_t seq = 1; seq <= TOTAL; seq++) {
        key = put(world, 3, seq);
        if (seq > KEPT)
            CHECK(index_remove(world->index, key, seq - KEPT, &removed));
    }
    CHECK(index_key_message_count(world->index, key) == KEPT);
    CHECK(index_key_message(world->index, key, 0).seq == TOTAL - KEPT + 1);
    CHECK(index_key_newest(key).seq == TOTAL);

    for (uint64_t seq = TOTAL; seq > TOTAL - KEPT; seq--) {
        CHECK(index_key_newest(key).seq == seq);
        CHECK(index_remove(world->index, key, seq, &removed));
        CHECK(removed.seq == seq);
    }
    CHECK(index_key_count(world->index) == 0);
    world_destroy(world);
}

Test(index, takes_the_longest_key_and_the_highest_sequence)
{
    struct world *world = world_create(1);
    char *text = malloc(RECORD_KEY_BYTES_MAX);
    memset(text, 'k', RECORD_KEY_BYTES_MAX);
    struct bytes longest = bytes_of(text, RECORD_KEY_BYTES_MAX);
    uint64_t hash = hash_bytes(longest.data, longest.count);
    struct message message = {.seq = 1ull << 63, .size_bytes = 1}, found;
    put(world, 1, 1);
    struct index_key *key = index_insert(world->index, longest, hash, &message);

    CHECK(bytes_equal(index_key_bytes(key), longest));
    CHECK(index_find(world->index, longest, hash) == key);
    CHECK(index_seek(world->index, 2, &key, &found));
    CHECK(found.seq == 1ull << 63);
    CHECK(index_seek_back(world->index, (1ull << 63) - 1, &key, &found));
    CHECK(found.seq == 1);
    free(text);
    world_destroy(world);
}

/* Keys of exactly 20 bytes, as the figure is given for. */
static struct index_key *put_figure(struct index *index, uint32_t number, uint64_t seq)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "bench.key.%010u", number);
    struct message message = {.seq = seq, .where = seq, .size_bytes = 100};
    return index_insert(index, bytes_of(text, 20), hash_bytes(text, 20), &message);
}

/* Fill, overwrite each key three times in random order, remove all: at no time more than it should. */
Test(index, costs_at_most_85_bytes_a_key)
{
    enum { COUNT = 200000 };
    struct world *world = world_create(11);
    struct index *index = world->index;
    uint64_t seq = 0;
    for (uint32_t i = 0; i < COUNT; i++)
        put_figure(index, i, ++seq);
    CHECK(index_memory_bytes(index) <= 85ull * COUNT);

    struct message removed;
    for (uint32_t i = 0; i < 3 * COUNT; i++) {
        struct index_key *key = put_figure(index, random_below(world, COUNT), ++seq);
        CHECK(index_remove(index, key, index_key_message(index, key, 0).seq, &removed));
    }
    CHECK(index_message_count(index) == COUNT);
    CHECK(index_memory_bytes(index) <= 90ull * COUNT);

    struct index_key *key;
    struct message message;
    while (index_seek(index, 0, &key, &message))
        CHECK(index_remove(index, key, message.seq, &removed));
    CHECK(index_memory_bytes(index) <= 1ull * COUNT);
    world_destroy(world);
}

Test(index, costs_little_while_it_is_small)
{
    struct world *world = world_create(1);
    CHECK(index_memory_bytes(world->index) <= 1024);
    put_figure(world->index, 1, 1);
    CHECK(index_memory_bytes(world->index) <= 2304);
    world_destroy(world);
}
