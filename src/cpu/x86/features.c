/* features.c - names of CPUID bits, what depends on what, what the host and the software CPU have.
 *
 * SDM vol.2 CPUID; AMD APM vol.3 appendix E; the KVM word: Linux Documentation/virt/kvm/x86/cpuid.
 */
#include "base/util.h"
#include "cpu/xsave_layout.h"
#include "hyperv.h"
#include "model.h"

#include <assert.h>
#include <cpuid.h>
#include <glib.h>
#include <unistd.h>

static const char *const bit_names[FEAT_WORD_COUNT][32] = {
    [FEAT_1_ECX] = {"pni",    "pclmulqdq", "dtes64", "monitor",      "ds-cpl", "vmx",    "smx",
                    "est",    "tm2",       "ssse3",  "cid",          NULL,     "fma",    "cx16",
                    "xtpr",   "pdcm",      NULL,     "pcid",         "dca",    "sse4.1", "sse4.2",
                    "x2apic", "movbe",     "popcnt", "tsc-deadline", "aes",    "xsave",  NULL,
                    "avx",    "f16c",      "rdrand", "hypervisor"},
    [FEAT_1_EDX] = {"fpu",  "vme",   "de",   "pse",     "tsc",  "msr", "pae",  "mce",
                    "cx8",  "apic",  NULL,   "sep",     "mtrr", "pge", "mca",  "cmov",
                    "pat",  "pse36", "pn",   "clflush", NULL,   "ds",  "acpi", "mmx",
                    "fxsr", "sse",   "sse2", "ss",      "ht",   "tm",  "ia64", "pbe"},
    [FEAT_7_0_EBX] = {"fsgsbase",
                      "tsc-adjust",
                      "sgx",
                      "bmi1",
                      "hle",
                      "avx2",
                      "fdp-excptn-only",
                      "smep",
                      "bmi2",
                      "erms",
                      "invpcid",
                      "rtm",
                      NULL,
                      "zero-fcs-fds",
                      "mpx",
                      NULL,
                      "avx512f",
                      "avx512dq",
                      "rdseed",
                      "adx",
                      "smap",
                      "avx512ifma",
                      "pcommit",
                      "clflushopt",
                      "clwb",
                      "intel-pt",
                      "avx512pf",
                      "avx512er",
                      "avx512cd",
                      "sha-ni",
                      "avx512bw",
                      "avx512vl"},
    [FEAT_7_0_ECX] = {"prefetchwt1", "avx512vbmi",  "umip",         "pku",       NULL,
                      "waitpkg",     "avx512vbmi2", "shstk",        "gfni",      "vaes",
                      "vpclmulqdq",  "avx512vnni",  "avx512bitalg", NULL,        "avx512-vpopcntdq",
                      NULL,          "la57",        NULL,           NULL,        NULL,
                      NULL,          NULL,          "rdpid",        NULL,        "bus-lock-detect",
                      "cldemote",    NULL,          "movdiri",      "movdir64b", NULL,
                      "sgxlc",       "pks"},
    [FEAT_7_0_EDX] = {NULL,
                      NULL,
                      "avx512-4vnniw",
                      "avx512-4fmaps",
                      "fsrm",
                      NULL,
                      NULL,
                      NULL,
                      "avx512-vp2intersect",
                      NULL,
                      "md-clear",
                      NULL,
                      NULL,
                      NULL,
                      "serialize",
                      NULL,
                      "tsx-ldtrk",
                      NULL,
                      NULL,
                      "arch-lbr",
                      "ibt",
                      NULL,
                      "amx-bf16",
                      "avx512-fp16",
                      "amx-tile",
                      "amx-int8",
                      "spec-ctrl",
                      "stibp",
                      "flush-l1d",
                      "arch-capabilities",
                      "core-capability",
                      "ssbd"},
    [FEAT_7_1_EAX] = {NULL, NULL, NULL,   NULL,   "avx-vnni", "avx512-bf16", NULL, "cmpccxadd",
                      NULL, NULL, "fzrm", "fsrs", "fsrc",     NULL,          NULL, NULL,
                      NULL, NULL, NULL,   NULL,   NULL,       "amx-fp16",    NULL, "avx-ifma"},
    [FEAT_D_1_EAX] = {"xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd"},
    [FEAT_8000_0001_ECX] = {"lahf-lm",   "cmp-legacy",  "svm",
                            "extapic",   "cr8legacy",   "abm",
                            "sse4a",     "misalignsse", "3dnowprefetch",
                            "osvw",      "ibs",         "xop",
                            "skinit",    "wdt",         NULL,
                            "lwp",       "fma4",        "tce",
                            NULL,        "nodeid-msr",  NULL,
                            "tbm",       "topoext",     "perfctr-core",
                            "perfctr-nb"},
    [FEAT_8000_0001_EDX] = {NULL, NULL,     NULL,       NULL,   NULL,       NULL,      NULL,
                            NULL, NULL,     NULL,       NULL,   "syscall",  NULL,      NULL,
                            NULL, NULL,     NULL,       NULL,   NULL,       "mp",      "nx",
                            NULL, "mmxext", NULL,       NULL,   "fxsr-opt", "pdpe1gb", "rdtscp",
                            NULL, "lm",     "3dnowext", "3dnow"},
    [FEAT_8000_0007_EDX] = {[8] = "invtsc"},
    [FEAT_8000_0008_EBX] = {[0] = "clzero",
                            [2] = "xsaveerptr",
                            [9] = "wbnoinvd",
                            [12] = "ibpb",
                            [14] = "ibrs",
                            [15] = "amd-stibp",
                            [17] = "stibp-always-on",
                            [24] = "amd-ssbd",
                            [25] = "virt-ssbd",
                            [26] = "amd-no-ssb",
                            [28] = "amd-psfd"},
    [FEAT_8000_0021_EAX] = {[29] = "srso-no"},
    [FEAT_8000_0021_ECX] = {[1] = "tsa-sq-no", [2] = "tsa-l1-no"},
    [FEAT_6_EAX] = {[2] = "arat"},
    [FEAT_HV] = {[HV_RELAXED] = "hv-relaxed",
                 [HV_VAPIC] = "hv-vapic",
                 [HV_SPINLOCKS] = "hv-spinlocks",
                 [HV_VPINDEX] = "hv-vpindex",
                 [HV_RUNTIME] = "hv-runtime",
                 [HV_CRASH] = "hv-crash",
                 [HV_TIME] = "hv-time",
                 [HV_RESET] = "hv-reset",
                 [HV_FREQUENCIES] = "hv-frequencies",
                 [HV_TLBFLUSH] = "hv-tlbflush",
                 [HV_IPI] = "hv-ipi"},
    [FEAT_KVM] = {[0] = "kvmclock",
                  [1] = "kvm-nopiodelay",
                  [2] = "kvm-mmu",
                  [3] = "kvmclock2",
                  [4] = "kvm-asyncpf",
                  [5] = "kvm-steal-time",
                  [6] = "kvm-pv-eoi",
                  [7] = "kvm-pv-unhalt",
                  [9] = "kvm-pv-tlb-flush",
                  [10] = "kvm-asyncpf-vmexit",
                  [11] = "kvm-pv-ipi",
                  [12] = "kvm-poll-control",
                  [13] = "kvm-pv-sched-yield",
                  [14] = "kvm-asyncpf-int",
                  [15] = "kvm-msi-ext-dest-id",
                  [24] = "kvmclock-stable-bit"},
};

