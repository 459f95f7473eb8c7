/* mch.c - the q35 memory controller hub as the guest's firmware sees it: 8086:29c0. */
#include "base/state.h"
#include "base/util.h"
#include "devices/chipset.h"
#include "devices/shadow.h"
#include "devices/smram.h"

#include <glib.h>

enum { EXBAR_ENABLE = 1, EXBAR_SIZE_SHIFT = 1, EXBAR_SIZE_MASK = 3 };

struct mch {
    struct pci_dev pci; /* first */
    struct pci_host *host;
    struct shadow *shadow; /* may be NULL */
    struct smram *smram;   /* NULL: there is no SMM */
    uint8_t locked;        /* SMRAM with D_LCK set, as taken then; else 0 */
    uint8_t locked_ext;    /* and ESMRAMC */
    uint32_t config_addr;  /* the host's, while saving and loading */
};

/* 82Q35 §5.1.13: size 0 = 256 MiB (buses 0-255), 1 = 128, 2 = 64, 3 reserved (off). */
static void ecam_update(struct mch *m)
{
    uint64_t v = le64_get(m->pci.config + MCH_PCIEXBAR);
    unsigned size = (v >> EXBAR_SIZE_SHIFT) & EXBAR_SIZE_MASK, buses = 256u >> size;
    uint64_t base = ALIGN_DOWN(v & UINT64_C(0xfffffffff), (uint64_t)buses * MiB);

    pci_host_ecam(m->host, base, (v & EXBAR_ENABLE) && size != 3 && base ? buses : 0);
}

/* Once locked, SMRAM is closed, and both registers stay as they are until a reset. */
static void smram_follow(struct mch *m)
{
    uint8_t *c = m->pci.config;

    if (!m->smram)
        return;
    if (m->locked) {
        c[MCH_SMRAM] = m->locked;
        c[MCH_ESMRAMC] = m->locked_ext;
    } else if (c[MCH_SMRAM] & SHADOW_SMRAM_LOCK) {
        c[MCH_SMRAM] &= (uint8_t)~SHADOW_SMRAM_OPEN;
        m->locked = c[MCH_SMRAM];
        m->locked_ext = c[MCH_ESMRAMC];
    }
    smram_registers(m->smram, c[MCH_SMRAM], c[MCH_ESMRAMC]);
}

static void shadow_follow(struct mch *m)
{
    smram_follow(m);
    if (m->shadow)
        shadow_registers(m->shadow, m->pci.config + MCH_PAM0, m->pci.config[MCH_SMRAM]);
}

static void mch_config_written(struct pci_dev *d, unsigned off, unsigned size)
{
    struct mch *m = container_of(d, struct mch, pci);

    if (off < MCH_PCIEXBAR + 8 && off + size > MCH_PCIEXBAR)
        ecam_update(m);
    if (off <= MCH_ESMRAMC && off + size > MCH_PAM0)
        shadow_follow(m);
}

static void mch_reset(struct device *dev)
{
    struct mch *m = container_of(dev, struct mch, pci.dev);

    pci_dev_reset(&m->pci);
    m->locked = 0;
    m->host->config_addr = 0;
    ecam_update(m);
    shadow_follow(m);
}

static void mch_destroy(struct device *dev)
{
    struct mch *m = container_of(dev, struct mch, pci.dev);

    pci_dev_unplug(&m->pci);
    g_free(m);
}

static void mch_pre_save(void *obj)
{
    struct mch *m = obj;
    m->config_addr = m->host->config_addr;
}

static bool mch_post_load(void *obj, uint32_t version, GError **err)
{
    struct mch *m = obj;

    m->host->config_addr = m->config_addr & ~0x7f000003u;
    m->locked = 0;
    ecam_update(m);
    shadow_follow(m);
    return true;
}

static const struct state_field mch_fields[] = {
    STATE_STRUCT(struct mch, pci, pci_dev_state),
    STATE_U32(struct mch, config_addr),
    STATE_END,
};
static const struct state_desc mch_state = {.name = "mch",
                                            .version = 1,
                                            .fields = mch_fields,
                                            .pre_save = mch_pre_save,
                                            .post_load = mch_post_load};
static const struct pci_dev_ops mch_ops = {
    .dev = {.type = "mch", .reset = mch_reset, .destroy = mch_destroy, .state = &mch_state},
    .config_written = mch_config_written,
};

struct pci_dev *mch_new(struct pci_host *h, struct shadow *shadow, struct smram *smram,
                        GError **err)
{
    static const struct pci_id id = {.vendor = 0x8086,
                                     .device = 0x29c0,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .base_class = 0x06};
    struct mch *m = g_new0(struct mch, 1);
    uint8_t *w = m->pci.wmask;

    m->host = h;
    m->shadow = shadow;
    m->smram = smram;
    pci_dev_init(&m->pci, &mch_ops, &id);
    le32_put(w + MCH_PCIEXBAR, 0xfc000007);
    le32_put(w + MCH_PCIEXBAR + 4, 0xf);
    w[MCH_PAM0] = 0x30;
    memset(w + MCH_PAM0 + 1, 0x33, 6);
    m->pci.config[MCH_SMRAM] = 0x02;
    w[MCH_SMRAM] = 0x78;
    w[MCH_ESMRAMC] = 0x87;
    if (smram) {
        m->pci.config[MCH_EXT_TSEG] = SMRAM_TSEG_EXT_MB;
        m->pci.config[MCH_ESMRAMC] = 0x38; /* SMRAM is cached, not to be changed */
        w[MCH_ESMRAMC] = ESMRAMC_T_EN | ESMRAMC_TSEG_SZ;
        /* Where firmware notes what lies at the top of low memory; TSEG ends there anyway. */
        le32_put(w + MCH_GBSM, 0xfff00000);
        le32_put(w + MCH_BGSM, 0xfff00000);
        le32_put(w + MCH_TSEGMB, 0xfff00000);
        le16_put(w + MCH_TOLUD, 0xfff0);
    }
    if (pci_dev_plug(&m->pci, h->root, PCI_DEVFN(0, 0), NULL, err))
        return &m->pci;
    g_free(m);
    return NULL;
}
