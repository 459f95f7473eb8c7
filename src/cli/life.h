/* life.h - a verb about machines' lives that has a file of its own. */
#ifndef CLI_LIFE_H
#define CLI_LIFE_H

#include "cmd.h"

enum { END_WAIT_MS = 10000 };

int event_run(struct cmd *c);
extern const struct opt event_opts[];

#endif
