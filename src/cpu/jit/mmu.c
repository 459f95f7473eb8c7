/* mmu.c - the software TLB and every access that cannot use it.
 *
 * Contexts: 0 supervisor, 1 user, 2 supervisor while EFLAGS.AC lifts SMAP, 3 user with alignment
 * checking.  Context 3 is never filled for data, so each access comes here and is checked.  Because
 * the permission context selects the tables, ring crossings and STAC/CLAC flush nothing.
 *
 * Slots in use are logged (tlb_ctx.log), those of global pages apart: a flush looks at what was
 * filled since the last one, not at the tables.  A slot may stand in both logs.
 *
 * Who may hold a writable entry (wr[]):
 *   (1) only for RAM whose region has no dirty log and whose page has no code bit;
 *   (2) the filler sets the page's bit in wfilter before it looks at the code bit; who sets a code
 *       bit looks at the filters afterwards - one of the two always sees the other;
 *   (3) another thread never writes these tables: it sets PENDING_TLB_FLUSH and waits until the
 *       owner has flushed or is outside guest code (it flushes when it comes back). */
#include "cosim.h"
#include "direct.h"

#include "bus/io.h"

#define TLB_GLOBAL    1u
#define TLB_LARGE     2u
#define TLB_LOGGED(n) (4u << (n)) /* the slot stands in log[n] */

static inline uint64_t page_of(uint64_t linear)
{
    return linear & ~(GUEST_PAGE_SIZE - 1);
}

static inline unsigned context_of(struct jit_cpu *c, unsigned access)
{
    return (access & ACC_IMPLICIT_SUPERVISOR) ? TLB_CTX_SUPER : c->tlb_ctx;
}

static void slot_clear(struct tlb_ctx *t, unsigned slot)
{
    uint64_t none = tlb_none(slot);

    t->rd[slot].tag = t->wr[slot].tag = none;
    t->page[slot].tag = t->page[slot].slow_wtag = none;
}

static void slot_log(struct tlb_ctx *t, unsigned slot, unsigned which)
{
    struct tlb_log *log = &t->log[which];

    if (t->page[slot].flags & TLB_LOGGED(which))
        return;
    t->page[slot].flags |= TLB_LOGGED(which);
    log->slot[log->count++] = slot;
}

/* ---- the filter of possibly writable pages ---- */

static inline unsigned filter_hash(const struct guest_region *r, uint64_t offset)
{
    uint64_t page = ((uintptr_t)r->host + offset) >> GUEST_PAGE_SHIFT;
    return (page * 0x9e3779b97f4a7c15ull) >> 50; /* 14 bits */
}

static void filter_add(struct jit_cpu *c, const struct guest_region *r, uint64_t offset)
{
    unsigned h = filter_hash(r, offset);
    uint64_t *word = &sys_of(c)->wfilter[h / 64];
    if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & BIT64(h % 64)))
        __atomic_fetch_or(word, BIT64(h % 64), __ATOMIC_SEQ_CST);
}

static bool filter_has(struct jit_cpu *c, const struct guest_region *r, uint64_t offset)
{
    unsigned h = filter_hash(r, offset);
    return __atomic_load_n(&sys_of(c)->wfilter[h / 64], __ATOMIC_SEQ_CST) & BIT64(h % 64);
}

static bool is_code_page(const struct guest_region *r, uint64_t offset)
{
    uint64_t page = offset >> GUEST_PAGE_SHIFT;
    return r->code && (__atomic_load_n(&r->code[page / 64], __ATOMIC_SEQ_CST) & BIT64(page % 64));
}

/* ---- flushing ---- */

/* One entry has no other slot's pages to say "none" with: it gets a page that no canonical address
 * is in, and, since a guest may try, nothing behind it. */
#define STACK_NONE UINT64_C(0x5a5a5a5a5a5a5000)

static uint8_t nothing[GUEST_PAGE_SIZE];

