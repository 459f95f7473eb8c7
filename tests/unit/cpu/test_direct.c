/* test_direct.c - user programs in memory that is mapped for them (direct.h): they see what the
 * guest's page tables say, and nothing else.
 *
 * The same programs run with the TLB, interpreted and under cosim=on: HANOK_TEST_ACCEL (flat.h). */
#include "flat.h"

#include "sys.h"
#include "tr.h"

#include <glib.h>

#define GPR(f, r) (flat_cpu(f)->st.gpr[r])
/* The identity map once more, where position-independent programs and their libraries are. */
#define PROGRAM   0x555500000000ull
#define LIBRARIES 0x7f1200000000ull
#define NOWHERE   0x2a1200000000ull

static struct flat *load(const uint8_t *code, const uint8_t *end)
{
    struct flat *f = flat_new();

    flat_map_again(f, 0, PROGRAM);
    flat_map_again(f, 1, LIBRARIES);
    flat_map_again(f, 2, NOWHERE);
    flat_load(f, FLAT_CODE_AT, code, end);
    return f;
}

static bool is_direct(struct flat *f)
{
    return set_of(flat_cpu(f))->tr.direct_always;
}

static void ends_mapped(struct flat *f)
{
    if (is_direct(f))
        g_assert_cmpuint(flat_cpu(f)->tr.cache->stats.direct_pages, >, 0);
    flat_free(f);
}

static void run_from(struct flat *f, uint64_t rip)
{
    flat_cpu(f)->st.rip = rip;
    g_assert_true(flat_run(f));
}

/* ---- chunks ---- */

/* Sums what rbx, rsi, rbp and r12 point to, through registers, indices and the stack. */
FLAT_CODE(pointers, "xorl %eax, %eax\n\t"
                    "movl $1000, %ecx\n"
                    "1: addq (%rbx), %rax\n\t"
                    "addq 8(%rbx), %rax\n\t"
                    "pushq %rsi\n\t"
                    "addq (%rsi,%rdi,8), %rax\n\t"
                    "popq %rdx\n\t"
                    "addq (%rdx), %rax\n\t"
                    "addq %rax, 16(%rbp)\n\t"
                    "movq 16(%rbp), %r9\n\t"
                    "addq $8, %r12\n\t"
                    "xorq -8(%r12), %rax\n\t"
                    "subq $8, %r12\n\t"
                    "xchgq %rbx, %rsi\n\t"
                    "decl %ecx\n\t"
                    "jnz 1b\n\t" FLAT_EXIT);

static uint64_t sum_with(const uint64_t base[4], uint64_t code, struct flat **out)
{
    struct flat *f = load(pointers, pointers_end);
    uint8_t *data = flat_ram(f) + FLAT_DATA;

    for (unsigned k = 0; k < 64; k++)
        le64_put(data + k * 8, k * 0x123456789abcdefull);
    GPR(f, R_RBX) = base[0] + FLAT_DATA;
    GPR(f, R_RSI) = base[1] + FLAT_DATA + 64;
    GPR(f, R_RBP) = base[2] + FLAT_DATA + 128;
    GPR(f, 12) = base[3] + FLAT_DATA + 256;
    GPR(f, R_RDI) = 3;
    GPR(f, R_RSP) = base[2] + FLAT_STACK;
    run_from(f, code + FLAT_CODE_AT);
    uint64_t sum = GPR(f, R_RAX);
    *out = f;
    return sum;
}

static void test_pointers_into_any_chunk(void)
{
    static const uint64_t chunk[] = {0, PROGRAM, LIBRARIES, NOWHERE};
    const unsigned n = G_N_ELEMENTS(chunk);
    struct flat *f;
    uint64_t want = sum_with((uint64_t[4]){0}, 0, &f);

    flat_free(f);
    for (unsigned k = 0; k < n * n * n * n; k++) {
        const uint64_t base[4] = {chunk[k % n], chunk[k / n % n], chunk[k / n / n % n],
                                  chunk[k / n / n / n]};
        g_assert_cmphex(sum_with(base, chunk[k % n], &f), ==, want);
        ends_mapped(f);
    }
}

