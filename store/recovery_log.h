/*
 * store/recovery_log.h: one recovery, between recovery.c (what is read) and recovery_log.c (how a log is read).
 */
#ifndef STORE_RECOVERY_LOG_H
#define STORE_RECOVERY_LOG_H

#include "store/parts.h"
#include "store/window.h"

enum recovery_state { RECOVERY_SYNC, RECOVERY_READ, RECOVERY_SEEK };

/* The log being read. */
struct log_state {
    uint64_t epoch;
    uint32_t log_index;
    const struct log_end *end; /* borrows; NULL: not recorded */
    uint64_t number;           /* of the last good batch */
    uint32_t chain;            /* crc of its header */
    uint64_t segment_id;       /* where it lies */
    uint64_t previous_read;    /* the last segment read; 0: none */
    bool is_cut;               /* what follows is not part of the log */
};

/* A batch that is not what it should be. */
struct bad_batch {
    uint64_t segment_id, offset, number;
    const char *what;
};

struct recovery {
    struct store *store; /* borrows */
    void *context;
    void (*on_record)(void *context, const struct record *record, location where,
                      uint32_t log_index);
    void (*on_done)(void *context, const struct store_recovery *recovery);
    struct store_recovery result;
    enum recovery_state state;
    const struct found_segment **plan; /* owns; by epoch, log, id */
    uint32_t plan_count, plan_index;
    struct op op; /* of syncs */
    io_file file; /* owns; of the segment being synced or read */
    struct window window;
    uint64_t offset;         /* in the segment, of the next batch */
    struct segment *segment; /* borrows; NULL when another store recycles it */
    struct log_state log;
    struct bad_batch bad;
};

/* The next segment to be read; NULL: none. */
const struct found_segment *recovery_planned(const struct recovery *recovery);
bool recovery_is_foreign(const struct store *store, const struct found_segment *found);
/* Ends it with that status; `why` names the file. */
void recovery_fail(struct recovery *recovery, enum status status, uint64_t segment_id,
                   uint64_t offset, const char *what);
bool recovery_open_file(struct recovery *recovery, const struct found_segment *found,
                        enum io_open_mode mode);
void recovery_close_file(struct recovery *recovery);

/* One step of reading; false: it waits for the window, or failed, or nothing is left (then no file is open). */
bool recovery_step(struct recovery *recovery);

#endif
