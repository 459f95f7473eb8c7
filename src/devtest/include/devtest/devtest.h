/* devtest.h - drives the board without a CPU: a socket protocol in the manner of qtest.
 *
 * A machine whose accelerator is "qtest" has no running vcpus; commands on the chardev read and
 * write ports, MMIO and memory, watch interrupt lines, and step the clock.
 *
 * Owner: main.  Threads: main.  Errors: opening fills GError; a bad command gets "FAIL text". */
#ifndef DEVTEST_DEVTEST_H
#define DEVTEST_DEVTEST_H

#include "base/types.h"

struct machine;

/* spec as -qtest takes it: "unix:PATH,server=on,wait=off", "stdio", "chardev:ID". */
bool devtest_start(struct machine *m, const char *chardev_spec, GError **err);

#endif
