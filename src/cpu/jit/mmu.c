/* mmu.c - the software TLB and every access that cannot use it.
 *
 * Contexts: 0 supervisor, 1 user, 2 supervisor while EFLAGS.AC lifts SMAP, 3 user with alignment
 * checking.  Context 3 is never filled for data, so each access comes here and is checked.  Because
 * the permission context selects the table, ring crossings and STAC/CLAC flush nothing.
 *
 * Who may hold a writable entry (write_tag):
 *   (1) only for RAM whose region has no dirty log and whose page has no code bit;
 *   (2) the filler sets the page's bit in wfilter before it looks at the code bit; who sets a code
 *       bit looks at the filters afterwards - one of the two always sees the other;
 *   (3) another thread never writes this table: it sets PENDING_TLB_FLUSH and waits until the owner
 *       has flushed or is outside guest code (it flushes when it comes back). */
#include "sys.h"

#include "bus/io.h"

#define TLB_EMPTY  UINT64_MAX
#define TLB_GLOBAL 1u
#define TLB_LARGE  2u

static inline uint64_t page_of(uint64_t linear)
{
    return linear & ~(GUEST_PAGE_SIZE - 1);
}

static inline struct tlb_entry *slot_in(struct jit_cpu *c, unsigned ctx, uint64_t linear)
{
    return &c->tlb[ctx][(linear >> GUEST_PAGE_SHIFT) & (TLB_SIZE - 1)];
}

static inline unsigned context_of(struct jit_cpu *c, unsigned access)
{
    return (access & ACC_IMPLICIT_SUPERVISOR) ? TLB_CTX_SUPER : c->tlb_ctx;
}

/* The empty tag depends on the slot, see tlb_none(). */
static uint64_t none_of(const struct jit_cpu *c, const struct tlb_entry *e)
{
    return tlb_none((unsigned)(e - c->tlb[0]) & (TLB_SIZE - 1));
}

static void entry_clear(struct jit_cpu *c, struct tlb_entry *e)
{
    e->read_tag = e->write_tag = e->exec_tag = e->slow_wtag = none_of(c, e);
}

/* The linear page an entry is for, or its slot's empty tag. */
static uint64_t entry_page(const struct jit_cpu *c, const struct tlb_entry *e)
{
    uint64_t none = none_of(c, e);

    return e->read_tag != none ? e->read_tag : e->exec_tag != none ? e->exec_tag : e->slow_wtag;
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

static void context_flush(struct jit_cpu *c, unsigned ctx)
{
    struct sys_cpu *s = sys_of(c);
    if (s->filled_count[ctx] <= TLB_FILL_LOG) {
        for (unsigned i = 0; i < s->filled_count[ctx]; i++)
            entry_clear(c, &c->tlb[ctx][s->filled[ctx][i]]);
    } else {
        for (unsigned i = 0; i < TLB_SIZE; i++)
            entry_clear(c, &c->tlb[ctx][i]);
    }
    s->filled_count[ctx] = 0;
}

void mmu_flush_all(struct jit_cpu *c)
{
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++)
        context_flush(c, ctx);
    sys_of(c)->tlb_has_large = false;
    for (unsigned i = 0; i < ARRAY_SIZE(sys_of(c)->wfilter); i++)
        __atomic_store_n(&sys_of(c)->wfilter[i], 0, __ATOMIC_RELEASE);
}

/* Only entries that were filled are looked at; the log keeps those that stay. */
void mmu_flush_nonglobal(struct jit_cpu *c)
{
    struct sys_cpu *s = sys_of(c);
    if (!(c->st.cr4 & CR4_PGE)) {
        mmu_flush_all(c);
        return;
    }
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        bool log = s->filled_count[ctx] <= TLB_FILL_LOG;
        unsigned n = log ? s->filled_count[ctx] : TLB_SIZE, kept = 0;
        for (unsigned i = 0; i < n; i++) {
            unsigned index = log ? s->filled[ctx][i] : i;
            struct tlb_entry *e = &c->tlb[ctx][index];
            if (!(e->flags & TLB_GLOBAL))
                entry_clear(c, e);
            else if (log)
                s->filled[ctx][kept++] = (uint16_t)index;
        }
        if (log)
            s->filled_count[ctx] = (uint16_t)kept;
    }
}

