/* tr_block.c - translating one block.
 *
 *   1. tr_scan      every instruction taken apart
 *   2. liveness     backwards: which flags matter before each instruction
 *   3. emit         forwards, one emitter per instruction; code that is rarely reached is put aside
 *   4. the rest     what was put aside, the second entry, the tables
 *
 * A translation ends where the decoded block ends, or with the first instruction that can change
 * more than registers, flags and memory (INSN_END): the interpreter runs it, called from here. */
#include "fpu.h"
#include "tr_emit.h"

#include "base/evloop.h"

#include <glib.h>

#define BLOCK_BYTES_MAX 32768u /* of one translation; far above what 40 instructions can take */

struct tr_ool *tr_ool(struct tr *t, void (*emit)(struct tr *, struct tr_ool *))
{
    g_assert(t->ools < TR_OOL_MAX);
    struct tr_ool *o = &t->ool[t->ools++];

    *o = (struct tr_ool){
        .emit = emit, .index = t->in->index, .vec_known = t->vec_known, .x87_known = t->x87_known};
    return o;
}

uint64_t tr_next_rip(const struct tr *t)
{
    uint64_t rip = t->rip + t->in->off + t->in->i->len;
    return t->code64 ? rip : (uint32_t)rip;
}

void tr_note_fault(struct tr *t)
{
    uint32_t off = (uint32_t)(t->p - t->start);

    if (t->faults && t->fault[t->faults - 1].off == off)
        return;
    g_assert(t->faults < G_N_ELEMENTS(t->fault));
    t->fault[t->faults++] = (struct tr_fault){
        .off = off, .insn = t->in->index, .flags = (uint8_t)t->flags, .sp_by = (int16_t)t->sp_by};
}

/* ---- flags ---- */

void tr_flags_clobber(struct tr *t)
{
    if (t->flags == TR_MEM || !t->in->live)
        return;
    e_flags_save(t);
    t->flags = TR_MEM;
}

void tr_flags_need(struct tr *t)
{
    if (t->flags == TR_HOST)
        return;
    e_flags_load(t);
    t->flags = TR_HOST;
}

static void liveness(struct tr *t)
{
    unsigned live = TF_ALL;

    for (unsigned k = t->count; k-- > 0;) {
        struct tr_insn *d = &t->insn[k];
        d->live_after = (uint8_t)live;
        if (d->op.kind == TK_INTERP || d->op.kind == TK_SYSTEM)
            live = TF_ALL;
        else
            live = (live & ~(unsigned)d->op.writes) | d->op.reads;
        d->live = (uint8_t)live;
    }
}

/* ---- instructions ---- */

void tr_interp(struct tr *t)
{
    if (t->flags == TR_HOST)
        e_flags_save(t);
    t->flags = TR_MEM;
    tr_x87_settle(t);
    t->in->keep = true;
    e8(t, 0xb8 | HR_S1), e32(t, t->in->index);
    e_call(t, glue(t, t->cache->glue.interp));
    t->vec_known = t->x87_known = false;
}

/* The interpreter runs the block's last instruction; translated code goes on where that leads. */
void tr_system_end(struct tr *t)
{
    if (t->flags == TR_HOST)
        e_flags_save(t);
    t->flags = TR_MEM;
    t->in->keep = true;
    tr_x87_settle(t);
    e8(t, 0xb8 | HR_S1), e32(t, t->in->index);
    e_call(t, glue(t, t->cache->glue.system));
}

bool tr_is_flow(const struct tr_insn *d)
{
    return d->op.kind >= TK_JCC && d->op.kind <= TK_RET;
}

static bool is_stack(const struct tr_insn *d)
{
    return d->op.kind >= TK_PUSH_R && d->op.kind <= TK_LEAVE;
}

/* Does its translation need the flags for itself, so that they have to be in c->fl? */
static bool clobbers(const struct tr *t, const struct tr_insn *d)
{
    if (d->op.kind == TK_INTERP || d->op.kind == TK_SYSTEM || d->op.kind >= TK_CLI)
        return true;
    if (tr_is_flow(d))
        return t->direct ? d->op.kind == TK_RET : d->op.kind >= TK_JMP_M;
    if (t->direct)
        return false;
    if (is_stack(d))
        return true;
    return (d->i->flags & INSN_MEM) && d->op.kind != TK_LEA && d->op.kind != TK_NOP;
}