/* What was expected when a block was translated is another chunk when it runs again. */
static void test_pointers_that_change_their_chunk(void)
{
    static const uint64_t chunk[] = {LIBRARIES, PROGRAM, NOWHERE, LIBRARIES, PROGRAM};
    struct flat *f;
    uint64_t want = sum_with((uint64_t[4]){PROGRAM, PROGRAM, LIBRARIES, PROGRAM}, PROGRAM, &f);

    for (unsigned k = 0; k < G_N_ELEMENTS(chunk); k++) {
        uint8_t *data = flat_ram(f) + FLAT_DATA;
        for (unsigned n = 0; n < 64; n++)
            le64_put(data + n * 8, n * 0x123456789abcdefull);
        GPR(f, R_RBX) = chunk[k] + FLAT_DATA;
        GPR(f, R_RSI) = chunk[(k + 1) % 3] + FLAT_DATA + 64;
        GPR(f, R_RBP) = chunk[(k + 2) % 3] + FLAT_DATA + 128;
        GPR(f, 12) = chunk[(k + 1) % 3] + FLAT_DATA + 256;
        GPR(f, R_RSP) = chunk[k] + FLAT_STACK;
        run_from(f, PROGRAM + FLAT_CODE_AT);
        g_assert_cmphex(GPR(f, R_RAX), ==, want);
    }
    ends_mapped(f);
}

/* ---- pages that come and go ---- */

FLAT_CODE(look, "movq (%rbx), %rax\n\t"
                "movq %rcx, 8(%rbx)\n\t" FLAT_EXIT);

static void test_a_page_that_is_mapped_elsewhere(void)
{
    struct flat *f = load(look, look_end);
    uint8_t *ram = flat_ram(f);

    for (unsigned k = 1; k < 40; k++) {
        uint64_t phys = FLAT_DATA + k % 7 * GUEST_PAGE_SIZE;
        le64_put(ram + phys, k);
        flat_map(f, 0, phys);
        GPR(f, R_RBX) = FLAT_WINDOW;
        GPR(f, R_RCX) = k * 3;
        run_from(f, FLAT_CODE_AT);
        g_assert_cmpuint(GPR(f, R_RAX), ==, k);
        g_assert_cmpuint(le64_get(ram + phys + 8), ==, k * 3);
    }
    ends_mapped(f);
}

static int fault_at(struct flat *f, uint64_t linear)
{
    flat_cpu(f)->st.rip = FLAT_CODE_AT;
    flat_cpu(f)->st.cr2 = 0;
    GPR(f, R_RBX) = linear;
    flat_cpu(f)->vcpu->exit_request = 0;
    return interp_run_to_fault(flat_cpu(f));
}

static void test_a_page_that_is_gone(void)
{
    struct flat *f = load(look, look_end);

    for (unsigned k = 0; k < 20; k++) {
        flat_map(f, 0, FLAT_DATA);
        GPR(f, R_RBX) = FLAT_WINDOW;
        run_from(f, FLAT_CODE_AT);
        flat_map(f, 0, 0);
        g_assert_cmpint(fault_at(f, FLAT_WINDOW + 0x10), ==, EX_PF);
        g_assert_cmphex(flat_cpu(f)->st.cr2, ==, FLAT_WINDOW + 0x10);
        g_assert_cmphex(flat_cpu(f)->st.rip, ==, FLAT_CODE_AT);
    }
    ends_mapped(f);
}

/* flat.c's page table entry of the page'th page from FLAT_WINDOW. */
static uint8_t *entry_of(struct flat *f, unsigned page)
{
    const uint64_t first = (FLAT_WINDOW - (FLAT_RAM - 2 * MiB)) / GUEST_PAGE_SIZE;

    return flat_ram(f) + 0x4000 + (first + page) * 8;
}

static void look_at(struct flat *f, unsigned page)
{
    for (unsigned k = 0; k < 3; k++) {
        GPR(f, R_RBX) = FLAT_WINDOW + page * GUEST_PAGE_SIZE;
        run_from(f, FLAT_CODE_AT);
    }
}

/* Whether a page is in use the guest asks by clearing its accessed bit. */
static void test_accessed_bits_are_set_again(void)
{
    struct flat *f = load(look, look_end);

    for (unsigned page = 0; page < 4; page++) {
        flat_map(f, page, FLAT_DATA + page * GUEST_PAGE_SIZE);
        look_at(f, page);
    }
    for (unsigned page = 1; page < 4; page++) {
        uint64_t entry = le64_get(entry_of(f, page));
        g_assert_true(entry & 0x20);
        le64_put(entry_of(f, page), entry & ~UINT64_C(0x20));
        mmu_flush_all(flat_cpu(f));
        look_at(f, 0);
        g_assert_false(le64_get(entry_of(f, page)) & 0x20);
        look_at(f, page);
        g_assert_true(le64_get(entry_of(f, page)) & 0x20);
    }
    ends_mapped(f);
}

