/*
 * bench/wire.h: the NATS text protocol as a load generator needs it: frames cut out of a buffer in
 * place, fixed-width digits, and the few header and JSON fields that tell whether an answer is right.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
    const char *data;
    size_t count;
};

enum frame_kind {
    FRAME_PARTIAL, /* the buffer ends before the frame does */
    FRAME_MSG,     /* MSG or HMSG */
    FRAME_PING,
    FRAME_PONG,
    FRAME_INFO,
    FRAME_OK,
    FRAME_ERROR,
    FRAME_BROKEN, /* not NATS */
};

/* Points into the buffer it was cut from. */
struct frame {
    enum frame_kind kind;
    uint32_t sid;
    size_t total_count; /* bytes of the whole frame */
    struct text subject;
    struct text reply;
    struct text headers; /* empty for MSG */
    struct text payload; /* for INFO and ERROR: the rest of the line */
};

enum {
    KEY_DIGITS = 8, /* keys are "k" and eight digits, so that requests of a kind have one length */
    KEY_BYTES = 1 + KEY_DIGITS,
    SLOT_DIGITS = 4,
    SEQ_DIGITS_MAX = 20,
};

void frame_cut(struct frame *frame, const char *data, size_t count);

void write_digits_8(char *out, uint32_t value);
void write_digits_4(char *out, uint32_t value);
/* Without leading zeros; returns the number of digits. */
size_t write_number(char *out, uint64_t value);
void write_hex_16(char *out, uint64_t value);

/* Reads digits up to the first other byte. False if there is none or the number is too large. */
bool read_number(struct text text, uint64_t *value_out, size_t *digits_out);
bool read_hex_16(const char *data, uint64_t *value_out);

/* The value of a header, without blanks around it; empty if the header is not there. */
struct text header_find(struct text headers, const char *name);
/* The three digits after NATS/1.0; 0 if there is no status. */
uint32_t header_status(struct text headers);

/* The number after "name": in flat JSON text. Not a JSON parser: enough for PubAcks and pending. */
bool json_number(struct text json, const char *name, uint64_t *value_out);
/* The string after "name":, up to the next quote; empty if it is not there. */
struct text json_string(struct text json, const char *name);
bool text_contains(struct text text, const char *part);

static inline bool text_equals(struct text text, const char *data, size_t count)
{
    return text.count == count && memcmp(text.data, data, count) == 0;
}

static inline bool text_starts(struct text text, const char *prefix, size_t count)
{
    return text.count >= count && memcmp(text.data, prefix, count) == 0;
}

#endif