static bool is_string(const struct tr_insn *d)
{
    uint8_t op = d->opcode;
    return !d->vex && d->map == 0 && !d->fpu &&
           ((op >= 0xa4 && op < 0xa8) || (op >= 0xaa && op < 0xb0));
}

/* Must the translation end before it? */
static bool ends_before(const struct tr_insn *d)
{
    return (d->i->flags & INSN_END) && !tr_is_flow(d) && !is_string(d);
}

/* The last of its block, but translated. */
static bool is_last(const struct tr_insn *d)
{
    return d->op.kind >= TK_STI && d->op.kind <= TK_CR2;
}

/* Operands whose segment has to be looked at. */
static bool odd_operand(const struct tr *t, const struct insn *i)
{
    return (i->flags & INSN_MEM) && !t->code64 && !(i->flags & INSN_EA32);
}

static void scan(struct tr *t)
{
    for (unsigned k = 0; k < t->b->count; k++) {
        struct tr_insn *d = &t->insn[k];

        tr_scan(t->c, &t->from[k], d);
        d->index = (uint8_t)k;
        d->off = d->i->off;
        if (ends_before(d)) {
            if (!is_last(d) || !tr_sys_ok(t, d))
                d->op = (struct tr_op){.kind = TK_SYSTEM};
            t->count++;
            break;
        }
        if (odd_operand(t, d->i)) {
            if (tr_is_flow(d))
                break;
            d->op = (struct tr_op){.kind = TK_INTERP};
        }
        if ((d->op.kind == TK_VECTOR && !tr_vector_ok(t, d)) ||
            (d->op.kind >= TK_CLI && !tr_sys_ok(t, d)))
            d->op = (struct tr_op){.kind = TK_INTERP};
        t->count++;
    }
}

/* What was put aside for t->in from number `from` on may go on behind it. */
static void emitted(struct tr *t, unsigned from)
{
    for (unsigned k = from; k < t->ools && !tr_is_flow(t->in) && !is_stack(t->in); k++) {
        struct tr_ool *o = &t->ool[k];
        if (o->vec_known != t->vec_known || o->x87_known != t->x87_known)
            continue;
        o->done = t->p;
        o->done_flags = t->in->live_after ? t->flags : TR_MEM;
    }
}

static void emit(struct tr *t)
{
    if (tr_is_flow(t->in) || is_last(t->in))
        tr_x87_settle(t);
    switch (t->in->op.kind) {
    case TK_INTERP:
        if (!tr_rep(t))
            tr_interp(t);
        break;
    case TK_SYSTEM:
        tr_system_end(t);
        break;
    case TK_NOP:
        break;
    case TK_VECTOR:
        tr_vector(t);
        break;
    case TK_LODS:
    case TK_STOS:
    case TK_MOVS:
        tr_element(t);
        break;
    case TK_CLI:
    case TK_CLD:
    case TK_STD:
    case TK_SWAPGS:
    case TK_PUSHF:
    case TK_RDTSC:
    case TK_STI:
    case TK_STAC:
    case TK_CLAC:
    case TK_POPF:
    case TK_CR2:
        tr_sys(t);
        break;
    default:
        if (t->in->op.kind >= TK_PUSH_R && t->in->op.kind <= TK_RET)
            tr_flow(t);
        else
            tr_int(t);
    }
}

void tr_emit_insn(struct tr *t)
{
    unsigned ools = t->ools;

    emit(t);
    emitted(t, ools);
    if (t->direct && !t->plain)
        tr_direct_after(t, ools);
    if (t->stack < DIRECT_CLASSES)
        tr_direct_check_stack(t);
}

static void emit_aside(struct tr *t)
{
    enum tr_flags flags = t->flags;

    for (unsigned k = 0; k < t->ools; k++) {
        struct tr_ool *o = &t->ool[k];
        for (unsigned n = 0; n < G_N_ELEMENTS(o->from); n++)
            if (o->from[n])
                patch_rel(o->from[n], t->p);
        t->in = &t->insn[o->index];
        t->flags = TR_MEM;
        o->emit(t, o);
    }
    t->flags = flags;
}

/* ---- the result ---- */

static bool wants_keeping(const struct tr_insn *d)
{
    const struct fpu_op *op = d->i->flags & INSN_FPU ? d->i->priv : NULL;

    return d->keep || (op && ((d->i->flags & INSN_MEM) || (op->flags & (FPU_X87 | FPU_POINTERS))));
}

