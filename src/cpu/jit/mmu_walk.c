/* mmu_walk.c - linear to physical by the guest's own page tables (SDM vol.3 ch.4, APM vol.2 ch.5).
 *
 * One loop serves all formats: a table says how many index bits each level has and where large
 * pages may appear.  Accessed and dirty bits are written only when the access is allowed, with
 * compare-and-exchange, because other vcpus and the guest itself change the tables meanwhile; a
 * lost race restarts the walk.
 *
 * As processors do (SDM vol.3 4.10.3), the upper levels are remembered: where the page table for 2
 * MiB lies, or the directory for 1 GiB, and what rights the entries above gave.  Only of present
 * entries with the accessed bit, until the next flush of whatever kind, INVLPG of any address
 * included.  A walk that ends in a fault is done again from the top. */
#include "sys.h"

#define PTE_P  BIT64(0)
#define PTE_W  BIT64(1)
#define PTE_U  BIT64(2)
#define PTE_A  BIT64(5)
#define PTE_D  BIT64(6)
#define PTE_PS BIT64(7)
#define PTE_G  BIT64(8)
#define PTE_NX BIT64(63)

#define ADDR_MASK 0x000ffffffffff000ull /* of an 8-byte entry */

#define WALK_LEVELS_MAX 5

/* One visited entry: where it lives on the host and what was read. */
struct visited {
    const struct guest_region *region;
    uint64_t offset; /* in the region */
    uint64_t value;
    bool leaf;
};

struct walker {
    struct jit_cpu *c;
    uint64_t linear;
    unsigned entry_bytes;
    unsigned count;
    struct visited seen[WALK_LEVELS_MAX];
    uint64_t reserved; /* bits that must be zero in every entry */
    uint64_t addr_mask;
    const struct guest_region *near; /* where the last entry was, or NULL */
    struct walk_memo pt, pd;         /* passed: span is 1 + what it is for, 0: not passed */
    struct walk_rights rights;       /* of the entries so far together */
};

static uint64_t entry_read(struct walker *w, uint64_t gpa)
{
    struct visited *v = &w->seen[w->count];
    const struct guest_region *r = w->near;

    gpa = smm_phys(w->c, gpa);
    if (!r || gpa - r->gpa >= r->size_bytes)
        w->near = r = guest_mem_find(w->c->set->cfg.mem, GPA(gpa));
    v->region = r;
    v->leaf = false;
    if (!r) {
        /* Page tables outside memory: the bus answers all ones. */
        v->value = w->entry_bytes == 8 ? UINT64_MAX : UINT32_MAX;
        return v->value;
    }
    v->offset = gpa - r->gpa;
    if (w->entry_bytes == 8)
        v->value = __atomic_load_n((const uint64_t *)(r->host + v->offset), __ATOMIC_RELAXED);
    else
        v->value = __atomic_load_n((const uint32_t *)(r->host + v->offset), __ATOMIC_RELAXED);
    return v->value;
}

