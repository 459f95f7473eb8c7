/* diff_guest.c - the interpreter's side: one vcpu in user mode under page tables that show what the
 * child of diff_native.c sees. */
#include "diff.h"

#include "accel.h"
#include "base/evloop.h"
#include "base/props.h"
#include "bus/io.h"
#include "jit/sys.h"
#include "jit/tr.h"
#include "mem/guest_mem.h"
#include "x86/model.h"

#include <cpuid.h>
#include <glib.h>
#include <string.h>

#define RAM_BYTES  (2u << 20)
#define GPA_PML4   0x1000u
#define GPA_PDPT   0x2000u
#define GPA_PD     0x3000u
#define GPA_PT     0x4000u /* two of them: code, data */
#define GPA_HIGH   0x6000u /* directory pointers, directory and table for the descriptor table */
#define GPA_CODE   0x10000u
#define GPA_DATA   0x11000u
#define GPA_GDT    0x18000u
#define GDT_BASE   0xffffff8000000000ull
#define TSS_AT     0x800u /* in the same page */
#define TSS_BITMAP 0x68u
#define TSS_LIMIT  0xa8u
#define EXIT_PORT  0xf4u

#define PTE_P  1u
#define PTE_RW 2u
#define PTE_US 4u
#define PTE_AD 0x60u
#define PTE_NX (1ull << 63)

struct diff_guest {
    struct cpu_set set;
    struct vcpu vcpu, *vcpus[1];
    struct cpu_model model;
    struct vm_clock *clock;
    struct guest_mem *mem;
    struct ram_block *ram;
    struct io_region exit;
    struct props *props;
    struct x86_state initial;
    uint8_t *host;
};

static void put64(struct diff_guest *g, uint64_t at, uint64_t v)
{
    memcpy(g->host + at, &v, 8);
}

static void map_page(struct diff_guest *g, unsigned table, unsigned index, uint64_t entry)
{
    put64(g, GPA_PT + PAGE * table + 8 * index, entry | PTE_P | PTE_AD);
}

static void make_page_tables(struct diff_guest *g)
{
    static const uint64_t areas[2] = {CODE_BASE, DATA_BASE};

    put64(g, GPA_PML4, GPA_PDPT | PTE_P | PTE_RW | PTE_US | 0x20);
    put64(g, GPA_PDPT, GPA_PD | PTE_P | PTE_RW | PTE_US | 0x20);
    for (unsigned k = 0; k < 2; k++)
        put64(g, GPA_PD + 8 * (areas[k] >> 21),
              (GPA_PT + PAGE * k) | PTE_P | PTE_RW | PTE_US | 0x20);
    map_page(g, 0, 0, GPA_CODE | PTE_US);
    for (unsigned k = 0; k < 3; k++)
        map_page(g, 1, k, (GPA_DATA + PAGE * k) | PTE_US | PTE_NX | (k < 2 ? PTE_RW : 0));
    put64(g, GPA_PML4 + 8 * 511, GPA_HIGH | PTE_P | PTE_RW | 0x20);
    put64(g, GPA_HIGH, (GPA_HIGH + PAGE) | PTE_P | PTE_RW | 0x20);
    put64(g, GPA_HIGH + PAGE, (GPA_HIGH + 2 * PAGE) | PTE_P | PTE_RW | 0x20);
    put64(g, GPA_HIGH + 2 * PAGE, GPA_GDT | PTE_P | PTE_RW | PTE_AD | PTE_NX);
}

/* The I/O bitmap forbids all ports, but for the one that ends a block. */
static void allow_exit(struct diff_guest *g, bool on)
{
    uint8_t *bitmap = g->host + GPA_GDT + TSS_AT + TSS_BITMAP;

    memset(bitmap, 0xff, TSS_LIMIT + 1 - TSS_BITMAP);
    if (on)
        bitmap[EXIT_PORT / 8] &= (uint8_t) ~(1u << EXIT_PORT % 8);
}

/* Linux' user segments, at the same selectors. */
static void make_gdt(struct diff_guest *g)
{
    put64(g, GPA_GDT + 0x20, 0x00cffb000000ffff);
    put64(g, GPA_GDT + 0x28, 0x00cff3000000ffff);
    put64(g, GPA_GDT + 0x30, 0x00affb000000ffff);
    put64(g, GPA_GDT + TSS_AT + 0x60, (uint64_t)TSS_BITMAP << 48);
    allow_exit(g, false);
}