static void keep_insns(struct tr *t, struct tblock *tb, size_t at)
{
    tb->kept = (struct insn *)((uint8_t *)tb + at);
    for (unsigned n = 0; n < t->count; n++)
        if (wants_keeping(&t->insn[n]))
            tb->kept[tb->kept_count++] = *t->insn[n].i;
}

const struct insn *tr_kept(const struct tblock *t, unsigned index)
{
    for (unsigned n = 0; n < t->kept_count; n++)
        if (t->kept[n].off == t->off[index])
            return &t->kept[n];
    return NULL;
}

static struct tblock *make(struct tr *t, uint32_t id)
{
    struct tr_cache *k = t->cache;
    size_t tail = (t->count + 1u) * sizeof(uint16_t) + _Alignof(struct tr_fault);
    size_t kept_at = ALIGN_UP(sizeof(struct tblock) + tail + t->faults * sizeof(struct tr_fault),
                              _Alignof(struct insn));
    size_t bytes = kept_at;

    for (unsigned n = 0; n < t->count; n++)
        bytes += wants_keeping(&t->insn[n]) ? sizeof(struct insn) : 0;
    struct tblock *tb = tr_tblock_new(k, bytes);

    *tb = (struct tblock){.rip = t->rip,
                          .place = t->place,
                          .key = t->key,
                          .id = id,
                          .src = t->b,
                          .code = (uint32_t)(t->start - k->rw),
                          .entry_host = (uint32_t)(t->start - k->rw),
                          .count = (uint8_t)t->count,
                          .faults = (uint16_t)t->faults};
    for (unsigned n = 0; n < t->count; n++)
        tb->off[n] = t->insn[n].off;
    tb->off[t->count] = (uint16_t)(t->insn[t->count - 1].off + t->insn[t->count - 1].i->len);
    tb->fault =
        (struct tr_fault *)ALIGN_UP((uintptr_t)&tb->off[t->count + 1], _Alignof(struct tr_fault));
    memcpy(tb->fault, t->fault, t->faults * sizeof(struct tr_fault));
    keep_insns(t, tb, kept_at);
    return tb;
}

/* Does it put away the flags it finds before it reads or sets any? */
static bool saves_first(const struct tr *t)
{
    if (!t->insn[0].live)
        return false;
    for (unsigned k = 0; k < t->count; k++) {
        const struct tr_insn *d = &t->insn[k];
        if (tr_is_flow(d) ? d->op.kind == TK_JCC : d->op.reads | d->op.writes | d->op.maybe)
            return false;
        if (clobbers(t, d))
            return true;
    }
    return false;
}

/* The entry for flags that are in c->fl: none of its own when the block sets them first, or saves
 * them first (`saved`: behind that). */
static void second_entry(struct tr *t, struct tblock *tb, const uint8_t *saved)
{
    tb->entry_mem = saved ? (uint32_t)(saved - t->cache->rw) : tb->entry_host;
    if (saved || !t->insn[0].live)
        return;
    tb->entry_mem = (uint32_t)(t->p - t->cache->rw);
    e_flags_load(t);
    e_jmp(t, t->start);
}

/* ---- an instruction that goes on in the next page ---- */

static void another_page(struct tr *t, struct tr_ool *o)
{
    if (o->flag)
        e_flags_save(t);
    e_address(t, HR_S0, t->rip);
    e_jmp(t, glue(t, t->cache->glue.exit_indirect));
}

/* Its second half has to be where it was; else the loop looks it up. */
static void check_second_page(struct tr *t)
{
    uint64_t next = (t->c->st.rip & ~(GUEST_PAGE_SIZE - 1)) + GUEST_PAGE_SIZE;
    unsigned slot = tlb_exec_index(next);
    const struct tlb_ctx *x = &t->c->tlb[t->ctx];
    struct tr_ool *o = tr_ool(t, another_page);

    o->flag = t->flags == TR_HOST;
    if (t->place) {
        uint32_t at = tr_expect_place(t, GUEST_PAGE_SIZE);
        tr_name_minus(t->cache, at, x->exec_place[slot]);
    } else {
        e_load32(t, HR_S1, &x->exec_id[slot]);
        e8(t, 0x8d), e8(t, 0x89), e32(t, 0u - x->exec_id[slot]); /* lea ecx, [rcx - id] */
    }
    uint8_t *ok = e_jcc8(t, J8_JRCXZ);
    o->from[0] = e_jmp(t, t->p);
    e_here8(t, ok);
}

