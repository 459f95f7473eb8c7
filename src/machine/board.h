/* board.h - what makes one PC board differ from another; private to src/machine.
 *
 *   board_build()  processors, memory, timers -> board->chipset() -> ports, the user's devices,
 *                  fw_cfg items, ACPI and SMBIOS tables
 *
 * Threads: main, before the machine runs; firmware_setup also at resets, board lock held. */
#ifndef MACHINE_BOARD_H
#define MACHINE_BOARD_H

#include "bus/acpi.h"
#include "devices/acpi_pm.h"
#include "machine_internal.h"

enum { BOARD_PM_BASE = 0x600 }; /* where the PM block goes without firmware, and with most */

struct board {
    const char *root_bus;  /* the name users give to it */
    const char *pm_driver; /* whose -global disable_s3 and disable_s4 count */
    enum acpi_pm_model pm;
    enum acpi_chipset acpi;
    unsigned (*pirq)(unsigned slot, unsigned pin); /* 0 = A: the wiring that _PRT tells */
    bool (*memory_plan)(uint64_t ram_bytes, bool amd, struct memory_map *out, GError **err);
    /* The host bridge and everything soldered behind it. */
    bool (*chipset)(struct machine *m, GError **err);
    /* Chip set registers as firmware leaves them, for starts without firmware. */
    void (*firmware_setup)(struct machine *m);
};
extern const struct board board_q35, board_i440fx, board_microvm;

bool board_build(struct machine *m, GError **err);
/* Makes the ACPI tables anew when the PM block lies elsewhere than they say: firmware chooses
 * (OVMF: 0xb000 on a pc).  Board lock held. */
void board_tables_follow(struct machine *m);

#endif
