/*
 * core/heap.h: a shard's heap. Blocks are allocated on the shard that owns the heap; any shard may free one.
 *
 * Backed by mimalloc, or by malloc when built without it (PAIL_MIMALLOC=0, as under the sanitizers).
 * Out of memory stops the process: what a peer can make us allocate is bounded by budgets before it comes here.
 */
#ifndef CORE_HEAP_H
#define CORE_HEAP_H

#include <stddef.h>

struct heap; /* opaque; one a shard */

struct heap *heap_create(void);
void heap_destroy(struct heap *heap);

void *heap_alloc(struct heap *heap, size_t bytes); /* not zeroed */
void *heap_alloc_zeroed(struct heap *heap, size_t bytes);
void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t alignment); /* not zeroed */
void *heap_resize(struct heap *heap, void *block, size_t bytes); /* NULL block: a new one */
void heap_free(void *block);                                     /* NULL is fine; any thread */

#endif
