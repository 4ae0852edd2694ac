/*
 * core/config_reader.h: what the files of the configuration reader share: a place in a text, the arena of the tree that is
 * made from it, and how reading fails. core/config.c reads the structure, core/config_scalar.c the values.
 */
#ifndef CORE_CONFIG_READER_H
#define CORE_CONFIG_READER_H

#include "core/config.h"

enum { READER_BLOCK_BYTES = 64 * 1024, READER_END = -1 };

struct config_block {
    struct config_block *next;
    size_t used_bytes, size_bytes;
    _Alignas(16) char data[];
};

struct config {
    struct config_block *blocks; /* owns; the first one is being filled */
    size_t total_bytes;
    struct config_value *root;
    struct text scratch; /* owns; the string being read */
};

/* The maps that are open around the place of reading, the innermost first: where variables are looked up. */
struct scope {
    const struct config_value *map;
    const struct scope *outer;
};

/* Environment variables being read, the innermost first. */
struct pending {
    struct bytes name;
    const struct pending *outer;
};

/* One file, or the text of one environment variable. */
struct reader {
    struct config *config; /* borrows; its arena takes all that is made */
    struct text *why;      /* borrows; gets a line when a function gives false */
    const char *file;      /* the arena's */
    struct bytes source;   /* borrows */
    size_t at;             /* the next byte of source */
    bool is_at_end;        /* something was to be taken after the last byte */
    unsigned line;         /* 1 and one more for each newline before `at` */
    size_t line_start;     /* where the last of those newlines is; 0 in the first line */
    unsigned depth, include_count;
    const struct scope *scope;
    const struct pending *pending;
};

struct config *reader_config_create(void);
/* NULL when the tree has grown too large; `why` then says so. */
struct config_value *reader_new_value(struct reader *reader);
void reader_set_text(struct reader *reader, struct config_value *value, enum config_type type,
                     struct bytes text); /* copied */
void *reader_arena_alloc(struct config *config, size_t bytes);
struct bytes reader_arena_copy(struct config *config, struct bytes bytes); /* with a NUL after it */
bool reader_enter(struct reader *reader); /* one map or array deeper; false when too deep */

/* All three give false. An error of the grammar names the line reached, and may name the byte just taken. */
bool reader_fail(struct reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool reader_fail_plainly(struct reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool reader_fail_at_byte(struct reader *reader, const char *before, const char *after);

int reader_peek(const struct reader *reader); /* READER_END after the last one */
int reader_peek_second(const struct reader *reader);
int reader_take(struct reader *reader);
struct bytes reader_taken(const struct reader *reader, size_t start); /* from there to here */
void reader_skip_spaces(struct reader *reader);
void reader_skip_blanks(struct reader *reader); /* not over the end of a line */
bool reader_skip_comment(
    struct reader *reader); /* up to its newline, which stays; false: there is none */

bool reader_is_space(int byte);
bool reader_is_digit(int byte);
bool reader_is_newline(int byte);
bool reader_is_separator(int byte);
bool reader_ends_word(int byte);
bool reader_equals_word(struct bytes bytes, const char *word); /* in any letter case */

/* ---- core/config_scalar.c: each begins at the value's first byte and ends after its last one ---- */

bool scalar_raw_string(struct reader *reader, struct config_value *value);
bool scalar_string(struct reader *reader, struct config_value *value);
bool scalar_block_string(struct reader *reader, struct config_value *value);
bool scalar_number(struct reader *reader,
                   struct config_value *value); /* or a date, address, word */
/* What was read from `start` on belongs to it. *is_variable_out: the text is "$NAME". */
bool scalar_word(struct reader *reader, struct config_value *value, size_t start,
                 bool *is_variable_out);

#endif
