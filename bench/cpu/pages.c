/* pages.c - page faults on fresh memory; mapping, protecting and unmapping small regions. */
#include "bench.h"

#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 2048 };

static unsigned char *map(size_t size)
{
    unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        bench_fail("mmap failed");
    return p;
}

static uint64_t run_faults(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        unsigned char *p = map(PAGES * PAGE);
        madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE);
        for (int page = 0; page < PAGES; page++) {
            sum += p[page * PAGE + 5];
            p[page * PAGE + 7] = (unsigned char)page;
        }
        for (int page = 0; page < PAGES; page += 64)
            sum = bench_mix(sum, p[page * PAGE + 7]);
        munmap(p, PAGES * PAGE);
    }
    return sum;
}

static uint64_t run_map(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        unsigned char *p = map(16 * PAGE);
        p[PAGE] = (unsigned char)i;
        if (mprotect(p, 2 * PAGE, PROT_READ))
            bench_fail("mprotect failed");
        sum = bench_mix(sum, p[PAGE]);
        munmap(p + 8 * PAGE, 8 * PAGE);
        munmap(p, 8 * PAGE);
    }
    return sum;
}

const struct bench_test bench_page_fault = {
    .name = "os/page-fault", .run = run_faults, .work = 40, .minimum = 1, .cpus = 1};
const struct bench_test bench_mmap = {
    .name = "os/mmap", .run = run_map, .work = 18000, .minimum = 1, .cpus = 1};
