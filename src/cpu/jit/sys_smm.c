/* sys_smm.c - system management mode: SMI entry, the save map, RSM (APM vol.2 ch.10).
 *
 * The 64-bit save map of AMD64 is used for all models with long mode; firmware that looks finds the
 * revision identifier 0x20064. */
#include "sys.h"

#define SAVE_MAP     0xfe00 /* offset from SMBASE */
#define SAVE_BYTES   0x200
#define SMM_REVISION 0x00020064
#define SMM_ENTRY    0x8000
#define MAP(offset)  ((offset)-SAVE_MAP)

struct map_u64 {
    uint16_t at;
    uint16_t field;
};
#define ROW(at, f)                                                                                 \
    {                                                                                              \
        MAP(at), offsetof(struct x86_state, f)                                                     \
    }
static const struct map_u64 words[] = {
    ROW(0xfed0, efer),       ROW(0xff48, cr4),        ROW(0xff50, cr3),
    ROW(0xff58, cr0),        ROW(0xff60, dr[7]),      ROW(0xff68, dr[6]),
    ROW(0xff70, rflags),     ROW(0xff78, rip),        ROW(0xff80, gpr[15]),
    ROW(0xff88, gpr[14]),    ROW(0xff90, gpr[13]),    ROW(0xff98, gpr[12]),
    ROW(0xffa0, gpr[11]),    ROW(0xffa8, gpr[10]),    ROW(0xffb0, gpr[9]),
    ROW(0xffb8, gpr[8]),     ROW(0xffc0, gpr[R_RDI]), ROW(0xffc8, gpr[R_RSI]),
    ROW(0xffd0, gpr[R_RBP]), ROW(0xffd8, gpr[R_RSP]), ROW(0xffe0, gpr[R_RBX]),
    ROW(0xffe8, gpr[R_RDX]), ROW(0xfff0, gpr[R_RCX]), ROW(0xfff8, gpr[R_RAX]),
};
static const struct map_u64 segments[] = {
    ROW(0xfe00, seg[SEG_ES]), ROW(0xfe10, seg[SEG_CS]), ROW(0xfe20, seg[SEG_SS]),
    ROW(0xfe30, seg[SEG_DS]), ROW(0xfe40, seg[SEG_FS]), ROW(0xfe50, seg[SEG_GS]),
    ROW(0xfe70, ldt),         ROW(0xfe90, tr),
};

/* Attributes in the map: the descriptor's bits 8..15 and 20..23 as a 12-bit word, like VMCB. */
static uint16_t attr_pack(uint32_t a)
{
    return (a & SEG_UNUSABLE) ? (uint16_t)(a & 0x60) : (uint16_t)((a & 0xff) | ((a >> 4) & 0xf00));
}

static uint32_t attr_unpack(uint16_t v)
{
    uint32_t a = (v & 0xffu) | (v & 0xf00u) << 4;

    return (a & SEG_P) ? a : a | SEG_UNUSABLE;
}

static void save_map(struct x86_state *st, uint8_t *map, bool halted)
{
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        memcpy(map + words[i].at, (const char *)st + words[i].field, 8);
    for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
        const struct x86_seg *s = (const void *)((const char *)st + segments[i].field);
        uint8_t *p = map + segments[i].at;
        le16_put(p, s->sel);
        le16_put(p + 2, attr_pack(s->attr));
        le32_put(p + 4, s->limit);
        le64_put(p + 8, s->base);
    }
    le32_put(map + MAP(0xfe64), st->gdt.limit);
    le64_put(map + MAP(0xfe68), st->gdt.base);
    le32_put(map + MAP(0xfe84), st->idt.limit);
    le64_put(map + MAP(0xfe88), st->idt.base);
    map[MAP(0xfec9)] = halted;
    le32_put(map + MAP(0xfefc), SMM_REVISION);
    le32_put(map + MAP(0xff00), (uint32_t)st->smbase);
}

static void smm_segments(struct x86_state *st)
{
    for (unsigned i = 0; i < SEG_COUNT; i++)
        st->seg[i] = (struct x86_seg){.limit = UINT32_MAX, .attr = 0x8093};
    st->seg[SEG_CS].sel = (uint16_t)(st->smbase >> 4);
    st->seg[SEG_CS].base = st->smbase;
    st->seg[SEG_CS].attr = 0x809b;
}

