/*
 * core/heap.c: a shard's heap on mimalloc, or on malloc when built with PAIL_MIMALLOC=0.
 *
 * Keeps:   no call returns NULL. Blocks of a destroyed heap stay valid until they are freed: a message may outlive the
 *          shard that sent it.
 * Runs on: heap_free anywhere; all else on the thread that made the heap (mimalloc asks for it).
 */
#include "core/heap.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/assert.h"

#ifndef PAIL_MIMALLOC
#define PAIL_MIMALLOC 0
#endif

static void *heap_checked(void *block, size_t bytes);

#if PAIL_MIMALLOC

#include <mimalloc.h>

/* A struct heap is a mi_heap_t under another name: nothing of ours goes with it. */
static mi_heap_t *heap_mimalloc(struct heap *heap)
{
    return (mi_heap_t *)heap;
}

struct heap *heap_create(void)
{
    return heap_checked(mi_heap_new(), 0);
}

/* Delete, not destroy: what is still in use moves to the thread's own heap. */
void heap_destroy(struct heap *heap)
{
    if (heap != NULL)
        mi_heap_delete(heap_mimalloc(heap));
}

void *heap_alloc(struct heap *heap, size_t bytes)
{
    return heap_checked(mi_heap_malloc(heap_mimalloc(heap), bytes), bytes);
}

void *heap_alloc_zeroed(struct heap *heap, size_t bytes)
{
    return heap_checked(mi_heap_zalloc(heap_mimalloc(heap), bytes), bytes);
}

void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t alignment)
{
    return heap_checked(mi_heap_malloc_aligned(heap_mimalloc(heap), bytes, alignment), bytes);
}

void *heap_resize(struct heap *heap, void *block, size_t bytes)
{
    return heap_checked(mi_heap_realloc(heap_mimalloc(heap), block, bytes), bytes);
}

void heap_free(void *block)
{
    mi_free(block);
}

#else

/* malloc has no heaps of its own; the struct only makes a leaked shard visible to LeakSanitizer. */
struct heap {
    char unused;
};

struct heap *heap_create(void)
{
    return heap_checked(malloc(sizeof(struct heap)), sizeof(struct heap));
}

void heap_destroy(struct heap *heap)
{
    free(heap);
}

void *heap_alloc(struct heap *heap, size_t bytes)
{
    (void)heap;
    return heap_checked(malloc(bytes > 0 ? bytes : 1), bytes);
}

void *heap_alloc_zeroed(struct heap *heap, size_t bytes)
{
    (void)heap;
    return heap_checked(calloc(1, bytes > 0 ? bytes : 1), bytes);
}

void *heap_alloc_aligned(struct heap *heap, size_t bytes, size_t alignment)
{
    (void)heap;
    void *block = NULL;
    size_t alignment_min = alignment < sizeof(void *) ? sizeof(void *) : alignment;
    int failed = posix_memalign(&block, alignment_min, bytes > 0 ? bytes : 1);
    return heap_checked(failed == 0 ? block : NULL, bytes);
}

void *heap_resize(struct heap *heap, void *block, size_t bytes)
{
    (void)heap;
    return heap_checked(realloc(block, bytes > 0 ? bytes : 1), bytes);
}

void heap_free(void *block)
{
    free(block);
}

#endif

/* No diag here: it may want memory. */
static void *heap_checked(void *block, size_t bytes)
{
    if (__builtin_expect(block != NULL, 1))
        return block;
    (void)fprintf(stderr, "out_of_memory bytes=%zu\n", bytes); /* abort tells it, too */
    abort();
}
