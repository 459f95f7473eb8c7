/* guest_trouble.c - what the machine does when its guest has panicked, or no longer looks after a
 * watchdog: -action panic=, -action watchdog=. */
#include "cpu/vcpu.h"
#include "machine_internal.h"

#include <jansson.h>

static void nmi_all(struct machine *m)
{
    for (unsigned i = 0; m->cpus && i < cpu_set_count(m->cpus); i++)
        vcpu_nmi(cpu_set_get(m->cpus, i));
}

static const char *watchdog_word(enum vm_action action)
{
    switch (action) {
    case ACTION_SHUTDOWN:
        return "shutdown";
    case ACTION_POWEROFF:
        return "poweroff";
    case ACTION_PAUSE:
        return "pause";
    case ACTION_NONE:
        return "none";
    case ACTION_INJECT_NMI:
        return "inject-nmi";
    default:
        return "reset";
    }
}

void machine_watchdog_expired(struct machine *m)
{
    enum vm_action action = m->cfg->on_watchdog;

    machine_emit(m, "WATCHDOG", json_pack("{s:s}", "action", watchdog_word(action)));
    switch (action) {
    case ACTION_SHUTDOWN:
        machine_powerdown(m);
        break;
    case ACTION_POWEROFF:
        machine_end(m, 0);
        break;
    case ACTION_PAUSE:
        machine_stop(m, RUN_WATCHDOG);
        break;
    case ACTION_NONE:
        break;
    case ACTION_INJECT_NMI:
        nmi_all(m);
        break;
    default:
        machine_request_reset(m, CAUSE_GUEST_RESET);
    }
}

void machine_panicked(struct machine *m)
{
    enum vm_action action = m->cfg->on_panic;
    bool stay = action == ACTION_PAUSE ||
                (action != ACTION_NONE && action != ACTION_EXIT_FAILURE && m->cfg->no_shutdown);
    const char *word = action == ACTION_NONE ? "run" : stay ? "pause" : "poweroff";

    machine_emit(m, "GUEST_PANICKED", json_pack("{s:s}", "action", word));
    if (action == ACTION_NONE)
        return;
    machine_stop(m, RUN_GUEST_PANICKED);
    if (stay)
        return;
    if (action == ACTION_EXIT_FAILURE)
        machine_end(m, 1);
    else
        machine_shutdown(m, CAUSE_GUEST_PANIC);
}
