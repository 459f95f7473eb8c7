/* flat.h - one software vcpu on a small guest: 16 MiB of RAM, 64-bit mode, identity page tables.
 *
 * The guest leaves by OUT to FLAT_EXIT_PORT.  Code is written as top-level asm in the test:
 * FLAT_CODE(name, "...") makes a blob that flat_load copies to an address.
 * Above FLAT_HOLE nothing is mapped but the pages from FLAT_WINDOW on that flat_map points
 * somewhere.  Under direct=always and places=always it is a user program. */
#ifndef TESTS_CPU_FLAT_H
#define TESTS_CPU_FLAT_H

#include "jit_cpu.h"

#define FLAT_RAM       (16 * MiB)
#define FLAT_CODE_AT   0x10000ull
#define FLAT_STACK     0x9000ull
#define FLAT_DATA      0x400000ull
#define FLAT_HOLE      (15 * MiB) /* from here on nothing is mapped */
#define FLAT_WINDOW    (FLAT_HOLE + 0x80000)
#define FLAT_EXIT_PORT 0xf4

#define FLAT_CODE(name, text)                                                                      \
    extern const uint8_t name[], name##_end[];                                                     \
    __asm__(".pushsection .rodata\n\t.globl " #name "\n" #name ":\n\t" text "\n\t.globl " #name    \
            "_end\n" #name "_end:\n\t.popsection\n")
#define FLAT_EXIT "outb %al, $0xf4\n\t"

struct flat;
struct flat *flat_new(void);
/* With options as behind "-accel jit,"; HANOK_TEST_ACCEL, where set, says the rest for every test
 * of a program. */
struct flat *flat_new_with(const char *accel);
void flat_free(struct flat *f);
struct jit_cpu *flat_cpu(struct flat *f);
uint8_t *flat_ram(struct flat *f);
struct guest_mem *flat_mem(struct flat *f);
/* Copies code and points rip at it. */
void flat_load(struct flat *f, uint64_t at, const uint8_t *code, const uint8_t *end);
/* Runs until the exit port is written (true) or the guest triple-faults (false). */
bool flat_run(struct flat *f);
/* Runs single instructions until one faults; its vector. */
int flat_step_to_fault(struct flat *f);
/* Flat 32-bit code and data without paging. */
void flat_protected_mode(struct flat *f);
/* 16-bit code at linear 0..64K, all segments with base 0. */
void flat_real_mode(struct flat *f);
/* Physical memory that the page'th page from FLAT_WINDOW shows (0: none); flushes. */
void flat_map(struct flat *f, unsigned page, uint64_t phys);
/* The first GiB once more at base, in a PML4 entry of its own; number is from 0 to 3. */
void flat_map_again(struct flat *f, unsigned number, uint64_t base);

#endif