/* Other spellings in use; '_' is read as '-' before this is consulted. */
static const struct {
    const char *alias, *name;
} aliases[] = {
    {"sse3", "pni"},
    {"sse4-1", "sse4.1"},
    {"sse4-2", "sse4.2"},
    {"i64", "lm"},
    {"xd", "nx"},
    {"lzcnt", "abm"},
    {"ffxsr", "fxsr-opt"},
    {"pclmuldq", "pclmulqdq"},
    {"tsc_adjust", "tsc-adjust"},
    {"kvm-pv-clock", "kvmclock"},
};

const char *cpuid_bit_name(enum cpuid_word w, unsigned bit)
{
    return w < FEAT_WORD_COUNT && bit < 32 ? bit_names[w][bit] : NULL;
}

bool cpuid_bit_find(const char *name, enum cpuid_word *w, unsigned *bit)
{
    g_autofree char *plain = g_strdelimit(g_strdup(name), "_", '-');
    const char *wanted = plain;
    for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
        if (strcmp(plain, aliases[i].alias) == 0)
            wanted = aliases[i].name;
    for (unsigned word = 0; word < FEAT_WORD_COUNT; word++) {
        for (unsigned b = 0; b < 32; b++) {
            if (bit_names[word][b] && strcmp(bit_names[word][b], wanted) == 0) {
                *w = word;
                *bit = b;
                return true;
            }
        }
    }
    return false;
}

