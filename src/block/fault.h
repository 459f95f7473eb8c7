/* fault.h - what the file driver asks of fault.c. */
#ifndef BLOCK_FAULT_INT_H
#define BLOCK_FAULT_INT_H

#include "block/fault.h"
#include "block_int.h"

bool blk_fault_on(void); /* hot */
/* Before the host's I/O: 0, or the -errno it ends with. */
int blk_fault_ask(const struct blk_node *n, const struct blk_req *req);
bool blk_fault_from_environment(GError **err); /* the first time only */

#endif
