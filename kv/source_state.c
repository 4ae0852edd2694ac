/*
 * kv/source_state.c: positions of sources, in memory and in the log.
 *
 * A position's text, in the record as in the header: "<name> <seq> <filter> <destination> <subject>[ <run>]"; in the record the
 * subject is "-", and each position ends in a newline.
 */
#include "kv/source_state.h"

#include "core/msg.h"
#include "kv/room.h"

#define WRITE_DELAY_NS UINT64_C(250000000)

struct position {
    struct text name, filter, destination; /* own */
    uint64_t seq;
    uint64_t told; /* while recovering: how late it was told, see source_state_replay_… */
    struct source_run run;
    bool has_run;
};

struct source_state {
    struct stream *stream;      /* borrows */
    struct position *positions; /* owns */
    uint32_t count, capacity;
    struct timer timer; /* runs while a position is not in a record yet */
};

struct source_run source_run_of(const struct stream *origin)
{
    struct source_run run;
    struct text created = {0};
    text_append_time(&created, origin->created_ns);
    source_hash(text_bytes(&created), run.text);
    text_free(&created);
    return run;
}

/* ---- in memory ---- */

static struct position *find(const struct source_state *state, struct bytes name,
                             struct bytes filter, struct bytes destination)
{
    for (uint32_t i = 0; state != NULL && i < state->count; i++) {
        struct position *position = &state->positions[i];
        if (bytes_equal(text_bytes(&position->name), name)
            && bytes_equal(text_bytes(&position->filter), filter)
            && bytes_equal(text_bytes(&position->destination), destination))
            return position;
    }
    return NULL;
}

static struct position *find_or_add(struct stream *stream, struct bytes name, struct bytes filter,
                                    struct bytes destination)
{
    struct heap *heap = stream->kv->shard->heap;
    struct source_state *state = stream->source_state;
    struct position *position = find(state, name, filter, destination);
    if (position != NULL)
        return position;
    if (state == NULL) {
        state = stream->source_state = heap_alloc_zeroed(heap, sizeof *state);
        state->stream = stream;
    }
    if (state->count == state->capacity) {
        state->capacity = state->capacity == 0 ? 4 : 2 * state->capacity;
        state->positions =
            heap_resize(heap, state->positions, state->capacity * sizeof *state->positions);
    }
    position = &state->positions[state->count++];
    *position = (struct position){0};
    text_append(&position->name, name);
    text_append(&position->filter, filter);
    text_append(&position->destination, destination);
    return position;
}

uint64_t source_state_find(const struct stream *stream, const struct source_identity *identity,
                           struct source_run *run_out)
{
    const struct position *position =
        find(stream->source_state, text_bytes(&identity->name), text_bytes(&identity->filter),
             text_bytes(&identity->destination));
    if (position == NULL)
        return 0;
    if (position->has_run)
        *run_out = position->run;
    return position->seq;
}

void source_state_free(struct stream *stream)
{
    struct source_state *state = stream->source_state;
    if (state == NULL)
        return;
    timer_stop(&state->timer);
    for (uint32_t i = 0; i < state->count; i++) {
        text_free(&state->positions[i].name);
        text_free(&state->positions[i].filter);
        text_free(&state->positions[i].destination);
    }
    heap_free(state->positions);
    heap_free(state);
    stream->source_state = NULL;
}

/* ---- in the log ---- */

static void state_on_timer(struct timer *timer)
{
    struct source_state *state = CONTAINER_OF(timer, struct source_state, timer);
    struct shard *shard = state->stream->kv->shard;
    if (source_state_write(state->stream) != STATUS_OK)
        timer_start(shard->timers, timer, shard_now_ns(shard) + WRITE_DELAY_NS, state_on_timer);
}

