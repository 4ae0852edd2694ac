/*
 * tests/sim/kv_snapshots.c: see kv_snapshots.h.
 */
#include "tests/sim/kv_snapshots.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/assert.h"
#include "core/json.h"
#include "kv/archive.h"
#include "kv/s2.h"

#define CHECK(condition, ...)           \
    do {                                \
        if (!(condition))               \
            kv_model_fail(__VA_ARGS__); \
    } while (0)

static uint64_t member(const struct json *json, const char *name)
{
    uint64_t number = 0;
    const struct json *value = json_member(json, name);
    CHECK(value != NULL && json_u64(value, &number), "state.json without %s", name);
    return number;
}

static uint64_t read_state(struct taken_snapshot *snapshot, const struct archive_entry *entry)
{
    const char *why = "";
    struct bytes rest;
    CHECK(bytes_equal(entry->name, BYTES_LITERAL("state.json")), "an archive without a state");
    struct json *json = json_parse(entry->payload, &rest, &why);
    CHECK(json != NULL, "state.json: %s", why);
    uint64_t messages = member(json, "messages");
    snapshot->upto = member(json, "last_seq");
    json_free(json);
    return messages;
}

static void read_message(struct kv_model *model, struct taken_snapshot *snapshot,
                         const struct archive_entry *entry)
{
    struct msg msg = {.subject = entry->name, .headers = entry->headers, .payload = entry->payload};
    struct write *write = model_recognize(snapshot->life, &msg);
    uint64_t last = snapshot->seq_count == 0 ? 0 : snapshot->seqs[snapshot->seq_count - 1];
    CHECK(entry->seq > last && entry->seq <= snapshot->upto,
          "snapshot %" PRIu64 ": sequence %" PRIu64 " behind %" PRIu64 ", up to %" PRIu64,
          snapshot->number, entry->seq, last, snapshot->upto);
    if (!write->is_gone) /* what was there at W may be gone by now */
        model_learn(model, write, entry->seq);
    if ((snapshot->seq_count & (snapshot->seq_count - 1)) == 0) {
        uint64_t capacity = snapshot->seq_count == 0 ? 1 : 2 * snapshot->seq_count;
        snapshot->seqs = realloc(snapshot->seqs, capacity * sizeof *snapshot->seqs);
        ASSERT(snapshot->seqs != NULL);
    }
    snapshot->seqs[snapshot->seq_count++] = entry->seq;
}

static struct text decompress(const struct taken_snapshot *snapshot)
{
    struct s2_reader reader = {0};
    struct text out = {0};
    struct bytes plain;
    s2_reader_feed(&reader, text_bytes(&snapshot->data));
    enum s2_result result;
    while ((result = s2_reader_next(&reader, &plain)) == S2_BLOCK)
        text_append(&out, plain);
    CHECK(result == S2_MORE, "snapshot %" PRIu64 ": %s", snapshot->number, reader.why);
    s2_reader_free(&reader);
    return out;
}

static void read_archive(struct kv_model *model, struct taken_snapshot *snapshot)
{
    struct text plain = decompress(snapshot);
    struct archive_reader reader = {.bytes_max = 64 << 20};
    struct archive_entry entry;
    archive_reader_feed(&reader, text_bytes(&plain));
    enum archive_result result = archive_reader_next(&reader, &entry);
    CHECK(result == ARCHIVE_ENTRY, "snapshot %" PRIu64 " is empty", snapshot->number);
    uint64_t messages = read_state(snapshot, &entry);
    bool is_ended = false;
    while (!is_ended && (result = archive_reader_next(&reader, &entry)) == ARCHIVE_ENTRY) {
        is_ended = archive_entry_is_end(&entry);
        if (!is_ended)
            read_message(model, snapshot, &entry);
    }
    CHECK(is_ended, "snapshot %" PRIu64 " has no end", snapshot->number);
    CHECK(messages == snapshot->seq_count,
          "snapshot %" PRIu64 " has %" PRIu64 " messages, not %" PRIu64, snapshot->number,
          snapshot->seq_count, messages);
    archive_reader_free(&reader);
    text_free(&plain);
}

bool taken_snapshot_take(struct kv_model *model, struct taken_snapshot *snapshot,
                         const struct msg *msg)
{
    CHECK(!snapshot->is_over, "snapshot %" PRIu64 " goes on behind its end", snapshot->number);
    text_append(&snapshot->data, msg->payload);
    if (msg->payload.count > 0)
        return false;
    snapshot->is_over = true;
    snapshot->is_whole =
        msg->headers.count == 0 || bytes_start_with(msg->headers, BYTES_LITERAL("NATS/1.0 204"));
    if (snapshot->is_whole)
        read_archive(model, snapshot);
    text_free(&snapshot->data);
    return true;
}

/* Are the rules such that the sequences alone tell what was there? */
static bool is_exact(const struct life *life)
{
    for (uint32_t i = 0; i < life->write_count; i++) {
        if (life->writes[i]->seq == 0 && life->writes[i]->fate != FATE_REFUSED)
            return false;
    }
    return life->removal_count == 0 && life->history_count == 1 && life->bytes_max < 0;
}

static bool was_there(const struct life *life, const struct write *write, uint64_t upto)
{
    int64_t newer = 0;
    for (uint32_t i = 0; i < life->write_count; i++) {
        const struct write *other = life->writes[i];
        if (other->key != write->key || other->seq <= write->seq || other->seq > upto)
            continue;
        newer++;
        if (other->kind == WRITE_PURGE)
            return false;
    }
    return newer < life->histories[0].keep;
}

static bool has(const struct taken_snapshot *snapshot, uint64_t seq)
{
    for (uint64_t i = 0; i < snapshot->seq_count; i++) {
        if (snapshot->seqs[i] == seq)
            return true;
    }
    return false;
}

void taken_snapshot_check(const struct taken_snapshot *snapshot)
{
    const struct life *life = snapshot->life;
    if (!snapshot->is_whole || !is_exact(life))
        return;
    for (uint32_t i = 0; i < life->write_count; i++) {
        const struct write *write = life->writes[i];
        if (write->seq == 0 || write->seq > snapshot->upto)
            continue;
        bool must = was_there(life, write, snapshot->upto);
        CHECK(must == has(snapshot, write->seq),
              "snapshot %" PRIu64 " of bucket %u at %" PRIu64 ": write %" PRIu64
              " (key %s, %" PRIu64 ") is %s",
              snapshot->number, life->bucket, snapshot->upto, write->number, model_key(write->key),
              write->seq, must ? "missing" : "there");
    }
}

void taken_snapshot_free(struct taken_snapshot *snapshot)
{
    text_free(&snapshot->data);
    free(snapshot->seqs);
    free(snapshot);
}
