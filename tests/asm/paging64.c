/* paging64.c - 4-level translation: rights, error codes, accessed/dirty bits, large pages, TLB. */
#include "guest.h"

#define P   1ull
#define W   2ull
#define U   4ull
#define A   0x20ull
#define D   0x40ull
#define PS  0x80ull
#define G   0x100ull
#define NX  (1ull << 63)
#define E_P 1
#define E_W 2
#define E_U 4
#define E_R 8
#define E_I 16

extern uint64_t pml4[512], pdpt[512], pd[2048];
#define PAGE __attribute__((aligned(4096)))
static PAGE uint64_t pt[512], pd2[512], pdpt2[512], pt2[512];
static PAGE uint8_t frame_a[4096], frame_b[4096];

/* The window: 1 TiB up, one 4 KiB page behind its own tables. */
#define WINDOW 0x10000000000ull
static volatile uint64_t *const window = (void *)WINDOW;
#define PML4E pml4[WINDOW >> 39 & 511]

static void flush(void *p)
{
    __asm__ volatile("invlpg (%0)" ::"r"(p) : "memory");
}

static void set_pte(uint64_t v)
{
    pt[0] = v;
    flush((void *)WINDOW);
}

static int try_read(void)
{
    return EXPECT("mov (%0), %%rax", "r"(window) : "rax", "memory");
}
static int try_write(void)
{
    return EXPECT("movq $1, (%0)", "r"(window) : "memory");
}
static int try_exec(void)
{
    /* The frame holds RET. */
    return EXPECT_CALL(window);
}

static volatile uint64_t user_result, user_error;
static volatile int user_vector;
static void user_read(void)
{
    user_vector = EXPECT("mov (%0), %%rax", "r"(window) : "rax", "memory");
    user_error = caught.error;
    USER_EXIT();
}
static void user_write(void)
{
    user_vector = EXPECT("movq $1, (%0)", "r"(window) : "memory");
    user_error = caught.error;
    USER_EXIT();
}
static void user_exec(void)
{
    user_vector = EXPECT_CALL(window);
    user_error = caught.error;
    USER_EXIT();
}
static void user_ok(void)
{
    user_result++;
    USER_EXIT();
}

static void check_user(void (*fn)(void), int vector, uint64_t error)
{
    run_user(fn);
    CHECK_EQ(user_vector, vector);
    if (vector >= 0)
        CHECK_EQ(user_error, error);
}

static void presence(void)
{
    set_pte(0);
    CHECK_EQ(try_read(), PF);
    CHECK_EQ(caught.error, 0);
    CHECK_EQ(caught.cr2, WINDOW);
    CHECK_EQ(try_write(), PF);
    CHECK_EQ(caught.error, E_W);
    set_pte((uint64_t)frame_a | P | W | U);
    CHECK_EQ(try_read(), -1);
    CHECK_EQ(pt[0] & (A | D), A);
    CHECK_EQ(PML4E & A, A);
    CHECK_EQ(pdpt2[0] & A, A);
    CHECK_EQ(pd2[0] & A, A);
    CHECK_EQ(try_write(), -1);
    CHECK_EQ(pt[0] & (A | D), A | D);
    /* A write through a clean TLB entry must set the dirty bit, too. */
    set_pte((uint64_t)frame_a | P | W | U);
    CHECK_EQ(try_read(), -1);
    CHECK_EQ(try_write(), -1);
    CHECK_EQ(pt[0] & D, D);
    /* A fault leaves the bits alone. */
    set_pte((uint64_t)frame_a | P);
    check_user(user_read, PF, E_P | E_U);
    CHECK_EQ(pt[0] & (A | D), 0);
}

