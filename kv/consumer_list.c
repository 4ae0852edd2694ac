/*
 * kv/consumer_list.c: the names of a stream's consumers, and what they are: gathered from all shards, in order, a page at a time.
 */
#include <stdlib.h>

#include "kv/consumer.h"
#include "kv/consumer_api.h"

enum { NAMES_LIMIT = 1024, LIST_LIMIT = 256 };

struct listed {
    struct text names; /* u32 bytes, text, u32 bytes, info */
    uint64_t count;
    int64_t offset;
    bool with_info;
};

struct list_question {
    struct gather *gather;
    uint32_t stream_id, with_info;
};

static void append_sized(struct text *out, struct bytes bytes)
{
    uint32_t count = (uint32_t)bytes.count;
    text_append(out, bytes_of(&count, sizeof count));
    text_append(out, bytes);
}

/* This shard's part, until what it tells is durable. */
struct list_answer {
    struct gather *gather;
    struct shard *shard;
    uint32_t to, waiting;
    struct text out;
    struct list_wait {
        struct flush_wait wait;
        struct list_answer *answer;
    } waits[];
};

static void list_answer_send(struct list_answer *answer)
{
    char *out =
        gather_answer(answer->shard, answer->gather, answer->to, (uint32_t)answer->out.count);
    if (answer->out.count > 0)
        memcpy(out, answer->out.data, answer->out.count);
    text_free(&answer->out);
    heap_free(answer);
}

static void list_on_durable(struct flush_wait *wait, bool is_gone)
{
    struct list_answer *answer = CONTAINER_OF(wait, struct list_wait, wait)->answer;
    (void)is_gone; /* it was there when it was asked */
    if (--answer->waiting == 0)
        list_answer_send(answer);
}

static void list_on_question(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct list_question *question = payload;
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, question->stream_id);
    struct consumer *first =
        stream == NULL || stream->feed == NULL ? NULL : stream->feed->consumers;
    uint32_t count = 0;
    for (struct consumer *consumer = first; consumer != NULL; consumer = consumer_next(consumer))
        count++;
    struct list_answer *answer =
        heap_alloc_zeroed(shard->heap, sizeof *answer + (count + 1) * sizeof(struct list_wait));
    *answer =
        (struct list_answer){.gather = question->gather, .shard = shard, .to = from, .waiting = 1};
    struct text info = {0};
    count = 0;
    for (struct consumer *consumer = first; consumer != NULL;
         consumer = consumer_next(consumer), count++) {
        struct list_wait *wait = &answer->waits[count];
        text_clear(&info);
        if (question->with_info)
            consumer_append_info(&info, consumer, false);
        append_sized(&answer->out, consumer_name(consumer));
        append_sized(&answer->out, text_bytes(&info));
        wait->answer = answer;
        wait->wait.on_durable = list_on_durable;
        if (question->with_info)
            answer->waiting += consumer_wait_flushed(consumer, &wait->wait);
    }
    text_free(&info);
    if (--answer->waiting == 0)
        list_answer_send(answer);
}

static void list_on_part(struct gather *gather, const void *part, uint32_t bytes, uint32_t from)
{
    (void)from;
    struct listed *listed = CONTAINER_OF(gather, struct request, gather)->work;
    text_append(&listed->names, bytes_of(part, bytes));
}

struct list_row {
    struct bytes name, info;
};

static int row_compare(const void *a, const void *b)
{
    return bytes_compare(((const struct list_row *)a)->name, ((const struct list_row *)b)->name);
}

static struct bytes take_sized(const char **at)
{
    uint32_t count;
    memcpy(&count, *at, sizeof count);
    struct bytes bytes = bytes_of(*at + sizeof count, count);
    *at += sizeof count + count;
    return bytes;
}

static struct list_row *list_rows(const struct listed *listed, uint64_t *count_out)
{
    const char *at = listed->names.data, *end = at + listed->names.count;
    struct list_row *rows = NULL;
    uint64_t count = 0;
    while (at < end) {
        if ((count & (count + 1)) == 0 || rows == NULL)
            rows = realloc(rows, 2 * (count + 1) * sizeof *rows);
        rows[count].name = take_sized(&at);
        rows[count++].info = take_sized(&at);
    }
    if (count > 1)
        qsort(rows, count, sizeof *rows, row_compare);
    *count_out = count;
    return rows;
}

static void list_on_done(struct gather *gather)
{
    struct request *request = CONTAINER_OF(gather, struct request, gather);
    struct listed *listed = request->work;
    uint64_t total = 0, limit = listed->with_info ? LIST_LIMIT : NAMES_LIMIT;
    struct list_row *rows = list_rows(listed, &total);
    uint64_t offset = listed->offset < 0 ? 0 : (uint64_t)listed->offset;
    if (offset > total)
        offset = total;
    struct text *text = request_begin(request);
    text_append_format(text, ",\"total\":%llu,\"offset\":%llu,\"limit\":%llu,\"consumers\":[",
                       (unsigned long long)total, (unsigned long long)offset,
                       (unsigned long long)limit);
    for (uint64_t i = offset; i < total && i < offset + limit; i++) {
        text_append_literal(text, i == offset ? "" : ",");
        if (!listed->with_info) {
            text_append_json_string(text, rows[i].name);
            continue;
        }
        text_append_literal(text, "{");
        text_append(text, rows[i].info);
        text_append_literal(text, "}");
    }
    text_append_literal(text, "]");
    free(rows);
    text_free(&listed->names);
    request_answer(request, text);
}

/* Its errors keep the members of a list. */
static void list_fail(struct request *request, enum api_error error)
{
    struct api_failure failure = {.error = error};
    request_fail(request, &failure, ",\"total\":0,\"offset\":0,\"limit\":0,\"consumers\":[]");
}

static void list_ask(struct request *request, bool with_info)
{
    static const char *const known[] = {"offset", NULL};
    int64_t offset = 0;
    if (!request_parse(request, true) || !request_members_known(request, known)
        || !request_member_i64(request, "offset", &offset))
        return;
    struct stream *stream = stream_by_name(&request->kv->streams, request->origin.account,
                                           text_bytes(&request->stream_name));
    if (stream == NULL || !stream->is_visible) {
        list_fail(request, API_STREAM_NOT_FOUND);
        return;
    }
    struct listed *listed = heap_alloc_zeroed(request->kv->shard->heap, sizeof *listed);
    listed->offset = offset;
    listed->with_info = with_info;
    request->work = listed;
    request->gather = (struct gather){.on_part = list_on_part, .on_done = list_on_done};
    for (uint32_t i = 0; i < request->kv->shard->count; i++) {
        struct list_question *question =
            gather_ask(request->kv, &request->gather, i, list_on_question, sizeof *question);
        question->stream_id = stream->id;
        question->with_info = with_info;
    }
}

void consumer_api_names(struct request *request)
{
    list_ask(request, false);
}

void consumer_api_list(struct request *request)
{
    list_ask(request, true);
}
