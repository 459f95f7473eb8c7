/* pci_bus.c - buses and the host bridge: who sits where, and both ways into config space. */
#include "pci_internal.h"

#include "base/error.h"
#include "base/trace.h"
#include "base/util.h"

#include <assert.h>
#include <glib.h>

enum { CONFIG_ENABLE = 1u << 31 };

/* ---- buses ---- */

struct pci_bus *pci_bus_new(struct pci_host *h, struct pci_dev *bridge, const char *name)
{
    struct pci_bus *b = g_new0(struct pci_bus, 1), **at = &h->buses;

    b->host = h;
    b->bridge = bridge;
    b->name = g_strdup(name);
    while (*at)
        at = &(*at)->next;
    *at = b;
    return b;
}

void pci_bus_free(struct pci_bus *b)
{
    struct pci_bus **at;

    if (!b)
        return;
    for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++)
        assert(!b->slot[i]);
    for (at = &b->host->buses; *at != b; at = &(*at)->next)
        assert(*at);
    *at = b->next;
    g_free(b->name);
    g_free(b);
}

struct pci_bus *pci_bus_find(struct pci_host *h, const char *name)
{
    for (struct pci_bus *b = h->buses; b; b = b->next)
        if (strcmp(b->name, name) == 0)
            return b;
    return NULL;
}

void pci_bus_bars_update(struct pci_bus *b)
{
    for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++) {
        struct pci_dev *d = b->slot[i];
        if (!d)
            continue;
        pci_bars_update(d);
        if (d->is_bridge)
            pci_bridge_changed(d);
    }
}

static bool addr_number(const char **text, unsigned limit, unsigned *out)
{
    char *end;
    guint64 v = g_ascii_strtoull(*text, &end, 16);

    if (end == *text || !g_ascii_isxdigit(**text) || v >= limit)
        return false;
    *text = end;
    *out = (unsigned)v;
    return true;
}

static bool first_free_slot(struct pci_bus *b, uint8_t *devfn, GError **err)
{
    unsigned slots = b->hotplug ? 1 : 32;

    for (unsigned slot = b->bridge ? 0 : 1; slot < slots; slot++) {
        bool used = false;
        for (unsigned fn = 0; fn < 8; fn++)
            used |= b->slot[PCI_DEVFN(slot, fn)] != NULL;
        if (!used) {
            *devfn = PCI_DEVFN(slot, 0);
            return true;
        }
    }
    return error_set(err, HANOK_ERROR_BUSY, "PCI bus '%s' has no free slot", b->name);
}

/* Slot and function are hexadecimal, with or without 0x ("1f.3", "0x2.0x1"). */
bool pci_addr_parse(struct pci_bus *b, const char *addr, uint8_t *devfn, GError **err)
{
    const char *at = addr;
    unsigned slot, fn = 0;

    if (!addr)
        return first_free_slot(b, devfn, err);
    if (!addr_number(&at, 32, &slot) || (*at == '.' && (at++, !addr_number(&at, 8, &fn))) ||
        *at != '\0')
        return error_set(err, HANOK_ERROR_INVALID,
                         "'%s' is not a PCI address; give SLOT or SLOT.FUNCTION in hexadecimal, "
                         "slot 0 to 1f, function 0 to 7",
                         addr);
    if (b->hotplug && slot != 0)
        return error_set(err, HANOK_ERROR_INVALID, "PCI Express bus '%s' has only slot 0, not '%s'",
                         b->name, addr);
    *devfn = PCI_DEVFN(slot, fn);
    return true;
}

/* ---- coming and going ---- */

/* PCI 3.0 §3.2.2.3.4: functions above 0 are only looked for where function 0 says there are any. */
static bool multifunction_ok(struct pci_bus *b, struct pci_dev *d, uint8_t devfn, GError **err)
{
    struct pci_dev *first = b->slot[devfn & ~7u];

    if ((devfn & 7) && first && !first->multifunction)
        return error_set(err, HANOK_ERROR_INVALID,
                         "PCI slot %x of bus '%s' needs multifunction=on on its function 0 before "
                         "function %u can be used",
                         devfn >> 3, b->name, devfn & 7u);
    if ((devfn & 7) || d->multifunction)
        return true;
    for (unsigned fn = 1; fn < 8; fn++)
        if (b->slot[devfn + fn])
            return error_set(err, HANOK_ERROR_INVALID,
                             "PCI slot %x of bus '%s' already has function %u, so its function 0 "
                             "needs multifunction=on",
                             devfn >> 3, b->name, fn);
    return true;
}

