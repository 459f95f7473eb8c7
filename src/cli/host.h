/* host.h - what verb_host.c and verb_caps.c share. */
#ifndef CLI_HOST_H
#define CLI_HOST_H

#include "cmd.h"

bool kvm_usable(void); /* the emulator has tried it */
int domcapabilities_run(struct cmd *c);
extern const struct opt domcapabilities_opts[];

#endif