/* True when the entry has been brought to value|bits, or cannot be written (ROM, no memory). */
static bool entry_set_bits(struct walker *w, struct visited *v, uint64_t bits)
{
    if ((v->value & bits) == bits || !v->region || v->region->kind != GUEST_RAM)
        return true;
    void *host = v->region->host + v->offset;
    bool done;
    if (w->entry_bytes == 8) {
        uint64_t old = v->value;
        done = __atomic_compare_exchange_n((uint64_t *)host, &old, old | bits, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    } else {
        uint32_t old = (uint32_t)v->value;
        done = __atomic_compare_exchange_n((uint32_t *)host, &old, old | (uint32_t)bits, false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    if (done)
        mmu_stored(w->c, v->region, v->offset, w->entry_bytes);
    return done;
}

static bool set_accessed_dirty(struct walker *w, bool write)
{
    for (unsigned i = 0; i < w->count; i++) {
        struct visited *v = &w->seen[i];
        if (!entry_set_bits(w, v, PTE_A | (v->leaf && write ? PTE_D : 0)))
            return false;
    }
    return true;
}

enum step { STEP_TABLE, STEP_LEAF, STEP_ABSENT, STEP_RESERVED };

static void accumulate(struct walk_rights *r, uint64_t e)
{
    r->writable &= (e & PTE_W) != 0;
    r->user &= (e & PTE_U) != 0;
    r->nx |= (e & PTE_NX) != 0; /* entries of 4 bytes do not have it */
}

static bool large_allowed(struct jit_cpu *c, unsigned shift)
{
    switch (shift) {
    case 12:
        return true;
    case 21:
        return true;
    case 22:
        return c->st.cr4 & CR4_PSE;
    case 30:
        return long_mode(c) && sys_has(c, FEAT_8000_0001_EDX, 26);
    default:
        return false;
    }
}

/* Looks at one entry whose span is 1 << shift bytes. */
static enum step walk_entry(struct walker *w, uint64_t table, unsigned index, unsigned shift)
{
    uint64_t e = entry_read(w, table + (uint64_t)index * w->entry_bytes);
    struct visited *v = &w->seen[w->count];

    if (!(e & PTE_P))
        return STEP_ABSENT;
    w->count++;
    if (e & w->reserved)
        return STEP_RESERVED;
    bool large = shift > 12 && (e & PTE_PS);
    if (large && !large_allowed(w->c, shift)) {
        /* Without CR4.PSE a 32-bit PDE ignores bit 7; elsewhere it is reserved. */
        if (shift != 22)
            return STEP_RESERVED;
        large = false;
    }
    accumulate(&w->rights, e);
    if (!large && shift > 12)
        return STEP_TABLE;
    v->leaf = true;
    if (shift == 21 && (e & 0x1fe000))
        return STEP_RESERVED;
    if (shift == 30 && (e & 0x3fffe000))
        return STEP_RESERVED;
    if (shift == 22 && (e & 0x200000))
        return STEP_RESERVED;
    return STEP_LEAF;
}

static uint64_t leaf_page(const struct walker *w, uint64_t e, unsigned shift)
{
    uint64_t page = e & w->addr_mask & ~(BIT64(shift) - 1);
    if (shift == 22) /* PSE-36: bits 20:13 are address bits 39:32 */
        page |= ((e >> 13) & 0xff) << 32;
    return page;
}

/* ---- upper levels remembered ---- */

static struct walk_memo *pt_memo(struct sys_cpu *s, uint64_t linear)
{
    return &s->pts[(linear >> 21 ^ linear >> 39) % WALK_PTS];
}

static struct walk_memo *pd_memo(struct sys_cpu *s, uint64_t linear)
{
    return &s->pds[(linear >> 30 ^ linear >> 39) % WALK_PDS];
}

static void passed(struct walker *w, unsigned shift, uint64_t table)
{
    struct walk_memo memo = {.table = table, .gen = sys_of(w->c)->walk_gen, .rights = w->rights};

    if (shift == 12) {
        memo.span = 1 + (w->linear >> 21);
        w->pt = memo;
    } else if (shift == 21) {
        memo.span = 1 + (w->linear >> 30);
        w->pd = memo;
    }
}

static void remember(struct walker *w)
{
    struct sys_cpu *s = sys_of(w->c);

    if (w->pt.span)
        *pt_memo(s, w->linear) = w->pt;
    if (w->pd.span)
        *pd_memo(s, w->linear) = w->pd;
}

/* The lowest table that is known; false: none. */
static bool shortcut(struct walker *w, uint64_t *table, unsigned *shift)
{
    struct sys_cpu *s = sys_of(w->c);
    const struct walk_memo *m = pt_memo(s, w->linear);

    *shift = 12;
    if (m->gen != s->walk_gen || m->span != 1 + (w->linear >> 21)) {
        m = pd_memo(s, w->linear);
        *shift = 21;
        if (m->gen != s->walk_gen || m->span != 1 + (w->linear >> 30))
            return false;
    }
    *table = m->table;
    w->rights = m->rights;
    return true;
}

static enum step walk_levels(struct walker *w, uint64_t table, unsigned shift, unsigned index_bits,
                             struct walk *out)
{
    for (;;) {
        unsigned index = (w->linear >> shift) & ((1u << index_bits) - 1);
        enum step s = walk_entry(w, table, index, shift);
        if (s == STEP_TABLE) {
            table = w->seen[w->count - 1].value & w->addr_mask;
            shift -= index_bits;
            if (w->entry_bytes == 8)
                passed(w, shift, table);
            continue;
        }
        if (s == STEP_LEAF) {
            uint64_t e = w->seen[w->count - 1].value;
            out->shift = shift;
            out->phys = leaf_page(w, e, shift) | (w->linear & (BIT64(shift) - 1));
            out->global = (e & PTE_G) && (w->c->st.cr4 & CR4_PGE);
            out->dirty = e & PTE_D;
        }
        return s;
    }
}

/* Bits [phys_bits, 52) of every 8-byte entry, NX without EFER.NXE, 62:52 in PAE. */
static uint64_t reserved_bits(struct jit_cpu *c)
{
    uint64_t r = BIT64(52) - BIT64(sys_of(c)->phys_bits);
    if (!(c->st.efer & EFER_NXE))
        r |= PTE_NX;
    if (!long_mode(c))
        r |= 0x7ff0000000000000ull;
    return r;
}

static enum step walk_tables(struct walker *w, bool from_memo, struct walk *out)
{
    struct jit_cpu *c = w->c;
    uint64_t table;
    unsigned from;

    w->count = 0;
    w->rights = (struct walk_rights){.writable = true, .user = true};
    w->pt.span = w->pd.span = 0;
    if (!(c->st.cr4 & CR4_PAE)) {
        w->entry_bytes = 4;
        w->addr_mask = 0xfffff000;
        w->reserved = 0;
        return walk_levels(w, c->st.cr3 & 0xfffff000, 22, 10, out);
    }
    w->entry_bytes = 8;
    w->addr_mask = ADDR_MASK;
    w->reserved = reserved_bits(c);
    if (from_memo && shortcut(w, &table, &from))
        return walk_levels(w, table, from, 9, out);
    if (long_mode(c)) {
        unsigned shift = (c->st.cr4 & CR4_LA57) ? 48 : 39;
        return walk_levels(w, c->st.cr3 & w->addr_mask, shift, 9, out);
    }
    uint64_t pdpte = sys_of(c)->pdpte[(w->linear >> 30) & 3];
    if (!(pdpte & PTE_P))
        return STEP_ABSENT;
    return walk_levels(w, pdpte & w->addr_mask, 21, 9, out);
}

static bool permitted(struct jit_cpu *c, const struct walk_rights *r, unsigned access, bool user)
{
    unsigned kind = access & 3;

    if (user && !r->user)
        return false;
    if (kind == ACC_EXEC) {
        if (r->nx)
            return false;
        return user || !r->user || !(c->st.cr4 & CR4_SMEP);
    }
    if (!user && r->user && (c->st.cr4 & CR4_SMAP) &&
        ((access & ACC_IMPLICIT_SUPERVISOR) || !(c->st.rflags & FL_AC)))
        return false;
    return kind == ACC_READ || r->writable || (!user && !(c->st.cr0 & CR0_WP));
}

static void rights_out(struct jit_cpu *c, const struct walk_rights *r, bool user, struct walk *out)
{
    out->writable = r->writable || (!user && !(c->st.cr0 & CR0_WP));
    out->user = r->user;
    out->nx = r->nx;
}

/* A page table that is remembered, in the memory found last, whose entry needs no bits: the usual
 * case.  True leaves the same behind as mmu_walk. */
bool mmu_walk_quick(struct jit_cpu *c, uint64_t linear, unsigned access, bool user,
                    struct walk *out)
{
    struct sys_cpu *s = sys_of(c);
    const struct walk_memo *m = pt_memo(s, linear);
    const struct guest_region *r = s->ram;
    uint64_t need = PTE_P | PTE_A | ((access & 3) == ACC_WRITE ? PTE_D : 0);
    struct walk_rights rights = m->rights;

    if (m->gen != s->walk_gen || m->span != 1 + (linear >> 21) || !r ||
        m->table - r->gpa >= r->size_bytes)
        return false;
    const uint8_t *table = r->host + (m->table - r->gpa);
    uint64_t e = __atomic_load_n((const uint64_t *)table + (linear >> 12 & 511), __ATOMIC_RELAXED);
    accumulate(&rights, e);
    if ((e & need) != need || (e & reserved_bits(c)) || !permitted(c, &rights, access, user))
        return false;
    *out = (struct walk){.phys = (e & ADDR_MASK) | (linear & (GUEST_PAGE_SIZE - 1)),
                         .shift = GUEST_PAGE_SHIFT,
                         .global = (e & PTE_G) && (c->st.cr4 & CR4_PGE),
                         .dirty = e & PTE_D};
    rights_out(c, &rights, user, out);
    return true;
}

static uint32_t error_code(struct jit_cpu *c, unsigned access, bool user)
{
    uint32_t e = user ? PF_U : 0;
    if ((access & 3) == ACC_WRITE)
        e |= PF_W;
    if ((access & 3) == ACC_EXEC &&
        ((c->st.cr4 & CR4_SMEP) || ((c->st.efer & EFER_NXE) && (c->st.cr4 & CR4_PAE))))
        e |= PF_I;
    return e;
}

bool mmu_walk(struct jit_cpu *c, uint64_t linear, unsigned access, bool user, bool set_bits,
              struct walk *out, uint32_t *error)
{
    if (!(c->st.cr0 & CR0_PG)) {
        *out = (struct walk){
            .phys = (uint32_t)linear, .shift = 12, .writable = true, .user = true, .dirty = true};
        return true;
    }
    struct walker w = {.c = c, .linear = long_mode(c) ? linear : (uint32_t)linear};
    bool from_memo = set_bits;

    if (set_bits)
        w.near = sys_of(c)->ram;
    for (;;) {
        enum step s = walk_tables(&w, from_memo, out);
        if (from_memo && (s != STEP_LEAF || !permitted(c, &w.rights, access, user))) {
            from_memo = false;
            continue;
        }
        if (s == STEP_ABSENT) {
            *error = error_code(c, access, user);
            return false;
        }
        if (s == STEP_RESERVED) {
            *error = error_code(c, access, user) | PF_P | PF_RSVD;
            return false;
        }
        if (!permitted(c, &w.rights, access, user)) {
            *error = error_code(c, access, user) | PF_P;
            return false;
        }
        bool write = (access & 3) == ACC_WRITE;
        if (set_bits && !set_accessed_dirty(&w, write))
            continue;
        if (set_bits) {
            remember(&w);
            sys_of(c)->ram = w.near;
        }
        out->dirty |= write;
        rights_out(c, &w.rights, user, out);
        return true;
    }
}

/* PAE CR3 load: the four PDPTEs are read now and kept (SDM vol.3 4.4.1). */
bool mmu_pdptrs_load(struct jit_cpu *c)
{
    uint64_t entries[4];
    uint64_t reserved = ~(BIT64(sys_of(c)->phys_bits) - 1) | 0x1e6;

    for (unsigned i = 0; i < 4; i++) {
        struct walker w = {.c = c, .entry_bytes = 8};
        entries[i] = entry_read(&w, (c->st.cr3 & 0xffffffe0) + i * 8);
        if ((entries[i] & PTE_P) && (entries[i] & reserved))
            return false;
    }
    memcpy(sys_of(c)->pdpte, entries, sizeof(entries));
    return true;
}
