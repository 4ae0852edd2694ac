/*
 * kv/subject_map.h: subject transforms: from a pattern to a destination with functions, as republish, subject_transform,
 * mirrors and sources use them.
 *
 * A destination's tokens are literal text, `$n`, or `{{function(arguments)}}`:
 *
 *     {{wildcard(n)}}                    what the n-th `*` of the source matched; $n is the same
 *     {{partition(count, n, …)}}         FNV-1a of those (none: of the whole subject) modulo count
 *     {{split(n, text)}}                 cut at each `text`
 *     {{splitFromLeft(n, position)}}     cut once; also splitFromRight
 *     {{sliceFromLeft(n, length)}}       cut into pieces; also sliceFromRight
 *     {{left(n, length)}}, {{right(n, length)}}, {{random(count)}}
 *
 * Source: jetstream-streams.md section 7.9, and what nats-server 2.15.2 answers.
 */
#ifndef KV_SUBJECT_MAP_H
#define KV_SUBJECT_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/text.h"

struct subject_map; /* opaque; malloc family */

/*
 * Compiles. An empty source is `>`. False: `why` (cleared first) says why, in nats-server's words, and *map_out is NULL. An empty
 * destination means no change: true, and *map_out is NULL.
 */
bool subject_map_create(struct subject_map **map_out, struct bytes source, struct bytes destination,
                        struct text *why);
void subject_map_free(struct subject_map *map);
/* As subject_map_create, with the stricter checks a stream's configuration gets; makes nothing. */
bool subject_map_check(struct bytes source, struct bytes destination, struct text *why);
/*
 * Appends the subject's image to `out`; false, and nothing appended, where the source does not match, or the subject has wildcard
 * tokens. The image may be no subject at all (empty tokens): the caller checks. `random` feeds {{random(n)}}.
 */
bool subject_map_apply(const struct subject_map *map, struct bytes subject, uint64_t random,
                       struct text *out);

#endif
