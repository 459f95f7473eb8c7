/* hmp_memory.c - x, xp and p: looking at guest memory and values.
 *
 * Addresses are sums of numbers and CPU 0's $registers.  x walks CPU 0's page tables in software
 * (SDM vol.3 §4.3-4.5), reading only: it sets no accessed bits and raises no faults. */
#include "hmp.h"

#include "cpu/vcpu.h"
#include "mem/guest_mem.h"

#include <inttypes.h>

#define EXAMINE_MAX 65536 /* items: bounds the text one line can ask for */

struct format {
    uint32_t count;
    char letter;   /* x d u o c */
    unsigned size; /* bytes */
};

/* "/20xb ": count, letter, size in any order after the count.  Moves *args behind it. */
static bool parse_format(struct hmp *h, const char **args, struct format *f)
{
    const char *a = *args;
    if (*a == '/') {
        a++;
        if (g_ascii_isdigit(*a)) {
            f->count = 0;
        }
        for (; g_ascii_isdigit(*a); a++) {
            f->count = MIN_OF(f->count * 10 + (*a - '0'), EXAMINE_MAX + 1);
        }
        for (; *a && *a != ' '; a++) {
            static const char sizes[] = "bhwg";
            const char *size = strchr(sizes, *a);
            if (size) {
                f->size = 1u << (size - sizes);
            } else if (strchr("xduoc", *a)) {
                f->letter = *a;
            } else {
                hmp_printf(h, "Error: format '%c' is not one of x d u o c b h w g\n", *a);
                return false;
            }
        }
    }
    if (f->count > EXAMINE_MAX) {
        hmp_printf(h, "Error: at most %u items at a time\n", EXAMINE_MAX);
        return false;
    }
    *args = a + strspn(a, " ");
    return true;
}

/* ---- expressions ---- */

struct look {
    struct x86_state *cpu0; /* NULL: no CPU */
};

static bool register_value(struct look *l, const char *name, uint64_t *out)
{
    static const char *const gprs[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                       "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    if (!l->cpu0) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(gprs); i++) {
        if (!strcmp(name, gprs[i])) {
            *out = l->cpu0->gpr[i];
            return true;
        }
    }
    const struct {
        const char *name;
        uint64_t value;
    } others[] = {{"rip", l->cpu0->rip}, {"pc", l->cpu0->rip},    {"rflags", l->cpu0->rflags},
                  {"cr0", l->cpu0->cr0}, {"cr2", l->cpu0->cr2},   {"cr3", l->cpu0->cr3},
                  {"cr4", l->cpu0->cr4}, {"efer", l->cpu0->efer}, {"sp", l->cpu0->gpr[4]}};
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
        if (!strcmp(name, others[i].name)) {
            *out = others[i].value;
            return true;
        }
    }
    return false;
}

static bool term_value(struct look *l, const char *term, uint64_t *out)
{
    if (*term == '$') {
        return register_value(l, term + 1, out);
    }
    bool hex = g_str_has_prefix(term, "0x") || g_str_has_prefix(term, "0X");
    guint64 n;
    bool ok = hex ? g_ascii_string_to_unsigned(term + 2, 16, 0, UINT64_MAX, &n, NULL)
                  : g_ascii_string_to_unsigned(term, 10, 0, UINT64_MAX, &n, NULL);
    *out = n;
    return ok;
}

static bool evaluate(struct hmp *h, struct look *l, const char *text, uint64_t *out)
{
    uint64_t sum = 0;
    bool minus = false;
    do {
        text += strspn(text, " ");
        size_t n = strcspn(text, "+- ");
        g_autofree char *term = g_strndup(text, n);
        uint64_t v = 0;
        if (!*term || !term_value(l, term, &v)) {
            hmp_printf(h, "Error: '%s' is neither a number nor a $register\n", term);
            return false;
        }
        sum += minus ? -v : v;
        text += n + strspn(text + n, " ");
        minus = *text == '-';
    } while (*text && text++);
    *out = sum;
    return true;
}

