/*
 * core/uring_compat.h: what the kernel has and liburing 2.3 does not know. Source: Linux, include/uapi/linux/io_uring.h.
 *
 * Kernel floor: 6.1 (DEFER_TASKRUN). Everything here is asked for by its feature bit.
 */
#ifndef CORE_URING_COMPAT_H
#define CORE_URING_COMPAT_H

#include <liburing.h>

/* Since 6.15: a sleeping ring does not count as iowait, which people would take for a busy disk. */
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif

#endif
