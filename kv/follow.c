/*
 * kv/follow.c: from an origin's record to a message of this stream, and when to begin.
 *
 * A source that the stream's limits refuse (discard new) is held: the follow asks again every FOLLOW_FULL_NS, and nothing behind it
 * overtakes. A message that can never be stored, for it is larger than the stream allows, is left out, and said so.
 *
 * Source: jetstream-streams.md section 9.
 */
#include "kv/follow.h"

#include <stdlib.h>

#include "core/msg.h"
#include "core/subject.h"
#include "kv/follower.h"
#include "kv/put_given.h"
#include "kv/room.h"
#include "kv/source_state.h"
#include "kv/subject_map.h"

enum {
    FOLLOW_PUTS_MAX = 512,
    FOLLOW_BYTES_MAX = 2 << 20,
};
#define FOLLOW_BUSY_NS UINT64_C(20000000)    /* until the log, or the disk, is asked again */
#define FOLLOW_FULL_NS UINT64_C(250000000)   /* until the stream's limits are */
#define FOLLOW_HEARD_NS UINT64_C(1000000000) /* a local origin counts as heard every second */

struct follow {
    struct follower_sink sink;
    struct follow *next;    /* of the stream, in the order of its configuration */
    struct follow *kv_next; /* of the shard */
    struct kv *kv;          /* borrows */
    struct stream *stream;  /* borrows; NULL once it is closing */
    bool is_mirror, is_external;
    struct text name;                /* of the origin */
    struct source_identity identity; /* owns */
    struct source_run run;           /* the origin's, while it is followed */
    uint64_t run_count;              /* origins followed so far */
    struct subject_map **maps;       /* owns; NULL ones change nothing */
    uint32_t map_count;
    struct follower *follower; /* owns; NULL: the origin is not there */
    uint64_t taken_seq;        /* the last origin sequence handed on, in this run of the origin */
    uint64_t stored_seq;       /* the last one that is durable here */
    uint64_t in_flight, in_flight_bytes;
    uint64_t heard_ns; /* 0: never */
    struct timer retry;
    struct text subject, headers; /* own: of the message being taken */
};

/* One put that is not durable yet. */
struct follow_put {
    struct put_sink sink;
    struct follow *follow;
    uint64_t seq, bytes;
    uint64_t run; /* of the origin, counted */
};

static bool follow_take(struct follower_sink *sink, const struct feed_record *record);
static void follow_on_retry(struct timer *timer);
static void follow_on_stored(struct put_sink *sink);

/* ---- what is taken ---- */

static bool starts_with(struct bytes line, const char *prefix)
{
    return bytes_start_with(line, bytes_of_text(prefix));
}

/* The block without what was meant for the origin alone; empty if nothing is left. */
static void copy_headers(struct follow *follow, struct bytes block)
{
    struct text *out = &follow->headers;
    text_clear(out);
    bool is_first = true, has_any = false;
    while (block.count > 0) {
        const char *end = memchr(block.data, '\n', block.count);
        size_t count = end == NULL ? block.count : (size_t)(end - block.data) + 1;
        struct bytes line = bytes_of(block.data, count);
        bool is_dropped =
            !is_first
            && (starts_with(line, "Nats-Expected-") || starts_with(line, "Nats-Batch-")
                || (!follow->is_mirror && starts_with(line, "Nats-Stream-Source:")));
        if (!is_dropped)
            text_append(out, line);
        has_any = has_any || (!is_first && !is_dropped && count > 2);
        is_first = false;
        block = bytes_after(block, count);
    }
    if (!has_any)
        text_clear(out);
}

