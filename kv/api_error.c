/*
 * kv/api_error.c: the table of JetStream errors, and how one is written.
 */
#include "kv/api_error.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/assert.h"

struct api_error_row {
    uint16_t code, err_code;
    const char *description;
};

#define API_ERROR_ROW(name, code, err_code, words) {code, err_code, words},
static const struct api_error_row rows[API_ERROR_COUNT] = {API_ERROR_LIST(API_ERROR_ROW)};

bool api_fail(struct api_failure *failure, enum api_error error, const char *format, ...)
{
    failure->error = error;
    failure->text[0] = '\0';
    if (format == NULL)
        return false;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    return false;
}

void api_error_append(struct text *text, const struct api_failure *failure)
{
    ASSERT(failure->error > API_OK && failure->error < API_ERROR_COUNT);
    const struct api_error_row *row = &rows[failure->error];
    const char *hole = strstr(row->description, "%s");
    struct text description = {0};
    if (hole == NULL) {
        text_append_literal(&description, row->description);
    } else {
        text_append(&description, bytes_of(row->description, (size_t)(hole - row->description)));
        text_append_literal(&description, failure->text);
        text_append_literal(&description, hole + 2);
    }
    text_append_format(text, "{\"code\":%u,\"err_code\":%u,\"description\":", row->code,
                       row->err_code);
    text_append_json_string(text, text_bytes(&description));
    text_append_literal(text, "}");
    text_free(&description);
}

enum api_error api_error_of(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return API_OK;
    case STATUS_NOT_FOUND:
        return API_STREAM_NOT_FOUND;
    case STATUS_EXISTS:
        return API_STREAM_NAME_EXISTS;
    case STATUS_BUSY:
    case STATUS_NO_SPACE:
    case STATUS_NO_MEMORY:
        return API_INSUFFICIENT_RESOURCES;
    case STATUS_IO:
    case STATUS_CORRUPT:
    case STATUS_CANCELLED:
    case STATUS_UNSUPPORTED:
    case STATUS_PERMISSION:
    case STATUS_INVALID:
    case STATUS_COUNT:
        break;
    }
    return API_STREAM_GENERAL;
}
