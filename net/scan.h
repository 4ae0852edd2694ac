/*
 * net/scan.h: one operation at the front of a contiguous run of bytes. Keeps no state.
 */
#ifndef NET_SCAN_H
#define NET_SCAN_H

#include "core/bytes.h"
#include "net/parser.h"

/* What one scan came to. */
enum scan {
    SCAN_DONE,  /* `bytes` were used */
    SCAN_SHORT, /* the line is not complete; the first `bytes` tell all there is to tell */
    SCAN_CUT,   /* the line is complete, the operation will have `bytes` */
    SCAN_SKIP,  /* a name of `bytes` whose line does not matter */
    SCAN_FAILED,
};

struct scanned {
    enum scan scan;
    size_t bytes;
    enum parser_failure failure;
};

/* data begins with an operation's first byte, and is not empty; the operation's views lie in it. */
struct scanned scan_operation(const struct parser *parser, struct bytes data,
                              struct operation *operation);

#endif
