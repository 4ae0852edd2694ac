/*
 * tests/sim/kv_clients.c: see kv_clients.h.
 */
#include "tests/sim/kv_clients.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/text.h"

#define CHECK(condition, ...)           \
    do {                                \
        if (!(condition))               \
            kv_model_fail(__VA_ARGS__); \
    } while (0)

enum { MESSAGE_BYTES_MAX = 1 << 20 };

static void call_send(struct clients *clients, struct call *call);
static void call_done(struct clients *clients, struct call *call);
static void on_message(void *context, struct bytes route, const struct msg *msg);
static void on_resume(void *context, uint32_t shard, const struct origin *origin);
static void on_snapshot(struct call *call, const struct json *json);

/* ---- a run ---- */

void clients_begin(struct clients *clients, struct shard_group *group, uint32_t shard_count)
{
    clients->group = group;
    clients->shard_count = shard_count;
    clients->post = (struct recorder_post){
        .context = clients, .on_message = on_message, .on_resume = on_resume};
    for (uint32_t i = 0; i < shard_count; i++)
        recorder_init(&clients->recorders[i], &clients->post, i);
}

void clients_end(struct clients *clients)
{
    for (uint64_t i = 0; i < clients->call_count; i++)
        free(clients->calls[i]);
    free(clients->calls);
    clients->calls = NULL;
    clients->call_count = clients->open_count = 0;
    clients->flow_count = 0;
    while (clients->watches != NULL) {
        struct watch *next = clients->watches->next;
        free(clients->watches->seqs);
        free(clients->watches);
        clients->watches = next;
    }
    while (clients->snapshots != NULL) {
        struct taken_snapshot *next = clients->snapshots->next;
        taken_snapshot_free(clients->snapshots);
        clients->snapshots = next;
    }
    recorder_post_fini(&clients->post);
    memset(clients->kvs, 0, sizeof clients->kvs);
}

static struct call *call_create(struct clients *clients, enum call_kind kind, uint32_t conn,
                                struct life *life)
{
    struct call *call = calloc(1, sizeof *call);
    if ((clients->call_count & (clients->call_count - 1)) == 0) {
        uint64_t capacity = clients->call_count == 0 ? 1 : 2 * clients->call_count;
        clients->calls = realloc(clients->calls, capacity * sizeof(struct call *));
    }
    ASSERT(call != NULL && clients->calls != NULL);
    call->number = clients->call_count;
    call->kind = kind;
    call->conn = conn;
    call->life = life;
    if (life != NULL)
        call->bucket = life->bucket;
    call->sent_at = ++clients->model->now;
    clients->calls[clients->call_count++] = call;
    clients->open_count++;
    return call;
}

/* ---- sending ---- */

static void enter(struct clients *clients, uint32_t shard_index)
{
    shard_enter(shard_group_at(clients->group, shard_index));
}

/* What was done outside of a turn is published by the next. */
static void leave(void)
{
    shard_stay_awake(shard_current());
    shard_leave(shard_current());
}

static void publish(struct clients *clients, struct call *call, const char *subject,
                    struct bytes headers, struct bytes payload)
{
    struct conn *conn = &clients->conns[call->conn];
    ASSERT(!conn->is_waiting);
    char reply[32];
    struct msg msg = {.subject = bytes_of_text(subject), .headers = headers, .payload = payload};
    msg.reply =
        bytes_of(reply, (size_t)snprintf(reply, sizeof reply, "_INBOX.%" PRIu64, call->number));
    struct origin origin = {call->conn, conn->generation, clients_account(clients, call->bucket)};
    if (getenv("TEST_TRACE") != NULL)
        fprintf(stderr, "%" PRIu64 " conn %u.%u call %" PRIu64 " %s %.*s\n", clients->model->now,
                call->conn, conn->shard, call->number, subject,
                (int)(payload.count < 300 ? payload.count : 300), payload.data);
    enter(clients, conn->shard);
    enum kv_take take = kv_publish(clients->kvs[conn->shard], &origin, &msg);
    leave();
    conn->is_waiting = take == KV_TAKEN_WAIT || take == KV_RETRY;
    conn->again = take == KV_RETRY ? call : NULL;
    if (take != KV_NONE)
        return;
    CHECK(call->life == NULL || call->life->state != LIFE_PRESENT, "nobody takes %s", subject);
    call->is_absent = true;
    if (call->write != NULL)
        call->write->fate = FATE_REFUSED;
    call_done(clients, call);
}

static void send_api(struct clients *clients, struct call *call, const char *endpoint,
                     const char *body)
{
    char subject[160];
    (void)snprintf(subject, sizeof subject, "$JS.API.%s.KV_b%u", endpoint, call->bucket);
    publish(clients, call, subject, (struct bytes){0}, bytes_of_text(body));
}

static void send_write(struct clients *clients, struct call *call)
{
    static char value[MESSAGE_BYTES_MAX];
    const struct write *write = call->write;
    char subject[64];
    struct text headers = {0};
    (void)snprintf(subject, sizeof subject, "$KV.b%u.%s", call->bucket, model_key(write->key));
    if (write->kind != WRITE_PUT)
        text_append_format(&headers, "KV-Operation: %s\r\n",
                           write->kind == WRITE_DELETE ? "DEL" : "PURGE");
    if (write->kind == WRITE_PURGE)
        text_append_literal(&headers, "Nats-Rollup: sub\r\n");
    if (write->has_number_header)
        text_append_format(&headers, "Test-Number: %" PRIu64 "\r\n", write->number);
    if (write->expected != NO_EXPECTATION)
        text_append_format(&headers, "Nats-Expected-Last-Subject-Sequence: %" PRIu64 "\r\n",
                           write->expected);
    struct text block = {0};
    if (headers.count > 0)
        text_append_format(&block, "NATS/1.0\r\n%.*s\r\n", (int)headers.count, headers.data);
    if (write->kind == WRITE_PUT)
        model_fill_value(write, value);
    publish(clients, call, subject, text_bytes(&block), bytes_of(value, write->value_bytes));
    text_free(&headers);
    text_free(&block);
}

