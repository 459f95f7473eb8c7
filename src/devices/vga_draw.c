/* vga_draw.c - from video memory to the console's surface, only what has changed.
 *
 * Text compares cells with what was drawn last.  Graphics modes draw the lines whose pages are
 * dirty: the dirty log knows of writes through the linear framebuffer, a flag of those through
 * 0xa0000.  A change of mode, palette or start address draws everything. */
#include "vga_int.h"

#include "base/evloop.h"
#include "base/util.h"
#include "display/console.h"

#include <limits.h>

enum { CURSOR_BLINK_MS = 266, ATTR_BLINK_8 = 0x08, ATTR_9TH = 0x04 };

/* ---- palette ---- */

static uint32_t dac_color(const struct vga *v, unsigned i)
{
    const uint8_t *c = v->dac + 3 * (i & v->dac_mask);
    bool wide = vga_linear(v) && (v->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC);
    uint32_t rgb = 0;

    for (unsigned k = 0; k < 3; k++) {
        unsigned x = wide ? c[k] : (c[k] & 0x3fu) << 2 | (c[k] & 0x3fu) >> 4;
        rgb = rgb << 8 | x;
    }
    return rgb;
}

/* The 16 colours of text and planar modes go through the attribute controller. */
static uint32_t attr_color(const struct vga *v, unsigned i)
{
    unsigned c = v->ar[i & 15];

    if (v->ar[0x10] & 0x80)
        c = (v->ar[0x14] & 0x0fu) << 4 | (c & 0x0f);
    else
        c = (v->ar[0x14] & 0x0cu) << 4 | (c & 0x3f);
    return dac_color(v, c);
}

static void palette_make(struct vga *v, const struct vga_mode *m)
{
    bool packed = m->kind == VGA_PACKED;

    for (unsigned i = 0; i < 256; i++)
        v->palette[i] = packed ? dac_color(v, i) : attr_color(v, i);
}

/* ---- mode ---- */

static unsigned crt_lines(const struct vga *v)
{
    return (v->cr[0x12] | (v->cr[7] & 0x02u) << 7 | (v->cr[7] & 0x40u) << 3) + 1;
}

static void mode_text(const struct vga *v, struct vga_mode *m)
{
    m->cell_height = (v->cr[9] & 0x1fu) + 1;
    m->cell_width = v->sr[1] & 1 ? 8 : 9;
    m->columns = MIN_OF(v->cr[1] + 1u, (unsigned)VGA_COLUMNS_MAX);
    m->rows =
        MIN_OF(crt_lines(v) / (v->cr[9] & 0x80 ? 2 : 1) / m->cell_height, (unsigned)VGA_ROWS_MAX);
    m->rows = MAX_OF(m->rows, 1u);
    m->width = m->columns * m->cell_width;
    m->height = m->rows * m->cell_height;
    /* maps A and B of register 3; bytes of plane 2 */
    m->font[0] = ((v->sr[3] >> 4 & 1u) | (v->sr[3] << 1 & 6u)) * 8192 * 4 + 2;
    m->font[1] = ((v->sr[3] >> 5 & 1u) | (v->sr[3] >> 1 & 6u)) * 8192 * 4 + 2;
}

static void mode_classic(const struct vga *v, struct vga_mode *m)
{
    unsigned shift = v->gr[5] >> 5 & 3, scans = (v->cr[9] & 0x1fu) + 1;

    m->start = (v->cr[0x0d] | (uint32_t)v->cr[0x0c] << 8) * 4;
    m->line_bytes = (uint32_t)v->cr[0x13] << 3;
    if (!(v->gr[6] & 1)) {
        m->kind = VGA_TEXT;
        mode_text(v, m);
        return;
    }
    m->kind = shift == 0 ? VGA_PLANAR : shift == 1 ? VGA_CGA : VGA_PACKED;
    m->bpp = shift >= 2 ? 8 : 4;
    m->width = (v->cr[1] + 1u) * 8;
    m->height = crt_lines(v);
    m->double_dots = shift >= 2 || (v->sr[1] & 8);
    if (shift < 2 && m->double_dots)
        m->width *= 2;
    m->repeat = scans * (v->cr[9] & 0x80 ? 2 : 1);
    m->line_compare = v->cr[0x18] | (v->cr[7] & 0x10u) << 4 | (v->cr[9] & 0x40u) << 3;
    m->crtc_mode = v->cr[0x17] & 3;
}

