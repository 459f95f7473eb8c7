/* msr64.c - model-specific registers keep what is written, refuse what is not canonical or
 * reserved, and all machine-check banks that MCG_CAP names are there. */
#include "pc.h"

#define NOT_CANONICAL 0xb000000000000000ull

static void keeps(uint32_t msr, uint64_t v)
{
    uint64_t old = 0, got = 0;
    uint32_t lo, hi;

    if (EXPECT("rdmsr", "c"(msr) : "rax", "rdx") != -1) {
        CHECK_EQ(msr, 0); /* the number tells which */
        return;
    }
    old = rdmsr(msr);
    if (EXPECT("wrmsr", "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))) != -1) {
        CHECK_EQ(msr, 1);
        return;
    }
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    got = (uint64_t)hi << 32 | lo;
    if (got != v)
        CHECK_EQ(msr, 2);
    CHECK_EQ(got, v);
    wrmsr(msr, old);
}

static void refuses(uint32_t msr, uint64_t v)
{
    if (EXPECT("wrmsr", "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))) != GP)
        CHECK_EQ(msr, 3);
}

static void ordinary(void)
{
    static const uint32_t addresses[] = {0x175,      0x176,      0xc0000100, 0xc0000101,
                                         0xc0000102, 0xc0000082, 0xc0000083};

    keeps(0x174, 0x1234);
    for (unsigned i = 0; i < sizeof(addresses) / 4; i++) {
        keeps(addresses[i], 0xffff888012345678);
        keeps(addresses[i], 0x1234567800);
        if (addresses[i] != 0x175 && addresses[i] != 0x176) /* AMD's keep 32 bits there */
            refuses(addresses[i], NOT_CANONICAL);
    }
    keeps(0xc0000084, 0xffffffff);
    keeps(0x277, 0x07070707);
    refuses(0x277, 0x0707070702);        /* memory type 2 does not exist */
    keeps(0xc0000080, 0xd00);            /* EFER: NXE, LMA, LME, without SCE */
    refuses(0xc0000080, 0xd00 | 1 << 9); /* reserved */
    keeps(0x2ff, 0xc06);
    refuses(0x2ff, 0xc02);
    uint64_t misc = rdmsr(0x1a0);
    CHECK_EQ(misc & 1, 1); /* fast strings */
    keeps(0x1a0, misc);
    EXPECT_FAULT(GP, 0, "rdmsr", "c"(0x12345) : "rax", "rdx");
    EXPECT_FAULT(GP, 0, "wrmsr", "c"(0x12345), "a"(0), "d"(0));
}

static void machine_check(void)
{
    uint32_t r[4];

    cpuid(1, 0, r);
    if (!(r[3] >> 14 & 1)) /* MCA */
        return;
    uint32_t banks = rdmsr(0x179) & 0xff;
    CHECK(banks > 0 && banks < 33);
    keeps(0x17a, 0);
    for (unsigned i = 0; i < banks; i++) {
        keeps(0x400 + 4 * i, 0);
        keeps(0x400 + 4 * i, ~0ull);
        keeps(0x401 + 4 * i, 0);
        EXPECT_OK("rdmsr", "c"(0x402 + 4 * i) : "rax", "rdx");
        EXPECT_OK("rdmsr", "c"(0x403 + 4 * i) : "rax", "rdx");
    }
    /* one behind the last */
    EXPECT_FAULT(GP, 0, "rdmsr", "c"(0x400 + 4 * banks) : "rax", "rdx");
}

static void tsc_written(void)
{
    for (uint64_t i = 1; i < 40; i++) {
        uint64_t v = (i & 3) << 60 | i;
        wrmsr(0x10, v);
        uint64_t first = rdtsc(), second = rdtsc();
        CHECK(first >= v && first < v + (1ull << 59));
        CHECK(second >= first && second < v + (1ull << 59));
    }
}

static void tsc_aux(void)
{
    uint32_t r[4], aux;

    cpuid(0x80000001, 0, r);
    if (!(r[3] >> 27 & 1))
        return;
    keeps(0xc0000103, 0x12345678);
    wrmsr(0xc0000103, 0x87654321);
    __asm__ volatile("rdtscp" : "=c"(aux)::"rax", "rdx");
    CHECK_EQ(aux, 0x87654321);
    refuses(0xc0000103, 1ull << 32);
}

void guest_main(void)
{
    ordinary();
    machine_check();
    tsc_written();
    tsc_aux();
}