bool feature_known_unsupported(const char *name)
{
    static const char *const prefixes[] = {"hv-", "vmx-", "svme-", "xen-"};
    static const char *const names[] = {"npt",
                                        "lbrv",
                                        "svm-lock",
                                        "nrip-save",
                                        "tsc-scale",
                                        "vmcb-clean",
                                        "flushbyasid",
                                        "decodeassists",
                                        "pause-filter",
                                        "pfthreshold",
                                        "avic",
                                        "v-vmsave-vmload",
                                        "vgif",
                                        "rdctl-no",
                                        "ibrs-all",
                                        "rsba",
                                        "skip-l1dfl-vmentry",
                                        "ssb-no",
                                        "mds-no",
                                        "pschange-mc-no",
                                        "tsx-ctrl",
                                        "taa-no",
                                        "sbdr-ssdp-no",
                                        "fbsdp-no",
                                        "psdp-no",
                                        "fb-clear",
                                        "xstore",
                                        "xstore-en",
                                        "xcrypt",
                                        "xcrypt-en",
                                        "ace2",
                                        "ace2-en",
                                        "phe",
                                        "phe-en",
                                        "pmm",
                                        "pmm-en",
                                        "split-lock-detect",
                                        "kvm-hint-dedicated",
                                        "pmu",
                                        "osxsave",
                                        "ospke",
                                        "invtsc-adjust"};
    g_autofree char *plain = g_strdelimit(g_strdup(name), "_", '-');
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (g_str_has_prefix(plain, prefixes[i]))
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(plain, names[i]) == 0)
            return true;
    return false;
}

void feature_words_set(uint32_t feat[FEAT_WORD_COUNT], const char *words, bool on)
{
    g_auto(GStrv) list = g_strsplit(words ? words : "", " ", -1);
    for (char **word = list; *word; word++) {
        enum cpuid_word w = 0;
        unsigned bit = 0;
        if (!**word)
            continue;
        bool known = cpuid_bit_find(*word, &w, &bit);
        assert(known);
        (void)known;
        if (on)
            feat[w] |= BIT(bit);
        else
            feat[w] &= ~BIT(bit);
    }
}

static bool feature_get(const uint32_t feat[FEAT_WORD_COUNT], const char *name)
{
    enum cpuid_word w = 0;
    unsigned bit = 0;
    bool known = cpuid_bit_find(name, &w, &bit);
    assert(known);
    return known && (feat[w] & BIT(bit));
}

void feature_prune(uint32_t feat[FEAT_WORD_COUNT])
{
    /* In this order, so that a chain falls in one pass. */
    static const struct {
        const char *without, *drop;
    } rules[] = {
        {"fxsr", "sse fxsr-opt"},
        {"sse", "sse2"},
        {"sse2", "pni ssse3 sse4.1 sse4.2 sse4a aes pclmulqdq sha-ni gfni xsave"},
        {"xsave", "avx xsaveopt xsavec xgetbv1 xsaves xfd pku mpx"},
        {"avx", "avx2 fma fma4 xop f16c avx-vnni vaes vpclmulqdq avx512f"},
        {"avx2", "avx512f avx-ifma"},
        {"avx512f", "avx512dq avx512ifma avx512pf avx512er avx512cd avx512bw avx512vl avx512vbmi "
                    "avx512vbmi2 avx512vnni avx512bitalg avx512-vpopcntdq avx512-4vnniw "
                    "avx512-4fmaps avx512-vp2intersect avx512-fp16 avx512-bf16"},
        {"apic", "x2apic tsc-deadline"},
        {"pae", "lm"},
        {"lm", "lahf-lm la57 pcid invpcid fsgsbase pdpe1gb"},
        {"fpu", "mmx"},
        {"mmx", "3dnow 3dnowext mmxext"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (!feature_get(feat, rules[i].without))
            feature_words_set(feat, rules[i].drop, false);
}

const struct cpuid_source cpuid_word_source[FEAT_WORD_COUNT] = {
    [FEAT_1_ECX] = {1, 0, 2},
    [FEAT_1_EDX] = {1, 0, 3},
    [FEAT_7_0_EBX] = {7, 0, 1},
    [FEAT_7_0_ECX] = {7, 0, 2},
    [FEAT_7_0_EDX] = {7, 0, 3},
    [FEAT_7_1_EAX] = {7, 1, 0},
    [FEAT_D_1_EAX] = {0xd, 1, 0},
    [FEAT_8000_0001_ECX] = {0x80000001, 0, 2},
    [FEAT_8000_0001_EDX] = {0x80000001, 0, 3},
    [FEAT_8000_0007_EDX] = {0x80000007, 0, 3},
    [FEAT_8000_0008_EBX] = {0x80000008, 0, 1},
    [FEAT_8000_0021_EAX] = {0x80000021, 0, 0},
    [FEAT_8000_0021_ECX] = {0x80000021, 0, 2},
    [FEAT_6_EAX] = {6, 0, 0},
    [FEAT_KVM] = {0x40000001, 0, 0},
    [FEAT_HV] = {0x40000003, 0, 0},
};

void host_features(uint32_t feat[FEAT_WORD_COUNT])
{
    memset(feat, 0, FEAT_WORD_COUNT * sizeof(feat[0]));
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++) {
        const struct cpuid_source *from = &cpuid_word_source[w];
        uint32_t r[4] = {0};
        if (w == FEAT_KVM ||
            w == FEAT_HV) /* what the host's own hypervisor offers is not for our guests */
            continue;
        __get_cpuid_count(from->leaf, from->subleaf, &r[0], &r[1], &r[2], &r[3]);
        feat[w] = r[from->reg];
    }
}

void host_identity(char vendor[13], uint32_t *signature, char brand[49], uint32_t *phys_bits)
{
    uint32_t r[4] = {0};
    __get_cpuid(0, &r[0], &r[1], &r[2], &r[3]);
    memcpy(vendor, &r[1], 4);
    memcpy(vendor + 4, &r[3], 4);
    memcpy(vendor + 8, &r[2], 4);
    vendor[12] = 0;
    memset(brand, 0, 49);
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002 + i, (uint32_t *)(void *)(brand + 16 * i),
                    (uint32_t *)(void *)(brand + 16 * i + 4),
                    (uint32_t *)(void *)(brand + 16 * i + 8),
                    (uint32_t *)(void *)(brand + 16 * i + 12));
    memset(r, 0, sizeof(r));
    __get_cpuid(0x80000008, &r[0], &r[1], &r[2], &r[3]);
    *phys_bits = r[0] & 0xff ? r[0] & 0xff : 36;
    __get_cpuid(1, signature, &r[1], &r[2], &r[3]);
}

