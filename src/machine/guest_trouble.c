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

/* What the guest has told of its crash, once; NULL: nothing. */
static json_t *crash_take(struct machine *m)
{
    uint64_t info[5];

    pthread_mutex_lock(&m->request_lock);
    bool told = m->crash_told;
    memcpy(info, m->crash_info, sizeof(info));
    m->crash_told = false;
    pthread_mutex_unlock(&m->request_lock);
    return !told ? NULL
                 : json_pack("{ss sI sI sI sI sI}", "type", "hyper-v", "arg1", (json_int_t)info[0],
                             "arg2", (json_int_t)info[1], "arg3", (json_int_t)info[2], "arg4",
                             (json_int_t)info[3], "arg5", (json_int_t)info[4]);
}

void machine_panicked(struct machine *m)
{
    enum vm_action action = m->cfg->on_panic;
    bool stay = action == ACTION_PAUSE ||
                (action != ACTION_NONE && action != ACTION_EXIT_FAILURE && m->cfg->no_shutdown);
    const char *word = action == ACTION_NONE ? "run" : stay ? "pause" : "poweroff";

    json_t *data = json_pack("{s:s}", "action", word), *info = crash_take(m);

    if (info)
        json_object_set_new(data, "info", info);
    machine_emit(m, "GUEST_PANICKED", data);
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