static void mode_linear(const struct vga *v, struct vga_mode *m)
{
    const uint16_t *d = v->dispi;

    m->kind = d[DISPI_BPP] == 4 ? VGA_PLANAR : VGA_PACKED;
    m->bpp = d[DISPI_BPP];
    m->width = d[DISPI_XRES];
    m->height = d[DISPI_YRES];
    m->line_bytes = vga_line_bytes(v);
    if (m->kind == VGA_PLANAR) {
        m->line_bytes = d[DISPI_VIRT_WIDTH] / 8u * 4u;
        m->start = d[DISPI_Y_OFFSET] * m->line_bytes + d[DISPI_X_OFFSET] / 8u * 4u;
    } else {
        m->start = d[DISPI_Y_OFFSET] * m->line_bytes + d[DISPI_X_OFFSET] * ((m->bpp + 7) / 8);
    }
    m->repeat = 1;
    m->line_compare = UINT_MAX;
    m->crtc_mode = 3;
}

static void mode_find(const struct vga *v, struct vga_mode *m)
{
    memset(m, 0, sizeof(*m));
    if (vga_linear(v))
        mode_linear(v, m);
    else if (v->ar_index & 0x20)
        mode_classic(v, m);
    if (m->kind == VGA_BLANK) {
        m->width = v->shown.width ? v->shown.width : 640;
        m->height = v->shown.height ? v->shown.height : 480;
    }
}

/* ---- text ---- */

static uint16_t cell_at(const struct vga *v, const struct vga_mode *m, unsigned row, unsigned col)
{
    uint32_t at = m->start + row * m->line_bytes + col * 4;

    at &= v->vram_bytes - 1;
    return at + 2 <= v->vram_bytes ? le16_get(v->bytes + at) : 0;
}

static void cell_draw(const struct vga *v, const struct vga_mode *m, const struct surface *s,
                      unsigned row, unsigned col, uint16_t cell, bool cursor, bool blink_off)
{
    uint8_t ch = (uint8_t)cell, attr = (uint8_t)(cell >> 8);
    bool blinks = (v->ar[0x10] & ATTR_BLINK_8) && (attr & 0x80);
    uint32_t fg = v->palette[attr & 15],
             bg = v->palette[attr >> 4 & (v->ar[0x10] & ATTR_BLINK_8 ? 7 : 15)];
    uint32_t font = m->font[attr & 8 ? 0 : 1] + ch * 32u * 4u;
    uint32_t *out = s->pixels + (size_t)row * m->cell_height * s->width + col * m->cell_width;
    unsigned first = v->cr[0x0a] & 0x1fu, last = MIN_OF(v->cr[0x0b] & 0x1fu, m->cell_height - 1);

    if (m->font[0] == m->font[1])
        font = m->font[0] + ch * 32u * 4u;
    for (unsigned y = 0; y < m->cell_height; y++, out += s->width) {
        uint32_t at = (font + y * 4) & (v->vram_bytes - 1);
        unsigned bits = (unsigned)v->bytes[at] << 1;
        if (m->cell_width == 9 && (ch & 0xe0) == 0xc0 && (v->ar[0x10] & ATTR_9TH))
            bits |= bits >> 1 & 1;
        if (cursor && y >= first && y <= last)
            bits = 0x1ff;
        else if (blinks && blink_off)
            bits = 0;
        for (unsigned x = 0; x < m->cell_width; x++)
            out[x] = bits & (0x100u >> x) ? fg : bg;
    }
}

static unsigned cursor_cell(const struct vga *v, const struct vga_mode *m, bool phase)
{
    uint32_t at = (v->cr[0x0f] | (uint32_t)v->cr[0x0e] << 8) * 4 - m->start;

    if (phase || (v->cr[0x0a] & 0x20) || (v->cr[0x0a] & 0x1f) > (v->cr[0x0b] & 0x1f) ||
        m->line_bytes == 0)
        return UINT_MAX;
    unsigned row = at / m->line_bytes, col = at % m->line_bytes / 4;
    return row < m->rows && col < m->columns ? row * VGA_COLUMNS_MAX + col : UINT_MAX;
}

