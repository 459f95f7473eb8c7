/* top.h - hanok top: all running machines, again and again.
 *
 * Two snapshots make rates.  One thread; the terminal is put back however it ends. */
#ifndef CLI_TOP_H
#define CLI_TOP_H

#include "cmd.h"

struct top_options {
    bool batch;
    int64_t rounds;     /* 0: until q, or for ever */
    int64_t delay_ms;   /* between rounds */
    const char *domain; /* one machine; NULL: all */
};
/* The exit status. */
int top_run(struct cmd *c, const struct top_options *o);

#endif