static bool entry_is_for(const struct tlb_entry *e, uint64_t page)
{
    return e->read_tag == page || e->write_tag == page || e->exec_tag == page ||
           e->slow_wtag == page;
}

void mmu_flush_page(struct jit_cpu *c, uint64_t linear)
{
    uint64_t page = page_of(linear);
    bool large = false;

    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        struct tlb_entry *e = slot_in(c, ctx, linear);
        if (entry_is_for(e, page))
            entry_clear(c, e);
    }
    /* INVLPG drops a large page as a whole, but here it lies in 4 KiB pieces of unknown number:
     * when any large page is cached, look at each. */
    if (!sys_of(c)->tlb_has_large)
        return;
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++) {
        for (unsigned i = 0; i < TLB_SIZE; i++) {
            struct tlb_entry *e = &c->tlb[ctx][i];
            uint64_t tag = entry_page(c, e);
            if (tag == none_of(c, e) || !(e->flags & TLB_LARGE))
                continue;
            large = true;
            if ((tag ^ linear) >> e->page_shift == 0)
                entry_clear(c, e);
        }
    }
    sys_of(c)->tlb_has_large = large;
}

void mmu_init(struct jit_cpu *c)
{
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++)
        sys_of(c)->filled_count[ctx] = UINT16_MAX;
    mmu_flush_all(c);
}

/* ---- filling ---- */

static bool is_apic_page(const struct jit_cpu *c, uint64_t phys)
{
    return (phys & ~0xfffull) == (c->st.apic_base & 0x000ffffffffff000ull) &&
           (c->st.apic_base & (APIC_BASE_ENABLE | APIC_BASE_X2)) == APIC_BASE_ENABLE;
}

static void log_fill(struct jit_cpu *c, unsigned ctx, const struct tlb_entry *e)
{
    struct sys_cpu *s = sys_of(c);
    if (s->filled_count[ctx] < TLB_FILL_LOG)
        s->filled[ctx][s->filled_count[ctx]] = (uint16_t)(e - c->tlb[ctx]);
    if (s->filled_count[ctx] <= TLB_FILL_LOG)
        s->filled_count[ctx]++;
}

static void set_write_tag(struct jit_cpu *c, struct tlb_entry *e, uint64_t page)
{
    const struct guest_region *r = e->region;
    uint64_t offset = e->phys_page - r->gpa;

    e->slow_wtag = page;
    if (r->kind != GUEST_RAM || __atomic_load_n(&r->dirty, __ATOMIC_RELAXED))
        return;
    if (is_code_page(r, offset))
        return;
    filter_add(c, r, offset);
    if (!is_code_page(r, offset))
        e->write_tag = page;
}

static void tlb_fill(struct jit_cpu *c, uint64_t linear, unsigned access, const struct walk *w)
{
    unsigned ctx = context_of(c, access), kind = access & 3;
    const struct guest_region *r = guest_mem_find(c->set->cfg.mem, GPA(w->phys));
    uint64_t page = page_of(linear);
    struct tlb_entry *e = slot_in(c, ctx, linear);

    if (!r || is_apic_page(c, w->phys))
        return;
    if (kind != ACC_EXEC && (ctx == TLB_CTX_ALIGN || sys_watched_page(c, page)))
        return;
    uint64_t phys_page = page_of(w->phys);
    if (!entry_is_for(e, page) || e->phys_page != phys_page || e->region != r) {
        entry_clear(c, e);
        log_fill(c, ctx, e);
    }
    e->phys_page = phys_page;
    e->region = r;
    e->addend = (uintptr_t)r->host + (phys_page - r->gpa) - page;
    e->flags = (w->global ? TLB_GLOBAL : 0) | (w->shift > GUEST_PAGE_SHIFT ? TLB_LARGE : 0);
    e->page_shift = w->shift;
    if (w->shift > GUEST_PAGE_SHIFT)
        sys_of(c)->tlb_has_large = true;
    if (kind == ACC_EXEC) {
        e->exec_tag = page;
        return;
    }
    e->read_tag = page;
    if (w->writable && w->dirty)
        set_write_tag(c, e, page);
}

