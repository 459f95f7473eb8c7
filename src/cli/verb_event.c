/* verb_event.c - hanok event: what happens to a machine, in virsh's words.
 *
 * The machine's monitor tells its events in QMP's names; those that libvirt has a name for are told
 * under that.  A machine that ends tells nothing any more: its end is read from its state. */
#include "life.h"

#include "base/evloop.h"
#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *qmp, *name, *text; /* text: NULL when the event's data tells */
} known[] = {{"RESUME", "lifecycle", "Resumed Unpaused"},
             {"STOP", "lifecycle", "Suspended Paused"},
             {"SHUTDOWN", "lifecycle", "Shutdown Finished"},
             {"GUEST_PANICKED", "lifecycle", "Crashed Panicked"},
             {"SUSPEND", "lifecycle", "PMSuspended Memory"},
             {"RESET", "reboot", ""},
             {"WAKEUP", "pm-wakeup", ""},
             {"WATCHDOG", "watchdog", NULL},
             {"RTC_CHANGE", "rtc-change", NULL},
             {"BLOCK_IO_ERROR", "io-error", NULL},
             {"DEVICE_TRAY_MOVED", "tray-change", NULL},
             {"BALLOON_CHANGE", "balloon-change", NULL},
             {"DEVICE_DELETED", "device-removed", NULL},
             {"VSERPORT_CHANGE", "agent-lifecycle", NULL}};

struct told {
    const char *qmp, *name, *text; /* name: libvirt's, or QMP's */
    json_t *event;                 /* NULL: the end */
};

static struct told told_of(json_t *ev)
{
    const char *qmp = json_string_value(json_object_get(ev, "event"));
    struct told t = {.qmp = qmp ? qmp : "?", .event = ev};
    t.name = t.qmp;
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        if (!strcmp(known[i].qmp, t.qmp)) {
            t.name = known[i].name;
            t.text = known[i].text;
        }
    }
    json_t *guest = json_object_get(json_object_get(ev, "data"), "guest");
    if (!strcmp(t.qmp, "SHUTDOWN") && guest) {
        t.text = json_is_true(guest) ? "Shutdown Finished after guest request"
                                     : "Shutdown Finished after host request";
    }
    return t;
}

/* The words for how it ended. */
static struct told told_of_end(struct vm *vm)
{
    const char *reason = NULL;
    /* whoever sees the end first writes it down, under the lock: others wait for that */
    struct store_lock *l = store_lock(vm->store, vm->name, NULL);
    if (l) {
        vm_refresh_locked(vm);
        store_unlock(l);
    }
    enum vm_state state = vm_state(vm, &reason);
    struct told t = {.qmp = "", .name = "lifecycle", .text = "Stopped Failed"};
    if (state == VM_CRASHED || !g_strcmp0(reason, "crashed")) {
        t.text = "Stopped Crashed";
    } else if (!g_strcmp0(reason, "destroyed")) {
        t.text = "Stopped Destroyed";
    } else if (!g_strcmp0(reason, "shutdown")) {
        t.text = "Stopped Shutdown";
    }
    return t;
}

static void print_json(const struct vm *vm, const struct told *t)
{
    json_t *o = json_pack("{ssssss*}", "domain", vm->name, "event", t->name, "detail",
                          t->text && *t->text ? t->text : NULL);
    if (t->event) {
        json_object_set_new(o, "qmp", json_string(t->qmp));
        json_object_update_missing(o, t->event); /* data, timestamp */
    }
    char *text = json_dumps(o, JSON_COMPACT);
    puts(text ? text : "{}");
    free(text);
    json_decref(o);
}

static void print_line(struct cmd *c, const struct vm *vm, const struct told *t)
{
    json_t *data = json_object_get(t->event, "data");
    json_t *seconds = json_object_get(json_object_get(t->event, "timestamp"), "seconds");
    char *own = !t->text && data ? json_dumps(data, JSON_COMPACT) : NULL;
    const char *text = t->text ? t->text : own ? own : "";
    if (cmd_flag(c, "timestamp")) {
        g_autoptr(GDateTime) when = seconds
                                        ? g_date_time_new_from_unix_utc(json_integer_value(seconds))
                                        : g_date_time_new_now_utc();
        g_autofree char *stamp = when ? g_date_time_format(when, "%Y-%m-%d %H:%M:%S+0000: ") : NULL;
        fputs(stamp ? stamp : "", stdout);
    }
    printf("event '%s' for domain '%s'%s%s\n", t->name, vm->name, *text ? ": " : "", text);
    free(own);
}

/* Whether it is one that was asked for; then it is told. */
static bool tell(struct cmd *c, const struct vm *vm, const struct told *t)
{
    const char *wanted = cmd_str(c, "event");
    if (wanted && g_ascii_strcasecmp(wanted, t->name) && g_ascii_strcasecmp(wanted, t->qmp)) {
        return false;
    }
    if (c->json) {
        print_json(vm, t);
    } else {
        print_line(c, vm, t);
    }
    fflush(stdout);
    return true;
}

/* How many were told until the time was up, the machine ended, or one was enough. */
static unsigned follow(struct cmd *c, struct vm *vm, struct qmp *q, int64_t timeout_s)
{
    const int64_t forever = INT64_MAX, now = (int64_t)(host_clock_ns() / 1000000);
    int64_t end = timeout_s > 0 ? now + MIN_OF(timeout_s, INT32_MAX) * 1000 : forever;
    bool loop = cmd_flag(c, "loop");
    unsigned seen = 0;
    while (!seen || loop) {
        g_autoptr(GError) gone = NULL;
        int64_t left = end - (int64_t)(host_clock_ns() / 1000000);
        if (left <= 0) {
            break;
        }
        JSON_AUTO ev = qmp_event(q, (int)MIN_OF(left, 60000), &gone);
        if (gone) { /* the monitor closes a moment before the process ends */
            vm_wait_end(vm, END_WAIT_MS);
            struct told t = told_of_end(vm);
            seen += tell(c, vm, &t);
            break;
        }
        if (ev) {
            struct told t = told_of(ev);
            seen += tell(c, vm, &t);
        }
    }
    return seen;
}

static int list_names(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
        bool before = false;
        for (unsigned k = 0; k < i; k++) {
            before = before || !strcmp(known[k].name, known[i].name);
        }
        if (!before) {
            puts(known[i].name);
        }
    }
    return 0;
}

int event_run(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    int64_t timeout = 0;
    if (cmd_flag(c, "list")) {
        return list_names();
    }
    if (!cmd_str(c, "domain")) {
        return cmd_fail("event needs a domain: there is no daemon that would know of all");
    }
    VM_AUTO vm = cmd_active_vm(c);
    if (!vm || !cmd_number(c, "timeout", &timeout)) {
        return 1;
    }
    QMP_AUTO q = vm_qmp_follow(vm, &err);
    if (!q) {
        return cmd_error(&err);
    }
    unsigned seen = follow(c, vm, q, timeout);
    if (!c->json) {
        printf("events received: %u\n", seen);
    }
    return seen ? 0 : 1;
}

const struct opt event_opts[] = {
    {"domain", "name, id or UUID of the domain", 0},
    {"event", "only this one: a name of --list, or QMP's (RESUME, ...)", OPT_NAMED},
    {"all", "all of them (default)", OPT_FLAG},
    {"loop", "go on until the machine ends", OPT_FLAG},
    {"timeout", "seconds", OPT_NAMED},
    {"timestamp", "with the time", OPT_FLAG},
    {"list", "libvirt's names of events", OPT_FLAG},
    {NULL}};
