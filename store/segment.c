/*
 * store/segment.c: names and headers of segment files.
 *
 * Keeps:   a header is believed only if magic, format, checksum and its own place agree.
 * Runs on: anywhere.
 */
#include "store/segment.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"
#include "core/hash.h"

#define SEGMENT_MAGIC UINT64_C(0x0a676573206c6961) /* "ail seg\n" */
#define BATCH_MAGIC UINT64_C(0x0a74616220696170)   /* "pai bat\n" */
enum { SEGMENT_FORMAT = 1 };

static_assert(sizeof(struct segment_header) == SEGMENT_HEADER_BYTES, "part of the disk format");
static_assert(sizeof(struct batch_header) == 96, "part of the disk format");

void segment_header_finish(struct segment_header *header)
{
    header->magic = SEGMENT_MAGIC;
    header->format = SEGMENT_FORMAT;
    header->crc = crc32c(0, header, offsetof(struct segment_header, crc));
}

bool segment_header_is_valid(const struct segment_header *header, uint64_t segment_id)
{
    return header->magic == SEGMENT_MAGIC && header->format == SEGMENT_FORMAT
           && header->segment_id == segment_id
           && header->crc == crc32c(0, header, offsetof(struct segment_header, crc));
}

bool segment_header_lists(const struct segment_header *header, uint64_t segment_id)
{
    uint64_t index = segment_id - header->listed_first;
    if (segment_id < header->listed_first || index >= SEGMENT_LISTED_COUNT)
        return false;
    return (header->listed[index / 8] >> index % 8 & 1) != 0;
}

void batch_header_finish(struct batch_header *header)
{
    header->magic = BATCH_MAGIC;
    header->format = SEGMENT_FORMAT;
    header->crc = crc32c(0, header, offsetof(struct batch_header, crc));
}

bool batch_header_is_valid(const struct batch_header *header, uint64_t segment_id, uint64_t offset)
{
    return header->magic == BATCH_MAGIC && header->format == SEGMENT_FORMAT
           && header->segment_id == segment_id && header->offset == offset
           && header->crc == crc32c(0, header, offsetof(struct batch_header, crc));
}

uint64_t batch_header_bytes(const struct batch_header *header)
{
    return block_round_up(sizeof *header + header->body_bytes);
}

static void path_print(char *out, const char *format, const char *directory, uint64_t number)
{
    int count = snprintf(out, SEGMENT_PATH_BYTES, format, directory, number);
    ASSERT(count > 0 && count < SEGMENT_PATH_BYTES);
}

void segment_path(char *out, const char *directory, uint64_t segment_id)
{
    path_print(out, "%s/log/%016" PRIx64 ".segment", directory, segment_id);
}

void spare_path(char *out, const char *directory, uint64_t number)
{
    path_print(out, "%s/log/spare-%" PRIu64 ".segment", directory, number);
}

void spare_new_path(char *out, const char *directory, uint64_t number)
{
    path_print(out, "%s/log/spare-%" PRIu64 ".new", directory, number);
}

bool segment_name_parse(const char *name, uint64_t *segment_id_out)
{
    if (strlen(name) != 16 + sizeof ".segment" - 1 || strcmp(name + 16, ".segment") != 0)
        return false;
    if (strspn(name, "0123456789abcdef") != 16)
        return false;
    *segment_id_out = strtoull(name, NULL, 16);
    return *segment_id_out != 0;
}

bool spare_name_parse(const char *name, uint64_t *number_out)
{
    static const char prefix[] = "spare-";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return false;
    const char *digits = name + sizeof prefix - 1;
    size_t count = strspn(digits, "0123456789");
    if (count == 0 || count > 18 || strcmp(digits + count, ".segment") != 0)
        return false;
    *number_out = strtoull(digits, NULL, 10);
    return true;
}
