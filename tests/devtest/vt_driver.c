/* vt_driver.c - the driver side of virtio 1.2 over PCI, as tests need it. */
#include "vt.h"

enum { RING_RESET_WAIT = 20000, WAIT_US = 5000000 };

uint32_t vt_config_read(struct vt_bus *b, uint8_t devfn, unsigned off, unsigned size)
{
    b->out(b, 0xcf8, 4, 0x80000000u | (uint32_t)devfn << 8 | (off & 0xfcu));
    return b->in(b, (uint16_t)(0xcfc + off % 4), size);
}

void vt_config_write(struct vt_bus *b, uint8_t devfn, unsigned off, unsigned size, uint32_t val)
{
    b->out(b, 0xcf8, 4, 0x80000000u | (uint32_t)devfn << 8 | (off & 0xfcu));
    b->out(b, (uint16_t)(0xcfc + off % 4), size, val);
}

uint64_t vt_map_bar(struct vt_bus *b, uint8_t devfn, unsigned bar, uint32_t size)
{
    unsigned off = 0x10 + 4 * bar;
    bool wide = (vt_config_read(b, devfn, off, 4) & 6) == 4;
    uint64_t at = ALIGN_UP(b->next_mmio, (uint64_t)size);

    b->next_mmio = at + size;
    vt_config_write(b, devfn, off, 4, (uint32_t)at);
    if (wide)
        vt_config_write(b, devfn, off + 4, 4, (uint32_t)(at >> 32));
    return at;
}

unsigned vt_msix_open(struct vt_bus *b, uint8_t devfn)
{
    unsigned cap = vt_config_read(b, devfn, 0x34, 1);

    while (cap && vt_config_read(b, devfn, cap, 1) != 0x11)
        cap = vt_config_read(b, devfn, cap + 1, 1);
    g_assert_cmpuint(cap, !=, 0);
    unsigned vectors = (vt_config_read(b, devfn, cap + 2, 2) & 0x7ffu) + 1;
    uint64_t table = vt_map_bar(b, devfn, vt_config_read(b, devfn, cap + 4, 4) & 7, 0x10000);
    vt_config_write(b, devfn, 0x04, 2, 6);
    for (unsigned v = 0; v < vectors; v++) {
        b->write(b, table + 16 * v, 4, 0xfee00000);
        b->write(b, table + 16 * v + 4, 4, 0);
        b->write(b, table + 16 * v + 8, 4, v);
        b->write(b, table + 16 * v + 12, 4, 0);
    }
    vt_config_write(b, devfn, cap + 2, 2, 0x8000);
    return vectors;
}

void vt_dev_open(struct vt_dev *d, struct vt_bus *b, uint8_t devfn, bool msix)
{
    uint64_t bar4;

    memset(d, 0, sizeof(*d));
    d->bus = b;
    d->devfn = devfn;
    g_assert_cmphex(vt_config_read(b, devfn, 0, 2), ==, 0x1af4);
    bar4 = vt_map_bar(b, devfn, 4, 0x4000);
    for (unsigned c = vt_config_read(b, devfn, 0x34, 1); c;
         c = vt_config_read(b, devfn, c + 1, 1)) {
        uint8_t id = (uint8_t)vt_config_read(b, devfn, c, 1);
        if (id != 0x09)
            continue;
        uint64_t at = bar4 + vt_config_read(b, devfn, c + 8, 4);
        switch (vt_config_read(b, devfn, c + 3, 1)) {
        case 1:
            d->common = at;
            break;
        case 2:
            d->notify = at;
            d->notify_multiplier = vt_config_read(b, devfn, c + 16, 4);
            break;
        case 3:
            d->isr = at;
            break;
        case 4:
            d->device = at;
            break;
        }
    }
    g_assert_cmphex(d->common, !=, 0);
    g_assert_cmphex(d->notify, !=, 0);
    vt_config_write(b, devfn, 0x04, 2, 6);
    if (msix)
        d->msix_vectors = vt_msix_open(b, devfn);
}