bool pci_check_functions(const struct pci_host *h, GError **err)
{
    for (const struct pci_bus *b = h->buses; b; b = b->next) {
        for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++) {
            const struct pci_dev *d = b->slot[i];
            if (d && !b->slot[i & ~7u])
                return error_set(err, HANOK_ERROR_INVALID,
                                 "device '%s' at PCI slot %x, function %u of bus '%s' could not be "
                                 "found by a guest: nothing is at function 0 of that slot",
                                 d->dev.id ? d->dev.id : d->dev.ops->type, i >> 3, i & 7, b->name);
        }
    }
    return true;
}

bool pci_dev_plug(struct pci_dev *d, struct pci_bus *b, uint8_t devfn, const char *id, GError **err)
{
    g_autofree char *path = g_strdup_printf("%s/%02x.%x", b->name, devfn >> 3, devfn & 7u);
    struct pci_host *h = b->host;

    if (b->slot[devfn])
        return error_set(err, HANOK_ERROR_BUSY,
                         "PCI slot %x, function %x of bus '%s' is in use by "
                         "'%s'",
                         devfn >> 3, devfn & 7u, b->name,
                         b->slot[devfn]->dev.id ? b->slot[devfn]->dev.id
                                                : b->slot[devfn]->dev.ops->type);
    if (!multifunction_ok(b, d, devfn, err))
        return false;
    if (d->multifunction)
        d->config[PCI_HEADER_TYPE] |= 0x80;
    pthread_mutex_lock(&h->devices->lock);
    d->bus = b;
    d->devfn = devfn;
    d->initial = g_memdup2(d->config, sizeof(d->config));
    b->slot[devfn] = d;
    device_add(h->devices, &d->dev, &d->ops->dev, id, path);
    pci_intx_route(d);
    if (b->changed)
        b->changed(b, d, true);
    pthread_mutex_unlock(&h->devices->lock);
    return true;
}

void pci_dev_unplug(struct pci_dev *d)
{
    struct pci_bus *b = d->bus;

    if (!b)
        return; /* never plugged */
    assert(b->slot[d->devfn] == d);
    pthread_mutex_lock(&b->host->devices->lock);
    if (b->changed)
        b->changed(b, d, false);
    pci_bars_unmap(d);
    pci_rom_free(d);
    pci_intx_off(d);
    b->slot[d->devfn] = NULL;
    d->bus = NULL;
    device_remove(b->host->devices, &d->dev);
    g_clear_pointer(&d->initial, g_free);
    pthread_mutex_unlock(&b->host->devices->lock);
}

/* ---- config space by address ---- */

/* The bus a config cycle of that number reaches, following bus number ranges down from b. */
static struct pci_bus *bus_by_number(struct pci_bus *b, unsigned number)
{
    for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++) {
        struct pci_dev *d = b->slot[i];
        struct pci_bus *behind;
        unsigned secondary;
        if (!d || !d->is_bridge || !(behind = pci_bridge_bus(d)))
            continue;
        secondary = d->config[PCI_SECONDARY_BUS];
        if (secondary == 0 || number < secondary || number > d->config[PCI_SUBORDINATE_BUS])
            continue;
        return number == secondary ? behind : bus_by_number(behind, number);
    }
    return NULL;
}

static struct pci_dev *dev_by_address(struct pci_host *h, unsigned bus, unsigned devfn)
{
    struct pci_bus *b = bus == 0 ? h->root : bus_by_number(h->root, bus);

    return b && devfn < ARRAY_SIZE(b->slot) ? b->slot[devfn] : NULL;
}

uint32_t pci_host_read(struct pci_host *h, unsigned bus, unsigned devfn, unsigned off,
                       unsigned size)
{
    struct pci_dev *d = dev_by_address(h, bus, devfn);
    uint32_t v = size == 4 ? UINT32_MAX : (1u << (8 * size)) - 1;

    if (d && off + size <= PCI_CONFIG_SIZE)
        v = pci_config_read(d, off, size);
    TRACE(pci_config, "read %02x:%02x.%x +%x size %u = %x", bus, devfn >> 3, devfn & 7u, off, size,
          v);
    return v;
}

void pci_host_write(struct pci_host *h, unsigned bus, unsigned devfn, unsigned off, unsigned size,
                    uint32_t v)
{
    struct pci_dev *d = dev_by_address(h, bus, devfn);

    TRACE(pci_config, "write %02x:%02x.%x +%x size %u = %x", bus, devfn >> 3, devfn & 7u, off, size,
          v);
    if (d && off + size <= PCI_CONFIG_SIZE)
        pci_config_write(d, off, size, v);
}

/* ---- mechanism 1: ports 0xcf8 and 0xcfc (PCI 3.0 §3.2.2.3.2) ---- */

static uint64_t config_addr_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct pci_host *h = container_of(r, struct pci_host, config_addr_region);
    struct io_region *rc = h->reset_control;

    if (size == 4)
        return h->config_addr;
    return off == 1 && size == 1 && rc ? rc->ops->read(rc, 0, 1) : UINT64_MAX;
}

