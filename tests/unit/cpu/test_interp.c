/* test_interp.c - the loop and its cache of decoded code: self-modifying code in all its forms,
 * page-crossing instructions, repeated string instructions, kicks, limits. */
#include "flat.h"

#include <glib.h>
#include <pthread.h>
#include <unistd.h>

#define GPR(f, r) (flat_cpu(f)->st.gpr[r])

/* ---- self-modifying code ---- */

FLAT_CODE(next_insn, "movl $1, %eax\n\t"
                     "movb $7, 1+1f(%rip)\n"
                     "1: movl $2, %eax\n\t" FLAT_EXIT);

static void test_store_to_next_instruction_is_seen(void)
{
    struct flat *f = flat_new();
    for (unsigned k = 0; k < 3; k++) {
        flat_load(f, FLAT_CODE_AT, next_insn, next_insn_end);
        g_assert_true(flat_run(f));
        g_assert_cmpuint(GPR(f, R_RAX), ==, 7);
    }
    flat_free(f);
}

/* A loop rewrites an instruction of itself each time round: 1 + 2 + ... + 100. */
FLAT_CODE(loop_patch, "xorl %ebx, %ebx\n\t"
                      "movl $1, %ecx\n"
                      "1: movb %cl, 2+2f(%rip)\n"
                      "2: addl $0x7f, %ebx\n\t"
                      "incl %ecx\n\t"
                      "cmpl $101, %ecx\n\t"
                      "jne 1b\n\t" FLAT_EXIT);

static void test_loop_that_patches_itself(void)
{
    struct flat *f = flat_new();
    flat_load(f, FLAT_CODE_AT, loop_patch, loop_patch_end);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RBX), ==, 5050);
    flat_free(f);
}

/* Calls a function, overwrites it by REP MOVSB, calls it again. */
FLAT_CODE(replace_callee, "call 1f\n\t"
                          "movl %eax, %ebx\n\t"
                          "leaq 2f(%rip), %rsi\n\t"
                          "leaq 1f(%rip), %rdi\n\t"
                          "movl $6, %ecx\n\t"
                          "rep movsb\n\t"
                          "call 1f\n\t" FLAT_EXIT "1: movl $11, %eax\n\tret\n"
                          "2: movl $22, %eax\n\tret\n");

static void test_rep_movs_over_code(void)
{
    struct flat *f = flat_new();
    flat_load(f, FLAT_CODE_AT, replace_callee, replace_callee_end);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RBX), ==, 11);
    g_assert_cmpuint(GPR(f, R_RAX), ==, 22);
    flat_free(f);
}

FLAT_CODE(small_loop, "xorl %eax, %eax\n\t"
                      "movl $1000, %ecx\n"
                      "1: addl $1, %eax\n\t"
                      "loop 1b\n\t" FLAT_EXIT);

static void test_device_write_replaces_code(void)
{
    struct flat *f = flat_new();
    const uint8_t two = 2;

    flat_load(f, FLAT_CODE_AT, small_loop, small_loop_end);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 1000);
    g_assert_cmpint(guest_mem_write(flat_mem(f), GPA(FLAT_CODE_AT + 9), &two, 1), ==, 0);
    flat_cpu(f)->st.rip = FLAT_CODE_AT;
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 2000);
    flat_free(f);
}

/* Data next to code: stores beside the block must not stop it from running. */
FLAT_CODE(data_beside, "movl $100000, %ecx\n"
                       "1: incl 2f(%rip)\n\t"
                       "loop 1b\n\t"
                       "movl 2f(%rip), %eax\n\t" FLAT_EXIT ".balign 64\n"
                       "2: .long 0\n");

static void test_data_in_the_code_page(void)
{
    struct flat *f = flat_new();
    flat_load(f, FLAT_CODE_AT, data_beside, data_beside_end);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 100000);
    flat_free(f);
}

/* Pages that each load a number, add it and go on to the next; all numbers are then rewritten from
 * outside, more places than a vcpu's inbox holds. */
