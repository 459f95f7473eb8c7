/* vcpu.h - virtual CPUs: one host thread each, whichever accelerator runs them.
 *
 *   vcpu thread:  wait while paused -> accel->run() -> one switch over enum vcpu_exit -> again
 *
 * Nothing above src/cpu may know whether KVM or the software CPU ("jit") is behind this header.
 *
 * Owner:   struct cpu_set belongs to the machine; vcpus live from cpu_set_new to cpu_set_free.
 * Threads: pause/resume/reset/state from the main thread; vcpu_kick and vcpu_async from any.
 * Thread names: "CPU n/KVM" or "CPU n/JIT". */
#ifndef CPU_VCPU_H
#define CPU_VCPU_H

#include "cpu/cpuid.h"
#include "cpu/x86_state.h"

struct cpu_set;
struct vcpu;
struct guest_mem;
struct io_space;
struct irqchip;
struct soft_irqchip;
struct vm_clock;
struct props;
struct state_reader;
struct state_writer;

enum vcpu_exit {
    VCPU_EXIT_NONE, /* kicked: look at requests */
    VCPU_EXIT_PIO,  /* vcpu->io (KVM; the software CPU dispatches in place) */
    VCPU_EXIT_MMIO,
    VCPU_EXIT_HLT,      /* halted, waits for an interrupt */
    VCPU_EXIT_SHUTDOWN, /* triple fault */
    VCPU_EXIT_INTERNAL, /* the accelerator gave up: dump, stop the VM */
    VCPU_EXIT_DEBUG,
    VCPU_EXIT_COUNT
};

/* What the board wants to know from vcpu threads; called in the vcpu's thread. */
struct cpu_events {
    void (*triple_fault)(void *opaque, unsigned cpu);
    void (*internal_error)(void *opaque, unsigned cpu, const char *dump);
    void (*crashed)(void *opaque, const uint64_t info[5]); /* the guest says so of itself */
    void *opaque;
};

struct cpu_config {
    struct cpu_topology topology;
    const char *cpu_spec;      /* -cpu text; NULL = the machine's default */
    struct props *accel_props; /* jit: tb-size, tier, cosim, perf; kvm: kernel-irqchip */
    uint64_t highest_gpa;      /* phys bits must cover it */
    struct guest_mem *mem;
    struct io_space *pio, *mmio;
    struct vm_clock *clock;
    struct cpu_events events;
};

/* accels: "kvm:jit", "jit", "kvm", "tcg"; NULL = the honest default.  Tries in order; *why gets the
 * one plain sentence that says which was taken and why (g_free). */
struct cpu_set *cpu_set_new(const char *accels, const struct cpu_config *cfg, char **why,
                            GError **err);
void cpu_set_free(struct cpu_set *s);               /* joins the threads; accepts NULL */
const char *cpu_set_accel(const struct cpu_set *s); /* "kvm" or "jit" */
/* Is guest RAM better in a file, because the accelerator maps it more than once? */
bool cpu_set_wants_shared_ram(struct cpu_set *s);
const struct cpu_model *cpu_set_model(const struct cpu_set *s);
/* Those that are present, in the order they came; index < count. */
unsigned cpu_set_count(const struct cpu_set *s);
struct vcpu *cpu_set_get(struct cpu_set *s, unsigned index);
/* The one at a place of the topology, 0..maxcpus-1; NULL: nobody is there. */
struct vcpu *cpu_set_find(struct cpu_set *s, unsigned place);
/* Processors that come and go while the machine exists; paused.  A new one waits for SIPI.  The
 * boot processor, at place 0, stays. */
bool cpu_set_plug(struct cpu_set *s, unsigned place, GError **err);
void cpu_set_unplug(struct cpu_set *s, unsigned place);
struct irqchip *cpu_set_irqchip(struct cpu_set *s);           /* soft or in-kernel */
struct soft_irqchip *cpu_set_soft_irqchip(struct cpu_set *s); /* NULL under in-kernel irqchip */
bool cpu_set_kernel_pit(const struct cpu_set *s); /* KVM made the PIT: do not create ours */
/* Save/load of KVM's in-kernel PIC/IOAPIC/PIT and kvmclock; no-op for the software CPU. */
void cpu_set_save(struct cpu_set *s, struct state_writer *w);
bool cpu_set_load(struct cpu_set *s, struct state_reader *r, GError **err);

void cpu_set_resume(struct cpu_set *s);
void cpu_set_pause(
    struct cpu_set *s); /* returns when every vcpu thread waits; not from a vcpu thread */
/* Asks for a pause without waiting, from any thread: called by a device in a vcpu's thread, that
 * vcpu executes no further instruction (power-off, reset).  cpu_set_pause() completes it. */
