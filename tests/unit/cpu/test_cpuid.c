/* CPU models: names, features, refusals; and the leaves made of them. */
#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "cpu/cpuid.h"
#include "cpu/vcpu.h"

#include "cpu/xsave_layout.h"

#include <glib.h>

static uint32_t everything[FEAT_WORD_COUNT];

static struct cpu_model *parse(const char *spec)
{
    g_autoptr(GError) err = NULL;
    struct cpu_model *m = cpu_model_parse(spec, everything, &err);
    g_assert_no_error(err);
    return m;
}

static bool has(const struct cpu_model *m, const char *name)
{
    enum cpuid_word w;
    unsigned bit;
    g_assert_true(cpuid_bit_find(name, &w, &bit));
    return cpu_model_has(m, w, bit);
}

static void refuse(const char *spec, const uint32_t allowed[FEAT_WORD_COUNT], const char *part)
{
    g_autoptr(GError) err = NULL;
    g_assert_null(cpu_model_parse(spec, allowed, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, part))
        g_error("'%s' does not say '%s'", err->message, part);
}

static void test_every_name_parses(void)
{
    unsigned n = 0;
    for (const char *const *name = cpu_model_names(); *name; name++, n++) {
        struct cpu_model *m = parse(*name);
        g_assert_cmpuint(strlen(m->vendor), ==, 12);
        g_assert_cmpuint(strlen(m->brand), >, 0);
        g_assert_cmpuint(m->family, >=, 4);
        g_assert_true(has(m, "fpu") && has(m, "hypervisor"));
        cpu_model_free(m);
    }
    g_assert_cmpuint(n, >, 40);
}

static void test_model_rows(void)
{
    struct cpu_model *m = parse("Haswell-noTSX");
    g_assert_true(has(m, "avx2") && has(m, "pcid") && has(m, "sse4.2") && !has(m, "rtm"));
    g_assert_cmpuint(m->model, ==, 60);
    g_assert_cmpuint(m->stepping, ==, 1);
    g_assert_cmpuint(m->xcr0_mask, ==, 7);
    g_assert_cmpuint(m->phys_bits, ==, 40);
    cpu_model_free(m);
    m = parse("EPYC-Milan");
    g_assert_cmpstr(m->vendor, ==, "AuthenticAMD");
    g_assert_cmpuint(m->family, ==, 25);
    g_assert_true(has(m, "sha-ni") && has(m, "topoext"));
    g_assert_cmphex(m->xlevel, >=, 0x8000001e);
    cpu_model_free(m);
    m = parse("qemu32");
    g_assert_false(has(m, "lm"));
    g_assert_cmpuint(m->phys_bits, ==, 36);
    cpu_model_free(m);
    m = parse("Icelake-Server");
    g_assert_cmpuint(m->linear_bits, ==, 57);
    g_assert_cmphex(m->xcr0_mask, ==, 0x2e7);
    cpu_model_free(m);
}

static void test_plus_minus_and_equals(void)
{
    struct cpu_model *m = parse("qemu64,+avx2,+avx,xsave=on,sse4_1=on,-cx16,lahf-lm=off,+sse3");
    g_assert_true(has(m, "avx2") && has(m, "xsave") && has(m, "sse4.1") && has(m, "pni"));
    g_assert_true(!has(m, "cx16") && !has(m, "lahf_lm"));
    g_assert_cmpuint(m->level, >=, 0xd);
    cpu_model_free(m);
    m = parse("max,-avx2,+avx2"); /* minus wins */
    g_assert_false(has(m, "avx2"));
    cpu_model_free(m);
    m = parse("Westmere,aes=on,pclmulqdq=off");
    g_assert_true(has(m, "aes") && !has(m, "pclmulqdq"));
    cpu_model_free(m);
}

static void test_dependent_features_fall_together(void)
{
    struct cpu_model *m = parse("max,-xsave");
    g_assert_false(has(m, "avx") || has(m, "avx2") || has(m, "fma") || has(m, "avx512f"));
    g_assert_cmpuint(m->xcr0_mask, ==, 0);
    cpu_model_free(m);
    m = parse("max,-apic");
    g_assert_false(has(m, "x2apic"));
    cpu_model_free(m);
}