#define CHAIN_PAGES 100
static const uint8_t chain_link[] = {0xb9, 1, 0, 0, 0, 0x01, 0xc8, 0xe9, 0xf4, 0x0f, 0, 0};

static void test_many_writes_from_outside_all_count(void)
{
    struct flat *f = flat_new();
    static const uint8_t leave[] = {0xe6, FLAT_EXIT_PORT};

    for (unsigned k = 0; k < CHAIN_PAGES; k++)
        flat_load(f, FLAT_DATA + k * GUEST_PAGE_SIZE, chain_link, chain_link + sizeof(chain_link));
    flat_load(f, FLAT_DATA + CHAIN_PAGES * GUEST_PAGE_SIZE, leave, leave + sizeof(leave));
    for (uint8_t round = 1; round <= 3; round++) {
        for (unsigned k = 0; k < CHAIN_PAGES; k++)
            guest_mem_write(flat_mem(f), GPA(FLAT_DATA + k * GUEST_PAGE_SIZE + 1), &round, 1);
        GPR(f, R_RAX) = 0;
        flat_cpu(f)->st.rip = FLAT_DATA;
        g_assert_true(flat_run(f));
        g_assert_cmpuint(GPR(f, R_RAX), ==, round * CHAIN_PAGES);
    }
    flat_free(f);
}

/* More decoded code than fits: INC EAX; JMP to the next, a few hundred thousand times. */
static void test_the_cache_starts_over_when_it_is_full(void)
{
    struct flat *f = flat_new();
    static const uint8_t leave[] = {0xe6, FLAT_EXIT_PORT};
    const unsigned steps = 300000;

    for (unsigned k = 0; k < steps; k++)
        memcpy(flat_ram(f) + FLAT_DATA + k * 4, (const uint8_t[]){0xff, 0xc0, 0xeb, 0}, 4);
    flat_load(f, FLAT_DATA + steps * 4, leave, leave + sizeof(leave));
    for (unsigned round = 0; round < 2; round++) {
        GPR(f, R_RAX) = 0;
        flat_cpu(f)->st.rip = FLAT_DATA;
        g_assert_true(flat_run(f));
        g_assert_cmpuint(GPR(f, R_RAX), ==, steps);
    }
    flat_free(f);
}

/* ---- another thread writes to code that runs ---- */

FLAT_CODE(spin, "1: xorl %eax, %eax\n\t"
                "testl %eax, %eax\n\t"
                "jz 1b\n\t" FLAT_EXIT);

static void *patch_later(void *arg)
{
    static const uint8_t nops[2] = {0x90, 0x90};
    struct flat *f = arg;
    g_usleep(20000);
    guest_mem_write(flat_mem(f), GPA(FLAT_CODE_AT + 4), nops, 2);
    return NULL;
}

static void test_write_by_another_thread_reaches_a_running_loop(void)
{
    struct flat *f = flat_new();
    pthread_t t;

    flat_load(f, FLAT_CODE_AT, spin, spin_end);
    pthread_create(&t, NULL, patch_later, f);
    g_assert_true(flat_run(f));
    pthread_join(t, NULL);
    flat_free(f);
}

/* ---- kicks ---- */

static void *ask_to_leave(void *arg)
{
    struct vcpu *v = arg;
    g_usleep(20000);
    __atomic_store_n(&v->exit_request, 1, __ATOMIC_SEQ_CST);
    jit_accel.kick(v);
    return NULL;
}

static void run_until_asked(struct flat *f)
{
    pthread_t t;
    flat_cpu(f)->vcpu->exit_request = 0;
    pthread_create(&t, NULL, ask_to_leave, flat_cpu(f)->vcpu);
    g_assert_cmpint(interp_run(flat_cpu(f)), ==, VCPU_EXIT_NONE);
    pthread_join(t, NULL);
}

