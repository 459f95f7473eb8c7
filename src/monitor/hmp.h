/* hmp.h - the human monitor: lines in, text out; private to src/monitor.
 *
 * One table of commands (hmp.c) and one of "info" topics (hmp_info.c).  A command writes to the
 * output string; whoever runs the line (a terminal session, QMP's human-monitor-command) shows it.
 * Threads: main. */
#ifndef MONITOR_HMP_H
#define MONITOR_HMP_H

#include "base/error.h"
#include "base/util.h"
#include "machine/machine.h"
#include "monitor/monitor.h"

#include <glib.h>
#include <string.h>

struct cpu_set;

struct hmp {
    struct machine *m;
    GString *out;
};

struct hmp_command {
    const char *name, *args, *help;
    void (*run)(struct hmp *h, const char *args); /* args without leading blanks */
};
extern const struct hmp_command hmp_commands[], hmp_topics[]; /* end with name == NULL */

void hmp_printf(struct hmp *h, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Prints err as "Error: ..." and frees it; for human-monitor-command clients that look for it. */
void hmp_error(struct hmp *h, GError *err);
/* Looks at CPUs with their threads standing; fn may be called on a running machine. */
void hmp_with_cpus_paused(struct hmp *h, void (*fn)(struct hmp *h, struct cpu_set *s, void *opaque),
                          void *opaque);
void hmp_info(struct hmp *h, const char *topic);
void hmp_examine_virtual(struct hmp *h, const char *args);
void hmp_examine_physical(struct hmp *h, const char *args);
void hmp_print(struct hmp *h, const char *args);

bool hmp_session_add(struct machine *m, struct chardev *c, GError **err);
void hmp_close_all(void);

/* line_edit.c - one editable line with history, over a byte stream. */
struct line_edit {
    GString *line;
    size_t cursor;
    GPtrArray *history; /* char *, oldest first */
    unsigned history_at;
    char *stashed; /* the line being typed, while looking through history */
    enum { EDIT_PLAIN, EDIT_ESC, EDIT_CSI, EDIT_SS3 } state;
    unsigned csi_param;
    const char *prompt;
    void (*write)(void *opaque, const char *text, size_t len);
    void (*submit)(void *opaque, const char *line);
    /* candidates for the word at the start of the line, for Tab */
    char **(*complete)(void *opaque, const char *prefix);
    void *opaque;
};
void line_edit_init(struct line_edit *e, const char *prompt, void *opaque);
void line_edit_clear(struct line_edit *e);
void line_edit_show_prompt(struct line_edit *e);
void line_edit_feed(struct line_edit *e, const uint8_t *buf, size_t len);

#endif
