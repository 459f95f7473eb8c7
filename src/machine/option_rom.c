/* option_rom.c - romfile= and rombar=: the code cards bring along for the firmware.
 *
 * Default images are those of Debian's packages; their identification is made to fit the card, as
 * firmware compares both (PCI 3.0 §6.3.1.2). */
#include "firmware.h"
#include "registry.h"

#include "base/error.h"
#include "base/log.h"
#include "base/util.h"
#include "bus/fw_cfg.h"

/* What a class has without romfile=. */
static const struct default_rom {
    const struct prop_desc *props;
    const char *file, *package;
} defaults[] = {
    {props_vga, "vgabios-stdvga.bin", "seabios"},
    {props_virtio_vga, "vgabios-virtio.bin", "seabios"},
    {props_bochs, "vgabios-bochs-display.bin", "seabios"},
    {props_e1000, "efi-e1000.rom", "ipxe-qemu"},
    {props_e1000e, "efi-e1000e.rom", "ipxe-qemu"},
    {props_virtio_net, "efi-virtio.rom", "ipxe-qemu"},
};

static const struct default_rom *default_of(const struct device_class *cls)
{
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++)
        if (cls->props == defaults[i].props)
            return &defaults[i];
    return NULL;
}

enum { IMAGE_HEADER = 0x1a, PCIR_BYTES = 0x18, CODE_PC = 0, LAST_IMAGE = 0x80 };

/* Writes the card's identity into every image of the file; the sum of a PC image stays 0. */
static void identity_put(uint8_t *rom, size_t len, const struct pci_dev *d)
{
    size_t at = 0;

    while (len - at >= IMAGE_HEADER && le16_get(rom + at) == 0xaa55) {
        size_t pcir = at + le16_get(rom + at + 0x18), bytes;
        if (pcir + PCIR_BYTES > len || memcmp(rom + pcir, "PCIR", 4) != 0)
            return;
        uint8_t before = 0, after = 0;
        for (unsigned i = 0; i < 4; i++) {
            before = (uint8_t)(before + rom[pcir + 4 + i]);
            after = (uint8_t)(after + d->config[PCI_VENDOR + i]);
        }
        memcpy(rom + pcir + 4, d->config + PCI_VENDOR, 4);
        if (rom[pcir + 0x14] == CODE_PC)
            rom[at + 6] = (uint8_t)(rom[at + 6] + before - after);
        bytes = le16_get(rom + pcir + 0x10) * (size_t)512;
        if ((rom[pcir + 0x15] & LAST_IMAGE) || bytes == 0 || bytes > len - at)
            return;
        at += bytes;
    }
}

/* The firmware finds it without a BAR: by its name, for cards in general or for VGA. */
static void rom_by_name(struct machine *m, const struct pci_dev *d, const char *path,
                        const void *data, size_t len)
{
    g_autofree char *base = g_path_get_basename(path);
    bool vga = d->config[PCI_CLASS + 1] == 0x03;
    g_autofree char *name = g_strdup_printf("%s/%s", vga ? "vgaroms" : "genroms", base);

    fw_cfg_add_file(m->fw_cfg, name, data, len);
}

static void default_missing(const struct default_rom *rom, const struct device_class *cls,
                            struct props *p)
{
    if (cls->props == props_vga || cls->props == props_virtio_vga || cls->props == props_bochs)
        log_warning("the graphics card's BIOS (%s, in the package %s) is not installed: there is "
                    "no picture before the operating system's",
                    rom->file, rom->package);
    else if (props_has(p, "bootindex"))
        log_warning("the network card's boot code (%s, in the package %s) is not installed: it "
                    "cannot be booted from",
                    rom->file, rom->package);
}

bool option_rom_add(struct machine *m, const struct device_class *cls, struct props *p,
                    struct pci_dev *d, GError **err)
{
    const struct default_rom *rom = default_of(cls);
    const char *file = NULL;
    g_autofree char *path = NULL, *data = NULL;
    uint32_t bar = 1;
    gsize len = 0;

    if (!props_get_str(p, "romfile", &file, err) || !props_get_u32(p, "rombar", &bar, err))
        return false;
    if (file ? !*file : !rom || !m->firmware)
        return true; /* none wanted, or nobody to run it */
    path = firmware_find(m->cfg, file ? file : rom->file, file ? err : NULL);
    if (!path && !file)
        default_missing(rom, cls, p);
    if (!path)
        return !file;
    if (!g_file_get_contents(path, &data, &len, err))
        return false;
    if (len == 0 || len > PCI_ROM_BYTES_MAX)
        return error_set(err, HANOK_ERROR_INVALID,
                         "romfile '%s' has %" G_GSIZE_FORMAT " bytes: it must be 1 to %u", path,
                         len, PCI_ROM_BYTES_MAX);
    if (!file)
        identity_put((uint8_t *)data, len, d);
    if (bar)
        pci_rom_set(d, data, len);
    else
        rom_by_name(m, d, path, data, len);
    return true;
}