/* Nats-Stream-Source: where the message comes from; at the end of the block. */
static void add_source(struct follow *follow, const struct feed_record *record)
{
    struct text *out = &follow->headers;
    if (out->count >= 2)
        out->count -= 2; /* the empty line */
    else
        text_append_literal(out, "NATS/1.0\r\n");
    text_append_literal(out, "Nats-Stream-Source: ");
    text_append(out, text_bytes(&follow->identity.name));
    text_append_format(out, " %llu ", (unsigned long long)record->seq);
    text_append(out, text_bytes(&follow->identity.filter));
    text_append_literal(out, " ");
    text_append(out, text_bytes(&follow->identity.destination));
    text_append_literal(out, " ");
    text_append(out, feed_record_subject(record));
    text_append_literal(out, " ");
    text_append(out, bytes_of(follow->run.text, sizeof follow->run.text));
    text_append_literal(out, "\r\n\r\n");
}

/* The subject here: the first transform that matches makes it; no subject is made of none. */
static struct bytes subject_of(struct follow *follow, struct bytes subject)
{
    for (uint32_t i = 0; i < follow->map_count; i++) {
        struct text *out = &follow->subject;
        text_clear(out);
        if (follow->maps[i] == NULL
            || !subject_map_apply(follow->maps[i], subject, io_random(follow->kv->shard->io), out))
            continue;
        bool is_fine = out->count < RECORD_KEY_BYTES_MAX && subject_is_publishable(text_bytes(out));
        return is_fine ? text_bytes(out) : subject;
    }
    return subject;
}

static void retry_later(struct follow *follow, uint64_t delay_ns)
{
    struct shard *shard = follow->kv->shard;
    if (!timer_is_running(&follow->retry))
        timer_start(shard->timers, &follow->retry, shard_now_ns(shard) + delay_ns, follow_on_retry);
}

/* A put that queues for room is not in the log yet: its position is noted when it is durable. */
static void note_taken(struct follow *follow, uint64_t seq)
{
    follow->taken_seq = seq;
    if (!follow->is_mirror && follow->kv->room_head == NULL)
        source_state_note(follow->stream, &follow->identity, seq, &follow->run);
}

static bool follow_take(struct follower_sink *sink, const struct feed_record *record)
{
    struct follow *follow = CONTAINER_OF(sink, struct follow, sink);
    struct shard *shard = follow->kv->shard;
    ASSERT(follow->stream != NULL);
    if (follow->in_flight >= FOLLOW_PUTS_MAX || follow->in_flight_bytes >= FOLLOW_BYTES_MAX)
        return false; /* on_stored goes on */
    copy_headers(follow, feed_record_headers(record));
    if (!follow->is_mirror)
        add_source(follow, record);
    struct follow_put *put = heap_alloc(shard->heap, sizeof *put);
    *put = (struct follow_put){
        {follow_on_stored}, follow, record->seq, feed_record_bytes(record), follow->run_count};
    struct put_given given = {
        .subject = subject_of(follow, feed_record_subject(record)),
        .headers = text_bytes(&follow->headers),
        .value = feed_record_value(record),
        .seq = follow->is_mirror ? record->seq : 0,
        .time_ns = follow->is_mirror ? record->time_ns : shard_wall_ns(shard),
        .sink = &put->sink,
    };
    follow->heard_ns = shard_now_ns(shard);
    follow->in_flight++;
    follow->in_flight_bytes += put->bytes;
    enum put_given_result result = put_given(follow->stream->stripe, &given);
    if (result == PUT_GIVEN_TAKEN) {
        note_taken(follow, record->seq);
        return true;
    }
    follow->in_flight--;
    follow->in_flight_bytes -= put->bytes;
    heap_free(put);
    if (result == PUT_GIVEN_SKIPPED) {
        note_taken(follow, record->seq);
        return true;
    }
    retry_later(follow, result == PUT_GIVEN_FULL ? FOLLOW_FULL_NS : FOLLOW_BUSY_NS);
    return false;
}

/* ---- life ---- */

static void follow_free(struct follow *follow)
{
    for (uint32_t i = 0; i < follow->map_count; i++)
        subject_map_free(follow->maps[i]);
    heap_free(follow->maps);
    source_identity_free(&follow->identity);
    text_free(&follow->name);
    text_free(&follow->subject);
    text_free(&follow->headers);
    heap_free(follow);
}