uint8_t vt_status(struct vt_dev *d)
{
    return (uint8_t)d->bus->read(d->bus, d->common + 0x14, 1);
}

void vt_set_status(struct vt_dev *d, uint8_t status)
{
    d->bus->write(d->bus, d->common + 0x14, 1, status);
}

uint64_t vt_host_features(struct vt_dev *d)
{
    struct vt_bus *b = d->bus;
    uint64_t f;

    b->write(b, d->common + 0x00, 4, 0);
    f = b->read(b, d->common + 0x04, 4);
    b->write(b, d->common + 0x00, 4, 1);
    return f | b->read(b, d->common + 0x04, 4) << 32;
}

void vt_negotiate(struct vt_dev *d, uint64_t wanted)
{
    struct vt_bus *b = d->bus;

    vt_reset(d);
    vt_set_status(d, 1);
    vt_set_status(d, 1 | 2);
    d->features = vt_host_features(d) & (wanted | BIT64(32));
    b->write(b, d->common + 0x08, 4, 0);
    b->write(b, d->common + 0x0c, 4, (uint32_t)d->features);
    b->write(b, d->common + 0x08, 4, 1);
    b->write(b, d->common + 0x0c, 4, d->features >> 32);
    vt_set_status(d, 1 | 2 | 8);
    g_assert_cmphex(vt_status(d) & 8, ==, 8);
    if (d->msix_vectors)
        b->write(b, d->common + 0x10, 2, 0);
}

void vt_driver_ok(struct vt_dev *d)
{
    vt_set_status(d, 1 | 2 | 8 | 4);
}

void vt_reset(struct vt_dev *d)
{
    vt_set_status(d, 0);
    for (int i = 0; i < RING_RESET_WAIT && vt_status(d); i++)
        vt_pump(d->bus, 1);
    g_assert_cmphex(vt_status(d), ==, 0);
}

uint64_t vt_cfg(struct vt_dev *d, unsigned off, unsigned size)
{
    uint64_t v = d->bus->read(d->bus, d->device + off, MIN_OF(size, 4u));
    if (size == 8)
        v |= d->bus->read(d->bus, d->device + off + 4, 4) << 32;
    return v;
}

void vt_cfg_write(struct vt_dev *d, unsigned off, unsigned size, uint64_t val)
{
    d->bus->write(d->bus, d->device + off, size, val);
}

bool vt_needs_reset(struct vt_dev *d)
{
    for (int i = 0; i < 200; i++) {
        if (vt_status(d) & 0x40)
            return true;
        vt_pump(d->bus, 1);
    }
    return false;
}

uint64_t vt_alloc(struct vt_bus *b, size_t len, size_t align)
{
    uint64_t at = ALIGN_UP(b->next_mem, (uint64_t)align);
    b->next_mem = at + len;
    return at;
}

void vt_queue_make(struct vt_queue *q, struct vt_dev *d, uint16_t index, uint16_t size)
{
    struct vt_bus *b = d->bus;
    uint8_t zero[4096] = {0};

    memset(q, 0, sizeof(*q));
    q->dev = d;
    q->index = index;
    q->size = size;
    q->desc = vt_alloc(b, 16ull * size, 16);
    q->avail = vt_alloc(b, 6 + 2ull * size, 2);
    q->used = vt_alloc(b, 6 + 8ull * size, 4);
    for (uint64_t at = q->desc; at < b->next_mem; at += sizeof(zero))
        b->mem_write(b, at, zero, MIN_OF(sizeof(zero), b->next_mem - at));
}

