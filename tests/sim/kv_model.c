/*
 * tests/sim/kv_model.c: see kv_model.h.
 */
#include "tests/sim/kv_model.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/assert.h"

enum { VALUE_HEAD_BYTES = 32 };

uint64_t kv_model_seed;

void kv_model_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "TEST_SEED=%" PRIu64 ": ", kv_model_seed);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    if (getenv("TEST_ABORT") != NULL)
        abort();
    _exit(1);
}

#define CHECK(condition, ...)           \
    do {                                \
        if (!(condition))               \
            kv_model_fail(__VA_ARGS__); \
    } while (0)

/* Describes a write in messages. */
#define WRITE_FORMAT "write %" PRIu64 " (bucket %u.%u, key %s, seq %" PRIu64 ", fate %d)"
#define WRITE_ARGUMENTS(write)                                                              \
    (write)->number, (write)->life->bucket, (write)->life->number, model_key((write)->key), \
        (write)->seq, (int)(write)->fate

/* ---- keys and filters ---- */

static const char *const keys[MODEL_KEYS] = {"a",   "b",   "c",     "d",     "e",    "x.1",
                                             "x.2", "x.3", "y.1.1", "y.2.1", "y.2.2"};

const char *model_key(uint32_t key)
{
    return keys[key];
}

const char *model_filter(uint32_t filter)
{
    switch (filter) {
    case FILTER_ALL:
        return ">";
    case FILTER_X:
        return "x.*";
    case FILTER_Y:
        return "y.>";
    default:
        return keys[filter - FILTER_FIRST_KEY];
    }
}

bool model_filter_matches(uint32_t filter, uint32_t key)
{
    switch (filter) {
    case FILTER_ALL:
        return true;
    case FILTER_X:
        return keys[key][0] == 'x';
    case FILTER_Y:
        return keys[key][0] == 'y';
    default:
        return filter - FILTER_FIRST_KEY == key;
    }
}

/* ---- lives, writes, removals ---- */

static void *grow(void *array, uint64_t count, size_t element_bytes)
{
    if ((count & (count - 1)) != 0) /* doubles when count is a power of two, or 0 */
        return array;
    void *grown = realloc(array, (count == 0 ? 1 : 2 * count) * element_bytes);
    ASSERT(grown != NULL);
    return grown;
}

struct life *model_life(struct kv_model *model, uint32_t bucket)
{
    struct life *life = calloc(1, sizeof *life);
    ASSERT(life != NULL);
    life->bucket = bucket;
    life->number = ++model->life_next;
    life->bytes_max = -1;
    life->next = model->lives;
    model->lives = life;
    return life;
}

static void life_free(struct life *life)
{
    for (uint32_t i = 0; i < life->write_count; i++)
        free(life->writes[i]);
    for (uint32_t i = 0; i < life->removal_count; i++)
        free(life->removals[i]);
    free(life->writes);
    free(life->removals);
    free(life->slots);
    free(life);
}

void kv_model_free(struct kv_model *model)
{
    while (model->lives != NULL) {
        struct life *next = model->lives->next;
        life_free(model->lives);
        model->lives = next;
    }
}

struct write *model_write(struct kv_model *model, struct life *life, uint32_t key)
{
    struct write *write = calloc(1, sizeof *write);
    ASSERT(write != NULL);
    write->number = ++model->write_next;
    write->life = life;
    write->key = key;
    write->run = model->run;
    write->expected = NO_EXPECTATION;
    write->sent_at = ++model->now;
    life->writes = grow(life->writes, life->write_count, sizeof(struct write *));
    life->writes[life->write_count++] = write;
    return write;
}

struct removal *model_removal(struct kv_model *model, struct life *life, uint32_t filter)
{
    struct removal *removal = calloc(1, sizeof *removal);
    ASSERT(removal != NULL);
    removal->filter = filter;
    removal->sent_at = ++model->now;
    life->removals = grow(life->removals, life->removal_count, sizeof(struct removal *));
    life->removals[life->removal_count++] = removal;
    return removal;
}

/* ---- histories ---- */

void model_history_sent(struct kv_model *model, struct life *life, int64_t keep)
{
    ASSERT(life->history_count < MODEL_HISTORIES_MAX);
    if (life->history_count > 0)
        life->histories[life->history_count - 1].next_at = ++model->now;
    life->histories[life->history_count++] =
        (struct history){.keep = keep, .sent_at = ++model->now};
}

