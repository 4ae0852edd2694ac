/*
 * core/cpu.h: which CPUs this process may use. For core/shard.c.
 */
#ifndef CORE_CPU_H
#define CORE_CPU_H

#include <stdbool.h>
#include <stdint.h>

/* CPUs in the affinity mask of the calling thread; at least 1. */
uint32_t cpu_count_affinity(void);

/*
 * The smallest CPU quota of our control group and those above it (version 1 or 2), in thousandths of a CPU; UINT64_MAX
 * when there is none.
 */
uint64_t cpu_quota_milli(void);

/* Keeps the calling thread on one CPU: the index-th of the mask (0 first). A refusal is ignored: it is slower only. */
void cpu_pin_thread(uint32_t index);

#endif
