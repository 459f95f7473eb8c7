/* test_diff.c - the interpreter against the host CPU, instruction by instruction.
 *
 *   test_cpu_diff                          bounded run of the fast suite
 *   test_cpu_diff --cases N --seed S       as long as you like; seed 0 is another one each time
 *   test_cpu_diff --only addps ...         one mnemonic
 *   test_cpu_diff --set integer|fpu|evex|blocks|evex_blocks */
#include "diff.h"

#include <Zydis/Zydis.h>

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH         512
#define CASES_FAST    100000 /* of each set in the fast suite: some 15 s together */
#define CASES_EVEX    40000
#define CASES_BLOCKS  20000
#define FLAGS_IGNORED 0x10100u /* TF: the child is stepped; RF: set in the frame by faults */
/* From here up the host's process or kernel has pages that the guest has not. */
#define HOST_OWN 0x7ff000000000ull
/* The software CPU keeps its own memory there, and the child has inherited it. */
#define HOST_LOW(a) ((a) >= 0x40000000ull && (a) < 0x80000000ull)
/* The address sanitizer's shadow is mapped in the child: what strays there does not fault. */
#ifdef __SANITIZE_ADDRESS__
#define HOST_SHADOW(a) ((a) >= 0x7fff8000ull && (a) < 0x10007fff8000ull)
#else
#define HOST_SHADOW(a) false
#endif

static struct {
    gint64 cases, seed;
    gchar *only, *set;
    gint show;
} options = {.cases = 0, .seed = 1, .show = 20};

struct run {
    struct diff_gen *gen;
    struct diff_native *native;
    struct diff_guest *guest;
    uint64_t done, lost, faults, different;
    bool blocks; /* runs of instructions */
    bool jit;    /* translated */
};

/* ---- what may differ ---- */

/* The host keeps the last instruction's pointers; outside an exception handler nobody can tell
 * FDP of an instruction without memory operand, so only FIP and FOP must agree when it ran. */
static void forgive_pointers(const struct diff_case *t, struct diff_result *a,
                             struct diff_result *b)
{
    (void)t;
    memcpy(b->out.xsave + 6, a->out.xsave + 6, 18);
}

static ZyanStatus decode(const struct diff_case *t, unsigned at, ZydisDecodedInstruction *z,
                         ZydisDecodedOperand *op)
{
    ZydisDecoder dec;

    ZydisDecoderInit(&dec,
                     t->code32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 : ZYDIS_MACHINE_MODE_LONG_64,
                     t->code32 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_64);
    return ZydisDecoderDecodeFull(&dec, t->bytes + at, t->len - at, z, op);
}

/* Microcode looks at the pieces of a long operand in its own order. */
static void forgive_cr2(const ZydisDecodedInstruction *z, struct diff_result *r)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_FNSTENV:
    case ZYDIS_MNEMONIC_FLDENV:
    case ZYDIS_MNEMONIC_FNSAVE:
    case ZYDIS_MNEMONIC_FRSTOR:
    case ZYDIS_MNEMONIC_FXSAVE:
    case ZYDIS_MNEMONIC_FXSAVE64:
    case ZYDIS_MNEMONIC_FXRSTOR:
    case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
        r->cr2 = r->error = 0;
        break;
    default:
        break;
    }
}

/* Flags that the architecture leaves undefined are compared like all others, because the
 * interpreter runs the host's own instruction; but these have none in 64-bit mode. */
static void forgive_flags(const ZydisDecodedInstruction *z, struct diff_result *r)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_AAA:
    case ZYDIS_MNEMONIC_AAS:
    case ZYDIS_MNEMONIC_AAD:
    case ZYDIS_MNEMONIC_AAM:
    case ZYDIS_MNEMONIC_DAA:
    case ZYDIS_MNEMONIC_DAS:
        r->out.rflags &= ~(uint64_t)z->cpu_flags->undefined;
        break;
    default:
        break;
    }
}

struct fault {
    int trap;
    uint64_t error, cr2;
};

static bool is_mapped(uint64_t a)
{
    return (a >= CODE_BASE && a < CODE_BASE + PAGE) ||
           (a >= DATA_BASE && a < DATA_BASE + DATA_BYTES);
}

