/* test_fpu.c - what the floating-point units do beyond single instructions (those are test_diff's):
 * state images, exceptions that wait, what must not show, and the ends of the stub area.
 *
 * XSAVE and XRSTOR are compared with the host's, area by area. */
#include "flat.h"

#include <glib.h>
#include <sys/mman.h>

#define CR0_TS   8u
#define CR0_EM   4u
#define CR0_NE   32u
#define AREA     XSAVE_AREA_BYTES
#define BUF      (FLAT_DATA + 0x1000) /* two pages */
#define SRC      (FLAT_DATA + 0x4000)
#define XBV      512
#define XCOMP    520
#define FCW_INIT 0x37f

/* All that host and guest have. */
static uint64_t components(void)
{
    static uint64_t all;

    if (!all)
        all = xsave_host_xcr0() & (7 | XSAVE_AVX512);
    return all;
}

static struct flat *fpu_guest(void)
{
    struct flat *f = flat_new();
    struct jit_cpu *c = flat_cpu(f);

    c->st.cr4 |= 1u << 18;
    c->st.xcr0 = components();
    c->st.cr0 = (c->st.cr0 | 2 | CR0_NE) & ~(CR0_EM | CR0_TS);
    c->vcpu->cpuid[0] = (struct cpuid_entry){.leaf = 0, .eax = 0xd};
    c->vcpu->cpuid[1] = (struct cpuid_entry){.leaf = 0xd, .eax = (uint32_t)components()};
    c->vcpu->cpuid_count = 2;
    return f;
}

static uint8_t *at(struct flat *f, uint64_t gpa)
{
    return flat_ram(f) + gpa;
}

#define LOAD(f, name) flat_load(f, FLAT_CODE_AT, name, name##_end)

/* ---- XSAVE family against the host ---- */

/* rsi: state to load first; ecx: mask; rdi: area. */
#define WITH_STATE(insn)                                                                           \
    "movl $0xe7, %eax\n\t"                                                                         \
    "xorl %edx, %edx\n\t"                                                                          \
    "xrstor64 (%rsi)\n\t"                                                                          \
    "movl %ecx, %eax\n\t" insn " (%rdi)\n\t"
FLAT_CODE(save_xsave, WITH_STATE("xsave64"));
FLAT_CODE(save_xsave32, WITH_STATE("xsave"));
FLAT_CODE(save_xsaveopt, WITH_STATE("xsaveopt64"));
FLAT_CODE(save_xsavec, WITH_STATE("xsavec64"));
/* The area is restored over the loaded state; what came of it is stored at rdi + 4096. */
FLAT_CODE(restore, WITH_STATE("xrstor64") "movl $0xe7, %eax\n\txsave64 4096(%rdi)\n\t");

static void run_native(const uint8_t *code, const uint8_t *end, uint8_t *area, const uint8_t *state,
                       uint32_t mask)
{
    static uint8_t *page;
    uint8_t own[4096] __attribute__((aligned(64)));

    if (!page)
        page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                    0);
    g_assert_true(page != MAP_FAILED);
    memcpy(page, code, (size_t)(end - code));
    page[end - code] = 0xc3;
    memset(own + XBV, 0, 64);
    __asm__ volatile("xsave64 %0" : "+m"(own) : "a"(0xe7), "d"(0));
    __asm__ volatile("call *%[f]"
                     : "+c"(mask), "+S"(state), "+D"(area)
                     : [f] "b"(page)
                     : "rax", "rdx", "memory", "cc");
    __asm__ volatile("xrstor64 %0" ::"m"(own), "a"(0xe7), "d"(0));
}

static void run_guest(struct flat *f, const uint8_t *code, const uint8_t *end, uint32_t mask)
{
    static const uint8_t leave[] = {0xe6, FLAT_EXIT_PORT}; /* out %al */
    struct jit_cpu *c = flat_cpu(f);

    flat_load(f, FLAT_CODE_AT, code, end);
    memcpy(at(f, FLAT_CODE_AT + (uint64_t)(end - code)), leave, sizeof(leave));
    guest_mem_wrote(flat_mem(f), GPA(FLAT_CODE_AT), 4096);
    c->st.gpr[R_RCX] = mask;
    c->st.gpr[R_RSI] = SRC;
    c->st.gpr[R_RDI] = BUF;
    g_assert_true(flat_run(f));
}

