/*
 * core/assert.h: ASSERT stays on in release. A failed one is our own mistake: say where, and stop.
 */
#ifndef CORE_ASSERT_H
#define CORE_ASSERT_H

#define ASSERT(condition)                                  \
    do {                                                   \
        if (__builtin_expect(!(condition), 0))             \
            assert_failed(#condition, __FILE__, __LINE__); \
    } while (0)

__attribute__((noreturn, cold)) void assert_failed(const char *condition, const char *file,
                                                   int line);

#endif
