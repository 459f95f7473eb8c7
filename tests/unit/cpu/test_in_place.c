/* test_in_place.c - POPF, the LOOP family, string instructions without REP, bits in memory, CH,
 * selectors, RDTSCP and CR2, each often enough to be translated, in 64-bit and in flat 32-bit code:
 * results are the architecture's, and ordinary cases stay in translated code.
 *
 * The same programs run interpreted, translated and under cosim=on: HANOK_TEST_ACCEL (flat.h). */
#include "flat.h"

#include "tr.h"

#include <glib.h>
#include <string.h>

#define GPR(f, r) (flat_cpu(f)->st.gpr[r])
#define TURNS     1000u
#define SOURCE    (FLAT_DATA + 0xf01) /* both begin in one page and end in another */
#define TARGET    (FLAT_DATA + 0x8e03)

/* TEXT for both modes, where it names registers by their 32-bit halves or not at all. */
#define BOTH(name, text)                                                                           \
    FLAT_CODE(name##_64, text FLAT_EXIT);                                                          \
    FLAT_CODE(name##_32, ".code32\n\t" text FLAT_EXIT ".code64")
#define LOAD(name, wide)                                                                           \
    ((wide) ? load(name##_64, name##_64_end, true) : load(name##_32, name##_32_end, false))

static struct flat *load(const uint8_t *code, const uint8_t *end, bool wide)
{
    struct flat *f = flat_new();

    if (!wide)
        flat_protected_mode(f);
    flat_load(f, FLAT_CODE_AT, code, end);
    return f;
}

/* Fewer calls of the interpreter than turns, where code is translated and chained. */
static void assert_in_place(struct flat *f)
{
    const struct jit_cpu *c = flat_cpu(f);

    if (!c->tr.cache || c->cosim)
        return;
    const struct tr_stats *s = &c->tr.cache->stats;
    g_assert_cmpuint(s->system_calls + s->interp_calls + s->bails, <, TURNS / 4);
}

static void ends_with(struct flat *f, uint64_t rax, uint64_t rbx)
{
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, rax);
    g_assert_cmpuint(GPR(f, R_RBX), ==, rbx);
    assert_in_place(f);
    flat_free(f);
}

/* ---- POPF ---- */

/* eax = bits of ecx that are arithmetic flags, through POPF and PUSHF; ebx collects differences */
#define FLAGS_THERE_AND_BACK(push, pop)                                                            \
    "movl $0xfff, %ecx\n"                                                                          \
    "1: movl %ecx, %eax\n\t"                                                                       \
    "andl $0x8d5, %eax\n\t"                                                                        \
    "orl $2, %eax\n\t" push "ax\n\tpopf\n\tpushf\n\t" pop "dx\n\t"                                 \
    "xorl %eax, %edx\n\t"                                                                          \
    "orl %edx, %ebx\n\t"                                                                           \
    "decl %ecx\n\t"                                                                                \
    "jnz 1b\n\t" FLAT_EXIT
FLAT_CODE(there_and_back_64, FLAGS_THERE_AND_BACK("pushq %r", "popq %r"));
FLAT_CODE(there_and_back_32, ".code32\n\t" FLAGS_THERE_AND_BACK("pushl %e", "popl %e") ".code64");

static void popf_and_pushf_agree(bool wide)
{
    struct flat *f = LOAD(there_and_back, wide);

    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RBX), ==, 0);
    g_assert_cmphex(GPR(f, R_RSP), ==, FLAT_STACK);
    assert_in_place(f);
    flat_free(f);
}

/* A carry and a zero that live through what destroys them. */
BOTH(kept_flags, "movl $1000, %edx\n"
                 "1: cmpl $501, %edx\n\t" /* carry for 500 of them */
                 "pushf\n\t"
                 "orl $-1, %ecx\n\t"
                 "popf\n\t"
                 "adcl $0, %eax\n\t"
                 "cmpl $501, %edx\n\t"
                 "pushf\n\t"
                 "cmpl $7, %edx\n\t"
                 "popf\n\t"
                 "jnz 2f\n\t"
                 "incl %ebx\n"
                 "2: decl %edx\n\t"
                 "jnz 1b\n\t");

static void popf_brings_flags_back(bool wide)
{
    ends_with(LOAD(kept_flags, wide), 500, 1);
}

/* DF, NT and AC are others each turn; ebx counts turns backwards, ebp those that see NT. */
#define OTHER_FLAGS(sp, pop)                                                                       \
    "movl $1000, %edx\n"                                                                           \
    "1: movl $0x400010, %esi\n\t"                                                                  \
    "pushf\n\t"                                                                                    \
    "xorl $0x44400, (" sp ")\n\t"                                                                  \
    "popf\n\t"                                                                                     \
    "lodsb\n\t"                                                                                    \
    "pushf\n\t" pop "cx\n\t"                                                                       \
    "shrl $14, %ecx\n\t"                                                                           \
    "andl $1, %ecx\n\t"                                                                            \
    "addl %ecx, %ebp\n\t"                                                                          \
    "cmpl $0x40000f, %esi\n\t"                                                                     \
    "jne 2f\n\t"                                                                                   \
    "incl %ebx\n"                                                                                  \
    "2: decl %edx\n\t"                                                                             \
    "jnz 1b\n\t" FLAT_EXIT
FLAT_CODE(other_flags_64, OTHER_FLAGS("%rsp", "popq %r"));
FLAT_CODE(other_flags_32, ".code32\n\t" OTHER_FLAGS("%esp", "popl %e") ".code64");

static void popf_changes_other_flags(bool wide)
{
    struct flat *f = LOAD(other_flags, wide);

    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RBX), ==, TURNS / 2);
    g_assert_cmpuint(GPR(f, R_RBP), ==, TURNS / 2);
    g_assert_cmphex(GPR(f, R_RSI), ==, 0x400011);
    flat_free(f);
}

