/*
 * core/json.h: reading JSON that peers sent (cJSON inside). Writing goes through core/text.h, where the order of members
 * and the escapes are ours to choose.
 */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bytes.h"

struct json; /* opaque: one value of a parsed document */

enum json_type { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/*
 * Parses one value; *rest_out is what follows it (blanks skipped). NULL when the text is not JSON, or nested deeper than
 * the limit; *why_out then is a literal such as "unexpected end of JSON input". The caller frees with json_free.
 */
struct json *json_parse(struct bytes text, struct bytes *rest_out, const char **why_out);
void json_free(struct json *json);

enum json_type json_type(const struct json *json);
const char *json_type_words(enum json_type type);                  /* "string", "number", … */
const struct json *json_first(const struct json *array_or_object); /* NULL when empty */
const struct json *json_next(const struct json *element);
struct bytes json_name(const struct json *member); /* of an object's member */
struct bytes json_string(const struct json *json); /* JSON_STRING only; escapes decoded */
bool json_bool(const struct json *json);           /* JSON_BOOL only */
/* False when the value is no number, not whole, or out of range. */
bool json_i64(const struct json *json, int64_t *number_out);
bool json_u64(const struct json *json, uint64_t *number_out);
/* Members match without regard to case, the last duplicate wins; NULL when absent. */
const struct json *json_member(const struct json *object, const char *name);

#endif