static void send_get(struct clients *clients, struct call *call)
{
    char subject[128], body[128];
    if (call->kind == CALL_GET_SEQ)
        (void)snprintf(body, sizeof body, "{\"seq\":%" PRIu64 "}", call->seq);
    else
        (void)snprintf(body, sizeof body, "{\"last_by_subj\":\"$KV.b%u.%s\"}", call->bucket,
                       model_key(call->key));
    if (call->is_msg_get) {
        send_api(clients, call, "STREAM.MSG.GET", body);
    } else if (call->kind == CALL_GET_SEQ) {
        send_api(clients, call, "DIRECT.GET", body);
    } else {
        (void)snprintf(subject, sizeof subject, "$JS.API.DIRECT.GET.KV_b%u.$KV.b%u.%s",
                       call->bucket, call->bucket, model_key(call->key));
        publish(clients, call, subject, (struct bytes){0}, (struct bytes){0});
    }
}

static void send_removal(struct clients *clients, struct call *call)
{
    char body[160];
    const struct removal *removal = call->removal;
    if (call->kind == CALL_DELETE_MESSAGE) {
        (void)snprintf(body, sizeof body, "{\"seq\":%" PRIu64 "}", call->seq);
        send_api(clients, call, "STREAM.MSG.DELETE", body);
        return;
    }
    (void)snprintf(body, sizeof body, "{\"filter\":\"$KV.b%u.%s\",\"keep\":%" PRIu64 "}",
                   call->bucket, model_filter(removal->filter), removal->keep);
    send_api(clients, call, "STREAM.PURGE", body);
}

static struct taken_snapshot *snapshot_numbered(struct clients *clients, uint64_t number)
{
    struct taken_snapshot *snapshot = clients->snapshots;
    while (snapshot != NULL && snapshot->number != number)
        snapshot = snapshot->next;
    return snapshot;
}

static void send_snapshot(struct clients *clients, struct call *call)
{
    char body[128];
    struct taken_snapshot *snapshot = snapshot_numbered(clients, call->number);
    (void)snprintf(body, sizeof body,
                   "{\"deliver_subject\":\"%s\",\"chunk_size\":1024,\"window_size\":4096}",
                   snapshot->deliver);
    send_api(clients, call, "STREAM.SNAPSHOT", body);
}

static void send_config(struct clients *clients, struct call *call)
{
    char body[512];
    const struct life *life = call->life;
    (void)snprintf(body, sizeof body,
                   "{\"name\":\"KV_b%u\",\"subjects\":[\"$KV.b%u.>\"],\"retention\":\"limits\","
                   "\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":%" PRId64
                   ",\"discard\":\"new\",\"max_age\":0,\"max_msgs_per_subject\":%" PRId64
                   ",\"max_msg_size\":-1,\"storage\":\"%s\",\"num_replicas\":1,"
                   "\"allow_rollup_hdrs\":true,\"deny_delete\":%s,\"allow_direct\":true}",
                   life->bucket, life->bucket, life->bytes_max, call->history,
                   life->is_memory ? "memory" : "file", life->has_deny_delete ? "true" : "false");
    send_api(clients, call, call->kind == CALL_CREATE ? "STREAM.CREATE" : "STREAM.UPDATE", body);
}

static void send_watch(struct clients *clients, struct call *call)
{
    static const char *const policies[] = {"last_per_subject", "all", "new"};
    const struct watch *watch = call->watch;
    char body[512];
    (void)snprintf(body, sizeof body,
                   "{\"stream_name\":\"KV_b%u\",\"config\":{\"deliver_policy\":\"%s\","
                   "\"ack_policy\":\"none\",\"replay_policy\":\"instant\",\"max_deliver\":1,"
                   "\"filter_subject\":\"$KV.b%u.%s\",\"deliver_subject\":\"_W.%" PRIu64
                   "\",\"num_replicas\":1,\"mem_storage\":true,\"headers_only\":%s%s}}",
                   call->bucket, policies[watch->policy], call->bucket, model_filter(watch->filter),
                   watch->number, watch->is_headers_only ? "true" : "false",
                   watch->has_flow_control ? ",\"flow_control\":true,\"idle_heartbeat\":5000000000"
                                           : "");
    send_api(clients, call, "CONSUMER.CREATE", body);
}

static void send_watch_request(struct clients *clients, struct call *call)
{
    char subject[160];
    (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.%s.KV_b%u.%s",
                   call->kind == CALL_WATCH_INFO ? "INFO" : "DELETE", call->bucket,
                   call->watch->name);
    publish(clients, call, subject, (struct bytes){0}, (struct bytes){0});
}

