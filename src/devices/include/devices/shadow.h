/* shadow.h - the first megabyte above 0xa0000: firmware, shadow RAM, SMRAM.
 *
 *   0xc0000-0xfffff  13 segments; each reads and writes RAM, reads it, writes it, or shows what
 * lies behind it: the firmware's last 128 KiB at 0xe0000, else nothing 0xa0000-0xbffff  video
 * memory's window, or RAM while the chip set opens SMRAM
 *
 * The host bridge owns the registers (PAM0-PAM6, SMRAM); this is the memory they steer.  It also
 * shows the whole firmware image right below 4 GiB.
 *
 * Owner:   the board.   Threads: update under the board lock; the map follows in the main thread.
 * Spec:    Intel 82Q35 data sheet §5.1.17 (PAM), §5.1.30 (SMRAM); 82441FX §3.2.15, §3.2.21. */
#ifndef DEVICES_SHADOW_H
#define DEVICES_SHADOW_H

#include "bus/device.h"
#include "devices/board.h"

struct guest_mem;
struct io_space;
struct ram_block;
struct shadow;

enum {
    SHADOW_PAM_COUNT = 7,
    SHADOW_SMRAM_ENABLE = 0x08, /* bits of the SMRAM register */
    SHADOW_SMRAM_LOCK = 0x10,
    SHADOW_SMRAM_CLOSED = 0x20,
    SHADOW_SMRAM_OPEN = 0x40,
};

/* ram is mapped by the caller outside 0xa0000-0xfffff; here it backs that range at the same
 * offsets. bios may be NULL; both outlive the device.  high: the image is shown
 * below 4 GiB from here, not by a flash chip. */
struct shadow *shadow_new(struct device_list *devices, struct guest_mem *mem, struct io_space *mmio,
                          struct ram_block *ram, struct ram_block *bios, bool high,
                          const struct board_requests *req);
/* Board lock held. */
void shadow_update(struct shadow *s, const uint8_t pam[SHADOW_PAM_COUNT], bool smram_open);
/* The same from the registers as both host bridges have them. */
void shadow_registers(struct shadow *s, const uint8_t pam[SHADOW_PAM_COUNT], uint8_t smram);

#endif
