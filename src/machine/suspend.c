/* suspend.c - ACPI S3: vcpus stop, memory and clocks stay, a wake event starts the firmware again.
 *
 * Waking is what firmware does on that path: chips at their reset values except memory, interrupt
 * controllers and PCI addresses as at boot, then a real-mode jump to the vector the guest left in
 * the FACS (ACPI 6.4 §5.2.10, §16.1.2). */
#include "base/evloop.h"
#include "base/log.h"
#include "base/util.h"
#include "cpu/vcpu.h"
#include "devices/acpi_pm.h"
#include "machine_internal.h"

void machine_suspend(struct machine *m, unsigned state)
{
    if (m->state != RUN_RUNNING)
        return;
    log_debug("the guest sleeps in S%u", state);
    if (m->cpus)
        cpu_set_pause(m->cpus);
    m->state = RUN_SUSPENDED;
    machine_emit(m, "SUSPEND", NULL);
}
