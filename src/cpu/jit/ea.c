/* ea.c - effective addresses, segment checks, the stack, and the slow ends of memory accesses. */
#include "op.h"

static _Noreturn void segment_fault(struct jit_cpu *c, unsigned seg)
{
    cpu_raise_error(c, seg == SEG_SS ? EX_SS : EX_GP, 0);
}

uint64_t insn_ea(struct jit_cpu *c, const struct insn *i)
{
    uint64_t a = (uint64_t)(int64_t)i->disp;

    if (i->base < 16)
        a += c->st.gpr[i->base];
    else if (i->base == 16)
        a += insn_rip(c, i) + i->len;
    if (i->index < 16)
        a += c->st.gpr[i->index] << i->scale_shift;
    if (i->addrsize == 4)
        a = (uint32_t)a;
    else if (i->addrsize == 2)
        a = (uint16_t)a;
    return a;
}

/* SDM vol.3 5.3, 5.5 */
static void check_segment(struct jit_cpu *c, unsigned seg, uint64_t offset, unsigned len,
                          unsigned access)
{
    const struct x86_seg *s = &c->st.seg[seg];
    bool prot = c->mode != MODE_REAL && c->mode != MODE_VM86;
    uint64_t last = offset + len - 1;

    if (prot) {
        bool code = s->attr & 8, rw = s->attr & 2;
        if (s->attr & SEG_UNUSABLE)
            segment_fault(c, seg);
        if ((access & 3) == ACC_WRITE ? code || !rw : code && !rw)
            segment_fault(c, seg);
        if ((s->attr & 0xc) == 4) { /* expand-down data */
            uint64_t top = (s->attr & SEG_DB) ? UINT32_MAX : UINT16_MAX;
            if (offset <= s->limit || last > top)
                segment_fault(c, seg);
            return;
        }
    }
    if (last > s->limit)
        segment_fault(c, seg);
}

uint64_t seg_linear(struct jit_cpu *c, unsigned seg, uint64_t offset, unsigned len, unsigned access)
{
    if (c->mode == MODE_LONG64) {
        uint64_t lin = offset + (seg >= SEG_FS ? c->st.seg[seg].base : 0);
        if (!canonical_ok(c, lin) || !canonical_ok(c, lin + len - 1))
            segment_fault(c, seg);
        return lin;
    }
    check_segment(c, seg, offset, len, access);
    return (uint32_t)(c->st.seg[seg].base + offset);
}

uint64_t insn_linear(struct jit_cpu *c, const struct insn *i, unsigned len, unsigned access)
{
    uint64_t a = insn_ea(c, i);
    if ((i->flags & INSN_EA32) && a + len - 1 <= UINT32_MAX)
        return a;
    return seg_linear(c, i->seg, a, len, access);
}

uint64_t op_ea_segmented(struct jit_cpu *c, const struct insn *i, unsigned size, unsigned access)
{
    uint64_t a = insn_ea(c, i);

    /* Canonical form is checked where the TLB misses. */
    if (c->mode == MODE_LONG64)
        return i->seg >= SEG_FS ? a + c->st.seg[i->seg].base : a;
    c->cur = i;
    return seg_linear(c, i->seg, a, size, access);
}

/* ---- the stack ---- */

static uint64_t stack_mask(const struct jit_cpu *c)
{
    if (c->mode == MODE_LONG64)
        return UINT64_MAX;
    return (c->st.seg[SEG_SS].attr & SEG_DB) ? UINT32_MAX : UINT16_MAX;
}

static void stack_set(struct jit_cpu *c, uint64_t mask, uint64_t sp)
{
    c->st.gpr[R_RSP] = (c->st.gpr[R_RSP] & ~mask) | (sp & mask);
}

static void store_sized(struct jit_cpu *c, uint64_t lin, uint64_t v, unsigned size)
{
    if (size == 8)
        mem_w64(c, lin, v);
    else if (size == 4)
        mem_w32(c, lin, (uint32_t)v);
    else
        mem_w16(c, lin, (uint16_t)v);
}

void stack_push(struct jit_cpu *c, uint64_t v, unsigned size)
{
    uint64_t mask = stack_mask(c), sp = (c->st.gpr[R_RSP] - size) & mask;
    store_sized(c, seg_linear(c, SEG_SS, sp, size, ACC_WRITE), v, size);
    stack_set(c, mask, sp);
}