/* A state with the components in `used` (as in XCR0; 8: MXCSR) away from their initial contents. */
static void make_state(uint8_t *s, unsigned used)
{
    const uint64_t bv = (7 | (used & XSAVE_AVX512)) & components();
    const uint16_t cw = FCW_INIT;
    const uint32_t mxcsr = used & 8 ? 0x1fa0 : 0x1f80;

    memset(s, 0, AREA);
    memcpy(s, &cw, 2);
    memcpy(s + 24, &mxcsr, 4);
    memcpy(s + XBV, &bv, 8);
    for (unsigned k = 0; k < 80; k++)
        if (used & 1)
            s[32 + 16 * (k / 10) + k % 10] = (uint8_t)(k * 7 + 1);
    if (used & 1)
        s[4] = 0x3c;
    for (unsigned k = 0; k < 256; k++)
        s[160 + k] = used & 2 ? (uint8_t)(k * 11 + 3) : 0;
    for (unsigned n = XSAVE_PART_AVX; n <= XSAVE_PART_HI16; n++) {
        const struct xsave_part *p = &xsave_parts()[n];

        for (unsigned k = 0; k < p->size && (used & components() & 1u << p->bit); k++)
            s[p->offset + k] = (uint8_t)(k * 13 + 5 + n);
    }
}

/* MXCSR_MASK is the guest's own. */
static bool same_areas(const uint8_t *host, const uint8_t *guest)
{
    return memcmp(host, guest, 28) == 0 && memcmp(host + 32, guest + 32, AREA - 32) == 0;
}

static void compare_areas(const uint8_t *host, const uint8_t *guest, const char *what,
                          unsigned used, unsigned mask)
{
    for (unsigned k = 0; k < AREA; k++)
        if (host[k] != guest[k] && !(k >= 28 && k < 32))
            g_error("%s, used %u, mask %u: byte %u is %02x on the host, %02x in the guest", what,
                    used, mask, k, host[k], guest[k]);
}

static const struct {
    const char *name;
    const uint8_t *code, *end;
} saves[] = {{"xsave64", save_xsave, save_xsave_end},
             {"xsave", save_xsave32, save_xsave32_end},
             {"xsaveopt64", save_xsaveopt, save_xsaveopt_end},
             {"xsavec64", save_xsavec, save_xsavec_end}};

static bool host_has_xsavec(void)
{
    uint32_t a = 0xd, b, c = 1, d;

    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return __builtin_cpu_supports("avx") && (a & 3) == 3;
}

/* Of states and requests: those of old, with some and with all of AVX-512. */
static const unsigned sets[] = {0,    1,    2,    3,    4,    5,    6,    7,   8,
                                0x20, 0x40, 0x80, 0xa6, 0xe0, 0xe7, 0xef, 0x67};

static void test_save_areas_are_the_hosts(void)
{
    static uint8_t area[4096] __attribute__((aligned(64))),
        state[AREA] __attribute__((aligned(64)));

    if (!host_has_xsavec()) {
        g_test_skip("host without AVX, XSAVEC or XSAVEOPT");
        return;
    }
    struct flat *f = fpu_guest();
    for (unsigned k = 0; k < G_N_ELEMENTS(saves); k++) {
        for (unsigned n = 0; n < G_N_ELEMENTS(sets) * G_N_ELEMENTS(sets); n++) {
            unsigned used = sets[n % G_N_ELEMENTS(sets)], mask = sets[n / G_N_ELEMENTS(sets)] & ~8u;

            make_state(state, used);
            memcpy(at(f, SRC), state, AREA);
            memset(area, 0x5a, sizeof(area));
            memset(area + XBV, 0, 64);
            memcpy(at(f, BUF), area, sizeof(area));
            run_guest(f, saves[k].code, saves[k].end, mask);
            /* Registers of zeros count as in use on a host that was interrupted just then. */
            for (unsigned tries = 0; tries < 10; tries++) {
                memset(area, 0x5a, sizeof(area));
                memset(area + XBV, 0, 64);
                run_native(saves[k].code, saves[k].end, area, state, mask);
                if (same_areas(area, at(f, BUF)))
                    break;
            }
            compare_areas(area, at(f, BUF), saves[k].name, used, mask);
        }
    }
    flat_free(f);
}

