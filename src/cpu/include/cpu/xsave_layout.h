/* xsave_layout.h - where the extended state components stand in the XSAVE area (SDM vol.1 §13.5).
 *
 * Offsets in the standard format are the host's where it has the component (AMD places AVX-512 and
 * PKRU elsewhere than Intel): guest state is saved by host instructions and by KVM.  Where the host
 * lacks it they are Intel's.  In the compacted format components follow each other in the order of
 * their bits; none of these is aligned there.
 *
 * Threads: any; the table is made at the first call and constant from then on. */
#ifndef CPU_XSAVE_LAYOUT_H
#define CPU_XSAVE_LAYOUT_H

#include "base/types.h"

enum { XSAVE_PART_AVX, XSAVE_PART_OPMASK, XSAVE_PART_ZMM_HI, XSAVE_PART_HI16, XSAVE_PART_PKRU };
#define XSAVE_PARTS      5
#define XSAVE_PARTS_AT   576u /* legacy region and header come first */
#define XSAVE_AVX512     0xe0u
#define XSAVE_ALL_PARTS  0x2e4u
#define XSAVE_AREA_BYTES 2752u /* no layout needs more */

struct xsave_part {
    uint8_t bit; /* in XCR0 */
    uint16_t size, offset;
};
/* In the order of their bits. */
const struct xsave_part *xsave_parts(void);
/* Components the host's operating system has enabled; 3 when it has no XSAVE. */
uint64_t xsave_host_xcr0(void);
/* Is this a value XSETBV takes on a processor with these components? (SDM vol.1 §13.3) */
bool xsave_xcr0_valid(uint64_t xcr0, uint64_t offered);

#endif