/* What reading one byte after the other raises, as normalise leaves it. */
static struct fault read_fault(const struct diff_case *t, uint64_t a, unsigned size)
{
    struct fault f = {.trap = TRAP_NONE};

    for (unsigned k = 0; k < size; k++, a++) {
        if (t->code32)
            a = (uint32_t)a;
        if ((uint64_t)((int64_t)(a << 16) >> 16) != a)
            return (struct fault){.trap = 13};
        if (!is_mapped(a) && f.trap == TRAP_NONE)
            f = (struct fault){14, 4, a};
    }
    return f;
}

static bool is_fault(const struct diff_result *r, const struct fault *f)
{
    return r->trap == f->trap && r->error == f->error && r->cr2 == f->cr2;
}

/* Which operand CMPS reads first is the processor's own matter: when both fault, either fault is
 * right. */
static void forgive_cmps_order(const struct diff_case *t, const ZydisDecodedInstruction *z,
                               const struct diff_result *native, struct diff_result *guest)
{
    enum { RSI = 6 }; /* and RDI, the next */
    unsigned size = z->opcode & 1 ? z->operand_width / 8 : 1;
    struct fault f[2];

    if (z->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT || (z->opcode & 0xfe) != 0xa6)
        return;
    for (unsigned k = 0; k < 2; k++) {
        uint64_t a = native->out.gpr[RSI + k];
        if (z->address_width < 64)
            a &= (1ull << z->address_width) - 1;
        f[k] = read_fault(t, a, size);
        if (f[k].trap == TRAP_NONE)
            return;
    }
    if ((is_fault(native, &f[0]) && is_fault(guest, &f[1])) ||
        (is_fault(native, &f[1]) && is_fault(guest, &f[0]))) {
        guest->trap = native->trap;
        guest->error = native->error;
        guest->cr2 = native->cr2;
    }
}

/* ---- comparing ---- */

static void normalise(const struct diff_case *t, const ZydisDecodedInstruction *z,
                      struct diff_result *r)
{
    r->out.rflags &= ~(uint64_t)FLAGS_IGNORED;
    /* A faulting POPA leaves some registers loaded on some hosts. */
    if (r->trap != TRAP_NONE &&
        (z->mnemonic == ZYDIS_MNEMONIC_POPA || z->mnemonic == ZYDIS_MNEMONIC_POPAD))
        memset(r->out.gpr, 0, sizeof(r->out.gpr));
    if (t->code32) {
        r->out.rip = (uint32_t)r->out.rip;
        /* Some instructions leave their 64-bit result above what such code can see (KMOVQ). */
        for (unsigned k = 0; k < 16; k++)
            r->out.gpr[k] = k < 8 ? (uint32_t)r->out.gpr[k] : 0;
    }
    if (r->trap != 14)
        r->cr2 = 0;
    forgive_cr2(z, r);
    forgive_flags(z, r);
    if (r->trap == 14 && r->cr2 >= HOST_OWN)
        r->error &= ~1ull;
    if (r->trap == TRAP_NONE)
        r->error = 0;
    /* MXCSR_MASK, header and reserved bytes are not registers. */
    memset(r->out.xsave + 28, 0, 4);
    memset(r->out.xsave + 416, 0, 576 - 416);
    r->out.xsave[5] = 0;
    for (unsigned k = 0; k < 8; k++)
        memset(r->out.xsave + 32 + 16 * k + 10, 0, 6);
}

static void print_case(const struct diff_case *t)
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
    ZydisFormatter f;
    char text[128] = "?";

    ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
    for (unsigned at = 0; at < t->len; at += z.length) {
        if (!ZYAN_SUCCESS(decode(t, at, &z, op)))
            break;
        ZydisFormatterFormatInstruction(&f, &z, op, z.operand_count_visible, text, sizeof(text),
                                        t->in.rip + at, NULL);
        printf("# %s%s\n", text, t->code32 ? " (32-bit)" : "");
    }
    printf("#  ");
    for (unsigned k = 0; k < t->len; k++)
        printf(" %02x", t->bytes[k]);
    printf("\n");
}

static void print_u64(const char *name, uint64_t in, uint64_t native, uint64_t guest)
{
    if (native != guest)
        printf("#   %-8s in %016llx host %016llx guest %016llx\n", name, (unsigned long long)in,
               (unsigned long long)native, (unsigned long long)guest);
}

