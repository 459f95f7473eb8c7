/* vga_regs.c - sequencer, graphics, CRT and attribute controllers, palette, display interface. */
#include "vga_int.h"

#include "base/util.h"

enum {
    P_ATTR = 0x3c0,
    P_ATTR_READ = 0x3c1,
    P_MISC_WRITE = 0x3c2,
    P_SEQ_INDEX = 0x3c4,
    P_SEQ = 0x3c5,
    P_DAC_MASK = 0x3c6,
    P_DAC_READ_INDEX = 0x3c7,
    P_DAC_INDEX = 0x3c8,
    P_DAC = 0x3c9,
    P_FEATURE = 0x3ca,
    P_MISC_READ = 0x3cc,
    P_GFX_INDEX = 0x3ce,
    P_GFX = 0x3cf,
    P_CRT_INDEX = 0x3d4,
    P_CRT = 0x3d5,
    P_STATUS1 = 0x3da,
    MISC_COLOR = 0x01,
    STATUS1_RETRACE = 0x09, /* vertical retrace, display disabled */
    CRT_PROTECT = 0x80,     /* in register 0x11: registers 0-7 */
    ATTR_VIDEO_ON = 0x20,
};

/* Bits that exist. */
static const uint8_t sr_mask[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff};
static const uint8_t gr_mask[16] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

/* The monochrome addresses 0x3b0-0x3bf stand for 0x3d0-0x3df, and only one of the two answers. */
static bool port_answers(const struct vga *v, unsigned *port)
{
    bool mono = (*port & ~0xfu) == 0x3b0, either = (*port & ~0xfu) == 0x3c0;

    if (!either && mono == (bool)(v->misc & MISC_COLOR))
        return false;
    if (mono)
        *port += 0x20;
    return true;
}

static uint8_t dac_read(struct vga *v)
{
    uint8_t val = v->dac[v->dac_read_index * 3 + v->dac_sub];

    if (++v->dac_sub == 3) {
        v->dac_sub = 0;
        v->dac_read_index++;
    }
    return val;
}

static void dac_write(struct vga *v, uint8_t val)
{
    v->dac_cache[v->dac_sub] = val;
    if (++v->dac_sub < 3)
        return;
    memcpy(v->dac + v->dac_write_index * 3, v->dac_cache, 3);
    v->dac_sub = 0;
    v->dac_write_index++;
}

uint8_t vga_port_read(struct vga *v, unsigned port)
{
    if (!port_answers(v, &port))
        return 0xff;
    switch (port) {
    case P_ATTR:
        return v->ar_data ? 0 : v->ar_index;
    case P_ATTR_READ:
        return v->ar[v->ar_index & 0x1f];
    case P_MISC_WRITE: /* status 0: a colour monitor senses */
        return 0x10;
    case P_SEQ_INDEX:
        return v->sr_index;
    case P_SEQ:
        return v->sr[v->sr_index];
    case P_DAC_MASK:
        return v->dac_mask;
    case P_DAC_READ_INDEX:
        return v->dac_state;
    case P_DAC_INDEX:
        return v->dac_write_index;
    case P_DAC:
        return dac_read(v);
    case P_FEATURE:
        return v->feature;
    case P_MISC_READ:
        return v->misc;
    case P_GFX_INDEX:
        return v->gr_index;
    case P_GFX:
        return v->gr[v->gr_index];
    case P_CRT_INDEX:
        return v->cr_index;
    case P_CRT:
        return v->cr[v->cr_index];
    case P_STATUS1: /* a new field at each look: whoever waits for an edge sees one soon */
        v->ar_data = false;
        v->status_toggle ^= STATUS1_RETRACE;
        return v->status_toggle;
    }
    return 0;
}

static void attr_write(struct vga *v, uint8_t val)
{
    if (!v->ar_data) {
        v->ar_index = val & 0x3f;
    } else {
        unsigned i = v->ar_index & 0x1f;
        v->ar[i] = i < 16 ? val & 0x3f : i == 0x10 ? val & ~0x10 : i == 0x12 ? val & 0x3f : val;
    }
    v->ar_data = !v->ar_data;
}

static void crt_write(struct vga *v, uint8_t val)
{
    unsigned i = v->cr_index;

    if ((v->cr[0x11] & CRT_PROTECT) && i <= 7) {
        if (i == 7) /* bit 8 of line compare is not protected */
            v->cr[7] = (v->cr[7] & ~0x10) | (val & 0x10);
        return;
    }
    v->cr[i] = val;
}