void model_history_decided(struct kv_model *model, struct life *life, bool is_taken)
{
    struct history *newest = &life->histories[life->history_count - 1];
    struct history *before = life->history_count > 1 ? newest - 1 : NULL;
    if (is_taken) {
        newest->acked_at = ++model->now;
        if (before != NULL && before->ended_at == 0)
            before->ended_at = model->now;
        return;
    }
    ASSERT(before != NULL);
    newest->ended_at = ++model->now; /* it may have been in force for some shards */
    struct history again = {.keep = before->keep, .sent_at = model->now, .acked_at = model->now};
    ASSERT(life->history_count < MODEL_HISTORIES_MAX);
    life->histories[life->history_count++] = again;
}

bool model_history_is_open(const struct life *life)
{
    return life->histories[life->history_count - 1].acked_at == 0;
}

int64_t model_history(const struct life *life)
{
    return life->histories[life->history_count - 1].keep;
}

/* The least that was kept at any time since. */
static int64_t history_min_since(const struct life *life, uint64_t at)
{
    int64_t least = INT64_MAX;
    for (uint32_t i = 0; i < life->history_count; i++) {
        const struct history *history = &life->histories[i];
        if ((history->ended_at == 0 || history->ended_at > at) && history->keep < least)
            least = history->keep;
    }
    return least;
}

/* ---- values ---- */

static char filler(const struct write *write, uint32_t index)
{
    return (char)(' ' + (write->number * 29 + index * 13 + (index >> 8)) % 95);
}

static uint32_t value_head(const struct write *write, char *out)
{
    int count = snprintf(out, VALUE_HEAD_BYTES, "%" PRIu64 "|%u|%s|", write->number,
                         write->life->number, model_key(write->key));
    return (uint32_t)count;
}

void model_fill_value(const struct write *write, char *out)
{
    char head[VALUE_HEAD_BYTES];
    uint32_t head_bytes = value_head(write, head);
    ASSERT(write->value_bytes >= head_bytes);
    memcpy(out, head, head_bytes);
    for (uint32_t i = head_bytes; i < write->value_bytes; i++)
        out[i] = filler(write, i);
}

static void check_value(const struct write *write, struct bytes value)
{
    CHECK(value.count == write->value_bytes, WRITE_FORMAT " came with %zu bytes instead of %u",
          WRITE_ARGUMENTS(write), value.count, write->value_bytes);
    if (write->kind != WRITE_PUT)
        return;
    char head[VALUE_HEAD_BYTES];
    uint32_t head_bytes = value_head(write, head);
    CHECK(memcmp(value.data, head, head_bytes) == 0, WRITE_FORMAT " came with another's value",
          WRITE_ARGUMENTS(write));
    for (uint32_t i = head_bytes; i < value.count; i++)
        CHECK(value.data[i] == filler(write, i), WRITE_FORMAT " came damaged at byte %u",
              WRITE_ARGUMENTS(write), i);
}

static uint64_t number_in(struct bytes text)
{
    uint64_t number = 0;
    for (size_t i = 0; i < text.count && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        number = 10 * number + (uint64_t)(text.data[i] - '0');
    return number;
}

static struct write *write_numbered(const struct life *life, uint64_t number)
{
    uint32_t low = 0, high = life->write_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (life->writes[middle]->number < number)
            low = middle + 1;
        else
            high = middle;
    }
    bool is_there = low < life->write_count && life->writes[low]->number == number;
    return is_there ? life->writes[low] : NULL;
}

