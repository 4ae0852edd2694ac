/*
 * kv/purge.h: STREAM.PURGE and STREAM.MSG.DELETE; both take over their request.
 */
#ifndef KV_PURGE_H
#define KV_PURGE_H

#include "kv/request.h"

void purge_stream(struct request *request);
void purge_message(struct request *request);

#endif
