/*
 * tests/sim/follow_sim_test.c: mirrors and sources on the simulated machine, crashed again and again.
 *
 *     KV_o (a bucket, over all shards) ─┬─► M, a mirror ─► N, a mirror of it
 *     P    (a stream)          ────────┴─► T, which has both as sources; purged at times
 *
 * A seed gives some runs on one disk, each with 1 to 4 shards. Clients publish into the origins while the machine goes on and
 * crashes (power, death of the process, failing or full disk). After each recovery, and when all is quiet, the mirrors must be
 * message by message what their origins are; what T has of an origin must be a run of its messages, without one left out or doubled,
 * that ends with the last one; and nothing acknowledged may be missing. (Sequences of the bucket may have gaps after a crash.)
 *
 * TEST_SEED=n replays one seed, TEST_SEEDS=n sets how many are run, TEST_TRACE=1 tells more.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/json.h"
#include "core/text.h"
#include "tests/kv/recorder.h"
#include "tests/sim/seeds.h"
#include "tests/sim/sim.h"

#define SIM_PATH "/data"
#define QUIET_NS UINT64_C(20000000)

enum { SHARDS_MAX = 4, PARTS = 2, MESSAGES_MAX = 4096, PATIENCE = 3000 };

static const char *const origins[] = {"KV_o", "P"};

struct message {
    uint64_t seq;
    char subject[32], data[32], time[40];
    uint64_t source_seq; /* of T; 0: it has no such header */
    uint32_t source;     /* index into origins */
};

struct content {
    struct message messages[MESSAGES_MAX];
    uint32_t count;
};

struct world {
    struct kv_options options;
    struct kv_world *kv_world;
    struct store_directory *directory;
    struct shard_group *group;
    struct kv *kvs[SHARDS_MAX];
    struct recorder recorders[SHARDS_MAX];
    struct recorder_post post;
    struct store_recovery recovery;
    uint32_t shard_count, ready_count;
    bool has_faults, may_lack_space, is_made;
    jmp_buf failed;

    uint64_t asked, published; /* numbers of requests and of messages */
    struct text answer;        /* to the request `asked` */
    bool is_answered;
    bool is_acked[2][MESSAGES_MAX]; /* sequences that an origin's ack told, ever */
    struct content contents[5];     /* as the comparison reads them */
    bool is_waiting
        [SHARDS_MAX]; /* a publish of this shard's connection was not taken, or must wait */
};

static struct world world;
static uint64_t current_seed;

static _Noreturn void fail(const char *what, const char *stream)
{
    fprintf(stderr, "TEST_SEED=%" PRIu64 ": %s: %s\n", current_seed, stream, what);
    _exit(1);
}

/* ---- the machine ---- */

static void on_fatal(void *context, const char *why)
{
    struct world *w = context;
    if (!w->has_faults)
        fail(why, "store");
    longjmp(w->failed, 1);
}

static void on_ready(void *context, const struct store_recovery *recovery)
{
    struct world *w = context;
    w->recovery = *recovery;
    w->ready_count++;
}

static void on_message(void *context, struct bytes route, const struct msg *msg)
{
    struct world *w = context;
    uint64_t number;
    if (bytes_start_with(route, BYTES_LITERAL("ask."))
        && text_parse_u64(bytes_after(route, 4), &number) && number == w->asked) {
        text_clear(&w->answer);
        text_append(&w->answer, msg->payload);
        w->is_answered = true;
        return;
    }
    if (!bytes_start_with(route, BYTES_LITERAL("ack.")))
        return;
    struct bytes rest;
    const char *why;
    struct json *json = json_parse(msg->payload, &rest, &why);
    uint64_t seq = 0;
    uint32_t origin = bytes_equal(bytes_after(route, 4), BYTES_LITERAL("P"));
    if (json != NULL && json_member(json, "error") == NULL
        && json_u64(json_member(json, "seq"), &seq) && seq < MESSAGES_MAX)
        w->is_acked[origin][seq] = true;
    json_free(json);
}