static void stack_forget(struct tlb_ctx *t)
{
    t->stack.tag = STACK_NONE;
    t->stack.host = (uintptr_t)nothing;
}

void mmu_exec_number_forget(struct tlb_ctx *t, unsigned slot)
{
    unsigned place = t->exec_place[slot];

    t->exec_id[slot] = 0;
    if (place) {
        t->place[place].minus = PLACE_GONE;
        t->exec_place[slot] = 0;
    }
}

static void exec_clear(struct tlb_ctx *t, unsigned slot)
{
    t->exec[slot].tag = tlb_none(slot);
    mmu_exec_number_forget(t, slot);
}

static void exec_note(struct tlb_ctx *t, unsigned slot, unsigned which)
{
    struct tlb_exec_log *log = &t->exec_log[which];

    if (t->exec[slot].flags & TLB_LOGGED(which))
        return;
    t->exec[slot].flags |= TLB_LOGGED(which);
    log->slot[log->count++] = (uint16_t)slot;
}

static void exec_flush(struct tlb_ctx *t, unsigned which, bool keep_global)
{
    struct tlb_exec_log *log = &t->exec_log[which];

    for (unsigned i = 0; i < log->count; i++) {
        unsigned slot = log->slot[i];
        t->exec[slot].flags &= ~TLB_LOGGED(which);
        if (keep_global && (t->exec[slot].flags & TLB_GLOBAL))
            exec_note(t, slot, 1);
        else
            exec_clear(t, slot);
    }
    log->count = 0;
}

/* Empties a log; its slots are cleared, but for those of global pages when they are to stay. */
static void log_flush(struct tlb_ctx *t, unsigned which, bool keep_global)
{
    struct tlb_log *log = &t->log[which];

    for (unsigned i = 0; i < log->count; i++) {
        unsigned slot = log->slot[i];
        t->page[slot].flags &= ~TLB_LOGGED(which);
        if (keep_global && (t->page[slot].flags & TLB_GLOBAL))
            slot_log(t, slot, 1);
        else
            slot_clear(t, slot);
    }
    log->count = 0;
}

/* INVLPG drops a large page as a whole, but here it lies in 4 KiB pieces of unknown number.  Which
 * 2 MiB of the address space hold such pieces is noted in a table (a collision drops the older
 * ones); their slots are neighbours.  1 GiB pages, which hardly
 * anybody invalidates, are in a short list. */
#define LARGE_SHIFT 21
#define HUGE_SHIFT  30

static void pieces_flush(struct jit_cpu *c, uint64_t large)
{
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        struct tlb_ctx *t = &c->tlb[ctx];
        unsigned first = tlb_index(large << LARGE_SHIFT);
        for (unsigned i = 0; i < 1u << (LARGE_SHIFT - GUEST_PAGE_SHIFT); i++) {
            const struct tlb_page *p = &t->page[first + i];
            if ((p->flags & TLB_LARGE) && p->tag >> LARGE_SHIFT == large)
                slot_clear(t, first + i);
        }
    }
}

static void huge_note(struct sys_cpu *s, uint64_t huge)
{
    for (unsigned i = 0; i < s->huge_count && i < HUGE_PAGES; i++)
        if (s->huge[i] == huge)
            return;
    if (s->huge_count < HUGE_PAGES)
        s->huge[s->huge_count] = huge;
    if (s->huge_count <= HUGE_PAGES)
        s->huge_count++;
}

static bool in_huge_page(const struct sys_cpu *s, uint64_t linear)
{
    for (unsigned i = 0; i < s->huge_count && i < HUGE_PAGES; i++)
        if (s->huge[i] == linear >> 30)
            return true;
    return s->huge_count > HUGE_PAGES;
}

