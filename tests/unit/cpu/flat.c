/* flat.c - see flat.h. */
#include "flat.h"

#include "sys.h"

#include "base/evloop.h"
#include "base/props.h"
#include "bus/io.h"
#include "bus/lapic.h"

#include <glib.h>

#define PML4 0x1000ull
#define PDPT 0x2000ull
#define PD   0x3000ull
#define PT   0x4000ull /* of the last 2 MiB */
#define LAST (FLAT_RAM - 2 * MiB)

struct flat {
    struct cpu_set set;
    struct vcpu vcpu, *vcpus[1];
    struct cpu_model model;
    struct ram_block *block;
    struct io_region exit;
    struct jit_cpu *c;
};

static void exit_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct flat *f = container_of(r, struct flat, exit);
    __atomic_store_n(&f->vcpu.exit_request, 1, __ATOMIC_SEQ_CST);
}

static const struct io_ops exit_ops = {.write = exit_write};

static void page_tables(struct flat *f)
{
    uint8_t *ram = flat_ram(f);

    le64_put(ram + PML4, PDPT | 7);
    le64_put(ram + PDPT, PD | 7);
    for (unsigned k = 0; k < FLAT_RAM / (2 * MiB); k++)
        le64_put(ram + PD + k * 8, k * 2 * MiB | 0x87);
    /* The last 2 MiB in small pages, so that some can be missing. */
    le64_put(ram + PD + LAST / (2 * MiB) * 8, PT | 7);
    for (unsigned k = 0; k < 512; k++) {
        uint64_t at = LAST + k * GUEST_PAGE_SIZE;
        le64_put(ram + PT + k * 8, at < FLAT_HOLE ? at | 7 : 0);
    }
}

static void flat_long_mode(struct flat *f)
{
    struct x86_state *s = &f->c->st;

    page_tables(f);
    s->cr0 = 0x80050033;
    s->cr4 = 0x620; /* PAE, OSFXSR, OSXMMEXCPT */
    s->cr3 = PML4;
    s->efer = 0x500;
    s->rflags = 2;
    s->mp_state = MP_RUNNABLE;
    for (unsigned k = 0; k < SEG_COUNT; k++)
        s->seg[k] = (struct x86_seg){.limit = UINT32_MAX, .sel = 0x10, .attr = 0xc093};
    s->seg[SEG_CS].attr = 0xa09b;
    s->gpr[R_RSP] = FLAT_STACK;
    if (set_of(f->c)->tr.direct_always ||
        !set_of(f->c)->tr.places_from) { /* which is for user programs; they may use ports here */
        for (unsigned k = 0; k < SEG_COUNT; k++)
            s->seg[k].attr |= 3 << 5;
        s->rflags |= FL_IOPL;
    }
    mmu_flush_all(f->c);
    cpu_update_mode(f->c);
}

struct flat *flat_new(void)
{
    return flat_new_with("");
}

struct flat *flat_new_with(const char *accel)
{
    struct flat *f = g_new0(struct flat, 1);
    const char *all = g_getenv("HANOK_TEST_ACCEL");
    PROPS_AUTO props = props_parse(all ? all : "", NULL, NULL);
    PROPS_AUTO own = props_parse(accel, NULL, NULL);

