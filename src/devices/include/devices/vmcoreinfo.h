/* vmcoreinfo.h - where a guest says its crash notes are, for whoever looks at its memory from
 * outside.
 *
 *   guest --16 bytes to fw_cfg etc/vmcoreinfo--> format of host and guest, size, address of a note
 *
 * The file reads back as it was written, and is empty after a reset: the next kernel's notes lie
 * elsewhere.  Nothing here reads the note.
 *
 * Owner:   the device list.   Threads: the file under the board lock.
 * Spec:    QEMU docs/specs/vmcoreinfo: u16 formats of host (1: ELF) and guest, u32 size, u64
 *          address; little-endian. */
#ifndef DEVICES_VMCOREINFO_H
#define DEVICES_VMCOREINFO_H

#include "bus/fw_cfg.h"

#define VMCOREINFO_FILE "etc/vmcoreinfo"

void vmcoreinfo_new(struct device_list *devices, struct fw_cfg *f, const char *id);

#endif
