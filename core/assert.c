/*
 * core/assert.c: the end of a process whose own code is wrong.
 *
 * It does not go through core/diag: whatever broke, three strings must still come out, so the line is put together
 * without the heap and without locks, and the core dump is taken where the mistake was found.
 */
#include "core/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void assert_failed(const char *condition, const char *file, int line)
{
    char text[512];
    int count =
        snprintf(text, sizeof(text), "[%d] [FTL] assertion_failed at=%s:%d condition=\"%s\"\n",
                 (int)getpid(), file, line, condition);
    if (count > 0) {
        size_t bytes = (size_t)count < sizeof(text) ? (size_t)count : sizeof(text) - 1;
        (void)!write(STDERR_FILENO, text, bytes); /* nobody is left to be told that this failed */
    }
    abort();
}
