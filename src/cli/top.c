/* top.c - rates of all running machines, as text on a terminal or in batches. */
#include "top.h"

#include "screen.h"
#include "snapshot.h"
#include "top_table.h"

#include "base/evloop.h"
#include "base/util.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REASONS_SHOWN 6u

#define FIRST_MS    300 /* until the first figures on a terminal */
#define DELAY_LEAST 50
#define DELAY_MOST  3600000

static double rate(json_int_t now, json_int_t before, double seconds)
{
    return now >= before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

static json_int_t sum(json_t *list, const char *a, const char *b)
{
    json_int_t n = 0;
    json_t *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        n += snapshot_number(one, a, b);
    }
    return n;
}

static double rate_of(json_t *now, json_t *before, const char *list, const char *a, const char *b,
                      double s)
{
    return rate(sum(json_object_get(now, list), a, b), sum(json_object_get(before, list), a, b), s);
}

struct reason {
    const char *name;
    double rate;
};

static int by_rate(const void *a, const void *b)
{
    double x = ((const struct reason *)a)->rate, y = ((const struct reason *)b)->rate;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Names of what counts exits: not times, sums or the translator's own. */
static bool is_reason(const char *name)
{
    static const char *const others[] = {"exits", "pio_exits", "mmio_exits", "irq_injections",
                                         "nmi_injections"};
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
        if (!strcmp(name, others[i])) {
            return false;
        }
    }
    return !g_str_has_suffix(name, "_time") && !g_str_has_prefix(name, "jit_");
}

static void find_reasons(json_t *now, json_t *before, double s, struct top_row *r)
{
    json_t *first = json_array_get(json_object_get(now, "vcpus"), 0), *v;
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(struct reason));
    const char *name;
    json_object_foreach(json_object_get(first, "hanok"), name, v)
    {
        struct reason one = {name, rate_of(now, before, "vcpus", "hanok", name, s)};
        if (is_reason(name) && one.rate >= 0.5) {
            g_array_append_val(list, one);
        }
    }
    g_array_sort(list, by_rate);
    GString *text = g_string_new(NULL);
    for (unsigned i = 0; i < list->len && i < REASONS_SHOWN; i++) {
        const struct reason *one = &g_array_index(list, struct reason, i);
        g_string_append_printf(text, "%s%s %.0f", i ? ", " : "", one->name, one->rate);
    }
    g_strlcpy(r->reasons, text->str, sizeof(r->reasons));
    g_string_free(text, TRUE);
}

/* The guest's own view, from its agent: shares of its processors' ticks. */
static void guest_view(json_t *now, json_t *before, struct top_row *r)
{
    static const char *const keys[] = {"user",    "nice",  "system", "irq",
                                       "softirq", "steal", "idle",   "iowait"};
    json_t *a = json_object_get(before, "guest_cpu"), *b = json_object_get(now, "guest_cpu");
    double d[ARRAY_SIZE(keys)], total = 0;
    for (unsigned i = 0; a && b && i < ARRAY_SIZE(keys); i++) {
        d[i] = rate(snapshot_number(b, keys[i], NULL), snapshot_number(a, keys[i], NULL), 1);
        total += d[i];
    }
    r->guest_user = r->guest_system = r->guest_steal = NAN;
    if (total > 0) {
        r->guest_user = 100 * (d[0] + d[1]) / total;
        r->guest_system = 100 * (d[2] + d[3] + d[4]) / total;
        r->guest_steal = 100 * d[5] / total;
    }
}