static void large_note(struct jit_cpu *c, uint64_t linear, unsigned shift)
{
    struct sys_cpu *s = sys_of(c);
    uint64_t first = (linear >> shift) << (shift - LARGE_SHIFT);

    if (shift > LARGE_SHIFT + 1) {
        huge_note(s, linear >> shift);
        return;
    }
    for (uint64_t large = first; large < first + (1u << (shift - LARGE_SHIFT)); large++) {
        uint64_t *slot = &s->large[large & (LARGE_PAGES - 1)];
        if (*slot == large + 1)
            continue;
        if (*slot)
            pieces_flush(c, *slot - 1);
        *slot = large + 1;
        s->large_count++;
    }
}

static void large_forget(struct jit_cpu *c)
{
    struct sys_cpu *s = sys_of(c);

    s->huge_count = 0;
    if (s->large_count)
        memset(s->large, 0, sizeof(s->large));
    s->large_count = 0;
}

/* The pieces of the 1 GiB page that linear is in; whatever is large goes. */
static void huge_flush(struct jit_cpu *c, uint64_t linear)
{
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        struct tlb_ctx *t = &c->tlb[ctx];
        for (unsigned which = 0; which < 2; which++) {
            for (unsigned i = 0; i < t->log[which].count; i++) {
                unsigned slot = t->log[which].slot[i];
                const struct tlb_page *p = &t->page[slot];
                if (p->page_shift > LARGE_SHIFT + 1 && p->tag != tlb_none(slot) &&
                    (p->tag ^ linear) >> p->page_shift == 0)
                    slot_clear(t, slot);
            }
        }
    }
}

/* Pieces of large pages within 1 << shift bytes of linear. */
static void exec_flush_large(struct tlb_ctx *t, uint64_t linear, unsigned shift)
{
    for (unsigned which = 0; which < 2; which++) {
        for (unsigned i = 0; i < t->exec_log[which].count; i++) {
            unsigned slot = t->exec_log[which].slot[i];
            const struct tlb_exec *e = &t->exec[slot];
            if ((e->flags & TLB_LARGE) && (e->tag ^ linear) >> shift == 0)
                exec_clear(t, slot);
        }
    }
}

void mmu_flush_all(struct jit_cpu *c)
{
    sys_of(c)->walk_gen++;
    sys_of(c)->ram = NULL;
    direct_flush(c);
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        struct tlb_ctx *t = &c->tlb[ctx];
        exec_flush(t, 0, false);
        exec_flush(t, 1, false);
        log_flush(t, 0, false);
        log_flush(t, 1, false);
        stack_forget(t);
    }
    large_forget(c);
    for (unsigned i = 0; i < ARRAY_SIZE(sys_of(c)->wfilter); i++)
        __atomic_store_n(&sys_of(c)->wfilter[i], 0, __ATOMIC_RELEASE);
}

void mmu_flush_nonglobal(struct jit_cpu *c)
{
    if (!(c->st.cr4 & CR4_PGE)) {
        mmu_flush_all(c);
        return;
    }
    sys_of(c)->walk_gen++;
    direct_flush(c);
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        struct tlb_ctx *t = &c->tlb[ctx];
        exec_flush(t, 0, true);
        log_flush(t, 0, true);
        stack_forget(t);
    }
}

void mmu_flush_exec_ids(struct jit_cpu *c, unsigned ctx)
{
    struct tlb_ctx *t = &c->tlb[ctx];

    for (unsigned which = 0; which < 2; which++)
        for (unsigned i = 0; i < t->exec_log[which].count; i++)
            mmu_exec_number_forget(t, t->exec_log[which].slot[i]);
}

