/* direct.h - user memory at host addresses: what a user program touches for long is mapped for it.
 *
 * A program's pages are mapped a second time, each at its linear address plus a constant, so that
 * translated code needs no TLB: the host's page tables are the TLB.  Linear addresses have 47 bits,
 * as many as the host has for everything, so a constant serves one *chunk* of 1 TiB; programs use
 * three or so.  A chunk that is mapped has a *window*, reserved host addresses of that size.
 *
 *   host = linear + tr.delta[linear >> 40 & 255]
 *
 * A page is mapped when the first access to it has faulted (SIGSEGV), and taken away when the guest
 * invalidates it.  That costs 10 us a page, a TLB miss 50 ns; so only user code whose address space
 * has stayed the same for some milliseconds runs like that (direct_tick), with translations of its
 * own (TR_KEY_DIRECT).  After a flush of the whole TLB the pages stay, unused, until the address
 * space is used directly again: then each is compared with the guest's page tables (an address
 * space is its CR3).
 *
 * What may be mapped is what the TLB may hold (mmu.c), and writable what may be written there.
 *
 * Threads: the vcpu's own, direct_fault() in a signal handler of it, which only translated code can
 * have led to. */
#ifndef CPU_JIT_DIRECT_H
#define CPU_JIT_DIRECT_H

#include "sys.h"

/* Host addresses on both sides of a window where nothing is: base + displacement may go there. */
#define DIRECT_GUARD_BYTES (4ull << 30)

/* c->direct stays NULL where there is no such memory: direct=off, cosim=on, a host without BMI2. */
void direct_init(struct jit_cpu *c);
void direct_fini(struct jit_cpu *c);

/* An interrupt arrives in user mode: is it time to map? */
void direct_tick(struct jit_cpu *c);
/* The same without waiting; false: it is mapped already or cannot be. */
bool direct_now(struct jit_cpu *c);
/* The TLB has been flushed, at least of pages that are not global. */
void direct_flush(struct jit_cpu *c);
void direct_flush_page(struct jit_cpu *c, uint64_t linear);
/* The page at host is not to be written any more. */
void direct_revoke(struct jit_cpu *c, uintptr_t host);

/* Translated code faulted at a host address (0: one that is not canonical).  True: it is mapped
 * now; false: the instruction is the interpreter's. */
bool direct_fault(struct jit_cpu *c, uintptr_t host, bool write);
/* User code runs with RSP not where translated code relies on it to be. */
void direct_stack_elsewhere(struct jit_cpu *c);
/* The interpreter is about to run an instruction that faulted at linear. */
void direct_missed(struct jit_cpu *c, uint64_t linear);
/* The guest's page-fault handler is going to bring the page. */
void direct_expect(struct jit_cpu *c, uint64_t linear);
void direct_expected(struct jit_cpu *c); /* it may be there now */

#endif
