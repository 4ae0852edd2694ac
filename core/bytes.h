/*
 * core/bytes.h: a borrowed run of bytes, and the small words every room uses.
 */
#ifndef CORE_BYTES_H
#define CORE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* Borrows; `data` may be NULL when count is 0. Not terminated. */
struct bytes {
    const char *data;
    size_t count;
};

#define BYTES_LITERAL(text) ((struct bytes){(text), sizeof(text) - 1})

static inline struct bytes bytes_of(const void *data, size_t count)
{
    return (struct bytes){(const char *)data, count};
}

static inline struct bytes bytes_of_text(const char *text)
{
    return (struct bytes){text, strlen(text)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.count == b.count && (a.count == 0 || memcmp(a.data, b.data, a.count) == 0);
}

static inline bool bytes_start_with(struct bytes bytes, struct bytes prefix)
{
    return bytes.count >= prefix.count
           && (prefix.count == 0 || memcmp(bytes.data, prefix.data, prefix.count) == 0);
}

/* What is left after the first `count` bytes; count must not exceed bytes.count. */
static inline struct bytes bytes_after(struct bytes bytes, size_t count)
{
    return (struct bytes){bytes.data + count, bytes.count - count};
}

/* Byte order, the shorter first when one is a prefix of the other. */
static inline int bytes_compare(struct bytes a, struct bytes b)
{
    size_t count = a.count < b.count ? a.count : b.count;
    int order = count == 0 ? 0 : memcmp(a.data, b.data, count);
    if (order != 0)
        return order;
    return a.count < b.count ? -1 : a.count > b.count;
}

#endif
