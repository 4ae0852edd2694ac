/*
 * tests/kv/subject_map_test.c: transforms, by tables of what `nats server mapping` (nats-server 2.15.2) makes of the same.
 */
#include "kv/subject_map.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

struct row {
    const char *source, *destination, *subject, *expected;
};

static void expect_image(const struct row *row)
{
    struct text why = {0}, out = {0};
    struct subject_map *map;
    cr_expect(subject_map_check(bytes_of_text(row->source), bytes_of_text(row->destination), &why),
              "%s to %s", row->source, row->destination);
    cr_assert(
        subject_map_create(&map, bytes_of_text(row->source), bytes_of_text(row->destination), &why),
        "%s to %s: %.*s", row->source, row->destination, (int)why.count, why.data);
    cr_expect(subject_map_apply(map, bytes_of_text(row->subject), 0, &out), "%s of %s",
              row->destination, row->subject);
    cr_expect(bytes_equal(text_bytes(&out), bytes_of_text(row->expected)),
              "%s to %s of %s: %.*s, not %s", row->source, row->destination, row->subject,
              (int)out.count, out.data, row->expected);
    subject_map_free(map);
    text_free(&why);
    text_free(&out);
}

Test(subject_map, maps_as_nats_server_does)
{
    static const struct row rows[] = {
        {"a.*.*", "b.{{wildcard(2)}}.{{partition(10,1,2)}}", "a.foo.bar", "b.bar.0"},
        {"a.*.*", "b.$2.$1", "a.foo.bar", "b.bar.foo"},
        {"a.*.*", "b.{{Wildcard( 2 )}}", "a.foo.bar", "b.bar"},
        {"$KV.a.>", "$KV.b.>", "$KV.a.x.y.z", "$KV.b.x.y.z"},
        {"a.>", "b.c.>", "a.x.y", "b.c.x.y"},
        {">", "x.>", "a.b", "x.a.b"},
        {"a.*.>", "b.>", "a.1.x.y", "b.x.y"},
        {"a.*.>", "b.$1.c.>", "a.1.x.y", "b.1.c.x.y"},
        {"*", "{{partition(7,1)}}", "hello", "2"},
        {"*.*", "p.{{partition(1000,2,1)}}", "hello.world", "p.169"},
        {"*.*", "p.{{partition(1000)}}", "hello.world", "p.301"},
        {"a.b", "p.{{partition(1000)}}", "a.b", "p.692"},
        {"*", "{{splitFromLeft(1,3)}}", "12345", "123.45"},
        {"*", "{{SplitFromRight(1,3)}}", "12345", "12.345"},
        {"*", "{{splitfromleft(1,9)}}", "12345", "12345"},
        {"*", "{{splitfromleft(1,0)}}", "12345", "12345"},
        {"*", "{{sliceFromLeft(1,2)}}", "12345", "12.34.5"},
        {"*", "{{sliceFromRight(1,2)}}", "12345", "1.23.45"},
        {"*", "{{sliceFromLeft(1,2)}}", "123456", "12.34.56"},
        {"*", "{{sliceFromRight(1,3)}}", "123456", "123.456"},
        {"t.*", "x.{{split(1,-)}}.y", "t.-a--b-c-", "x.a.b.c.y"},
        {"*", "x.{{split(1,-)}}", "a-b", "x.a.b"},
        {"t.*", "x.{{split(1,--)}}", "t.--a----b--", "x.a.b"},
        {"t.*", "x.{{split(1,-)}}", "t.--a-b", "x..a.b"},
        {"*", "{{left(1,2)}}", "abcd", "ab"},
        {"*", "{{right(1,3)}}", "abcd", "bcd"},
        {"*", "{{Right(1,9)}}", "abcd", "abcd"},
        {"*.*", "{{wildcard(0)}}.$2", "q.r", "q.r"},
        {"a", "b", "a", "b"},
        {"*", "$KV.$1.$x", "k", "$KV.k.$x"},
        {"a.*", "b", "a.c", "b"},
        {"*", "b.{{ wildcard (1) }}.c", "z", "b.z.c"},
        {"*", "{{partition(0,1)}}", "z", "0"},
        {"*", "{{partition(-3,1)}}", "z", "4278997933"},
        {"*", "{{split(1,)}}", "abc", "a.b.c"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        expect_image(&rows[i]);
}

Test(subject_map, refuses_in_the_words_of_nats_server)
{
    static const struct row rows[] = {
        {"a.*", "b.{{wildcard(2)}}", "a.c",
         "invalid mapping destination: wildcard index out of range in {{wildcard(2)}}: [2]"},
        {"a.*", "b.$2", "a.c",
         "invalid mapping destination: wildcard index out of range in $2: [2]"},
        {"a", "b.$1", "a", "invalid mapping destination: wildcard index out of range in $1"},
        {"a", "b.{{wildcard(1)}}", "a",
         "invalid mapping destination: wildcard index out of range in {{wildcard(1)}}"},
        {"a", "b.{{left(1)}}", "a",
         "invalid mapping destination: not enough arguments passed to the function in {{left(1)}}"},
        {"a.>", "b.{{wildcard(1)}}.>", "a.b",
         "invalid mapping destination: wildcard index out of range in {{wildcard(1)}}: [1]"},
        {"a.*", "b.{{foo(1)}}", "a.c",
         "invalid mapping destination: unknown function in {{foo(1)}}"},
        {"a.*", "b.{{WILDCARD(1)}}", "a.c",
         "invalid mapping destination: unknown function in {{WILDCARD(1)}}"},
        {"a.*", "b.{{wildcard()}}", "a.c",
         "invalid mapping destination: not enough arguments passed to the function in "
         "{{wildcard()}}"},
        {"a.*", "b.{{wildcard(1,2)}}", "a.c",
         "invalid mapping destination: too many arguments passed to the function in "
         "{{wildcard(1,2)}}"},
        {"a.*", "b.{{wildcard(x)}}", "a.c",
         "invalid mapping destination: function argument is invalid or in the wrong format in "
         "{{wildcard(x)}}"},
        {"a.*", "b.{{left(1)}}", "a.c",
         "invalid mapping destination: not enough arguments passed to the function in {{left(1)}}"},
        {"a.*", "b.{{left(1,2,3)}}", "a.c",
         "invalid mapping destination: too many arguments passed to the function in "
         "{{left(1,2,3)}}"},
        {"a.*", "b.{{left(1,x)}}", "a.c",
         "invalid mapping destination: function argument is invalid or in the wrong format in "
         "{{left(1,x)}}"},
        {"a.*", "b.{{split(1)}}", "a.c",
         "invalid mapping destination: not enough arguments passed to the function in "
         "{{split(1)}}"},
        {"a.*", "b.{{split(1,a b)}}", "a.c",
         "invalid mapping destination: function argument is invalid or in the wrong format in "
         "{{split(1,a b)}}"},
        {"a.*", "b.{{partition()}}", "a.c",
         "invalid mapping destination: function argument is invalid or in the wrong format in "
         "{{partition()}}"},
        {"a.*", "b.{{partition(10,5)}}", "a.c",
         "invalid mapping destination: wildcard index out of range in {{partition(10,5)}}: [5]"},
        {"a.*", "b.{{random(1,2)}}", "a.c",
         "invalid mapping destination: not enough arguments passed to the function in "
         "{{random(1,2)}}"},
        {"a.*", "b.*", "a.c", "invalid subject"},
        {"a.>", "b", "a.c", "invalid subject"},
        {"a.*", "b.>", "a.c", "invalid subject"},
        {"a..b", "c", "a..b", "invalid subject"},
        {"a.*", "b..c", "a.c", "invalid subject"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text why = {0};
        struct subject_map *map;
        bool is_fine = subject_map_create(&map, bytes_of_text(rows[i].source),
                                          bytes_of_text(rows[i].destination), &why);
        cr_expect(is_fine == false, "%s to %s", rows[i].source, rows[i].destination);
        cr_expect(map == NULL);
        cr_expect(bytes_equal(text_bytes(&why), bytes_of_text(rows[i].expected)),
                  "%s to %s: %.*s, not %s", rows[i].source, rows[i].destination, (int)why.count,
                  why.data, rows[i].expected);
        text_free(&why);
    }
}

Test(subject_map, leaves_alone_what_it_does_not_match)
{
    static const struct row rows[] = {
        {"a.*", "b", "c.d", "Error: no matching transforms available"},
        {"a.*", "b", "a.>", "Error: invalid subject"},
        {"a.*", "b", "a.*", ""},
        {"a.>", "b.>", "a..c", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text why = {0}, out = {0};
        struct subject_map *map;
        cr_assert(subject_map_create(&map, bytes_of_text(rows[i].source),
                                     bytes_of_text(rows[i].destination), &why));
        bool is_matched = subject_map_apply(map, bytes_of_text(rows[i].subject), 0, &out);
        cr_expect(is_matched == false);
        cr_expect(out.count == 0);
        subject_map_free(map);
        text_free(&why);
        text_free(&out);
    }
}

Test(subject_map, checks_a_configuration_more_strictly)
{
    static const struct row rows[] = {
        {"a.*", "b..c", "", "invalid mapping destination: invalid transform"},
        {"a.>", "b.>.c", "", "invalid mapping destination: invalid transform in c"},
        {"a.*", "b.x y", "", "invalid mapping destination: invalid transform"},
        {"a.*", "b.{{nothing(1)}}", "",
         "invalid mapping destination: unknown function in {{nothing(1)}}"},
        {"a.*", "b.$2", "", "invalid mapping destination: wildcard index out of range in $2: [2]"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct text why = {0};
        bool is_fine = subject_map_check(bytes_of_text(rows[i].source),
                                         bytes_of_text(rows[i].destination), &why);
        cr_expect(is_fine == false);
        cr_expect(bytes_equal(text_bytes(&why), bytes_of_text(rows[i].expected)), "%.*s, not %s",
                  (int)why.count, why.data, rows[i].expected);
        text_free(&why);
    }
}

Test(subject_map, an_empty_destination_changes_nothing_and_an_empty_source_is_everything)
{
    struct text why = {0}, out = {0};
    struct subject_map *map;
    cr_expect(subject_map_create(&map, BYTES_LITERAL("a.*"), (struct bytes){0}, &why));
    cr_expect(map == NULL);
    cr_assert(subject_map_create(&map, (struct bytes){0}, BYTES_LITERAL("x.>"), &why));
    cr_expect(subject_map_apply(map, BYTES_LITERAL("a.b"), 0, &out));
    cr_expect(bytes_equal(text_bytes(&out), BYTES_LITERAL("x.a.b")));
    subject_map_free(map);
    text_free(&why);
    text_free(&out);
}

Test(subject_map, random_stays_below_its_bound)
{
    struct text why = {0}, out = {0};
    struct subject_map *map;
    cr_assert(subject_map_create(&map, BYTES_LITERAL("a"), BYTES_LITERAL("{{random(10)}}"), &why));
    cr_expect(subject_map_apply(map, BYTES_LITERAL("a"), UINT64_C(0xffffffffffff1237), &out));
    cr_expect(out.count == 1);
    subject_map_free(map);
    text_free(&why);
    text_free(&out);
}
