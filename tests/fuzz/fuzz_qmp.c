/* Any bytes on a QMP connection: framing, checking and handlers on a machine without a board. */
#include "qmp.h"

#include "base/log.h"
#include "machine/machine.h"

#include <glib.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_object(void *opaque, json_t *obj, const char *why)
{
    if (!obj) {
        if (!*why) {
            abort();
        }
        return;
    }
    json_t *reply = qmp_dispatch(opaque, NULL, obj);
    if (!json_object_get(reply, "return") == !json_object_get(reply, "error")) {
        abort();
    }
    json_decref(reply);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    if (!m) {
        struct vm_config *cfg = vm_config_new();
        props_set_str(cfg->machine, "type", "none");
        log_set_level(LOG_LEVEL_ERROR);
        m = machine_new(cfg, NULL);
    }
    struct qmp_framer f;
    qmp_framer_init(&f);
    qmp_framer_feed(&f, data, size, on_object, m);
    qmp_framer_clear(&f);
    while (g_main_context_iteration(NULL, FALSE)) { /* what handlers asked the main loop to do */
    }
    return 0;
}