static void print_bytes(const char *name, const uint8_t *in, const uint8_t *native,
                        const uint8_t *guest, unsigned len)
{
    if (memcmp(native, guest, len) == 0)
        return;
    printf("#   %-8s", name);
    const uint8_t *all[3] = {in, native, guest};
    for (unsigned v = 0; v < 3; v++) {
        printf(" %s ", v == 0 ? "in" : v == 1 ? "host" : "guest");
        for (unsigned k = len; k-- > 0;)
            printf("%02x", all[v][k]);
    }
    printf("\n");
}

static void vector_bytes(const struct diff_state *s, unsigned n, uint8_t to[64])
{
    for (unsigned k = 0; k < 64; k++)
        to[k] = *diff_vector_byte((struct diff_state *)s, n, k);
}

static void print_vector(unsigned number, const struct diff_case *t, const struct diff_result *n,
                         const struct diff_result *g)
{
    uint8_t all[3][64];
    char name[8];

    vector_bytes(&t->in, number, all[0]);
    vector_bytes(&n->out, number, all[1]);
    vector_bytes(&g->out, number, all[2]);
    snprintf(name, sizeof(name), "zmm%u", number);
    print_bytes(name, all[0], all[1], all[2], 64);
}

static void print_fpu(const struct diff_case *t, const struct diff_result *n,
                      const struct diff_result *g)
{
    static const struct {
        const char *name;
        unsigned off, len;
    } part[] = {{"fcw", 0, 2}, {"fsw", 2, 2},  {"ftw", 4, 1},   {"fop", 6, 2},
                {"fip", 8, 8}, {"fdp", 16, 8}, {"mxcsr", 24, 4}};
    char name[8];

    for (unsigned k = 0; k < G_N_ELEMENTS(part); k++)
        print_bytes(part[k].name, t->in.xsave + part[k].off, n->out.xsave + part[k].off,
                    g->out.xsave + part[k].off, part[k].len);
    for (unsigned k = 0; k < 8; k++) {
        unsigned off = 32 + 16 * k;

        snprintf(name, sizeof(name), "st%u", k);
        print_bytes(name, t->in.xsave + off, n->out.xsave + off, g->out.xsave + off, 16);
        off = xsave_parts()[XSAVE_PART_OPMASK].offset + 8 * k;
        snprintf(name, sizeof(name), "k%u", k);
        print_bytes(name, t->in.xsave + off, n->out.xsave + off, g->out.xsave + off, 8);
    }
    for (unsigned k = 0; k < 32; k++)
        print_vector(k, t, n, g);
}

static void print_difference(const struct diff_case *t, const struct diff_result *n,
                             const struct diff_result *g)
{
    static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                          "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    unsigned shown = 0;

    print_case(t);
    if (n->trap != g->trap || n->error != g->error || n->cr2 != g->cr2)
        printf("#   trap     host %d/%llx/%llx guest %d/%llx/%llx\n", n->trap,
               (unsigned long long)n->error, (unsigned long long)n->cr2, g->trap,
               (unsigned long long)g->error, (unsigned long long)g->cr2);
    print_u64("rip", t->in.rip, n->out.rip, g->out.rip);
    print_u64("rflags", t->in.rflags, n->out.rflags, g->out.rflags);
    for (unsigned k = 0; k < 16; k++)
        print_u64(names[k], t->in.gpr[k], n->out.gpr[k], g->out.gpr[k]);
    print_fpu(t, n, g);
    for (unsigned k = 0; k < DATA_BYTES && shown < 8; k++)
        if (n->data[k] != g->data[k] && ++shown)
            printf("#   [%llx] in %02x host %02x guest %02x\n", (unsigned long long)(DATA_BASE + k),
                   t->data[k], n->data[k], g->data[k]);
}

static bool same(const struct diff_result *a, const struct diff_result *b)
{
    return a->trap == b->trap && a->error == b->error && a->cr2 == b->cr2 &&
           a->out.rip == b->out.rip && a->out.rflags == b->out.rflags &&
           memcmp(a->out.gpr, b->out.gpr, sizeof(a->out.gpr)) == 0 &&
           memcmp(a->out.xsave, b->out.xsave, XS_BYTES) == 0 &&
           memcmp(a->data, b->data, DATA_BYTES) == 0;
}

