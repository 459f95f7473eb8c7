/* model.h - CPU model tables and helpers; private to src/cpu.
 *
 * Feature sets are written as words ("sse3 avx2 ...") and turned into bits on demand: this is cold
 * path, and a table of words can be checked against a data sheet. */
#ifndef CPU_X86_MODEL_H
#define CPU_X86_MODEL_H

#include "cpu/cpuid.h"

struct model_row {
    const char *name;
    const char *parent; /* features and all that is 0/NULL here come from this row */
    const char *add;    /* feature words */
    const char *remove; /* feature words */
    const char *vendor; /* "intel", "amd", "hygon" */
    const char *brand;  /* what /proc/cpuinfo shows */
    uint8_t family, model, stepping;
    uint8_t level;
};
extern const struct model_row model_rows[];
extern const unsigned model_row_count;
const struct model_row *model_row_find(const char *name);

/* Sets or clears the bits of the words; a word nobody knows is our bug. */
void feature_words_set(uint32_t feat[FEAT_WORD_COUNT], const char *words, bool on);
/* Known to other emulators, impossible here: asking is worth a warning, not an error. */
bool feature_known_unsupported(const char *name);
/* Clears bits that mean nothing without another one (avx2 without avx, avx without xsave). */
void feature_prune(uint32_t feat[FEAT_WORD_COUNT]);

/* Where a feature word stands in CPUID: leaf, subleaf, and 0..3 for EAX..EDX. */
struct cpuid_source {
    uint32_t leaf, subleaf;
    uint8_t reg;
};
extern const struct cpuid_source cpuid_word_source[FEAT_WORD_COUNT];

/* The host's own words, and what identifies it. */
void host_features(uint32_t feat[FEAT_WORD_COUNT]);
void host_identity(char vendor[13], uint32_t *signature, char brand[49], uint32_t *phys_bits);

uint32_t cpu_model_signature(const struct cpu_model *m); /* CPUID.1:EAX */
bool cpu_model_is_amd(const struct cpu_model *m);        /* AMD or Hygon leaf layouts */

/* What the software CPU implements (accel_features("jit")). */
void jit_features(uint32_t allowed[FEAT_WORD_COUNT]);
void kvm_features(uint32_t allowed[FEAT_WORD_COUNT]);

#endif