void mmu_flush_page(struct jit_cpu *c, uint64_t linear)
{
    struct sys_cpu *s = sys_of(c);
    unsigned exec_slot = tlb_exec_index(linear);
    uint64_t large = linear >> LARGE_SHIFT;
    unsigned has_large = 0; /* log2 of bytes that lie in such pages with linear */

    s->walk_gen++;
    direct_flush_page(c, linear);
    for (unsigned n = 0; n < 2; n++, large ^= 1) { /* 4 MiB pages are two */
        if (s->large[large & (LARGE_PAGES - 1)] == large + 1) {
            pieces_flush(c, large);
            has_large = LARGE_SHIFT + 1;
        }
    }
    if (in_huge_page(s, linear)) {
        huge_flush(c, linear);
        has_large = HUGE_SHIFT;
    }
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        struct tlb_ctx *t = &c->tlb[ctx];
        if (t->page[tlb_index(linear)].tag == page_of(linear))
            slot_clear(t, tlb_index(linear));
        if (t->exec[exec_slot].tag == page_of(linear))
            exec_clear(t, exec_slot);
        stack_forget(t);
        if (has_large)
            exec_flush_large(t, linear, has_large);
    }
}

/* The tables come as zeros; only where that is not "nothing" has anything to be written. */
void mmu_init(struct jit_cpu *c)
{
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        slot_clear(&c->tlb[ctx], 0);
        c->tlb[ctx].exec[0].tag = tlb_none(0);
    }
    mmu_flush_all(c);
}

/* ---- filling ---- */

bool mmu_is_apic_page(const struct jit_cpu *c, uint64_t phys)
{
    return (phys & ~0xfffull) == (c->st.apic_base & 0x000ffffffffff000ull) &&
           (c->st.apic_base & (APIC_BASE_ENABLE | APIC_BASE_X2)) == APIC_BASE_ENABLE;
}

/* Who may store to a host page is found by the page: one slot a context, the last one filled; an
 * older one for the same page, or for another page of the same hash, loses its entry. */
static inline unsigned writer_hash(uintptr_t host)
{
    return (host >> GUEST_PAGE_SHIFT) & (TLB_WRITERS - 1);
}

static void writer_note(struct tlb_ctx *t, unsigned slot)
{
    uint16_t *w = &t->writer[writer_hash(t->wr[slot].host)];

    if (*w != slot && writer_hash(t->wr[*w].host) == writer_hash(t->wr[slot].host))
        t->wr[*w].tag = tlb_none(*w);
    *w = (uint16_t)slot;
}

bool mmu_may_write(struct jit_cpu *c, const struct guest_region *r, uint64_t offset)
{
    if (r->kind != GUEST_RAM || __atomic_load_n(&r->dirty, __ATOMIC_RELAXED))
        return false;
    if (is_code_page(r, offset))
        return false;
    filter_add(c, r, offset);
    return !is_code_page(r, offset);
}

static void set_write_tag(struct jit_cpu *c, struct tlb_ctx *t, unsigned slot)
{
    struct tlb_page *p = &t->page[slot];
    const struct guest_region *r = p->region;
    uint64_t offset = p->phys_page - r->gpa;

    p->slow_wtag = p->tag;
    if (mmu_may_write(c, r, offset)) {
        t->wr[slot].host = (uintptr_t)r->host + offset;
        t->wr[slot].tag = p->tag;
        writer_note(t, slot);
    }
}

static uint32_t page_flags(const struct walk *w)
{
    return (w->global ? TLB_GLOBAL : 0) | (w->shift > GUEST_PAGE_SHIFT ? TLB_LARGE : 0);
}

static void exec_fill(struct tlb_ctx *t, uint64_t page, const struct guest_region *r,
                      uint64_t phys_page, const struct walk *w)
{
    unsigned slot = tlb_exec_index(page);
    struct tlb_exec *e = &t->exec[slot];

    *e = (struct tlb_exec){.tag = page,
                           .host = (uintptr_t)r->host + (phys_page - r->gpa),
                           .region = r,
                           .phys_page = phys_page,
                           .flags = page_flags(w) | (e->flags & (TLB_LOGGED(0) | TLB_LOGGED(1)))};
    mmu_exec_number_forget(t, slot);
    exec_note(t, slot, w->global);
}