static void fill(struct top_row *r, json_t *now, json_t *before)
{
    double s =
        (double)(snapshot_number(now, "time_ns", NULL) - snapshot_number(before, "time_ns", NULL)) /
        1e9;
    json_t *g = json_object_get(now, "guest_memory");
    memset(r, 0, sizeof(*r));
    r->snapshot = now;
    r->name = json_string_value(json_object_get(now, "domain"));
    r->state = json_string_value(json_object_get(now, "state"));
    r->id = (int)snapshot_number(now, "id", NULL);
    r->user =
        rate(snapshot_number(now, "cpu", "user_ns"), snapshot_number(before, "cpu", "user_ns"), s) /
        1e7;
    r->system = rate(snapshot_number(now, "cpu", "system_ns"),
                     snapshot_number(before, "cpu", "system_ns"), s) /
                1e7;
    r->guest = rate_of(now, before, "vcpus", "hanok", "guest_time", s) / 1e7;
    r->vmm = rate_of(now, before, "vcpus", "hanok", "vmm_time", s) / 1e7;
    r->delay = rate_of(now, before, "vcpus", "delay_ns", NULL, s) / 1e7;
    r->guest = MAX_OF(r->guest - r->delay, 0.0); /* a vcpu that waits does so in the guest */
    r->exits = rate_of(now, before, "vcpus", "hanok", "exits", s);
    r->read_mib = rate_of(now, before, "disks", "rd_bytes", NULL, s) / 1048576;
    r->written_mib = rate_of(now, before, "disks", "wr_bytes", NULL, s) / 1048576;
    r->rx_mib = rate_of(now, before, "interfaces", "rx_bytes", NULL, s) / 1048576;
    r->tx_mib = rate_of(now, before, "interfaces", "tx_bytes", NULL, s) / 1048576;
    r->rss_mib = (double)snapshot_number(now, "memory", "rss_total_kib") / 1024;
    r->ram_mib = (double)snapshot_number(now, "memory", "guest_ram_kib") / 1024;
    r->used_mib =
        json_object_get(g, "available") && json_object_get(g, "unused")
            ? (double)(snapshot_number(g, "available", NULL) - snapshot_number(g, "unused", NULL)) /
                  1024
            : NAN;
    guest_view(now, before, r);
    find_reasons(now, before, s, r);
}

/* name -> snapshot of every machine that runs (and still does when asked). */
static GHashTable *look(struct cmd *c, const char *only)
{
    GHashTable *all =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)json_decref);
    g_autoptr(GPtrArray) list = vm_list(c->store);
    for (unsigned i = 0; i < list->len; i++) {
        struct vm *vm = list->pdata[i];
        json_t *s = vm->active && (!only || !strcmp(only, vm->name))
                        ? snapshot_take(vm, SNAPSHOT_MEMORY | SNAPSHOT_AGENT, NULL)
                        : NULL;
        if (s) {
            g_hash_table_insert(all, g_strdup(vm->name), s);
        }
    }
    return all;
}

/* ---- what is shown ---- */

enum order { BY_NAME, BY_CPU, BY_MEMORY, BY_EXITS, ORDERS };
static const char *const order_names[ORDERS] = {"name", "CPU", "memory", "exits"};

struct view {
    int64_t delay_ms;
    enum order order;
    bool exits, memory; /* the lists beneath each machine */
};

static double key_of(const struct top_row *r, enum order order)
{
    return order == BY_CPU ? r->user + r->system : order == BY_MEMORY ? r->rss_mib : r->exits;
}

static gint in_order(gconstpointer a, gconstpointer b, gpointer order)
{
    const struct top_row *x = a, *y = b;
    enum order by = *(const enum order *)order;
    double k = by == BY_NAME ? 0 : key_of(x, by), l = by == BY_NAME ? 0 : key_of(y, by);
    return k < l ? 1 : k > l ? -1 : strcmp(x->name, y->name);
}

/* struct top_row, as long as now lives. */
static GArray *rows_of(GHashTable *now, GHashTable *before, enum order order)
{
    GArray *rows = g_array_new(FALSE, FALSE, sizeof(struct top_row));
    GHashTableIter it;
    gpointer name, s;
    g_hash_table_iter_init(&it, now);
    while (g_hash_table_iter_next(&it, &name, &s)) {
        struct top_row r;
        json_t *old = g_hash_table_lookup(before, name);
        fill(&r, s, old ? old : s);
        g_array_append_val(rows, r);
    }
    g_array_sort_with_data(rows, in_order, &order);
    return rows;
}

static int show_json(GArray *rows)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < rows->len; i++) {
        const struct top_row *r = &g_array_index(rows, struct top_row, i);
        json_array_append_new(
            list,
            json_pack("{sssisfsfsfsfsfsfsfsfsfsfsIsIss}", "domain", r->name, "id", r->id,
                      "user_percent", r->user, "system_percent", r->system, "guest_percent",
                      r->guest, "vmm_percent", r->vmm, "wait_percent", r->delay, "exits_per_second",
                      r->exits, "read_mib_per_second", r->read_mib, "written_mib_per_second",
                      r->written_mib, "rx_mib_per_second", r->rx_mib, "tx_mib_per_second",
                      r->tx_mib, "rss_kib", snapshot_number(r->snapshot, "memory", "rss_total_kib"),
                      "ram_kib", snapshot_number(r->snapshot, "memory", "guest_ram_kib"), "reasons",
                      r->reasons));
    }
    return cmd_json(list);
}

