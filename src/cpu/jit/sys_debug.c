/* sys_debug.c - debug registers, breakpoints and single-step (SDM vol.3 ch.17).
 *
 * Cheap when unused: only while DR7 enables something, or TF, RF or an interrupt shadow is set,
 * does PENDING_STEP make the loop run one instruction at a time. */
#include "sys.h"

static bool bp_enabled(const struct x86_state *st, unsigned n)
{
    return st->dr[7] & (3ull << (n * 2));
}

static unsigned bp_kind(const struct x86_state *st, unsigned n)
{
    return (st->dr[7] >> (16 + n * 4)) & 3;
}

static unsigned bp_len(const struct x86_state *st, unsigned n)
{
    static const uint8_t len[] = {1, 2, 8, 4};

    return len[(st->dr[7] >> (18 + n * 4)) & 3];
}

bool sys_stepping(const struct jit_cpu *c)
{
    return (c->st.rflags & (FL_TF | FL_RF)) || c->st.int_shadow || (c->st.dr[7] & 0xff) ||
           sys_of((struct jit_cpu *)c)->dr6_pending;
}

void sys_debug_update(struct jit_cpu *c)
{
    if (sys_stepping(c))
        pending_set(c, PENDING_STEP);
}

void cpu_set_shadow(struct jit_cpu *c, uint8_t kind)
{
    c->st.int_shadow = kind;
    pending_set(c, PENDING_STEP);
}

uint64_t sys_code_breakpoint(struct jit_cpu *c)
{
    const struct x86_state *st = &c->st;
    uint64_t rip = code64(c) ? st->rip : (uint32_t)(st->seg[SEG_CS].base + st->rip);
    uint64_t hit = 0;

    for (unsigned n = 0; n < 4; n++)
        if (bp_enabled(st, n) && bp_kind(st, n) == 0 && st->dr[n] == rip)
            hit |= BIT64(n);
    return hit;
}

bool sys_watched_page(struct jit_cpu *c, uint64_t page)
{
    if (likely(!(c->st.dr[7] & 0xff)))
        return false;
    for (unsigned n = 0; n < 4; n++)
        if (bp_enabled(&c->st, n) && (bp_kind(&c->st, n) & 1) &&
            (c->st.dr[n] & ~(GUEST_PAGE_SIZE - 1)) == page)
            return true;
    return false;
}

/* Kind 1: writes, 3: reads and writes; 2, for I/O ports, needs CR4.DE and never hits here. */
void sys_watch(struct jit_cpu *c, uint64_t linear, unsigned len, bool write)
{
    for (unsigned n = 0; n < 4; n++) {
        unsigned kind = bp_kind(&c->st, n), size = bp_len(&c->st, n);
        uint64_t start = c->st.dr[n] & ~(uint64_t)(size - 1);
        if (!bp_enabled(&c->st, n) || !(kind == 3 || (kind == 1 && write)))
            continue;
        if (linear < start + size && start < linear + len)
            sys_of(c)->dr6_pending |= BIT64(n);
    }
}

/* ---- MOV DR ---- */

/* DR4 and DR5 are aliases unless CR4.DE; any access faults while DR7.GD is set. */
static unsigned debug_register(struct jit_cpu *c, const struct insn *i)
{
    unsigned n = i->reg;

    if (n >= 8 || ((n == 4 || n == 5) && (c->st.cr4 & CR4_DE)))
        raise_ud(c);
    require_cpl0(c);
    if (c->st.dr[7] & DR7_GD) {
        c->st.dr[6] |= DR6_BD;
        c->st.dr[7] &= ~DR7_GD;
        cpu_raise(c, EX_DB);
    }
    return n == 4 || n == 5 ? n + 2 : n;
}

void sys_op_mov_from_dr(struct jit_cpu *c, const struct insn *i)
{
    uint64_t v = c->st.dr[debug_register(c, i)];

    c->st.gpr[i->rm] = code64(c) ? v : (uint32_t)v;
}

void sys_op_mov_to_dr(struct jit_cpu *c, const struct insn *i)
{
    unsigned n = debug_register(c, i);
    uint64_t v = c->st.gpr[i->rm];

    if (!code64(c))
        v = (uint32_t)v;
    if (n >= 6 && v >> 32)
        raise_gp(c, 0);
    if (n == 6)
        v = (v & (DR6_BS | DR6_BT | DR6_BD | 15)) | DR6_FIXED;
    else if (n == 7)
        v = (v & 0xffff2bffull) | DR7_FIXED;
    c->st.dr[n] = v;
    /* Watched pages must leave the TLB, others may come back. */
    mmu_flush_all(c);
    sys_debug_update(c);
}