uint64_t stack_peek(struct jit_cpu *c, unsigned depth, unsigned size)
{
    uint64_t sp = (c->st.gpr[R_RSP] + depth) & stack_mask(c);
    uint64_t lin = seg_linear(c, SEG_SS, sp, size, ACC_READ);
    return size == 8 ? mem_r64(c, lin) : size == 4 ? mem_r32(c, lin) : mem_r16(c, lin);
}

void stack_adjust(struct jit_cpu *c, int64_t bytes)
{
    stack_set(c, stack_mask(c), c->st.gpr[R_RSP] + (uint64_t)bytes);
}

uint64_t stack_pop(struct jit_cpu *c, unsigned size)
{
    uint64_t v = stack_peek(c, 0, size);
    stack_adjust(c, size);
    return v;
}

/* ---- registers by run-time size ---- */

uint64_t reg_get(struct jit_cpu *c, uint8_t n, unsigned size)
{
    switch (size) {
    case 1:
        return GET8(n);
    case 2:
        return GET16(n);
    case 4:
        return GET32(n);
    default:
        return GET64(n);
    }
}

void reg_set(struct jit_cpu *c, uint8_t n, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        SET8(n, (uint8_t)v);
        break;
    case 2:
        SET16(n, (uint16_t)v);
        break;
    case 4:
        SET32(n, v);
        break;
    default:
        SET64(n, v);
    }
}

/* ---- slow ends ---- */

/* What the fast path skipped: canonical form; the limit of flat 32-bit segments, which only an
 * access across the top of the address space can exceed. */
static void slow_entry(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size)
{
    c->cur = i;
    if ((c->mode_key & KEY_FLAT) && i->seg != SEG_CS && i->seg < SEG_FS &&
        linear + size - 1 > UINT32_MAX)
        segment_fault(c, i->seg);
    if (c->mode == MODE_LONG64 && (!canonical_ok(c, linear) || !canonical_ok(c, linear + size - 1)))
        segment_fault(c, i->seg);
}

uint64_t op_load_slow(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size)
{
    uint64_t v = 0;
    slow_entry(c, i, linear, size);
    mmu_read_slow(c, linear, &v, size, ACC_READ);
    return v;
}

void op_store_slow(struct jit_cpu *c, const struct insn *i, uint64_t linear, uint64_t v,
                   unsigned size)
{
    slow_entry(c, i, linear, size);
    mmu_write_slow(c, linear, &v, size, ACC_WRITE);
}

static void check_writable(struct jit_cpu *c, uint64_t linear, unsigned size)
{
    uint64_t next = ((linear + size - 1) & ~(GUEST_PAGE_SIZE - 1));

    mmu_translate(c, linear, ACC_WRITE);
    if (next > linear)
        mmu_translate(c, c->mode == MODE_LONG64 ? next : (uint32_t)next, ACC_WRITE);
}

void *op_rmw_begin(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size)
{
    slow_entry(c, i, linear, size);
    void *p = mmu_rmw_ptr(c, linear, size);
    if (p)
        return p;
    check_writable(c, linear, size);
    mmu_read_slow(c, linear, &c->rmw_buf, size, ACC_READ);
    return &c->rmw_buf;
}

void op_rmw_end(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size)
{
    c->cur = i;
    mmu_write_slow(c, linear, &c->rmw_buf, size, ACC_WRITE);
}

void *op_lock_begin(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size)
{
    slow_entry(c, i, linear, size);
    return mmu_rmw_ptr(c, linear, size);
}

static void op_return(struct jit_cpu *c, const struct insn *i)
{
}

static void run_unlocked(struct jit_cpu *c, void *arg)
{
    const struct insn *i = arg;
    struct insn alone[2] = {*i, {.fn = op_return, .off = i->off}};

    alone[0].fn = insn_plain(i);
    alone[0].fn(c, alone);
    c->cur = i;
}

void op_locked_alone(struct jit_cpu *c, const struct insn *i, uint64_t linear, unsigned size)
{
    /* Faults must come before the others are stopped. */
    c->cur = i;
    check_writable(c, linear, size);
    cpu_exclusive(c, run_unlocked, (void *)i);
}