/* The processor and the host's operating system have it. */
static bool host_has_avx512(const uint32_t host[FEAT_WORD_COUNT], const char *base)
{
    uint32_t need[FEAT_WORD_COUNT] = {0};

    feature_words_set(need, base, true);
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++)
        if (need[w] & ~host[w])
            return false;
    return (xsave_host_xcr0() & XSAVE_AVX512) == XSAVE_AVX512;
}

void jit_features(uint32_t allowed[FEAT_WORD_COUNT])
{
    /* Done in software, whatever the host has. */
    static const char emulated[] =
        "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr "
        "sse sse2 ss ht pcid x2apic tsc-deadline cx16 hypervisor fsgsbase tsc-adjust smep erms "
        "invpcid smap umip la57 rdpid fsrm syscall nx pdpe1gb rdtscp lm lahf-lm cmp-legacy "
        "topoext 3dnowprefetch arat invtsc kvmclock kvmclock2 kvm-nopiodelay kvmclock-stable-bit "
        "kvm-pv-unhalt hv-relaxed hv-vapic hv-spinlocks hv-vpindex hv-runtime hv-crash hv-time "
        "hv-reset hv-frequencies hv-tlbflush hv-ipi";
    /* What a kernel does against these has no effect in translated code and costs a third of a
     * system call (src/cpu/README.md). */
    static const char unaffected[] = "arch-capabilities srso-no tsa-sq-no tsa-l1-no";
    /* Run on the host's own units: offered where the host has them. */
    static const char native[] =
        "pni ssse3 sse4.1 sse4.2 popcnt movbe aes pclmulqdq fma avx f16c rdrand rdseed xsave bmi1 "
        "bmi2 avx2 adx sha-ni clflushopt clwb gfni vaes vpclmulqdq xsaveopt xsavec xgetbv1 abm "
        "sse4a mmxext fdp-excptn-only zero-fcs-fds xsaveerptr";
    /* The same, all of the first line or nothing: stubs use them themselves. */
    static const char avx512_base[] = "avx512f avx512dq avx512cd avx512bw avx512vl";
    static const char avx512[] = "avx512ifma avx512vbmi avx512vbmi2 avx512vnni avx512bitalg "
                                 "avx512-vpopcntdq avx512-bf16";
    uint32_t host[FEAT_WORD_COUNT], mask[FEAT_WORD_COUNT] = {0};
    host_features(host);
    feature_words_set(mask, native, true);
    if (host_has_avx512(host, avx512_base)) {
        feature_words_set(mask, avx512_base, true);
        feature_words_set(mask, avx512, true);
    }
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++)
        mask[w] &= host[w];
    feature_words_set(mask, emulated, true);
    feature_words_set(mask, unaffected, true);
    /* Steal time is the thread's run delay; without it there is nothing true to tell. */
    if (access("/proc/thread-self/schedstat", R_OK) == 0)
        feature_words_set(mask, "kvm-steal-time", true);
    feature_prune(mask);
    memcpy(allowed, mask, sizeof(mask));
}
