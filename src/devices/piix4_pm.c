/* piix4_pm.c - the PIIX4's power-management function, 8086:7113: where the PM block lies, and a
 * system management bus without devices. */
#include "base/state.h"
#include "base/util.h"
#include "bus/io.h"
#include "devices/acpi_pm.h"
#include "devices/piix.h"

#include <glib.h>

/* SMBus host registers (82371AB §7.2.6). */
enum {
    SMB_BYTES = 16,
    SMB_STATUS = 0,
    SMB_CONTROL = 2,
    SMB_COMMAND = 3,
    SMB_ADDRESS = 4,
    SMB_DATA0 = 5,
    SMB_DATA1 = 6,
    SMB_START = 0x40,
    SMB_NOBODY = 0x04, /* device error: no acknowledge */
    SMB_CLEARABLE = 0x1e,
};

struct piix4_pm {
    struct pci_dev pci; /* first */
    struct pci_host *host;
    struct acpi_pm *pm;
    struct io_region smbus;
    uint8_t smb[SMB_BYTES];
};

static uint64_t smbus_read(struct io_region *r, uint64_t off, unsigned size)
{
    return container_of(r, struct piix4_pm, smbus)->smb[off];
}

static void smbus_write(struct io_region *r, uint64_t off, unsigned size, uint64_t val)
{
    struct piix4_pm *p = container_of(r, struct piix4_pm, smbus);

    switch (off) {
    case SMB_STATUS:
        p->smb[off] &= (uint8_t) ~(val & SMB_CLEARABLE);
        break;
    case SMB_CONTROL:
        p->smb[off] = val & 0x1d;
        if (val & SMB_START)
            p->smb[SMB_STATUS] |= SMB_NOBODY;
        break;
    case SMB_COMMAND:
    case SMB_ADDRESS:
    case SMB_DATA0:
    case SMB_DATA1:
        p->smb[off] = (uint8_t)val;
        break;
    }
}

static const struct io_ops smbus_ops = {smbus_read, smbus_write, 1, 1};

static void blocks_follow(struct piix4_pm *p)
{
    const uint8_t *c = p->pci.config;
    uint16_t smb_base = le16_get(c + PIIX4_SMBBASE) & 0xfff0;
    bool smb_on = (c[PIIX4_SMBHSTCFG] & PIIX4_SMB_ENABLE) && smb_base;

    acpi_pm_map(p->pm, le16_get(c + PIIX4_PMBASE) & 0xffc0, c[PIIX4_PMREGMISC] & PIIX4_PM_ENABLE);
    if (p->smbus.added && smb_on && p->smbus.base == smb_base)
        return;
    io_space_del(p->host->pio, &p->smbus);
    if (smb_on)
        io_space_add(p->host->pio, &p->smbus, smb_base);
}

static void piix4_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    blocks_follow(container_of(d, struct piix4_pm, pci));
}

static void piix4_reset(struct device *dev)
{
    struct piix4_pm *p = container_of(dev, struct piix4_pm, pci.dev);

    memset(p->smb, 0, sizeof(p->smb));
    pci_dev_reset(&p->pci);
    blocks_follow(p);
}

static void piix4_destroy(struct device *dev)
{
    struct piix4_pm *p = container_of(dev, struct piix4_pm, pci.dev);

    io_space_del(p->host->pio, &p->smbus);
    pci_dev_unplug(&p->pci);
    g_free(p);
}

static bool piix4_post_load(void *obj, uint32_t version, GError **err)
{
    blocks_follow(obj);
    return true;
}

static const struct state_field piix4_fields[] = {
    STATE_STRUCT(struct piix4_pm, pci, pci_dev_state),
    STATE_BYTES(struct piix4_pm, smb),
    STATE_END,
};
static const struct state_desc piix4_state = {.name = "piix4-pm-function",
                                              .version = 1,
                                              .fields = piix4_fields,
                                              .post_load = piix4_post_load};
static const struct pci_dev_ops piix4_ops = {
    .dev = {.type = "PIIX4_PM",
            .reset = piix4_reset,
            .destroy = piix4_destroy,
            .state = &piix4_state},
    .config_written = piix4_config_written,
};

static void registers_init(struct pci_dev *d)
{
    uint8_t *c = d->config, *w = d->wmask;

    c[PCI_INT_PIN] = 1;
    c[PIIX4_PMBASE] = 1;
    le16_put(w + PIIX4_PMBASE, 0xffc0);
    memset(w + 0x44, 0xff, 0x7c - 0x44); /* activity and device resources: stored */
    /* APMC_EN: as if set up, so that firmware installs no SMI handler. */
    c[0x5b] = 0x02;
    c[0x5f] = 0x90; /* the ports of a PC are decoded */
    c[0x63] = 0x60;
    c[0x67] = 0x98;
    w[PIIX4_PMREGMISC] = PIIX4_PM_ENABLE;
    c[PIIX4_SMBBASE] = 1;
    le16_put(w + PIIX4_SMBBASE, 0xfff0);
    w[PIIX4_SMBHSTCFG] = 0x0f;
}

struct pci_dev *piix4_pm_new(struct pci_host *h, struct acpi_pm *pm, GError **err)
{
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x7113,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .revision = 3,
                                     .subclass = 0x80,
                                     .base_class = 0x06};
    struct piix4_pm *p = g_new0(struct piix4_pm, 1);

    p->host = h;
    p->pm = pm;
    p->smbus = (struct io_region){
        .ops = &smbus_ops, .name = "smbus", .size_bytes = SMB_BYTES, .lock = &h->devices->lock};
    pci_dev_init(&p->pci, &piix4_ops, &id);
    registers_init(&p->pci);
    if (pci_dev_plug(&p->pci, h->root, PCI_DEVFN(1, 3), NULL, err))
        return &p->pci;
    g_free(p);
    return NULL;
}