static void data_fill(struct jit_cpu *c, struct tlb_ctx *t, uint64_t page,
                      const struct guest_region *r, uint64_t phys_page, const struct walk *w)
{
    unsigned slot = tlb_index(page);
    struct tlb_page *p = &t->page[slot];

    guest_region_touch(r, phys_page - r->gpa);
    if (p->tag != page || p->phys_page != phys_page || p->region != r)
        slot_clear(t, slot);
    p->tag = page;
    p->phys_page = phys_page;
    p->region = r;
    p->flags = (p->flags & (TLB_LOGGED(0) | TLB_LOGGED(1))) | page_flags(w);
    p->page_shift = w->shift;
    slot_log(t, slot, w->global);
    t->rd[slot].host = (uintptr_t)r->host + (phys_page - r->gpa);
    t->rd[slot].tag = page;
    if (w->writable && w->dirty)
        set_write_tag(c, t, slot);
}

static const struct guest_region *region_find(struct jit_cpu *c, uint64_t phys)
{
    const struct guest_region *r = sys_of(c)->ram;

    if (likely(r && phys - r->gpa < r->size_bytes))
        return r;
    return guest_mem_find(c->set->cfg.mem, GPA(phys));
}

static void tlb_fill(struct jit_cpu *c, uint64_t linear, unsigned access, const struct walk *w)
{
    unsigned ctx = context_of(c, access), kind = access & 3;
    const struct guest_region *r = region_find(c, w->phys);
    uint64_t page = page_of(linear), phys_page = page_of(w->phys);

    if (!r || mmu_is_apic_page(c, w->phys))
        return;
    if (kind != ACC_EXEC && (ctx == TLB_CTX_ALIGN || sys_watched_page(c, page)))
        return;
    if (w->shift > GUEST_PAGE_SHIFT)
        large_note(c, linear, w->shift);
    if (kind == ACC_EXEC)
        exec_fill(&c->tlb[ctx], page, r, phys_page, w);
    else
        data_fill(c, &c->tlb[ctx], page, r, phys_page, w);
}

static bool tlb_lookup(struct jit_cpu *c, uint64_t linear, unsigned access, gpa_t *out)
{
    const struct tlb_ctx *t = &c->tlb[context_of(c, access)];
    uint64_t page = page_of(linear), low = linear & (GUEST_PAGE_SIZE - 1);
    unsigned slot = tlb_index(linear);

    if ((access & 3) == ACC_EXEC) {
        const struct tlb_exec *e = &t->exec[tlb_exec_index(linear)];
        *out = GPA(e->phys_page | low);
        return e->tag == page;
    }
    *out = GPA(t->page[slot].phys_page | low);
    return ((access & 3) == ACC_READ ? t->rd[slot].tag : t->page[slot].slow_wtag) == page;
}

bool mmu_fill_quick(struct jit_cpu *c, uint64_t linear, unsigned access)
{
    struct walk w;

    if (!mmu_walk_quick(c, linear, access, c->cpl == 3, &w))
        return false;
    w.phys = smm_phys(c, w.phys);
    tlb_fill(c, linear, access, &w);
    return true;
}

gpa_t mmu_translate(struct jit_cpu *c, uint64_t linear, unsigned access)
{
    bool user = c->cpl == 3 && !(access & ACC_IMPLICIT_SUPERVISOR);
    struct walk w;
    uint32_t error;
    gpa_t phys;

    if (tlb_lookup(c, linear, access, &phys))
        return phys;
    if (!mmu_walk_quick(c, linear, access, user, &w) &&
        !mmu_walk(c, linear, access, user, true, &w, &error))
        cpu_page_fault(c, linear, error);
    w.phys = smm_phys(c, w.phys);
    tlb_fill(c, linear, access, &w);
    return GPA(w.phys);
}

