/*
 * core/shard.c: shards, their turn, and the group that starts and stops them together.
 *
 *     thread:  make shard ─CREATED─ on_start ─STARTED─ turns until stopped ─LEFT─ on_stop ─STOPPED─ free shard
 *
 * Each name between dashes is a gate: nobody passes before all have come to it. So a shard exists while any other may
 * send to it or ring it. If something fails, all still pass all gates, but take no turns.
 *
 * Owns:    the group owns shards, lanes and threads.
 * Runs on: each shard's thread; the group's verbs where shard.h says.
 */
#include "core/shard.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/cpu.h"
#include "core/mailbox.h"

enum { PINNED_CPUS_MIN = 4, WHY_BYTES = 512 };

enum gate { GATE_CREATED, GATE_STARTED, GATE_LEFT, GATE_STOPPED, GATE_COUNT };

typedef enum status start_fn(struct shard *shard, void *context, char *why, size_t why_bytes);
typedef void stop_fn(struct shard *shard, void *context);

struct shard_phase {
    shard_phase_fn *run;
    void *context; /* borrows */
};

struct seat {
    struct shard_group *group;
    uint32_t index;
    pthread_t thread;
    struct shard *shard; /* owns; written before GATE_CREATED, read after it */
};

struct shard_group {
    struct heap *heap; /* owns; of the thread that made the group */
    struct mailbox_post *post;
    uint32_t count;
    struct seat *seats;
    start_fn *on_start;
    stop_fn *on_stop;
    void *context;
    bool is_pinned;

    _Atomic bool
        is_stopped; /* any thread sets it; release, acquire: what led to it is visible to who stops */

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t gate_passed;
    uint32_t thread_count;
    uint32_t arrived[GATE_COUNT];
    enum status status; /* the first failure */
    char why[WHY_BYTES];
};

static _Thread_local struct shard *shard_of_thread;

static void shard_wait(struct shard *shard);
static void shard_run_deferred(struct shard *shard);
static enum status shard_create(struct shard_group *group, uint32_t index, char *why,
                                size_t why_bytes);
static void shard_destroy(struct shard *shard);
static struct shard_group *group_create(uint32_t count);
static void group_destroy(struct shard_group *group);
static void group_spawn(struct shard_group *group);
static void *group_thread(void *context);
static void seat_name_and_pin(const struct seat *seat);
static void seat_create_shard(const struct seat *seat);
static bool seat_start_shard(const struct seat *seat);
static void group_pass_gate(struct shard_group *group, enum gate gate);
static void group_await_gate(struct shard_group *group, enum gate gate);
static void group_fail(struct shard_group *group, enum status status, const char *why);
static bool group_has_failed(struct shard_group *group);

/* ---- the turn ---- */

struct shard *shard_current(void)
{
    return shard_of_thread;
}

void shard_enter(struct shard *shard)
{
    ASSERT(shard_of_thread == NULL);
    shard_of_thread = shard;
}

void shard_leave(struct shard *shard)
{
    ASSERT_ON_SHARD(shard);
    shard_of_thread = NULL;
}

void shard_turn(struct shard *shard)
{
    struct shard *outer = shard_of_thread; /* ourselves in a thread of a group, else nobody */
    ASSERT(outer == NULL || outer == shard);
    shard_of_thread = shard;

    shard_wait(shard);
    mailbox_run(shard);
    timer_wheel_run(shard->timers, shard_now_ns(shard));
    for (uint32_t index = 0; index < shard->phase_count; index++)
        shard->phases[index].run(shard, shard->phases[index].context);
    mailbox_publish(shard);
    if (shard->deferred_head != NULL) {
        shard_run_deferred(shard);
        mailbox_publish(shard);
    }
    shard_of_thread = outer;
}

/* Step 1. Sleeps if there is nothing to do and nobody has sent anything by the time we say that we sleep. */
static void shard_wait(struct shard *shard)
{
    bool has_work = shard_has_work(shard);
    shard->is_awake_wanted = false;
    if (has_work || !mailbox_sleep_begin(shard)) {
        io_turn(shard->io, 0);
        return;
    }
    io_turn(shard->io, timer_wheel_deadline_ns(shard->timers));
    mailbox_sleep_end(shard);
}

bool shard_has_work(struct shard *shard)
{
    return shard->is_awake_wanted || shard->deferred_head != NULL || mailbox_has_work(shard);
}

void shard_add_phase(struct shard *shard, shard_phase_fn *run, void *context)
{
    ASSERT_ON_SHARD(shard);
    size_t bytes = (shard->phase_count + 1) * sizeof(*shard->phases);
    shard->phases = heap_resize(shard->heap, shard->phases, bytes);
    shard->phases[shard->phase_count] = (struct shard_phase){.run = run, .context = context};
    shard->phase_count++;
}

void shard_defer(struct shard *shard, struct shard_deferred *deferred,
                 void (*run)(struct shard_deferred *deferred))
{
    ASSERT_ON_SHARD(shard);
    if (deferred->is_queued)
        return;
    *deferred = (struct shard_deferred){.run = run, .is_queued = true};
    *shard->deferred_tail = deferred;
    shard->deferred_tail = &deferred->next;
}

