/*
 * core/status.h: every way an operation can end, with words for people.
 *
 * The peer's mistakes are not here: they are protocol answers (kv/api_error.h, net/parser.h).
 */
#ifndef CORE_STATUS_H
#define CORE_STATUS_H

#define STATUS_LIST(X)                                              \
    X(STATUS_OK, "ok")                                              \
    X(STATUS_BUSY, "a limit is reached, try again")                 \
    X(STATUS_NOT_FOUND, "it does not exist")                        \
    X(STATUS_EXISTS, "it exists already")                           \
    X(STATUS_NO_SPACE, "the disk is full")                          \
    X(STATUS_NO_MEMORY, "a memory budget is exhausted")             \
    X(STATUS_IO, "the disk failed")                                 \
    X(STATUS_CORRUPT, "what was read is not what was written")      \
    X(STATUS_CANCELLED, "it was cancelled")                         \
    X(STATUS_UNSUPPORTED, "the kernel or file system refuses this") \
    X(STATUS_PERMISSION, "permission denied")                       \
    X(STATUS_INVALID, "an argument is not valid")
#define STATUS_ENUMERATOR(name, words) name,
enum status { STATUS_LIST(STATUS_ENUMERATOR) STATUS_COUNT };

#define MUST_USE __attribute__((warn_unused_result))

/* Words for people; never NULL, also for a value out of range. */
const char *status_words(enum status status);

/* The status that best tells a negative errno (-ENOSPC: STATUS_NO_SPACE); anything unknown is STATUS_IO. */
enum status status_from_errno(int negative_errno);

#endif
