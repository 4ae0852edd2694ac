/*
 * store/manifest.c: reads and writes the manifest.
 *
 * Keeps:   a manifest is either whole or refused; io_path_replace makes a new one durable before the old one goes.
 * Owns:    its two lists.
 * Runs on: any thread, one at a time.
 */
#include "store/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/assert.h"
#include "core/bytes.h"
#include "core/hash.h"
#include "core/text.h"

enum { MANIFEST_BYTES_MAX = 8 << 20 };
#define MANIFEST_FIRST_LINE "pail-store 1\n"

void manifest_free(struct manifest *manifest)
{
    free(manifest->shards);
    free(manifest->ends);
    *manifest = (struct manifest){0};
}

/* A list grows by doubling; its length tells its room. */
static void *list_grow(void *list, uint32_t count, size_t item_bytes)
{
    if ((count & (count - 1)) != 0) /* not a power of two: there is room */
        return list;
    list = realloc(list, (count == 0 ? 1 : 2 * (size_t)count) * item_bytes);
    ASSERT(list != NULL);
    return list;
}

void manifest_add_shards(struct manifest *manifest, const struct epoch_shards *shards)
{
    uint32_t count = manifest->shards_count;
    ASSERT(count == 0 || manifest->shards[count - 1].epoch < shards->epoch);
    ASSERT(count == 0 || manifest->shards[count - 1].segment_first <= shards->segment_first);
    manifest->shards = list_grow(manifest->shards, count, sizeof *manifest->shards);
    manifest->shards[manifest->shards_count++] = *shards;
}

void manifest_add_end(struct manifest *manifest, const struct log_end *end)
{
    manifest->ends = list_grow(manifest->ends, manifest->ends_count, sizeof *manifest->ends);
    manifest->ends[manifest->ends_count++] = *end;
}

uint32_t manifest_shard_count(const struct manifest *manifest, uint64_t epoch)
{
    for (uint32_t i = 0; i < manifest->shards_count; i++) {
        if (manifest->shards[i].epoch == epoch)
            return manifest->shards[i].shard_count;
    }
    return 0;
}

uint64_t manifest_epoch_of(const struct manifest *manifest, uint64_t segment_id)
{
    for (uint32_t i = manifest->shards_count; i-- > 0;) {
        if (manifest->shards[i].segment_first <= segment_id)
            return manifest->shards[i].epoch;
    }
    return 0;
}

const struct log_end *manifest_end(const struct manifest *manifest, uint64_t epoch,
                                   uint32_t log_index)
{
    for (uint32_t i = 0; i < manifest->ends_count; i++) {
        const struct log_end *end = &manifest->ends[i];
        if (end->epoch == epoch && end->log_index == log_index)
            return end;
    }
    return NULL;
}

static bool parse_line(struct manifest *manifest, const char *line)
{
    struct log_end end;
    struct epoch_shards shards;
    if (sscanf(line, "epoch %" SCNu64, &manifest->epoch) == 1)
        return true;
    if (sscanf(line, "segment_next %" SCNu64, &manifest->segment_next) == 1)
        return true;
    if (sscanf(line, "shards %" SCNu64 " %" SCNu32 " %" SCNu64, &shards.epoch, &shards.shard_count,
               &shards.segment_first)
        == 3) {
        manifest_add_shards(manifest, &shards);
        return true;
    }
    if (sscanf(line, "end %" SCNu64 " %" SCNu32 " %" SCNu64 " %" SCNu64 " %" SCNx32, &end.epoch,
               &end.log_index, &end.segment_id, &end.number, &end.chain)
        == 5) {
        manifest_add_end(manifest, &end);
        return true;
    }
    return false;
}

enum { CRC_LINE_BYTES = sizeof "crc 00000000\n" - 1 };

static void crc_line(char *out, const char *text, size_t count)
{
    int printed = snprintf(out, CRC_LINE_BYTES + 1, "crc %08" PRIx32 "\n", crc32c(0, text, count));
    ASSERT(printed == CRC_LINE_BYTES);
}

/* The text ends in a crc line that covers all before it. */
static bool checksum_is_right(const char *text, size_t count, size_t *body_count_out)
{
    if (count < CRC_LINE_BYTES)
        return false;
    size_t body_count = count - CRC_LINE_BYTES;
    char line[CRC_LINE_BYTES + 1];
    crc_line(line, text, body_count);
    *body_count_out = body_count;
    return memcmp(text + body_count, line, CRC_LINE_BYTES) == 0;
}

static enum status parse(struct manifest *manifest, char *text, size_t count)
{
    size_t body_count;
    if (!checksum_is_right(text, count, &body_count))
        return STATUS_CORRUPT;
    if (!bytes_start_with(bytes_of(text, body_count), BYTES_LITERAL(MANIFEST_FIRST_LINE)))
        return STATUS_CORRUPT;
    text[body_count] = '\0';
    char *line = text + sizeof MANIFEST_FIRST_LINE - 1;
    while (*line != '\0') {
        if (!parse_line(manifest, line))
            return STATUS_CORRUPT;
        line = strchr(line, '\n');
        if (line == NULL)
            return STATUS_CORRUPT;
        line++;
    }
    return manifest->epoch == 0 ? STATUS_CORRUPT : STATUS_OK;
}

enum status manifest_read(struct manifest *manifest, struct io *io, const char *path)
{
    *manifest = (struct manifest){0};
    char *text = malloc(MANIFEST_BYTES_MAX);
    ASSERT(text != NULL);
    size_t count;
    enum status status = io_path_read(io, path, text, MANIFEST_BYTES_MAX, &count);
    if (status == STATUS_OK)
        status = parse(manifest, text, count);
    if (status != STATUS_OK)
        manifest_free(manifest);
    free(text);
    return status;
}

enum status manifest_write(const struct manifest *manifest, struct io *io, const char *path)
{
    struct text text = {0};
    text_append_literal(&text, MANIFEST_FIRST_LINE);
    text_append_format(&text, "epoch %" PRIu64 "\n", manifest->epoch);
    text_append_format(&text, "segment_next %" PRIu64 "\n", manifest->segment_next);
    for (uint32_t i = 0; i < manifest->shards_count; i++) {
        const struct epoch_shards *shards = &manifest->shards[i];
        text_append_format(&text, "shards %" PRIu64 " %" PRIu32 " %" PRIu64 "\n", shards->epoch,
                           shards->shard_count, shards->segment_first);
    }
    for (uint32_t i = 0; i < manifest->ends_count; i++) {
        const struct log_end *end = &manifest->ends[i];
        text_append_format(&text,
                           "end %" PRIu64 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %08" PRIx32 "\n",
                           end->epoch, end->log_index, end->segment_id, end->number, end->chain);
    }
    char line[CRC_LINE_BYTES + 1];
    crc_line(line, text.data, text.count);
    text_append_literal(&text, line);
    enum status status = io_path_replace(io, path, text.data, text.count);
    text_free(&text);
    return status;
}
