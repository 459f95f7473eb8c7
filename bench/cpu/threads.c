/* threads.c - two threads: a mutex both want, and independent compute on one and on two processors.
 */
#include "bench.h"

#include <pthread.h>

enum { THREADS = 2, CELLS = 4096 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t shared;

struct job {
    uint64_t n, sum;
};

static uint64_t in_threads(void *(*work)(void *), uint64_t n, int count)
{
    pthread_t threads[THREADS];
    struct job jobs[THREADS];
    for (int i = 0; i < count; i++) {
        jobs[i] = (struct job){n, (uint64_t)i};
        if (pthread_create(&threads[i], NULL, work, &jobs[i]))
            bench_fail("no thread");
    }
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        sum += jobs[i].sum;
    }
    return sum;
}

static void *contend(void *argument)
{
    struct job *job = argument;
    for (uint64_t i = 0; i < job->n; i++) {
        pthread_mutex_lock(&mutex);
        shared += i & 7;
        pthread_mutex_unlock(&mutex);
        for (int k = 0; k < 20; k++)
            OPAQUE(k);
    }
    job->sum = 0;
    return NULL;
}

static uint64_t run_mutex(uint64_t n)
{
    uint64_t sum = in_threads(contend, n, THREADS);
    return sum + shared;
}

static void *compute(void *argument)
{
    struct job *job = argument;
    uint32_t cells[CELLS];
    uint64_t seed = 1000 + job->sum;
    for (int i = 0; i < CELLS; i++)
        cells[i] = (uint32_t)bench_random(&seed);
    for (uint64_t round = 0; round < job->n; round++)
        for (int i = 1; i < CELLS; i++) {
            uint32_t c = cells[i] + cells[i - 1] * 5;
            cells[i] = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
        }
    job->sum = bench_mix_bytes(0, cells, sizeof cells);
    return NULL;
}

static uint64_t run_one(uint64_t n)
{
    return in_threads(compute, n, 1);
}

static uint64_t run_two(uint64_t n)
{
    return in_threads(compute, n, THREADS);
}

const struct bench_test bench_mutex = {
    .name = "os/mutex", .run = run_mutex, .work = 2000000, .minimum = 1, .cpus = 2};
const struct bench_test bench_one_thread = {
    .name = "smp/one-thread", .run = run_one, .work = 30000, .minimum = 1, .cpus = 2};
const struct bench_test bench_two_threads = {
    .name = "smp/two-threads", .run = run_two, .work = 30000, .minimum = 1, .cpus = 2};
