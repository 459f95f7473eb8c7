/* ticks.c - how fast the time stamp counter runs. */
#include "base/ticks.h"

#include "base/evloop.h"

#include <time.h>

#define CALIBRATE_NS 10000000ull

/* A clock reading with the TSC halfway around it; the tightest of a few tries. */
static void clock_pair(uint64_t *ns, uint64_t *tsc)
{
    uint64_t best = UINT64_MAX;

    for (unsigned i = 0; i < 8; i++) {
        uint64_t before = host_ticks(), t = host_clock_ns(), after = host_ticks();
        if (after - before < best) {
            best = after - before;
            *ns = t;
            *tsc = before + (after - before) / 2;
        }
    }
}

/* The frequency comes from two readings: the first when the machine is made, the second when
 * somebody needs to know.  Building the machine usually takes up the time between them. */
static uint64_t first_ns, first_tsc;

void host_ticks_init(void)
{
    if (!first_ns)
        clock_pair(&first_ns, &first_tsc);
}

uint64_t host_ticks_khz(void)
{
    static uint64_t known;
    uint64_t khz = __atomic_load_n(&known, __ATOMIC_RELAXED), ns = 0, tsc = 0;

    if (khz)
        return khz;
    host_ticks_init();
    uint64_t passed = host_clock_ns() - first_ns;
    if (passed < CALIBRATE_NS) {
        struct timespec wait = {.tv_nsec = (long)(CALIBRATE_NS - passed)};
        nanosleep(&wait, NULL);
    }
    clock_pair(&ns, &tsc);
    khz = (uint64_t)((unsigned __int128)(tsc - first_tsc) * 1000000 / (ns - first_ns));
    /* Of two that measure at once, the first one's counts for both. */
    uint64_t other = 0;
    return __atomic_compare_exchange_n(&known, &other, khz, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED)
               ? khz
               : other;
}

uint64_t host_ticks_to_ns(uint64_t ticks)
{
    return (uint64_t)((unsigned __int128)ticks * 1000000 / host_ticks_khz());
}