FLAT_CODE(forever, "1: jmp 1b\n");
FLAT_CODE(long_rep, "1: movl $0x7fffffff, %ecx\n\t"
                    "movl $0x400000, %esi\n\t"
                    "rep outsb\n\t"
                    "jmp 1b\n");

static void test_jump_to_itself_obeys_an_exit_request(void)
{
    struct flat *f = flat_new();
    flat_load(f, FLAT_CODE_AT, forever, forever_end);
    run_until_asked(f);
    g_assert_cmphex(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT);
    flat_free(f);
}

static void test_long_rep_obeys_an_exit_request(void)
{
    struct flat *f = flat_new();
    GPR(f, R_RDX) = 0x80;
    flat_load(f, FLAT_CODE_AT, long_rep, long_rep_end);
    run_until_asked(f);
    g_assert_cmphex(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT + 10);
    g_assert_cmpuint(GPR(f, R_RSI) - 0x400000 + GPR(f, R_RCX), ==, 0x7fffffff);
    flat_free(f);
}

/* ---- instructions across pages ---- */

FLAT_CODE(wide_mov, "movabs $0x0807060504030201, %rax\n\t" FLAT_EXIT);

static void test_crossing_instruction_follows_both_pages(void)
{
    struct flat *f = flat_new();
    uint64_t at = FLAT_CODE_AT + GUEST_PAGE_SIZE - 5;
    const uint8_t nine = 9;

    flat_load(f, at, wide_mov, wide_mov_end);
    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RAX), ==, 0x0807060504030201);
    guest_mem_write(flat_mem(f), GPA(at + 2), &nine, 1);
    flat_cpu(f)->st.rip = at;
    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RAX), ==, 0x0807060504030209);
    guest_mem_write(flat_mem(f), GPA(at + 9), &nine, 1);
    flat_cpu(f)->st.rip = at;
    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RAX), ==, 0x0907060504030209);
    flat_free(f);
}

static void test_crossing_instruction_follows_a_remap_of_its_second_page(void)
{
    struct flat *f = flat_new();
    uint64_t at = FLAT_WINDOW + GUEST_PAGE_SIZE - 5;
    uint64_t len = (uint64_t)(wide_mov_end - wide_mov);

    /* Two versions of the second page, at 5 and 6 MiB. */
    guest_mem_write(flat_mem(f), GPA(4 * MiB + GUEST_PAGE_SIZE - 5), wide_mov, 5);
    guest_mem_write(flat_mem(f), GPA(5 * MiB), wide_mov + 5, len - 5);
    guest_mem_write(flat_mem(f), GPA(6 * MiB), wide_mov + 5, len - 5);
    flat_ram(f)[6 * MiB + 4] = 0x77;
    flat_map(f, 0, 4 * MiB);
    for (unsigned k = 0; k < 4; k++) {
        flat_map(f, 1, (k & 1) ? 6 * MiB : 5 * MiB);
        flat_cpu(f)->st.rip = at;
        g_assert_true(flat_run(f));
        g_assert_cmphex(GPR(f, R_RAX) >> 56, ==, (k & 1) ? 0x77 : 0x08);
    }
    flat_map(f, 1, 0);
    flat_cpu(f)->st.rip = at;
    g_assert_cmpint(flat_step_to_fault(f), ==, EX_PF);
    g_assert_cmphex(flat_cpu(f)->st.cr2, ==, FLAT_WINDOW + GUEST_PAGE_SIZE);
    g_assert_cmphex(flat_cpu(f)->st.rip, ==, at);
    flat_free(f);
}

/* The same physical code at two linear addresses shares blocks; rip must not be shared. */
FLAT_CODE(where_am_i, "leaq (%rip), %rax\n\t" FLAT_EXIT);

static void test_code_seen_at_two_addresses(void)
{
    struct flat *f = flat_new();
    flat_load(f, 4 * MiB, where_am_i, where_am_i_end);
    flat_map(f, 0, 4 * MiB);
    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RAX), ==, 4 * MiB + 7);
    flat_cpu(f)->st.rip = FLAT_WINDOW;
    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RAX), ==, FLAT_WINDOW + 7);
    flat_free(f);
}

