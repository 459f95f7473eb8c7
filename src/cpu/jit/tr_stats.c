/* tr_stats.c - the translator's counters, by name. */
#include "cosim.h"

#include <stddef.h>

#define OF_CACHE(field) offsetof(struct tr_stats, field)
#define OF_COSIM(field) offsetof(struct cosim_stats, field)

static const size_t cache_at[] = {
    OF_CACHE(blocks),        OF_CACHE(insns),          OF_CACHE(code_bytes),
    OF_CACHE(translate_ns),  OF_CACHE(dropped),        OF_CACHE(flushes),
    OF_CACHE(exits),         OF_CACHE(exits_indirect), OF_CACHE(bails),
    OF_CACHE(native_faults), OF_CACHE(fills),          OF_CACHE(bounces),
    OF_CACHE(interp_calls),  OF_CACHE(system_calls),   OF_CACHE(system_leaves),
    OF_CACHE(interpreted),   OF_CACHE(ret_overflows),  OF_CACHE(direct_spaces),
    OF_CACHE(direct_faults), OF_CACHE(direct_pages),
};
static const size_t cosim_at[] = {
    OF_COSIM(blocks),
    OF_COSIM(insns),
    OF_COSIM(partly),
    OF_COSIM(disturbed),
};

/* In the order of the two tables above. */
const struct vcpu_counter tr_counter_names[] = {
    {"blocks-translated", "blocks translated"},
    {"instructions-translated", "guest instructions in them"},
    {"code-bytes", "bytes of host code made"},
    {"translate-ns", "time spent translating"},
    {"blocks-dropped", "translations dropped because their guest code was written to"},
    {"cache-flushes", "times the code cache was emptied"},
    {"exits", "times translated code came out"},
    {"exits-indirect", "of these: at a target that only the run knew"},
    {"bails", "accesses handed to the interpreter"},
    {"native-faults", "faults of the host's own in translated code"},
    {"tlb-fills", "TLB misses of translated code"},
    {"bounces", "of these: loads done through a buffer (devices, page crossings)"},
    {"interpreter-calls", "instructions interpreted from inside translated code"},
    {"system-calls", "the same at the end of a block: system instructions"},
    {"system-leaves", "of these: translated code came out behind it"},
    {"interpreted-blocks", "blocks run by the interpreter"},
    {"return-stack-overflows", "times the stack of return addresses ran over"},
    {"direct-spaces", "times user code began to run in directly mapped memory"},
    {"direct-faults", "faults of its accesses"},
    {"direct-pages", "pages that were mapped for them"},
    {"cosim-blocks", "runs of blocks that cosim=on compared"},
    {"cosim-instructions", "instructions in them"},
    {"cosim-partly", "of these runs: compared only up to an instruction that must not run twice"},
    {"cosim-disturbed", "not compared, because memory changed meanwhile"},
    {NULL, NULL},
};
_Static_assert(ARRAY_SIZE(tr_counter_names) == ARRAY_SIZE(cache_at) + ARRAY_SIZE(cosim_at) + 1 &&
                   ARRAY_SIZE(tr_counter_names) <= VCPU_COUNTERS_MAX + 1,
               "one name for each counter");

static unsigned take(const void *base, const size_t *at, size_t count, uint64_t *out)
{
    for (size_t k = 0; k < count; k++)
        out[k] =
            base ? __atomic_load_n((const uint64_t *)((const char *)base + at[k]), __ATOMIC_RELAXED)
                 : 0;
    return (unsigned)count;
}

void tr_counters(struct vcpu *v, uint64_t out[VCPU_COUNTERS_MAX])
{
    const struct jit_cpu *c = v->accel;

    out += take(c->tr.cache ? &c->tr.cache->stats : NULL, cache_at, ARRAY_SIZE(cache_at), out);
    take(c->cosim ? cosim_stats(c->cosim) : NULL, cosim_at, ARRAY_SIZE(cosim_at), out);
}