static void text_draw(struct vga *v, const struct vga_mode *m, struct console *c, bool all)
{
    uint64_t ticks = host_clock_ns() / (CURSOR_BLINK_MS * 1000000ull);
    bool phase = ticks & 1, slow = ticks >> 1 & 1;
    unsigned cursor = cursor_cell(v, m, phase), old = v->cursor_at;
    const struct surface *s = console_surface(c);
    bool blinking = v->ar[0x10] & ATTR_BLINK_8;

    for (unsigned row = 0; row < m->rows; row++) {
        unsigned from = UINT_MAX, to = 0;
        for (unsigned col = 0; col < m->columns; col++) {
            uint16_t cell = cell_at(v, m, row, col);
            unsigned here = row * VGA_COLUMNS_MAX + col;
            bool moved = (here == cursor) != (here == old);
            if (!all && !moved && cell == v->cells[row][col] && !(blinking && (cell & 0x8000)))
                continue;
            v->cells[row][col] = cell;
            cell_draw(v, m, s, row, col, cell, here == cursor, slow);
            from = MIN_OF(from, col);
            to = col + 1;
        }
        if (to > from)
            console_changed(c, &(struct rect){from * m->cell_width, row * m->cell_height,
                                              (to - from) * m->cell_width, m->cell_height});
    }
    v->cursor_at = cursor;
}

/* ---- graphics ---- */

static uint32_t byte_at(const struct vga *v, uint32_t at)
{
    return v->bytes[at & (v->vram_bytes - 1)];
}

static void line_planar(const struct vga *v, const struct vga_mode *m, uint32_t at, uint32_t *out)
{
    unsigned scale = m->double_dots ? 2 : 1;

    for (unsigned x = 0; x < m->width / scale; x++) {
        uint32_t cell = at + x / 8 * 4, bit = 7 - x % 8, color = 0;
        for (unsigned p = 0; p < 4; p++)
            color |= (byte_at(v, cell + p) >> bit & 1) << p;
        color = v->palette[color & v->ar[0x12]];
        for (unsigned k = 0; k < scale; k++)
            out[x * scale + k] = color;
    }
}

/* Four colours: two bits a pixel, even addresses in plane 0, odd ones in plane 1. */
static void line_cga(const struct vga *v, const struct vga_mode *m, uint32_t at, uint32_t *out)
{
    unsigned scale = m->double_dots ? 2 : 1;

    for (unsigned x = 0; x < m->width / scale; x++) {
        uint32_t cell = at + x / 8 * 4 + (x / 4 & 1), shift = 6 - 2 * (x % 4);
        uint32_t color = v->palette[byte_at(v, cell) >> shift & 3];
        for (unsigned k = 0; k < scale; k++)
            out[x * scale + k] = color;
    }
}

static void line_8(const struct vga *v, const struct vga_mode *m, uint32_t at, uint32_t *out)
{
    unsigned scale = m->double_dots ? 2 : 1;

    for (unsigned x = 0; x < m->width; x++)
        out[x] = v->palette[byte_at(v, at + x / scale)];
}

static uint32_t expand(uint32_t val, unsigned bits)
{
    return val << (8 - bits) | val >> (2 * bits - 8);
}

static void line_16(const struct vga *v, const struct vga_mode *m, uint32_t at, uint32_t *out)
{
    unsigned green = m->bpp == 15 ? 5 : 6;

    for (unsigned x = 0; x < m->width; x++) {
        uint32_t p = byte_at(v, at + 2 * x) | byte_at(v, at + 2 * x + 1) << 8;
        uint32_t r = p >> (5 + green) & 31, g = p >> 5 & ((1u << green) - 1), b = p & 31;
        out[x] = expand(r, 5) << 16 | expand(g, green) << 8 | expand(b, 5);
    }
}

static void line_24(const struct vga *v, const struct vga_mode *m, uint32_t at, uint32_t *out)
{
    for (unsigned x = 0; x < m->width; x++)
        out[x] = byte_at(v, at + 3 * x) | byte_at(v, at + 3 * x + 1) << 8 |
                 byte_at(v, at + 3 * x + 2) << 16;
}

static void line_32(const struct vga *v, const struct vga_mode *m, uint32_t at, uint32_t *out)
{
    if (at + 4ull * m->width <= v->vram_bytes) {
        memcpy(out, v->bytes + at, 4 * (size_t)m->width);
        return;
    }
    for (unsigned x = 0; x < m->width; x++)
        out[x] = le32_get(v->bytes + ((at + 4 * x) & (v->vram_bytes - 4)));
}