static void follow_detach(struct follow *follow)
{
    if (follow->follower != NULL)
        follower_destroy(follow->follower);
    follow->follower = NULL;
    timer_stop(&follow->retry);
}

/* Ends it; puts under way end by themselves. */
static void follow_end(struct follow *follow)
{
    follow_detach(follow);
    struct follow **link = &follow->kv->follows;
    while (*link != follow)
        link = &(*link)->kv_next;
    *link = follow->kv_next;
    follow->stream = NULL;
    if (follow->in_flight == 0)
        follow_free(follow);
}

static void follow_on_stored(struct put_sink *sink)
{
    struct follow_put *put = CONTAINER_OF(sink, struct follow_put, sink);
    struct follow *follow = put->follow;
    follow->in_flight--;
    follow->in_flight_bytes -= put->bytes;
    follow->stored_seq = put->seq;
    bool is_noted = follow->is_mirror || follow->stream == NULL || put->run != follow->run_count;
    if (!is_noted)
        source_state_note(follow->stream, &follow->identity, put->seq, &follow->run);
    heap_free(put);
    if (follow->stream == NULL) {
        if (follow->in_flight == 0)
            follow_free(follow);
        return;
    }
    if (follow->follower != NULL && follow->in_flight <= FOLLOW_PUTS_MAX / 2
        && follow->in_flight_bytes <= FOLLOW_BYTES_MAX / 2)
        follower_pump(follow->follower);
}

static void follow_on_retry(struct timer *timer)
{
    struct follow *follow = CONTAINER_OF(timer, struct follow, retry);
    if (follow->follower != NULL)
        follower_pump(follow->follower);
}

/* ---- beginning ---- */

static const struct stream_source *config_of(const struct follow *follow)
{
    const struct stream_config *config = &follow->stream->config;
    if (follow->is_mirror)
        return config->mirror;
    for (uint32_t i = 0; i < config->source_count; i++) {
        struct source_identity identity;
        source_identity_make(&identity, &config->sources[i]);
        bool is_same = source_identity_equal(&identity, &follow->identity);
        source_identity_free(&identity);
        if (is_same)
            return &config->sources[i];
    }
    ASSERT(false);
    return NULL;
}

struct start {
    uint64_t seq, time_ns;
};

static struct start mirror_start(const struct follow *follow, const struct stream_source *config)
{
    uint64_t last = follow->stream->stripe->last_seq;
    if (last > 0)
        return (struct start){last + 1, 0};
    if (config->start_seq > 0)
        return (struct start){config->start_seq, 0};
    return (struct start){1, config->has_start_time ? config->start_time_ns : 0};
}

/*
 * A source goes on behind its position, if its origin is still the one it was. Without a position it starts where the configuration
 * says; into a stream that had messages before, not with what is older than its last one.
 */
static struct start source_start(struct follow *follow, const struct stream_source *config)
{
    const struct stripe *stripe = follow->stream->stripe;
    struct source_run known = follow->run;
    uint64_t position = source_state_find(follow->stream, &follow->identity, &known);
    bool is_other_run = memcmp(&known, &follow->run, sizeof known) != 0;
    if (position > 0 && !is_other_run)
        return (struct start){(position > follow->taken_seq ? position : follow->taken_seq) + 1, 0};
    if (config->start_seq > 0)
        return (struct start){config->start_seq, 0};
    struct index_key *key;
    struct message first;
    bool is_empty = !index_seek(stripe->index, 0, &key, &first);
    uint64_t first_seq = is_empty ? stripe->last_seq + 1 : first.seq;
    uint64_t start_ns = config->has_start_time ? config->start_time_ns : 0;
    bool is_later = stripe->last_time_ns > start_ns
                    && (config->has_start_time || (first_seq > 1 && !is_other_run));
    return (struct start){1, is_later ? stripe->last_time_ns : start_ns};
}

