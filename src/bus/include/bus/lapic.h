/* lapic.h - the local APIC of one vcpu in the software chip set (xAPIC and x2APIC; SDM vol.3
 * ch.11).
 *
 * Owner:   the machine makes one per vcpu and gives it to the accelerator (not used under KVM's
 * in-kernel irqchip, except as the exchange format of struct lapic_regs). Threads: lapic_deliver
 * and timers from any thread; the register file is under l->lock, but IRR is atomic and
 * lapic_pending() is lock-free, so the vcpu loop can ask cheaply. The MMIO page at 0xfee00000 is
 * per vcpu: the CPU calls lapic_mmio_* itself when the physical address falls into the page that
 * IA32_APIC_BASE names and the APIC is in xAPIC mode. */
#ifndef BUS_LAPIC_H
#define BUS_LAPIC_H

#include "base/types.h"
#include "bus/irq.h"

struct device_list;
struct io_space;
struct lapic;
struct vm_clock;

/* What the LAPIC does to its vcpu; every call may come from any thread and must not block. */
struct lapic_cpu_ops {
    void (*kick)(void *cpu); /* lapic_pending() may have changed: look again */
    void (*nmi)(void *cpu);
    void (*smi)(void *cpu);
    void (*init)(void *cpu);
    void (*sipi)(void *cpu, uint8_t vector);
    uint64_t (*tsc)(void *cpu); /* guest TSC now, for TSC-deadline mode */
    uint64_t (*tsc_to_ns)(void *cpu, uint64_t tsc_delta);
};

/* The user-space chip set: PIC pair + IOAPIC + n LAPICs as one irqchip. */
struct soft_irqchip;
struct soft_irqchip *soft_irqchip_new(struct vm_clock *clock, unsigned cpu_count_max);
void soft_irqchip_free(struct soft_irqchip *s);
struct irqchip *soft_irqchip_base(struct soft_irqchip *s);
struct lapic *soft_irqchip_lapic(struct soft_irqchip *s, unsigned index);
void lapic_attach_cpu(struct lapic *l, uint32_t apic_id, const struct lapic_cpu_ops *ops,
                      void *cpu);

/* What CPUID says of this CPU; before it runs.  Default: both, 52 bits. */
void lapic_set_features(struct lapic *l, bool x2apic, bool tsc_deadline, unsigned phys_bits);
/* Puts PIC, ELCR and IOAPIC on the buses and into the device list (reset, save, load).  Do it
 * before any device that has an interrupt line is made, so that they load after their controllers.
 */
void soft_irqchip_plug(struct soft_irqchip *s, struct device_list *devices, struct io_space *pio,
                       struct io_space *mmio);

/* vcpu side */
int lapic_pending(
    struct lapic *l); /* highest vector that may be taken now (above PPR), 256 = ExtINT from
                         the PIC, or -1.  Lock-free when nothing is pending. */
/* A byte that is zero while lapic_pending() finds nothing, for machine code to look at. */
const bool *lapic_attention(const struct lapic *l);
int lapic_ack(
    struct lapic *l); /* interrupt acknowledge: the vector to deliver, or -1 (spurious race) */
uint64_t lapic_base_get(struct lapic *l);
bool lapic_base_set(struct lapic *l,
                    uint64_t val);      /* false: #GP (reserved bits, illegal transition) */
uint8_t lapic_tpr_get(struct lapic *l); /* CR8 is bits 7:4 */
void lapic_tpr_set(struct lapic *l, uint8_t tpr);
bool lapic_msr_read(struct lapic *l, uint32_t msr,
                    uint64_t *val); /* x2APIC 0x800..0x8ff; false: #GP */
bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t val);
uint64_t lapic_deadline_get(struct lapic *l); /* IA32_TSC_DEADLINE */
void lapic_deadline_set(struct lapic *l, uint64_t tsc);
uint64_t lapic_mmio_read(struct lapic *l, uint32_t off, unsigned size);
void lapic_mmio_write(struct lapic *l, uint32_t off, unsigned size, uint64_t val);
void lapic_reset(struct lapic *l, bool init); /* init: keeps APIC base and id, as INIT does */
void lapic_virtual_wire(
    struct lapic *l); /* what firmware leaves: enabled, LINT0 ExtINT, LINT1 NMI (BSP) */

/* Neutral state (KVM_GET_LAPIC's layout: 1 KiB register page) for save/load and jit <-> kvm moves.
 */
void lapic_state_get(struct lapic *l, uint8_t regs[1024], uint64_t *base);
bool lapic_state_set(struct lapic *l, const uint8_t regs[1024], uint64_t base, GError **err);

#endif
