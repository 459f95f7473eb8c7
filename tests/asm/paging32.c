/* paging32.c - 32-bit paging (4 KiB, 4 MiB, PSE-36) and PAE: rights, error codes, PDPTEs. */
#include "guest.h"

#define P   1u
#define W   2u
#define U   4u
#define A   0x20u
#define D   0x40u
#define PS  0x80u
#define E_P 1
#define E_W 2
#define E_R 8
#define E_I 16

#define PAGE __attribute__((aligned(4096)))
static PAGE uint32_t dir[1024], table[1024];
static PAGE uint64_t pdpt[4], pae_dir[4][512], pae_table[512];
static PAGE uint32_t frame_a[1024], frame_b[1024];
#define WINDOW 0xd0000000u
static volatile uint32_t *const window = (void *)WINDOW;

static void flush(void)
{
    __asm__ volatile("invlpg (%0)" ::"r"(window) : "memory");
}

static int try_read(void)
{
    return EXPECT("mov (%0), %%eax", "r"(window) : "eax", "memory");
}
static int try_write(void)
{
    return EXPECT("movl $1, (%0)", "r"(window) : "memory");
}

static void legacy(void)
{
    for (unsigned i = 0; i < 1024; i++)
        dir[i] = i << 22 | PS | W | P;
    dir[WINDOW >> 22] = (uint32_t)table | P | W | U;
    WRITE_CR(4, READ_CR(4) | 0x10);
    WRITE_CR(3, dir);
    WRITE_CR(0, READ_CR(0) | 0x80000000);

    CHECK_EQ(try_read(), PF);
    CHECK_EQ(caught.error, 0);
    CHECK_EQ(caught.cr2, WINDOW);
    table[0] = (uint32_t)frame_a | P;
    frame_a[0] = 42;
    CHECK_EQ(*window, 42);
    CHECK_EQ(table[0] & (A | D), A);
    CHECK_EQ(try_write(), -1); /* WP = 0 */
    CHECK_EQ(table[0] & D, D);
    WRITE_CR(0, READ_CR(0) | 0x10000);
    CHECK_EQ(try_write(), PF);
    CHECK_EQ(caught.error, E_P | E_W);
    WRITE_CR(0, READ_CR(0) & ~0x10000ul);
    table[0] = (uint32_t)frame_b | P | W;
    flush();
    frame_b[0] = 43;
    CHECK_EQ(*window, 43);
    /* No NX here, so no instruction bit in the error code either. */
    table[0] = 0;
    flush();
    CHECK_EQ(EXPECT_CALL(window), PF);
    CHECK_EQ(caught.error & E_I, 0);
    /* 4 MiB page at the window. */
    dir[WINDOW >> 22] = 0x400000 | PS | P | W;
    flush();
    *(volatile uint32_t *)0x400000 = 44;
    CHECK_EQ(*window, 44);
    CHECK_EQ(dir[WINDOW >> 22] & (A | D), A);
    dir[WINDOW >> 22] |= 1u << 21;
    flush();
    CHECK_EQ(try_read(), PF);
    CHECK_EQ(caught.error, E_P | E_R);
    dir[WINDOW >> 22] = 0x400000 | PS | P | W;
    flush();
    CHECK_EQ(*window, 44);
    WRITE_CR(0, READ_CR(0) & ~0x80000000ul);
    CHECK_EQ(READ_CR(0) >> 31, 0);
}

static void pae(void)
{
    uint32_t r[4];
    for (unsigned i = 0; i < 4; i++) {
        pdpt[i] = (uint32_t)pae_dir[i] | P;
        for (unsigned n = 0; n < 512; n++)
            pae_dir[i][n] = ((uint64_t)i << 30 | (uint64_t)n << 21) | PS | W | P;
    }
    pae_dir[3][(WINDOW >> 21) & 511] = (uint32_t)pae_table | P | W | U;
    WRITE_CR(3, pdpt);
    WRITE_CR(4, READ_CR(4) | 0x20);
    WRITE_CR(0, READ_CR(0) | 0x80000000);
    CHECK_EQ(try_read(), PF);
    CHECK_EQ(caught.error, 0);
    pae_table[0] = (uint32_t)frame_a | P | W;
    frame_a[0] = 52;
    CHECK_EQ(*window, 52);
    CHECK_EQ(pae_table[0] & (A | D), A);
    /* Bits 62:52 are reserved in PAE; so is 63 until EFER.NXE. */
    pae_table[0] = (uint32_t)frame_a | P | W | 1ull << 52;
    flush();
    CHECK_EQ(try_read(), PF);
    CHECK_EQ(caught.error, E_P | E_R);
    pae_table[0] = (uint32_t)frame_a | P | W | 1ull << 63;
    flush();
    CHECK_EQ(try_read(), PF);
    CHECK_EQ(caught.error, E_P | E_R);
    cpuid(0x80000001, 0, r);
    if (r[3] & 1u << 20) {
        wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
        CHECK_EQ(try_read(), -1);
        CHECK_EQ(EXPECT_CALL(window), PF);
        CHECK_EQ(caught.error, E_P | E_I);
    }
    pae_table[0] = (uint32_t)frame_a | P | W;
    flush();
    /* The PDPTEs are read at the CR3 load: a change of one in memory does nothing until then. */
    pdpt[3] = 0;
    flush();
    CHECK_EQ(*window, 52);
    WRITE_CR(3, pdpt);
    CHECK_EQ(try_read(), PF);
    CHECK_EQ(caught.error, 0);
    /* A bad one faults the load and changes nothing. */
    pdpt[3] = (uint32_t)pae_dir[3] | P | W;
    EXPECT_FAULT(GP, 0, "mov %0, %%cr3", "r"(pdpt) : "memory");
    pdpt[3] = (uint32_t)pae_dir[3] | P;
    WRITE_CR(3, pdpt);
    CHECK_EQ(*window, 52);
    EXPECT_FAULT(GP, 0, "mov %0, %%cr4", "r"(READ_CR(4) | 1ul << 17)); /* PCIDE needs long mode */
    WRITE_CR(0, READ_CR(0) & ~0x80000000ul);
    WRITE_CR(4, READ_CR(4) & ~0x20ul);
}

void guest_main(void)
{
    legacy();
    pae();
}