static void call_send(struct clients *clients, struct call *call)
{
    switch (call->kind) {
    case CALL_WRITE:
        send_write(clients, call);
        break;
    case CALL_GET_KEY:
    case CALL_GET_SEQ:
        send_get(clients, call);
        break;
    case CALL_INFO:
        send_api(clients, call, "STREAM.INFO", "");
        break;
    case CALL_PURGE:
    case CALL_DELETE_MESSAGE:
        send_removal(clients, call);
        break;
    case CALL_CREATE:
    case CALL_UPDATE:
        send_config(clients, call);
        break;
    case CALL_DELETE:
        send_api(clients, call, "STREAM.DELETE", "");
        break;
    case CALL_WATCH:
        send_watch(clients, call);
        break;
    case CALL_WATCH_INFO:
    case CALL_WATCH_END:
        send_watch_request(clients, call);
        break;
    case CALL_SNAPSHOT:
        send_snapshot(clients, call);
        break;
    case CALL_FLOW:
        publish(clients, call, call->text, (struct bytes){0}, (struct bytes){0});
        if (!call->is_done)
            call_done(clients, call);
        break;
    }
}

struct call *clients_write(struct clients *clients, uint32_t conn, struct life *life, uint32_t key,
                           enum write_kind kind, uint64_t expected, uint32_t value_bytes,
                           bool has_number_header)
{
    struct write *write = model_write(clients->model, life, key);
    struct call *call = call_create(clients, CALL_WRITE, conn, life);
    write->conn = conn;
    write->kind = kind;
    write->expected = expected;
    write->value_bytes = kind == WRITE_PUT ? value_bytes : 0;
    write->has_number_header = has_number_header || kind != WRITE_PUT;
    call->write = write;
    call->key = key;
    call->floor = life->shown_of_key[key];
    call_send(clients, call);
    return call;
}

struct call *clients_get(struct clients *clients, uint32_t conn, struct life *life, uint32_t key,
                         bool is_msg_get)
{
    struct call *call = call_create(clients, CALL_GET_KEY, conn, life);
    call->key = key;
    call->floor = life->shown_of_key[key];
    call->is_msg_get = is_msg_get;
    call_send(clients, call);
    return call;
}

struct call *clients_get_seq(struct clients *clients, uint32_t conn, struct life *life,
                             uint64_t seq, bool is_msg_get)
{
    struct call *call = call_create(clients, CALL_GET_SEQ, conn, life);
    call->seq = seq;
    call->is_msg_get = is_msg_get;
    call_send(clients, call);
    return call;
}

struct call *clients_info(struct clients *clients, uint32_t conn, uint32_t bucket)
{
    struct call *call = call_create(clients, CALL_INFO, conn, clients->buckets[bucket]);
    call->bucket = bucket;
    call->floor = call->life == NULL ? 0 : call->life->shown_last;
    call_send(clients, call);
    return call;
}

struct call *clients_purge(struct clients *clients, uint32_t conn, struct life *life,
                           uint32_t filter, uint64_t keep)
{
    struct call *call = call_create(clients, CALL_PURGE, conn, life);
    call->removal = model_removal(clients->model, life, filter);
    call->removal->keep = keep;
    call_send(clients, call);
    return call;
}

struct call *clients_delete_message(struct clients *clients, uint32_t conn, struct life *life,
                                    uint64_t seq)
{
    struct call *call = call_create(clients, CALL_DELETE_MESSAGE, conn, life);
    call->removal = model_removal(clients->model, life, FILTER_ALL);
    call->removal->seq = life->has_deny_delete ? UINT64_MAX : seq;
    call->seq = seq;
    if (!life->has_deny_delete && seq < life->slot_count && life->slots[seq].write != NULL)
        life->is_key_deleted[life->slots[seq].write->key] = true;
    call_send(clients, call);
    return call;
}

struct call *clients_create(struct clients *clients, uint32_t conn, struct life *life,
                            int64_t history)
{
    struct call *call = call_create(clients, CALL_CREATE, conn, life);
    call->history = history;
    model_history_sent(clients->model, life, history);
    clients->buckets[life->bucket] = life;
    call_send(clients, call);
    return call;
}

struct call *clients_update(struct clients *clients, uint32_t conn, struct life *life,
                            int64_t history)
{
    struct call *call = call_create(clients, CALL_UPDATE, conn, life);
    call->history = history;
    model_history_sent(clients->model, life, history);
    call_send(clients, call);
    return call;
}

struct call *clients_delete(struct clients *clients, uint32_t conn, struct life *life)
{
    struct call *call = call_create(clients, CALL_DELETE, conn, life);
    life->state = LIFE_DELETING;
    call_send(clients, call);
    return call;
}

struct call *clients_snapshot(struct clients *clients, uint32_t conn, struct life *life)
{
    struct call *call = call_create(clients, CALL_SNAPSHOT, conn, life);
    struct taken_snapshot *snapshot = calloc(1, sizeof *snapshot);
    ASSERT(snapshot != NULL);
    snapshot->number = call->number;
    snapshot->life = life;
    snapshot->conn = conn;
    snapshot->shard = clients->conns[conn].shard;
    (void)snprintf(snapshot->deliver, sizeof snapshot->deliver, "_S.%" PRIu64, call->number);
    snapshot->next = clients->snapshots;
    clients->snapshots = snapshot;
    recorder_subscribe(&clients->post, bytes_of_text(snapshot->deliver), snapshot->shard);
    call_send(clients, call);
    return call;
}

void clients_check_snapshots(struct clients *clients, const struct life *life)
{
    for (struct taken_snapshot *snapshot = clients->snapshots; snapshot != NULL;
         snapshot = snapshot->next) {
        if (snapshot->life == life)
            taken_snapshot_check(snapshot);
    }
}