static void on_resume(void *context, uint32_t shard, const struct origin *origin)
{
    (void)origin;
    ((struct world *)context)->is_waiting[shard] = false;
}

static bool step(struct world *w)
{
    return sim_step(w->group, w->shard_count);
}

static enum kv_take publish(struct world *w, uint32_t shard, const char *subject, const char *reply,
                            const char *payload)
{
    struct origin origin = {shard, 1, ACCOUNT_GLOBAL};
    struct msg msg = {.subject = bytes_of_text(subject),
                      .reply = bytes_of_text(reply),
                      .payload = bytes_of_text(payload)};
    shard_enter(shard_group_at(w->group, shard));
    enum kv_take take = kv_publish(w->kvs[shard], &origin, &msg);
    shard_stay_awake(shard_current());
    shard_leave(shard_current());
    return take;
}

/* A request, and its answer; to be freed. */
static struct json *ask(struct world *w, const char *subject, const char *body)
{
    char reply[32];
    (void)snprintf(reply, sizeof reply, "ask.%" PRIu64, ++w->asked);
    w->is_answered = false;
    if (publish(w, (uint32_t)sim_below(w->shard_count), subject, reply, body) == KV_NONE)
        fail("nobody takes it", subject);
    for (uint64_t i = 0; !w->is_answered; i++) {
        if (i > 1000000 || !step(w))
            fail("is not answered", subject);
    }
    struct bytes rest;
    const char *why;
    struct json *json = json_parse(text_bytes(&w->answer), &rest, &why);
    if (json == NULL)
        fail("no JSON", subject);
    return json;
}

static bool create(struct world *w, const char *name, const char *config)
{
    char subject[64];
    (void)snprintf(subject, sizeof subject, "$JS.API.STREAM.CREATE.%s", name);
    struct json *json = ask(w, subject, config);
    bool is_fine = json_member(json, "error") == NULL;
    if (!is_fine && !w->may_lack_space)
        fail(w->answer.data, name);
    json_free(json);
    return is_fine;
}

static void create_all(struct world *w)
{
    w->is_made =
        create(w, "KV_o",
               "{\"name\":\"KV_o\",\"subjects\":[\"$KV.o.>\"],\"discard\":\"new\",\"allow_direct\":"
               "true}")
        && create(w, "P", "{\"name\":\"P\",\"subjects\":[\"p.*\"]}")
        && create(w, "N", "{\"name\":\"N\",\"mirror\":{\"name\":\"M\"}}")
        && create(w, "M", "{\"name\":\"M\",\"mirror\":{\"name\":\"KV_o\"}}")
        && create(w, "T", "{\"name\":\"T\",\"sources\":[{\"name\":\"KV_o\"},{\"name\":\"P\"}]}");
}

/* ---- comparing ---- */

static uint64_t number_at(const struct json *json, const char *outer, const char *inner)
{
    uint64_t number = 0;
    const struct json *object = json_member(json, outer);
    if (object == NULL || !json_u64(json_member(object, inner), &number))
        fail("a number is missing", inner);
    return number;
}

static uint64_t last_seq(struct world *w, const char *stream)
{
    char subject[64];
    (void)snprintf(subject, sizeof subject, "$JS.API.STREAM.INFO.%s", stream);
    struct json *json = ask(w, subject, "");
    uint64_t seq = number_at(json, "state", "last_seq");
    json_free(json);
    return seq;
}

static void copy_text(char *out, size_t room, const struct json *text)
{
    struct bytes bytes = text == NULL ? (struct bytes){0} : json_string(text);
    if (bytes.count >= room)
        fail("a text is too long", "message");
    if (bytes.count > 0)
        memcpy(out, bytes.data, bytes.count);
    out[bytes.count] = '\0';
}

static size_t decode(const char *text, size_t count, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t bytes = 0;
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < count && text[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, text[i]) - digits);
        have += 6;
        if (have >= 8)
            out[bytes++] = (char)(bits >> (have -= 8));
    }
    return bytes;
}

