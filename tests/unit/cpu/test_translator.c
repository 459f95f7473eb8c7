/* test_translator.c - what translated code must get right beyond single instructions: the stack of
 * return addresses, code that changes or moves under its links, faults, interruptions.
 *
 * The same programs run interpreted, translated and under cosim=on: HANOK_TEST_ACCEL (flat.h). */
#include "flat.h"

#include "cosim.h"

#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#define GPR(f, r) (flat_cpu(f)->st.gpr[r])
/* CALL from a blob that lies at FLAT_CODE_AT to an address outside it. */
#define CALL_TO(blob, to, label)                                                                   \
    ".byte 0xe8\n\t.long " #to " - 0x10000 - (" #label "f - " #blob ")\n" #label ":\n\t"

static bool translates(struct flat *f)
{
    return flat_cpu(f)->tr.cache != NULL;
}

static bool chains(struct flat *f)
{
    return translates(f) && !flat_cpu(f)->cosim;
}

static const struct tr_stats *stats(struct flat *f)
{
    return &flat_cpu(f)->tr.cache->stats;
}

static struct flat *load(const uint8_t *code, const uint8_t *end)
{
    struct flat *f = flat_new();

    flat_load(f, FLAT_CODE_AT, code, end);
    return f;
}

static int run_to_fault(struct flat *f)
{
    flat_cpu(f)->vcpu->exit_request = 0;
    return interp_run_to_fault(flat_cpu(f));
}

/* ---- the stack of return addresses ---- */

FLAT_CODE(recursion, "movl $0x800000, %esp\n\t"
                     "movl $20, %ebx\n"
                     "1: movl $10000, %edi\n\t"
                     "call 2f\n\t"
                     "decl %ebx\n\t"
                     "jnz 1b\n\t" FLAT_EXIT "2: testl %edi, %edi\n\t"
                     "jz 3f\n\t"
                     "decl %edi\n\t"
                     "call 2b\n\t"
                     "incl %eax\n"
                     "3: ret\n");

static void test_recursion_deeper_than_the_return_stack(void)
{
    struct flat *f = load(recursion, recursion_end);

    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 200000);
    g_assert_cmpuint(GPR(f, R_RSP), ==, 0x800000);
    if (chains(f))
        g_assert_cmpuint(stats(f)->ret_overflows, >, 0);
    flat_free(f);
}

/* 64 KiB through a probe, 16 times, by a call through a register. */
FLAT_CODE(sums, "movl $16, %ebx\n\t"
                "leaq 2f(%rip), %rdx\n"
                "1: movl $0x400000, %esi\n\t"
                "call *%rdx\n\t"
                "decl %ebx\n\t"
                "jnz 1b\n\t" FLAT_EXIT "2: addl (%rsi), %eax\n\t"
                "incl (%rsi)\n\t"
                "addl $4, %esi\n\t"
                "cmpl $0x410000, %esi\n\t"
                "jne 2b\n\t"
                "ret\n");

/* Old hosts' code is another one. */
static void test_a_host_without_bmi2(void)
{
    struct flat *f = load(sums, sums_end);

    if (flat_cpu(f)->tr.cache)
        flat_cpu(f)->tr.cache->bmi2 = false;
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 16384 * (16 * 15 / 2));
    flat_free(f);
}

/* A block that the one before falls into is changed each 64 turns, and comes back elsewhere. */
FLAT_CODE(falls_into, "movl $5000, %ecx\n"
                      "1: testb $63, %cl\n\t"
                      "jnz 2f\n\t"
                      "movl %ecx, %ebx\n\t"
                      "shrl $6, %ebx\n\t"
                      "movb %bl, 3f+2(%rip)\n"
                      "2: testl %ecx, %ecx\n\t"
                      "jz 4f\n"
                      "3: addl $0x1, %edx\n\t"
                      "testl %edx, %edx\n\t"
                      "js 4f\n\t"
                      "incl %eax\n"
                      "4: decl %ecx\n\t"
                      "jnz 1b\n\t" FLAT_EXIT);

static void test_a_block_that_is_fallen_into_is_changed(void)
{
    struct flat *f = load(falls_into, falls_into_end);
    unsigned added = 1, sum = 0;

    for (unsigned n = 5000; n; n--) {
        added = n % 64 ? added : n / 64;
        sum += added;
    }
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 5000);
    g_assert_cmpuint(GPR(f, R_RDX), ==, sum);
    flat_free(f);
}

