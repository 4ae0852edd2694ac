/*
 * kv/api.c: which endpoint a subject names.
 *
 * Source: jetstream-streams.md sections 1.2 to 1.4, jetstream-consumers.md section 2. An unknown subject below $JS.API. is
 * taken and never answered, one with an empty token, or a direct get that no stream answers, is nobody's (503).
 */
#include "kv/api.h"

#include "core/subject.h"
#include "kv/account.h"
#include "kv/catalog.h"
#include "kv/consumer.h"
#include "kv/consumer_api.h"
#include "kv/gathering.h"
#include "kv/info.h"
#include "kv/purge.h"
#include "kv/query.h"
#include "kv/restore.h"
#include "kv/snapshot.h"
#include "kv/stream_source_config.h"
#include "kv/version.h"

typedef void endpoint_fn(struct request *request);

struct endpoint {
    const char *prefix; /* behind $JS.API. */
    uint8_t names;      /* tokens that must follow: 0 none, 1 stream, 2 stream and consumer */
    bool takes_tail;    /* further tokens are the endpoint's */
    const char *type;
    endpoint_fn *run; /* NULL: the home shard's, see route */
};

static void run_clustered(struct request *request)
{
    request_fail_with(request, API_CLUSTER_REQUIRED);
}

static const struct endpoint endpoints[] = {
    {"INFO", 0, false, "account_info_response", info_account},
    {"STREAM.CREATE", 1, false, "stream_create_response", NULL},
    {"STREAM.UPDATE", 1, false, "stream_update_response", NULL},
    {"STREAM.DELETE", 1, false, "stream_delete_response", NULL},
    {"STREAM.INFO", 1, false, "stream_info_response", info_stream},
    {"STREAM.NAMES", 0, false, "stream_names_response", info_names},
    {"STREAM.LIST", 0, false, "stream_list_response", info_list},
    {"STREAM.PURGE", 1, false, "stream_purge_response", purge_stream},
    {"STREAM.MSG.GET", 1, false, "stream_msg_get_response", query_msg_get},
    {"STREAM.MSG.DELETE", 1, false, "stream_msg_delete_response", purge_message},
    {"STREAM.SNAPSHOT", 1, false, "stream_snapshot_response", snapshot_stream},
    {"STREAM.RESTORE", 1, false, "stream_restore_response", NULL},
    {"STREAM.LEADER.STEPDOWN", 1, false, "stream_leader_stepdown_response", run_clustered},
    {"STREAM.PEER.REMOVE", 1, false, "stream_remove_peer_response", run_clustered},
    {"STREAM.PEER.EVACUATE", 1, false, "stream_evacuate_peer_response", run_clustered},
    {"STREAM.CANCEL_MOVE", 1, false, "stream_cancel_move_response", run_clustered},
    {"CONSUMER.CREATE", 1, true, "consumer_create_response", consumer_api_create},
    {"CONSUMER.DURABLE.CREATE", 2, false, "consumer_create_response", consumer_api_create_durable},
    {"CONSUMER.INFO", 2, false, "consumer_info_response", consumer_api_info},
    {"CONSUMER.DELETE", 2, false, "consumer_delete_response", consumer_api_delete},
    {"CONSUMER.NAMES", 1, false, "consumer_names_response", consumer_api_names},
    {"CONSUMER.LIST", 1, false, "consumer_list_response", consumer_api_list},
    {"CONSUMER.PAUSE", 2, false, "consumer_pause_response", consumer_api_pause},
    {"CONSUMER.LEADER.STEPDOWN", 2, false, "consumer_leader_stepdown_response", run_clustered},
    {"CONSUMER.PEER.REMOVE", 2, false, "consumer_remove_peer_response", run_clustered},
    {"CONSUMER.PEER.EVACUATE", 2, false, "consumer_evacuate_peer_response", run_clustered},
};

/* The first token of `rest`, which moves behind it and its dot; empty when there is none. */
static struct bytes take_token(struct bytes *rest)
{
    const char *dot = rest->count == 0 ? NULL : memchr(rest->data, '.', rest->count);
    struct bytes token = {rest->data, dot == NULL ? rest->count : (size_t)(dot - rest->data)};
    *rest = bytes_after(*rest, dot == NULL ? rest->count : token.count + 1);
    return token;
}

static const struct endpoint *find_endpoint(struct bytes subject, struct bytes *rest_out)
{
    for (unsigned i = 0; i < COUNT_OF(endpoints); i++) {
        struct bytes prefix = bytes_of_text(endpoints[i].prefix);
        if (!bytes_start_with(subject, prefix))
            continue;
        if (subject.count == prefix.count) {
            *rest_out = (struct bytes){0};
            return endpoints[i].names == 0 ? &endpoints[i] : NULL;
        }
        if (subject.data[prefix.count] == '.' && endpoints[i].names > 0) {
            *rest_out = bytes_after(subject, prefix.count + 1);
            return &endpoints[i];
        }
    }
    return NULL;
}

/* Nats-Required-Api-Level: an integer we do not reach, or no integer, is refused. */
static bool level_is_reached(const struct msg *msg)
{
    struct bytes value;
    uint64_t level;
    if (msg->headers.count == 0
        || !msg_header(msg->headers, BYTES_LITERAL("Nats-Required-Api-Level"), &value)
        || value.count == 0)
        return true;
    bool is_negative = value.data[0] == '-';
    if (!text_parse_u64(bytes_after(value, is_negative), &level))
        return false;
    return is_negative || level <= KV_API_LEVEL;
}

static void refuse_level(struct kv *kv, const char *type, const struct origin *origin,
                         const struct msg *msg)
{
    request_fail_with(request_create(kv, type, origin, msg, (struct bytes){0}), API_REQUIRED_LEVEL);
}

