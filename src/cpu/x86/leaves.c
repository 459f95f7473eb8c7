/* leaves.c - what CPUID answers for one vcpu: model + topology -> leaves.
 *
 * SDM vol.2 CPUID, AMD APM vol.3 appendix E.  Bits that follow the vcpu's own registers (OSXSAVE,
 * OSPKE, the size in leaf 0xD.0 EBX) are left to the accelerator. */
#include "hyperv.h"
#include "model.h"

#include "base/util.h"
#include "cpu/xsave_layout.h"

#include <assert.h>
#include <string.h>

struct out {
    struct cpuid_entry *e;
    unsigned count;
};

static struct cpuid_entry *leaf(struct out *o, uint32_t number, uint32_t subleaf, uint32_t eax,
                                uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    assert(o->count < CPUID_MAX_ENTRIES);
    o->e[o->count] = (struct cpuid_entry){number, subleaf, eax, ebx, ecx, edx};
    return &o->e[o->count++];
}

/* Numbers with one line for all subleaves. */
#define ANY UINT32_MAX

static unsigned bits_for(unsigned n)
{
    unsigned bits = 0;
    while ((1u << bits) < n)
        bits++;
    return bits;
}

/* Topology with every level at least one wide. */
struct shape {
    unsigned threads, cores, dies;             /* per core, per die, per socket */
    unsigned thread_bits, core_bits, die_bits; /* fields of the APIC id */
};

static struct shape shape_of(const struct cpu_topology *t)
{
    struct shape s = {
        .threads = MAX_OF(t->threads, 1u),
        .cores = MAX_OF(t->cores, 1u),
        .dies = MAX_OF(t->dies, 1u),
    };
    s.thread_bits = bits_for(s.threads);
    s.core_bits = bits_for(s.cores);
    s.die_bits = bits_for(s.dies);
    return s;
}

struct cpu_place cpu_place_of(const struct cpu_topology *t, unsigned index)
{
    struct shape s = shape_of(t);
    return (struct cpu_place){.thread = index % s.threads,
                              .core = index / s.threads % s.cores,
                              .die = index / (s.threads * s.cores) % s.dies,
                              .socket = index / (s.threads * s.cores * s.dies)};
}

uint32_t cpu_apic_id(const struct cpu_topology *t, unsigned index)
{
    struct shape s = shape_of(t);
    struct cpu_place p = cpu_place_of(t, index);
    return p.thread | p.core << s.thread_bits | p.die << (s.thread_bits + s.core_bits) |
           p.socket << (s.thread_bits + s.core_bits + s.die_bits);
}

static void vendor_leaf(struct out *o, uint32_t number, uint32_t eax, const char vendor[13])
{
    leaf(o, number, ANY, eax, le32_get(vendor), le32_get(vendor + 8), le32_get(vendor + 4));
}

static void leaf_1(struct out *o, const struct cpu_model *m, const struct shape *s, uint32_t apic)
{
    unsigned package = s->threads * s->cores * s->dies;
    uint32_t ebx = apic << 24 | (m->feat[FEAT_1_EDX] & BIT(19) ? 8u << 8 : 0);
    uint32_t edx = m->feat[FEAT_1_EDX] & ~BIT(28);
    if (package > 1) {
        ebx |= MIN_OF(1u << (s->thread_bits + s->core_bits + s->die_bits), 255u) << 16;
        edx |= BIT(28); /* HTT: the count in EBX is valid */
    }
    leaf(o, 1, ANY, cpu_model_signature(m), ebx, m->feat[FEAT_1_ECX], edx);
}

/* One plausible cache hierarchy for all models: guests use it for placement, not for size. */
struct cache {
    uint8_t level, type; /* type: 1 data, 2 instruction, 3 unified */
    uint8_t ways;
    uint32_t sets;
};
static const struct cache caches[] = {
    {1, 1, 8, 64},
    {1, 2, 8, 64},
    {2, 3, 16, 1024},
    {3, 3, 16, 16384},
};