/* Twenty calls deep, then back to the caller's caller at once, as longjmp does. */
FLAT_CODE(long_jump, "movl $3000, %ebx\n"
                     "1: call 2f\n\t"
                     "addl $1, %eax\n\t"
                     "decl %ebx\n\t"
                     "jnz 1b\n\t" FLAT_EXIT "2: movq %rsp, %r12\n\t"
                     "movl $20, %edi\n\t"
                     "call 3f\n\t"
                     "addl $0x100000, %eax\n\t" /* never */
                     "ret\n"
                     "3: decl %edi\n\t"
                     "jz 4f\n\t"
                     "call 3b\n\t"
                     "addl $0x100000, %eax\n\t" /* never */
                     "ret\n"
                     "4: movq %r12, %rsp\n\t"
                     "ret\n");

static void test_returns_that_skip_frames(void)
{
    struct flat *f = load(long_jump, long_jump_end);

    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 3000);
    g_assert_cmpuint(GPR(f, R_RSP), ==, FLAT_STACK);
    flat_free(f);
}

/* PUSH; RET as a jump, and a return address that the callee moves past an instruction. */
FLAT_CODE(odd_returns, "movl $3000, %ebx\n"
                       "1: leaq 2f(%rip), %rdx\n\t"
                       "pushq %rdx\n\t"
                       "ret\n\t"
                       "ud2\n"
                       "2: call 3f\n\t"
                       "ud2\n\t"
                       "addl $1, %eax\n\t"
                       "decl %ebx\n\t"
                       "jnz 1b\n\t" FLAT_EXIT "3: addq $2, (%rsp)\n\t"
                       "ret\n");

static void test_returns_to_where_nobody_called(void)
{
    struct flat *f = load(odd_returns, odd_returns_end);

    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 3000);
    flat_free(f);
}

/* Calls that lie across a page border, to another page. */
FLAT_CODE(far_callee, "addl $1, %eax\n\tret\n");

static void test_calls_across_pages(void)
{
    struct flat *f = flat_new();

    for (unsigned before = 0; before <= 5; before++) {
        uint64_t at = FLAT_CODE_AT + GUEST_PAGE_SIZE - before;
        uint8_t *p = flat_ram(f) + at;
        const uint8_t code[] = {0xe8, 0, 0, 0, 0, 0xff, 0xc9, 0x75, 0xf7, 0xe6, FLAT_EXIT_PORT};

        flat_load(f, FLAT_DATA, far_callee, far_callee_end);
        flat_load(f, at, code, code + sizeof(code)); /* call; dec ecx; jnz; out */
        le32_put(p + 1, (uint32_t)(FLAT_DATA - (at + 5)));
        guest_mem_write(flat_mem(f), GPA(at), p, sizeof(code));
        GPR(f, R_RAX) = 0;
        GPR(f, R_RCX) = 500;
        g_assert_true(flat_run(f));
        g_assert_cmpuint(GPR(f, R_RAX), ==, 500);
    }
    flat_free(f);
}

/* A user's call that is still open, whose return address a return in kernel mode finds on its
 * stack: what is behind it runs as the kernel, not as the user's translation. */
FLAT_CODE(user_call, "call 1f\n\t"
                     "movq (%rbx), %rax\n\t" FLAT_EXIT "1: testl %edi, %edi\n\t"
                     "jnz 2f\n\t"
                     "ret\n"
                     "2: " FLAT_EXIT ".org user_call + 256\n\t"
                     "pushq %rsi\n\t"
                     "ret\n");

static void set_ring(struct flat *f, unsigned ring)
{
    struct x86_state *st = &flat_cpu(f)->st;

    for (unsigned k = 0; k < SEG_COUNT; k++)
        st->seg[k].attr = (st->seg[k].attr & ~(3u << 5)) | ring << 5;
    st->rflags |= FL_IOPL;
    cpu_update_mode(flat_cpu(f));
}