bool mmu_probe(struct jit_cpu *c, uint64_t linear, unsigned access, gpa_t *out)
{
    bool user = c->cpl == 3 && !(access & ACC_IMPLICIT_SUPERVISOR);
    struct walk w;
    uint32_t error;

    if (!mmu_walk(c, linear, access, user, false, &w, &error))
        return false;
    *out = GPA(smm_phys(c, w.phys));
    return true;
}

/* ---- physical accesses ---- */

static uint64_t mmio_read(struct jit_cpu *c, uint64_t phys, unsigned size)
{
    if (mmu_is_apic_page(c, phys)) {
        vcpu_count(c->vcpu, VCPU_EV_APIC);
        return lapic_mmio_read(c->lapic, phys & 0xfff, size);
    }
    return io_space_read(c->set->cfg.mmio, phys, size);
}

static void mmio_write(struct jit_cpu *c, uint64_t phys, unsigned size, uint64_t v)
{
    if (mmu_is_apic_page(c, phys)) {
        vcpu_count(c->vcpu, VCPU_EV_APIC);
        lapic_mmio_write(c->lapic, phys & 0xfff, size, v);
        pending_set(c, PENDING_KICK);
        return;
    }
    io_space_write(c->set->cfg.mmio, phys, size, v);
}

/* The largest power of two that is at most len, at most 8. */
static unsigned piece_of(unsigned len)
{
    return len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
}

/* Naturally sized copies, so that an aligned access stays one access as the guest may expect. */
static void copy_pieces(void *dst, const void *src, unsigned len)
{
    switch (len) {
    case 1:
        *(volatile mem_u8 *)dst = *(const volatile mem_u8 *)src;
        return;
    case 2:
        *(volatile mem_u16 *)dst = *(const volatile mem_u16 *)src;
        return;
    case 4:
        *(volatile mem_u32 *)dst = *(const volatile mem_u32 *)src;
        return;
    case 8:
        *(volatile mem_u64 *)dst = *(const volatile mem_u64 *)src;
        return;
    default:
        memcpy(dst, src, len);
    }
}

/* Inside one page. */
static void phys_read(struct jit_cpu *c, uint64_t phys, void *buf, unsigned len)
{
    const struct guest_region *r = region_find(c, phys);
    uint8_t *p = buf;

    if (r && !mmu_is_apic_page(c, phys)) {
        if (unlikely(c->running_ahead))
            cosim_load(c, r->host + (phys - r->gpa), buf, len);
        else
            copy_pieces(buf, r->host + (phys - r->gpa), len);
        return;
    }
    if (unlikely(c->running_ahead))
        cosim_device(c);
    while (len) {
        unsigned n = piece_of(len);
        uint64_t v = mmio_read(c, phys, n);
        memcpy(p, &v, n);
        p += n, phys += n, len -= n;
    }
}

void mmu_stored(struct jit_cpu *c, const struct guest_region *r, uint64_t offset, unsigned len)
{
    guest_region_mark(r, offset);
    /* The store first, the look at the bit second: who decodes does it the other way round. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!is_code_page(r, offset))
        return;
    bool held = false;
    for (unsigned i = 0; i < c->set->count; i++) {
        struct jit_cpu *other = c->set->vcpu[i]->accel;
        held |= icache_invalidate(other, r, offset, len);
    }
    /* Alone, nobody can be decoding this page now: its stores may become fast again. */
    if (!held && c->set->count == 1) {
        uint64_t page = offset >> GUEST_PAGE_SHIFT;
        __atomic_fetch_and(&r->code[page / 64], ~BIT64(page % 64), __ATOMIC_SEQ_CST);
    } else if (!held) {
        icache_retire(c, r, offset);
    }
}

/* A write to ROM may change what lies there: flash takes it as a command.  The instruction that
 * does it runs alone, so that the vcpu can stop before the next one, in the same block, sees the
 * old map. */