/* Leaf 4 (Intel) and 0x8000001d (AMD) share this layout; AMD leaves EAX 31:26 zero. */
static void cache_leaves(struct out *o, uint32_t number, const struct shape *s, bool amd)
{
    for (unsigned i = 0; i < ARRAY_SIZE(caches); i++) {
        const struct cache *c = &caches[i];
        unsigned sharing =
            c->level < 3 ? 1u << s->thread_bits : 1u << (s->thread_bits + s->core_bits);
        uint32_t eax = c->type | (uint32_t)c->level << 5 | BIT(8) | (sharing - 1) << 14;
        if (!amd)
            eax |= ((1u << (s->core_bits + s->die_bits)) - 1) << 26;
        leaf(o, number, i, eax, (c->ways - 1u) << 22 | (64 - 1), c->sets - 1, 0);
    }
    leaf(o, number, ARRAY_SIZE(caches), 0, 0, 0, 0);
}

static void extended_topology(struct out *o, uint32_t number, const struct shape *s, uint32_t apic)
{
    enum { SMT = 1, CORE = 2, DIE = 5 };
    unsigned core_shift = s->thread_bits + s->core_bits, n = 0;
    unsigned in_die = s->threads * s->cores;
    bool dies = number == 0x1f;
    leaf(o, number, n, s->thread_bits, s->threads, SMT << 8 | n, apic);
    n++;
    leaf(o, number, n, dies ? core_shift : core_shift + s->die_bits, in_die * (dies ? 1 : s->dies),
         CORE << 8 | n, apic);
    n++;
    if (dies) {
        leaf(o, number, n, core_shift + s->die_bits, in_die * s->dies, DIE << 8 | n, apic);
        n++;
    }
    leaf(o, number, n, 0, 0, n, apic);
}

static void xsave_leaves(struct out *o, const struct cpu_model *m)
{
    if (!(m->feat[FEAT_1_ECX] & BIT(26))) {
        leaf(o, 0xd, ANY, 0, 0, 0, 0);
        return;
    }
    uint32_t size = 576, compact = 576;
    struct cpuid_entry *sum =
        leaf(o, 0xd, 0, (uint32_t)m->xcr0_mask, 576, 0, (uint32_t)(m->xcr0_mask >> 32));
    struct cpuid_entry *one = leaf(o, 0xd, 1, m->feat[FEAT_D_1_EAX], 0, 0, 0);
    for (unsigned i = 0; i < XSAVE_PARTS; i++) {
        const struct xsave_part *p = &xsave_parts()[i];
        if (!(m->xcr0_mask & BIT64(p->bit)))
            continue;
        leaf(o, 0xd, p->bit, p->size, p->offset, 0, 0);
        size = MAX_OF(size, p->offset + (uint32_t)p->size);
        compact += p->size;
    }
    sum->ecx = size;
    one->ebx = m->feat[FEAT_D_1_EAX] & (BIT(1) | BIT(3)) ? compact : 0;
}

static void basic_leaves(struct out *o, const struct cpu_model *m, const struct shape *s,
                         uint32_t apic)
{
    bool amd = cpu_model_is_amd(m);
    /* Dies can be told only by leaf 0x1f, which older models do not have of themselves. */
    uint32_t level = !amd && s->dies > 1 ? MAX_OF(m->level, UINT32_C(0x1f)) : m->level;
    vendor_leaf(o, 0, level, m->vendor);
    leaf_1(o, m, s, apic);
    if (m->level >= 2)
        leaf(o, 2, ANY, amd ? 0 : 0xff01, 0, 0, 0); /* 0xff: see leaf 4 */
    if (m->level >= 4 && !amd)
        cache_leaves(o, 4, s, false);
    if (m->level >= 6)
        leaf(o, 6, ANY, m->feat[FEAT_6_EAX], 0, 0, 0);
    if (m->level >= 7) {
        leaf(o, 7, 0, m->feat[FEAT_7_1_EAX] ? 1 : 0, m->feat[FEAT_7_0_EBX], m->feat[FEAT_7_0_ECX],
             m->feat[FEAT_7_0_EDX]);
        leaf(o, 7, 1, m->feat[FEAT_7_1_EAX], 0, 0, 0);
    }
    if (m->level >= 0xb)
        extended_topology(o, 0xb, s, apic);
    if (m->level >= 0xd)
        xsave_leaves(o, m);
    if (level >= 0x1f)
        extended_topology(o, 0x1f, s, apic);
}

