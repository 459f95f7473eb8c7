/* test_places.c - code that runs at any address (tr_place.c): one translation for all of them, and
 * each sees its own.
 *
 * The same programs run interpreted, under cosim=on, and in memory that is mapped directly:
 * HANOK_TEST_ACCEL (flat.h). */
#include "flat.h"

#include "sys.h"
#include "tr.h"

#include <glib.h>

#define GPR(f, r) (flat_cpu(f)->st.gpr[r])

/* Where FLAT_CODE_AT and the page behind it are mapped: the first two have the same slots in the
 * exec TLB, the others have others. */
#define WHERE 4u

static const uint64_t where[WHERE] = {0x555500000000 + FLAT_CODE_AT, 0x7f1200000000 + FLAT_CODE_AT,
                                      0x7e0000000000 + FLAT_WINDOW,
                                      0x7e0000000000 + FLAT_WINDOW + 5 * GUEST_PAGE_SIZE};

static struct flat *load(const uint8_t *code, const uint8_t *end)
{
    struct flat *f = flat_new();

    for (unsigned k = 0; k < 3; k++)
        flat_map_again(f, k, where[k] & ~(GiB - 1));
    for (unsigned k = 0; k < 2; k++) {
        flat_map(f, k, FLAT_CODE_AT + k * GUEST_PAGE_SIZE);
        flat_map(f, k + 5, FLAT_CODE_AT + k * GUEST_PAGE_SIZE);
    }
    flat_load(f, FLAT_CODE_AT, code, end);
    return f;
}

static void run_at(struct flat *f, uint64_t rip)
{
    flat_cpu(f)->st.rip = rip;
    g_assert_true(flat_run(f));
}

static uint64_t translated(struct flat *f)
{
    return flat_cpu(f)->tr.cache ? flat_cpu(f)->tr.cache->stats.blocks : 0;
}

static bool moves(struct flat *f)
{
    return flat_cpu(f)->tr.cache && !set_of(flat_cpu(f))->tr.places_from;
}

/* Calls, jumps and data in this page and the next; rax gets a sum, rbx an address of the code. */
FLAT_CODE(many, "movl $200, %ecx\n\t"
                "xorl %eax, %eax\n"
                "1: call 2f\n\t"
                "call 3f\n\t"
                "incq counter(%rip)\n\t"
                "addq counter(%rip), %rax\n\t"
                "decl %ecx\n\t"
                "jnz 1b\n\t"
                "leaq 1b(%rip), %rbx\n\t" FLAT_EXIT "counter: .quad 0\n"
                "2: addq $3, %rax\n\t"
                "ret\n\t"
                ".org many + 4090\n"
                "3: jmp 4f\n\t" /* goes on in the next page */
                ".org many + 4096 + 64\n"
                "4: leaq 5f(%rip), %rdx\n\t"
                "jmp *%rdx\n\t"
                "ud2\n"
                "5: addq $5, %rax\n\t"
                "cmpl $100, %ecx\n\t"
                "ja 6f\n\t"
                "ret\n"
                "6: pushq %rdx\n\t"
                "popq %rdx\n\t"
                "ret\n\t");

static void test_one_translation_for_all_addresses(void)
{
    struct flat *f = load(many, many_end);
    uint64_t blocks = 0, first = 0, counter = 0;

    for (unsigned k = 0; k < 4 * WHERE; k++) {
        uint64_t at = where[k % WHERE], sum = 0;
        GPR(f, R_RSP) = FLAT_STACK;
        run_at(f, at);
        for (unsigned n = 0; n < 200; n++)
            sum += 8 + ++counter;
        g_assert_cmpuint(GPR(f, R_RAX), ==, sum);
        if (k == 0)
            first = GPR(f, R_RBX) - at;
        g_assert_cmphex(GPR(f, R_RBX), ==, at + first);
        if (k == WHERE - 1)
            blocks = translated(f);
    }
    if (moves(f))
        g_assert_cmpuint(translated(f), ==, blocks);
    flat_free(f);
}

/* A function is called, which calls what the same page has at another address (rbx further on),
 * which jumps back: both returns find their own way. */
FLAT_CODE(there, "call 1f\n"
                 "2: leaq 2b(%rip), %rcx\n\t"
                 "movq %rcx, %rdi\n\t" FLAT_EXIT "1: leaq 3f(%rip), %rax\n\t"
                 "addq %rbx, %rax\n\t"
                 "call *%rax\n\t"
                 "leaq 2b(%rip), %r8\n\t"
                 "ret\n"
                 "3: leaq 2b(%rip), %rdx\n\t"
                 "call 4f\n\t"
                 "ret\n"
                 "4: leaq 2b(%rip), %rsi\n\t"
                 "ret\n\t");

static void test_a_return_to_where_the_call_was(void)
{
    struct flat *f = load(there, there_end);

    for (unsigned k = 0; k < 8 * WHERE * WHERE; k++) {
        uint64_t from = where[k % WHERE], to = where[k / WHERE % WHERE];
        uint64_t label = from + 5;
        GPR(f, R_RBX) = to - from;
        GPR(f, R_RSP) = FLAT_STACK;
        run_at(f, from);
        g_assert_cmphex(GPR(f, R_RCX), ==, label);
        g_assert_cmphex(GPR(f, 8), ==, label);
        g_assert_cmphex(GPR(f, R_RDX), ==, label + to - from);
        g_assert_cmphex(GPR(f, R_RSI), ==, label + to - from);
        g_assert_cmphex(GPR(f, R_RSP), ==, FLAT_STACK);
    }
    flat_free(f);
}

