/*
 * kv/stream_graph.h: what a stream's configuration must be in view of the streams it names.
 *
 * Source: jetstream-streams.md section 3.3 (V18, V20, V22) and 3.4 step 12. Runs on: the home shard.
 */
#ifndef KV_STREAM_GRAPH_H
#define KV_STREAM_GRAPH_H

#include "kv/stream.h"

/* After stream_config_check. Sets mirror_direct as the origin has allow_direct. */
bool stream_graph_check(struct stream_config *config, const struct stream_table *table,
                        uint32_t account, struct api_failure *failure);

#endif
