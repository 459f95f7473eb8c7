/* verb_stats.c - stats, top, trace: what a running machine does. */
#include "cmd.h"
#include "snapshot.h"
#include "top.h"
#include "trace.h"

#include "base/log.h"
#include "base/util.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- stats ---- */

/* The named machine, or all that run. */
static json_t *snapshots(struct cmd *c, GError **err)
{
    json_t *list = json_array();
    if (cmd_str(c, "domain")) {
        VM_AUTO vm = vm_find(c->store, cmd_str(c, "domain"), err);
        json_t *s = vm && vm_need_active(vm, err)
                        ? snapshot_take(vm, SNAPSHOT_MEMORY | SNAPSHOT_AGENT, err)
                        : NULL;
        if (!s) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, s);
        return list;
    }
    g_autoptr(GPtrArray) vms = vm_list(c->store);
    for (unsigned i = 0; i < vms->len; i++) {
        struct vm *vm = vms->pdata[i];
        json_t *s = vm->active ? snapshot_take(vm, SNAPSHOT_MEMORY | SNAPSHOT_AGENT, NULL) : NULL;
        if (s) { /* else it has ended meanwhile */
            json_array_append_new(list, s);
        }
    }
    return list;
}

static int do_stats(struct cmd *c)
{
    g_autoptr(GError) err = NULL;
    if (!cmd_store(c)) {
        return 1;
    }
    JSON_AUTO list = snapshots(c, &err);
    json_t *s;
    size_t i;
    if (!list) {
        return cmd_error(&err);
    }
    if (cmd_flag(c, "prometheus")) {
        snapshot_prometheus(list);
        return 0;
    }
    if (c->json) {
        return cmd_json(json_incref(cmd_str(c, "domain") ? json_array_get(list, 0) : list));
    }
    json_array_foreach(list, i, s)
    {
        if (i) {
            putchar('\n');
        }
        snapshot_print(s);
    }
    return 0;
}

/* ---- top ---- */

static int do_top(struct cmd *c)
{
    struct top_options o = {.batch = cmd_flag(c, "batch") || c->json, .delay_ms = 2000};
    g_autoptr(GError) err = NULL;
    const char *delay = cmd_str(c, "delay");
    if (!cmd_store(c) || (cmd_str(c, "iterations") && !cmd_number(c, "iterations", &o.rounds))) {
        return 1;
    }
    if (delay) {
        char *end;
        double s = g_ascii_strtod(delay, &end);
        if (*end || end == delay || !(s >= 0.05 && s <= 3600)) {
            return cmd_fail("--delay is a number of seconds from 0.05 to 3600, not '%s'", delay);
        }
        o.delay_ms = (int64_t)(s * 1000);
    }
    if (o.rounds < 0) {
        return cmd_fail("--iterations is a number of rounds, not %d", (int)o.rounds);
    }
    if (!o.batch && !(isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))) {
        return cmd_fail("there is no terminal here; 'hanok top --batch' prints one round after the "
                        "other");
    }
    VM_AUTO vm = cmd_str(c, "domain") ? vm_find(c->store, cmd_str(c, "domain"), &err) : NULL;
    if (cmd_str(c, "domain") && (!vm || !vm_need_active(vm, &err))) {
        return cmd_error(&err);
    }
    o.domain = vm ? vm->name : NULL;
    return top_run(c, &o);
}

/* ---- trace ---- */

static void print_request(const struct trace_request *r)
{
    const struct trace_hop *h = &g_array_index(r->hops, struct trace_hop, 0);
    uint64_t start = h->ns, last = h->ns;
    if (r->hops->len == 1) {
        printf("%14.6f  %-15s %-14s %s\n", (double)h->ns / 1e9, h->thread, h->what, h->detail);
        return;
    }
    printf("%s: %.1f us, begun at %.6f\n", r->name,
           (double)(g_array_index(r->hops, struct trace_hop, r->hops->len - 1).ns - start) / 1000,
           (double)start / 1e9);
    for (unsigned i = 0; i < r->hops->len; i++, h++) {
        printf("  %10.1f us  +%9.1f  %-15s %-20s %s\n", (double)(h->ns - start) / 1000,
               (double)(h->ns - last) / 1000, h->thread, h->what, h->detail);
        last = h->ns;
    }
}

