/* Config space of a whole board by both mechanisms, and memory where its BARs then are.
 *
 * Input: 8-byte steps: kind, bus/size, devfn, offset (16 bits), and 3 bytes of value. */
#include "base/log.h"
#include "base/util.h"
#include "bus/io.h"
#include "bus/pci.h"
#include "machine/machine.h"

#include <glib.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEP_BYTES = 8, STEPS_MAX = 512 };

static struct machine *board_make(void)
{
    static const char *const devices[] = {"pcie-root-port,id=p1,chassis=1,addr=2,multifunction=on",
                                          "pcie-root-port,id=p2,chassis=2,addr=2.1",
                                          "pcie-root-port,id=p3,chassis=3,bus=p1",
                                          "virtio-rng-pci,bus=p3",
                                          "virtio-net-pci,bus=p2",
                                          "virtio-balloon-pci",
                                          "pci-testdev"};
    struct vm_config *cfg = vm_config_new();
    struct machine *m;

    log_set_level(LOG_LEVEL_ERROR);
    cfg->accels = g_strdup("qtest");
    cfg->ram_bytes = 4 * MiB;
    for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
        g_ptr_array_add(cfg->devices, props_parse(devices[i], "driver", NULL));
    m = machine_new(cfg, NULL);
    if (!m)
        abort();
    return m;
}

/* The n-th decoded BAR of the board, counted round. */
static const struct pci_bar *bar_pick(struct machine *m, unsigned n)
{
    const struct pci_bar *found[64];
    unsigned count = 0;

    for (struct pci_bus *b = machine_pci(m)->buses; b; b = b->next)
        for (unsigned i = 0; i < 256; i++)
            for (unsigned k = 0; b->slot[i] && k < PCI_BAR_COUNT; k++)
                if (b->slot[i]->bar[k].kind != PCI_BAR_NONE &&
                    b->slot[i]->bar[k].mapped_at != UINT64_MAX && count < ARRAY_SIZE(found))
                    found[count++] = &b->slot[i]->bar[k];
    return count ? found[n % count] : NULL;
}

static void bar_access(struct machine *m, const uint8_t *s, unsigned size, bool write)
{
    const struct pci_bar *bar = bar_pick(m, s[2]);
    struct io_space *space;
    uint64_t at;

    if (!bar)
        return;
    space = bar->kind == PCI_BAR_IO ? machine_pio(m) : machine_mmio(m);
    at = bar->mapped_at + le16_get(s + 3) % bar->region->size_bytes;
    if (write)
        io_space_write(space, at, size, le32_get(s + 4));
    else
        io_space_read(space, at, size);
}

static void step(struct machine *m, const uint8_t *s)
{
    unsigned size = 1u << (s[1] >> 6) % 3, off = le16_get(s + 3) & 0xfff & ~(size - 1);
    uint64_t ecam = 0xb0000000 + ((uint64_t)(s[1] & 0x3f) << 20 | (uint64_t)s[2] << 12 | off);
    uint32_t val = (uint32_t)s[5] | (uint32_t)s[6] << 8 | (uint32_t)s[7] << 24;

    switch (s[0] % 6) {
    case 0:
        io_space_write(machine_mmio(m), ecam, size, val);
        break;
    case 1:
        io_space_read(machine_mmio(m), ecam, size);
        break;
    case 2:
        io_space_write(machine_pio(m), 0xcf8, 4,
                       1u << 31 | (s[1] & 0x3fu) << 16 | (uint32_t)s[2] << 8 | (off & 0xfc));
        io_space_write(machine_pio(m), 0xcfc + (off & 3), size, val);
        break;
    case 3:
        io_space_read(machine_pio(m), 0xcfc + (off & 3), size);
        break;
    case 4:
        bar_access(m, s, size, true);
        break;
    case 5:
        bar_access(m, s, size, false);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;

    if (!m)
        m = board_make();
    machine_run(m);
    for (size_t n = 0; n < STEPS_MAX && size >= STEP_BYTES; n++) {
        step(m, data);
        data += STEP_BYTES;
        size -= STEP_BYTES;
    }
    while (g_main_context_iteration(NULL, FALSE)) { /* kicks, removals, wishes */
    }
    machine_reset(m, CAUSE_HOST_QMP_RESET);
    /* Whatever was written, the board is itself again. */
    if (io_space_read(machine_mmio(m), 0xb0000000, 4) != 0x29c08086)
        abort();
    return 0;
}
