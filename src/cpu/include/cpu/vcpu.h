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
const struct cpu_model *cpu_set_model(const struct cpu_set *s);
unsigned cpu_set_count(const struct cpu_set *s);
struct vcpu *cpu_set_get(struct cpu_set *s, unsigned index);
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
unsigned vcpu_index(const struct vcpu *v);
uint32_t vcpu_apic_id(const struct vcpu *v);
int vcpu_tid(const struct vcpu *v);
bool vcpu_halted(const struct vcpu *v);
/* The vcpu whose thread this is, or NULL. */
struct vcpu *vcpu_current(void);

struct vcpu_stats {
    uint64_t exits[VCPU_EXIT_COUNT];
    uint64_t guest_ns, halted_ns, irqs_injected;
    uint64_t instructions; /* software CPU only */
};
void vcpu_stats(const struct vcpu *v, struct vcpu_stats *out);

/* What the accelerator counts beyond that, while it runs or not; from any thread. */
#define VCPU_COUNTERS_MAX 24
struct vcpu_counter {
    const char *name, *what; /* name is NULL behind the last one */
};
const struct vcpu_counter *cpu_set_counters(const struct cpu_set *s); /* NULL: it counts nothing */
void vcpu_counters(struct vcpu *v, uint64_t out[VCPU_COUNTERS_MAX]);

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