/* A translated instruction that sets all flags need not keep the old ones for the time that it may
 * still fault (docs/cpu.md). */
static void forgive_flags_of_fault(struct diff_result *a, struct diff_result *b)
{
    if (a->trap != TRAP_NONE && a->trap == b->trap)
        b->out.rflags = (b->out.rflags & ~0x8d5ull) | (a->out.rflags & 0x8d5);
}

/* Branches leave the block, a port is open there, PUSHF shows that the child is stepped. */
static bool not_in_a_block(const ZydisDecodedInstruction *z)
{
    return z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE ||
           z->meta.category == ZYDIS_CATEGORY_INTERRUPT || z->meta.category == ZYDIS_CATEGORY_IO ||
           z->meta.category == ZYDIS_CATEGORY_IOSTRINGOP || z->mnemonic == ZYDIS_MNEMONIC_PUSHF ||
           z->mnemonic == ZYDIS_MNEMONIC_PUSHFD || z->mnemonic == ZYDIS_MNEMONIC_PUSHFQ;
}

static void compare_run(struct run *r, const struct diff_case *t, const struct diff_result *native)
{
    static const ZydisDecodedInstruction none;
    static struct diff_result n, g;

    r->lost += !native->done;
    if (!native->done)
        return;
    r->done++;
    r->faults += native->trap != TRAP_NONE;
    if (native->trap != TRAP_NONE)
        return;
    n = *native;
    diff_guest_run_block(r->guest, t, &g);
    normalise(t, &none, &n);
    normalise(t, &none, &g);
    forgive_pointers(t, &n, &g);
    if (same(&n, &g))
        return;
    if (r->different++ < (unsigned)options.show)
        print_difference(t, &n, &g);
}

static void compare(struct run *r, const struct diff_case *t, const struct diff_result *native)
{
    static struct diff_result n, g;
    ZydisDecodedInstruction z;
    ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];

    if (!ZYAN_SUCCESS(decode(t, 0, &z, op)))
        g_assert_not_reached();
    if (!native->done) {
        r->lost++;
        if (r->lost < 10) {
            printf("# lost: ");
            print_case(t);
        }
        return;
    }
    n = *native;
    if (r->jit && not_in_a_block(&z))
        return;
    if (r->jit)
        diff_guest_run_block(r->guest, t, &g);
    else
        diff_guest_run(r->guest, t, &g);
    if (n.trap == TRAP_NONE && g.trap == 14 && (HOST_SHADOW(g.cr2) || HOST_LOW(g.cr2)))
        return;
    normalise(t, &z, &n);
    normalise(t, &z, &g);
    forgive_pointers(t, &n, &g);
    if (r->jit)
        forgive_flags_of_fault(&n, &g);
    forgive_cmps_order(t, &z, &n, &g);
    r->done++;
    r->faults += n.trap != TRAP_NONE;
    if (same(&n, &g))
        return;
    if (r->different++ < (unsigned)options.show)
        print_difference(t, &n, &g);
}

static void run_cases(struct run *r, uint64_t count)
{
    struct diff_case *cases = diff_native_cases(r->native);

    while (count) {
        unsigned n = count < BATCH ? (unsigned)count : BATCH;

        for (unsigned k = 0; k < n; k++)
            (r->blocks ? diff_gen_run : diff_gen_case)(r->gen, &cases[k]);
        diff_native_run(r->native, n);
        for (unsigned k = 0; k < n; k++)
            (r->blocks ? compare_run : compare)(r, &cases[k], &diff_native_results(r->native)[k]);
        count -= n;
    }
}

static bool host_has_avx512(void)
{
    return (diff_components() & XSAVE_AVX512) == XSAVE_AVX512 && __builtin_cpu_supports("avx512vl");
}

/* By the interpreter; translated; for memory that is mapped directly; for any address. */
#define INTERP "tier=interp"
#define JIT    "tier=jit,direct=off"
#define DIRECT "tier=jit,direct=always"
#define PLACES "tier=jit,direct=off,places=always"
#define BOTH   "tier=jit,direct=always,places=always"