/* ---- page walk ---- */

#define PTE_PRESENT 1ull
#define PTE_LARGE   (1ull << 7)
#define PTE_ADDR    0x000ffffffffff000ull
#define CR0_PG      (1ull << 31)
#define CR4_PSE     (1ull << 4)
#define CR4_PAE     (1ull << 5)
#define CR4_LA57    (1ull << 12)
#define EFER_LMA    (1ull << 10)

static bool walk32(struct guest_mem *mem, const struct x86_state *s, uint32_t va, uint64_t *pa)
{
    uint32_t pde = 0, pte = 0;
    uint64_t base = s->cr3 & 0xfffff000;
    if (guest_mem_read(mem, GPA(base + (va >> 22) * 4), &pde, 4) || !(pde & PTE_PRESENT)) {
        return false;
    }
    if ((pde & PTE_LARGE) && (s->cr4 & CR4_PSE)) {
        *pa = (pde & 0xffc00000) | (uint64_t)((pde >> 13) & 0xff) << 32 | (va & 0x3fffff);
        return true;
    }
    if (guest_mem_read(mem, GPA((pde & 0xfffff000) + ((va >> 12) & 0x3ff) * 4), &pte, 4) ||
        !(pte & PTE_PRESENT)) {
        return false;
    }
    *pa = (pte & 0xfffff000) | (va & 0xfff);
    return true;
}

static bool walk64(struct guest_mem *mem, const struct x86_state *s, uint64_t va, uint64_t *pa)
{
    bool lma = s->efer & EFER_LMA;
    int level = !lma ? 3 : (s->cr4 & CR4_LA57) ? 5 : 4;
    uint64_t table = lma ? s->cr3 & PTE_ADDR : s->cr3 & 0xffffffe0;
    for (; level > 0; level--) {
        unsigned shift = 12 + 9 * (level - 1);
        uint64_t mask = !lma && level == 3 ? 3 : 0x1ff, entry = 0;
        if (guest_mem_read(mem, GPA(table + ((va >> shift) & mask) * 8), &entry, 8) ||
            !(entry & PTE_PRESENT)) {
            return false;
        }
        table = entry & PTE_ADDR;
        if (level == 1 || ((level == 2 || (level == 3 && lma)) && (entry & PTE_LARGE))) {
            uint64_t offset_mask = (1ull << shift) - 1;
            *pa = (table & ~offset_mask) | (va & offset_mask);
            return true;
        }
    }
    return false;
}

static bool translate(struct guest_mem *mem, const struct x86_state *s, uint64_t va, uint64_t *pa)
{
    if (!(s->cr0 & CR0_PG)) {
        *pa = (uint32_t)va;
        return true;
    }
    return s->cr4 & CR4_PAE ? walk64(mem, s, s->efer & EFER_LMA ? va : (uint32_t)va, pa)
                            : walk32(mem, s, (uint32_t)va, pa);
}

/* ---- the commands ---- */

static void print_value(struct hmp *h, const struct format *f, uint64_t v)
{
    int64_t sign = f->size == 8   ? (int64_t)v
                   : f->size == 4 ? (int32_t)v
                   : f->size == 2 ? (int16_t)v
                                  : (int8_t)v;
    switch (f->letter) {
    case 'd':
        hmp_printf(h, " %" PRId64, sign);
        break;
    case 'u':
        hmp_printf(h, " %" PRIu64, v);
        break;
    case 'o':
        hmp_printf(h, " 0%" PRIo64, v);
        break;
    case 'c':
        hmp_printf(h, g_ascii_isprint((char)v) ? " '%c'" : " '\\x%02x'", (unsigned)(v & 0xff));
        break;
    default:
        hmp_printf(h, " 0x%0*" PRIx64, (int)f->size * 2, v);
        break;
    }
}

