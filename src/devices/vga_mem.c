/* vga_mem.c - the window at 0xa0000: planes, latches, write modes, chained access.
 *
 * off counts from 0xa0000, up to 128 KiB. */
#include "vga_int.h"

#include "base/util.h"

/* A bit per plane as a byte per plane. */
static uint32_t planes(unsigned bits)
{
    return (bits & 1 ? 0xffu : 0) | (bits & 2 ? 0xff00u : 0) | (bits & 4 ? 0xff0000u : 0) |
           (bits & 8 ? 0xff000000u : 0);
}

/* Where the window's byte lies in the 64 or 128 KiB the guest has chosen; false: not decoded. */
static bool window_offset(const struct vga *v, uint32_t *off)
{
    switch (v->gr[6] >> 2 & 3) {
    case 0:
        break;
    case 1:
        if (*off >= 64 * KiB)
            return false;
        *off += vga_linear(v) ? v->dispi[DISPI_BANK] * (uint32_t)(64 * KiB) : 0;
        break;
    case 2:
        if (*off < 64 * KiB || *off >= 96 * KiB)
            return false;
        *off -= 64 * KiB;
        break;
    case 3:
        if (*off < 96 * KiB)
            return false;
        *off -= 96 * KiB;
        break;
    }
    return true;
}

uint8_t vga_window_read(struct vga *v, uint32_t off)
{
    uint32_t at, diff;

    if (!window_offset(v, &off))
        return 0xff;
    if (v->sr[4] & 8) /* chained: byte by byte */
        return off < v->vram_bytes ? v->bytes[off] : 0xff;
    if (v->gr[5] & 0x10) { /* odd and even addresses are two planes */
        at = (off & ~1u) << 1 | (v->gr[4] & 2) | (off & 1);
        return at < v->vram_bytes ? v->bytes[at] : 0xff;
    }
    at = off * 4;
    if (at + 4 > v->vram_bytes)
        return 0xff;
    v->latch = le32_get(v->bytes + at);
    if (!(v->gr[5] & 8))
        return (uint8_t)(v->latch >> (8 * v->gr[4]));
    /* read mode 1: which pixels have the colour */
    diff = (v->latch ^ planes(v->gr[2])) & planes(v->gr[7]);
    diff |= diff >> 16;
    diff |= diff >> 8;
    return (uint8_t)~diff;
}

static uint8_t rotate(uint8_t val, unsigned n)
{
    return (uint8_t)(val >> n | val << (8 - n));
}

static uint32_t four(uint8_t val)
{
    return val * 0x01010101u;
}

/* Write modes 0 to 3: the 32 bits that go to the planes, before the plane mask. */
static uint32_t planar_value(const struct vga *v, uint8_t val)
{
    uint32_t bits = four(v->gr[8]), out, set = planes(v->gr[0]), enable = planes(v->gr[1]);
    unsigned turn = v->gr[3] & 7;

    switch (v->gr[5] & 3) {
    case 1:
        return v->latch;
    case 2:
        out = planes(val & 15);
        break;
    case 3:
        bits &= four(rotate(val, turn));
        out = set;
        break;
    default:
        out = (four(rotate(val, turn)) & ~enable) | (set & enable);
    }
    switch (v->gr[3] >> 3 & 3) {
    case 1:
        out &= v->latch;
        break;
    case 2:
        out |= v->latch;
        break;
    case 3:
        out ^= v->latch;
        break;
    }
    return (out & bits) | (v->latch & ~bits);
}

void vga_window_write(struct vga *v, uint32_t off, uint8_t val)
{
    uint32_t at, mask;

    if (!window_offset(v, &off))
        return;
    v->window_written = true;
    if (v->sr[4] & 8) {
        if (off < v->vram_bytes && (v->sr[2] & BIT(off & 3)))
            v->bytes[off] = val;
        return;
    }
    if (v->gr[5] & 0x10) {
        unsigned plane = (v->gr[4] & 2) | (off & 1);
        at = (off & ~1u) << 1 | plane;
        if (at < v->vram_bytes && (v->sr[2] & BIT(plane)))
            v->bytes[at] = val;
        return;
    }
    at = off * 4;
    if (at + 4 > v->vram_bytes)
        return;
    mask = planes(v->sr[2]);
    le32_put(v->bytes + at, (le32_get(v->bytes + at) & ~mask) | (planar_value(v, val) & mask));
}
