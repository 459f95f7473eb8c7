/* make.h - the verbs that make machines; each has a file of its own and its options beside it. */
#ifndef CLI_MAKE_H
#define CLI_MAKE_H

#include "cmd.h"

int clone_run(struct cmd *c);
extern const struct opt clone_opts[];
int install_run(struct cmd *c);
extern const struct opt install_opts[];
int image_run(struct cmd *c);
extern const struct opt image_opts[];
int doctor_run(struct cmd *c);

char *random_password(void); /* of the kernel's random numbers, of letters that are not mixed up */

#endif