struct examine {
    const char *args;
    bool physical;
};

static bool read_item(struct hmp *h, struct look *l, bool physical, uint64_t addr, void *buf,
                      unsigned size)
{
    struct guest_mem *mem = machine_mem(h->m);
    for (unsigned i = 0; i < size; i++) { /* an item may straddle two pages */
        uint64_t pa = addr + i;
        if ((!physical && !translate(mem, l->cpu0, addr + i, &pa)) ||
            guest_mem_read(mem, GPA(pa), (uint8_t *)buf + i, 1)) {
            return false;
        }
    }
    return true;
}

static void examine(struct hmp *h, struct look *l, const struct examine *e)
{
    struct format f = {.count = 1, .letter = 'x', .size = 4};
    const char *args = e->args;
    uint64_t addr;
    if (!parse_format(h, &args, &f) || !evaluate(h, l, args, &addr)) {
        return;
    }
    unsigned per_line = f.letter == 'c' ? 8 : 16 / f.size;
    for (uint32_t i = 0; i < f.count; i++, addr += f.size) {
        uint64_t v = 0;
        if (i % per_line == 0) {
            hmp_printf(h, "%s%016" PRIx64 ":", i ? "\n" : "", addr);
        }
        if (!read_item(h, l, e->physical, addr, &v, f.size)) {
            hmp_printf(h, "\nCannot access memory at 0x%" PRIx64 "\n", addr);
            return;
        }
        print_value(h, &f, v);
    }
    hmp_printf(h, "\n");
}

static void with_cpu0(struct hmp *h, struct cpu_set *s, void *opaque)
{
    struct look l = {.cpu0 = g_aligned_alloc0(1, sizeof(struct x86_state), 64)};
    const struct examine *e = opaque;
    vcpu_get_state(cpu_set_get(s, 0), l.cpu0);
    examine(h, &l, e);
    g_aligned_free(l.cpu0);
}

static void run_examine(struct hmp *h, struct examine e)
{
    if (!machine_mem(h->m)) {
        hmp_printf(h, "Error: this machine has no memory\n");
    } else if (machine_cpus(h->m)) {
        hmp_with_cpus_paused(h, with_cpu0, &e);
    } else if (e.physical) {
        struct look l = {0};
        examine(h, &l, &e);
    } else {
        hmp_printf(h, "Error: this machine has no CPU whose page tables could be used\n");
    }
}

void hmp_examine_virtual(struct hmp *h, const char *args)
{
    run_examine(h, (struct examine){.args = args});
}

void hmp_examine_physical(struct hmp *h, const char *args)
{
    run_examine(h, (struct examine){.args = args, .physical = true});
}

static void print_expression(struct hmp *h, struct look *l, const char *args)
{
    struct format f = {.count = 1, .letter = 'x', .size = 8};
    uint64_t v;
    if (!parse_format(h, &args, &f) || !evaluate(h, l, args, &v)) {
        return;
    }
    if (f.letter == 'x') {
        hmp_printf(h, "0x%" PRIx64 "\n", v);
        return;
    }
    GString *out = h->out;
    size_t start = out->len;
    print_value(h, &f, v);
    g_string_erase(out, start, 1);
    hmp_printf(h, "\n");
}

static void print_with_cpu0(struct hmp *h, struct cpu_set *s, void *opaque)
{
    struct look l = {.cpu0 = g_aligned_alloc0(1, sizeof(struct x86_state), 64)};
    vcpu_get_state(cpu_set_get(s, 0), l.cpu0);
    print_expression(h, &l, opaque);
    g_aligned_free(l.cpu0);
}

void hmp_print(struct hmp *h, const char *args)
{
    struct look l = {0};
    if (machine_cpus(h->m)) {
        hmp_with_cpus_paused(h, print_with_cpu0, (void *)args);
    } else {
        print_expression(h, &l, args);
    }
}
