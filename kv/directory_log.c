/*
 * kv/directory_log.c: consumers in the home shard's log.
 *
 *     KV_RECORD_CONSUMER           all of a consumer: configuration, progress. At its creation, after an update, restated
 *     KV_RECORD_CONSUMER_PROGRESS  what changed since: operations of kv/progress, of one flush of the consumer
 *     KV_RECORD_CONSUMER_DELETED   it is gone
 *
 * All of one consumer is in this one log, in the order it happened, so the copy kept here is what recovery will find. A record
 * of progress that the log has no room for becomes a whole one, which says it all, and what comes meanwhile waits behind it.
 *
 * Runs on: the home shard, but for the sending functions.
 */
#include "kv/directory_room.h"

#include "kv/ack_routes.h"
#include "kv/consumer.h"

enum { PAST_HAS_POSITION = 1, PAST_HAS_OPERATIONS = 2 };

/* A whole record's value: this, operations if it says so (u64 count, then them), configuration JSON. */
struct consumer_past {
    uint64_t created_ns;
    uint64_t consumer_seq, stream_seq; /* before there were operations: delivered */
    uint64_t flags;
};

/* ---- writing ---- */

bool directory_has_room(struct kv *kv, size_t name_bytes, size_t config_bytes)
{
    struct record record = {
        .key = {NULL, name_bytes},
        .value = {NULL, sizeof(struct consumer_past) + sizeof(uint64_t)
                            + 2 * sizeof(struct progress_operation) + config_bytes},
    };
    return store_has_room(kv->store, record_bytes(&record));
}

static struct record entry_record(struct kv *kv, const struct directory_entry *entry, uint8_t type)
{
    return (struct record){
        .type = type,
        .flags = RECORD_IS_STATE,
        .stream_id = entry->stream_id,
        .time_ns = shard_wall_ns(kv->shard),
        .key = bytes_of(entry->name, entry->name_bytes),
    };
}

static enum status snapshot_append(struct kv *kv, const struct directory_entry *entry,
                                   struct store_wait *wait)
{
    struct text value = {0}, operations = {0};
    location where;
    progress_append_snapshot(&operations, &entry->progress);
    uint64_t count = operations.count / sizeof(struct progress_operation);
    struct consumer_past past = {entry->created_ns, entry->progress.consumer_seq,
                                 entry->progress.stream_seq,
                                 entry->has_position ? PAST_HAS_POSITION | PAST_HAS_OPERATIONS : 0};
    text_append(&value, bytes_of(&past, sizeof past));
    if (entry->has_position) {
        text_append(&value, bytes_of(&count, sizeof count));
        text_append(&value, text_bytes(&operations));
    }
    text_append(&value, text_bytes(&entry->config));
    struct record record = entry_record(kv, entry, KV_RECORD_CONSUMER);
    record.value = text_bytes(&value);
    enum status status = store_append(kv->store, &record, &where, wait);
    text_free(&value);
    text_free(&operations);
    return status;
}

/*
 * The deletion of one that goes by itself is no removal: were it, each watch that ends would pin a segment. At worst such a
 * consumer comes back, nobody subscribes, and it goes after its threshold.
 */
static enum status deletion_append(struct kv *kv, const struct directory_entry *entry,
                                   struct store_wait *wait)
{
    location where;
    struct record record = entry_record(kv, entry, KV_RECORD_CONSUMER_DELETED);
    record.flags = entry->is_durable ? RECORD_REMOVES : RECORD_IS_STATE;
    return store_append(kv->store, &record, &where, wait);
}

/* An answer that waits until a record is durable. */
struct entry_wait {
    struct store_wait wait;
    struct kv *kv;
    struct gather *gather;
    struct directory_entry *entry; /* of a deletion: owns, and the record says it is gone */
    struct directory_result_part answer;
    uint32_t to, stream_id;
    bool is_waiting; /* for room */
    struct text name;
};

static void entry_wait_answer(struct store_wait *wait)
{
    struct entry_wait *waiting = CONTAINER_OF(wait, struct entry_wait, wait);
    if (waiting->gather != NULL)
        *(struct directory_result_part *)gather_answer(waiting->kv->shard, waiting->gather,
                                                       waiting->to, sizeof waiting->answer) =
            waiting->answer;
    if (waiting->entry != NULL)
        directory_entry_free(waiting->entry);
    text_free(&waiting->name);
    heap_free(waiting);
}