/* What these calls defer is the next turn's: its messages are not published yet. */
static void shard_run_deferred(struct shard *shard)
{
    struct shard_deferred *deferred = shard->deferred_head;
    shard->deferred_head = NULL;
    shard->deferred_tail = &shard->deferred_head;
    while (deferred != NULL) {
        struct shard_deferred *next = deferred->next;
        deferred->is_queued = false;
        deferred->run(deferred); /* may free it, or defer it again */
        deferred = next;
    }
}

/* ---- one shard ---- */

/* On failure the seat's shard is half-built; shard_destroy takes that. */
static enum status shard_create(struct shard_group *group, uint32_t index, char *why,
                                size_t why_bytes)
{
    struct heap *heap = heap_create();
    struct shard *shard = heap_alloc_zeroed(heap, sizeof(*shard));
    group->seats[index].shard = shard;
    *shard = (struct shard){
        .index = index,
        .count = group->count,
        .group = group,
        .heap = heap,
        .deferred_tail = &shard->deferred_head,
    };
    enum status status = io_create(index, &shard->io, why, why_bytes);
    if (status != STATUS_OK)
        return status;
    shard->timers = timer_wheel_create(heap, io_now_ns(shard->io));
    shard->mailbox = mailbox_create(heap, group->post, index);
    return STATUS_OK;
}

/* The io first: until it is gone the kernel may write into blocks of the heap. */
static void shard_destroy(struct shard *shard)
{
    if (shard == NULL)
        return;
    struct heap *heap = shard->heap;
    io_destroy(shard->io);
    mailbox_destroy(shard->mailbox);
    timer_wheel_destroy(shard->timers);
    heap_free(shard->phases);
    heap_free(shard);
    heap_destroy(heap);
}

/* ---- the group ---- */

enum status shard_group_start(uint32_t count, start_fn *on_start, stop_fn *on_stop, void *context,
                              struct shard_group **group_out, char *why, size_t why_bytes)
{
    *group_out = NULL;
    struct shard_group *group = group_create(count);
    group->on_start = on_start;
    group->on_stop = on_stop;
    group->context = context;
    uint32_t cpu_count = cpu_count_affinity();
    group->is_pinned =
        cpu_count >= PINNED_CPUS_MIN && count <= cpu_count && cpu_quota_milli() == UINT64_MAX;

    group_spawn(group);
    group_await_gate(group, GATE_STARTED);
    if (!group_has_failed(group)) {
        *group_out = group;
        return STATUS_OK;
    }
    enum status status = group->status;
    (void)snprintf(why, why_bytes, "%s", group->why); /* may be cut */
    shard_group_join(group);
    return status;
}

/*
 * Under the mutex, without which no shard passes the gate behind its loop: else the last to be woken might be gone
 * before we come to it. Who calls second finds nothing to do, and touches no shard.
 */
void shard_group_stop(struct shard_group *group)
{
    (void)pthread_mutex_lock(&group->mutex);
    if (!atomic_exchange_explicit(&group->is_stopped, true, memory_order_acq_rel)) {
        for (uint32_t index = 0; index < group->count; index++)
            io_wake_from_any_thread(group->seats[index].shard->io);
    }
    (void)pthread_mutex_unlock(&group->mutex);
}

void shard_group_join(struct shard_group *group)
{
    for (uint32_t index = 0; index < group->thread_count; index++) {
        int failed = pthread_join(group->seats[index].thread, NULL);
        ASSERT(failed == 0);
    }
    group_destroy(group);
}

struct shard *shard_group_at(struct shard_group *group, uint32_t index)
{
    ASSERT(index < group->count);
    return group->seats[index].shard;
}

uint32_t shard_count_default(void)
{
    uint64_t count = cpu_count_affinity();
    uint64_t quota_milli = cpu_quota_milli();
    uint64_t quota_count = quota_milli / 1000 + (quota_milli % 1000 != 0);
    if (count > quota_count)
        count = quota_count;
    if (count > SHARD_COUNT_MAX)
        count = SHARD_COUNT_MAX;
    return count > 0 ? (uint32_t)count : 1;
}

enum status shard_group_create_unthreaded(uint32_t count, struct shard_group **group_out)
{
    *group_out = NULL;
    struct shard_group *group = group_create(count);
    for (uint32_t index = 0; index < count; index++) {
        char why[WHY_BYTES];
        enum status status = shard_create(group, index, why, sizeof(why));
        if (status != STATUS_OK) {
            shard_group_destroy_unthreaded(group);
            return status;
        }
    }
    *group_out = group;
    return STATUS_OK;
}

void shard_group_destroy_unthreaded(struct shard_group *group)
{
    for (uint32_t index = 0; index < group->count; index++)
        shard_destroy(group->seats[index].shard);
    group_destroy(group);
}

