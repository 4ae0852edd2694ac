/*
 * tests/tsan_arena.c: puts Criterion's arena where ThreadSanitizer lets it be.
 *
 * Criterion maps the memory that its processes share at an address it draws with rand_r(): bits 24 to
 * 45 above 0x200000000000. Most of that range is ThreadSanitizer's own shadow, so nearly every draw
 * fails. This rand_r(), linked into the test programs, takes the place of the C library's and draws
 * from 0x551000000000 to 0x554000000000: application memory for ThreadSanitizer, and below the lowest
 * address where Linux puts a position-independent program. Only TSan builds link it.
 */
#include <stdlib.h>

enum {
    ARENA_SHIFT = 24,
    ARENA_FIRST = (0x551000000000 - 0x200000000000) >> ARENA_SHIFT,
    ARENA_COUNT = (0x554000000000 - 0x551000000000) >> ARENA_SHIFT
};

int rand_r(unsigned int *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return ARENA_FIRST + (int)((*seed >> 8) % ARENA_COUNT);
}
