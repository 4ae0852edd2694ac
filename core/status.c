/*
 * core/status.c: the words of a status, and the status of an errno.
 */
#include "core/status.h"

#include <assert.h>
#include <errno.h>

#include "core/bytes.h"

const char *status_words(enum status status)
{
#define STATUS_WORDS(name, words) words,
    static const char *const words[] = {STATUS_LIST(STATUS_WORDS)};
    static_assert(COUNT_OF(words) == STATUS_COUNT, "a row each");
#undef STATUS_WORDS

    if ((unsigned)status >= STATUS_COUNT)
        return "unknown status";
    return words[status];
}

enum status status_from_errno(int negative_errno)
{
    switch (negative_errno) {
    case 0:
        return STATUS_OK;
    case -EAGAIN:
    case -EBUSY:
    case -ETXTBSY:
    case -EADDRINUSE:
    case -EMFILE:
    case -ENFILE:
        return STATUS_BUSY;
    case -ENOENT:
    case -ENOTDIR:
        return STATUS_NOT_FOUND;
    case -EEXIST:
        return STATUS_EXISTS;
    case -ENOSPC:
    case -EDQUOT:
    case -EFBIG:
        return STATUS_NO_SPACE;
    case -ENOMEM:
    case -ENOBUFS:
        return STATUS_NO_MEMORY;
    case -ECANCELED:
        return STATUS_CANCELLED;
    case -ENOSYS:
    case -EOPNOTSUPP:
        return STATUS_UNSUPPORTED;
    case -EACCES:
    case -EPERM:
    case -EROFS:
        return STATUS_PERMISSION;
    case -EINVAL:
    case -ENAMETOOLONG:
    case -EADDRNOTAVAIL:
        return STATUS_INVALID;
    default:
        return STATUS_IO;
    }
}
