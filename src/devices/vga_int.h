/* vga_int.h - the card as its files share it; private to src/devices.
 *
 * Video memory is 4 planes side by side: byte n of plane p lies at 4n + p.  Chained (256-colour and
 * linear) modes see it byte by byte. */
#ifndef DEVICES_VGA_INT_H
#define DEVICES_VGA_INT_H

#include "base/state.h"
#include "bus/io.h"
#include "devices/vga.h"
#include "display/edid.h"
#include "mem/layout.h"

enum {
    DISPI_ID,
    DISPI_XRES,
    DISPI_YRES,
    DISPI_BPP,
    DISPI_ENABLE,
    DISPI_BANK,
    DISPI_VIRT_WIDTH,
    DISPI_VIRT_HEIGHT,
    DISPI_X_OFFSET,
    DISPI_Y_OFFSET,
    DISPI_MEMORY_64K,
    DISPI_COUNT,
};
enum {
    DISPI_ENABLED = 0x01,
    DISPI_GETCAPS = 0x02,
    DISPI_8BIT_DAC = 0x20,
    DISPI_LFB = 0x40,
    DISPI_NOCLEAR = 0x80
};
enum { DISPI_MAX_XRES = 5120, DISPI_MAX_YRES = 2880 };

enum { VGA_COLUMNS_MAX = 256, VGA_ROWS_MAX = 128 };

/* What a frame depends on besides video memory: when one of these changes, all is drawn anew. */
struct vga_mode {
    enum vga_kind { VGA_BLANK, VGA_TEXT, VGA_PLANAR, VGA_CGA, VGA_PACKED } kind;
    unsigned width, height, bpp;
    uint32_t start, line_bytes; /* in video memory */
    /* text */
    unsigned columns, rows, cell_width, cell_height;
    uint32_t font[2];
    /* graphics */
    unsigned repeat, double_dots, line_compare;
    uint8_t pan, crtc_mode;
};

struct vga {
    struct pci_dev pci;    /* first; the card's own function, or just a device inside another's */
    struct pci_dev *fn;    /* &pci, or the other card's */
    bool no_vga;           /* nothing at the old addresses */
    pthread_mutex_t *lock; /* the board lock */
    struct io_space *pio, *mmio_space;
    struct guest_mem *mem;
    const struct board_requests *req;
    struct ram_block *vram;
    uint8_t *bytes; /* the host's view of it */
    uint32_t vram_bytes;
    uint8_t edid[EDID_BYTES]; /* zeroes: there is none */
    struct console *console;
    struct io_region window, ports, dispi_port[3], lfb, mmio;
    struct mem_layout layout;
    /* board lock */
    uint8_t misc, feature, status_toggle;
    uint8_t sr_index, gr_index, cr_index, ar_index;
    bool ar_data; /* the attribute flip-flop: next write is data */
    uint8_t sr[8], gr[16], cr[32], ar[32];
    uint8_t dac[768], dac_mask, dac_read_index, dac_write_index, dac_sub, dac_state;
    uint8_t dac_cache[3];
    uint32_t latch;
    uint16_t dispi_index, dispi[DISPI_COUNT];
    bool all_dirty;      /* registers changed what a frame looks like */
    bool window_written; /* through 0xa0000 */
    /* main thread */
    struct vga_mode shown;
    uint32_t palette[256], shown_palette[256];
    uint16_t cells[VGA_ROWS_MAX][VGA_COLUMNS_MAX];
    unsigned cursor_at; /* cell that shows the cursor; UINT_MAX: none */
    uint64_t *dirty;    /* pages of video memory */
    size_t dirty_words;
};

/* vga_regs.c */
uint8_t vga_port_read(struct vga *v, unsigned port);
void vga_port_write(struct vga *v, unsigned port, uint8_t val);
uint16_t vga_dispi_read(const struct vga *v);
void vga_dispi_write(struct vga *v, uint16_t val);
void vga_dispi_loaded(struct vga *v); /* brings what was loaded into what can be */
void vga_regs_reset(struct vga *v);
bool vga_linear(const struct vga *v); /* the display interface is on */
uint32_t vga_line_bytes(const struct vga *v);

/* vga_mem.c */
uint8_t vga_window_read(struct vga *v, uint32_t off);
void vga_window_write(struct vga *v, uint32_t off, uint8_t val);

#endif