static struct x86_seg flat(uint16_t sel, uint32_t type, uint32_t flags)
{
    return (struct x86_seg){
        .limit = 0xffffffff, .attr = type | SEG_S | 3u << 5 | SEG_P | SEG_G | flags, .sel = sel};
}

static void make_state(struct x86_state *s)
{
    s->cr0 = 0x80050033;
    s->cr3 = GPA_PML4;
    s->cr4 = 0x506a0; /* PAE PGE OSFXSR OSXMMEXCPT FSGSBASE OSXSAVE */
    s->efer = 0xd01;
    s->xcr0 = diff_components();
    s->seg[SEG_CS] = flat(SEL_CODE64, 0xb, SEG_L);
    s->seg[SEG_SS] = s->seg[SEG_DS] = s->seg[SEG_ES] = flat(SEL_DATA, 3, SEG_DB);
    s->seg[SEG_FS] = s->seg[SEG_GS] = (struct x86_seg){.attr = SEG_UNUSABLE};
    s->tr = (struct x86_seg){
        .base = GDT_BASE + TSS_AT, .limit = TSS_LIMIT, .attr = 11 | SEG_P, .sel = 0x40};
    s->gdt.base = GDT_BASE;
    s->gdt.limit = 0x7f;
    s->idt.limit = 0;
    s->rflags = 0x202;
    s->rip = CODE_BASE;
}

static void exit_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct diff_guest *g = container_of(r, struct diff_guest, exit);

    __atomic_store_n(&g->vcpu.exit_request, 1, __ATOMIC_SEQ_CST);
}

static const struct io_ops exit_ops = {.write = exit_write};

/* What the host lacks is undefined on both sides. */
static void features_of_host(uint32_t feat[FEAT_WORD_COUNT])
{
    const uint32_t misaligned_sse = 1u << 7; /* guests are not told, but it shows in MXCSR_MASK */
    uint32_t a, b, c, d;

    uint32_t host[FEAT_WORD_COUNT], avx512[FEAT_WORD_COUNT] = {0};

    accel_features("jit", feat);
    host_features(host);
    /* The rest of it is the host's too; without AVX-512F nothing of it counts. */
    feature_words_set(avx512,
                      "avx512f avx512dq avx512cd avx512bw avx512vl avx512ifma avx512vbmi "
                      "avx512vbmi2 avx512vnni avx512bitalg avx512-vpopcntdq avx512-bf16",
                      (diff_components() & XSAVE_AVX512) == XSAVE_AVX512);
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++)
        feat[w] |= avx512[w] & host[w];
    if (__get_cpuid(0x80000001, &a, &b, &c, &d))
        feat[FEAT_8000_0001_ECX] |= c & misaligned_sse;
}

struct diff_guest *diff_guest_new(const char *accel_options)
{
    struct diff_guest *g = g_aligned_alloc0(1, sizeof(*g), 64);
    g_autoptr(GError) err = NULL;

    g->mem = guest_mem_new();
    g->ram = ram_block_new("test.ram", RAM_BYTES, true, false, &err);
    g_assert_no_error(err);
    guest_mem_map(g->mem, GPA(0), g->ram, 0, RAM_BYTES, GUEST_RAM);
    g->host = ram_block_host(g->ram);
    make_page_tables(g);
    make_gdt(g);
    g->clock = vm_clock_new();
    features_of_host(g->model.feat);
    memcpy(g->model.vendor, "AuthenticAMD", 13);
    g->model.phys_bits = 40;
    g->model.linear_bits = 48;
    g->model.tsc_khz = 1000000;
    g->vcpus[0] = &g->vcpu;
    g->vcpu.set = &g->set;
    g->set.ops = &jit_accel;
    g->props = props_parse(accel_options, NULL, &err);
    g_assert_no_error(err);
    g->set.cfg.accel_props = g->props;
    g->set.cfg.mem = g->mem;
    g->set.cfg.clock = g->clock;
    g->set.cfg.pio = io_space_new("pio", 0x10000);
    g->exit = (struct io_region){.ops = &exit_ops, .name = "exit", .size_bytes = 1};
    io_space_add(g->set.cfg.pio, &g->exit, EXIT_PORT);
    g->set.cfg.topology.maxcpus = 1;
    g->set.model = &g->model;
    g->set.vcpu = g->vcpus;
    g->set.count = 1;
    g_assert_true(jit_accel.init(&g->set, &err));
    g_assert_true(jit_accel.vcpu_init(&g->vcpu, &err));
    jit_accel.get_state(&g->vcpu, &g->initial);
    make_state(&g->initial);
    g_assert_true(jit_accel.set_state(&g->vcpu, &g->initial, &err));
    return g;
}

