/* x86_state.h - the whole architectural state of one vcpu, in neutral form.
 *
 * This is what moves between accelerators, into save files and to register dumps: everything KVM's
 * get/set calls cover.  The software CPU keeps it as its live state (struct jit_cpu embeds it), KVM
 * fills it on demand.  FPU/SIMD state is in the XSAVE area's standard (non-compacted) format.
 *
 * Threads: owned by the vcpu's thread while running; anybody else only while the vcpu is paused. */
#ifndef CPU_X86_STATE_H
#define CPU_X86_STATE_H

#include "cpu/xsave_layout.h"

enum { R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI, R_R8, R_R15 = 15 };
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_COUNT };

/* attr: descriptor bits as in VMX access rights: 3:0 type, 4 S, 6:5 DPL, 7 P, 12 AVL, 13 L, 14 D/B,
 * 15 G, 16 unusable (null selector). limit is in bytes, G already applied. */
struct x86_seg {
    uint64_t base;
    uint32_t limit;
    uint32_t attr;
    uint16_t sel;
};
#define SEG_TYPE(a)  ((a)&0xf)
#define SEG_S        (1u << 4)
#define SEG_DPL(a)   (((a) >> 5) & 3)
#define SEG_P        (1u << 7)
#define SEG_AVL      (1u << 12)
#define SEG_L        (1u << 13)
#define SEG_DB       (1u << 14)
#define SEG_G        (1u << 15)
#define SEG_UNUSABLE (1u << 16)

struct x86_dtr {
    uint64_t base;
    uint16_t limit;
};

enum x86_mp_state { MP_RUNNABLE = 0, MP_WAIT_SIPI = 1, MP_INIT_RECEIVED = 2, MP_HALTED = 3 };

#define X86_XSAVE_MAX  4096
#define X86_MTRR_FIXED 11
#define X86_MTRR_VAR   8

struct x86_state {
    uint64_t gpr[16];
    uint64_t rip;
    uint64_t rflags; /* complete, bit 1 always set */
    struct x86_seg seg[SEG_COUNT], ldt, tr;
    struct x86_dtr gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, xcr0;
    uint64_t dr[8]; /* 4, 5 unused */

    uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, tsc_aux, misc_enable, spec_ctrl, xss, pkru, tsc_deadline, tsc_adjust;
    uint64_t mtrr_def_type, mtrr_fixed[X86_MTRR_FIXED], mtrr_base[X86_MTRR_VAR],
        mtrr_mask[X86_MTRR_VAR];
    uint64_t mcg_status, mcg_ctl, mce_bank[32 * 4], smbase, feature_control, debugctl;
    uint64_t kvm_wall_clock, kvm_system_time, kvm_steal_time, kvm_async_pf, kvm_pv_eoi,
        kvm_poll_control;
    /* Hyper-V's MSRs; those of the whole machine are the same in each vcpu */
    uint64_t hv_guest_os_id, hv_hypercall, hv_reference_tsc, hv_crash[5];
    uint64_t hv_vp_assist, hv_vp_runtime; /* of this vcpu; run time in 100 ns */
    uint64_t apic_base;
    uint64_t tsc;         /* guest TSC at the moment of the get/set */
    uint64_t kvmclock_ns; /* kvmclock at the same moment */

    /* pending events */
    bool exception_pending, exception_has_error, nmi_pending, nmi_masked, smi_pending, in_smm;
    bool pdpte_valid; /* pdpte[] is what the last load of CR3 took; else memory is read anew */
    uint64_t pdpte[4];
    bool
        kvm_unhalted; /* KVM_HC_KICK_CPU came before the HLT it is for; KVM does not tell its own */
    bool interrupt_injected;                                /* acknowledged but not yet delivered */
    uint8_t exception_vector, interrupt_vector, int_shadow; /* int_shadow: 1 STI, 2 MOV SS */
    uint32_t exception_error;
    uint8_t mp_state, sipi_vector;

    uint8_t lapic[1024]; /* KVM_GET_LAPIC layout */
    /* In the stream only: where the components stand in xsave; loading moves them to their places
     * on this host. */
    uint16_t xsave_at[XSAVE_PARTS];
    uint8_t xsave[X86_XSAVE_MAX] __attribute__((aligned(64)));
};

extern const struct state_desc x86_state_desc;
/* Power-on values (SDM vol.3 table 9-1); bsp decides mp_state and apic_base. */
void x86_state_reset(struct x86_state *s, bool bsp, uint32_t cpuid_signature);
/* INIT keeps FPU, MSRs that survive INIT, TSC (SDM vol.3 table 9-1, "following INIT"). */
void x86_state_init_signal(struct x86_state *s, bool bsp, uint32_t cpuid_signature);
/* Registers as text, as `info registers` and crash dumps print them; g_free. */
char *x86_state_format(const struct x86_state *s);
/* False with a sentence when loaded values contradict each other (hostile stream). */
bool x86_state_validate(struct x86_state *s, GError **err);

#endif
