/* top_table.c - the columns of 'hanok top', and the lists beneath a machine. */
#include "top_table.h"

#include "snapshot.h"

#include "base/util.h"
#include "manager/proc.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#define NAME_WIDTH  15u
#define STATE_WIDTH 8u
#define FIXED_WIDTH (4u + 1 + NAME_WIDTH + 1 + STATE_WIDTH)
#define INDENT      "     "

/* Of the columns whole ranks go when there is no room, the highest first. */
#define COLUMN(head, width, rank, field, digits)                                                   \
    {                                                                                              \
        head, width, rank, offsetof(struct top_row, field), digits                                 \
    }
static const struct column {
    const char *head;
    unsigned width, rank;
    size_t at; /* a double of the row */
    int digits;
} all[] = {
    COLUMN("%USR", 6, 1, user, 1),        COLUMN("%SYS", 6, 1, system, 1),
    COLUMN("%GST", 6, 4, guest, 1),       COLUMN("%VMM", 6, 4, vmm, 1),
    COLUMN("%WAIT", 6, 1, delay, 1),      COLUMN("guest:us", 10, 7, guest_user, 1),
    COLUMN("sy", 6, 7, guest_system, 1),  COLUMN("st", 6, 7, guest_steal, 1),
    COLUMN("EXITS/s", 9, 2, exits, 0),    COLUMN("RD/s", 8, 3, read_mib, 2),
    COLUMN("WR/s", 8, 3, written_mib, 2), COLUMN("RX/s", 8, 5, rx_mib, 2),
    COLUMN("TX/s", 8, 5, tx_mib, 2),      COLUMN("RSS", 7, 2, rss_mib, 0),
    COLUMN("RAM", 7, 6, ram_mib, 0),      COLUMN("USED", 7, 6, used_mib, 0),
};
#define RANKS 8u

static unsigned rank_width(unsigned rank)
{
    unsigned n = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        n += all[i].rank == rank ? all[i].width : 0;
    }
    return n;
}

/* The first rank that has no room. */
static unsigned ranks_shown(unsigned width)
{
    unsigned used = FIXED_WIDTH, rank = 0;
    while (rank < RANKS && (used += rank_width(rank)) <= width) {
        rank++;
    }
    return rank;
}

unsigned top_width(void)
{
    unsigned used = FIXED_WIDTH;
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        used += all[i].width;
    }
    return used;
}

/* Cut or padded to the columns it may have on the terminal. */
static void put_text(GString *out, const char *text, unsigned width)
{
    g_autofree char *valid = g_utf8_make_valid(text ? text : "", -1);
    unsigned used = 0;
    for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);
        unsigned w = g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
        if (used + w > width) {
            break;
        }
        g_string_append_unichar(out, g_unichar_iscntrl(c) ? '?' : c);
        used += w;
    }
    g_string_append_printf(out, "%*s", (int)(width - used), "");
}

void top_head(GString *out, unsigned width)
{
    unsigned ranks = ranks_shown(width);
    g_string_append(out, "  ID ");
    put_text(out, "NAME", NAME_WIDTH);
    g_string_append_c(out, ' ');
    put_text(out, "STATE", STATE_WIDTH);
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        if (all[i].rank < ranks) {
            g_string_append_printf(out, "%*s", (int)all[i].width, all[i].head);
        }
    }
    g_string_append_c(out, '\n');
}

void top_line(GString *out, const struct top_row *r, unsigned width)
{
    unsigned ranks = ranks_shown(width);
    g_string_append_printf(out, "%4d ", r->id);
    put_text(out, r->name, NAME_WIDTH);
    g_string_append_c(out, ' ');
    put_text(out, r->state, STATE_WIDTH);
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        double v;
        memcpy(&v, (const char *)r + all[i].at, sizeof(v));
        if (all[i].rank >= ranks) {
            continue;
        }
        if (isnan(v)) {
            g_string_append_printf(out, "%*s", (int)all[i].width, "-");
        } else {
            g_string_append_printf(out, "%*.*f", (int)all[i].width, all[i].digits, v);
        }
    }
    g_string_append_c(out, '\n');
}

/* ---- lists ---- */

struct list {
    GString *out;
    unsigned width, used, items;
};

static void list_begin(struct list *l, GString *out, const char *label, unsigned width)
{
    *l = (struct list){.out = out, .width = width};
    g_string_append_printf(out, INDENT "%s: ", label);
    l->used = (unsigned)(strlen(INDENT) + strlen(label) + 2);
}

static void list_add(struct list *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void list_add(struct list *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *item = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    unsigned len = (unsigned)strlen(item);
    if (l->items) {
        g_string_append_c(l->out, ',');
        if (l->used + len + 1 > l->width) { /* with the comma that may follow */
            g_string_append(l->out, "\n" INDENT "  ");
            l->used = (unsigned)strlen(INDENT) + 2;
        } else {
            g_string_append_c(l->out, ' ');
        }
    }
    g_string_append(l->out, item);
    l->used += len + 2;
    l->items++;
}

void top_reasons(GString *out, const struct top_row *r, unsigned width)
{
    g_auto(GStrv) items = g_strsplit(r->reasons, ", ", -1);
    struct list l;
    if (!items[0]) {
        return;
    }
    list_begin(&l, out, "exits/s", width);
    for (unsigned i = 0; items[i]; i++) {
        list_add(&l, "%s", items[i]);
    }
    g_string_append_c(out, '\n');
}

static double mib(json_t *o, const char *a, const char *b)
{
    return (double)snapshot_number(o, a, b) / 1024;
}

void top_memory(GString *out, const struct top_row *r, unsigned width)
{
    static const char *const names[MEMORY_PARTS] = {[MEMORY_GUEST_RAM] = "guest RAM",
                                                    [MEMORY_JIT_CODE] = "code",
                                                    [MEMORY_JIT_TABLES] = "JIT tables",
                                                    [MEMORY_STACKS] = "stacks",
                                                    [MEMORY_HEAP] = "heap",
                                                    [MEMORY_FILES] = "libraries",
                                                    [MEMORY_SHARED] = "shared"};
    json_t *m = json_object_get(r->snapshot, "memory"), *rss = json_object_get(m, "rss_kib"), *d;
    json_t *guest = json_object_get(r->snapshot, "guest_memory");
    struct list l;
    size_t i;
    if (!rss) {
        return;
    }
    list_begin(&l, out, "MiB on the host", width);
    for (unsigned k = 0; k < MEMORY_PARTS; k++) {
        if (snapshot_number(rss, memory_part_names[k], NULL) >= 52) { /* shown as 0.1 or more */
            list_add(&l, "%s %.1f", names[k], mib(rss, memory_part_names[k], NULL));
        }
    }
    list_add(&l, "kernel %.1f",
             mib(m, "page_tables_kib", NULL) + mib(m, "kernel_stacks_kib", NULL));
    json_array_foreach(json_object_get(r->snapshot, "disks"), i, d)
    {
        const char *target = json_string_value(json_object_get(d, "target"));
        if (target && json_object_get(d, "cached_bytes")) {
            list_add(&l, "page cache of %s %.1f", target, mib(d, "cached_bytes", NULL) / 1024);
        }
    }
    g_string_append_c(out, '\n');
    if (!isnan(r->used_mib)) {
        double cache = mib(guest, "disk_caches", NULL);
        list_begin(&l, out, "MiB in the guest", width);
        list_add(&l, "programs and kernel %.1f", r->used_mib - cache);
        list_add(&l, "page cache %.1f", cache);
        list_add(&l, "unused %.1f", mib(guest, "unused", NULL));
        g_string_append_c(out, '\n');
    }
}
