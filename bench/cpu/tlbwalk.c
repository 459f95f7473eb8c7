/* tlbwalk.c - one access to each of 8192 pages right after the TLB was flushed: page walks. */
#include "bench.h"

#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 8192, TOGGLED = 64 };

static unsigned char *area, *toggled;

static void setup(uint64_t n)
{
    (void)n;
    area = bench_memory((size_t)PAGES * PAGE, 1);
    toggled = bench_memory((size_t)TOGGLED * PAGE, 1);
}

/* Linux flushes all that is not global after a change to so many pages. */
static void flush(void)
{
    if (mprotect(toggled, (size_t)TOGGLED * PAGE, PROT_READ) ||
        mprotect(toggled, (size_t)TOGGLED * PAGE, PROT_READ | PROT_WRITE))
        bench_fail("mprotect failed");
    for (int page = 0; page < TOGGLED; page += 16)
        toggled[page * PAGE]++;
}

static uint64_t run(uint64_t n)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        flush();
        for (uint64_t page = 0; page < PAGES; page++)
            sum += area[page * PAGE + (page & 63) * 64]++;
    }
    return bench_mix(sum, toggled[0]);
}

const struct bench_test bench_tlb_walk = {
    .name = "memory/tlb-walk", .setup = setup, .run = run, .work = 1500, .minimum = 1, .cpus = 1};