/* Takes the origin up, if it is there. */
static void follow_try(struct follow *follow)
{
    struct stream *stream = follow->stream;
    struct kv *kv = follow->kv;
    struct stream *origin =
        stream_by_name(&kv->streams, stream->account, text_bytes(&follow->name));
    if (follow->follower != NULL || follow->is_external || origin == NULL || !origin->is_visible
        || origin->is_closing || origin == stream)
        return;
    const struct stream_source *config = config_of(follow);
    struct consumer_config filter = {0};
    text_append(&filter.filter_subject, text_bytes(&config->filter));
    struct consumer_texts *filters = &filter.filter_subjects;
    filters->texts = calloc(config->transform_count + 1, sizeof *filters->texts);
    ASSERT(filters->texts != NULL);
    for (uint32_t i = 0; i < config->transform_count; i++) {
        struct bytes source = text_bytes(&config->transforms[i].source);
        text_append(&filters->texts[filters->count++],
                    source.count == 0 ? BYTES_LITERAL(">") : source);
    }
    struct source_run run = source_run_of(origin);
    if (memcmp(&run, &follow->run, sizeof run) != 0) {
        follow->run_count++;
        follow->taken_seq = 0;
    }
    follow->run = run;
    struct start start =
        follow->is_mirror ? mirror_start(follow, config) : source_start(follow, config);
    follow->heard_ns = shard_now_ns(kv->shard);
    follow->follower = follower_create(origin, &filter, start.seq, start.time_ns, &follow->sink);
}

static struct follow *follow_create(struct stream *stream, const struct stream_source *config,
                                    bool is_mirror)
{
    struct kv *kv = stream->kv;
    struct follow *follow = heap_alloc_zeroed(kv->shard->heap, sizeof *follow);
    follow->sink.take = follow_take;
    follow->kv = kv;
    follow->stream = stream;
    follow->is_mirror = is_mirror;
    follow->is_external = config->is_external;
    text_append(&follow->name, text_bytes(&config->name));
    source_identity_make(&follow->identity, config);
    follow->stored_seq = is_mirror ? stream->stripe->last_seq
                                   : source_state_find(stream, &follow->identity, &follow->run);
    follow->map_count = config->transform_count;
    follow->maps =
        heap_alloc_zeroed(kv->shard->heap, (follow->map_count + 1) * sizeof *follow->maps);
    struct text why = {0};
    for (uint32_t i = 0; i < follow->map_count; i++) {
        bool is_fine =
            subject_map_create(&follow->maps[i], text_bytes(&config->transforms[i].source),
                               text_bytes(&config->transforms[i].destination), &why);
        ASSERT(is_fine); /* it was checked */
    }
    text_free(&why);
    follow->kv_next = kv->follows;
    kv->follows = follow;
    return follow;
}

/* The follow of this source, taken out of the stream's list; NULL: there is none yet. */
static struct follow *take_out(struct follow **list, const struct stream_source *config,
                               bool is_mirror)
{
    struct source_identity identity;
    struct follow *found = NULL;
    source_identity_make(&identity, config);
    for (struct follow **link = list; *link != NULL && found == NULL; link = &(*link)->next) {
        if ((*link)->is_mirror != is_mirror
            || !source_identity_equal(&(*link)->identity, &identity))
            continue;
        found = *link;
        *link = found->next;
        break;
    }
    source_identity_free(&identity);
    return found;
}

void follows_configure(struct stream *stream)
{
    const struct stream_config *config = &stream->config;
    if (stream->follows == NULL && config->mirror == NULL && config->source_count == 0)
        return;
    if (stripe_shard(stream, 0) != stream->kv->shard->index)
        return; /* recovery may have left an empty stripe here */
    struct follow *old = stream->follows, **tail = &stream->follows;
    stream->follows = NULL;
    uint32_t count = config->mirror != NULL ? 1 : config->source_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct stream_source *source =
            config->mirror != NULL ? config->mirror : &config->sources[i];
        struct follow *follow = take_out(&old, source, config->mirror != NULL);
        if (follow == NULL)
            follow = follow_create(stream, source, config->mirror != NULL);
        follow->next = NULL;
        *tail = follow;
        tail = &follow->next;
    }
    while (old != NULL) {
        struct follow *next = old->next;
        follow_end(old);
        old = next;
    }
    for (struct follow *follow = stream->follows; follow != NULL; follow = follow->next)
        follow_try(follow);
}

