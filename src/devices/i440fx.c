/* i440fx.c - the 82441FX host bridge, 8086:1237. */
#include "base/state.h"
#include "base/util.h"
#include "devices/piix.h"
#include "devices/shadow.h"

#include <glib.h>

struct i440fx {
    struct pci_dev pci; /* first */
    struct pci_host *host;
    struct shadow *shadow; /* may be NULL */
    uint8_t smram;         /* the register as last taken */
    uint32_t config_addr;  /* the host's, while saving and loading */
};

static void shadow_follow(struct i440fx *b)
{
    if (b->shadow)
        shadow_registers(b->shadow, b->pci.config + I440FX_PAM0, b->pci.config[I440FX_SMRAM]);
}

/* Once locked, SMRAM is closed and stays as it is until a reset (§3.2.21). */
static void smram_follow(struct i440fx *b)
{
    uint8_t *now = b->pci.config + I440FX_SMRAM;

    if (b->smram & SHADOW_SMRAM_LOCK)
        *now = b->smram;
    if (*now & SHADOW_SMRAM_LOCK)
        *now &= (uint8_t)~SHADOW_SMRAM_OPEN;
    b->smram = *now;
}

static void i440fx_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct i440fx *b = container_of(d, struct i440fx, pci);

    if (off > I440FX_SMRAM || off + size <= I440FX_PAM0)
        return;
    smram_follow(b);
    shadow_follow(b);
}

static void i440fx_reset(struct device *dev)
{
    struct i440fx *b = container_of(dev, struct i440fx, pci.dev);

    pci_dev_reset(&b->pci);
    b->smram = b->pci.config[I440FX_SMRAM];
    b->host->config_addr = 0;
    shadow_follow(b);
}

static void i440fx_destroy(struct device *dev)
{
    struct i440fx *b = container_of(dev, struct i440fx, pci.dev);

    pci_dev_unplug(&b->pci);
    g_free(b);
}

static void i440fx_pre_save(void *obj)
{
    struct i440fx *b = obj;
    b->config_addr = b->host->config_addr;
}

static bool i440fx_post_load(void *obj, uint32_t version, GError **err)
{
    struct i440fx *b = obj;

    b->host->config_addr = b->config_addr & ~0x7f000003u;
    b->smram = 0;
    smram_follow(b);
    shadow_follow(b);
    return true;
}

static const struct state_field i440fx_fields[] = {
    STATE_STRUCT(struct i440fx, pci, pci_dev_state),
    STATE_U32(struct i440fx, config_addr),
    STATE_END,
};
static const struct state_desc i440fx_state = {.name = "i440fx",
                                               .version = 1,
                                               .fields = i440fx_fields,
                                               .pre_save = i440fx_pre_save,
                                               .post_load = i440fx_post_load};
static const struct pci_dev_ops i440fx_ops = {
    .dev = {.type = "i440FX",
            .reset = i440fx_reset,
            .destroy = i440fx_destroy,
            .state = &i440fx_state},
    .config_written = i440fx_config_written,
};

struct pci_dev *i440fx_new(struct pci_host *h, struct shadow *shadow, GError **err)
{
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x1237,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .revision = 2,
                                     .base_class = 0x06};
    struct i440fx *b = g_new0(struct i440fx, 1);
    uint8_t *w = b->pci.wmask;

    b->host = h;
    b->shadow = shadow;
    pci_dev_init(&b->pci, &i440fx_ops, &id);
    w[I440FX_PAM0] = 0x30;
    memset(w + I440FX_PAM0 + 1, 0x33, 6);
    b->smram = b->pci.config[I440FX_SMRAM] = 0x02;
    w[I440FX_SMRAM] =
        SHADOW_SMRAM_OPEN | SHADOW_SMRAM_CLOSED | SHADOW_SMRAM_LOCK | SHADOW_SMRAM_ENABLE;
    if (pci_dev_plug(&b->pci, h->root, PCI_DEVFN(0, 0), NULL, err))
        return &b->pci;
    g_free(b);
    return NULL;
}