static void restore_case(struct flat *f, uint64_t bv, unsigned mask, bool compact)
{
    static uint8_t area[8192] __attribute__((aligned(64))),
        state[AREA] __attribute__((aligned(64)));
    const uint64_t comp = bv | 1ull << 63;

    make_state(state, 7);
    memcpy(at(f, SRC), state, AREA);
    memset(area, 0, sizeof(area));
    make_state(area, 15);
    for (unsigned k = 32; k < 416; k++)
        area[k] ^= 0x55;
    for (unsigned k = XSAVE_PARTS_AT; k < AREA; k++)
        area[k] = (uint8_t)(k % 251 + 1);
    for (unsigned k = 0; k < 8; k++)
        memset(area + 32 + 16 * k + 10, 0, 6);
    memcpy(area + XBV, &bv, 8);
    if (compact)
        memcpy(area + XCOMP, &comp, 8);
    memcpy(at(f, BUF), area, sizeof(area));
    run_guest(f, restore, restore_end, mask);
    /* As above: the host may have been interrupted. */
    for (unsigned tries = 0; tries < 10; tries++) {
        memset(area + 4096, 0, 4096);
        run_native(restore, restore_end, area, state, mask);
        if (same_areas(area + 4096, at(f, BUF) + 4096))
            break;
    }
    compare_areas(area + 4096, at(f, BUF) + 4096, compact ? "compact restore" : "restore",
                  (unsigned)bv, mask);
}

static void test_restores_are_the_hosts(void)
{
    if (!host_has_xsavec()) {
        g_test_skip("host without AVX, XSAVEC or XSAVEOPT");
        return;
    }
    struct flat *f = fpu_guest();
    for (unsigned n = 0; n < G_N_ELEMENTS(sets) * G_N_ELEMENTS(sets); n++)
        for (unsigned compact = 0; compact < 2; compact++)
            restore_case(f, sets[n % G_N_ELEMENTS(sets)] & components(),
                         sets[n / G_N_ELEMENTS(sets)] & ~8u, compact);
    flat_free(f);
}

static bool need_avx512(void)
{
    if ((components() & XSAVE_AVX512) == XSAVE_AVX512)
        return true;
    g_test_skip("the host has no AVX-512");
    return false;
}

FLAT_CODE(do_xrstor, "movl $7, %eax\n\txorl %edx, %edx\n\txrstor64 (%rdi)\n\t");
FLAT_CODE(do_xsave, "movl $7, %eax\n\txorl %edx, %edx\n\txsave64 (%rdi)\n\t");

static int fault_of(struct flat *f, const uint8_t *code, const uint8_t *end)
{
    flat_load(f, FLAT_CODE_AT, code, end);
    memset(at(f, FLAT_CODE_AT + (uint64_t)(end - code)), 0x0f, 1);
    memset(at(f, FLAT_CODE_AT + (uint64_t)(end - code) + 1), 0x0b, 1); /* UD2 when none */
    guest_mem_wrote(flat_mem(f), GPA(FLAT_CODE_AT), 4096);
    return flat_step_to_fault(f);
}
#define FAULT(f, name) fault_of(f, name, name##_end)

static void test_bad_images_fault_and_change_nothing(void)
{
    static const struct {
        unsigned offset;
        uint64_t value;
    } bad[] = {{XBV, 8},       {XBV, 1ull << 62}, {XCOMP, 1},
               {XCOMP + 8, 1}, {24, 0xffffffff},  {XCOMP, 1ull << 63 | 8}};
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);
    uint8_t before[AREA];

    for (unsigned k = 0; k < G_N_ELEMENTS(bad); k++) {
        make_state(at(f, BUF), 7);
        memcpy(at(f, BUF) + bad[k].offset, &bad[k].value, 8);
        c->st.gpr[R_RDI] = BUF;
        memcpy(before, c->st.xsave, AREA);
        g_assert_cmpint(FAULT(f, do_xrstor), ==, EX_GP);
        g_assert_cmpmem(before, AREA, c->st.xsave, AREA);
    }
    make_state(at(f, BUF), 7);
    c->st.gpr[R_RDI] = BUF + 16;
    g_assert_cmpint(FAULT(f, do_xrstor), ==, EX_GP);
    g_assert_cmpint(FAULT(f, do_xsave), ==, EX_GP);
    flat_free(f);
}

/* ---- who may, and when ---- */

FLAT_CODE(do_xsetbv, "xorl %edx, %edx\n\txorl %ecx, %ecx\n\txsetbv\n\t");
FLAT_CODE(do_xgetbv, "xgetbv\n\t");

static bool xsetbv_takes(struct flat *f, uint64_t value)
{
    struct jit_cpu *c = flat_cpu(f);

    c->st.gpr[R_RAX] = value;
    int vector = FAULT(f, do_xsetbv);
    g_assert_true(vector == EX_GP || vector == EX_UD);
    return vector == EX_UD; /* of the UD2 behind it */
}