static void test_a_kernel_return_to_a_users_address(void)
{
    struct flat *f = load(user_call, user_call_end);
    const uint64_t entry = 0x4000 + (FLAT_WINDOW - (FLAT_RAM - 2 * MiB)) / GUEST_PAGE_SIZE * 8;

    flat_map(f, 0, FLAT_DATA);
    le64_put(flat_ram(f) + entry, FLAT_DATA | 3); /* the supervisor's */
    le64_put(flat_ram(f) + FLAT_DATA, 77);
    mmu_flush_all(flat_cpu(f));
    for (unsigned k = 0; k < 40; k++) {
        bool kernel = k % 4 == 3, open = k % 4 == 2;
        set_ring(f, kernel ? 0 : 3);
        flat_cpu(f)->st.rip = FLAT_CODE_AT + (kernel ? 256 : 0);
        GPR(f, R_RSP) = FLAT_STACK;
        GPR(f, R_RSI) = FLAT_CODE_AT + 5;
        GPR(f, R_RDI) = open;
        GPR(f, R_RBX) = kernel ? FLAT_WINDOW : FLAT_DATA;
        GPR(f, R_RAX) = 0;
        g_assert_true(flat_run(f));
        g_assert_cmpuint(GPR(f, R_RAX), ==, open ? 0 : 77);
    }
    flat_free(f);
}

/* ---- code that changes or moves ---- */

/* Patches the instruction behind the store, in the block that runs, 1000 times. */
FLAT_CODE(patch_self, "movl $1000, %ecx\n"
                      "1: movb %cl, 2+2f(%rip)\n"
                      "2: addl $0x7f, %eax\n\t"
                      "addl $1, %ebx\n\t"
                      "decl %ecx\n\t"
                      "jnz 1b\n\t" FLAT_EXIT);

static void test_running_block_patches_itself(void)
{
    struct flat *f = load(patch_self, patch_self_end);
    uint64_t sum = 0;

    for (unsigned k = 1; k <= 1000; k++)
        sum += (uint64_t)(int64_t)(int8_t)k;
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, (uint32_t)sum);
    g_assert_cmpuint(GPR(f, R_RBX), ==, 1000);
    flat_free(f);
}

/* A callee rewrites the instruction that it returns to. */
FLAT_CODE(patch_caller, "movl $1000, %ecx\n"
                        "1: call 3f\n"
                        "2: addl $0x7f, %eax\n\t"
                        "decl %ecx\n\t"
                        "jnz 1b\n\t" FLAT_EXIT "3: movb $1, 2+2b(%rip)\n\t"
                        "testb $1, %cl\n\t"
                        "jz 4f\n\t"
                        "movb $3, 2+2b(%rip)\n"
                        "4: ret\n");

static void test_callee_patches_its_return_site(void)
{
    struct flat *f = load(patch_caller, patch_caller_end);

    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 500 * 1 + 500 * 3);
    flat_free(f);
}

/* One page of code at two linear addresses: LEA tells where it runs. */
FLAT_CODE(alias_callee, "1: leaq 1b(%rip), %rdx\n\taddq %rdx, %rax\n\tret\n");
FLAT_CODE(alias_caller, "movl $500, %ecx\n"
                        "1: " CALL_TO(alias_caller, 0xf80000, 2)
                            CALL_TO(alias_caller, 0xf81000, 3) "decl %ecx\n\t"
                                                               "jnz 1b\n\t" FLAT_EXIT);

static void test_code_at_two_addresses(void)
{
    struct flat *f = load(alias_caller, alias_caller_end);

    guest_mem_write(flat_mem(f), GPA(FLAT_DATA), alias_callee,
                    (uint64_t)(alias_callee_end - alias_callee));
    flat_map(f, 0, FLAT_DATA);
    flat_map(f, 1, FLAT_DATA);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 500 * (0xf80000ull + 0xf81000));
    flat_free(f);
}

/* The page behind a linked call is another one each time; its PTE is at 0x4c00 (flat.c). */
FLAT_CODE(remap_page, "movl $1000, %ecx\n"
                      "1: " CALL_TO(remap_page, 0xf80000, 2) "xorq $0x1000, 0x4c00\n\t"
                                                             "invlpg 0xf80000\n\t"
                                                             "decl %ecx\n\t"
                                                             "jnz 1b\n\t" FLAT_EXIT);
FLAT_CODE(remap_cr3, "movl $1000, %ecx\n"
                     "1: " CALL_TO(remap_cr3, 0xf80000, 2) "xorq $0x1000, 0x4c00\n\t"
                                                           "movq %cr3, %rdx\n\t"
                                                           "movq %rdx, %cr3\n\t"
                                                           "decl %ecx\n\t"
                                                           "jnz 1b\n\t" FLAT_EXIT);

