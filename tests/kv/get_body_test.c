/*
 * tests/kv/get_body_test.c: what bodies of gets ask for, and which are refused.
 *
 * Source: jetstream-streams.md sections 5.8 and 6.
 */
#include "kv/get_body.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "core/assert.h"

static bool read_text(struct get_body *body, const char *text)
{
    const char *why;
    struct bytes rest;
    struct json *json = json_parse(bytes_of_text(text), &rest, &why);
    cr_assert(ne(ptr, json, NULL), "%s: %s", text, why);
    bool is_read = get_body_read(body, json);
    body->multi_last = body->multi_last == NULL ? NULL : (const struct json *)text; /* freed now */
    body->last_by_subject.data = body->next_by_subject.data = NULL;
    json_free(json);
    return is_read;
}

Test(get_body, tells_empty_conflicting_and_good_bodies_apart)
{
    static const struct {
        const char *text;
        bool is_empty, conflicts, conflicts_direct;
    } rows[] = {
        {"{}", true, false, false},
        {"{\"seq\":0,\"last_by_subj\":\"\",\"start_time\":null,\"multi_last\":[]}", true, false,
         false},
        {"{\"batch\":3}", true, false, false},
        {"{\"up_to_seq\":3}", true, false, false},
        {"{\"seq\":1}", false, false, false},
        {"{\"SEQ\":1}", false, false, false},
        {"{\"seq\":1,\"next_by_subj\":\"a\"}", false, false, false},
        {"{\"seq\":1,\"last_by_subj\":\"a\"}", false, true, true},
        {"{\"seq\":1,\"start_time\":\"2026-01-01T00:00:00Z\"}", false, true, true},
        {"{\"last_by_subj\":\"a\",\"start_time\":\"2026-01-01T00:00:00Z\"}", false, true, true},
        {"{\"last_by_subj\":\"a\",\"next_by_subj\":\"a\"}", false, true, true},
        {"{\"next_by_subj\":\"a\",\"start_time\":\"2026-01-01T00:00:00Z\"}", false, false, false},
        {"{\"last_by_subj\":\"a\",\"batch\":1}", false, false, true},
        {"{\"last_by_subj\":\"a\",\"batch\":-1}", false, false, false},
        {"{\"last_by_subj\":\"a\",\"multi_last\":[\"b\"]}", false, false, true},
        {"{\"next_by_subj\":\"a\",\"multi_last\":[\"b\"]}", false, false, true},
        {"{\"multi_last\":[\"b\"],\"seq\":4,\"up_to_seq\":9}", false, false, false},
        {"{\"seq\":1,\"up_to_seq\":1,\"up_to_time\":\"2026-01-01T00:00:00Z\"}", false, false, true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct get_body body;
        cr_assert(read_text(&body, rows[i].text), "%s", rows[i].text);
        cr_expect(eq(int, get_body_is_empty(&body), rows[i].is_empty), "%s", rows[i].text);
        cr_expect(eq(int, get_body_conflicts(&body, false), rows[i].conflicts), "%s", rows[i].text);
        cr_expect(eq(int, get_body_conflicts(&body, true), rows[i].conflicts_direct), "%s",
                  rows[i].text);
    }
}

Test(get_body, tells_what_may_not_stand_beside_a_subject)
{
    static const struct {
        const char *text;
        bool asks;
    } rows[] = {
        {"{\"no_hdr\":true,\"max_bytes\":5,\"other\":1}", false},
        {"{\"batch\":-1}", true},
        {"{\"up_to_seq\":1}", true},
        {"{\"up_to_time\":\"2026-01-01T00:00:00Z\"}", true},
        {"{\"seq\":1}", true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct get_body body;
        cr_assert(read_text(&body, rows[i].text), "%s", rows[i].text);
        cr_expect(eq(int, get_body_asks(&body), rows[i].asks), "%s", rows[i].text);
    }
}

Test(get_body, refuses_wrong_types)
{
    static const char *const rows[] = {
        "{\"seq\":\"1\"}",          "{\"seq\":-1}",           "{\"seq\":1.5}",
        "{\"batch\":1.5}",          "{\"max_bytes\":\"\"}",   "{\"no_hdr\":1}",
        "{\"last_by_subj\":1}",     "{\"next_by_subj\":[]}",  "{\"start_time\":\"now\"}",
        "{\"up_to_time\":1}",       "{\"multi_last\":\"a\"}", "{\"multi_last\":[1]}",
        "{\"up_to_seq\":\"nine\"}",
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct get_body body;
        cr_expect(not(read_text(&body, rows[i])), "%s", rows[i]);
    }
}