void source_state_note(struct stream *stream, const struct source_identity *identity, uint64_t seq,
                       const struct source_run *run)
{
    struct shard *shard = stream->kv->shard;
    struct position *position =
        find_or_add(stream, text_bytes(&identity->name), text_bytes(&identity->filter),
                    text_bytes(&identity->destination));
    bool is_same_run = position->has_run && memcmp(&position->run, run, sizeof *run) == 0;
    if (!is_same_run || seq > position->seq)
        position->seq = seq;
    position->run = *run;
    position->has_run = true;
    struct timer *timer = &stream->source_state->timer;
    if (!stream->is_memory && !timer_is_running(timer))
        timer_start(shard->timers, timer, shard_now_ns(shard) + WRITE_DELAY_NS, state_on_timer);
}

static void append_position(struct text *text, const struct position *position)
{
    text_append(text, text_bytes(&position->name));
    text_append_format(text, " %llu ", (unsigned long long)position->seq);
    text_append(text, text_bytes(&position->filter));
    text_append_literal(text, " ");
    text_append(text, text_bytes(&position->destination));
    text_append_literal(text, " -");
    if (position->has_run) {
        text_append_literal(text, " ");
        text_append(text, bytes_of(position->run.text, sizeof position->run.text));
    }
    text_append_literal(text, "\n");
}

MUST_USE enum status source_state_write(struct stream *stream)
{
    struct source_state *state = stream->source_state;
    if (state == NULL || stream->is_memory)
        return STATUS_OK;
    struct text value = {0};
    for (uint32_t i = 0; i < state->count; i++)
        append_position(&value, &state->positions[i]);
    struct record record = {
        .type = KV_RECORD_SOURCES,
        .flags = RECORD_IS_STATE | stripe_record_flags(stream),
        .stream_id = stream->id,
        .seq = stream->stripe->last_seq,
        .time_ns = shard_wall_ns(stream->kv->shard),
        .value = text_bytes(&value),
    };
    location where;
    enum status status = store_append(stream->kv->store, &record, &where, NULL);
    text_free(&value);
    return status;
}

/* ---- recovery ---- */

static struct bytes take_field(struct bytes *rest)
{
    const char *blank = rest->count == 0 ? NULL : memchr(rest->data, ' ', rest->count);
    struct bytes field = {rest->data, blank == NULL ? rest->count : (size_t)(blank - rest->data)};
    *rest = bytes_after(*rest, blank == NULL ? rest->count : field.count + 1);
    return field;
}

static void replay_position(struct stream *stream, struct bytes text, uint64_t told)
{
    uint64_t seq;
    struct bytes name = take_field(&text), digits = take_field(&text), filter = take_field(&text);
    struct bytes destination = take_field(&text), subject = take_field(&text);
    if (subject.count == 0 || !text_parse_u64(digits, &seq))
        return;
    struct position *position = find_or_add(stream, name, filter, destination);
    struct bytes run = take_field(&text);
    bool has_run = run.count == sizeof position->run.text;
    bool is_same_run = has_run == position->has_run
                       && (!has_run || memcmp(position->run.text, run.data, run.count) == 0);
    if (is_same_run ? seq > position->seq : told >= position->told)
        position->seq = seq;
    if (told >= position->told) {
        position->told = told;
        position->has_run = has_run;
        if (has_run)
            memcpy(position->run.text, run.data, run.count);
    }
}

/* A message is told at its own sequence, a record behind the message that was the last one then. */
void source_state_replay_message(struct stream *stream, const struct record *record)
{
    struct bytes value;
    if (msg_header(record->headers, BYTES_LITERAL("Nats-Stream-Source"), &value))
        replay_position(stream, value, 2 * record->seq);
}

void source_state_replay_record(struct stream *stream, const struct record *record)
{
    struct bytes value = record->value;
    while (value.count > 0) {
        const char *end = memchr(value.data, '\n', value.count);
        size_t count = end == NULL ? value.count : (size_t)(end - value.data);
        replay_position(stream, bytes_of(value.data, count), 2 * record->seq + 1);
        value = bytes_after(value, end == NULL ? count : count + 1);
    }
}