static void remapped(const uint8_t *code, const uint8_t *end)
{
    struct flat *f = load(code, end);
    static const uint8_t one[] = {0x83, 0xc0, 1, 0xc3}, hundred[] = {0x83, 0xc0, 100, 0xc3};

    guest_mem_write(flat_mem(f), GPA(FLAT_DATA), one, sizeof(one));
    guest_mem_write(flat_mem(f), GPA(FLAT_DATA + GUEST_PAGE_SIZE), hundred, sizeof(hundred));
    flat_map(f, 0, FLAT_DATA);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 500 * 101);
    flat_free(f);
}

static void test_page_is_remapped_under_a_linked_call(void)
{
    remapped(remap_page, remap_page_end);
    remapped(remap_cr3, remap_cr3_end);
}

/* More code than the cache holds, run from the bottom of a recursion: returns find emptied code. */
FLAT_CODE(flush_below, "movl $100, %edi\n\t"
                       "call 1f\n\t" FLAT_EXIT "1: decl %edi\n\t"
                       "jz 2f\n\t"
                       "call 1b\n\t"
                       "addl $1, %ebx\n\t"
                       "ret\n"
                       "2: movl $0x400000, %edx\n\t"
                       "jmp *%rdx\n");

static void test_the_cache_is_emptied_under_calls(void)
{
    struct flat *f = flat_new_with("tb-size=1");
    const unsigned steps = 40000;

    for (unsigned k = 0; k < steps; k++)
        memcpy(flat_ram(f) + FLAT_DATA + k * 4, (const uint8_t[]){0xff, 0xc0, 0xeb, 0}, 4);
    flat_ram(f)[FLAT_DATA + steps * 4] = 0xc3;
    for (unsigned round = 0; round < 3; round++) {
        GPR(f, R_RAX) = GPR(f, R_RBX) = 0;
        flat_load(f, FLAT_CODE_AT, flush_below, flush_below_end);
        g_assert_true(flat_run(f));
        g_assert_cmpuint(GPR(f, R_RAX), ==, steps);
        g_assert_cmpuint(GPR(f, R_RBX), ==, 99);
    }
    flat_free(f);
}

/* ---- faults ---- */

FLAT_CODE(jump_out, "movl $5, %ecx\n\tnop\n\tjmp *%rax\n");
FLAT_CODE(jump_mem_out, "movl $5, %ecx\n\tnop\n\tjmp *0x400000\n");
FLAT_CODE(call_out, "movl $5, %ecx\n\tnop\n\tcall *%rax\n");
FLAT_CODE(ret_out, "movl $5, %ecx\n\tpush %rax\n\tret\n");

static void out_of_canon(const uint8_t *code, const uint8_t *end, uint64_t sp)
{
    struct flat *f = load(code, end);
    const uint64_t bad = 0x0000800000000000;

    for (unsigned round = 0; round < 3; round++) {
        flat_cpu(f)->st.rip = FLAT_CODE_AT;
        GPR(f, R_RAX) = bad;
        GPR(f, R_RSP) = FLAT_STACK;
        le64_put(flat_ram(f) + FLAT_DATA, bad);
        g_assert_cmpint(run_to_fault(f), ==, EX_GP);
        g_assert_cmpuint(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT + 6);
        g_assert_cmpuint(GPR(f, R_RSP), ==, sp);
        g_assert_cmpuint(GPR(f, R_RCX), ==, 5);
    }
    flat_free(f);
}

static void test_targets_that_are_not_canonical(void)
{
    out_of_canon(jump_out, jump_out_end, FLAT_STACK);
    out_of_canon(jump_mem_out, jump_mem_out_end, FLAT_STACK);
    out_of_canon(call_out, call_out_end, FLAT_STACK);
    out_of_canon(ret_out, ret_out_end, FLAT_STACK - 8);
}

/* The first instruction sets all flags, so that nothing stands behind the call that ends the
 * translation, and its return address is the first byte of the one made next, or of none. */
FLAT_CODE(call_ends_block, "1: addl $1, %ecx\n\tjmp *%rax\n"
                           "2: addl $1, %edx\n\tjmp *%rbx\n");

