/* top_table.h - how 'hanok top' shows a machine: a row of columns, and lists beneath it.
 *
 * The columns that matter most stay when the terminal is narrow. */
#ifndef CLI_TOP_TABLE_H
#define CLI_TOP_TABLE_H

#include <glib.h>
#include <jansson.h>

/* The rates of one machine between two snapshots; per second, or per cent of one CPU.  NaN: nobody
 * tells. */
struct top_row {
    const char *name, *state; /* the snapshot's */
    int id;
    double user, system, guest, vmm, delay;       /* per cent */
    double guest_user, guest_system, guest_steal; /* per cent, as the guest sees it */
    double exits, read_mib, written_mib, rx_mib, tx_mib;
    double rss_mib, ram_mib, used_mib;
    char reasons[200]; /* "a 12, b 3" */
    json_t *snapshot;  /* not owned */
};

/* width: the terminal's, in columns; UINT_MAX: no limit. */
void top_head(GString *out, unsigned width);
void top_line(GString *out, const struct top_row *r, unsigned width);
/* What stops the guest, and where each MiB is: "label: a, b, c", broken between the items. */
void top_reasons(GString *out, const struct top_row *r, unsigned width);
void top_memory(GString *out, const struct top_row *r, unsigned width);
/* How wide a terminal must be to show every column. */
unsigned top_width(void);

#endif
