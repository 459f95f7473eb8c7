/* mmu_walk.c - linear to physical by the guest's own page tables (SDM vol.3 ch.4, APM vol.2 ch.5).
 *
 * One loop serves all formats: a table says how many index bits each level has and where large
 * pages may appear.  Accessed and dirty bits are written only when the access is allowed, with
 * compare-and-exchange, because other vcpus and the guest itself change the tables meanwhile; a
 * lost race restarts the walk. */
#include "sys.h"

#define PTE_P  BIT64(0)
#define PTE_W  BIT64(1)
#define PTE_U  BIT64(2)
#define PTE_A  BIT64(5)
#define PTE_D  BIT64(6)
#define PTE_PS BIT64(7)
#define PTE_G  BIT64(8)
#define PTE_NX BIT64(63)

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
    /* accumulated rights */
    bool writable, user, nx;
};

static uint64_t entry_read(struct walker *w, uint64_t gpa)
{
    struct visited *v = &w->seen[w->count];
    const struct guest_region *r = guest_mem_find(w->c->set->cfg.mem, GPA(gpa));

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

static void accumulate(struct walker *w, uint64_t e)
{
    w->writable &= (e & PTE_W) != 0;
    w->user &= (e & PTE_U) != 0;
    w->nx |= w->entry_bytes == 8 && (e & PTE_NX);
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
    accumulate(w, e);
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

static enum step walk_levels(struct walker *w, uint64_t table, unsigned shift, unsigned index_bits,
                             struct walk *out)
{
    for (;;) {
        unsigned index = (w->linear >> shift) & ((1u << index_bits) - 1);
        enum step s = walk_entry(w, table, index, shift);
        if (s == STEP_TABLE) {
            table = w->seen[w->count - 1].value & w->addr_mask;
            shift -= index_bits;
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

static enum step walk_tables(struct walker *w, struct walk *out)
{
    struct jit_cpu *c = w->c;

    w->count = 0;
    w->writable = w->user = true;
    w->nx = false;
    if (!(c->st.cr4 & CR4_PAE)) {
        w->entry_bytes = 4;
        w->addr_mask = 0xfffff000;
        w->reserved = 0;
        return walk_levels(w, c->st.cr3 & 0xfffff000, 22, 10, out);
    }
    w->entry_bytes = 8;
    w->addr_mask = 0x000ffffffffff000ull;
    w->reserved = reserved_bits(c);
    if (long_mode(c)) {
        unsigned shift = (c->st.cr4 & CR4_LA57) ? 48 : 39;
        return walk_levels(w, c->st.cr3 & w->addr_mask, shift, 9, out);
    }
    uint64_t pdpte = sys_of(c)->pdpte[(w->linear >> 30) & 3];
    if (!(pdpte & PTE_P))
        return STEP_ABSENT;
    return walk_levels(w, pdpte & w->addr_mask, 21, 9, out);
}

static bool permitted(struct jit_cpu *c, const struct walker *w, unsigned access, bool user)
{
    unsigned kind = access & 3;

    if (user && !w->user)
        return false;
    if (kind == ACC_EXEC) {
        if (w->nx)
            return false;
        return user || !w->user || !(c->st.cr4 & CR4_SMEP);
    }
    if (!user && w->user && (c->st.cr4 & CR4_SMAP) &&
        ((access & ACC_IMPLICIT_SUPERVISOR) || !(c->st.rflags & FL_AC)))
        return false;
    return kind == ACC_READ || w->writable || (!user && !(c->st.cr0 & CR0_WP));
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
    for (;;) {
        enum step s = walk_tables(&w, out);
        if (s == STEP_ABSENT) {
            *error = error_code(c, access, user);
            return false;
        }
        if (s == STEP_RESERVED) {
            *error = error_code(c, access, user) | PF_P | PF_RSVD;
            return false;
        }
        if (!permitted(c, &w, access, user)) {
            *error = error_code(c, access, user) | PF_P;
            return false;
        }
        bool write = (access & 3) == ACC_WRITE;
        if (set_bits && !set_accessed_dirty(&w, write))
            continue;
        out->dirty |= write;
        out->writable = w.writable || (!user && !(c->st.cr0 & CR0_WP));
        out->user = w.user;
        out->nx = w.nx;
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