void clients_tend(struct clients *clients)
{
    for (uint32_t i = 0; i < clients->conn_count; i++) {
        struct conn *conn = &clients->conns[i];
        struct call *again = conn->again;
        if (conn->is_waiting || again == NULL)
            continue;
        conn->again = NULL;
        call_send(clients, again);
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < clients->flow_count; i++) {
        struct call *call = clients->flow_answers[i];
        if (clients->conns[call->conn].is_waiting)
            clients->flow_answers[count++] = call;
        else
            call_send(clients, call);
    }
    clients->flow_count = count;
}

/* ---- answers ---- */

static void call_done(struct clients *clients, struct call *call)
{
    CHECK(!call->is_done, "call %" PRIu64 " is answered twice", call->number);
    call->is_done = true;
    clients->open_count--;
}

static void on_resume(void *context, uint32_t shard, const struct origin *origin)
{
    struct clients *clients = context;
    CHECK(origin->conn_slot < clients->conn_count, "resume of connection %u", origin->conn_slot);
    struct conn *conn = &clients->conns[origin->conn_slot];
    CHECK(conn->shard == shard, "resume on shard %u of a connection of shard %u", shard,
          conn->shard);
    CHECK(conn->is_waiting, "resume of connection %u, which does not wait", origin->conn_slot);
    conn->is_waiting = false;
}

static uint64_t member_u64(const struct json *object, const char *name)
{
    uint64_t number = 0;
    const struct json *member = json_member(object, name);
    CHECK(member != NULL && json_u64(member, &number), "an answer has no number \"%s\"", name);
    return number;
}

/* The answer's err_code, 0 if it is none. */
static uint64_t error_of(const struct json *json, char *words, size_t words_bytes)
{
    const struct json *error = json_member(json, "error");
    words[0] = '\0';
    if (error == NULL)
        return 0;
    struct bytes description = json_string(json_member(error, "description"));
    (void)snprintf(words, words_bytes, "%.*s", (int)description.count, description.data);
    return member_u64(error, "err_code");
}

static void write_refused(struct clients *clients, struct call *call, uint64_t error,
                          const char *words)
{
    static const char stale[] = "wrong last sequence: ";
    struct write *write = call->write;
    struct life *life = call->life;
    if (error == 10059 && life->state >= LIFE_DELETING) {
        write->fate = FATE_LOST; /* stored or not: its bucket is gone */
        return;
    }
    CHECK(write->fate == FATE_OPEN && write->known_at == 0,
          "write %" PRIu64 " is refused, but was seen: %s", write->number, words);
    write->fate = FATE_REFUSED;
    if (error == 10071) {
        CHECK(write->expected != NO_EXPECTATION && strncmp(words, stale, sizeof stale - 1) == 0,
              "write %" PRIu64 ": %s", write->number, words);
        uint64_t last = strtoull(words + sizeof stale - 1, NULL, 10);
        CHECK(last != write->expected, "write %" PRIu64 " is refused, but expected that: %s",
              write->number, words);
        model_learn_last(clients->model, life, call->key, call->floor, last);
        life->burnt_max++;
        return;
    }
    bool is_fine =
        (error == 10077 && life->bytes_max > 0) || (error == 10023 && clients->may_lack_space);
    CHECK(is_fine, "write %" PRIu64 " is refused: %s", write->number, words);
}

static void on_write(struct clients *clients, struct call *call, const struct json *json)
{
    char words[256];
    uint64_t error = error_of(json, words, sizeof words);
    if (error != 0) {
        write_refused(clients, call, error, words);
        return;
    }
    CHECK(call->write->fate == FATE_OPEN, "write %" PRIu64 " is acknowledged twice",
          call->write->number);
    model_learn(clients->model, call->write, member_u64(json, "seq"));
    call->write->fate = FATE_ACKED;
}

static uint64_t header_u64(struct bytes headers, struct bytes name)
{
    struct bytes value = {0};
    uint64_t number = 0;
    CHECK(msg_header(headers, name, &value) && text_parse_u64(value, &number),
          "an answer has no header %.*s", (int)name.count, name.data);
    return number;
}

static void got(struct clients *clients, struct call *call, const struct msg *found, uint64_t seq)
{
    struct write *write = model_recognize(call->life, found);
    CHECK(call->kind == CALL_GET_SEQ ? seq == call->seq : write->key == call->key,
          "call %" PRIu64 " got write %" PRIu64 ", sequence %" PRIu64, call->number, write->number,
          seq);
    model_learn(clients->model, write, seq);
    if (call->kind == CALL_GET_KEY)
        model_learn_last(clients->model, call->life, call->key, call->floor, seq);
    else
        CHECK(!model_is_replaced(write, call->sent_at),
              "sequence %" PRIu64 " was replaced, but is got", seq);
    call->found = write;
}

static void got_nothing(struct clients *clients, struct call *call)
{
    call->is_absent = true;
    if (call->kind == CALL_GET_KEY && call->life->state == LIFE_PRESENT)
        model_learn_last(clients->model, call->life, call->key, call->floor, 0);
}

static void on_direct_get(struct clients *clients, struct call *call, const struct msg *msg)
{
    if (bytes_start_with(msg->headers, BYTES_LITERAL("NATS/1.0 500"))) {
        CHECK(clients->may_fail_to_read, "a message is damaged");
        return;
    }
    if (bytes_start_with(msg->headers, BYTES_LITERAL("NATS/1.0 404"))) {
        got_nothing(clients, call);
        return;
    }
    struct msg found = {.headers = msg->headers, .payload = msg->payload};
    CHECK(msg_header(msg->headers, BYTES_LITERAL("Nats-Subject"), &found.subject),
          "a direct get came with: %.*s", (int)msg->headers.count, msg->headers.data);
    got(clients, call, &found, header_u64(msg->headers, BYTES_LITERAL("Nats-Sequence")));
}