static void rights(void)
{
    frame_a[0] = 0xc3;
    set_pte((uint64_t)frame_a | P | U);
    CHECK_EQ(try_write(), -1); /* CR0.WP = 0 */
    CHECK_EQ(pt[0] & D, D);
    WRITE_CR(0, READ_CR(0) | 0x10000);
    CHECK_EQ(try_write(), PF);
    CHECK_EQ(caught.error, E_P | E_W);
    check_user(user_write, PF, E_P | E_W | E_U);
    check_user(user_read, -1, 0);
    WRITE_CR(0, READ_CR(0) & ~0x10000ul);
    CHECK_EQ(try_write(), -1);
    set_pte((uint64_t)frame_a | P | W);
    check_user(user_read, PF, E_P | E_U);
    check_user(user_write, PF, E_P | E_W | E_U);
    /* The upper levels count, too. */
    set_pte((uint64_t)frame_a | P | W | U);
    pd2[0] &= ~U;
    flush((void *)WINDOW);
    check_user(user_read, PF, E_P | E_U);
    pd2[0] |= U;
    pdpt2[0] &= ~W;
    flush((void *)WINDOW);
    check_user(user_write, PF, E_P | E_W | E_U);
    pdpt2[0] |= W;
    flush((void *)WINDOW);
    check_user(user_write, -1, 0);
}

static void no_execute(void)
{
    frame_a[0] = 0xc3;
    set_pte((uint64_t)frame_a | P | W | U);
    CHECK_EQ(try_exec(), -1);
    set_pte((uint64_t)frame_a | P | W | U | NX);
    CHECK_EQ(try_exec(), PF);
    CHECK_EQ(caught.error, E_P | E_I);
    CHECK_EQ(caught.cr2, WINDOW);
    check_user(user_exec, PF, E_P | E_U | E_I);
    CHECK_EQ(try_read(), -1);
    /* Without EFER.NXE bit 63 is reserved. */
    wrmsr(0xc0000080, rdmsr(0xc0000080) & ~0x800ull);
    CHECK_EQ(try_read(), PF);
    CHECK_EQ(caught.error, E_P | E_R);
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 0x800);
    CHECK_EQ(try_read(), -1);
}

static void reserved(void)
{
    uint32_t r[4];
    cpuid(0x80000008, 0, r);
    unsigned bits = r[0] & 0xff;
    if (bits < 52) {
        set_pte((uint64_t)frame_a | P | W | U | 1ull << 51);
        CHECK_EQ(try_read(), PF);
        CHECK_EQ(caught.error, E_P | E_R);
        check_user(user_write, PF, E_P | E_R | E_U | E_W);
    }
    set_pte((uint64_t)frame_a | P | W | U);
    pd2[1] = P | W | U | PS | 0x2000;
    CHECK_EQ(EXPECT("mov (%0), %%eax", "r"(WINDOW + 0x200000) : "eax"), PF);
    CHECK_EQ(caught.error, E_P | E_R);
    pml4[WINDOW >> 39 & 511] |= PS;
    flush((void *)WINDOW);
    CHECK_EQ(try_read(), PF);
    CHECK_EQ(caught.error, E_P | E_R);
    PML4E &= ~PS;
    flush((void *)WINDOW);
    CHECK_EQ(try_read(), -1);
}

/* STAC, a load and CLAC many times, as kernels copy from users: flags stay, and what is reached. */
static void stac_loop(void)
{
    frame_a[0] = 0xc3;
    for (unsigned i = 0; i < 50; i++) {
        uint8_t value = 0, equal;
        uword flags;
        __asm__ volatile("cmp %3, %3; stac; movb (%4), %0; pushfq; popq %2; clac; sete %1"
                         : "=&q"(value), "=&q"(equal), "=&r"(flags)
                         : "r"(i), "r"(WINDOW)
                         : "cc", "memory");
        CHECK_EQ(value, 0xc3);
        CHECK_EQ(equal, 1);
        CHECK_EQ(flags >> 18 & 1, 1);
        CHECK_EQ(try_read(), READ_CR(4) >> 21 & 1 ? PF : -1);
    }
}

