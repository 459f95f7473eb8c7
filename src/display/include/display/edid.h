/* edid.h - what a monitor says about itself (VESA E-EDID 1.4): its preferred size, and a few more.
 *
 * No state, any thread. */
#ifndef DISPLAY_EDID_H
#define DISPLAY_EDID_H

#include <stdint.h>

enum { EDID_BYTES = 128, EDID_SIDE_MAX = 4095 };

/* Sizes beyond EDID_SIDE_MAX cannot be said; the nearest that can is. */
void edid_make(uint8_t out[EDID_BYTES], unsigned width, unsigned height);

#endif