void vga_port_write(struct vga *v, unsigned port, uint8_t val)
{
    if (!port_answers(v, &port))
        return;
    switch (port) {
    case P_ATTR:
        attr_write(v, val);
        break;
    case P_MISC_WRITE:
        v->misc = val & ~0x10;
        break;
    case P_SEQ_INDEX:
        v->sr_index = val & 7;
        break;
    case P_SEQ:
        v->sr[v->sr_index] = val & sr_mask[v->sr_index];
        break;
    case P_DAC_MASK:
        v->dac_mask = val;
        break;
    case P_DAC_READ_INDEX:
        v->dac_read_index = val;
        v->dac_sub = 0;
        v->dac_state = 3;
        break;
    case P_DAC_INDEX:
        v->dac_write_index = val;
        v->dac_sub = 0;
        v->dac_state = 0;
        break;
    case P_DAC:
        dac_write(v, val);
        break;
    case P_GFX_INDEX:
        v->gr_index = val & 15;
        break;
    case P_GFX:
        v->gr[v->gr_index] = val & gr_mask[v->gr_index];
        break;
    case P_CRT_INDEX:
        v->cr_index = val & 0x1f;
        break;
    case P_CRT:
        crt_write(v, val);
        break;
    case P_STATUS1:
        v->feature = val & 0x10;
        break;
    }
}

/* ---- the display interface ---- */

bool vga_linear(const struct vga *v)
{
    return v->dispi[DISPI_ENABLE] & DISPI_ENABLED;
}

uint32_t vga_line_bytes(const struct vga *v)
{
    unsigned bpp = v->dispi[DISPI_BPP];

    return bpp == 4 ? v->dispi[DISPI_VIRT_WIDTH] / 2u
                    : v->dispi[DISPI_VIRT_WIDTH] * ((bpp + 7u) / 8u);
}

uint16_t vga_dispi_read(const struct vga *v)
{
    static const uint16_t caps[] = {
        [DISPI_XRES] = DISPI_MAX_XRES, [DISPI_YRES] = DISPI_MAX_YRES, [DISPI_BPP] = 32};

    if (v->dispi_index >= DISPI_COUNT)
        return 0;
    if ((v->dispi[DISPI_ENABLE] & DISPI_GETCAPS) && v->dispi_index >= DISPI_XRES &&
        v->dispi_index <= DISPI_BPP)
        return caps[v->dispi_index];
    if (v->dispi_index == DISPI_MEMORY_64K)
        return (uint16_t)(v->vram_bytes / (64 * KiB));
    return v->dispi[v->dispi_index];
}

/* Brings geometry into what video memory can hold; offsets stay inside the virtual screen. */
static void dispi_fit(struct vga *v)
{
    uint16_t *d = v->dispi;
    unsigned bits = d[DISPI_BPP] == 15 ? 16 : d[DISPI_BPP];
    uint64_t memory_bits = (uint64_t)v->vram_bytes * 8, rows;

    d[DISPI_XRES] = (uint16_t)MIN_OF(ALIGN_DOWN(MAX_OF(d[DISPI_XRES], 8), 8), DISPI_MAX_XRES);
    d[DISPI_YRES] = (uint16_t)MIN_OF(MAX_OF(d[DISPI_YRES], 1), DISPI_MAX_YRES);
    d[DISPI_VIRT_WIDTH] = MAX_OF(d[DISPI_VIRT_WIDTH], d[DISPI_XRES]);
    rows = memory_bits / ((uint64_t)d[DISPI_VIRT_WIDTH] * bits);
    if (rows < d[DISPI_YRES]) {
        d[DISPI_VIRT_WIDTH] = d[DISPI_XRES];
        rows = memory_bits / ((uint64_t)d[DISPI_VIRT_WIDTH] * bits);
    }
    d[DISPI_YRES] = (uint16_t)MIN_OF((uint64_t)d[DISPI_YRES], MAX_OF(rows, UINT64_C(1)));
    d[DISPI_VIRT_HEIGHT] = (uint16_t)MIN_OF(rows, UINT64_C(0xffff));
    d[DISPI_X_OFFSET] = (uint16_t)MIN_OF(d[DISPI_X_OFFSET], d[DISPI_VIRT_WIDTH] - d[DISPI_XRES]);
    d[DISPI_Y_OFFSET] = (uint16_t)MIN_OF((uint64_t)d[DISPI_Y_OFFSET],
                                         rows > d[DISPI_YRES] ? rows - d[DISPI_YRES] : 0);
}

