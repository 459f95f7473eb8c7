/* kvm.h - the inside of the KVM accelerator.
 *
 *   vm_fd: memory slots (slots.c), interrupt chips and routes (irq.c), ioeventfds (ioevent.c)
 *   one fd per vcpu: KVM_RUN (run.c), registers (state.c, msrs.c)
 *
 * Threads: a vcpu's ioctls take its mutex in the kernel, which KVM_RUN holds; so they are issued by
 * its own thread, or by the main thread while it is parked.  VM ioctls may come from anywhere. */
#ifndef CPU_KVM_KVM_H
#define CPU_KVM_KVM_H

#include "accel.h"
#include "bus/io.h"
#include "bus/irq.h"
#include "mem/guest_mem.h"

#include <glib.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#define KVM_DEVICE "/dev/kvm"

struct kvm_route;

/* The interrupt chips inside the kernel, as one state. */
struct kvm_chips {
    struct kvm_irqchip chip[3]; /* PIC master, PIC slave, IOAPIC */
    struct kvm_pit_state2 pit;
    uint64_t clock_ns;
};

struct kvm_vm {
    /* immutable after init */
    struct cpu_set *set;
    int sys_fd, vm_fd;
    int stats_fd; /* -1: this kernel has none */
    size_t run_bytes;
    unsigned routes_max;
    bool has_smm;
    struct kvm_chips pristine; /* as created: what a reset restores */
    struct mem_listener mem;
    struct irqchip irqchip;
    struct io_eventfd_listener ioevents;
    /* main thread, vcpus paused */
    uint64_t clock_ns; /* kvmclock while the machine is stopped */
    /* under route_lock */
    pthread_mutex_t route_lock;
    GPtrArray *routes; /* struct kvm_route at GSI - IRQ_GSI_COUNT; NULL: free */
};

struct kvm_vcpu {
    struct vcpu *v;
    int fd;
    int stats_fd;
    struct kvm_run *run;
    bool nmi_request;   /* any thread, atomic */
    bool io_unfinished; /* vcpu thread: the kernel waits for the result of an I/O exit */
    GArray *msrs;       /* uint32_t: those this kernel can read */
};

static inline struct kvm_vm *kvm_vm_of(struct cpu_set *s)
{
    return s->accel;
}

static inline struct kvm_vcpu *kvm_vcpu_of(struct vcpu *v)
{
    return v->accel;
}

/* slots.c, irq.c, ioevent.c */
void kvm_slots_init(struct kvm_vm *vm);
bool kvm_irq_init(struct kvm_vm *vm, GError **err);
void kvm_irq_fini(struct kvm_vm *vm);
void kvm_ioevents_init(struct kvm_vm *vm);
void kvm_ioevents_fini(struct kvm_vm *vm);

/* stats.c: the kernel's binary statistics */
int kvm_stats_open(int fd); /* of a VM or a vcpu; -1 when there are none */
GPtrArray *kvm_stats_read(struct cpu_set *s, int index);

/* chips.c: the state of PIC, IOAPIC, PIT and kvmclock */
bool kvm_chips_get(struct kvm_vm *vm, struct kvm_chips *out, GError **err);
bool kvm_chips_set(struct kvm_vm *vm, const struct kvm_chips *in, GError **err);
void kvm_chips_save(struct cpu_set *s, struct state_writer *w);
bool kvm_chips_load(struct cpu_set *s, struct state_reader *r, GError **err);

/* state.c, msrs.c */
void kvm_state_get(struct vcpu *v, struct x86_state *out);
bool kvm_state_set(struct vcpu *v, const struct x86_state *in, GError **err);
void kvm_msrs_probe(struct kvm_vcpu *k);
void kvm_msrs_get(struct kvm_vcpu *k, struct x86_state *out);
void kvm_msrs_set(struct kvm_vcpu *k, const struct x86_state *in);
/* What a guest of Hyper-V says of its crash. */
void kvm_crash_info(struct kvm_vcpu *k, uint64_t info[5]);

/* run.c */
enum vcpu_exit kvm_vcpu_run(struct vcpu *v);
enum vcpu_exit kvm_vcpu_settle(struct vcpu *v);
void kvm_vcpu_kick(struct vcpu *v);
void kvm_vcpu_nmi(struct vcpu *v);
void kvm_vcpu_thread_start(struct vcpu *v);
char *kvm_dump(struct vcpu *v);

/* cpuid.c */
bool kvm_cpuid_set(struct kvm_vcpu *k, GError **err);

#endif