void cpu_set_stop_soon(struct cpu_set *s);
void cpu_set_reset(struct cpu_set *s); /* paused; power-on state, APs wait for SIPI */

void vcpu_get_state(struct vcpu *v, struct x86_state *out); /* paused */
bool vcpu_set_state(struct vcpu *v, const struct x86_state *in, GError **err);
void vcpu_kick(struct vcpu *v);
void vcpu_nmi(struct vcpu *v);
/* System management interrupts: only where the accelerator has that mode. */
bool cpu_set_has_smm(const struct cpu_set *s);
void vcpu_smi(struct vcpu *v);
unsigned vcpu_index(const struct vcpu *v); /* its place in the topology */
uint32_t vcpu_apic_id(const struct vcpu *v);
int vcpu_tid(const struct vcpu *v);
bool vcpu_halted(const struct vcpu *v);
/* The vcpu whose thread this is, or NULL. */
struct vcpu *vcpu_current(void);

/* Where a vcpu's thread spends its life; the four add up to the time since the thread began. */
enum vcpu_place { VCPU_IN_VMM, VCPU_IN_GUEST, VCPU_HALTED, VCPU_PAUSED, VCPU_PLACES };

/* What makes guest code stop for a moment; the software CPU does most of it in place, under KVM
 * what the kernel handles itself is in its own statistics (cpu_set_native_stats). */
enum vcpu_event {
    VCPU_EV_APIC,       /* accesses to the local APIC's page */
    VCPU_EV_HYPERCALL,  /* VMCALL, VMMCALL */
    VCPU_EV_CPUID,      /* CPUID */
    VCPU_EV_RDMSR,      /* RDMSR */
    VCPU_EV_WRMSR,      /* WRMSR */
    VCPU_EV_IRQ,        /* interrupts delivered */
    VCPU_EV_IRQ_WINDOW, /* an interrupt was there, and the guest did not take interrupts */
    VCPU_EV_NMI,        /* NMIs delivered */
    VCPU_EVENTS
};

struct vcpu_stats {
    uint64_t exits[VCPU_EXIT_COUNT]; /* returns of accel_ops.run(), and halts */
    uint64_t events[VCPU_EVENTS];
    uint64_t place_ns[VCPU_PLACES];
    uint64_t instructions; /* software CPU only */
};
/* Any thread, while the vcpu runs: a number may be one event old. */
void vcpu_stats(struct vcpu *v, struct vcpu_stats *out);
/* Its accesses to devices, by io_count.h's slots; NULL before its thread runs. */
struct io_counts;
const struct io_counts *vcpu_io_counts(const struct vcpu *v);

/* What the accelerator counts beyond that, while it runs or not; from any thread. */
#define VCPU_COUNTERS_MAX 24
struct vcpu_counter {
    const char *name, *what; /* name is NULL behind the last one */
};
const struct vcpu_counter *cpu_set_counters(const struct cpu_set *s); /* NULL: it counts nothing */
void vcpu_counters(struct vcpu *v, uint64_t out[VCPU_COUNTERS_MAX]);

/* The accelerator's own statistics in the form that KVM's binary statistics have (Linux
 * Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD), which is also that of QMP query-stats. */
enum {
    STAT_CUMULATIVE = 0, /* type: what KVM_STATS_TYPE_* say */
    STAT_INSTANT = 1,
    STAT_PEAK = 2,
    STAT_LINEAR_HIST = 3,
    STAT_LOG_HIST = 4,
    STAT_TYPE = 0xf,
    STAT_BYTES = 0x10,
    STAT_SECONDS = 0x20,
    STAT_CYCLES = 0x30,
    STAT_BOOLEAN = 0x40,
    STAT_UNIT = 0xf0,
    STAT_POW2 = 0x100,
    STAT_BASE = 0xf00
};
struct native_stat {
    char *name;
    uint32_t flags;       /* STAT_* */
    int16_t exponent;     /* of the base that flags name */
    uint32_t bucket_size; /* of linear histograms */
    unsigned count;
    uint64_t *value; /* count of them */
};
/* Of one vcpu, or of the machine (index < 0).  struct native_stat *, freed with the array; NULL:
 * there are none.  Main thread. */
struct _GPtrArray *cpu_set_native_stats(struct cpu_set *s, int index);
void native_stat_free(void *stat);

/* What -accel help and probing need, without making a cpu_set. */
struct accel_info {
    const char *name;
    bool usable;
    char *why; /* sentence; g_free */
};
void accel_probe_kvm(struct accel_info *out);
/* Times a small guest, whatever the processor claims; false with a sentence when none runs. */
bool accel_kvm_measure(uint64_t *ns_per_instruction, char **why);
/* Feature mask the accelerator can offer (query-cpu-definitions, before a machine exists). */
void accel_features(const char *accel, uint32_t allowed[FEAT_WORD_COUNT]);

#endif
