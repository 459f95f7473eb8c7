/* accel.h - what an accelerator implements; private to src/cpu.
 *
 * One const table per accelerator.  run() executes guest code in the vcpu's thread until something
 * only the common loop (vcpu.c) can decide, and says what in its return value.  All other functions
 * are called with the vcpu paused, from the main thread, unless noted. */
#ifndef CPU_ACCEL_H
#define CPU_ACCEL_H

#include "base/util.h"
#include "cpu/vcpu.h"

#include <pthread.h>

/* One I/O exit of an accelerator that does not dispatch in place: count pieces of size bytes, all
 * at the same address (string I/O), read into or written from data. */
struct vcpu_io {
    uint64_t addr;
    uint8_t *data;
    uint32_t count;
    uint8_t size;
    bool write;
};

struct vcpu {
    /* immutable */
    struct cpu_set *set;
    unsigned index;
    uint32_t apic_id;
    pthread_t thread;
    int tid;
    /* any thread, atomic */
    uint32_t exit_request; /* non-zero: leave run() soon then accel_ops.kick() */
    bool halted;
    /* under set->lock */
    bool started, stalled; /* stalled: after a triple fault or internal error, until reset */
    bool leaving;          /* its thread is to end */
    /* main thread writes, paused */
    bool present; /* false: unplugged; kept, because other threads walk cpu_set.vcpu */
    /* vcpu thread only */
    struct vcpu_io io;
    struct vcpu_stats stats; /* without place_ns, which vcpu_stats() makes of `clock` */
    struct vcpu_times {
        uint32_t seq; /* odd: being changed */
        enum vcpu_place place;
        uint64_t since_ns, spent_ns[VCPU_PLACES];
    } clock;
    struct io_counts *io_counts;
    char *internal_error; /* what VCPU_EXIT_INTERNAL was about; owned */
    struct cpuid_entry cpuid[CPUID_MAX_ENTRIES];
    unsigned cpuid_count;
    void *accel; /* struct kvm_vcpu or struct jit_cpu: each accel's own container */
};

struct accel_ops {
    const char *name;       /* "kvm", "jit" */
    const char *thread_tag; /* "KVM", "JIT" */
    bool (*init)(struct cpu_set *s, GError **err);
    void (*fini)(struct cpu_set *s);
    bool (*vcpu_init)(struct vcpu *v, GError **err);
    void (*vcpu_thread_start)(struct vcpu *v); /* in the vcpu's thread, once */
    void (*vcpu_fini)(struct vcpu *v);
    /* Its thread has ended: nothing must reach it until a reset; may be NULL. */
    void (*unplugged)(struct vcpu *v);
    enum vcpu_exit (*run)(struct vcpu *v); /* vcpu thread */
    /* vcpu thread, before it parks: finishes an I/O exit's instruction; may be NULL. Returns a
     * further I/O exit, or NONE. */
    enum vcpu_exit (*settle)(struct vcpu *v);
    void (*kick)(struct vcpu *v); /* any thread: make run() return / wake from halt */
    void (*reset)(struct vcpu *v);
    void (*get_state)(struct vcpu *v, struct x86_state *out);
    bool (*set_state)(struct vcpu *v, const struct x86_state *in, GError **err);
    void (*nmi)(struct vcpu *v); /* any thread */
    void (*smi)(struct vcpu *v); /* any thread; NULL: system management mode is not to be had */
    /* vcpu_counters(), any thread; names NULL: none */
    const struct vcpu_counter *counter_names;
    void (*counters)(struct vcpu *v, uint64_t out[VCPU_COUNTERS_MAX]);
    struct _GPtrArray *(*native_stats)(struct cpu_set *s, int index); /* may be NULL */
    bool (*wants_shared_ram)(struct cpu_set *s);                      /* may be NULL: no */
    void (*clock_stopped)(struct cpu_set *s);
    void (*clock_started)(struct cpu_set *s);
    void (*save)(struct cpu_set *s, struct state_writer *w); /* may be NULL */
    bool (*load)(struct cpu_set *s, struct state_reader *r, GError **err);
};

struct cpu_set {
    const struct accel_ops *ops;
    struct cpu_config cfg;
    struct cpu_model *model;
    struct vcpu **vcpu; /* room for maxcpus; only ever grows */
    unsigned count;     /* made so far, whether present or not */
    unsigned present;   /* under lock: those with a thread */
    struct irqchip *irqchip;
    struct soft_irqchip *soft;
    bool kernel_pit;
    void *accel; /* accelerator's per-VM data */
    /* pause protocol, under lock */
    pthread_mutex_t lock;
    pthread_cond_t vcpu_cond, main_cond;
    bool running, quitting;
    bool clock_on;
    unsigned parked;
};

/* Takes the model over.  select.c decides with what. */
struct cpu_set *cpu_set_create(const struct accel_ops *ops, const struct cpu_config *cfg,
                               struct cpu_model *model, GError **err);
/* For the accelerators: the text of registers and reason given to cpu_events.internal_error. */
void vcpu_internal_error(struct vcpu *v, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The vcpu's own thread: what it does from now on. */
void vcpu_at(struct vcpu *v, enum vcpu_place place);
static inline void vcpu_count(struct vcpu *v, enum vcpu_event ev)
{
    __atomic_store_n(&v->stats.events[ev], v->stats.events[ev] + 1, __ATOMIC_RELAXED);
}

extern const struct accel_ops kvm_accel, jit_accel;

#endif
