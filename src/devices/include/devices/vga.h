/* vga.h - the standard VGA card: text and planar modes, the Bochs display interface, linear
 * framebuffer.
 *
 *   0xa0000 window, ports 0x3b0-0x3df  --> registers, video memory by planes
 *   ports 0x1ce-0x1d0, BAR 2           --> resolution and depth
 *   BAR 0                              --> video memory as it is, shown to vcpus as RAM
 *
 * Without VGA (no_vga) the first line is not there, nor are the ports of the second: the screen is
 * black until a driver sets a mode through BAR 2.
 *
 * Owner:   the PCI bus.   Threads: registers under the board lock; drawing in the main thread.
 * Spec:    IBM VGA (as in "FreeVGA"), Bochs VBE_DISPI interface 0xb0c5, QEMU
 * docs/specs/standard-vga. */
#ifndef DEVICES_VGA_H
#define DEVICES_VGA_H

#include "bus/pci.h"
#include "devices/board.h"

struct console;

struct vga_config {
    const char *id;
    uint32_t vram_bytes;    /* a power of two from 1 to 256 MiB; 0: 16 MiB */
    unsigned width, height; /* what its EDID prefers; 0: there is none */
    bool multifunction;
    bool no_vga;  /* only the display interface and the memory, by BARs: bochs-display */
    bool watched; /* somebody will look all the time: track changes by page */
    const struct board_requests *req;
};

struct pci_dev *vga_new(struct pci_bus *bus, uint8_t devfn, const struct vga_config *cfg,
                        GError **err);

/* The same inside the function of another card (virtio-vga), which is not plugged yet: BARs 0 and
 * 2, the old addresses, registers and memory.  It comes before the function on the device list, is
 * told of the function's changes, and goes after the function's unplug.  The other card has the
 * console, and calls vga_update() while it shows nothing itself. */
struct vga;
struct vga *vga_part_new(struct pci_bus *bus, struct pci_dev *fn, const struct vga_config *cfg,
                         GError **err);
void vga_part_config_written(struct vga *v, unsigned off, unsigned size);
void vga_part_bar_moved(struct vga *v, unsigned bar);
void vga_part_free(struct vga *v);
/* Brings the console up to date; opaque: the struct vga.  Takes the board lock. */
void vga_update(void *opaque, struct console *c, bool all);

#endif
