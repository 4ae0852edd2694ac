/*
 * kv/archive.c: writing and reading archives.
 */
#include "kv/archive.h"

enum {
    NAME_BYTES_MAX = 1 << 20, /* as nats-server */
    NUMBER_BYTES_MAX = 10,
    HEAD_BYTES_MAX = 5 * NUMBER_BYTES_MAX,
};

#define MAGIC BYTES_LITERAL("NATSARC1")

static const char words_invalid[] = "archive: invalid archive stream";

/* ---- writing ---- */

static void append_number(struct text *out, uint64_t number)
{
    char bytes[NUMBER_BYTES_MAX];
    size_t count = 0;
    for (; number > 127; number >>= 7)
        bytes[count++] = (char)(number | 128);
    bytes[count++] = (char)number;
    text_append(out, bytes_of(bytes, count));
}

static uint64_t zigzag(int64_t number)
{
    return (uint64_t)number << 1 ^ (number < 0 ? UINT64_MAX : 0);
}

void archive_append_start(struct text *out)
{
    text_append(out, MAGIC);
}

void archive_append_entry(struct text *out, const struct archive_entry *entry)
{
    append_number(out, entry->name.count);
    append_number(out, zigzag(entry->time_ns));
    append_number(out, entry->seq);
    append_number(out, entry->headers.count);
    append_number(out, entry->payload.count);
    text_append(out, entry->name);
    text_append(out, entry->headers);
    text_append(out, entry->payload);
}

void archive_append_end(struct text *out)
{
    archive_append_entry(out, &(struct archive_entry){0});
}

bool archive_entry_is_end(const struct archive_entry *entry)
{
    return entry->seq == 0 && entry->time_ns == 0 && entry->name.count == 0
           && entry->headers.count == 0 && entry->payload.count == 0;
}

/* ---- reading ---- */

/* Numbers of an entry's head, and where its texts begin. */
struct head {
    uint64_t numbers[5]; /* name bytes, time, sequence, header bytes, payload bytes */
    uint64_t bytes;      /* of the head itself */
    uint64_t total;      /* of the whole entry */
};

enum head_result { HEAD_MORE, HEAD_FINE, HEAD_WRONG };

static enum head_result number_read(struct bytes *rest, uint64_t *number_out)
{
    *number_out = 0;
    for (unsigned i = 0; i < NUMBER_BYTES_MAX; i++) {
        if (i == rest->count)
            return HEAD_MORE;
        uint64_t byte = (uint8_t)rest->data[i];
        if (i == NUMBER_BYTES_MAX - 1 && byte > 1)
            return HEAD_WRONG;
        *number_out |= (byte & 127) << 7 * i;
        if (byte < 128) {
            *rest = bytes_after(*rest, i + 1);
            return HEAD_FINE;
        }
    }
    return HEAD_WRONG;
}

static enum head_result head_read(struct bytes bytes, uint64_t bytes_max, struct head *head,
                                  const char **why_out)
{
    struct bytes rest = bytes;
    *why_out = words_invalid;
    for (unsigned i = 0; i < COUNT_OF(head->numbers); i++) {
        enum head_result result = number_read(&rest, &head->numbers[i]);
        if (result != HEAD_FINE)
            return result;
    }
    if (head->numbers[0] > NAME_BYTES_MAX)
        return HEAD_WRONG;
    *why_out = "a message exceeds maximum payload size";
    if (head->numbers[3] > bytes_max || head->numbers[4] > bytes_max - head->numbers[3])
        return HEAD_WRONG;
    head->bytes = bytes.count - rest.count;
    head->total = head->bytes + head->numbers[0] + head->numbers[3] + head->numbers[4];
    return HEAD_FINE;
}

static void entry_of(const struct head *head, struct bytes bytes, struct archive_entry *entry_out)
{
    const char *at = bytes.data + head->bytes;
    entry_out->name = bytes_of(at, head->numbers[0]);
    entry_out->headers = bytes_of(at += head->numbers[0], head->numbers[3]);
    entry_out->payload = bytes_of(at + head->numbers[3], head->numbers[4]);
    entry_out->time_ns = (int64_t)(head->numbers[1] >> 1 ^ (0 - (head->numbers[1] & 1)));
    entry_out->seq = head->numbers[2];
}

static enum archive_result wrong(struct archive_reader *reader, const char *why)
{
    reader->why = why;
    return ARCHIVE_WRONG;
}

static void hold(struct archive_reader *reader, uint64_t count)
{
    size_t taken = count < reader->input.count ? (size_t)count : reader->input.count;
    if (taken > 0)
        text_append(&reader->held, bytes_of(reader->input.data, taken));
    reader->input = bytes_after(reader->input, taken);
}

static enum archive_result begin(struct archive_reader *reader)
{
    hold(reader, MAGIC.count - reader->held.count);
    if (!bytes_start_with(MAGIC, text_bytes(&reader->held)))
        return wrong(reader, "pail restores archives of nats-server 2.15 or later only");
    if (reader->held.count < MAGIC.count)
        return ARCHIVE_MORE;
    text_clear(&reader->held);
    reader->has_begun = true;
    return ARCHIVE_ENTRY;
}

/* The entry lies in the input as a whole: nothing is copied. */
static enum head_result next_in_input(struct archive_reader *reader, struct head *head,
                                      struct archive_entry *entry_out)
{
    enum head_result result = head_read(reader->input, reader->bytes_max, head, &reader->why);
    if (result == HEAD_FINE && head->total > reader->input.count)
        result = HEAD_MORE;
    if (result != HEAD_FINE)
        return result;
    entry_of(head, reader->input, entry_out);
    reader->input = bytes_after(reader->input, head->total);
    return HEAD_FINE;
}

static enum head_result next_in_held(struct archive_reader *reader, struct head *head,
                                     struct archive_entry *entry_out)
{
    for (;;) {
        enum head_result result =
            head_read(text_bytes(&reader->held), reader->bytes_max, head, &reader->why);
        if (result == HEAD_WRONG)
            return HEAD_WRONG;
        if (result == HEAD_FINE && head->total <= reader->held.count)
            break;
        if (reader->input.count == 0)
            return HEAD_MORE;
        /* Never more than the entry, for what follows it is the input's. */
        hold(reader, result == HEAD_FINE ? head->total - reader->held.count : 1);
    }
    entry_of(head, text_bytes(&reader->held), entry_out);
    reader->is_held_used = true;
    return HEAD_FINE;
}

void archive_reader_free(struct archive_reader *reader)
{
    text_free(&reader->held);
}

void archive_reader_feed(struct archive_reader *reader, struct bytes input)
{
    reader->input = input;
}

enum archive_result archive_reader_next(struct archive_reader *reader,
                                        struct archive_entry *entry_out)
{
    struct head head;
    const char *why = reader->why;
    if (why != NULL)
        return ARCHIVE_WRONG;
    if (!reader->has_begun) {
        enum archive_result result = begin(reader);
        if (result != ARCHIVE_ENTRY)
            return result;
    }
    if (reader->is_held_used)
        text_clear(&reader->held);
    reader->is_held_used = false;
    enum head_result result = HEAD_MORE;
    if (reader->held.count == 0)
        result = next_in_input(reader, &head, entry_out);
    if (result == HEAD_MORE)
        result = next_in_held(reader, &head, entry_out);
    if (result == HEAD_WRONG)
        return ARCHIVE_WRONG;
    reader->why = NULL;
    return result == HEAD_FINE ? ARCHIVE_ENTRY : ARCHIVE_MORE;
}
