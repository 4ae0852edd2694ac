/*
 * core/op.h: one asynchronous operation as the kernel (or the simulator) holds it.
 *
 * Embedded in the struct that waits for it. From the call of io_… until on_done has run for the last time (for a
 * multishot operation: the one without OP_MORE) the memory must stay where it is. on_done never runs inside the
 * call that started the operation.
 */
#ifndef CORE_OP_H
#define CORE_OP_H

#include <stdint.h>

struct op;
typedef void op_done_fn(struct op *op);

enum {
    OP_MORE = 1u << 0, /* multishot: the operation goes on, more completions follow */
};

struct op {
    op_done_fn *on_done;
    int32_t result;      /* bytes or descriptor, or a negative errno */
    uint32_t flags;      /* OP_MORE */
    const char *buffer;  /* io_recv: what came; borrowed until on_done returns */
    uint32_t io_private; /* the io implementation's own */
};

#endif