static void test_xcr0_rules(void)
{
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);

    g_assert_true(xsetbv_takes(f, 1));
    g_assert_true(xsetbv_takes(f, 3));
    g_assert_true(xsetbv_takes(f, 7));
    g_assert_cmpuint(c->st.xcr0, ==, 7);
    if (components() & XSAVE_AVX512) {
        g_assert_true(xsetbv_takes(f, 0xe7));
        g_assert_true(xsetbv_takes(f, 7));
    }
    g_assert_false(xsetbv_takes(f, 0xe3)); /* AVX-512 needs AVX, and is there whole or not */
    g_assert_false(xsetbv_takes(f, 0x27));
    g_assert_false(xsetbv_takes(f, 0x67));
    g_assert_false(xsetbv_takes(f, 0xc7));
    g_assert_false(xsetbv_takes(f, 0));
    g_assert_false(xsetbv_takes(f, 6));
    g_assert_false(xsetbv_takes(f, 5));
    g_assert_false(xsetbv_takes(f, 15));
    g_assert_cmpuint(c->st.xcr0, ==, 7);
    c->st.gpr[R_RCX] = 0;
    FAULT(f, do_xgetbv);
    g_assert_cmpuint(c->st.gpr[R_RAX], ==, 7);
    c->st.gpr[R_RCX] = 2;
    g_assert_cmpint(FAULT(f, do_xgetbv), ==, EX_GP);
    flat_free(f);
}

FLAT_CODE(do_fld, "fld1\n\t");
FLAT_CODE(do_mmx, "paddb %mm0, %mm1\n\t");
FLAT_CODE(do_sse, "addps %xmm0, %xmm1\n\t");
FLAT_CODE(do_avx, "vaddps %ymm0, %ymm1, %ymm2\n\t");
FLAT_CODE(do_evex, "vaddps %zmm0, %zmm1, %zmm2\n\t");
FLAT_CODE(do_evex128, "vpaddd %xmm16, %xmm1, %xmm2{%k1}\n\t");
FLAT_CODE(do_opmask, "kmovq %k1, %k2\n\t");
FLAT_CODE(do_scatter, "vpscatterdd %zmm0, (%rdi,%zmm1){%k1}\n\t");
FLAT_CODE(do_wait, "fwait\n\t");

/* Runs with the bits given; -1 when the instruction ran. */
static int gated(struct flat *f, const uint8_t *code, const uint8_t *end, uint64_t cr0_set,
                 uint64_t cr4_clear)
{
    struct jit_cpu *c = flat_cpu(f);
    uint64_t cr0 = c->st.cr0, cr4 = c->st.cr4;

    c->st.cr0 |= cr0_set;
    c->st.cr4 &= ~cr4_clear;
    int vector = fault_of(f, code, end);
    bool ran = c->st.rip != FLAT_CODE_AT;
    c->st.cr0 = cr0;
    c->st.cr4 = cr4;
    return ran ? -1 : vector;
}
#define GATED(f, name, set, clear) gated(f, name, name##_end, set, clear)

static void test_units_can_be_switched_off(void)
{
    const uint64_t osfxsr = 1u << 9, osxsave = 1u << 18;
    struct flat *f = fpu_guest();

    g_assert_cmpint(GATED(f, do_fld, 0, 0), ==, -1);
    g_assert_cmpint(GATED(f, do_fld, CR0_TS, 0), ==, EX_NM);
    g_assert_cmpint(GATED(f, do_fld, CR0_EM, 0), ==, EX_NM);
    g_assert_cmpint(GATED(f, do_mmx, CR0_TS, 0), ==, EX_NM);
    g_assert_cmpint(GATED(f, do_mmx, CR0_EM, 0), ==, EX_UD);
    g_assert_cmpint(GATED(f, do_sse, 0, 0), ==, -1);
    g_assert_cmpint(GATED(f, do_sse, CR0_TS, 0), ==, EX_NM);
    g_assert_cmpint(GATED(f, do_sse, CR0_EM, 0), ==, EX_UD);
    g_assert_cmpint(GATED(f, do_sse, 0, osfxsr), ==, EX_UD);
    g_assert_cmpint(GATED(f, do_avx, 0, 0), ==, -1);
    g_assert_cmpint(GATED(f, do_avx, CR0_TS, 0), ==, EX_NM);
    g_assert_cmpint(GATED(f, do_avx, 0, osxsave), ==, EX_UD);
    g_assert_cmpint(GATED(f, do_wait, CR0_TS, 0), ==, EX_NM); /* MP is set */
    flat_cpu(f)->st.xcr0 = 3;
    g_assert_cmpint(GATED(f, do_avx, 0, 0), ==, EX_UD);
    flat_free(f);
}