struct write *model_recognize(const struct life *life, const struct msg *msg)
{
    struct bytes number, operation = {0};
    bool has_header = msg_header(msg->headers, BYTES_LITERAL("Test-Number"), &number);
    struct write *write = write_numbered(life, number_in(has_header ? number : msg->payload));
    CHECK(write != NULL, "bucket %u.%u: a message that nobody wrote: %.*s", life->bucket,
          life->number, (int)(msg->payload.count < 40 ? msg->payload.count : 40),
          msg->payload.data);
    char subject[64];
    (void)snprintf(subject, sizeof subject, "$KV.b%u.%s", life->bucket, model_key(write->key));
    CHECK(bytes_equal(msg->subject, bytes_of_text(subject)), WRITE_FORMAT " came as %.*s",
          WRITE_ARGUMENTS(write), (int)msg->subject.count, msg->subject.data);
    (void)msg_header(msg->headers, BYTES_LITERAL("KV-Operation"), &operation);
    const char *const operations[] = {"", "DEL", "PURGE"};
    CHECK(bytes_equal(operation, bytes_of_text(operations[write->kind])),
          WRITE_FORMAT " came with operation %.*s", WRITE_ARGUMENTS(write), (int)operation.count,
          operation.data);
    check_value(write, msg->payload);
    return write;
}

/* ---- what is known ---- */

static struct seq_slot *slot_of(struct life *life, uint64_t seq)
{
    CHECK(seq > 0 && seq < 1000000, "bucket %u.%u: sequence %" PRIu64, life->bucket, life->number,
          seq);
    if (seq >= life->slot_count) {
        uint64_t count = 2 * seq + 64;
        life->slots = realloc(life->slots, count * sizeof *life->slots);
        ASSERT(life->slots != NULL);
        memset(life->slots + life->slot_count, 0, (count - life->slot_count) * sizeof *life->slots);
        life->slot_count = count;
    }
    return &life->slots[seq];
}

static void show(struct life *life, uint32_t key, uint64_t seq)
{
    if (seq > life->shown_last)
        life->shown_last = seq;
    if (seq > life->shown_of_key[key])
        life->shown_of_key[key] = seq;
}

void model_learn(struct kv_model *model, struct write *write, uint64_t seq)
{
    struct life *life = write->life;
    struct seq_slot *slot = slot_of(life, seq);
    ++model->now;
    CHECK(write->fate != FATE_REFUSED, WRITE_FORMAT " was refused, but is there as %" PRIu64,
          WRITE_ARGUMENTS(write), seq);
    CHECK(!write->is_gone, WRITE_FORMAT " was gone, and came back", WRITE_ARGUMENTS(write));
    CHECK(write->seq == 0 || write->seq == seq, WRITE_FORMAT " is also %" PRIu64,
          WRITE_ARGUMENTS(write), seq);
    CHECK(slot->write == NULL || slot->write == write,
          WRITE_FORMAT " has the sequence of write %" PRIu64 " (key %s)", WRITE_ARGUMENTS(write),
          slot->write->number, model_key(slot->write->key));
    CHECK(slot->key_plus_1 == 0 || slot->key_plus_1 == write->key + 1,
          WRITE_FORMAT " has sequence %" PRIu64 ", which was shown as the last of key %s",
          WRITE_ARGUMENTS(write), seq, model_key(slot->key_plus_1 - 1));
    CHECK(write->expected == NO_EXPECTATION || write->expected < seq,
          WRITE_FORMAT ": sequence %" PRIu64 " below the expected %" PRIu64, WRITE_ARGUMENTS(write),
          seq, write->expected);
    if (write->known_at == 0) {
        write->known_at = model->now;
        life->known_in_run++;
    }
    write->seq = seq;
    slot->write = write;
    for (uint32_t i = 0; i < life->removal_count; i++) {
        if (life->removals[i]->seq == seq) /* it was asked for before anyone knew whose it is */
            life->is_key_deleted[write->key] = true;
    }
    show(life, write->key, seq);
}

/* May the write have been removed by request? */
static bool may_be_removed(const struct write *write)
{
    const struct life *life = write->life;
    for (uint32_t i = 0; i < life->removal_count; i++) {
        const struct removal *removal = life->removals[i];
        bool matches = removal->seq != 0 ? removal->seq == write->seq
                                         : model_filter_matches(removal->filter, write->key);
        if (matches && (removal->acked_at == 0 || removal->acked_at > write->sent_at))
            return true;
    }
    return false;
}

static bool any_removal(const struct life *life, uint32_t key)
{
    for (uint32_t i = 0; i < life->removal_count; i++) {
        if (life->removals[i]->seq != 0 ? life->is_key_deleted[key]
                                        : model_filter_matches(life->removals[i]->filter, key))
            return true;
    }
    return false;
}