/* Appends what is true now; without room, tries again when there may be some. */
static void entry_wait_try(struct store_wait *wait)
{
    struct entry_wait *waiting = CONTAINER_OF(wait, struct entry_wait, wait);
    struct kv *kv = waiting->kv;
    struct directory_entry *entry = waiting->entry;
    wait->on_durable = entry_wait_answer;
    if (entry == NULL)
        entry = *directory_link(kv->directory, waiting->stream_id, text_bytes(&waiting->name));
    if (entry == NULL) { /* gone again while the log had no room */
        entry_wait_answer(wait);
        return;
    }
    enum status status = waiting->entry != NULL ? deletion_append(kv, entry, wait)
                                                : snapshot_append(kv, entry, wait);
    if (status == STATUS_OK) {
        if (waiting->is_waiting && entry->waiting_count > 0)
            entry->waiting_count--;
        return;
    }
    entry->waiting_count += !waiting->is_waiting;
    waiting->is_waiting = true;
    wait->on_durable = entry_wait_try;
    store_wait_room(kv->store, wait);
}

static struct entry_wait *entry_wait_create(struct kv *kv, struct gather *gather, uint32_t to)
{
    struct entry_wait *waiting = heap_alloc_zeroed(kv->shard->heap, sizeof *waiting);
    waiting->kv = kv;
    waiting->gather = gather;
    waiting->to = to;
    return waiting;
}

static struct entry_wait *entry_wait_for(struct kv *kv, const struct directory_entry *entry,
                                         struct gather *gather, uint32_t to)
{
    struct entry_wait *waiting = entry_wait_create(kv, gather, to);
    waiting->answer = (struct directory_result_part){DIRECTORY_FOUND, entry->shard};
    waiting->stream_id = entry->stream_id;
    text_append(&waiting->name, bytes_of(entry->name, entry->name_bytes));
    return waiting;
}

void directory_write(struct kv *kv, struct directory_entry *entry, struct gather *gather,
                     uint32_t to, const struct directory_result_part *answer)
{
    struct entry_wait *waiting = entry_wait_for(kv, entry, gather, to);
    waiting->answer = *answer;
    entry_wait_try(&waiting->wait);
}

void directory_write_deleted(struct kv *kv, struct directory_entry *entry, struct gather *gather,
                             uint32_t to)
{
    struct entry_wait *waiting = entry_wait_create(kv, gather, to);
    waiting->entry = entry;
    if (entry != NULL && entry->is_kept)
        entry_wait_try(&waiting->wait);
    else
        entry_wait_answer(&waiting->wait);
}

/* ---- progress and updates ---- */

struct directory_change { /* then the name, then operations or a configuration */
    struct gather *gather;
    uint32_t stream_id, name_bytes;
    uint64_t created_ns;
    uint32_t more_bytes, is_durable;
};

static void change_send(struct stream *stream, const struct directory_consumer *of,
                        struct gather *gather, struct bytes more, mailbox_handler_fn *handler)
{
    struct directory_change *change =
        gather_ask(stream->kv, gather, KV_HOME_SHARD, handler,
                   (uint32_t)(sizeof *change + of->name.count + more.count));
    *change = (struct directory_change){.gather = gather,
                                        .stream_id = stream->id,
                                        .name_bytes = (uint32_t)of->name.count,
                                        .created_ns = of->created_ns,
                                        .more_bytes = (uint32_t)more.count,
                                        .is_durable = of->is_durable};
    memcpy(change + 1, of->name.data, of->name.count);
    if (more.count > 0)
        memcpy((char *)(change + 1) + of->name.count, more.data, more.count);
}

static struct directory_entry *change_entry(struct kv *kv, const struct directory_change *change)
{
    struct directory_entry *entry = *directory_link(directory_of(kv), change->stream_id,
                                                    bytes_of(change + 1, change->name_bytes));
    return entry != NULL && entry->is_kept && entry->created_ns == change->created_ns ? entry
                                                                                      : NULL;
}

static struct bytes change_more(const struct directory_change *change)
{
    return bytes_of((const char *)(change + 1) + change->name_bytes, change->more_bytes);
}

static void change_answer(struct kv *kv, const struct directory_change *change, uint32_t to,
                          enum directory_result result)
{
    *(struct directory_result_part *)gather_answer(kv->shard, change->gather, to,
                                                   sizeof(struct directory_result_part)) =
        (struct directory_result_part){result, to};
}