/* The classic registers follow, so that the window at 0xa0000 works as banks of the same memory. */
static void legacy_follow(struct vga *v)
{
    bool planar = v->dispi[DISPI_BPP] == 4;
    unsigned lines = v->dispi[DISPI_YRES] - 1u;

    v->gr[6] = (v->gr[6] & ~0x0c) | 0x05;
    v->gr[5] = (v->gr[5] & ~0x70) | (planar ? 0 : 0x40);
    v->sr[4] = planar ? v->sr[4] & ~8 : v->sr[4] | 8;
    v->sr[2] |= 0x0f;
    v->cr[0x17] |= 3;
    v->cr[0x13] = (uint8_t)(vga_line_bytes(v) >> 3);
    v->cr[0x01] = (uint8_t)(v->dispi[DISPI_XRES] / 8 - 1);
    v->cr[0x12] = (uint8_t)lines;
    v->cr[0x07] = (uint8_t)((v->cr[0x07] & ~0x42) | (lines >> 7 & 0x02) | (lines >> 3 & 0x40));
    v->cr[0x18] = 0xff;
    v->cr[0x07] |= 0x10;
    v->cr[0x09] = (uint8_t)((v->cr[0x09] & ~0x9f) | 0x40);
    v->ar_index |= ATTR_VIDEO_ON;
}

static bool bpp_exists(unsigned bpp)
{
    return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

static void enable_write(struct vga *v, uint16_t val)
{
    bool was = vga_linear(v);

    v->dispi[DISPI_ENABLE] = val;
    if (!(val & DISPI_ENABLED)) {
        v->dispi[DISPI_BANK] = 0;
        return;
    }
    if (was)
        return;
    if (!bpp_exists(v->dispi[DISPI_BPP]))
        v->dispi[DISPI_BPP] = 8;
    v->dispi[DISPI_VIRT_WIDTH] = v->dispi[DISPI_XRES];
    v->dispi[DISPI_X_OFFSET] = v->dispi[DISPI_Y_OFFSET] = v->dispi[DISPI_BANK] = 0;
    dispi_fit(v);
    if (!(val & DISPI_NOCLEAR)) {
        size_t n = (size_t)v->dispi[DISPI_YRES] * vga_line_bytes(v);
        memset(v->bytes, 0, MIN_OF(n, (size_t)v->vram_bytes));
    }
    legacy_follow(v);
}

void vga_dispi_write(struct vga *v, uint16_t val)
{
    unsigned i = v->dispi_index;

    v->all_dirty = true;
    switch (i) {
    case DISPI_ID:
        if (val >= 0xb0c0 && val <= 0xb0c5)
            v->dispi[i] = val;
        break;
    case DISPI_XRES:
    case DISPI_YRES:
    case DISPI_BPP:
        if (vga_linear(v) || (i == DISPI_BPP && val != 0 && !bpp_exists(val)))
            break;
        v->dispi[i] = i == DISPI_BPP && val == 0 ? 8 : val;
        break;
    case DISPI_ENABLE:
        enable_write(v, val);
        break;
    case DISPI_BANK:
        v->dispi[i] = val & (uint16_t)(v->vram_bytes / (64 * KiB) - 1);
        break;
    case DISPI_VIRT_WIDTH:
    case DISPI_X_OFFSET:
    case DISPI_Y_OFFSET:
        v->dispi[i] = val;
        if (vga_linear(v)) {
            dispi_fit(v);
            v->cr[0x13] = (uint8_t)(vga_line_bytes(v) >> 3);
        }
        break;
    }
}

void vga_dispi_loaded(struct vga *v)
{
    v->dispi[DISPI_BANK] &= (uint16_t)(v->vram_bytes / (64 * KiB) - 1);
    if (!vga_linear(v))
        return;
    if (!bpp_exists(v->dispi[DISPI_BPP]))
        v->dispi[DISPI_BPP] = 8;
    dispi_fit(v);
}

void vga_regs_reset(struct vga *v)
{
    v->misc = MISC_COLOR | 0x02;
    v->feature = v->status_toggle = 0;
    v->sr_index = v->gr_index = v->cr_index = v->ar_index = 0;
    v->ar_data = false;
    memset(v->sr, 0, sizeof(v->sr));
    memset(v->gr, 0, sizeof(v->gr));
    memset(v->cr, 0, sizeof(v->cr));
    memset(v->ar, 0, sizeof(v->ar));
    memset(v->dac, 0, sizeof(v->dac));
    v->dac_mask = 0xff;
    v->dac_read_index = v->dac_write_index = v->dac_sub = v->dac_state = 0;
    v->latch = 0;
    v->dispi_index = 0;
    memset(v->dispi, 0, sizeof(v->dispi));
    v->dispi[DISPI_ID] = 0xb0c5;
    v->all_dirty = true;
}
