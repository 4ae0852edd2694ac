/*
 * core/limits.h: limits that no option moves.
 */
#ifndef CORE_LIMITS_H
#define CORE_LIMITS_H

enum {
    LIMIT_CONFIG_FILE_BYTES = 16 << 20,
    LIMIT_CONFIG_TREE_BYTES =
        128 << 20,              /* all files together, parsed, with what variables repeat */
    LIMIT_CONFIG_DEPTH = 200,   /* maps, arrays and included files within one another */
    LIMIT_CONFIG_INCLUDES = 16, /* files that include one another; a loop ends here */
};

#endif