uint64_t smm_find(struct jit_cpu *c, uint64_t phys)
{
    return guest_mem_find(c->set->cfg.mem, GPA(GUEST_MEM_HIDDEN + phys)) ? GUEST_MEM_HIDDEN + phys
                                                                         : phys;
}

/* The save map in memory, or NULL; at says where. */
static uint8_t *map_host(struct jit_cpu *c, uint64_t *at)
{
    *at = smm_find(c, (uint32_t)(c->st.smbase + SAVE_MAP));
    const struct guest_region *r = guest_mem_find(c->set->cfg.mem, GPA(*at));

    if (!r || r->kind != GUEST_RAM || *at - r->gpa > r->size_bytes - SAVE_BYTES)
        return NULL;
    return r->host + (*at - r->gpa);
}

void smm_enter(struct jit_cpu *c)
{
    struct x86_state *st = &c->st;
    uint8_t map[SAVE_BYTES] = {0};
    uint64_t at = 0;

    save_map(st, map, sys_of(c)->smi_halted);
    uint8_t *saved = map_host(c, &at);
    if (saved) {
        memcpy(saved, map, sizeof(map));
        guest_mem_wrote(c->set->cfg.mem, GPA(at), sizeof(map));
    }
    sys_of(c)->smm_nmi_masked = st->nmi_masked;
    st->in_smm = true;
    st->nmi_masked = true;
    st->int_shadow = 0;
    st->rflags = 2;
    st->rip = SMM_ENTRY;
    st->cr0 &= ~(CR0_PE | CR0_EM | CR0_TS | CR0_PG);
    st->cr4 = 0;
    st->efer = 0;
    st->dr[7] = DR7_FIXED;
    st->idt = (struct x86_dtr){0};
    smm_segments(st);
    mmu_flush_all(c);
    cpu_update_mode(c);
}

static void load_map(struct x86_state *st, const uint8_t *map)
{
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        memcpy((char *)st + words[i].field, map + words[i].at, 8);
    for (unsigned i = 0; i < ARRAY_SIZE(segments); i++) {
        struct x86_seg *s = (void *)((char *)st + segments[i].field);
        const uint8_t *p = map + segments[i].at;
        *s = (struct x86_seg){.sel = le16_get(p),
                              .attr = attr_unpack(le16_get(p + 2)),
                              .limit = le32_get(p + 4),
                              .base = le64_get(p + 8)};
    }
    st->gdt.limit = (uint16_t)le32_get(map + MAP(0xfe64));
    st->gdt.base = le64_get(map + MAP(0xfe68));
    st->idt.limit = (uint16_t)le32_get(map + MAP(0xfe84));
    st->idt.base = le64_get(map + MAP(0xfe88));
    st->smbase = le32_get(map + MAP(0xff00));
    st->rflags = (st->rflags & 0x3f7fd7) | 2;
}

/* An impossible state in the map is a shutdown (SDM vol.3 31.3.2). */
static bool map_sane(const struct x86_state *st)
{
    if ((st->cr0 >> 32) || ((st->cr0 & CR0_PG) && !(st->cr0 & CR0_PE)))
        return false;
    return !(st->efer & EFER_LMA) || ((st->cr0 & CR0_PG) && (st->cr4 & CR4_PAE));
}

void sys_op_rsm(struct jit_cpu *c, const struct insn *i)
{
    struct x86_state *st = &c->st;
    uint8_t map[SAVE_BYTES];
    uint64_t at = 0;

    if (!st->in_smm)
        raise_ud(c);
    const uint8_t *saved = map_host(c, &at);
    if (saved)
        memcpy(map, saved, sizeof(map));
    else
        memset(map, 0xff, sizeof(map));
    struct x86_state old = *st;
    load_map(st, map);
    if (!map_sane(st)) {
        *st = old;
        sys_of(c)->shutdown = true;
        pending_set(c, PENDING_KICK);
        return;
    }
    st->in_smm = false;
    st->nmi_masked = sys_of(c)->smm_nmi_masked;
    if (map[MAP(0xfec9)] & 1)
        st->mp_state = MP_HALTED;
    if ((st->cr0 & CR0_PG) && (st->cr4 & CR4_PAE) && !(st->efer & EFER_LMA))
        mmu_pdptrs_load(c);
    mmu_flush_all(c);
    cpu_update_mode(c);
    sys_debug_update(c);
    pending_set(c, PENDING_KICK);
}