/* ---- faults leave exact state ---- */

FLAT_CODE(stos_into_hole, "movl $0xefffe0, %edi\n\t"
                          "movl $100, %ecx\n\t"
                          "rep stosl\n\t");

static void test_rep_stos_stops_at_the_missing_page(void)
{
    struct flat *f = flat_new();
    flat_load(f, FLAT_CODE_AT, stos_into_hole, stos_into_hole_end);
    g_assert_cmpint(flat_step_to_fault(f), ==, EX_PF);
    g_assert_cmphex(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT + 10);
    g_assert_cmphex(flat_cpu(f)->st.cr2, ==, FLAT_HOLE);
    g_assert_cmphex(GPR(f, R_RDI), ==, FLAT_HOLE);
    g_assert_cmpuint(GPR(f, R_RCX), ==, 92);
    flat_free(f);
}

FLAT_CODE(faulting, "movl $0xf00000, %ebx\n\t"
                    "movl $5, %eax\n\t"
                    "cmpl $5, %eax\n\t"
                    "xaddl %eax, (%rbx)\n\t");

static void test_faulting_instruction_changes_nothing(void)
{
    struct flat *f = flat_new();
    flat_load(f, FLAT_CODE_AT, faulting, faulting_end);
    g_assert_cmpint(flat_step_to_fault(f), ==, EX_PF);
    g_assert_cmpuint(GPR(f, R_RAX), ==, 5);
    g_assert_true(flat_cpu(f)->st.rflags & FL_ZF);
    g_assert_cmphex(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT + 13);
    flat_free(f);
}

FLAT_CODE(overlap, "movl $0x400000, %esi\n\t"
                   "movl $0x400003, %edi\n\t"
                   "movl $3000, %ecx\n\t"
                   "rep movsb\n\t" FLAT_EXIT);

static void test_overlapping_rep_movs_repeats_its_pattern(void)
{
    struct flat *f = flat_new();
    memcpy(flat_ram(f) + FLAT_DATA, "abc", 3);
    flat_load(f, FLAT_CODE_AT, overlap, overlap_end);
    g_assert_true(flat_run(f));
    for (unsigned k = 0; k < 3003; k++)
        g_assert_cmpint(flat_ram(f)[FLAT_DATA + k], ==, "abc"[k % 3]);
    flat_free(f);
}

/* ---- flat 32-bit code ---- */

FLAT_CODE(flat32, ".code32\n\t"
                  "movl $0x400000, %esi\n\t"
                  "movl $3, %ecx\n\t"
                  "movl $7, -8(%esi, %ecx, 4)\n\t"
                  "addl $5, 0x400004\n\t"
                  "pushl 4(%esi)\n\t"
                  "call 2f\n\t"
                  "5: popl %edx\n\t"
                  "leal 1f - 5b(%edi), %edi\n\t"
                  "jmp *%edi\n\t"
                  "hlt\n"
                  "1: outb %al, $0xf4\n"
                  "2: popl %edi\n\t" /* the return address */
                  "pushl %edi\n\t"
                  "movl 4(%esp), %eax\n\t"
                  "ret\n\t.code64");

static void test_flat_32_bit_addresses_stack_and_calls(void)
{
    struct flat *f = flat_new();
    flat_protected_mode(f);
    flat_load(f, FLAT_CODE_AT, flat32, flat32_end);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX), ==, 12);
    g_assert_cmpuint(GPR(f, R_RDX), ==, 12);
    g_assert_cmphex(GPR(f, R_RSP), ==, FLAT_STACK);
    flat_free(f);
}

FLAT_CODE(top_of_memory, ".code32\n\tmovl $1, %esp\n\tpushl %eax\n\t.code64");