static void supervisor_protection(void)
{
    uint32_t r[4];
    cpuid(7, 0, r);
    frame_a[0] = 0xc3;
    set_pte((uint64_t)frame_a | P | W | U);
    if (r[1] & 1u << 7) { /* SMEP */
        /* The image itself is mapped for users by 2 MiB pages: make the kernel's part ours. */
        pd[0] &= ~U;
        WRITE_CR(4, READ_CR(4) | 1ul << 20);
        CHECK_EQ(try_exec(), PF);
        CHECK_EQ(caught.error, E_P | E_I);
        CHECK_EQ(try_read(), -1);
        WRITE_CR(4, READ_CR(4) & ~(1ul << 20));
        CHECK_EQ(try_exec(), -1);
        pd[0] |= U;
    }
    if (r[1] & 1u << 20) { /* SMAP */
        pd[0] &= ~U;
        WRITE_CR(4, READ_CR(4) | 1ul << 21);
        CHECK_EQ(try_read(), PF);
        CHECK_EQ(caught.error, E_P);
        CHECK_EQ(try_write(), PF);
        CHECK_EQ(caught.error, E_P | E_W);
        __asm__ volatile("stac");
        CHECK_EQ(try_read(), -1);
        CHECK_EQ(try_write(), -1);
        __asm__ volatile("clac");
        CHECK_EQ(try_read(), PF);
        stac_loop();
        WRITE_CR(4, READ_CR(4) & ~(1ul << 21));
        CHECK_EQ(try_read(), -1);
        stac_loop();
        pd[0] |= U;
    }
}

static void crossing(void)
{
    pt[0] = (uint64_t)frame_a | P | W | U;
    pt[1] = (uint64_t)frame_b | P | W | U;
    flush((void *)WINDOW);
    flush((void *)(WINDOW + 4096));
    volatile uint64_t *p = (void *)(WINDOW + 4093);
    *p = 0x1122334455667788;
    CHECK_EQ(*p, 0x1122334455667788);
    CHECK_EQ(frame_a[4093], 0x88);
    CHECK_EQ(frame_b[0], 0x55);
    pt[1] = 0;
    flush((void *)(WINDOW + 4096));
    frame_a[4093] = 7;
    CHECK_EQ(EXPECT("movq $-1, (%0)", "r"(p) : "memory"), PF);
    CHECK_EQ(caught.cr2, WINDOW + 4096);
    CHECK_EQ(frame_a[4093], 7);
    /* A locked operation across two pages that are not neighbours. */
    pt[1] = (uint64_t)frame_b | P | W | U;
    flush((void *)(WINDOW + 4096));
    *p = 1;
    __asm__ volatile("lock incq %0" : "+m"(*p));
    CHECK_EQ(*p, 2);
}

static void large_pages(void)
{
    uint32_t r[4];
    /* 2 MiB page: INVLPG of any address in it drops all of it. */
    pd2[2] = 0x400000 | P | W | U | PS;
    volatile uint32_t *a = (void *)(WINDOW + 0x400000), *b = (void *)(WINDOW + 0x401000);
    volatile uint32_t *pa = (void *)0x400000, *pb = (void *)0x601000;
    *pa = 1;
    *(volatile uint32_t *)0x600000 = 3;
    *(volatile uint32_t *)0x401000 = 2;
    *pb = 4;
    CHECK_EQ(*a, 1);
    CHECK_EQ(*b, 2);
    CHECK_EQ(pd2[2] & (A | D), A);
    pd2[2] = 0x600000 | P | W | U | PS;
    flush((void *)b);
    CHECK_EQ(*a, 3);
    CHECK_EQ(*b, 4);
    *a = 5;
    CHECK_EQ(pd2[2] & D, D);
    CHECK_EQ(*(volatile uint32_t *)0x600000, 5);
    cpuid(0x80000001, 0, r);
    pdpt2[1] = 0 | P | W | U | PS;
    volatile uint32_t *g = (void *)(WINDOW + 0x40000000 + 0x600000);
    if (r[3] & 1u << 26) {
        CHECK_EQ(*g, 5);
    } else {
        CHECK_EQ(EXPECT("mov (%0), %%eax", "r"(g) : "eax"), PF);
        CHECK_EQ(caught.error, E_P | E_R);
    }
}

static void global_pages(void)
{
    volatile uint32_t *fa = (void *)frame_a, *fb = (void *)frame_b;
    *fa = 11;
    *fb = 22;
    WRITE_CR(4, READ_CR(4) | 0x80);
    set_pte((uint64_t)frame_a | P | W | U);
    CHECK_EQ((uint32_t)*window, 11);
    /* Not global: a CR3 load drops it. */
    pt[0] = (uint64_t)frame_b | P | W | U;
    WRITE_CR(3, READ_CR(3));
    CHECK_EQ((uint32_t)*window, 22);
    /* Global: only INVLPG or a change of CR4.PGE has to. */
    set_pte((uint64_t)frame_a | P | W | U | G);
    CHECK_EQ((uint32_t)*window, 11);
    pt[0] = (uint64_t)frame_b | P | W | U | G;
    WRITE_CR(4, READ_CR(4) & ~0x80ul);
    CHECK_EQ((uint32_t)*window, 22);
    WRITE_CR(4, READ_CR(4) | 0x80);
    set_pte((uint64_t)frame_a | P | W | U | G);
    CHECK_EQ((uint32_t)*window, 11);
    set_pte((uint64_t)frame_a | P | W | U);
}

