/*
 * kv/account.c: an account's limits, where streams are made and changed.
 *
 * What counts is what streams have reserved by their max_bytes, as for nats-server where an account has limits.
 *
 * Runs on: the home shard, where streams change one at a time, so that nothing comes between the look and the deed.
 */
#include "kv/account.h"

bool account_check_stream(const struct kv *kv, uint32_t account, const struct stream *existing,
                          const struct stream_config *config, struct api_failure *failure)
{
    struct account_limits limits = account_limits(kv, account);
    bool is_memory = config->storage == STREAM_STORAGE_MEMORY;
    int64_t streams = 0, reserved = config->bytes_max > 0 ? config->bytes_max : 0;
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        const struct stream *stream = kv->streams.by_id[i];
        if (stream == NULL || stream == existing || stream->account != account
            || stream->is_closing)
            continue;
        streams++;
        if (stream->is_memory == is_memory && stream->config.bytes_max > 0
            && __builtin_add_overflow(reserved, stream->config.bytes_max, &reserved))
            reserved = INT64_MAX;
    }
    int64_t most = is_memory ? limits.memory_bytes_max : limits.file_bytes_max;
    int64_t most_of_stream =
        is_memory ? limits.memory_stream_bytes_max : limits.file_stream_bytes_max;
    if (existing == NULL && limits.streams_max >= 0 && streams >= limits.streams_max)
        return api_fail(failure, API_MAXIMUM_STREAMS, NULL);
    if (limits.needs_bytes_max != 0 && config->bytes_max <= 0)
        return api_fail(failure, API_STREAM_MAX_BYTES_REQUIRED, NULL);
    if (most_of_stream > 0 && config->bytes_max > most_of_stream)
        return api_fail(failure, API_STREAM_MAX_STREAM_BYTES, NULL);
    if (most >= 0 && reserved > most)
        return api_fail(failure,
                        is_memory ? API_MEMORY_RESOURCES_EXCEEDED : API_STORAGE_RESOURCES_EXCEEDED,
                        NULL);
    return true;
}
