/*
 * tests/kv/archive_test.c: entries are read as they were written, however the bytes are cut; nothing else is taken.
 *
 * TEST_SEED=n replays a run.
 */
#include "kv/archive.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 40 };

static unsigned seed_first(void)
{
    const char *text = getenv("TEST_SEED");
    return text == NULL ? 1 : (unsigned)strtoul(text, NULL, 10);
}

static struct bytes some(char *room, size_t limit, unsigned *seed)
{
    size_t count = (size_t)rand_r(seed) % limit;
    for (size_t i = 0; i < count; i++)
        room[i] = (char)rand_r(seed);
    return bytes_of(room, count);
}

struct rig {
    char rooms[ENTRIES][3][600];
    struct archive_entry entries[ENTRIES];
    struct text text;
};

static void rig_init(struct rig *rig, unsigned *seed)
{
    static const int64_t times[] = {0, 1, -1, INT64_MAX, INT64_MIN, 1700000000000000000};
    archive_append_start(&rig->text);
    for (unsigned i = 0; i < ENTRIES; i++) {
        rig->entries[i] = (struct archive_entry){
            .name = some(rig->rooms[i][0], 100, seed),
            .headers = some(rig->rooms[i][1], 90, seed),
            .payload = some(rig->rooms[i][2], 600, seed),
            .time_ns = times[rand_r(seed) % (int)COUNT_OF(times)],
            .seq = i == 0 ? UINT64_MAX : (uint64_t)rand_r(seed) * i + 1,
        };
        archive_append_entry(&rig->text, &rig->entries[i]);
    }
    archive_append_end(&rig->text);
}

static void expect_entry(const struct archive_entry *entry, const struct archive_entry *wanted)
{
    cr_assert(bytes_equal(entry->name, wanted->name));
    cr_assert(bytes_equal(entry->headers, wanted->headers));
    cr_assert(bytes_equal(entry->payload, wanted->payload));
    cr_assert(eq(i64, entry->time_ns, wanted->time_ns));
    cr_assert(eq(u64, entry->seq, wanted->seq));
}

Test(archive, reads_what_it_writes_however_it_is_cut)
{
    unsigned first = seed_first();
    for (unsigned run = first; run < first + 100; run++) {
        unsigned seed = run, found = 0;
        struct rig *rig = calloc(1, sizeof *rig);
        rig_init(rig, &seed);
        struct archive_reader reader = {.bytes_max = 700};
        struct archive_entry entry;
        struct bytes rest = text_bytes(&rig->text);
        size_t piece = 1 + (size_t)rand_r(&seed) % 2000;
        while (rest.count > 0) {
            size_t count = rest.count < piece ? rest.count : piece;
            char *copy = malloc(count); /* exactly as long: reading beyond it is found */
            memcpy(copy, rest.data, count);
            archive_reader_feed(&reader, bytes_of(copy, count));
            enum archive_result result;
            while ((result = archive_reader_next(&reader, &entry)) == ARCHIVE_ENTRY) {
                if (found < ENTRIES)
                    expect_entry(&entry, &rig->entries[found]);
                else
                    cr_assert(archive_entry_is_end(&entry));
                found++;
            }
            cr_assert(eq(int, result, ARCHIVE_MORE), "seed %u", run);
            free(copy);
            rest = bytes_after(rest, count);
        }
        cr_assert(eq(u32, found, ENTRIES + 1), "seed %u", run);
        archive_reader_free(&reader);
        text_free(&rig->text);
        free(rig);
    }
}

struct row {
    char bytes[48];
    uint8_t count;
    uint8_t result; /* of the last call */
};

ParameterizedTestParameters(archive, refuses_what_is_none)
{
    static struct row rows[] = {
        {"NATSARC1", 8, ARCHIVE_MORE},
        {"NATSARC", 7, ARCHIVE_MORE},
        {"NATSARC2", 8, ARCHIVE_WRONG},
        {"meta.inf", 8, ARCHIVE_WRONG},                              /* the tar of older servers */
        {"NATSARC1\0\0\0\0\0", 13, ARCHIVE_MORE},                    /* the end, taken */
        {"NATSARC1\1\0\1\0\0", 13, ARCHIVE_MORE},                    /* its name is missing */
        {"NATSARC1\0\0\1\x65\0", 13, ARCHIVE_WRONG},                 /* 101 bytes of headers */
        {"NATSARC1\0\0\1\x60\x10", 13, ARCHIVE_WRONG},               /* 96 and 16 bytes together */
        {"NATSARC1\xff\xff\xff\xff\x7f\0\1\0\0", 17, ARCHIVE_WRONG}, /* the name's length */
        {"NATSARC1\0\0\1\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 22, ARCHIVE_WRONG},
        {"NATSARC1\0\0\1\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", 22, ARCHIVE_WRONG},
        {"NATSARC1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 19, ARCHIVE_WRONG},
    };
    return cr_make_param_array(struct row, rows, COUNT_OF(rows));
}
ParameterizedTest(struct row *row, archive, refuses_what_is_none)
{
    for (size_t piece = 1; piece <= row->count; piece++) {
        struct archive_reader reader = {.bytes_max = 100};
        struct archive_entry entry;
        struct bytes rest = bytes_of(row->bytes, row->count);
        enum archive_result result = ARCHIVE_MORE;
        while (rest.count > 0 && result == ARCHIVE_MORE) {
            size_t count = rest.count < piece ? rest.count : piece;
            archive_reader_feed(&reader, bytes_of(rest.data, count));
            while ((result = archive_reader_next(&reader, &entry)) == ARCHIVE_ENTRY)
                cr_assert(archive_entry_is_end(&entry));
            rest = bytes_after(rest, count);
        }
        cr_assert(eq(int, result, row->result), "in pieces of %zu", piece);
        cr_assert(eq(int, reader.why != NULL, row->result == ARCHIVE_WRONG));
        archive_reader_free(&reader);
    }
}

/* Bytes changed at random: no reading beyond what is there, no more kept than an entry may have. */
Test(archive, survives_damage)
{
    unsigned first = seed_first();
    for (unsigned run = first; run < first + 500; run++) {
        unsigned seed = run;
        struct rig *rig = calloc(1, sizeof *rig);
        rig_init(rig, &seed);
        for (unsigned i = 0; i < 4; i++)
            rig->text.data[8 + (size_t)rand_r(&seed) % (rig->text.count - 8)] = (char)rand_r(&seed);
        struct archive_reader reader = {.bytes_max = 700};
        struct archive_entry entry;
        archive_reader_feed(&reader, text_bytes(&rig->text));
        while (archive_reader_next(&reader, &entry) == ARCHIVE_ENTRY)
            cr_assert(le(sz, entry.headers.count + entry.payload.count, 700));
        archive_reader_free(&reader);
        text_free(&rig->text);
        free(rig);
    }
}