/* ---- LOOP ---- */

BOTH(carry_through_loop, "movl $1000, %ecx\n\t"
                         "stc\n"
                         "1: adcl $0x90000000, %eax\n\t"
                         "loop 1b\n\t");

static void loop_keeps_flags(bool wide)
{
    struct flat *f = LOAD(carry_through_loop, wide);
    uint64_t sum = 0;
    unsigned carry = 1;

    for (unsigned k = 0; k < TURNS; k++) {
        sum = (uint32_t)sum + 0x90000000ull + carry;
        carry = (unsigned)(sum >> 32);
    }
    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RAX), ==, (uint32_t)sum);
    g_assert_cmpuint(GPR(f, R_RCX), ==, 0);
    assert_in_place(f);
    flat_free(f);
}

/* Once ended by ZF, once by the count, both ways. */
BOTH(loops_by_zero, "movl $5000, %ecx\n"
                    "1: incl %edx\n\t"
                    "cmpl $1234, %edx\n\t"
                    "loopne 1b\n\t"
                    "movl %ecx, %eax\n\t" /* 3766 */
                    "xorl %edx, %edx\n\t"
                    "movl $5000, %ecx\n"
                    "2: incl %edx\n\t"
                    "testl $0x400, %edx\n\t"
                    "loope 2b\n\t"
                    "movl %ecx, %ebx\n\t" /* 3976 */
                    "movl $1000, %ecx\n"
                    "3: incl %esi\n\t"
                    "cmpl $2000, %esi\n\t"
                    "loopne 3b\n\t"
                    "movl $1000, %ecx\n"
                    "4: incl %edi\n\t"
                    "testl %ecx, %ecx\n\t" /* not zero: one turn */
                    "loope 4b\n\t");

static void loopcc_ends_by_either(bool wide)
{
    struct flat *f = LOAD(loops_by_zero, wide);

    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 5000 - 1234);
    g_assert_cmpuint(GPR(f, R_RBX), ==, 5000 - 0x400);
    g_assert_cmpuint(GPR(f, R_RSI), ==, 1000);
    g_assert_cmpuint(GPR(f, R_RDI), ==, 1);
    g_assert_cmpuint(GPR(f, R_RCX), ==, 999);
    assert_in_place(f);
    flat_free(f);
}

/* Forwards and backwards; the second counts what the first lets through. */
BOTH(jumps_if_zero, "movl $1000, %ecx\n\t"
                    "jmp 3f\n"
                    "1: movl %edx, %ebx\n\t"
                    "jmp 4f\n"
                    "2: incl %eax\n\t"
                    "decl %ecx\n"
                    "3: incl %edx\n\t"
                    "jecxz 1b\n\t"
                    "jmp 2b\n"
                    "4: jecxz 5f\n\t"
                    "movl $-1, %eax\n"
                    "5: ");

static void jecxz_goes_both_ways(bool wide)
{
    ends_with(LOAD(jumps_if_zero, wide), 1000, 1001);
}