/* The program's next instruction is stored over again and again. */
FLAT_CODE(own_code, "movl $300, %ecx\n"
                    "1: addb $1, 2f+1(%rip)\n"
                    "2: movb $0, %al\n\t"
                    "movzbl %al, %eax\n\t"
                    "addl %eax, %edx\n\t"
                    "decl %ecx\n\t"
                    "jnz 1b\n\t" FLAT_EXIT);

static void test_a_store_into_its_own_code(void)
{
    struct flat *f = load(own_code, own_code_end);
    uint32_t want = 0;

    for (unsigned k = 1; k <= 300; k++)
        want += (uint8_t)k;
    GPR(f, R_RDX) = 0;
    run_from(f, FLAT_CODE_AT);
    g_assert_cmpuint(GPR(f, R_RDX), ==, want);
    flat_free(f);
}

/* Each page of 176 MiB, of which no two neighbours are neighbours in memory. */
FLAT_CODE(sweep, "xorl %eax, %eax\n"
                 "1: addq (%rbx), %rax\n\t"
                 "addq $4096, %rbx\n\t"
                 "decl %ecx\n\t"
                 "jnz 1b\n\t" FLAT_EXIT);

static unsigned host_mappings(void)
{
    g_autofree char *text = NULL;
    unsigned n = 0;

    g_assert_true(g_file_get_contents("/proc/self/maps", &text, NULL, NULL));
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        n++;
    return n;
}

static void test_scattered_pages_leave_the_host_mappings(void)
{
    const unsigned pages = 88 * 512;
    const uint64_t table = 0x500000, directory = 0x501000, at = PROGRAM + GiB;
    struct flat *f = load(sweep, sweep_end);
    uint8_t *ram = flat_ram(f);
    uint64_t want = 0;

    le64_put(ram + 0xa000 + (at >> 30 & 511) * 8, directory | 7);
    for (unsigned k = 0; k < 512; k++) {
        uint64_t phys = 0x600000 + (k & 1) * 0x100000 + (k >> 1) * GUEST_PAGE_SIZE;
        le64_put(ram + table + k * 8, phys | 0x67);
        le64_put(ram + directory + k * 8, table | 7);
        le64_put(ram + phys, k);
        want += k;
    }
    GPR(f, R_RBX) = at;
    GPR(f, R_RCX) = pages;
    run_from(f, PROGRAM + FLAT_CODE_AT);
    g_assert_cmpuint(GPR(f, R_RAX), ==, want * (pages / 512));
    g_assert_cmpuint(host_mappings(), <, 40000);
    ends_mapped(f);
}

/* ---- nothing else ---- */

static uint64_t secret = 0x5ec2e75ec2e75ec2;

/* Where the host's own memory is, and where an address would lead that is taken modulo something.
 */
static void test_no_address_leads_to_the_host(void)
{
    struct flat *f = load(look, look_end);
    uint64_t host[] = {(uint64_t)(uintptr_t)&secret, (uint64_t)(uintptr_t)flat_cpu(f),
                       (uint64_t)(uintptr_t)flat_ram(f), (uint64_t)(uintptr_t)&host};

    for (unsigned k = 0; k < 6; k++) {
        GPR(f, R_RBX) = (k & 1 ? PROGRAM : LIBRARIES) + FLAT_DATA;
        run_from(f, FLAT_CODE_AT);
    }
    for (unsigned k = 0; k < G_N_ELEMENTS(host); k++) {
        for (unsigned bit = 39; bit <= 64; bit++) {
            uint64_t at = bit < 64 ? host[k] ^ BIT64(bit) : host[k];
            int vector = fault_at(f, at);
            bool canonical = at == (uint64_t)((int64_t)(at << 16) >> 16);
            g_assert_cmpint(vector, ==, canonical ? EX_PF : EX_GP);
        }
        for (uint64_t by = 0; by < 128; by++) { /* as if a distance were added */
            int vector = fault_at(f, host[k] + (by << 40));
            g_assert_true(vector == EX_PF || vector == EX_GP);
        }
    }
    g_assert_cmphex(secret, ==, 0x5ec2e75ec2e75ec2);
    ends_mapped(f);
}

