/*
 * bench/index.c: what does a key cost in memory, and an operation in time, at ten million keys?
 *
 * Sketch: a cold look-up takes a line of the table and one or two of the key, each about 100 ns from memory, and as much
 * again for the page tables: 200 to 450 ns; with the table's line fetched early, half. An insert adds a place in the
 * arena and one in the log, which are warm: 300 to 600 ns. An overwrite also finds the old place in the log: one or two
 * lines more. Walk and scan fetch ahead: 20 to 60 ns. Memory: 56 + 10 + 8 bytes a key.
 *
 * Usage: bench-index [keys, default 10000000]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bench/histogram.h"
#include "core/hash.h"
#include "store/index.h"

enum {
    KEY_BYTES = 20,
    BATCH_COUNT = 4096,  /* operations whose keys are made before the clock runs */
    PREFETCH_COUNT = 16, /* look-ups under way together */
    GROUP_COUNT = 16,    /* operations timed together, to see the longest pause */
};

struct request {
    char text[KEY_BYTES];
    uint64_t hash;
};

struct bench {
    struct index *index;
    uint32_t key_count;
    uint64_t seq;
    uint64_t random;
    uint64_t found; /* so that nothing is optimized away */
    struct request requests[BATCH_COUNT];
};

/* One row of the table, being measured: CPU time by batch, for other programs run; real time by group. */
struct row {
    const char *name;
    uint64_t batch_started_ns;
    uint64_t group_started_ns;
    uint64_t spent_ns;
    uint64_t count;
    struct histogram groups;
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now); /* cannot fail for these clocks */
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void row_start(struct row *row)
{
    row->batch_started_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
    row->group_started_ns = now_ns(CLOCK_MONOTONIC);
}

static void row_stop(struct row *row, uint64_t count)
{
    row->spent_ns += now_ns(CLOCK_THREAD_CPUTIME_ID) - row->batch_started_ns;
    row->count += count;
}

/* After each GROUP_COUNT operations. */
static void row_lap(struct row *row)
{
    uint64_t stopped_ns = now_ns(CLOCK_MONOTONIC);
    histogram_add(&row->groups, stopped_ns - row->group_started_ns);
    row->group_started_ns = stopped_ns;
}

static void row_print(const struct row *row)
{
    printf("%-34s %9" PRIu64 " %8.0f", row->name, row->count,
           (double)row->spent_ns / (double)row->count);
    if (row->groups.count > 0)
        printf(" %8.1f %8.1f %8.1f", (double)histogram_quantile(&row->groups, 0.5) / 1000,
               (double)histogram_quantile(&row->groups, 0.999) / 1000,
               (double)row->groups.max / 1000);
    printf("\n");
    (void)fflush(stdout); /* progress only */
}

static uint64_t random_next(struct bench *bench)
{
    uint64_t value = bench->random += 0x9E3779B97F4A7C15u; /* splitmix64 */
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9u;
    value = (value ^ value >> 27) * 0x94D049BB133111EBu;
    return value ^ value >> 31;
}

static void request_make(struct request *request, uint64_t number)
{
    memcpy(request->text, "bench.key.0000000000", KEY_BYTES);
    for (size_t i = KEY_BYTES; number > 0; number /= 10)
        request->text[--i] = (char)('0' + number % 10);
    request->hash = hash_bytes(request->text, KEY_BYTES);
}

/* A batch of keys drawn at random, of those that are there. */
static void requests_draw(struct bench *bench)
{
    for (uint32_t i = 0; i < BATCH_COUNT; i++)
        request_make(&bench->requests[i], random_next(bench) % bench->key_count);
}

static struct index_key *put(struct bench *bench, const struct request *request)
{
    bench->seq++;
    struct message message = {
        .seq = bench->seq, .time_ns = bench->seq, .where = bench->seq, .size_bytes = 100};
    return index_insert(bench->index, bytes_of(request->text, KEY_BYTES), request->hash, &message);
}

static void bench_insert(struct bench *bench)
{
    struct row row = {.name = "insert a new key"};
    for (uint32_t first = 0; first < bench->key_count; first += BATCH_COUNT) {
        for (uint32_t i = 0; i < BATCH_COUNT; i++)
            request_make(&bench->requests[i], first + i);
        row_start(&row);
        for (uint32_t i = 0; i < BATCH_COUNT; i += GROUP_COUNT) {
            for (uint32_t j = 0; j < GROUP_COUNT; j++)
                put(bench, &bench->requests[i + j]);
            row_lap(&row);
        }
        row_stop(&row, BATCH_COUNT);
    }
    row_print(&row);
}

static void bench_overwrite(struct bench *bench, const char *name)
{
    struct row row = {.name = name};
    struct message removed;
    for (uint32_t done = 0; done < bench->key_count; done += BATCH_COUNT) {
        requests_draw(bench);
        row_start(&row);
        for (uint32_t i = 0; i < BATCH_COUNT; i += GROUP_COUNT) {
            for (uint32_t j = 0; j < GROUP_COUNT; j++) {
                struct index_key *key = put(bench, &bench->requests[i + j]);
                struct message old = index_key_message(bench->index, key, 0);
                bench->found += index_remove(bench->index, key, old.seq, &removed);
            }
            row_lap(&row);
        }
        row_stop(&row, BATCH_COUNT);
    }
    row_print(&row);
}

