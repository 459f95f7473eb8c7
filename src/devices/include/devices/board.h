/* board.h - what chips ask of the board they sit on.
 *
 * The machine fills in one struct board_requests and lends it to the chips that can ask for a
 * reset, a power-off, sleep or the end of the process.
 *
 * Owner:   the machine; outlives all devices.   Threads: called in the thread that touched the
 * register (mostly a vCPU's), with the board lock held: must only note the wish and return. */
#ifndef DEVICES_BOARD_H
#define DEVICES_BOARD_H

#include "base/types.h"

enum board_reset_cause {
    BOARD_RESET_KBC,    /* i8042 pulse of output line 0 */
    BOARD_RESET_PORT92, /* fast reset */
    BOARD_RESET_CF9,    /* reset control register */
};

struct board_requests {
    void *opaque;
    void (*reset)(void *opaque, enum board_reset_cause cause);
    void (*shutdown)(void *opaque);                     /* ACPI S5 */
    void (*sleep)(void *opaque, unsigned state);        /* ACPI S3: state 3; S4: state 4 */
    void (*debug_exit)(void *opaque, int status);       /* isa-debug-exit: end with this status */
    void (*a20)(void *opaque, bool on);                 /* tracked, masks nothing; may be NULL */
    void (*rtc_change)(void *opaque, int64_t offset_s); /* guest set the clock; may be NULL */
    /* A mem_layout was set anew: no further instruction before it is applied; may be NULL. */
    void (*map_changed)(void *opaque);
    /* System management interrupt to the processor that runs this; NULL: there is no SMM. */
    void (*smi)(void *opaque);
    void (*watchdog)(void *opaque);                    /* a watchdog's time is up */
    void (*panicked)(void *opaque, bool crash_kernel); /* crash_kernel: one takes over */
};

#endif
