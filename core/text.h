/*
 * core/text.h: a growing text buffer, and the small formats that answers are made of.
 */
#ifndef CORE_TEXT_H
#define CORE_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"

/* Owns data (malloc family of core/heap); starts zeroed; reuse with text_clear, end with text_free. */
struct text {
    char *data;
    size_t count, capacity;
};

void text_free(struct text *text);
void text_clear(struct text *text);
char *text_reserve(struct text *text, size_t bytes); /* room for that many more; data may move */
void text_append(struct text *text, struct bytes bytes);
void text_append_literal(struct text *text, const char *literal);
void text_append_u64(struct text *text, uint64_t number);
void text_append_i64(struct text *text, int64_t number);
void text_append_format(struct text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A JSON string with quotes; escapes as Go does (<, >, & as \u003c…; invalid UTF-8 as \ufffd). */
void text_append_json_string(struct text *text, struct bytes bytes);
/* Standard base64 with padding, no quotes. */
void text_append_base64(struct text *text, struct bytes bytes);
/* RFC 3339 in UTC, up to nine fraction digits, trailing zeros cut; 0 is "0001-01-01T00:00:00Z". No quotes. */
void text_append_time(struct text *text, uint64_t unix_ns);
/* A Go duration: 1h0m0s, 1.5s, 250ms. */
void text_append_duration(struct text *text, int64_t ns);

static inline struct bytes text_bytes(const struct text *text)
{
    return bytes_of(text->data, text->count);
}

/* Writes decimal digits at `out` (room for 20) and gives their number. */
unsigned text_u64(char *out, uint64_t number);
/* Only digits, 1 to 19 of them, no sign; false otherwise or on overflow. */
bool text_parse_u64(struct bytes digits, uint64_t *number_out);
/* RFC 3339 with any offset to Unix ns (saturating at 0); false when it is not one. */
bool text_parse_time(struct bytes text, uint64_t *unix_ns_out);
/* A Go duration (1h, 1m30s, 1.5s, +5s); false when it is not one. */
bool text_parse_duration(struct bytes text, int64_t *ns_out);

#endif
