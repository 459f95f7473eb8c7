/* microvm.c - the board without PCI on one page: virtio devices at memory addresses, and of a PC
 * what a kernel needs to start.
 *
 *   0xfeb00000 + 512 n   virtio-mmio-bus.n, interrupt 16 + n % 8 of the IOAPIC
 *
 * A kernel is started directly; it finds the devices in the ACPI tables (LNRO0005). */
#include "board.h"

#include "base/error.h"
#include "base/log.h"
#include "devices/shadow.h"
#include "virtio/devices.h"

enum { SLOTS = 24, SLOT_BASE = 0xfeb00000, GSI_FIRST = 16, GSI_COUNT = 8 };

static bool switch_read(struct machine *m, const char *key, bool *on, GError **err)
{
    static const char *const words[] = {"auto", "on", "off", "yes", "no", NULL};
    unsigned word = 0;

    if (!props_get_enum(m->cfg->machine, key, words, &word, err))
        return false;
    *on = word != 2 && word != 4;
    return true;
}

/* Settings of QEMU's machine that have no other value here. */
static bool fixed(struct machine *m, const char *key, bool only, const char *why, GError **err)
{
    static const char *const words[] = {"auto", "on", "off", "yes", "no", NULL};
    unsigned word = 0;

    if (!props_get_enum(m->cfg->machine, key, words, &word, err))
        return false;
    if (word == 0 || (word == 1 || word == 3) == only)
        return true;
    return error_set(err, HANOK_ERROR_UNSUPPORTED, "-machine microvm,%s=%s is not possible: %s",
                     key, words[word], why);
}

static bool options(struct machine *m, GError **err)
{
    bool announce = true, roms = true;

    if (!fixed(m, "pcie", false, "it has no PCI; take -machine q35", err) ||
        !fixed(m, "ioapic2", false, "interrupts are shared instead", err) ||
        !fixed(m, "usb", false, "there is no PCI bus for a USB controller; take -machine q35",
               err) ||
        !switch_read(m, "rtc", &m->parts.rtc, err) || !switch_read(m, "pit", &m->parts.pit, err) ||
        !switch_read(m, "pic", &m->parts.pic, err) ||
        !switch_read(m, "isa-serial", &m->parts.serial, err) ||
        !switch_read(m, "auto-kernel-cmdline", &announce, err) ||
        !switch_read(m, "x-option-roms", &roms, err))
        return false;
    /* The ACPI tables tell of the devices; without firmware there is nobody to run a ROM. */
    if (m->cfg->firmware || props_has(m->cfg->machine, "pflash0") ||
        props_has(m->cfg->machine, "firmware"))
        return error_set(err, HANOK_ERROR_UNSUPPORTED,
                         "a machine of type microvm starts its kernel (-kernel) without firmware; "
                         "leave -bios and pflash away, or take -machine q35");
    if (!m->cfg->kernel && m->cpus)
        return error_set(err, HANOK_ERROR_INVALID,
                         "a machine of type microvm needs a kernel: give -kernel FILE");
    return true;
}

static bool chipset(struct machine *m, GError **err)
{
    if (!options(m, err))
        return false;
    m->slots = g_new0(struct virtio_mmio_slot, SLOTS);
    m->slot_count = SLOTS;
    for (unsigned i = 0; i < SLOTS; i++)
        m->slots[i] = (struct virtio_mmio_slot){.index = i,
                                                .base = SLOT_BASE + i * VIRTIO_MMIO_BYTES,
                                                .gsi = GSI_FIRST + i % GSI_COUNT,
                                                .devices = &m->devices,
                                                .mmio = m->mmio,
                                                .irqchip = m->irqchip,
                                                .mem = m->mem};
    return true;
}

static void firmware_setup(struct machine *m)
{
    static const uint8_t ram_everywhere[SHADOW_PAM_COUNT] = {0x30, 0x33, 0x33, 0x33,
                                                             0x33, 0x33, 0x33};

    shadow_update(m->shadow, ram_everywhere, false);
    acpi_pm_map(m->pm, BOARD_PM_BASE, true);
}

const struct board board_microvm = {
    .pm_driver = "",
    .pm = ACPI_PM_ICH9,
    .acpi = ACPI_CHIPSET_NO_PCI,
    .memory_plan = memory_map_plan_pc,
    .chipset = chipset,
    .firmware_setup = firmware_setup,
};
