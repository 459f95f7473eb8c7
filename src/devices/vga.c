/* vga.c - the card on its bus: ports, window, BARs, reset, state. */
#include "vga_int.h"

#include "base/error.h"
#include "base/util.h"
#include "display/console.h"

#include <glib.h>

enum {
    WINDOW_BASE = 0xa0000,
    WINDOW_BYTES = 0x20000,
    PORTS_BASE = 0x3b0,
    PORTS_BYTES = 0x30,
    DISPI_BASE = 0x1ce,
    MMIO_BYTES = 4096,
    MMIO_PORTS = 0x400, /* 0x3c0-0x3df */
    MMIO_DISPI = 0x500,
    MMIO_EXTRA = 0x600, /* its size, the byte order */
    VRAM_DEFAULT = 16 * 1024 * 1024,
};
#define LITTLE_ENDIAN_WORD 0x1e1e1e1eu

static struct vga *vga_of(struct pci_dev *d)
{
    return container_of(d, struct vga, pci);
}

/* ---- accesses ---- */

static uint64_t window_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct vga *v = container_of(r, struct vga, window);
    uint64_t val = 0;

    for (unsigned i = 0; i < size; i++)
        val |= (uint64_t)vga_window_read(v, (uint32_t)off + i) << (8 * i);
    return val;
}

static void window_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = container_of(r, struct vga, window);

    for (unsigned i = 0; i < size; i++)
        vga_window_write(v, (uint32_t)off + i, (uint8_t)(val >> (8 * i)));
}

static const struct io_ops window_ops = {window_read, window_write, 1, 8};

static uint64_t ports_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct vga *v = container_of(r, struct vga, ports);
    uint64_t val = 0;

    for (unsigned i = 0; i < size; i++)
        val |= (uint64_t)vga_port_read(v, PORTS_BASE + (unsigned)off + i) << (8 * i);
    return val;
}

static void ports_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = container_of(r, struct vga, ports);

    for (unsigned i = 0; i < size; i++)
        vga_port_write(v, PORTS_BASE + (unsigned)off + i, (uint8_t)(val >> (8 * i)));
}

static const struct io_ops ports_ops = {ports_read, ports_write, 1, 2};

/* Index at 0x1ce, data at 0x1cf, and at 0x1d0 for those who want words aligned.  Each is a region
 * of a word, the later ones over the earlier, so that a word is one access whatever its address. */
static uint64_t index_read(struct io_region *r, uint64_t off, unsigned size)
{
    return container_of(r, struct vga, dispi_port[0])->dispi_index;
}

static void index_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    container_of(r, struct vga, dispi_port[0])->dispi_index = (uint16_t)val;
}

static uint64_t data_read(struct io_region *r, uint64_t off, unsigned size)
{
    return vga_dispi_read(container_of(r, struct vga, dispi_port[1]));
}

static void data_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    vga_dispi_write(container_of(r, struct vga, dispi_port[1]), (uint16_t)val);
}

static uint64_t data_read_aligned(struct io_region *r, uint64_t off, unsigned size)
{
    return vga_dispi_read(container_of(r, struct vga, dispi_port[2]));
}

static void data_write_aligned(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    vga_dispi_write(container_of(r, struct vga, dispi_port[2]), (uint16_t)val);
}

static const struct io_ops dispi_ops[] = {{index_read, index_write, 1, 2},
                                          {data_read, data_write, 1, 2},
                                          {data_read_aligned, data_write_aligned, 1, 2}};

/* BAR 0 where no vcpu sees it as RAM (yet). */
static uint64_t lfb_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct vga *v = container_of(r, struct vga, lfb);
    uint64_t val = 0;

    memcpy(&val, v->bytes + off, size);
    return val;
}

static void lfb_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = container_of(r, struct vga, lfb);

    memcpy(v->bytes + off, &val, size);
    v->window_written = true;
}

static const struct io_ops lfb_ops = {lfb_read, lfb_write, 1, 8};