static void operations_apply(struct directory_entry *entry, struct bytes operations)
{
    struct progress_operation operation;
    for (; operations.count >= sizeof operation;
         operations = bytes_after(operations, sizeof operation)) {
        memcpy(&operation, operations.data, sizeof operation);
        entry->has_position = true;
        progress_apply(&entry->progress, &operation);
    }
}

/* A record of progress: creation time of the consumer, then operations. */
static enum status progress_append(struct kv *kv, const struct directory_entry *entry,
                                   struct bytes operations, struct store_wait *wait)
{
    struct text value = {0};
    location where;
    text_append(&value, bytes_of(&entry->created_ns, sizeof entry->created_ns));
    text_append(&value, operations);
    struct record record = entry_record(kv, entry, KV_RECORD_CONSUMER_PROGRESS);
    record.value = text_bytes(&value);
    enum status status = store_append(kv->store, &record, &where, wait);
    text_free(&value);
    return status;
}

static void directory_on_progress(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct directory_change *change = payload;
    struct kv *kv = kv_of(shard);
    struct directory_entry *entry = change_entry(kv, change);
    if (entry == NULL) { /* deleted meanwhile */
        change_answer(kv, change, from, DIRECTORY_ABSENT);
        return;
    }
    operations_apply(entry, change_more(change));
    struct entry_wait *waiting = entry_wait_for(kv, entry, change->gather, from);
    waiting->wait.on_durable = entry_wait_answer;
    if (entry->waiting_count == 0
        && progress_append(kv, entry, change_more(change), &waiting->wait) == STATUS_OK)
        return;
    entry_wait_try(&waiting->wait);
}

void directory_progress(struct stream *stream, const struct directory_consumer *of,
                        struct bytes operations, struct gather *gather)
{
    change_send(stream, of, gather, operations, directory_on_progress);
}

static void directory_on_update(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    struct directory_change *change = payload;
    struct kv *kv = kv_of(shard);
    struct directory_entry *entry = change_entry(kv, change);
    if (entry == NULL) {
        change_answer(kv, change, from, DIRECTORY_ABSENT);
        return;
    }
    size_t entries = (entry->progress.count + 2) * sizeof(struct progress_operation);
    if (!directory_has_room(kv, change->name_bytes, change->more_bytes + entries)) {
        change_answer(kv, change, from, DIRECTORY_NO_SPACE);
        return;
    }
    text_clear(&entry->config);
    text_append(&entry->config, change_more(change));
    entry->is_durable = change->is_durable != 0;
    directory_write(kv, entry, change->gather, from,
                    &(struct directory_result_part){DIRECTORY_FOUND, entry->shard});
}

void directory_update(struct stream *stream, const struct directory_consumer *of,
                      struct bytes config_json, struct gather *gather)
{
    change_send(stream, of, gather, config_json, directory_on_update);
}

/* ---- recovery ---- */

static void replay_whole(struct directory_entry *entry, struct bytes value)
{
    struct consumer_past past;
    memcpy(&past, value.data, sizeof past);
    value = bytes_after(value, sizeof past);
    struct heap *heap = entry->progress.heap;
    progress_free(&entry->progress);
    entry->progress.heap = heap;
    entry->is_kept = true;
    entry->created_ns = past.created_ns;
    entry->has_position = (past.flags & PAST_HAS_POSITION) != 0;
    entry->progress.consumer_seq = past.consumer_seq;
    entry->progress.stream_seq = past.stream_seq;
    uint64_t count = 0;
    if ((past.flags & PAST_HAS_OPERATIONS) != 0 && value.count >= sizeof count) {
        memcpy(&count, value.data, sizeof count);
        value = bytes_after(value, sizeof count);
        size_t bytes = count * sizeof(struct progress_operation);
        ASSERT(bytes <= value.count);
        operations_apply(entry, bytes_of(value.data, bytes));
        value = bytes_after(value, bytes);
    }
    text_clear(&entry->config);
    text_append(&entry->config, value);
}

/*
 * Streams are not there yet when records are read: entries wait in the table under their stream's id, on no shard. A stream that is
 * not adopted takes its entries with it.
 */