static void rom_write_alone(struct jit_cpu *c, uint64_t phys)
{
    if (c->single || !c->cur || !io_space_find(c->set->cfg.mmio, phys))
        return;
    sys_of(c)->alone = true;
    pending_set(c, PENDING_STEP);
    cpu_restart(c);
}

static void phys_write(struct jit_cpu *c, uint64_t phys, const void *buf, unsigned len)
{
    const struct guest_region *r = region_find(c, phys);
    const uint8_t *p = buf;

    if (r && r->kind == GUEST_RAM && !mmu_is_apic_page(c, phys)) {
        if (unlikely(c->running_ahead)) {
            cosim_store(c, r->host + (phys - r->gpa), buf, len);
            return;
        }
        copy_pieces(r->host + (phys - r->gpa), buf, len);
        mmu_stored(c, r, phys - r->gpa, len);
        return;
    }
    if (unlikely(c->running_ahead))
        cosim_device(c);
    if (r)
        rom_write_alone(c, phys);
    while (len) {
        unsigned n = piece_of(len);
        uint64_t v = 0;
        memcpy(&v, p, n);
        mmio_write(c, phys, n, v);
        p += n, phys += n, len -= n;
    }
}

/* ---- linear accesses ---- */

static uint64_t next_page(struct jit_cpu *c, uint64_t linear, unsigned access)
{
    uint64_t next = page_of(linear) + GUEST_PAGE_SIZE;
    return code64(c) || (access & ACC_IMPLICIT_SUPERVISOR) ? next : (uint32_t)next;
}

static void check_alignment(struct jit_cpu *c, uint64_t linear, unsigned len, unsigned access)
{
    if (c->tlb_ctx == TLB_CTX_ALIGN && !(access & ACC_IMPLICIT_SUPERVISOR) && len <= 8 &&
        (linear & (len - 1)))
        cpu_raise_error(c, EX_AC, 0);
}

void mmu_read_slow(struct jit_cpu *c, uint64_t linear, void *buf, unsigned len, unsigned access)
{
    unsigned first = GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1));

    check_alignment(c, linear, len, access);
    if (c->st.dr[7] & 0xff)
        sys_watch(c, linear, len, false);
    gpa_t a = mmu_translate(c, linear, access);
    if (len <= first) {
        phys_read(c, a.v, buf, len);
        return;
    }
    gpa_t b = mmu_translate(c, next_page(c, linear, access), access);
    phys_read(c, a.v, buf, first);
    phys_read(c, b.v, (uint8_t *)buf + first, len - first);
}

/* The page was slow for a reason that may be gone: dirty log off, code dropped. */
static void try_fast_again(struct jit_cpu *c, uint64_t linear, unsigned access)
{
    struct tlb_ctx *t = &c->tlb[context_of(c, access)];
    unsigned slot = tlb_index(linear);

    if (t->page[slot].slow_wtag == page_of(linear) && t->wr[slot].tag != page_of(linear))
        set_write_tag(c, t, slot);
}

/* Into two pages that are writable in the TLB. */
static bool write_across(struct jit_cpu *c, uint64_t linear, const uint8_t *buf, unsigned len,
                         unsigned access)
{
    const struct tlb_ctx *t = &c->tlb[context_of(c, access)];
    uint64_t next = next_page(c, linear, access);
    const struct tlb_hot *a = &t->wr[tlb_index(linear)], *b = &t->wr[tlb_index(next)];
    unsigned first = (unsigned)(GUEST_PAGE_SIZE - (linear - a->tag));

    if (!TLB_COVERS(a->tag, linear, 1) || b->tag != next || c->running_ahead)
        return false;
    uint8_t *low = (uint8_t *)(linear - a->tag + a->host), *high = (uint8_t *)b->host;
    for (unsigned k = 0; k < first; k++)
        low[k] = buf[k];
    for (unsigned k = first; k < len; k++)
        high[k - first] = buf[k];
    return true;
}