/* BAR 2: EDID, the ports, the display interface. */
static uint64_t mmio_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct vga *v = container_of(r, struct vga, mmio);

    if (off + size <= sizeof(v->edid))
        return size == 1 ? v->edid[off] : le16_get(v->edid + off);
    if (!v->no_vga && off >= MMIO_PORTS && off < MMIO_PORTS + 0x20) {
        uint64_t low = vga_port_read(v, 0x3c0 + (unsigned)off - MMIO_PORTS);
        return size == 1 ? low : low | vga_port_read(v, 0x3c1 + (unsigned)off - MMIO_PORTS) << 8;
    }
    if (off >= MMIO_DISPI && off < MMIO_DISPI + 2 * DISPI_COUNT) {
        uint16_t index = v->dispi_index, val;
        v->dispi_index = (uint16_t)((off - MMIO_DISPI) / 2);
        val = vga_dispi_read(v);
        v->dispi_index = index;
        return val >> (8 * (off & 1));
    }
    return off == MMIO_EXTRA       ? 8
           : off == MMIO_EXTRA + 4 ? LITTLE_ENDIAN_WORD & 0xffff
           : off == MMIO_EXTRA + 6 ? LITTLE_ENDIAN_WORD >> 16
                                   : 0;
}

static void mmio_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = container_of(r, struct vga, mmio);

    if (off >= MMIO_PORTS && off < MMIO_PORTS + 0x20) {
        for (unsigned i = 0; !v->no_vga && i < size; i++)
            vga_port_write(v, 0x3c0 + (unsigned)off - MMIO_PORTS + i, (uint8_t)(val >> (8 * i)));
    } else if (off >= MMIO_DISPI && off < MMIO_DISPI + 2 * DISPI_COUNT && size == 2) {
        uint16_t index = v->dispi_index;
        v->dispi_index = (uint16_t)((off - MMIO_DISPI) / 2);
        vga_dispi_write(v, (uint16_t)val);
        v->dispi_index = index;
    }
}

static const struct io_ops mmio_ops = {mmio_read, mmio_write, 1, 2};

/* ---- device ---- */

static void lfb_follow(struct vga *v)
{
    uint64_t at = v->fn->bar[0].mapped_at;
    struct mem_piece p = {at, v->vram_bytes, v->vram, 0, GUEST_RAM};

    if (mem_layout_set(&v->layout, &p, at != UINT64_MAX) && v->req->map_changed)
        v->req->map_changed(v->req->opaque);
}

void vga_part_bar_moved(struct vga *v, unsigned bar)
{
    if (bar == 0)
        lfb_follow(v);
}

static void vga_bar_moved(struct pci_dev *d, unsigned i)
{
    vga_part_bar_moved(vga_of(d), i);
}

/* The old addresses answer while the command register lets them (PCI 2.2 §3.10). */
static void legacy_decode(struct vga *v)
{
    uint16_t cmd = le16_get(v->fn->config + PCI_COMMAND);

    if (v->no_vga)
        return;
    if (!(cmd & PCI_CMD_MEM))
        io_space_del(v->mmio_space, &v->window);
    else if (!v->window.added)
        io_space_add(v->mmio_space, &v->window, WINDOW_BASE);
    if (!(cmd & PCI_CMD_IO))
        io_space_del(v->pio, &v->ports);
    else if (!v->ports.added)
        io_space_add(v->pio, &v->ports, PORTS_BASE);
    for (unsigned i = 0; i < ARRAY_SIZE(v->dispi_port); i++) {
        if (!(cmd & PCI_CMD_IO))
            io_space_del(v->pio, &v->dispi_port[i]);
        else if (!v->dispi_port[i].added)
            io_space_add(v->pio, &v->dispi_port[i], DISPI_BASE + i);
    }
}

void vga_part_config_written(struct vga *v, unsigned off, unsigned size)
{
    if (off < PCI_COMMAND + 2 && off + size > PCI_COMMAND)
        legacy_decode(v);
}

static void vga_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    vga_part_config_written(vga_of(d), off, size);
}

static void vga_reset(struct device *dev)
{
    struct vga *v = container_of(dev, struct vga, pci.dev);

    pci_dev_reset(&v->pci);
    legacy_decode(v);
    vga_regs_reset(v);
}

static void part_reset(struct device *dev)
{
    vga_regs_reset(container_of(dev, struct vga, pci.dev));
}

/* The function has left its bus; nothing else of the card is on the board. */
static void vga_free(struct vga *v)
{
    mem_layout_remove(v->mem, &v->layout);
    ram_block_free(v->vram);
    g_free(v->dirty);
    g_free(v);
}