/* 0x8000001e: which core and node this thread belongs to (AMD, with topoext). */
static void amd_topology(struct out *o, const struct shape *s, uint32_t apic)
{
    cache_leaves(o, 0x8000001d, s, true);
    uint32_t core = (apic >> s->thread_bits) & 0xff;
    uint32_t node = (apic >> (s->thread_bits + s->core_bits)) & 0xff;
    leaf(o, 0x8000001e, ANY, apic, (s->threads - 1) << 8 | core, (s->dies - 1) << 8 | node, 0);
}

static void extended_leaves(struct out *o, const struct cpu_model *m, const struct shape *s,
                            uint32_t apic)
{
    bool amd = cpu_model_is_amd(m);
    unsigned package = s->threads * s->cores * s->dies;
    /* AMD repeats the common low bits of leaf 1; Intel keeps them zero. */
    const uint32_t mirrored = 0x0183f3ff;
    uint32_t ecx = m->feat[FEAT_8000_0001_ECX] & ~BIT(1);
    if (amd && package > 1)
        ecx |= BIT(1); /* CmpLegacy */
    vendor_leaf(o, 0x80000000, m->xlevel, m->vendor);
    leaf(o, 0x80000001, ANY, amd ? cpu_model_signature(m) : 0, 0, ecx,
         m->feat[FEAT_8000_0001_EDX] | (amd ? m->feat[FEAT_1_EDX] & mirrored : 0));
    for (unsigned i = 0; i < 3; i++) {
        const char *part = m->brand + 16 * i;
        leaf(o, 0x80000002 + i, ANY, le32_get(part), le32_get(part + 4), le32_get(part + 8),
             le32_get(part + 12));
    }
    if (amd) /* 32 KiB, 8 ways, 64-byte lines; 64-entry TLBs */
        leaf(o, 0x80000005, ANY, 0xff40ff40, 0xff40ff40, 32u << 24 | 8 << 16 | 1 << 8 | 64,
             32u << 24 | 8 << 16 | 1 << 8 | 64);
    /* 1 MiB L2, 16 ways (coded 8); 16 MiB L3 in units of 512 KiB */
    leaf(o, 0x80000006, ANY, 0, amd ? 0x42004200 : 0,
         1024u << 16 | 8 << 12 | (amd ? 1 << 8 : 0) | 64,
         amd ? 32u << 18 | 8 << 12 | 1 << 8 | 64 : 0);
    leaf(o, 0x80000007, ANY, 0, 0, 0, m->feat[FEAT_8000_0007_EDX]);
    leaf(o, 0x80000008, ANY, m->phys_bits | m->linear_bits << 8, m->feat[FEAT_8000_0008_EBX],
         amd && package > 1
             ? (s->thread_bits + s->core_bits + s->die_bits) << 12 | MIN_OF(package - 1, 255u)
             : 0,
         0);
    if (m->feat[FEAT_8000_0001_ECX] & BIT(22))
        amd_topology(o, s, apic);
    leaf(o, 0x80000021, ANY, m->feat[FEAT_8000_0021_EAX], 0, m->feat[FEAT_8000_0021_ECX], 0);
}

unsigned cpuid_build(const struct cpu_model *m, const struct cpu_topology *t, unsigned index,
                     struct cpuid_entry out[CPUID_MAX_ENTRIES])
{
    struct out o = {.e = out};
    struct shape s = shape_of(t);
    uint32_t apic = cpu_apic_id(t, index);
    basic_leaves(&o, m, &s, apic);
    if (m->feat[FEAT_HV]) {
        hyperv_leaves(m, t->maxcpus, &o.e[o.count]);
        o.count += 6;
    }
    if (m->kvm_leaves) {
        static const char id[13] = "KVMKVMKVM\0\0\0";
        uint32_t base = m->feat[FEAT_HV] ? 0x40000100 : 0x40000000;
        leaf(&o, base, ANY, base + 1, le32_get(id), le32_get(id + 4), le32_get(id + 8));
        leaf(&o, base + 1, ANY, m->feat[FEAT_KVM], 0, 0, 0);
    }
    if (m->xlevel >= 0x80000000)
        extended_leaves(&o, m, &s, apic);
    return o.count;
}