void vt_queue_open(struct vt_queue *q, struct vt_dev *d, uint16_t index, uint16_t size)
{
    struct vt_bus *b = d->bus;

    vt_queue_make(q, d, index, size);
    q->kick_bytes = 2;
    b->write(b, d->common + 0x16, 2, index);
    b->write(b, d->common + 0x18, 2, size);
    g_assert_cmpuint(b->read(b, d->common + 0x18, 2), ==, size);
    uint64_t areas[] = {q->desc, q->avail, q->used};
    for (unsigned i = 0; i < 3; i++) {
        b->write(b, d->common + 0x20 + 8 * i, 4, (uint32_t)areas[i]);
        b->write(b, d->common + 0x24 + 8 * i, 4, areas[i] >> 32);
    }
    if (d->msix_vectors)
        b->write(b, d->common + 0x1a, 2, 1);
    q->notify_addr = d->notify + b->read(b, d->common + 0x1e, 2) * d->notify_multiplier;
    b->write(b, d->common + 0x1c, 2, 1);
    g_assert_cmpuint(b->read(b, d->common + 0x1c, 2), ==, 1);
}

static void put_desc(struct vt_bus *b, uint64_t at, uint64_t addr, uint32_t len, uint16_t flags,
                     uint16_t next)
{
    vt_put(b, at, addr, 8);
    vt_put(b, at + 8, len, 4);
    vt_put(b, at + 12, flags, 2);
    vt_put(b, at + 14, next, 2);
}

void vt_desc(struct vt_queue *q, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
             uint16_t next)
{
    put_desc(q->dev->bus, q->desc + 16ull * i, addr, len, flags, next);
}

uint16_t vt_add(struct vt_queue *q, const struct vt_buf *bufs, unsigned count, bool indirect)
{
    struct vt_bus *b = q->dev->bus;
    uint16_t head = (uint16_t)(q->next_desc % q->size);
    uint64_t table = indirect ? vt_alloc(b, 16ull * count, 16) : 0;

    for (unsigned i = 0; i < count; i++) {
        uint16_t flags = (uint16_t)((bufs[i].write ? VT_WRITE : 0) | (i + 1 < count ? VT_NEXT : 0));
        if (indirect)
            put_desc(b, table + 16ull * i, bufs[i].gpa, bufs[i].len, flags, (uint16_t)(i + 1));
        else
            vt_desc(q, (uint16_t)((head + i) % q->size), bufs[i].gpa, bufs[i].len, flags,
                    (uint16_t)((head + i + 1) % q->size));
    }
    if (indirect)
        vt_desc(q, head, table, 16 * count, VT_INDIRECT, 0);
    q->next_desc = (uint16_t)(q->next_desc + (indirect ? 1 : count));
    vt_avail(q, head);
    return head;
}

void vt_avail(struct vt_queue *q, uint16_t head)
{
    struct vt_bus *b = q->dev->bus;

    vt_put(b, q->avail + 4 + 2ull * (q->avail_idx % q->size), head, 2);
    q->avail_idx++;
    vt_put(b, q->avail + 2, q->avail_idx, 2);
}

void vt_kick(struct vt_queue *q)
{
    q->dev->bus->write(q->dev->bus, q->notify_addr, q->kick_bytes, q->index);
}

uint16_t vt_used_idx(struct vt_queue *q)
{
    return (uint16_t)vt_get(q->dev->bus, q->used + 2, 2);
}

bool vt_wait(struct vt_queue *q, uint32_t *head, uint32_t *len)
{
    struct vt_bus *b = q->dev->bus;
    gint64 until = g_get_monotonic_time() + WAIT_US;

    while (vt_used_idx(q) == q->last_used) {
        if (g_get_monotonic_time() > until)
            return false;
        vt_pump(b, 1);
    }
    uint64_t at = q->used + 4 + 8ull * (q->last_used % q->size);
    q->last_used++;
    if (head)
        *head = (uint32_t)vt_get(b, at, 4);
    if (len)
        *len = (uint32_t)vt_get(b, at + 4, 4);
    return true;
}

void vt_pump(struct vt_bus *b, unsigned rounds)
{
    while (rounds--)
        b->pump(b);
}