static GString *text_of(GArray *rows, const struct view *v, unsigned width)
{
    GString *o = g_string_new(NULL);
    time_t now = time(NULL);
    char clock[32];
    strftime(clock, sizeof(clock), "%H:%M:%S", localtime(&now));
    g_string_append_printf(o, "hanok top  %s  %u machine%s  host CPUs %ld  every %g s  ", clock,
                           rows->len, rows->len == 1 ? "" : "s", sysconf(_SC_NPROCESSORS_ONLN),
                           (double)v->delay_ms / 1000);
    g_string_append(o, width < 100 ? "(% of a CPU; MiB)\n" : "(% of one CPU; MiB/s; MiB)\n");
    top_head(o, width);
    for (unsigned i = 0; i < rows->len; i++) {
        const struct top_row *r = &g_array_index(rows, struct top_row, i);
        top_line(o, r, width);
        if (v->exits) {
            top_reasons(o, r, width);
        }
        if (v->memory) {
            top_memory(o, r, width);
        }
    }
    if (!rows->len) {
        g_string_append(o, "no machine runs\n");
    }
    return o;
}

static void show_batch(struct cmd *c, GHashTable *now, GHashTable *before, int64_t delay_ms)
{
    struct view v = {.delay_ms = delay_ms, .exits = true};
    g_autoptr(GArray) rows = rows_of(now, before, v.order);
    if (c->json) {
        show_json(rows);
    } else {
        g_autoptr(GString) text = text_of(rows, &v, UINT_MAX);
        puts(text->str);
    }
    fflush(stdout);
}

static void show_screen(GHashTable *now, GHashTable *before, const struct view *v)
{
    unsigned height, width;
    g_autoptr(GArray) rows = rows_of(now, before, v->order);
    g_autofree char *bottom = NULL;
    screen_size(&height, &width);
    g_autoptr(GString) text = text_of(rows, v, width);
    bottom = g_strdup_printf("q quit  s sort: %s  e exits  m memory  +/- delay  space now%s",
                             order_names[v->order], width < top_width() ? "  (wider: more)" : "");
    screen_paint(text->str, bottom);
}

/* ---- the two ways to run ---- */

static void run_batch(struct cmd *c, const struct top_options *o)
{
    GHashTable *before = look(c, o->domain);
    for (int64_t n = 0; !o->rounds || n < o->rounds; n++) {
        g_usleep((gulong)o->delay_ms * 1000);
        GHashTable *now = look(c, o->domain);
        show_batch(c, now, before, o->delay_ms);
        g_hash_table_destroy(before);
        before = now;
    }
    g_hash_table_destroy(before);
}

/* What a key changes in the picture; false: nothing. */
static bool obey(struct view *v, int key)
{
    switch (key) {
    case 's':
        v->order = (v->order + 1) % ORDERS;
        return true;
    case 'e':
        v->exits = !v->exits;
        return true;
    case 'm':
        v->memory = !v->memory;
        return true;
    case '+':
    case '-':
        v->delay_ms = key == '+' ? v->delay_ms * 2 : v->delay_ms / 2;
        v->delay_ms = MAX_OF(MIN_OF(v->delay_ms, (int64_t)DELAY_MOST), (int64_t)DELAY_LEAST);
        return true;
    default:
        return key == SCREEN_RESIZED || key == '\f';
    }
}

/* Shown until it is time for new figures; false: the user wants to leave. */
static bool wait_here(GHashTable *now, GHashTable *before, struct view *v, int64_t first_ms)
{
    uint64_t start = host_clock_ns();
    for (;;) {
        int64_t ms = now ? v->delay_ms : first_ms;
        int key = screen_key(start + (uint64_t)ms * 1000000u);
        if (key == 'q' || key == 'Q' || key == SCREEN_GONE) {
            return false;
        }
        if (key == SCREEN_TIME || key == ' ') {
            return true;
        }
        if (obey(v, key) && now) {
            show_screen(now, before, v);
        }
    }
}

static void run_screen(struct cmd *c, const struct top_options *o)
{
    struct view v = {.delay_ms = o->delay_ms, .exits = true, .memory = true};
    GHashTable *before = look(c, o->domain);
    screen_take();
    bool more = wait_here(NULL, NULL, &v, MIN_OF(o->delay_ms, (int64_t)FIRST_MS));
    for (int64_t n = 1; more; n++) {
        GHashTable *now = look(c, o->domain);
        show_screen(now, before, &v);
        more = wait_here(now, before, &v, 0) && (!o->rounds || n < o->rounds);
        g_hash_table_destroy(before);
        before = now;
    }
    screen_back();
    g_hash_table_destroy(before);
}

int top_run(struct cmd *c, const struct top_options *o)
{
    if (o->batch) {
        run_batch(c, o);
    } else {
        run_screen(c, o);
    }
    return 0;
}