/* Such a block begins with saving; returns where those enter it whose flags are saved. */
static const uint8_t *save_first(struct tr *t)
{
    if (t->b->host2 || !saves_first(t))
        return NULL;
    e_flags_save(t);
    t->flags = TR_MEM;
    return t->p;
}

static bool worth_it(const struct tr *t)
{
    for (unsigned k = 0; k < t->count; k++)
        if (t->insn[k].op.kind != TK_INTERP)
            return true;
    return false;
}

#define TIME_ONE_IN 16u /* translations, for the statistics: the clock takes a thirtieth of one */

static uint64_t timed_from(const struct tr_cache *k)
{
    return k->blocks % TIME_ONE_IN ? 0 : host_clock_ns();
}

static void timed_to(struct tr_cache *k, uint64_t start)
{
    if (start)
        TR_COUNT(k->stats.translate_ns, (host_clock_ns() - start) * TIME_ONE_IN);
}

/* Of b as it is run at st.rip, whose page the exec TLB knows. */
static void begin(struct tr *t, struct jit_cpu *c, struct block *b, uint32_t key)
{
    static _Thread_local struct tr_ool aside[TR_OOL_MAX];

    memset(t, 0, offsetof(struct tr, insn));
    t->c = c;
    t->cache = c->tr.cache;
    t->b = b;
    t->from = icache_insns(c, b);
    t->key = key;
    t->ctx = c->tlb_ctx;
    t->rip = tr_home(c->st.rip, key);
    t->place = key & TR_KEY_MOVES ? c->tlb_now->exec_place[tlb_exec_index(c->st.rip)] : 0;
    t->code64 = c->mode == MODE_LONG64;
    t->direct = key & TR_KEY_DIRECT;
    t->stack = t->direct ? TR_KEY_STACK_OF(key) : DIRECT_CLASSES;
    t->ool = aside;
    t->x87_last = -1;
}

struct tblock *tr_translate(struct jit_cpu *c, struct block *b, uint32_t key, uint32_t id)
{
    struct tr_cache *k = c->tr.cache;
    uint64_t start_ns = timed_from(k);
    struct tr t;

    begin(&t, c, b, key);
    if (!t.from)
        return NULL;
    scan(&t);
    if (!worth_it(&t))
        return NULL;
    if (!tr_cache_room(k, BLOCK_BYTES_MAX))
        return NULL;
    liveness(&t);
    k->used = ALIGN_UP(k->used, 16);
    t.p = t.start = k->rw + k->used;
    t.in = &t.insn[0];
    if (b->host2)
        check_second_page(&t);
    const uint8_t *saved = save_first(&t);
    if (t.stack < DIRECT_CLASSES)
        tr_direct_begin(&t);
    for (unsigned n = 0; n < t.count; n++) {
        t.in = &t.insn[n];
        unsigned last = tr_group(&t, n);
        if (last == n)
            tr_emit_insn(&t);
        n = last;
    }
    if (!tr_is_flow(t.in) && t.in->op.kind != TK_SYSTEM && !is_last(t.in)) {
        tr_x87_settle(&t);
        tr_leave_to(&t, tr_next_rip(&t), false, false);
    }
    uint8_t *end = t.p;
    t.p = k->rw + k->aside_used;
    emit_aside(&t);
    struct tblock *tb = make(&t, id);
    second_entry(&t, tb, saved);
    tb->end = (uint32_t)(end - k->rw);
    tb->aside = k->aside_used;
    tb->aside_end = MAX_OF((uint32_t)(t.p - k->rw), tb->aside + 1);
    g_assert(tb->end - tb->code < BLOCK_BYTES_MAX);
    g_assert(tb->aside_end - tb->aside < BLOCK_BYTES_MAX);
    tr_add(k, tb);
    TR_COUNT(k->stats.blocks, 1);
    TR_COUNT(k->stats.insns, t.count);
    TR_COUNT(k->stats.code_bytes, tb->end - tb->code + tb->aside_end - tb->aside);
    timed_to(k, start_ns);
    return tb;
}