void mmu_write_slow(struct jit_cpu *c, uint64_t linear, const void *buf, unsigned len,
                    unsigned access)
{
    unsigned first = GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1));

    check_alignment(c, linear, len, access);
    if (len > first && write_across(c, linear, buf, len, access))
        return;
    gpa_t a = mmu_translate(c, linear, access);
    if (len <= first) {
        phys_write(c, a.v, buf, len);
        try_fast_again(c, linear, access);
    } else {
        gpa_t b = mmu_translate(c, next_page(c, linear, access), access);
        phys_write(c, a.v, buf, first);
        phys_write(c, b.v, (const uint8_t *)buf + first, len - first);
    }
    if (c->st.dr[7] & 0xff)
        sys_watch(c, linear, len, true);
}

void *mmu_rmw_ptr(struct jit_cpu *c, uint64_t linear, unsigned len)
{
    if (((linear & (GUEST_PAGE_SIZE - 1)) + len) > GUEST_PAGE_SIZE)
        return NULL;
    const struct tlb_hot *e = &c->tlb_now->wr[tlb_index(linear)];
    if (unlikely(!TLB_COVERS(e->tag, linear, len)))
        mmu_translate(c, linear, ACC_WRITE);
    return TLB_COVERS(e->tag, linear, len) ? (void *)(linear - e->tag + e->host) : NULL;
}

uint64_t sys_read(struct jit_cpu *c, uint64_t linear, unsigned size)
{
    const struct tlb_hot *e = &c->tlb[TLB_CTX_SUPER].rd[tlb_index(linear)];
    uint64_t v = 0;

    if (TLB_COVERS(e->tag, linear, size))
        copy_pieces(&v, (const void *)(linear - e->tag + e->host), size);
    else
        mmu_read_slow(c, linear, &v, size, ACC_READ | ACC_IMPLICIT_SUPERVISOR);
    return v;
}

void sys_write(struct jit_cpu *c, uint64_t linear, uint64_t v, unsigned size)
{
    mmu_write_slow(c, linear, &v, size, ACC_WRITE | ACC_IMPLICIT_SUPERVISOR);
}

/* ---- code pages ---- */

/* Own tables: the entries stay, but stores take the slow path from now on. */
static void revoke_own(struct jit_cpu *c, const struct guest_region *r, uint64_t offset)
{
    uintptr_t host = (uintptr_t)r->host + page_of(offset);

    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        struct tlb_ctx *t = &c->tlb[ctx];
        unsigned slot = t->writer[writer_hash(host)];
        if (t->wr[slot].host == host)
            t->wr[slot].tag = tlb_none(slot);
        stack_forget(t);
    }
    if (filter_has(c, r, offset))
        direct_revoke(c, host);
}

void mmu_code_lock(struct jit_cpu *c)
{
    pthread_mutex_lock(&set_of(c)->code_lock);
}

void mmu_code_unlock(struct jit_cpu *c)
{
    pthread_mutex_unlock(&set_of(c)->code_lock);
}

bool mmu_code_mark(struct jit_cpu *c, const struct guest_region *r, uint64_t offset)
{
    uint64_t page = offset >> GUEST_PAGE_SHIFT;

    if (is_code_page(r, offset) && set_of(c)->revoking == 0)
        return true;
    __atomic_fetch_or(&r->code[page / 64], BIT64(page % 64), __ATOMIC_SEQ_CST);
    set_of(c)->revoking++;
    return false;
}

void mmu_code_revoke(struct jit_cpu *c, const struct guest_region *r, uint64_t offset)
{
    revoke_own(c, r, offset);
    for (unsigned i = 0; i < c->set->count; i++) {
        struct jit_cpu *other = c->set->vcpu[i]->accel;
        if (other != c && filter_has(other, r, offset))
            jit_flush_wait(c->set, c, other);
    }
    mmu_code_lock(c);
    set_of(c)->revoking--;
    mmu_code_unlock(c);
}
