/* firmware.h - firmware images and what they are told about booting; private to src/machine.
 *
 *   -bios FILE, pflash, or SeaBIOS when there is no kernel  --> the "pc.bios" block below 4 GiB
 *   -boot, bootindex=                                       --> CMOS bytes, fw_cfg items,
 * "bootorder"
 *
 * Threads: main, before the machine runs (firmware_reset: at resets).
 * Formats: SeaBIOS docs "Runtime_config" (fw_cfg items); IEEE 1275 device paths in bootorder. */
#ifndef MACHINE_FIRMWARE_H
#define MACHINE_FIRMWARE_H

#include "machine_internal.h"

/* The path of a firmware file: as given when it has a slash or exists, else from -L's folders and
 * the system's; NULL with a sentence that names the package when there is none. */
char *firmware_find(const struct vm_config *cfg, const char *name, GError **err);
/* Loads the image this machine starts with, if it starts with one: sets m->bios. */
bool firmware_open(struct machine *m, GError **err);
/* Makes the flash chips that -machine pflash0= and pflash1= name; *first: the content of the one
 * that ends at 4 GiB, left alone when there is none. */
bool firmware_flash(struct machine *m, struct ram_block **first, GError **err);
/* Items that come from -boot; the order once all devices are there. */
bool firmware_boot_items(struct machine *m, GError **err);
/* A device that can be booted from; path as firmware writes it (taken).  index: bootindex. */
bool firmware_boot_add(struct machine *m, uint32_t index, char *path_taken, GError **err);
/* A PCI function with one disk or network card behind it. */
bool firmware_boot_pci(struct machine *m, uint32_t index, struct pci_dev *d, GError **err);
/* "/pci@i0cf8/pci-bridge@1/scsi@0" */
char *firmware_pci_path(struct pci_dev *d);
/* After each reset: once= counts for the first start only. */
void firmware_reset(struct machine *m);
void firmware_close(struct machine *m);

#endif