static bool tlb_lookup(struct jit_cpu *c, uint64_t linear, unsigned access, gpa_t *out)
{
    struct tlb_entry *e = slot_in(c, context_of(c, access), linear);
    uint64_t page = page_of(linear);
    bool hit;

    switch (access & 3) {
    case ACC_READ:
        hit = e->read_tag == page;
        break;
    case ACC_WRITE:
        hit = e->slow_wtag == page;
        break;
    default:
        hit = e->exec_tag == page;
        break;
    }
    *out = GPA(e->phys_page | (linear & (GUEST_PAGE_SIZE - 1)));
    return hit;
}

gpa_t mmu_translate(struct jit_cpu *c, uint64_t linear, unsigned access)
{
    bool user = c->cpl == 3 && !(access & ACC_IMPLICIT_SUPERVISOR);
    struct walk w;
    uint32_t error;
    gpa_t phys;

    if (tlb_lookup(c, linear, access, &phys))
        return phys;
    if (!mmu_walk(c, linear, access, user, true, &w, &error))
        cpu_page_fault(c, linear, error);
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
    *out = GPA(w.phys);
    return true;
}

/* ---- physical accesses ---- */

static uint64_t mmio_read(struct jit_cpu *c, uint64_t phys, unsigned size)
{
    if (is_apic_page(c, phys))
        return lapic_mmio_read(c->lapic, phys & 0xfff, size);
    return io_space_read(c->set->cfg.mmio, phys, size);
}

static void mmio_write(struct jit_cpu *c, uint64_t phys, unsigned size, uint64_t v)
{
    if (is_apic_page(c, phys)) {
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
    const struct guest_region *r = guest_mem_find(c->set->cfg.mem, GPA(phys));
    uint8_t *p = buf;

    if (r && !is_apic_page(c, phys)) {
        copy_pieces(buf, r->host + (phys - r->gpa), len);
        return;
    }
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

static void phys_write(struct jit_cpu *c, uint64_t phys, const void *buf, unsigned len)
{
    const struct guest_region *r = guest_mem_find(c->set->cfg.mem, GPA(phys));
    const uint8_t *p = buf;

    if (r && !is_apic_page(c, phys)) {
        if (r->kind != GUEST_RAM)
            return;
        copy_pieces(r->host + (phys - r->gpa), buf, len);
        mmu_stored(c, r, phys - r->gpa, len);
        return;
    }
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
    struct tlb_entry *e = slot_in(c, context_of(c, access), linear);
    uint64_t page = page_of(linear);

    if (e->slow_wtag == page && e->write_tag != page)
        set_write_tag(c, e, page);
}

void mmu_write_slow(struct jit_cpu *c, uint64_t linear, const void *buf, unsigned len,
                    unsigned access)
{
    unsigned first = GUEST_PAGE_SIZE - (linear & (GUEST_PAGE_SIZE - 1));

    check_alignment(c, linear, len, access);
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
    struct tlb_entry *e = slot_in(c, c->tlb_ctx, linear);
    if (likely(e->write_tag == page_of(linear)))
        return (void *)(linear + e->addend);
    mmu_translate(c, linear, ACC_WRITE);
    return e->write_tag == page_of(linear) ? (void *)(linear + e->addend) : NULL;
}

uint64_t sys_read(struct jit_cpu *c, uint64_t linear, unsigned size)
{
    struct tlb_entry *e = slot_in(c, TLB_CTX_SUPER, linear);
    uint64_t v = 0;

    if (TLB_HIT(e->read_tag, linear, size))
        copy_pieces(&v, (const void *)(linear + e->addend), size);
    else
        mmu_read_slow(c, linear, &v, size, ACC_READ | ACC_IMPLICIT_SUPERVISOR);
    return v;
}

void sys_write(struct jit_cpu *c, uint64_t linear, uint64_t v, unsigned size)
{
    mmu_write_slow(c, linear, &v, size, ACC_WRITE | ACC_IMPLICIT_SUPERVISOR);
}

/* ---- code pages ---- */

/* Own table: the entries stay, but stores take the slow path from now on. */
static void revoke_own(struct jit_cpu *c, const struct guest_region *r, uint64_t offset)
{
    uint64_t phys = r->gpa + page_of(offset);
    if (!filter_has(c, r, offset))
        return;
    for (unsigned ctx = 0; ctx < TLB_CONTEXTS; ctx++)
        for (unsigned i = 0; i < TLB_SIZE; i++)
            if (c->tlb[ctx][i].phys_page == phys)
                c->tlb[ctx][i].write_tag = tlb_none(i);
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
