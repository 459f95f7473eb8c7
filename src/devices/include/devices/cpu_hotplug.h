/* cpu_hotplug.h - the register block by which a guest learns that processors come and go.
 *
 *   plug:   status "inserting", GPE 2 -> the guest's \_GPE._E02 asks the block, brings the CPU up
 *   unplug: status "removing", GPE 2 -> the guest puts the CPU offline, \_SB.CPUS.Cxxx._EJ0 writes
 *           "eject" -> the board takes it away
 *
 * Twelve bytes of ports at the place where firmware and guests know QEMU's block of a q35 board, in
 * the mode they call modern.  Offsets (4-byte selector, 1-byte control and command, 4-byte data)
 * stand in cpu_hotplug.c; the AML that uses them is in bus/dsdt.asl.
 *
 * Owner:   the device list.
 * Threads: registers under the board lock; cpu_hotplug_* from the main thread with it held. */
#ifndef DEVICES_CPU_HOTPLUG_H
#define DEVICES_CPU_HOTPLUG_H

#include "bus/device.h"

#define CPU_HOTPLUG_PORT  0x0cd8
#define CPU_HOTPLUG_BYTES 12
#define CPU_HOTPLUG_GPE   2
#define CPU_HOTPLUG_MAX   288 /* processors of the largest machine type */

struct acpi_pm;
struct cpu_hotplug;
struct io_space;

struct cpu_hotplug_config {
    unsigned cpus_max;
    const uint32_t *apic_id; /* cpus_max of them; copied */
    struct acpi_pm *pm;
    /* In a vcpu's thread, board lock held: the guest has let go of a CPU, or reports how it went
     * (cpu_hotplug_ejecting, cpu_hotplug_report). */
    void (*look)(void *opaque);
    void *opaque;
};

struct cpu_hotplug *cpu_hotplug_new(struct device_list *devices, struct io_space *pio,
                                    const struct cpu_hotplug_config *cfg);
/* A CPU is there from now on, or no longer; tell: an event for a guest that runs. */
void cpu_hotplug_set(struct cpu_hotplug *h, unsigned cpu, bool present, bool tell);
/* Asks the guest to let go of a CPU. */
void cpu_hotplug_request_removal(struct cpu_hotplug *h, unsigned cpu);
bool cpu_hotplug_ejecting(const struct cpu_hotplug *h, unsigned cpu);
/* What the guest last said by _OST about a CPU; fresh: since the last time somebody asked so. */
struct cpu_hotplug_report {
    uint32_t event, status;
    bool fresh;
};
struct cpu_hotplug_report cpu_hotplug_report(struct cpu_hotplug *h, unsigned cpu);

#endif