static void read_source(struct message *message, const struct json *headers)
{
    char block[1024], name[16];
    if (headers == NULL || json_string(headers).count > sizeof block)
        return;
    size_t count = decode(json_string(headers).data, json_string(headers).count, block);
    block[count < sizeof block ? count : sizeof block - 1] = '\0';
    const char *at = strstr(block, "\r\nNats-Stream-Source: ");
    if (at == NULL
        || sscanf(at, "\r\nNats-Stream-Source: %15s %" SCNu64, name, &message->source_seq) != 2)
        fail("has a wrong header", block);
    message->source = strcmp(name, "P") == 0;
}

static void read_all(struct world *w, const char *stream, struct content *content)
{
    char subject[64], body[64];
    content->count = 0;
    (void)snprintf(subject, sizeof subject, "$JS.API.STREAM.MSG.GET.%s", stream);
    for (uint64_t seq = 1;;) {
        (void)snprintf(body, sizeof body, "{\"seq\":%" PRIu64 ",\"next_by_subj\":\">\"}", seq);
        struct json *json = ask(w, subject, body);
        const struct json *found = json_member(json, "message");
        if (found == NULL) {
            json_free(json);
            return;
        }
        if (content->count == MESSAGES_MAX)
            fail("has too many messages", stream);
        struct message *message = &content->messages[content->count++];
        *message = (struct message){0};
        if (!json_u64(json_member(found, "seq"), &message->seq))
            fail("a sequence is missing", stream);
        copy_text(message->subject, sizeof message->subject, json_member(found, "subject"));
        copy_text(message->data, sizeof message->data, json_member(found, "data"));
        copy_text(message->time, sizeof message->time, json_member(found, "time"));
        read_source(message, json_member(found, "hdrs"));
        seq = message->seq + 1;
        json_free(json);
    }
}

static void check_mirror(const struct content *origin, const struct content *mirror,
                         const char *name)
{
    if (origin->count != mirror->count)
        fail("has another count of messages than its origin", name);
    for (uint32_t i = 0; i < origin->count; i++) {
        if (memcmp(&origin->messages[i], &mirror->messages[i], sizeof origin->messages[i]) != 0)
            fail("differs from its origin", name);
    }
}