static void run_at_home(struct kv *kv, const char *type, uint32_t account, const struct msg *msg,
                        struct bytes stream_name)
{
    if (strcmp(type, "stream_create_response") == 0)
        catalog_create_stream(kv, account, msg, stream_name);
    else if (strcmp(type, "stream_update_response") == 0)
        catalog_update_stream(kv, account, msg, stream_name);
    else if (strcmp(type, "stream_restore_response") == 0)
        catalog_restore_stream(kv, account, msg, stream_name);
    else
        catalog_delete_stream(kv, account, msg, stream_name);
}

static void api_request(struct kv *kv, const struct origin *origin, const struct msg *msg,
                        struct bytes subject)
{
    struct bytes rest;
    gathering_flush(kv); /* a connection's puts before its questions */
    const struct endpoint *endpoint = find_endpoint(subject, &rest);
    if (endpoint == NULL)
        return;
    struct bytes stream_name = {0}, name = {0};
    if (endpoint->names >= 1)
        stream_name = take_token(&rest);
    if (endpoint->names >= 2 || (endpoint->takes_tail && rest.count > 0))
        name = take_token(&rest);
    if ((endpoint->names >= 2 && name.count == 0) || (rest.count > 0 && !endpoint->takes_tail))
        return;
    if (!account_is_enabled(kv, origin->account)) {
        request_fail_with(request_create(kv, endpoint->type, origin, msg, (struct bytes){0}),
                          API_NOT_ENABLED_FOR_ACCOUNT);
        return;
    }
    if (!level_is_reached(msg)) {
        refuse_level(kv, endpoint->type, origin, msg);
        return;
    }
    if (endpoint->run == NULL) {
        run_at_home(kv, endpoint->type, origin->account, msg, stream_name);
        return;
    }
    struct request *request = request_create(kv, endpoint->type, origin, msg, stream_name);
    text_append(&request->name, name);
    text_append(&request->tail, rest);
    endpoint->run(request);
}

static bool has_empty_token(struct bytes subject)
{
    if (subject.count == 0 || subject.data[0] == '.' || subject.data[subject.count - 1] == '.')
        return true;
    return memmem(subject.data, subject.count, "..", 2) != NULL;
}

/* The stream itself, or, where it does not answer, a mirror of it that does so in its place. */
static struct stream *direct_stream(const struct kv *kv, uint32_t account, struct bytes name)
{
    struct stream *stream = stream_by_name(&kv->streams, account, name);
    if (stream != NULL && stream->is_visible && stream->config.allow_direct)
        return stream;
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        stream = kv->streams.by_id[i];
        if (stream != NULL && stream->is_visible && stream->config.mirror_direct
            && stream->account == account && stream->config.mirror != NULL
            && bytes_equal(text_bytes(&stream->config.mirror->name), name))
            return stream;
    }
    return NULL;
}

static enum kv_take api_direct_get(struct kv *kv, const struct origin *origin,
                                   const struct msg *msg, struct bytes rest)
{
    struct bytes stream_name = take_token(&rest);
    struct stream *stream = direct_stream(kv, origin->account, stream_name);
    if (stream == NULL || !account_is_enabled(kv, origin->account)
        || (rest.count == 0 && msg->subject.data[msg->subject.count - 1] == '.')
        || (rest.count > 0 && has_empty_token(rest)))
        return KV_NONE;
    if (msg->reply.count == 0)
        return KV_TAKEN;
    if (!level_is_reached(msg)) {
        struct msg status = {
            .subject = msg->reply,
            .headers = BYTES_LITERAL("NATS/1.0 412 Required Api Level\r\n\r\n"),
        };
        kv->outbox->answer(kv->outbox, origin, &status);
    } else if (rest.count > 0) {
        query_direct_subject(stream, origin, msg, rest);
    } else {
        query_direct_json(stream, origin, msg);
    }
    return KV_TAKEN;
}

enum kv_take api_publish(struct kv *kv, const struct origin *origin, const struct msg *msg)
{
    static const char direct[] = "$JS.API.DIRECT.GET.";
    if (bytes_start_with(msg->subject, BYTES_LITERAL("$JS.FC.")))
        return consumers_on_flow_control(kv, origin->account, msg->subject) ? KV_TAKEN : KV_NONE;
    if (bytes_start_with(msg->subject, BYTES_LITERAL("$JS.SNAPSHOT.ACK.")))
        return snapshots_on_ack(kv, origin->account, msg->subject) ? KV_TAKEN : KV_NONE;
    if (bytes_start_with(msg->subject, BYTES_LITERAL("$JS.SNAPSHOT.RESTORE.")))
        return restores_on_chunk(kv, origin, msg);
    if (bytes_start_with(msg->subject, BYTES_LITERAL("$JS.ACK.")))
        return consumers_on_ack(kv, origin->account, msg) ? KV_TAKEN : KV_NONE;
    if (bytes_start_with(msg->subject, BYTES_LITERAL("$JS.API.DIRECT.GET.")))
        return api_direct_get(kv, origin, msg, bytes_after(msg->subject, sizeof direct - 1));
    if (!bytes_start_with(msg->subject, BYTES_LITERAL("$JS.API.")) || has_empty_token(msg->subject))
        return KV_NONE;
    if (bytes_start_with(msg->subject, BYTES_LITERAL("$JS.API.CONSUMER.MSG.NEXT."))
        || bytes_equal(msg->subject, BYTES_LITERAL("$JS.API.DIRECT.GET")))
        return KV_NONE;
    api_request(kv, origin, msg, bytes_after(msg->subject, 8));
    return KV_TAKEN;
}
