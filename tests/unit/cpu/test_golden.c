/* test_golden.c - what code the translator makes of representative guest code.
 *
 * Each sequence is translated at FLAT_CODE_AT and disassembled; addresses of the vcpu's fields, of
 * glue and of the block itself become names, so that the text does not depend on where they lie.
 * It is compared with tests/golden/jit/NAME.txt; HANOK_TEST_REGENERATE=1 writes these files, and
 * the change of them is what a review of the translator looks at.  HANOK_GOLDEN: their folder. */
#include "flat.h"

#include "tr.h"

#include <Zydis/Zydis.h>
#include <glib.h>
#include <inttypes.h>

#define SEQUENCES(X)                                                                               \
    X(mov_registers, "movq %rbx, %rax; movl %ecx, %edx; movq %rdi, %rcx; movb %ah, %bl")           \
    X(mov_constants,                                                                               \
      "movl $5, %eax; movq $-1, %rcx; movabsq $0x123456789abcdef, %r9; xorl %edi, %edi")           \
    X(registers_in_memory, "addq %r9, %rax; movq %r10, %r11; incq %r9; imulq %r10, %rbx")          \
    X(load, "movq (%rbx), %rax; movl 8(%rdi), %ecx; movzbl (%rdx,%rcx,4), %eax")                   \
    X(store, "movq %rax, (%rbx); movl $7, 0x10(%rdi); movb %al, (%rdx,%rcx,1)")                    \
    X(read_modify_write, "addl %eax, (%rbx); incl (%rdx); lock; xaddl %eax, (%rbx)")               \
    X(rip_relative, "movq 0x1000(%rip), %rax; leaq 0x10(%rip), %rcx")                              \
    X(fs_relative, "movq %fs:0x28, %rax; movl %eax, %gs:(%rbx)")                                   \
    X(stack_near_rsp, "movq 8(%rsp), %rax; movq %rax, 0x18(%rsp); leaq 0x20(%rsp), %rdi")          \
    X(push_pop, "pushq %rax; pushq %rcx; pushq $5; popq %r9; popq %rdx; popq %rbx")                \
    X(frame, "pushq %rbp; movq %rsp, %rbp; subq $0x20, %rsp; leave")                               \
    X(flags_live_across_load, "cmpq %rax, %rbx; movq (%rdx), %rcx; adcq $0, %rax")                 \
    X(flags_dead_before_load, "cmpq %rax, %rbx; movq (%rdx), %rcx; testl %ecx, %ecx")              \
    X(compare_and_branch, "cmpl $10, %ecx; jne .+0x20")                                            \
    X(loop_back, "1: decl %ecx; jnz 1b")                                                           \
    X(branch_to_other_page, "testl %eax, %eax; je .+0x2000")                                       \
    X(jump, "jmp .+0x40")                                                                          \
    X(jump_indirect, "jmp *%rax")                                                                  \
    X(jump_table, "jmp *(%rdx,%rcx,8)")                                                            \
    X(call, "call .+0x40")                                                                         \
    X(call_other_page, "call .+0x3000")                                                            \
    X(call_indirect, "call *%rax")                                                                 \
    X(call_memory, "call *0x10(%rbx)")                                                             \
    X(ret, "ret")                                                                                  \
    X(ret_drop, "ret $16")                                                                         \
    X(shifts, "shll $3, %eax; sarq %cl, %rbx; rolw $1, %dx; shrdl %cl, %eax, %ebx")                \
    X(multiply_divide, "mull %ecx; imulq %rbx, %rax; divl %ecx; idivq (%rbx)")                     \
    X(bits, "bsfl %ecx, %eax; btl $3, %edx; bswapl %ecx; setz %al; cmovneq %rdi, %rax")            \
    X(compare_exchange, "lock; cmpxchgq %rcx, (%rbx); xchgl %eax, (%rdx)")                         \
    X(high_bytes, "movb %ch, %al; addb %ah, (%rbx); movzbl %bh, %eax")                             \
    X(high_byte_of_rcx, "addb $1, %ch; adcb %cl, %ch; xchgb %ch, (%rbx); movsbl %ch, %edx")        \
    X(zeroes, "xorl %r9d, %r9d; subq %r10, %r10; xorl %r10d, %r11d; xorl %eax, %eax")              \
    X(homes,                                                                                       \
      "adcq %r9, %rdx; movl %r10d, %esi; cmpb %r11b, %dil; movq %rdi, %r9; movl %edi, %r9d")       \
    X(bits_in_memory, "btsq %rcx, 8(%rbx); btl %esi, (%rax)")                                      \
    X(selectors, "movl %ss, %eax; movq %cs, %r9")                                                  \
    X(interpreted, "movl $1, %eax; cpuid; addl $1, %eax")                                          \
    X(loop, "1: incl %eax; loop 1b")                                                               \
    X(loop_if_not_equal, "1: cmpl %eax, %edx; loopne 1b")                                          \
    X(jump_if_rcx_zero, "testl %eax, %eax; jrcxz .+0x20")                                          \
    X(flags_to_stack_and_back, "cmpl %eax, %ebx; pushfq; popfq")                                   \
    X(string, "movl $4, %ecx; rep; stosq; addl $1, %eax")                                          \
    X(string_elements, "lodsb; stosl; movsq")                                                      \
    X(sse_registers, "movaps %xmm1, %xmm0; addps %xmm2, %xmm0; pxor %xmm9, %xmm9")                 \
    X(sse_memory, "movups (%rbx), %xmm0; movaps %xmm0, (%rdx); cvtsi2sdq %rcx, %xmm1")             \
    X(x87, "fldl (%rbx); faddp; fstpl 8(%rbx)")                                                    \
    X(ends_before_system, "movl $1, %eax; cpuid")

