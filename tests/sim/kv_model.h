/*
 * tests/sim/kv_model.h: what clients sent and what they were told, and what must therefore be true of a bucket.
 *
 *     life     one bucket from its creation to its deletion
 *     write    one publish into it: a put, a delete marker, a purge marker; each carries its number
 *     removal  a purge or a message's deletion by request
 *
 * A write is *known* when somebody saw its sequence: its ack, a get, a watcher, a listing. What is known is durable: after any
 * crash it is there, or something that may replace it is. model_check_state compares a bucket's whole content with all that.
 * Time (`…_at`) counts events; 0 means never.
 */
#ifndef TESTS_SIM_KV_MODEL_H
#define TESTS_SIM_KV_MODEL_H

#include "core/msg.h"

#define NO_EXPECTATION UINT64_MAX

enum { MODEL_KEYS = 11, MODEL_HISTORIES_MAX = 64 };
enum {
    FILTER_ALL,
    FILTER_X,
    FILTER_Y,
    FILTER_FIRST_KEY,
    FILTER_COUNT = FILTER_FIRST_KEY + MODEL_KEYS
};

enum write_kind { WRITE_PUT, WRITE_DELETE, WRITE_PURGE };
enum write_fate { FATE_OPEN, FATE_ACKED, FATE_REFUSED, FATE_LOST };

struct life;

struct write {
    uint64_t number; /* 1 and up, in the order sent */
    struct life *life;
    uint32_t key, conn, run;
    enum write_kind kind;
    enum write_fate fate;
    bool has_number_header;
    uint32_t value_bytes;
    uint64_t expected; /* of a CAS; else NO_EXPECTATION */
    uint64_t seq;      /* 0: not known */
    uint64_t sent_at, known_at;
    bool is_here; /* in the content being checked */
    bool is_gone; /* was missing once when all was quiet: never comes back */
};

struct removal {
    uint32_t filter;
    uint64_t keep; /* of the matches; 0: none */
    uint64_t seq;  /* this message only; 0: all matches */
    uint64_t sent_at, acked_at;
};

/* A configured history, and when it was in force: surely from acked_at to next_at, perhaps from sent_at on. */
struct history {
    int64_t keep;
    uint64_t sent_at, acked_at, next_at, ended_at;
};

struct seq_slot {
    struct write *write;
    uint32_t key_plus_1; /* a refusal named it as this key's; 0: none did */
};

enum life_state { LIFE_CREATING, LIFE_PRESENT, LIFE_DELETING, LIFE_GONE };

struct life {
    struct life *next;
    uint32_t bucket, number;
    enum life_state state;
    bool is_memory, has_deny_delete;
    int64_t bytes_max; /* -1: no limit */
    struct history histories[MODEL_HISTORIES_MAX];
    uint32_t history_count;
    struct seq_slot *slots; /* owns; by sequence */
    uint64_t slot_count;
    struct write **writes; /* owns the array and the writes; in the order sent */
    uint32_t write_count;
    struct removal **removals; /* owns both */
    uint32_t removal_count;
    uint64_t shown_last; /* highest sequence that anybody was shown */
    uint64_t shown_of_key[MODEL_KEYS];
    bool is_key_deleted[MODEL_KEYS];            /* a message of it was deleted by its sequence */
    uint64_t base_seq, known_in_run, burnt_max; /* since the last check */
};

struct kv_model {
    uint64_t now, write_next;
    uint32_t run, life_next;
    struct life *lives; /* owns */
};

extern uint64_t kv_model_seed; /* for messages */
void kv_model_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void kv_model_free(struct kv_model *model);

const char *model_key(uint32_t key);
const char *model_filter(uint32_t filter); /* behind the bucket's prefix */
bool model_filter_matches(uint32_t filter, uint32_t key);

struct life *model_life(struct kv_model *model, uint32_t bucket);
void model_history_sent(struct kv_model *model, struct life *life, int64_t keep);
/* The newest history that was sent is the one in force, or the one before it is (is_taken false). */
void model_history_decided(struct kv_model *model, struct life *life, bool is_taken);
bool model_history_is_open(const struct life *life);
int64_t model_history(const struct life *life); /* in force, or asked for */

struct write *model_write(struct kv_model *model, struct life *life, uint32_t key);
struct removal *model_removal(struct kv_model *model, struct life *life, uint32_t filter);
/* The payload of a put: value_bytes of it. */
void model_fill_value(const struct write *write, char *out);
/* The write that made this message, every byte of which is checked. */
struct write *model_recognize(const struct life *life, const struct msg *msg);

/* Somebody saw the write's sequence. */
void model_learn(struct kv_model *model, struct write *write, uint64_t seq);
/* Somebody was told that seq is the key's last; 0: the key has none. floor: shown_of_key when the question was sent. */
void model_learn_last(struct kv_model *model, struct life *life, uint32_t key, uint64_t floor,
                      uint64_t seq);
/* Surely not there any more when the question was sent: pushed out by history or a purge marker. */
bool model_is_replaced(const struct write *write, uint64_t before);

/* A crash: what is open may have happened, or not. */
void model_crash(struct kv_model *model);
/* All is quiet; the writes that are in the bucket are marked is_here. last_seq: as stream info tells it. */
void model_check_state(struct kv_model *model, struct life *life, uint64_t last_seq,
                       bool is_after_crash);

#endif