/* A table of a context that is not loaded is edited without INVLPG; the CR3 load makes it count. */
static void inactive_tables(void)
{
    static PAGE uint64_t other_pml4[512], other_pdpt[512], other_pd[512];
    volatile uint32_t *fa = (void *)frame_a, *fb = (void *)frame_b;
    uint64_t here = READ_CR(3);
    *fa = 31;
    *fb = 32;
    other_pml4[0] = pml4[0];
    other_pml4[WINDOW >> 39 & 511] = (uint64_t)other_pdpt | P | W | U;
    other_pdpt[0] = (uint64_t)other_pd | P | W | U;
    other_pd[0] = (uint64_t)pt2 | P | W | U;
    pt2[0] = (uint64_t)frame_a | P | W | U;
    WRITE_CR(3, (uint64_t)other_pml4);
    CHECK_EQ((uint32_t)*window, 31);
    WRITE_CR(3, here);
    pt2[0] = (uint64_t)frame_b | P | W | U;
    WRITE_CR(3, (uint64_t)other_pml4);
    CHECK_EQ((uint32_t)*window, 32);
    WRITE_CR(3, here);
}

static void pcid(void)
{
    uint32_t r[4];
    uint64_t here = READ_CR(3);
    struct {
        uint64_t pcid, address;
    } d = {0, WINDOW};
    cpuid(1, 0, r);
    if (!(r[2] & 1u << 17))
        return;
    EXPECT_FAULT(GP, 0, "mov %0, %%cr4", "r"(READ_CR(4) & ~0x20ul));
    WRITE_CR(4, READ_CR(4) | 1ul << 17);
    WRITE_CR(3, here | 5);
    CHECK_EQ(READ_CR(3), here | 5);
    WRITE_CR(3, here | 1ull << 63);
    CHECK_EQ(READ_CR(3), here);
    EXPECT_FAULT(GP, 0, "mov %0, %%cr0", "r"(READ_CR(0) & ~0x80000000ul));
    cpuid(7, 0, r);
    if (r[1] & 1u << 10) {
        volatile uint32_t *fa = (void *)frame_a, *fb = (void *)frame_b;
        *fa = 41;
        *fb = 42;
        set_pte((uint64_t)frame_a | P | W | U);
        for (unsigned long type = 0; type < 4; type++) {
            CHECK_EQ((uint32_t)*window, type & 1 ? 42 : 41);
            pt[0] = (type & 1 ? (uint64_t)frame_a : (uint64_t)frame_b) | P | W | U;
            __asm__ volatile("invpcid %0, %1" ::"m"(d), "r"(type) : "memory");
        }
        CHECK_EQ((uint32_t)*window, 41);
        EXPECT_FAULT(GP, 0, "invpcid %0, %1", "m"(d), "r"(4ul));
        d.pcid = 0x1000;
        EXPECT_FAULT(GP, 0, "invpcid %0, %1", "m"(d), "r"(0ul));
        d.pcid = 0;
        d.address = 0x8000000000000000;
        EXPECT_FAULT(GP, 0, "invpcid %0, %1", "m"(d), "r"(0ul));
    }
    WRITE_CR(3, here);
    WRITE_CR(4, READ_CR(4) & ~(1ul << 17));
}

void guest_main(void)
{
    PML4E = (uint64_t)pdpt2 | P | W | U;
    pdpt2[0] = (uint64_t)pd2 | P | W | U;
    pd2[0] = (uint64_t)pt | P | W | U;
    presence();
    rights();
    no_execute();
    reserved();
    supervisor_protection();
    crossing();
    large_pages();
    global_pages();
    inactive_tables();
    pcid();
    run_user(user_ok);
    CHECK_EQ(user_result, 1);
}