static void legacy_hide(struct vga *v)
{
    io_space_del(v->mmio_space, &v->window);
    io_space_del(v->pio, &v->ports);
    for (unsigned i = 0; i < ARRAY_SIZE(v->dispi_port); i++)
        io_space_del(v->pio, &v->dispi_port[i]);
}

static void vga_destroy(struct device *dev)
{
    struct vga *v = container_of(dev, struct vga, pci.dev);

    console_free(v->console);
    legacy_hide(v);
    pci_dev_unplug(&v->pci);
    vga_free(v);
}

void vga_part_free(struct vga *v)
{
    legacy_hide(v);
    if (v->pci.dev.list)
        device_remove(v->pci.dev.list, &v->pci.dev);
    vga_free(v);
}

/* Pages of zeros are left out: offset, then 4096 bytes; an offset of all ones ends. */
static void vram_save(struct state_writer *w, const void *obj)
{
    const struct vga *v = obj;
    static const uint8_t zero[4096];

    for (uint32_t at = 0; at < v->vram_bytes; at += sizeof(zero)) {
        if (memcmp(v->bytes + at, zero, sizeof(zero)) == 0)
            continue;
        state_put_u32(w, at);
        state_put_bytes(w, v->bytes + at, sizeof(zero));
    }
    state_put_u32(w, UINT32_MAX);
}

static bool vram_load(struct state_reader *r, void *obj, GError **err)
{
    struct vga *v = obj;
    uint32_t at;

    memset(v->bytes, 0, v->vram_bytes);
    while ((at = state_get_u32(r)) != UINT32_MAX)
        if (at % 4096 || at >= v->vram_bytes || !state_get_bytes(r, v->bytes + at, 4096))
            return error_set(err, HANOK_ERROR_CORRUPT, "the video memory does not fit this card");
    return true;
}

static bool vga_post_load(void *obj, uint32_t version, GError **err)
{
    struct vga *v = obj;
    bool known = v->sr_index < sizeof(v->sr) && v->gr_index < sizeof(v->gr) &&
                 v->cr_index < sizeof(v->cr) && v->dac_sub < 3 && v->gr[4] < 4;

    if (!known)
        return error_set(err, HANOK_ERROR_CORRUPT, "a VGA index register is out of range");
    vga_dispi_loaded(v);
    legacy_decode(v);
    v->all_dirty = true;
    return true;
}

static const struct state_field part_fields[] = {
    STATE_U8(struct vga, misc),
    STATE_U8(struct vga, feature),
    STATE_U8(struct vga, status_toggle),
    STATE_U8(struct vga, sr_index),
    STATE_U8(struct vga, gr_index),
    STATE_U8(struct vga, cr_index),
    STATE_U8(struct vga, ar_index),
    STATE_BOOL(struct vga, ar_data),
    STATE_BYTES(struct vga, sr),
    STATE_BYTES(struct vga, gr),
    STATE_BYTES(struct vga, cr),
    STATE_BYTES(struct vga, ar),
    STATE_BYTES(struct vga, dac),
    STATE_U8(struct vga, dac_mask),
    STATE_U8(struct vga, dac_read_index),
    STATE_U8(struct vga, dac_write_index),
    STATE_U8(struct vga, dac_sub),
    STATE_U8(struct vga, dac_state),
    STATE_BYTES(struct vga, dac_cache),
    STATE_U32(struct vga, latch),
    STATE_U16(struct vga, dispi_index),
    STATE_UINT_ARRAY(struct vga, dispi),
    STATE_CUSTOM("vram", vram_save, vram_load),
    STATE_END,
};
static const struct state_desc part_state = {
    .name = "vga-part", .version = 1, .fields = part_fields, .post_load = vga_post_load};
static const struct state_field vga_fields[] = {
    STATE_STRUCT(struct vga, pci, pci_dev_state),
    {.name = "part",
     .kind = STATE_KIND_STRUCT,
     .size = sizeof(struct vga),
     .count = 1,
     .sub = &part_state},
    STATE_END,
};
static const struct state_desc vga_state = {.name = "vga", .version = 1, .fields = vga_fields};
static const struct pci_dev_ops vga_ops = {
    .dev = {.type = "VGA", .reset = vga_reset, .destroy = vga_destroy, .state = &vga_state},
    .config_written = vga_config_written,
    .bar_moved = vga_bar_moved,
};
static const struct pci_dev_ops bochs_ops = {
    .dev = {.type = "bochs-display",
            .reset = vga_reset,
            .destroy = vga_destroy,
            .state = &vga_state},
    .bar_moved = vga_bar_moved,
};

