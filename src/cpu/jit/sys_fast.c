/* sys_fast.c - SYSCALL, SYSENTER and their returns, SWAPGS, FS/GS base (SDM vol.2, APM vol.2 6.1).
 *
 * Vendors differ: Intel has SYSCALL in 64-bit mode only and SYSENTER everywhere; AMD has SYSCALL in
 * legacy and compatibility mode too and no SYSENTER in long mode. */
#include "sys.h"

/* These transfers load fixed, flat segments without looking at the descriptor tables. */
static struct x86_seg flat_seg(uint16_t sel, uint32_t attr)
{
    return (struct x86_seg){.sel = sel, .limit = UINT32_MAX, .attr = attr};
}
#define FLAT_CODE64(dpl) (0xa09bu | (dpl) << 5)
#define FLAT_CODE32(dpl) (0xc09bu | (dpl) << 5)
#define FLAT_DATA(dpl)   (0xc093u | (dpl) << 5)

static void enter(struct jit_cpu *c, uint16_t sel, unsigned cpl, bool to64)
{
    uint16_t rpl = (uint16_t)cpl;

    c->st.seg[SEG_CS] =
        flat_seg((uint16_t)((sel & 0xfffc) | rpl), to64 ? FLAT_CODE64(cpl) : FLAT_CODE32(cpl));
    c->st.seg[SEG_SS] = flat_seg((uint16_t)(((sel + 8) & 0xfffc) | rpl), FLAT_DATA(cpl));
}

static void syscall_legacy(struct jit_cpu *c)
{
    struct x86_state *st = &c->st;

    st->gpr[R_RCX] = (uint32_t)st->rip;
    st->rip = (uint32_t)st->star;
    st->rflags &= ~(uint64_t)(FL_IF | FL_VM | FL_RF);
    enter(c, (uint16_t)(st->star >> 32), 0, false);
    cpu_update_mode(c);
}

void sys_op_syscall(struct jit_cpu *c, const struct insn *i)
{
    struct x86_state *st = &c->st;

    if (!(st->efer & EFER_SCE) || !protected_mode(c) || (sys_of(c)->intel && !code64(c)))
        raise_ud(c);
    if (!long_mode(c)) {
        syscall_legacy(c);
        return;
    }
    st->gpr[R_RCX] = st->rip;
    st->gpr[R_R8 + 3] = st->rflags & ~(uint64_t)FL_RF;
    st->rip = code64(c) ? st->lstar : st->cstar;
    st->rflags = (st->rflags & ~(st->sfmask | FL_RF)) | 2;
    enter(c, (uint16_t)(st->star >> 32), 0, true);
    cpu_update_mode(c);
}

static void sysret_legacy(struct jit_cpu *c)
{
    struct x86_state *st = &c->st;

    st->rip = (uint32_t)st->gpr[R_RCX];
    st->rflags |= FL_IF;
    enter(c, (uint16_t)(st->star >> 48), 3, false);
    cpu_update_mode(c);
    sys_interrupts_opened(c);
}

void sys_op_sysret(struct jit_cpu *c, const struct insn *i)
{
    struct x86_state *st = &c->st;
    uint16_t sel = (uint16_t)(st->star >> 48);
    bool to64 = i->opsize == 8;

    if (!(st->efer & EFER_SCE) || !protected_mode(c) || (sys_of(c)->intel && !code64(c)))
        raise_ud(c);
    require_cpl0(c);
    if (!long_mode(c)) {
        sysret_legacy(c);
        return;
    }
    uint64_t target = to64 ? st->gpr[R_RCX] : (uint32_t)st->gpr[R_RCX];
    if (!canonical(c, target))
        raise_gp(c, 0);
    st->rip = target;
    enter(c, to64 ? (uint16_t)(sel + 16) : sel, 3, to64);
    st->seg[SEG_SS].sel = (uint16_t)((sel + 8) | 3);
    uint64_t flags = st->gpr[R_R8 + 3];
    st->rflags = (st->rflags & ~(uint64_t)FL_AC) | (flags & FL_AC);
    cpu_update_mode(c);
    sys_set_flags(c, flags, 0x3c7fd7);
}

void sys_op_sysenter(struct jit_cpu *c, const struct insn *i)
{
    struct x86_state *st = &c->st;
    bool to64 = long_mode(c);

    if (!sys_of(c)->intel && to64)
        raise_ud(c);
    if (c->mode == MODE_REAL || !(st->sysenter_cs & 0xfffc))
        raise_gp(c, 0);
    st->rflags &= ~(uint64_t)(FL_VM | FL_IF | FL_RF);
    st->gpr[R_RSP] = to64 ? st->sysenter_esp : (uint32_t)st->sysenter_esp;
    st->rip = to64 ? st->sysenter_eip : (uint32_t)st->sysenter_eip;
    enter(c, (uint16_t)st->sysenter_cs, 0, to64);
    cpu_update_mode(c);
}

void sys_op_sysexit(struct jit_cpu *c, const struct insn *i)
{
    struct x86_state *st = &c->st;
    bool to64 = i->opsize == 8;
    uint16_t sel = (uint16_t)(st->sysenter_cs + (to64 ? 32 : 16));

    if (!sys_of(c)->intel && long_mode(c))
        raise_ud(c);
    if (c->mode == MODE_REAL || !(st->sysenter_cs & 0xfffc))
        raise_gp(c, 0);
    require_cpl0(c);
    uint64_t rip = st->gpr[R_RDX], rsp = st->gpr[R_RCX];
    if (to64 && (!canonical(c, rip) || !canonical(c, rsp)))
        raise_gp(c, 0);
    st->rip = to64 ? rip : (uint32_t)rip;
    st->gpr[R_RSP] = to64 ? rsp : (uint32_t)rsp;
    enter(c, sel, 3, to64);
    cpu_update_mode(c);
}

void sys_op_swapgs(struct jit_cpu *c, const struct insn *i)
{
    struct x86_state *st = &c->st;
    uint64_t base = st->seg[SEG_GS].base;

    if (!code64(c))
        raise_ud(c);
    require_cpl0(c);
    st->seg[SEG_GS].base = st->kernel_gs_base;
    st->kernel_gs_base = base;
}

static struct x86_seg *fsgs(struct jit_cpu *c, unsigned seg)
{
    if (!code64(c) || !(c->st.cr4 & CR4_FSGSBASE))
        raise_ud(c);
    return &c->st.seg[seg];
}

static void write_base(struct jit_cpu *c, const struct insn *i, unsigned seg)
{
    struct x86_seg *s = fsgs(c, seg);
    uint64_t v = i->opsize == 8 ? c->st.gpr[i->rm] : (uint32_t)c->st.gpr[i->rm];

    if (!canonical(c, v))
        raise_gp(c, 0);
    s->base = v;
}

void sys_op_rdfsbase(struct jit_cpu *c, const struct insn *i)
{
    sys_gpr_put(c, i->rm, i->opsize, fsgs(c, SEG_FS)->base);
}

void sys_op_rdgsbase(struct jit_cpu *c, const struct insn *i)
{
    sys_gpr_put(c, i->rm, i->opsize, fsgs(c, SEG_GS)->base);
}

void sys_op_wrfsbase(struct jit_cpu *c, const struct insn *i)
{
    write_base(c, i, SEG_FS);
}

void sys_op_wrgsbase(struct jit_cpu *c, const struct insn *i)
{
    write_base(c, i, SEG_GS);
}
