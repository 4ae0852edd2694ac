/*
 * core/config_apply.h: what the files share that give the keys of a configuration file their meaning.
 *
 * core/config_apply.c walks the tree and sets options that are one row of core/options.h; core/config_special.c has the keys
 * that need code of their own. Every function here tells a mistake with its place and goes on.
 *
 * Runs on: the main thread.
 */
#ifndef CORE_CONFIG_APPLY_H
#define CORE_CONFIG_APPLY_H

#include "core/config.h"

enum { CONFIG_PATH_BYTES_MAX = 128 };

/* One run of config_apply. */
struct application {
    struct options *options;        /* borrows */
    struct text *errors, *warnings; /* borrows */
};

typedef void apply_fn(struct application *application, const struct config_value *value,
                      const char *path);

/* The code for a key of that path ("jetstream.strict"); NULL: it has none (core/config_special.c). */
apply_fn *apply_special(const char *path);
/* Known to nats-server, and of no effect here: cluster tuning, caches that pail does not have. */
bool apply_is_ignored(const char *path);
/* Known to nats-server, not to pail. */
bool apply_is_refused(const char *path);

/* Each member of a map, by its path behind `prefix` ("jetstream."). */
void apply_members(struct application *application, const struct config_value *map,
                   const char *prefix);
/* The value of a row of core/options.h, by its kind. */
void apply_option(struct application *application, const struct config_value *value,
                  const struct option *option);
void apply_text(struct application *application, const struct config_value *value,
                const struct option *option);
/* 0 is the default where it would make no sense. */
void apply_number(struct application *application, const struct config_value *value,
                  const struct option *option, int64_t number);

void apply_error(struct application *application, const struct config_value *value,
                 const char *format, ...) __attribute__((format(printf, 3, 4)));
/* interface conversion: … is <its type>, not `wanted` */
void apply_type_error(struct application *application, const struct config_value *value,
                      const char *wanted);
/* error parsing <key>: <Go's words for a text that is no duration> */
void apply_duration_error(struct application *application, const struct config_value *value);
void apply_place(struct text *text, const struct config_value *value);
const char *apply_go_type(enum config_type type);
bool apply_is_word(struct bytes bytes, const char *word); /* in any letter case */
bool apply_parse_integer(struct bytes text, int64_t *number_out);

#endif