static void test_avx512_can_be_switched_off(void)
{
    static const struct {
        const uint8_t *code, *end;
    } insn[] = {{do_evex, do_evex_end},
                {do_evex128, do_evex128_end},
                {do_opmask, do_opmask_end},
                {do_scatter, do_scatter_end}};

    if (!need_avx512())
        return;
    struct flat *f = fpu_guest();
    for (unsigned k = 0; k < G_N_ELEMENTS(insn); k++) {
        flat_cpu(f)->st.xcr0 = 0xe7;
        g_assert_cmpint(gated(f, insn[k].code, insn[k].end, 0, 0), ==, -1);
        g_assert_cmpint(gated(f, insn[k].code, insn[k].end, CR0_TS, 0), ==, EX_NM);
        g_assert_cmpint(gated(f, insn[k].code, insn[k].end, 0, 1u << 18), ==, EX_UD);
        flat_cpu(f)->st.xcr0 = 7;
        g_assert_cmpint(gated(f, insn[k].code, insn[k].end, 0, 0), ==, EX_UD);
    }
    flat_free(f);
}

/* Four dwords, of which the first one or two are below the end of the canonical addresses: the
 * page of the first faults before the others' form does. */
FLAT_CODE(do_masked_store, "kxnorw %k1, %k1, %k1\n\t"
                           "vmovdqu32 %xmm1, (%rdi){%k1}\n\t");

static void test_masked_operands_end_with_the_canonical_addresses(void)
{
    if (!need_avx512())
        return;
    struct flat *f = fpu_guest();
    flat_cpu(f)->st.xcr0 = 0xe7;
    for (uint64_t low = 4; low < 12; low++) {
        flat_cpu(f)->st.gpr[R_RDI] = BIT64(47) - low;
        g_assert_cmpint(FAULT(f, do_masked_store), ==, EX_PF);
        g_assert_cmphex(flat_cpu(f)->st.cr2, ==, BIT64(47) - low);
    }
    flat_cpu(f)->st.gpr[R_RDI] = BIT64(47) - 3;
    g_assert_cmpint(FAULT(f, do_masked_store), ==, EX_GP);
    flat_free(f);
}

/* ---- AVX-512: what VEX forms clear, what masks keep from memory ---- */

FLAT_CODE(vex_write, "vpternlogd $255, %zmm1, %zmm1, %zmm1\n\t"
                     "vpternlogd $255, %zmm2, %zmm2, %zmm2\n\t"
                     "vpternlogd $255, %zmm3, %zmm3, %zmm3\n\t"
                     "vpternlogd $255, %zmm17, %zmm17, %zmm17\n\t"
                     "vpaddd %xmm1, %xmm1, %xmm1\n\t"
                     "addps %xmm2, %xmm2\n\t"
                     "vmaskmovps (%rdi), %xmm3, %xmm3\n\t" FLAT_EXIT);
FLAT_CODE(vex_zero, "vpternlogd $255, %zmm1, %zmm1, %zmm1\n\t"
                    "vpternlogd $255, %zmm17, %zmm17, %zmm17\n\t"
                    "vzeroupper\n\t" FLAT_EXIT);

static const uint8_t *zmm_high(struct flat *f, unsigned n)
{
    return flat_cpu(f)->st.xsave + xsave_parts()[XSAVE_PART_ZMM_HI].offset + 32 * n;
}

static const uint8_t *zmm16_on(struct flat *f, unsigned n)
{
    return flat_cpu(f)->st.xsave + xsave_parts()[XSAVE_PART_HI16].offset + 64 * (n - 16);
}

static void test_vex_forms_clear_up_to_bit_511(void)
{
    static const uint8_t zero[64];
    uint8_t ones[64];

    if (!need_avx512())
        return;
    memset(ones, 0xff, sizeof(ones));
    struct flat *f = fpu_guest();
    flat_cpu(f)->st.gpr[R_RDI] = BUF;
    LOAD(f, vex_write);
    g_assert_true(flat_run(f));
    g_assert_cmpmem(zmm_high(f, 1), 32, zero, 32);
    g_assert_cmpmem(zmm_high(f, 2), 32, ones, 32); /* legacy SSE keeps it */
    g_assert_cmpmem(zmm_high(f, 3), 32, zero, 32);
    g_assert_cmpmem(zmm16_on(f, 17), 64, ones, 64);
    LOAD(f, vex_zero);
    guest_mem_wrote(flat_mem(f), GPA(FLAT_CODE_AT), 4096);
    g_assert_true(flat_run(f));
    g_assert_cmpmem(zmm_high(f, 1), 32, zero, 32);
    g_assert_cmpmem(flat_cpu(f)->st.xsave + 576 + 16, 16, zero, 16);
    g_assert_cmpmem(flat_cpu(f)->st.xsave + 160 + 16, 16, ones, 16);
    g_assert_cmpmem(zmm16_on(f, 17), 64, ones, 64);
    flat_free(f);
}

