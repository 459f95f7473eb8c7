/* cpuid.h - CPU models: what CPUID answers, from a name and a list of +feature/-feature.
 *
 * A model is a table row (family/model/stepping, vendor, feature words); the accelerator supplies
 * the mask of what it can do.  What is asked for but cannot be had is a warning that names the
 * feature (an error with enforce=on). */
#ifndef CPU_CPUID_H
#define CPU_CPUID_H

#include "base/types.h"

struct cpuid_entry {
    uint32_t leaf, subleaf; /* subleaf UINT32_MAX: any */
    uint32_t eax, ebx, ecx, edx;
};
#define CPUID_MAX_ENTRIES 128

/* The feature words of CPUID that models and masks are made of. */
enum cpuid_word {
    FEAT_1_ECX,
    FEAT_1_EDX,
    FEAT_7_0_EBX,
    FEAT_7_0_ECX,
    FEAT_7_0_EDX,
    FEAT_7_1_EAX,
    FEAT_D_1_EAX,
    FEAT_8000_0001_ECX,
    FEAT_8000_0001_EDX,
    FEAT_8000_0007_EDX,
    FEAT_8000_0008_EBX,
    FEAT_8000_0021_EAX,
    FEAT_8000_0021_ECX,
    FEAT_6_EAX,
    FEAT_KVM,
    FEAT_HV, /* no word of CPUID: see x86/hyperv.h */
    FEAT_WORD_COUNT
};

struct cpu_model {
    char *name;
    char vendor[13];
    uint8_t family, stepping;
    uint8_t model;
    char brand[49];
    uint32_t feat[FEAT_WORD_COUNT];
    uint32_t phys_bits, linear_bits; /* 48 or 57 */
    bool kvm_leaves;                 /* kvm=off hides them */
    uint32_t hv_spinlocks;           /* tries before a guest says that it spins */
    char hv_vendor[13];              /* empty: Microsoft's */
    bool hypervisor;
    uint32_t level, xlevel;
    uint64_t tsc_khz;
    uint64_t xcr0_mask; /* state components offered */
};

/* spec is the -cpu text.  allowed[] is the accelerator's mask; host[] what `host`/`max` take. */
struct cpu_model *cpu_model_parse(const char *spec, const uint32_t allowed[FEAT_WORD_COUNT],
                                  GError **err);
void cpu_model_free(struct cpu_model *m);
bool cpu_model_has(const struct cpu_model *m, enum cpuid_word w, unsigned bit);
/* NULL-terminated names for -cpu help and query-cpu-definitions. */
const char *const *cpu_model_names(void);
/* CPUID bit name <-> word/bit, for +feature, `-cpu help` and query-cpu-model-expansion. */
const char *cpuid_bit_name(enum cpuid_word w, unsigned bit);
bool cpuid_bit_find(const char *name, enum cpuid_word *w, unsigned *bit);

struct cpu_topology {
    unsigned cpus, maxcpus, sockets, dies, cores, threads;
};
struct cpu_place {
    unsigned socket, die, core, thread;
};
struct cpu_place cpu_place_of(const struct cpu_topology *t, unsigned index); /* threads innermost */
uint32_t cpu_apic_id(const struct cpu_topology *t, unsigned index);
/* All leaves for one vcpu (topology leaves 4, 0xb, 0x1f, 0x8000001e depend on it). Returns the
 * count. */
unsigned cpuid_build(const struct cpu_model *m, const struct cpu_topology *t, unsigned index,
                     struct cpuid_entry out[CPUID_MAX_ENTRIES]);

#endif