/* Half a counter, and one of more than 32 bits. */
FLAT_CODE(counters, "movq $-0x100000000, %rcx\n\t"
                    "addq $3, %rcx\n"
                    "1: incl %eax\n\t"
                    "addr32 loop 1b\n\t"
                    "movq %rcx, %rdx\n\t"
                    "movq $0x100000001, %rcx\n\t"
                    "xorl %ebx, %ebx\n"
                    "2: incl %ebx\n\t"
                    "cmpl $2, %ebx\n\t"
                    "loopne 2b\n\t" FLAT_EXIT);

static void test_loop_counts_with_the_size_of_addresses(void)
{
    struct flat *f = load(counters, counters_end, true);

    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 3);
    g_assert_cmphex(GPR(f, R_RDX), ==, 0);
    g_assert_cmphex(GPR(f, R_RCX), ==, 0xffffffff);
    flat_free(f);
}

/* ---- LODS, STOS, MOVS ---- */

/* esi, edi, ecx are set; forwards by LODS and STOS or by MOVS, or backwards. */
#define COPY(name, before, one) BOTH(name, before "1: " one "\n\tdecl %ecx\n\tjnz 1b\n\tcld\n\t")
COPY(copy_b, "cld\n", "lodsb\n\tstosb");
COPY(copy_w, "cld\n", "lodsw\n\tstosw");
COPY(copy_l, "cld\n", "lodsl\n\tstosl");
COPY(move_b, "cld\n", "movsb");
COPY(move_w, "cld\n", "movsw");
COPY(move_l, "cld\n", "movsl");
COPY(back_b, "std\n", "lodsb\n\tstosb\n\t.byte 0xa4"); /* and MOVSB */
FLAT_CODE(copy_q_64, "cld\n1: lodsq\n\tstosq\n\tdecl %ecx\n\tjnz 1b\n\t" FLAT_EXIT);
FLAT_CODE(move_q_64, "cld\n1: movsq\n\tdecl %ecx\n\tjnz 1b\n\t" FLAT_EXIT);

static void fill(uint8_t *p, unsigned n)
{
    for (unsigned k = 0; k < n; k++)
        p[k] = (uint8_t)(k * 31 + (k >> 8));
}

/* step: bytes that a turn goes on; backwards when negative. */
static void copies(struct flat *f, int step, bool forwards_only)
{
    unsigned bytes = TURNS * (unsigned)abs(step);
    uint64_t first = step < 0 ? bytes - 1 : 0;
    uint8_t *ram = flat_ram(f);

    fill(ram + SOURCE, bytes);
    GPR(f, R_RSI) = SOURCE + first;
    GPR(f, R_RDI) = TARGET + first;
    GPR(f, R_RCX) = TURNS;
    g_assert_true(flat_run(f));
    g_assert_cmpmem(ram + SOURCE, bytes, ram + TARGET, bytes);
    g_assert_cmpuint(ram[TARGET - 1] | ram[TARGET + bytes], ==, 0);
    g_assert_cmphex(GPR(f, R_RSI), ==, SOURCE + first + (uint64_t)((int64_t)TURNS * step));
    g_assert_cmphex(GPR(f, R_RDI), ==, TARGET + first + (uint64_t)((int64_t)TURNS * step));
    if (forwards_only)
        assert_in_place(f);
    flat_free(f);
}

static void elements_are_copied(bool wide)
{
    copies(LOAD(copy_b, wide), 1, true);
    copies(LOAD(copy_w, wide), 2, true);
    copies(LOAD(copy_l, wide), 4, true);
    copies(LOAD(move_b, wide), 1, true);
    copies(LOAD(move_w, wide), 2, true);
    copies(LOAD(move_l, wide), 4, true);
    copies(LOAD(back_b, wide), -2, false);
    if (wide) {
        copies(load(copy_q_64, copy_q_64_end, true), 8, true);
        copies(load(move_q_64, move_q_64_end, true), 8, true);
    }
}

/* Up to the hole, where nothing has moved yet. */
FLAT_CODE(read_on, "1: lodsb\n\tjmp 1b\n");
FLAT_CODE(write_on, "1: stosl\n\tjmp 1b\n");
FLAT_CODE(move_on, "1: movsw\n\tjmp 1b\n");

