/*
 * kv/limits.c: what all streams of the server may hold together, in memory and on disk.
 *
 * Each index adds its size to a sum of its shard (store/index.h: index_count_into); the shard shows its sums to the others once
 * a turn. A message is refused while the sum of all is above the limit, so that at most a turn's messages more come in.
 *
 * Runs on: each shard; reservations on the home shard, where streams are made and changed one at a time.
 */
#include "kv/limits.h"

static uint64_t limit_of(uint64_t option)
{
    return option == 0 ? UINT64_MAX : option;
}

void limits_init(struct limits_shared *limits, const struct kv_options *options)
{
    shared_store_relaxed(&limits->bytes_max[LIMITS_FILE], limit_of(options->file_bytes_max));
    shared_store_relaxed(&limits->bytes_max[LIMITS_MEMORY], limit_of(options->memory_bytes_max));
}

void limits_phase(struct shard *shard, void *context)
{
    const struct kv *kv = context;
    struct limits_shared *limits = kv_world_limits(kv->world);
    ASSERT_ON_SHARD(shard);
    for (unsigned i = 0; i < LIMITS_COUNT; i++) {
        struct shared_u64 *cell = &limits->bytes[i][shard->index];
        if (shared_load_relaxed(cell) != kv->held_bytes[i])
            shared_store_relaxed(cell, kv->held_bytes[i]);
    }
}

bool limits_allow(const struct kv *kv, bool is_memory)
{
    const struct limits_shared *limits = kv_world_limits(kv->world);
    unsigned kind = is_memory ? LIMITS_MEMORY : LIMITS_FILE;
    uint64_t most = shared_load_relaxed(&limits->bytes_max[kind]);
    uint64_t sum = kv->held_bytes[kind];
    if (most == UINT64_MAX)
        return true;
    for (uint32_t i = 0; i < kv->shard->count; i++)
        if (i != kv->shard->index)
            sum += shared_load_relaxed(&limits->bytes[kind][i]);
    return sum <= most;
}

uint64_t limits_reserved(const struct kv *kv, bool is_memory)
{
    uint64_t sum = 0;
    ASSERT(kv->catalog != NULL);
    for (uint32_t i = 0; i < kv->streams.by_id_capacity; i++) {
        const struct stream *stream = kv->streams.by_id[i];
        if (stream != NULL && stream->is_visible && stream->is_memory == is_memory
            && stream->config.bytes_max > 0)
            sum += (uint64_t)stream->config.bytes_max;
    }
    return sum;
}

bool limits_reserve(const struct kv *kv, const struct stream_config *config,
                    const struct stream *before, struct api_failure *failure)
{
    bool is_memory = config->storage == STREAM_STORAGE_MEMORY;
    int64_t old = before != NULL && before->config.bytes_max > 0 ? before->config.bytes_max : 0;
    unsigned kind = is_memory ? LIMITS_MEMORY : LIMITS_FILE;
    uint64_t most = shared_load_relaxed(&kv_world_limits(kv->world)->bytes_max[kind]);
    if (most == UINT64_MAX || config->bytes_max <= old)
        return true;
    uint64_t sum = limits_reserved(kv, is_memory) - (uint64_t)old;
    if (sum <= most && (uint64_t)config->bytes_max <= most - sum)
        return true;
    return api_fail(
        failure, is_memory ? API_MEMORY_RESOURCES_EXCEEDED : API_STORAGE_RESOURCES_EXCEEDED, NULL);
}
