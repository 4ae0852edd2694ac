/*
 * store/record.c: one record, between its struct and its bytes on disk.
 *
 *     crc32c 4 | bytes 4 | seq 8 | time 8 | term 8 | log index 8 | stream 4 | value bytes 4 |
 *     key bytes 2 | headers bytes 2 | type 1 | flags 1 | spare 2 | key | headers | value | zeros to 16
 *
 * Keeps:   the checksum covers everything behind it, padding included, so each byte of a record is summed once; the
 *          batch then sums only the records' checksums.
 * Runs on: anywhere.
 */
#include "store/record.h"

#include <assert.h>

#include "core/assert.h"
#include "core/hash.h"
#include "store/location.h"
#include "store/record_view.h"

struct record_disk {
    uint32_t crc;
    uint32_t bytes; /* the whole record, padding included */
    uint64_t seq;
    uint64_t time_ns;
    uint64_t term;
    uint64_t log_index;
    uint32_t stream_id;
    uint32_t value_bytes;
    uint16_t key_bytes;
    uint16_t headers_bytes;
    uint8_t type;
    uint8_t flags;
    uint16_t spare;
};
static_assert(sizeof(struct record_disk) == 56, "part of the disk format");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "integers on disk are little endian");

static uint64_t bytes_needed(uint64_t key, uint64_t headers, uint64_t value)
{
    uint64_t bytes = sizeof(struct record_disk) + key + headers + value;
    return (bytes + LOCATION_UNIT_BYTES - 1) / LOCATION_UNIT_BYTES * LOCATION_UNIT_BYTES;
}

uint32_t record_bytes(const struct record *record)
{
    ASSERT(record->key.count <= RECORD_KEY_BYTES_MAX);
    ASSERT(record->headers.count <= RECORD_HEADERS_BYTES_MAX);
    ASSERT(record->value.count <= RECORD_VALUE_BYTES_MAX);
    return (uint32_t)bytes_needed(record->key.count, record->headers.count, record->value.count);
}

static char *put(char *out, struct bytes bytes)
{
    if (bytes.count > 0)
        memcpy(out, bytes.data, bytes.count);
    return out + bytes.count;
}

void record_encode(const struct record *record, void *out)
{
    ASSERT(record->type != 0);
    ASSERT((uintptr_t)out % LOCATION_UNIT_BYTES == 0);

    struct record_disk *disk = out;
    uint32_t bytes = record_bytes(record);
    *disk = (struct record_disk){
        .bytes = bytes,
        .seq = record->seq,
        .time_ns = record->time_ns,
        .term = record->term,
        .log_index = record->log_index,
        .stream_id = record->stream_id,
        .value_bytes = (uint32_t)record->value.count,
        .key_bytes = (uint16_t)record->key.count,
        .headers_bytes = (uint16_t)record->headers.count,
        .type = record->type,
        .flags = record->flags,
    };
    char *end = put(put(put((char *)(disk + 1), record->key), record->headers), record->value);
    memset(end, 0, (size_t)((char *)out + bytes - end));
    disk->crc = crc32c(0, (char *)out + sizeof disk->crc, bytes - sizeof disk->crc);
}

/* True when the lengths agree with each other and with what is available. */
static bool lengths_are_valid(const struct record_disk *disk, uint64_t available)
{
    return disk->bytes <= available && disk->value_bytes <= RECORD_VALUE_BYTES_MAX
           && disk->bytes == bytes_needed(disk->key_bytes, disk->headers_bytes, disk->value_bytes);
}

static void view(const struct record_disk *disk, struct record *record_out)
{
    const char *key = (const char *)(disk + 1);
    const char *headers = key + disk->key_bytes;
    const char *value = headers + disk->headers_bytes;
    *record_out = (struct record){
        .type = disk->type,
        .flags = disk->flags,
        .stream_id = disk->stream_id,
        .seq = disk->seq,
        .time_ns = disk->time_ns,
        .term = disk->term,
        .log_index = disk->log_index,
        .key = bytes_of(key, disk->key_bytes),
        .headers = bytes_of(headers, disk->headers_bytes),
        .value = bytes_of(value, disk->value_bytes),
    };
}

enum status record_decode(const void *data, uint64_t available, struct record *record_out,
                          uint32_t *bytes_out)
{
    const struct record_disk *disk = data;
    if (available < sizeof *disk)
        return STATUS_NOT_FOUND;
    if (disk->bytes == 0 && disk->crc == 0)
        return STATUS_NOT_FOUND;
    if (!lengths_are_valid(disk, available) || disk->type == 0)
        return STATUS_CORRUPT;
    size_t summed = disk->bytes - sizeof disk->crc;
    if (crc32c(0, (const char *)data + sizeof disk->crc, summed) != disk->crc)
        return STATUS_CORRUPT;
    view(disk, record_out);
    *bytes_out = disk->bytes;
    return STATUS_OK;
}

void record_view(const void *data, struct record *record_out)
{
    view(data, record_out);
}

uint32_t record_view_bytes(const void *data)
{
    const struct record_disk *disk = data;
    return disk->bytes;
}

uint32_t record_view_crc(const void *data)
{
    const struct record_disk *disk = data;
    return disk->crc;
}