/* ---- exceptions ---- */

/* Divides by zero with ZE unmasked; the exception waits for the FLD1. */
FLAT_CODE(x87_pending, "fninit\n\t"
                       "movw $0x37b, (%rdi)\n\t"
                       "fldcw (%rdi)\n\t"
                       "fld1\n\t"
                       "fldz\n\t"
                       "fdivrp %st, %st(1)\n\t"
                       "fnstsw %ax\n\t"
                       "movl $1, %ebx\n\t"
                       "fld1\n\t"
                       "movl $2, %ebx\n\t");

static void test_x87_exception_waits_for_next_instruction(void)
{
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);

    c->st.gpr[R_RDI] = BUF;
    c->st.gpr[R_RBX] = 0;
    g_assert_cmpint(FAULT(f, x87_pending), ==, EX_MF);
    g_assert_cmpuint(c->st.gpr[R_RBX], ==, 1);
    g_assert_cmpuint(c->st.gpr[R_RAX] & 0x84, ==, 0x84); /* ES, ZE */
    flat_free(f);
}

/* CR0.NE=0: the instruction neither runs nor faults, until FNCLEX lets it. */
static void test_x87_exception_by_irq13(void)
{
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);
    uint64_t stuck;

    c->st.cr0 &= ~(uint64_t)CR0_NE;
    c->st.gpr[R_RDI] = BUF;
    c->st.gpr[R_RBX] = 0;
    LOAD(f, x87_pending);
    for (unsigned k = 0; k < 20; k++)
        g_assert_cmpint(interp_step(c), ==, -1);
    g_assert_cmpuint(c->st.gpr[R_RBX], ==, 1);
    stuck = c->st.rip;
    g_assert_cmpint(interp_step(c), ==, -1);
    g_assert_cmpuint(c->st.rip, ==, stuck);
    c->st.xsave[2] = 0; /* what FNCLEX would clear */
    c->st.xsave[3] &= 0x7f;
    g_assert_cmpint(interp_step(c), ==, -1);
    g_assert_cmpuint(c->st.rip, !=, stuck);
    flat_free(f);
}

FLAT_CODE(sse_divide, "ldmxcsr (%rdi)\n\t"
                      "movl $1, %ebx\n\t"
                      "divps %xmm1, %xmm0\n\t"
                      "movl $2, %ebx\n\t");

static void test_sse_exceptions(void)
{
    static const uint32_t unmasked = 0x1f80 & ~0x200u; /* ZM */
    const float ones[4] = {1, 1, 1, 1}, zeros[4] = {0};
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);

    memcpy(at(f, BUF), &unmasked, 4);
    c->st.gpr[R_RDI] = BUF;
    for (unsigned k = 0; k < 2; k++) {
        memcpy(c->st.xsave + 160, ones, 16);
        memcpy(c->st.xsave + 176, zeros, 16);
        g_assert_cmpint(FAULT(f, sse_divide), ==, k ? EX_UD : EX_XM);
        g_assert_cmpuint(c->st.gpr[R_RBX], ==, 1);
        g_assert_cmpmem(c->st.xsave + 160, 16, ones, 16);
        g_assert_cmpuint(le32_get(c->st.xsave + 24), ==, unmasked | 4);
        c->st.cr4 &= ~(1ull << 10); /* second time: OSXMMEXCPT clear */
    }
    flat_free(f);
}

FLAT_CODE(mxcsr_bad, "ldmxcsr (%rdi)\n\t");

static void test_mxcsr_reserved_bits(void)
{
    const uint32_t bad = 0x80001f80;
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);
    uint32_t before = le32_get(c->st.xsave + 24);

    memcpy(at(f, BUF), &bad, 4);
    c->st.gpr[R_RDI] = BUF;
    g_assert_cmpint(FAULT(f, mxcsr_bad), ==, EX_GP);
    g_assert_cmpuint(le32_get(c->st.xsave + 24), ==, before);
    flat_free(f);
}

/* ---- what must not show ---- */

FLAT_CODE(leaks, "fninit\n\t"
                 "nop\n"
                 "fld1\n\t"
                 "fldl (%rsi)\n\t"
                 "fstpl 8(%rsi)\n\t"
                 "fxsave64 (%rdi)\n\t"
                 "movl $7, %eax\n\t"
                 "xorl %edx, %edx\n\t"
                 "xsave64 1024(%rdi)\n\t"
                 "xsavec64 2048(%rdi)\n\t"
                 "fnstenv 3072(%rdi)\n\t"
                 "fldenv 3072(%rdi)\n\t"
                 "fnsave 3200(%rdi)\n\t" FLAT_EXIT);