static void config_addr_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct pci_host *h = container_of(r, struct pci_host, config_addr_region);
    struct io_region *rc = h->reset_control;

    if (size == 4)
        h->config_addr = (uint32_t)val & ~(0x7f000000u | 3u);
    else if (off == 1 && size == 1 && rc)
        rc->ops->write(rc, 0, 1, val);
}

static uint64_t config_data_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct pci_host *h = container_of(r, struct pci_host, config_data_region);
    uint32_t a = h->config_addr;

    if (!(a & CONFIG_ENABLE))
        return UINT64_MAX;
    return pci_host_read(h, (a >> 16) & 0xff, (a >> 8) & 0xff, (a & 0xfc) + (unsigned)off, size);
}

static void config_data_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct pci_host *h = container_of(r, struct pci_host, config_data_region);
    uint32_t a = h->config_addr;

    if (a & CONFIG_ENABLE)
        pci_host_write(h, (a >> 16) & 0xff, (a >> 8) & 0xff, (a & 0xfc) + (unsigned)off, size,
                       (uint32_t)val);
}

/* ---- ECAM: one 4 KiB page per function (PCIe 4.0 §7.2.2) ---- */

static uint64_t ecam_read(struct io_region *r, uint64_t off, unsigned size)
{
    struct pci_host *h = container_of(r, struct pci_host, ecam_region);

    return pci_host_read(h, (unsigned)(off >> 20), (off >> 12) & 0xff, off & 0xfff, size);
}

static void ecam_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct pci_host *h = container_of(r, struct pci_host, ecam_region);

    pci_host_write(h, (unsigned)(off >> 20), (off >> 12) & 0xff, off & 0xfff, size, (uint32_t)val);
}

static const struct io_ops config_addr_ops = {
    .read = config_addr_read, .write = config_addr_write, .min_size = 1, .max_size = 4};
static const struct io_ops config_data_ops = {
    .read = config_data_read, .write = config_data_write, .min_size = 1, .max_size = 4};
static const struct io_ops ecam_ops = {
    .read = ecam_read, .write = ecam_write, .min_size = 1, .max_size = 4};

void pci_host_init(struct pci_host *h, struct device_list *devices, struct io_space *pio,
                   struct io_space *mmio, struct irqchip *irqchip, struct guest_mem *mem)
{
    h->devices = devices;
    h->pio = pio;
    h->mmio = mmio;
    h->irqchip = irqchip;
    h->mem = mem;
    pthread_mutex_init(&h->intx_lock, NULL);
    /* Above the reset control's byte, or a 32-bit write of the address would be cut into three. */
    h->config_addr_region = (struct io_region){.ops = &config_addr_ops,
                                               .name = "pci-config-address",
                                               .size_bytes = 4,
                                               .priority = 2,
                                               .lock = &devices->lock};
    h->config_data_region = (struct io_region){.ops = &config_data_ops,
                                               .name = "pci-config-data",
                                               .size_bytes = 4,
                                               .lock = &devices->lock};
    h->ecam_region =
        (struct io_region){.ops = &ecam_ops, .name = "pci-ecam", .lock = &devices->lock};
    io_space_add(pio, &h->config_addr_region, 0xcf8);
    io_space_add(pio, &h->config_data_region, 0xcfc);
    h->root = pci_bus_new(h, NULL, h->root_name ? h->root_name : "pcie.0");
}

void pci_host_fini(struct pci_host *h)
{
    pci_host_ecam(h, 0, 0);
    io_space_del(h->pio, &h->config_addr_region);
    io_space_del(h->pio, &h->config_data_region);
    pci_bus_free(h->root);
    h->root = NULL;
    assert(!h->buses); /* every bridge has taken its bus along */
    pthread_mutex_destroy(&h->intx_lock);
}

void pci_host_ecam(struct pci_host *h, uint64_t base, unsigned buses)
{
    uint64_t size = (uint64_t)buses << 20;

    if (h->ecam_region.added && h->ecam_region.base == base && h->ecam_region.size_bytes == size)
        return;
    io_space_del(h->mmio, &h->ecam_region);
    h->ecam_region.size_bytes = size;
    if (buses)
        io_space_add(h->mmio, &h->ecam_region, base);
}

void pci_host_remap(struct pci_host *h)
{
    pci_bus_bars_update(h->root);
}

void pci_host_reroute_intx(struct pci_host *h)
{
    for (struct pci_bus *b = h->buses; b; b = b->next)
        for (unsigned i = 0; i < ARRAY_SIZE(b->slot); i++)
            if (b->slot[i])
                pci_intx_route(b->slot[i]);
}