void follows_start(struct kv *kv)
{
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        struct stream *stream = kv->streams.by_id[i];
        if (stream != NULL && stream->is_visible)
            follows_configure(stream);
    }
}

void follows_on_shown(struct stream *origin)
{
    follows_configure(origin);
    for (struct follow *follow = origin->kv->follows; follow != NULL; follow = follow->kv_next) {
        if (follow->follower == NULL && follow->stream->account == origin->account
            && bytes_equal(text_bytes(&follow->name), text_bytes(&origin->config.name)))
            follow_try(follow);
    }
}

static struct follow *follow_of_sink(struct follower_sink *sink)
{
    return CONTAINER_OF(sink, struct follow, sink);
}

void follows_on_closing(struct stream *stream)
{
    while (stream->follows != NULL) {
        struct follow *follow = stream->follows;
        stream->follows = follow->next;
        follow_end(follow);
    }
    while (stream->feed != NULL && stream->feed->followers != NULL)
        follow_detach(follow_of_sink(follower_sink_of(stream->feed->followers)));
}

void follows_fini(struct kv *kv)
{
    while (kv->follows != NULL) {
        struct follow *follow = kv->follows;
        follow->in_flight = 0; /* nothing runs any more */
        follow_end(follow);
    }
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        if (kv->streams.by_id[i] != NULL)
            kv->streams.by_id[i]->follows = NULL;
    }
}

/* ---- info ---- */

static int64_t active_ns(const struct follow *follow)
{
    if (follow->heard_ns == 0)
        return -1;
    uint64_t since = shard_now_ns(follow->kv->shard) - follow->heard_ns;
    return (int64_t)(follow->follower != NULL ? since % FOLLOW_HEARD_NS + 1 : since + 1);
}

static void append_follow(struct text *text, const struct follow *follow)
{
    const struct stream_source *config = config_of(follow);
    text_append_literal(text, "{\"name\":");
    text_append_json_string(text, text_bytes(&follow->name));
    if (follow->is_external) {
        text_append_literal(text, ",\"external\":");
        external_append(text, config);
    }
    uint64_t lag =
        follow->in_flight + (follow->follower == NULL ? 0 : follower_pending(follow->follower));
    text_append_format(text, ",\"lag\":%llu", (unsigned long long)lag);
    if (!follow->is_mirror && follow->stored_seq > 0)
        text_append_format(text, ",\"seq\":%llu", (unsigned long long)follow->stored_seq);
    text_append_format(text, ",\"active\":%lld", (long long)active_ns(follow));
    if (follow->follower == NULL && !follow->is_external) {
        struct api_failure failure = {.error = API_STREAM_NOT_FOUND};
        text_append_literal(text, ",\"error\":");
        api_error_append(text, &failure);
    }
    if (config->filter.count > 0) {
        text_append_literal(text, ",\"filter_subject\":");
        text_append_json_string(text, text_bytes(&config->filter));
    }
    if (config->transform_count > 0) {
        text_append_literal(text, ",\"subject_transforms\":");
        transforms_append(text, config->transforms, config->transform_count);
    }
    text_append_literal(text, "}");
}

void follows_append_info(struct text *text, const struct stream *stream)
{
    if (stream->follows == NULL)
        return;
    bool is_mirror = stream->follows->is_mirror;
    text_append_literal(text, is_mirror ? ",\"mirror\":" : ",\"sources\":[");
    for (const struct follow *follow = stream->follows; follow != NULL; follow = follow->next) {
        if (follow != stream->follows)
            text_append_literal(text, ",");
        append_follow(text, follow);
    }
    text_append_literal(text, is_mirror ? "" : "]");
}