/* Many addresses with any upper bits, in blocks that were translated for another kind of program,
 * too: ordinary ones see memory, the others fault. */
static void try_addresses(struct flat *f, uint64_t code)
{
    static const uint64_t top[] = {0, 1, 2, 0x7fff, 0x8000, 0xfffe, 0xffff};
    uint64_t low = (uint64_t)(uintptr_t)&secret & (BIT64(40) - 1);

    for (uint64_t chunk = 0; chunk < 256; chunk++) {
        for (unsigned k = 0; k < G_N_ELEMENTS(top); k++) {
            uint64_t at = top[k] << 48 | chunk << 40 | low;
            flat_cpu(f)->st.rip = code;
            GPR(f, R_RBX) = at;
            GPR(f, R_RBP) = at;
            flat_cpu(f)->vcpu->exit_request = 0;
            int vector = interp_run_to_fault(flat_cpu(f));
            bool canonical = at == (uint64_t)((int64_t)(at << 16) >> 16);
            g_assert_cmpint(vector, ==, canonical ? EX_PF : EX_GP);
        }
    }
}

FLAT_CODE(known, "movq 8(%rsp), %rax\n\t"
                 "movq (%rbx), %rax\n\t"
                 "movq 8(%rbx), %rdx\n\t"
                 "movq (%rsi,%rdi,4), %r8\n\t"
                 "pushq %rax\n\t"
                 "popq %r9\n\t" FLAT_EXIT);

/* By rbp: what is not canonical is a stack fault. */
FLAT_CODE(frame, "movq 8(%rbp), %rax\n\t"
                 "addq %rax, 16(%rbp)\n\t" FLAT_EXIT);

static void test_frames_that_are_not_there(void)
{
    struct flat *f = load(frame, frame_end);

    flat_load(f, FLAT_CODE_AT + 0x200, frame, frame_end); /* for when windows are there */
    for (unsigned k = 0; k < 4; k++) {
        uint64_t code = (k & 2 ? PROGRAM : 0) + FLAT_CODE_AT + (k & 1) * 0x200;
        for (unsigned n = 0; n < 4; n++) {
            GPR(f, R_RBP) = LIBRARIES + FLAT_DATA;
            run_from(f, code);
        }
        for (uint64_t top = 1; top < 0x10000; top += 0x111) {
            flat_cpu(f)->st.rip = code;
            GPR(f, R_RBP) = top << 48 | (LIBRARIES + FLAT_DATA);
            flat_cpu(f)->vcpu->exit_request = 0;
            g_assert_cmpint(interp_run_to_fault(flat_cpu(f)), ==, EX_SS);
        }
    }
    ends_mapped(f);
}

static void run_with(struct flat *f, uint64_t code, uint64_t data, uint64_t stack)
{
    for (unsigned k = 0; k < 3; k++) {
        GPR(f, R_RBX) = GPR(f, R_RSI) = data + FLAT_DATA;
        GPR(f, R_RDI) = 8;
        GPR(f, R_RSP) = stack + FLAT_STACK;
        run_from(f, code);
    }
}

static void test_translations_of_another_kind_of_program(void)
{
    struct flat *f = load(known, known_end);
    uint8_t *ram = flat_ram(f);
    const uint64_t other_code = FLAT_CODE_AT + 0x100, other_tables = 0x8000;

    memcpy(ram + other_tables, ram + 0x1000, GUEST_PAGE_SIZE);
    flat_load(f, other_code, known, known_end);
    run_with(f, PROGRAM + FLAT_CODE_AT, PROGRAM, LIBRARIES);
    run_with(f, PROGRAM + FLAT_CODE_AT, LIBRARIES, LIBRARIES);
    try_addresses(f, PROGRAM + FLAT_CODE_AT);
    for (unsigned k = 0; k < 2; k++) {
        flat_cpu(f)->st.cr3 = k ? 0x1000 : other_tables;
        mmu_flush_all(flat_cpu(f));
        run_with(f, k ? PROGRAM + other_code : other_code, 0, LIBRARIES);
        run_with(f, PROGRAM + FLAT_CODE_AT, PROGRAM, LIBRARIES);
        try_addresses(f, PROGRAM + FLAT_CODE_AT);
        run_with(f, other_code, 0, LIBRARIES);
        run_with(f, other_code, LIBRARIES, 0);
        try_addresses(f, other_code);
    }
    ends_mapped(f);
}

