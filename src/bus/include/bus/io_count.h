/* io_count.h - accesses to devices, counted by each thread for itself.
 *
 * A slot stands for the regions of one name in one space ("mmio.hpet", "pio.serial"); it is given
 * out when the first of them is added and kept for the life of the process.  Dispatch adds to the
 * calling thread's own struct: plain stores, no shared cache line.  A vcpu thread hands its struct
 * out (io_counts_mine), and others read it while it changes: a value may be one access old.
 *
 * Threads: slots and names from any; a struct is written by its thread alone. */
#ifndef BUS_IO_COUNT_H
#define BUS_IO_COUNT_H

#include <stdint.h>

#define IO_COUNT_SLOTS 96u /* names beyond share slot 0 */
enum { IO_COUNT_OTHER = 0, IO_COUNT_EVENTFD = 1, IO_COUNT_FIRST = 2 };

struct io_counts {
    uint64_t accesses[IO_COUNT_SLOTS];
    uint64_t ticks; /* of host_ticks(), inside dispatch */
};

/* This thread's; valid until it ends. */
struct io_counts *io_counts_mine(void);
uint8_t io_count_slot(const char *space, const char *name);
unsigned io_count_slots(void);            /* in use: 0 .. n-1 */
const char *io_count_name(unsigned slot); /* "mmio.hpet"; lives as long as the process */

static inline void io_count(struct io_counts *c, uint8_t slot)
{
    __atomic_store_n(&c->accesses[slot], c->accesses[slot] + 1, __ATOMIC_RELAXED);
}
static inline void io_count_time(struct io_counts *c, uint64_t ticks)
{
    __atomic_store_n(&c->ticks, c->ticks + ticks, __ATOMIC_RELAXED);
}

#endif