static json_t *requests_json(const struct trace_run *run)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < run->requests->len; i++) {
        const struct trace_request *r = run->requests->pdata[i];
        json_t *hops = json_array();
        for (unsigned k = 0; k < r->hops->len; k++) {
            const struct trace_hop *h = &g_array_index(r->hops, struct trace_hop, k);
            json_array_append_new(hops, json_pack("{sIsissssss}", "time_ns", (json_int_t)h->ns,
                                                  "tid", h->tid, "thread", h->thread, "what",
                                                  h->what, "detail", h->detail));
        }
        json_array_append_new(list, json_pack("{ssso}", "name", r->name, "hops", hops));
    }
    return json_pack("{sosI}", "requests", list, "lost_events", (json_int_t)run->lost);
}

static int write_chrome(struct cmd *c, const struct trace_run *run, int pid, const char *path)
{
    JSON_AUTO o = trace_chrome(run, pid);
    if (json_dump_file(o, path, JSON_COMPACT)) {
        return cmd_fail("could not write '%s'", path);
    }
    cmd_say(c, "%u written to %s; chrome://tracing and ui.perfetto.dev show it", run->requests->len,
            path);
    return 0;
}

static int print_trace(struct cmd *c, const struct trace_run *run, int pid)
{
    if (run->lost) {
        log_warning("%" G_GUINT64_FORMAT
                    " events came faster than they could be read and are missing.",
                    run->lost);
    }
    if (cmd_str(c, "chrome")) {
        return write_chrome(c, run, pid, cmd_str(c, "chrome"));
    }
    if (c->json) {
        return cmd_json(requests_json(run));
    }
    for (unsigned i = 0; i < run->requests->len; i++) {
        print_request(run->requests->pdata[i]);
    }
    if (!run->requests->len) {
        cmd_say(c, "nothing happened while it was recorded");
    }
    return 0;
}

static int do_trace(struct cmd *c)
{
    struct trace_run run = {.duration_ms = 5000, .count = 0};
    int64_t duration = 5, count = 20;
    g_autoptr(GError) err = NULL;
    const char *what = cmd_str(c, "what");
    if ((cmd_str(c, "duration") && !cmd_number(c, "duration", &duration)) ||
        (cmd_str(c, "count") && !cmd_number(c, "count", &count))) {
        return 1;
    }
    if (strcmp(what, "disk") && strcmp(what, "exits")) {
        return cmd_fail("trace takes 'disk' or 'exits', not '%s'", what);
    }
    if (duration < 1 || duration > 3600 || count < 0 || count > 100000) {
        return cmd_fail("--duration is 1 to 3600 seconds, --count 0 (no limit) to 100000");
    }
    VM_AUTO vm = cmd_active_vm(c);
    QMP_AUTO q = vm ? vm_qmp(vm, &err) : NULL;
    if (!vm) {
        return 1;
    }
    run.kind = strcmp(what, "disk") ? TRACE_EXITS : TRACE_DISK;
    run.duration_ms = (uint64_t)duration * 1000;
    run.count = (unsigned)count;
    run.requests = g_ptr_array_new_with_free_func(trace_request_free);
    int status =
        q && trace_follow(q, &run, &err) ? print_trace(c, &run, (int)vm->pid) : cmd_error(&err);
    g_ptr_array_free(run.requests, TRUE);
    return status;
}

static const struct opt stats_opts[] = {{"domain", "one domain; all running ones when left out", 0},
                                        {"prometheus", "as Prometheus text", OPT_FLAG},
                                        {NULL}};
static const struct opt top_opts[] = {
    {"domain", "one domain; all running ones when left out", 0},
    {"batch", "one round after the other, without a terminal", OPT_FLAG},
    {"iterations", "how many rounds; else until q is pressed", OPT_NAMED},
    {"delay", "seconds between rounds (2)", OPT_NAMED},
    {NULL}};
static const struct opt trace_opts[] = {
    DOMAIN_OPT,
    {"what", "disk: requests from the guest's ring to its interrupt; exits: what stops the guest",
     OPT_REQUIRED},
    {"count", "ends after so many (20; 0: by time alone)", OPT_NAMED},
    {"duration", "or after so many seconds (5)", OPT_NAMED},
    {"chrome", "a file for Chrome's and Perfetto's trace viewers", OPT_NAMED},
    {NULL}};

static const struct verb verbs[] = {
    {"stats", "exits, times, queues, memory of running domains", true, do_stats, stats_opts,
     "hanok stats web"},
    {"top", "running domains, live", true, do_top, top_opts, "hanok top"},
    {"trace", "single requests and exits, with their times", true, do_trace, trace_opts,
     "hanok trace web disk"},
    {NULL}};
const struct verb_group stats_verbs = {"Seeing what a machine does", verbs};