static uint8_t base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint8_t)(c - 'A');
    if (c >= 'a' && c <= 'z')
        return (uint8_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9')
        return (uint8_t)(c - '0' + 52);
    return c == '+' ? 62 : 63;
}

static struct bytes decode_base64(const struct json *json, struct text *out)
{
    struct bytes in = json == NULL ? (struct bytes){0} : json_string(json);
    uint32_t bits = 0, count = 0;
    text_clear(out);
    for (size_t i = 0; i < in.count && in.data[i] != '='; i++) {
        bits = bits << 6 | base64_value(in.data[i]);
        count += 6;
        if (count >= 8) {
            count -= 8;
            char byte = (char)(bits >> count);
            text_append(out, bytes_of(&byte, 1));
        }
    }
    return text_bytes(out);
}

static void on_msg_get(struct clients *clients, struct call *call, const struct json *json)
{
    char words[256];
    uint64_t error = error_of(json, words, sizeof words);
    if (error != 0) {
        if (error == 10051 && clients->may_fail_to_read)
            return; /* it says that it can not read */
        CHECK(error == 10037 || (error == 10059 && call->life->state >= LIFE_DELETING),
              "a get is refused: %s", words);
        got_nothing(clients, call);
        return;
    }
    const struct json *message = json_member(json, "message");
    struct text headers = {0}, payload = {0};
    struct msg found = {.subject = json_string(json_member(message, "subject"))};
    found.headers = decode_base64(json_member(message, "hdrs"), &headers);
    found.payload = decode_base64(json_member(message, "data"), &payload);
    got(clients, call, &found, member_u64(message, "seq"));
    text_free(&headers);
    text_free(&payload);
}

static void on_info(struct clients *clients, struct call *call, const struct json *json)
{
    char words[256];
    uint64_t error = error_of(json, words, sizeof words);
    if (error != 0) {
        CHECK(error == 10059 && (call->life == NULL || call->life->state != LIFE_PRESENT),
              "bucket %u: %s", call->bucket, words);
        call->is_absent = true;
        return;
    }
    const struct json *state = json_member(json, "state");
    const struct json *config = json_member(json, "config");
    CHECK(call->life != NULL, "bucket %u is there", call->bucket);
    CHECK(json_i64(json_member(config, "max_msgs_per_subject"), &call->history), "no history");
    call->messages = member_u64(state, "messages");
    call->bytes = member_u64(state, "bytes");
    call->last_seq = member_u64(state, "last_seq");
    call->consumer_count = member_u64(state, "consumer_count");
    if (json_member(state, "num_subjects") != NULL)
        call->subject_count = member_u64(state, "num_subjects");
    if (call->life->state >= LIFE_DELETING)
        return; /* some shards may have let it go */
    CHECK(call->last_seq >= call->floor,
          "bucket %u: last sequence %" PRIu64 ", %" PRIu64 " was shown", call->bucket,
          call->last_seq, call->floor);
    if (call->last_seq > call->life->shown_last)
        call->life->shown_last = call->last_seq;
    (void)clients;
}

static void on_removal(struct clients *clients, struct call *call, const struct json *json)
{
    char words[256];
    uint64_t error = error_of(json, words, sizeof words);
    bool is_fine =
        error == 0 || (error == 10059 && call->life->state >= LIFE_DELETING)
        || (error == 10043 && call->kind == CALL_DELETE_MESSAGE)
        || (error == 10057 && (call->life->has_deny_delete || call->kind == CALL_DELETE_MESSAGE))
        || (error == 10023 && clients->may_lack_space);
    CHECK(is_fine, "a removal is refused: %s", words);
    if (error == 10023)
        return; /* some stripes may have removed theirs: as if there was no answer */
    call->removal->acked_at = ++clients->model->now;
}

static void on_configured(struct clients *clients, struct call *call, const struct json *json)
{
    char words[256];
    struct life *life = call->life;
    uint64_t error = error_of(json, words, sizeof words);
    bool is_fine = error == 0 || (error == 10023 && clients->may_lack_space)
                   || (error == 10059 && life->state >= LIFE_DELETING);
    CHECK(is_fine, "bucket %u: a configuration is refused: %s", call->bucket, words);
    if (call->kind == CALL_CREATE) {
        model_history_decided(clients->model, life, true);
        life->state = error == 0 ? LIFE_PRESENT : LIFE_GONE;
        if (error != 0)
            clients->buckets[call->bucket] = NULL;
    } else {
        model_history_decided(clients->model, life, error == 0);
    }
}

static void on_deleted(struct clients *clients, struct call *call, const struct json *json)
{
    char words[256];
    uint64_t error = error_of(json, words, sizeof words);
    CHECK(error == 0 || (error == 10023 && clients->may_lack_space), "a deletion is refused: %s",
          words);
    call->life->state = error == 0 ? LIFE_GONE : LIFE_PRESENT;
    if (error != 0)
        return;
    clients->buckets[call->bucket] = NULL;
    for (struct watch *watch = clients->watches; watch != NULL; watch = watch->next)
        watch->is_over |= watch->life == call->life;
}

static void watch_listed(struct clients *clients, struct watch *watch);

