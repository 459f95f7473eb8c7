/* internal.h - between the connection (devtest.c) and the commands (commands.c). */
#ifndef DEVTEST_INTERNAL_H
#define DEVTEST_INTERNAL_H

#include "devtest/devtest.h"

#include <glib.h>

struct irqchip;
struct machine;

struct devtest {
    struct machine *machine;
    struct chardev_fe *fe;
    /* main thread */
    GString *line; /* what came of the current command */
    bool too_long;
    /* under lock: interrupts are told from any thread */
    GMutex lock;
    GString *out;
};

#define DEVTEST_LINE_MAX (8u << 20) /* a write command of 4 MiB */

void devtest_say(struct devtest *t, const char *fmt, ...) G_GNUC_PRINTF(2, 3); /* any thread */
void devtest_command(struct devtest *t, char *line);
bool devtest_intercept(struct devtest *t); /* from now on interrupts are told */

#endif