static void test_numbers_and_names(void)
{
    struct cpu_model *m = parse("max,family=6,model=0x5e,stepping=3,phys-bits=46,vendor="
                                "GenuineIntel,model-id=My CPU,level=0x16,tsc-frequency=2.5G");
    g_assert_cmpuint(m->family, ==, 6);
    g_assert_cmpuint(m->model, ==, 0x5e);
    g_assert_cmpuint(m->stepping, ==, 3);
    g_assert_cmpuint(m->phys_bits, ==, 46);
    g_assert_cmpstr(m->vendor, ==, "GenuineIntel");
    g_assert_cmpstr(m->brand, ==, "My CPU");
    g_assert_cmpuint(m->level, ==, 0x16);
    g_assert_cmpuint(m->tsc_khz, ==, 2500000);
    cpu_model_free(m);
}

static void test_host_is_migratable_and_four_level_unless_asked(void)
{
    struct cpu_model *m = parse("host");
    g_assert_false(has(m, "invtsc") || has(m, "la57"));
    cpu_model_free(m);
    m = parse("host,migratable=off,+la57");
    g_assert_true(has(m, "invtsc") && has(m, "la57"));
    cpu_model_free(m);
}

static void test_kvm_off_hides_the_leaves(void)
{
    struct cpu_topology t = {.cpus = 1, .maxcpus = 1};
    struct cpuid_entry e[CPUID_MAX_ENTRIES];
    struct cpu_model *m = parse("max,kvm=off,-hypervisor");
    unsigned n = cpuid_build(m, &t, 0, e);
    for (unsigned i = 0; i < n; i++)
        g_assert_cmphex(e[i].leaf >> 28, !=, 4);
    g_assert_false(m->hypervisor);
    cpu_model_free(m);
    m = parse("max,kvmclock=off");
    g_assert_cmphex(m->feat[FEAT_KVM] & (BIT(0) | BIT(3) | BIT(24)), ==, 0);
    g_assert_true(m->kvm_leaves);
    cpu_model_free(m);
}

static void test_what_is_wrong_is_said(void)
{
    refuse("haswel", everything, "'Haswell'");
    refuse("max,+avx9", everything, "'avx'");
    refuse("max,bogus=1", everything, "'bogus'");
    refuse("max,phys-bits=99", everything, "phys-bits");
    refuse("max,phys-bits=20", everything, "between 32 and 52");
    refuse("max,vendor=Acme", everything, "twelve");
    refuse("max,aes=perhaps", everything, "'on' or 'off'");
    refuse("max,tsc-frequency=fast", everything, "tsc-frequency");
    refuse("max,tsc-frequency=1Gx", everything, "tsc-frequency");
    refuse("max,family=9999", everything, "family");
    uint32_t nothing[FEAT_WORD_COUNT] = {0};
    refuse("qemu64,enforce", nothing, "cx16");
    g_autoptr(GError) err = NULL;
    struct cpu_model *m =
        cpu_model_parse("qemu64,+vmx,+hv-relaxed,hv_spinlocks=0x1fff,check=off", nothing, &err);
    g_assert_no_error(err); /* warned about, not refused */
    cpu_model_free(m);
}

static const struct cpuid_entry *leaf_of(const struct cpuid_entry *e, unsigned n, uint32_t leaf)
{
    for (unsigned i = 0; i < n; i++)
        if (e[i].leaf == leaf)
            return &e[i];
    return NULL;
}

