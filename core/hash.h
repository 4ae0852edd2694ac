/*
 * core/hash.h: hashes and checksums.
 */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * 64-bit hash of a key, well mixed in all bits, for tables in memory: it is never stored, and `hash_seed_set` gives each process
 * its own (against crafted keys).
 */
uint64_t hash_bytes(const void *data, size_t count);
void hash_seed_set(uint64_t seed); /* before the first use */

/* CRC-32C (Castagnoli) of data, continuing from `crc` (0 to begin). Uses SSE4.2 or ARMv8 where the CPU has it. */
uint32_t crc32c(uint32_t crc, const void *data, size_t count);
/* The same by table: what crc32c does on a CPU without the instruction, and what tests compare it with. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t count);

#endif