static void test_a_call_that_ends_a_translation_belongs_to_it(void)
{
    struct flat *f = load(call_ends_block, call_ends_block_end);
    const uint64_t bad = 0x0000800000000000, second = FLAT_CODE_AT + 5;

    for (unsigned round = 0; round < 8; round++) { /* cold, then translated one by one */
        bool two = round >= 4;
        flat_cpu(f)->st.rip = FLAT_CODE_AT;
        GPR(f, R_RAX) = two ? second : bad;
        GPR(f, R_RBX) = bad;
        g_assert_cmpint(run_to_fault(f), ==, EX_GP);
        g_assert_cmpuint(flat_cpu(f)->st.rip, ==, (two ? second : FLAT_CODE_AT) + 3);
    }
    flat_cpu(f)->st.rip = FLAT_CODE_AT; /* the first again, behind which the second lies now */
    GPR(f, R_RAX) = bad;
    g_assert_cmpint(run_to_fault(f), ==, EX_GP);
    g_assert_cmpuint(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT + 3);
    if (translates(f))
        g_assert_cmpuint(stats(f)->blocks, ==, 2);
    flat_free(f);
}

FLAT_CODE(swap_gs, "movl $1001, %ecx\n"
                   "1: addl $1, %eax\n\t"
                   "swapgs\n\t"
                   "addl %gs:0, %edx\n\t"
                   "decl %ecx\n\t"
                   "jnz 1b\n\t" FLAT_EXIT);

/* Once for each time it is run, also by who checks translations. */
static void test_swapgs_swaps_once(void)
{
    struct flat *f = load(swap_gs, swap_gs_end);

    flat_cpu(f)->st.seg[SEG_GS].base = FLAT_DATA;
    flat_cpu(f)->st.kernel_gs_base = FLAT_DATA + 8;
    le32_put(flat_ram(f) + FLAT_DATA, 1);
    le32_put(flat_ram(f) + FLAT_DATA + 8, 1000);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 1001);
    g_assert_cmpuint(GPR(f, R_RDX), ==, 501 * 1000 + 500);
    g_assert_cmphex(flat_cpu(f)->st.seg[SEG_GS].base, ==, FLAT_DATA + 8);
    g_assert_cmphex(flat_cpu(f)->st.kernel_gs_base, ==, FLAT_DATA);
    flat_free(f);
}

FLAT_CODE(to_zero, "leaq 2f(%rip), %rbx\n\t"
                   "movl $1000, %ecx\n\t"
                   "xorl %eax, %eax\n"
                   "1: jmp *%rax\n"
                   "2: decl %ecx\n\t"
                   "jnz 1b\n\t" FLAT_EXIT);

/* Address zero is a target like any other, also while nobody has been there. */
static void test_jumps_to_address_zero(void)
{
    struct flat *f = load(to_zero, to_zero_end);

    memcpy(flat_ram(f), "\xff\xe3", 2); /* jmp *%rbx */
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RCX), ==, 0);
    flat_free(f);
}

/* Two targets in turn that have the same place in the table of jumps: both are found in one. */
FLAT_CODE(in_turn, "movl $5000, %ecx\n"
                   "1: movq %rsi, %rax\n\t"
                   "call *%rax\n\t"
                   "xchgq %rsi, %rdi\n\t"
                   "decl %ecx\n\t"
                   "jnz 1b\n\t" FLAT_EXIT);
FLAT_CODE(counts, "incl %edx\n\tret\n");

static void test_targets_that_share_a_place(void)
{
    const uint64_t a = 0x20000;
    uint64_t b = a + GUEST_PAGE_SIZE;
    struct flat *f = flat_new();

    while (tr_jump_index(b) != tr_jump_index(a))
        b++;
    flat_load(f, a, counts, counts_end);
    flat_load(f, b, counts, counts_end);
    flat_load(f, FLAT_CODE_AT, in_turn, in_turn_end);
    GPR(f, R_RSI) = a;
    GPR(f, R_RDI) = b;
    GPR(f, R_RDX) = 0;
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RDX), ==, 5000);
    if (chains(f))
        g_assert_cmpuint(stats(f)->exits_indirect, <, 100);
    flat_free(f);
}

FLAT_CODE(stack_at_zero, "movl $1000, %ecx\n\t"
                         "movl $0x800, %eax\n"
                         "1: pushq %rcx\n\t" /* a page of the stack is known */
                         "popq %rdx\n\t"
                         "movq %cr3, %rdx\n\t"
                         "movq %rdx, %cr3\n\t" /* no longer */
                         "xchgq %rax, %rsp\n\t"
                         "pushq %rcx\n\t"
                         "xchgq %rax, %rsp\n\t"
                         "addl $8, %eax\n\t"
                         "cmpl %ecx, 0x7f8\n\t"
                         "jne 2f\n\t"
                         "decl %ecx\n\t"
                         "jnz 1b\n"
                         "2: " FLAT_EXIT);