/* Hyper-V's leaves come when one of its switches is on, and KVM's then lie behind. */
static void test_hyperv_leaves(void)
{
    const struct cpu_topology t = {
        .cpus = 1, .maxcpus = 100, .sockets = 100, .dies = 1, .cores = 1, .threads = 1};
    struct cpuid_entry e[CPUID_MAX_ENTRIES];
    g_autoptr(GError) err = NULL;
    struct cpu_model *m = cpu_model_parse("max", everything, &err);
    unsigned n = cpuid_build(m, &t, 0, e);
    g_assert_cmphex(m->feat[FEAT_HV], ==, 0); /* not by itself */
    g_assert_cmphex(leaf_of(e, n, 0x40000000)->ebx, ==, 0x4b4d564b);
    g_assert_null(leaf_of(e, n, 0x40000100));
    cpu_model_free(m);
    m = cpu_model_parse("qemu64,hv-relaxed,hv_time=on,hv-spinlocks=0x1fff,hv-vendor-id=abc",
                        everything, &err);
    g_assert_no_error(err);
    n = cpuid_build(m, &t, 0, e);
    g_assert_cmphex(leaf_of(e, n, 0x40000000)->ebx, ==, 0x00636261);
    g_assert_cmphex(leaf_of(e, n, 0x40000000)->ecx, ==, 0);
    g_assert_cmphex(leaf_of(e, n, 0x40000001)->eax, ==, 0x31237648);
    g_assert_cmphex(leaf_of(e, n, 0x40000003)->eax, ==, 0x222); /* hypercalls, time */
    g_assert_cmphex(leaf_of(e, n, 0x40000004)->eax, ==, 0x20);
    g_assert_cmphex(leaf_of(e, n, 0x40000004)->ebx, ==, 0x1fff);
    g_assert_cmpuint(leaf_of(e, n, 0x40000005)->eax, ==, 100);
    g_assert_cmphex(leaf_of(e, n, 0x40000100)->eax, ==, 0x40000101);
    g_assert_cmphex(leaf_of(e, n, 0x40000100)->ebx, ==, 0x4b4d564b);
    cpu_model_free(m);
    m = cpu_model_parse("max,kvm=off,hv-passthrough,hv-time=off,-hv-reset", everything, &err);
    g_assert_no_error(err);
    n = cpuid_build(m, &t, 0, e);
    g_assert_null(leaf_of(e, n, 0x40000100));
    g_assert_cmphex(leaf_of(e, n, 0x40000003)->eax & 0x222, ==, 0x20); /* no clock */
    g_assert_cmphex(leaf_of(e, n, 0x40000003)->eax & 0x80, ==, 0);
    g_assert_cmphex(leaf_of(e, n, 0x40000004)->eax & 0x400, ==, 0x400);
    g_assert_cmphex(leaf_of(e, n, 0x40000004)->ebx, ==, UINT32_MAX);
    cpu_model_free(m);
    refuse("max,hv-spinlocks=5", everything, "0xfff");
    refuse("max,hv-spinlocks=many", everything, "hv-spinlocks");
    refuse("max,hv-ipi", everything, "hv-vpindex");
    refuse("max,hv-vendor-id=thirteen-long", everything, "twelve");
    refuse("max,hv-relaxed=perhaps", everything, "'on' or 'off'");
}

static void test_bit_names_round_trip(void)
{
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++) {
        for (unsigned b = 0; b < 32; b++) {
            const char *name = cpuid_bit_name(w, b);
            enum cpuid_word got_w;
            unsigned got_b;
            if (!name)
                continue;
            g_assert_true(cpuid_bit_find(name, &got_w, &got_b));
            g_assert_true(got_w == w && got_b == b);
        }
    }
    g_assert_null(cpuid_bit_name(FEAT_WORD_COUNT, 0));
}

static const struct cpuid_entry *find(const struct cpuid_entry *e, unsigned n, uint32_t leaf,
                                      uint32_t subleaf)
{
    for (unsigned i = 0; i < n; i++)
        if (e[i].leaf == leaf && (e[i].subleaf == subleaf || e[i].subleaf == UINT32_MAX))
            return &e[i];
    g_error("no leaf %x.%x", leaf, subleaf);
}

/* What a processor is not affected by is said in AMD's way or in Intel's. */
static void test_unaffected_as_the_vendor_says_it(void)
{
    struct cpuid_entry e[CPUID_MAX_ENTRIES];
    struct cpu_topology one = {
        .cpus = 1, .maxcpus = 1, .sockets = 1, .dies = 1, .cores = 1, .threads = 1};
    struct cpu_model *m = parse("max");
    bool amd = strcmp(m->vendor, "AuthenticAMD") == 0 || strcmp(m->vendor, "HygonGenuine") == 0;

    g_assert_true(has(m, "srso-no") == amd && has(m, "tsa-sq-no") == amd);
    g_assert_true(has(m, "arch-capabilities") == !amd);
    cpu_model_free(m);
    m = parse("EPYC,+srso-no,+tsa-sq-no,+tsa-l1-no");
    unsigned n = cpuid_build(m, &one, 0, e);
    g_assert_cmphex(m->xlevel, ==, 0x80000021);
    g_assert_cmphex(find(e, n, 0x80000021, 0)->eax, ==, BIT(29));
    g_assert_cmphex(find(e, n, 0x80000021, 0)->ecx, ==, BIT(1) | BIT(2));
    cpu_model_free(m);
    m = parse("EPYC");
    g_assert_cmphex(m->xlevel, <, 0x80000021);
    cpu_model_free(m);
}

