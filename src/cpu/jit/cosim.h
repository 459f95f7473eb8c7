/* cosim.h - cosim=on: the interpreter checks every translated block.
 *
 *   tr_run:  cosim_before(block)   the interpreter runs ahead; what it would store is kept aside
 *            translated code       really changes registers and memory
 *            cosim_after()         compares, and ends the program at the first difference
 *
 * While it is on blocks are not linked, so each comes back here.  The interpreter reaches memory
 * only through mmu.c's slow path (its TLB tables are empty ones), which asks `running_ahead` and
 * comes to cosim_load, cosim_store and cosim_device: nothing it does can be seen by anybody.
 *
 * Not checked: instructions that must not run twice (a device, a counter, REP: the block is checked
 * as far as it goes before the first of these), and blocks during which what they read changed
 * under them (devices, other vcpus); with several vcpus stored bytes are not compared.
 *
 * Threads: each vcpu's own. */
#ifndef CPU_JIT_COSIM_H
#define CPU_JIT_COSIM_H

#include "tr.h"

struct cosim_stats {
    uint64_t blocks, insns; /* checked */
    uint64_t partly;        /* only up to an instruction that must not run twice */
    uint64_t disturbed;     /* differed, but so did what was read */
};

struct cosim *cosim_new(struct jit_cpu *c);
void cosim_free(struct cosim *s); /* accepts NULL */
void cosim_before(struct jit_cpu *c, struct tblock *t);
/* Translated code stopped behind this instruction of the block. */
void cosim_stopped(struct jit_cpu *c, unsigned index);
/* It came out: registers are in st. */
void cosim_after(struct jit_cpu *c);
/* It was left by longjmp: how is sigsetjmp's value. */
void cosim_left(struct jit_cpu *c, int how);
const struct cosim_stats *cosim_stats(const struct cosim *s);

/* mmu.c, while c->running_ahead: host memory, one page. */
void cosim_load(struct jit_cpu *c, const uint8_t *host, void *buf, unsigned len);
void cosim_store(struct jit_cpu *c, uint8_t *host, const void *buf, unsigned len);
_Noreturn void cosim_device(struct jit_cpu *c);

#endif