static void faults(struct flat *f, uint64_t rsi, uint64_t rdi, uint64_t rsi_then, uint64_t rdi_then)
{
    GPR(f, R_RSI) = rsi;
    GPR(f, R_RDI) = rdi;
    flat_cpu(f)->vcpu->exit_request = 0;
    g_assert_cmpint(interp_run_to_fault(flat_cpu(f)), ==, EX_PF);
    g_assert_cmphex(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT);
    g_assert_cmphex(GPR(f, R_RSI), ==, rsi_then);
    g_assert_cmphex(GPR(f, R_RDI), ==, rdi_then);
    flat_free(f);
}

static void test_elements_fault_before_anything_moves(void)
{
    faults(load(read_on, read_on_end, true), FLAT_HOLE - 100, 7, FLAT_HOLE, 7);
    faults(load(write_on, write_on_end, true), 7, FLAT_HOLE - 100, 7, FLAT_HOLE);
    faults(load(move_on, move_on_end, true), FLAT_HOLE - 100, FLAT_DATA, FLAT_HOLE,
           FLAT_DATA + 100);
    faults(load(move_on, move_on_end, true), FLAT_DATA, FLAT_HOLE - 101, FLAT_DATA + 100,
           FLAT_HOLE - 1);
}

/* ---- bits in memory, by register ---- */

/* Bits from 1000 down to -999 around rsi: eax counts those found clear, ebx those found set. */
FLAT_CODE(bits_around, "movl $1000, %edx\n"
                       "1: btsq %rdx, (%rsi)\n\t"
                       "cmc\n\t"
                       "adcl $0, %eax\n\t"
                       "btq %rdx, (%rsi)\n\t"
                       "adcl $0, %ebx\n\t"
                       "lock; btcl %edx, (%rsi)\n\t"
                       "adcl $0, %ebx\n\t"
                       "btrl %edx, (%rsi)\n\t"
                       "cmc\n\t"
                       "adcl $0, %eax\n\t"
                       "btsl %edx, 4096(%rsi)\n\t"
                       "decq %rdx\n\t"
                       "cmpq $-1000, %rdx\n\t"
                       "jne 1b\n\t" FLAT_EXIT);

static void test_bits_by_register_reach_beyond_their_operand(void)
{
    struct flat *f = load(bits_around, bits_around_end, true);
    uint8_t *at = flat_ram(f) + SOURCE;

    memset(at - 200, 0, 4096 + 400);
    GPR(f, R_RSI) = SOURCE;
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 2 * 2 * TURNS);
    g_assert_cmpuint(GPR(f, R_RBX), ==, 2 * 2 * TURNS);
    for (int k = -1100; k < 1100; k++) {
        bool there = at[k >> 3] >> (k & 7) & 1, later = at[4096 + (k >> 3)] >> (k & 7) & 1;
        g_assert_false(there);
        g_assert_cmpint(later, ==, k > -1000 && k <= 1000);
    }
    assert_in_place(f);
    flat_free(f);
}

/* ---- CMPXCHG16B ---- */

FLAT_CODE(pairs, "1: cmpxchg16b (%rsi)\n\t"
                 "decl %ebp\n\t"
                 "cmovzq %rdi, %rsi\n\t"
                 "jmp 1b\n");

/* Where nothing is mapped, too. */
static void test_misaligned_pairs_are_protection_faults(void)
{
    struct flat *f = load(pairs, pairs_end, true);

    GPR(f, R_RSI) = SOURCE & ~15u;
    GPR(f, R_RDI) = FLAT_HOLE + 8;
    GPR(f, R_RBP) = TURNS;
    flat_cpu(f)->vcpu->exit_request = 0;
    g_assert_cmpint(interp_run_to_fault(flat_cpu(f)), ==, EX_GP);
    g_assert_cmphex(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT);
    flat_free(f);
}

/* ---- CH ---- */

BOTH(rcx_high, "movl $1000, %esi\n\t"
               "xorl %ecx, %ecx\n\t"
               "movl $0x400000, %edi\n"
               "1: addb $3, %ch\n\t"
               "movb %ch, (%edi)\n\t"
               "adcb %ch, %cl\n\t"
               "movzbl %ch, %edx\n\t"
               "addl %edx, %eax\n\t"
               "xchgb %cl, %ch\n\t"
               "movsbl %ch, %edx\n\t"
               "addl %edx, %ebx\n\t"
               "xorb (%edi), %ch\n\t"
               "decl %esi\n\t"
               "jnz 1b\n\t");

