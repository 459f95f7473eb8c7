/* suspend.c - ACPI S3: vcpus stop, memory, chips and clocks stay; a wake event starts the vcpus at
 * the vector the guest left in the FACS (ACPI 6.4 §5.2.10, §16.1).
 *
 * Real hardware loses its chips' state in S3; guests restore it and do not mind that it is there.
 */
#include "base/log.h"
#include "base/util.h"
#include "cpu/vcpu.h"
#include "devices/acpi_pm.h"
#include "devices/rtc.h"
#include "machine_internal.h"

enum { CMOS_SHUTDOWN_CODE = 0x0f, CMOS_RESUME = 0xfe };

void machine_suspend(struct machine *m)
{
    if (m->state != RUN_RUNNING)
        return;
    if (m->cpus)
        cpu_set_pause(m->cpus);
    m->asleep = true;
    m->state = RUN_SUSPENDED;
    machine_emit(m, "SUSPEND", NULL);
    machine_wake_check(m); /* an event may have come in between */
}

bool machine_wakeup(struct machine *m)
{
    GError *err = NULL;

    if (m->state != RUN_SUSPENDED)
        return false;
    pthread_mutex_lock(&m->devices.lock);
    acpi_pm_woke(m->pm);
    pthread_mutex_unlock(&m->devices.lock);
    if (m->cpus)
        cpu_set_reset(m->cpus);
    if (m->firmware) {
        rtc_cmos_set(m->rtc, CMOS_SHUTDOWN_CODE, CMOS_RESUME); /* the firmware finds the vector */
    } else if (!firmware_substitute_wake(m, &err)) {
        log_warning("waking from S3: %s; the machine is reset", err->message);
        g_clear_error(&err);
        machine_reset(m, CAUSE_GUEST_RESET);
        return true;
    }
    m->asleep = false;
    m->state = RUN_RUNNING;
    if (m->cpus)
        cpu_set_resume(m->cpus);
    machine_emit(m, "WAKEUP", NULL);
    return true;
}

void machine_wake_check(struct machine *m)
{
    bool wake;

    if (m->state != RUN_SUSPENDED)
        return;
    pthread_mutex_lock(&m->devices.lock);
    wake = acpi_pm_wake_allowed(m->pm);
    pthread_mutex_unlock(&m->devices.lock);
    if (wake)
        machine_wakeup(m);
}