static void on_watch(struct clients *clients, struct call *call, const struct json *json)
{
    char words[256];
    struct watch *watch = call->watch;
    uint64_t error = error_of(json, words, sizeof words);
    if (error != 0) {
        CHECK((error == 10059 || error == 10014) && call->life->state >= LIFE_DELETING,
              "a watch is refused: %s", words);
        watch->is_over = true;
        return;
    }
    if (call->kind == CALL_WATCH_INFO) {
        call->pending = member_u64(json, "num_pending");
        return;
    }
    if (call->kind == CALL_WATCH_END)
        return;
    struct bytes name = json_string(json_member(json, "name"));
    (void)snprintf(watch->name, sizeof watch->name, "%.*s", (int)name.count, name.data);
    watch->initial_pending = watch->last_pending = member_u64(json, "num_pending");
    watch->is_ready = true;
    watch->ready_at = ++clients->model->now;
    watch->position = member_u64(json_member(json, "delivered"), "stream_seq");
    if (watch->initial_pending == 0)
        watch_listed(clients, watch);
}

static void on_json(struct clients *clients, struct call *call, const struct msg *msg)
{
    const char *why = "";
    struct bytes rest;
    struct json *json = json_parse(msg->payload, &rest, &why);
    CHECK(json != NULL, "call %" PRIu64 ": an answer that is no JSON (%s): %.*s", call->number, why,
          (int)msg->payload.count, msg->payload.data);
    switch (call->kind) {
    case CALL_WRITE:
        on_write(clients, call, json);
        break;
    case CALL_GET_KEY:
    case CALL_GET_SEQ:
        on_msg_get(clients, call, json);
        break;
    case CALL_INFO:
        on_info(clients, call, json);
        break;
    case CALL_PURGE:
    case CALL_DELETE_MESSAGE:
        on_removal(clients, call, json);
        break;
    case CALL_CREATE:
    case CALL_UPDATE:
        on_configured(clients, call, json);
        break;
    case CALL_DELETE:
        on_deleted(clients, call, json);
        break;
    case CALL_SNAPSHOT:
        on_snapshot(call, json);
        break;
    default:
        on_watch(clients, call, json);
        break;
    }
    json_free(json);
}

/* ---- watches ---- */

static struct watch *watch_numbered(struct clients *clients, uint64_t number)
{
    struct watch *watch = clients->watches;
    while (watch != NULL && watch->number != number)
        watch = watch->next;
    return watch;
}

static void tell_interest(struct clients *clients, const struct watch *watch, bool is_present)
{
    char subject[32];
    struct bytes text =
        bytes_of(subject, (size_t)snprintf(subject, sizeof subject, "_W.%" PRIu64, watch->number));
    if (is_present)
        recorder_subscribe(&clients->post, text, watch->shard);
    else
        recorder_unsubscribe(&clients->post, text);
    for (uint32_t i = 0; i < clients->shard_count; i++) {
        enter(clients, i);
        kv_on_interest(clients->kvs[i], clients_account(clients, watch->life->bucket), text,
                       (struct bytes){0}, is_present);
        leave();
    }
}

struct watch *clients_watch(struct clients *clients, uint32_t conn, struct life *life,
                            uint32_t filter, enum watch_policy policy, bool is_exact)
{
    struct watch *watch = calloc(1, sizeof *watch);
    ASSERT(watch != NULL);
    watch->number = ++clients->watch_next;
    watch->life = life;
    watch->conn = conn;
    watch->shard = clients->conns[conn].shard;
    watch->filter = filter;
    watch->policy = policy;
    watch->is_exact = is_exact;
    watch->has_flow_control = watch->number % 2 == 0;
    watch->is_headers_only = !is_exact && watch->number % 5 == 0;
    watch->next = clients->watches;
    clients->watches = watch;
    tell_interest(clients, watch, true);
    struct call *call = call_create(clients, CALL_WATCH, conn, life);
    watch->sent_at = call->sent_at;
    call->watch = watch;
    call_send(clients, call);
    return watch;
}

struct call *clients_watch_info(struct clients *clients, uint32_t conn, struct watch *watch)
{
    struct call *call = call_create(clients, CALL_WATCH_INFO, conn, watch->life);
    call->watch = watch;
    call_send(clients, call);
    return call;
}

void clients_watch_end(struct clients *clients, struct watch *watch, bool with_request)
{
    ASSERT(watch->is_ready);
    watch->is_over = true;
    tell_interest(clients, watch, false);
    if (!with_request)
        return;
    struct call *call = call_create(clients, CALL_WATCH_END, watch->conn, watch->life);
    call->watch = watch;
    call_send(clients, call);
}

void clients_watch_set_full(struct clients *clients, struct watch *watch, bool is_full)
{
    char subject[32];
    struct bytes text =
        bytes_of(subject, (size_t)snprintf(subject, sizeof subject, "_W.%" PRIu64, watch->number));
    watch->is_full = is_full;
    recorder_set_full(&clients->post, text, is_full);
    if (is_full)
        return;
    enter(clients, watch->shard);
    kv_on_room(clients->kvs[watch->shard]);
    leave();
}

/* The newest write of the key, if it was there before `before` and nothing has happened to the key since; else NULL. */
static const struct write *steady(const struct life *life, uint32_t key, uint64_t before)
{
    const struct write *newest = NULL;
    for (uint32_t i = 0; i < life->write_count; i++) {
        const struct write *write = life->writes[i];
        if (write->key != key || write->fate == FATE_REFUSED || write->is_gone)
            continue;
        if (write->fate == FATE_OPEN || write->sent_at >= before || write->known_at >= before)
            return NULL;
        if (write->known_at != 0 && (newest == NULL || write->seq > newest->seq))
            newest = write;
    }
    for (uint32_t i = 0; newest != NULL && i < life->removal_count; i++) {
        const struct removal *removal = life->removals[i];
        if (removal->seq != 0
                ? life->is_key_deleted[key]
                : model_filter_matches(removal->filter, key)
                      && (removal->acked_at == 0 || removal->acked_at > newest->sent_at))
            return NULL;
    }
    return newest;
}

