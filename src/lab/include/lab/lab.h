/* lab.h - the laboratory: experiments that run real machines and say what was seen.
 *
 *   experiment --runs--> machines, host loops --numbers--> result.json, CSV, plots --> one report
 *
 * Nothing is canned: a result holds what this run measured, and for each thing theory says whether
 * the figure shows it.  One thread; processes it starts end with it.
 * Errors: GError sentences; an experiment that cannot run here says why in its result instead. */
#ifndef LAB_LAB_H
#define LAB_LAB_H

#include <glib.h>
#include <stdbool.h>

struct lab_options {
    const char *accel;  /* NULL: jit */
    int pcpu;           /* where pinned machines run; -1: the last CPU of this process */
    bool quick;         /* seconds instead of minutes */
    bool raise;         /* machines and loops before the host's other programs (needs root) */
    const char *guest;  /* directory with the lab's guests; NULL: found */
    const char *output; /* directory of results */
};

/* Names and titles, in their order; NULL-terminated. */
const char *const *lab_names(void);
const char *lab_title(const char *name, unsigned lang);
/* One experiment, or all ("all").  False: an experiment failed to run at all. */
bool lab_run(const char *name, const struct lab_options *o, GError **err);
/* index.html and index.ko.html from what is in the directory. */
bool lab_report(const char *output, GError **err);

#endif
