/*
 * bench/watch.h: the workloads made of watchers: fan-out of puts, and listing a bucket's keys.
 */
#ifndef BENCH_WATCH_H
#define BENCH_WATCH_H

#include "bench/run.h"

/* W watchers see what the connections put. ops are puts, deliveries what all watchers got. */
extern const struct workload watch_workload;
/* Each connection lists the bucket's keys again and again. ops are lists, deliveries keys. */
extern const struct workload list_workload;

/* What the workers of a watch run share; the run's `shared`. Free with free(). */
struct watch_shared *watch_shared_create(const struct options *options);

#endif