/* The watcher was told that its first list is complete. */
static void watch_listed(struct clients *clients, struct watch *watch)
{
    if (watch->is_listed)
        return;
    watch->is_listed = true;
    if (clients->may_fail_to_read)
        return; /* a message that can not be read is left out, and said */
    for (uint32_t key = 0; key < MODEL_KEYS && watch->policy != WATCH_NEW; key++) {
        if (!model_filter_matches(watch->filter, key))
            continue;
        const struct write *write = steady(watch->life, key, watch->sent_at);
        CHECK(write == NULL || watch->last_of_key[key] == write->seq,
              "watch %" PRIu64 " is complete, but has not got key %s (%" PRIu64 ", has %" PRIu64
              ")",
              watch->number, model_key(key), write->seq, watch->last_of_key[key]);
    }
}

static uint64_t token_u64(struct bytes subject, unsigned from_end)
{
    unsigned dots = 0;
    size_t end = subject.count;
    for (size_t i = subject.count; i-- > 0;) {
        if (subject.data[i] != '.')
            continue;
        if (dots++ == from_end) {
            uint64_t number = 0;
            CHECK(text_parse_u64(bytes_of(subject.data + i + 1, end - i - 1), &number),
                  "an ack subject: %.*s", (int)subject.count, subject.data);
            return number;
        }
        end = i;
    }
    kv_model_fail("an ack subject: %.*s", (int)subject.count, subject.data);
}

static uint32_t key_of_subject(const struct life *life, struct bytes subject)
{
    char text[64];
    for (uint32_t key = 0; key < MODEL_KEYS; key++) {
        (void)snprintf(text, sizeof text, "$KV.b%u.%s", life->bucket, model_key(key));
        if (bytes_equal(subject, bytes_of_text(text)))
            return key;
    }
    kv_model_fail("a subject: %.*s", (int)subject.count, subject.data);
}

static void watch_take_message(struct clients *clients, struct watch *watch, const struct msg *msg,
                               uint64_t seq)
{
    struct life *life = watch->life;
    uint32_t key = key_of_subject(life, msg->subject);
    CHECK(model_filter_matches(watch->filter, key), "watch %" PRIu64 " got key %s", watch->number,
          model_key(key));
    watch->last_of_key[key] = seq;
    if (!watch->is_headers_only) {
        model_learn(clients->model, model_recognize(life, msg), seq);
        return;
    }
    struct write *write = seq < life->slot_count ? life->slots[seq].write : NULL;
    if (write == NULL)
        return;
    CHECK(write->key == key && msg->payload.count == 0
              && header_u64(msg->headers, BYTES_LITERAL("Nats-Msg-Size")) == write->value_bytes,
          "watch %" PRIu64 " got other headers for write %" PRIu64, watch->number, write->number);
}

static void watch_deliver(struct clients *clients, struct watch *watch, const struct msg *msg)
{
    uint64_t pending = token_u64(msg->reply, 0);
    uint64_t consumer_seq = token_u64(msg->reply, 2), seq = token_u64(msg->reply, 3);
    CHECK(watch->is_ready, "watch %" PRIu64 " delivers before it is answered", watch->number);
    CHECK(consumer_seq == watch->consumer_seq + 1,
          "watch %" PRIu64 ": consumer sequence %" PRIu64 " after %" PRIu64, watch->number,
          consumer_seq, watch->consumer_seq);
    CHECK(seq > watch->stream_seq, "watch %" PRIu64 ": sequence %" PRIu64 " after %" PRIu64,
          watch->number, seq, watch->stream_seq);
    CHECK(!watch->is_exact || pending + 1 == watch->last_pending,
          "watch %" PRIu64 ": %" PRIu64 " pending after %" PRIu64, watch->number, pending,
          watch->last_pending);
    if (getenv("TEST_TRACE") != NULL)
        fprintf(stderr, "%" PRIu64 "   watch %" PRIu64 " got %.*s %.*s\n", clients->model->now,
                watch->number, (int)msg->subject.count, msg->subject.data, (int)msg->reply.count,
                msg->reply.data);
    watch->consumer_seq = consumer_seq;
    watch->stream_seq = seq;
    watch->last_pending = pending;
    if ((watch->seq_count & (watch->seq_count - 1)) == 0) {
        uint64_t capacity = watch->seq_count == 0 ? 1 : 2 * watch->seq_count;
        watch->seqs = realloc(watch->seqs, capacity * sizeof seq);
        ASSERT(watch->seqs != NULL);
    }
    watch->seqs[watch->seq_count++] = seq;
    watch_take_message(clients, watch, msg, seq);
    if (pending == 0)
        watch_listed(clients, watch);
}

static void answer_flow(struct clients *clients, uint32_t conn, uint32_t bucket,
                        struct bytes subject)
{
    if (clients->flow_count == COUNT_OF(clients->flow_answers))
        return; /* a client that is slow to answer */
    struct call *call = call_create(clients, CALL_FLOW, conn, NULL);
    call->bucket = bucket;
    (void)snprintf(call->text, sizeof call->text, "%.*s", (int)subject.count, subject.data);
    clients->flow_answers[clients->flow_count++] = call;
}

