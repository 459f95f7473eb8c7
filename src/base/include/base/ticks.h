/* ticks.h - the processor's time stamp counter as a cheap clock for counters.
 *
 *   spent += host_ticks() - start;   ...   host_ticks_to_ns(spent)
 *
 * A reading costs some ten nanoseconds less than the host clock and is comparable between cores
 * where the kernel itself uses it (constant, synchronised TSC).  The frequency is measured between
 * host_ticks_init() and the first conversion.
 *
 * Threads: init from the main thread, before others read; the rest from any. */
#ifndef BASE_TICKS_H
#define BASE_TICKS_H

#include <stdint.h>
#include <x86intrin.h>

void host_ticks_init(void); /* again: no effect */
/* Waits up to 10 ms when host_ticks_init() was only just called. */
uint64_t host_ticks_khz(void);
uint64_t host_ticks_to_ns(uint64_t ticks);

static inline uint64_t host_ticks(void)
{
    return __rdtsc();
}

#endif