static void ch_is_a_register_like_others(bool wide)
{
    uint8_t ch = 0, cl = 0;
    uint32_t eax = 0, ebx = 0;

    for (unsigned k = 0; k < TURNS; k++) {
        unsigned carry = ch + 3u > 0xff;
        ch = (uint8_t)(ch + 3);
        uint8_t stored = ch;
        cl = (uint8_t)(cl + ch + carry);
        eax += ch;
        uint8_t swap = cl;
        cl = ch;
        ch = swap;
        ebx += (uint32_t)(int8_t)ch;
        ch ^= stored;
    }
    struct flat *f = LOAD(rcx_high, wide);
    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RCX), ==, (unsigned)ch << 8 | cl);
    g_assert_cmphex(GPR(f, R_RAX), ==, eax);
    g_assert_cmphex(GPR(f, R_RBX), ==, ebx);
    assert_in_place(f);
    flat_free(f);
}

/* ---- what the kernel reads ---- */

FLAT_CODE(reads, "movl $0xc0000103, %ecx\n\t"
                 "movl $77, %eax\n\t"
                 "xorl %edx, %edx\n\t"
                 "wrmsr\n\t"
                 "movq $0x123456789abc, %rax\n\t"
                 "movq %rax, %cr2\n\t"
                 "xorl %eax, %eax\n\t"
                 "movl $1000, %esi\n"
                 "1: rdtscp\n\t"
                 "addq %rcx, %rbx\n\t"
                 "movq %cr2, %r10\n\t"
                 "movq %cr2, %rdi\n\t"
                 "movl $-1, %ebp\n\t"
                 "movl %ss, %ebp\n\t"
                 "movq %cs, %r11\n\t"
                 "decl %esi\n\t"
                 "jnz 1b\n\t" FLAT_EXIT);

static void test_selectors_cr2_and_rdtscp_are_read_in_place(void)
{
    struct flat *f = load(reads, reads_end, true);

    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RBX), ==, 77 * TURNS);
    g_assert_cmphex(GPR(f, 10), ==, 0x123456789abc);
    g_assert_cmphex(GPR(f, R_RDI), ==, 0x123456789abc);
    g_assert_cmphex(GPR(f, R_RBP), ==, flat_cpu(f)->st.seg[SEG_SS].sel);
    g_assert_cmphex(GPR(f, 11), ==, flat_cpu(f)->st.seg[SEG_CS].sel);
    assert_in_place(f);
    flat_free(f);
}

#define IN_BOTH_MODES(name)                                                                        \
    static void test_##name##_64(void)                                                             \
    {                                                                                              \
        name(true);                                                                                \
    }                                                                                              \
    static void test_##name##_32(void)                                                             \
    {                                                                                              \
        name(false);                                                                               \
    }
IN_BOTH_MODES(popf_and_pushf_agree)
IN_BOTH_MODES(popf_brings_flags_back)
IN_BOTH_MODES(popf_changes_other_flags)
IN_BOTH_MODES(loop_keeps_flags)
IN_BOTH_MODES(loopcc_ends_by_either)
IN_BOTH_MODES(jecxz_goes_both_ways)
IN_BOTH_MODES(elements_are_copied)
IN_BOTH_MODES(ch_is_a_register_like_others)

int main(int argc, char **argv)
{
    static uint8_t memory[64 * KiB];
    const stack_t own = {.ss_sp = memory, .ss_size = sizeof(memory)};

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(sigaltstack(&own, NULL), ==, 0); /* as vcpu threads have one */
#define ADD(name) g_test_add_func("/cpu/in_place/" #name, test_##name)
#define ADD_BOTH(name)                                                                             \
    ADD(name##_64);                                                                                \
    ADD(name##_32)
    ADD_BOTH(popf_and_pushf_agree);
    ADD_BOTH(popf_brings_flags_back);
    ADD_BOTH(popf_changes_other_flags);
    ADD_BOTH(loop_keeps_flags);
    ADD_BOTH(loopcc_ends_by_either);
    ADD_BOTH(jecxz_goes_both_ways);
    ADD(loop_counts_with_the_size_of_addresses);
    ADD_BOTH(elements_are_copied);
    ADD(elements_fault_before_anything_moves);
    ADD(bits_by_register_reach_beyond_their_operand);
    ADD(misaligned_pairs_are_protection_faults);
    ADD_BOTH(ch_is_a_register_like_others);
    ADD(selectors_cr2_and_rdtscp_are_read_in_place);
    return g_test_run();
}
