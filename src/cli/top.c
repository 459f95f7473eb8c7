/* top.c - rates of all running machines, as text on a terminal or in batches. */
#include "top.h"

#include "snapshot.h"

#include "base/evloop.h"
#include "base/util.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define REASONS_SHOWN 6u

/* The rates of one machine between two snapshots; per second, or per cent of one CPU. */
struct row {
    const char *name, *state;
    int id;
    double user, system, guest, vmm, delay; /* per cent */
    double guest_user, guest_system, guest_steal;
    bool guest_known;
    double exits, read_mib, written_mib, rx_mib, tx_mib;
    json_int_t rss_kib, ram_kib, used_kib;
    bool used_known;
    char reasons[200];
};

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

static void find_reasons(json_t *now, json_t *before, double s, struct row *r)
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
static void guest_view(json_t *now, json_t *before, struct row *r)
{
    static const char *const keys[] = {"user",    "nice",  "system", "irq",
                                       "softirq", "steal", "idle",   "iowait"};
    json_t *a = json_object_get(before, "guest_cpu"), *b = json_object_get(now, "guest_cpu");
    double d[ARRAY_SIZE(keys)], total = 0;
    for (unsigned i = 0; a && b && i < ARRAY_SIZE(keys); i++) {
        d[i] = rate(snapshot_number(b, keys[i], NULL), snapshot_number(a, keys[i], NULL), 1);
        total += d[i];
    }
    r->guest_known = total > 0;
    if (r->guest_known) {
        r->guest_user = 100 * (d[0] + d[1]) / total;
        r->guest_system = 100 * (d[2] + d[3] + d[4]) / total;
        r->guest_steal = 100 * d[5] / total;
    }
}

static void fill(struct row *r, json_t *now, json_t *before)
{
    double s =
        (double)(snapshot_number(now, "time_ns", NULL) - snapshot_number(before, "time_ns", NULL)) /
        1e9;
    json_t *g = json_object_get(now, "guest_memory");
    memset(r, 0, sizeof(*r));
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
    r->rss_kib = snapshot_number(now, "memory", "rss_total_kib");
    r->ram_kib = snapshot_number(now, "memory", "guest_ram_kib");
    r->used_known = json_object_get(g, "available") && json_object_get(g, "unused");
    r->used_kib = snapshot_number(g, "available", NULL) - snapshot_number(g, "unused", NULL);
    guest_view(now, before, r);
    find_reasons(now, before, s, r);
}

static void print_row(const struct row *r)
{
    char used[24] = "-", view[48] = "     -     -     -";
    if (r->used_known) {
        g_snprintf(used, sizeof(used), "%.0f", (double)r->used_kib / 1024);
    }
    if (r->guest_known) {
        g_snprintf(view, sizeof(view), "%6.1f%6.1f%6.1f", r->guest_user, r->guest_system,
                   r->guest_steal);
    }
    printf("%4d %-15.15s %-8.8s %6.1f%6.1f%6.1f%6.1f%6.1f %s %8.0f %7.2f %7.2f %7.2f %7.2f %6.0f "
           "%6.0f "
           "%6s\n",
           r->id, r->name, r->state, r->user, r->system, r->guest, r->vmm, r->delay, view, r->exits,
           r->read_mib, r->written_mib, r->rx_mib, r->tx_mib, (double)r->rss_kib / 1024,
           (double)r->ram_kib / 1024, used);
    if (r->reasons[0]) {
        printf("     exits/s: %s\n", r->reasons);
    }
}

static void print_head(unsigned machines)
{
    time_t now = time(NULL);
    char text[32];
    strftime(text, sizeof(text), "%H:%M:%S", localtime(&now));
    printf("hanok top  %s  %u machine%s  host CPUs %ld  (%% of one CPU; MiB/s; MiB)\n", text,
           machines, machines == 1 ? "" : "s", sysconf(_SC_NPROCESSORS_ONLN));
    printf("  ID NAME            STATE      %%USR  %%SYS  %%GST  %%VMM %%WAIT  guest:us    sy    "
           "st  EXITS/s    "
           "RD/s    WR/s    RX/s    TX/s    RSS    RAM   USED\n");
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

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(a, b);
}

static void show(struct cmd *c, const struct top_options *o, GHashTable *now, GHashTable *before)
{
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(now), by_name);
    json_t *rows = c->json ? json_array() : NULL;
    if (!o->batch) {
        fputs("\033[H\033[J", stdout);
    }
    if (!c->json) {
        print_head(g_hash_table_size(now));
    }
    for (GList *n = names; n; n = n->next) {
        json_t *a = g_hash_table_lookup(before, n->data), *b = g_hash_table_lookup(now, n->data);
        struct row r;
        fill(&r, b, a ? a : b);
        if (!c->json) {
            print_row(&r);
            continue;
        }
        json_array_append_new(
            rows,
            json_pack("{sssisfsfsfsfsfsfsfsfsfsfsIsIss}", "domain", r.name, "id", r.id,
                      "user_percent", r.user, "system_percent", r.system, "guest_percent", r.guest,
                      "vmm_percent", r.vmm, "wait_percent", r.delay, "exits_per_second", r.exits,
                      "read_mib_per_second", r.read_mib, "written_mib_per_second", r.written_mib,
                      "rx_mib_per_second", r.rx_mib, "tx_mib_per_second", r.tx_mib, "rss_kib",
                      r.rss_kib, "ram_kib", r.ram_kib, "reasons", r.reasons));
    }
    if (rows) {
        cmd_json(rows);
    } else if (o->batch) {
        putchar('\n');
    } else {
        puts("\n(q ends)");
    }
    fflush(stdout);
}

/* ---- the terminal ---- */

static struct termios terminal_before;

static void terminal_back(void)
{
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
    fputs("\033[?25h\n", stdout);
    fflush(stdout);
}

static void ended(int sig)
{
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
    (void)!write(STDOUT_FILENO, "\033[?25h\n", 7);
    _exit(128 + sig);
}

static void terminal_take(void)
{
    struct sigaction sa = {.sa_handler = ended};
    tcgetattr(STDIN_FILENO, &terminal_before);
    struct termios raw = terminal_before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    fputs("\033[?25l", stdout);
}

/* False: the user wants to leave. */
static bool pause_ms(bool interactive, int64_t ms)
{
    uint64_t end = host_clock_ns() + (uint64_t)ms * 1000000u;
    for (uint64_t now = host_clock_ns(); now < end; now = host_clock_ns()) {
        struct pollfd p = {.fd = interactive ? STDIN_FILENO : -1, .events = POLLIN};
        char key;
        if (poll(&p, 1, (int)((end - now) / 1000000u) + 1) > 0 &&
            (read(STDIN_FILENO, &key, 1) != 1 || key == 'q')) {
            return false;
        }
    }
    return true;
}

int top_run(struct cmd *c, const struct top_options *o)
{
    bool interactive = !o->batch;
    GHashTable *before = look(c, o->domain);
    if (interactive) {
        terminal_take();
    }
    for (int64_t n = 0; (!o->rounds || n < o->rounds) && pause_ms(interactive, o->delay_ms); n++) {
        GHashTable *now = look(c, o->domain);
        show(c, o, now, before);
        g_hash_table_destroy(before);
        before = now;
    }
    if (interactive) {
        terminal_back();
    }
    g_hash_table_destroy(before);
    return 0;
}
