/*
 * core/config.h: configuration files in nats-server's language, and what their keys mean to pail.
 *
 * Source: server-interface.md sections 3 and 4 (checked on nats-server 2.15.2).
 */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"
#include "core/options.h"
#include "core/status.h"
#include "core/text.h"

enum config_type {
    CONFIG_MAP,
    CONFIG_ARRAY,
    CONFIG_STRING,
    CONFIG_INTEGER,
    CONFIG_FLOAT,
    CONFIG_BOOL,
    CONFIG_DATE,
};

/* Everything is the config's; borrowed until config_free. Texts are NUL-terminated, too. */
struct config_value {
    enum config_type type;
    bool is_referenced; /* some $variable took it: need not be a known key */
    struct bytes key;   /* of a map's member, as written; empty in an array */
    const char *file;   /* as given, or as included */
    unsigned line,
        column; /* of the key, or of an array's element; as nats-server counts (server-interface 3.6) */
    struct config_value *next;  /* the next member or element */
    struct config_value *first; /* CONFIG_MAP, CONFIG_ARRAY; NULL when empty */
    struct bytes text;          /* CONFIG_STRING, CONFIG_DATE */
    int64_t integer;            /* CONFIG_INTEGER, with its suffix applied */
    double number;              /* CONFIG_FLOAT */
    bool truth;                 /* CONFIG_BOOL */
};

struct config; /* opaque: a parsed file with all it includes */

/*
 * STATUS_OK: *config_out is the caller's, until config_free. STATUS_NOT_FOUND and others: the file cannot be read.
 * STATUS_INVALID: it is not in the language. Without STATUS_OK *config_out is NULL and `why` gets one line for people, in
 * nats-server's words.
 */
MUST_USE enum status config_read(const char *path, struct config **config_out, struct text *why);
/* The same from memory; `file` names it in messages, and its directory is where includes are looked for. */
MUST_USE enum status config_parse(struct bytes source, const char *file, struct config **config_out,
                                  struct text *why);
void config_free(struct config *config);

const struct config_value *config_root(const struct config *config); /* a CONFIG_MAP */
/* Keys match without regard to case; NULL when absent. */
const struct config_value *config_member(const struct config_value *map, const char *key);

/*
 * Takes the values of a parsed file into the options; what the command line has set stays. Appends a line with file, line
 * and column to `errors` for each key that is unknown, of the wrong type, out of range, or not supported by pail yet,
 * and to `warnings` for what nats-server warns of. STATUS_INVALID when there was an error; the options are then of no
 * use.
 */
MUST_USE enum status config_apply(struct options *options, const struct config *config,
                                  struct text *errors, struct text *warnings);

/* sha256:<hex> of what the file says. */
void config_digest(const struct config *config, char digest_out[CONFIG_DIGEST_BYTES]);

/*
 * What main calls: command line, file, checks (options_check). OPTIONS_EXIT: print output->out and output->err and end with
 * output->exit_code. With OPTIONS_START there may be warnings in output->err. OPTIONS_SIGNAL: the file was not read.
 */
enum options_next config_load(struct options *options, int argc, char *const *argv,
                              struct options_output *output);

#endif
