/* chain.h - what lies under a running machine's disks. */
#ifndef MANAGER_CHAIN_H
#define MANAGER_CHAIN_H

#include "manager/domain.h"

/* Asks hanok-img for the backing files of each qcow2 disk whose definition says nothing of them,
 * and notes them as <backingStore>, so that the command line and the running domain's XML name
 * them.  A chain that cannot be read is an error with the tool's words; one that leads away from
 * files (NBD, json:) is left to the emulator. */
bool chain_find(struct domain *d, GError **err);

#endif