/* The index of the message with this sequence. */
static uint32_t find(const struct content *content, uint64_t seq)
{
    uint32_t low = 0, high = content->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (content->messages[middle].seq < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < content->count && content->messages[low].seq == seq ? low : UINT32_MAX;
}

static void check_acked(const struct world *w, uint32_t origin)
{
    for (uint64_t seq = 1; seq < MESSAGES_MAX; seq++) {
        if (w->is_acked[origin][seq] && find(&w->contents[origin], seq) == UINT32_MAX)
            fail("lost what it had acknowledged", origins[origin]);
    }
}

static void check_target(const struct content *target, const struct content *from, uint32_t source)
{
    uint32_t next = UINT32_MAX; /* index of what must come */
    for (uint32_t i = 0; i < target->count; i++) {
        const struct message *message = &target->messages[i];
        if (message->source != source)
            continue;
        uint32_t index = find(from, message->source_seq);
        if (index == UINT32_MAX || (next != UINT32_MAX && index != next))
            fail("has one left out, or doubled", origins[source]);
        if (strcmp(from->messages[index].subject, message->subject) != 0
            || strcmp(from->messages[index].data, message->data) != 0)
            fail("has become another message", origins[source]);
        next = index + 1;
    }
    if (next != UINT32_MAX && next != from->count)
        fail("its last is missing", origins[source]);
}

/* What T has taken of its sources, as its info tells. */
static uint64_t taken_of(struct world *w, uint32_t source)
{
    uint64_t seq = 0;
    struct json *json = ask(w, "$JS.API.STREAM.INFO.T", "");
    const struct json *list = json_member(json, "sources");
    const struct json *item = list == NULL ? NULL : json_first(list);
    for (; item != NULL; item = json_next(item)) {
        if (bytes_equal(json_string(json_member(item, "name")), bytes_of_text(origins[source]))
            && json_member(item, "seq") != NULL)
            (void)json_u64(json_member(item, "seq"), &seq);
    }
    json_free(json);
    return seq;
}

static bool is_quiet(struct world *w)
{
    uint64_t o = last_seq(w, "KV_o"), p = last_seq(w, "P");
    return last_seq(w, "M") == o && last_seq(w, "N") == o && taken_of(w, 0) == o
           && taken_of(w, 1) == p;
}

static void check_all(struct world *w)
{
    sim_set_disk_bytes(UINT64_MAX);
    for (uint32_t i = 0; !is_quiet(w); i++) {
        if (i == PATIENCE)
            fail("are not followed to the end", "the origins");
        sim_pass(w->group, w->shard_count, QUIET_NS);
    }
    static const char *const names[] = {"KV_o", "P", "M", "N", "T"};
    for (uint32_t i = 0; i < 5; i++)
        read_all(w, names[i], &w->contents[i]);
    for (uint32_t i = 0; i < 2; i++) {
        check_acked(w, i);
        check_target(&w->contents[4], &w->contents[i], i);
    }
    check_mirror(&w->contents[0], &w->contents[2], "M");
    check_mirror(&w->contents[0], &w->contents[3], "N");
}

/* ---- what clients do ---- */

static void act(struct world *w)
{
    uint32_t shard = (uint32_t)sim_below(w->shard_count);
    char subject[32], payload[32];
    if (w->is_waiting[shard])
        return;
    if (sim_chance(4000)) {
        json_free(ask(w, "$JS.API.STREAM.PURGE.T", "{}"));
        return;
    }
    for (uint64_t burst = 1 + sim_below(sim_chance(50000) ? 200 : 3); burst > 0; burst--) {
        bool is_p = sim_chance(400000);
        (void)snprintf(subject, sizeof subject, is_p ? "p.%u" : "$KV.o.k%u",
                       (unsigned)sim_below(20));
        (void)snprintf(payload, sizeof payload, "%" PRIu64, w->published++);
        enum kv_take take = publish(w, shard, subject, is_p ? "ack.P" : "ack.KV_o", payload);
        w->is_waiting[shard] = take == KV_TAKEN_WAIT || take == KV_RETRY;
        if (w->is_waiting[shard] || w->published >= MESSAGES_MAX / 2)
            return;
    }
}

/* ---- runs ---- */

static void end_run(struct world *w, bool is_clean)
{
    if (shard_current() != NULL)
        shard_leave(shard_current());
    struct io *io = shard_group_at(w->group, 0)->io;
    for (uint32_t i = 0; is_clean && i < w->shard_count; i++) {
        shard_enter(shard_group_at(w->group, i));
        kv_destroy(w->kvs[i]);
        shard_leave(shard_group_at(w->group, i));
    }
    if (w->directory != NULL)
        store_directory_close(w->directory, io);
    if (w->kv_world != NULL)
        kv_world_destroy(w->kv_world);
    w->directory = NULL;
    w->kv_world = NULL;
    shard_group_destroy_unthreaded(w->group);
    recorder_post_fini(&w->post);
}

static void die(struct world *w)
{
    if (shard_current() != NULL)
        shard_leave(shard_current());
    if (sim_chance(600000))
        sim_crash();
    else
        sim_kill();
    end_run(w, false);
}

static void stop(struct world *w)
{
    bool is_busy = true;
    sim_set_disk_bytes(UINT64_MAX);
    for (uint64_t i = 0; is_busy; i++) {
        is_busy = false;
        for (uint32_t shard = 0; shard < w->shard_count; shard++)
            is_busy = is_busy || kv_is_busy(w->kvs[shard]);
        if (is_busy && (i > 1000000 || !step(w)))
            fail("is busy for ever", "kv");
    }
    end_run(w, true);
}

static void choose(struct world *w, bool with_faults)
{
    struct sim_faults faults = {.slow = sim_chance(200000) ? 10000 : 0};
    w->shard_count = 1 + (uint32_t)sim_below(SHARDS_MAX);
    w->options = (struct kv_options){
        .server_name = "sim",
        .shard_count = w->shard_count,
        .payload_bytes_max = 1 << 20,
        .is_strict = true,
        .store = {.segment_bytes = 1 << 20,
                  .cache_bytes = sim_chance(300000) ? 0 : sim_below(1 << 19),
                  .compact_percent = sim_chance(300000) ? 0 : 1 + (uint32_t)sim_below(60),
                  .context = w,
                  .on_fatal = on_fatal},
    };
    w->has_faults = with_faults && sim_chance(300000);
    faults.write_error = w->has_faults ? (uint32_t)sim_below(3000) : 0;
    faults.sync_error = w->has_faults ? (uint32_t)sim_below(3000) : 0;
    faults.write_short = (uint32_t)sim_below(20000);
    sim_set_faults(&faults);
    bool is_small = with_faults && sim_chance(100000);
    sim_set_disk_bytes(is_small ? (8 + sim_below(20)) << 20 : UINT64_MAX);
    w->may_lack_space = is_small || w->has_faults;
    memset(w->is_waiting, 0, sizeof w->is_waiting);
}

static bool begin(struct world *w)
{
    char why[512] = "";
    if (shard_group_create_unthreaded(w->shard_count, &w->group) != STATUS_OK)
        fail("no shards", "run");
    w->post =
        (struct recorder_post){.context = w, .on_message = on_message, .on_resume = on_resume};
    enum status status =
        store_directory_open(shard_group_at(w->group, 0)->io, SIM_PATH, &w->options.store,
                             w->shard_count, &w->directory, why, sizeof why);
    if (status != STATUS_OK && !w->may_lack_space)
        fail(why, "directory");
    if (status != STATUS_OK)
        return false;
    w->kv_world = kv_world_create(&w->options, w->directory);
    w->ready_count = 0;
    for (uint32_t i = 0; i < w->shard_count; i++) {
        recorder_init(&w->recorders[i], &w->post, i);
        shard_enter(shard_group_at(w->group, i));
        w->kvs[i] = kv_create(shard_group_at(w->group, i), w->kv_world, &w->recorders[i].outbox, w,
                              on_ready);
        shard_leave(shard_group_at(w->group, i));
    }
    while (w->ready_count < w->shard_count) {
        if (!step(w))
            fail("sleeps for ever", "recovery");
    }
    if (w->recovery.status != STATUS_OK && !w->may_lack_space)
        fail(w->recovery.why, "recovery");
    return w->recovery.status == STATUS_OK;
}

static void run(struct world *w, bool with_faults)
{
    choose(w, with_faults);
    if (setjmp(w->failed) != 0 || !begin(w)) {
        if (!with_faults)
            fail("does not come back", "store");
        die(w);
        return;
    }
    if (!w->is_made)
        create_all(w);
    if (w->is_made)
        check_all(w);
    uint64_t pace = 1 + sim_below(8);
    for (uint64_t acts = with_faults ? sim_below(250) : 0; acts > 0 && w->is_made; acts--) {
        if (w->published < MESSAGES_MAX / 2)
            act(w);
        for (uint64_t steps = sim_below(pace + 1); steps > 0; steps--)
            (void)step(w);
    }
    if (w->is_made && sim_chance(400000))
        check_all(w);
    if (!with_faults || sim_chance(200000))
        stop(w);
    else
        die(w);
}

static void run_seed(uint64_t seed)
{
    struct world *w = &world;
    current_seed = seed;
    sim_begin(seed);
    hash_seed_set(seed);
    uint64_t run_count = 2 + sim_below(5);
    for (uint64_t i = 0; i < run_count; i++)
        run(w, true);
    for (uint64_t i = 0; i < 2; i++)
        run(w, false);
    text_free(&w->answer);
    sim_end();
}

static void run_part(uint64_t part)
{
    struct seeds seeds = seeds_from_environment();
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        if (seed % PARTS == part && !seed_run_apart(seed, run_seed))
            cr_expect_fail("TEST_SEED=%" PRIu64 " fails", seed);
    }
}

Test(follow_sim, mirrors_and_sources_neither_lose_nor_double_0)
{
    run_part(0);
}

Test(follow_sim, mirrors_and_sources_neither_lose_nor_double_1)
{
    run_part(1);
}