    f->block = ram_block_new("flat", FLAT_RAM, true, false, NULL);
    props_merge(props, own);
    f->set.ops = &jit_accel;
    f->set.cfg = (struct cpu_config){.topology = {1, 1, 1, 1, 1, 1},
                                     .accel_props = props,
                                     .mem = guest_mem_new(),
                                     .pio = io_space_new("pio", 0x10000),
                                     .mmio = io_space_new("mmio", 1ull << 52),
                                     .clock = vm_clock_new()};
    guest_mem_map(f->set.cfg.mem, GPA(0), f->block, 0, FLAT_RAM, GUEST_RAM);
    f->exit = (struct io_region){.ops = &exit_ops, .name = "exit", .size_bytes = 1};
    io_space_add(f->set.cfg.pio, &f->exit, FLAT_EXIT_PORT);
    f->model = (struct cpu_model){.vendor = "AuthenticAMD", .phys_bits = 40, .linear_bits = 48};
    memset(f->model.feat, 0xff, sizeof(f->model.feat));
    if ((xsave_host_xcr0() & XSAVE_AVX512) != XSAVE_AVX512)
        f->model.feat[FEAT_7_0_EBX] &= ~BIT(16);
    f->set.model = &f->model;
    f->vcpus[0] = &f->vcpu;
    f->set.vcpu = f->vcpus;
    f->set.count = 1;
    f->vcpu.set = &f->set;
    g_assert_true(jit_accel.init(&f->set, NULL));
    g_assert_true(jit_accel.vcpu_init(&f->vcpu, NULL));
    f->set.cfg.accel_props = NULL;
    f->c = f->vcpu.accel;
    flat_long_mode(f);
    return f;
}

void flat_free(struct flat *f)
{
    jit_accel.vcpu_fini(&f->vcpu);
    jit_accel.fini(&f->set);
    io_space_free(f->set.cfg.pio);
    io_space_free(f->set.cfg.mmio);
    guest_mem_free(f->set.cfg.mem);
    ram_block_free(f->block);
    vm_clock_free(f->set.cfg.clock);
    g_free(f);
}

struct jit_cpu *flat_cpu(struct flat *f)
{
    return f->c;
}

uint8_t *flat_ram(struct flat *f)
{
    return ram_block_host(f->block);
}

struct guest_mem *flat_mem(struct flat *f)
{
    return f->set.cfg.mem;
}

void flat_load(struct flat *f, uint64_t at, const uint8_t *code, const uint8_t *end)
{
    g_assert_cmpint(guest_mem_write(f->set.cfg.mem, GPA(at), code, (uint64_t)(end - code)), ==, 0);
    f->c->st.rip = at;
}

bool flat_run(struct flat *f)
{
    f->vcpu.exit_request = 0;
    return interp_run(f->c) == VCPU_EXIT_NONE;
}

int flat_step_to_fault(struct flat *f)
{
    int vector = -1;

    while (vector < 0)
        vector = interp_step(f->c);
    return vector;
}

void flat_protected_mode(struct flat *f)
{
    struct x86_state *s = &f->c->st;

    s->cr0 = 0x11;
    s->cr4 = 0;
    s->efer = 0;
    s->seg[SEG_CS].attr = 0xc09b;
    mmu_flush_all(f->c);
    cpu_update_mode(f->c);
}

void flat_real_mode(struct flat *f)
{
    struct x86_state *s = &f->c->st;

    s->cr0 = 0x10;
    s->cr4 = 0;
    s->efer = 0;
    for (unsigned k = 0; k < SEG_COUNT; k++)
        s->seg[k] = (struct x86_seg){.limit = 0xffff, .attr = 0x93};
    s->seg[SEG_CS].attr = 0x9b;
    mmu_flush_all(f->c);
    cpu_update_mode(f->c);
}

#define AGAIN 0xa000ull /* directory pointers */

void flat_map_again(struct flat *f, unsigned number, uint64_t base)
{
    uint64_t pdpt = AGAIN + number * GUEST_PAGE_SIZE;

    le64_put(flat_ram(f) + PML4 + (base >> 39 & 511) * 8, pdpt | 7);
    le64_put(flat_ram(f) + pdpt + (base >> 30 & 511) * 8, PD | 7);
}

void flat_map(struct flat *f, unsigned page, uint64_t phys)
{
    uint64_t entry = PT + ((FLAT_WINDOW - LAST) / GUEST_PAGE_SIZE + page) * 8;

    le64_put(flat_ram(f) + entry, phys ? phys | 7 : 0);
    mmu_flush_all(f->c);
}