static void regions_make(struct vga *v, pthread_mutex_t *lock)
{
    v->window = (struct io_region){
        .ops = &window_ops, .name = "vga-window", .size_bytes = WINDOW_BYTES, .lock = lock};
    v->ports = (struct io_region){
        .ops = &ports_ops, .name = "vga", .size_bytes = PORTS_BYTES, .lock = lock};
    for (unsigned i = 0; i < ARRAY_SIZE(v->dispi_port); i++)
        v->dispi_port[i] = (struct io_region){
            .ops = &dispi_ops[i], .name = "vbe", .size_bytes = 2, .priority = (int)i, .lock = lock};
    v->lfb = (struct io_region){
        .ops = &lfb_ops, .name = "vga-memory", .size_bytes = v->vram_bytes, .lock = lock};
    v->mmio = (struct io_region){
        .ops = &mmio_ops, .name = "vga-mmio", .size_bytes = MMIO_BYTES, .lock = lock};
}

/* All but its function. */
static struct vga *make(struct pci_bus *bus, const struct vga_config *cfg, GError **err)
{
    uint32_t bytes = cfg->vram_bytes ? cfg->vram_bytes : VRAM_DEFAULT;
    struct vga *v;

    if (bytes < MiB || bytes > 256 * MiB || (bytes & (bytes - 1))) {
        error_set(err, HANOK_ERROR_INVALID,
                  "video memory must be a power of two from 1 to 256 MiB");
        return NULL;
    }
    v = g_new0(struct vga, 1);
    v->vram_bytes = bytes;
    v->vram = ram_block_new("vga.vram", bytes, false, false, err);
    if (!v->vram) {
        g_free(v);
        return NULL;
    }
    ram_block_sparse(v->vram); /* a text screen is 4 KiB */
    v->bytes = ram_block_host(v->vram);
    v->dirty_words = (bytes / 4096 + 63) / 64;
    v->dirty = g_new0(uint64_t, v->dirty_words);
    v->pio = bus->host->pio;
    v->mmio_space = bus->host->mmio;
    v->mem = bus->host->mem;
    v->lock = &bus->host->devices->lock;
    v->req = cfg->req;
    v->layout.watched = cfg->watched;
    if (cfg->width)
        edid_make(v->edid, cfg->width, cfg->height);
    regions_make(v, v->lock);
    return v;
}

static void join(struct vga *v, struct pci_dev *fn)
{
    v->fn = fn;
    pci_bar_set(fn, 0, PCI_BAR_MEM32, true, &v->lfb);
    pci_bar_set(fn, 2, PCI_BAR_MEM32, false, &v->mmio);
    vga_regs_reset(v);
    mem_layout_add(v->mem, &v->layout);
}

struct pci_dev *vga_new(struct pci_bus *bus, uint8_t devfn, const struct vga_config *cfg,
                        GError **err)
{
    static const struct pci_id ids = {.vendor = 0x1234,
                                      .device = 0x1111,
                                      .subsys_vendor = 0x1af4,
                                      .subsys = 0x1100,
                                      .revision = 2,
                                      .base_class = 0x03};
    struct vga *v = make(bus, cfg, err);

    if (!v)
        return NULL;
    v->no_vga = cfg->no_vga;
    pci_dev_init(&v->pci, v->no_vga ? &bochs_ops : &vga_ops, &ids);
    if (v->no_vga)
        v->pci.config[PCI_CLASS] = 0x80; /* another display controller */
    v->pci.multifunction = cfg->multifunction;
    join(v, &v->pci);
    if (pci_dev_plug(&v->pci, bus, devfn, cfg->id, err)) {
        v->console = console_new(&(struct console_source){.update = vga_update, .opaque = v});
        return &v->pci;
    }
    vga_free(v);
    return NULL;
}

struct vga *vga_part_new(struct pci_bus *bus, struct pci_dev *fn, const struct vga_config *cfg,
                         GError **err)
{
    static const struct device_ops ops = {
        .type = "vga-part", .reset = part_reset, .state = &part_state};
    struct vga *v = make(bus, cfg, err);

    if (!v)
        return NULL;
    join(v, fn);
    device_add(bus->host->devices, &v->pci.dev, &ops, NULL, "vga-part");
    return v;
}