static void test_topology_leaves(void)
{
    /* 2 sockets of 3 cores of 2 threads: APIC ids have holes */
    struct cpu_topology t = {
        .cpus = 12, .maxcpus = 12, .sockets = 2, .dies = 1, .cores = 3, .threads = 2};
    static const uint32_t ids[12] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13};
    struct cpuid_entry e[CPUID_MAX_ENTRIES];
    struct cpu_model *m = parse("Skylake-Server,check=off");
    for (unsigned i = 0; i < 12; i++) {
        g_assert_cmpuint(cpu_apic_id(&t, i), ==, ids[i]);
        unsigned n = cpuid_build(m, &t, i, e);
        const struct cpuid_entry *one = find(e, n, 1, 0);
        g_assert_cmpuint(one->ebx >> 24, ==, ids[i]);
        g_assert_cmpuint((one->ebx >> 16) & 0xff, ==, 8);
        g_assert_true(one->edx & BIT(28));
        const struct cpuid_entry *smt = find(e, n, 0xb, 0), *core = find(e, n, 0xb, 1);
        g_assert_cmpuint(smt->eax, ==, 1);
        g_assert_cmpuint(smt->ebx, ==, 2);
        g_assert_cmphex(smt->ecx, ==, 0x100);
        g_assert_cmpuint(core->eax, ==, 3);
        g_assert_cmpuint(core->ebx, ==, 6);
        g_assert_cmphex(core->ecx, ==, 0x201);
        g_assert_cmpuint(core->edx, ==, ids[i]);
        g_assert_cmphex(find(e, n, 0xb, 2)->ecx, ==, 2);
        g_assert_cmpuint(find(e, n, 4, 3)->eax >> 14 & 0xfff, ==, 7); /* L3: the package */
        g_assert_cmpuint(find(e, n, 4, 0)->eax >> 14 & 0xfff, ==, 1); /* L1: the core */
        g_assert_cmpuint(find(e, n, 4, 4)->eax, ==, 0);
    }
    cpu_model_free(m);
    m = parse("EPYC");
    unsigned n = cpuid_build(m, &t, 9, e);
    const struct cpuid_entry *amd = find(e, n, 0x8000001e, 0);
    g_assert_cmpuint(amd->eax, ==, 11);
    g_assert_cmpuint(amd->ebx >> 8 & 0xff, ==, 1);
    g_assert_cmpuint(find(e, n, 0x80000008, 0)->ecx, ==, 3 << 12 | 5);
    g_assert_true(find(e, n, 0x80000001, 0)->edx & BIT(0)); /* mirrored FPU bit */
    cpu_model_free(m);
}

static void test_dies_have_a_leaf(void)
{
    struct cpu_topology t = {
        .cpus = 8, .maxcpus = 8, .sockets = 1, .dies = 2, .cores = 2, .threads = 2};
    struct cpuid_entry e[CPUID_MAX_ENTRIES];
    struct cpu_model *m = parse("Skylake-Client,check=off");
    unsigned n = cpuid_build(m, &t, 5, e);
    g_assert_cmphex(find(e, n, 0, 0)->eax, ==, 0x1f);
    g_assert_cmphex(find(e, n, 0x1f, 1)->ecx, ==, 0x201);
    g_assert_cmpuint(find(e, n, 0x1f, 1)->eax, ==, 2); /* the die begins at bit 2 of the APIC id */
    g_assert_cmphex(find(e, n, 0x1f, 2)->ecx, ==, 0x502);
    g_assert_cmpuint(find(e, n, 0x1f, 2)->eax, ==, 3);
    g_assert_cmpuint(find(e, n, 0x1f, 2)->ebx, ==, 8);
    t.dies = 1, t.cores = 4;
    n = cpuid_build(m, &t, 5, e);
    g_assert_cmphex(find(e, n, 0, 0)->eax, <, 0x1f);
    cpu_model_free(m);
}

