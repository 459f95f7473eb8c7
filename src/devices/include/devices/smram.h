/* smram.h - memory that only processors in system management mode see: the compatible segment
 * (0xa0000-0xbffff) and TSEG, the top of the RAM below 4 GiB.
 *
 *   open, or TSEG off   the memory is in the guest's map as any other
 *   else                it lies at GUEST_MEM_HIDDEN + its address, where neither devices nor page
 *                       tables reach; the software CPU looks there while in SMM
 *
 * The q35 host bridge owns the registers.  Data references in SMM go to SMRAM as code does, also
 * while D_CLS is set.
 *
 * Owner:   the board.   Threads: registers under the board lock; the map follows in the main
 * thread. Spec:    Intel 82Q35 data sheet §5.1.30 (SMRAM), §5.1.31 (ESMRAMC), §5.3 (SMM). */
#ifndef DEVICES_SMRAM_H
#define DEVICES_SMRAM_H

#include "bus/device.h"
#include "devices/board.h"

struct guest_mem;
struct ram_block;
struct smram;

#define SMRAM_TAIL_BYTES  (UINT64_C(16) << 20) /* room for the largest TSEG */
#define SMRAM_TSEG_EXT_MB 16                   /* TSEG_SZ 3: what the register at 0x50 says */

enum { ESMRAMC_T_EN = 0x01, ESMRAMC_TSEG_SZ = 0x06 };

/* ram is mapped by the caller below low_bytes - SMRAM_TAIL_BYTES; the rest up to low_bytes is shown
 * from here. */
struct smram *smram_new(struct device_list *devices, struct guest_mem *mem, struct ram_block *ram,
                        uint64_t low_bytes, const struct board_requests *req);
/* Board lock held. */
void smram_registers(struct smram *s, uint8_t smram, uint8_t esmramc);

#endif