/* ---- the stack pointer ---- */

/* Each sets RSP to rbx, does something there, and comes back; with flags that matter meanwhile. */
FLAT_CODE(by_mov, "movq %rsp, %rbp\n\t"
                  "cmpq $1, %rsi\n\t"
                  "movq %rbx, %rsp\n\t"
                  "pushq %rsi\n\t"
                  "popq %rax\n\t"
                  "sbbq $0, %rax\n\t"
                  "leaq (%rbp), %rsp\n\t"
                  "pushq %rax\n\t"
                  "popq %rdx\n\t" FLAT_EXIT);
FLAT_CODE(by_pop, "movq %rsp, %rbp\n\t"
                  "pushq %rbx\n\t"
                  "popq %rsp\n\t"
                  "call 1f\n\t"
                  "xchgq %rbp, %rsp\n\t"
                  "pushq %rax\n\t"
                  "popq %rdx\n\t" FLAT_EXIT "1: leaq (%rsi), %rax\n\t"
                  "ret\n\t");
FLAT_CODE(by_leave, "movq %rsp, %r8\n\t"
                    "leaq -8(%rbx), %rbp\n\t"
                    "leave\n\t"
                    "movq %rsi, -16(%rsp)\n\t"
                    "addq $-16, %rsp\n\t"
                    "popq %rax\n\t"
                    "subq %rsp, %r8\n\t"
                    "addq %r8, %rsp\n\t"
                    "movq %rsp, %rbp\n\t"
                    "pushq %rax\n\t"
                    "popq %rdx\n\t" FLAT_EXIT);

static void to_and_fro(struct flat *f, const uint8_t *code, const uint8_t *end, uint64_t at)
{
    static const uint64_t chunk[] = {0, PROGRAM, LIBRARIES, NOWHERE};

    flat_load(f, FLAT_CODE_AT, code, end);
    for (unsigned k = 0; k < 64; k++) {
        uint64_t home = chunk[k / 16] + FLAT_STACK;
        GPR(f, R_RBX) = chunk[k % 4] + FLAT_DATA + 0x100;
        GPR(f, R_RSP) = home;
        GPR(f, R_RSI) = 1000 + k;
        run_from(f, at + FLAT_CODE_AT);
        g_assert_cmpuint(GPR(f, R_RAX), ==, 1000 + k);
        g_assert_cmpuint(GPR(f, R_RDX), ==, 1000 + k);
        g_assert_cmphex(GPR(f, R_RSP), ==, home);
    }
}

static void test_a_stack_pointer_that_goes_elsewhere(void)
{
    static const uint64_t at[] = {0, PROGRAM, LIBRARIES};

    for (unsigned k = 0; k < G_N_ELEMENTS(at); k++) {
        for (unsigned n = 0; n < 3; n++) {
            struct flat *f = load(look, look_end);
            to_and_fro(f, by_mov, by_mov_end, at[(k + n) % 3]);
            ends_mapped(f);
            f = load(look, look_end);
            to_and_fro(f, by_pop, by_pop_end, at[(k + n) % 3]);
            ends_mapped(f);
            f = load(look, look_end);
            to_and_fro(f, by_leave, by_leave_end, at[(k + n) % 3]);
            ends_mapped(f);
        }
    }
}

/* Small steps, without an access, to where the host's memory would be. */
FLAT_CODE(steps_sub, "popq %rax\n\t"
                     "pushq %rax\n\t"
                     "jmp 1f\n"
                     "1: subq $0xff000, %rsp\n\t"
                     "decl %ecx\n\t"
                     "jnz 1b\n\t"
                     "popq %rax\n\t" FLAT_EXIT);
FLAT_CODE(steps_lea, "popq %rax\n\t"
                     "pushq %rax\n\t"
                     "jmp 1f\n"
                     "1: leaq -0xff000(%rsp), %rsp\n\t"
                     "decl %ecx\n\t"
                     "jnz 1b\n\t"
                     "popq %rax\n\t" FLAT_EXIT);