static void watch_status(struct clients *clients, struct watch *watch, const struct msg *msg)
{
    struct bytes stalled;
    if (msg->reply.count > 0) {
        answer_flow(clients, watch->conn, watch->life->bucket, msg->reply);
        return;
    }
    CHECK(header_u64(msg->headers, BYTES_LITERAL("Nats-Last-Consumer")) == watch->consumer_seq,
          "watch %" PRIu64 ": a heartbeat does not fit %" PRIu64, watch->number,
          watch->consumer_seq);
    CHECK(header_u64(msg->headers, BYTES_LITERAL("Nats-Last-Stream")) >= watch->stream_seq,
          "watch %" PRIu64 ": a heartbeat is behind %" PRIu64, watch->number, watch->stream_seq);
    if (msg_header(msg->headers, BYTES_LITERAL("Nats-Consumer-Stalled"), &stalled))
        answer_flow(clients, watch->conn, watch->life->bucket, stalled);
}

static void snapshot_take(struct clients *clients, struct taken_snapshot *snapshot,
                          const struct msg *msg)
{
    CHECK(snapshot != NULL, "a chunk of a snapshot that nobody takes");
    bool is_over = taken_snapshot_take(clients->model, snapshot, msg);
    if (msg->reply.count > 0)
        answer_flow(clients, snapshot->conn, snapshot->life->bucket, msg->reply);
    else if (is_over)
        recorder_unsubscribe(&clients->post, bytes_of_text(snapshot->deliver));
}

static void on_snapshot(struct call *call, const struct json *json)
{
    const struct json *error = json_member(json, "error");
    call->is_absent = error != NULL;
    CHECK(error != NULL || json_member(json, "state") != NULL,
          "call %" PRIu64 ": a snapshot without state", call->number);
}

static void on_message(void *context, struct bytes route, const struct msg *msg)
{
    struct clients *clients = context;
    char text[64];
    (void)snprintf(text, sizeof text, "%.*s", (int)route.count, route.data);
    if (bytes_start_with(route, BYTES_LITERAL("_W."))) {
        struct watch *watch = watch_numbered(clients, strtoull(text + 3, NULL, 10));
        CHECK(watch != NULL, "a delivery to %s", text);
        if (watch->is_over)
            return;
        if (bytes_start_with(msg->headers, BYTES_LITERAL("NATS/1.0 100")))
            watch_status(clients, watch, msg);
        else
            watch_deliver(clients, watch, msg);
        return;
    }
    if (bytes_start_with(route, BYTES_LITERAL("$JS.EVENT.")))
        return; /* nobody here watches the server */
    if (bytes_start_with(route, BYTES_LITERAL("_S."))) {
        snapshot_take(clients, snapshot_numbered(clients, strtoull(text + 3, NULL, 10)), msg);
        return;
    }
    CHECK(bytes_start_with(route, BYTES_LITERAL("_INBOX.")), "a message to %s", text);
    uint64_t number = strtoull(text + 7, NULL, 10);
    CHECK(number < clients->call_count, "an answer to %s", text);
    struct call *call = clients->calls[number];
    bool is_get = call->kind == CALL_GET_KEY || call->kind == CALL_GET_SEQ;
    if (getenv("TEST_TRACE") != NULL)
        fprintf(stderr, "%" PRIu64 "   answer %" PRIu64 " %.*s\n", clients->model->now, number,
                (int)(msg->payload.count < 160 ? msg->payload.count : 160), msg->payload.data);
    call_done(clients, call);
    if (is_get && !call->is_msg_get)
        on_direct_get(clients, call, msg);
    else
        on_json(clients, call, msg);
}

/* ---- at the end ---- */

static bool watch_has(const struct watch *watch, uint64_t seq)
{
    uint64_t low = 0, high = watch->seq_count;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (watch->seqs[middle] < seq)
            low = middle + 1;
        else
            high = middle;
    }
    return low < watch->seq_count && watch->seqs[low] == seq;
}

void clients_check_watch(struct clients *clients, const struct watch *watch)
{
    const struct life *life = watch->life;
    uint64_t newest[MODEL_KEYS] = {0};
    CHECK(watch->is_ready, "watch %" PRIu64 " was never answered", watch->number);
    if (clients->may_fail_to_read)
        return;
    for (uint32_t i = 0; i < life->write_count; i++) {
        const struct write *write = life->writes[i];
        if (!write->is_here || !model_filter_matches(watch->filter, write->key))
            continue;
        if (write->seq > newest[write->key])
            newest[write->key] = write->seq;
        bool must_have = write->sent_at > watch->ready_at || watch->policy == WATCH_ALL;
        CHECK(!must_have || watch_has(watch, write->seq),
              "watch %" PRIu64 " (ready at %" PRIu64 ") never got write %" PRIu64
              " of key %s, %" PRIu64,
              watch->number, watch->ready_at, write->number, model_key(write->key), write->seq);
    }
    for (uint32_t key = 0; key < MODEL_KEYS; key++) {
        bool may_lack = watch->policy == WATCH_NEW && newest[key] <= watch->position;
        if (life->is_key_deleted[key])
            continue; /* a deletion let an older one come to the front */
        CHECK(newest[key] == 0 || may_lack || watch->last_of_key[key] == newest[key],
              "watch %" PRIu64 ": last of key %s is %" PRIu64 ", not %" PRIu64, watch->number,
              model_key(key), newest[key], watch->last_of_key[key]);
    }
}
