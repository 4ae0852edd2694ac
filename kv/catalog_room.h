/*
 * kv/catalog_room.h: what the files of the catalog share; nobody else includes it.
 *
 *     catalog.c         the queue of operations, one of which is under way; creation and deletion
 *     catalog_update.c  changing a configuration
 *     catalog_restore.c streams that come from archives
 *     catalog_step.c    what each shard does of it
 *     catalog_adopt.c   what the log says of streams: records, recovery, restating
 */
#ifndef KV_CATALOG_ROOM_H
#define KV_CATALOG_ROOM_H

#include "kv/catalog.h"

enum operation_kind {
    OPERATION_CREATE,
    OPERATION_UPDATE,
    OPERATION_DELETE,
    OPERATION_RESTORE,
    OPERATION_RESTORED,
    OPERATION_ABANDON
};

struct operation {
    struct operation *next;
    struct catalog *catalog;
    enum operation_kind kind;
    struct request *request; /* owns */
    struct stream_config config;
    struct stream_past past;
    uint32_t stream_id;
    bool is_begun;
    bool is_memory;      /* of a stream that goes: it has no record */
    bool is_trimming;    /* an update lowers the history */
    struct order *order; /* of a stream that goes */
    struct gather gather;
    struct store_wait wait;
    void (*on_recorded)(struct store_wait *wait);
};

/* A stream as the log has it, until it is adopted; afterwards only its past is kept. */
struct catalog_entry {
    bool is_there;
    uint32_t account;
    uint64_t created_ns;
    struct stream_past past;
    uint64_t
        trimmed_upto; /* up to here a change of the configuration, or recovery, trimmed to the history in force */
    struct text config; /* JSON */
};

struct catalog {
    struct kv *kv;
    struct operation *head, **tail; /* the first is under way */
    struct catalog_entry *entries;  /* by stream id */
    uint32_t capacity;
    uint32_t next_id;
    bool is_running; /* catalog_run is */
};

/* ---- catalog_step.c ---- */

/* From home to every shard; the configuration's JSON follows. */
struct step_message {
    struct gather *gather; /* NULL: no answer is wanted (recovery) */
    struct order *order;
    uint64_t created_ns;
    struct stream_past past;
    uint32_t stream_id, account, step;
};
enum { STEP_MAKE, STEP_SHOW, STEP_CONFIGURE, STEP_CLOSE, STEP_ADOPT };

/* Handler of a step_message. */
void catalog_on_step(struct shard *shard, void *payload, uint32_t bytes, uint32_t from);

/* ---- catalog_adopt.c ---- */

struct catalog_entry *catalog_entry_of(struct catalog *catalog, uint32_t id);
/* Writes what the entry says of the stream; STATUS_BUSY: the log has no room. wait may be NULL. */
MUST_USE enum status catalog_append(struct catalog *catalog, uint32_t id, struct store_wait *wait);
/* Reads a configuration that we wrote ourselves. */
void catalog_config_parse(struct stream_config *config, struct bytes json_text);

/* ---- catalog.c ---- */

void operation_end(struct operation *operation);
void operation_fail(struct operation *operation, const struct api_failure *failure);
/* Asks every shard to take a step; on_done when all have answered. */
void operation_step(struct operation *operation, uint32_t step, struct order *order,
                    void (*on_done)(struct gather *gather));
/* Writes the stream's record, waiting for room if need be; memory streams have none. */
void operation_record(struct operation *operation, void (*on_durable)(struct store_wait *wait));
/* Gathers the stream's state, answers with it, and ends the operation. */
void operation_answer_state(struct operation *operation);

/* Makes the stream of operation->config on every shard, not yet visible. */
void operation_make(struct operation *operation, void (*on_made)(struct gather *gather));
/* An operation of our own, behind those that wait; takes over the request. */
void catalog_queue(struct catalog *catalog, enum operation_kind kind, struct request *request,
                   uint32_t stream_id);

/* ---- catalog_restore.c ---- */

/* False: refused and ended. */
bool operation_read_restore(struct operation *operation);
void operation_restore(struct operation *operation);
void operation_restored(struct operation *operation);
void operation_abandon(struct operation *operation);

/* ---- catalog_update.c ---- */

void operation_update(struct operation *operation);

#endif
