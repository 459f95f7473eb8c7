/* ramfb.h - a screen whose picture firmware keeps in guest RAM.
 *
 *   firmware --28 bytes to fw_cfg etc/ramfb--> address, format, size --> console
 *
 * Nobody tells of changes, so each look at the screen compares the picture with the last one.  What
 * does not lie in RAM, or is no picture, shows nothing.
 *
 * Owner:   the device list.   Threads: the file under the board lock; drawing in the main thread.
 * Spec:    QEMU docs/specs/fw_cfg (writable files), hw/display/ramfb's layout: big-endian u64
 *          address, u32 DRM format, u32 flags, u32 width, u32 height, u32 bytes of a line. */
#ifndef DEVICES_RAMFB_H
#define DEVICES_RAMFB_H

#include "bus/fw_cfg.h"

void ramfb_new(struct device_list *devices, struct fw_cfg *f, struct guest_mem *mem,
               const char *id);

#endif
