/* pflash.h - a parallel NOR flash with Intel's command set, backed by an image.
 *
 *   array mode:   the content is ROM to vcpus; a write is a command
 *   other modes:  nothing is mapped, reads come here (status, identifiers, CFI table)
 *
 * What is programmed or erased is written to the image at once, sector by sector, and again by
 * drain: a power-off loses nothing the guest has been told is done.
 *
 * Owner:   the device list.   Threads: registers under the board lock; writing back in the main
 * thread. Spec:    Common Flash Interface (JESD68.01), Intel StrataFlash command set (CFI id
 * 0x0001). */
#ifndef DEVICES_PFLASH_H
#define DEVICES_PFLASH_H

#include "bus/device.h"
#include "devices/board.h"

struct blk_node;
struct guest_mem;
struct io_space;
struct pflash;
struct ram_block;
struct vm_clock;

struct pflash_config {
    struct blk_node *node;
    uint64_t base; /* where its content ends up: set by the caller after pflash_bytes() */
    const char *name;
};

/* How large the flash of an image is; 0 with a sentence when it cannot be one. */
uint64_t pflash_bytes(struct blk_node *node, GError **err);
/* Reads the image (main thread, before the machine runs). */
struct pflash *pflash_new(struct device_list *devices, struct guest_mem *mem, struct io_space *mmio,
                          struct vm_clock *clock, const struct board_requests *req,
                          const struct pflash_config *cfg, GError **err);
/* Its content, for who shows a part of it elsewhere. */
struct ram_block *pflash_block(struct pflash *f);

#endif
