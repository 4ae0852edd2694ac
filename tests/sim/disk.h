/*
 * tests/sim/disk.h: the simulated disk, as io_sim.c uses it. See disk.c.
 */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include "core/io.h"

struct disk_write; /* a write that is not on the medium */

void disk_begin(void);
void disk_end(void);
void disk_crash(
    uint32_t sector_bytes); /* after disk_write_kill or disk_write_torn of what was in flight */
void disk_forget_handles(void);

enum status disk_open(const char *path, enum io_open_mode mode, bool direct, io_file *file_out);
void disk_close(io_file file);
bool disk_is_direct(io_file file);
uint64_t disk_size(io_file file);
enum status disk_allocate(io_file file, uint64_t bytes);
enum status disk_make_directory(const char *path);
enum status disk_rename(const char *from, const char *to);
enum status disk_remove(const char *path);
enum status disk_list(const char *path, void (*on_name)(void *context, const char *name),
                      void *context);
enum status disk_read_path(const char *path, char *buffer, size_t capacity, size_t *count_out);
enum status disk_replace(const char *path, const void *data, size_t count);
enum status disk_lock(const char *path, io_file *file_out);
void disk_limit(uint64_t bytes);
uint64_t disk_free_bytes(void);

/* A write begins: the data is copied. Then exactly one of the ends. */
struct disk_write *disk_write_begin(io_file file, const void *data, uint64_t bytes,
                                    uint64_t offset);
void disk_write_drop(struct disk_write *write); /* it never reached the disk */
void disk_write_done(struct disk_write *write, uint64_t done_bytes, bool is_durable);
void disk_write_failed(struct disk_write *write,
                       uint32_t sector_bytes);          /* any sector may be written */
void disk_write_whole_or_not(struct disk_write *write); /* the process died */
void disk_write_lost(struct disk_write *write);         /* power went: any sector, torn too */

uint64_t disk_read(io_file file, void *buffer, uint64_t bytes, uint64_t offset); /* bytes read */
/* A sync: what was in the file or directory when it began is on the medium when it ends. */
uint64_t disk_sync_begin(io_file file); /* a mark for the end */
void disk_sync_done(io_file file, uint64_t mark);

#endif