/* No eight bytes (four in the 32-bit images) may look like an address of this process. */
static void test_images_show_guest_addresses_only(void)
{
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);
    const uint64_t fstp = FLAT_CODE_AT + 2 + 1 + 2 + 2;
    const uint8_t *p = at(f, BUF);

    memset(at(f, BUF), 0, 4096);
    c->st.gpr[R_RDI] = BUF;
    c->st.gpr[R_RSI] = SRC;
    LOAD(f, leaks);
    g_assert_true(flat_run(f));
    g_assert_cmphex(le64_get(p + 8), ==, fstp);
    g_assert_cmphex(le64_get(p + 16), ==, SRC + 8);
    g_assert_cmphex(le16_get(p + 6), ==, 0x55e);
    g_assert_cmphex(le64_get(p + 1024 + 8), ==, fstp);
    g_assert_cmphex(le64_get(p + 2048 + 8), ==, fstp);
    g_assert_cmphex(le32_get(p + 3072 + 12), ==, fstp);
    g_assert_cmphex(le32_get(p + 3072 + 20), ==, SRC + 8);
    g_assert_cmphex(le32_get(p + 3200 + 12), ==, fstp);
    for (unsigned k = 0; k + 8 <= 4096; k++) {
        uint64_t v = le64_get(p + k);
        if (v >= 0x500000000000 && v < 0x800000000000)
            g_error("offset %u holds %llx", k, (unsigned long long)v);
    }
    flat_free(f);
}

/* 16-bit image in real mode: addresses are linear, four bits of them beside the opcode. */
FLAT_CODE(real_env, ".code16\n\tfninit\n\tfld1\n\tfldl 0x10(%bx)\n\tfnstenv (%di)\n\t.code64\n\t");

static void test_real_mode_environment(void)
{
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);
    const uint8_t *p = at(f, 0x12000);

    flat_real_mode(f);
    c->st.cr0 |= CR0_NE;
    c->st.seg[SEG_CS].sel = 0xf00;
    c->st.seg[SEG_CS].base = 0xf000;
    c->st.seg[SEG_DS].sel = 0x1200;
    c->st.seg[SEG_DS].base = 0x12000;
    cpu_update_mode(c);
    c->st.gpr[R_RBX] = 0x200;
    c->st.gpr[R_RDI] = 0;
    g_assert_cmpint(
        guest_mem_write(flat_mem(f), GPA(0xf100), real_env, (uint64_t)(real_env_end - real_env)),
        ==, 0);
    c->st.rip = 0x100;
    for (unsigned k = 0; k < 4; k++)
        g_assert_cmpint(interp_step(c), ==, -1);
    g_assert_cmphex(le16_get(p), ==, FCW_INIT);
    g_assert_cmphex(le16_get(p + 2) >> 11, ==, 6);
    g_assert_cmphex(le16_get(p + 4) & 0xfff, ==, 0xfff); /* six empty */
    g_assert_cmphex(le16_get(p + 6), ==, 0xf104);
    g_assert_cmphex(le16_get(p + 8), ==, 0x547); /* bits 19:16 of IP are 0 */
    g_assert_cmphex(le16_get(p + 10), ==, 0x2210);
    g_assert_cmphex(le16_get(p + 12), ==, 0x1000);
    flat_free(f);
}

/* ---- the live x87 unit ---- */

FLAT_CODE(x87_run, "fninit\n\t"
                   "fld1\n\t"
                   "fld1\n\t"
                   "movl $50, %ecx\n"
                   "1: fadd %st(1), %st\n\t"
                   "addsd %xmm0, %xmm1\n\t"
                   "decl %ecx\n\t"
                   "jnz 1b\n\t" FLAT_EXIT);

static void test_registers_come_back_when_the_loop_is_left(void)
{
    const double one = 1;
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);
    long double st0 = 0;
    double xmm1;

    memcpy(c->st.xsave + 160, &one, 8);
    memset(c->st.xsave + 176, 0, 16);
    LOAD(f, x87_run);
    g_assert_true(flat_run(f));
    memcpy(&st0, c->st.xsave + 32, 10);
    memcpy(&xmm1, c->st.xsave + 176, 8);
    g_assert_cmpfloat((double)st0, ==, 51);
    g_assert_cmpfloat(xmm1, ==, 50);
    g_assert_cmphex(le16_get(c->st.xsave + 2) >> 11 & 7, ==, 6);
    g_assert_cmphex(c->st.xsave[4], ==, 0xc0);
    flat_free(f);
}