/* Page zero is a page like any other, also while no page of the stack is known. */
static void test_stack_in_page_zero(void)
{
    struct flat *f = load(stack_at_zero, stack_at_zero_end);

    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RCX), ==, 0);
    flat_free(f);
}

FLAT_CODE(divide, "movl $7, %eax\n\txorl %edx, %edx\n\tdivl %ecx\n");
FLAT_CODE(misaligned, "movl $7, %eax\n\tmovl $0x400004, %edx\n\tmovaps %xmm0, (%rdx)\n");
FLAT_CODE(not_there, "movl $7, %eax\n\tmovl $0xf00004, %edx\n\taddl %eax, (%rdx)\n");

static void faults(const uint8_t *code, const uint8_t *end, int vector, uint64_t at)
{
    struct flat *f = load(code, end);

    for (unsigned round = 0; round < 3; round++) {
        flat_cpu(f)->st.rip = FLAT_CODE_AT;
        GPR(f, R_RAX) = GPR(f, R_RCX) = 0;
        g_assert_cmpint(run_to_fault(f), ==, vector);
        g_assert_cmpuint(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT + at);
        g_assert_cmpuint(GPR(f, R_RAX), ==, 7);
    }
    if (vector == EX_PF) {
        g_assert_cmpuint(flat_cpu(f)->st.cr2, ==, 0xf00004);
        g_assert_cmpuint(flat_cpu(f)->fault.error, ==, 2); /* a write */
    }
    flat_free(f);
}

static void test_faults_are_precise(void)
{
    faults(divide, divide_end, EX_DE, 7);
    faults(misaligned, misaligned_end, EX_GP, 10);
    faults(not_there, not_there_end, EX_PF, 10);
}

/* ---- an instruction in two pages ---- */

/* Loaded so that the border lies in the MOV's immediate; the carry lives across it. */
FLAT_CODE(split_mov, "movl $1000, %ecx\n"
                     "1: addq %rdx, %r8\n"
                     "2: movabsq $0x0807060504030201, %rax\n\t"
                     "adcq %rax, %r9\n\t"
                     "decl %ecx\n\t"
                     "jnz 1b\n\t" FLAT_EXIT);
#define SPLIT_BEFORE 13u /* bytes in the first page: up to 5 of the MOV */

static void split_expect(uint64_t immediate, uint64_t *r8, uint64_t *r9)
{
    for (unsigned k = 0; k < 1000; k++) {
        unsigned carry = __builtin_add_overflow(*r8, 0x4000000000000001, r8);
        *r9 += immediate + carry;
    }
}

static void test_instruction_in_two_pages_follows_its_second_page(void)
{
    struct flat *f = flat_new();
    uint64_t at = FLAT_WINDOW + 4096 - SPLIT_BEFORE, r8 = 0, r9 = 0;
    size_t rest = (size_t)(split_mov_end - split_mov) - SPLIT_BEFORE;

    guest_mem_write(flat_mem(f), GPA(4 * MiB + 4096 - SPLIT_BEFORE), split_mov, SPLIT_BEFORE);
    guest_mem_write(flat_mem(f), GPA(5 * MiB), split_mov + SPLIT_BEFORE, rest);
    guest_mem_write(flat_mem(f), GPA(6 * MiB), split_mov + SPLIT_BEFORE, rest);
    flat_ram(f)[6 * MiB + 4] = 0x77; /* the immediate's last byte */
    flat_map(f, 0, 4 * MiB);
    GPR(f, R_RDX) = 0x4000000000000001;
    for (unsigned turn = 0; turn < 6; turn++) {
        flat_map(f, 1, (turn & 1) ? 6 * MiB : 5 * MiB);
        flat_cpu(f)->st.rip = at;
        g_assert_true(flat_run(f));
        split_expect((turn & 1) ? 0x7707060504030201 : 0x0807060504030201, &r8, &r9);
        g_assert_cmphex(GPR(f, R_R8), ==, r8);
        g_assert_cmphex(GPR(f, 9), ==, r9);
    }
    if (chains(f))
        g_assert_cmpuint(stats(f)->interpreted, <, 200);
    flat_map(f, 1, 0);
    flat_cpu(f)->st.rip = at;
    g_assert_cmpint(run_to_fault(f), ==, EX_PF);
    g_assert_cmphex(flat_cpu(f)->st.cr2, ==, FLAT_WINDOW + 4096);
    g_assert_cmphex(flat_cpu(f)->st.rip, ==, FLAT_WINDOW + 4096 - 5);
    flat_free(f);
}