static void bench_find(struct bench *bench, const char *name, uint32_t prefetch_count)
{
    struct row row = {.name = name};
    for (uint32_t done = 0; done < bench->key_count / 2; done += BATCH_COUNT) {
        requests_draw(bench);
        row_start(&row);
        for (uint32_t i = 0; i < BATCH_COUNT; i += GROUP_COUNT) {
            for (uint32_t j = 0; j < prefetch_count; j++)
                index_prefetch(bench->index, bench->requests[i + j].hash);
            for (uint32_t j = 0; j < GROUP_COUNT; j++) {
                const struct request *request = &bench->requests[i + j];
                struct index_key *key =
                    index_find(bench->index, bytes_of(request->text, KEY_BYTES), request->hash);
                bench->found += index_key_newest(key).seq;
            }
            row_lap(&row);
        }
        row_stop(&row, BATCH_COUNT);
    }
    row_print(&row);
}

static void bench_miss(struct bench *bench)
{
    struct row row = {.name = "find, miss"};
    for (uint32_t done = 0; done < bench->key_count / 2; done += BATCH_COUNT) {
        for (uint32_t i = 0; i < BATCH_COUNT; i++)
            request_make(&bench->requests[i], (1ull << 32) + random_next(bench) % (1u << 30));
        row_start(&row);
        for (uint32_t i = 0; i < BATCH_COUNT; i++) {
            const struct request *request = &bench->requests[i];
            bench->found +=
                index_find(bench->index, bytes_of(request->text, KEY_BYTES), request->hash) != NULL;
        }
        row_stop(&row, BATCH_COUNT);
    }
    row_print(&row);
}

static void bench_find_seq(struct bench *bench)
{
    struct row row = {.name = "find by sequence (most are gone)"};
    struct index_key *key;
    struct message message;
    row_start(&row);
    for (uint32_t i = 0; i < bench->key_count / 4; i++)
        bench->found +=
            index_find_seq(bench->index, random_next(bench) % bench->seq, &key, &message);
    row_stop(&row, bench->key_count / 4);
    row_print(&row);
}

static void bench_walk(struct bench *bench, const char *name)
{
    struct row row = {.name = name};
    struct index_key *key;
    struct message message = {0};
    uint64_t count = 0;
    row_start(&row);
    for (; index_seek(bench->index, message.seq + 1, &key, &message); count++)
        bench->found += message.size_bytes;
    row_stop(&row, count);
    row_print(&row);
}

static void scan_on_key(void *context, struct index_key *key)
{
    struct bench *bench = context;
    bench->found += (unsigned char)index_key_bytes(key).data[0];
}

static void bench_scan(struct bench *bench)
{
    struct row row = {.name = "scan, slices of 1024"};
    uint64_t cursor = 0;
    row_start(&row);
    while (index_scan(bench->index, &cursor, 1024, scan_on_key, bench))
        continue;
    row_stop(&row, index_key_count(bench->index));
    row_print(&row);
}

static uint64_t resident_bytes(void)
{
    unsigned long long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    (void)fclose(file); /* read only */
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void print_memory(const struct bench *bench, const char *when, uint64_t resident_before)
{
    double count = (double)index_key_count(bench->index);
    printf("  memory a key %-19s %9.1f bytes counted, %.1f resident\n", when,
           (double)index_memory_bytes(bench->index) / count,
           (double)(resident_bytes() - resident_before) / count);
}

int main(int argument_count, char **arguments)
{
    static struct bench bench;
    unsigned long wanted = argument_count > 1 ? strtoul(arguments[1], NULL, 10) : 10000000;
    if (wanted < BATCH_COUNT || wanted > 1000000000) {
        (void)fprintf(stderr, "usage: bench-index [keys, 4096 to 1000000000]\n");
        return 2;
    }
    struct heap *heap = heap_create();
    bench.index = index_create(heap);
    bench.key_count = (uint32_t)wanted / BATCH_COUNT * BATCH_COUNT;
    uint64_t resident_before = resident_bytes();

    printf("%-34s %9s %8s %8s %8s %8s\n", "", "count", "ns each", "p50 us *", "p99.9", "max");
    bench_insert(&bench);
    print_memory(&bench, "after it", resident_before);
    bench_find(&bench, "find, cold", 0);
    bench_find(&bench, "find, 16 prefetched", PREFETCH_COUNT);
    bench_miss(&bench);
    bench_walk(&bench, "walk by sequence, keys in order");
    bench_scan(&bench);
    bench_overwrite(&bench, "overwrite: insert, remove old");
    bench_overwrite(&bench, "overwrite once more");
    print_memory(&bench, "after them", resident_before);
    bench_walk(&bench, "walk by sequence, keys scattered");
    bench_find_seq(&bench);
    printf("ns each: CPU time. * of %d operations together, real time (checksum %" PRIx64 ")\n",
           GROUP_COUNT, bench.found);
    index_destroy(bench.index);
    heap_destroy(heap);
    return 0;
}
