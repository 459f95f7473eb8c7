/* format.c - registers as text, for people: info registers, crash dumps. */
#include "base/util.h"
#include "cpu/x86_state.h"

#include <glib.h>

#define X16 "%016" G_GINT64_MODIFIER "x"

static void format_gprs(GString *o, const struct x86_state *s)
{
    static const char *const names[16] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                          "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
    static const uint8_t order[16] = {R_RAX, R_RBX, R_RCX, R_RDX, R_RSI, R_RDI, R_RBP, R_RSP,
                                      8,     9,     10,    11,    12,    13,    14,    15};
    for (unsigned i = 0; i < 16; i++)
        g_string_append_printf(o, "%s=" X16 "%c", names[order[i]], s->gpr[order[i]],
                               i % 4 == 3 ? '\n' : ' ');
}

static void format_flags(GString *o, const struct x86_state *s)
{
    static const struct {
        uint8_t bit;
        char letter;
    } flags[] = {{11, 'O'}, {10, 'D'}, {9, 'I'}, {8, 'T'}, {7, 'S'},
                 {6, 'Z'},  {4, 'A'},  {2, 'P'}, {0, 'C'}};
    static const char *const mp[] = {"running", "waiting for SIPI", "INIT received", "halted"};
    char text[ARRAY_SIZE(flags) + 1] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
        text[i] = s->rflags & BIT64(flags[i].bit) ? flags[i].letter : '-';
    g_string_append_printf(o, "RIP=" X16 " RFL=%08x [%s] CPL=%u II=%u SMM=%u (%s)\n", s->rip,
                           (unsigned)s->rflags, text, SEG_DPL(s->seg[SEG_SS].attr), s->int_shadow,
                           s->in_smm, s->mp_state < ARRAY_SIZE(mp) ? mp[s->mp_state] : "?");
}

static const char *segment_kind(uint32_t attr, bool system)
{
    if (attr & SEG_UNUSABLE)
        return "unusable";
    if (!(attr & SEG_P))
        return "not present";
    if (system)
        return SEG_TYPE(attr) == 2 ? "LDT" : "TSS";
    if (!(SEG_TYPE(attr) & 8))
        return attr & SEG_DB ? "data32" : "data16";
    return attr & SEG_L ? "code64" : attr & SEG_DB ? "code32" : "code16";
}

static void format_segment(GString *o, const char *name, const struct x86_seg *g, bool system)
{
    g_string_append_printf(o, "%s=%04x " X16 " %08x %05x DPL=%u %s\n", name, g->sel, g->base,
                           g->limit, g->attr, SEG_DPL(g->attr), segment_kind(g->attr, system));
}

static void format_system(GString *o, const struct x86_state *s)
{
    g_string_append_printf(o, "GDT=     " X16 " %08x\n", s->gdt.base, s->gdt.limit);
    g_string_append_printf(o, "IDT=     " X16 " %08x\n", s->idt.base, s->idt.limit);
    g_string_append_printf(o, "CR0=%08x CR2=" X16 " CR3=" X16 " CR4=%08x CR8=%x\n",
                           (unsigned)s->cr0, s->cr2, s->cr3, (unsigned)s->cr4, (unsigned)s->cr8);
    g_string_append_printf(o, "DR0=" X16 " DR1=" X16 " DR2=" X16 " DR3=" X16 "\n", s->dr[0],
                           s->dr[1], s->dr[2], s->dr[3]);
    g_string_append_printf(o, "DR6=%08x DR7=%08x EFER=%04x XCR0=%x APICBASE=" X16 "\n",
                           (unsigned)s->dr[6], (unsigned)s->dr[7], (unsigned)s->efer,
                           (unsigned)s->xcr0, s->apic_base);
    g_string_append_printf(o, "STAR=" X16 " LSTAR=" X16 " CSTAR=" X16 " SFMASK=%08x KGS=" X16 "\n",
                           s->star, s->lstar, s->cstar, (unsigned)s->sfmask, s->kernel_gs_base);
    if (s->exception_pending)
        g_string_append_printf(o, "pending exception %u error %08x\n", s->exception_vector,
                               s->exception_error);
    if (s->interrupt_injected)
        g_string_append_printf(o, "pending interrupt %02x\n", s->interrupt_vector);
}

/* Quadword k of vector register n. */
static uint64_t zmm_word(const struct x86_state *s, unsigned n, unsigned k)
{
    const struct xsave_part *p = xsave_parts();
    unsigned at = n >= 16  ? p[XSAVE_PART_HI16].offset + 64 * (n - 16) + 8 * k
                  : k >= 4 ? p[XSAVE_PART_ZMM_HI].offset + 32 * n + 8 * (k - 4)
                  : k >= 2 ? p[XSAVE_PART_AVX].offset + 16 * n + 8 * (k - 2)
                           : 160 + 16 * n + 8 * k;

    return le64_get(s->xsave + at);
}

static void format_avx512(GString *o, const struct x86_state *s)
{
    for (unsigned i = 0; i < 8; i++)
        g_string_append_printf(o, "Opmask%02u=" X16 "%c", i,
                               le64_get(s->xsave + xsave_parts()[XSAVE_PART_OPMASK].offset + 8 * i),
                               i % 4 == 3 ? '\n' : ' ');
    for (unsigned i = 0; i < 32; i++) {
        g_string_append_printf(o, "ZMM%02u=", i);
        for (unsigned k = 8; k-- > 0;)
            g_string_append_printf(o, X16 "%s", zmm_word(s, i, k), k ? "" : "\n");
    }
}

static void format_fpu(GString *o, const struct x86_state *s)
{
    const uint8_t *x = s->xsave;
    g_string_append_printf(o, "FCW=%04x FSW=%04x FTW=%02x MXCSR=%08x\n", le16_get(x),
                           le16_get(x + 2), x[4], le32_get(x + 24));
    for (unsigned i = 0; i < 8; i++)
        g_string_append_printf(o, "FPR%u=%04x " X16 "%c", i, le16_get(x + 32 + 16 * i + 8),
                               le64_get(x + 32 + 16 * i), i % 2 ? '\n' : ' ');
    if (s->xcr0 & XSAVE_AVX512) {
        format_avx512(o, s);
        return;
    }
    for (unsigned i = 0; i < 16; i++)
        g_string_append_printf(o, "XMM%02u=" X16 X16 "%c", i, le64_get(x + 160 + 16 * i + 8),
                               le64_get(x + 160 + 16 * i), i % 2 ? '\n' : ' ');
}

char *x86_state_format(const struct x86_state *s)
{
    static const char *const names[SEG_COUNT] = {"ES ", "CS ", "SS ", "DS ", "FS ", "GS "};
    GString *o = g_string_new(NULL);
    format_gprs(o, s);
    format_flags(o, s);
    for (int i = 0; i < SEG_COUNT; i++)
        format_segment(o, names[i], &s->seg[i], false);
    format_segment(o, "LDT", &s->ldt, true);
    format_segment(o, "TR ", &s->tr, true);
    format_system(o, s);
    format_fpu(o, s);
    return g_string_free(o, FALSE);
}
