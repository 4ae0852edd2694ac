/*
 * tests/sim/sim.h: one machine in one thread: its disk, its clock, and the shards that run on it, all following one seed.
 *
 *     sim_begin(seed) ─► shard_group_create_unthreaded ─► sim_step … ─► sim_crash or sim_kill ─► destroy the group ─┐
 *                          ▲                                                                                        │
 *                          └──────────────────────── the disk stays, a new run begins ──────────────────────────────┘
 *
 * Which shard takes its turn, when an operation completes and in which order, what a crash leaves of each sector, and
 * which operation fails are all drawn from the seed: the same calls give the same run.
 *
 * The disk:
 *   - A durable write is on the medium when it completes. A plain write is in the file when it completes, and on the
 *     medium when a sync that began after that completes. Names are on the medium when their directory is synced.
 *   - sim_crash (power): each sector of a write that is not on the medium is independently old, new or garbage. Of the
 *     changes to the names of one directory a prefix survives.
 *   - sim_kill (the process dies): a write in flight happens as a whole or not at all; what is in the files stays there,
 *     and can still be lost by a later sim_crash.
 * Sockets do not exist here.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "core/shard.h"

/* Chances of one operation to fail, per million. */
struct sim_faults {
    uint32_t write_error; /* -EIO; what the sectors hold is unknown */
    uint32_t write_short; /* a part is written and said */
    uint32_t read_error;  /* -EIO */
    uint32_t read_short;
    uint32_t sync_error; /* -EIO; nothing became durable */
    uint32_t slow;       /* takes up to a second */
};

void sim_begin(uint64_t seed);
void sim_end(void); /* after the group is destroyed */

uint64_t sim_random(void);
uint64_t sim_below(uint64_t limit); /* 0 to limit - 1 */
bool sim_chance(uint64_t per_million);
uint64_t sim_now_ns(void);

void sim_set_faults(const struct sim_faults *faults); /* none at the beginning */
void sim_set_disk_bytes(uint64_t bytes);   /* what all files may take; no limit at the beginning */
void sim_set_sector_bytes(uint32_t bytes); /* 512 or 4096, the default */
void sim_refuse_direct(bool refuse);       /* as some file systems do */

/* One turn of a shard that has something to do; if none has, time goes on until one has. False: none ever will. */
bool sim_step(struct shard_group *group, uint32_t count);
/* Steps until the time has passed. */
void sim_pass(struct shard_group *group, uint32_t count, uint64_t ns);

/* Then destroy what ran (operations in flight are forgotten, files closed), and begin anew. */
void sim_crash(void);
void sim_kill(void);

/* ---- looking at the disk, and damaging it ---- */

uint32_t sim_file_count(const char *part_of_path);
/* Path of the index-th file (by name) whose path contains the part. */
const char *sim_file_at(const char *part_of_path, uint32_t index);
uint64_t sim_file_bytes(const char *path);
void sim_file_read(const char *path, uint64_t offset, void *out, uint64_t bytes);
void sim_file_overwrite(const char *path, uint64_t offset, const void *data, uint64_t bytes);
void sim_file_remove(const char *path);

#endif
