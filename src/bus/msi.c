/* msi.c - MSI with one vector and a 64-bit address (PCI 3.0 §6.8.1): a message is a memory write of
 * the function, so it needs bus mastering.  All of it is config space, which is saved as such. */
#include "base/util.h"
#include "pci_internal.h"

#include <assert.h>

enum {
    CONTROL = 2,
    ADDRESS = 4,
    DATA = 12,
    CAP_BYTES = 14,
    CONTROL_ENABLE = 0x01,
    CONTROL_64BIT = 0x80,
};

void msi_init(struct pci_dev *d)
{
    uint8_t cap = d->msi_cap = pci_cap_add(d, PCI_CAP_MSI, CAP_BYTES);

    d->config[cap + CONTROL] = CONTROL_64BIT;
    d->wmask[cap + CONTROL] = CONTROL_ENABLE;
    le32_put(d->wmask + cap + ADDRESS, 0xfffffffc);
    le32_put(d->wmask + cap + ADDRESS + 4, UINT32_MAX);
    le16_put(d->wmask + cap + DATA, UINT16_MAX);
}

bool msi_enabled(const struct pci_dev *d)
{
    return d->msi_cap && (d->config[d->msi_cap + CONTROL] & CONTROL_ENABLE);
}

void msi_notify(struct pci_dev *d)
{
    const uint8_t *c = d->config + d->msi_cap;

    assert(d->msi_cap);
    if (msi_enabled(d) && pci_bus_master(d))
        irqchip_send_msi(d->bus->host->irqchip, le64_get(c + ADDRESS), le16_get(c + DATA));
}