/* Where the host's memory would be, were it by the distance of the stack's chunk. */
static uint64_t host_from_stack(struct flat *f)
{
    return (uint64_t)(uintptr_t)&secret - flat_cpu(f)->tr.delta[LIBRARIES >> 40];
}

static void walk_to_the_host(const uint8_t *code, const uint8_t *end)
{
    struct flat *f = load(code, end);
    uint64_t rsp = LIBRARIES + FLAT_STACK;

    for (unsigned k = 0; k < 5; k++) { /* now it is mapped, and translated */
        GPR(f, R_RSP) = rsp;
        GPR(f, R_RCX) = 1;
        fault_at(f, 0);
    }
    uint64_t target = host_from_stack(f);
    if (is_direct(f) && target < rsp) {
        uint64_t steps = (rsp - target) / 0xff000;
        GPR(f, R_RSP) = target + steps * 0xff000;
        if (GPR(f, R_RSP) < LIBRARIES) /* by whole steps from the stack's own pages */
            GPR(f, R_RSP) = target + ++steps * 0xff000;
        GPR(f, R_RCX) = steps;
        flat_cpu(f)->st.rip = FLAT_CODE_AT + 4; /* the loop */
        flat_cpu(f)->vcpu->exit_request = 0;
        g_assert_cmpint(interp_run_to_fault(flat_cpu(f)), ==, EX_PF);
        g_assert_cmphex(flat_cpu(f)->st.cr2, ==, target);
    }
    flat_free(f);
}

static void test_small_steps_of_the_stack_pointer(void)
{
    walk_to_the_host(steps_sub, steps_sub_end);
    walk_to_the_host(steps_lea, steps_lea_end);
}

/* Then a pop, which faults. */
#define FAR(name, text) FLAT_CODE(name, text "popq %rax\n\t" FLAT_EXIT)
FAR(far_mov, "movq %rbx, %rsp\n\t");
FAR(far_lea, "leaq (%rbx), %rsp\n\t");
FAR(far_add, "subq %rsp, %rbx\n\taddq %rbx, %rsp\n\t");
FAR(far_pop, "pushq %rbx\n\tpopq %rsp\n\t");
FAR(far_load, "movq %rbx, -8(%rsp)\n\tmovq -8(%rsp), %rsp\n\t");
FAR(far_xchg, "xchgq %rbx, %rsp\n\t");
FAR(far_cmov, "cmpq %rbx, %rbx\n\tcmove %rbx, %rsp\n\t");

static void jump_to_the_host(const uint8_t *code, const uint8_t *end)
{
    struct flat *f = load(code, end);
    uint64_t target = LIBRARIES + FLAT_DATA;

    for (unsigned k = 0; k < 8; k++) {
        GPR(f, R_RSP) = LIBRARIES + FLAT_STACK;
        int vector = fault_at(f, target);
        g_assert_cmpint(vector, ==, target == LIBRARIES + FLAT_DATA ? -1 : EX_PF);
        if (k == 3 && is_direct(f))
            target = host_from_stack(f);
    }
    flat_free(f);
}

static void test_a_stack_pointer_that_would_lead_to_the_host(void)
{
    jump_to_the_host(far_mov, far_mov_end);
    jump_to_the_host(far_lea, far_lea_end);
    jump_to_the_host(far_add, far_add_end);
    jump_to_the_host(far_pop, far_pop_end);
    jump_to_the_host(far_load, far_load_end);
    jump_to_the_host(far_xchg, far_xchg_end);
    jump_to_the_host(far_cmov, far_cmov_end);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/cpu/direct/" #name, test_##name)
    TEST(pointers_into_any_chunk);
    TEST(pointers_that_change_their_chunk);
    TEST(a_page_that_is_mapped_elsewhere);
    TEST(a_page_that_is_gone);
    TEST(accessed_bits_are_set_again);
    TEST(a_store_into_its_own_code);
    TEST(scattered_pages_leave_the_host_mappings);
    TEST(no_address_leads_to_the_host);
    TEST(frames_that_are_not_there);
    TEST(translations_of_another_kind_of_program);
    TEST(a_stack_pointer_that_goes_elsewhere);
    TEST(small_steps_of_the_stack_pointer);
    TEST(a_stack_pointer_that_would_lead_to_the_host);
    return g_test_run();
}
