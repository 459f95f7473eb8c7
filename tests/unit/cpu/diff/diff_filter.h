/* diff_filter.h - which instructions the oracle can answer for. */
#ifndef TESTS_CPU_DIFF_FILTER_H
#define TESTS_CPU_DIFF_FILTER_H

#include "diff.h"

#include <Zydis/Zydis.h>

bool diff_is_fpu(const ZydisDecodedInstruction *z);
bool diff_is_string(const ZydisDecodedInstruction *z);
/* False for what leaves the sandbox, is not the same twice, or names state the child shares with
 * its C library or kernel. */
bool diff_wanted(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op, bool code32,
                 enum diff_set set);

/* May it stand in a run: no branch, no fault to be expected, no memory at a register's mercy? */
bool diff_runs(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op);

#endif