void diff_guest_free(struct diff_guest *g)
{
    jit_accel.vcpu_fini(&g->vcpu);
    jit_accel.fini(&g->set);
    vm_clock_free(g->clock);
    io_space_free(g->set.cfg.pio);
    guest_mem_free(g->mem);
    ram_block_free(g->ram);
    props_free(g->props);
    g_aligned_free(g);
}

static void enter(struct diff_guest *g, struct jit_cpu *c, const struct diff_case *t)
{
    const uint64_t bv = diff_components();

    memset(g->host + GPA_CODE, 0xcc, PAGE);
    memcpy(g->host + GPA_CODE + t->code_offset, t->bytes, t->len);
    memcpy(g->host + GPA_DATA, t->data, DATA_BYTES);
    memcpy(c->st.gpr, t->in.gpr, sizeof(c->st.gpr));
    memcpy(c->st.xsave, t->in.xsave, XS_BYTES);
    memcpy(c->st.xsave + 512, &bv, 8);
    memcpy(c->st.seg, g->initial.seg, sizeof(c->st.seg));
    if (t->code32)
        c->st.seg[SEG_CS] = flat(SEL_CODE32, 0xb, SEG_DB);
    c->st.rip = t->in.rip;
    c->st.rflags = t->in.rflags | 0x100; /* the child steps: PUSHF shows it */
    c->st.cr2 = 0;
    cpu_update_mode(c);
    fpu_sync_from_state(c);
}

static void leave(struct diff_guest *g, struct jit_cpu *c, struct diff_result *out)
{
    out->cr2 = c->st.cr2;
    memcpy(out->out.gpr, c->st.gpr, sizeof(out->out.gpr));
    out->out.rip = c->st.rip;
    out->out.rflags = c->st.rflags;
    memcpy(out->out.xsave, c->st.xsave, XS_BYTES);
    memcpy(out->data, g->host + GPA_DATA, DATA_BYTES);
    out->done = true;
}

/* Through the loop, with an OUT behind that ends it. */
static void run_loop(struct diff_guest *g, const struct diff_case *t, struct diff_result *out)
{
    static const uint8_t to_exit[] = {0xe6, EXIT_PORT}; /* out %al */
    struct jit_cpu *c = g->vcpu.accel;

    enter(g, c, t);
    memcpy(g->host + GPA_CODE + t->code_offset + t->len, to_exit, sizeof(to_exit));
    guest_mem_wrote(g->mem, GPA(GPA_CODE), PAGE);
    c->st.rflags &= ~0x100ull;
    c->pending &= ~(uint32_t)PENDING_STEP; /* what POPF with TF may have left */
    sys_of(c)->step_armed = false;
    g->vcpu.exit_request = 0;
    allow_exit(g, true);
    out->trap = interp_run_to_fault(c);
    out->error = out->trap != TRAP_NONE && c->fault.has_error ? c->fault.error : 0;
    allow_exit(g, false);
    leave(g, c, out);
    if (out->trap == TRAP_NONE)
        out->out.rip -= sizeof(to_exit);
}

uint64_t diff_guest_direct_pages(const struct diff_guest *g)
{
    const struct jit_cpu *c = g->vcpu.accel;

    return c->tr.cache->stats.direct_pages;
}

void diff_guest_run_block(struct diff_guest *g, const struct diff_case *t, struct diff_result *out)
{
    run_loop(g, t, out);
}

void diff_guest_run(struct diff_guest *g, const struct diff_case *t, struct diff_result *out)
{
    struct jit_cpu *c = g->vcpu.accel;
    uint64_t error = 0;

    enter(g, c, t);
    /* With TF set a step is one REP iteration. */
    for (unsigned n = 0; n < STEPS_MAX; n++) {
        out->trap = interp_step(c);
        if (out->trap != TRAP_NONE || c->st.rip != t->in.rip)
            break;
    }
    if (out->trap != TRAP_NONE && c->fault.has_error)
        error = c->fault.error;
    out->error = error;
    leave(g, c, out);
}