#define BLOB(name, text) FLAT_CODE(name, text "\n\t" FLAT_EXIT);
SEQUENCES(BLOB)

struct sequence {
    const char *name;
    const uint8_t *code, *end;
};
#define ROW(name, text) {#name, name, name##_end},
static const struct sequence sequences[] = {SEQUENCES(ROW)};

/* ---- names for addresses ---- */

static char *glue_name(const struct tr_cache *k, uint32_t off)
{
#define GLUE(field)                                                                                \
    if (off == k->glue.field)                                                                      \
        return g_strdup("glue." #field);
    GLUE(exit_host)
    GLUE(exit_mem)
    GLUE(exit_indirect)
    GLUE(indirect[0])
    GLUE(kept[0])
    GLUE(ret_miss[0])
    GLUE(bail)
    GLUE(fill)
    GLUE(cross[0])
    GLUE(interp)
    GLUE(system)
    GLUE(vec_load)
    GLUE(x87_load) GLUE(stack[0][0]) GLUE(stack[0][1]) GLUE(rep[0][1][3]) return NULL;
}

static char *field_name(const struct jit_cpu *c, uint64_t at)
{
    const struct tr_jump *j = c->tr.cache->jump;
    const struct tlb_ctx *x = c->tlb_now;
    static const char *const gpr[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
#define FIELD(name, lvalue)                                                                        \
    if (at >= (uintptr_t) & (lvalue) && at < (uintptr_t) & (lvalue) + sizeof(lvalue)) {            \
        uint64_t in = at - (uintptr_t) & (lvalue);                                                 \
        return in ? g_strdup_printf(name "+%" PRIu64, in) : g_strdup(name);                        \
    }
    for (unsigned r = 0; r < 16; r++)
        if (at == (uintptr_t)&c->st.gpr[r])
            return g_strdup_printf("gpr.%s", gpr[r]);
    FIELD("fs.base", c->st.seg[SEG_FS].base)
    FIELD("gs.base", c->st.seg[SEG_GS].base)
    FIELD("rip", c->st.rip)
    FIELD("rflags", c->st.rflags)
    FIELD("xsave", c->st.xsave)
    FIELD("fl", c->fl)
    FIELD("x87_live", c->x87_live)
    FIELD("go", c->tr.go)
    FIELD("vec_live", c->tr.vec_live)
    FIELD("link", c->tr.link)
    FIELD("value", c->tr.value)
    FIELD("target", c->tr.target)
    FIELD("callee", c->tr.callee)
    FIELD("keep", c->tr.keep)
    FIELD("bounce", c->tr.bounce)
    FIELD("tr", c->tr)
    FIELD("stack.tag", x->stack.tag)
    FIELD("stack.host", x->stack.host)
    FIELD("rd.tag", x->rd[0].tag)
    FIELD("rd.host", x->rd[0].host)
    FIELD("wr.tag", x->wr[0].tag)
    FIELD("wr.host", x->wr[0].host)
    for (unsigned n = 0; n < TLB_EXEC_SIZE; n++)
        if (at == (uintptr_t)&x->exec_id[n])
            return g_strdup_printf("exec_id[%u]", n);
    FIELD("jump.rip", j->rip)
    FIELD("jump.code", j->code)
    FIELD("jump.id", j->id)
    if (at - (uintptr_t)c < sizeof(*c))
        return g_strdup("vcpu");
    return NULL;
}

static char *name_of(const struct jit_cpu *c, const struct tblock *t, uint64_t at)
{
    const struct tr_cache *k = c->tr.cache;
    uint64_t off = at - tr_rx(k, 0);

    if (off >= t->code && off <= t->end)
        return g_strdup_printf("+%" PRIu64, off - t->code);
    if (off >= t->aside && off <= t->aside_end)
        return g_strdup_printf("aside+%" PRIu64, off - t->aside);
    return off < k->bytes ? glue_name(k, (uint32_t)off) : field_name(c, at);
}

/* Appends text with every number that is such an address replaced. */
static void append_named(GString *out, const struct jit_cpu *c, const struct tblock *t,
                         const char *text)
{
    while (*text) {
        char *end = NULL;
        if (strncmp(text, "0x", 2)) {
            g_string_append_c(out, *text++);
            continue;
        }
        g_autofree char *name = name_of(c, t, g_ascii_strtoull(text, &end, 16));
        g_string_append_len(out, name ? name : text, name ? -1 : end - text);
        text = end;
    }
}

/* ---- ---- */

static void append_code(GString *out, const struct jit_cpu *c, const struct tblock *t,
                        const uint8_t *p, size_t bytes, uint64_t rip)
{
    ZydisDecoder dec;
    ZydisFormatter form;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    char text[160];

    ZydisDecoderInit(&dec, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisFormatterInit(&form, ZYDIS_FORMATTER_STYLE_ATT);
    for (size_t at = 0; at < bytes; at += z.length) {
        bool ok = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&dec, p + at, bytes - at, &z, op));
        g_assert_true(ok);
        ZydisFormatterFormatInstruction(&form, &z, op, z.operand_count_visible, text, sizeof(text),
                                        rip + at, NULL);
        if (t)
            g_string_append_printf(out, "%4zu  ", at);
        else
            g_string_append(out, "# ");
        if (t)
            append_named(out, c, t, text);
        else
            g_string_append(out, text);
        g_string_append_c(out, '\n');
    }
}

static char *translate(const struct sequence *s)
{
    struct flat *f = flat_new_with("tier=jit");
    struct jit_cpu *c = flat_cpu(f);
    GString *out = g_string_new(NULL);
    struct block *b;

    flat_load(f, FLAT_CODE_AT, s->code, s->end);
    b = icache_lookup(c);
    for (unsigned k = 0; k < 4 && !b->page; k++)
        b = icache_lookup(c);
    g_assert_nonnull(b->page);
    const struct tblock *t = tr_translate(c, b, tr_key(c), 1);
    g_assert_nonnull(t);
    append_code(out, c, NULL, s->code, t->off[t->count - 1] + icache_insns(c, b)[t->count - 1].len,
                FLAT_CODE_AT);
    append_code(out, c, t, c->tr.cache->rw + t->code, t->end - t->code,
                tr_rx(c->tr.cache, t->code));
    if (t->aside_end > t->aside + 1) {
        g_string_append(out, "aside\n");
        append_code(out, c, t, c->tr.cache->rw + t->aside, t->aside_end - t->aside,
                    tr_rx(c->tr.cache, t->aside));
    }
    flat_free(f);
    return g_string_free(out, FALSE);
}

static void test_sequence(const void *arg)
{
    const struct sequence *s = arg;
    const char *folder = g_getenv("HANOK_GOLDEN");
    g_autoptr(GError) err = NULL;
    g_autofree char *want = NULL, *file = NULL, *got = translate(s);

    if (!__builtin_cpu_supports("bmi2")) {
        g_test_skip("the expected texts use BMI2, which this host does not have");
        return;
    }
    if (!folder) {
        g_test_skip("HANOK_GOLDEN does not name the folder with the expected texts");
        return;
    }
    file = g_strdup_printf("%s/%s.txt", folder, s->name);
    if (g_getenv("HANOK_TEST_REGENERATE")) {
        g_file_set_contents(file, got, -1, &err);
        g_assert_no_error(err);
        return;
    }
    g_file_get_contents(file, &want, NULL, &err);
    g_assert_no_error(err);
    if (strcmp(want, got))
        g_test_message("%s: translated to\n%s", file, got);
    g_assert_cmpstr(got, ==, want);
}

/* Where the vcpu and its code lie does not show: another one, allocated beside the first, makes the
 * same text. */
static void test_text_does_not_depend_on_addresses(void)
{
    struct flat *other = flat_new_with("tier=jit");

    for (size_t k = 0; k < G_N_ELEMENTS(sequences); k++) {
        g_autofree char *a = translate(&sequences[k]);
        struct flat *third = flat_new_with("tier=jit");
        g_autofree char *b = translate(&sequences[k]);
        g_assert_cmpstr(a, ==, b);
        flat_free(third);
    }
    flat_free(other);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (size_t k = 0; k < G_N_ELEMENTS(sequences); k++) {
        g_autofree char *path = g_strdup_printf("/cpu/golden/%s", sequences[k].name);
        g_test_add_data_func(path, &sequences[k], test_sequence);
    }
    g_test_add_func("/cpu/golden/text_does_not_depend_on_addresses",
                    test_text_does_not_depend_on_addresses);
    return g_test_run();
}
