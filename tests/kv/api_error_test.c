/*
 * tests/kv/api_error_test.c: the table of errors, and errors as JSON.
 */
#include "kv/api_error.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#define ROW(name, code, err_code, words) {#name, name, code, err_code, words},
static const struct {
    const char *name;
    enum api_error error;
    int code, err_code;
    const char *words;
} rows[] = {API_ERROR_LIST(ROW)};

Test(api_error, has_each_err_code_once)
{
    cr_assert(eq(sz, COUNT_OF(rows), API_ERROR_COUNT));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (size_t j = 0; j < i; j++)
            cr_expect(ne(int, rows[i].err_code, rows[j].err_code), "%s and %s", rows[i].name,
                      rows[j].name);
    }
}

Test(api_error, has_codes_that_clients_know)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (rows[i].error == API_OK)
            continue;
        bool is_known = rows[i].code == 400 || rows[i].code == 404 || rows[i].code == 412
                        || rows[i].code == 500 || rows[i].code == 503;
        cr_expect(is_known, "%s: %d", rows[i].name, rows[i].code);
        cr_expect(rows[i].err_code >= 10000 && rows[i].err_code < 10300, "%s", rows[i].name);
        cr_expect(ne(int, rows[i].words[0], 0), "%s", rows[i].name);
    }
}

static void expect_json(const struct api_failure *failure, const char *expected)
{
    struct text text = {0};
    api_error_append(&text, failure);
    cr_expect(bytes_equal(text_bytes(&text), bytes_of_text(expected)), "%.*s", (int)text.count,
              text.data);
    text_free(&text);
}

Test(api_error, fills_its_text_in)
{
    struct api_failure failure;
    cr_expect(not(api_fail(&failure, API_WRONG_LAST_SEQUENCE, "%d", 6)));
    expect_json(&failure, "{\"code\":400,\"err_code\":10071,\"description\":"
                          "\"wrong last sequence: 6\"}");
    cr_expect(not(api_fail(&failure, API_STREAM_NOT_FOUND, NULL)));
    expect_json(&failure, "{\"code\":404,\"err_code\":10059,\"description\":\"stream not found\"}");
    cr_expect(not(api_fail(&failure, API_STORE_FAILED, "maximum bytes exceeded")));
    expect_json(&failure,
                "{\"code\":503,\"err_code\":10077,\"description\":\"maximum bytes exceeded\"}");
}

Test(api_error, escapes_and_cuts_what_peers_sent)
{
    struct api_failure failure;
    char long_text[1000];
    memset(long_text, 'x', sizeof long_text);
    api_fail(&failure, API_INVALID_JSON, "a \"quoted\" word");
    expect_json(&failure, "{\"code\":400,\"err_code\":10025,\"description\":"
                          "\"invalid JSON: a \\\"quoted\\\" word\"}");
    api_fail(&failure, API_STREAM_CREATE, "%.*s", (int)sizeof long_text, long_text);
    cr_expect(eq(sz, strlen(failure.text), sizeof failure.text - 1));
}

Test(api_error, answers_every_failure_below_kv)
{
    for (int status = STATUS_OK + 1; status < STATUS_COUNT; status++) {
        enum api_error error = api_error_of((enum status)status);
        cr_expect(error > API_OK && error < API_ERROR_COUNT, "%s",
                  status_words((enum status)status));
    }
}