static void test_exported_state_names_what_is_in_use(void)
{
    struct x86_state *out = g_aligned_alloc0(1, sizeof(*out), 64);
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);

    LOAD(f, x87_run);
    memset(c->st.xsave + 160, 0, 256);
    g_assert_true(flat_run(f));
    jit_accel.get_state(c->vcpu, out);
    g_assert_cmphex(le64_get(out->xsave + XBV), ==, 1);
    g_assert_true(jit_accel.set_state(c->vcpu, out, NULL));
    g_assert_cmpmem(c->st.xsave + 32, 128, out->xsave + 32, 128);
    g_assert_cmphex(le32_get(c->st.xsave + 24), ==, 0x1f80);
    flat_free(f);
    g_aligned_free(out);
}

/* ---- more encodings than the stub area takes ---- */

static void shuffle_and_check(struct flat *f, unsigned op, unsigned dst, unsigned src, unsigned imm)
{
    struct jit_cpu *c = flat_cpu(f);
    uint8_t code[6] = {0x66, 0x40 | (dst >> 3) << 2 | src >> 3, 0x0f, 0x70, 0xc0, (uint8_t)imm};
    uint32_t in[4], out[4];

    if (op == 3)
        code[3] = 0xc6; /* SHUFPD */
    else if (op)
        code[0] = op == 1 ? 0xf2 : 0xf3; /* PSHUFLW, PSHUFHW */
    code[4] |= (dst & 7) << 3 | (src & 7);
    memcpy(in, c->st.xsave + 160 + 16 * src, 16);
    flat_load(f, FLAT_CODE_AT, code, code + sizeof(code));
    g_assert_cmpint(interp_step(c), ==, -1);
    memcpy(out, c->st.xsave + 160 + 16 * dst, 16);
    for (unsigned k = 0; op == 0 && k < 4; k++)
        g_assert_cmphex(out[k], ==, in[imm >> 2 * k & 3]);
}

static void test_stub_area_runs_full(void)
{
    struct flat *f = fpu_guest();
    struct jit_cpu *c = flat_cpu(f);

    for (unsigned k = 0; k < 256; k++)
        c->st.xsave[160 + k] = (uint8_t)(k * 31 + 7);
    /* 4 x 65536 stubs of at least 32 bytes are 8 MiB. */
    for (unsigned n = 0; n < 4 * 65536; n++)
        shuffle_and_check(f, n >> 16, n >> 12 & 15, n >> 8 & 15, n & 255);
    /* The first ones are still there; new ones are made one at a time. */
    for (unsigned n = 0; n < 100; n++)
        shuffle_and_check(f, 0, n & 15, n * 7 & 15, n * 5 & 255);
    flat_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpu/fpu/save-areas-are-the-hosts", test_save_areas_are_the_hosts);
    g_test_add_func("/cpu/fpu/restores-are-the-hosts", test_restores_are_the_hosts);
    g_test_add_func("/cpu/fpu/bad-images", test_bad_images_fault_and_change_nothing);
    g_test_add_func("/cpu/fpu/xcr0", test_xcr0_rules);
    g_test_add_func("/cpu/fpu/switched-off", test_units_can_be_switched_off);
    g_test_add_func("/cpu/fpu/avx512-switched-off", test_avx512_can_be_switched_off);
    g_test_add_func("/cpu/fpu/masked-end", test_masked_operands_end_with_the_canonical_addresses);
    g_test_add_func("/cpu/fpu/vex-clears", test_vex_forms_clear_up_to_bit_511);
    g_test_add_func("/cpu/fpu/x87-waits", test_x87_exception_waits_for_next_instruction);
    g_test_add_func("/cpu/fpu/irq13", test_x87_exception_by_irq13);
    g_test_add_func("/cpu/fpu/sse-exceptions", test_sse_exceptions);
    g_test_add_func("/cpu/fpu/mxcsr", test_mxcsr_reserved_bits);
    g_test_add_func("/cpu/fpu/no-host-addresses", test_images_show_guest_addresses_only);
    g_test_add_func("/cpu/fpu/real-mode-environment", test_real_mode_environment);
    g_test_add_func("/cpu/fpu/live-x87", test_registers_come_back_when_the_loop_is_left);
    g_test_add_func("/cpu/fpu/exported-state", test_exported_state_names_what_is_in_use);
    g_test_add_func("/cpu/fpu/area-full", test_stub_area_runs_full);
    return g_test_run();
}