/* Functions that are found by their address, and change. */
FLAT_CODE(indirect, "movl $50, %ecx\n\t"
                    "xorl %eax, %eax\n"
                    "1: call *%rbx\n\t"
                    "call *%rsi\n\t"
                    "decl %ecx\n\t"
                    "jnz 1b\n\t" FLAT_EXIT ".org indirect + 4096 + 16\n"
                    "addl $1, %eax\n\t"
                    "ret\n\t");

static void test_code_that_changes_changes_everywhere(void)
{
    struct flat *f = load(indirect, indirect_end);
    const uint64_t function = GUEST_PAGE_SIZE + 16;

    for (unsigned k = 0; k < 6 * WHERE; k++) {
        uint8_t by = (uint8_t)(k + 1);
        flat_ram(f)[FLAT_CODE_AT + function + 2] = by;
        guest_mem_wrote(flat_mem(f), GPA(FLAT_CODE_AT + function), 8);
        for (unsigned n = 0; n < WHERE; n++) {
            GPR(f, R_RBX) = where[k % WHERE] + function;
            GPR(f, R_RSI) = where[n] + function;
            GPR(f, R_RSP) = FLAT_STACK;
            run_at(f, where[(k + 1) % WHERE]);
            g_assert_cmpuint(GPR(f, R_RAX), ==, 100u * by);
        }
    }
    flat_free(f);
}

/* The program stores into the function that it is about to call, by its other address. */
FLAT_CODE(stores, "movl $100, %ecx\n\t"
                  "xorl %eax, %eax\n"
                  "1: incb 2f+2-1b(%rbx)\n\t"
                  "call 2f\n\t"
                  "decl %ecx\n\t"
                  "jnz 1b\n\t" FLAT_EXIT "2: addl $0, %eax\n\t"
                  "ret\n\t");

static void test_a_store_by_another_address(void)
{
    struct flat *f = load(stores, stores_end);
    uint32_t want = 0;

    for (unsigned k = 1; k <= 100; k++)
        want += k;
    for (unsigned k = 0; k < WHERE * WHERE; k++) {
        flat_load(f, FLAT_CODE_AT, stores, stores_end);
        guest_mem_wrote(flat_mem(f), GPA(FLAT_CODE_AT), GUEST_PAGE_SIZE);
        GPR(f, R_RBX) = where[k / WHERE] + 7;
        GPR(f, R_RSP) = FLAT_STACK;
        run_at(f, where[k % WHERE]);
        g_assert_cmpuint(GPR(f, R_RAX), ==, want);
    }
    flat_free(f);
}

/* ---- the neighbour changes ---- */

/* In the window: the first page calls what is in the second; the second's first instruction begins
 * in the first page's last byte. */
FLAT_CODE(caller, "movl $20, %ecx\n\t"
                  "xorl %eax, %eax\n"
                  "1: call caller + 4096 + 64\n\t"
                  "call 2f\n\t"
                  "decl %ecx\n\t"
                  "jnz 1b\n\t" FLAT_EXIT ".org caller + 4095\n"
                  "2: .byte 0x05\n\t"); /* add $..., %eax */

static void page_of_functions(struct flat *f, uint64_t at, uint8_t by)
{
    const uint8_t tail[] = {by, 0, 0, 0, 0xc3}, whole[] = {0x05, by, 0, 0, 0, 0xc3};

    memcpy(flat_ram(f) + at, tail, sizeof(tail));
    memcpy(flat_ram(f) + at + 64, whole, sizeof(whole));
}

static void test_a_neighbour_that_is_another_page(void)
{
    const uint64_t first = FLAT_DATA, other = FLAT_DATA + 8 * GUEST_PAGE_SIZE;
    struct flat *f = load(caller, caller_end);

    memcpy(flat_ram(f) + first, caller, (size_t)(caller_end - caller));
    for (unsigned k = 0; k < 3; k++)
        page_of_functions(f, other + k * GUEST_PAGE_SIZE, (uint8_t)(k + 1));
    for (unsigned k = 0; k < 120; k++) {
        unsigned page = k / 6 % 5 * 2;
        uint64_t window = (where[k / 30 % 3] & ~(GiB - 1)) + FLAT_WINDOW;
        flat_map(f, page, first);
        flat_map(f, page + 1, other + k % 3 * GUEST_PAGE_SIZE);
        GPR(f, R_RSP) = FLAT_STACK;
        run_at(f, window + page * GUEST_PAGE_SIZE);
        g_assert_cmpuint(GPR(f, R_RAX), ==, 40 * (k % 3 + 1));
    }
    flat_free(f);
}

/* ---- numbers that run out ---- */

static void test_numbers_that_run_out(void)
{
    struct flat *f = load(there, there_end);
    struct tr_cache *k = flat_cpu(f)->tr.cache;

    for (unsigned n = 0; n < 20; n++) {
        uint64_t from = where[n % WHERE];
        if (k && n % 4 == 0)
            k->next_id = UINT32_MAX;
        GPR(f, R_RBX) = where[n / 2 % WHERE] - from;
        GPR(f, R_RSP) = FLAT_STACK;
        run_at(f, from);
        g_assert_cmphex(GPR(f, R_RCX), ==, from + 5);
    }
    if (moves(f))
        g_assert_cmpuint(k->stats.flushes, >, 1);
    flat_free(f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/cpu/places/" #name, test_##name)
    TEST(one_translation_for_all_addresses);
    TEST(a_return_to_where_the_call_was);
    TEST(code_that_changes_changes_everywhere);
    TEST(a_store_by_another_address);
    TEST(a_neighbour_that_is_another_page);
    TEST(numbers_that_run_out);
    return g_test_run();
}