/* ---- operands in two pages ---- */

/* The border is 6 bytes above rsi. */
FLAT_CODE(across_pages, "movl $3000, %ecx\n"
                        "1: addq (%rsi), %r8\n\t"
                        "addq %rcx, (%rsi)\n\t"
                        "adcq $0, %r9\n\t"
                        "lock xorl %ecx, 3(%rsi)\n\t"
                        "movzwl 5(%rsi), %eax\n\t"
                        "addq %rax, %r10\n\t"
                        "movups -8(%rsi), %xmm0\n\t"
                        "paddb %xmm0, %xmm0\n\t"
                        "movups %xmm0, -8(%rsi)\n\t"
                        "movl %ecx, 4(%rsi)\n\t"
                        "decl %ecx\n\t"
                        "jnz 1b\n\t" FLAT_EXIT);
#define ACROSS_TURNS 3000

struct across {
    uint8_t bytes[32]; /* the border is in the middle */
    uint64_t r8, r9, r10;
};

static void across_expect(struct across *a)
{
    uint8_t *at = a->bytes + 16 - 6;

    for (uint32_t n = ACROSS_TURNS; n; n--) {
        uint64_t old = le64_get(at);
        a->r8 += old;
        le64_put(at, old + n);
        a->r9 += old + n < old;
        le32_put(at + 3, le32_get(at + 3) ^ n);
        a->r10 += le16_get(at + 5);
        for (unsigned k = 0; k < 16; k++)
            at[(int)k - 8] = (uint8_t)(at[(int)k - 8] * 2);
        le32_put(at + 4, n);
    }
}

static void test_operands_in_two_pages(void)
{
    struct flat *f = load(across_pages, across_pages_end);
    uint8_t *low = flat_ram(f) + 0x600000 + 4096 - 16, *high = flat_ram(f) + 0x300000;
    struct across want = {0};

    flat_map(f, 0, 0x600000);
    flat_map(f, 1, 0x300000);
    for (unsigned k = 0; k < 16; k++) {
        want.bytes[k] = low[k] = (uint8_t)(0xf1 + k);
        want.bytes[k + 16] = high[k] = (uint8_t)(0x83 + k);
    }
    across_expect(&want);
    GPR(f, R_RSI) = FLAT_WINDOW + 4096 - 6;
    g_assert_true(flat_run(f));
    g_assert_cmpmem(low, 16, want.bytes, 16);
    g_assert_cmpmem(high, 16, want.bytes + 16, 16);
    g_assert_cmphex(GPR(f, R_R8), ==, want.r8);
    g_assert_cmphex(GPR(f, 9), ==, want.r9);
    g_assert_cmphex(GPR(f, 10), ==, want.r10);
    if (chains(f)) /* it stays in translated code */
        g_assert_cmpuint(stats(f)->bails, <, 10);
    flat_free(f);
}

/* ---- interruptions ---- */

/* A carry lives across every poll of the loop. */
FLAT_CODE(carry_chain, "xorl %eax, %eax\n"
                       "1: adcq %rdx, %rax\n\t"
                       "adcq %rbx, %r8\n\t"
                       "adcq $0, %r9\n\t"
                       "leaq -1(%rcx), %rcx\n\t"
                       "jrcxz 2f\n\t"
                       "jmp 1b\n"
                       "2: " FLAT_EXIT);
#define CHAIN_TURNS 3000000

struct pest {
    struct vcpu *v;
    bool quit;
};

static void *kick_on(void *arg)
{
    struct pest *p = arg;

    while (!__atomic_load_n(&p->quit, __ATOMIC_RELAXED)) {
        jit_accel.kick(p->v);
        g_usleep(50);
    }
    return NULL;
}

