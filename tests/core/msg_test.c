/*
 * tests/core/msg_test.c: finding headers, in every odd place a header block may have them.
 */
#include "core/msg.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

Test(msg, finds_the_first_header_of_that_name)
{
    static const struct {
        const char *headers, *name, *value; /* value NULL: there is none */
    } rows[] = {
        {"NATS/1.0\r\nA: 1\r\n\r\n", "A", "1"},
        {"NATS/1.0\r\nA:1\r\n\r\n", "A", "1"},
        {"NATS/1.0\r\nA:   1\r\n\r\n", "A", "1"},
        {"NATS/1.0\r\nA: 1  \r\n\r\n", "A", "1  "},
        {"NATS/1.0\r\nA:\t1\r\n\r\n", "A", "\t1"},
        {"NATS/1.0\r\nA:\r\n\r\n", "A", ""},
        {"NATS/1.0\r\nA: \r\n\r\n", "A", ""},
        {"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n", "A", "1"},
        {"NATS/1.0\r\na: 1\r\nA: 2\r\n\r\n", "A", "2"},
        {"NATS/1.0\r\nAA: 1\r\n\r\n", "A", NULL},
        {"NATS/1.0\r\nXA: 1\r\nA: 2\r\n\r\n", "A", "2"},
        {"NATS/1.0\r\nB: A: 1\r\nA: 2\r\n\r\n", "A", "2"},
        {"NATS/1.0\r\nA : 1\r\n\r\n", "A", NULL},
        {"NATS/1.0\r\n\r\nA: 1\r\n\r\n", "A", "1"},
        {"NATS/1.0\nA: 1\r\n\r\n", "A", NULL},
        {"A: 1\r\n\r\n", "A", NULL},
        {"\r\nA: 1", "A", "1"},
        {"\r\nA:", "A", ""},
        {"\r\nA", "A", NULL},
        {"NATS/1.0\r\nA: 1\n2\r3\r\n\r\n", "A", "1\n2\r3"},
        {"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n", "Nats-Msg-Id", "x"},
        {"", "A", NULL},
        {"NATS/1.0\r\n: 1\r\n\r\n", "", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct bytes value = {"", 0};
        bool is_found =
            msg_header(bytes_of_text(rows[i].headers), bytes_of_text(rows[i].name), &value);
        cr_expect(eq(int, is_found, rows[i].value != NULL), "row %zu", i);
        if (is_found && rows[i].value != NULL)
            cr_expect(bytes_equal(value, bytes_of_text(rows[i].value)), "row %zu: '%.*s'", i,
                      (int)value.count, value.data);
    }
}

Test(msg, survives_no_headers_at_all)
{
    struct bytes value;
    cr_expect(not(msg_header(bytes_of(NULL, 0), BYTES_LITERAL("A"), &value)));
}