static void line_draw(const struct vga *v, const struct vga_mode *m, uint32_t at, uint32_t *out)
{
    if (m->kind == VGA_PLANAR)
        line_planar(v, m, at, out);
    else if (m->kind == VGA_CGA)
        line_cga(v, m, at, out);
    else if (m->bpp == 8)
        line_8(v, m, at, out);
    else if (m->bpp == 15 || m->bpp == 16)
        line_16(v, m, at, out);
    else if (m->bpp == 24)
        line_24(v, m, at, out);
    else
        line_32(v, m, at, out);
}

/* The line's address, with the split screen and the interleaving of CGA-like modes. */
static uint32_t line_address(const struct vga *v, const struct vga_mode *m, unsigned y)
{
    unsigned row = y / m->repeat, scan = row;
    uint32_t at = m->start;

    if (y > m->line_compare) {
        at = 0;
        row = (y - m->line_compare - 1) / m->repeat;
    }
    if (m->crtc_mode == 3)
        return (at + row * m->line_bytes) & (v->vram_bytes - 1);
    /* bit 13 (and 14) of the address come from the row counter: here scans are the cell's */
    scan = y / MAX_OF(m->repeat / 2, 1u) & 1;
    at += row * m->line_bytes;
    if (!(m->crtc_mode & 1))
        at = (at & ~(0x2000u * 4)) | scan * (0x2000u * 4);
    return at & (v->vram_bytes - 1);
}

static bool range_dirty(const struct vga *v, uint32_t at, uint32_t len)
{
    for (uint32_t page = at / 4096; page <= (at + len - 1) / 4096 && page < v->vram_bytes / 4096;
         page++)
        if (v->dirty[page / 64] & BIT64(page % 64))
            return true;
    return false;
}

/* Which pages have changed since the last frame; false: nobody keeps track, take all. */
static bool dirty_collect(struct vga *v)
{
    memset(v->dirty, 0, v->dirty_words * sizeof(uint64_t));
    if (v->layout.have_count == 0) /* not shown to vcpus: only the window writes */
        return v->layout.watched;
    return guest_mem_watch_sync(v->mem, v->layout.region[0], v->dirty, v->dirty_words) == 0;
}

static void graphics_draw(struct vga *v, const struct vga_mode *m, struct console *c, bool all)
{
    const struct surface *s = console_surface(c);
    uint32_t len = MAX_OF(m->line_bytes, 1u);
    unsigned from = UINT_MAX;

    for (unsigned y = 0; y <= m->height; y++) {
        uint32_t at = y < m->height ? line_address(v, m, y) : 0;
        if (y < m->height && (all || range_dirty(v, at, len))) {
            line_draw(v, m, at, s->pixels + (size_t)y * s->width);
            from = MIN_OF(from, y);
        } else if (from != UINT_MAX) {
            console_changed(c, &(struct rect){0, from, m->width, y - from});
            from = UINT_MAX;
        }
    }
}

static void blank_draw(const struct vga_mode *m, struct console *c)
{
    memset(console_surface(c)->pixels, 0, (size_t)m->width * m->height * 4);
    console_changed(c, &(struct rect){0, 0, m->width, m->height});
}

/* ---- a frame ---- */

void vga_update(void *opaque, struct console *c, bool all)
{
    struct vga *v = opaque;
    struct vga_mode m;
    bool written;

    pthread_mutex_lock(v->lock);
    mode_find(v, &m);
    palette_make(v, &m);
    m.width = MIN_OF(m.width, (unsigned)CONSOLE_WIDTH_MAX);
    m.height = MIN_OF(m.height, (unsigned)CONSOLE_HEIGHT_MAX);
    all |= v->all_dirty || memcmp(&m, &v->shown, sizeof(m)) != 0 ||
           memcmp(v->palette, v->shown_palette, sizeof(v->palette)) != 0;
    written = v->window_written;
    v->all_dirty = v->window_written = false;
    v->shown = m;
    memcpy(v->shown_palette, v->palette, sizeof(v->palette));
    console_resize(c, m.width, m.height);
    if (m.kind == VGA_TEXT) {
        text_draw(v, &m, c, all);
    } else if (m.kind == VGA_BLANK) {
        if (all)
            blank_draw(&m, c);
    } else {
        bool known = dirty_collect(v);
        graphics_draw(v, &m, c, all || written || !known);
    }
    pthread_mutex_unlock(v->lock);
}
