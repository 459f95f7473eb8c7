/* hyperv.h - Hyper-V's interface to guests, as far as CPUID tells of it.
 *
 * -cpu hv-NAME switches are bits of the feature word FEAT_HV, numbered here and not by CPUID: one
 * switch may be several CPUID bits.  As long as one is on, leaf 0x40000000 says Hyper-V, and KVM's
 * own leaves follow at 0x40000100.
 *
 * Spec: Hypervisor Top Level Functional Specification 6.0b (TLFS) ch. 2, appendix. */
#ifndef CPU_X86_HYPERV_H
#define CPU_X86_HYPERV_H

#include "cpu/cpuid.h"

enum hyperv_bit {
    HV_RELAXED,     /* the guest trusts no watchdog on its own timing */
    HV_VAPIC,       /* EOI, ICR and TPR are MSRs; the VP assist page */
    HV_SPINLOCKS,   /* after so many tries the guest says that it spins */
    HV_VPINDEX,     /* MSR that tells a processor its number */
    HV_RUNTIME,     /* MSR with its run time */
    HV_CRASH,       /* MSRs by which a guest tells that it has crashed */
    HV_TIME,        /* reference counter and reference TSC page */
    HV_RESET,       /* MSR that resets the machine */
    HV_FREQUENCIES, /* MSRs with the rates of TSC and APIC timer */
    HV_TLBFLUSH,    /* hypercalls that flush TLBs */
    HV_IPI,         /* hypercalls that send interrupts */
    HV_BITS
};
#define HV_SPINLOCKS_NEVER UINT32_MAX

/* The leaves 0x40000000 to 0x40000005 of a model that has some of FEAT_HV; fills six. */
void hyperv_leaves(const struct cpu_model *m, unsigned cpus, struct cpuid_entry out[6]);
/* What of FEAT_HV the register values of leaves 0x40000003 and 0x40000004 stand for. */
uint32_t hyperv_features_of(const struct cpuid_entry *leaf3, const struct cpuid_entry *leaf4);
/* False with a sentence when one switch lacks another. */
bool hyperv_check(const struct cpu_model *m, GError **err);

#endif
