/* monitor.c - which monitors there are, and handing them the machine's events. */
#include "hmp.h"
#include "qmp.h"

static struct machine *subscribed;

static void on_event(void *opaque, const char *name, json_t *data)
{
    qmp_broadcast(name, data);
}

bool monitor_add(struct machine *m, struct chardev *c, enum monitor_mode mode, GError **err)
{
    if (!subscribed) {
        subscribed = m;
        machine_subscribe(m, on_event, NULL);
    }
    return mode == MONITOR_HMP ? hmp_session_add(m, c, err)
                               : qmp_session_add(m, c, mode == MONITOR_QMP_PRETTY, err);
}

void monitor_close_all(void)
{
    if (subscribed) {
        machine_unsubscribe(subscribed, on_event, NULL);
        subscribed = NULL;
    }
    qmp_close_all();
    hmp_close_all();
}
