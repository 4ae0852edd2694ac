/*
 * core/msg.c: finding a header in a message's header block.
 */
#include "core/msg.h"

static struct bytes value_at(const char *from, const char *end);

bool msg_header(struct bytes headers, struct bytes name, struct bytes *value_out)
{
    if (headers.count == 0 || name.count == 0)
        return false;

    const char *at = headers.data;
    const char *end = headers.data + headers.count;
    while ((at = memmem(at, (size_t)(end - at), name.data, name.count)) != NULL) {
        const char *after = at + name.count;
        bool starts_a_line = at - headers.data >= 2 && at[-2] == '\r' && at[-1] == '\n';
        if (starts_a_line && after < end && *after == ':') {
            *value_out = value_at(after + 1, end);
            return true;
        }
        at++;
    }
    return false;
}

/* Leading spaces do not belong to the value, trailing ones do. Without CR LF it goes to the end. */
static struct bytes value_at(const char *from, const char *end)
{
    while (from < end && *from == ' ')
        from++;
    const char *stop = memmem(from, (size_t)(end - from), "\r\n", 2);
    return bytes_of(from, (size_t)((stop != NULL ? stop : end) - from));
}