static void test_flat_32_bit_stack_ends_at_4_gib(void)
{
    struct flat *f = flat_new();
    flat_protected_mode(f);
    flat_load(f, FLAT_CODE_AT, top_of_memory, top_of_memory_end);
    g_assert_cmpint(flat_step_to_fault(f), ==, EX_SS);
    g_assert_cmphex(GPR(f, R_RSP), ==, 1);
    flat_free(f);
}

/* ---- 16-bit code ---- */

FLAT_CODE(real_sum, ".code16\n\t"
                    "xorw %ax, %ax\n\t"
                    "movw $100, %cx\n"
                    "1: addw %cx, %ax\n\t"
                    "loop 1b\n\t"
                    "pushw %ax\n\t"
                    "call 2f\n\t"
                    "popw %bx\n\t" FLAT_EXIT "2: incw %ax\n\tret\n\t.code64");

static void test_real_mode_loop_and_call(void)
{
    struct flat *f = flat_new();
    flat_real_mode(f);
    flat_load(f, 0x7c00, real_sum, real_sum_end);
    g_assert_true(flat_run(f));
    g_assert_cmpuint(GPR(f, R_RAX) & 0xffff, ==, 5051);
    g_assert_cmpuint(GPR(f, R_RBX) & 0xffff, ==, 5050);
    g_assert_cmphex(GPR(f, R_RSP) & 0xffff, ==, FLAT_STACK);
    flat_free(f);
}

/* Often enough to be worth translating: immediates and results have 16 bits without a prefix. */
FLAT_CODE(real_hot, ".code16\n\tmovl $0x12340000, %eax\n\tmovw $20000, %cx\n\t"
                    "1: addw $0x101, %ax\n\tandw $0x7fff, %ax\n\tmovw %ax, %dx\n\t"
                    "loop 1b\n\t" FLAT_EXIT ".code64");

static void test_hot_real_mode_code_keeps_its_operand_size(void)
{
    struct flat *f = flat_new();
    flat_real_mode(f);
    flat_load(f, 0x7c00, real_hot, real_hot_end);
    g_assert_true(flat_run(f));
    g_assert_cmphex(GPR(f, R_RAX), ==, 0x12346e20);
    flat_free(f);
}

FLAT_CODE(real_edge, ".code16\n\tnop\n\tnop\n\t.code64");

static void test_running_past_the_cs_limit_faults_there(void)
{
    struct flat *f = flat_new();
    flat_real_mode(f);
    flat_load(f, 0xfffe, real_edge, real_edge_end);
    g_assert_cmpint(flat_step_to_fault(f), ==, EX_GP);
    g_assert_cmphex(flat_cpu(f)->st.rip, ==, 0x10000);
    flat_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/cpu/interp/" #name, test_##name)
    TEST(store_to_next_instruction_is_seen);
    TEST(loop_that_patches_itself);
    TEST(rep_movs_over_code);
    TEST(device_write_replaces_code);
    TEST(data_in_the_code_page);
    TEST(many_writes_from_outside_all_count);
    TEST(the_cache_starts_over_when_it_is_full);
    TEST(write_by_another_thread_reaches_a_running_loop);
    TEST(jump_to_itself_obeys_an_exit_request);
    TEST(long_rep_obeys_an_exit_request);
    TEST(crossing_instruction_follows_both_pages);
    TEST(crossing_instruction_follows_a_remap_of_its_second_page);
    TEST(code_seen_at_two_addresses);
    TEST(rep_stos_stops_at_the_missing_page);
    TEST(faulting_instruction_changes_nothing);
    TEST(overlapping_rep_movs_repeats_its_pattern);
    TEST(flat_32_bit_addresses_stack_and_calls);
    TEST(flat_32_bit_stack_ends_at_4_gib);
    TEST(real_mode_loop_and_call);
    TEST(hot_real_mode_code_keeps_its_operand_size);
    TEST(running_past_the_cs_limit_faults_there);
    return g_test_run();
}
