/*
 * kv/consumer_check.h: the rules of a consumer's configuration: defaults, checks, and what an update may change.
 *
 * Source: jetstream-consumers.md sections 3.4, 3.6, 4.1 and 4.3, in nats-server's order.
 */
#ifndef KV_CONSUMER_CHECK_H
#define KV_CONSUMER_CHECK_H

#include "kv/consumer_config.h"

/*
 * Fills defaults, checks; what pail does not have yet (pull consumers, some policies) is refused last, in words.
 *
 * is_pedantic   refuses where a default would replace what was asked for
 */
bool consumer_config_check(struct consumer_config *config, const struct stream_config *stream,
                           bool is_pedantic, struct api_failure *failure);
/* May `next` replace `current`? Both checked; the old deliver subject's interest is the caller's to look at. */
bool consumer_config_check_update(const struct consumer_config *current,
                                  const struct consumer_config *next, struct api_failure *failure);

#endif