static void test_flags_live_across_interruptions(void)
{
    struct flat *f = load(carry_chain, carry_chain_end);
    const uint64_t a = 0x9e3779b97f4a7c15, b = 0xc2b2ae3d27d4eb4f;
    uint64_t want[3] = {0};
    unsigned carry = 0;
    struct pest pest = {.v = flat_cpu(f)->vcpu};
    pthread_t thread;

    for (unsigned k = 0; k < CHAIN_TURNS; k++) {
        const uint64_t add[3] = {a, b, 0};
        for (unsigned w = 0; w < 3; w++) {
            unsigned __int128 sum = (unsigned __int128)want[w] + add[w] + carry;
            want[w] = (uint64_t)sum;
            carry = (unsigned)(sum >> 64);
        }
    }
    GPR(f, R_RDX) = a;
    GPR(f, R_RBX) = b;
    GPR(f, R_RCX) = CHAIN_TURNS;
    g_assert_cmpint(pthread_create(&thread, NULL, kick_on, &pest), ==, 0);
    g_assert_true(flat_run(f));
    __atomic_store_n(&pest.quit, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    g_assert_cmpuint(GPR(f, R_RAX), ==, want[0]);
    g_assert_cmpuint(GPR(f, R_R8), ==, want[1]);
    g_assert_cmpuint(GPR(f, 9), ==, want[2]);
    flat_free(f);
}

/* ---- cosim=on ---- */

FLAT_CODE(checked_add, "movl $100, %ecx\n"
                       "1: addl $0x11223344, %eax\n\t"
                       "movl %eax, 0x400000\n\t"
                       "decl %ecx\n\t"
                       "jnz 1b\n\t" FLAT_EXIT);

/* Changes the constant in every translation that has it. */
static unsigned spoil(struct flat *f)
{
    static const uint8_t constant[] = {0x44, 0x33, 0x22, 0x11};
    struct tr_cache *k = flat_cpu(f)->tr.cache;
    unsigned found = 0;

    for (uint32_t at = k->first; at + 4 <= k->used; at++) {
        if (memcmp(k->rw + at, constant, 4))
            continue;
        k->rw[at] ^= 1;
        found++;
    }
    return found;
}

static void test_cosim_finds_a_wrong_translation(void)
{
    if (g_test_subprocess()) {
        struct flat *f = flat_new_with("tier=jit,cosim=on");
        flat_load(f, FLAT_CODE_AT, checked_add, checked_add_end);
        g_assert_true(flat_run(f));
        g_assert_cmpuint(GPR(f, R_RAX), ==, (uint32_t)(100 * 0x11223344ull));
        g_assert_cmpuint(spoil(f), >, 0);
        fprintf(stderr, "spoiled\n");
        flat_cpu(f)->st.rip = FLAT_CODE_AT;
        flat_run(f);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*spoiled\ncosim: vcpu 0: interpreter and translation differ in "
                              "general registers after * instructions*add*RIP=*");
}

static void test_cosim_checks_every_block(void)
{
    struct flat *f = flat_new_with("tier=jit,cosim=on");

    flat_load(f, FLAT_CODE_AT, checked_add, checked_add_end);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(cosim_stats(flat_cpu(f)->cosim)->blocks, >=, 90);
    g_assert_cmpuint(cosim_stats(flat_cpu(f)->cosim)->disturbed, ==, 0);
    flat_free(f);
}

int main(int argc, char **argv)
{
    static uint8_t memory[64 * KiB];
    const stack_t own = {.ss_sp = memory, .ss_size = sizeof(memory)};

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(sigaltstack(&own, NULL), ==, 0); /* as vcpu threads have one */
#define ADD(name) g_test_add_func("/cpu/translator/" #name, test_##name)
    ADD(a_kernel_return_to_a_users_address);
    ADD(recursion_deeper_than_the_return_stack);
    ADD(a_host_without_bmi2);
    ADD(a_block_that_is_fallen_into_is_changed);
    ADD(returns_that_skip_frames);
    ADD(returns_to_where_nobody_called);
    ADD(calls_across_pages);
    ADD(running_block_patches_itself);
    ADD(callee_patches_its_return_site);
    ADD(code_at_two_addresses);
    ADD(page_is_remapped_under_a_linked_call);
    ADD(the_cache_is_emptied_under_calls);
    ADD(targets_that_are_not_canonical);
    ADD(a_call_that_ends_a_translation_belongs_to_it);
    ADD(swapgs_swaps_once);
    ADD(jumps_to_address_zero);
    ADD(targets_that_share_a_place);
    ADD(stack_in_page_zero);
    ADD(faults_are_precise);
    ADD(instruction_in_two_pages_follows_its_second_page);
    ADD(operands_in_two_pages);
    ADD(flags_live_across_interruptions);
    ADD(cosim_finds_a_wrong_translation);
    ADD(cosim_checks_every_block);
    return g_test_run();
}