void model_learn_last(struct kv_model *model, struct life *life, uint32_t key, uint64_t floor,
                      uint64_t seq)
{
    ++model->now;
    bool may_be_lower = life->is_key_deleted[key];
    if (seq == 0 && floor != 0) {
        const struct write *write = slot_of(life, floor)->write;
        may_be_lower = write != NULL ? may_be_removed(write) || life->is_key_deleted[key]
                                     : any_removal(life, key);
    }
    CHECK(seq >= floor || may_be_lower,
          "bucket %u.%u: key %s was shown with %" PRIu64 ", now its last is %" PRIu64, life->bucket,
          life->number, model_key(key), floor, seq);
    if (seq == 0)
        return;
    struct seq_slot *slot = slot_of(life, seq);
    CHECK(slot->write == NULL || slot->write->key == key,
          "bucket %u.%u: %" PRIu64 " is told as last of key %s, but is of key %s", life->bucket,
          life->number, seq, model_key(key),
          slot->write == NULL ? "" : model_key(slot->write->key));
    slot->key_plus_1 = key + 1;
    show(life, key, seq);
}

/* Known writes of the same key that are newer, and were known before. */
static uint32_t newer_count(const struct write *write, uint64_t before)
{
    const struct life *life = write->life;
    uint32_t count = 0;
    for (uint32_t i = 0; i < life->write_count; i++) {
        const struct write *other = life->writes[i];
        count += other->key == write->key && other->seq > write->seq && other->known_at < before;
    }
    return count;
}

static bool is_rolled_up(const struct write *write, uint64_t before)
{
    const struct life *life = write->life;
    for (uint32_t i = 0; i < life->write_count; i++) {
        const struct write *other = life->writes[i];
        if (other->key == write->key && other->seq > write->seq && other->kind == WRITE_PURGE
            && other->known_at < before)
            return true;
    }
    return false;
}

bool model_is_replaced(const struct write *write, uint64_t before)
{
    const struct life *life = write->life;
    if (is_rolled_up(write, before))
        return true;
    if (life->is_key_deleted[write->key])
        return false;
    for (uint32_t i = 0; i < life->history_count; i++) {
        const struct history *history = &life->histories[i];
        uint64_t until =
            history->next_at != 0 && history->next_at < before ? history->next_at : before;
        if (history->acked_at != 0 && history->acked_at < until
            && newer_count(write, until) >= (uint32_t)history->keep)
            return true;
    }
    return false;
}

/* ---- a crash ---- */

void model_crash(struct kv_model *model)
{
    ++model->now;
    for (struct life *life = model->lives; life != NULL; life = life->next) {
        for (uint32_t i = 0; i < life->write_count; i++) {
            if (life->writes[i]->fate == FATE_OPEN)
                life->writes[i]->fate = FATE_LOST;
        }
    }
}

/* ---- a bucket's whole content ---- */

static bool is_removed_for_sure(const struct write *write)
{
    const struct life *life = write->life;
    for (uint32_t i = 0; i < life->removal_count; i++) {
        const struct removal *removal = life->removals[i];
        if (removal->acked_at == 0 || removal->keep > 0)
            continue;
        bool matches = removal->seq != 0 ? removal->seq == write->seq
                                         : model_filter_matches(removal->filter, write->key);
        if (matches && write->known_at < removal->sent_at)
            return true;
    }
    return false;
}

static void check_here(const struct kv_model *model, const struct write *write)
{
    if (write->known_at == 0)
        return;
    CHECK(!is_removed_for_sure(write), WRITE_FORMAT " was purged, and is back",
          WRITE_ARGUMENTS(write));
    CHECK(!model_is_replaced(write, model->now + 1), WRITE_FORMAT " was replaced, and is back",
          WRITE_ARGUMENTS(write));
}

static void check_missing(const struct kv_model *model, const struct write *write)
{
    if (write->known_at == 0 || write->is_gone || may_be_removed(write))
        return;
    if (is_rolled_up(write, model->now + 1))
        return;
    int64_t keep = history_min_since(write->life, write->sent_at);
    CHECK(newer_count(write, model->now + 1) >= (uint64_t)keep,
          WRITE_FORMAT " is lost (history %" PRId64 ")", WRITE_ARGUMENTS(write), keep);
}