static void test_identity_leaves(void)
{
    struct cpu_topology t = {.cpus = 1, .maxcpus = 1};
    struct cpuid_entry e[CPUID_MAX_ENTRIES];
    struct cpu_model *m = parse("Skylake-Client,check=off");
    unsigned n = cpuid_build(m, &t, 0, e);
    g_assert_cmphex(find(e, n, 0, 0)->ebx, ==, 0x756e6547); /* "Genu" */
    g_assert_cmphex(find(e, n, 1, 0)->eax, ==, 0x506e3);
    g_assert_false(find(e, n, 1, 0)->edx & BIT(28));
    g_assert_cmphex(find(e, n, 0x40000000, 0)->ebx, ==, 0x4b4d564b);
    g_assert_cmphex(find(e, n, 0x40000000, 0)->edx, ==, 0x4d);
    g_assert_cmphex(find(e, n, 0x80000008, 0)->eax, ==, 40 | 48 << 8);
    const struct cpuid_entry *xsave = find(e, n, 0xd, 0);
    g_assert_cmphex(xsave->eax, ==, 7);
    g_assert_cmpuint(xsave->ecx, ==, 832);
    g_assert_cmpuint(find(e, n, 0xd, 2)->eax, ==, 256);
    g_assert_cmpuint(find(e, n, 0xd, 2)->ebx, ==, 576);
    cpu_model_free(m);
    m = parse("Skylake-Server,check=off");
    n = cpuid_build(m, &t, 0, e);
    g_assert_cmphex(find(e, n, 0xd, 0)->eax, ==, 0xe7);
    g_assert_cmphex(find(e, n, 0xd, 1)->ebx, ==, 832 + 64 + 512 + 1024);
    for (unsigned k = 0; k < XSAVE_PARTS - 1; k++) {
        const struct xsave_part *p = &xsave_parts()[k];
        g_assert_cmpuint(find(e, n, 0xd, p->bit)->eax, ==, p->size);
        g_assert_cmpuint(find(e, n, 0xd, p->bit)->ebx, ==, p->offset);
        g_assert_cmpuint(find(e, n, 0xd, 0)->ecx, >=, p->offset + p->size);
    }
    cpu_model_free(m);
}

static void test_software_cpu_offers_what_it_should(void)
{
    uint32_t jit[FEAT_WORD_COUNT];
    g_autoptr(GError) err = NULL;
    accel_features("jit", jit);
    struct cpu_model *m = cpu_model_parse("max", jit, &err);
    g_assert_no_error(err);
    g_assert_true(has(m, "lm") && has(m, "pcid") && has(m, "x2apic") && has(m, "tsc-deadline") &&
                  has(m, "kvmclock"));
    bool avx512 = (xsave_host_xcr0() & XSAVE_AVX512) == XSAVE_AVX512 &&
                  __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    g_assert_cmpint(has(m, "avx512f"), ==, avx512);
    g_assert_cmpint(has(m, "avx512vl"), ==, avx512);
    if (avx512) {
        struct cpu_model *v4 = cpu_model_parse("x86-64-v4,enforce", jit, &err);
        g_assert_no_error(err);
        g_assert_cmphex(v4->xcr0_mask, ==, 0xe7);
        cpu_model_free(v4);
    }
    g_assert_false(has(m, "avx512-fp16") || has(m, "avx512er") || has(m, "vmx") || has(m, "svm") ||
                   has(m, "pku") || has(m, "xsaves") || has(m, "monitor"));
    cpu_model_free(m);
    uint32_t none[FEAT_WORD_COUNT];
    accel_features("nosuch", none);
    for (unsigned w = 0; w < FEAT_WORD_COUNT; w++)
        g_assert_cmphex(none[w], ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    memset(everything, 0xff, sizeof(everything));
    g_test_add_func("/cpuid/every_name", test_every_name_parses);
    g_test_add_func("/cpuid/rows", test_model_rows);
    g_test_add_func("/cpuid/plus_minus", test_plus_minus_and_equals);
    g_test_add_func("/cpuid/unaffected", test_unaffected_as_the_vendor_says_it);
    g_test_add_func("/cpuid/dependent", test_dependent_features_fall_together);
    g_test_add_func("/cpuid/numbers", test_numbers_and_names);
    g_test_add_func("/cpuid/host", test_host_is_migratable_and_four_level_unless_asked);
    g_test_add_func("/cpuid/kvm_off", test_kvm_off_hides_the_leaves);
    g_test_add_func("/cpuid/refusals", test_what_is_wrong_is_said);
    g_test_add_func("/cpuid/hyperv", test_hyperv_leaves);
    g_test_add_func("/cpuid/bit_names", test_bit_names_round_trip);
    g_test_add_func("/cpuid/topology", test_topology_leaves);
    g_test_add_func("/cpuid/dies", test_dies_have_a_leaf);
    g_test_add_func("/cpuid/identity", test_identity_leaves);
    g_test_add_func("/cpuid/jit", test_software_cpu_offers_what_it_should);
    return g_test_run();
}
