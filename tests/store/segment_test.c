/*
 * tests/store/segment_test.c: names and headers are believed only where they belong.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>

#include "store/segment.h"

Test(segment, names_are_read_back)
{
    char path[SEGMENT_PATH_BYTES];
    uint64_t number = 0;
    segment_path(path, "/d", 0xabc);
    cr_assert(eq(str, path, "/d/log/0000000000000abc.segment"));
    cr_assert(segment_name_parse("0000000000000abc.segment", &number));
    cr_assert(eq(u64, number, 0xabc));
    spare_path(path, "/d", 12);
    cr_assert(eq(str, path, "/d/log/spare-12.segment"));
    cr_assert(spare_name_parse("spare-12.segment", &number));
    cr_assert(eq(u64, number, 12));
}

Test(segment, other_names_are_not_ours)
{
    uint64_t number;
    cr_assert(not(segment_name_parse("0000000000000ABC.segment", &number)));
    cr_assert(not(segment_name_parse("0000000000000000.segment", &number)));
    cr_assert(not(segment_name_parse("00000000000000abc.segment", &number)));
    cr_assert(not(segment_name_parse("0000000000000abc.segment~", &number)));
    cr_assert(not(spare_name_parse("spare-.segment", &number)));
    cr_assert(not(spare_name_parse("spare-1.new", &number)));
    cr_assert(not(spare_name_parse("spare-99999999999999999999.segment", &number)));
}

Test(segment, header_is_believed_only_in_its_own_file)
{
    static struct segment_header header = {.segment_id = 5, .epoch = 2, .listed_first = 3};
    header.listed[0] = 1u << 1;
    segment_header_finish(&header);
    cr_assert(segment_header_is_valid(&header, 5));
    cr_assert(not(segment_header_is_valid(&header, 6)));
    cr_assert(segment_header_lists(&header, 4));
    cr_assert(not(segment_header_lists(&header, 3)));
    cr_assert(not(segment_header_lists(&header, 2)));
    header.epoch++;
    cr_assert(not(segment_header_is_valid(&header, 5)));
}

Test(segment, batch_header_is_believed_only_at_its_own_place)
{
    struct batch_header header = {.segment_id = 5, .offset = 8192, .body_bytes = 4000};
    batch_header_finish(&header);
    cr_assert(batch_header_is_valid(&header, 5, 8192));
    cr_assert(not(batch_header_is_valid(&header, 5, 4096)));
    cr_assert(not(batch_header_is_valid(&header, 4, 8192)));
    cr_assert(eq(u64, batch_header_bytes(&header), 4096));
    header.durable_upto = 1;
    cr_assert(not(batch_header_is_valid(&header, 5, 8192)));
}
