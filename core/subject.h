/*
 * core/subject.h: NATS subjects: tokens joined by dots, `*` for one token, a final `>` for one or more.
 *
 * Source: core-protocol.md section 7 (checked on nats-server 2.15.2).
 */
#ifndef CORE_SUBJECT_H
#define CORE_SUBJECT_H

#include <stdbool.h>

#include "core/bytes.h"

/* Valid as a subscription or a stream's subject: no empty token, no blanks (space, tab, CR, LF, FF), `>` only last. */
bool subject_is_valid(struct bytes subject);
/* No empty token: may be published. Wildcard tokens are literal text there. */
bool subject_is_publishable(struct bytes subject);
/* Has no token that is exactly `*` or a final `>`. */
bool subject_is_literal(struct bytes subject);
/* Does pattern match the (literal) subject? Wildcards in `subject` count as ordinary tokens. */
bool subject_matches(struct bytes pattern, struct bytes subject);
/* Could some literal subject match both? */
bool subjects_collide(struct bytes a, struct bytes b);
/* Does `pattern` match everything that `subset` matches? */
bool subject_is_subset(struct bytes pattern, struct bytes subset);
/* The token with this index (0 first); false when there are fewer. */
bool subject_token(struct bytes subject, unsigned index, struct bytes *token_out);
unsigned subject_token_count(struct bytes subject);

#endif