void directory_replay(struct kv *kv, const struct record *record)
{
    struct directory *directory = directory_of(kv);
    struct directory_entry **link = directory_link(directory, record->stream_id, record->key);
    if (record->type == KV_RECORD_CONSUMER_DELETED) {
        if (*link != NULL)
            directory_entry_free(directory_take(kv, link));
        return;
    }
    if (record->type == KV_RECORD_CONSUMER_PROGRESS) {
        uint64_t created_ns = 0;
        if (record->value.count >= sizeof created_ns)
            memcpy(&created_ns, record->value.data, sizeof created_ns);
        if (*link != NULL && (*link)->created_ns == created_ns)
            operations_apply(*link, bytes_after(record->value, sizeof created_ns));
        return; /* else a whole record follows that says it all */
    }
    if (record->value.count <= sizeof(struct consumer_past))
        return;
    if (*link == NULL) {
        struct stream unknown = {.id = record->stream_id};
        (void)directory_add(kv, &unknown, record->key, KV_HOME_SHARD);
        link = directory_link(directory, record->stream_id, record->key);
    }
    replay_whole(*link, record->value);
}

struct consumer_restore { /* home to the shard that gets it; then name, operations, configuration */
    uint64_t created_ns;
    uint32_t stream_id, name_bytes, operations_bytes, config_bytes;
    uint64_t has_position;
};

static void directory_on_restore(struct shard *shard, void *payload, uint32_t bytes, uint32_t from)
{
    (void)bytes;
    (void)from;
    struct consumer_restore *restore = payload;
    struct stream *stream = stream_by_id(&kv_of(shard)->streams, restore->stream_id);
    ASSERT(stream != NULL); /* adopted before, by the same sender */
    const char *at = (const char *)(restore + 1);
    struct consumer_found found = {
        .created_ns = restore->created_ns,
        .has_position = restore->has_position != 0,
        .name = bytes_of(at, restore->name_bytes),
        .operations = bytes_of(at + restore->name_bytes, restore->operations_bytes),
        .config_json =
            bytes_of(at + restore->name_bytes + restore->operations_bytes, restore->config_bytes),
    };
    consumer_restore(stream, &found);
}

static void entry_restore(struct kv *kv, struct stream *stream, struct directory_entry *entry)
{
    struct text operations = {0};
    progress_append_snapshot(&operations, &entry->progress);
    stream->directory_count++;
    entry->shard = (uint32_t)(entry->hash % kv->shard->count);
    struct consumer_config config = {0};
    consumer_config_restore(&config, text_bytes(&entry->config));
    entry->is_durable = config.durable_name.count > 0;
    if (config.ack_policy != ACK_NONE) /* known everywhere before anybody may connect */
        ack_routes_tell(kv, stream, bytes_of(entry->name, entry->name_bytes), entry->shard);
    consumer_config_free(&config);
    struct consumer_restore *restore = mailbox_reserve(
        kv->shard, entry->shard, directory_on_restore,
        (uint32_t)(sizeof *restore + entry->name_bytes + operations.count + entry->config.count));
    *restore = (struct consumer_restore){
        .created_ns = entry->created_ns,
        .stream_id = entry->stream_id,
        .name_bytes = entry->name_bytes,
        .operations_bytes = (uint32_t)operations.count,
        .config_bytes = (uint32_t)entry->config.count,
        .has_position = entry->has_position,
    };
    char *at = (char *)(restore + 1);
    memcpy(at, entry->name, entry->name_bytes);
    memcpy(at + entry->name_bytes, operations.data, operations.count);
    memcpy(at + entry->name_bytes + operations.count, entry->config.data, entry->config.count);
    text_free(&operations);
}

void directory_restore_all(struct kv *kv)
{
    struct directory *directory = directory_of(kv);
    for (uint32_t i = 0; i < directory->chain_count; i++) {
        struct directory_entry **link = &directory->chains[i];
        while (*link != NULL) {
            struct stream *stream = stream_by_id(&kv->streams, (*link)->stream_id);
            if (stream == NULL || stream->order == NULL) {
                directory_entry_free(directory_take(kv, link));
                continue;
            }
            entry_restore(kv, stream, *link);
            link = &(*link)->next;
        }
    }
}

MUST_USE enum status directory_restate(struct kv *kv, uint32_t stream_id)
{
    struct directory *directory = directory_of(kv);
    for (uint32_t i = 0; i < directory->chain_count; i++) {
        for (struct directory_entry *entry = directory->chains[i]; entry != NULL;
             entry = entry->next) {
            if (entry->stream_id != stream_id || !entry->is_kept)
                continue;
            enum status status = snapshot_append(kv, entry, NULL);
            if (status != STATUS_OK)
                return status;
        }
    }
    return STATUS_OK;
}
