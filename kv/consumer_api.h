/*
 * kv/consumer_api.h: the CONSUMER endpoints; each takes over its request (name and tail set by kv/api).
 */
#ifndef KV_CONSUMER_API_H
#define KV_CONSUMER_API_H

#include "kv/request.h"

void consumer_api_create(
    struct request *request); /* name may be empty; tail: the filter of the subject */
void consumer_api_create_durable(struct request *request);
void consumer_api_info(struct request *request);
void consumer_api_delete(struct request *request);
void consumer_api_pause(struct request *request);
void consumer_api_names(struct request *request);
void consumer_api_list(struct request *request);

#endif