static struct shard_group *group_create(uint32_t count)
{
    ASSERT(count >= 1);
    ASSERT(count <= SHARD_COUNT_MAX);
    struct heap *heap = heap_create();
    struct shard_group *group = heap_alloc_zeroed(heap, sizeof(*group));
    group->heap = heap;
    group->count = count;
    group->post = mailbox_post_create(heap, count);
    group->seats = heap_alloc_zeroed(heap, count * sizeof(*group->seats));
    for (uint32_t index = 0; index < count; index++)
        group->seats[index] = (struct seat){.group = group, .index = index};
    atomic_init(&group->is_stopped, false);
    int failed =
        pthread_mutex_init(&group->mutex, NULL) | pthread_cond_init(&group->gate_passed, NULL);
    ASSERT(failed == 0);
    return group;
}

static void group_destroy(struct shard_group *group)
{
    struct heap *heap = group->heap;
    (void)pthread_cond_destroy(&group->gate_passed); /* fail only while in use */
    (void)pthread_mutex_destroy(&group->mutex);
    mailbox_post_destroy(group->post);
    heap_free(group->seats);
    heap_free(group);
    heap_destroy(heap);
}

/* Signals are the main thread's: ours start with all of them blocked. */
static void group_spawn(struct shard_group *group)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* fails only on a wrong first argument */
    group->thread_count = group->count;
    for (uint32_t index = 0; index < group->count; index++) {
        struct seat *seat = &group->seats[index];
        int failed = pthread_create(&seat->thread, NULL, group_thread, seat);
        if (failed == 0)
            continue;
        char why[WHY_BYTES];
        (void)snprintf(why, sizeof(why), "thread %u cannot be started: %s", index,
                       strerror(failed));
        group_fail(group, status_from_errno(-failed), why);
        (void)pthread_mutex_lock(&group->mutex);
        group->thread_count = index; /* the gates wait for no more */
        (void)pthread_cond_broadcast(&group->gate_passed);
        (void)pthread_mutex_unlock(&group->mutex);
        break;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* A shard's whole life; see the drawing at the top. */
static void *group_thread(void *context)
{
    struct seat *seat = context;
    struct shard_group *group = seat->group;
    seat_name_and_pin(seat);
    seat_create_shard(seat);
    group_pass_gate(group, GATE_CREATED);

    shard_of_thread = seat->shard;
    bool is_started = !group_has_failed(group) && seat_start_shard(seat);
    group_pass_gate(group, GATE_STARTED);

    bool takes_turns = !group_has_failed(group);
    while (takes_turns && !atomic_load_explicit(&group->is_stopped, memory_order_acquire))
        shard_turn(seat->shard);
    group_pass_gate(group, GATE_LEFT);

    if (is_started && group->on_stop != NULL)
        group->on_stop(seat->shard, group->context);
    group_pass_gate(group, GATE_STOPPED);
    shard_destroy(seat->shard);
    shard_of_thread = NULL;
    return NULL;
}

static void seat_name_and_pin(const struct seat *seat)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "pail/%u", seat->index);
    (void)pthread_setname_np(pthread_self(), name); /* for people only */
    if (seat->group->is_pinned)
        cpu_pin_thread(seat->index);
}

static void seat_create_shard(const struct seat *seat)
{
    char why[WHY_BYTES] = "";
    enum status status = shard_create(seat->group, seat->index, why, sizeof(why));
    if (status != STATUS_OK)
        group_fail(seat->group, status, why);
}

static bool seat_start_shard(const struct seat *seat)
{
    struct shard_group *group = seat->group;
    char why[WHY_BYTES] = "";
    enum status status = group->on_start(seat->shard, group->context, why, sizeof(why));
    if (status != STATUS_OK)
        group_fail(group, status, why);
    return status == STATUS_OK;
}

static void group_pass_gate(struct shard_group *group, enum gate gate)
{
    (void)pthread_mutex_lock(&group->mutex);
    group->arrived[gate]++;
    (void)pthread_cond_broadcast(&group->gate_passed);
    while (group->arrived[gate] < group->thread_count)
        (void)pthread_cond_wait(&group->gate_passed, &group->mutex);
    (void)pthread_mutex_unlock(&group->mutex);
}

/* For the thread that started the group. */
static void group_await_gate(struct shard_group *group, enum gate gate)
{
    (void)pthread_mutex_lock(&group->mutex);
    while (group->arrived[gate] < group->thread_count)
        (void)pthread_cond_wait(&group->gate_passed, &group->mutex);
    (void)pthread_mutex_unlock(&group->mutex);
}

/* The first failure is the one people hear of: the others may follow from it. */
static void group_fail(struct shard_group *group, enum status status, const char *why)
{
    (void)pthread_mutex_lock(&group->mutex);
    if (group->status == STATUS_OK) {
        group->status = status;
        (void)snprintf(group->why, sizeof(group->why), "%s", why);
    }
    (void)pthread_mutex_unlock(&group->mutex);
}

static bool group_has_failed(struct shard_group *group)
{
    (void)pthread_mutex_lock(&group->mutex);
    bool has_failed = group->status != STATUS_OK;
    (void)pthread_mutex_unlock(&group->mutex);
    return has_failed;
}
