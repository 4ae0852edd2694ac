/*
 * bench/load.h: connections that put, get and update in a closed loop: as soon as a request is
 * answered, its slot sends the next one.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "bench/run.h"

/* put, get, mixed, cas. Used by the watch workload too, for what its watchers see. */
extern const struct workload load_workload;

struct load;

/* The watch workload calls these by itself. `stamps` writes the time into each value. */
struct load *load_open(struct worker *worker, bool stamps);
void load_start(struct load *load);
void load_resume(struct load *load);             /* after worker->is_paused */
uint64_t load_last_seq(const struct load *load); /* highest revision acknowledged */
void load_close(struct load *load);

enum { STAMP_AT = 10, STAMP_BYTES = 16 }; /* in a value: behind the key and a blank */

#endif
