/*
 * bench/bucket.c: creating a bucket with the request that nats.go sends, and deleting it.
 */
#include "bench/bucket.h"

#include "bench/options.h"
#include "bench/session.h"

#include <stdio.h>
#include <stdlib.h>

static void request_or_exit(struct session *session, const char *subject, const char *body,
                            const char *allowed_error);

void bucket_delete(struct session *session, const struct options *options)
{
    char subject[256];
    snprintf(subject, sizeof(subject), "$JS.API.STREAM.DELETE.KV_%s", options->bucket);
    request_or_exit(session, subject, "", "\"err_code\":10059");
}

void bucket_create(struct session *session, const struct options *options)
{
    char subject[256];
    char body[1024];
    snprintf(subject, sizeof(subject), "$JS.API.STREAM.CREATE.KV_%s", options->bucket);
    snprintf(body, sizeof(body),
             "{\"name\":\"KV_%s\",\"subjects\":[\"$KV.%s.\\u003e\"],\"retention\":\"limits\","
             "\"max_consumers\":-1,\"max_msgs\":-1,\"max_bytes\":-1,\"discard\":\"new\","
             "\"max_age\":0,\"max_msgs_per_subject\":%u,\"max_msg_size\":-1,\"storage\":\"%s\","
             "\"num_replicas\":1,\"duplicate_window\":120000000000,\"deny_delete\":true,"
             "\"allow_rollup_hdrs\":true,\"compression\":\"none\",\"allow_direct\":true,"
             "\"mirror_direct\":false,\"consumer_limits\":{}}",
             options->bucket, options->bucket, options->history,
             options->is_memory ? "memory" : "file");
    request_or_exit(session, subject, body, NULL);
}

static void request_or_exit(struct session *session, const char *subject, const char *body,
                            const char *allowed_error)
{
    struct frame answer;
    char error[256];
    if (!session_request(session, subject, body, &answer, error, sizeof(error))) {
        fprintf(stderr, "pail-bench: %s\n", error);
        exit(1);
    }
    if (!text_contains(answer.payload, "\"error\""))
        return;
    if (allowed_error != NULL && text_contains(answer.payload, allowed_error))
        return;
    fprintf(stderr, "pail-bench: %s: %.*s\n", subject, (int)answer.payload.count,
            answer.payload.data);
    exit(1);
}