static void test_set(enum diff_set set, bool blocks, const char *how, uint64_t count)
{
    if ((set & SET_EVEX) && !host_has_avx512()) {
        g_test_skip("the host has no AVX-512");
        return;
    }
    uint64_t seed = options.seed ? (uint64_t)options.seed : (uint64_t)g_get_real_time();
    struct run r = {.blocks = blocks,
                    .jit = strcmp(how, INTERP) != 0,
                    .gen = diff_gen_new(seed, set, options.only),
                    .native = diff_native_new(BATCH),
                    .guest = diff_guest_new(how)};

    if (options.cases)
        count = (uint64_t)options.cases;

    printf("# seed %llu, %llu cases\n", (unsigned long long)seed, (unsigned long long)count);
    run_cases(&r, count);
    printf("# %llu compared, %llu faulting, %llu lost, %u mnemonics, %llu different\n",
           (unsigned long long)r.done, (unsigned long long)r.faults, (unsigned long long)r.lost,
           diff_gen_coverage(r.gen), (unsigned long long)r.different);
    g_assert_cmpuint(r.different, ==, 0);
    g_assert_cmpuint(r.lost * 1000, <=, r.done);
    if (strcmp(how, DIRECT) == 0 || strcmp(how, BOTH) == 0)
        g_assert_cmpuint(diff_guest_direct_pages(r.guest), >, 0);
    diff_guest_free(r.guest);
    diff_native_free(r.native);
    diff_gen_free(r.gen);
}

#define SETS(X)                                                                                    \
    X(integer, SET_INTEGER, false, CASES_FAST)                                                     \
    X(fpu, SET_FPU, false, CASES_FAST)                                                             \
    X(blocks, SET_ALL, true, CASES_BLOCKS)                                                         \
    X(evex, SET_EVEX, false, CASES_EVEX)                                                           \
    X(evex_blocks, SET_EVEX | SET_FPU, true, CASES_BLOCKS)
#define WAY(WAY, HOW, NAME, SET, BLOCKS, COUNT)                                                    \
    static void test_##WAY##_##NAME(void)                                                          \
    {                                                                                              \
        test_set(SET, BLOCKS, HOW, COUNT);                                                         \
    }
#define TESTS(...)                                                                                 \
    WAY(interp, INTERP, __VA_ARGS__)                                                               \
    WAY(jit, JIT, __VA_ARGS__)                                                                     \
    WAY(direct, DIRECT, __VA_ARGS__)                                                               \
    WAY(places, PLACES, __VA_ARGS__)                                                               \
    WAY(both, BOTH, __VA_ARGS__)
SETS(TESTS)

int main(int argc, char **argv)
{
    static const GOptionEntry entries[] = {
        {"cases", 0, 0, G_OPTION_ARG_INT64, &options.cases, "how many", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &options.seed,
         "random seed (default 1; 0: by the clock)", "S"},
        {"only", 0, 0, G_OPTION_ARG_STRING, &options.only, "one mnemonic", "NAME"},
        {"set", 0, 0, G_OPTION_ARG_STRING, &options.set,
         "integer, fpu, evex, blocks or evex-blocks", "SET"},
        {"show", 0, 0, G_OPTION_ARG_INT, &options.show, "differences to print", "N"},
        {NULL}};
    GOptionContext *o = g_option_context_new("- interpreter and translator against host CPU");

    g_option_context_add_main_entries(o, entries, NULL);
    g_option_context_set_ignore_unknown_options(o, TRUE);
    g_option_context_parse(o, &argc, &argv, NULL);
    g_option_context_free(o);
    g_test_init(&argc, &argv, NULL);
#define ADD(NAME, SET, BLOCKS, COUNT)                                                              \
    if (!options.set || strcmp(options.set, #NAME) == 0) {                                         \
        g_test_add_func("/cpu/diff/interp/" #NAME, test_interp_##NAME);                            \
        g_test_add_func("/cpu/diff/jit/" #NAME, test_jit_##NAME);                                  \
        g_test_add_func("/cpu/diff/direct/" #NAME, test_direct_##NAME);                            \
        g_test_add_func("/cpu/diff/places/" #NAME, test_places_##NAME);                            \
        g_test_add_func("/cpu/diff/both/" #NAME, test_both_##NAME);                                \
    }
    SETS(ADD)
    return g_test_run();
}