/* The known write of the same key with the next lower sequence. */
static const struct write *predecessor(const struct write *write)
{
    const struct life *life = write->life;
    for (uint64_t seq = write->seq - 1; seq > 0; seq--) {
        const struct write *other = seq < life->slot_count ? life->slots[seq].write : NULL;
        if (other != NULL && other->key == write->key)
            return other;
    }
    return NULL;
}

/* Each accepted CAS found what it expected, in the order of the sequences. */
static void check_register(const struct write *write)
{
    if (write->known_at == 0 || write->expected == NO_EXPECTATION)
        return;
    const struct life *life = write->life;
    const struct write *before = predecessor(write);
    if (before == NULL || before->seq == write->expected || life->is_key_deleted[write->key])
        return;
    if (before->seq < write->expected)
        return; /* it saw one that nobody else did */
    CHECK(write->expected == 0 && may_be_removed(before),
          WRITE_FORMAT " expected %" PRIu64 ", but write %" PRIu64 " was there as %" PRIu64,
          WRITE_ARGUMENTS(write), write->expected, before->number, before->seq);
}

/* What one connection sent in one run has rising sequences. */
static void check_order(const struct life *life)
{
    enum { CONNS_MAX = 16 };
    const struct write *last[CONNS_MAX] = {0};
    for (uint32_t i = 0; i < life->write_count; i++) {
        const struct write *write = life->writes[i];
        if (write->seq == 0)
            continue;
        ASSERT(write->conn < CONNS_MAX);
        const struct write *before = last[write->conn];
        CHECK(before == NULL || before->run != write->run || before->seq < write->seq,
              WRITE_FORMAT " was sent after write %" PRIu64 ", whose sequence is %" PRIu64,
              WRITE_ARGUMENTS(write), before->number, before->seq);
        last[write->conn] = write;
    }
}

static void check_last(struct life *life, uint64_t last_seq, bool is_after_crash)
{
    CHECK(last_seq >= life->shown_last,
          "bucket %u.%u: last sequence %" PRIu64 ", but %" PRIu64 " was shown", life->bucket,
          life->number, last_seq, life->shown_last);
    uint64_t given = last_seq - life->base_seq;
    if (!is_after_crash)
        CHECK(given >= life->known_in_run && given <= life->known_in_run + life->burnt_max,
              "bucket %u.%u: %" PRIu64 " sequences for %" PRIu64 " writes (%" PRIu64
              " may be burnt)",
              life->bucket, life->number, given, life->known_in_run, life->burnt_max);
    life->base_seq = last_seq;
    life->known_in_run = life->burnt_max = 0;
}

static void check_counts(const struct life *life)
{
    uint32_t counts[MODEL_KEYS] = {0};
    for (uint32_t i = 0; i < life->write_count; i++) {
        const struct write *write = life->writes[i];
        counts[write->key] += write->is_here;
        CHECK(counts[write->key] <= (uint64_t)model_history(life),
              "bucket %u.%u: more than %" PRId64 " values of key %s", life->bucket, life->number,
              model_history(life), model_key(write->key));
    }
}

/* A number that a refusal told is of a write that is there, or was replaced. */
static void check_shown(struct life *life)
{
    for (uint32_t key = 0; key < MODEL_KEYS; key++) {
        uint64_t newest = 0;
        for (uint32_t i = 0; i < life->write_count; i++) {
            const struct write *write = life->writes[i];
            if (write->key == key && write->is_here && write->seq > newest)
                newest = write->seq;
        }
        CHECK(newest >= life->shown_of_key[key] || any_removal(life, key),
              "bucket %u.%u: key %s was shown with %" PRIu64 ", and has %" PRIu64, life->bucket,
              life->number, model_key(key), life->shown_of_key[key], newest);
    }
}

void model_check_state(struct kv_model *model, struct life *life, uint64_t last_seq,
                       bool is_after_crash)
{
    check_last(life, last_seq, is_after_crash);
    check_shown(life);
    check_counts(life);
    check_order(life);
    for (uint32_t i = 0; i < life->write_count; i++) {
        struct write *write = life->writes[i];
        if (write->is_here)
            check_here(model, write);
        else
            check_missing(model, write);
        check_register(write);
        write->is_gone = !write->is_here;
    }
}
